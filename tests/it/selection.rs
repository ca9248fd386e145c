//! `include` and `exclude`: excluded integrations are treated as if they did not exist, and others are not affected.
mod names;

use crate::support::account::{Behaviour, Bench, FakeAccount, arn, integration, watches};
use crate::support::page::Page;
use glue_integration_exporter::config::ScopeRegion;
use glue_integration_exporter::snapshot::{Integration, Status};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::advance;

const SINCE: &str = "aws_glue_integration_status_since_timestamp_seconds";
const TABLES: &str = "include: {source_arn: ['*:table/*']}";

fn discovers(name: &str, selection: &str) -> ScopeRegion {
    watches(&format!(
        "scopes: [{{name: {name}, regions: [eu-west-1], {selection}}}]"
    ))
    .remove(0)
}

fn from(n: usize, source: &str, status: Status) -> Integration {
    Integration {
        source_arn: source.to_owned(),
        ..integration(&arn(n), status)
    }
}

const TABLE: &str = "arn:aws:dynamodb:eu-west-1:111122223333:table/prod/orders";
const CLUSTER: &str = "arn:aws:rds:eu-west-1:111122223333:cluster:orders";

/// The source of integration 0 is a table, the source of 1 is a cluster.
fn account() -> Arc<FakeAccount> {
    let account = FakeAccount::new();
    account.insert(from(0, TABLE, Status::Active));
    account.insert(from(1, CLUSTER, Status::Failed));
    account
}

fn shown(page: &Page) -> Vec<usize> {
    (0..10)
        .filter(|n| page.status(&arn(*n)).is_some())
        .collect()
}

fn of_scope(page: &Page, name: &str, scope: &str) -> Option<f64> {
    let name = format!("glue_integration_exporter_{name}");
    page.value(&name, &[("scope", scope)])
}

fn since(page: &Page, n: usize) -> Option<f64> {
    page.value(SINCE, &[("integration_arn", &arn(n))])
}

#[tokio::test(start_paused = true)]
async fn excluded_integration_is_not_exported() {
    let watch = discovers("some", TABLES);
    let account = account();
    account.insert(Integration {
        status_text: Some("PAUSED".to_owned()),
        ..from(2, CLUSTER, Status::Unknown)
    });
    let bench = Bench::new(std::slice::from_ref(&watch));
    assert!(bench.poller(&watch, &account).poll().await);
    let page = bench.page();
    assert_eq!(shown(&page), [0]);
    assert_eq!(of_scope(&page, "scope_integrations", "some"), Some(1.0));
    assert_eq!(of_scope(&page, "scope_up", "some"), Some(1.0));
    assert_eq!(of_scope(&page, "scope_stale", "some"), Some(0.0));
    let unknown = page.value("glue_integration_exporter_unknown_statuses_total", &[]);
    assert_eq!(unknown, Some(0.0));
    let stored = serde_json::to_string(&bench.publisher.stored()).unwrap();
    assert!(stored.contains(&arn(0)));
    assert!(!stored.contains(&arn(1)) && !stored.contains(&arn(2)));
}

#[tokio::test(start_paused = true)]
async fn include_and_exclude_patterns_combine() {
    for (selection, which) in [
        (
            "include: {source_arn: ['*:table/*', '*:cluster:*']}",
            vec![0, 1],
        ),
        (
            "include: {source_arn: ['*:table/*'], target_arn: ['*:database/lake']}",
            vec![0],
        ),
        (
            "include: {source_arn: ['*:table/*'], target_arn: ['*:catalog/*']}",
            vec![],
        ),
        ("exclude: {source_arn: ['*/prod/*']}", vec![1]),
        (
            "exclude: {source_arn: ['*/prod/*'], target_arn: ['*:database/lake']}",
            vec![],
        ),
        (
            "include: {source_arn: ['arn:aws:*']}, exclude: {source_arn: ['*:cluster:order?']}",
            vec![0],
        ),
    ] {
        let watch = discovers("some", selection);
        let bench = Bench::new(std::slice::from_ref(&watch));
        assert!(bench.poller(&watch, &account()).poll().await, "no failure");
        assert_eq!(shown(&bench.page()), which, "{selection}");
    }
}

#[tokio::test(start_paused = true)]
async fn missing_source_arn_excludes_nothing() {
    let account = FakeAccount::new();
    account.insert(from(0, "", Status::Failed));
    for selection in [TABLES, "exclude: {source_arn: ['arn:*']}"] {
        let watch = discovers("some", selection);
        let bench = Bench::new(std::slice::from_ref(&watch));
        bench.poller(&watch, &account).poll().await;
        assert_eq!(shown(&bench.page()), [0], "{selection}");
    }
}

#[tokio::test(start_paused = true)]
async fn configured_integration_ignores_patterns() {
    let watch = watches(&format!(
        "scopes: [{{name: some, integration_arns: ['{}'], target_arns: ['{}'], {TABLES}}}]",
        arn(1),
        integration("", Status::Active).target_arn
    ))
    .remove(0);
    let account = account();
    account.insert(from(2, CLUSTER, Status::Failed));
    let bench = Bench::new(std::slice::from_ref(&watch));
    assert!(bench.poller(&watch, &account).poll().await);
    let page = bench.page();
    assert_eq!(shown(&page), [0, 1]);
}

#[tokio::test(start_paused = true)]
async fn reload_excludes_at_once() {
    let (wide, narrow) = (discovers("some", ""), discovers("some", TABLES));
    let other = discovers("other", "");
    let account = account();
    let bench = Bench::new(&[wide.clone(), other.clone()]);
    bench.poller(&other, &account).poll().await;
    advance(Duration::from_secs(5)).await;
    bench.poller(&wide, &account).poll().await;
    let before = bench.page();
    assert_eq!(shown(&before), [0, 1]);

    // Another scope, whose polls fail now, still exports its earlier data.
    account.set(Behaviour::Fail(
        glue_integration_exporter::glue::Reason::Network,
    ));
    bench
        .publisher
        .reconfigure(&[narrow.clone(), other.clone()]);
    let page = bench.page();
    assert_eq!(of_scope(&page, "scope_integrations", "some"), Some(1.0));
    assert_eq!(shown(&page), [0, 1]);
    account.set(Behaviour::Answer);
    assert!(bench.poller(&narrow, &account).poll().await);
    let page = bench.page();
    assert_eq!(shown(&page), [0, 1], "no poll treats it as deleted");
    assert_eq!(since(&page, 1), since(&before, 1));

    bench.publisher.reconfigure(std::slice::from_ref(&narrow));
    let page = bench.page();
    assert_eq!(shown(&page), [0], "without a poll");
    assert_eq!(since(&page, 0), since(&before, 0));
    advance(Duration::from_secs(60)).await;
    bench.poller(&narrow, &account).poll().await;
    bench.publisher.reconfigure(std::slice::from_ref(&wide));
    assert_eq!(shown(&bench.page()), [0]);
    bench.poller(&wide, &account).poll().await;
    let page = bench.page();
    for n in [0, 1] {
        assert_eq!(
            since(&page, n),
            since(&before, n),
            "its status has not changed"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn restart_restores_only_selected() {
    let (wide, narrow) = (discovers("some", ""), discovers("some", TABLES));
    let before = Bench::new(std::slice::from_ref(&wide));
    before.poller(&wide, &account()).poll().await;
    advance(Duration::from_secs(20)).await;
    let after = Bench::with_clock(std::slice::from_ref(&narrow), before.clock.clone());
    after.publisher.restore(before.publisher.stored());
    let page = after.page();
    assert_eq!(shown(&page), [0]);
    assert_eq!(since(&page, 0), since(&before.page(), 0));
    assert_eq!(of_scope(&page, "scope_integrations", "some"), Some(1.0));
}
