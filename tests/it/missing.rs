//! Two statements of the exporter about each integration: whether the last poll refreshed it, and whether it still exists.

use crate::support::account::{Behaviour, Bench, FakeAccount, arn, integration, watches};
use crate::support::page::Page;
use glue_integration_exporter::clock::Clock;
use glue_integration_exporter::config::ScopeRegion;
use glue_integration_exporter::glue::Reason;
use glue_integration_exporter::poll::Poller;
use glue_integration_exporter::snapshot::{Integration, Status};
use glue_integration_exporter::storage;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, advance};

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);
const ALL: &str = "{name: all, regions: [eu-west-1], describe: true}";
const TARGET: &str = "arn:aws:glue:eu-west-1:111122223333:database/lake";

fn scopes(scopes: &[&str]) -> Vec<ScopeRegion> {
    watches(&format!("scopes: [{}]", scopes.join(", ")))
}

fn value(page: &Page, metric: &str, number: usize) -> Option<f64> {
    let name = format!("aws_glue_integration_{metric}");
    page.value(&name, &[("integration_arn", &arn(number))])
}

fn present(bench: &Bench, number: usize) -> Option<f64> {
    value(&bench.page(), "present", number)
}

/// Returns the name in the info row of an integration.
fn name(page: &Page, number: usize) -> Option<String> {
    let rows = page.find(
        "aws_glue_integration_info",
        &[("integration_arn", &arn(number))],
    );
    assert!(rows.len() < 2);
    rows.first()
        .map(|row| row.labels["integration_name"].clone())
}

/// Integration 1 is named orders.
fn account() -> Arc<FakeAccount> {
    let account = FakeAccount::new();
    account.put(&arn(1), Status::Failed);
    account.describe(&arn(1), "orders", &[("team", "data")]);
    account.put(&arn(2), Status::Active);
    account
}

/// Returns an exporter whose only scope has been polled, and its poller.
async fn polled(yaml: &str, account: &Arc<FakeAccount>) -> (Bench, Poller) {
    let watches = scopes(&[yaml]);
    let bench = Bench::new(&watches);
    let mut poller = bench.poller(&watches[0], account);
    assert!(poller.poll().await);
    poller.describe().await;
    advance(MINUTE).await;
    (bench, poller)
}

/// The same, after integration 1 has vanished.
async fn vanished(yaml: &str, account: &Arc<FakeAccount>) -> (Bench, Poller) {
    let (bench, mut poller) = polled(yaml, account).await;
    account.remove(&arn(1));
    assert!(poller.poll().await);
    assert_eq!(present(&bench, 1), Some(0.0));
    (bench, poller)
}

/// Returns a new process with the state file of this one.
fn restarted(bench: &Bench, watches: &[ScopeRegion], later: Duration) -> Bench {
    let (start, wall) = (Instant::now(), bench.clock.unix_now() + later.as_secs_f64());
    let clock = Clock::from_wall(move || wall + start.elapsed().as_secs_f64());
    let after = Bench::with_clock(watches, clock);
    let file = storage::encode(&bench.publisher.stored()).unwrap();
    after.publisher.restore(storage::decode(&file).unwrap());
    after
}

/// Changes the configuration by a restart or a reload.
fn reconfigured(bench: Bench, watches: &[ScopeRegion], restart: bool) -> Bench {
    if restart {
        return restarted(&bench, watches, MINUTE);
    }
    bench.publisher.reconfigure(watches);
    bench
}

#[tokio::test(start_paused = true)]
async fn only_integrations_that_were_not_refreshed_are_stale() {
    let yaml = format!(
        "{{name: some, integration_arns: ['{}', '{}', '{}']}}",
        arn(1),
        arn(2),
        arn(3)
    );
    let account = account();
    let (bench, mut poller) = polled(&yaml, &account).await;
    let stale = |bench: &Bench| [1, 2, 3].map(|number| value(&bench.page(), "stale", number));
    assert_eq!(stale(&bench), [Some(0.0); 3]);
    account.set_for(&arn(1), Behaviour::Fail(Reason::Network));
    assert!(!poller.poll().await);
    assert_eq!(stale(&bench), [Some(1.0), Some(0.0), Some(0.0)]);
    // The answer that an integration does not exist is older, too.
    account.set(Behaviour::Fail(Reason::Network));
    advance(MINUTE).await;
    assert!(!poller.poll().await);
    assert_eq!(stale(&bench), [Some(1.0); 3]);
    assert_eq!(present(&bench, 3), Some(0.0));
    account.set(Behaviour::Answer);
    account.set_for(&arn(1), Behaviour::Answer);
    assert!(poller.poll().await);
    assert_eq!(stale(&bench), [Some(0.0); 3]);
}

#[tokio::test(start_paused = true)]
async fn scope_that_is_shown_decides_what_is_stale() {
    let watches = scopes(&[ALL, &ALL.replace("all", "other")]);
    let bench = Bench::new(&watches);
    let accounts = [account(), account()];
    let mut first = bench.poller(&watches[0], &accounts[0]);
    let mut second = bench.poller(&watches[1], &accounts[1]);
    assert!(first.poll().await);
    advance(MINUTE).await;
    assert!(second.poll().await);
    accounts[0].set(Behaviour::Fail(Reason::Network));
    advance(MINUTE).await;
    assert!(!first.poll().await);
    assert_eq!(value(&bench.page(), "stale", 1), Some(0.0));
    accounts[1].set(Behaviour::Fail(Reason::Network));
    advance(MINUTE).await;
    assert!(!second.poll().await);
    assert_eq!(value(&bench.page(), "stale", 1), Some(1.0));
}

#[tokio::test(start_paused = true)]
async fn restored_integration_is_stale_until_polled() {
    let account = account();
    let (bench, _) = polled(ALL, &account).await;
    let watches = scopes(&[ALL]);
    let bench = restarted(&bench, &watches, MINUTE);
    assert_eq!(value(&bench.page(), "stale", 1), Some(1.0));
    assert!(bench.poller(&watches[0], &account).poll().await);
    assert_eq!(value(&bench.page(), "stale", 1), Some(0.0));
}

#[tokio::test(start_paused = true)]
async fn vanished_integration_is_missing_for_a_day() {
    for restart in [false, true] {
        let account = account();
        let (mut bench, mut poller) = vanished(ALL, &account).await;
        let watches = scopes(&[ALL]);
        if restart {
            bench = restarted(&bench, &watches, MINUTE);
            poller = bench.poller(&watches[0], &account);
            assert_eq!(value(&bench.page(), "stale", 1), Some(1.0));
            advance(DAY - 3 * MINUTE).await;
        } else {
            advance(DAY - 2 * MINUTE).await;
        }
        assert!(poller.poll().await);
        poller.describe().await;
        let page = bench.page();
        let rows = ["present", "stale", "errors", "created_timestamp_seconds"];
        let values = rows.map(|metric| value(&page, metric, 1));
        assert_eq!(
            values,
            [Some(0.0), Some(0.0), None, None],
            "restart: {restart}"
        );
        assert_eq!(page.status(&arn(1)), None);
        assert_eq!(name(&page, 1).as_deref(), Some("orders"));
        assert_eq!(value(&page, "present", 2), Some(1.0));
        // A failed poll does not end it.
        account.set(Behaviour::Fail(Reason::Network));
        advance(MINUTE).await;
        assert!(!poller.poll().await);
        let page = bench.page();
        assert_eq!(
            (value(&page, "present", 1), value(&page, "stale", 1)),
            (Some(0.0), Some(1.0))
        );
        advance(MINUTE).await;
        let page = bench.page();
        assert_eq!(value(&page, "present", 1), None, "restart: {restart}");
        assert_eq!(value(&page, "stale", 1), None);
        assert_eq!(name(&page, 1), None);
    }
}

#[tokio::test(start_paused = true)]
async fn vanished_integration_ends_on_time_without_a_poll() {
    let account = account();
    let (bench, _) = vanished(ALL, &account).await;
    let (_, next_expiry) = bench.publisher.snapshot();
    assert_eq!(next_expiry, Some(Instant::now() + DAY));
}

#[tokio::test(start_paused = true)]
async fn vanished_integration_that_is_back_exists() {
    for restart in [false, true] {
        let account = account();
        let (mut bench, mut poller) = vanished(ALL, &account).await;
        if restart {
            let watches = scopes(&[ALL]);
            bench = restarted(&bench, &watches, MINUTE);
            poller = bench.poller(&watches[0], &account);
        }
        account.put(&arn(1), Status::Deleting);
        advance(MINUTE).await;
        assert!(poller.poll().await);
        let page = bench.page();
        assert_eq!(value(&page, "present", 1), Some(1.0), "restart: {restart}");
        assert_eq!(name(&page, 1).as_deref(), Some("orders"));
        // Now it is deleted as planned.
        account.remove(&arn(1));
        advance(MINUTE).await;
        assert!(poller.poll().await);
        assert_eq!(present(&bench, 1), None, "restart: {restart}");
    }
}

#[tokio::test(start_paused = true)]
async fn deletion_that_was_announced_to_any_scope_is_not_missing() {
    let watches = scopes(&[ALL, &ALL.replace("all", "other")]);
    let bench = Bench::new(&watches);
    let account = account();
    let mut pollers = [0, 1].map(|scope| bench.poller(&watches[scope], &account));
    for poller in &mut pollers {
        assert!(poller.poll().await);
    }
    account.put(&arn(1), Status::Deleting);
    advance(MINUTE).await;
    assert!(pollers[0].poll().await);
    account.remove(&arn(1));
    advance(MINUTE).await;
    // This scope has seen it only as FAILED.
    assert!(pollers[1].poll().await);
    assert_eq!(present(&bench, 1), None);
    assert!(pollers[0].poll().await);
    assert_eq!(present(&bench, 1), None);
}

#[tokio::test(start_paused = true)]
async fn reload_that_still_covers_vanished_integration_keeps_it() {
    for yaml in [
        ALL.to_owned(),
        "{name: all, regions: [eu-west-1], describe: true, include: {name: ['order*']}}".to_owned(),
        format!("{{name: all, describe: true, target_arns: ['{TARGET}']}}"),
        format!(
            "{{name: all, describe: true, integration_arns: ['{}']}}",
            arn(1)
        ),
        "{name: all, regions: [eu-west-1], describe: true, profile: other}".to_owned(),
    ] {
        for restart in [false, true] {
            let account = account();
            let (mut bench, _) = vanished(ALL, &account).await;
            let watches = scopes(&[&yaml]);
            bench = reconfigured(bench, &watches, restart);
            let page = bench.page();
            assert_eq!(
                value(&page, "present", 1),
                Some(0.0),
                "{yaml}, restart: {restart}"
            );
            assert_eq!(name(&page, 1).as_deref(), Some("orders"), "{yaml}");
            assert!(bench.poller(&watches[0], &account).poll().await);
            assert_eq!(present(&bench, 1), Some(0.0), "{yaml}, restart: {restart}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn reload_that_takes_vanished_integration_out_ends_it() {
    for yaml in [
        ALL.replace("all", "other"),
        ALL.replace("eu-west-1", "us-east-1"),
        "{name: all, regions: [eu-west-1], describe: true, exclude: {name: [orders]}}".to_owned(),
        "{name: all, regions: [eu-west-1], exclude: {source_arn: ['*:table/*']}}".to_owned(),
        "{name: all, target_arns: ['arn:aws:glue:eu-west-1:111122223333:database/other']}"
            .to_owned(),
        format!("{{name: all, integration_arns: ['{}']}}", arn(2)),
    ] {
        for restart in [false, true] {
            let account = account();
            let (mut bench, _) = vanished(ALL, &account).await;
            let watches = scopes(&[&yaml]);
            bench = reconfigured(bench, &watches, restart);
            assert_eq!(present(&bench, 1), None, "{yaml}, restart: {restart}");
            assert_eq!(name(&bench.page(), 1), None, "{yaml}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn removed_scope_ends_what_no_other_scope_saw() {
    let both = scopes(&[ALL, &ALL.replace("all", "other")]);
    for also_seen_by_other in [false, true] {
        let bench = Bench::new(&both);
        let (account, other) = (account(), FakeAccount::new());
        if also_seen_by_other {
            other.put(&arn(1), Status::Failed);
        }
        let mut poller = bench.poller(&both[0], &account);
        assert!(bench.poller(&both[1], &other).poll().await);
        assert!(poller.poll().await);
        advance(MINUTE).await;
        account.remove(&arn(1));
        assert!(poller.poll().await);
        assert_eq!(present(&bench, 1), Some(0.0));
        bench.publisher.reconfigure(&both[1..]);
        let expected = also_seen_by_other.then_some(0.0);
        assert_eq!(present(&bench, 1), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn credentials_that_see_less_make_nothing_missing() {
    let account = account();
    let (bench, _) = polled(ALL, &account).await;
    let watches = scopes(&["{name: all, regions: [eu-west-1], describe: true, profile: other}"]);
    bench.publisher.reconfigure(&watches);
    let mut poller = bench.poller(&watches[0], &FakeAccount::new());
    assert!(poller.poll().await);
    let page = bench.page();
    assert_eq!(
        [1, 2].map(|number| value(&page, "present", number)),
        [None; 2]
    );
}

#[tokio::test(start_paused = true)]
async fn incomplete_listing_makes_nothing_missing() {
    let yaml = format!("{{name: all, target_arns: ['{TARGET}', 'arn:aws:s3:::bucket']}}");
    let account = account();
    account.insert(Integration {
        target_arn: "arn:aws:s3:::bucket".to_owned(),
        ..integration(&arn(3), Status::Active)
    });
    let (bench, mut poller) = polled(
        &yaml.replace("all, ", "all, regions: [eu-west-1], "),
        &account,
    )
    .await;
    account.remove(&arn(1));
    account.remove(&arn(3));
    account.set_for(TARGET, Behaviour::Fail(Reason::Network));
    assert!(!poller.poll().await);
    let page = bench.page();
    let presents = [1, 3].map(|number| value(&page, "present", number));
    assert_eq!(presents, [Some(1.0), Some(0.0)]);
    assert_eq!(
        [1, 3].map(|number| value(&page, "stale", number)),
        [Some(1.0), Some(0.0)]
    );
}

#[tokio::test(start_paused = true)]
async fn configured_integration_that_vanished_stays_missing_after_a_day() {
    let watches = scopes(&[
        ALL,
        &format!("{{name: named, integration_arns: ['{}']}}", arn(1)),
    ]);
    let bench = Bench::new(&watches);
    let account = account();
    let mut pollers = [0, 1].map(|scope| bench.poller(&watches[scope], &account));
    assert!(pollers[1].poll().await);
    assert!(pollers[0].poll().await);
    account.remove(&arn(1));
    advance(MINUTE).await;
    // The listing finds it out before the scope that is configured with it.
    assert!(pollers[0].poll().await);
    assert_eq!(present(&bench, 1), Some(0.0));
    for _ in 0..2 {
        assert!(pollers[1].poll().await);
        let page = bench.page();
        let rows = page.find(
            "aws_glue_integration_present",
            &[("integration_arn", &arn(1))],
        );
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].value, 0.0);
        advance(DAY).await;
    }
}
