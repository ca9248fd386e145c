//! `lookup: list` with real requests: finds the configured integrations in one listing and requests the missing ones individually. The
//! simulated endpoint counts the requests.

use crate::support::account::{Bench, arn, watches};
use crate::support::page::{Page, Sample};
use glue_integration_exporter::clock::Clock;
use glue_integration_exporter::config::ScopeRegion;
use glue_integration_exporter::glue::RateLimiter;
use glue_integration_exporter::glue::aws::{AwsGlue, Sdk};
use glue_integration_exporter::poll::Poller;
use glue_integration_exporter::simulator::{
    Account, Fault, FaultKind, Handle, RequestMatcher, SimulatedIntegration, Simulator,
};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio_util::sync::{CancellationToken, DropGuard};

const TARGET: &str = "arn:aws:glue:eu-west-1:111122223333:database/lake";
const UP: &str = "glue_integration_exporter_scope_up";
const STALE: &str = "glue_integration_exporter_scope_stale";
const FAILURES: &str = "glue_integration_exporter_poll_failures_total";
const SINCE: &str = "aws_glue_integration_status_since_timestamp_seconds";

fn integration(arn: &str, status: &str) -> SimulatedIntegration {
    let source = "arn:aws:dynamodb:eu-west-1:111122223333:table/orders";
    SimulatedIntegration::new(arn, source, TARGET, status)
}

/// An account with this many integrations, all with this status.
fn account(integrations: usize, status: &str) -> Account {
    Account::of(
        (0..integrations)
            .map(|n| integration(&arn(n), status))
            .collect(),
    )
}

fn scope(lookup: &str, arns: &[String]) -> ScopeRegion {
    let arns = arns.join(", ");
    let yaml = format!("scopes: [{{name: lake, lookup: {lookup}, integration_arns: [{arns}]}}]");
    watches(&yaml).remove(0)
}

fn first(integrations: usize) -> Vec<String> {
    (0..integrations).map(arn).collect()
}

/// An exporter with one scope and a simulated endpoint.
struct Exporter {
    bench: Bench,
    client: Arc<AwsGlue>,
    poller: Poller,
    simulated: Handle,
    _stop: DropGuard,
}

impl Exporter {
    async fn start(world: Account, watch: &ScopeRegion) -> Self {
        let simulator = Simulator::bind("127.0.0.1:0".parse().unwrap(), world)
            .await
            .unwrap();
        let (address, simulated) = (simulator.local_addr, simulator.handle.clone());
        let stop = CancellationToken::new();
        tokio::spawn(simulator.serve(stop.clone().cancelled_owned()));
        let bench = Bench::with_clock(std::slice::from_ref(watch), Clock::system());
        let client = Arc::new(Sdk::connect_simulated(
            Arc::clone(&bench.telemetry) as _,
            format!("http://{address}"),
            &watch.region,
            RateLimiter::new(u16::MAX),
        ));
        Self {
            poller: poller(&bench, watch, &client),
            bench,
            client,
            simulated,
            _stop: stop.drop_guard(),
        }
    }

    /// Applies a new configuration, like a reload.
    fn reload(&mut self, watch: &ScopeRegion) {
        self.bench
            .publisher
            .reconfigure(std::slice::from_ref(watch));
        self.poller = poller(&self.bench, watch, &self.client);
    }

    /// Polls once. Returns the metrics and the requests: an ARN or a page number of the listing.
    async fn poll(&mut self) -> (Page, Vec<String>) {
        let before = self.simulated.requests().len();
        self.poller.poll().await;
        let requests = self.simulated.requests().split_off(before);
        let requests = requests
            .into_iter()
            .map(|request| {
                request
                    .integration_arn
                    .or(request.target_arn)
                    .unwrap_or_else(|| format!("page {}", request.page))
            })
            .collect();
        (self.bench.page(), requests)
    }
}

fn poller(bench: &Bench, watch: &ScopeRegion, client: &Arc<AwsGlue>) -> Poller {
    Poller::new(
        watch.clone(),
        Arc::clone(client) as _,
        Arc::clone(&bench.publisher),
        Arc::clone(&bench.telemetry),
        bench.clock.clone(),
    )
}

fn gauge(page: &Page, name: &str) -> Option<f64> {
    page.value(name, &[("scope", "lake")])
}

fn up_and_stale(page: &Page) -> (Option<f64>, Option<f64>) {
    (gauge(page, UP), gauge(page, STALE))
}

fn failures(page: &Page, reason: &str) -> Option<f64> {
    page.value(FAILURES, &[("reason", reason)])
}

fn present(page: &Page, arn: &str) -> Option<f64> {
    page.value("aws_glue_integration_present", &[("integration_arn", arn)])
}

/// Returns the samples of integrations, except those that depend on the time.
fn samples(page: &Page) -> Vec<&Sample> {
    let time_dependent = [
        "aws_glue_integration_age_seconds",
        "aws_glue_integration_stale",
        SINCE,
    ];
    page.samples
        .iter()
        .filter(|sample| sample.name.starts_with("aws_glue_"))
        .filter(|sample| !time_dependent.contains(&sample.name.as_str()))
        .collect()
}

/// A response with these items.
fn listing(items: &[Value]) -> FaultKind {
    FaultKind::raw(200, json!({"InboundIntegrations": items}).to_string())
}

#[tokio::test]
async fn lookup_list_equals_individual_requests() {
    let arns = first(200);
    let mut each = Exporter::start(account(200, "ACTIVE"), &scope("each", &arns)).await;
    let (one_by_one, requests) = each.poll().await;
    assert_eq!(requests.len(), 200);
    let mut list = Exporter::start(account(200, "ACTIVE"), &scope("list", &arns)).await;
    for _ in 0..2 {
        let (listed, requests) = list.poll().await;
        assert_eq!(requests, ["page 1", "page 2"]);
        assert_eq!(samples(&listed), samples(&one_by_one));
        assert_eq!(up_and_stale(&listed), (Some(1.0), Some(0.0)));
    }
    // A missing integration takes one more request, whose answer shows that it does not exist.
    list.simulated.remove(&arn(7));
    let (page, requests) = list.poll().await;
    assert_eq!(requests, ["page 1", "page 2", &arn(7)]);
    assert_eq!(present(&page, &arn(7)), Some(0.0));
    assert_eq!(page.status(&arn(7)), None);
    assert_eq!(
        page.find("aws_glue_integration_created_timestamp_seconds", &[])
            .len(),
        199
    );
    assert_eq!(up_and_stale(&page), (Some(1.0), Some(0.0)));
}

#[tokio::test]
async fn lookup_missing_arn_is_requested_individually() {
    let arns = first(3);
    let mut exporter = Exporter::start(account(3, "ACTIVE"), &scope("list", &arns)).await;
    let (page, _) = exporter.poll().await;
    let since = page.value(SINCE, &[("integration_arn", &arn(1))]);
    // As if a call without an ARN did not list all integrations.
    let others = [0, 2].map(|n| json!(integration(&arn(n), "FAILED")));
    let lacking = || Fault::new(RequestMatcher::page(1), listing(&others)).times(1);
    exporter.simulated.push_fault(lacking());
    let (page, requests) = exporter.poll().await;
    assert_eq!(requests, ["page 1", &arn(1)]);
    let statuses = arns.iter().map(|arn| page.status(arn).unwrap());
    let statuses: Vec<String> = statuses.collect();
    assert_eq!(statuses, ["FAILED", "ACTIVE", "FAILED"]);
    assert_eq!(present(&page, &arn(1)), Some(1.0));
    assert_eq!(page.value(SINCE, &[("integration_arn", &arn(1))]), since);
    assert_eq!(up_and_stale(&page), (Some(1.0), Some(0.0)));

    // If its own request fails, only this integration keeps its last data.
    exporter.simulated.push_fault(lacking());
    let denied = FaultKind::error("AccessDeniedException", "no");
    let fault = Fault::new(
        RequestMatcher {
            integration_arn: Some(arn(1)),
            ..RequestMatcher::default()
        },
        denied,
    );
    exporter.simulated.push_fault(fault);
    let (page, requests) = exporter.poll().await;
    assert_eq!(requests, ["page 1", &arn(1)]);
    assert_eq!(page.status(&arn(1)).as_deref(), Some("ACTIVE"));
    assert_eq!(present(&page, &arn(1)), Some(1.0));
    assert_eq!(up_and_stale(&page), (Some(0.0), Some(1.0)));
    assert_eq!(failures(&page, "access_denied"), Some(1.0));
}

#[tokio::test]
async fn lookup_empty_listing_requests_each_arn() {
    let arns = first(5);
    let mut exporter = Exporter::start(account(5, "ACTIVE"), &scope("list", &arns)).await;
    let fault = Fault::new(RequestMatcher::page(1), FaultKind::raw(200, "{}")).times(1);
    exporter.simulated.push_fault(fault);
    let (page, mut requests) = exporter.poll().await;
    assert_eq!(requests.remove(0), "page 1");
    requests.sort_unstable();
    assert_eq!(requests, arns);
    assert_eq!(page.find("aws_glue_integration_info", &[]).len(), 5);
}

#[tokio::test]
async fn lookup_ignores_other_integrations() {
    let world = account(250, "PAUSED");
    let arns = [3, 120, 249].map(arn);
    let watch = &scope("list", &arns);
    let mut exporter = Exporter::start(world, watch).await;
    for arn in &arns {
        exporter.simulated.set_status(arn, "ACTIVE");
    }
    let (page, requests) = exporter.poll().await;
    assert_eq!(requests, ["page 1", "page 2", "page 3"]);
    assert_eq!(page.find("aws_glue_integration_info", &[]).len(), 3);
    assert_eq!(page.find("aws_glue_integration_present", &[]).len(), 3);
    let integrations = gauge(&page, "glue_integration_exporter_scope_integrations");
    assert_eq!(integrations, Some(3.0));
    let unknown = page.value("glue_integration_exporter_unknown_statuses_total", &[]);
    assert_eq!(unknown, Some(0.0));
}

#[tokio::test]
async fn lookup_matches_both_arn_forms_and_later_page() {
    let slash = |n| arn(n).replace(":integration:", ":integration/");
    let mut world = Account::of(vec![
        integration(&arn(0), "ACTIVE"),
        integration(&slash(1), "SYNCING"),
    ]);
    world.max_page_size = 1;
    let watch = &scope("list", &[slash(0), arn(1)]);
    let mut exporter = Exporter::start(world, watch).await;
    let (page, requests) = exporter.poll().await;
    assert_eq!(requests, ["page 1", "page 2"]);
    assert_eq!(page.status(&arn(0)).as_deref(), Some("ACTIVE"));
    assert_eq!(page.status(&slash(1)).as_deref(), Some("SYNCING"));
    assert_eq!(
        (present(&page, &arn(0)), present(&page, &slash(1))),
        (Some(1.0), Some(1.0)),
        "with the ARNs that AWS sent"
    );
    let again = [
        integration(&arn(0), "FAILED"),
        integration(&slash(1), "ACTIVE"),
    ];
    let again = listing(&again.map(|integration| json!(integration)));
    exporter
        .simulated
        .push_fault(Fault::new(RequestMatcher::page(2), again));
    let (page, _) = exporter.poll().await;
    assert_eq!(page.status(&arn(0)).as_deref(), Some("FAILED"));
    assert_eq!(page.status(&slash(1)).as_deref(), Some("ACTIVE"));
}

#[tokio::test]
async fn lookup_incomplete_listing_keeps_found_items() {
    let arns = first(3);
    let mut exporter = Exporter::start(account(3, "ACTIVE"), &scope("list", &arns)).await;
    exporter.poll().await;
    let mut nameless = json!(integration(&arn(2), "FAILED"));
    nameless.as_object_mut().unwrap().remove("IntegrationArn");
    let found = [0, 1].map(|n| json!(integration(&arn(n), "FAILED")));
    let items = [&found[..], &[nameless.clone()]].concat();
    let fault = Fault::new(RequestMatcher::page(1), listing(&items)).times(1);
    exporter.simulated.push_fault(fault);
    let (page, requests) = exporter.poll().await;
    assert_eq!(requests, ["page 1"]);
    assert_eq!(page.status(&arn(0)).as_deref(), Some("FAILED"));
    assert_eq!(page.status(&arn(1)).as_deref(), Some("FAILED"));
    assert_eq!(page.status(&arn(2)).as_deref(), Some("ACTIVE"));
    assert_eq!(present(&page, &arn(2)), Some(1.0));
    assert_eq!(up_and_stale(&page), (Some(0.0), Some(1.0)));
    assert_eq!(failures(&page, "invalid_response"), Some(1.0));

    // An unnamed item does not matter if all configured integrations were found.
    let items: Vec<Value> = (0..3)
        .map(|n| json!(integration(&arn(n), "ACTIVE")))
        .chain([nameless])
        .collect();
    exporter
        .simulated
        .push_fault(Fault::new(RequestMatcher::page(1), listing(&items)));
    let (page, requests) = exporter.poll().await;
    assert_eq!(requests, ["page 1"]);
    assert_eq!(page.status(&arn(2)).as_deref(), Some("ACTIVE"));
    assert_eq!(up_and_stale(&page), (Some(1.0), Some(0.0)));
}

#[tokio::test]
async fn lookup_failure_on_page_two_keeps_old_data() {
    let arns = first(150);
    let mut exporter = Exporter::start(account(150, "ACTIVE"), &scope("list", &arns)).await;
    exporter.poll().await;
    for arn in &arns {
        exporter.simulated.set_status(arn, "FAILED");
    }
    exporter.simulated.remove(&arn(149));
    for (code, reason, tries) in [
        ("AccessDeniedException", "access_denied", 1),
        ("ThrottlingException", "throttled", 3),
    ] {
        let fault = Fault::new(RequestMatcher::page(2), FaultKind::error(code, "no"));
        exporter.simulated.push_fault(fault);
        let (page, requests) = exporter.poll().await;
        assert_eq!(requests[0], "page 1");
        assert_eq!(
            requests[1..],
            vec!["page 2"; tries],
            "no ARN is requested individually"
        );
        assert_eq!(page.status(&arn(99)).as_deref(), Some("FAILED"));
        assert_eq!(page.status(&arn(100)).as_deref(), Some("ACTIVE"));
        assert_eq!(present(&page, &arn(149)), Some(1.0));
        assert_eq!(up_and_stale(&page), (Some(0.0), Some(1.0)));
        assert_eq!(failures(&page, reason), Some(1.0));
        exporter.simulated.clear_faults();
    }
    let (page, requests) = exporter.poll().await;
    assert_eq!(requests, ["page 1", "page 2", &arn(149)]);
    assert_eq!(page.status(&arn(100)).as_deref(), Some("FAILED"));
    assert_eq!(present(&page, &arn(149)), Some(0.0));
    assert_eq!(up_and_stale(&page), (Some(1.0), Some(0.0)));
}

#[tokio::test]
async fn lookup_list_requests_targets_too() {
    let yaml = format!(
        "scopes: [{{name: lake, lookup: list, integration_arns: [{}, {}], target_arns: ['{TARGET}']}}]",
        arn(0),
        arn(1)
    );
    let mut exporter = Exporter::start(account(4, "ACTIVE"), &watches(&yaml)[0]).await;
    let denied = FaultKind::error("AccessDeniedException", "no");
    exporter.simulated.push_fault(Fault::new(
        RequestMatcher {
            target_arn: Some(TARGET.to_owned()),
            ..RequestMatcher::default()
        },
        denied.clone(),
    ));
    let (page, mut requests) = exporter.poll().await;
    requests.sort_unstable();
    assert_eq!(requests, [TARGET, "page 1"]);
    assert_eq!(page.find("aws_glue_integration_info", &[]).len(), 2);
    assert_eq!(gauge(&page, UP), Some(0.0));
    exporter.simulated.clear_faults();
    let (page, _) = exporter.poll().await;
    assert_eq!(page.find("aws_glue_integration_info", &[]).len(), 4);
    assert_eq!(page.find("aws_glue_integration_present", &[]).len(), 4);
    assert_eq!(gauge(&page, UP), Some(1.0));
}

#[tokio::test]
async fn reload_changing_lookup_keeps_data() {
    let arns = first(4);
    let mut exporter = Exporter::start(account(3, "ACTIVE"), &scope("each", &arns)).await;
    let (first_page, _) = exporter.poll().await;
    let since = |page: &Page| {
        let since = page.find(SINCE, &[]);
        since.into_iter().cloned().collect::<Vec<Sample>>()
    };
    for lookup in ["list", "each"] {
        // While requests fail, the last data is served.
        let broken = FaultKind::error("AccessDeniedException", "no");
        exporter
            .simulated
            .push_fault(Fault::new(RequestMatcher::default(), broken));
        exporter.reload(&scope(lookup, &arns));
        assert_eq!(samples(&exporter.bench.page()), samples(&first_page));
        let (page, _) = exporter.poll().await;
        assert_eq!(samples(&page), samples(&first_page), "{lookup}");
        assert_eq!(up_and_stale(&page), (Some(0.0), Some(1.0)));
        exporter.simulated.clear_faults();
        let (page, _) = exporter.poll().await;
        assert_eq!(samples(&page), samples(&first_page), "{lookup}");
        assert_eq!(since(&page), since(&first_page), "{lookup}");
        assert_eq!(up_and_stale(&page), (Some(1.0), Some(0.0)));
        let stored = serde_json::to_value(exporter.bench.publisher.stored()).unwrap();
        let queries = &stored["scopes"][0]["queries"];
        assert_eq!(queries.as_array().unwrap().len(), 4, "one for each ARN");
    }
}
