//! Before the first polls have ended: scrapes wait, and the exporter is not ready.

use std::time::Duration;

use glue_integration_exporter::simulator::{Account, Fault, FaultKind, RequestMatcher};
use tokio::time::Instant;

use crate::e2e::exposition::Scrape;
use crate::e2e::support::{ONE_SCOPE, SOON, Setup, arn, connect, integration, simulator, until};

/// Scrapes with a timeout header. Returns the scrape and its duration in seconds.
fn scrape(addr: &str, timeout: Option<&str>) -> (Scrape, f64) {
    let header = timeout.map_or(String::new(), |seconds| {
        format!("X-Prometheus-Scrape-Timeout-Seconds: {seconds}\r\n")
    });
    let mut client = connect(addr);
    let start = Instant::now();
    let answer = client.ask("GET", "/metrics", &header);
    let took = start.elapsed().as_secs_f64();
    assert_eq!(answer.status, 200, "{timeout:?}");
    (Scrape::of(&answer.body), took)
}

#[test]
fn scrape_waits_up_to_the_scrape_timeout() {
    let sim = simulator(Account::generated(3));
    sim.handle
        .push_fault(Fault::new(RequestMatcher::default(), FaultKind::Hang));
    // The default timeout of a poll is 45 seconds.
    let setup = Setup::new(&sim, "scopes: [{name: all, regions: [eu-west-1]}]");
    let daemon = setup.daemon(&[]);
    std::thread::scope(|threads| {
        let waits = [
            (Some("2"), 1.0, 2.0),
            (Some("0.5"), 0.0, 0.8),
            (Some("3.5"), 2.5, 3.5),
            (Some("abc"), 4.0, 5.5),
            (Some("NaN"), 4.0, 5.5),
            (Some("-3"), 0.0, 5.5),
            (Some("0"), 0.0, 5.5),
            (Some(""), 4.0, 5.5),
            (None, 4.0, 5.5),
        ]
        .map(|(timeout, min, max)| {
            let addr = &daemon.addr;
            (
                timeout,
                min..=max,
                threads.spawn(move || scrape(addr, timeout)),
            )
        });
        for (timeout, range, wait) in waits {
            let (scrape, took) = wait.join().unwrap();
            assert!(range.contains(&took), "{timeout:?} took {took} s");
            assert!(scrape.names_with("aws_glue_").is_empty(), "{timeout:?}");
            // The only gauge of a scope before its first poll has ended.
            assert_eq!(scrape.of_scope("scope_interval_seconds", "all"), Some(60.0));
            for gauge in ["scope_up", "scope_stale", "scope_integrations"] {
                assert_eq!(scrape.of_scope(gauge, "all"), None, "{gauge}");
            }
        }
    });
    // Other paths do not wait.
    let start = Instant::now();
    assert_eq!(daemon.get("/-/healthy").status, 200);
    assert_eq!(daemon.get("/-/ready").status, 503);
    assert!(start.elapsed() < Duration::from_secs(1));
}

#[test]
fn scrape_returns_when_first_polls_end() {
    let sim = simulator(Account::of(vec![
        integration("eu-west-1", "a", "ACTIVE"),
        integration("us-east-1", "b", "ACTIVE"),
    ]));
    let delay = FaultKind::Delay(Duration::from_millis(1500));
    sim.handle
        .push_fault(Fault::new(RequestMatcher::region("us-east-1"), delay));
    let setup = Setup::new(
        &sim,
        "scopes: [{name: fast, regions: [eu-west-1]}, {name: slow, regions: [us-east-1]}]",
    );
    let daemon = setup.daemon(&[]);
    assert_eq!(daemon.get("/-/ready").status, 503);
    for header in [Some("10"), Some("1e300"), Some("inf")] {
        let (scrape, took) = scrape(&daemon.addr, header);
        assert!(took < 4.0, "{header:?} took {took} s");
        assert_eq!(scrape.status(&arn("eu-west-1", "a")), Some("ACTIVE"));
        assert_eq!(scrape.status(&arn("us-east-1", "b")), Some("ACTIVE"));
        assert_eq!(scrape.of_scope("scope_up", "slow"), Some(1.0));
    }
    assert_eq!(daemon.get("/-/ready").status, 200);
}

#[test]
fn health_over_unix_requests_the_path_in_url() {
    let sim = simulator(Account::generated(1));
    let delay = FaultKind::Delay(Duration::from_millis(1500));
    sim.handle
        .push_fault(Fault::new(RequestMatcher::default(), delay));
    let setup = Setup::new(&sim, ONE_SCOPE);
    let socket = setup.path("socket").display().to_string();
    let daemon = setup.daemon(&[&format!("--web.listen-address=unix:{socket}")]);
    daemon.process.addresses(2);
    let health = |path: &str| {
        let ended = setup.run(&["health", &format!("--url=unix:{socket}{path}")]);
        (ended.code, ended.stderr)
    };
    let (code, stderr) = health(":/-/ready");
    assert_eq!(code, Some(1), "before the first poll has ended: {stderr}");
    assert!(stderr.contains("503"), "{stderr}");
    for path in ["", ":/-/healthy"] {
        assert_eq!(health(path).0, Some(0), "{path}");
    }
    assert!(health(":/missing").1.contains("404"));
    assert!(health(":/a b").1.contains("unix:/socket:/path"));
    until("it is ready", SOON, || {
        (health(":/-/ready").0 == Some(0)).then_some(())
    });
}

#[test]
fn hung_scope_does_not_hide_other_scopes() {
    let sim = simulator(Account::of(vec![integration("eu-west-1", "a", "ACTIVE")]));
    sim.handle.push_fault(Fault::new(
        RequestMatcher::region("us-east-1"),
        FaultKind::Hang,
    ));
    let setup = Setup::new(
        &sim,
        "scopes: [{name: good, regions: [eu-west-1]}, {name: hangs, regions: [us-east-1]}]",
    );
    let daemon = setup.daemon(&[]);
    let (scrape, took) = scrape(&daemon.addr, Some("2"));
    assert!((1.0..=2.0).contains(&took), "took {took} s");
    assert_eq!(scrape.status(&arn("eu-west-1", "a")), Some("ACTIVE"));
    assert_eq!(scrape.of_scope("scope_up", "good"), Some(1.0));
    assert_eq!(scrape.of_scope("scope_up", "hangs"), None);
}

#[test]
fn ready_after_first_poll_failed() {
    let sim = simulator(Account::generated(1));
    sim.handle
        .push_fault(Fault::new(RequestMatcher::default(), FaultKind::Hang));
    let config = ONE_SCOPE.replace("interval: 10s", "interval: 10s, timeout: 1s");
    let setup = Setup::new(&sim, &config);
    let daemon = setup.daemon(&[]);
    assert_eq!(daemon.get("/-/ready").status, 503);
    // The scrape returns at the end of the poll, long before its own timeout.
    let (first, took) = scrape(&daemon.addr, Some("30"));
    assert!(took < 5.0, "took {took} s");
    assert_eq!(first.of_scope("scope_up", "all"), Some(0.0));
    assert_eq!(first.of_scope("scope_stale", "all"), Some(0.0));
    let success = "scope_last_success_timestamp_seconds";
    assert_eq!(first.of_scope(success, "all"), Some(0.0));
    let timeouts = first.value(
        "glue_integration_exporter_poll_failures_total",
        &[("reason", "timeout")],
    );
    assert_eq!(timeouts, Some(1.0));
    until("it is ready", SOON, || {
        (daemon.get("/-/ready").status == 200).then_some(())
    });
}
