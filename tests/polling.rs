//! Polling on a paused clock: the schedule, what a poll does with its time, and what is shown while AWS fails.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use glue_integration_exporter::clock::Clock;
use glue_integration_exporter::exposition::text_format::Format;
use glue_integration_exporter::glue::metadata::{MetadataPage, MetadataRequest, NamesFuture};
use glue_integration_exporter::glue::{Glue, Page as Listed, PageFuture, PageRequest, Reason};
use glue_integration_exporter::poll::Poller;
use glue_integration_exporter::snapshot::Status;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use support::account::{Behaviour, Bench, FakeAccount, START, arn, integration, watches};
use support::page::Page;
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
async fn polls_keep_their_phase_over_a_restart_and_a_slow_poll() {
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
        let asked: Vec<f64> = account
            .asked()
            .into_iter()
            .map(|(at, _)| (at - begun).as_secs_f64())
            .collect();
        assert_eq!(asked[0], 0.0, "the first poll starts at once");
        for pair in asked[1..].windows(2) {
            assert!((pair[1] - pair[0] - 60.0).abs() < 0.01, "{asked:?}");
        }
        assert!((10..=11).contains(&asked.len()), "{asked:?}");
        phases.push((START + started_after + asked[1]).rem_euclid(60.0));
    }
    assert!((phases[0] - phases[1]).abs() < 0.01, "{phases:?}");
}

#[tokio::test(start_paused = true)]
async fn scopes_are_spread_over_the_interval() {
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
    for (at, _) in account.asked().into_iter().skip(60) {
        by_sixth[((at - begun).as_secs() / 10).min(5) as usize] += 1;
    }
    assert_eq!(
        by_sixth.iter().sum::<i32>(),
        60,
        "each polled once more within the interval"
    );
    assert!(
        by_sixth.iter().all(|polls| (3..=20).contains(polls)),
        "{by_sixth:?}"
    );
}

/// 25 polls in each bucket would be even; by chance nearly all are between 10 and 40.
#[tokio::test(start_paused = true)]
async fn a_fleet_of_300_pairs_is_spread_over_the_interval() {
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
    for (at, _) in account.asked().into_iter().skip(300) {
        buckets[((at - begun).as_secs() / 5).min(11) as usize] += 1;
    }
    assert_eq!(buckets.iter().sum::<i32>(), 300);
    assert!(
        buckets.iter().all(|polls| (10..=40).contains(polls)),
        "{buckets:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn scopes_that_hang_or_are_throttled_change_no_others_timing() {
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
        let asked = account.asked();
        for pair in asked[1..].windows(2) {
            assert!(
                (pair[1].0 - pair[0].0).abs_diff(MINUTE) < Duration::from_millis(10),
                "scope-{n}"
            );
        }
        assert!(asked.len() >= 20, "scope-{n} polled {} times", asked.len());
    }
    let page = bench.page();
    for n in 0..50 {
        let name = format!("scope-{n}");
        let up = page.value(UP, &[("scope", &name)]);
        assert_eq!(up, Some(f64::from(u8::from(n >= 20))), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_wall_clock_that_jumps_moves_no_poll_and_no_age_below_zero() {
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
    let before = account.asked();
    for days in [-400, 400] {
        jump.store(days * 86_400, Ordering::Relaxed);
        sleep(MINUTE * 3).await;
        let asked = account.asked();
        assert_eq!(asked.len(), 3, "no burst and no pause");
        assert!((asked[0].0 - before[0].0).as_millis() > 0);
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
async fn a_poll_keeps_to_its_concurrency_and_ends_at_its_deadline() {
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
async fn arns_that_hang_leave_time_for_the_others_and_are_asked_last_next_time() {
    let yaml = configured(200, "");
    let watch = &watches(&yaml)[0];
    let bench = Bench::new(std::slice::from_ref(watch));
    let account = FakeAccount::new();
    for n in 0..200 {
        account.put(&arn(n), Status::Active);
        account.set_for(&arn(n), Behaviour::Slow(Duration::from_millis(200)));
    }
    // The first ones hang, so that they would hold every place if they were let.
    for n in 0..20 {
        account.set_for(&arn(n), Behaviour::Hang);
    }
    let mut poller = bench.poller(watch, &account);
    assert!(!poller.poll().await);
    let page = bench.page();
    assert_eq!(page.find("aws_glue_integration_info", &[]).len(), 180);
    account.asked();
    assert!(!poller.poll().await);
    let asked: Vec<String> = account.asked().into_iter().map(|(_, arn)| arn).collect();
    let hanging: Vec<String> = (0..20).map(arn).collect();
    assert!(
        asked[..180].iter().all(|arn| !hanging.contains(arn)),
        "the others come first"
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
async fn arns_that_one_poll_has_no_time_for_are_asked_first_by_the_next() {
    let watch = &watches(&configured(240, ""))[0];
    let bench = Bench::new(std::slice::from_ref(watch));
    let account = FakeAccount::new();
    for n in 0..240 {
        account.put(&arn(n), Status::Active);
    }
    // 4 at once and 45 s: for less than 190 of them.
    account.set(Behaviour::Slow(Duration::from_millis(950)));
    let mut poller = bench.poller(watch, &account);
    // Those that were under way at the deadline count as failed: last in the second poll, and then first.
    for _ in 0..3 {
        assert!(!poller.poll().await);
    }
    let shown = bench.page().find("aws_glue_integration_info", &[]).len();
    assert_eq!(shown, 240);
}

/// The names of what was asked since the last time.
fn names(account: &FakeAccount) -> Vec<String> {
    account.asked().into_iter().map(|(_, name)| name).collect()
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
async fn a_listing_that_hangs_leaves_time_for_targets_and_for_what_it_will_lack() {
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
        names(&account),
        ["all", TARGETS[0], TARGETS[1], "all"],
        "nor is any asked for alone"
    );
    let page = bench.page();
    assert_eq!(page.value(FAILURES, &[("reason", "timeout")]), Some(1.0));
    assert!(page.find("aws_glue_integration_present", &[]).is_empty());

    // What failed comes last; and when it answers at its second turn there is time for what it lacks.
    let slow = Arc::clone(&account);
    tokio::spawn(async move {
        sleep(Duration::from_secs(20)).await;
        slow.set_for("all", Behaviour::Slow(Duration::from_millis(200)));
    });
    let begun = Instant::now();
    assert!(poller.poll().await);
    assert!(begun.elapsed() <= watch.timeout, "{:?}", begun.elapsed());
    let asked = names(&account);
    assert_eq!(asked[..4], [TARGETS[0], TARGETS[1], "all", "all"]);
    assert_eq!(asked[4..], (10..20).map(arn).collect::<Vec<String>>());
    let present = |value: f64| {
        let page = bench.page();
        let rows = page.find("aws_glue_integration_present", &[]);
        rows.iter().filter(|row| row.value == value).count()
    };
    assert_eq!((present(1.0), present(0.0)), (10, 10));
}

#[tokio::test(start_paused = true)]
async fn of_what_a_listing_lacks_what_failed_last_time_is_asked_after_the_others() {
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
    assert_eq!(names(&account), first);
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
    assert_eq!(names(&account), second);
    let present = bench.page().find("aws_glue_integration_present", &[]).len();
    assert_eq!(present, 3, "all but the one that hangs");
}

#[tokio::test(start_paused = true)]
async fn what_a_listing_lacks_is_asked_as_many_at_once_as_the_scope_may() {
    let watch = &watches(&configured(40, ", lookup: list, concurrency: 3"))[0];
    let bench = Bench::new(std::slice::from_ref(watch));
    let account = FakeAccount::new();
    account.set(Behaviour::Slow(Duration::from_secs(1)));
    assert!(bench.poller(watch, &account).poll().await);
    assert_eq!(names(&account).len(), 41);
    assert_eq!(account.max_in_flight(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_throttled_listing_is_one_request_and_backs_off() {
    let watch = &watches(&configured(200, ", lookup: list"))[0];
    let bench = Bench::new(std::slice::from_ref(watch));
    let account = FakeAccount::new();
    for n in 0..200 {
        account.put(&arn(n), Status::Active);
    }
    bench.run(watch, &account);
    sleep(MINUTE * 2).await;
    account.set(Behaviour::Fail(Reason::Throttled));
    account.asked();
    sleep(MINUTE * 40).await;
    let asked = account.asked();
    assert!((10..=16).contains(&asked.len()), "{}", asked.len());
    assert!(asked.iter().all(|(_, name)| name == "all"));
    let page = bench.page();
    assert_eq!(page.find("aws_glue_integration_info", &[]).len(), 200);
    assert_eq!(
        (gauge(&page, UP), gauge(&page, STALE)),
        (Some(0.0), Some(1.0))
    );
}

#[tokio::test(start_paused = true)]
async fn what_failed_keeps_its_last_good_data_until_it_is_too_old() {
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

    // One ARN fails: it is shown as it was, the other as it is now.
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

    // Its series end by themselves, to the moment; the other's go on; the scope still says that it is stale.
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

    // When AWS answers again the moment of the status is still the first one.
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
async fn the_moment_of_a_status_is_anew_only_after_aws_said_that_the_integration_is_gone() {
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
async fn a_throttled_scope_waits_longer_but_never_lets_its_data_end() {
    for stale_after in ["1h", "4m"] {
        let yaml =
            format!("scopes: [{{name: lake, regions: [eu-west-1], stale_after: {stale_after}}}]");
        let watch = &watches(&yaml)[0];
        let bench = Bench::new(std::slice::from_ref(watch));
        let account = FakeAccount::new();
        account.put(&arn(1), Status::Active);
        bench.run(watch, &account);
        sleep(MINUTE * 3).await;
        let good = account.asked().last().unwrap().0;
        account.set(Behaviour::Fail(Reason::Throttled));
        sleep(MINUTE * 80).await;
        let asked: Vec<Instant> = account.asked().into_iter().map(|(at, _)| at).collect();
        let waits: Vec<Duration> = asked.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(
            waits
                .iter()
                .all(|wait| *wait <= MINUTE * 4 + Duration::from_millis(10)),
            "{waits:?}"
        );
        let longest = waits.iter().max().unwrap().as_secs_f64() / 60.0;
        assert!(longest > 3.0, "{waits:?}");
        // A last poll that could have renewed the data ended before the data did.
        let end = good + watch.stale_after;
        assert!(
            asked
                .iter()
                .any(|at| *at + watch.timeout <= end && *at + MINUTE * 2 > end),
            "{stale_after}: {waits:?}"
        );
        account.set(Behaviour::Answer);
        sleep(MINUTE * 10).await;
        let waits: Vec<Duration> = account
            .asked()
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
async fn a_page_waits_for_the_first_polls_as_long_as_it_is_told_to() {
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
    assert_eq!(begun.elapsed().as_secs(), 5, "not longer");
    assert!(!page.is_ready());
    let page = bench.publisher.first_page(MINUTE, &bench.stop).await;
    assert_eq!(begun.elapsed().as_secs(), 7, "not longer than it takes");
    assert!(page.is_ready());
    // A scope that a reload adds makes nobody wait.
    let mut more = watches.clone();
    more.extend(support::account::watches(
        "scopes: [{name: new, regions: [eu-west-1]}]",
    ));
    bench.publisher.reconfigure(&more);
    bench.publisher.publish_now();
    let page = bench.publisher.first_page(MINUTE, &bench.stop).await;
    assert_eq!(begun.elapsed().as_secs(), 7);
    assert!(page.is_ready());
}

#[tokio::test(start_paused = true)]
async fn two_scopes_that_see_the_same_integration_show_it_once_as_it_was_seen_last() {
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
        "the later poll is right"
    );
    // The later sight may not be shown any more by its own scope: what it said is still the truth.
    advance(MINUTE * 10).await;
    assert_eq!(bench.page().status(&arn(1)).as_deref(), Some("FAILED"));
    // AWS says that it is gone: the older sight of the other scope does not bring it back.
    accounts[0].remove(&arn(1));
    accounts[1].set(Behaviour::Fail(Reason::Network));
    assert!(pollers.get_mut(&0).unwrap().poll().await);
    assert!(!pollers.get_mut(&1).unwrap().poll().await);
    let page = bench.page();
    assert_eq!(page.status(&arn(1)), None);
    assert_eq!(page.value(STALE, &[("scope", "second")]), Some(1.0));
}

#[tokio::test(start_paused = true)]
async fn a_scope_that_never_saw_an_integration_does_not_hide_it() {
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
    // Its credentials are those of another account.
    assert!(bench.poller(&watches[1], &wrong).poll().await);
    let page = bench.page();
    assert_eq!(page.status(&arn(1)).as_deref(), Some("ACTIVE"));
    assert_eq!(page.value("aws_glue_integration_present", &[]), Some(1.0));
    // Nor does it make the moment of the status anew, when a reload has just given the other scope another name.
    let since = page.value(SINCE, &[]);
    let watches = support::account::watches(&yaml.replace("name: all", "name: everything"));
    bench.publisher.reconfigure(&watches);
    assert!(bench.poller(&watches[1], &wrong).poll().await);
    assert!(bench.poller(&watches[0], &right).poll().await);
    assert_eq!(bench.page().value(SINCE, &[]), since);
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_slept_polls_once_and_not_for_each_poll_that_it_missed() {
    let watch = &watches(DISCOVERY)[0];
    let bench = Bench::new(std::slice::from_ref(watch));
    let account = FakeAccount::new();
    bench.run(watch, &account);
    sleep(MINUTE * 2).await;
    account.asked();
    // All at once, as if the process had not run meanwhile.
    advance(MINUTE * 30).await;
    sleep(Duration::from_millis(1)).await;
    assert_eq!(account.asked().len(), 1);
    let skipped = gauge(&bench.page(), SKIPPED).unwrap();
    assert!((28.0..=30.0).contains(&skipped), "{skipped}");
    sleep(MINUTE * 2).await;
    assert_eq!(account.asked().len(), 2, "and then on schedule again");
}

/// Answers whatever it is asked with another integration on the first page and none on the last.
struct AnswersOfAnother;

impl Glue for AnswersOfAnother {
    fn page<'a>(&'a self, request: PageRequest<'a>) -> PageFuture<'a> {
        let mut page = Listed::default();
        if request.marker.is_none() {
            page.integrations = vec![integration(&arn(2), Status::Active)];
            page.marker = Some("more".to_owned());
        }
        Box::pin(std::future::ready(Ok(page)))
    }

    fn names<'a>(&'a self, _request: MetadataRequest<'a>) -> NamesFuture<'a> {
        Box::pin(std::future::ready(Ok(MetadataPage::default())))
    }
}

#[tokio::test(start_paused = true)]
async fn pages_about_other_integrations_do_not_say_that_one_is_gone() {
    let watch = &watches(&configured(1, ""))[0];
    let bench = Bench::new(std::slice::from_ref(watch));
    let account = FakeAccount::new();
    account.put(&arn(0), Status::Failed);
    assert!(bench.poller(watch, &account).poll().await);
    let mut poller = Poller::new(
        watch.clone(),
        Arc::new(AnswersOfAnother),
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
async fn a_reload_that_drops_the_scope_of_the_later_sight_does_not_bring_back_the_earlier_one() {
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
async fn both_spellings_of_an_arn_are_one_integration_as_aws_spells_it() {
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
