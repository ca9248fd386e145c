//! The alert rules, their runbooks and tests, and the dashboards: every metric and label that they ask for exists, and nothing of them
//! lacks its counterpart. What the rules fire for is tested by promtool: tests/world/alerts.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod queries;
mod rules;
mod templates;

use queries::{Labels, Series};
use rules::Rule;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

const RUNBOOKS: &str = "deploy/prometheus/runbooks.md";
/// What everything about an integration is first aggregated to.
const IDENTITY: [&str; 3] = ["aws_account_id", "aws_region", "integration_arn"];

/// The labels of an alert.
fn labels(alert: &Rule, series: &Series) -> Labels {
    let labels = series.check(&alert.expr);
    let mut labels = labels.unwrap_or_else(|wrong| panic!("{}: {wrong}", alert.name()));
    labels.extend(alert.labels.keys().cloned());
    labels
}

#[test]
fn the_rules_ask_for_what_exists() {
    let series = Series::known();
    for rule in rules::all() {
        let labels = labels(&rule, &series);
        if let Some(record) = &rule.record {
            assert_eq!(Ok(&labels), series.labels(record), "{record}");
        }
        for (annotation, template) in &rule.annotations {
            templates::check(template, &labels, &series)
                .unwrap_or_else(|wrong| panic!("{} of {}: {wrong}", annotation, rule.name()));
        }
    }
}

/// A group is evaluated from its beginning to its end: what is recorded later is that of the time before.
#[test]
fn what_is_recorded_is_known_and_read_after_it_is_written() {
    let series = Series::known();
    let known: BTreeSet<&str> = series.recorded().into_iter().collect();
    let rules = rules::all();
    let mut written = BTreeSet::new();
    for rule in &rules {
        for name in known.difference(&written) {
            let reads = rule.expr.contains(name);
            assert!(!reads || rule.record.as_deref() == Some(name), "{name}");
        }
        written.extend(rule.record.as_deref());
    }
    assert_eq!(written, known);
}

#[test]
fn a_name_that_does_not_exist_is_found() {
    let series = Series::known();
    let wrong = |query: &str, complaint: &str| {
        let found = series.check(query).expect_err(query);
        assert!(found.contains(complaint), "{query}: {found}");
    };
    let status = "there is no metric aws_glue_integration_statuses";
    wrong("aws_glue_integration_statuses == 1", status);
    wrong("max(rate(aws_glue_integration_statuses[5m]))", status);
    wrong(
        "up unless on (job) (vector(1) and aws_glue_integration_statuses)",
        status,
    );
    wrong(
        "max_over_time(max by (integration_arn) (aws_glue_integration_statuses)[1h:1m])",
        status,
    );
    let arn = "has no label arn";
    wrong("aws_glue_integration_errors{arn=\"a\"}", arn);
    wrong("rate(aws_glue_integration_errors{arn!~\"a\"}[5m])", arn);
    wrong("max by (arn) (aws_glue_integration_errors)", arn);
    wrong("max without (arn) (aws_glue_integration_errors)", arn);
    wrong(
        "aws_glue_integration_errors and on (arn) aws_glue_integration_info",
        arn,
    );
    wrong(
        "aws_glue_integration_errors and ignoring (arn) aws_glue_integration_info",
        arn,
    );
    wrong(
        "aws_glue_integration_errors * on (integration_arn) group_left (arn) aws_glue_integration_info",
        arn,
    );
    // A label that was there and is aggregated away.
    wrong(
        "max by (status) (max by (integration_arn) (aws_glue_integration_status))",
        "has no label status",
    );
    wrong(
        "max by (aws_region) (aws_glue_integration_errors) > max by (scope) (glue_integration_exporter_scope_up)",
        "are matched with",
    );
    wrong("{job=\"glue\"}", "must name its metric");
    wrong(
        "glue_integration_exporter_api_request_duration_seconds",
        "there is no metric",
    );
    wrong("max by (", "");
    series
        .check(
            "histogram_quantile(0.9, sum by (le, operation) (rate(glue_integration_exporter_api_request_duration_seconds_bucket[5m])))",
        )
        .unwrap();
}

#[test]
fn a_wrong_template_is_found() {
    let series = Series::known();
    let labels: Labels = ["integration_arn".to_owned()].into();
    let wrong = |template: &str, complaint: &str| {
        let found = templates::check(template, &labels, &series).expect_err(template);
        assert!(found.contains(complaint), "{template}: {found}");
    };
    wrong("{{ $labels.arn }}", "the alert has no label arn");
    wrong(
        "{{ range query \"aws_glue_integration_name\" }}{{ end }}",
        "there is no metric",
    );
    wrong(
        "{{ range printf \"up{job=%q}\" $labels.arn | query }}{{ end }}",
        "has no label arn",
    );
    wrong(
        "{{ range query \"up\" }}{{ .Labels.name }}{{ end }}",
        "has no label name",
    );
    wrong(
        "{{ range query \"up\" | sortByLabel \"name\" }}{{ end }}",
        "has no label name",
    );
    wrong("{{ with $value }}", "an end is missing");
}

/// `1h30m` in minutes.
fn minutes(duration: &str) -> u32 {
    let (number, unit) = duration.split_at(duration.len() - 1);
    let number: u32 = number.parse().unwrap();
    match unit {
        "s" => number / 60,
        "m" => number,
        "h" => number * 60,
        _ => panic!("{duration}"),
    }
}

#[test]
fn each_alert_says_how_bad_it_is_what_it_is_about_and_what_to_do() {
    let series = Series::known();
    for alert in rules::alerts() {
        let name = alert.name();
        assert!(
            ["critical", "warning"].contains(&alert.labels["severity"].as_str()),
            "{name}"
        );
        assert_eq!(alert.labels.len(), 1, "{name}");
        assert!(alert.pending.is_some(), "{name}");
        // A pod is replaced in less.
        assert!(
            minutes(alert.keep_firing_for.as_deref().expect(name)) >= 5,
            "{name}"
        );
        let annotations: Vec<_> = alert.annotations.keys().map(String::as_str).collect();
        assert_eq!(
            annotations,
            ["description", "runbook_url", "summary"],
            "{name}"
        );
        assert_eq!(
            alert.annotations["runbook_url"],
            format!("{RUNBOOKS}#{}", name.to_lowercase())
        );
        let labels = labels(&alert, &series);
        if name.starts_with("GlueIntegration") {
            let mut identity: Labels = IDENTITY.map(str::to_owned).into();
            identity.insert("severity".to_owned());
            if name == "GlueIntegrationStuck" {
                identity.insert("status".to_owned());
            }
            // Neither a name nor who says so: both may change while it goes on.
            assert_eq!(labels, identity, "{name}");
            let by = IDENTITY.join(", ");
            assert!(alert.expr.contains(&format!("max by ({by}")), "{name}");
            let named = "{{ range printf \"integration:aws_glue_integration_info:one{integration_arn=%q}\" $labels.integration_arn | query -}} {{ or .Labels.integration_name .Labels.integration_arn }} ({{ .Labels.source_arn }} -> {{ .Labels.target_arn }}) {{- else }}{{ $labels.integration_arn }}{{ end }} ";
            assert!(
                alert.annotations["summary"].starts_with(named),
                "{name} does not name its integration: {}",
                alert.annotations["summary"]
            );
        } else {
            assert!(!labels.contains("instance"), "{name}");
        }
    }
}

/// The sections of the runbook, each with its text.
fn runbooks() -> Vec<(String, String)> {
    let text = fs::read_to_string(rules::path(RUNBOOKS)).unwrap();
    let sections = text.split("\n### ").skip(1);
    sections
        .map(|section| {
            let (title, text) = section.split_once('\n').unwrap();
            (title.to_owned(), text.to_owned())
        })
        .collect()
}

#[test]
fn each_alert_has_a_runbook_and_each_runbook_an_alert() {
    let alerts: Vec<String> = rules::alerts()
        .iter()
        .map(|alert| alert.name().to_owned())
        .collect();
    let titles: Vec<String> = runbooks().into_iter().map(|(title, _)| title).collect();
    assert_eq!(titles, alerts);
    for (title, text) in runbooks() {
        for part in [
            "Fires when ",
            "**Means.**",
            "**Look.**",
            "**Do.**",
            "**Silence**",
        ] {
            assert!(text.contains(part), "{title} lacks {part}");
        }
    }
}

/// What people are told to ask Prometheus must be answered.
#[test]
fn the_queries_of_the_runbooks_ask_for_what_exists() {
    let series = Series::known();
    let mut asked = 0;
    for (title, text) in runbooks() {
        for block in text.split("```promql\n").skip(1) {
            let (block, _) = block.split_once("```").unwrap();
            for query in block
                .lines()
                .filter(|line| !line.is_empty() && !line.starts_with('#'))
            {
                series
                    .check(query)
                    .unwrap_or_else(|wrong| panic!("{title}: {query}: {wrong}"));
                asked += 1;
            }
        }
    }
    assert!(asked > 0);
}

#[test]
fn each_alert_is_tested_to_fire_and_not_to_fire() {
    let mut fires: BTreeMap<String, BTreeSet<bool>> = BTreeMap::new();
    for file in fs::read_dir(rules::path("tests/world/alerts")).unwrap() {
        let text = fs::read_to_string(file.unwrap().path()).unwrap();
        let file: serde_yaml::Value = serde_yaml::from_str(&text).unwrap();
        for test in file["tests"].as_sequence().unwrap() {
            for case in test["alert_rule_test"].as_sequence().into_iter().flatten() {
                let name = case["alertname"].as_str().unwrap().to_owned();
                let expected = case["exp_alerts"].as_sequence();
                let expected = expected.is_some_and(|alerts| !alerts.is_empty());
                fires.entry(name).or_default().insert(expected);
            }
        }
    }
    let alerts = rules::alerts();
    let alerts = alerts.iter().map(|alert| alert.name().to_owned());
    let both = alerts.map(|name| (name, BTreeSet::from([false, true])));
    assert_eq!(fires, both.collect());
}

/// A query of a dashboard, with what Grafana puts in for its variables.
fn filled_in(query: &str) -> String {
    let mut query = query.to_owned();
    for interval in ["$__rate_interval", "$__interval", "$__range"] {
        query = query.replace(interval, "5m");
    }
    query
}

/// Each query of a dashboard, with the legend that goes with it, and each `label_values` of a variable.
fn queries_of<'a>(json: &'a Value, found: &mut Vec<(&'a str, &'a str)>) {
    match json {
        Value::Object(members) => {
            if let Some(query) = members.get("expr").and_then(Value::as_str) {
                let legend = members.get("legendFormat").and_then(Value::as_str);
                found.push((query, legend.unwrap_or_default()));
            }
            for name in ["query", "definition"] {
                if let Some(query) = members.get(name).and_then(Value::as_str)
                    && query.starts_with("label_values(")
                {
                    found.push((query, ""));
                }
            }
            members
                .values()
                .for_each(|member| queries_of(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| queries_of(item, found)),
        _ => {}
    }
}

fn check_of_dashboard(query: &str, legend: &str, series: &Series) -> Result<(), String> {
    let values = query.strip_prefix("label_values(");
    let (query, labels) = match values.and_then(|rest| rest.strip_suffix(')')?.rsplit_once(',')) {
        Some((query, label)) => (query, vec![label.trim()]),
        None => {
            let labels = legend.split("{{").skip(1);
            let labels = labels.filter_map(|rest| rest.split_once("}}"));
            (query, labels.map(|(label, _)| label.trim()).collect())
        }
    };
    let result = series.check(&filled_in(query))?;
    let mut labels = labels.into_iter();
    labels.try_for_each(|label| queries::has(&result, label, "the result"))
}

#[test]
fn the_dashboards_ask_for_what_exists() {
    let series = Series::known();
    let directory = rules::path("deploy/grafana");
    let files = fs::read_dir(&directory).into_iter().flatten();
    let dashboards = files.map(|file| file.unwrap().path()).filter(|path| {
        path.extension()
            .is_some_and(|extension| extension == "json")
    });
    for path in dashboards {
        let json: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        let mut found = Vec::new();
        queries_of(&json, &mut found);
        assert!(!found.is_empty(), "{} asks for nothing", path.display());
        let name = path.file_name().map(Path::new).unwrap().display();
        for (query, legend) in found {
            check_of_dashboard(query, legend, &series)
                .unwrap_or_else(|wrong| panic!("{name}: {query}: {wrong}"));
        }
    }
}

#[test]
fn a_wrong_query_of_a_dashboard_is_found() {
    let series = Series::known();
    let json = serde_json::json!({"panels": [
        {"targets": [{"expr": "sum by (reason) (rate(glue_integration_exporter_poll_failures_total{job=~\"$job\"}[$__rate_interval]))", "legendFormat": "{{reason}}"}]},
        {"panels": [{"targets": [{"expr": "sum by (reason) (glue_integration_exporter_poll_failures_total)", "legendFormat": "{{ scope }}"}]}]},
        {"targets": [{"expr": "glue_integration_exporter_poll_failures"}]},
        {"targets": [{"expr": "label_replace(glue_integration_exporter_shards, \"of\", \"$1\", \"total\", \"(.*)\")"}]},
        {"targets": [{"expr": "label_replace(glue_integration_exporter_shards, \"of\", \"us\", \"\", \"\")", "legendFormat": "{{of}}"}]}
    ], "templating": {"list": [
        {"query": {"query": "label_values(glue_integration_exporter_build_info, job)"}},
        {"definition": "label_values(glue_integration_exporter_build_info, scope)"},
    ]}});
    let mut found = Vec::new();
    queries_of(&json, &mut found);
    let complaints = found
        .into_iter()
        .filter_map(|(query, legend)| check_of_dashboard(query, legend, &series).err());
    let complaints: Vec<String> = complaints.collect();
    assert_eq!(complaints.len(), 4, "{complaints:#?}");
    assert!(complaints[0].contains("no label scope"));
    assert!(complaints[1].contains("no metric glue_integration_exporter_poll_failures"));
    assert!(complaints[2].contains("no label total"));
    assert!(complaints[3].contains("no label scope"));
}
