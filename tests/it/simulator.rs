//! Tests of the simulator over real sockets. `tests/system/simulator_boto3.py` tests it with boto3.

mod cloudwatch;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::time::Instant;

use glue_integration_exporter::simulator::{
    Account, Fault, FaultKind, Handle, RequestMatcher, SimulatedIntegration, SimulatedTag,
    Simulator,
};
use serde_json::{Value, json};
use tokio::sync::oneshot;

const INBOUND: &str = "AWSGlue.DescribeInboundIntegrations";

/// A simulator that serves in its own thread, so that tests can use blocking sockets.
struct TestSimulator {
    addr: SocketAddr,
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

fn start(account: Account) -> TestSimulator {
    let (stop, stop_rx) = oneshot::channel::<()>();
    let (started_tx, started_rx) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async move {
            let simulator = Simulator::bind(([127, 0, 0, 1], 0).into(), account)
                .await
                .unwrap();
            started_tx
                .send((simulator.local_addr, simulator.handle.clone()))
                .unwrap();
            simulator.serve(async { drop(stop_rx.await) }).await;
        });
    });
    let (addr, handle) = started_rx.recv().unwrap();
    TestSimulator {
        addr,
        handle,
        stop: Some(stop),
        thread: Some(thread),
    }
}

impl Drop for TestSimulator {
    fn drop(&mut self) {
        self.stop.take().map(|stop| stop.send(()));
        let joined = self.thread.take().map(JoinHandle::join);
        assert!(
            joined.is_none_or(|joined| joined.is_ok()),
            "the simulator panicked"
        );
    }
}

struct Response {
    status: u16,
    head: String,
    body: String,
}

impl Response {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }

    /// Returns the HTTP status and the error code in `__type`.
    fn error(&self) -> (u16, String) {
        (
            self.status,
            self.json()["__type"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
        )
    }

    fn marker(&self) -> Option<String> {
        self.json()["Marker"].as_str().map(str::to_owned)
    }

    fn arns(&self) -> Vec<String> {
        let body = self.json();
        let items = body["InboundIntegrations"].as_array().expect("no list");
        items
            .iter()
            .map(|item| item["IntegrationArn"].as_str().unwrap().to_owned())
            .collect()
    }
}

impl TestSimulator {
    /// Sends a request and returns all bytes until the simulator closes the connection.
    fn exchange(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> String {
        let mut stream = TcpStream::connect(self.addr).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        stream
            .write_all(request_text(method, path, headers, body).as_bytes())
            .unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Response {
        let text = self.exchange(method, path, headers, body);
        let (head, body) = text.split_once("\r\n\r\n").expect("no response");
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Response {
            status,
            head: head.to_lowercase(),
            body: body.to_owned(),
        }
    }

    fn call_as(&self, access_key_id: &str, region: &str, body: &Value) -> Response {
        let authorization = authorization(&format!(
            "{access_key_id}/20261122/{region}/glue/aws4_request"
        ));
        self.send(
            "POST",
            "/",
            &api_headers(INBOUND, &authorization),
            &body.to_string(),
        )
    }

    fn call(&self, body: &Value) -> Response {
        self.call_as("AKIDTEST", "eu-west-1", body)
    }

    fn control(&self, method: &str, path: &str, body: &str) -> Response {
        self.send(
            method,
            &format!("/simulator/{path}"),
            &[("Host", "localhost:1")],
            body,
        )
    }

    fn push_fault(&self, matcher: RequestMatcher, kind: FaultKind) {
        self.handle.push_fault(Fault::new(matcher, kind));
    }
}

fn request_text(method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> String {
    let headers: String = headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    )
}

fn authorization(scope: &str) -> String {
    format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host;x-amz-date, Signature=0")
}

fn api_headers<'a>(target: &'a str, authorization: &'a str) -> [(&'a str, &'a str); 4] {
    [
        ("Host", "glue.eu-west-1.amazonaws.com"),
        ("Content-Type", "application/x-amz-json-1.1"),
        ("X-Amz-Target", target),
        ("Authorization", authorization),
    ]
}

fn demo() -> Account {
    Account::demo(1_795_000_000.0).unwrap()
}

#[test]
fn pages_return_each_integration_once_in_order() {
    let simulator = start(Account::generated(250));
    let (mut arns, mut marker, mut sizes) = (Vec::new(), None, Vec::new());
    loop {
        let response = simulator.call(&json!({"Marker": marker}));
        sizes.push(response.arns().len());
        arns.extend(response.arns());
        marker = response.marker();
        if marker.is_none() {
            break;
        }
    }
    assert_eq!(sizes, [100, 100, 50]);
    let expected: Vec<_> = simulator
        .handle
        .integrations()
        .into_iter()
        .map(|found| found.arn)
        .collect();
    assert_eq!(arns, expected);
    assert_eq!(
        simulator.call(&json!({"MaxRecords": 1000})).arns().len(),
        100
    );
    assert_eq!(simulator.call(&json!({"MaxRecords": 250, "TargetArn": "arn:aws:glue:eu-west-1:111122223333:database/database_3"})).arns().len(), 10);
    let pages: Vec<_> = simulator
        .handle
        .requests()
        .iter()
        .map(|request| request.page)
        .collect();
    assert_eq!(pages, [1, 2, 3, 1, 1]);
    assert_eq!(simulator.handle.request_count(), 5);
}

#[test]
fn full_last_page_has_no_marker() {
    let simulator = start(Account::generated(100));
    let response = simulator.call(&json!({}));
    assert_eq!((response.arns().len(), response.marker()), (100, None));
}

#[test]
fn marker_of_removed_item_continues_listing() {
    let simulator = start(Account::generated(4));
    let first = simulator.call(&json!({"MaxRecords": 2}));
    assert!(simulator.handle.remove(&first.arns()[1]));
    let second = simulator.call(&json!({"MaxRecords": 2, "Marker": first.marker()}));
    assert_eq!((second.arns().len(), second.marker()), (2, None));
}

#[test]
fn signature_selects_region_and_account() {
    let other = SimulatedIntegration::new(
        "arn:aws:glue:eu-west-1:111122223333:integration:cross",
        "arn:aws:dynamodb:eu-west-1:111122223333:table/t",
        "arn:aws:glue:eu-west-1:999988887777:database/d",
        "ACTIVE",
    );
    let mut account = demo();
    let other_account = ("AKIDOTHER".to_owned(), "999988887777".to_owned());
    account.accounts.extend([other_account]);
    let simulator = start(account);
    simulator.handle.put(other.clone());
    assert_eq!(simulator.call(&json!({})).arns().len(), 8);
    assert_eq!(
        simulator
            .call_as("AKIDTEST", "us-east-1", &json!({}))
            .arns()
            .len(),
        4
    );
    assert_eq!(
        simulator
            .call_as("AKIDTEST", "eu-central-1", &json!({}))
            .arns()
            .len(),
        0
    );
    assert_eq!(
        simulator
            .call_as("AKIDOTHER", "eu-west-1", &json!({}))
            .arns(),
        std::slice::from_ref(&other.arn)
    );
    let body = json!({"IntegrationArn": other.arn});
    assert_eq!(
        simulator.call(&body).error(),
        (400, "IntegrationNotFoundFault".to_owned())
    );
    // `DescribeIntegrations` of the creating account returns it, with its name.
    let authorization = authorization("AKIDTEST/20261122/eu-west-1/glue/aws4_request");
    let headers = api_headers("AWSGlue.DescribeIntegrations", &authorization);
    let response = simulator.send(
        "POST",
        "/",
        &headers,
        &json!({"IntegrationIdentifier": other.arn}).to_string(),
    );
    assert_eq!(
        response.json()["Integrations"][0]["IntegrationName"],
        "cross"
    );

    let requests = simulator.handle.requests();
    assert_eq!(
        (
            requests[1].region.as_str(),
            requests[3].access_key_id.as_str()
        ),
        ("us-east-1", "AKIDOTHER")
    );
    assert_eq!(
        requests[4].integration_arn.as_deref(),
        Some(other.arn.as_str())
    );
}

#[test]
fn invalid_headers_return_aws_errors() {
    let simulator = start(demo());
    let valid = authorization("AKIDTEST/20261122/eu-west-1/glue/aws4_request");
    let error_for = |headers: &[(&str, &str)]| simulator.send("POST", "/", headers, "{}").error();
    let unknown = (400, "UnknownOperationException".to_owned());
    assert_eq!(
        error_for(&api_headers("AWSGlue.GetTables", &valid)),
        unknown
    );
    assert_eq!(
        error_for(&api_headers("DescribeInboundIntegrations", &valid)),
        unknown
    );
    assert_eq!(error_for(&api_headers(INBOUND, &valid)[..1]), unknown);
    let incomplete = (400, "IncompleteSignatureException".to_owned());
    assert_eq!(error_for(&api_headers(INBOUND, &valid)[..3]), incomplete);
    for bad in [
        "",
        "Bearer x",
        "AWS4-HMAC-SHA256 Signature=0",
        &authorization("AKID/glue/aws4_request"),
        &authorization("////"),
    ] {
        assert_eq!(error_for(&api_headers(INBOUND, bad)), incomplete, "{bad}");
    }
    assert_eq!(simulator.send("GET", "/", &[], "").status, 404);
    assert!(simulator.handle.requests().is_empty());
}

#[test]
fn invalid_input_error_names_field() {
    let simulator = start(demo());
    let authorization = authorization("AKIDTEST/20261122/eu-west-1/glue/aws4_request");
    let headers = api_headers(INBOUND, &authorization);
    let deep = "[".repeat(50_000);
    for body in [
        "",
        "{",
        "[]",
        "null",
        "\u{0}",
        &deep,
        r#"{"MaxRecords":"5"}"#,
        r#"{"MaxRecords":1.5}"#,
        r#"{"MaxRecords":0}"#,
        r#"{"MaxRecords":-1}"#,
        r#"{"Marker":5}"#,
        r#"{"TargetArn":[]}"#,
    ] {
        let response = simulator.send("POST", "/", &headers, body);
        assert_eq!(
            response.error(),
            (400, "SerializationException".to_owned()),
            "{body}"
        );
    }
    let response = simulator.call(&json!({"Marker": "never-issued"}));
    assert_eq!(response.error(), (400, "ValidationException".to_owned()));
    // Requests are recorded, so their texts have a limit.
    for text in ["Marker", "TargetArn", "Namespace"] {
        let response = simulator.call(&json!({text: "1:".repeat(1_100)}));
        assert_eq!(response.error(), (400, "ValidationException".to_owned()));
    }
    assert!(simulator.handle.requests().is_empty());
}

#[test]
fn item_has_api_fields_and_no_nulls() {
    let simulator = start(demo());
    let response = simulator.call_as("AKIDTEST", "us-east-1", &json!({}));
    assert!(
        response
            .head
            .contains("x-amzn-requestid: 00000000-0000-4000-8000-000000000001"),
        "{}",
        response.head
    );
    assert!(
        response
            .head
            .contains("content-type: application/x-amz-json-1.1")
    );
    assert!(!response.body.contains("null"), "{}", response.body);
    let legacy = &response.json()["InboundIntegrations"][2];
    assert_eq!(legacy["Status"], "active");
    let members = legacy.as_object().unwrap().keys();
    let mut members: Vec<_> = members.map(String::as_str).collect();
    members.sort_unstable();
    assert_eq!(
        members,
        [
            "CreateTime",
            "IntegrationArn",
            "SourceArn",
            "Status",
            "TargetArn"
        ]
    );
    assert_eq!(
        legacy["CreateTime"],
        json!(1_795_000_000.0 - 700.0 * 86_400.0)
    );
    let all = simulator.call(&json!({})).json();
    let sap = &all["InboundIntegrations"][3];
    assert_eq!(
        sap["CreateTime"],
        json!(1_795_000_000.0 - 12.5 * 86_400.0 - 0.25)
    );
    assert_eq!(sap["IntegrationConfig"]["TargetNamespace"], "sap_finance");
    assert!(sap["IntegrationConfig"]["SourceProperties"]["secretArn"].is_string());
}

#[test]
fn demo_account_has_every_status() {
    let simulator = start(demo());
    let found: std::collections::BTreeSet<_> = simulator
        .handle
        .integrations()
        .into_iter()
        .map(|one| one.status)
        .collect();
    let expected = [
        "ACTIVE",
        "CREATING",
        "DELETING",
        "FAILED",
        "MODIFYING",
        "NEEDS_ATTENTION",
        "SYNCING",
        "active",
    ];
    assert!(found.iter().map(String::as_str).eq(expected), "{found:?}");
    assert_eq!(simulator.handle.integrations().len(), 12);
}

#[tokio::test(start_paused = true)]
async fn script_follows_clock() {
    let start = Instant::now();
    let simulator = Simulator::bind(([127, 0, 0, 1], 0).into(), demo())
        .await
        .unwrap();
    let handle = simulator.handle.clone();
    let at = async |second: u64, index: usize| {
        tokio::time::sleep_until(start + Duration::from_secs(second)).await;
        let found = handle.integrations().swap_remove(index);
        let errors = found.errors.map_or(0, |errors| errors.len());
        (found.status, errors, found.create_time - 1_795_000_000.0)
    };
    let expect = |status: &str, errors, created| (status.to_owned(), errors, created);
    assert_eq!(at(0, 0).await, expect("CREATING", 0, 0.0));
    assert_eq!(at(59, 0).await, expect("CREATING", 0, 0.0));
    assert_eq!(at(60, 0).await, expect("ACTIVE", 0, 0.0));
    let salesforce = |status: &str, errors| expect(status, errors, -41.0 * 86_400.0);
    assert_eq!(at(120, 1).await, salesforce("ACTIVE", 1));
    assert_eq!(at(180, 0).await, expect("NEEDS_ATTENTION", 1, 0.0));
    assert_eq!(at(300, 0).await, expect("SYNCING", 0, 0.0));
    assert_eq!(at(360, 1).await, salesforce("FAILED", 2));
    assert_eq!(at(540, 1).await, salesforce("ACTIVE", 0));
    assert_eq!(at(599, 0).await, expect("ACTIVE", 0, 0.0));
    assert_eq!(at(600, 0).await, expect("CREATING", 0, 600.0));
    assert!(handle.set_status(&handle.integrations()[0].arn, "DELETING"));
    let (status, ..) = at(700, 0).await;
    assert_eq!(
        status, "DELETING",
        "a changed integration must not follow the script"
    );
}

#[test]
fn unknown_arn_is_not_found_and_unknown_target_is_empty() {
    let simulator = start(Account::of(Vec::new()));
    let by_arn = json!({"IntegrationArn": "arn:x"});
    let by_target = json!({"TargetArn": "arn:x"});
    assert_eq!(
        simulator.call(&by_arn).error(),
        (400, "IntegrationNotFoundFault".to_owned())
    );
    assert_eq!(
        simulator.call(&by_target).json(),
        json!({"InboundIntegrations": []})
    );
}

#[test]
fn fault_applies_to_matching_requests() {
    let simulator = start(demo());
    let arn = simulator.handle.integrations()[1].arn.clone();
    let throttled = || FaultKind::error("ThrottlingException", "Rate exceeded");
    simulator.handle.push_fault(
        Fault::new(
            RequestMatcher {
                integration_arn: Some(arn.to_owned()),
                ..RequestMatcher::default()
            },
            throttled(),
        )
        .times(2),
    );
    simulator.push_fault(
        RequestMatcher::region("us-east-1"),
        FaultKind::error("InternalServiceException", "m"),
    );
    simulator.push_fault(
        RequestMatcher {
            access_key_id: Some("AKIDBAD".to_owned()),
            ..RequestMatcher::default()
        },
        FaultKind::error("AccessDeniedException", "m"),
    );
    simulator.push_fault(
        RequestMatcher::page(2),
        FaultKind::error("InternalServerException", "m"),
    );
    simulator.push_fault(
        RequestMatcher {
            target_arn: Some("arn:t".to_owned()),
            ..RequestMatcher::default()
        },
        FaultKind::error("TargetResourceNotFound", "m"),
    );

    let by_arn = json!({"IntegrationArn": arn});
    for _ in 0..2 {
        let response = simulator.call(&by_arn);
        assert_eq!(response.error(), (400, "ThrottlingException".to_owned()));
        assert_eq!(response.json()["Message"], "Rate exceeded");
    }
    assert_eq!(simulator.call(&by_arn).status, 200);
    assert_eq!(
        simulator
            .call_as("AKIDTEST", "us-east-1", &json!({}))
            .error(),
        (500, "InternalServiceException".to_owned())
    );
    assert_eq!(
        simulator
            .call_as("AKIDBAD", "eu-west-1", &json!({}))
            .error(),
        (400, "AccessDeniedException".to_owned())
    );
    assert_eq!(
        simulator.call(&json!({"TargetArn": "arn:t"})).error(),
        (400, "TargetResourceNotFound".to_owned())
    );
    let first = simulator.call(&json!({"MaxRecords": 2}));
    assert_eq!(first.status, 200);
    let second = simulator.call(&json!({"MaxRecords": 2, "Marker": first.marker()}));
    assert_eq!(second.error(), (400, "InternalServerException".to_owned()));
    simulator.handle.clear_faults();
    assert_eq!(
        simulator
            .call(&json!({"MaxRecords": 2, "Marker": first.marker()}))
            .status,
        200
    );
}

#[test]
fn raw_response_is_sent_unchanged() {
    let simulator = start(demo());
    simulator.handle.push_fault(
        Fault::new(
            RequestMatcher::default(),
            FaultKind::raw(200, "{\"InboundIntegr"),
        )
        .times(1),
    );
    let html = hyper::Response::builder()
        .status(503)
        .header("content-type", "text/html")
        .header("x-cache", "miss");
    let html = FaultKind::Raw(html.body("<html>".into()).unwrap());
    simulator
        .handle
        .push_fault(Fault::new(RequestMatcher::default(), html).times(1));

    let response = simulator.call(&json!({}));
    assert_eq!(
        (response.status, response.body.as_str()),
        (200, "{\"InboundIntegr")
    );
    let response = simulator.call(&json!({}));
    assert_eq!((response.status, response.body.as_str()), (503, "<html>"));
    assert!(response.head.contains("text/html") && response.head.contains("x-cache: miss"));
}

#[test]
fn marker_faults_repeat_or_never_end() {
    let simulator = start(Account::generated(3));
    simulator.push_fault(RequestMatcher::default(), FaultKind::RepeatMarker);
    let first = simulator.call(&json!({}));
    let second = simulator.call(&json!({"Marker": first.marker()}));
    assert!(first.marker().is_some());
    assert_eq!(first.marker(), second.marker());

    simulator.handle.clear_faults();
    simulator.push_fault(RequestMatcher::default(), FaultKind::EndlessMarkers);
    let mut seen = std::collections::BTreeSet::new();
    let mut marker = None;
    for _ in 0..20 {
        marker = simulator
            .call(&json!({"Marker": marker, "MaxRecords": 2}))
            .marker();
        assert!(
            seen.insert(marker.clone().expect("no marker")),
            "marker repeated"
        );
    }
}

#[test]
fn reset_mid_body_truncates_body() {
    let simulator = start(demo());
    simulator.push_fault(RequestMatcher::default(), FaultKind::ResetMidBody);
    let response = simulator.call(&json!({}));
    let content_length = response
        .head
        .split("content-length: ")
        .nth(1)
        .unwrap()
        .split('\r')
        .next()
        .unwrap();
    assert_eq!(
        response.body.len(),
        content_length.parse::<usize>().unwrap() / 2
    );
}

#[test]
fn slow_responses_are_complete() {
    let simulator = start(Account::generated(1));
    let normal = simulator.call(&json!({})).body;
    let time_call = |kind| {
        simulator
            .handle
            .push_fault(Fault::new(RequestMatcher::default(), kind).times(1));
        let start = Instant::now();
        (simulator.call(&json!({})).body, start.elapsed())
    };
    let (delayed, took) = time_call(FaultKind::Delay(Duration::from_millis(60)));
    assert!(
        delayed == normal && took >= Duration::from_millis(60),
        "{took:?}"
    );
    let (dripped, took) = time_call(FaultKind::Drip {
        bytes: 100,
        pause: Duration::from_millis(10),
    });
    assert!(
        dripped == normal && took >= Duration::from_millis(30),
        "{took:?}"
    );
}

#[test]
fn hanging_request_ends_on_shutdown() {
    let mut simulator = start(demo());
    simulator.push_fault(RequestMatcher::default(), FaultKind::Hang);
    simulator.push_fault(
        RequestMatcher::default(),
        FaultKind::Delay(Duration::from_secs(3600)),
    );
    let authorization = authorization("AKIDTEST/20261122/eu-west-1/glue/aws4_request");
    let mut stream = TcpStream::connect(simulator.addr).unwrap();
    stream
        .write_all(
            request_text("POST", "/", &api_headers(INBOUND, &authorization), "{}").as_bytes(),
        )
        .unwrap();
    stream
        .set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    assert!(stream.read(&mut [0]).is_err(), "expected a read timeout");
    // Other requests are served meanwhile.
    assert_eq!(simulator.control("GET", "requests", "").status, 200);

    let start = Instant::now();
    simulator.stop.take().map(|stop| stop.send(()));
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    drop(simulator);
    assert!(
        start.elapsed() < Duration::from_secs(60),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn control_endpoint_changes_account() {
    let simulator = start(demo());
    let arn = "arn:aws:glue:eu-west-1:111122223333:integration/slash";
    let path = "integrations/arn%3Aaws%3Aglue:eu-west-1:111122223333:integration%2fslash";
    let item = json!({
        "SourceArn": "arn:aws:rds:eu-west-1:1:cluster:c", "TargetArn": "arn:aws:glue:eu-west-1:111122223333:database/d",
        "Status": "REPLICATING", "CreateTime": 1_700_000_000.0,
        "IntegrationConfig": {"RefreshInterval": "rate(1 hour)", "ContinuousSync": false, "SourceProperties": {"k": "v"}},
        "Errors": [{"ErrorCode": "C"}],
    });
    assert_eq!(simulator.control("DELETE", "integrations", "").status, 204);
    assert_eq!(
        simulator.control("PUT", path, &item.to_string()).status,
        204
    );
    let mut expected = item.clone();
    expected["IntegrationArn"] = json!(arn);
    assert_eq!(
        simulator.call(&json!({})).json(),
        json!({"InboundIntegrations": [expected]})
    );
    expected["IntegrationName"] = json!("slash");
    expected["Tags"] = json!([]);
    assert_eq!(
        simulator.control("GET", "integrations", "").json(),
        json!([expected])
    );
    assert_eq!(
        simulator
            .control("PATCH", path, r#"{"Status":"FAILED"}"#)
            .status,
        204
    );
    let patched = &simulator.handle.integrations()[0];
    assert_eq!(patched.status, "FAILED");
    assert_eq!(patched.errors.as_ref().map(Vec::len), Some(1));
    let mut named = item.clone();
    named["IntegrationName"] = json!("orders");
    named["Tags"] = json!([{"key": "team", "value": "lake"}]);
    assert_eq!(
        simulator.control("PUT", path, &named.to_string()).status,
        204
    );
    let put = &simulator.handle.integrations()[0];
    assert_eq!(put.name, "orders");
    assert_eq!(
        put.tags,
        [SimulatedTag {
            key: "team".into(),
            value: "lake".into()
        }]
    );
    assert_eq!(
        simulator
            .control("POST", "integrations", &json!([expected]).to_string())
            .status,
        204
    );
    assert_eq!(simulator.handle.integrations()[0].status, "REPLICATING");

    let fault = r#"{"Kind":"Error","Code":"InternalServiceException"}"#;
    assert_eq!(simulator.control("POST", "faults", fault).status, 204);
    assert_eq!(simulator.call(&json!({})).status, 500);
    assert_eq!(simulator.control("DELETE", "faults", "").status, 204);
    assert_eq!(simulator.call(&json!({})).status, 200);
    let hang = r#"{"Kind":"Hang"}"#;
    assert_eq!(simulator.control("POST", "faults", hang).status, 204);
    assert_eq!(simulator.control("DELETE", "faults", "").status, 204);
    assert_eq!(simulator.call(&json!({})).status, 200);
    let requests = simulator.control("GET", "requests", "").json();
    let first = &requests[0];
    assert_eq!(first["Operation"], "DescribeInboundIntegrations");
    let (region, key) = (&first["Region"], &first["AccessKeyId"]);
    assert_eq!((region, key), (&json!("eu-west-1"), &json!("AKIDTEST")));
    assert_eq!(first["Page"], 1);

    assert_eq!(simulator.control("DELETE", path, "").status, 204);
    assert_eq!(simulator.control("DELETE", path, "").status, 404);
    assert_eq!(simulator.control("PATCH", path, "{}").status, 404);
}

#[test]
fn control_endpoint_error_names_field() {
    let simulator = start(demo());
    for (method, path, body, status, message) in [
        (
            "POST",
            "faults",
            r#"{"Kind":"Boom"}"#,
            400,
            "unknown variant `Boom`, expected `Error` or `Hang`",
        ),
        (
            "POST",
            "faults",
            r#"{"Kind":"Hang","Body":"x"}"#,
            400,
            "unknown field `Body`",
        ),
        (
            "POST",
            "faults",
            r#"{"Kind":"Error"}"#,
            400,
            "missing field `Code`",
        ),
        (
            "POST",
            "faults",
            r#"{"Kind":"Error","Code":5}"#,
            400,
            "invalid type: integer `5`",
        ),
        ("POST", "faults", "nonsense", 400, "line 1 column 2"),
        ("POST", "faults", r#"{"Kind":"Hang"}}"#, 400, "trailing"),
        ("POST", "integrations", "{}", 400, "expected a sequence"),
        (
            "POST",
            "integrations",
            r#"[{"Status":5}]"#,
            400,
            "[0].Status: invalid type: integer `5`",
        ),
        (
            "POST",
            "integrations",
            r#"[{"SourceArn":"s","TargetArn":"t","Status":"ACTIVE","CreateTime":0}]"#,
            400,
            "missing field `IntegrationArn`",
        ),
        (
            "PUT",
            "integrations/a",
            "{}",
            400,
            "missing field `SourceArn`",
        ),
        (
            "PATCH",
            "integrations/a",
            r#"{"Errors":[{"Code":"b"}]}"#,
            400,
            "Errors[0].Code: unknown field `Code`",
        ),
        ("PUT", "integrations/", "{}", 404, "integrations/ARN"),
        ("PUT", "faults", "{}", 404, "POST and DELETE"),
        ("GET", "integrations/a", "", 404, "PUT, PATCH and DELETE"),
        ("GET", "nothing", "", 404, "/simulator/requests"),
    ] {
        let response = simulator.control(method, path, body);
        assert_eq!(
            response.status, status,
            "{method} {path} {body}: {}",
            response.body
        );
        assert!(
            response.json()["message"]
                .as_str()
                .unwrap()
                .contains(message),
            "{message}: {}",
            response.body
        );
    }
    assert_eq!(simulator.handle.integrations().len(), 12);
}

#[test]
fn control_endpoint_rejects_web_pages() {
    let simulator = start(demo());
    let page = [("Host", "localhost"), ("Origin", "http://localhost")];
    let rejected = simulator.send("DELETE", "/simulator/integrations", &page, "");
    assert_eq!(rejected.status, 403);
    assert_eq!(simulator.handle.integrations().len(), 12);
    let accepted = simulator.send("DELETE", "/simulator/integrations", &page[..1], "");
    assert_eq!(accepted.status, 204);
}

#[tokio::test]
async fn rust_sdk_parses_responses() {
    use aws_sdk_glue::config::retry::RetryConfig;
    use aws_sdk_glue::config::{BehaviorVersion, Credentials, Region};

    let simulator = start(demo());
    let config = aws_sdk_glue::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("AKIDTEST", "none", None, None, "test"))
        .retry_config(RetryConfig::disabled())
        .endpoint_url(format!("http://{}", simulator.addr))
        .build();
    let client = aws_sdk_glue::Client::from_conf(config);
    let found = client.describe_inbound_integrations().send().await.unwrap();
    let statuses: Vec<_> = found
        .inbound_integrations()
        .iter()
        .map(|one| one.status().as_str())
        .collect();
    assert_eq!(statuses, ["CREATING", "FAILED", "active", "DELETING"]);

    let error = client
        .describe_inbound_integrations()
        .integration_arn("arn:x")
        .send()
        .await
        .unwrap_err();
    let error = error.into_service_error();
    assert!(error.is_integration_not_found_fault());
    assert_eq!(error.meta().message(), Some("Integration arn:x not found."));

    simulator.push_fault(RequestMatcher::default(), FaultKind::ResetMidBody);
    assert!(client.describe_inbound_integrations().send().await.is_err());
}
