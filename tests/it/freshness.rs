//! The rounds of requests to CloudWatch, on a paused clock: which series are requested, what their answers mean, and what failures change.

use crate::support::account::{Behaviour, Bench, FakeAccount, START, arn, integration, watches};
use crate::support::cloudwatch::{DATA, FakeCloudWatch, LIST, Request, metric, table_metric};
use crate::support::lines::Lines;
use crate::support::page::Page;
use glue_integration_exporter::cache::key;
use glue_integration_exporter::clock::Clock;
use glue_integration_exporter::config::ScopeRegion;
use glue_integration_exporter::freshness::{FreshnessQuery, MAX_SERIES, QueriedIntegration, Round};
use glue_integration_exporter::glue::cloudwatch::Metric;
use glue_integration_exporter::glue::{Deadline, Reason, RequestContext};
use glue_integration_exporter::snapshot::{Freshness, Status, TableFreshness};
use glue_integration_exporter::storage;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const INTERVAL: Duration = Duration::from_secs(900);
const HOUR: f64 = 3_600.0;
const DAY: f64 = 86_400.0;

const LAKE: &str = "scopes: [{name: lake, regions: [eu-west-1], freshness: true}]";
const OFF: &str = "scopes: [{name: lake, regions: [eu-west-1]}]";
const UP: &str = "glue_integration_exporter_scope_up";
const FRESHNESS_UP: &str = "glue_integration_exporter_scope_freshness_up";
const REQUESTED: &str = "glue_integration_exporter_cloudwatch_metrics_requested_total";
const TABLES: &str = "aws_glue_integration_tables";
const CHECKED: &str = "aws_glue_integration_freshness_checked_timestamp_seconds";
const SUCCESS: &str = "aws_glue_integration_table_last_success_timestamp_seconds";
const FAILURE: &str = "aws_glue_integration_table_last_failure_timestamp_seconds";
const SYNCED: &str = "aws_glue_integration_table_synced_until_timestamp_seconds";
const OLDEST: &str = "aws_glue_integration_oldest_success_timestamp_seconds";
const FAILING: &str = "aws_glue_integration_tables_failing";
const LAG: &str = "aws_glue_integration_replication_lag_seconds";
const ALL: [&str; 8] = [
    TABLES, CHECKED, SUCCESS, FAILURE, SYNCED, OLDEST, FAILING, LAG,
];

const REDSHIFT: &str = "arn:aws:redshift:eu-west-1:111122223333:namespace:0a1b";
const SERVERLESS: &str = "arn:aws:redshift-serverless:eu-west-1:111122223333:namespace/0a1b";

/// Returns the start of the minute, as CloudWatch reports it.
fn minute(at: f64) -> f64 {
    at - at % 60.0
}

#[allow(clippy::cast_possible_truncation, reason = "whole seconds")]
fn whole(seconds: f64) -> i64 {
    seconds as i64
}

/// One scope with integration 1, and its CloudWatch.
struct Lake {
    bench: Bench,
    watches: Vec<ScopeRegion>,
    account: Arc<FakeAccount>,
    cloudwatch: Arc<FakeCloudWatch>,
}

impl Lake {
    fn new(yaml: &str) -> Self {
        let watches = watches(yaml);
        let account = FakeAccount::new();
        account.put(&arn(1), Status::Active);
        Self {
            bench: Bench::new(&watches),
            watches,
            account,
            cloudwatch: FakeCloudWatch::new(),
        }
    }

    /// Starts to poll and waits for the first round.
    async fn start(&self) {
        self.spawn(&self.watches[0]);
        sleep(SECOND).await;
    }

    fn spawn(&self, watch: &ScopeRegion) -> CancellationToken {
        let poller = self.bench.poller(watch, &self.account);
        let poller = poller.with_cloudwatch(Arc::clone(&self.cloudwatch) as _);
        let stop = self.bench.stop.child_token();
        tokio::spawn(poller.run(stop.clone()));
        stop
    }

    /// Puts an integration with a Redshift target in place of the first one.
    fn redshift(&self, target: &str) {
        let mut redshift = integration(&arn(1), Status::Active);
        redshift.target_arn = target.to_owned();
        self.account.insert(redshift);
    }

    fn put(&self, metric: &str, table: &str, at: f64, value: f64) {
        let metric = table_metric(metric, &arn(1), "cdc", table);
        self.cloudwatch.put(metric, &[(at, value)]);
    }

    fn page(&self) -> Page {
        self.bench.page()
    }

    fn value(&self, name: &str) -> Option<f64> {
        self.page().value(name, &[])
    }

    fn table(&self, name: &str, table: &str) -> Option<f64> {
        self.page().value(name, &[("table_name", table)])
    }

    fn requests(&self, operation: &str) -> Vec<Request> {
        let requests = self.cloudwatch.take_requests().into_iter();
        requests.filter(|it| it.operation == operation).collect()
    }

    /// Returns all samples of freshness.
    fn samples(&self) -> Vec<(String, String, f64)> {
        let page = self.page();
        let all = ALL.iter().flat_map(|name| page.find(name, &[]));
        all.map(|sample| {
            let table = sample.labels.get("table_name").cloned();
            (sample.name.clone(), table.unwrap_or_default(), sample.value)
        })
        .collect()
    }
}

#[tokio::test(start_paused = true)]
async fn metrics_follow_reports_of_tables() {
    let lake = Lake::new(LAKE);
    lake.cloudwatch
        .succeed(&arn(1), "orders", START - 2.0 * HOUR);
    lake.cloudwatch.succeed(&arn(1), "orders", START - HOUR);
    lake.cloudwatch
        .succeed(&arn(1), "clients", START - 3.0 * HOUR);
    lake.cloudwatch.fail(&arn(1), "clients", START - HOUR);
    lake.start().await;
    assert_eq!(lake.value(TABLES), Some(2.0));
    assert_eq!(lake.value(CHECKED), Some(START));
    assert_eq!(lake.table(SUCCESS, "orders"), Some(minute(START - HOUR)));
    assert_eq!(lake.table(FAILURE, "orders"), None);
    assert_eq!(lake.table(SYNCED, "orders"), Some(START - HOUR - 30.0));
    assert_eq!(lake.table(FAILURE, "clients"), Some(minute(START - HOUR)));
    assert_eq!(lake.value(OLDEST), Some(minute(START - 3.0 * HOUR)));
    assert_eq!(lake.value(FAILING), Some(1.0));
    assert_eq!(lake.value(LAG), None);
    assert_eq!(lake.value(FRESHNESS_UP), Some(1.0));
    // Two tables succeeded and were synced, one failed.
    assert_eq!(lake.value(REQUESTED), Some(5.0));
    lake.cloudwatch.succeed(&arn(1), "clients", START + 60.0);
    sleep(INTERVAL).await;
    assert_eq!(lake.value(FAILING), Some(0.0));
    assert_eq!(lake.value(OLDEST), Some(minute(START - HOUR)));
    assert!(lake.value(CHECKED) > Some(START + 1.0));
}

/// Facts that AWS documents nowhere. The exporter must be right either way.
#[tokio::test(start_paused = true)]
async fn undocumented_facts_hold_both_ways() {
    type Put = fn(&Lake);
    type Expected = &'static [(&'static str, &'static str, Option<f64>)];
    const NOW: f64 = START - START % 60.0;
    const AT: f64 = NOW - HOUR;
    let rows: &[(&str, Put, Expected)] = &[
        (
            "one load type",
            |lake| lake.put("IngestionSucceeded", "orders", AT, 1.0),
            &[(TABLES, "", Some(1.0)), (SUCCESS, "orders", Some(AT))],
        ),
        (
            "load types that change, or have other names",
            |lake| {
                for (load_type, at) in [("initial_load", AT - HOUR), ("cdc", AT), ("", AT - 60.0)] {
                    let metric = table_metric("IngestionSucceeded", &arn(1), load_type, "orders");
                    lake.cloudwatch.put(metric, &[(at, 1.0)]);
                }
            },
            &[(TABLES, "", Some(1.0)), (SUCCESS, "orders", Some(AT))],
        ),
        (
            "no load type",
            |lake| {
                let dimensions = [("tableName", "orders"), ("integrationArn", &arn(1))];
                let metric = metric("AWS/Glue/ZeroETL", "IngestionSucceeded", &dimensions);
                lake.cloudwatch.put(metric, &[(AT, 1.0)]);
            },
            &[(TABLES, "", Some(1.0)), (SUCCESS, "orders", Some(AT))],
        ),
        (
            "timestamps in seconds",
            |lake| lake.put("LastSyncTimestamp", "orders", AT, AT - 7.0),
            &[(SYNCED, "orders", Some(AT - 7.0))],
        ),
        (
            "timestamps in milliseconds",
            |lake| {
                lake.put(
                    "LastSyncTimestamp",
                    "orders",
                    AT,
                    (AT - 7.0) * 1000.0 + 250.0,
                );
            },
            &[(SYNCED, "orders", Some(AT - 6.75))],
        ),
        (
            "timestamps that are no times",
            |lake| {
                for (n, value) in [0.0, -1.0, 7.0, f64::NAN, 9e8, AT + 3.0 * DAY, 1e20]
                    .into_iter()
                    .enumerate()
                {
                    lake.put("LastSyncTimestamp", &format!("t{n}"), AT, value);
                }
            },
            &[(TABLES, "", Some(7.0)), (SYNCED, "", None)],
        ),
        (
            "ARN with a colon",
            |lake| lake.cloudwatch.succeed(&arn(1), "orders", AT),
            &[(SUCCESS, "orders", Some(AT))],
        ),
        (
            "ARN with a slash",
            |lake| {
                let arn = arn(1).replace(":integration:", ":integration/");
                lake.cloudwatch.succeed(&arn, "orders", AT);
            },
            &[(SUCCESS, "orders", Some(AT))],
        ),
        (
            "a failed run also reports 0 successes, a good one 0 failures",
            |lake| {
                lake.put("IngestionSucceeded", "bad", AT - HOUR, 1.0);
                lake.put("IngestionSucceeded", "bad", AT, 0.0);
                lake.put("IngestionFailed", "bad", AT, 1.0);
                lake.put("IngestionSucceeded", "good", AT, 1.0);
                lake.put("IngestionFailed", "good", AT, 0.0);
            },
            &[
                (SUCCESS, "bad", Some(AT - HOUR)),
                (FAILURE, "bad", Some(AT)),
                (FAILURE, "good", None),
                (FAILING, "", Some(1.0)),
            ],
        ),
        (
            "a failed run reports failures only",
            |lake| {
                lake.put("IngestionSucceeded", "bad", AT - HOUR, 1.0);
                lake.put("IngestionFailed", "bad", AT, 1.0);
            },
            &[
                (SUCCESS, "bad", Some(AT - HOUR)),
                (FAILURE, "bad", Some(AT)),
                (FAILING, "", Some(1.0)),
            ],
        ),
        (
            "a run without changes reports only that it succeeded",
            |lake| lake.put("IngestionSucceeded", "orders", AT, 1.0),
            &[(SUCCESS, "orders", Some(AT)), (SYNCED, "", None)],
        ),
        (
            "runs without changes do not report",
            |lake| lake.cloudwatch.succeed(&arn(1), "orders", AT - 10.0 * DAY),
            &[
                (SUCCESS, "orders", Some(AT - 10.0 * DAY)),
                (CHECKED, "", Some(START)),
            ],
        ),
        (
            "Redshift metrics in one namespace",
            |lake| put_redshift(lake, REDSHIFT, "AWS/Redshift"),
            &[
                (LAG, "", Some(12.0)),
                (FAILING, "", Some(3.0)),
                (TABLES, "", None),
            ],
        ),
        (
            "Redshift metrics in another namespace",
            |lake| put_redshift(lake, SERVERLESS, "AWS/Redshift-Serverless"),
            &[(LAG, "", Some(12.0)), (FAILING, "", Some(3.0))],
        ),
        (
            "Redshift target that reports nothing",
            |lake| lake.redshift(REDSHIFT),
            &[
                (LAG, "", None),
                (FAILING, "", None),
                (TABLES, "", None),
                (CHECKED, "", Some(START)),
            ],
        ),
        (
            "Redshift target that reports tables",
            |lake| {
                lake.redshift(REDSHIFT);
                lake.cloudwatch.fail(&arn(1), "orders", AT);
            },
            &[(TABLES, "", Some(1.0)), (FAILING, "", Some(1.0))],
        ),
        (
            "Redshift metrics without a Redshift target",
            |lake| {
                put_redshift(lake, REDSHIFT, "AWS/Redshift");
                lake.account.put(&arn(1), Status::Active);
            },
            &[(LAG, "", None), (TABLES, "", Some(0.0))],
        ),
        (
            "units that count a run more than once",
            |lake| {
                lake.put("IngestionFailed", "orders", AT, 1.0);
                lake.put("IngestionFailed", "orders", AT + 1.0, 2.0);
                lake.put("LastSyncTimestamp", "orders", AT, AT - 9.0);
                lake.put("LastSyncTimestamp", "orders", AT + 1.0, AT - 8.0);
            },
            &[
                (FAILURE, "orders", Some(AT)),
                (SYNCED, "orders", Some(AT - 8.0)),
            ],
        ),
    ];
    for (name, put, expected) in rows {
        let lake = Lake::new(LAKE);
        put(&lake);
        lake.start().await;
        for (metric, table, value) in *expected {
            let labels = [("table_name", *table)];
            let labels = &labels[usize::from(table.is_empty())..];
            assert_eq!(
                lake.page().value(metric, labels),
                *value,
                "{metric}: {name}"
            );
        }
        assert_eq!(lake.value(FRESHNESS_UP), Some(1.0), "{name}");
        lake.bench.stop.cancel();
    }
}

fn put_redshift(lake: &Lake, target: &str, namespace: &str) {
    lake.redshift(target);
    let id = arn(1).rsplit(':').next().unwrap().to_owned();
    let of = |name, id: &str| metric(namespace, name, &[("IntegrationId", id)]);
    let failed = "IntegrationNumTablesFailedReplication";
    let cloudwatch = &lake.cloudwatch;
    cloudwatch.put(of("IntegrationLag", &id), &[(START - 60.0, 12.0)]);
    cloudwatch.put(of("IntegrationLag", &id), &[(START - 120.0, 90.0)]);
    cloudwatch.put(of(failed, &id), &[(START - 60.0, 3.0)]);
    cloudwatch.put(of("IntegrationLag", "another"), &[(START, 7.0)]);
}

/// A failure removes nothing and changes no value. Successes and failures of a table count only together, synced times on their own.
#[tokio::test(start_paused = true)]
async fn failures_keep_values_per_series() {
    type Break = fn(&FakeCloudWatch);
    // The failure, its reason, and whether the success, the failure and the sync time that are new become known.
    let rows: &[(&str, Break, Reason, [bool; 3])] = &[
        (
            "listing throttled",
            |it| it.set(LIST, Behaviour::Fail(Reason::Throttled)),
            Reason::Throttled,
            [false; 3],
        ),
        (
            "samples throttled",
            |it| it.set(DATA, Behaviour::Fail(Reason::Throttled)),
            Reason::Throttled,
            [false; 3],
        ),
        (
            "no permission to list",
            |it| it.set(LIST, Behaviour::Fail(Reason::AccessDenied)),
            Reason::AccessDenied,
            [false; 3],
        ),
        (
            "one metric forbidden",
            |it| {
                let forbidden = Reason::AccessDenied;
                it.fail_metric("IngestionFailed", forbidden);
            },
            Reason::AccessDenied,
            [false, false, true],
        ),
        (
            "one metric partial to the end",
            |it| it.fail_metric("LastSyncTimestamp", Reason::InvalidResponse),
            Reason::InvalidResponse,
            [true, true, false],
        ),
        (
            "internal error of one metric",
            |it| {
                let failed = Reason::ServerError;
                it.fail_metric("IngestionSucceeded", failed);
            },
            Reason::ServerError,
            [false, false, true],
        ),
        (
            "CloudWatch hangs",
            |it| it.set(DATA, Behaviour::Hang),
            Reason::Timeout,
            [false; 3],
        ),
        (
            "the listing breaks off after its first page",
            |it| {
                it.set_pages(1, 100_800);
                it.set_from_page(LIST, 1, Behaviour::Fail(Reason::Network));
            },
            Reason::Network,
            [false; 3],
        ),
        (
            "samples break off after successes and failures",
            |it| {
                it.set_pages(500, 4);
                it.set_from_page(DATA, 1, Behaviour::Fail(Reason::Network));
            },
            Reason::Network,
            [true, true, false],
        ),
        (
            "samples break off between successes and failures",
            |it| {
                it.set_pages(500, 2);
                it.set_from_page(DATA, 1, Behaviour::Fail(Reason::Network));
            },
            Reason::Network,
            [false; 3],
        ),
        (
            "samples break off within a series",
            |it| {
                it.set_pages(500, 1);
                it.set_from_page(DATA, 1, Behaviour::Fail(Reason::Network));
            },
            Reason::Network,
            [false; 3],
        ),
        (
            "CloudWatch panics",
            FakeCloudWatch::panic,
            Reason::Other,
            [false; 3],
        ),
        (
            "pages without end",
            FakeCloudWatch::never_end,
            Reason::InvalidResponse,
            [false; 3],
        ),
    ];
    for (name, fail, reason, known) in rows {
        let lake = Lake::new(LAKE);
        let report = |at: f64| {
            lake.cloudwatch.succeed(&arn(1), "orders", at);
            lake.cloudwatch.fail(&arn(1), "orders", at - 600.0);
        };
        report(START - HOUR);
        lake.cloudwatch.succeed(&arn(1), "unchanged", START - DAY);
        lake.start().await;
        let before = lake.samples();
        let old = |name| before.iter().find(|it| it.0 == name && it.1 == "orders");
        let old = [SUCCESS, FAILURE, SYNCED].map(|name| old(name).unwrap().2);
        fail(&lake.cloudwatch);
        report(START);
        let at = minute(START);
        let new = [at, minute(START - 600.0), START - 30.0];
        // A round that hangs takes most of the interval.
        sleep(INTERVAL * 2).await;
        let page = lake.page();
        let of_orders = |name| page.value(name, &[("table_name", "orders")]);
        for (index, metric) in [SUCCESS, FAILURE, SYNCED].into_iter().enumerate() {
            let expected = if known[index] { new } else { old }[index];
            assert_eq!(of_orders(metric), Some(expected), "{metric}: {name}");
        }
        assert_eq!(page.value(CHECKED, &[]), Some(START), "{name}");
        assert_eq!(page.value(TABLES, &[]), Some(2.0), "{name}");
        assert_eq!(page.value(FRESHNESS_UP, &[]), Some(0.0), "{name}");
        assert_eq!(page.value(UP, &[]), Some(1.0), "{name}");
        let (snapshot, _) = lake.bench.publisher.snapshot();
        let failed = snapshot.scopes[0].failed_freshness.as_ref().unwrap();
        assert_eq!(failed.failures[0].reason, reason.as_str(), "{name}");
        lake.cloudwatch.recover();
        sleep(INTERVAL * 2).await;
        assert_eq!(lake.value(FRESHNESS_UP), Some(1.0), "{name}");
        assert!(lake.value(CHECKED) > Some(START + 600.0), "{name}");
        assert_eq!(lake.table(SUCCESS, "orders"), Some(at), "{name}");
        lake.bench.stop.cancel();
    }
}

fn successes_of_orders(load_type: &str) -> Metric {
    table_metric("IngestionSucceeded", &arn(1), load_type, "orders")
}

/// A table that failed and then succeeded never looks as if it fails because the success was not answered.
#[tokio::test(start_paused = true)]
async fn half_answered_table_keeps_its_runs() {
    type Break = fn(&FakeCloudWatch);
    // The failure, and whether other tables are answered. After a failed listing, no samples are requested.
    let rows: &[(&str, Break, bool)] = &[
        (
            "listing of successes",
            |it| {
                let behaviour = Behaviour::Fail(Reason::Throttled);
                it.set("ListMetrics IngestionSucceeded", behaviour);
            },
            false,
        ),
        (
            "listing of failures",
            |it| {
                let behaviour = Behaviour::Fail(Reason::Throttled);
                it.set("ListMetrics IngestionFailed", behaviour);
            },
            false,
        ),
        (
            "forbidden successes",
            |it| it.fail_series(successes_of_orders("cdc"), Reason::AccessDenied),
            true,
        ),
        (
            "internal error of successes",
            |it| it.fail_series(successes_of_orders("cdc"), Reason::ServerError),
            true,
        ),
        (
            "a part of the successes",
            |it| it.fail_series(successes_of_orders("cdc"), Reason::InvalidResponse),
            true,
        ),
        (
            "one of two load types",
            |it| it.fail_series(successes_of_orders("initial_load"), Reason::ServerError),
            true,
        ),
        (
            "forbidden failures",
            |it| {
                let failures = table_metric("IngestionFailed", &arn(1), "cdc", "orders");
                it.fail_series(failures, Reason::AccessDenied);
            },
            true,
        ),
    ];
    for (name, fail, answers_others) in rows {
        let lake = Lake::new(LAKE);
        let cloudwatch = &lake.cloudwatch;
        let initial_load = successes_of_orders("initial_load");
        cloudwatch.put(initial_load, &[(START - 5.0 * HOUR, 1.0)]);
        for table in ["orders", "clients"] {
            cloudwatch.fail(&arn(1), table, START - 3.0 * HOUR);
            cloudwatch.succeed(&arn(1), table, START - 2.0 * HOUR);
        }
        lake.start().await;
        fail(cloudwatch);
        for table in ["orders", "clients", "new"] {
            cloudwatch.fail(&arn(1), table, START - 60.0);
            cloudwatch.succeed(&arn(1), table, START);
        }
        sleep(INTERVAL).await;
        let [old_success, old_failure] = [2.0, 3.0].map(|hours| minute(START - hours * HOUR));
        assert_eq!(lake.table(SUCCESS, "orders"), Some(old_success), "{name}");
        assert_eq!(lake.table(FAILURE, "orders"), Some(old_failure), "{name}");
        let other = answers_others.then(|| minute(START));
        assert_eq!(lake.table(SUCCESS, "new"), other, "{name}");
        let other = other.or(Some(old_success));
        assert_eq!(lake.table(SUCCESS, "clients"), other, "{name}");
        assert_eq!(lake.value(FAILING), Some(0.0), "{name}");
        assert_eq!(lake.value(OLDEST), Some(old_success), "{name}");
        assert_eq!(lake.value(CHECKED), Some(START), "{name}");
        assert_eq!(lake.value(FRESHNESS_UP), Some(0.0), "{name}");
        cloudwatch.recover();
        sleep(INTERVAL).await;
        assert_eq!(lake.table(SUCCESS, "orders"), Some(minute(START)), "{name}");
        assert_eq!(
            lake.table(FAILURE, "orders"),
            Some(minute(START - 60.0)),
            "{name}"
        );
        assert_eq!(lake.value(FRESHNESS_UP), Some(1.0), "{name}");
        lake.bench.stop.cancel();
    }
}

/// The old success of one load type says nothing without the other load type.
#[tokio::test(start_paused = true)]
async fn half_answered_new_table_is_not_oldest() {
    let lake = Lake::new(LAKE);
    lake.cloudwatch.succeed(&arn(1), "clients", START - HOUR);
    lake.start().await;
    let (initial_load, cdc) = (
        successes_of_orders("initial_load"),
        successes_of_orders("cdc"),
    );
    let at = START - 9.0 * HOUR;
    lake.cloudwatch.put(initial_load, &[(at, 1.0)]);
    lake.cloudwatch.put(cdc.clone(), &[(START, 1.0)]);
    lake.cloudwatch.fail_series(cdc, Reason::InvalidResponse);
    sleep(INTERVAL).await;
    assert_eq!(lake.value(TABLES), Some(2.0));
    assert_eq!(lake.table(SUCCESS, "orders"), None);
    assert_eq!(lake.value(OLDEST), Some(minute(START - HOUR)));
}

/// The successes of the last table are at the end of the first batch, and its failures in the second one.
#[tokio::test(start_paused = true)]
async fn failed_batch_leaves_out_halves_of_tables() {
    for (failing, answered) in [("IngestionSucceeded", false), ("IngestionFailed", true)] {
        let cloudwatch = FakeCloudWatch::new();
        let first = table_metric("IngestionSucceeded", &arn(1), "cdc", "first");
        cloudwatch.put(first, &[(START - HOUR, 1.0)]);
        for n in 0..167 {
            let table = format!("t{n:03}");
            cloudwatch.succeed(&arn(1), &table, START - HOUR);
            cloudwatch.fail(&arn(1), &table, START - 2.0 * HOUR);
        }
        let request = match failing {
            "IngestionFailed" => "GetMetricData IngestionFailed",
            _ => "GetMetricData IngestionSucceeded",
        };
        cloudwatch.set(request, Behaviour::Fail(Reason::Throttled));
        let query = FreshnessQuery::from([(arn(1), QueriedIntegration::default())]);
        let round = run(&cloudwatch, &query).await;
        let tables = &round.answers[&arn(1)].tables;
        let known = |table: &str| tables[table].last_success.is_some();
        assert_eq!((tables.len(), round.errors.len()), (168, 1));
        assert_eq!(known("first"), answered, "{failing}");
        assert_eq!(known("t165"), answered, "{failing}");
        let last = tables["t166"];
        assert_eq!((last.last_success, last.last_failure), (None, None));
        assert_eq!(round.answers[&arn(1)].checked, None);
    }
}

#[tokio::test(start_paused = true)]
async fn pages_of_samples_are_joined() {
    let lake = Lake::new(LAKE);
    for hours in [3.0, 2.0, 1.0] {
        lake.cloudwatch
            .succeed(&arn(1), "orders", START - hours * HOUR);
        lake.cloudwatch
            .fail(&arn(1), "orders", START - hours * HOUR - 60.0);
    }
    lake.cloudwatch.set_pages(1, 2);
    // CloudWatch may send with the next page what an internal error held back.
    let failed = Reason::ServerError;
    lake.cloudwatch.fail_first_page(failed);
    lake.start().await;
    assert_eq!(lake.value(FRESHNESS_UP), Some(1.0));
    assert_eq!(lake.table(SUCCESS, "orders"), Some(minute(START - HOUR)));
    let failure = minute(START - HOUR - 60.0);
    assert_eq!(lake.table(FAILURE, "orders"), Some(failure));
    assert_eq!(lake.table(SYNCED, "orders"), Some(START - HOUR - 30.0));
    // Five pages with three metrics.
    assert_eq!(lake.value(REQUESTED), Some(15.0));
}

#[tokio::test(start_paused = true)]
async fn times_only_move_forward() {
    let lake = Lake::new(LAKE);
    lake.cloudwatch.succeed(&arn(1), "orders", START - HOUR);
    lake.start().await;
    lake.cloudwatch.clear();
    lake.cloudwatch
        .succeed(&arn(1), "orders", START - 2.0 * HOUR);
    sleep(INTERVAL).await;
    assert_eq!(lake.table(SUCCESS, "orders"), Some(minute(START - HOUR)));
    assert_eq!(lake.table(SYNCED, "orders"), Some(START - HOUR - 30.0));
    assert!(lake.value(CHECKED) > Some(START));
}

#[tokio::test(start_paused = true)]
async fn full_answer_without_lag_ends_it() {
    let lake = Lake::new(LAKE);
    put_redshift(&lake, REDSHIFT, "AWS/Redshift");
    lake.start().await;
    assert_eq!(lake.value(LAG), Some(12.0));
    let failed = Reason::ServerError;
    lake.cloudwatch.fail_metric("IntegrationLag", failed);
    sleep(INTERVAL * 16).await;
    assert_eq!(lake.value(LAG), Some(12.0));
    lake.cloudwatch.recover();
    sleep(INTERVAL).await;
    assert_eq!(lake.value(LAG), None);
    assert_eq!(lake.value(FAILING), None);
}

#[tokio::test(start_paused = true)]
async fn failed_first_round_exports_nothing_false() {
    for (operation, tables) in [(LIST, None), (DATA, Some(1.0))] {
        let lake = Lake::new(LAKE);
        lake.cloudwatch.fail(&arn(1), "orders", START - HOUR);
        lake.cloudwatch
            .set(operation, Behaviour::Fail(Reason::Throttled));
        lake.start().await;
        assert_eq!(lake.value(TABLES), tables, "{operation}");
        assert_eq!(lake.value(CHECKED), None, "{operation}");
        assert_eq!(lake.value(FAILING), None, "{operation}");
        assert_eq!(lake.value(FRESHNESS_UP), Some(0.0), "{operation}");
        lake.bench.stop.cancel();
    }
}

#[tokio::test(start_paused = true)]
async fn integration_without_reports_has_zero_tables() {
    let lake = Lake::new(LAKE);
    lake.cloudwatch
        .succeed(&arn(9), "of another integration", START);
    lake.start().await;
    assert_eq!(lake.value(TABLES), Some(0.0));
    assert_eq!(lake.value(CHECKED), Some(START));
    assert!(
        lake.value(FAILING)
            .is_some_and(|it| it == 0.0 && it.is_sign_positive())
    );
    assert_eq!(lake.value(OLDEST), None);
    assert_eq!(lake.requests(DATA), []);
    assert_eq!(lake.value(REQUESTED), Some(0.0));
}

#[tokio::test(start_paused = true)]
async fn samples_that_come_late_count() {
    let lake = Lake::new(LAKE);
    lake.cloudwatch
        .succeed(&arn(1), "orders", START - 2.0 * DAY);
    lake.start().await;
    lake.cloudwatch
        .succeed(&arn(1), "orders", START - 23.0 * HOUR);
    sleep(INTERVAL).await;
    let late = minute(START - 23.0 * HOUR);
    assert_eq!(lake.table(SUCCESS, "orders"), Some(late));
}

#[tokio::test(start_paused = true)]
async fn silent_tables_are_dropped_after_15_days() {
    let lake = Lake::new(&LAKE.replace("true", "true, interval: 1h"));
    lake.cloudwatch.succeed(&arn(1), "orders", START);
    lake.cloudwatch.succeed(&arn(1), "clients", START);
    lake.start().await;
    // CloudWatch lists nothing that has been silent for two weeks.
    lake.cloudwatch.clear();
    lake.cloudwatch.succeed(&arn(1), "clients", START + DAY);
    sleep(MINUTE * 60 * 24 * 15 - INTERVAL * 2).await;
    assert_eq!(lake.value(TABLES), Some(2.0));
    sleep(INTERVAL * 3).await;
    assert_eq!(lake.value(TABLES), Some(1.0));
    assert_eq!(lake.table(SUCCESS, "orders"), None);
    assert_eq!(lake.table(SUCCESS, "clients"), Some(minute(START + DAY)));
}

#[tokio::test(start_paused = true)]
async fn windows_start_a_day_before_last_full_answer() {
    let lake = Lake::new(LAKE);
    lake.redshift(REDSHIFT);
    put_redshift(&lake, REDSHIFT, "AWS/Redshift");
    lake.account.put(&arn(2), Status::Active);
    for n in [1, 2] {
        lake.cloudwatch.succeed(&arn(n), "orders", START - HOUR);
    }
    lake.start().await;
    let now = whole(minute(START));
    let window = |it: &Request| (it.name.clone(), it.metrics, it.start - now, it.end - now);
    let first: Vec<_> = lake.requests(DATA).iter().map(window).collect();
    let (oldest, redshift) = (3_600 - 15 * 86_400, -3 * 3_600);
    let expected = [
        ("IngestionSucceeded", 4, oldest),
        ("IntegrationLag", 2, redshift),
    ];
    let expected = expected.map(|(name, count, start)| (name.to_owned(), count, start, 60));
    assert_eq!(first, expected);
    lake.account.put(&arn(3), Status::Active);
    lake.cloudwatch.succeed(&arn(3), "orders", START - HOUR);
    sleep(INTERVAL).await;
    let requests = lake.requests(DATA).into_iter();
    let tables: Vec<_> = requests
        .filter(|it| it.name == "IngestionSucceeded")
        .collect();
    // The new integration is asked about all 15 days, in a request of its own.
    assert_eq!(tables.len(), 2);
    assert!(tables[0].start - tables[0].end < oldest + 120 && tables[0].metrics == 2);
    assert_eq!((tables[1].start - now, tables[1].metrics), (-86_400, 4));
    // While samples of an integration are missing, its window starts before its last full answer.
    let forbidden = Reason::AccessDenied;
    lake.cloudwatch.fail_metric("LastSyncTimestamp", forbidden);
    sleep(MINUTE * 60 * 24).await;
    let requests = lake.requests(DATA);
    let last = requests
        .iter()
        .rev()
        .find(|it| it.name == "IngestionSucceeded");
    let last = last.unwrap();
    assert!(last.end - last.start > 86_400 + 23 * 3_600, "{last:?}");
}

#[tokio::test(start_paused = true)]
async fn max_tables_limits_series_but_not_counts() {
    for (freshness, series) in [
        ("{max_tables: 0}", 0),
        ("{max_tables: 1}", 1),
        ("true", 100),
    ] {
        let lake = Lake::new(&LAKE.replace("true", freshness));
        for n in 0..150 {
            let at = START - DAY + f64::from(n);
            lake.cloudwatch
                .succeed(&arn(1), &format!("t{:03}", 150 - n), at);
        }
        lake.cloudwatch.fail(&arn(1), "t150", START);
        lake.start().await;
        let page = lake.page();
        let tables: BTreeSet<&str> = page
            .find(SUCCESS, &[])
            .iter()
            .map(|sample| sample.labels["table_name"].as_str())
            .collect();
        assert_eq!(tables.len(), series);
        assert!(series == 0 || tables.contains("t001"));
        assert_eq!(page.find(SYNCED, &[]).len(), series);
        assert_eq!(page.value(TABLES, &[]), Some(150.0));
        assert_eq!(page.value(OLDEST, &[]), Some(minute(START - DAY)));
        assert_eq!(page.value(FAILING, &[]), Some(1.0));
        lake.bench.stop.cancel();
    }
}

#[tokio::test(start_paused = true)]
async fn hanging_cloudwatch_delays_no_poll() {
    let lake = Lake::new(LAKE);
    lake.cloudwatch.succeed(&arn(1), "orders", START - HOUR);
    lake.cloudwatch.set(LIST, Behaviour::Hang);
    let begun = Instant::now();
    lake.start().await;
    assert_eq!(lake.value(FRESHNESS_UP), None);
    assert!(!lake.bench.publisher.page().blocks_scrape);
    sleep(INTERVAL).await;
    let page = lake.page();
    assert_eq!(page.value(FRESHNESS_UP, &[]), Some(0.0));
    assert_eq!(page.value(UP, &[]), Some(1.0));
    let polls = lake.account.take_requests();
    assert!(polls.len() >= 15, "{polls:?}");
    for pair in polls[1..].windows(2) {
        let seconds = (pair[1].0 - pair[0].0).as_secs_f64();
        assert!((seconds - 60.0).abs() < 0.1, "{polls:?}");
    }
    assert!(begun.elapsed() < INTERVAL * 2);
}

#[tokio::test(start_paused = true)]
async fn slow_cloudwatch_is_not_dead() {
    let lake = Lake::new(LAKE);
    lake.cloudwatch.succeed(&arn(1), "orders", START - HOUR);
    let slow = || Behaviour::Slow(Duration::from_secs(150));
    lake.cloudwatch.set(LIST, slow());
    lake.cloudwatch.set(DATA, slow());
    lake.start().await;
    sleep(INTERVAL).await;
    assert_eq!(lake.value(FRESHNESS_UP), Some(1.0));
    assert_eq!(lake.value(CHECKED), Some(START));
}

#[tokio::test(start_paused = true)]
async fn rounds_wait_for_integrations_and_keep_phase() {
    let lake = Lake::new(LAKE);
    lake.account.set(Behaviour::Fail(Reason::Network));
    lake.start().await;
    sleep(MINUTE * 10).await;
    assert_eq!(lake.requests(LIST), []);
    assert_eq!(lake.value(FRESHNESS_UP), None);
    lake.account.set(Behaviour::Answer);
    sleep(MINUTE).await;
    assert_eq!(lake.value(FRESHNESS_UP), Some(1.0));
    lake.requests(LIST);
    sleep(INTERVAL * 8).await;
    let requests = lake.requests(LIST);
    let rounds: Vec<Instant> = requests.chunks(3).map(|round| round[0].at).collect();
    assert!((8..=9).contains(&rounds.len()), "{rounds:?}");
    for pair in rounds.windows(2) {
        assert!(
            (pair[1] - pair[0]).abs_diff(INTERVAL) < SECOND,
            "{rounds:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn integration_that_is_gone_loses_its_freshness() {
    let lake = Lake::new(LAKE);
    lake.account.put(&arn(2), Status::Deleting);
    lake.cloudwatch.succeed(&arn(2), "returns", START - HOUR);
    lake.start().await;
    assert!(lake.table(SUCCESS, "returns").is_some());
    lake.account.remove(&arn(2));
    sleep(INTERVAL).await;
    assert_eq!(lake.table(SUCCESS, "returns"), None);
    let stored = storage::encode(&lake.bench.publisher.stored()).unwrap();
    assert!(!String::from_utf8(stored).unwrap().contains("returns"));
    // A shown integration keeps its values, even if its scope cannot be polled.
    lake.cloudwatch.succeed(&arn(1), "clients", START);
    sleep(INTERVAL).await;
    lake.account.set(Behaviour::Fail(Reason::Network));
    sleep(INTERVAL).await;
    assert_eq!(lake.table(SUCCESS, "clients"), Some(minute(START)));
}

#[tokio::test(start_paused = true)]
async fn values_survive_restart() {
    let lake = Lake::new(LAKE);
    lake.cloudwatch.succeed(&arn(1), "orders", START - HOUR);
    lake.cloudwatch.fail(&arn(1), "orders", START - HOUR);
    lake.start().await;
    let before = lake.samples();
    let file = storage::encode(&lake.bench.publisher.stored()).unwrap();
    let restart = |yaml: &str, file: &[u8]| {
        let mut after = Lake::new(yaml);
        let (start, wall) = (Instant::now(), lake.bench.clock.unix_now());
        let clock = Clock::from_wall(move || wall + start.elapsed().as_secs_f64());
        after.bench = Bench::with_clock(&after.watches, clock);
        after
            .bench
            .publisher
            .restore(storage::decode(file).unwrap());
        after
    };
    let after = restart(LAKE, &file);
    assert_eq!(after.samples(), before);
    assert_eq!(after.value(FRESHNESS_UP), Some(1.0));
    // The next round continues after the last one.
    after.cloudwatch.succeed(&arn(1), "orders", START - HOUR);
    after.start().await;
    let requests = after.requests(DATA);
    assert_eq!(requests[0].start, whole(minute(START - DAY)));
    // Without freshness the file loads too, and so does a file without freshness.
    let off = restart(OFF, &file);
    assert_eq!(off.samples(), []);
    assert_eq!(off.value(FRESHNESS_UP), None);
    let without = storage::encode(&off.bench.publisher.stored()).unwrap();
    assert!(
        !String::from_utf8(without.clone())
            .unwrap()
            .contains("freshness")
    );
    let on = restart(LAKE, &without);
    assert_eq!(on.samples(), []);
}

#[tokio::test(start_paused = true)]
async fn reload_keeps_values_or_ends_them() {
    let lake = Lake::new(LAKE);
    lake.cloudwatch.succeed(&arn(1), "clients", START - HOUR);
    lake.cloudwatch.succeed(&arn(1), "orders", START - HOUR);
    let stop = lake.spawn(&lake.watches[0]);
    sleep(SECOND).await;
    let before = lake.samples();
    lake.bench.publisher.reconfigure(&lake.watches);
    assert_eq!(lake.samples(), before);
    let one_table = watches(&LAKE.replace("true", "{max_tables: 1, interval: 1h}"));
    lake.bench.publisher.reconfigure(&one_table);
    assert_eq!(lake.page().find(SUCCESS, &[]).len(), 1);
    assert_eq!(lake.value(TABLES), Some(2.0));
    let off = watches(OFF);
    stop.cancel();
    lake.bench.publisher.reconfigure(&off);
    lake.spawn(&off[0]);
    assert_eq!(lake.samples(), []);
    assert_eq!(lake.value(FRESHNESS_UP), None);
    assert_eq!(lake.value(REQUESTED), None);
    assert!(lake.page().status(&arn(1)).is_some());
    lake.bench.publisher.reconfigure(&one_table);
    assert_eq!(lake.value(TABLES), None, "unknown before the next round");
}

#[tokio::test(start_paused = true)]
async fn newest_answer_of_several_scopes_is_exported() {
    let yaml = "scopes: [
        {name: a, regions: [eu-west-1], freshness: {max_tables: 1}},
        {name: b, regions: [eu-west-1], freshness: true},
        {name: c, regions: [eu-west-1]}]";
    let mut lake = Lake::new(yaml);
    for table in ["clients", "orders"] {
        lake.cloudwatch.succeed(&arn(1), table, START - HOUR);
    }
    lake.spawn(&lake.watches[0]);
    sleep(MINUTE).await;
    assert_eq!(lake.page().find(SUCCESS, &[]).len(), 1);
    // The other scope may have other credentials, and CloudWatch of another account.
    lake.cloudwatch = FakeCloudWatch::new();
    for table in ["clients", "orders"] {
        lake.cloudwatch.succeed(&arn(1), table, START);
    }
    lake.spawn(&lake.watches[1]);
    lake.spawn(&lake.watches[2]);
    sleep(SECOND).await;
    assert_eq!(lake.page().find(SUCCESS, &[]).len(), 2);
    assert_eq!(lake.table(SUCCESS, "orders"), Some(minute(START)));
    assert_eq!(lake.page().find(TABLES, &[]).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn failures_are_logged_once_per_reason() {
    let lake = Lake::new(LAKE);
    let (lines, _guard) = Lines::begin();
    lake.cloudwatch.succeed(&arn(1), "orders", START - HOUR);
    let forbidden = Reason::AccessDenied;
    lake.cloudwatch.fail_metric("LastSyncTimestamp", forbidden);
    lake.start().await;
    sleep(INTERVAL * 4).await;
    assert_eq!(lines.with("CloudWatch did not answer in full"), 1);
    assert_eq!(
        lines.with("cloudwatch:ListMetrics and cloudwatch:GetMetricData"),
        1
    );
    lake.cloudwatch.recover();
    sleep(INTERVAL * 4).await;
    assert_eq!(lines.with("CloudWatch answered in full again"), 1);
}

#[tokio::test(start_paused = true)]
async fn unusual_series_are_bounded() {
    let lake = Lake::new(LAKE);
    let put = |metric| lake.cloudwatch.put(metric, &[(START - HOUR, 1.0)]);
    put(table_metric(
        "IngestionSucceeded",
        &arn(1),
        "cdc",
        &"é".repeat(9_000),
    ));
    put(table_metric("IngestionSucceeded", &arn(1), "cdc", ""));
    let arn = arn(1);
    let of_integration = [("integrationArn", arn.as_str())];
    put(metric(
        "AWS/Glue/ZeroETL",
        "IngestionSucceeded",
        &of_integration,
    ));
    put(metric("AWS/Glue/ZeroETL", "IngestionSucceeded", &[]));
    lake.start().await;
    assert_eq!(lake.value(TABLES), Some(1.0));
    let page = lake.page();
    let table = &page.find(SUCCESS, &[])[0].labels["table_name"];
    assert_eq!(*table, "é".repeat(256));
}

#[tokio::test(start_paused = true)]
async fn unchanged_freshness_keeps_its_pointer() {
    let lake = Lake::new(LAKE);
    lake.cloudwatch.succeed(&arn(1), "orders", START - HOUR);
    lake.start().await;
    let data = || -> Arc<Freshness> {
        let (snapshot, _) = lake.bench.publisher.snapshot();
        Arc::clone(&snapshot.integrations[0].freshness.as_ref().unwrap().data)
    };
    let before = data();
    lake.cloudwatch
        .set(DATA, Behaviour::Fail(Reason::Throttled));
    sleep(INTERVAL * 2).await;
    assert!(Arc::ptr_eq(&before, &data()));
}

/// If CloudWatch listed other tables in each round, keeping all of them would fill the memory.
#[tokio::test(start_paused = true)]
async fn tables_that_change_in_each_round_are_bounded() {
    let lake = Lake::new(LAKE);
    let watch = &lake.watches[0];
    lake.bench.poller(watch, &lake.account).poll().await;
    let publisher = &lake.bench.publisher;
    let all = MAX_SERIES + 2;
    for (listed, known) in [(0..1, 1), (1..all, all), (0..1, 1)] {
        let mut round = Round {
            started: START,
            ..Round::default()
        };
        let answer = round.answers.entry(arn(1)).or_default();
        let table = TableFreshness {
            last_success: Some(START - 60.0),
            ..TableFreshness::default()
        };
        answer.tables = listed.map(|n| (n.to_string(), table)).collect();
        publisher.apply_freshness(&key(watch), round);
        let (snapshot, _) = publisher.snapshot();
        let freshness = snapshot.integrations[0].freshness.as_ref();
        assert_eq!(freshness.unwrap().tables(), Some(known));
    }
}

async fn run(cloudwatch: &FakeCloudWatch, query: &FreshnessQuery) -> Round {
    let context = RequestContext {
        scope: "lake",
        deadline: &Deadline::new(INTERVAL, 1),
    };
    Round::run(cloudwatch, query, START, context).await
}

/// Runs one round over this number of integrations with five tables each.
async fn large_round(integrations: usize) -> (Round, Vec<Request>) {
    let cloudwatch = FakeCloudWatch::new();
    let mut query = FreshnessQuery::new();
    for n in 0..integrations {
        query.insert(arn(n), QueriedIntegration::default());
        for table in 0..5 {
            let table = format!("table_{table}");
            cloudwatch.succeed(&arn(n), &table, START - HOUR);
            cloudwatch.fail(&arn(n), &table, START - 2.0 * HOUR);
        }
    }
    let round = run(&cloudwatch, &query).await;
    let requests = cloudwatch.take_requests();
    (round, requests)
}

#[tokio::test(start_paused = true)]
async fn requests_grow_with_series_not_with_integrations() {
    let (round, requests) = large_round(1_000).await;
    assert_eq!(round.errors, []);
    assert_eq!(round.metrics_requested, 15_000);
    let of = |operation| {
        requests
            .iter()
            .filter(|it| it.operation == operation)
            .count()
    };
    assert_eq!((of(LIST), of(DATA)), (30, 30));
}
