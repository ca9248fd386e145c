//! The request budget: on a paused clock by itself, and over the wire with the SDK's retries.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use glue_integration_exporter::clock::Clock;
use glue_integration_exporter::exposition::text_format::Format;
use glue_integration_exporter::glue::aws::Sdk;
use glue_integration_exporter::glue::rate_limit::RateLimiter;
use glue_integration_exporter::poll::Poller;
use glue_integration_exporter::publisher::Publisher;
use glue_integration_exporter::simulator::{Account, Fault, FaultKind, RequestMatcher, Simulator};
use glue_integration_exporter::telemetry::Telemetry;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::account::{arn, watches};
use support::page::Page;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

const SECOND: Duration = Duration::from_secs(1);

/// Notes when the turns of a scope came.
fn ask(
    rate_limiter: &RateLimiter,
    scope: &'static str,
    times: usize,
    turns: &Arc<Mutex<Vec<(Instant, &'static str)>>>,
) {
    for _ in 0..times {
        let (rate_limiter, turns) = (rate_limiter.clone(), Arc::clone(turns));
        tokio::spawn(async move {
            rate_limiter.acquire(scope).await;
            turns.lock().unwrap().push((Instant::now(), scope));
        });
    }
}

#[tokio::test(start_paused = true)]
async fn no_second_sees_more_requests_than_it_may() {
    for rate in [1, 5, 10, 1000] {
        let rate_limiter = RateLimiter::new(rate);
        let turns = Arc::default();
        ask(&rate_limiter, "lake", usize::from(rate) * 5, &turns);
        // The burst, and then as many as there are seconds.
        tokio::time::sleep(SECOND * 3 + SECOND / 2000).await;
        let had = turns.lock().unwrap().len();
        assert_eq!(had, usize::from(rate) * 4, "at {rate} per second");
        tokio::time::sleep(SECOND * 2).await;
        assert_eq!(turns.lock().unwrap().len(), usize::from(rate) * 5);
    }
}

#[tokio::test(start_paused = true)]
async fn what_can_wait_takes_no_turn_of_others_and_goes_out_when_the_burst_is_whole() {
    let rate_limiter = RateLimiter::new(10);
    let turns = Arc::default();
    let begun = Instant::now();
    ask(&rate_limiter, "polls", 25, &turns);
    tokio::task::yield_now().await;
    let (spare, at) = (rate_limiter.clone(), Arc::new(Mutex::new(Vec::new())));
    let had = Arc::clone(&at);
    tokio::spawn(async move {
        for _ in 0..3 {
            spare.acquire_idle().await;
            had.lock()
                .unwrap()
                .push((Instant::now() - begun).as_millis());
        }
    });
    tokio::time::sleep(SECOND * 2).await;
    let of_polls = turns.lock().unwrap().iter().map(|(at, _)| *at).max();
    assert_eq!(turns.lock().unwrap().len(), 25);
    assert!(of_polls.unwrap() - begun <= SECOND * 2, "{of_polls:?}");
    assert!(at.lock().unwrap().is_empty());
    // 25 requests are 2.5 seconds' worth, after which there is a whole burst again.
    tokio::time::sleep(SECOND * 2).await;
    let at = at.lock().unwrap();
    assert!((2_500..2_510).contains(&at[0]), "{at:?}");
    assert!((2_700..2_710).contains(&at[2]), "{at:?}");
}

#[tokio::test(start_paused = true)]
async fn scopes_that_wait_are_served_in_turn() {
    let rate_limiter = RateLimiter::new(10);
    let turns = Arc::default();
    ask(&rate_limiter, "hundreds", 200, &turns);
    tokio::time::sleep(SECOND).await;
    turns.lock().unwrap().clear();
    let asked = Instant::now();
    ask(&rate_limiter, "one", 1, &turns);
    ask(&rate_limiter, "three", 3, &turns);
    tokio::time::sleep(SECOND).await;
    let turns = turns.lock().unwrap();
    let last = |scope| turns.iter().rfind(|(_, of)| *of == scope).unwrap().0 - asked;
    assert!(last("one") <= SECOND / 5, "{:?}", last("one"));
    assert!(last("three") <= SECOND * 9 / 10, "{:?}", last("three"));
    assert!(
        turns.iter().any(|(_, scope)| *scope == "hundreds"),
        "nor do they keep it out"
    );
}

#[tokio::test(start_paused = true)]
async fn who_gives_up_holds_no_place() {
    let rate_limiter = RateLimiter::new(1);
    rate_limiter.acquire("lake").await;
    let waiting: Vec<_> = (0..100).map(|_| rate_limiter.clone()).collect();
    for rate_limiter in &waiting {
        let given_up = tokio::time::timeout(SECOND / 1000, rate_limiter.acquire("given up"));
        assert!(given_up.await.is_err());
    }
    let asked = Instant::now();
    rate_limiter.acquire("lake").await;
    assert!(asked.elapsed() <= SECOND, "{:?}", asked.elapsed());
}

#[tokio::test(start_paused = true)]
async fn another_rate_holds_from_the_next_turn_on() {
    let rate_limiter = RateLimiter::new(1);
    let turns = Arc::default();
    ask(&rate_limiter, "lake", 100, &turns);
    tokio::time::sleep(SECOND * 2).await;
    rate_limiter.set(100);
    tokio::time::sleep(SECOND * 3).await;
    assert_eq!(turns.lock().unwrap().len(), 100);
}

/// One poll over the wire. Returns the page, and how many requests arrived.
async fn poll(
    yaml: &str,
    per_second: u16,
    timeout: Duration,
    fault: Option<Fault>,
) -> (Page, usize) {
    let simulator = Simulator::bind("127.0.0.1:0".parse().unwrap(), Account::of(Vec::new()))
        .await
        .unwrap();
    let (address, handle) = (simulator.local_addr(), simulator.handle());
    if let Some(fault) = fault {
        handle.push_fault(fault);
    }
    let stop = CancellationToken::new();
    let serving = tokio::spawn(simulator.serve(stop.clone().cancelled_owned()));
    let mut watch = watches(yaml).remove(0);
    watch.timeout = timeout;
    let telemetry = Arc::new(Telemetry::new().unwrap());
    let clock = Clock::system();
    let publisher = Arc::new(Publisher::new(std::slice::from_ref(&watch), clock.clone()));
    let client = Sdk::connect_simulated(
        Arc::clone(&telemetry) as _,
        format!("http://{address}"),
        &watch.region,
        RateLimiter::new(per_second),
    );
    Poller::new(
        watch,
        Arc::new(client),
        Arc::clone(&publisher),
        Arc::clone(&telemetry),
        clock,
    )
    .poll()
    .await;
    publisher.publish_now();
    stop.cancel();
    serving.await.unwrap();
    (
        Page::read(
            &String::from_utf8(
                publisher
                    .page()
                    .text(Format::Text, &telemetry, 0.0)
                    .concat(),
            )
            .unwrap(),
        ),
        handle.requests().len(),
    )
}

#[tokio::test]
async fn a_poll_that_ends_for_lack_of_budget_is_throttled() {
    let arns: Vec<String> = (0..40).map(arn).collect();
    // There are none, so that each is asked for by itself, after an empty listing too.
    for (lookup, listings) in [("each", 0), ("list", 1)] {
        let yaml = format!(
            "scopes: [{{name: lake, lookup: {lookup}, integration_arns: [{}]}}]",
            arns.join(", ")
        );
        let (page, requests) = poll(&yaml, 5, SECOND * 2, None).await;
        let failures = |reason| {
            page.value(
                "glue_integration_exporter_poll_failures_total",
                &[("reason", reason)],
            )
        };
        assert_eq!(
            (failures("throttled"), failures("timeout")),
            (Some(1.0), Some(0.0)),
            "{lookup}"
        );
        assert!(
            (5..=16).contains(&requests),
            "the burst and two seconds: {requests}"
        );
        let present = page.find("aws_glue_integration_present", &[]).len();
        // The last one may have gone out too late for an answer.
        assert!(
            present + listings + 1 >= requests,
            "what could be had is shown: {present} of {requests}"
        );
    }
}

#[tokio::test]
async fn requests_that_are_tried_again_wait_again() {
    let fault = Fault::new(
        RequestMatcher::any(),
        FaultKind::error("InternalServiceException", "try again"),
    );
    let arns: Vec<String> = (0..4).map(arn).collect();
    let yaml = format!(
        "scopes: [{{name: lake, integration_arns: [{}]}}]",
        arns.join(", ")
    );
    let begun = Instant::now();
    let (page, requests) = poll(&yaml, 3, SECOND * 30, Some(fault)).await;
    assert_eq!(requests, 12, "each is tried three times");
    // Three at once, and three more in each second.
    assert!(begun.elapsed() >= SECOND * 3, "{:?}", begun.elapsed());
    let waited = "glue_integration_exporter_api_request_wait_seconds";
    let of_polls = [("operation", "DescribeInboundIntegrations")];
    let waits = page.value(&format!("{waited}_count"), &of_polls);
    assert_eq!(waits, Some(12.0));
    assert!(page.value(&format!("{waited}_sum"), &of_polls).unwrap() > 0.1);
    let failures = page.value(
        "glue_integration_exporter_api_request_failures_total",
        &[of_polls[0], ("reason", "server_error")],
    );
    assert_eq!(failures, Some(12.0));
}
