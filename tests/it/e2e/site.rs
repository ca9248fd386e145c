//! The page and the API of the real binary: headers, methods, compression and secrets.

use glue_integration_exporter::simulator::{
    Account, Fault, FaultKind, RequestMatcher, SimulatedIntegration,
};
use serde_json::Value;

use crate::e2e::support::{
    Daemon, ONE_SCOPE, SOON, Setup, connect, integration, request, simulator, until,
};

/// Each path with its content type and content security policy.
const PATHS: [(&str, &str, &str); 6] = [
    ("/", "text/html; charset=utf-8", PAGE_POLICY),
    ("/page.css", "text/css; charset=utf-8", DATA_POLICY),
    ("/page.js", "text/javascript; charset=utf-8", DATA_POLICY),
    ("/api/v1/integrations", "application/json", DATA_POLICY),
    ("/api/v1/scopes", "application/json", DATA_POLICY),
    ("/api/v1/openapi.yaml", "application/yaml", DATA_POLICY),
];
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
    base-uri 'none'; form-action 'self'; frame-ancestors 'none'";
const DATA_POLICY: &str = "default-src 'none'; frame-ancestors 'none'";

fn demo() -> Daemon {
    let process = Setup::bare().start(&["demo", "--web.listen-address=127.0.0.1:0"]);
    let addr = process.addresses(1).remove(0);
    let daemon = Daemon { process, addr };
    until("the first polls, and the names", SOON, || {
        daemon
            .get("/")
            .body
            .contains("class=\"name\">sap-finance<")
            .then_some(())
    });
    daemon
}

fn json(daemon: &Daemon, path: &str) -> Value {
    let answer = daemon.get(path);
    assert_eq!(answer.status, 200, "{}", answer.body);
    serde_json::from_str(&answer.body).unwrap()
}

#[test]
fn paths_have_headers_and_reject_other_methods() {
    let daemon = demo();
    let mut client = connect(&daemon.addr);
    for (path, content_type, policy) in PATHS {
        let get = client.ask("GET", path, "");
        let head = client.ask("HEAD", path, "");
        for answer in [&get, &head] {
            assert_eq!(answer.status, 200, "{path}");
            for (name, value) in [
                ("content-type", content_type),
                ("content-security-policy", policy),
                ("cache-control", "no-store"),
                ("x-content-type-options", "nosniff"),
                ("referrer-policy", "no-referrer"),
                ("cross-origin-resource-policy", "same-origin"),
                ("vary", "Accept-Encoding"),
            ] {
                assert_eq!(answer.header(name), Some(value), "{path}");
            }
        }
        for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
            let refused = client.ask(method, path, "");
            assert_eq!(refused.status, 405, "{method} {path}");
            assert_eq!(refused.header("allow"), Some("GET, HEAD"));
        }
        assert_eq!(daemon.get(&format!("{path}x")).status, 404);
    }
    let scrape = daemon.scrape();
    let others = daemon.get("/metrics").body;
    assert!(!others.contains("path=\"/page.cssx\""));
    let requests = "glue_integration_exporter_http_requests_total";
    for (path, _, _) in PATHS {
        let value = |code| scrape.value(requests, &[("path", path), ("code", code)]);
        assert_eq!(value("405"), Some(4.0), "{path}");
        assert!(value("200") >= Some(2.0), "{path}");
    }
}

#[test]
fn responses_are_compressed_if_accepted() {
    let daemon = demo();
    for (path, _, _) in PATHS {
        let plain = daemon.get(path);
        let gzip = request(&daemon.addr, "HEAD", path, "Accept-Encoding: gzip, br\r\n");
        assert_eq!(gzip.header("content-encoding"), Some("gzip"), "{path}");
        let length: usize = gzip.header("content-length").unwrap().parse().unwrap();
        assert!(length * 3 < plain.body.len() * 2, "{path}");
    }
}

#[test]
fn page_and_api_agree_and_hide_secrets() {
    let daemon = demo();
    let page = daemon.get("/").body;
    let answer = json(&daemon, "/api/v1/integrations");
    let items = answer["items"].as_array().unwrap();
    assert_eq!(items.len(), 13);
    for item in items {
        let arn = item["arn"].as_str().unwrap();
        assert!(page.contains(arn), "{arn}");
        for error in item["errors"].as_array().unwrap() {
            for text in [&error["code"], &error["message"]] {
                assert!(
                    text.as_str().is_none_or(|text| page.contains(text)),
                    "{text}"
                );
            }
        }
    }
    assert!(page.find("inventory") < page.find("servicenow"));
    assert!(page.find("servicenow") < page.find("sap-finance"));
    for text in [
        page,
        answer.to_string(),
        json(&daemon, "/api/v1/scopes").to_string(),
    ] {
        assert!(!text.contains("must-not-leak"));
    }
}

#[test]
fn invalid_parameter_gets_400() {
    let daemon = demo();
    for (path, message) in [
        ("/?status=FAILD", "is not allowed; allowed: CREATING"),
        (
            "/api/v1/integrations?status=FAILD",
            "\"parameter\":\"status\",\"value\":\"FAILD\"",
        ),
        (
            "/api/v1/scopes?status=FAILED",
            "the parameters scope, region, limit, after",
        ),
    ] {
        let answer = daemon.get(path);
        assert_eq!(answer.status, 400, "{path}");
        assert!(answer.body.contains(message), "{}", answer.body);
    }
    // Paths without parameters ignore the query.
    assert_eq!(daemon.get("/page.css?v=1").status, 200);
}

#[test]
fn page_shows_failure_reason_without_secrets() {
    let gone = SimulatedIntegration {
        status: "FAILED".to_owned(),
        ..integration("eu-west-1", "a", "FAILED")
    };
    let sim = simulator(Account::of(vec![gone]));
    let config = ONE_SCOPE.replace(
        "regions:",
        "external_id: must-not-leak, role_arn: 'arn:aws:iam::111122223333:role/reader', regions:",
    );
    let setup =
        Setup::new(&sim, &config).env("AWS_ENDPOINT_URL_STS", &format!("http://{}", sim.addr));
    let daemon = setup.daemon(&[]);
    until("a failed poll", SOON, || {
        let page = daemon.get("/").body;
        page.contains("id=\"blind\"").then_some(())
    });
    let page = daemon.get("/").body;
    assert!(page.contains("<code>credentials</code>"), "{page}");
    assert!(page.contains("arn:aws:iam::111122223333:role/reader"));
    let scopes = daemon.get("/api/v1/scopes").body;
    assert!(scopes.contains("\"reason\":\"credentials\""), "{scopes}");
    assert!(!page.contains("must-not-leak") && !scopes.contains("must-not-leak"));

    let setup = Setup::new(&sim, ONE_SCOPE);
    let denied = FaultKind::error("AccessDeniedException", "<img src=x onerror=alert(1)>");
    sim.handle
        .push_fault(Fault::new(RequestMatcher::default(), denied));
    let daemon = setup.daemon(&[]);
    let scopes = until("a failed poll", SOON, || {
        let scopes = json(&daemon, "/api/v1/scopes");
        scopes["items"][0]["last_failure"]
            .is_object()
            .then_some(scopes)
    });
    let failure = &scopes["items"][0]["last_failure"]["failures"][0];
    assert_eq!(failure["reason"], "access_denied");
    assert!(failure["request_id"].is_string(), "{failure}");
    let page = daemon.get("/").body;
    assert!(
        page.contains("&#60;img src=x onerror=alert(1)&#62;"),
        "{page}"
    );
    assert!(!page.contains("<img"));
}
