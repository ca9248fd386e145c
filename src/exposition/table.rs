//! The table of all metrics in the README.

use super::families::{AGE, IDENTITY, INTEGRATION, PRESENCE, SCOPE, SCOPES};
use super::process;
use super::text_format::Metric;
use crate::telemetry;

/// Returns every metric with all of its labels, sorted by name.
pub fn metrics() -> Vec<(Metric, Vec<&'static str>)> {
    let with = |first: &[&'static str], metric: Metric| (metric, [first, metric.labels].concat());
    let integrations = INTEGRATION.iter().map(|family| family.metric);
    let presence = PRESENCE.iter().map(|family| family.metric);
    let mut all: Vec<_> = integrations
        .chain(presence)
        .chain([AGE])
        .map(|metric| with(IDENTITY, metric))
        .chain(SCOPES.iter().map(|family| with(SCOPE, family.metric)))
        .chain(telemetry::METRICS.iter().map(|metric| with(&[], *metric)))
        .chain(process::METRICS.iter().map(|metric| with(&[], *metric)))
        .collect();
    all.sort_by_key(|(metric, _)| metric.name);
    all
}

/// Returns the table in Markdown.
pub fn markdown() -> String {
    let mut table = String::from("| metric | type | labels | meaning |\n|---|---|---|---|\n");
    for (metric, labels) in metrics() {
        let mut labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
        if metric.tagged {
            labels.push("the labels of `tag_labels`".to_owned());
        }
        table.push_str(&format!(
            "| `{}` | {} | {} | {} |\n",
            metric.name,
            metric.kind.as_str(),
            labels.join(", "),
            metric.help
        ));
    }
    table
}
