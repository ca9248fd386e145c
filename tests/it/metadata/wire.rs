//! Names and tags through the AWS SDK, from the simulated endpoint.

use super::{INFO, NAMED, NAMES_UP, SECOND, UP, gauge, label, name, tag_labels};
use glue_integration_exporter::clock::Clock;
use glue_integration_exporter::glue::RateLimiter;
use glue_integration_exporter::glue::aws::Sdk;
use glue_integration_exporter::poll::Poller;
use glue_integration_exporter::simulator::{
    Account, Fault, FaultKind, Handle, RequestMatcher, SimulatedIntegration, SimulatedTag,
    Simulator,
};
use serde_json::json;
use std::sync::Arc;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::support::account::{Bench, arn, watches};
use crate::support::page::Page;

const NAMES: &str = "DescribeIntegrations";

struct Exporter {
    bench: Bench,
    poller: Poller,
    simulated: Handle,
    _stop: DropGuard,
}

impl Exporter {
    /// Starts an exporter of an account with this many integrations with names and tags, in pages of two.
    async fn start(integrations: usize, per_second: u16) -> Self {
        let integration = |n| SimulatedIntegration {
            name: format!("name-{n}"),
            tags: vec![
                SimulatedTag {
                    key: "team".into(),
                    value: "lake".into(),
                },
                SimulatedTag {
                    key: "private".into(),
                    value: "secret".into(),
                },
            ],
            ..SimulatedIntegration::new(
                &arn(n),
                "arn:aws:dynamodb:eu-west-1:111122223333:table/orders",
                "arn:aws:glue:eu-west-1:111122223333:database/lake",
                "ACTIVE",
            )
        };
        let mut world = Account::of((0..integrations).map(integration).collect());
        world.max_page_size = 2;
        let simulator = Simulator::bind("127.0.0.1:0".parse().unwrap(), world)
            .await
            .unwrap();
        let (address, simulated) = (simulator.local_addr, simulator.handle.clone());
        let stop = CancellationToken::new();
        tokio::spawn(simulator.serve(stop.clone().cancelled_owned()));
        let mut watch = watches(NAMED).remove(0);
        watch.timeout = SECOND * 3;
        let bench = Bench::with_clock(std::slice::from_ref(&watch), Clock::system());
        bench.publisher.set_tag_labels(&tag_labels("[{tag: team}]"));
        let client = Sdk::connect_simulated(
            Arc::clone(&bench.telemetry) as _,
            format!("http://{address}"),
            &watch.region,
            RateLimiter::new(per_second),
        );
        let poller = Poller::new(
            watch,
            Arc::new(client),
            Arc::clone(&bench.publisher),
            Arc::clone(&bench.telemetry),
            bench.clock.clone(),
        );
        Self {
            bench,
            poller,
            simulated,
            _stop: stop.drop_guard(),
        }
    }

    /// Polls successfully and fetches names. Returns the metrics and the numbers of the requested pages of names.
    async fn round(&mut self) -> (Page, Vec<u32>) {
        assert!(self.poller.poll().await);
        let before = self.simulated.requests().len();
        self.poller.describe().await;
        let requests = self.simulated.requests().split_off(before);
        assert!(requests.iter().all(|request| request.operation == NAMES));
        let pages = requests.iter().map(|request| request.page).collect();
        (self.bench.page(), pages)
    }

    fn fail(&self, on: RequestMatcher, kind: FaultKind) {
        let on = RequestMatcher {
            operation: Some(NAMES.to_owned()),
            ..on
        };
        self.simulated.clear_faults();
        self.simulated.push_fault(Fault::new(on, kind));
    }
}

fn failures(page: &Page, reason: &str) -> Option<f64> {
    page.value(
        "glue_integration_exporter_api_request_failures_total",
        &[("operation", NAMES), ("reason", reason)],
    )
}

fn requests(page: &Page) -> Option<f64> {
    let requests = "glue_integration_exporter_api_requests_total";
    page.value(requests, &[("operation", NAMES)])
}

/// Returns the names of all integrations, ordered by ARN.
fn names(page: &Page) -> Vec<&str> {
    let rows = page.find(INFO, &[]).into_iter();
    rows.map(|row| row.labels["integration_name"].as_str())
        .collect()
}

#[tokio::test]
async fn names_from_all_pages_without_other_tags() {
    let mut exporter = Exporter::start(5, u16::MAX).await;
    exporter
        .simulated
        .change(&arn(3), |three| three.tags.clear());
    let (page, pages) = exporter.round().await;
    assert_eq!(pages, [1, 2, 3]);
    assert_eq!(
        names(&page),
        ["name-0", "name-1", "name-2", "name-3", "name-4"]
    );
    assert_eq!(label(&page, 2, "tag_team").as_deref(), Some("lake"));
    assert_eq!(label(&page, 3, "tag_team").as_deref(), Some(""));
    let info = page.find(INFO, &[]);
    assert!(
        info.iter()
            .all(|row| !row.labels.values().any(|value| value == "secret"))
    );
    assert_eq!(
        (gauge(&page, NAMES_UP), requests(&page)),
        (Some(1.0), Some(3.0))
    );
    exporter
        .simulated
        .change(&arn(0), |zero| zero.name = "renamed".to_owned());
    let (page, _) = exporter.round().await;
    assert_eq!(name(&page, 0).as_deref(), Some("renamed"));
}

#[tokio::test]
async fn name_request_failure_affects_no_poll() {
    let mut exporter = Exporter::start(4, u16::MAX).await;
    let (page, _) = exporter.round().await;
    let mut before = requests(&page).unwrap();
    for (code, reason, attempts) in [
        ("AccessDeniedException", "access_denied", 1.0),
        ("ThrottlingException", "throttled", 3.0),
        ("InternalServerException", "server_error", 3.0),
        ("ExpiredTokenException", "credentials", 1.0),
        ("EntityNotFoundException", "not_found", 1.0),
        ("UnknownOperationException", "unsupported", 1.0),
    ] {
        exporter.fail(RequestMatcher::default(), FaultKind::error(code, "no"));
        let (page, _) = exporter.round().await;
        let state = (gauge(&page, NAMES_UP), gauge(&page, UP));
        assert_eq!(state, (Some(0.0), Some(1.0)), "{code}");
        assert_eq!(failures(&page, reason), Some(attempts), "{code}");
        assert_eq!(requests(&page), Some(before + attempts), "{code}");
        assert_eq!(names(&page), ["name-0", "name-1", "name-2", "name-3"]);
        before += attempts;
    }
    exporter.simulated.clear_faults();
    let (page, _) = exporter.round().await;
    assert_eq!(gauge(&page, NAMES_UP), Some(1.0));
}

#[tokio::test]
async fn incomplete_name_listing_keeps_found_names() {
    let mut exporter = Exporter::start(5, u16::MAX).await;
    exporter.fail(
        RequestMatcher::page(2),
        FaultKind::error("AccessDeniedException", "no"),
    );
    let (page, _) = exporter.round().await;
    assert_eq!(names(&page), ["name-0", "name-1", "", "", ""]);
    assert_eq!(gauge(&page, NAMES_UP), Some(0.0));
    for number in 0..5 {
        exporter
            .simulated
            .change(&arn(number), |one| one.name.push_str("-v2"));
    }
    exporter.fail(RequestMatcher::page(2), FaultKind::RepeatMarker);
    let (page, pages) = exporter.round().await;
    assert_eq!(pages, [1, 2], "the loop is detected");
    assert_eq!(
        names(&page),
        ["name-0-v2", "name-1-v2", "name-2-v2", "name-3-v2", ""]
    );
    assert_eq!(gauge(&page, NAMES_UP), Some(0.0));
    let without_arn = json!({"Integrations": [{"IntegrationName": "nobody"}]}).to_string();
    exporter.fail(RequestMatcher::default(), FaultKind::raw(200, without_arn));
    let (page, _) = exporter.round().await;
    assert_eq!(
        (gauge(&page, NAMES_UP), gauge(&page, UP)),
        (Some(0.0), Some(1.0))
    );
    for body in [
        "",
        "<html>",
        "{\"Integrations\": 1}",
        "{\"Integrations\": [{]",
    ] {
        exporter.fail(RequestMatcher::default(), FaultKind::raw(200, body));
        let (page, _) = exporter.round().await;
        assert_eq!(gauge(&page, NAMES_UP), Some(0.0), "{body}");
        assert_eq!(name(&page, 0).as_deref(), Some("name-0-v2"));
    }
}

#[tokio::test]
async fn long_names_are_truncated_in_labels() {
    let mut exporter = Exporter::start(1, u16::MAX).await;
    exporter.simulated.change(&arn(0), |zero| {
        zero.name = "é".repeat(100_000);
        zero.tags = vec![SimulatedTag {
            key: "team".into(),
            value: "a \"quoted\" \\ name\n".into(),
        }];
    });
    let (page, _) = exporter.round().await;
    assert_eq!(name(&page, 0).unwrap(), format!("{}…", "é".repeat(2_048)));
    let team = label(&page, 0, "tag_team");
    assert_eq!(team.as_deref(), Some("a \"quoted\" \\ name\n"));
}

#[tokio::test]
async fn hanging_name_request_times_out() {
    let mut exporter = Exporter::start(1, u16::MAX).await;
    exporter.fail(RequestMatcher::default(), FaultKind::Hang);
    let begun = Instant::now();
    let (page, _) = exporter.round().await;
    assert!((SECOND * 2..SECOND * 6).contains(&begun.elapsed()));
    assert_eq!(
        (gauge(&page, NAMES_UP), gauge(&page, UP)),
        (Some(0.0), Some(1.0))
    );
    assert!(failures(&page, "timeout") >= Some(1.0));
}

#[tokio::test]
async fn name_requests_wait_for_rate_limit() {
    let mut exporter = Exporter::start(2, 1).await;
    assert!(exporter.poller.poll().await);
    // The poll used the only request of this second.
    let begun = Instant::now();
    exporter.poller.describe().await;
    assert!(begun.elapsed() >= SECOND / 2, "{:?}", begun.elapsed());
    assert_eq!(gauge(&exporter.bench.page(), NAMES_UP), Some(1.0));
}
