//! `check --online`: reports missing permissions, unreachable services and missing ARNs, and what to grant.

use std::fs;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ciborium::cbor;
use glue_integration_exporter::clock::Clock;
use glue_integration_exporter::simulator::{
    Account, Fault, FaultKind, RequestMatcher, SimulatedIntegration, SimulatedTable,
};
use serde_json::Value;

use crate::e2e::doubles::{
    ACCESS_KEY, ASSUMED_KEY, Double, Form, ROLE, sts_answer, sts_caller, sts_error,
};
use crate::e2e::support::{Ended, SECRET_KEY, STOP, Setup, Sim, arn, integration, simulator};

const REGION: &str = "eu-west-1";
const USER: &str = "arn:aws:iam::111122223333:user/exporter";
const SESSION: &str = "arn:aws:sts::111122223333:assumed-role/reader/glue-integration-exporter";
const EXTERNAL_ID: &str = "external-id-value";
const CHECKS: [&str; 3] = ["identity", "role", "DescribeInboundIntegrations"];

/// Starts an STS that knows the user and the role. The role requires the external ID.
fn sts() -> Double {
    Double::start(sts_response)
}

fn sts_response(request: &Form) -> crate::e2e::doubles::Answer {
    match (request["Action"].as_str(), request[ACCESS_KEY].as_str()) {
        ("GetCallerIdentity", ASSUMED_KEY) => sts_caller(SESSION),
        ("GetCallerIdentity", "AKIDEXAMPLE") => sts_caller(USER),
        ("AssumeRole", "AKIDEXAMPLE") => {
            assert_eq!(request["RoleArn"], ROLE);
            let id = request.get("ExternalId").map(String::as_str);
            if id == Some(EXTERNAL_ID) {
                return sts_answer(request, Ok("3000-01-01T00:00:00Z"));
            }
            sts_error(
                "AccessDenied",
                &format!(
                    "User: {USER} is not authorized to perform: sts:AssumeRole on resource: {ROLE}"
                ),
            )
        }
        _ => sts_error(
            "InvalidClientTokenId",
            "The security token included in the request is invalid",
        ),
    }
}

/// Returns a configuration of one scope with a role and the further keys `scope`.
fn with_role(scope: &str) -> String {
    format!("scopes: [{{name: lake, role_arn: '{ROLE}', {scope}}}]\n")
}

fn listing() -> String {
    with_role(&format!("regions: [{REGION}], external_id: {EXTERNAL_ID}"))
}

/// CloudWatch has samples until the present time.
fn simulator_with_metrics(integrations: Vec<SimulatedIntegration>) -> Sim {
    let mut account = Account::of(integrations);
    account.unix_start = Clock::system().unix_now();
    simulator(account)
}

fn one_integration() -> Sim {
    simulator_with_metrics(vec![integration(REGION, "a", "ACTIVE")])
}

fn setup(sim: &Sim, sts: &Double, config: &str) -> Setup {
    Setup::new(sim, config).env("AWS_ENDPOINT_URL_STS", &sts.url())
}

/// Runs the check in both formats and expects no secret in the output. Returns the JSON and the table.
fn check(setup: &Setup, code: i32) -> (Value, String) {
    let ended = |flags: &[&str]| -> Ended {
        let ended = setup.run(&[&["check", "--online", "--log.level=debug"], flags].concat());
        assert_eq!(ended.code, Some(code), "{}{}", ended.stdout, ended.stderr);
        for secret in [SECRET_KEY, EXTERNAL_ID, "session-token-value"] {
            let output = format!("{}{}", ended.stdout, ended.stderr);
            assert!(!output.contains(secret), "{secret} in:\n{output}");
        }
        ended
    };
    let table = ended(&[]).stdout;
    let json: Value = serde_json::from_str(&ended(&["--format=json"]).stdout).unwrap();
    assert_eq!(json["ok"], code == 0, "{json:#}");
    (json, table)
}

/// Returns the check and the result of each row.
fn results(json: &Value) -> Vec<(&str, &str)> {
    let rows = json["checks"].as_array().unwrap().iter();
    rows.map(|row| {
        (
            row["check"].as_str().unwrap(),
            row["result"].as_str().unwrap(),
        )
    })
    .collect()
}

fn row<'a>(json: &'a Value, check: &str) -> &'a Value {
    let mut rows = json["checks"].as_array().unwrap().iter();
    rows.find(|row| row["check"] == check).unwrap()
}

fn golden(name: &str, actual: &str) {
    let path = format!("tests/online/{name}");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, actual).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(actual, expected, "{path}: UPDATE=1 rewrites it");
}

#[test]
fn all_permissions_granted_exits_with_0() {
    let (sim, sts) = (one_integration(), sts());
    let target = "arn:aws:glue:eu-west-1:111122223333:database/target";
    let existing = arn(REGION, "a");
    let scope = format!(
        "external_id: {EXTERNAL_ID}, integration_arns: ['{existing}'], target_arns: ['{target}']"
    );
    let second = format!("  {{name: own, regions: [{REGION}, us-east-1]}}]\n");
    let config = with_role(&scope).replace("}]\n", "},\n") + &second;
    let (json, table) = check(&setup(&sim, &sts, &config), 0);
    let expected: Vec<_> = CHECKS
        .iter()
        .chain(&["integration", "target"])
        .chain(&["identity", "DescribeInboundIntegrations"].repeat(2))
        .map(|check| (*check, "ok"))
        .collect();
    assert_eq!(results(&json), expected);
    assert_eq!(row(&json, "identity")["identity"], USER);
    assert_eq!(row(&json, "role")["identity"], SESSION);
    assert!(table.ends_with("\nAll 9 checks passed.\n"), "{table}");
    // The credentials that the daemon would use.
    let keys: Vec<String> = sim
        .handle
        .requests()
        .into_iter()
        .map(|r| r.access_key_id)
        .collect();
    for key in [ASSUMED_KEY, "AKIDEXAMPLE"] {
        assert!(keys.iter().any(|used| used == key), "{key}: {keys:?}");
    }
    assert!(
        sim.handle
            .requests()
            .iter()
            .all(|request| request.page == 1)
    );
}

/// docs/permissions.md shows this output.
#[test]
fn failed_checks_report_what_to_grant() {
    let sim = simulator_with_metrics(vec![
        integration(REGION, "a", "ACTIVE"),
        integration("us-east-1", "b", "ACTIVE"),
    ]);
    let denied = format!(
        "User: {USER} is not authorized to perform: glue:DescribeInboundIntegrations because no identity-based policy allows the action"
    );
    let denied = FaultKind::error("AccessDeniedException", &denied);
    sim.handle
        .push_fault(Fault::new(RequestMatcher::region("us-east-1"), denied));
    let denied = format!(
        "User: {USER} is not authorized to perform: cloudwatch:GetMetricData because no identity-based policy allows the action"
    );
    let denied = FaultKind::error("AccessDenied", &denied);
    sim.handle
        .push_fault(Fault::new(operation("GetMetricData"), denied));
    let config = format!(
        "\
scopes:
  - name: lake
    regions: [{REGION}]
    role_arn: {ROLE}
    external_id: another
  - name: sales
    integration_arns: ['{}', '{}']
    freshness: true
  - name: orders
    regions: [us-east-1]
",
        arn(REGION, "a"),
        arn(REGION, "gone")
    );
    let sts = sts();
    let (json, table) = check(&setup(&sim, &sts, &config), 1);
    golden("refused.txt", &table);
    golden("refused.yaml", &config);
    let rows = json["checks"].as_array().unwrap();
    let results: Vec<_> = rows
        .iter()
        .map(|row| row["result"].as_str().unwrap())
        .collect();
    assert_eq!(
        results,
        [
            "ok",
            "credentials",
            "not_asked",
            "ok",
            "ok",
            "ok",
            "missing",
            "ok",
            "ok",
            "access_denied",
            "ok",
            "access_denied"
        ]
    );
    assert_eq!(
        rows[1]["grant"],
        serde_json::json!({"action": "sts:AssumeRole", "resource": ROLE, "to": USER})
    );
    // The simulator numbers the requests, which scopes send at the same time.
    let mut json = json.clone();
    for row in [9, 11] {
        let id = &mut json["checks"][row]["request_id"];
        assert!(id.as_str().unwrap().starts_with("00000000-"), "{id}");
        *id = Value::from("…");
    }
    golden("refused.json", &format!("{json:#}\n"));
}

#[test]
fn role_without_external_id_reports_grant() {
    let (sim, sts) = (one_integration(), sts());
    let config = with_role(&format!("regions: [{REGION}]"));
    let (json, table) = check(&setup(&sim, &sts, &config), 1);
    assert_eq!(
        results(&json),
        [
            ("identity", "ok"),
            ("role", "credentials"),
            (CHECKS[2], "not_asked")
        ]
    );
    let advice = row(&json, "role")["advice"].as_str().unwrap();
    assert_eq!(
        advice,
        format!(
            "grant sts:AssumeRole on {ROLE} to {USER}, and allow {USER} in the role's trust policy, without a condition on sts:ExternalId, \
             because the scope has no `external_id`"
        )
    );
    assert!(table.contains(&format!("\n  -> {advice}\n")), "{table}");
    assert!(sim.handle.requests().is_empty());
}

/// A session is named after a container or an instance, so a trust policy names its role.
#[test]
fn role_denied_to_session_trusts_session_role() {
    let sim = one_integration();
    let sts = Double::start(|request| match request["Action"].as_str() {
        "GetCallerIdentity" => sts_caller("arn:aws-cn:sts::111122223333:assumed-role/node/i-0abc"),
        _ => sts_error("AccessDenied", "no"),
    });
    let config = with_role(&format!("regions: [{REGION}]"));
    let (json, _) = check(&setup(&sim, &sts, &config), 1);
    let advice = row(&json, "role")["advice"].as_str().unwrap();
    let (grant, trust) = advice.split_once(", and allow ").unwrap();
    assert!(
        grant.ends_with(" to arn:aws-cn:iam::111122223333:role/node"),
        "{grant}"
    );
    assert!(
        trust.starts_with("arn:aws-cn:iam::111122223333:role/node ("),
        "{trust}"
    );
}

/// Policies are attached to the permission set, not to a role of IAM Identity Center.
#[test]
fn sso_role_reports_its_permission_set() {
    let sim = one_integration();
    let sts = Double::start(|request| match request["Action"].as_str() {
        "GetCallerIdentity" => sts_caller(
            "arn:aws:sts::111122223333:assumed-role/AWSReservedSSO_Data_Reader_0123456789abcdef/me@example.com",
        ),
        _ => sts_error("AccessDenied", "no"),
    });
    let denied = FaultKind::error(
        "AccessDeniedException",
        "no identity-based policy allows it",
    );
    sim.handle
        .push_fault(Fault::new(RequestMatcher::default(), denied));
    let role = "arn:aws:iam::111122223333:role/AWSReservedSSO_Data_Reader_0123456789abcdef";
    let set = format!(
        "the permission set Data_Reader of IAM Identity Center (policies cannot be attached to its role {role} directly)"
    );
    let config = format!(
        "scopes: [{{name: own, regions: [{REGION}]}}, {{name: lake, regions: [{REGION}], role_arn: '{ROLE}'}}]\n"
    );
    let (json, table) = check(&setup(&sim, &sts, &config), 1);
    let denied = row(&json, CHECKS[2]);
    assert_eq!(denied["grant"]["to"], role);
    assert_eq!(
        denied["advice"],
        format!("grant glue:DescribeInboundIntegrations on \"*\" to {set}")
    );
    let advice = row(&json, "role")["advice"].as_str().unwrap();
    assert!(
        advice.contains(&format!("to {set}, and allow {role} (with the role's path")),
        "{advice}"
    );
    let grants = table.lines().filter(|line| line.contains("->"));
    assert!(grants.clone().count() == 2, "{table}");
    assert!(
        grants.into_iter().all(|line| !line.contains(":sts:")),
        "{table}"
    );
}

#[test]
fn role_wrong_external_id_reports_credentials() {
    let (sim, sts) = (one_integration(), sts());
    let config = with_role(&format!("regions: [{REGION}], external_id: not-it-at-all"));
    let (json, table) = check(&setup(&sim, &sts, &config), 1);
    let role = row(&json, "role");
    assert_eq!(role["result"], "credentials");
    assert!(
        role["message"].as_str().unwrap().contains("AccessDenied"),
        "{json:#}"
    );
    assert!(table.contains("with the scope's `external_id`"), "{table}");
    assert!(!table.contains("not-it-at-all"), "{table}");
}

#[test]
fn listing_denied_reports_the_policy_to_change() {
    let (sim, sts) = (one_integration(), sts());
    let table_for = |message: &str| {
        sim.handle.clear_faults();
        let denied = FaultKind::error("AccessDeniedException", message);
        sim.handle
            .push_fault(Fault::new(RequestMatcher::default(), denied));
        let (json, table) = check(&setup(&sim, &sts, &listing()), 1);
        assert_eq!(
            results(&json),
            [
                ("identity", "ok"),
                ("role", "ok"),
                (CHECKS[2], "access_denied")
            ]
        );
        table
    };
    let grant = format!("-> grant glue:DescribeInboundIntegrations on \"*\" to {ROLE}\n");
    let table = table_for(
        "because no identity-based policy allows the glue:DescribeInboundIntegrations action",
    );
    assert!(table.contains(&grant), "{table}");
    for policy in ["VPC endpoint policy", "permissions boundary"] {
        let table = table_for(&format!(
            "because no {policy} allows the glue:DescribeInboundIntegrations action"
        ));
        let allow =
            format!("-> allow glue:DescribeInboundIntegrations for {ROLE} in the {policy}; ");
        assert!(table.contains(&allow), "{table}");
        assert!(!table.contains("-> grant"), "{table}");
    }
    // A grant does not override an explicit deny.
    let table = table_for("with an explicit deny in a service control policy");
    assert!(!table.contains("-> grant"), "{table}");
    assert!(table.contains("from the explicit deny"), "{table}");
}

/// The permission for names and tags is checked only for scopes with `describe`.
#[test]
fn metadata_denied_reports_grant() {
    let (sim, sts) = (one_integration(), sts());
    let on = RequestMatcher {
        operation: Some("DescribeIntegrations".to_owned()),
        ..RequestMatcher::default()
    };
    let denied = FaultKind::error(
        "AccessDeniedException",
        "no identity-based policy allows it",
    );
    sim.handle.push_fault(Fault::new(on, denied));
    let (json, _) = check(&setup(&sim, &sts, &listing()), 0);
    assert_eq!(results(&json).len(), 3);
    let described = with_role(&format!(
        "regions: [{REGION}], external_id: {EXTERNAL_ID}, describe: true"
    ));
    let (json, table) = check(&setup(&sim, &sts, &described), 1);
    assert_eq!(
        results(&json)[2..],
        [(CHECKS[2], "ok"), ("DescribeIntegrations", "access_denied")]
    );
    let grant = format!("-> grant glue:DescribeIntegrations on \"*\" to {ROLE}\n");
    assert!(table.contains(&grant), "{table}");
    sim.handle.clear_faults();
    let (json, _) = check(&setup(&sim, &sts, &described), 0);
    assert_eq!(results(&json)[3], ("DescribeIntegrations", "ok"));
}

/// No permission is missing, so there is nothing to grant.
#[test]
fn access_denied_by_proxy_or_opt_in_has_no_grant() {
    let (sim, sts) = (one_integration(), sts());
    let opt_in = FaultKind::error("OptInRequired", "the region is not enabled");
    sim.handle
        .push_fault(Fault::new(RequestMatcher::default(), opt_in));
    let proxy = Double::start(|_| (403, "text/html", "<h1>AccessDenied</h1>".to_owned()));
    let no_proxy = setup(&sim, &sts, &listing());
    let by_proxy = setup(&sim, &sts, &listing()).env("AWS_ENDPOINT_URL_GLUE", &proxy.url());
    for setup in [no_proxy, by_proxy] {
        let (json, table) = check(&setup, 1);
        let row = row(&json, CHECKS[2]);
        assert_eq!(row["result"], "access_denied");
        assert_eq!(
            (row.get("grant"), row.get("advice")),
            (None, None),
            "{json:#}"
        );
        assert!(!table.contains("->"), "{table}");
    }
}

#[test]
fn missing_arns_are_reported() {
    let (sim, sts) = (one_integration(), sts());
    let target = "arn:aws:glue:eu-west-1:111122223333:database/elsewhere";
    let not_found = FaultKind::error("TargetResourceNotFound", "there is no such target");
    sim.handle.push_fault(Fault::new(
        RequestMatcher {
            target_arn: Some(target.to_owned()),
            ..RequestMatcher::default()
        },
        not_found,
    ));
    for lookup in ["each", "list"] {
        let scope = format!(
            "external_id: {EXTERNAL_ID}, lookup: {lookup}, target_arns: ['{target}'], integration_arns: ['{}', '{}']",
            arn(REGION, "gone"),
            arn(REGION, "a"),
        );
        let (json, table) = check(&setup(&sim, &sts, &with_role(&scope)), 1);
        assert_eq!(
            results(&json)[2..],
            [
                (CHECKS[2], "ok"),
                ("integration", "missing"),
                ("integration", "ok"),
                ("target", "missing"),
            ]
        );
        assert!(table.contains("there is no such target"), "{table}");
        assert!(table.ends_with("\n2 of 6 checks failed.\n"), "{table}");
    }
}

#[test]
fn network_down_reports_network() {
    let (sim, sts) = (one_integration(), sts());
    let closed = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let closed = format!("http://{closed}");
    let glue_down = setup(&sim, &sts, &listing()).env("AWS_ENDPOINT_URL_GLUE", &closed);
    let (json, _) = check(&glue_down, 1);
    assert_eq!(
        results(&json),
        [("identity", "ok"), ("role", "ok"), (CHECKS[2], "network")]
    );
    // Without a role, Glue needs no STS.
    let config = format!("scopes: [{{name: own, regions: [{REGION}]}}]\n");
    let sts_down = Setup::new(&sim, &config).env("AWS_ENDPOINT_URL_STS", &closed);
    let (json, _) = check(&sts_down, 1);
    assert_eq!(results(&json), [("identity", "network"), (CHECKS[2], "ok")]);
}

/// The request contains the external ID, so the output must not show it.
#[test]
fn profile_endpoint_invalid_is_explained() {
    let sim = one_integration();
    let config = with_role(&format!(
        "regions: [{REGION}], external_id: '{EXTERNAL_ID},x'"
    ));
    let setup =
        Setup::new(&sim, &config).file("aws.config", "[default]\nendpoint_url = localhost:4566\n");
    let setup = setup.env("AWS_CONFIG_FILE", "aws.config");
    let (json, table) = check(&setup, 1);
    assert_eq!(
        results(&json)[..2],
        [("identity", "credentials"), ("role", "not_asked")]
    );
    assert_eq!(
        table.matches("the endpoint `localhost:4566`").count(),
        1,
        "{table}"
    );
    for debug_output in ["SdkBody", "Request {", "%2Cx"] {
        assert!(!table.contains(debug_output), "{table}");
    }
}

/// The proxy opens the tunnel for every request.
#[test]
fn proxy_refusing_to_connect_is_explained() {
    for (status, words) in [
        (403, "the proxy refused to connect"),
        (407, "user and a password"),
    ] {
        let proxy = Double::start(move |_| (status, "text/plain", String::new()));
        let setup = Setup::bare()
            .file(
                "config.yaml",
                &format!("scopes: [{{name: own, regions: [{REGION}]}}]\n"),
            )
            .env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
            .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
            .env("HTTPS_PROXY", &proxy.url());
        let (json, table) = check(&setup, 1);
        assert_eq!(
            results(&json),
            [("identity", "network"), (CHECKS[2], "network")]
        );
        assert_eq!(table.matches(words).count(), 2, "{table}");
        assert!(!table.contains("tunnel error"), "{table}");
    }
}

#[test]
fn credentials_missing_or_expired_skip_the_rest() {
    let sim = one_integration();
    let sts = Double::start(|_| sts_error("ExpiredToken", "The security token is expired"));
    let (json, _) = check(&setup(&sim, &sts, &listing()), 1);
    let expected = [
        ("identity", "credentials"),
        ("role", "not_asked"),
        (CHECKS[2], "not_asked"),
    ];
    assert_eq!(results(&json), expected);
    let message = row(&json, "identity")["message"].as_str().unwrap();
    assert!(message.contains("log in again"), "{message}");
    let none = Setup::bare()
        .file("config.yaml", &listing())
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("AWS_ENDPOINT_URL", &sts.url());
    let (json, table) = check(&none, 1);
    assert_eq!(results(&json), expected);
    assert!(table.contains("no credentials found"), "{table}");
    assert!(table.contains("because they would fail too: 2."), "{table}");
    assert!(sim.handle.requests().is_empty());
}

#[test]
fn sts_throttling_is_reported_once() {
    let sim = one_integration();
    let sts = Double::start(|_| sts_error("Throttling", "Rate exceeded"));
    let config = format!(
        "scopes: [{{name: own, regions: [{REGION}]}}, {{name: too, regions: [{REGION}]}}]\n"
    );
    let (json, table) = check(&setup(&sim, &sts, &config), 1);
    let each = [("identity", "throttled"), (CHECKS[2], "ok")];
    assert_eq!(results(&json), each.repeat(2));
    assert_eq!(table.matches("Rate exceeded").count(), 1, "{table}");
    let both = format!("\nown, too in {REGION}: identity ");
    assert!(table.contains(&both), "{table}");
}

#[test]
fn role_of_many_scopes_is_assumed_once() {
    let sim = one_integration();
    let assumed = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&assumed);
    let sts = Double::start(move |request| {
        if request["Action"] == "AssumeRole" {
            counted.fetch_add(1, Ordering::SeqCst);
        }
        sts_response(request)
    });
    let role = format!("role_arn: '{ROLE}', external_id: {EXTERNAL_ID}");
    let config = format!(
        "scopes:\n- {{name: lake, regions: [{REGION}, us-east-1, us-west-2], {role}}}\n- {{name: sea, regions: [{REGION}], {role}}}\n"
    );
    let ended = setup(&sim, &sts, &config).run(&["check", "--online"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stdout);
    assert_eq!(assumed.load(Ordering::SeqCst), 1);
    assert_eq!(sim.handle.requests().len(), 4);
}

/// `AWS_ENDPOINT_URL` applies to all services, as in other AWS tools.
#[test]
fn endpoint_url_applies_to_all_services() {
    let sts = sts();
    let setup = Setup::bare()
        .file("config.yaml", &listing())
        .env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
        .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("AWS_ENDPOINT_URL", &sts.url())
        .env("AWS_ENDPOINT_URL_GLUE", "http://127.0.0.1:1");
    let (json, _) = check(&setup, 1);
    assert_eq!(
        results(&json),
        [("identity", "ok"), ("role", "ok"), (CHECKS[2], "network")]
    );
}

#[test]
fn simulator_alone_passes() {
    let sim = one_integration();
    let config = format!("scopes: [{{name: all, regions: [{REGION}], freshness: true}}]");
    let url = format!("http://{}", sim.addr);
    let setup = Setup::new(&sim, &config).env("AWS_ENDPOINT_URL_STS", &url);
    let (json, _) = check(&setup, 0);
    let identity = "arn:aws:iam::111122223333:user/simulated";
    assert_eq!(row(&json, "identity")["identity"], identity);
}

/// All are checked at the same time, each with the timeout of one poll.
#[test]
fn hanging_endpoints_report_timeout() {
    let (sim, sts) = (one_integration(), sts());
    sim.handle
        .push_fault(Fault::new(RequestMatcher::default(), FaultKind::Hang));
    let scopes: Vec<String> = (0..20)
        .map(|n| format!("{{name: s{n}, regions: [{REGION}, us-east-1]}}"))
        .collect();
    let config = format!(
        "polling: {{interval: 10s, timeout: 1s}}\nscopes: [{}]\n",
        scopes.join(", ")
    );
    let setup = setup(&sim, &sts, &config);
    let ended = setup.run(&["check", "--online", "--format=json"]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let json: Value = serde_json::from_str(&ended.stdout).unwrap();
    let timeouts = results(&json)
        .into_iter()
        .filter(|(_, result)| *result == "timeout");
    assert_eq!(timeouts.count(), 40);
    assert!(
        ended.took < STOP + Duration::from_secs(5),
        "{:?}",
        ended.took
    );
}

/// Checks wait for the rate limiter as polls do, and the wait makes no check fail.
#[test]
fn checks_keep_to_the_rate_limit() {
    let (sim, sts) = (one_integration(), sts());
    let arns: Vec<String> = (0..30)
        .map(|n| format!("'{}'", arn(REGION, &format!("i{n}"))))
        .collect();
    let config = format!(
        "polling: {{requests_per_second: 10, interval: 10s, timeout: 1s}}\nscopes: [{{name: many, integration_arns: [{}]}}]\n",
        arns.join(", ")
    );
    let setup = setup(&sim, &sts, &config);
    let ended = setup.run(&["check", "--online", "--format=json"]);
    let json: Value = serde_json::from_str(&ended.stdout).unwrap();
    let missing = results(&json)
        .into_iter()
        .filter(|(_, result)| *result == "missing");
    assert_eq!(missing.count(), 30, "{json:#}");
    assert!(
        ended.took > Duration::from_millis(1_900),
        "{:?}",
        ended.took
    );
}

#[test]
fn invalid_configuration_exits_with_2() {
    let setup = Setup::bare().file("config.yaml", "scopes: [{name: a b}]");
    let ended = setup.run(&["check", "--online"]);
    assert_eq!(ended.code, Some(2));
    assert_eq!(ended.stdout, "");
    assert!(ended.stderr.contains("config.yaml:1:"), "{}", ended.stderr);
    // `--format` needs `--online`.
    assert_eq!(setup.run(&["check", "--format=json"]).code, Some(2));
}

/// Returns the results after those of Glue.
fn freshness_results(json: &Value) -> Vec<(&str, &str)> {
    let results = results(json).into_iter();
    let results = results.skip_while(|(check, _)| *check != "ListMetrics");
    results.collect()
}

fn operation(name: &str) -> RequestMatcher {
    RequestMatcher {
        operation: Some(name.to_owned()),
        ..RequestMatcher::default()
    }
}

/// Two scopes: one with a listing, one with the ARNs.
fn with_freshness() -> String {
    let [orders, silent] = ["orders", "silent"].map(|name| arn(REGION, name));
    format!(
        "scopes:\n  - {{name: all, regions: [{REGION}], freshness: true}}\n  \
         - {{name: named, integration_arns: ['{orders}', '{silent}'], freshness: {{interval: 1h}}}}\n"
    )
}

fn with_tables(name: &str, tables: &[&str]) -> SimulatedIntegration {
    let table = |name: &&str| SimulatedTable {
        name: (*name).to_owned(),
        ..SimulatedTable::default()
    };
    SimulatedIntegration {
        tables: Some(tables.iter().map(table).collect()),
        ..integration(REGION, name, "ACTIVE")
    }
}

#[test]
fn freshness_reports_tables_of_integrations() {
    let redshift = SimulatedIntegration {
        target_arn: "arn:aws:redshift:eu-west-1:111122223333:namespace:n".to_owned(),
        ..integration(REGION, "redshift", "ACTIVE")
    };
    // More than one page.
    let many: Vec<String> = (0..600).map(|n| format!("t{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let sim = simulator_with_metrics(vec![
        with_tables("many", &many),
        with_tables("one", &["one"]),
        with_tables("orders", &["orders", "lines"]),
        with_tables("silent", &[]),
        redshift,
    ]);
    let (json, table) = check(&setup(&sim, &sts(), &with_freshness()), 0);
    let rows = json["checks"].as_array().unwrap().iter();
    let tables: Vec<_> = rows
        .filter(|row| row["check"] == "tables")
        .map(|row| {
            let of = row["of"].as_str().unwrap();
            (
                row["scope"].as_str().unwrap(),
                of,
                row["tables"].as_u64().unwrap(),
            )
        })
        .collect();
    let [many, one, orders, silent] =
        ["many", "one", "orders", "silent"].map(|name| arn(REGION, name));
    assert_eq!(
        tables,
        [
            ("all", &*many, 600),
            ("all", &*one, 1),
            ("all", &*orders, 2),
            ("all", &*silent, 0),
            ("named", &*orders, 2),
            ("named", &*silent, 0),
        ]
    );
    for line in [
        &format!("{orders}: 2 tables report"),
        &format!("{silent}: no table reports; the target role may lack cloudwatch:PutMetricData"),
        &format!("{one}: 1 table reports"),
    ] {
        assert!(table.contains(&format!("{line}\n")), "{table}");
    }
}

#[test]
fn freshness_denied_reports_grants() {
    let sim = simulator_with_metrics(vec![with_tables("orders", &["orders"])]);
    let denied = |action: &str| {
        let why = format!("User: {USER} is not authorized to perform: {action}");
        FaultKind::error("AccessDenied", &why)
    };
    let forbidden = cbor!({"MetricDataResults" => [{"Id" => "m0", "StatusCode" => "Forbidden"}]});
    let mut body = Vec::new();
    ciborium::into_writer(&forbidden.unwrap(), &mut body).unwrap();
    let forbidden = FaultKind::raw(200, body);
    let config = format!("scopes: [{{name: all, regions: [{REGION}], freshness: true}}]");
    let sts = sts();
    let run = |faults: [(&str, FaultKind); 1], code: i32| {
        sim.handle.clear_faults();
        for (name, fault) in faults {
            sim.handle.push_fault(Fault::new(operation(name), fault));
        }
        check(&setup(&sim, &sts, &config), code).0
    };
    let json = run([("ListMetrics", denied("cloudwatch:ListMetrics"))], 1);
    // Without the listing, the tables are not known.
    let expected = [("ListMetrics", "access_denied"), ("GetMetricData", "ok")];
    assert_eq!(freshness_results(&json), expected);
    let grant = "grant cloudwatch:ListMetrics on \"*\" to arn:aws:iam::111122223333:user/exporter";
    assert_eq!(row(&json, "ListMetrics")["advice"], grant);
    for fault in [denied("cloudwatch:GetMetricData"), forbidden] {
        let json = run([("GetMetricData", fault)], 1);
        let expected = [
            ("ListMetrics", "ok"),
            ("tables", "ok"),
            ("GetMetricData", "access_denied"),
        ];
        assert_eq!(freshness_results(&json), expected);
        let grant =
            "grant cloudwatch:GetMetricData on \"*\" to arn:aws:iam::111122223333:user/exporter";
        assert_eq!(row(&json, "GetMetricData")["advice"], grant, "{json:#}");
    }
}

/// The polls do not need CloudWatch, so its endpoint breaks only the checks of CloudWatch.
#[test]
fn cloudwatch_endpoint_of_profile_affects_only_freshness() {
    let sim = simulator_with_metrics(vec![with_tables("orders", &["orders"])]);
    let sts = sts();
    let config =
        format!("scopes: [{{name: all, regions: [{REGION}], profile: lake, freshness: true}}]");
    let with_endpoint = |url: &str| {
        let profiles = format!(
            "[profile lake]\naws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = {SECRET_KEY}\nservices = local\n\
             [services local]\ncloudwatch =\n  endpoint_url = {url}\n"
        );
        // Without the variable of `Setup::new`, which wins.
        let setup = Setup::bare()
            .file("config.yaml", &config)
            .file("profiles", &profiles);
        let path = setup.path("profiles").display().to_string();
        setup
            .env("AWS_CONFIG_FILE", &path)
            .env("AWS_ENDPOINT_URL_GLUE", &format!("http://{}", sim.addr))
            .env("AWS_ENDPOINT_URL_STS", &sts.url())
    };
    let (json, _) = check(&with_endpoint(&format!("http://{}", sim.addr)), 0);
    let expected = [
        ("ListMetrics", "ok"),
        ("tables", "ok"),
        ("GetMetricData", "ok"),
    ];
    assert_eq!(freshness_results(&json), expected);
    for url in ["localhost:1", ""] {
        let setup = with_endpoint(url);
        let (json, _) = check(&setup, 1);
        let expected = [("ListMetrics", "other"), ("GetMetricData", "other")];
        assert_eq!(freshness_results(&json), expected, "{url}");
        let message = row(&json, "ListMetrics")["message"].as_str().unwrap();
        assert!(
            message.contains("endpoint_url for CloudWatch of the profile `lake`"),
            "{message}"
        );
        assert_eq!(row(&json, "DescribeInboundIntegrations")["result"], "ok");
        assert_eq!(setup.run(&["once"]).code, Some(0));
        let warning = "Warning: endpoint_url for CloudWatch of the profile `lake`";
        assert!(setup.run(&["check"]).stdout.contains(warning));
    }
}
