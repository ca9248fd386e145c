//! API errors and invalid responses, sent through the AWS SDK over real sockets. Checks the metrics during and after each fault. Each
//! `Case` of the table is one fault; `run` polls before, during and after it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use glue_integration_exporter::clock::Clock;
use glue_integration_exporter::config::{Config, ScopeRegion};
use glue_integration_exporter::exposition::text_format::Format;
use glue_integration_exporter::glue::RateLimiter;
use glue_integration_exporter::glue::aws::Sdk;
use glue_integration_exporter::glue::{Glue, Observer};
use glue_integration_exporter::poll::Poller;
use glue_integration_exporter::publisher::Publisher;
use glue_integration_exporter::simulator::{
    Account, Fault, FaultKind, Handle, RequestMatcher, SimulatedError, SimulatedIntegration,
    Simulator,
};
use glue_integration_exporter::telemetry::Telemetry;
use serde_json::{Value, json};
use tokio::task::{JoinHandle, JoinSet};

const EU: &str = "eu-west-1";
/// The integrations of the scope `hit`, which gets the faults.
const ARNS: [&str; 3] = [
    "arn:aws:glue:eu-west-1:111122223333:integration:00000001-0000-4000-8000-000000000001",
    "arn:aws:glue:eu-west-1:111122223333:integration:00000002-0000-4000-8000-000000000002",
    "arn:aws:glue:eu-west-1:111122223333:integration:00000003-0000-4000-8000-000000000003",
];
const TARGET: &str = "arn:aws:glue:eu-west-1:111122223333:database/sales";
const SOURCE: &str = "arn:aws:dynamodb:eu-west-1:111122223333:table/orders";
/// The integration of the scope `well`, in another region.
const ELSEWHERE: &str =
    "arn:aws:glue:us-east-1:111122223333:integration:00000004-0000-4000-8000-000000000004";
const TARGET_ELSEWHERE: &str = "arn:aws:glue:us-east-1:111122223333:database/sales";
/// Unix time of the first poll; each later one is a minute after the one before.
const START: u32 = 1_800_000_000;
/// For polls that must not time out.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

// ---------------------------------------------------------------------------------------------------------------- the table

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failure_of_aws_has_reason_and_stays_isolated() {
    let table = [
        errors(),
        invalid_responses(),
        valid_responses(),
        odd_integrations(),
        lost_connections(),
    ];
    // Cases with a short timeout run first, so that the other cases do not slow them down.
    let (timed, others): (Vec<Case>, Vec<Case>) = table
        .into_iter()
        .flatten()
        .partition(|case| case.timeout < DEFAULT_TIMEOUT);
    let cases = timed.len() + others.len();
    let names: BTreeSet<&str> = timed
        .iter()
        .chain(&others)
        .map(|case| case.name.as_str())
        .collect();
    assert_eq!(names.len(), cases, "case names are unique");
    let mut wrong = Vec::new();
    for cases in [timed, others] {
        let cases: JoinSet<Vec<String>> = cases.into_iter().map(run).collect();
        wrong.extend(cases.join_all().await.into_iter().flatten());
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// Errors in the format of the API.
fn errors() -> Vec<Case> {
    let mut cases = Vec::new();
    for (code, reason) in [
        ("AccessDeniedException", "access_denied"),
        ("TargetResourceNotFound", "not_found"),
        ("InvalidInputException", "invalid_request"),
        ("ValidationException", "invalid_request"),
        ("OperationNotSupportedException", "unsupported"),
        ("ExpiredTokenException", "credentials"),
        ("UnrecognizedClientException", "credentials"),
        ("InvalidSignatureException", "credentials"),
        ("NobodyExpectsThisException", "other"),
    ] {
        for watching in [Watching::All, Watching::Target, Watching::Named] {
            cases.push(case(code, watching, error(code)).fails(reason));
        }
    }
    for code in ["EntityNotFoundException", "IntegrationNotFoundFault"] {
        for watching in [Watching::All, Watching::Target] {
            cases.push(case(code, watching, error(code)).fails("not_found"));
        }
        cases.push(case(code, Watching::Named, error(code)).shows([
            Observation::Gone,
            FRESH,
            FRESH,
        ]));
    }
    for (code, reason) in [
        ("InternalServerException", "server_error"),
        ("InternalServiceException", "server_error"),
        ("ThrottlingException", "throttled"),
    ] {
        for watching in [Watching::All, Watching::Target, Watching::Named] {
            cases.push(
                case(code, watching, error(code))
                    .fails(reason)
                    .retried_twice(),
            );
        }
    }
    cases.push(
        case(
            "an internal error, then an answer",
            Watching::All,
            error("InternalServiceException"),
        )
        .times(2)
        .attempts(3, 2, "server_error"),
    );
    cases.push(
        case(
            "an error on the second page",
            Watching::All,
            error("AccessDeniedException"),
        )
        .on_page(2)
        .fails("access_denied")
        .attempts(2, 1, "access_denied")
        .shows([FRESH, Observation::Last, Observation::Last]),
    );
    cases
}

fn raw(status: u16, header: (&str, &str), body: &'static str) -> FaultKind {
    let response = hyper::Response::builder()
        .status(status)
        .header(header.0, header.1);
    FaultKind::Raw(response.body(body.into()).unwrap())
}

/// Invalid responses.
fn invalid_responses() -> Vec<Case> {
    let html = |status| {
        raw(
            status,
            ("content-type", "text/html"),
            "<html><body><h1>Sorry</h1></body></html>",
        )
    };
    let throttled = r#"{"__type":"ThrottlingException","message":"Rate exceeded"}"#;
    let whole = listing(|_| ());
    let half = &whole.as_bytes()[..whole.len() / 2];
    let mut cases = Vec::new();
    for watching in [Watching::All, Watching::Named] {
        let case = |name: &str, what| case(name, watching, what);
        cases.extend([
            case("HTML with 503", html(503))
                .fails("server_error")
                .retried_twice(),
            case(
                "a throttling error with 503",
                FaultKind::raw(503, throttled),
            )
            .fails("server_error")
            .retried_twice(),
            case("HTML with 403", html(403)).fails("access_denied"),
            case("429 without a body", FaultKind::raw(429, ""))
                .fails("throttled")
                .retried_twice(),
            case("HTML with 200", html(200)).fails("invalid_response"),
            case("half an answer", FaultKind::raw(200, half.to_vec())).fails("invalid_response"),
            case("an empty body", FaultKind::raw(200, "")).fails("invalid_response"),
            case("white space", FaultKind::raw(200, " \n")).fails("invalid_response"),
            case(
                "an error with 200",
                FaultKind::raw(200, r#"{"__type":"InternalServiceException","message":"no"}"#),
            )
            .fails("invalid_response"),
            case(
                "an error of another service with 200",
                FaultKind::raw(
                    200,
                    r#"{"Output":{"__type":"com.amazon.coral.service#UnknownOperationException"},"Version":"1.0"}"#,
                ),
            )
            .fails("invalid_response"),
            case(
                "a proxy's error page with 200",
                FaultKind::raw(200, r#"{"error":"blocked by policy"}"#),
            )
            .fails("invalid_response"),
            case(
                "an error's code in a header with 200",
                raw(200, ("x-amzn-errortype", "ThrottlingException"), "{}"),
            )
            .fails("invalid_response"),
            case("HTML with 302", html(302)).fails("invalid_response"),
            case("HTML with 404", html(404)).fails("invalid_response"),
            case("HTML with 401", html(401)).fails("access_denied"),
            case(
                "an error's code in a header alone",
                raw(403, ("x-amzn-errortype", "ExpiredTokenException:http://internal.amazon.com/coral/"), "{}"),
            )
            .fails("credentials"),
            case(
                "an error's code with its namespace",
                FaultKind::raw(
                    400,
                    r#"{"__type":"com.amazonaws.glue#ValidationException"}"#,
                ),
            )
            .fails("invalid_request"),
            case("null", FaultKind::raw(200, "null")).fails("invalid_response"),
            case("a bare list", FaultKind::raw(200, "[]")).fails("invalid_response"),
            case(
                "a text in the place of the list",
                FaultKind::raw(200, r#"{"InboundIntegrations":"none"}"#),
            )
            .fails("invalid_response"),
        ]);
    }
    cases.extend([
        case(
            "a page's marker a second time",
            Watching::All,
            FaultKind::RepeatMarker,
        )
        .paged()
        .fails("invalid_response")
        .attempts(2, 0, "")
        .shows([FRESH, FRESH, Observation::Last]),
        case(
            "an item without an ARN",
            Watching::All,
            listed(|items| {
                items[0].remove("IntegrationArn");
            }),
        )
        .fails("invalid_response")
        .attempts(1, 0, "")
        .shows([Observation::Last, FRESH, FRESH]),
        case(
            "an item with an empty ARN",
            Watching::Target,
            listed(|items| {
                items[0].insert("IntegrationArn".to_owned(), json!(""));
            }),
        )
        .fails("invalid_response")
        .attempts(1, 0, "")
        .shows([Observation::Last, FRESH, FRESH]),
        case(
            "an item with null for its ARN",
            Watching::All,
            listed(|items| {
                items[0].insert("IntegrationArn".to_owned(), Value::Null);
            }),
        )
        .fails("invalid_response")
        .attempts(1, 0, "")
        .shows([Observation::Last, FRESH, FRESH]),
        case(
            "an item without an ARN beside all others",
            Watching::All,
            listed(|items| items.push(serde_json::Map::new())),
        )
        .fails("invalid_response")
        .attempts(1, 0, "")
        .shows([FRESH; 3]),
        case(
            "a configured integration without its ARN",
            Watching::Named,
            listed(|items| {
                items.truncate(1);
                items[0].remove("IntegrationArn");
            }),
        )
        .fails("invalid_response")
        .attempts(3, 0, "")
        .shows([Observation::Last, FRESH, FRESH]),
        case(
            "another integration than the requested one",
            Watching::Named,
            listed(|items| {
                items.truncate(1);
                items[0].insert("IntegrationArn".to_owned(), json!(ELSEWHERE));
            }),
        )
        .fails("invalid_response")
        .attempts(3, 0, "")
        .shows([Observation::Last, FRESH, FRESH]),
    ]);
    cases
}

/// Empty or slow responses that are valid.
fn valid_responses() -> Vec<Case> {
    let mut cases = Vec::new();
    for body in [
        "{}",
        r#"{"InboundIntegrations":null}"#,
        r#"{"InboundIntegrations":[]}"#,
        r#"{"InboundIntegrations":[],"Marker":null}"#,
        r#"{"Marker":""}"#,
    ] {
        let case = |watching| case(body, watching, FaultKind::raw(200, body));
        cases.push(case(Watching::All).shows([Observation::Gone; 3]));
        cases.push(case(Watching::Target).shows([Observation::Gone; 3]));
        cases.push(case(Watching::Named).shows([Observation::Gone, FRESH, FRESH]));
    }
    cases.push(
        case(
            "a slow answer",
            Watching::All,
            FaultKind::Delay(Duration::from_millis(100)),
        )
        .shows([FRESH; 3]),
    );
    cases
}

/// Responses with unusual or missing fields.
fn odd_integrations() -> Vec<Case> {
    let without = |field: &'static str| {
        listed(move |items| {
            items[0].remove(field).unwrap();
        })
    };
    let with = |field: &'static str, value: Value| {
        listed(move |items| {
            items[0].insert(field.to_owned(), value.clone());
        })
    };
    let refreshed = |text: &str| {
        with(
            "IntegrationConfig",
            json!({"RefreshInterval": text, "ContinuousSync": false}),
        )
    };
    let all = |name: &str, what| case(name, Watching::All, what);
    const UNKNOWN: Observation = Observation::As(&[
        ("status{status=\"UNKNOWN\"}", Some("1")),
        ("status{status=\"SYNCING\"}", Some("0")),
    ]);
    const NO_AGE: Observation = Observation::As(&[
        ("created_timestamp_seconds", None),
        ("age_seconds", None),
        ("status{status=\"SYNCING\"}", Some("1")),
    ]);
    const NO_INTERVAL: Observation = Observation::As(&[
        ("refresh_interval_seconds", None),
        ("continuous_sync", Some("0")),
        ("status{status=\"SYNCING\"}", Some("1")),
    ]);
    let mut cases = vec![
        all("no status", without("Status")).first(UNKNOWN).unknown(),
        all("an empty status", with("Status", json!("")))
            .first(UNKNOWN)
            .unknown(),
        all("an unknown status", with("Status", json!("REPLICATING")))
            .first(UNKNOWN)
            .unknown(),
        all("a status in lower case", with("Status", json!("failed"))).first(Observation::As(&[
            ("status{status=\"FAILED\"}", Some("1")),
            ("status{status=\"UNKNOWN\"}", Some("0")),
            ("status{status=\"SYNCING\"}", Some("0")),
        ])),
        all("no time of creation", without("CreateTime")).first(NO_AGE),
        all("0 as the time of creation", with("CreateTime", json!(0))).first(NO_AGE),
        all(
            "a time of creation with a fraction",
            with("CreateTime", json!(1_700_000_000.25)),
        )
        .first(Observation::As(&[(
            "created_timestamp_seconds",
            Some("1700000000.25"),
        )])),
        all(
            "a time of creation that is still to come",
            with("CreateTime", json!(1_900_000_000)),
        )
        .first(Observation::As(&[("age_seconds", Some("0"))])),
        all("no source", without("SourceArn")).first(Observation::As(&[(
            "info{integration_name=\"\",source_arn=\"\",\
             target_arn=\"arn:aws:glue:eu-west-1:111122223333:database/sales\",source_service=\"\",target_service=\"glue\"}",
            Some("1"),
        )])),
        all("no target", without("TargetArn")).first(Observation::As(&[(
            "info{integration_name=\"\",source_arn=\"arn:aws:dynamodb:eu-west-1:111122223333:table/orders\",\
             target_arn=\"\",source_service=\"dynamodb\",target_service=\"\"}",
            Some("1"),
        )])),
        all("no configuration", without("IntegrationConfig")).first(Observation::As(&[
            ("refresh_interval_seconds", None),
            ("continuous_sync", None),
        ])),
        all(
            "the same integration twice",
            listed(|items| {
                let mut again = items[0].clone();
                again.insert("Status".to_owned(), json!("FAILED"));
                items.push(again);
            }),
        )
        .first(Observation::As(&[("status{status=\"FAILED\"}", Some("1"))])),
        all("no list of errors", without("Errors"))
            .first(Observation::As(&[("errors", Some("0"))])),
        all(
            "an error without a code",
            with("Errors", json!([{"ErrorMessage": "no code"}, {}])),
        )
        .first(Observation::As(&[
            ("errors", Some("2")),
            ("errors_by_code{error_code=\"none\"}", Some("2")),
        ])),
    ];
    for text in ["abc", "", "0", "-5", "rate(1 hour)", "1.5"] {
        cases.push(all(&format!("RefreshInterval {text:?}"), refreshed(text)).first(NO_INTERVAL));
    }
    cases
}

/// Connections that are closed or hang.
fn lost_connections() -> Vec<Case> {
    // A second for each of three integrations.
    let limit = Duration::from_secs(3);
    let all = |name, what| case(name, Watching::All, what);
    let named = |name, what| case(name, Watching::Named, what);
    let drip = FaultKind::Drip {
        bytes: 1,
        pause: Duration::from_millis(50),
    };
    vec![
        all("a reset within the body", FaultKind::ResetMidBody)
            .fails("network")
            .retried_twice(),
        named("a reset within the body", FaultKind::ResetMidBody)
            .fails("network")
            .retried_twice(),
        all("a refused connection", FaultKind::Hang)
            .closed()
            .fails("network")
            .retried_twice(),
        all("no answer", FaultKind::Hang)
            .within(limit)
            .fails("timeout"),
        all("an answer that takes too long", drip)
            .within(limit)
            .fails("timeout"),
        all("no answer on the second page", FaultKind::Hang)
            .on_page(2)
            .within(limit)
            .fails("timeout")
            .attempts(2, 1, "timeout")
            .shows([FRESH, Observation::Last, Observation::Last]),
        all("pages without end", FaultKind::EndlessMarkers)
            .within(limit)
            .fails("timeout")
            .counts(Counts::Open)
            .shows([FRESH; 3]),
        // It times out to leave time for the others and runs again after them.
        named("no answer about one of three", FaultKind::Hang)
            .within(limit)
            .one_at_a_time()
            .fails("timeout"),
    ]
}

/// A fault and the expected metrics during it.
struct Case {
    name: String,
    watching: Watching,
    fault: Fault,
    /// The endpoint is closed, instead of the fault.
    closed: bool,
    timeout: Duration,
    concurrency: usize,
    page_size: Option<u16>,
    /// Reason of the failed poll, None if the poll succeeds.
    reason: Option<&'static str>,
    observations: [Observation; 3],
    /// HTTP attempts of the scope, the number of failed ones, and their reason.
    attempts: u32,
    failed: u32,
    failed_as: &'static str,
    counts: Counts,
    unknown_statuses: u32,
}

/// The queries of the scope `hit`.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Watching {
    All,
    Target,
    /// All three ARNs. The fault applies to the first one.
    Named,
}

/// How exactly the number of attempts is known.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Counts {
    Exact,
    /// The number of retries depends on timing. The number of answered requests does not.
    MoreFailures,
    Open,
}

/// The expected series of an integration.
#[derive(Clone, Copy, Debug)]
enum Observation {
    /// The same values as before the fault.
    Last,
    /// The current values.
    Fresh,
    /// No series, except `present` 0 and what goes with it.
    Gone,
    /// The current values, including these.
    As(&'static [(&'static str, Option<&'static str>)]),
}

const FRESH: Observation = Observation::Fresh;

fn error(code: &str) -> FaultKind {
    FaultKind::error(code, "simulated")
}

fn case(name: &str, watching: Watching, what: FaultKind) -> Case {
    let on = match watching {
        Watching::All => RequestMatcher::region(EU),
        Watching::Target => RequestMatcher {
            target_arn: Some(TARGET.to_owned()),
            ..RequestMatcher::default()
        },
        Watching::Named => RequestMatcher {
            integration_arn: Some(ARNS[0].to_owned()),
            ..RequestMatcher::default()
        },
    };
    Case {
        name: format!("{name} ({watching:?})"),
        watching,
        fault: Fault::new(on, what),
        closed: false,
        timeout: DEFAULT_TIMEOUT,
        concurrency: 4,
        page_size: None,
        reason: None,
        observations: [FRESH; 3],
        attempts: if watching == Watching::Named { 3 } else { 1 },
        failed: 0,
        failed_as: "",
        counts: Counts::Exact,
        unknown_statuses: 0,
    }
}

impl Case {
    fn fails(mut self, reason: &'static str) -> Self {
        self.reason = Some(reason);
        self.observations = match self.watching {
            Watching::All | Watching::Target => [Observation::Last; 3],
            Watching::Named => [Observation::Last, FRESH, FRESH],
        };
        self.failed = 1;
        self.failed_as = reason;
        self
    }

    fn retried_twice(mut self) -> Self {
        self.attempts += 2;
        self.failed += 2;
        self
    }

    fn attempts(mut self, attempts: u32, failed: u32, failed_as: &'static str) -> Self {
        (self.attempts, self.failed, self.failed_as) = (attempts, failed, failed_as);
        self
    }

    fn counts(mut self, counts: Counts) -> Self {
        self.counts = counts;
        self
    }

    fn shows(mut self, observations: [Observation; 3]) -> Self {
        self.observations = observations;
        self
    }

    fn first(mut self, observation: Observation) -> Self {
        self.observations[0] = observation;
        self
    }

    fn unknown(mut self) -> Self {
        self.unknown_statuses = 1;
        self
    }

    fn times(mut self, times: u32) -> Self {
        self.fault = self.fault.times(times);
        self
    }

    /// One integration on each page.
    fn paged(mut self) -> Self {
        self.page_size = Some(1);
        self
    }

    fn on_page(mut self, page: u32) -> Self {
        self.fault.matcher.page = Some(page);
        self.paged()
    }

    fn within(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self.counts(Counts::MoreFailures)
    }

    fn one_at_a_time(mut self) -> Self {
        self.concurrency = 1;
        self
    }

    fn closed(mut self) -> Self {
        self.closed = true;
        self
    }

    fn watch(&self) -> ScopeRegion {
        let what = match self.watching {
            Watching::All => String::new(),
            Watching::Target => format!("target_arns: [{TARGET:?}]"),
            Watching::Named => format!("integration_arns: {ARNS:?}"),
        };
        let mut watch = watch("hit", EU, &what);
        watch.timeout = self.timeout;
        watch.concurrency = self.concurrency;
        watch.page_size = self.page_size;
        watch
    }
}

/// Polls both scopes before, during and after the fault. Returns all differences to the expected metrics.
async fn run(case: Case) -> Vec<String> {
    let mut check = Check::new(&case.name);
    let mut hit_at = Serving::start(world(), free()).await;
    // If the endpoint is closed, the other scope needs its own.
    let well_at = if case.closed {
        Some(Serving::start(world(), free()).await)
    } else {
        None
    };
    let mut bench = Bench::new(&[case.watch(), watch("well", "us-east-1", "")]);
    let glue = bench.glue("hit", hit_at.addr);
    let mut hit = bench.poller_of(&case.watch(), &glue);
    let mut well = bench.poller("well", well_at.as_ref().unwrap_or(&hit_at).addr);

    // The first poll opens the connection and must not time out.
    let mut first = bench.poller_of(
        &ScopeRegion {
            timeout: DEFAULT_TIMEOUT,
            ..case.watch()
        },
        &glue,
    );
    let before = bench.round(&mut [&mut first, &mut well]).await;
    check.all_good("before the fault", &before);
    check.same("failures before the fault", before.failures(), vec![]);

    hit_at.handle.put_all(integrations("SYNCING"));
    if let Some(well_at) = &well_at {
        well_at.handle.put_all(integrations("SYNCING"));
    }
    if case.closed {
        hit_at.close().await;
    } else {
        hit_at.handle.push_fault(case.fault.clone());
    }
    let during = bench.round(&mut [&mut hit, &mut well]).await;
    check.during(&case, &before, &during, bench.now());

    if case.closed {
        let world = Account::of(integrations("SYNCING"));
        hit_at = Serving::start(world, hit_at.addr).await;
    }
    hit_at.handle.clear_faults();
    let after = bench.round(&mut [&mut hit, &mut well]).await;
    check.all_good("after the fault", &after);
    for arn in ARNS {
        check.fresh("after the fault", &after.of(arn));
    }
    check.same(
        "failures after the fault",
        after.failures(),
        during.failures(),
    );
    check.wrong
}

// ---------------------------------------------------------------------------------------------------------------- the checks

/// Collects differences instead of panicking at the first one.
struct Check {
    name: String,
    wrong: Vec<String>,
}

impl Check {
    fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            wrong: Vec::new(),
        }
    }

    #[allow(clippy::needless_pass_by_value, reason = "it is called like assert_eq")]
    fn same<T: PartialEq + Debug>(&mut self, what: &str, found: T, expected: T) {
        if found != expected {
            let name = &self.name;
            self.wrong.push(format!(
                "{name}: {what}: found {found:?}, expected {expected:?}"
            ));
        }
    }

    fn scope(&mut self, when: &str, page: &Page, scope: &str, up: bool, stale: bool) {
        for (metric, expected) in [("scope_up", up), ("scope_stale", stale)] {
            let found = page.of_scope(metric, scope);
            let expected = Some(u32::from(expected).to_string());
            self.same(&format!("{metric} of {scope} {when}"), found, expected);
        }
    }

    fn all_good(&mut self, when: &str, page: &Page) {
        for scope in ["hit", "well"] {
            self.scope(when, page, scope, true, false);
        }
        let shown = page.of_scope("scope_integrations", "hit");
        self.same(&format!("integrations {when}"), shown.as_deref(), Some("3"));
    }

    fn fresh(&mut self, what: &str, series: &BTreeMap<String, String>) {
        for (name, value) in [
            ("status{status=\"SYNCING\"}", "1"),
            ("status{status=\"ACTIVE\"}", "0"),
            ("errors", "1"),
            ("present", "1"),
            ("stale", "0"),
        ] {
            let found = series.get(name).map(String::as_str);
            self.same(&format!("{what}: {name}"), found, Some(value));
        }
    }

    fn during(&mut self, case: &Case, before: &Page, during: &Page, now: u32) {
        let when = "during the fault";
        let any = |wanted: fn(&Observation) -> bool| {
            case.observations.iter().filter(|s| wanted(s)).count()
        };
        let last = any(|observation| matches!(observation, Observation::Last));
        let gone = any(|observation| matches!(observation, Observation::Gone));
        self.scope(when, during, "hit", case.reason.is_none(), last > 0);
        self.scope(when, during, "well", true, false);
        let reasons: Vec<_> = case
            .reason
            .iter()
            .map(|reason| failure("hit", reason))
            .collect();
        self.same("reasons of failed polls", during.failures(), reasons);
        self.attempts(case, before, during);
        self.same(
            "unknown statuses",
            during.get("glue_integration_exporter_unknown_statuses_total"),
            Some(case.unknown_statuses.to_string().as_str()),
        );
        let shown = during.of_scope("scope_integrations", "hit");
        self.same("integrations", shown, Some((3 - gone).to_string()));
        let success = now - if case.reason.is_some() { 60 } else { 0 };
        for (scope, success) in [("hit", success), ("well", now)] {
            let found = during.of_scope("scope_last_success_timestamp_seconds", scope);
            let what = format!("last success of {scope}");
            self.same(&what, found, Some(success.to_string()));
        }
        for (arn, observation) in ARNS.into_iter().zip(case.observations) {
            self.observation(arn, observation, before, during, now);
        }
        self.observation(ELSEWHERE, FRESH, before, during, now);
    }

    fn attempts(&mut self, case: &Case, before: &Page, during: &Page) {
        // The other scope sends one request.
        let attempts = during.requests() - before.requests() - 1;
        let failures = during.failed_requests();
        let failed: u32 = failures.values().sum();
        let answered = case.attempts - case.failed;
        match case.counts {
            Counts::Exact => {
                self.same("requests to AWS", attempts, case.attempts);
                self.same("failed requests", failed, case.failed);
            }
            Counts::MoreFailures => {
                self.same("answered requests", attempts - failed, answered);
                self.same("some failed", failed >= case.failed, true);
            }
            Counts::Open => {}
        }
        let other = failures.keys().find(|reason| *reason != case.failed_as);
        self.same("another reason of requests", other, None);
    }

    fn observation(
        &mut self,
        arn: &str,
        observation: Observation,
        before: &Page,
        during: &Page,
        now: u32,
    ) {
        let what = format!("{arn} should be {observation:?}");
        let found = during.of(arn);
        match observation {
            Observation::Last => {
                let mut expected = before.of(arn);
                self.same(&what, expected.contains_key("age_seconds"), true);
                // The age follows the clock.
                expected.insert("age_seconds".to_owned(), (now - 1_700_000_000).to_string());
                expected.insert("stale".to_owned(), "1".to_owned());
                self.same(&what, found, expected);
            }
            Observation::Fresh => {
                self.fresh(&what, &found);
                self.since(&what, &found, now);
            }
            Observation::Gone => {
                self.same(&what, found, missing(before, arn));
            }
            Observation::As(values) => {
                for (name, value) in values {
                    let found = found.get(*name).map(String::as_str);
                    self.same(&format!("{what}: {name}"), found, *value);
                }
                self.since(&what, &found, now);
                let one: Vec<_> = found
                    .iter()
                    .filter(|(name, value)| name.starts_with("status{") && *value == "1")
                    .collect();
                self.same(&format!("{what}: statuses that are 1"), one.len(), 1);
            }
        }
    }

    fn since(&mut self, what: &str, series: &BTreeMap<String, String>, now: u32) {
        let found = series.get("status_since_timestamp_seconds").cloned();
        self.same(&format!("{what}: since when"), found, Some(now.to_string()));
    }
}

/// Returns the series of an integration that existed on the page `before` and does not exist any more.
fn missing(before: &Page, arn: &str) -> BTreeMap<String, String> {
    let mut series = before.of(arn);
    series.retain(|name, _| name.starts_with("info{"));
    let zero = || "0".to_owned();
    series.extend([("present".to_owned(), zero()), ("stale".to_owned(), zero())]);
    series
}

fn failure(scope: &str, reason: &str) -> (String, String, String) {
    (scope.to_owned(), reason.to_owned(), "1".to_owned())
}

// ------------------------------------------------------------------------------------------------------- other tests

#[tokio::test]
async fn listing_of_5000_integrations_is_complete() {
    let serving = Serving::start(Account::generated(5_000), free()).await;
    let mut bench = Bench::new(&[watch("hit", EU, "")]);
    let mut hit = bench.poller("hit", serving.addr);
    let before = bench.round(&mut [&mut hit]).await;
    let pages: Vec<u32> = serving
        .handle
        .requests()
        .iter()
        .map(|request| request.page)
        .collect();
    assert_eq!(
        pages,
        (1..=50).collect::<Vec<u32>>(),
        "each page is requested once"
    );
    let all: BTreeSet<String> = serving
        .handle
        .integrations()
        .into_iter()
        .map(|integration| integration.arn)
        .collect();
    // `Page::read` panics if a series appears twice.
    for metric in [
        "info",
        "errors",
        "age_seconds",
        "status_since_timestamp_seconds",
    ] {
        let shown = before.arns_of(&format!("aws_glue_integration_{metric}"));
        assert_eq!(shown.len(), 5_000, "{metric}");
        assert!(shown.into_iter().all(|arn| all.contains(arn)), "{metric}");
    }
    assert_eq!(
        before.of_scope("scope_integrations", "hit").as_deref(),
        Some("5000")
    );

    let one = all.iter().nth(4_321).unwrap();
    assert!(serving.handle.set_status(one, "FAILED"));
    let after = bench.round(&mut [&mut hit]).await;
    assert_eq!(serving.handle.requests().len(), 100);
    let changed: BTreeMap<String, String> = after
        .0
        .iter()
        .filter(|(series, value)| {
            series.starts_with("aws_glue_integration_")
                && !series.starts_with("aws_glue_integration_age_seconds")
                && before.get(series) != Some(value)
        })
        .map(|(series, value)| (series.clone(), value.clone()))
        .collect();
    assert!(
        changed.keys().all(|series| series.contains(one.as_str())),
        "{changed:?}"
    );
    assert_eq!(
        Page(changed).of(one),
        [
            (
                "status_since_timestamp_seconds".to_owned(),
                bench.now().to_string()
            ),
            ("status{status=\"ACTIVE\"}".to_owned(), "0".to_owned()),
            ("status{status=\"FAILED\"}".to_owned(), "1".to_owned()),
        ]
        .into(),
        "only that integration changed"
    );
    assert_eq!(after.0.len(), before.0.len());
}

#[tokio::test]
async fn hanging_scope_delays_no_other_scope() {
    let serving = Serving::start(world(), free()).await;
    let mut bench = Bench::new(&[watch("hit", EU, ""), watch("well", "us-east-1", "")]);
    let mut hit = bench.poller("hit", serving.addr);
    let mut well = bench.poller("well", serving.addr);
    let before = bench.round(&mut [&mut hit, &mut well]).await;
    serving.handle.put_all(integrations("SYNCING"));
    serving
        .handle
        .push_fault(Fault::new(RequestMatcher::region(EU), FaultKind::Hang));
    let during = tokio::select! {
        _ = hit.poll() => panic!("the poll that hangs ended first"),
        during = async { bench.round(&mut [&mut well]).await } => during,
    };
    let mut check = Check::new("while a poll hangs");
    check.fresh("the other scope", &during.of(ELSEWHERE));
    for scope in ["hit", "well"] {
        check.scope("while it has not ended", &during, scope, true, false);
    }
    for arn in ARNS {
        let (mut found, mut expected) = (during.of(arn), before.of(arn));
        found.remove("age_seconds");
        expected.remove("age_seconds");
        check.same(arn, found, expected);
    }
    assert!(check.wrong.is_empty(), "\n{}", check.wrong.join("\n"));
}

/// A poll succeeds without extra requests if the responses arrive within its timeout.
#[tokio::test]
async fn slow_answers_within_timeout_succeed() {
    let seconds = Duration::from_secs_f64;
    // Name, integrations, configured by ARN, page size, concurrency, response time in seconds, requests.
    let cases = [
        (
            "a listing at 90 % of the timeout",
            1,
            false,
            None,
            4,
            2.7,
            1,
        ),
        ("four pages", 4, false, Some(1), 4, 0.6, 4),
        ("twelve ARNs, four at a time", 12, true, None, 4, 0.5, 12),
        ("three ARNs, one at a time", 3, true, None, 1, 0.5, 3),
    ];
    let mut polls = JoinSet::new();
    for (name, integrations, by_arn, page_size, concurrency, delay, requests) in cases {
        polls.spawn(async move {
            let serving = Serving::start(Account::generated(integrations), free()).await;
            let arns: Vec<String> = serving
                .handle
                .integrations()
                .into_iter()
                .map(|integration| integration.arn)
                .collect();
            let what = if by_arn {
                format!("integration_arns: {arns:?}")
            } else {
                String::new()
            };
            let mut slow = watch("hit", EU, &what);
            slow.timeout = seconds(3.0);
            slow.page_size = page_size;
            slow.concurrency = concurrency;
            serving.handle.push_fault(Fault::new(
                RequestMatcher::default(),
                FaultKind::Delay(seconds(delay)),
            ));
            let mut bench = Bench::new(&[slow]);
            let mut hit = bench.poller("hit", serving.addr);
            let page = bench.round(&mut [&mut hit]).await;
            let shown = page.of_scope("scope_integrations", "hit");
            assert_eq!(
                page.of_scope("scope_up", "hit").as_deref(),
                Some("1"),
                "{name}"
            );
            assert_eq!(shown, Some(integrations.to_string()), "{name}");
            assert_eq!(serving.handle.requests().len(), requests, "{name}");
        });
    }
    polls.join_all().await;
}

/// A request that hangs is retried after the others, in the remaining time.
#[tokio::test]
async fn hanging_request_is_retried_after_others() {
    let serving = Serving::start(world(), free()).await;
    let mut named = watch("hit", EU, &format!("integration_arns: {ARNS:?}"));
    named.timeout = Duration::from_secs(3);
    named.concurrency = 1;
    let hang = Fault::new(RequestMatcher::default(), FaultKind::Hang).times(1);
    serving.handle.push_fault(hang);
    let mut bench = Bench::new(&[named]);
    let mut hit = bench.poller("hit", serving.addr);
    let page = bench.round(&mut [&mut hit]).await;
    assert_eq!(page.of_scope("scope_up", "hit").as_deref(), Some("1"));
    assert_eq!(serving.handle.requests().len(), 4);
}

/// Requests with different timeouts must not open separate connections, because each one takes memory.
#[tokio::test]
async fn requests_with_any_timeout_share_connection() {
    let serving = Serving::start(Account::generated(40), free()).await;
    let arns: Vec<String> = serving
        .handle
        .integrations()
        .into_iter()
        .map(|integration| integration.arn)
        .collect();
    let mut all = watch("hit", EU, &format!("integration_arns: {arns:?}"));
    all.concurrency = 1;
    let mut bench = Bench::new(&[all]);
    let proxy = CountingProxy::to(serving.addr);
    let mut hit = bench.poller("hit", proxy.addr);
    for _ in 0..2 {
        let page = bench.round(&mut [&mut hit]).await;
        assert_eq!(page.of_scope("scope_up", "hit").as_deref(), Some("1"));
    }
    assert_eq!(serving.handle.requests().len(), 80);
    // On a busy machine, a connection may not be back in the pool when the next request starts.
    let connections = proxy.connections.load(Ordering::Relaxed);
    assert!((1..=4).contains(&connections), "{connections}");
}

#[tokio::test]
async fn integration_in_several_scopes_latest_poll_wins() {
    let serving = Serving::start(world(), free()).await;
    let target = format!("target_arns: [{TARGET:?}]");
    let named = format!("integration_arns: [{:?}]", ARNS[0]);
    let mut bench = Bench::new(&[
        watch("discovery", EU, ""),
        watch("target", EU, &target),
        watch("named", EU, &named),
    ]);
    let mut pollers: Vec<Poller> = ["discovery", "target", "named"]
        .into_iter()
        .map(|scope| bench.poller(scope, serving.addr))
        .collect();
    // Each scope gets another status, and each scope is once the earlier and once the later one.
    for (place, status) in [
        (0, "ACTIVE"),
        (1, "SYNCING"),
        (2, "FAILED"),
        (1, "MODIFYING"),
        (0, "ACTIVE"),
        (2, "DELETING"),
        (0, "CREATING"),
    ] {
        serving.handle.set_status(ARNS[0], status);
        let page = bench.round(&mut [&mut pollers[place]]).await;
        let series = page.of(ARNS[0]);
        let of_status = |name: &str| series.get(&format!("status{{status={name:?}}}")).cloned();
        assert_eq!(of_status(status).as_deref(), Some("1"), "{status}");
        assert_eq!(
            series["status_since_timestamp_seconds"],
            bench.now().to_string(),
            "{status}"
        );
        let infos = page.arns_of("aws_glue_integration_info");
        assert_eq!(
            infos.iter().filter(|arn| **arn == ARNS[0]).count(),
            1,
            "an integration of several scopes is exported once"
        );
    }
}

#[tokio::test]
async fn integration_deleted_in_one_scope_is_removed() {
    let serving = Serving::start(world(), free()).await;
    let target = format!("target_arns: [{TARGET:?}]");
    let another = "target_arns: [\"arn:aws:glue:eu-west-1:111122223333:database/another\"]";
    let mut bench = Bench::new(&[
        watch("discovery", EU, ""),
        watch("target", EU, &target),
        watch("another", EU, another),
    ]);
    let mut discovery = bench.poller("discovery", serving.addr);
    let mut of_target = bench.poller("target", serving.addr);
    let mut of_another = bench.poller("another", serving.addr);
    bench
        .round(&mut [&mut discovery, &mut of_target, &mut of_another])
        .await;

    assert!(serving.handle.remove(ARNS[0]));
    let page = bench.round(&mut [&mut of_another]).await;
    assert!(
        !page.of(ARNS[0]).is_empty(),
        "a scope without this integration does not remove it"
    );
    serving.handle.push_fault(Fault::new(
        RequestMatcher::region(EU),
        error("AccessDeniedException"),
    ));
    let page = bench.round(&mut [&mut discovery]).await;
    assert!(
        !page.of(ARNS[0]).is_empty(),
        "a failed poll does not remove it"
    );
    serving.handle.clear_faults();
    let before = page;
    let page = bench.round(&mut [&mut discovery]).await;
    assert_eq!(page.of(ARNS[0]), missing(&before, ARNS[0]));
    assert!(!page.of(ARNS[1]).is_empty());
    for (scope, shown) in [("discovery", "2"), ("target", "2"), ("another", "0")] {
        assert_eq!(
            page.of_scope("scope_integrations", scope).as_deref(),
            Some(shown),
            "{scope}"
        );
    }

    serving.handle.put_all(integrations("ACTIVE"));
    let page = bench.round(&mut [&mut of_target]).await;
    assert_eq!(
        page.of(ARNS[0])["status_since_timestamp_seconds"],
        bench.now().to_string(),
        "after it is created again, its status is new"
    );
}

// ------------------------------------------------------------------------------------------------------------------ the bench

/// The pollers and the publisher without the schedule. The clock advances by a minute before each round of polls.
struct Bench {
    watches: Vec<ScopeRegion>,
    publisher: Arc<Publisher>,
    telemetry: Arc<Telemetry>,
    clock: Clock,
    now: Arc<AtomicU32>,
}

impl Bench {
    fn new(watches: &[ScopeRegion]) -> Self {
        let now = Arc::new(AtomicU32::new(START - 60));
        let read = Arc::clone(&now);
        let clock = Clock::from_wall(move || f64::from(read.load(Ordering::Relaxed)));
        Self {
            watches: watches.to_vec(),
            publisher: Arc::new(Publisher::new(watches, clock.clone())),
            telemetry: Arc::new(Telemetry::new().unwrap()),
            clock,
            now,
        }
    }

    fn poller(&self, scope: &str, addr: SocketAddr) -> Poller {
        self.poller_of(self.watch(scope), &self.glue(scope, addr))
    }

    fn poller_of(&self, watch: &ScopeRegion, glue: &Arc<dyn Glue>) -> Poller {
        Poller::new(
            watch.clone(),
            Arc::clone(glue),
            Arc::clone(&self.publisher),
            Arc::clone(&self.telemetry),
            self.clock.clone(),
        )
    }

    fn glue(&self, scope: &str, addr: SocketAddr) -> Arc<dyn Glue> {
        let observer: Arc<dyn Observer> = Arc::<Telemetry>::clone(&self.telemetry);
        let region = &self.watch(scope).region;
        Arc::new(Sdk::connect_simulated(
            observer,
            format!("http://{addr}"),
            region,
            // No request waits.
            RateLimiter::new(u16::MAX),
        ))
    }

    fn watch(&self, scope: &str) -> &ScopeRegion {
        let mut watches = self.watches.iter();
        watches.find(|watch| watch.scope.as_str() == scope).unwrap()
    }

    /// Advances the clock by a minute and lets these pollers poll at the same time. Returns the metrics.
    async fn round(&mut self, pollers: &mut [&mut Poller]) -> Page {
        self.now.fetch_add(60, Ordering::Relaxed);
        match pollers {
            [one] => {
                one.poll().await;
            }
            [one, two] => {
                tokio::join!(one.poll(), two.poll());
            }
            [one, two, three] => {
                tokio::join!(one.poll(), two.poll(), three.poll());
            }
            _ => unreachable!("one to three pollers"),
        }
        self.publisher.publish_now();
        Page::read(
            &String::from_utf8(
                self.publisher
                    .page()
                    .text(Format::Text, &self.telemetry, self.clock.unix_now())
                    .concat(),
            )
            .unwrap(),
        )
    }

    fn now(&self) -> u32 {
        self.now.load(Ordering::Relaxed)
    }
}

/// A scope in one region.
fn watch(scope: &str, region: &str, what: &str) -> ScopeRegion {
    let yaml = format!("scopes:\n  - name: {scope}\n    regions: [{region}]\n    {what}\n");
    let config = Config::from_yaml(&yaml, Path::new("config.yaml")).unwrap();
    config.watches(|_| Err(None)).unwrap().remove(0)
}

/// A simulator that serves until it is closed or dropped.
struct Serving {
    addr: SocketAddr,
    handle: Handle,
    task: JoinHandle<()>,
}

impl Serving {
    async fn start(world: Account, addr: SocketAddr) -> Self {
        let simulator = Simulator::bind(addr, world).await.unwrap();
        Self {
            addr: simulator.local_addr,
            handle: simulator.handle.clone(),
            task: tokio::spawn(simulator.serve(std::future::pending())),
        }
    }

    async fn close(&mut self) {
        self.task.abort();
        assert!((&mut self.task).await.unwrap_err().is_cancelled());
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A TCP proxy that counts connections.
struct CountingProxy {
    addr: SocketAddr,
    connections: Arc<AtomicU32>,
}

impl CountingProxy {
    fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind(free()).unwrap();
        let proxy = Self {
            addr: listener.local_addr().unwrap(),
            connections: Arc::default(),
        };
        let connections = Arc::clone(&proxy.connections);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                connections.fetch_add(1, Ordering::Relaxed);
                let (client, server) = (client.unwrap(), TcpStream::connect(target).unwrap());
                let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                std::thread::spawn(move || copy(from, to));
                std::thread::spawn(move || copy(server, client));
            }
        });
        proxy
    }
}

fn copy(mut from: TcpStream, mut to: TcpStream) {
    // If one side closes, close the other side too.
    let _ = std::io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Both);
}

fn free() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

/// Four integrations without errors: three in one region, one in another.
fn world() -> Account {
    Account::of(integrations("ACTIVE"))
}

/// All four integrations with this status, and with an error unless it is ACTIVE.
fn integrations(status: &str) -> Vec<SimulatedIntegration> {
    ARNS.into_iter()
        .map(|arn| (arn, TARGET))
        .chain([(ELSEWHERE, TARGET_ELSEWHERE)])
        .map(|(arn, target)| {
            let mut integration = SimulatedIntegration::new(arn, SOURCE, target, status);
            if status != "ACTIVE" {
                integration.errors = Some(vec![SimulatedError {
                    code: Some("Oops".into()),
                    message: Some("simulated".into()),
                }]);
            }
            integration
        })
        .collect()
}

/// A response that lists the current integrations, after `change`.
fn listing(change: impl Fn(&mut Vec<serde_json::Map<String, Value>>)) -> String {
    let mut items = integrations("SYNCING")
        .iter()
        .take(ARNS.len())
        .map(|integration| json!(integration).as_object().unwrap().clone())
        .collect();
    change(&mut items);
    json!({ "InboundIntegrations": items }).to_string()
}

fn listed(change: impl Fn(&mut Vec<serde_json::Map<String, Value>>)) -> FaultKind {
    FaultKind::raw(200, listing(change))
}

/// The parsed metrics: series and their values.
struct Page(BTreeMap<String, String>);

impl Page {
    fn read(text: &str) -> Self {
        let mut page = BTreeMap::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let twice = page.insert(series.to_owned(), value.to_owned());
            assert!(twice.is_none(), "{series} appears twice");
        }
        Self(page)
    }

    fn get(&self, series: &str) -> Option<&str> {
        self.0.get(series).map(String::as_str)
    }

    /// Returns the series of an integration without its identity labels: `status{status="ACTIVE"}`, `errors`.
    fn of(&self, arn: &str) -> BTreeMap<String, String> {
        let identity = format!("integration_arn=\"{arn}\"");
        self.0
            .iter()
            .filter_map(|(series, value)| {
                let (before, labels) = series.split_once(&identity)?;
                let (name, _) = before.split_once('{')?;
                let name = name.strip_prefix("aws_glue_integration_")?;
                let series = match labels.strip_prefix(',') {
                    Some(labels) => format!("{name}{{{labels}"),
                    None => name.to_owned(),
                };
                Some((series, value.clone()))
            })
            .collect()
    }

    /// Returns the ARN of each series of this metric.
    fn arns_of(&self, metric: &str) -> Vec<&str> {
        self.named(metric)
            .map(|(series, _)| label(series, "integration_arn"))
            .collect()
    }

    fn of_scope(&self, metric: &str, scope: &str) -> Option<String> {
        self.named(&format!("glue_integration_exporter_{metric}"))
            .find(|(series, _)| label(series, "scope") == scope)
            .map(|(_, value)| value.to_owned())
    }

    fn requests(&self) -> u32 {
        self.named("glue_integration_exporter_api_requests_total")
            .map(|(_, value)| value.parse::<u32>().unwrap())
            .sum()
    }

    /// Returns the number of failed requests by reason, if not 0.
    fn failed_requests(&self) -> BTreeMap<String, u32> {
        self.named("glue_integration_exporter_api_request_failures_total")
            .map(|(series, value)| (label(series, "reason").to_owned(), value.parse().unwrap()))
            .filter(|(_, value)| *value != 0)
            .collect()
    }

    /// Returns the scope, reason and number of failed polls, if not 0.
    fn failures(&self) -> Vec<(String, String, String)> {
        self.named("glue_integration_exporter_poll_failures_total")
            .filter(|(_, value)| *value != "0")
            .map(|(series, value)| {
                let label = |name| label(series, name).to_owned();
                (label("scope"), label("reason"), value.to_owned())
            })
            .collect()
    }

    fn named<'a>(&'a self, metric: &str) -> impl Iterator<Item = (&'a str, &'a str)> {
        let start = format!("{metric}{{");
        self.0
            .iter()
            .filter(move |(series, _)| series.starts_with(&start))
            .map(|(series, value)| (series.as_str(), value.as_str()))
    }
}

/// Returns the value of a label of a series.
fn label<'a>(series: &'a str, name: &str) -> &'a str {
    let (_, labels) = series.split_once('{').unwrap();
    labels
        .trim_end_matches('}')
        .split(',')
        .find_map(|label| label.strip_prefix(name)?.strip_prefix('='))
        .unwrap()
        .trim_matches('"')
}
