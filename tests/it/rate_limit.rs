//! The rate limiter: alone on a paused clock, and with real requests and retries.

use crate::support::account::{arn, watches};
use crate::support::page::Page;
use glue_integration_exporter::clock::Clock;
use glue_integration_exporter::exposition::text_format::Format;
use glue_integration_exporter::glue::RateLimiter;
use glue_integration_exporter::glue::aws::Sdk;
use glue_integration_exporter::poll::Poller;
use glue_integration_exporter::publisher::Publisher;
use glue_integration_exporter::simulator::{Account, Fault, FaultKind, RequestMatcher, Simulator};
use glue_integration_exporter::telemetry::Telemetry;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

const SECOND: Duration = Duration::from_secs(1);

/// Waits for permits of a scope and records when they were granted.
fn acquire(
    rate_limiter: &RateLimiter,
    scope: &'static str,
    times: usize,
    permits: &Arc<Mutex<Vec<(Instant, &'static str)>>>,
) {
    for _ in 0..times {
        let (rate_limiter, permits) = (rate_limiter.clone(), Arc::clone(permits));
        tokio::spawn(async move {
            rate_limiter.acquire(scope).await;
            permits.lock().unwrap().push((Instant::now(), scope));
        });
    }
}

#[tokio::test(start_paused = true)]
async fn rate_limit_is_never_exceeded() {
    for rate in [1, 5, 10, 1000] {
        let rate_limiter = RateLimiter::new(rate);
        let permits = Arc::default();
        acquire(&rate_limiter, "lake", usize::from(rate) * 5, &permits);
        // The burst, and then the rate for each second.
        tokio::time::sleep(SECOND * 3 + SECOND / 2000).await;
        let granted = permits.lock().unwrap().len();
        assert_eq!(granted, usize::from(rate) * 4, "at {rate} per second");
        tokio::time::sleep(SECOND * 2).await;
        assert_eq!(permits.lock().unwrap().len(), usize::from(rate) * 5);
    }
}

#[tokio::test(start_paused = true)]
async fn idle_permits_wait_for_full_burst() {
    let rate_limiter = RateLimiter::new(10);
    let permits = Arc::default();
    let begun = Instant::now();
    acquire(&rate_limiter, "polls", 25, &permits);
    tokio::task::yield_now().await;
    let (idle, at) = (rate_limiter.clone(), Arc::new(Mutex::new(Vec::new())));
    let granted = Arc::clone(&at);
    tokio::spawn(async move {
        for _ in 0..3 {
            idle.acquire_idle().await;
            granted
                .lock()
                .unwrap()
                .push((Instant::now() - begun).as_millis());
        }
    });
    tokio::time::sleep(SECOND * 2).await;
    let last_poll = permits.lock().unwrap().iter().map(|(at, _)| *at).max();
    assert_eq!(permits.lock().unwrap().len(), 25);
    assert!(last_poll.unwrap() - begun <= SECOND * 2, "{last_poll:?}");
    assert!(at.lock().unwrap().is_empty());
    // 25 requests take 2.5 seconds at this rate. Then the full burst is available again.
    tokio::time::sleep(SECOND * 2).await;
    let at = at.lock().unwrap();
    assert!((2_500..2_510).contains(&at[0]), "{at:?}");
    assert!((2_700..2_710).contains(&at[2]), "{at:?}");
}

#[tokio::test(start_paused = true)]
async fn waiting_scopes_are_served_in_turn() {
    let rate_limiter = RateLimiter::new(10);
    let permits = Arc::default();
    acquire(&rate_limiter, "hundreds", 200, &permits);
    tokio::time::sleep(SECOND).await;
    permits.lock().unwrap().clear();
    let started = Instant::now();
    acquire(&rate_limiter, "one", 1, &permits);
    acquire(&rate_limiter, "three", 3, &permits);
    tokio::time::sleep(SECOND).await;
    let permits = permits.lock().unwrap();
    let last = |scope| permits.iter().rfind(|(_, of)| *of == scope).unwrap().0 - started;
    assert!(last("one") <= SECOND / 5, "{:?}", last("one"));
    assert!(last("three") <= SECOND * 9 / 10, "{:?}", last("three"));
    assert!(
        permits.iter().any(|(_, scope)| *scope == "hundreds"),
        "the large scope is still served"
    );
}

#[tokio::test(start_paused = true)]
async fn cancelled_wait_frees_its_place() {
    let rate_limiter = RateLimiter::new(1);
    rate_limiter.acquire("lake").await;
    let waiting: Vec<_> = (0..100).map(|_| rate_limiter.clone()).collect();
    for rate_limiter in &waiting {
        let cancelled = tokio::time::timeout(SECOND / 1000, rate_limiter.acquire("cancelled"));
        assert!(cancelled.await.is_err());
    }
    let started = Instant::now();
    rate_limiter.acquire("lake").await;
    assert!(started.elapsed() <= SECOND, "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn rate_change_applies_to_waiting_requests() {
    let rate_limiter = RateLimiter::new(1);
    let permits = Arc::default();
    acquire(&rate_limiter, "lake", 100, &permits);
    tokio::time::sleep(SECOND * 2).await;
    rate_limiter.set(100);
    tokio::time::sleep(SECOND * 3).await;
    assert_eq!(permits.lock().unwrap().len(), 100);
}

/// Polls once over a real connection. Returns the metrics and the number of requests.
async fn poll(
    yaml: &str,
    per_second: u16,
    timeout: Duration,
    fault: Option<Fault>,
) -> (Page, usize) {
    let simulator = Simulator::bind("127.0.0.1:0".parse().unwrap(), Account::of(Vec::new()))
        .await
        .unwrap();
    let (address, handle) = (simulator.local_addr, simulator.handle.clone());
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
async fn poll_starved_by_rate_limit_is_throttled() {
    let arns: Vec<String> = (0..40).map(arn).collect();
    // The account is empty, so each ARN is requested individually, after an empty listing too.
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
        // The last request may have been sent too late for a response.
        assert!(
            present + listings + 1 >= requests,
            "answered requests are exported: {present} of {requests}"
        );
    }
}

#[tokio::test]
async fn retries_wait_for_rate_limit() {
    let fault = Fault::new(
        RequestMatcher::default(),
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
    // Three at once, and then three per second.
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
