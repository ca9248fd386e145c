//! The requests to CloudWatch, sent through the AWS SDK to a server that answers with prepared bytes. Checks what is sent, and how each
//! answer is understood.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use ciborium::cbor;
use ciborium::value::Value;
use glue_integration_exporter::glue::aws::{AwsGlue, Sdk};
use glue_integration_exporter::glue::cloudwatch::{CloudWatch, Metric, MetricName, MetricSamples};
use glue_integration_exporter::glue::{
    Deadline, GlueError, Observer, Operation, Page, PageRequest, RateLimiter, Reason,
    RequestContext,
};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const NAMESPACE: &str = "AWS/Glue/ZeroETL";
/// The name of a table that must be sent back byte for byte.
const UNUSUAL: &str = " Äpfel\u{7f}\"'\\ ";
/// Whole minutes.
const START: i64 = 1_799_999_940;
const END: i64 = 1_800_003_600;

struct Response {
    status: u16,
    headers: &'static str,
    body: Vec<u8>,
    /// `content-length`, if it is not that of the body.
    length: Option<usize>,
}

fn raw(status: u16, body: impl Into<Vec<u8>>) -> Response {
    Response {
        status,
        headers: "",
        body: body.into(),
        length: None,
    }
}

fn encode(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).unwrap();
    bytes
}

fn ok(value: Result<Value, ciborium::value::Error>) -> Response {
    raw(200, encode(&value.unwrap()))
}

fn error(status: u16, code: &str) -> Response {
    let body = cbor!({"__type" => format!("com.amazonaws.cloudwatch#{code}"), "message" => "why"});
    raw(status, encode(&body.unwrap()))
}

/// The SDK writes times with a fraction.
fn time(seconds: i64) -> Value {
    Value::Tag(1, Box::new(Value::Float(seconds as f64)))
}

/// A result of `GetMetricData` with the value 1 at `START`.
fn result(id: &str, status: &str) -> Value {
    let values = cbor!({"Id" => id, "Label" => "any", "Timestamps" => [time(START)], "Values" => [1.0], "StatusCode" => status});
    values.unwrap()
}

fn results(results: &[Value]) -> Response {
    ok(cbor!({"MetricDataResults" => results, "Messages" => []}))
}

/// Sends the responses in turn, one for each connection. It answers nothing after the last one.
struct Server {
    client: AwsGlue,
    log: Arc<Log>,
}

#[derive(Default)]
struct Log {
    requests: Mutex<Vec<(String, Value)>>,
    ended: Mutex<Vec<(Operation, Option<Reason>)>>,
}

impl Observer for Log {
    fn waited(&self, _operation: Operation, _duration: Duration) {}
    fn sent(&self, _operation: Operation) {}
    fn ended(&self, operation: Operation, _duration: Duration, failure: Option<Reason>) {
        self.ended.lock().push((operation, failure));
    }
}

impl Server {
    async fn start(responses: Vec<Response>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let log = Arc::<Log>::default();
        let observer: Arc<dyn Observer> = Arc::<Log>::clone(&log);
        let rate_limiter = RateLimiter::new(1);
        let client =
            Sdk::connect_simulated(observer, url, &"eu-west-1".parse().unwrap(), rate_limiter);
        tokio::spawn(serve(listener, responses.into(), Arc::clone(&log)));
        Self { client, log }
    }

    async fn metrics(&self, marker: Option<&str>) -> Result<Page<Metric>, GlueError> {
        let deadline = Deadline::new(Duration::from_secs(30), 1);
        let request = page_request(marker, &deadline);
        let name = MetricName::IngestionSucceeded;
        self.client.metrics(name, request).await
    }

    async fn data(
        &self,
        marker: Option<&str>,
        timeout: Duration,
    ) -> Result<Page<MetricSamples>, GlueError> {
        let deadline = Deadline::new(timeout, 1);
        let request = page_request(marker, &deadline);
        let synced = Metric {
            name: MetricName::LastSyncTimestamp,
            ..metric(UNUSUAL)
        };
        let metrics = [metric("orders"), synced];
        self.client.data(&metrics, START..END, request).await
    }

    fn failures(&self) -> Vec<&'static str> {
        let ended = self.log.ended.lock();
        let failures = ended.iter().filter_map(|(_, failure)| *failure);
        failures.map(Reason::as_str).collect()
    }
}

fn page_request<'a>(marker: Option<&'a str>, deadline: &'a Deadline) -> PageRequest<'a> {
    let context = RequestContext {
        scope: "a",
        deadline,
    };
    PageRequest {
        marker,
        page_size: None,
        context,
    }
}

async fn serve(listener: TcpListener, mut responses: VecDeque<Response>, log: Arc<Log>) {
    let mut hanging = Vec::new();
    while let Ok((mut stream, _)) = listener.accept().await {
        let request = read(&mut stream).await;
        log.requests.lock().push(request);
        let Some(response) = responses.pop_front() else {
            hanging.push(stream);
            continue;
        };
        let Response {
            status,
            headers,
            body,
            length,
        } = response;
        let length = length.unwrap_or(body.len());
        let head = format!(
            "HTTP/1.1 {status} any\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&body).await.unwrap();
    }
}

/// Returns the head in lower case and the decoded body.
async fn read(stream: &mut TcpStream) -> (String, Value) {
    let mut bytes = Vec::new();
    loop {
        assert!(stream.read_buf(&mut bytes).await.unwrap() > 0);
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
            continue;
        };
        let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
        let (_, length) = head.split_once("content-length: ").unwrap();
        let length: usize = length.lines().next().unwrap().parse().unwrap();
        let body = &bytes[end + 4..];
        if body.len() == length {
            return (head, ciborium::from_reader(body).unwrap());
        }
    }
}

fn metric(table: &str) -> Metric {
    let dimensions = [
        (
            "integrationArn",
            "arn:aws:glue:eu-west-1:111122223333:integration/A",
        ),
        ("loadType", "CDC"),
        ("tableName", table),
    ];
    let dimensions = dimensions.map(|(name, value)| (name.to_owned(), value.to_owned()));
    Metric {
        namespace: NAMESPACE.to_owned(),
        name: MetricName::IngestionSucceeded,
        dimensions: dimensions.into(),
    }
}

fn wire(metric: &Metric) -> Value {
    let dimensions = metric.dimensions.iter();
    let dimensions: Vec<Value> = dimensions
        .map(|(name, value)| cbor!({"Name" => name, "Value" => value}).unwrap())
        .collect();
    let (namespace, name) = (&metric.namespace, metric.name.as_str());
    cbor!({"Namespace" => namespace, "MetricName" => name, "Dimensions" => dimensions}).unwrap()
}

/// Sorts the keys, because their order means nothing.
fn sorted(value: Value) -> Value {
    match value {
        Value::Map(entries) => {
            let mut entries: Vec<_> = entries
                .into_iter()
                .map(|(key, value)| (key, sorted(value)))
                .collect();
            entries.sort_by_key(|(key, _)| key.as_text().unwrap().to_owned());
            Value::Map(entries)
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        other => other,
    }
}

const LONG: Duration = Duration::from_secs(30);

#[tokio::test]
async fn list_metrics_sends_name_and_follows_token() {
    let listed = [metric("orders"), metric(UNUSUAL)];
    let server = Server::start(vec![
        ok(cbor!({"Metrics" => [wire(&listed[0])], "NextToken" => "next"})),
        ok(cbor!({"Metrics" => [wire(&listed[1])], "NextToken" => ""})),
    ])
    .await;
    let first = server.metrics(None).await.unwrap();
    assert_eq!(first.items, listed[..1]);
    let last = server.metrics(first.marker.as_deref()).await.unwrap();
    assert_eq!((last.items, last.marker), (listed[1..].to_vec(), None));

    let requests = server.log.requests.lock();
    let (head, first) = &requests[0];
    assert!(
        head.starts_with("post /service/graniteserviceversion20100801/operation/listmetrics "),
        "{head}"
    );
    assert!(head.contains("smithy-protocol: rpc-v2-cbor"), "{head}");
    assert!(
        head.contains("/eu-west-1/monitoring/aws4_request"),
        "{head}"
    );
    assert!(!head.contains("content-encoding"), "{head}");
    let sent = cbor!({"Namespace" => NAMESPACE, "MetricName" => "IngestionSucceeded"}).unwrap();
    assert_eq!(sorted(first.clone()), sorted(sent));
    let sent = cbor!({"Namespace" => NAMESPACE, "MetricName" => "IngestionSucceeded", "NextToken" => "next"});
    assert_eq!(sorted(requests[1].1.clone()), sorted(sent.unwrap()));
    let ended = server.log.ended.lock();
    assert_eq!(*ended, [(Operation::ListMetrics, None); 2]);
}

#[tokio::test]
async fn get_metric_data_sends_dimensions_unchanged() {
    let partial = cbor!({"Id" => "m1", "Timestamps" => [time(START + 60)], "Values" => [7.5], "StatusCode" => "PartialData"});
    let server = Server::start(vec![
        ok(cbor!({"MetricDataResults" => [result("m0", "Complete"), partial.unwrap()], "NextToken" => "next"})),
        results(&[result("m1", "Complete")]),
    ])
    .await;
    let page = server.data(None, LONG).await.unwrap();
    let samples = |index, samples, missing| MetricSamples {
        index,
        samples,
        missing,
    };
    let complete = samples(0, vec![(START, 1.0)], None);
    let partial = samples(1, vec![(START + 60, 7.5)], Some(Reason::InvalidResponse));
    assert_eq!(page.items, [complete, partial]);
    let page = server.data(page.marker.as_deref(), LONG).await.unwrap();
    let rest = samples(1, vec![(START, 1.0)], None);
    assert_eq!((page.items, page.marker), (vec![rest], None));

    let requests = server.log.requests.lock();
    let (head, first) = &requests[0];
    assert!(head.contains("/operation/getmetricdata "), "{head}");
    assert!(!head.contains("content-encoding"), "{head}");
    let query = |id: &str, name: MetricName, table: &str, stat: &str| {
        let metric = wire(&Metric {
            name,
            ..metric(table)
        });
        let stat = cbor!({"Metric" => metric, "Period" => 60, "Stat" => stat}).unwrap();
        cbor!({"Id" => id, "MetricStat" => stat}).unwrap()
    };
    let sent = |marker: &[(&str, &str)]| {
        let marker = marker.iter();
        let mut sent = vec![
            (
                cbor!("MetricDataQueries").unwrap(),
                Value::Array(vec![
                    query("m0", MetricName::IngestionSucceeded, "orders", "Sum"),
                    query("m1", MetricName::LastSyncTimestamp, UNUSUAL, "Maximum"),
                ]),
            ),
            (cbor!("StartTime").unwrap(), time(START)),
            (cbor!("EndTime").unwrap(), time(END)),
            (
                cbor!("ScanBy").unwrap(),
                cbor!("TimestampDescending").unwrap(),
            ),
        ];
        sent.extend(marker.map(|(key, value)| (cbor!(key).unwrap(), cbor!(value).unwrap())));
        sorted(Value::Map(sent))
    };
    assert_eq!(sorted(first.clone()), sent(&[]));
    assert_eq!(
        sorted(requests[1].1.clone()),
        sent(&[("NextToken", "next")])
    );
}

#[tokio::test]
async fn status_code_of_metric_is_its_own() {
    for (code, missing) in [
        ("Complete", None),
        ("PartialData", Some(Reason::InvalidResponse)),
        ("InternalError", Some(Reason::ServerError)),
        ("Forbidden", Some(Reason::AccessDenied)),
        ("Surprise", Some(Reason::InvalidResponse)),
    ] {
        let both = vec![result("m1", code), result("m0", "Complete")];
        let server = Server::start(vec![results(&both)]).await;
        let page = server.data(None, LONG).await.unwrap();
        let found: Vec<_> = page.items.iter().map(|it| (it.index, it.missing)).collect();
        assert_eq!(found, [(1, missing), (0, None)], "{code}");
    }
    let missing = cbor!({"Id" => "m0"}).unwrap();
    let server = Server::start(vec![results(&[missing])]).await;
    let page = server.data(None, LONG).await.unwrap();
    assert_eq!(page.items[0].missing, Some(Reason::InvalidResponse));
    assert_eq!(page.items[0].samples, []);
}

#[tokio::test]
async fn metric_without_name_or_value_is_skipped() {
    const NAME: &str = "IngestionSucceeded";
    let broken = [
        cbor!({"MetricName" => NAME, "Dimensions" => []}),
        cbor!({"Namespace" => "a"}),
        cbor!({"Namespace" => "a", "MetricName" => "another", "Dimensions" => []}),
        cbor!({"Namespace" => "a", "MetricName" => NAME, "Dimensions" => [{"Name" => "a"}]}),
        cbor!({"Namespace" => "a", "MetricName" => NAME, "Dimensions" => [{"Value" => "a"}]}),
    ];
    let mut metrics = broken.map(Result::unwrap).to_vec();
    metrics.push(wire(&metric("orders")));
    let server = Server::start(vec![ok(cbor!({"Metrics" => metrics}))]).await;
    let page = server.metrics(None).await.unwrap();
    assert_eq!(page.items, [metric("orders")]);
    assert_eq!(page.without_arn, 0);
}

#[tokio::test]
async fn empty_list_means_no_metrics() {
    let server = Server::start(vec![
        ok(cbor!({"Metrics" => []})),
        ok(cbor!({"NextToken" => "next"})),
    ])
    .await;
    assert_eq!(server.metrics(None).await.unwrap(), Page::default());
    let page = server.metrics(None).await.unwrap();
    assert_eq!((page.items, page.marker.as_deref()), (vec![], Some("next")));
}

/// The name of a case, the response, the reason, and the number of attempts.
type Case = (&'static str, fn() -> Response, &'static str, usize);

const INVALID: [Case; 10] = [
    (
        "HTML",
        || raw(200, "<html>Sorry</html>"),
        "invalid_response",
        1,
    ),
    ("an empty body", || raw(200, ""), "invalid_response", 1),
    ("white space", || raw(200, " \n"), "invalid_response", 1),
    ("JSON", || raw(200, LISTS_IN_JSON), "invalid_response", 1),
    ("an empty map", || ok(cbor!({})), "invalid_response", 1),
    ("null", || ok(cbor!(null)), "invalid_response", 1),
    ("a bare list", || ok(cbor!([])), "invalid_response", 1),
    (
        "null for the list",
        || lists(&Value::Null),
        "invalid_response",
        1,
    ),
    (
        "text for the list",
        || lists(&"a".into()),
        "invalid_response",
        1,
    ),
    (
        "an error with 200",
        || error(200, "InternalServiceFault"),
        "invalid_response",
        1,
    ),
];
const ERRORS: [Case; 13] = [
    (
        "HTML with 403",
        || raw(403, "<html>no</html>"),
        "access_denied",
        1,
    ),
    (
        "HTML with 503",
        || raw(503, "<html>no</html>"),
        "server_error",
        3,
    ),
    ("429 without a body", || raw(429, ""), "throttled", 3),
    (
        "throttled",
        || error(400, "ThrottlingException"),
        "throttled",
        3,
    ),
    ("limit", || error(400, "LimitExceededFault"), "throttled", 3),
    ("denied", || error(403, "AccessDenied"), "access_denied", 1),
    (
        "expired",
        || error(403, "ExpiredTokenException"),
        "credentials",
        1,
    ),
    (
        "internal",
        || error(500, "InternalServiceFault"),
        "server_error",
        3,
    ),
    (
        "token",
        || error(400, "InvalidNextToken"),
        "invalid_request",
        1,
    ),
    (
        "missing",
        || error(400, "MissingRequiredParameterException"),
        "invalid_request",
        1,
    ),
    ("code in a header", query_error, "invalid_request", 1),
    (
        "unknown code",
        || error(400, "NobodyExpectsThis"),
        "other",
        1,
    ),
    ("a body cut short", cut_short, "network", 3),
];
const LISTS_IN_JSON: &str = r#"{"Metrics":[],"MetricDataResults":[]}"#;

fn lists(value: &Value) -> Response {
    ok(cbor!({"Metrics" => value, "MetricDataResults" => value}))
}

fn query_error() -> Response {
    Response {
        headers: "x-amzn-query-error: InvalidParameterValue;Sender\r\n",
        ..error(400, "SomethingElse")
    }
}

fn cut_short() -> Response {
    let whole = lists(&Value::Array(Vec::new()));
    Response {
        length: Some(whole.body.len() + 1),
        ..whole
    }
}

#[tokio::test]
async fn failure_of_cloudwatch_has_reason() {
    let run = async |(name, response, reason, attempts): Case, lists: bool| {
        let server = Server::start((0..attempts).map(|_| response()).collect()).await;
        let failed = if lists {
            server.metrics(None).await.map(drop)
        } else {
            server.data(None, LONG).await.map(drop)
        };
        let failed = failed.expect_err(name);
        assert_eq!(failed.reason.as_str(), reason, "{name}: {failed}");
        assert_eq!(server.failures(), vec![reason; attempts], "{name}");
        let start = "asking CloudWatch in eu-west-1 for ";
        assert!(failed.message.starts_with(start), "{failed}");
        failed.message
    };
    let cases = INVALID.into_iter().chain(ERRORS);
    let runs = cases.flat_map(|case| [run(case, true), run(case, false)]);
    let messages = futures_util::future::join_all(runs).await;
    let denied = "asking CloudWatch in eu-west-1 for the metrics IngestionSucceeded failed: AccessDenied: why";
    assert!(messages.iter().any(|it| it == denied), "{messages:#?}");
}

#[tokio::test]
async fn invalid_results_are_an_invalid_response() {
    let (times, values) = ([time(START), time(END)], [f64::NAN]);
    let wrong_lengths =
        cbor!({"Id" => "m0", "Timestamps" => times, "Values" => [1.0], "StatusCode" => "Complete"});
    let not_a_number = cbor!({"Id" => "m0", "Timestamps" => [times[0]], "Values" => values, "StatusCode" => "Complete"});
    for (name, wrong) in [
        (
            "a metric beyond the requested ones",
            result("m2", "Complete"),
        ),
        ("another name", result("e1", "Complete")),
        ("no ID", cbor!({"StatusCode" => "Complete"}).unwrap()),
        ("more times than values", wrong_lengths.unwrap()),
        ("a value that is not a number", not_a_number.unwrap()),
    ] {
        let both = vec![result("m1", "Complete"), wrong];
        let server = Server::start(vec![results(&both)]).await;
        let failed = server.data(None, LONG).await.expect_err(name);
        assert_eq!(failed.reason, Reason::InvalidResponse, "{name}");
        assert_eq!(server.failures(), ["invalid_response"], "{name}");
    }
}

/// A part of a valid response is not a shorter valid response.
#[tokio::test]
async fn truncated_body_is_an_invalid_response() {
    let whole = [
        ok(cbor!({"Metrics" => [wire(&metric("orders"))]})),
        results(&[result("m0", "Complete"), result("m1", "Complete")]),
    ];
    for (operation, whole) in whole.into_iter().enumerate() {
        let lengths = (0..whole.body.len()).step_by(7);
        for length in lengths {
            let server = Server::start(vec![raw(200, &whole.body[..length])]).await;
            let failed = match operation {
                0 => server.metrics(None).await.map(drop),
                _ => server.data(None, LONG).await.map(drop),
            };
            let failed = failed.expect_err("a truncated body");
            assert_eq!(failed.reason, Reason::InvalidResponse, "{length}");
        }
    }
}

#[tokio::test]
async fn throttled_request_is_sent_again() {
    let answer = results(&[result("m0", "Complete")]);
    let server = Server::start(vec![error(400, "Throttling"), answer]).await;
    let page = server.data(None, LONG).await.unwrap();
    assert_eq!(page.items.len(), 1);
    let ended = server.log.ended.lock();
    let reasons: Vec<_> = ended.iter().map(|(_, failure)| *failure).collect();
    assert_eq!(reasons, [Some(Reason::Throttled), None]);
}

#[tokio::test]
async fn hanging_request_times_out() {
    let server = Server::start(Vec::new()).await;
    let failed = server.data(None, Duration::from_millis(300)).await;
    let failed = failed.expect_err("no response");
    assert_eq!(failed.reason, Reason::Timeout);
    assert_eq!(server.failures(), ["timeout"]);
}
