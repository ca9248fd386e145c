//! One row per metric: its description, and the function that writes its samples.

use super::text_format::{Format, Metric, MetricType, end_sample, label, metadata, sample};
use std::sync::Arc;

pub(crate) struct Family<T: 'static> {
    /// Its labels do not include the labels that identify the item.
    pub metric: Metric,
    pub write: fn(&T, &mut Samples<'_>),
}

pub(crate) struct Samples<'a> {
    text: &'a mut String,
    metric: &'a Metric,
    identity: &'a str,
}

pub(crate) const fn gauge<T>(
    name: &'static str,
    help: &'static str,
    write: fn(&T, &mut Samples<'_>),
) -> Family<T> {
    family(MetricType::Gauge, name, &[], help, write)
}

pub(crate) const fn counter<T>(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
    write: fn(&T, &mut Samples<'_>),
) -> Family<T> {
    family(MetricType::Counter, name, labels, help, write)
}

pub(crate) const fn family<T>(
    kind: MetricType,
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
    write: fn(&T, &mut Samples<'_>),
) -> Family<T> {
    let metric = Metric {
        name,
        kind,
        labels,
        help,
    };
    Family { metric, write }
}

impl<T> Family<T> {
    /// Returns the samples of items, each with the text of its identity labels.
    pub fn samples<'a>(&self, items: impl Iterator<Item = (&'a String, &'a T)>) -> String {
        let mut text = String::new();
        for (identity, item) in items {
            self.add(&mut text, identity, item);
        }
        text
    }

    fn add(&self, text: &mut String, identity: &str, item: &T) {
        let mut samples = Samples {
            text,
            metric: &self.metric,
            identity,
        };
        (self.write)(item, &mut samples);
    }

    /// Appends the metadata and the samples of a metric with a single item, or nothing if there are no samples.
    pub fn append(&self, text: &mut String, format: Format, item: &T) {
        let start = text.len();
        metadata(text, format, &self.metric);
        let samples = text.len();
        self.add(text, "", item);
        if text.len() == samples {
            text.truncate(start);
        }
    }
}

impl Samples<'_> {
    /// Adds a sample without further labels, if there is a value.
    pub fn value(&mut self, value: impl Into<Option<f64>>) {
        if let Some(value) = value.into() {
            sample(self.text, self.metric.name, self.identity, value);
        }
    }

    pub fn labelled(&mut self, values: &[&str], value: f64) {
        self.tagged(values, &[], value);
    }

    pub fn tagged(&mut self, values: &[&str], tags: &[(Arc<str>, String)], value: f64) {
        let labels = self.metric.labels.iter().copied();
        let tags = tags.iter().map(|(name, value)| (&**name, value.as_str()));
        self.text.extend([self.metric.name, "{", self.identity]);
        for (name, value) in labels.zip(values.iter().copied()).chain(tags) {
            if !self.text.ends_with('{') {
                self.text.push(',');
            }
            label(self.text, name, value);
        }
        self.text.push('}');
        end_sample(self.text, value);
    }

    /// Adds a sample with the text of all its labels. `suffix` follows the name, as in a histogram.
    pub fn rendered(&mut self, suffix: &str, labels: &str, value: f64) {
        self.text.push_str(self.metric.name);
        sample(self.text, suffix, labels, value);
    }
}
