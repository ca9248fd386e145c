//! Checks that the alert rules, runbooks and dashboards use only metrics and labels that exist, and that each alert has a runbook and
//! tests. The tests of promtool in tests/system/alerts check when the rules fire.
mod queries;
mod rules;
mod templates;

use queries::{Labels, Series};
use rules::Rule;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

const RUNBOOKS: &str = "docs/runbooks.md";
/// The pages whose queries must use existing metrics. The other pages also use labels of `tag_labels`.
const PAGES_WITH_QUERIES: [&str; 5] = [
    RUNBOOKS,
    "docs/alerts.md",
    "docs/failure-semantics.md",
    "docs/freshness.md",
    "docs/metrics.md",
];
/// The labels to which alerts about integrations aggregate.
const IDENTITY: [&str; 3] = ["aws_account_id", "aws_region", "integration_arn"];

/// Returns the labels of an alert.
fn labels(alert: &Rule, series: &Series) -> Labels {
    let labels = series.check(&alert.expr);
    let mut labels = labels.unwrap_or_else(|wrong| panic!("{}: {wrong}", alert.name()));
    labels.extend(alert.labels.keys().cloned());
    labels
}

#[test]
fn rules_use_existing_metrics() {
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

/// A group is evaluated in order, and a hosted ruler may evaluate the groups at different times. So a rule that reads a recorded series must
/// come after its recording rule in the same group. This also means that no rule reads its own result.
#[test]
fn rules_read_only_series_recorded_before_in_their_group() {
    let series = Series::known();
    let known: BTreeSet<&str> = series.recorded().into_iter().collect();
    let mut all_recorded = BTreeSet::new();
    for group in rules::groups() {
        let mut recorded = BTreeSet::new();
        for rule in group.rules {
            let place = format!("{} in the group {}", rule.name(), group.name);
            assert!(!rule.expr.contains("ALERTS"), "{place}");
            for name in &known {
                let reads = rule.expr.contains(name);
                assert!(!reads || recorded.contains(*name), "{place} reads {name}");
            }
            recorded.extend(rule.record);
        }
        all_recorded.extend(recorded);
    }
    assert_eq!(all_recorded, known.into_iter().map(str::to_owned).collect());
}

/// Mimir allows 20 rules in a group by default, and docs/alerts.md says that there are at most 10. The other limits keep the rules
/// readable.
#[test]
fn rules_are_few_and_short() {
    check_size(rules::ALERTS, 300, 3);
    check_size(rules::FRESHNESS, 120, 1);
}

#[allow(clippy::print_stdout, reason = "the test shows the numbers")]
fn check_size(file: &str, max_lines: usize, max_recording: usize) {
    let lines = fs::read_to_string(rules::path(file)).unwrap();
    let lines = lines.lines().count();
    let groups = rules::of(file);
    let largest = groups.iter().map(|group| group.rules.len()).max().unwrap();
    let count = groups.len();
    let rules: Vec<Rule> = groups.into_iter().flat_map(|group| group.rules).collect();
    let recording = rules.iter().filter(|rule| rule.record.is_some()).count();
    let expression = rules.iter().map(|rule| rule.expr.lines().count());
    let longest = expression.max().unwrap();
    println!(
        "{file}: {lines} lines, {recording} recording rules and {} alerts in {count} groups of at most {largest} rules; longest expression: {longest} lines",
        rules.len() - recording,
    );
    assert!(lines <= max_lines, "{file}: {lines} lines");
    assert!(
        recording <= max_recording,
        "{file}: {recording} recording rules"
    );
    assert!(largest <= 10, "{file}: {largest} rules in a group");
    assert!(longest <= 8, "{file}: {longest} lines in an expression");
}

#[test]
fn check_reports_unknown_metric_or_label() {
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
    // The inner aggregation removes the label.
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
fn check_reports_invalid_template() {
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

#[test]
fn alerts_have_severity_identity_and_runbook() {
    let series = Series::known();
    for alert in rules::alerts() {
        let name = alert.name();
        assert!(
            ["critical", "warning"].contains(&alert.labels["severity"].as_str()),
            "{name}"
        );
        assert_eq!(alert.labels.len(), 1, "{name}");
        assert!(alert.pending.is_some(), "{name}");
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
        let keep_firing_for = alert.keep_firing_for.as_deref();
        let mut labels = labels(&alert, &series);
        // The name and the instance may change while the alert fires, so they are not labels.
        if name.starts_with("GlueIntegration") {
            labels.remove("status");
            let identity = IDENTITY.iter().chain(&["severity"]);
            let identity: Labels = identity.map(|&label| label.to_owned()).collect();
            assert_eq!(labels, identity, "{name}");
            let named = [
                "integration:aws_glue_integration_info:one",
                "integration:glue_max_data_age_seconds:one",
            ]
            .map(|names| format!("{{{{ range printf \"{names}{{integration_arn=%q}}\" $labels.integration_arn | query -}}}} {{{{ or .Labels.integration_name .Labels.integration_arn }}}} ({{{{ .Labels.source_arn }}}} -> {{{{ .Labels.target_arn }}}}) {{{{- else }}}}{{{{ $labels.integration_arn }}}}{{{{ end }}}} "));
            assert!(
                named
                    .iter()
                    .any(|named| alert.annotations["summary"].starts_with(named)),
                "{name} does not name its integration: {}",
                alert.annotations["summary"]
            );
            // Longer than a restart or a replaced pod.
            assert_eq!(keep_firing_for, Some("15m"), "{name}");
        } else {
            assert!(!labels.contains("instance"), "{name}");
            assert_eq!(keep_firing_for, Some("5m"), "{name}");
        }
    }
}

/// Returns the titles and texts of the sections of the runbooks.
fn runbooks() -> Vec<(String, String)> {
    let text = fs::read_to_string(rules::path(RUNBOOKS)).unwrap();
    let sections = text.split("\n### ").skip(1);
    sections
        .map(|section| {
            let (title, text) = section.split_once('\n').unwrap();
            let text = text.split("\n## ").next().unwrap().trim_end();
            (title.to_owned(), text.to_owned())
        })
        .collect()
}

#[test]
fn alerts_and_runbooks_correspond() {
    let alerts: Vec<String> = rules::alerts()
        .iter()
        .map(|alert| alert.name().to_owned())
        .collect();
    let titles: Vec<String> = runbooks().into_iter().map(|(title, _)| title).collect();
    assert_eq!(titles, alerts);
    for (title, text) in runbooks() {
        for part in ["Fires when ", "**Impact.**", "**Look.**", "**Do.**"] {
            assert!(text.contains(part), "{title} has no {part}");
        }
        let lines = text.lines().count() + 1;
        assert!(lines <= 20, "{title} has {lines} lines");
    }
}

#[test]
fn alerts_page_quotes_rule_of_needs_attention() {
    let rules = fs::read_to_string(rules::path(rules::ALERTS)).unwrap();
    let mut rules = rules.lines();
    let text = fs::read_to_string(rules::path("docs/alerts.md")).unwrap();
    let (_, quoted) = text.split_once("```yaml\ngroups:\n").unwrap();
    let (quoted, _) = quoted.split_once("```").unwrap();
    assert!(quoted.contains("alert: GlueIntegrationNeedsAttention"));
    for line in quoted.lines() {
        assert!(rules.any(|rule| rule == line), "{line}");
    }
}

/// Each paragraph of a `promql` block is a query.
#[test]
fn queries_of_pages_use_existing_metrics() {
    let series = Series::known();
    for page in PAGES_WITH_QUERIES {
        let text = fs::read_to_string(rules::path(page)).unwrap();
        let blocks = text.split("```promql\n").skip(1);
        let blocks: Vec<&str> = blocks.filter_map(|it| it.split("```").next()).collect();
        assert!(!blocks.is_empty(), "{page} has no queries");
        for query in blocks.iter().flat_map(|block| block.split("\n\n")) {
            series
                .check(query)
                .unwrap_or_else(|wrong| panic!("{page}: {query}: {wrong}"));
        }
    }
}

#[test]
fn alerts_have_positive_and_negative_tests() {
    let mut fires: BTreeMap<String, BTreeSet<bool>> = BTreeMap::new();
    for file in fs::read_dir(rules::path("tests/system/alerts")).unwrap() {
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

/// Replaces the Grafana variables of a query by values.
fn interpolate(query: &str) -> String {
    let mut query = query.to_owned();
    for interval in ["$__rate_interval", "$__interval", "$__range"] {
        query = query.replace(interval, "5m");
    }
    query
}

/// Collects each query of a dashboard with its legend, and each `label_values` of a variable.
fn collect_queries<'a>(json: &'a Value, found: &mut Vec<(&'a str, &'a str)>) {
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
                .for_each(|member| collect_queries(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| collect_queries(item, found)),
        _ => {}
    }
}

fn check_dashboard_query(query: &str, legend: &str, series: &Series) -> Result<(), String> {
    let values = query.strip_prefix("label_values(");
    let (query, labels) = match values.and_then(|rest| rest.strip_suffix(')')?.rsplit_once(',')) {
        Some((query, label)) => (query, vec![label.trim()]),
        None => {
            let labels = legend.split("{{").skip(1);
            let labels = labels.filter_map(|rest| rest.split_once("}}"));
            (query, labels.map(|(label, _)| label.trim()).collect())
        }
    };
    let result = series.check(&interpolate(query))?;
    let mut labels = labels.into_iter();
    labels.try_for_each(|label| queries::has(&result, label, "the result"))
}

#[test]
fn dashboards_use_existing_metrics() {
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
        collect_queries(&json, &mut found);
        assert!(!found.is_empty(), "{} has no queries", path.display());
        let name = path.file_name().map(Path::new).unwrap().display();
        for (query, legend) in found {
            check_dashboard_query(query, legend, &series)
                .unwrap_or_else(|wrong| panic!("{name}: {query}: {wrong}"));
        }
    }
}

#[test]
fn check_reports_invalid_dashboard_query() {
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
    collect_queries(&json, &mut found);
    let complaints = found
        .into_iter()
        .filter_map(|(query, legend)| check_dashboard_query(query, legend, &series).err());
    let complaints: Vec<String> = complaints.collect();
    assert_eq!(complaints.len(), 4, "{complaints:#?}");
    assert!(complaints[0].contains("no label scope"));
    assert!(complaints[1].contains("no metric glue_integration_exporter_poll_failures"));
    assert!(complaints[2].contains("no label total"));
    assert!(complaints[3].contains("no label scope"));
}
