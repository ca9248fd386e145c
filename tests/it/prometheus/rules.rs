//! The rules files in the format of Prometheus.

use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

pub const ALERTS: &str = "deploy/prometheus/alerts.yaml";
pub const FRESHNESS: &str = "deploy/prometheus/freshness.yaml";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    pub name: String,
    pub rules: Vec<Rule>,
}

/// A recording rule or an alert.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    pub record: Option<String>,
    pub alert: Option<String>,
    pub expr: String,
    #[serde(rename = "for")]
    pub pending: Option<String>,
    pub keep_firing_for: Option<String>,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}

impl Rule {
    pub fn name(&self) -> &str {
        let name = self.record.as_deref().or(self.alert.as_deref());
        name.expect("a rule records or alerts")
    }
}

pub fn path(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(file)
}

/// Returns the groups of a file, each with its rules in evaluation order.
pub fn of(file: &str) -> Vec<Group> {
    let text = fs::read_to_string(path(file)).unwrap();
    let file: File = serde_yaml::from_str(&text).unwrap();
    file.groups
}

/// Returns the groups of both files.
pub fn groups() -> Vec<Group> {
    [of(ALERTS), of(FRESHNESS)].into_iter().flatten().collect()
}

pub fn all() -> Vec<Rule> {
    groups().into_iter().flat_map(|group| group.rules).collect()
}

pub fn alerts() -> Vec<Rule> {
    let rules = all().into_iter();
    rules.filter(|rule| rule.alert.is_some()).collect()
}
