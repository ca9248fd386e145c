//! Malformed and oversized responses that AWS should never send, through the AWS SDK over real sockets. Each must affect only the scope
//! that received it. Ordinary failures of AWS are in `faults.rs`.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use glue_integration_exporter::clock::Clock;
use glue_integration_exporter::config::{Config, IntegrationArn, Query, ScopeRegion};
use glue_integration_exporter::exposition::text_format::Format;
use glue_integration_exporter::glue::Described;
use glue_integration_exporter::glue::RateLimiter;
use glue_integration_exporter::glue::aws::Sdk;
use glue_integration_exporter::glue::{
    BoxFuture, Deadline, Glue, GlueError, Listing, Observer, Page as GluePage, PageRequest, Reason,
    RequestContext,
};
use glue_integration_exporter::poll::Poller;
use glue_integration_exporter::publisher::Publisher;
use glue_integration_exporter::simulator::{
    Account, Fault, FaultKind, Handle, RequestMatcher, SimulatedError, SimulatedIntegration,
    Simulator,
};
use glue_integration_exporter::snapshot::{Integration, IntegrationError, Status};
use glue_integration_exporter::telemetry::Telemetry;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use tokio::task::JoinSet;

const EU: &str = "eu-west-1";
/// The integrations of the scope `hit`. The scope `well` has one in another region.
const NAMES: [&str; 3] = ["a", "b", "c"];
/// Unix time of the first poll; each later one is a minute after the one before.
const START: u64 = 1_800_000_000;

// ----------------------------------------------------------------------------------------------------------------- the table

/// A response and the expected series.
struct Case {
    name: &'static str,
    answer: FaultKind,
    on_page: Option<u32>,
    page_size: Option<u16>,
    timeout: Duration,
    /// Reason of the failed poll, None if the poll succeeds.
    reason: Option<&'static str>,
    /// Some data is from the previous poll.
    stale: bool,
    /// The end of the ARN, the metric with its other labels, and the value, or None if the series must not exist.
    shows: Vec<(&'static str, &'static str, Option<&'static str>)>,
}

fn case(name: &'static str, answer: FaultKind) -> Case {
    Case {
        name,
        answer,
        on_page: None,
        page_size: None,
        timeout: Duration::from_secs(30),
        reason: None,
        stale: false,
        shows: Vec::new(),
    }
}

impl Case {
    /// The poll fails, and missing integrations keep their last status, ACTIVE.
    fn fails(mut self, reason: &'static str) -> Self {
        self.reason = Some(reason);
        self.stale = true;
        self
    }

    /// The poll fails although the response contains all integrations.
    fn fails_with_all(mut self, reason: &'static str) -> Self {
        self.reason = Some(reason);
        self
    }

    fn shows(mut self, name: &'static str, series: &'static str, value: &'static str) -> Self {
        self.shows.push((name, series, Some(value)));
        self
    }

    fn lacks(mut self, name: &'static str, series: &'static str) -> Self {
        self.shows.push((name, series, None));
        self
    }

    /// Lists one integration per page and sends the malformed response on this page.
    fn on_page(mut self, page: u32) -> Self {
        self.on_page = Some(page);
        self.page_size = Some(1);
        self
    }

    fn within(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }
}

const ACTIVE: &str = "status{status=\"ACTIVE\"}";
const FAILED: &str = "status{status=\"FAILED\"}";
const CREATED: &str = "created_timestamp_seconds";
const AGE: &str = "age_seconds";

fn table() -> Vec<Case> {
    let created = |time: Value| listed(move |items| items[0]["CreateTime"] = time.clone());
    let cut_code = format!("errors_by_code{{error_code=\"{}…\"}}", "é".repeat(2_048)).leak();
    let mut cases = vec![
        case("a page of 50 MB", fifty_megabytes())
            .fails("invalid_response")
            .shows("a", ACTIVE, "1"),
        case("half a million items of three bytes", many_items())
            .fails("invalid_response")
            .shows("a", ACTIVE, "1"),
        case(
            "a body that drips a byte a second",
            FaultKind::Drip {
                bytes: 1,
                pause: Duration::from_secs(1),
            },
        )
        .within(Duration::from_secs(3))
        .fails("timeout")
        .shows("a", ACTIVE, "1"),
        case(
            "endless markers until the timeout",
            FaultKind::EndlessMarkers,
        )
        .within(Duration::from_secs(2))
        .fails_with_all("timeout")
        .shows("a", FAILED, "1"),
        case(
            "1,000 errors of 1,000 codes with messages of 10 KB",
            listed(|items| items[0]["Errors"] = errors(1_000, 10_000)),
        )
        .shows("a", "errors", "1000")
        .shows("a", "errors_by_code{error_code=\"CODE0000\"}", "1")
        .shows("a", "errors_by_code{error_code=\"CODE0019\"}", "1")
        .lacks("a", "errors_by_code{error_code=\"CODE0020\"}")
        .shows("a", "errors_by_code{error_code=\"other\"}", "980")
        .shows("b", FAILED, "1"),
        case(
            "an ARN of 3,000 characters",
            listed(|items| items[0]["IntegrationArn"] = json!("a".repeat(3_000))),
        )
        .fails("invalid_response")
        .shows("a", ACTIVE, "1")
        .shows("b", FAILED, "1"),
        case(
            "texts of 1 MB",
            listed(|items| {
                let long = "é".repeat(500_000);
                items[0]["Status"] = json!(long);
                items[0]["SourceArn"] = json!(long);
                items[0]["TargetArn"] = json!(long);
                items[0]["Errors"] = json!([{"ErrorCode": long, "ErrorMessage": long}]);
            }),
        )
        .shows("a", "status{status=\"UNKNOWN\"}", "1")
        .shows("a", cut_code, "1")
        .shows("b", FAILED, "1"),
        case("CreateTime in 1970", created(json!(1)))
            .shows("a", CREATED, "1")
            .shows("a", AGE, "1800000059"),
        case("CreateTime before 1970", created(json!(-86_400)))
            .shows("a", CREATED, "-86400")
            .shows("a", AGE, "1800086460"),
        case("CreateTime in a year", created(json!(1_831_536_000)))
            .shows("a", CREATED, "1831536000")
            .shows("a", AGE, "0"),
        case(
            "CreateTime in the year 9999",
            created(json!(253_402_300_799_u64)),
        )
        .shows("a", CREATED, "253402300799")
        .shows("a", AGE, "0"),
        case("CreateTime beyond all years", created(json!(1e300)))
            .lacks("a", CREATED)
            .lacks("a", AGE)
            .shows("a", FAILED, "1"),
        case(
            "the same integration twice with two statuses on two pages",
            listed(|items| {
                items.truncate(1);
                items[0]["Status"] = json!("SYNCING");
            }),
        )
        .on_page(2)
        .shows("a", "status{status=\"SYNCING\"}", "1")
        .shows("a", FAILED, "0")
        .lacks("b", FAILED),
    ];
    for (sent, shown) in [
        ("creating", "status{status=\"CREATING\"}"),
        ("active", "status{status=\"ACTIVE\"}"),
        ("modifying", "status{status=\"MODIFYING\"}"),
        ("failed", "status{status=\"FAILED\"}"),
        ("deleting", "status{status=\"DELETING\"}"),
        ("syncing", "status{status=\"SYNCING\"}"),
        ("needs_attention", "status{status=\"NEEDS_ATTENTION\"}"),
        ("Needs_Attention", "status{status=\"NEEDS_ATTENTION\"}"),
        ("replicating", "status{status=\"UNKNOWN\"}"),
        ("ACTIVE ", "status{status=\"UNKNOWN\"}"),
        ("\u{0}\n\"\\", "status{status=\"UNKNOWN\"}"),
    ] {
        let status = listed(move |items| items[0]["Status"] = json!(sent));
        cases.push(case(sent, status).shows("a", shown, "1"));
    }
    cases
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_response_stays_isolated() {
    let cases: JoinSet<()> = table().into_iter().map(run).collect();
    cases.join_all().await;
}

async fn run(case: Case) {
    let (addr, sim) = serve(Account::of(integrations("ACTIVE"))).await;
    let mut watch = watch(EU);
    watch.timeout = case.timeout;
    watch.page_size = case.page_size;
    let mut bench = Bench::new(&addr, watch);
    let before = bench.round().await;
    before.scopes(case.name, true, false);

    sim.put_all(integrations("FAILED"));
    let mut on = RequestMatcher::region(EU);
    on.page = case.on_page;
    sim.push_fault(Fault::new(on, case.answer));
    let during = bench.round().await;
    let name = case.name;
    during.scopes(name, case.reason.is_none(), case.stale);
    assert_eq!(
        during.failures(),
        case.reason.map(|reason| (reason.to_owned(), 1)),
        "{name}"
    );
    for (integration, series, value) in case.shows {
        let shown = during.of(&arn(EU, integration), series);
        assert_eq!(shown, value, "{name}: {integration} {series}");
    }
    assert_eq!(
        during.of(&arn("us-east-1", "d"), FAILED),
        Some("1"),
        "{name}"
    );

    sim.clear_faults();
    let after = bench.round().await;
    after.scopes(name, true, false);
    for integration in NAMES {
        assert_eq!(after.of(&arn(EU, integration), FAILED), Some("1"), "{name}");
    }
}

// ------------------------------------------------------------------------------------------------------- other tests

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scope_with_100000_integrations_is_exported() {
    let mut world = Account::generated(100_000);
    world.max_page_size = 10_000;
    let (addr, sim) = serve(world).await;
    sim.put(integration("us-east-1", "d", "ACTIVE"));
    let mut watch = watch(EU);
    watch.page_size = Some(10_000);
    let mut bench = Bench::new(&addr, watch);
    let page = bench.round().await;
    page.scopes("100,000", true, false);
    let infos = page
        .0
        .lines()
        .filter(|line| line.starts_with("aws_glue_integration_info{"));
    assert_eq!(infos.count(), 100_001);
    let shown = page.get(&scope_series("scope_integrations", "hit", EU));
    assert_eq!(shown, Some("100000"));
}

/// An integration that is deleted after its page was sent is exported until the next poll.
#[tokio::test]
async fn integration_deleted_between_pages_is_removed() {
    let (addr, sim) = serve(Account::of(integrations("ACTIVE"))).await;
    let mut watch = watch(EU);
    watch.page_size = Some(1);
    let mut bench = Bench::new(&addr, watch);
    bench.round().await;
    let slow = FaultKind::Delay(Duration::from_millis(300));
    let second = RequestMatcher {
        page: Some(2),
        ..RequestMatcher::region(EU)
    };
    sim.push_fault(Fault::new(second, slow));
    let vanish = async {
        // After the second page was requested and before it is sent.
        while sim
            .requests()
            .iter()
            .filter(|request| request.page == 2)
            .count()
            < 2
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        sim.remove(&arn(EU, "a"));
        sim.remove(&arn(EU, "c"));
    };
    let (page, ()) = tokio::join!(bench.round(), vanish);
    page.scopes("vanishing", true, false);
    let shown = |page: &Page| NAMES.map(|name| page.of(&arn(EU, name), ACTIVE).is_some());
    assert_eq!(shown(&page), [true, true, false]);
    let page = bench.round().await;
    page.scopes("vanished", true, false);
    assert_eq!(shown(&page), [false, true, false]);
}

#[tokio::test]
async fn clock_jump_ends_no_series() {
    let (addr, sim) = serve(Account::of(integrations("ACTIVE"))).await;
    let mut bench = Bench::new(&addr, watch(EU));
    let since = "status_since_timestamp_seconds";
    let a = arn(EU, "a");
    bench.round().await;
    // Back to 2001, before the integration was created, and forward to 2096. No series ends and no age is negative.
    for (jumped_to, age) in [(1_000_000_000, "0"), (4_000_000_000, "2300000060")] {
        bench.now.store(jumped_to, Ordering::Relaxed);
        let page = bench.round().await;
        page.scopes("jumped", true, false);
        assert_eq!(
            page.of(&a, since),
            Some("1800000000"),
            "the status is the same"
        );
        assert_eq!(page.of(&a, AGE), Some(age));
        sim.push_fault(Fault::new(
            RequestMatcher::region(EU),
            FaultKind::error("AccessDeniedException", ""),
        ));
        let failed = bench.round().await;
        failed.scopes("failed", false, true);
        assert_eq!(
            failed.of(&a, ACTIVE),
            Some("1"),
            "cached data does not expire"
        );
        sim.clear_faults();
    }
    sim.put_all(integrations("FAILED"));
    bench.now.store(1_000_000_000, Ordering::Relaxed);
    let page = bench.round().await;
    assert_eq!(page.of(&a, FAILED), Some("1"), "the later poll wins");
    assert_eq!(
        page.of(&a, since),
        Some("1000000060"),
        "uses the current clock"
    );
}

/// Uses a fake implementation of `Glue`, because sending the pages over a socket takes minutes.
#[tokio::test]
async fn endless_listing_fails() {
    for (on_each_page, reason, pages, shown) in [
        (
            0,
            "the listing has more than 10000 pages",
            10_000..=10_000,
            0..=0,
        ),
        (
            1_000,
            "more than 200000 integrations and errors",
            101..=101,
            100_000..=100_000,
        ),
    ] {
        let endless = Endless {
            requests: AtomicU64::new(0),
            on_each_page,
            padding: String::new(),
        };
        let mut listing = Listing::new(Query::All, &Arc::default(), None);
        let context = RequestContext {
            scope: "hit",
            deadline: &Deadline::new(Duration::from_secs(3600), 1),
        };
        let clock = Clock::from_wall(|| 0.0);
        listing.follow(&endless, &clock, context).await;
        let answer = listing.into_answer(Reason::Timeout);
        let error = answer.outcome.unwrap_err();
        assert_eq!(error.reason, Reason::InvalidResponse);
        assert!(error.message.contains(reason), "{error}");
        let requests = endless.requests.load(Ordering::Relaxed);
        assert!(pages.contains(&requests), "{requests} pages");
        assert!(
            shown.contains(&answer.integrations.len()),
            "{}",
            answer.integrations.len()
        );
    }
}

/// Integrations that are not looked up take no memory, so the limit of pages applies.
#[tokio::test]
async fn endless_lookup_listing_fails() {
    let endless = Endless {
        requests: AtomicU64::new(0),
        on_each_page: 20,
        padding: String::new(),
    };
    let wanted: IntegrationArn = arn(EU, "000000007-3").parse().unwrap();
    let mut listing = Listing::lookup([&wanted], None);
    let context = RequestContext {
        scope: "hit",
        deadline: &Deadline::new(Duration::from_secs(3600), 1),
    };
    let clock = Clock::from_wall(|| 0.0);
    listing.follow(&endless, &clock, context).await;
    assert_eq!(endless.requests.load(Ordering::Relaxed), 10_000);
    assert!(listing.find(&wanted).is_some());
    let answer = listing.into_answer(Reason::Timeout);
    assert_eq!(answer.integrations.len(), 1);
    let error = answer.outcome.unwrap_err();
    assert!(error.message.contains("more than 10000 pages"), "{error}");
}

/// Repeated endless listings do not accumulate. The latest integrations are kept, at most twice as many as this listing has.
#[tokio::test]
async fn endless_listing_keeps_memory_bounded() {
    let endless = Arc::new(Endless {
        requests: AtomicU64::new(0),
        on_each_page: 1_000,
        padding: String::new(),
    });
    let watch = watch(EU);
    let clock = Clock::from_wall(|| 0.0);
    let publisher = Arc::new(Publisher::new(std::slice::from_ref(&watch), clock.clone()));
    let telemetry = Arc::new(Telemetry::new().unwrap());
    let glue = Arc::clone(&endless) as Arc<dyn Glue>;
    let mut poller = Poller::new(watch, glue, Arc::clone(&publisher), telemetry, clock);
    for _ in 0..3 {
        assert!(!poller.poll().await);
        let stored = serde_json::to_value(publisher.stored()).unwrap();
        let kept = stored["scopes"][0]["queries"][0]["sights"]
            .as_array()
            .unwrap();
        assert!((100_000..=201_000).contains(&kept.len()), "{}", kept.len());
        let last = endless.requests.load(Ordering::Relaxed) - 2;
        let last = arn(EU, &format!("{last:09}-0{}", endless.padding));
        assert!(
            kept.iter()
                .any(|observation| observation["integration"]["arn"] == *last)
        );
    }
}

/// Sends a new marker and new integrations on each page.
struct Endless {
    requests: AtomicU64,
    on_each_page: u64,
    /// Part of each ARN.
    padding: String,
}

impl Glue for Endless {
    fn page<'a>(
        &'a self,
        _query: &'a Query,
        _request: PageRequest<'a>,
    ) -> BoxFuture<'a, Result<GluePage<Integration>, GlueError>> {
        let page = self.requests.fetch_add(1, Ordering::Relaxed);
        let integration = |index| Integration {
            arn: arn(EU, &format!("{page:09}-{index}{}", self.padding)),
            source_arn: String::new(),
            target_arn: String::new(),
            status: Status::Active,
            status_text: None,
            created: None,
            refresh_interval: None,
            continuous_sync: None,
            target_namespace: None,
            errors: vec![IntegrationError {
                code: Some("C".to_owned()),
                message: Some("m".repeat(1_000)),
            }],
        };
        let answer = GluePage {
            items: (0..self.on_each_page).map(integration).collect(),
            without_arn: 0,
            marker: Some(page.to_string()),
        };
        Box::pin(async move { Ok::<_, GlueError>(answer) })
    }

    fn metadata_page<'a>(
        &'a self,
        _tags: &'a BTreeSet<String>,
        _request: PageRequest<'a>,
    ) -> BoxFuture<'a, Result<GluePage<Described>, GlueError>> {
        Box::pin(std::future::ready(Ok(GluePage::last(Vec::new()))))
    }
}

// ------------------------------------------------------------------------------------------------------------------ the bench

/// The scopes `hit` and `well`. The clock advances by a minute before each round of polls.
struct Bench {
    pollers: [Poller; 2],
    publisher: Arc<Publisher>,
    telemetry: Arc<Telemetry>,
    clock: Clock,
    now: Arc<AtomicU64>,
}

impl Bench {
    fn new(endpoint: &str, hit: ScopeRegion) -> Self {
        let now = Arc::new(AtomicU64::new(START - 60));
        let read = Arc::clone(&now);
        let clock = Clock::from_wall(move || {
            Duration::from_secs(read.load(Ordering::Relaxed)).as_secs_f64()
        });
        let watches = [hit, watch("us-east-1")];
        let publisher = Arc::new(Publisher::new(&watches, clock.clone()));
        let telemetry = Arc::new(Telemetry::new().unwrap());
        let pollers = watches.map(|watch| {
            let glue = Sdk::connect_simulated(
                Arc::<Telemetry>::clone(&telemetry) as Arc<dyn Observer>,
                endpoint.to_owned(),
                &watch.region,
                // No request waits.
                RateLimiter::new(60_000),
            );
            let (publisher, telemetry) = (Arc::clone(&publisher), Arc::clone(&telemetry));
            Poller::new(watch, Arc::new(glue), publisher, telemetry, clock.clone())
        });
        Self {
            pollers,
            publisher,
            telemetry,
            clock,
            now,
        }
    }

    /// Advances the clock by a minute and lets both scopes poll. Returns the metrics.
    async fn round(&mut self) -> Page {
        self.now.fetch_add(60, Ordering::Relaxed);
        let [hit, well] = &mut self.pollers;
        tokio::join!(hit.poll(), well.poll());
        self.publisher.publish_now();
        Page(
            String::from_utf8(
                self.publisher
                    .page()
                    .text(Format::Text, &self.telemetry, self.clock.unix_now())
                    .concat(),
            )
            .unwrap(),
        )
    }
}

/// A scope that watches everything in one region.
fn watch(region: &str) -> ScopeRegion {
    let scope = if region == EU { "hit" } else { "well" };
    let yaml = format!("scopes: [{{name: {scope}, regions: [{region}]}}]\n");
    let config = Config::from_yaml(&yaml, Path::new("config.yaml")).unwrap();
    config.watches(|_| Err(None)).unwrap().remove(0)
}

async fn serve(world: Account) -> (String, Handle) {
    let simulator = Simulator::bind(([127, 0, 0, 1], 0).into(), world)
        .await
        .unwrap();
    let served = (
        format!("http://{}", simulator.local_addr),
        simulator.handle.clone(),
    );
    tokio::spawn(simulator.serve(std::future::pending()));
    served
}

fn arn(region: &str, name: &str) -> String {
    format!("arn:aws:glue:{region}:111122223333:integration:{name}")
}

fn integration(region: &str, name: &str, status: &str) -> SimulatedIntegration {
    let of = |service: &str| format!("arn:aws:{service}:{region}:111122223333");
    let (source, target) = (
        of("dynamodb") + ":table/orders",
        of("glue") + ":database/sales",
    );
    let mut integration = SimulatedIntegration::new(&arn(region, name), &source, &target, status);
    integration.errors = Some(vec![SimulatedError {
        code: Some("Oops".into()),
        message: Some("simulated".into()),
    }]);
    integration
}

fn integrations(status: &str) -> Vec<SimulatedIntegration> {
    let mut all: Vec<_> = NAMES.map(|name| integration(EU, name, status)).into();
    all.push(integration("us-east-1", "d", status));
    all
}

/// A response that lists the current integrations, after `change`.
fn listed(change: impl Fn(&mut Vec<Value>)) -> FaultKind {
    let mut items = integrations("FAILED")[..NAMES.len()]
        .iter()
        .map(|integration| json!(integration))
        .collect();
    change(&mut items);
    FaultKind::raw(200, json!({"InboundIntegrations": items}).to_string())
}

fn errors(count: usize, length: usize) -> Value {
    let message = "m".repeat(length);
    (0..count)
        .map(|code| json!({"ErrorCode": format!("CODE{code:04}"), "ErrorMessage": message}))
        .collect()
}

fn many_items() -> FaultKind {
    let items = "{},".repeat(500_001);
    FaultKind::raw(200, format!("{{\"InboundIntegrations\":[{items}{{}}]}}"))
}

fn fifty_megabytes() -> FaultKind {
    listed(|items| items[0]["Errors"] = errors(5_000, 10_000))
}

fn scope_series(metric: &str, scope: &str, region: &str) -> String {
    format!("glue_integration_exporter_{metric}{{scope=\"{scope}\",aws_region=\"{region}\"}}")
}

/// The metrics as text. With 100,000 integrations, parsing them takes too long.
struct Page(String);

impl Page {
    fn get(&self, series: &str) -> Option<&str> {
        let found = |line: &'_ &str| {
            line.strip_prefix(series)
                .is_some_and(|rest| rest.starts_with(' '))
        };
        let (_, value) = self.0.lines().find(found)?.rsplit_once(' ')?;
        Some(value)
    }

    /// Returns the value of a series of an integration: `errors`, or with other labels `status{status="ACTIVE"}`.
    fn of(&self, arn: &str, series: &str) -> Option<&str> {
        let region = arn.split(':').nth(3)?;
        let (metric, labels) = series.split_once('{').unwrap_or((series, "}"));
        let comma = if labels == "}" { "" } else { "," };
        self.get(&format!(
            "aws_glue_integration_{metric}{{aws_account_id=\"111122223333\",aws_region=\"{region}\",\
             integration_arn=\"{arn}\"{comma}{labels}"
        ))
    }

    /// Checks `scope_up` and `scope_stale` of `hit`, and that `well` is up.
    fn scopes(&self, name: &str, up: bool, stale: bool) {
        let is = |truth| Some(if truth { "1" } else { "0" });
        for (scope, region, up, stale) in
            [("hit", EU, up, stale), ("well", "us-east-1", true, false)]
        {
            let of_scope = |metric| self.get(&scope_series(metric, scope, region));
            assert_eq!(of_scope("scope_up"), is(up), "{name}: {scope} is up");
            assert_eq!(
                of_scope("scope_stale"),
                is(stale),
                "{name}: {scope} is stale"
            );
        }
    }

    /// Returns the only reason of failed polls and their number.
    fn failures(&self) -> Option<(String, u32)> {
        let rows = self.0.lines().filter_map(|line| {
            let labels = line.strip_prefix("glue_integration_exporter_poll_failures_total{")?;
            let (_, reason) = labels.split_once("reason=\"")?;
            let (reason, _) = reason.split_once('"')?;
            let (_, count) = line.rsplit_once(' ')?;
            (count != "0").then(|| (reason.to_owned(), count.parse().unwrap()))
        });
        let rows: Vec<_> = rows.collect();
        assert!(rows.len() < 2, "{rows:?}");
        rows.into_iter().next()
    }
}
