//! A parser of the text format.

use std::collections::{BTreeMap, BTreeSet};

type Labels = BTreeMap<String, String>;

/// A parsed exposition.
#[derive(Clone, Debug, Default)]
pub struct Scrape {
    samples: BTreeMap<(String, Labels), f64>,
}

impl Scrape {
    /// Parses `text`. Panics if it violates the text format or has a duplicate series.
    pub fn of(text: &str) -> Self {
        assert!(text.ends_with('\n'), "the last line has no line feed");
        let mut samples = BTreeMap::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let end = line.find(['{', ' ']).unwrap_or_else(|| panic!("{line}"));
            let (name, mut rest) = line.split_at(end);
            let mut labels = Labels::new();
            if let Some(inner) = rest.strip_prefix('{') {
                rest = inner;
                while !rest.starts_with('}') {
                    let (label, value) = rest.split_once("=\"").unwrap();
                    let mut escaped = false;
                    let quote = value
                        .find(|c| {
                            let ends = c == '"' && !escaped;
                            escaped = c == '\\' && !escaped;
                            ends
                        })
                        .unwrap_or_else(|| panic!("{line}"));
                    labels.insert(label.to_owned(), value[..quote].to_owned());
                    rest = value[quote + 1..].trim_start_matches(',');
                }
                rest = &rest[1..];
            }
            let value = rest.trim_start().parse().unwrap();
            let duplicate = samples.insert((name.to_owned(), labels), value);
            assert!(duplicate.is_none(), "duplicate series: {line}");
        }
        Self { samples }
    }

    /// Returns all series.
    pub fn series(&self) -> BTreeSet<&(String, Labels)> {
        self.samples.keys().collect()
    }

    pub fn names_with(&self, prefix: &str) -> Vec<&str> {
        let mut names: Vec<&str> = self.samples.keys().map(|(name, _)| name.as_str()).collect();
        names.dedup();
        names.retain(|name| name.starts_with(prefix));
        names
    }

    /// Returns the samples of a metric whose labels include `labels`.
    pub fn rows(&self, name: &str, labels: &[(&str, &str)]) -> Vec<(&Labels, f64)> {
        self.samples
            .iter()
            .filter(|((found, with), _)| {
                found == name
                    && labels
                        .iter()
                        .all(|(key, value)| with.get(*key).is_some_and(|found| found == value))
            })
            .map(|((_, with), value)| (with, *value))
            .collect()
    }

    /// Returns the value of the only sample with these labels, or `None` if there is none.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let rows = self.rows(name, labels);
        assert!(rows.len() < 2, "{name} {labels:?}: {rows:?}");
        rows.first().map(|(_, value)| *value)
    }

    /// Returns the value of a metric of an integration.
    pub fn of_arn(&self, name: &str, arn: &str) -> Option<f64> {
        self.value(
            &format!("aws_glue_integration_{name}"),
            &[("integration_arn", arn)],
        )
    }

    /// Returns the value of a metric of a scope.
    pub fn of_scope(&self, name: &str, scope: &str) -> Option<f64> {
        self.value(
            &format!("glue_integration_exporter_{name}"),
            &[("scope", scope)],
        )
    }

    /// Returns the status of an integration: the only one of exactly eight samples that is 1.
    pub fn status(&self, arn: &str) -> Option<&str> {
        let rows = self.rows("aws_glue_integration_status", &[("integration_arn", arn)]);
        if rows.is_empty() {
            return None;
        }
        assert_eq!(rows.len(), 8, "{rows:?}");
        assert!(rows.iter().all(|(_, value)| [0.0, 1.0].contains(value)));
        let current: Vec<&Labels> = rows
            .iter()
            .filter(|(_, value)| *value > 0.0)
            .map(|(labels, _)| *labels)
            .collect();
        assert_eq!(current.len(), 1, "{rows:?}");
        current[0].get("status").map(String::as_str)
    }
}
