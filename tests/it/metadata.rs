//! Names and tags on a paused clock: when they are fetched, what is kept, and that polls are not affected.
mod wire;

use crate::support::account::{Behaviour, Bench, FakeAccount, arn, watches};
use crate::support::lines::Lines;
use crate::support::page::Page;
use glue_integration_exporter::clock::Clock;
use glue_integration_exporter::config::{Config, Query, ScopeRegion, TagLabel};
use glue_integration_exporter::glue::{
    BoxFuture, Deadline, Glue, GlueError, Page as GluePage, PageRequest, Reason, RequestContext,
};
use glue_integration_exporter::glue::{Described, Metadata, MetadataFilter};
use glue_integration_exporter::snapshot::{Description, Integration, Status};
use glue_integration_exporter::storage;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::{Instant, sleep};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

const NAMED: &str = "scopes: [{name: lake, regions: [eu-west-1], describe: true}]";
const NAMELESS: &str = "scopes: [{name: lake, regions: [eu-west-1]}]";
const INFO: &str = "aws_glue_integration_info";
const NAMES_UP: &str = "glue_integration_exporter_scope_names_up";
const UP: &str = "glue_integration_exporter_scope_up";
const POLLS: &str = "glue_integration_exporter_polls_total";

fn tag_labels(list: &str) -> Vec<TagLabel> {
    let yaml = format!("tag_labels: {list}\nscopes: [{{name: lake, regions: [eu-west-1]}}]");
    let config = Config::from_yaml(&yaml, Path::new("test.yaml"));
    config
        .unwrap_or_else(|errors| panic!("{errors}"))
        .tag_labels
}

/// One scope, with an account that created two integrations.
fn lake(yaml: &str) -> (Bench, Vec<ScopeRegion>, Arc<FakeAccount>) {
    let watches = watches(yaml);
    let bench = Bench::new(&watches);
    bench
        .publisher
        .set_tag_labels(&tag_labels("[{tag: team}, {tag: Cost-Center}]"));
    let account = FakeAccount::new();
    for (n, name, team) in [(1, "orders", "lake"), (2, "customers", "crm")] {
        account.put(&arn(n), Status::Active);
        account.describe(&arn(n), name, &[("team", team), ("private", "secret")]);
    }
    (bench, watches, account)
}

fn label(page: &Page, number: usize, label: &str) -> Option<String> {
    let found = page.find(INFO, &[("integration_arn", &arn(number))]);
    assert!(found.len() < 2, "{number} has several series");
    found.first()?.labels.get(label).cloned()
}

fn name(page: &Page, number: usize) -> Option<String> {
    label(page, number, "integration_name")
}

fn gauge(page: &Page, name: &str) -> Option<f64> {
    page.value(name, &[("scope", "lake")])
}

/// Returns the times of the name requests, in seconds after `since`.
fn name_requests(account: &FakeAccount, since: Instant) -> Vec<u64> {
    let requests = account.take_requests().into_iter();
    requests
        .filter(|(_, what)| what == "names")
        .map(|(at, _)| (at - since).as_secs())
        .collect()
}

#[tokio::test(start_paused = true)]
async fn names_and_tags_follow_first_poll() {
    let (bench, watches, account) = lake(NAMED);
    account.put(&arn(3), Status::Active);
    bench.run(&watches[0], &account);
    sleep(SECOND).await;
    let page = bench.page();
    assert_eq!(name(&page, 1).as_deref(), Some("orders"));
    assert_eq!(name(&page, 2).as_deref(), Some("customers"));
    assert_eq!(label(&page, 2, "tag_team").as_deref(), Some("crm"));
    assert_eq!(label(&page, 2, "tag_Cost_Center").as_deref(), Some(""));
    // Another account created it.
    assert_eq!(name(&page, 3).as_deref(), Some(""));
    assert_eq!(label(&page, 3, "tag_team").as_deref(), Some(""));
    assert_eq!(gauge(&page, NAMES_UP), Some(1.0));
    let stored = storage::encode(&bench.publisher.stored()).unwrap();
    let stored = String::from_utf8(stored).unwrap();
    assert!(stored.contains("crm") && !stored.contains("secret"));
}

#[tokio::test(start_paused = true)]
async fn names_have_their_own_interval() {
    let (bench, watches, account) = lake(NAMED);
    // Another account created it, so its name is unknown. This must not cause extra requests.
    account.put(&arn(3), Status::Active);
    let begun = Instant::now();
    bench.run(&watches[0], &account);
    sleep(HOUR * 2).await;
    let times = name_requests(&account, begun);
    assert!((12..=13).contains(&times.len()), "{times:?}");
    assert_eq!(times[0], 0);
    for pair in times[1..].windows(2) {
        assert_eq!(pair[1] - pair[0], 600, "{times:?}");
    }
    assert!(gauge(&bench.page(), POLLS) >= Some(120.0));
}

#[tokio::test(start_paused = true)]
async fn new_integration_gets_name_after_poll() {
    let (bench, watches, account) = lake(NAMED);
    let begun = Instant::now();
    bench.run(&watches[0], &account);
    // The first tick of the name interval may be soon after the start.
    sleep(MINUTE * 11).await;
    let before = name_requests(&account, begun).len();
    account.put(&arn(7), Status::Creating);
    account.describe(&arn(7), "new", &[]);
    sleep(MINUTE + SECOND).await;
    assert_eq!(name(&bench.page(), 7).as_deref(), Some("new"));
    assert!(
        (1..=2).contains(&name_requests(&account, begun).len()),
        "{before}"
    );
}

#[tokio::test(start_paused = true)]
async fn hanging_name_request_delays_no_poll() {
    let (bench, watches, account) = lake(NAMED);
    account.set_for("names", Behaviour::Hang);
    let begun = Instant::now();
    bench.run(&watches[0], &account);
    sleep(SECOND * 44).await;
    assert_eq!(gauge(&bench.page(), NAMES_UP), None);
    sleep(SECOND * 2).await;
    let page = bench.page();
    assert_eq!(gauge(&page, NAMES_UP), Some(0.0));
    assert_eq!(gauge(&page, UP), Some(1.0));
    assert_eq!(name(&page, 1).as_deref(), Some(""));
    account.put(&arn(1), Status::Failed);
    sleep(MINUTE * 10).await;
    let page = bench.page();
    assert_eq!(page.status(&arn(1)).as_deref(), Some("FAILED"));
    let polls: Vec<u128> = account
        .take_requests()
        .into_iter()
        .filter(|(_, what)| what == "all")
        .map(|(at, _)| (at - begun).as_millis())
        .collect();
    assert!(polls.len() >= 11, "{polls:?}");
    for pair in polls[1..].windows(2) {
        assert!((pair[1] - pair[0]).abs_diff(60_000) < 10, "{polls:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn failed_name_request_is_retried() {
    let (bench, watches, account) = lake(NAMED);
    account.set_for("names", Behaviour::Fail(Reason::AccessDenied));
    let begun = Instant::now();
    bench.run(&watches[0], &account);
    for n in 10..130 {
        // Each poll finds a new integration.
        account.put(&arn(n), Status::Active);
        sleep(MINUTE).await;
    }
    let times = name_requests(&account, begun);
    // One of them is the regular request, which does not wait for the retry.
    assert!((120..=121).contains(&times.len()), "{times:?}");
    for pair in times.windows(2) {
        assert!(pair[1] - pair[0] <= 60, "{times:?}");
    }
    let page = bench.page();
    assert_eq!(gauge(&page, NAMES_UP), Some(0.0));
    assert_eq!(gauge(&page, UP), Some(1.0));
    let failures = "glue_integration_exporter_poll_failures_total";
    assert_eq!(
        page.value(failures, &[("reason", "access_denied")]),
        Some(0.0)
    );
    account.set_for("names", Behaviour::Answer);
    sleep(MINUTE * 10).await;
    let page = bench.page();
    assert_eq!(gauge(&page, NAMES_UP), Some(1.0));
    assert_eq!(name(&page, 1).as_deref(), Some("orders"));
}

#[tokio::test(start_paused = true)]
async fn failed_name_request_keeps_last_names() {
    let (bench, watches, account) = lake(NAMED);
    let mut poller = bench.poller(&watches[0], &account);
    poller.poll().await;
    poller.describe().await;
    account.describe(&arn(1), "orders-v2", &[("Cost-Center", "4711")]);
    account.set_for("names", Behaviour::Fail(Reason::Throttled));
    poller.describe().await;
    let page = bench.page();
    assert_eq!(name(&page, 1).as_deref(), Some("orders"));
    assert_eq!(label(&page, 1, "tag_team").as_deref(), Some("lake"));
    assert_eq!(gauge(&page, NAMES_UP), Some(0.0));
    account.set_for("names", Behaviour::Answer);
    poller.describe().await;
    let page = bench.page();
    assert_eq!(name(&page, 1).as_deref(), Some("orders-v2"));
    assert_eq!(label(&page, 1, "tag_team").as_deref(), Some(""));
    assert_eq!(label(&page, 1, "tag_Cost_Center").as_deref(), Some("4711"));
    // An empty name does not replace the last name.
    account.describe(&arn(1), "", &[]);
    poller.describe().await;
    assert_eq!(name(&bench.page(), 1).as_deref(), Some("orders-v2"));
    // After a planned deletion, the name is forgotten.
    account.put(&arn(1), Status::Deleting);
    poller.poll().await;
    account.remove(&arn(1));
    poller.poll().await;
    poller.describe().await;
    account.put(&arn(1), Status::Active);
    poller.poll().await;
    assert_eq!(name(&bench.page(), 1).as_deref(), Some(""));
}

#[tokio::test(start_paused = true)]
async fn name_matches_both_arn_forms() {
    let (bench, watches, account) = lake(NAMED);
    let slash = arn(5).replace(":integration:", ":integration/");
    account.put(&slash, Status::Active);
    account.describe(&arn(5), "five", &[]);
    account.put(&arn(6), Status::Active);
    account.describe(
        &arn(6).replace(":integration:", ":integration/"),
        "six",
        &[],
    );
    let mut poller = bench.poller(&watches[0], &account);
    poller.poll().await;
    poller.describe().await;
    let page = bench.page();
    let five = page.find(INFO, &[("integration_arn", &slash)]);
    assert_eq!(five[0].labels["integration_name"], "five");
    assert_eq!(name(&page, 6).as_deref(), Some("six"));
}

#[tokio::test(start_paused = true)]
async fn name_from_one_scope_is_exported() {
    let (bench, watches, account) = lake(
        "scopes:\n- {name: describes, regions: [eu-west-1], describe: true}\n- {name: other, regions: [eu-west-1]}",
    );
    let mut describes = bench.poller(&watches[0], &account);
    let mut other = bench.poller(&watches[1], &account);
    describes.poll().await;
    describes.describe().await;
    sleep(MINUTE).await;
    other.poll().await;
    other.describe().await;
    let page = bench.page();
    assert_eq!(name(&page, 1).as_deref(), Some("orders"));
    assert_eq!(page.value(NAMES_UP, &[("scope", "describes")]), Some(1.0));
    assert_eq!(page.value(NAMES_UP, &[("scope", "other")]), None);
}

#[tokio::test(start_paused = true)]
async fn first_scrape_waits_for_names_or_failure() {
    for behaviour in [Behaviour::Answer, Behaviour::Fail(Reason::AccessDenied)] {
        let (bench, watches, account) = lake(NAMED);
        account.set_for("names", behaviour);
        let complete = || {
            bench.publisher.publish_now();
            !bench.publisher.page().blocks_scrape
        };
        let mut poller = bench.poller(&watches[0], &account);
        poller.poll().await;
        assert!(!complete());
        assert!(
            !bench.publisher.page().pending_first_poll,
            "ready after the first poll"
        );
        poller.describe().await;
        assert!(complete());
    }
}

/// Restores the state in a new process, a minute later.
async fn restarted(before: &Bench, watches: &[ScopeRegion], labels: &str, path: &Path) -> Bench {
    let (start, wall) = (Instant::now(), before.clock.unix_now() + 60.0);
    let clock = Clock::from_wall(move || wall + start.elapsed().as_secs_f64());
    let bench = Bench::with_clock(watches, clock);
    bench.publisher.set_tag_labels(&tag_labels(labels));
    storage::restore(path, &bench.publisher).await;
    bench
}

#[tokio::test(start_paused = true)]
async fn names_and_tags_survive_restart() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state");
    let (bench, named, account) = lake(NAMED);
    let mut poller = bench.poller(&named[0], &account);
    poller.poll().await;
    poller.describe().await;
    storage::write(&path, &bench.publisher.stored()).unwrap();
    let again = restarted(&bench, &named, "[{tag: team, label: squad}]", &path).await;
    assert!(!again.publisher.page().blocks_scrape, "no scrape waits");
    let page = again.page();
    assert_eq!(name(&page, 1).as_deref(), Some("orders"));
    assert_eq!(label(&page, 1, "squad").as_deref(), Some("lake"));
    assert_eq!(label(&page, 1, "tag_team"), None);
    assert_eq!(gauge(&page, NAMES_UP), Some(1.0));
    // Names are fetched after a restart too.
    account.describe(&arn(1), "renamed", &[]);
    again.run(&named[0], &account);
    sleep(SECOND).await;
    assert_eq!(name(&again.page(), 1).as_deref(), Some("renamed"));

    let nameless = watches(NAMELESS);
    let without = restarted(&bench, &nameless, "[{tag: team}]", &path).await;
    let page = without.page();
    assert_eq!(name(&page, 1).as_deref(), Some(""));
    assert_eq!(label(&page, 1, "tag_team").as_deref(), Some(""));
    assert_eq!(gauge(&page, NAMES_UP), None);
}

/// A state file of a version without names: each integration has an empty name, and there is no list of names.
#[tokio::test(start_paused = true)]
async fn old_state_file_without_names_is_read() {
    let content = r#"{"scopes":[{"scope":"lake","region":"eu-west-1","polled":{"ended":1795300000.0,"up":true,
"duration":{"secs":0,"nanos":1000}},"last_success":1795300000.0,"queries":[{"query":"All","complete":1795300000.0,"sights":
[{"integration":{"arn":"ARN","name":"","source_arn":"s","target_arn":"t","status":"Failed","status_text":"FAILED","created":null,
"refresh_interval":null,"continuous_sync":true,"target_namespace":null,"errors":[]},"seen":1795300000.0}]}]}],"statuses":[]}"#
        .replace("ARN", &arn(1));
    let checksum = crc32fast::hash(content.as_bytes());
    let file = format!("glue-integration-exporter-state 1 {checksum:08x}\n{content}");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state");
    std::fs::write(&path, file).unwrap();
    let (bench, watches, _) = lake(NAMED);
    storage::restore(&path, &bench.publisher).await;
    assert!(!bench.publisher.page().blocks_scrape, "no scrape waits");
    let page = bench.page();
    assert_eq!(page.status(&arn(1)).as_deref(), Some("FAILED"));
    assert_eq!(name(&page, 1).as_deref(), Some(""));
    assert_eq!(gauge(&page, NAMES_UP), None);
    drop(watches);
}

#[tokio::test(start_paused = true)]
async fn reload_enables_and_disables_names() {
    let (bench, named, account) = lake(NAMED);
    let nameless = watches(NAMELESS);
    let mut poller = bench.poller(&named[0], &account);
    poller.poll().await;
    poller.describe().await;
    bench.publisher.reconfigure(&named);
    assert_eq!(name(&bench.page(), 1).as_deref(), Some("orders"));
    bench.publisher.reconfigure(&nameless);
    let page = bench.page();
    assert_eq!(name(&page, 1).as_deref(), Some(""));
    assert_eq!(gauge(&page, NAMES_UP), None);
    bench.publisher.reconfigure(&named);
    bench.publisher.publish_now();
    assert!(!bench.publisher.page().blocks_scrape, "no scrape waits");
    bench.poller(&named[0], &account).describe().await;
    assert_eq!(name(&bench.page(), 1).as_deref(), Some("orders"));
}

#[tokio::test(start_paused = true)]
async fn reload_new_tag_labels_keep_values() {
    let (bench, watches, account) = lake(NAMED);
    account.describe(&arn(1), "orders", &[("team", "lake"), ("tier", "gold")]);
    bench.run(&watches[0], &account);
    sleep(SECOND).await;
    bench
        .publisher
        .set_tag_labels(&tag_labels("[{tag: team, label: squad}]"));
    let page = bench.page();
    assert_eq!(label(&page, 1, "squad").as_deref(), Some("lake"));
    assert_eq!(label(&page, 1, "tag_team"), None);
    bench
        .publisher
        .set_tag_labels(&tag_labels("[{tag: tier}, {tag: team}]"));
    assert_eq!(label(&bench.page(), 1, "tag_tier").as_deref(), Some(""));
    sleep(MINUTE + SECOND).await;
    assert_eq!(label(&bench.page(), 1, "tag_tier").as_deref(), Some("gold"));
}

/// Sends a new integration and a new marker on each page.
struct Endless {
    pages: AtomicUsize,
}

impl Glue for Endless {
    fn page<'a>(
        &'a self,
        _query: &'a Query,
        _request: PageRequest<'a>,
    ) -> BoxFuture<'a, Result<GluePage<Integration>, GlueError>> {
        Box::pin(std::future::pending())
    }

    fn metadata_page<'a>(
        &'a self,
        _tags: &'a BTreeSet<String>,
        _request: PageRequest<'a>,
    ) -> BoxFuture<'a, Result<GluePage<Described>, GlueError>> {
        let page = self.pages.fetch_add(1, Ordering::Relaxed);
        let described = Description {
            name: "n".to_owned(),
            tags: [("team".to_owned(), "t".to_owned())].into(),
        };
        Box::pin(std::future::ready(Ok(GluePage {
            items: vec![(arn(page), described)],
            without_arn: 0,
            marker: Some(page.to_string()),
        })))
    }
}

#[tokio::test]
async fn endless_name_listing_fails() {
    let endless = Endless {
        pages: AtomicUsize::new(0),
    };
    let filter = MetadataFilter {
        // It does not exist.
        arns: [arn(usize::MAX)].into(),
        tags: ["team".to_owned()].into(),
    };
    let context = RequestContext {
        scope: "lake",
        deadline: &Deadline::new(HOUR, 1),
    };
    let names = Metadata::fetch(&endless, &filter, None, context).await;
    let error = names.outcome.unwrap_err();
    assert_eq!(error.reason, Reason::InvalidResponse);
    assert!(error.message.contains("more than 10000 pages"), "{error}");
    assert!(names.found.is_empty());
}

#[tokio::test(start_paused = true)]
async fn name_failures_are_logged_once_each() {
    let (lines, _logging) = Lines::begin();
    let (bench, watches, account) = lake(NAMED);
    let mut poller = bench.poller(&watches[0], &account);
    poller.poll().await;
    for reason in [Reason::AccessDenied, Reason::Throttled] {
        account.set_for("names", Behaviour::Fail(reason));
        for _ in 0..5 {
            poller.describe().await;
        }
    }
    assert_eq!(lines.with("failed to fetch names and tags, polls"), 2);
    assert_eq!(
        lines.with("allow these credentials the action glue:DescribeIntegrations"),
        1
    );
    account.set_for("names", Behaviour::Answer);
    for _ in 0..5 {
        poller.describe().await;
    }
    assert_eq!(lines.with("fetched names and tags again"), 1);
    assert_eq!(lines.with("secret"), 0);
}
