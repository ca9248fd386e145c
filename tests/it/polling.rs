//! Polling on a paused clock: the schedule, the time limits of a poll, and the metrics while AWS fails.

use crate::support::account::{Behaviour, Bench, FakeAccount, START, arn, integration, watches};
use crate::support::page::Page;
use glue_integration_exporter::clock::Clock;
use glue_integration_exporter::config::Query;
use glue_integration_exporter::exposition::text_format::Format;
use glue_integration_exporter::glue::Described;
use glue_integration_exporter::glue::{
    BoxFuture, Glue, GlueError, Page as Listed, PageRequest, Reason,
};
use glue_integration_exporter::poll::Poller;
use glue_integration_exporter::snapshot::{Integration, Status};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use tokio::time::{Instant, advance, sleep};

const MINUTE: Duration = Duration::from_secs(60);

const DISCOVERY: &str = "scopes: [{name: lake, regions: [eu-west-1]}]";

const SINCE: &str = "aws_glue_integration_status_since_timestamp_seconds";
const UP: &str = "glue_integration_exporter_scope_up";
const STALE: &str = "glue_integration_exporter_scope_stale";
const POLLS: &str = "glue_integration_exporter_polls_total";
const SKIPPED: &str = "glue_integration_exporter_polls_skipped_total";
const FAILURES: &str = "glue_integration_exporter_poll_failures_total";

fn configured(arns: usize, rest: &str) -> String {
    let arns: Vec<String> = (0..arns).map(arn).collect();
    format!(
        "scopes: [{{name: lake, integration_arns: [{}]{rest}}}]",
        arns.join(", ")
    )
}

fn gauge(page: &Page, name: &str) -> Option<f64> {
    page.value(name, &[("scope", "lake")])
}

#[tokio::test(start_paused = true)]
async fn schedule_restart_and_slow_poll_keep_phase() {
    let watch = &watches(DISCOVERY)[0];
    let mut phases = Vec::new();
    for started_after in [0.0, 17.25] {
        let bench = {
            let start = Instant::now();
            let clock =
                Clock::from_wall(move || START + started_after + start.elapsed().as_secs_f64());
            Bench::with_clock(std::slice::from_ref(watch), clock)
        };
        let account = FakeAccount::new();
        let begun = Instant::now();
        bench.run(watch, &account);
        sleep(MINUTE * 5).await;
        account.set(Behaviour::Slow(Duration::from_secs(40)));
        sleep(MINUTE * 5).await;
        let requests: Vec<f64> = account
            .take_requests()
            .into_iter()
            .map(|(at, _)| (at - begun).as_secs_f64())
            .collect();
        assert_eq!(requests[0], 0.0, "the first poll starts at once");
        for pair in requests[1..].windows(2) {
            assert!((pair[1] - pair[0] - 60.0).abs() < 0.01, "{requests:?}");
        }
        assert!((10..=11).contains(&requests.len()), "{requests:?}");
        phases.push((START + started_after + requests[1]).rem_euclid(60.0));
    }
    assert!((phases[0] - phases[1]).abs() < 0.01, "{phases:?}");
}

#[tokio::test(start_paused = true)]
async fn schedule_spreads_scopes_over_interval() {
    let scopes: Vec<String> = (0..60)
        .map(|n| format!("{{name: scope-{n}, regions: [eu-west-1]}}"))
        .collect();
    let watches = watches(&format!("scopes: [{}]", scopes.join(", ")));
    let bench = Bench::new(&watches);
    let account = FakeAccount::new();
    let begun = Instant::now();
    for watch in &watches {
        bench.run(watch, &account);
    }
    sleep(MINUTE).await;
    let mut by_sixth = [0; 6];
    for (at, _) in account.take_requests().into_iter().skip(60) {
        by_sixth[((at - begun).as_secs() / 10).min(5) as usize] += 1;
    }
    assert_eq!(
        by_sixth.iter().sum::<i32>(),
        60,
        "each scope polled once more within the interval"
    );
    assert!(
        by_sixth.iter().all(|polls| (3..=20).contains(polls)),
        "{by_sixth:?}"
    );
}

/// An even distribution has 25 polls per bucket. Random deviation keeps nearly all buckets between 10 and 40.
#[tokio::test(start_paused = true)]
async fn schedule_spreads_300_pairs_over_interval() {
    let regions = [
        "ap-northeast-1, ap-northeast-2, ap-south-1, ap-southeast-1, ap-southeast-2",
        "ca-central-1, eu-central-1, eu-north-1, eu-west-1, eu-west-2",
        "eu-west-3, sa-east-1, us-east-1, us-east-2, us-west-2",
    ]
    .join(", ");
    let scopes: Vec<String> = (0..20)
        .map(|n| format!("{{name: account-{n}, regions: [{regions}]}}"))
        .collect();
    let watches = watches(&format!(
        "polling: {{interval: 60s}}\nscopes: [{}]",
        scopes.join(", ")
    ));
    assert_eq!(watches.len(), 300);
    let bench = Bench::new(&watches);
    let account = FakeAccount::new();
    let begun = Instant::now();
    for watch in &watches {
        bench.run(watch, &account);
    }
    sleep(MINUTE).await;
    let mut buckets = [0; 12];
    for (at, _) in account.take_requests().into_iter().skip(300) {
        buckets[((at - begun).as_secs() / 5).min(11) as usize] += 1;
    }
    assert_eq!(buckets.iter().sum::<i32>(), 300);
    assert!(
        buckets.iter().all(|polls| (10..=40).contains(polls)),
        "{buckets:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn schedule_failing_scopes_delay_no_others() {
    let scopes: Vec<String> = (0..50)
        .map(|n| format!("{{name: scope-{n}, regions: [eu-west-1]}}"))
        .collect();
    let watches = watches(&format!("scopes: [{}]", scopes.join(", ")));
    let bench = Bench::new(&watches);
    let accounts: Vec<Arc<FakeAccount>> = watches.iter().map(|_| FakeAccount::new()).collect();
    for (n, (watch, account)) in watches.iter().zip(&accounts).enumerate() {
        match n {
            0..10 => account.set(Behaviour::Hang),
            10..20 => account.set(Behaviour::Fail(Reason::Throttled)),
            _ => {}
        }
        bench.run(watch, account);
    }
    sleep(MINUTE * 20).await;
    for (n, account) in accounts.iter().enumerate().skip(20) {
        let requests = account.take_requests();
        for pair in requests[1..].windows(2) {
            assert!(
                (pair[1].0 - pair[0].0).abs_diff(MINUTE) < Duration::from_millis(10),
                "scope-{n}"
            );
        }
        assert!(
            requests.len() >= 20,
            "scope-{n} polled {} times",
            requests.len()
        );
    }
    let page = bench.page();
    for n in 0..50 {
        let name = format!("scope-{n}");
        let up = page.value(UP, &[("scope", &name)]);
        assert_eq!(up, Some(f64::from(u8::from(n >= 20))), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn clock_jump_moves_no_poll_and_no_negative_age() {
    let watch = &watches(DISCOVERY)[0];
    let jump = Arc::new(AtomicI64::new(0));
    let (start, jumped) = (Instant::now(), Arc::clone(&jump));
    #[allow(clippy::cast_precision_loss, reason = "days in seconds")]
    let clock = Clock::from_wall(move || {
        START + jumped.load(Ordering::Relaxed) as f64 + start.elapsed().as_secs_f64()
    });
    let bench = Bench::with_clock(std::slice::from_ref(watch), clock);
    let account = FakeAccount::new();
    account.put(&arn(1), Status::Active);
    bench.run(watch, &account);
    sleep(MINUTE * 3).await;
    let before = account.take_requests();
    for days in [-400, 400] {
        jump.store(days * 86_400, Ordering::Relaxed);
        sleep(MINUTE * 3).await;
        let requests = account.take_requests();
        assert_eq!(requests.len(), 3, "no burst and no pause");
        assert!((requests[0].0 - before[0].0).as_millis() > 0);
        let page = bench.page();
        assert_eq!(
            page.status(&arn(1)).as_deref(),
            Some("ACTIVE"),
            "nothing ended"
        );
        let age = page.value("aws_glue_integration_age_seconds", &[]).unwrap();
        assert!(age >= 0.0 && (days > 0 || age == 0.0), "{age}");
    }
}

#[tokio::test(start_paused = true)]
async fn poll_respects_concurrency_and_timeout() {
    let yaml = configured(30, ", concurrency: 3");
    let watch = &watches(&yaml)[0];
    let bench = Bench::new(std::slice::from_ref(watch));
    let account = FakeAccount::new();
    account.set(Behaviour::Hang);
    let mut poller = bench.poller(watch, &account);
    let begun = Instant::now();
    assert!(!poller.poll().await);
    let took = begun.elapsed();
    assert!(
        took <= Duration::from_secs(45) && took > Duration::from_secs(40),
        "{took:?}"
    );
    assert_eq!(account.max_in_flight(), 3);
    let page = bench.page();
    assert_eq!(page.value(FAILURES, &[("reason", "timeout")]), Some(1.0));
    assert_eq!(gauge(&page, POLLS), Some(1.0));
}

#[tokio::test(start_paused = true)]
async fn hanging_arns_run_last_in_next_poll() {
    let yaml = configured(200, "");
    let watch = &watches(&yaml)[0];
    let bench = Bench::new(std::slice::from_ref(watch));
    let account = FakeAccount::new();
    for n in 0..200 {
        account.put(&arn(n), Status::Active);
        account.set_for(&arn(n), Behaviour::Slow(Duration::from_millis(200)));
    }
    // The first ones hang and would block all others without a time limit.
    for n in 0..20 {
        account.set_for(&arn(n), Behaviour::Hang);
    }
    let mut poller = bench.poller(watch, &account);
    assert!(!poller.poll().await);
    let page = bench.page();
    assert_eq!(page.find("aws_glue_integration_info", &[]).len(), 180);
    account.take_requests();
    assert!(!poller.poll().await);
    let requests: Vec<String> = account
        .take_requests()
        .into_iter()
        .map(|(_, arn)| arn)
        .collect();
    let hanging: Vec<String> = (0..20).map(arn).collect();
    assert!(
        requests[..180].iter().all(|arn| !hanging.contains(arn)),
        "the others run first"
    );
    for n in 0..20 {
        account.set_for(&arn(n), Behaviour::Answer);
    }
    assert!(poller.poll().await);
    assert_eq!(
        bench.page().find("aws_glue_integration_info", &[]).len(),
        200
    );
}

#[tokio::test(start_paused = true)]
async fn skipped_arns_run_first_in_next_poll() {
    let watch = &watches(&configured(240, ""))[0];
    let bench = Bench::new(std::slice::from_ref(watch));
    let account = FakeAccount::new();
    for n in 0..240 {
        account.put(&arn(n), Status::Active);
    }
    // With 4 at a time, 45 s are enough for fewer than 190 of them.
    account.set(Behaviour::Slow(Duration::from_millis(950)));
    let mut poller = bench.poller(watch, &account);
    // Requests in flight at the deadline count as failed. They run last in the second poll and first in the third.
    for _ in 0..3 {
        assert!(!poller.poll().await);
    }
    let shown = bench.page().find("aws_glue_integration_info", &[]).len();
    assert_eq!(shown, 240);
}

/// Returns the names of the requests since the last call.
fn requested(account: &FakeAccount) -> Vec<String> {
    account
        .take_requests()
        .into_iter()
        .map(|(_, name)| name)
        .collect()
}

const LISTED: &str = ", lookup: list, concurrency: 1";
const TARGETS: [&str; 2] = [
    "arn:aws:glue:eu-west-1:111122223333:database/first",
    "arn:aws:glue:eu-west-1:111122223333:database/second",
];

fn looked_up(arns: usize) -> String {
    configured(
        arns,
        &format!(
            "{LISTED}, target_arns: ['{}', '{}']",
            TARGETS[0], TARGETS[1]
        ),
    )
}

#[tokio::test(start_paused = true)]
async fn hanging_lookup_leaves_time_for_other_queries() {
    let watch = &watches(&looked_up(20))[0];
    let bench = Bench::new(std::slice::from_ref(watch));
    let account = FakeAccount::new();
    for n in 0..10 {
        account.put(&arn(n), Status::Active);
    }
    account.set(Behaviour::Slow(Duration::from_millis(200)));
    let mut poller = bench.poller(watch, &account);
    account.set_for("all", Behaviour::Hang);
    let begun = Instant::now();
    assert!(!poller.poll().await);
    assert!(begun.elapsed() <= watch.timeout, "{:?}", begun.elapsed());
    assert_eq!(
        requested(&account),
        ["all", TARGETS[0], TARGETS[1], "all"],
        "no ARN is requested individually"
    );
    let page = bench.page();
    assert_eq!(page.value(FAILURES, &[("reason", "timeout")]), Some(1.0));
    assert!(page.find("aws_glue_integration_present", &[]).is_empty());

    // The failed listing runs last. If its second run succeeds, there is time for the missing ARNs.
    let slow = Arc::clone(&account);
    tokio::spawn(async move {
        sleep(Duration::from_secs(20)).await;
        slow.set_for("all", Behaviour::Slow(Duration::from_millis(200)));
    });
    let begun = Instant::now();
    assert!(poller.poll().await);
    assert!(begun.elapsed() <= watch.timeout, "{:?}", begun.elapsed());
    let requests = requested(&account);
    assert_eq!(requests[..4], [TARGETS[0], TARGETS[1], "all", "all"]);
    assert_eq!(requests[4..], (10..20).map(arn).collect::<Vec<String>>());
    let present = |value: f64| {
        let page = bench.page();
        let rows = page.find("aws_glue_integration_present", &[]);
        rows.iter().filter(|row| row.value == value).count()
    };
    assert_eq!((present(1.0), present(0.0)), (10, 10));
}

#[tokio::test(start_paused = true)]
async fn lookup_missing_arns_failed_ones_run_last() {
    let watch = &watches(&looked_up(4))[0];
    let bench = Bench::new(std::slice::from_ref(watch));
    let account = FakeAccount::new();
    account.put(&arn(0), Status::Active);
    account.set_for(&arn(1), Behaviour::Hang);
    account.set_for(TARGETS[0], Behaviour::Hang);
    let mut poller = bench.poller(watch, &account);
    assert!(!poller.poll().await);
    let first = [
        "all",
        TARGETS[0],
        TARGETS[1],
        &arn(1),
        &arn(2),
        &arn(3),
        TARGETS[0],
        &arn(1),
    ];
    assert_eq!(requested(&account), first);
    assert!(!poller.poll().await);
    let second = [
        "all",
        TARGETS[1],
        &arn(2),
        &arn(3),
        TARGETS[0],
        &arn(1),
        TARGETS[0],
        &arn(1),
    ];
    assert_eq!(requested(&account), second);
    let present = bench.page().find("aws_glue_integration_present", &[]).len();
    assert_eq!(present, 3, "all except the ARN that hangs");
}

#[tokio::test(start_paused = true)]
async fn lookup_missing_arns_respect_concurrency() {
    let watch = &watches(&configured(40, ", lookup: list, concurrency: 3"))[0];
    let bench = Bench::new(std::slice::from_ref(watch));
    let account = FakeAccount::new();
    account.set(Behaviour::Slow(Duration::from_secs(1)));
    assert!(bench.poller(watch, &account).poll().await);
    assert_eq!(requested(&account).len(), 41);
    assert_eq!(account.max_in_flight(), 3);
}

#[tokio::test(start_paused = true)]
async fn lookup_throttled_sends_one_request() {
    let watch = &watches(&configured(200, ", lookup: list"))[0];
    let bench = Bench::new(std::slice::from_ref(watch));
    let account = FakeAccount::new();
    for n in 0..200 {
        account.put(&arn(n), Status::Active);
    }
    bench.run(watch, &account);
    sleep(MINUTE * 2).await;
    account.set(Behaviour::Fail(Reason::Throttled));
    account.take_requests();
    sleep(MINUTE * 40).await;
    let requests = account.take_requests();
    assert!((10..=16).contains(&requests.len()), "{}", requests.len());
    assert!(requests.iter().all(|(_, name)| name == "all"));
    let page = bench.page();
    assert_eq!(page.find("aws_glue_integration_info", &[]).len(), 200);
    assert_eq!(
        (gauge(&page, UP), gauge(&page, STALE)),
        (Some(0.0), Some(1.0))
    );
}

#[tokio::test(start_paused = true)]
async fn failed_query_serves_last_data_until_stale_after() {
    let yaml = configured(2, ", stale_after: 10m");
    let watch = &watches(&yaml)[0];
    let bench = Bench::new(std::slice::from_ref(watch));
    bench.publish();
    let account = FakeAccount::new();
    account.put(&arn(0), Status::Failed);
    let mut poller = bench.poller(watch, &account);
    assert!(poller.poll().await);
    let seen = Instant::now();
    let page = bench.page();
    assert_eq!(
        (gauge(&page, UP), gauge(&page, STALE)),
        (Some(1.0), Some(0.0))
    );
    let present = |page: &Page, n| {
        page.value(
            "aws_glue_integration_present",
            &[("integration_arn", &arn(n))],
        )
    };
    assert_eq!(
        (present(&page, 0), present(&page, 1)),
        (Some(1.0), Some(0.0))
    );
    let since = page.value("aws_glue_integration_status_since_timestamp_seconds", &[]);

    // One ARN fails and keeps its last data. The other one is updated.
    account.set_for(&arn(0), Behaviour::Fail(Reason::ServerError));
    account.put(&arn(1), Status::Active);
    advance(MINUTE).await;
    assert!(!poller.poll().await);
    let page = bench.page();
    assert_eq!(page.status(&arn(0)).as_deref(), Some("FAILED"));
    assert_eq!(page.status(&arn(1)).as_deref(), Some("ACTIVE"));
    assert_eq!(
        (gauge(&page, UP), gauge(&page, STALE)),
        (Some(0.0), Some(1.0))
    );
    assert_eq!(
        (present(&page, 0), present(&page, 1)),
        (Some(1.0), Some(1.0))
    );

    // The series of the failed ARN end at `stale_after`. The others continue, and the scope is still stale.
    let text = |bench: &Bench| {
        let page = bench.publisher.page();
        let pieces = page.text(Format::Text, &bench.telemetry, bench.clock.unix_now());
        String::from_utf8(pieces.concat()).unwrap()
    };
    tokio::time::sleep_until(seen + MINUTE * 10 - Duration::from_millis(2)).await;
    assert_eq!(
        Page::read(&text(&bench)).status(&arn(0)).as_deref(),
        Some("FAILED")
    );
    sleep(Duration::from_millis(10)).await;
    let page = Page::read(&text(&bench));
    assert_eq!((page.status(&arn(0)), present(&page, 0)), (None, None));
    assert_eq!(page.status(&arn(1)).as_deref(), Some("ACTIVE"));
    assert_eq!(
        gauge(&page, "glue_integration_exporter_scope_integrations"),
        Some(1.0)
    );
    assert_eq!(
        (gauge(&page, UP), gauge(&page, STALE)),
        (Some(0.0), Some(1.0))
    );

    // When AWS answers again, the status has kept its timestamp.
    account.set_for(&arn(0), Behaviour::Answer);
    assert!(poller.poll().await);
    let page = bench.page();
    let of_first = [("integration_arn", arn(0))];
    let of_first: Vec<(&str, &str)> = of_first
        .iter()
        .map(|(name, arn)| (*name, arn.as_str()))
        .collect();
    assert_eq!(
        page.value(
            "aws_glue_integration_status_since_timestamp_seconds",
            &of_first
        ),
        since
    );
    assert_eq!(
        (gauge(&page, UP), gauge(&page, STALE)),
        (Some(1.0), Some(0.0))
    );
}

#[tokio::test(start_paused = true)]
async fn status_since_resets_only_after_deletion() {
    let watch = &watches(DISCOVERY)[0];
    let bench = Bench::new(std::slice::from_ref(watch));
    let account = FakeAccount::new();
    account.put(&arn(1), Status::Active);
    let mut poller = bench.poller(watch, &account);
    assert!(poller.poll().await);
    let first = bench.page().value(SINCE, &[]).unwrap();
    for (behaviour, up) in [
        (Behaviour::Fail(Reason::Network), false),
        (Behaviour::Answer, true),
    ] {
        advance(MINUTE * 90).await;
        account.set(behaviour);
        assert_eq!(poller.poll().await, up);
        bench.publisher.reconfigure(std::slice::from_ref(watch));
    }
    assert_eq!(bench.page().value(SINCE, &[]), Some(first));
    account.put(&arn(1), Status::Syncing);
    assert!(poller.poll().await);
    let changed = bench.page().value(SINCE, &[]).unwrap();
    assert!(changed > first);
    account.remove(&arn(1));
    assert!(poller.poll().await);
    assert_eq!(bench.page().value(SINCE, &[]), None);
    advance(MINUTE).await;
    account.put(&arn(1), Status::Syncing);
    assert!(poller.poll().await);
    assert!(bench.page().value(SINCE, &[]).unwrap() > changed);
}

#[tokio::test(start_paused = true)]
async fn throttled_scope_backs_off_before_data_expires() {
    for stale_after in ["1h", "4m"] {
        let yaml =
            format!("scopes: [{{name: lake, regions: [eu-west-1], stale_after: {stale_after}}}]");
        let watch = &watches(&yaml)[0];
        let bench = Bench::new(std::slice::from_ref(watch));
        let account = FakeAccount::new();
        account.put(&arn(1), Status::Active);
        bench.run(watch, &account);
        sleep(MINUTE * 3).await;
        let good = account.take_requests().last().unwrap().0;
        account.set(Behaviour::Fail(Reason::Throttled));
        sleep(MINUTE * 80).await;
        let requests: Vec<Instant> = account
            .take_requests()
            .into_iter()
            .map(|(at, _)| at)
            .collect();
        let waits: Vec<Duration> = requests.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(
            waits
                .iter()
                .all(|wait| *wait <= MINUTE * 4 + Duration::from_millis(10)),
            "{waits:?}"
        );
        let longest = waits.iter().max().unwrap().as_secs_f64() / 60.0;
        assert!(longest > 3.0, "{waits:?}");
        // The last poll that could renew the data ended before the data expired.
        let end = good + watch.stale_after;
        assert!(
            requests
                .iter()
                .any(|at| *at + watch.timeout <= end && *at + MINUTE * 2 > end),
            "{stale_after}: {waits:?}"
        );
        account.set(Behaviour::Answer);
        sleep(MINUTE * 10).await;
        let waits: Vec<Duration> = account
            .take_requests()
            .windows(2)
            .map(|pair| pair[1].0 - pair[0].0)
            .collect();
        assert!(
            waits
                .iter()
                .skip(1)
                .all(|wait| wait.abs_diff(MINUTE) < Duration::from_millis(10)),
            "back at its interval: {waits:?}"
        );
        let page = bench.page();
        assert!(gauge(&page, SKIPPED).unwrap() > 0.0);
    }
}

#[tokio::test(start_paused = true)]
async fn first_scrape_waits_for_polls_until_timeout() {
    let yaml = "scopes: [{name: lake, regions: [eu-west-1]}, {name: other, regions: [us-east-1]}]";
    let watches = watches(yaml);
    let bench = Bench::new(&watches);
    bench.publish();
    let (quick, slow) = (FakeAccount::new(), FakeAccount::new());
    quick.put(&arn(1), Status::Active);
    slow.set(Behaviour::Slow(Duration::from_secs(7)));
    bench.run(&watches[0], &quick);
    bench.run(&watches[1], &slow);
    let begun = Instant::now();
    let page = bench
        .publisher
        .first_page(Duration::from_secs(5), &bench.stop)
        .await;
    assert_eq!(begun.elapsed().as_secs(), 5, "no longer than the timeout");
    assert!(page.pending_first_poll);
    let page = bench.publisher.first_page(MINUTE, &bench.stop).await;
    assert_eq!(
        begun.elapsed().as_secs(),
        7,
        "no longer than the slowest poll"
    );
    assert!(!page.pending_first_poll);
    // A scope that a reload adds does not delay scrapes.
    let mut more = watches.clone();
    more.extend(crate::support::account::watches(
        "scopes: [{name: new, regions: [eu-west-1]}]",
    ));
    bench.publisher.reconfigure(&more);
    bench.publisher.publish_now();
    let page = bench.publisher.first_page(MINUTE, &bench.stop).await;
    assert_eq!(begun.elapsed().as_secs(), 7);
    assert!(!page.pending_first_poll);
}

#[tokio::test(start_paused = true)]
async fn integration_in_two_scopes_is_exported_once() {
    let yaml = "scopes:\n- {name: first, regions: [eu-west-1], stale_after: 2m}\n- {name: second, regions: [eu-west-1], stale_after: 4h}";
    let watches = watches(yaml);
    let bench = Bench::new(&watches);
    let accounts = [FakeAccount::new(), FakeAccount::new()];
    let mut pollers = BTreeMap::new();
    for (n, watch) in watches.iter().enumerate() {
        pollers.insert(n, bench.poller(watch, &accounts[n]));
        accounts[n].put(&arn(1), Status::Active);
    }
    assert!(pollers.get_mut(&1).unwrap().poll().await);
    advance(MINUTE).await;
    accounts[0].put(&arn(1), Status::Failed);
    assert!(pollers.get_mut(&0).unwrap().poll().await);
    assert_eq!(
        bench.page().status(&arn(1)).as_deref(),
        Some("FAILED"),
        "the later poll wins"
    );
    // The later data has expired in its own scope, but it is still newer than the data of the other scope.
    advance(MINUTE * 10).await;
    assert_eq!(bench.page().status(&arn(1)).as_deref(), Some("FAILED"));
    // After AWS reports the deletion, the older data of the other scope is not exported.
    accounts[0].remove(&arn(1));
    accounts[1].set(Behaviour::Fail(Reason::Network));
    assert!(pollers.get_mut(&0).unwrap().poll().await);
    assert!(!pollers.get_mut(&1).unwrap().poll().await);
    let page = bench.page();
    assert_eq!(page.status(&arn(1)), None);
    assert_eq!(page.value(STALE, &[("scope", "second")]), Some(1.0));
}

#[tokio::test(start_paused = true)]
async fn integration_unknown_to_other_scope_stays() {
    let yaml = format!(
        "scopes:\n- {{name: all, regions: [eu-west-1]}}\n- {{name: named, integration_arns: [{}]}}",
        arn(1)
    );
    let watches = watches(&yaml);
    let bench = Bench::new(&watches);
    let (right, wrong) = (FakeAccount::new(), FakeAccount::new());
    right.put(&arn(1), Status::Active);
    assert!(bench.poller(&watches[0], &right).poll().await);
    advance(MINUTE).await;
    // This scope has the credentials of another account.
    assert!(bench.poller(&watches[1], &wrong).poll().await);
    let page = bench.page();
    assert_eq!(page.status(&arn(1)).as_deref(), Some("ACTIVE"));
    assert_eq!(page.value("aws_glue_integration_present", &[]), Some(1.0));
    // It does not reset the status timestamp either, even if a reload has just renamed the other scope.
    let since = page.value(SINCE, &[]);
    let watches = crate::support::account::watches(&yaml.replace("name: all", "name: everything"));
    bench.publisher.reconfigure(&watches);
    assert!(bench.poller(&watches[1], &wrong).poll().await);
    assert!(bench.poller(&watches[0], &right).poll().await);
    assert_eq!(bench.page().value(SINCE, &[]), since);
}

#[tokio::test(start_paused = true)]
async fn schedule_after_suspend_polls_once() {
    let watch = &watches(DISCOVERY)[0];
    let bench = Bench::new(std::slice::from_ref(watch));
    let account = FakeAccount::new();
    bench.run(watch, &account);
    sleep(MINUTE * 2).await;
    account.take_requests();
    // As if the process had been suspended.
    advance(MINUTE * 30).await;
    sleep(Duration::from_millis(1)).await;
    assert_eq!(account.take_requests().len(), 1);
    let skipped = gauge(&bench.page(), SKIPPED).unwrap();
    assert!((28.0..=30.0).contains(&skipped), "{skipped}");
    sleep(MINUTE * 2).await;
    assert_eq!(account.take_requests().len(), 2, "then on schedule again");
}

/// Answers every request with another integration on the first page and an empty last page.
struct OtherIntegrations;

impl Glue for OtherIntegrations {
    fn page<'a>(
        &'a self,
        _query: &'a Query,
        request: PageRequest<'a>,
    ) -> BoxFuture<'a, Result<Listed<Integration>, GlueError>> {
        let mut page = Listed::last(Vec::new());
        if request.marker.is_none() {
            page.items = vec![integration(&arn(2), Status::Active)];
            page.marker = Some("more".to_owned());
        }
        Box::pin(std::future::ready(Ok(page)))
    }

    fn metadata_page<'a>(
        &'a self,
        _tags: &'a BTreeSet<String>,
        _request: PageRequest<'a>,
    ) -> BoxFuture<'a, Result<Listed<Described>, GlueError>> {
        Box::pin(std::future::ready(Ok(Listed::last(Vec::new()))))
    }
}

#[tokio::test(start_paused = true)]
async fn response_with_other_arns_deletes_nothing() {
    let watch = &watches(&configured(1, ""))[0];
    let bench = Bench::new(std::slice::from_ref(watch));
    let account = FakeAccount::new();
    account.put(&arn(0), Status::Failed);
    assert!(bench.poller(watch, &account).poll().await);
    let mut poller = Poller::new(
        watch.clone(),
        Arc::new(OtherIntegrations),
        Arc::clone(&bench.publisher),
        Arc::clone(&bench.telemetry),
        bench.clock.clone(),
    );
    assert!(!poller.poll().await);
    let page = bench.page();
    assert_eq!(page.status(&arn(0)).as_deref(), Some("FAILED"));
    assert_eq!(page.value("aws_glue_integration_present", &[]), Some(1.0));
    assert_eq!(
        page.value(FAILURES, &[("reason", "invalid_response")]),
        Some(1.0)
    );
}

#[tokio::test(start_paused = true)]
async fn reload_removing_scope_keeps_latest_data() {
    let yaml =
        "scopes: [{name: first, regions: [eu-west-1]}, {name: second, regions: [eu-west-1]}]";
    let watches = watches(yaml);
    let bench = Bench::new(&watches);
    let account = FakeAccount::new();
    account.put(&arn(1), Status::Active);
    assert!(bench.poller(&watches[0], &account).poll().await);
    advance(MINUTE).await;
    account.put(&arn(1), Status::Failed);
    assert!(bench.poller(&watches[1], &account).poll().await);
    bench.publisher.reconfigure(&watches[..1]);
    assert_eq!(bench.page().status(&arn(1)).as_deref(), Some("FAILED"));
}

#[tokio::test(start_paused = true)]
async fn arn_with_slash_and_colon_is_one_integration() {
    let slash = arn(1).replace(":integration:", ":integration/");
    let yaml = format!(
        "scopes:\n- {{name: colon, integration_arns: [{}]}}\n- {{name: slash, integration_arns: [{slash}]}}",
        arn(1)
    );
    let watches = watches(&yaml);
    let bench = Bench::new(&watches);
    let account = FakeAccount::new();
    account.put(&arn(1), Status::Active);
    for watch in &watches {
        assert!(bench.poller(watch, &account).poll().await);
    }
    let page = bench.page();
    let present = page.find("aws_glue_integration_present", &[]);
    assert_eq!(present.len(), 1);
    assert_eq!(
        (present[0].value, &present[0].labels["integration_arn"]),
        (1.0, &arn(1))
    );
}
