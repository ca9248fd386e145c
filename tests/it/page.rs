//! The HTML page: its order, its texts, escaping and cost.

use crate::support::account::{Behaviour, Bench, FakeAccount, START, arn, integration, watches};
use crate::support::snapshot::{snapshot, tables};
use glue_integration_exporter::cache::{PollResult, key};
use glue_integration_exporter::glue::{Answer, GlueError, Reason};
use glue_integration_exporter::snapshot::{
    Failed, Failure, Freshness, Integration, IntegrationError, MAX_ARN_BYTES, MetadataLabels,
    Snapshot, Status,
};
use glue_integration_exporter::web::inventory::Inventory;
use glue_integration_exporter::web::page;
use glue_integration_exporter::web::query::Rendered;
use proptest::prelude::*;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, advance};

const ONE: &str = "scopes: [{name: lake, regions: [eu-west-1], stale_after: 1d}]";

/// A rendered page.
struct Page(String);

impl Page {
    /// Renders the page for a valid query.
    fn of(bench: &Bench, query: &str) -> Self {
        let Rendered {
            body: html,
            is_bad_request,
        } = render(bench, query);
        assert!(!is_bad_request, "{query}");
        Self(html)
    }

    /// Returns the text from `from` to the next `to`.
    fn part(&self, from: &str, to: &str) -> &str {
        let rest = &self.0[self
            .0
            .find(from)
            .unwrap_or_else(|| panic!("{from} in {}", self.0))..];
        &rest[..rest.find(to).unwrap_or(rest.len())]
    }

    /// Returns the content of a section, or an empty text if there is no such section.
    fn section(&self, id: &str) -> &str {
        let from = format!("<section id=\"{id}\"");
        if self.0.contains(&from) {
            self.part(&from, "</section>")
        } else {
            ""
        }
    }

    fn row(&self, name: &str) -> &str {
        let at = self
            .0
            .find(&format!("class=\"name\">{name}<"))
            .unwrap_or_else(|| panic!("{name}"));
        let start = self.0[..at].rfind("<li id=").unwrap();
        let rest = &self.0[start..];
        &rest[..rest.find("</li>").unwrap()]
    }

    /// Returns the count in a chip.
    fn count(&self, state: &str) -> usize {
        let chip = self.part(&format!("<a id=\"c-{state}\""), "</a>");
        let number = chip
            .split_once("<b>")
            .unwrap()
            .1
            .split_once("</b>")
            .unwrap()
            .0;
        number.parse().unwrap()
    }

    /// Returns the names in their order.
    fn names(&self) -> Vec<&str> {
        let parts = self.0.split("class=\"name\">").skip(1);
        parts.map(|part| part.split_once('<').unwrap().0).collect()
    }
}

fn render(bench: &Bench, query: &str) -> Rendered {
    bench.publisher.publish_now();
    let snapshot = bench.publisher.published();
    let inventory = Inventory {
        next_polls: &bench.publisher.next_polls(&snapshot.scopes),
        snapshot: &snapshot,
        now: bench.clock.unix_now(),
    };
    page::render(&inventory, "/metrics", query).unwrap()
}

/// Renders the page of a snapshot at the start of the clock.
fn page_of(snapshot: &Snapshot, query: &str) -> Page {
    let inventory = Inventory {
        snapshot,
        next_polls: &[None],
        now: START,
    };
    let rendered = page::render(&inventory, "/metrics", query).unwrap();
    assert!(!rendered.is_bad_request, "{query}");
    Page(rendered.body)
}

fn error(code: &str, message: &str) -> IntegrationError {
    IntegrationError {
        code: Some(code.to_owned()),
        message: Some(message.to_owned()),
    }
}

/// Polls each scope once.
async fn polled(yaml: &str, integrations: Vec<Integration>) -> (Bench, Arc<FakeAccount>) {
    let account = FakeAccount::new();
    for integration in integrations {
        account.insert(integration);
    }
    let watches = watches(yaml);
    let bench = Bench::new(&watches);
    for watch in &watches {
        bench.poller(watch, &account).poll().await;
    }
    (bench, account)
}

#[tokio::test(start_paused = true)]
async fn page_lists_most_severe_problems_first() {
    let with_error = Integration {
        errors: vec![error("Throttled", "slow")],
        ..integration(&arn(2), Status::Active)
    };
    let yaml = format!(
        "scopes: [{{name: lake, regions: [eu-west-1], stale_after: 1d, integration_arns: ['{}'], target_arns: ['{}']}}]",
        arn(99),
        integration("", Status::Active).target_arn
    );
    let (bench, _account) = polled(
        &yaml,
        vec![
            integration(&arn(1), Status::Active),
            with_error,
            integration(&arn(3), Status::Unknown),
            integration(&arn(4), Status::Modifying),
            integration(&arn(5), Status::NeedsAttention),
            integration(&arn(6), Status::Failed),
            integration(&arn(7), Status::Syncing),
        ],
    )
    .await;
    let expected = [6, 5, 99, 2, 3, 4, 7, 1].map(arn);
    assert_eq!(Page::of(&bench, "").names(), expected);
    // The modified integration is stuck after one hour, not before.
    advance(Duration::from_secs(3600)).await;
    let page = Page::of(&bench, "");
    assert!(page.section("moving").contains(&arn(4)));
    advance(Duration::from_secs(1)).await;
    let page = Page::of(&bench, "");
    assert_eq!(page.names(), [6, 5, 4, 99, 2, 3, 7, 1].map(arn));
    assert!(page.row(&arn(4)).contains("stuck"));
    for (state, count) in [
        ("WRONG", 6),
        ("FAILED", 1),
        ("NEEDS_ATTENTION", 1),
        ("STUCK", 1),
        ("MISSING", 1),
        ("ERRORS", 1),
        ("UNKNOWN", 1),
        ("ALL", 8),
        ("ACTIVE", 2),
        ("MODIFYING", 1),
        ("SYNCING", 1),
        ("CREATING", 0),
        ("DELETING", 0),
    ] {
        assert_eq!(page.count(state), count, "{state}");
    }
    assert!(page.0.contains("6 of 8 integrations have problems."));
}

#[tokio::test(start_paused = true)]
async fn row_shows_all_details() {
    let message = "x".repeat(2048);
    let failed = Integration {
        errors: vec![
            error("KmsKeyDisabled", &message),
            IntegrationError {
                code: None,
                message: None,
            },
        ],
        ..integration(&arn(1), Status::Failed)
    };
    let (bench, _account) = polled(ONE, vec![failed]).await;
    advance(Duration::from_secs(7500)).await;
    let page = Page::of(&bench, "");
    let row = page.row(&arn(1));
    for text in [
        "KmsKeyDisabled",
        message.as_str(),
        "no code",
        "no message",
        "arn:aws:dynamodb:eu-west-1:111122223333:table/orders",
        "arn:aws:glue:eu-west-1:111122223333:database/lake",
        "lake in eu-west-1",
        "every 1 h",
        "(1 d 2 h ago)",
    ] {
        assert!(row.contains(text), "{text} in {row}");
    }
    let since = "<time datetime=\"2026-11-21T22:26:40.000Z\">2026-11-21 22:26:40 UTC</time> <span class=\"ago\">(2 h 5 min ago)</span>";
    assert!(row.contains(since), "{row}");
}

#[tokio::test(start_paused = true)]
async fn missing_integration_keeps_details_on_restart() {
    let yaml = format!(
        "scopes: [{{name: lake, describe: true, integration_arns: ['{}']}}]",
        arn(1)
    );
    let watches = watches(&yaml);
    let account = FakeAccount::new();
    account.put(&arn(1), Status::Active);
    account.describe(&arn(1), "orders", &[]);
    let bench = Bench::new(&watches);
    let mut poller = bench.poller(&watches[0], &account);
    poller.poll().await;
    poller.describe().await;
    account.remove(&arn(1));
    advance(Duration::from_secs(60)).await;
    poller.poll().await;
    advance(Duration::from_secs(60)).await;
    poller.poll().await;
    poller.describe().await;
    let check = |page: &Page| {
        let row = page.row("orders");
        for text in [
            "MISSING",
            "table/orders",
            "lake in eu-west-1",
            "2026-11-21 22:27:40 UTC",
            "Expected by",
        ] {
            assert!(row.contains(text), "{text} in {row}");
        }
        row.fact("<dt>Status since</dt>").to_owned()
    };
    let before = check(&Page::of(&bench, ""));
    assert!(before.contains("(1 min ago)"), "{before}");
    let stored = bench.publisher.stored();
    let later = Bench::with_clock(&watches, bench.clock.clone());
    later.publisher.restore(stored);
    assert_eq!(check(&Page::of(&later, "")), before);
    // After it returned, a second deletion has its own time.
    account.put(&arn(1), Status::Active);
    poller.poll().await;
    poller.describe().await;
    assert_eq!(Page::of(&bench, "").count("MISSING"), 0);
    account.remove(&arn(1));
    advance(Duration::from_secs(60)).await;
    poller.poll().await;
    assert!(Page::of(&bench, "").row("orders").contains("(0 s ago)"));
}

trait Fact {
    fn fact(&self, from: &str) -> &str;
}

impl Fact for str {
    fn fact(&self, from: &str) -> &str {
        self.split_once(from)
            .unwrap()
            .1
            .split_once("</div>")
            .unwrap()
            .0
    }
}

#[tokio::test(start_paused = true)]
async fn page_marks_old_data() {
    let yaml = "scopes: [{name: lake, regions: [eu-west-1]}, {name: sea, regions: [eu-west-1]}]";
    let watches = watches(yaml);
    let account = FakeAccount::new();
    let bench = Bench::new(&watches);
    let page = Page::of(&bench, "");
    assert!(page.0.contains("2 of 2 scopes have not been polled yet"));
    assert!(
        !page.0.contains("class=\"well\" role=\"status\""),
        "a page without data is not healthy"
    );
    account.put(&arn(1), Status::Active);
    let mut pollers: Vec<_> = watches
        .iter()
        .map(|watch| bench.poller(watch, &account))
        .collect();
    for poller in &mut pollers {
        poller.poll().await;
    }
    let page = Page::of(&bench, "");

    assert!(
        page.part("id=\"alerts\"", "<p id=\"summary\"").len() < 40,
        "no alert"
    );
    assert!(page.0.contains("class=\"well\" role=\"status\""));
    // One of two scopes still sees it, so its data is not old.
    account.set(Behaviour::Fail(Reason::AccessDenied));
    advance(Duration::from_secs(600)).await;
    pollers[0].poll().await;
    account.set(Behaviour::Answer);
    pollers[1].poll().await;
    let page = Page::of(&bench, "");
    let blind = page.part("id=\"blind\"", "</div>");
    assert!(
        blind.contains("last poll failed in 1 of 2 scopes") && blind.contains("access_denied"),
        "{blind}"
    );
    assert!(blind.contains("(10 min ago)"), "{blind}");
    assert!(!page.0.contains("id=\"old\""));
    assert!(!page.0.contains("class=\"well\" role=\"status\""));
    // Both scopes fail: the data is old and marked.
    account.set(Behaviour::Fail(Reason::Throttled));
    advance(Duration::from_secs(600)).await;
    for poller in &mut pollers {
        poller.poll().await;
    }
    let page = Page::of(&bench, "");
    assert!(page.part("id=\"old\"", "</div>").contains("(10 min ago)"));
    assert!(page.row(&arn(1)).contains("old data"));
    let scope = page.part("id=\"s-lake/eu-west-1\"", "</tr>");
    for text in [
        "failing, serving old data",
        "the account was configured to fail",
        "throttled",
        "(20 min ago)",
    ] {
        assert!(scope.contains(text), "{text} in {scope}");
    }
    // After the recovery the last error stays, marked as recovered.
    account.set(Behaviour::Answer);
    for poller in &mut pollers {
        poller.poll().await;
    }
    let page = Page::of(&bench, "");
    let scope = page.part("id=\"s-lake/eu-west-1\"", "</tr>");
    assert!(
        scope.contains("healthy") && scope.contains("recovered since"),
        "{scope}"
    );
    assert_eq!(
        page.0.matches("class=\"alert").count(),
        1,
        "only the hidden alert"
    );
}

#[tokio::test(start_paused = true)]
async fn page_marks_old_missing_integration() {
    let gone = arn(1);
    let of_scope = |name: &str| {
        format!(
            "{{name: {name}, regions: [eu-west-1], stale_after: 1h, integration_arns: ['{gone}']}}"
        )
    };
    let yaml = format!("scopes: [{}, {}]", of_scope("lake"), of_scope("sea"));
    let watches = watches(&yaml);
    let account = FakeAccount::new();
    let bench = Bench::new(&watches);
    let mut pollers: Vec<_> = watches
        .iter()
        .map(|watch| bench.poller(watch, &account))
        .collect();
    let fresh = |page: &Page, ago: &str| {
        let row = page.row(&gone);
        assert!(
            !row.contains("old data") && !page.0.contains("id=\"old\""),
            "{row}"
        );
        let answered = row.fact("<dt>Expected by</dt>");
        assert!(
            answered.contains("sea in eu-west-1; AWS last answered <time"),
            "{row}"
        );
        assert!(answered.contains(ago), "{ago} in {answered}");
    };
    for poller in &mut pollers {
        poller.poll().await;
    }
    fresh(&Page::of(&bench, ""), "(0 s ago)");
    // The newer answer of the two scopes counts.
    advance(Duration::from_secs(600)).await;
    pollers[1].poll().await;
    account.set(Behaviour::Fail(Reason::AccessDenied));
    advance(Duration::from_secs(60)).await;
    pollers[0].poll().await;
    fresh(&Page::of(&bench, ""), "(1 min ago)");
    // Both scopes fail: the answer is old and marked.
    advance(Duration::from_secs(60)).await;
    pollers[1].poll().await;
    let is_marked_old = |page: &Page, ago: &str| {
        let old = page.part("id=\"old\"", "</div>");
        assert!(
            old.contains("The data of 1 integration is old.") && old.contains(ago),
            "{old}"
        );
        let row = page.row(&gone);
        assert!(
            row.contains("old data") && row.fact("<dt>Expected by</dt>").contains(ago),
            "{row}"
        );
    };
    let page = Page::of(&bench, "");
    is_marked_old(&page, "(2 min ago)");
    for scope in ["lake", "sea"] {
        let scope = page.part(&format!("id=\"s-{scope}/eu-west-1\""), "</tr>");
        assert!(scope.contains("failing<"), "{scope}");
    }
    // A restarted process restores the mark.
    let later = Bench::with_clock(&watches, bench.clock.clone());
    later.publisher.restore(bench.publisher.stored());
    is_marked_old(&Page::of(&later, ""), "(2 min ago)");
    // After stale_after the row and its mark are gone.
    advance(Duration::from_secs(3600)).await;
    for poller in &mut pollers {
        poller.poll().await;
    }
    let page = Page::of(&bench, "");
    assert!(!page.0.contains(&gone) && !page.0.contains("id=\"old\""));
    let scope = page.part("id=\"s-lake/eu-west-1\"", "</tr>");
    assert!(scope.contains("failing<"), "{scope}");
}

#[tokio::test(start_paused = true)]
async fn scope_row_shows_next_poll() {
    let yaml = "polling: {interval: 60s}\nscopes: [{name: lake, regions: [eu-west-1]}]";
    let watches = watches(yaml);
    let account = FakeAccount::new();
    let bench = Bench::new(&watches);
    bench.run(&watches[0], &account);
    tokio::time::sleep(Duration::from_millis(1)).await;
    let page = Page::of(&bench, "");
    let scope = page.part("id=\"s-lake/eu-west-1\"", "</tr>");
    assert!(
        scope.contains("(in ") && scope.contains("every 1 min"),
        "{scope}"
    );
    account.set(Behaviour::Hang);
    let next = bench
        .publisher
        .next_polls(&bench.publisher.published().scopes)[0]
        .unwrap();
    let until_poll = Duration::from_secs_f64(next - bench.clock.unix_now());
    tokio::time::sleep(until_poll + Duration::from_millis(1)).await;
    let page = Page::of(&bench, "");
    let scope = page.part("id=\"s-lake/eu-west-1\"", "</tr>");
    assert!(scope.contains("in progress"), "{scope}");
    // A reload that removes the scope also removes its next poll.
    bench.publisher.reconfigure(&[]);
    assert_eq!(bench.publisher.next_polls(&[]), Vec::<Option<f64>>::new());
    let page = Page::of(&bench, "");
    assert!(page.0.contains("This exporter watches nothing"));
}

#[tokio::test(start_paused = true)]
async fn scope_row_truncates_errors_and_groups_reasons() {
    let watches = watches(ONE);
    let bench = Bench::new(&watches);
    let answers = vec![
        Answer::failed(GlueError::new(Reason::Network, "é".repeat(5_000))),
        Answer::failed(GlueError {
            request_id: Some("r".repeat(5_000)),
            ..GlueError::new(Reason::Throttled, "<b>slow")
        }),
        Answer::failed(GlueError::new(Reason::Throttled, "slow again")),
    ];
    let now = bench.clock.now();
    let poll = PollResult {
        started: now,
        ended: now,
        answers,
    };
    bench.publisher.apply(&key(&watches[0]), poll);
    let page = Page::of(&bench, "");
    let scope = page.part("id=\"s-lake/eu-west-1\"", "</tr>");
    assert_eq!(scope.matches('é').count(), 1_024, "{scope}");
    assert!(scope.matches('r').count() < 500, "{scope}");
    assert!(scope.contains("throttled</code> (2 queries): <bdi class=\"message\">&#60;b&#62;slow"));
    assert!(
        page.part("id=\"blind\"", "</div>")
            .contains("throttled, network")
    );
}

const DAY: f64 = 86_400.0;

/// Returns a snapshot with one integration for each state of the data.
fn states_of_data() -> Snapshot {
    let active = |number| integration(&arn(number), Status::Active);
    let failed_tables = Freshness {
        replication_lag: Some(300.0),
        failed_tables: Some(3.0),
        ..tables(&[])
    };
    let one_time = Integration {
        continuous_sync: Some(false),
        ..active(6)
    };
    let with_error = Integration {
        errors: vec![error("Throttled", "slow")],
        ..active(7)
    };
    let not_answered = Freshness {
        checked: None,
        ..tables(&[("orders", None, Some(60.0))])
    };
    let fresh = [("orders", Some(720.0), None), ("items", Some(60.0), None)];
    let failing = [("orders", Some(720.0), Some(0.0)), ("new", None, Some(DAY))];
    let integrations = vec![
        (active(1), Some(tables(&fresh))),
        (
            active(2),
            Some(tables(
                &[fresh.as_slice(), &[("old", Some(3.0 * DAY), None)]].concat(),
            )),
        ),
        (
            active(3),
            Some(tables(&[&failing[..], &fresh[1..]].concat())),
        ),
        (active(4), Some(failed_tables)),
        (active(5), None),
        (
            one_time,
            Some(tables(&[("orders", Some(9.0 * DAY), Some(0.0))])),
        ),
        (with_error, Some(tables(&failing))),
        (active(8), Some(tables(&[]))),
        (active(9), Some(not_answered)),
    ];
    snapshot(integrations, 100)
}

#[test]
fn quiet_failures_of_data_are_problems() {
    let page = page_of(&states_of_data(), "");
    assert_eq!(page.names(), [7, 3, 4, 2, 8, 1, 5, 6, 9].map(arn));
    for (number, text) in [
        (1, "quiet\">data as of 12 min ago"),
        (2, "note\">data as of 3 d ago"),
        (3, "note\">data as of 12 min ago, 2 of 3 tables fail"),
        (4, "note\">failing tables: 3, replication lag 5 min"),
        (6, "quiet\">data as of 9 d ago, 1 of 1 tables fail"),
        (7, "quiet\">data as of 12 min ago, 2 of 2 tables fail"),
        (8, "note\">no table has reported a success in the last"),
        (9, "quiet\">CloudWatch has not answered in full yet"),
    ] {
        let row = page.row(&arn(number));
        assert!(row.contains(text), "{text} in {row}");
    }
    for number in [2, 8] {
        assert!(page.row(&arn(number)).contains("note\">overdue:</bdi>"));
    }
    assert!(!page.row(&arn(9)).contains("<bdi>orders</bdi>"));
    assert!(
        !page.row(&arn(5)).contains("Data checked"),
        "freshness is off"
    );
    assert_eq!(
        (page.count("TABLES_FAILING"), page.count("DATA_OVERDUE")),
        (2, 2)
    );
    assert_eq!((page.count("WRONG"), page.count("ERRORS")), (5, 1));
    for query in ["status=TABLES_FAILING", "q=tables_failing"] {
        assert_eq!(page_of(&states_of_data(), query).names(), [3, 4].map(arn));
    }
    for query in ["status=DATA_OVERDUE", "q=overdue"] {
        assert_eq!(page_of(&states_of_data(), query).names(), [2, 8].map(arn));
    }
    assert!(page.0.contains(
        "a green row means: the last run succeeded in time, not that the data are right."
    ));
}

#[test]
fn row_lists_worst_tables_first() {
    let all = tables(&[
        ("a-fresh", Some(60.0), None),
        ("b-fails", Some(60.0), Some(0.0)),
        ("c-recovered", Some(120.0), Some(180.0)),
        ("d-never", None, None),
        ("e-old", Some(DAY), None),
        ("f-fails-long", Some(2.0 * DAY), Some(60.0)),
        ("g-never-succeeded", None, Some(60.0)),
    ]);
    let of = |freshness| {
        snapshot(
            vec![(integration(&arn(1), Status::Active), Some(freshness))],
            1,
        )
    };
    let page = page_of(&of(all), "");
    let row = page.row(&arn(1));
    let names: Vec<&str> = row
        .split("<tr role=\"row\"><td role=\"cell\"><bdi>")
        .skip(1)
        .map(|rest| rest.split_once("</bdi>").unwrap().0)
        .collect();
    let expected = [
        "g-never-succeeded",
        "f-fails-long",
        "b-fails",
        "d-never",
        "e-old",
        "c-recovered",
        "a-fresh",
    ];
    assert_eq!(names, expected);
    assert_eq!(row.matches("class=\"badge warn\">fails").count(), 3);
    let table = &row[row.find("<bdi>c-recovered").unwrap()..];
    let ages = ["2 min ago", "3 min ago"].map(|age| table.find(age));
    assert!(ages.is_sorted() && ages[0].is_some(), "{table}");
    assert!(row.fact("<dt>Data checked</dt>").contains("(0 s ago)"));

    // A row has at most 100 tables, and a page at most 1,000.
    let many: Vec<String> = (0..130)
        .map(|n| format!("{n:03}{}", "<".repeat(253)))
        .collect();
    let many: Vec<_> = many
        .iter()
        .map(|name| (name.as_str(), Some(60.0), Some(0.0)))
        .collect();
    let page = page_of(&of(tables(&many)), "");
    assert!(
        page.row(&arn(1))
            .contains("30 more tables are not shown here")
    );
    let rows = (0..200).map(|n| (integration(&arn(n), Status::Active), Some(tables(&many))));
    let page = page_of(&snapshot(rows.collect(), 100), "");
    assert_eq!(page.0.matches("class=\"badge warn\">fails").count(), 1_000);
    assert!(
        page.row(&arn(99))
            .contains("120 more tables are not shown here")
    );
    assert!(page.0.len() < 3_000_000, "{}", page.0.len());
}

#[test]
fn page_shows_that_cloudwatch_fails() {
    let fresh = tables(&[("orders", Some(7_200.0), None)]);
    let freshness = Freshness {
        checked: Some(START - 7_000.0),
        ..fresh
    };
    let active = integration(&arn(1), Status::Active);
    let mut snapshot = snapshot(vec![(active, Some(freshness))], 100);
    let page = page_of(&snapshot, "");
    assert!(page.0.contains("class=\"well\" role=\"status\""));
    assert!(!page.0.contains("id=\"no-freshness\""));
    assert!(
        page.row(&arn(1))
            .contains("quiet\">data as of 2 h ago</span>")
    );
    snapshot.scopes[0].freshness_up = Some(false);
    snapshot.scopes[0].failed_freshness = Some(Arc::new(Failed {
        at: START,
        failures: vec![Failure {
            reason: "access_denied",
            message: "grant <cloudwatch:ListMetrics>".to_owned(),
            request_id: None,
            queries: 1,
        }],
    }));
    let page = page_of(&snapshot, "");
    assert!(!page.0.contains("class=\"well\" role=\"status\""));
    let alert = page.part("id=\"no-freshness\"", "</div>");
    assert!(alert.contains("in 1 of 1 scopes"), "{alert}");
    let line = "data as of 2 h ago; CloudWatch last answered 1 h 56 min ago";
    assert!(page.row(&arn(1)).contains(line), "{}", page.row(&arn(1)));
    let scope = page.part("data-label=\"Freshness\"", "</td>");
    for text in ["failed to fetch", "access_denied", "grant &#60;cloudwatch"] {
        assert!(scope.contains(text), "{text} in {scope}");
    }
}

#[tokio::test(start_paused = true)]
async fn filter_reports_hidden_problems() {
    let (bench, _account) = polled(
        ONE,
        vec![
            integration(&arn(1), Status::Active),
            Integration {
                errors: vec![error("Élan", "The KEY is gone & \"quoted\"")],
                ..integration(&arn(2), Status::Failed)
            },
            integration(&arn(3), Status::NeedsAttention),
        ],
    )
    .await;
    let names = |query: &str| {
        Page::of(&bench, query)
            .names()
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    assert_eq!(names("status=FAILED"), [arn(2)]);
    assert_eq!(names("status=FAILED&status=ACTIVE"), [arn(2), arn(1)]);
    assert_eq!(names("status=WRONG"), [arn(2), arn(3)]);
    assert_eq!(names("q=key+GONE"), [arn(2)]);
    assert_eq!(names("q=%C3%A9lan"), [arn(2)]);
    assert_eq!(names("q=000000000003"), [arn(3)]);
    assert_eq!(names("q=nothing"), Vec::<String>::new());
    assert_eq!(
        names("scope=lake&account=111122223333&region=eu-west-1"),
        [2, 3, 1].map(arn)
    );
    assert_eq!(names("account=999999999999"), Vec::<String>::new());
    let page = Page::of(&bench, "q=%22quoted%22&status=FAILED&refresh=off");
    assert!(
        page.0
            .contains("The filter hides 1 integration with problems.")
    );
    assert!(
        page.0.contains("value=\"&#34;quoted&#34;\""),
        "the search field keeps its text"
    );
    assert!(
        page.0
            .contains("<input type=\"hidden\" name=\"status\" value=\"FAILED\">")
    );
    assert!(!page.0.contains("http-equiv=\"refresh\""));
    assert_eq!(page.count("ALL"), 1, "the search applies to the counts");
    assert!(
        page.part("id=\"c-ACTIVE\"", ">")
            .contains("q=%22quoted%22&#38;refresh=off&#38;status=ACTIVE")
    );
    let nothing = Page::of(&bench, "q=nothing");
    assert!(nothing.0.contains("No integration matches the filter."));
    assert!(
        nothing
            .0
            .contains("The filter hides 2 integrations with problems and matches nothing.")
    );
}

#[tokio::test(start_paused = true)]
async fn search_finds_every_status_word() {
    let yaml = format!(
        "scopes: [{{name: lake, regions: [eu-west-1], stale_after: 1d, integration_arns: ['{}'], target_arns: ['{}']}}]",
        arn(99),
        integration("", Status::Active).target_arn
    );
    let statuses = Status::ALL.iter().zip(0..);
    let integrations = statuses.map(|(status, number)| integration(&arn(number), *status));
    let (bench, _account) = polled(&yaml, integrations.collect()).await;
    let names = |query: &str| {
        let page = Page::of(&bench, query);
        page.names()
            .into_iter()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    for (number, status) in Status::ALL.iter().enumerate() {
        let query = format!("q={}", status.as_str());
        assert_eq!(names(&query), [arn(number)], "{query}");
        let query = query.to_lowercase();
        assert_eq!(names(&query), [arn(number)], "{query}");
    }
    assert_eq!(names("q=needs+attention"), [arn(6)]);
    assert_eq!(names("q=missing"), [arn(99)]);
    assert_eq!(names("q=paused"), [arn(7)], "the status that AWS sent");
    assert_eq!(names("q=stuck"), [arn(0)], "created a day ago");
    advance(Duration::from_secs(3601)).await;
    assert_eq!(names("q=stuck"), [0, 2, 4].map(arn));
    assert_eq!(names("q=stuck+deleting"), [arn(4)]);
}

#[tokio::test(start_paused = true)]
async fn row_link_holds_longest_arn() {
    let all: Vec<String> = (0..2)
        .map(|number| format!("{}{number}", "a".repeat(MAX_ARN_BYTES - 1)))
        .collect();
    let long = vec![error("Code", &"m".repeat(2048)); 1_000];
    let failed = |arn: &String| Integration {
        errors: long.clone(),
        ..integration(arn, Status::Failed)
    };
    let (bench, _account) = polled(ONE, all.iter().map(failed).collect()).await;
    let page = Page::of(&bench, "");
    let link = page.row(&all[1]).split_once("<a href=\"?").unwrap().1;
    let query = link.split_once('"').unwrap().0;
    let alone = Page::of(&bench, query);
    assert_eq!(alone.names(), [all[1].as_str()]);
    let input = alone.part("<input id=\"q\"", ">");
    assert!(
        input.contains(&format!("maxlength=\"{MAX_ARN_BYTES}\"")),
        "{input}"
    );
    let longer = format!("q={}", "a".repeat(MAX_ARN_BYTES + 1));
    assert!(render(&bench, &longer).is_bad_request);
}

#[tokio::test(start_paused = true)]
async fn invalid_parameter_is_reported_and_ignored() {
    let (bench, _account) = polled(ONE, vec![integration(&arn(1), Status::Failed)]).await;
    for (query, message) in [
        (
            "status=FAILD",
            "status=FAILD</bdi></code> is not allowed; allowed: CREATING, ACTIVE",
        ),
        (
            "scope=sea",
            "scope=sea</bdi></code> is not allowed; allowed: lake.",
        ),
        ("region=eu-west-9", "allowed: eu-west-1."),
        ("account=1", "allowed: 12 digits."),
        (
            "scope=lake&scope=lake",
            "allowed: this parameter only once.",
        ),
        ("page=0", "allowed: a number from 1."),
        ("refresh=on", "allowed: off."),
        (
            "colour=red",
            "colour=red</bdi></code> is not allowed; allowed: the parameters q, status, scope, account, region, page, scopes, refresh.",
        ),
        ("q=%ff", "allowed: percent-encoded UTF-8."),
        (
            "q=<script>alert(1)</script>&status=<b>",
            "status=&#60;b&#62;</bdi></code>",
        ),
    ] {
        let Rendered {
            body: html,
            is_bad_request,
        } = render(&bench, query);
        assert!(is_bad_request, "{query}");
        assert!(html.contains(message), "{message} in {html}");
        assert!(html.contains(&arn(1)), "{query} hides the problem");
    }
    // A form sends empty fields.
    Page::of(&bench, "q=&status=&scope=");
    Page::of(&bench, &format!("page={}&scopes=7", usize::MAX));
}

#[tokio::test(start_paused = true)]
async fn links_are_relative_to_the_page() {
    let (bench, _account) = polled(ONE, vec![integration(&arn(1), Status::Failed)]).await;
    let page = Page::of(&bench, "");
    for attribute in ["href=\"", "src=\"", "action=\""] {
        for reference in page.0.split(attribute).skip(1) {
            let reference = reference.split_once('"').unwrap().0;
            let relative = ["./", "?", "#", "data:image/svg+xml,"];
            assert!(
                relative.iter().any(|start| reference.starts_with(start)),
                "{reference}"
            );
        }
    }
    assert!(page.0.contains("href=\"./metrics\""));
    assert!(
        !page.0.contains("style=\"") && !page.0.contains("<style"),
        "the content security policy forbids inline styles"
    );
    assert_eq!(page.0.matches("<script").count(), 1, "only page.js");
}

#[tokio::test]
async fn large_page_is_bounded_in_size_and_time() {
    let long = IntegrationError {
        code: Some("Code".to_owned()),
        message: Some("<".repeat(2048)),
    };
    let many: Vec<Integration> = (0..5_000)
        .map(|n| Integration {
            errors: if n < 1_000 {
                vec![long.clone(); 4]
            } else {
                Vec::new()
            },
            ..integration(
                &arn(n),
                if n < 1_000 {
                    Status::Failed
                } else {
                    Status::Active
                },
            )
        })
        .collect();
    let (bench, _account) = polled(ONE, many).await;
    bench.publisher.publish_now();
    let started = Instant::now();
    let page = Page::of(&bench, "");
    let took = started.elapsed();
    // A debug build is ten times slower than a release build.
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert_eq!(page.names().len(), 100);
    assert!(page.0.len() < 6_000_000, "{}", page.0.len());
    assert!(page.0.contains("1 to 100 of 5000"));
    assert!(
        page.0
            .contains("<h2 id=\"h-wrong\">Problems <span class=\"count\">1000</span>")
    );
    assert_eq!((page.count("FAILED"), page.count("ACTIVE")), (1_000, 4_000));
    let last = Page::of(&bench, "page=50");
    assert!(last.0.contains("4901 to 5000 of 5000"));
    assert!(!last.0.contains("rel=\"next\""));

    // The pages are disjoint and together complete.
    let some = (0..250).map(|n| integration(&arn(n), Status::Active));
    let (bench, _account) = polled(ONE, some.collect()).await;
    let pages = ["page=1", "page=2", "page=3"].map(|query| Page::of(&bench, query));
    let all: Vec<&str> = pages.iter().flat_map(Page::names).collect();
    assert_eq!(all, (0..250).map(arn).collect::<Vec<_>>());

    // All rows of a page show the same number of errors, and link to a page with more.
    let mut many = vec![long.clone(); 250];
    many.push(error("Last", "not on this page"));
    let (bench, _account) = polled(
        ONE,
        vec![
            Integration {
                errors: vec![long.clone(); 10_000],
                ..integration(&arn(1), Status::Failed)
            },
            Integration {
                errors: many,
                ..integration(&arn(2), Status::Failed)
            },
        ],
    )
    .await;
    let page = Page::of(&bench, "");
    assert!(page.0.len() < 6_000_000, "{}", page.0.len());
    assert!(
        page.row(&arn(1))
            .contains("9750 more errors are not shown here")
    );
    assert!(page.row(&arn(2)).contains("1 more error is not shown here"));
    assert!(!page.row(&arn(2)).contains("not on this page"));
    let alone = Page::of(&bench, &format!("q={}", arn(2)));
    assert!(alone.row(&arn(2)).contains("not on this page"));
}

/// Returns a snapshot of one integration in which `text` is the value of every text.
fn all_texts(text: &str) -> Snapshot {
    let integration = Integration {
        arn: format!("arn:aws:glue:{text}:{text}:{text}"),
        source_arn: text.to_owned(),
        target_arn: text.to_owned(),
        status_text: Some(text.to_owned()),
        target_namespace: Some(text.to_owned()),
        errors: vec![error(text, text)],
        ..integration(&arn(1), Status::Unknown)
    };
    let freshness = tables(&[(text, Some(60.0), Some(0.0))]);
    let mut snapshot = snapshot(vec![(integration, Some(freshness))], 100);
    snapshot.integrations[0].labels = Arc::new(MetadataLabels {
        name: text.to_owned(),
        tags: vec![(Arc::from("tag_team"), text.to_owned())],
    });
    snapshot
}

proptest! {
    #![proptest_config(crate::support::property::cases(200))]

    /// An unescaped text would change the number of tags and quotes.
    #[test]
    fn hostile_text_is_escaped(text in "[<>&\"'`=/ a-z\u{0}-\u{1f}\u{202e}\u{2066}]{1,60}", query in "[<>&\"' a-z%+=]{0,30}") {
        let marks = |text: &str, query: &str| {
            let html = page_of(&all_texts(text), query).0;
            ["<", ">", "\"", "'", "<script", "<bdi"].map(|mark| html.matches(mark).count())
        };
        prop_assert_eq!(marks(&text, ""), marks("plain", ""));
        let search = format!("q={}", query.replace(['%', '&'], ""));
        let plain = "q=".to_owned() + &"a".repeat(query.len());
        let (with, without) = (marks("plain", &search), marks("plain", &plain));
        prop_assert_eq!(with[4], without[4]);
    }
}

/// Each poll publishes.
#[tokio::test]
async fn publishing_unchanged_data_is_fast() {
    let many: Vec<Integration> = (0..10_000)
        .map(|n| integration(&arn(n), Status::Active))
        .collect();
    let (bench, _account) = polled(ONE, many).await;
    bench.publisher.publish_now();
    let started = Instant::now();
    bench.publisher.publish_now();
    let took = started.elapsed();
    assert!(took < Duration::from_millis(500), "{took:?}");
}
