//! Scopes whose queries or credentials change by a reload or a restart. The old data is exported until AWS has answered the new queries.
//! An integration that new credentials cannot access is not taken for deleted.

use crate::support::account::{Behaviour, Bench, FakeAccount, arn, watches};
use crate::support::page::Page;
use glue_integration_exporter::clock::Clock;
use glue_integration_exporter::config::ScopeRegion;
use glue_integration_exporter::glue::Reason;
use glue_integration_exporter::snapshot::Status;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, advance};

const PRESENT: &str = "aws_glue_integration_present";
const SINCE: &str = "aws_glue_integration_status_since_timestamp_seconds";
const MINUTE: Duration = Duration::from_secs(60);
const ALL: &str = "regions: [eu-west-1]";

/// Returns one scope with this configuration.
fn scope(yaml: &str) -> Vec<ScopeRegion> {
    watches(&format!("scopes: [{{name: some, {yaml}}}]"))
}

/// Configurations of a scope. All of them include integration 1, which is FAILED.
fn configurations() -> Vec<String> {
    vec![
        ALL.to_owned(),
        format!("integration_arns: [{}]", arn(1)),
        format!("integration_arns: [{}, {}]", arn(0), arn(1)),
        format!("lookup: list, integration_arns: [{}]", arn(1)),
        "target_arns: ['arn:aws:glue:eu-west-1:111122223333:database/lake']".to_owned(),
        "profile: other, regions: [eu-west-1]".to_owned(),
        "regions: [eu-west-1], include: {target_arn: ['*/lake']}".to_owned(),
    ]
}

fn account() -> Arc<FakeAccount> {
    let account = FakeAccount::new();
    account.put(&arn(0), Status::Active);
    account.put(&arn(1), Status::Failed);
    account
}

/// Polls with the configuration `from`, then changes to `to` by a reload or a restart.
async fn reconfigured(
    from: &[ScopeRegion],
    to: &[ScopeRegion],
    account: &Arc<FakeAccount>,
    restart: bool,
) -> Bench {
    let bench = Bench::new(from);
    assert!(bench.poller(&from[0], account).poll().await);
    advance(MINUTE).await;
    if !restart {
        bench.publisher.reconfigure(to);
        return bench;
    }
    let (start, wall) = (Instant::now(), bench.clock.unix_now());
    let clock = Clock::from_wall(move || wall + start.elapsed().as_secs_f64());
    let after = Bench::with_clock(to, clock);
    after.publisher.restore(bench.publisher.stored());
    after
}

fn of_scope(page: &Page, name: &str) -> Option<f64> {
    let name = format!("glue_integration_exporter_scope_{name}");
    page.value(&name, &[("scope", "some")])
}

fn present(page: &Page, number: usize) -> Option<f64> {
    page.value(PRESENT, &[("integration_arn", &arn(number))])
}

#[tokio::test(start_paused = true)]
async fn changed_query_keeps_data_until_answered() {
    for restart in [false, true] {
        for (from, to) in configurations()
            .iter()
            .flat_map(|from| configurations().into_iter().map(move |to| (from, to)))
        {
            let case = format!("{from} to {to}, restart: {restart}");
            let account = account();
            let (from, to) = (scope(from), scope(&to));
            let bench = reconfigured(&from, &to, &account, restart).await;
            let page = bench.page();
            assert_eq!(page.status(&arn(1)).as_deref(), Some("FAILED"), "{case}");
            let since = page.value(SINCE, &[("integration_arn", &arn(1))]);
            let same = from[0].queries == to[0].queries && from[0].credentials == to[0].credentials;
            let kept = |watch: &ScopeRegion| {
                watch
                    .queries
                    .iter()
                    .any(|query| to[0].queries.contains(query))
            };
            if restart || !same && !kept(&from[0]) {
                assert_eq!(of_scope(&page, "stale"), Some(1.0), "{case}");
            }

            // A failed poll changes nothing.
            account.set(Behaviour::Fail(Reason::Network));
            let mut poller = bench.poller(&to[0], &account);
            assert!(!poller.poll().await);
            let page = bench.page();
            assert_eq!(page.status(&arn(1)).as_deref(), Some("FAILED"), "{case}");
            assert_ne!(present(&page, 1), Some(0.0), "{case}");
            assert_eq!(
                (of_scope(&page, "up"), of_scope(&page, "stale")),
                (Some(0.0), Some(1.0)),
                "{case}"
            );

            // AWS answers as before.
            account.set(Behaviour::Answer);
            assert!(poller.poll().await);
            let page = bench.page();
            assert_eq!(page.status(&arn(1)).as_deref(), Some("FAILED"), "{case}");
            assert_eq!(
                page.value(SINCE, &[("integration_arn", &arn(1))]),
                since,
                "{case}"
            );
            assert_eq!(of_scope(&page, "stale"), Some(0.0), "{case}");

            // AWS answers that the integration is deleted.
            account.remove(&arn(1));
            assert!(poller.poll().await);
            let page = bench.page();
            assert_eq!(page.status(&arn(1)), None, "{case}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn changed_query_drops_unmatched_data() {
    for to in [
        format!("integration_arns: [{}]", arn(0)),
        "target_arns: ['arn:aws:glue:eu-west-1:111122223333:database/elsewhere']".to_owned(),
        "regions: [eu-west-1], exclude: {target_arn: ['*/lake']}".to_owned(),
    ] {
        for restart in [false, true] {
            let bench = reconfigured(&scope(ALL), &scope(&to), &account(), restart).await;
            assert_eq!(bench.page().status(&arn(1)), None, "{to}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn changed_credentials_delete_nothing() {
    let yaml = |profile: &str| {
        watches(&format!(
            "scopes: [{{name: some, profile: {profile}, {ALL}}}, {{name: named, profile: one, integration_arns: [{}]}}]",
            arn(1)
        ))
    };
    for restart in [false, true] {
        let (from, to) = (yaml("one"), yaml("two"));
        let (account, elsewhere) = (account(), FakeAccount::new());
        let bench = Bench::new(&from);
        for watch in &from {
            assert!(bench.poller(watch, &account).poll().await);
        }
        advance(MINUTE).await;
        let (start, wall) = (Instant::now(), bench.clock.unix_now());
        let since = bench.page().value(SINCE, &[("integration_arn", &arn(1))]);
        let bench = if restart {
            let clock = Clock::from_wall(move || wall + start.elapsed().as_secs_f64());
            let after = Bench::with_clock(&to, clock);
            after.publisher.restore(bench.publisher.stored());
            after
        } else {
            bench.publisher.reconfigure(&to);
            bench
        };
        let watch = |name: &str| {
            to.iter()
                .find(|watch| watch.scope.as_str() == name)
                .unwrap()
        };
        // The complete answer of the other account has none of them.
        elsewhere.put(&arn(7), Status::Active);
        assert!(bench.poller(watch("some"), &elsewhere).poll().await);
        account.set(Behaviour::Fail(Reason::AccessDenied));
        assert!(!bench.poller(watch("named"), &account).poll().await);
        let page = bench.page();
        assert_eq!(
            page.status(&arn(1)).as_deref(),
            Some("FAILED"),
            "restart: {restart}"
        );
        assert_eq!(present(&page, 1), Some(1.0));
        assert_eq!(page.value(SINCE, &[("integration_arn", &arn(1))]), since);
        assert_eq!(page.status(&arn(0)), None, "no query covers it any more");
    }
}

#[tokio::test(start_paused = true)]
async fn listing_without_arn_is_not_presence_zero() {
    let yaml = format!(
        "scopes: [{{name: some, {ALL}}}, {{name: named, integration_arns: [{}]}}]",
        arn(1)
    );
    let watches = watches(&yaml);
    let (account, same) = (account(), account());
    let bench = Bench::new(&watches);
    let watch_of = |name: &str| {
        watches
            .iter()
            .find(|watch| watch.scope.as_str() == name)
            .unwrap()
    };
    let mut some = bench.poller(watch_of("some"), &same);
    let mut named = bench.poller(watch_of("named"), &account);
    assert!(some.poll().await && named.poll().await);
    advance(MINUTE).await;
    same.remove(&arn(1));
    account.set(Behaviour::Fail(Reason::AccessDenied));
    assert!(some.poll().await && !named.poll().await);
    let page = bench.page();
    assert_eq!(
        page.status(&arn(1)),
        None,
        "a complete listing without it removes its status"
    );
    assert_eq!(
        present(&page, 1),
        Some(0.0),
        "the listing had it before, and it was not DELETING"
    );
    account.remove(&arn(1));
    account.set(Behaviour::Answer);
    assert!(named.poll().await);
    assert_eq!(present(&bench.page(), 1), Some(0.0));
}
