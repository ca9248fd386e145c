//! `name` under `include` and `exclude`: names arrive later than listings, can be missing, and can change.

use super::{CLUSTER, TABLE, discovers, from, of_scope, shown, since};
use crate::support::account::{Behaviour, Bench, FakeAccount, START, arn, watches};
use crate::support::lines::Lines;
use crate::support::page::Page;
use glue_integration_exporter::clock::Clock;
use glue_integration_exporter::config::{Query, ScopeRegion};
use glue_integration_exporter::exposition::text_format::Format;
use glue_integration_exporter::glue::{
    self, BoxFuture, Described, Glue, GlueError, PageRequest, Reason,
};
use glue_integration_exporter::poll::Poller;
use glue_integration_exporter::shard::Shard;
use glue_integration_exporter::snapshot::{Integration, Status};
use glue_integration_exporter::storage;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::{Instant, advance, sleep};
use tokio_util::sync::CancellationToken;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const NO_SCRATCH: &str = "describe: true, exclude: {name: ['scratch-*']}";
const UNKNOWN: &str = "glue_integration_exporter_unknown_statuses_total";
const PRESENT: &str = "aws_glue_integration_present";
const INFO: &str = "aws_glue_integration_info";

/// Integration 0 is named orders-1 and 1 is named scratch-1. Another account created 2.
fn account() -> Arc<FakeAccount> {
    let account = FakeAccount::new();
    account.insert(from(0, TABLE, Status::Active));
    account.insert(from(1, CLUSTER, Status::Failed));
    account.insert(from(2, TABLE, Status::Active));
    account.describe(&arn(0), "orders-1", &[]);
    account.describe(&arn(1), "scratch-1", &[]);
    account
}

/// Polls and fetches names.
async fn round(poller: &mut Poller) {
    assert!(poller.poll().await);
    poller.describe().await;
}

/// A bench with one scope after a poll and a fetch of names.
async fn named(watch: &ScopeRegion, account: &Arc<FakeAccount>) -> (Bench, Poller) {
    let bench = Bench::new(std::slice::from_ref(watch));
    let mut poller = bench.poller(watch, account);
    round(&mut poller).await;
    (bench, poller)
}

/// Returns the published metrics, like a scrape.
fn published(bench: &Bench) -> Page {
    let page = bench.publisher.page();
    let text = page.text(Format::Text, &bench.telemetry, bench.clock.unix_now());
    Page::read(&String::from_utf8(text.concat()).unwrap())
}

#[tokio::test(start_paused = true)]
async fn first_scrape_waits_for_exclusion_by_name() {
    let watch = discovers("some", NO_SCRATCH);
    let account = account();
    account.set_for("names", Behaviour::Slow(SECOND * 3));
    let bench = Bench::new(std::slice::from_ref(&watch));
    bench.publish();
    bench.run(&watch, &account);
    let never = CancellationToken::new();
    bench.publisher.first_page(SECOND * 5, &never).await;
    let page = published(&bench);
    assert_eq!(shown(&page), [0, 2]);
    assert_eq!(of_scope(&page, "scope_integrations", "some"), Some(2.0));
    assert_eq!(of_scope(&page, "scope_up", "some"), Some(1.0));
    assert_eq!(of_scope(&page, "scope_stale", "some"), Some(0.0));
    assert_eq!(of_scope(&page, "scope_names_up", "some"), Some(1.0));
}

#[tokio::test(start_paused = true)]
async fn unknown_name_excludes_nothing() {
    for selection in [
        NO_SCRATCH,
        "describe: true, include: {name: ['orders-*']}",
        "describe: true, include: {name: ['orders-*']}, exclude: {name: ['scratch-*', '*-7']}",
    ] {
        let watch = discovers("some", selection);
        let account = account();
        account.set_for("names", Behaviour::Fail(Reason::AccessDenied));
        let bench = Bench::new(std::slice::from_ref(&watch));
        bench.publish();
        bench.run(&watch, &account);
        sleep(SECOND).await;
        assert_eq!(shown(&published(&bench)), [0, 1, 2], "{selection}");
        // The retry after a minute does not depend on polls.
        account.set_for("names", Behaviour::Answer);
        account.set_for("all", Behaviour::Hang);
        sleep(MINUTE).await;
        let page = published(&bench);
        assert_eq!(shown(&page), [0, 2], "{selection}");
        assert_eq!(of_scope(&page, "scope_integrations", "some"), Some(2.0));
        assert_eq!(of_scope(&page, "scope_up", "some"), Some(1.0));
        let failures = page.find("glue_integration_exporter_poll_failures_total", &[]);
        assert!(failures.iter().all(|row| row.value == 0.0));
    }
}

#[tokio::test(start_paused = true)]
async fn name_and_arn_patterns_combine() {
    for (selection, which) in [
        ("include: {name: ['orders-*', 'scratch-?']}", vec![0, 1, 2]),
        ("include: {name: ['orders']}", vec![2]),
        ("include: {name: ['ORDERS-1', '*orders']}", vec![2]),
        ("exclude: {name: ['Scratch-*', 'scratch']}", vec![0, 1, 2]),
        (
            "include: {name: ['*-1']}, exclude: {name: ['orders-1']}",
            vec![1, 2],
        ),
        (
            "include: {source_arn: ['*:table/*']}, exclude: {name: ['orders-?']}",
            vec![2],
        ),
        (
            "include: {source_arn: ['*:cluster:*'], name: ['scratch-*']}",
            vec![1],
        ),
        ("exclude: {source_arn: ['*:table/*'], name: ['*1']}", vec![]),
    ] {
        let watch = discovers("some", &format!("describe: true, {selection}"));
        let account = account();
        // An empty name counts as unknown, like the name of an integration that AWS does not list.
        account.describe(&arn(2), "", &[]);
        let (bench, _) = named(&watch, &account).await;
        assert_eq!(shown(&bench.page()), which, "{selection}");
    }
}

#[tokio::test(start_paused = true)]
async fn renamed_integration_keeps_status_since() {
    let watch = discovers("some", NO_SCRATCH);
    let account = account();
    let (bench, mut poller) = named(&watch, &account).await;
    assert_eq!(shown(&bench.page()), [0, 2]);

    advance(MINUTE).await;
    account.put(&arn(1), Status::Syncing);
    round(&mut poller).await;
    let changed = bench.clock.unix_now();
    assert_eq!(shown(&bench.page()), [0, 2]);
    advance(MINUTE).await;
    account.describe(&arn(1), "sales-1", &[]);
    account.describe(&arn(0), "scratch-0", &[]);
    let begun = since(&bench.page(), 0).unwrap();
    round(&mut poller).await;
    let page = bench.page();
    assert_eq!(shown(&page), [1, 2]);
    assert_eq!(page.status(&arn(1)).as_deref(), Some("SYNCING"));
    let since_1 = since(&page, 1).unwrap();
    assert!((since_1 - changed).abs() < 1.0, "{since_1} {changed}");
    assert_eq!(of_scope(&page, "scope_stale", "some"), Some(0.0));

    advance(MINUTE).await;
    account.describe(&arn(0), "orders-1", &[]);
    account.describe(&arn(1), "scratch-1", &[]);
    round(&mut poller).await;
    let page = bench.page();
    assert_eq!(shown(&page), [0, 2]);
    assert_eq!(since(&page, 0), Some(begun));
}

#[tokio::test(start_paused = true)]
async fn deletion_resets_status_since_of_excluded() {
    let watch = discovers("some", NO_SCRATCH);
    let account = account();
    let (bench, mut poller) = named(&watch, &account).await;
    account.remove(&arn(1));
    round(&mut poller).await;
    let stored = serde_json::to_string(&bench.publisher.stored()).unwrap();
    assert!(!stored.contains(&arn(1)) && !stored.contains("scratch-1"));
    advance(MINUTE).await;
    account.insert(from(1, CLUSTER, Status::Failed));
    poller.poll().await;
    let page = bench.page();
    assert_eq!(shown(&page), [0, 1, 2], "its name is forgotten");
    assert!(since(&page, 1) >= Some(START + 60.0));
    poller.describe().await;
    assert_eq!(shown(&bench.page()), [0, 2]);
}

#[tokio::test(start_paused = true)]
async fn excluded_integration_is_not_counted_or_logged() {
    let (lines, _logging) = Lines::begin();
    let watch = discovers("some", NO_SCRATCH);
    let account = account();
    let (bench, mut poller) = named(&watch, &account).await;
    let odd = |n: usize, text: &str| Integration {
        status_text: Some(text.to_owned()),
        ..from(n, TABLE, Status::Unknown)
    };
    account.insert(odd(1, "PAUSED"));
    account.insert(odd(0, "RESTING"));
    round(&mut poller).await;
    assert_eq!(bench.page().value(UNKNOWN, &[]), Some(1.0));
    assert_eq!((lines.with("PAUSED"), lines.with("RESTING")), (0, 1));
    let changes = "integration status changed";
    assert_eq!((lines.with(changes), lines.with(&arn(1))), (1, 0));

    // If another scope exports it, the change is logged, whichever scope polls first.
    let other = discovers("other", "");
    bench.publisher.reconfigure(&[watch.clone(), other.clone()]);
    bench.poller(&other, &account).poll().await;
    assert_eq!(bench.page().value(UNKNOWN, &[]), Some(3.0));
    account.put(&arn(1), Status::Active);
    poller.poll().await;
    assert_eq!(lines.with(changes), 2);
}

#[tokio::test(start_paused = true)]
async fn reload_applies_patterns_to_known_names() {
    let (wide, narrow) = (
        discovers("some", "describe: true"),
        discovers("some", NO_SCRATCH),
    );
    let account = account();
    let (bench, _) = named(&wide, &account).await;
    let before = bench.page();
    assert_eq!(shown(&before), [0, 1, 2]);
    account.set(Behaviour::Fail(Reason::Network));
    bench.publisher.reconfigure(std::slice::from_ref(&narrow));
    assert_eq!(shown(&bench.page()), [0, 2]);
    let other = discovers("some", "describe: true, include: {name: ['scratch-*']}");
    bench.publisher.reconfigure(std::slice::from_ref(&other));
    assert_eq!(shown(&bench.page()), [1, 2]);
    // Without `describe`, the names are forgotten.
    bench
        .publisher
        .reconfigure(std::slice::from_ref(&discovers("some", "")));
    assert_eq!(shown(&bench.page()), [0, 1, 2]);
    bench.publisher.reconfigure(std::slice::from_ref(&narrow));
    let page = bench.page();
    assert_eq!(shown(&page), [0, 1, 2]);
    assert_eq!(of_scope(&page, "scope_integrations", "some"), Some(3.0));
    for n in [0, 1, 2] {
        assert_eq!(since(&page, n), since(&before, n));
    }
}

#[tokio::test(start_paused = true)]
async fn reload_including_again_shows_latest_data() {
    let (wide, narrow) = (
        discovers("some", "describe: true"),
        discovers("some", NO_SCRATCH),
    );
    let account = account();
    let (bench, mut poller) = named(&narrow, &account).await;
    account.put(&arn(1), Status::Syncing);
    advance(MINUTE).await;
    round(&mut poller).await;
    let seen = bench.clock.unix_now();
    advance(MINUTE).await;
    bench.publisher.reconfigure(std::slice::from_ref(&wide));
    let page = bench.page();
    assert_eq!(shown(&page), [0, 1, 2], "without a poll");
    assert_eq!(page.status(&arn(1)).as_deref(), Some("SYNCING"));
    assert!((since(&page, 1).unwrap() - seen).abs() < 1.0);
}

#[tokio::test(start_paused = true)]
async fn failed_name_request_keeps_exclusions() {
    let watch = discovers("some", NO_SCRATCH);
    let account = account();
    let (bench, mut poller) = named(&watch, &account).await;
    account.set_for("names", Behaviour::Fail(Reason::AccessDenied));
    // The name of the new integration is unknown.
    account.insert(from(3, TABLE, Status::Failed));
    account.describe(&arn(3), "scratch-3", &[]);
    for _ in 0..3 {
        advance(MINUTE * 10).await;
        round(&mut poller).await;
        assert_eq!(shown(&bench.page()), [0, 2, 3]);
    }
    account.set_for("names", Behaviour::Answer);
    // An empty name does not replace the last name.
    account.describe(&arn(1), "", &[]);
    round(&mut poller).await;
    assert_eq!(shown(&bench.page()), [0, 2]);
}

/// Restores the state in a new process, a minute later.
fn restarted(before: &Bench, watch: &ScopeRegion) -> Bench {
    let (start, wall) = (Instant::now(), before.clock.unix_now() + 60.0);
    let clock = Clock::from_wall(move || wall + start.elapsed().as_secs_f64());
    let bench = Bench::with_clock(std::slice::from_ref(watch), clock);
    let file = storage::encode(&before.publisher.stored()).unwrap();
    bench.publisher.restore(storage::decode(&file).unwrap());
    bench
}

#[tokio::test(start_paused = true)]
async fn restart_keeps_exclusions_and_status_since() {
    let watch = discovers("some", NO_SCRATCH);
    let account = account();
    let (before, _) = named(&watch, &account).await;
    let after = restarted(&before, &watch);
    assert!(!after.publisher.page().blocks_scrape, "no scrape waits");
    let page = published(&after);
    assert_eq!(shown(&page), [0, 2]);
    assert_eq!(of_scope(&page, "scope_integrations", "some"), Some(2.0));
    let mut poller = after.poller(&watch, &account);
    account.set_for("names", Behaviour::Fail(Reason::AccessDenied));
    round(&mut poller).await;
    assert_eq!(shown(&after.page()), [0, 2]);
    account.set_for("names", Behaviour::Answer);
    account.describe(&arn(1), "orders-2", &[]);
    round(&mut poller).await;
    let page = after.page();
    assert_eq!(shown(&page), [0, 1, 2]);
    assert!(since(&page, 1).unwrap() < START + 1.0, "as before the stop");

    // With patterns other than those before the restart.
    let other = discovers("some", "describe: true, include: {name: ['scratch-*']}");
    assert_eq!(shown(&restarted(&before, &other).page()), [1, 2]);
    let without = discovers("some", "");
    assert_eq!(shown(&restarted(&before, &without).page()), [0, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn excluded_in_one_scope_is_shown_by_other() {
    let watches = watches(
        "scopes:\n- {name: some, regions: [eu-west-1], describe: true, exclude: {name: ['scratch-*']}}\n\
         - {name: other, regions: [eu-west-1], stale_after: 1h}",
    );
    let account = account();
    let bench = Bench::new(&watches);
    let mut some = bench.poller(&watches[0], &account);
    let mut other = bench.poller(&watches[1], &account);
    round(&mut some).await;
    round(&mut other).await;
    let first = bench.page();
    assert_eq!(shown(&first), [0, 1, 2]);
    assert_eq!(of_scope(&first, "scope_integrations", "some"), Some(2.0));
    assert_eq!(of_scope(&first, "scope_integrations", "other"), Some(3.0));
    let info = first.find(INFO, &[("integration_arn", &arn(1))]);
    assert_eq!(info[0].labels["integration_name"], "scratch-1");

    // The scope that excludes it polls later, and its data wins.
    advance(MINUTE).await;
    account.put(&arn(1), Status::Syncing);
    round(&mut some).await;
    let page = bench.page();
    assert_eq!(page.status(&arn(1)).as_deref(), Some("SYNCING"));
    assert!(since(&page, 1) >= Some(START + 60.0));

    // It is exported until the data of the other scope expires, however often this scope polls.
    account.set_for("names", Behaviour::Fail(Reason::Network));
    for _ in 0..58 {
        advance(MINUTE).await;
        round(&mut some).await;
    }
    assert_eq!(shown(&bench.page()), [0, 1, 2]);
    advance(MINUTE + SECOND).await;
    round(&mut some).await;
    assert_eq!(shown(&bench.page()), [0, 2]);
    round(&mut other).await;
    assert_eq!(shown(&bench.page()), [0, 1, 2]);

    // Without the other scope it is not exported, but its status timestamp is kept.
    bench.publisher.reconfigure(&watches[..1]);
    let page = bench.page();
    assert_eq!(shown(&page), [0, 2]);
    account.set_for("names", Behaviour::Answer);
    account.describe(&arn(1), "sales", &[]);
    round(&mut some).await;
    let page = bench.page();
    assert_eq!(page.status(&arn(1)).as_deref(), Some("SYNCING"));
    assert!(since(&page, 1) < Some(START + 61.0));
}

#[tokio::test(start_paused = true)]
async fn scope_uses_only_its_own_names() {
    let watches = watches(
        "scopes:\n- {name: some, regions: [eu-west-1], describe: true, exclude: {name: ['scratch-*']}}\n\
         - {name: other, regions: [eu-west-1], describe: true, exclude: {name: ['scratch-*']}}",
    );
    let account = account();
    let bench = Bench::new(&watches);
    let mut some = bench.poller(&watches[0], &account);
    let mut other = bench.poller(&watches[1], &account);
    round(&mut some).await;
    account.set_for("names", Behaviour::Fail(Reason::AccessDenied));
    round(&mut other).await;
    let page = bench.page();
    assert_eq!(shown(&page), [0, 1, 2]);
    assert_eq!(of_scope(&page, "scope_integrations", "other"), Some(3.0));
    account.set_for("names", Behaviour::Answer);
    round(&mut other).await;
    assert_eq!(shown(&bench.page()), [0, 2]);
}

#[tokio::test(start_paused = true)]
async fn configured_integration_ignores_name_patterns() {
    for lookup in ["each", "list"] {
        let watch = watches(&format!(
            "scopes: [{{name: some, integration_arns: ['{}'], target_arns: ['{}'], lookup: {lookup}, {NO_SCRATCH}}}]",
            arn(1),
            from(1, CLUSTER, Status::Failed).target_arn
        ))
        .remove(0);
        let account = account();
        account.insert(from(3, TABLE, Status::Failed));
        account.describe(&arn(3), "scratch-3", &[]);
        let (bench, mut poller) = named(&watch, &account).await;
        let page = bench.page();
        assert_eq!(shown(&page), [0, 1, 2], "{lookup}");
        assert_eq!(of_scope(&page, "scope_integrations", "some"), Some(3.0));
        account.remove(&arn(1));
        round(&mut poller).await;
        let page = bench.page();
        assert_eq!(shown(&page), [0, 2]);
        let present = page.value(PRESENT, &[("integration_arn", &arn(1))]);
        assert_eq!(present, Some(0.0), "AWS says so");
    }
}

#[tokio::test(start_paused = true)]
async fn configured_arn_from_target_listing_is_shown() {
    let of = |selection: &str| {
        let target = from(1, CLUSTER, Status::Failed).target_arn;
        watches(&format!(
            "scopes: [{{name: some, integration_arns: ['{}'], target_arns: ['{target}'], {selection}}}]",
            arn(1)
        ))
        .remove(0)
    };
    let (watch, account) = (of(NO_SCRATCH), account());
    account.set_for(&arn(1), Behaviour::Fail(Reason::Timeout));
    let bench = Bench::new(std::slice::from_ref(&watch));
    let mut poller = bench.poller(&watch, &account);
    poller.poll().await;
    poller.describe().await;
    assert_eq!(shown(&bench.page()), [0, 1, 2]);
    let after = restarted(&bench, &watch);
    assert_eq!(shown(&after.page()), [0, 1, 2]);
    let orders = of("describe: true, include: {name: ['orders-*']}");
    bench.publisher.reconfigure(std::slice::from_ref(&orders));
    assert_eq!(shown(&bench.page()), [0, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn shards_exclude_the_same_integrations() {
    let account = FakeAccount::new();
    for n in 0..10 {
        account.insert(from(n, TABLE, Status::Active));
        let name = if n % 2 == 0 { "orders" } else { "scratch-1" };
        account.describe(&arn(n), name, &[]);
    }
    let watch = discovers("some", &format!("shard_by: integration, {NO_SCRATCH}"));
    let mut together = Vec::new();
    for index in 0..3 {
        let shard = Shard::from_flags(Some(index), Some(3), || unreachable!()).unwrap();
        let part = watch.clone().for_shard(shard).unwrap();
        let (bench, _) = named(&part, &account).await;
        together.extend(shown(&bench.page()));
    }
    together.sort_unstable();
    assert_eq!(together, [0, 2, 4, 6, 8]);
}

/// A listing with integration 0 on the first page and 1 on the second page, which can fail.
struct TwoPages {
    account: Arc<FakeAccount>,
    fails: AtomicBool,
}

impl Glue for TwoPages {
    fn page<'a>(
        &'a self,
        _query: &'a Query,
        request: PageRequest<'a>,
    ) -> BoxFuture<'a, Result<glue::Page<Integration>, GlueError>> {
        let page = |n, marker| {
            Ok(glue::Page {
                items: vec![from(n, TABLE, Status::Active)],
                without_arn: 0,
                marker,
            })
        };
        let answer = match request.marker {
            None => page(0, Some("1".to_owned())),
            Some(_) if self.fails.load(Ordering::Relaxed) => {
                Err(GlueError::new(Reason::ServerError, "told to fail"))
            }
            Some(_) => page(1, None),
        };
        Box::pin(std::future::ready(answer))
    }

    fn metadata_page<'a>(
        &'a self,
        tags: &'a BTreeSet<String>,
        request: PageRequest<'a>,
    ) -> BoxFuture<'a, Result<glue::Page<Described>, GlueError>> {
        self.account.metadata_page(tags, request)
    }
}

#[tokio::test(start_paused = true)]
async fn excluded_integration_makes_no_scope_stale() {
    let watch = discovers("some", NO_SCRATCH);
    let bench = Bench::new(std::slice::from_ref(&watch));
    let account = account();
    let glue = Arc::new(TwoPages {
        account: Arc::clone(&account),
        fails: AtomicBool::new(false),
    });
    let mut poller = Poller::new(
        watch.clone(),
        Arc::clone(&glue) as _,
        Arc::clone(&bench.publisher),
        Arc::clone(&bench.telemetry),
        bench.clock.clone(),
    );
    round(&mut poller).await;
    advance(MINUTE).await;
    glue.fails.store(true, Ordering::Relaxed);
    assert!(!poller.poll().await);
    let state = || {
        let page = bench.page();
        let stale = of_scope(&page, "scope_stale", "some");
        (shown(&page), of_scope(&page, "scope_up", "some"), stale)
    };
    assert_eq!(state(), (vec![0], Some(0.0), Some(0.0)));
    account.describe(&arn(1), "orders-2", &[]);
    poller.describe().await;
    assert_eq!(state(), (vec![0, 1], Some(0.0), Some(1.0)));
    account.describe(&arn(1), "scratch-1", &[]);
    poller.describe().await;
    assert_eq!(state(), (vec![0], Some(0.0), Some(0.0)));
    let wide = discovers("some", "describe: true");
    bench.publisher.reconfigure(std::slice::from_ref(&wide));
    assert_eq!(state(), (vec![0, 1], Some(0.0), Some(1.0)));

    // An empty result is stale too if the failed poll returned only integrations that are excluded now.
    bench.publisher.reconfigure(std::slice::from_ref(&watch));
    account.describe(&arn(0), "scratch-0", &[]);
    poller.describe().await;
    assert_eq!(state(), (vec![], Some(0.0), Some(1.0)));
    assert!(!poller.poll().await);
    assert_eq!(state(), (vec![], Some(0.0), Some(1.0)));
}
