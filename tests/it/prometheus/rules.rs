//! The rules file in the format of Prometheus.

use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    name: String,
    rules: Vec<Rule>,
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

/// Returns the rules in evaluation order. They form one group.
pub fn all() -> Vec<Rule> {
    let text = fs::read_to_string(path("deploy/prometheus/alerts.yaml")).unwrap();
    let file: File = serde_yaml::from_str(&text).unwrap();
    let [group] = <[Group; 1]>::try_from(file.groups).ok().expect("one group");
    assert_eq!(group.name, "glue-integration-exporter");
    group.rules
}

pub fn alerts() -> Vec<Rule> {
    let rules = all().into_iter();
    rules.filter(|rule| rule.alert.is_some()).collect()
}
