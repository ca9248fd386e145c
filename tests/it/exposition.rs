//! The text of the exposition: every series, value and label, also for hostile texts.

use crate::support::account::{START, arn, integration};
use crate::support::page::Page as ParsedPage;
use crate::support::property::{cases, hostile};
use glue_integration_exporter::exposition::text_format::Format;
use glue_integration_exporter::exposition::text_format::{MetricType, number};
use glue_integration_exporter::exposition::{self, Exposition};
use glue_integration_exporter::snapshot::{
    ExportedFreshness, ExportedIntegration, Freshness, IntegrationError, MetadataLabels, Missing,
    PolledScope, ScopeState, Snapshot, Status, TableFreshness,
};
use glue_integration_exporter::telemetry::Telemetry;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

fn scrape(snapshot: &Snapshot, now: f64) -> String {
    text(
        &page(snapshot),
        Format::Text,
        &Telemetry::new().unwrap(),
        now,
    )
}

fn page(snapshot: &Snapshot) -> Exposition {
    Exposition::render(snapshot, &Exposition::default())
}

fn text(page: &Exposition, format: Format, telemetry: &Telemetry, now: f64) -> String {
    String::from_utf8(page.text(format, telemetry, now).concat()).unwrap()
}

fn errors(codes: &[Option<&str>]) -> Vec<IntegrationError> {
    codes
        .iter()
        .map(|code| IntegrationError {
            code: code.map(str::to_owned),
            message: Some("free text, never a label".to_owned()),
        })
        .collect()
}

fn shown(arn: &str, status: Status) -> ExportedIntegration {
    ExportedIntegration {
        integration: Arc::new(integration(arn, status)),
        labels: named("", "", ""),
        freshness: None,
        status_since: START - 60.0,
        stale: false,
    }
}

/// Returns a name and the values of two tags.
fn named(name: &str, cost_center: &str, team: &str) -> Arc<MetadataLabels> {
    let tags = [("tag_cost_center", cost_center), ("team", team)];
    Arc::new(MetadataLabels {
        name: name.to_owned(),
        tags: tags
            .map(|(label, value)| (label.into(), value.to_owned()))
            .to_vec(),
    })
}

fn of(integrations: Vec<ExportedIntegration>) -> Snapshot {
    Snapshot {
        integrations,
        ..Snapshot::default()
    }
}

/// Returns three tables, of which one has no series.
fn freshness() -> ExportedFreshness {
    let table = |success, failure, synced_until| TableFreshness {
        last_success: Some(START - success),
        last_failure: failure,
        synced_until,
    };
    let tables = [
        ("a \"b\"", table(3_600.0, Some(START - 60.0), None)),
        ("orders", table(60.0, None, Some(START - 90.25))),
        ("returns", table(86_400.0, Some(START), None)),
    ];
    ExportedFreshness {
        data: Arc::new(Freshness {
            checked: Some(START - 12.5),
            tables: tables.map(|(name, table)| (name.to_owned(), table)).into(),
            replication_lag: Some(12.0),
            failed_tables: None,
        }),
        max_tables: 2,
        has_redshift_target: false,
    }
}

fn example() -> Snapshot {
    let mut second = integration(&arn(2), Status::NeedsAttention);
    second.source_arn =
        "arn:aws:glue:eu-west-1:111122223333:connection/sales\"force\\\n".to_owned();
    second.created = Some(START - 0.25);
    second.errors = errors(&[Some("InvalidCredentials"), Some("InvalidCredentials"), None]);
    let mut without = integration("no-arn-at-all", Status::Unknown);
    without.source_arn = String::new();
    without.created = None;
    without.refresh_interval = None;
    without.continuous_sync = None;
    Snapshot {
        integrations: vec![
            ExportedIntegration {
                stale: true,
                freshness: Some(freshness()),
                ..shown(&arn(1), Status::Active)
            },
            ExportedIntegration {
                integration: Arc::new(second),
                labels: named("orders", "4711", "data \"lake\"\\\n"),
                freshness: None,
                status_since: START,
                stale: false,
            },
            ExportedIntegration {
                integration: Arc::new(without),
                labels: named("", "", ""),
                freshness: None,
                status_since: START + 0.5,
                stale: false,
            },
        ],
        missing: vec![
            Missing {
                arn: arn(8),
                stale: true,
                last: Some(Arc::new(integration(&arn(8), Status::Active))),
                labels: named("returns", "", ""),
                ..Missing::default()
            },
            Missing {
                arn: arn(9),
                ..Missing::default()
            },
        ],
        scopes: vec![
            ScopeState {
                scope: "lake".to_owned(),
                region: "eu-west-1".to_owned(),
                interval: Duration::from_secs(60),
                names_up: Some(false),
                freshness_up: Some(true),
                polled: Some(PolledScope {
                    up: false,
                    stale: true,
                    last_success: Some(START - 61.5),
                    integrations: 3,
                    duration: Duration::from_millis(1250),
                }),
                ..ScopeState::default()
            },
            ScopeState {
                scope: "new".to_owned(),
                region: "us-east-1".to_owned(),
                interval: Duration::from_secs(300),
                ..ScopeState::default()
            },
        ],
        blocks_scrape: true,
        pending_first_poll: true,
        ..Snapshot::default()
    }
}

#[test]
fn exposition_matches_golden_files() {
    for (format, file) in [
        (Format::Text, "tests/exposition/page.txt"),
        (Format::OpenMetrics, "tests/exposition/page.openmetrics"),
    ] {
        let telemetry = Telemetry::new().unwrap();
        let page = text(&page(&example()), format, &telemetry, START + 10.0);
        let page: String = page
            .lines()
            // The build and process metrics differ in each run.
            .filter(|line| !line.contains("process_") && !line.contains("build_info{"))
            .map(|line| format!("{line}\n"))
            .collect();
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&golden, &page).unwrap();
        }
        let expected = fs::read_to_string(&golden).unwrap();
        for (line, (is, expected)) in page.lines().zip(expected.lines()).enumerate() {
            assert_eq!(
                is,
                expected,
                "line {} of {file}; UPDATE=1 rewrites the file",
                line + 1
            );
        }
        assert_eq!(
            page.lines().count(),
            expected.lines().count(),
            "UPDATE=1 rewrites the file"
        );
    }
}

#[test]
fn both_formats_have_the_same_series() {
    let page = page(&example());
    let telemetry = Telemetry::new().unwrap();
    let read = |format| {
        let page = ParsedPage::read(&text(&page, format, &telemetry, START));
        // The process metrics change between scrapes.
        let samples = page.samples.into_iter();
        samples
            .filter(|sample| !sample.name.starts_with("process_"))
            .collect::<Vec<_>>()
    };
    assert_eq!(read(Format::Text), read(Format::OpenMetrics));
}

#[test]
fn age_follows_scrape_time_and_is_never_negative() {
    let page = page(&of(vec![shown(&arn(1), Status::Active)]));
    let telemetry = Telemetry::new().unwrap();
    let age = |now| {
        ParsedPage::read(&text(&page, Format::Text, &telemetry, now))
            .value("aws_glue_integration_age_seconds", &[])
    };
    assert_eq!(age(START), Some(86_400.0));
    assert_eq!(age(START + 1.5), Some(86_401.5));
    assert_eq!(age(START - 100_000.0), Some(0.0));
}

#[test]
fn error_codes_beyond_twenty_count_as_other() {
    let codes: Vec<String> = (0..25).map(|n| format!("Code{n:02}")).collect();
    let mut all: Vec<Option<&str>> = codes.iter().map(|code| Some(code.as_str())).collect();
    // AWS codes named "other" and "none" share the exporter's series of that name.
    all.extend([Some("Code03"), Some("other"), Some("none"), None, None]);
    let mut integration = integration(&arn(1), Status::Active);
    integration.errors = errors(&all);
    let page = ParsedPage::read(&scrape(
        &of(vec![ExportedIntegration {
            integration: Arc::new(integration),
            labels: named("", "", ""),
            freshness: None,
            status_since: START,
            stale: false,
        }]),
        START,
    ));
    let count = |code| {
        page.value(
            "aws_glue_integration_errors_by_code",
            &[("error_code", code)],
        )
    };
    assert_eq!(page.value("aws_glue_integration_errors", &[]), Some(30.0));
    assert_eq!(
        (count("Code03"), count("Code19"), count("Code20")),
        (Some(2.0), Some(1.0), None)
    );
    assert_eq!((count("other"), count("none")), (Some(6.0), Some(3.0)));
    assert_eq!(
        page.find("aws_glue_integration_errors_by_code", &[]).len(),
        22
    );
}

#[test]
fn metrics_follow_naming_conventions() {
    let metrics = exposition::metrics();
    let mut names = BTreeSet::new();
    for (metric, labels) in &metrics {
        let name = metric.name;
        assert!(names.insert(name), "duplicate metric {name}");
        assert!(
            [
                "aws_glue_integration_",
                "glue_integration_exporter_",
                "process_"
            ]
            .iter()
            .any(|prefix| name.starts_with(prefix)),
            "{name}"
        );
        assert_eq!(
            name.ends_with("_total"),
            metric.kind == MetricType::Counter,
            "{name}"
        );
        assert!(
            !name.contains("_milliseconds") && !name.ends_with("_minutes"),
            "{name}"
        );
        let first = metric.help.chars().next().unwrap();
        assert!(
            (first.is_uppercase() || first == '1') && metric.help.ends_with('.'),
            "{name}: {}",
            metric.help
        );
        for label in labels {
            assert!(
                ![
                    "region", "cluster", "env", "service", "job", "instance", "le"
                ]
                .contains(label),
                "{name}: {label} conflicts with a target label"
            );
        }
    }
    let mut sorted = metrics.clone();
    sorted.sort_by_key(|(metric, _)| metric.name);
    assert_eq!(sorted, metrics);
}

#[test]
fn exposition_matches_metric_table() {
    let page = ParsedPage::read(&scrape(&example(), START));
    let rows: BTreeMap<&str, (MetricType, BTreeSet<&str>)> = exposition::metrics()
        .into_iter()
        .map(|(metric, mut labels)| {
            if metric.name == "aws_glue_integration_info" {
                labels.extend(["tag_cost_center", "team"]);
            }
            (metric.name, (metric.kind, labels.into_iter().collect()))
        })
        .collect();
    for (name, kind) in &page.types {
        assert_eq!(rows[name.as_str()].0.as_str(), kind, "{name}");
    }
    for sample in &page.samples {
        let family = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|suffix| {
                sample
                    .name
                    .strip_suffix(suffix)
                    .filter(|name| rows.contains_key(name))
            })
            .unwrap_or(&sample.name);
        let labels: BTreeSet<&str> = sample
            .labels
            .keys()
            .map(String::as_str)
            .filter(|label| *label != "le")
            .collect();
        assert_eq!(rows[family].1, labels, "{}", sample.name);
    }
    // These counters appear with a poller or a server.
    let later = [
        "polls_total",
        "polls_skipped_total",
        "poll_failures_total",
        "http_requests_total",
        "cloudwatch_metrics_requested_total",
    ];
    for name in rows.keys() {
        let comes_later = later.iter().any(|suffix| name.ends_with(suffix));
        assert!(
            comes_later || page.types.contains_key(*name),
            "{name} has no samples"
        );
    }
}

fn hostile_integration() -> impl Strategy<Value = ExportedIntegration> {
    (
        hostile(),
        hostile(),
        hostile(),
        hostile(),
        0..Status::ALL.len(),
        prop::collection::vec(prop::option::of(hostile()), 0..30),
        prop::option::of(-1e12..1e12f64),
    )
        .prop_map(|(arn, name, source, target, status, codes, created)| {
            let mut integration = integration(&arn, Status::ALL[status]);
            integration.source_arn.clone_from(&source);
            integration.target_arn.clone_from(&target);
            integration.created = created;
            let codes: Vec<Option<&str>> = codes.iter().map(Option::as_deref).collect();
            integration.errors = errors(&codes);
            ExportedIntegration {
                integration: Arc::new(integration),
                labels: named(&name, &source, &target),
                freshness: None,
                status_since: START,
                stale: false,
            }
        })
}

proptest! {
    #![proptest_config(cases(2000))]

    #[test]
    fn value_is_written_in_shortest_form(
        value in prop_oneof![any::<f64>(), (0..u64::MAX).prop_map(|millis| millis as f64 / 1000.0), (0..1u64 << 44).prop_map(|millis| millis as f64 / 1000.0)],
    ) {
        let mut text = String::new();
        number(&mut text, value);
        let expected = match value {
            f64::INFINITY => "+Inf".to_owned(),
            f64::NEG_INFINITY => "-Inf".to_owned(),
            value => value.to_string(),
        };
        prop_assert_eq!(text, expected);
    }
}

proptest! {
    #![proptest_config(cases(64))]

    #[test]
    fn hostile_values_survive_a_round_trip(
        shown in prop::collection::vec(hostile_integration(), 0..6),
    ) {
        // A snapshot has each ARN once, sorted.
        let by_arn: BTreeMap<String, ExportedIntegration> = shown
            .into_iter()
            .map(|shown| (shown.integration.arn.clone(), shown))
            .collect();
        let snapshot = of(by_arn.values().cloned().collect());
        let page = ParsedPage::read(&scrape(&snapshot, START));
        let mut series = BTreeSet::new();
        for sample in &page.samples {
            prop_assert!(series.insert((&sample.name, &sample.labels)), "duplicate series: {sample:?}");
        }
        prop_assert_eq!(page.find("aws_glue_integration_info", &[]).len(), by_arn.len());
        for (arn, ExportedIntegration { integration, labels: naming, .. }) in &by_arn {
            let of_it = [("integration_arn", arn.as_str())];
            let info = page.find("aws_glue_integration_info", &of_it);
            prop_assert_eq!(info.len(), 1);
            prop_assert_eq!(&info[0].labels["integration_name"], &naming.name);
            for (label, value) in &naming.tags {
                prop_assert_eq!(&info[0].labels[&**label], value);
            }
            prop_assert_eq!(&info[0].labels["source_arn"], &integration.source_arn);
            prop_assert_eq!(&info[0].labels["target_arn"], &integration.target_arn);
            prop_assert_eq!(page.status(arn), Some(integration.status.as_str().to_owned()));
            let created = page.value("aws_glue_integration_created_timestamp_seconds", &of_it);
            prop_assert_eq!(created, integration.created);
            let codes = page.find("aws_glue_integration_errors_by_code", &of_it);
            let counted: f64 = codes.iter().map(|code| code.value).sum();
            prop_assert_eq!(Some(counted), page.value("aws_glue_integration_errors", &of_it));
            for code in codes {
                let code_name = &code.labels["error_code"];
                if !["none", "other"].contains(&code_name.as_str()) {
                    let sent = integration.errors.iter().filter(|error| error.code.as_ref() == Some(code_name));
                    prop_assert_eq!(code.value, f64::from(u32::try_from(sent.count()).unwrap()));
                }
            }
        }
    }
}
