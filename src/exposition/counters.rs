//! Counters with labels. The vectors of the `prometheus` crate are not used: reading them copies every label name and value, which
//! took a sixth of the time of a small scrape with about 100 series. Each scope adds 13 series.

use super::text_format::{Metric, Samples, Writer, count, label};
use parking_lot::RwLock;
use prometheus::core::{Atomic, AtomicU64};
use std::collections::BTreeMap;

/// A counter for each combination of label values.
#[derive(Debug)]
pub struct CounterVec {
    metric: Metric,
    /// By the text between the braces of the sample.
    series: RwLock<BTreeMap<String, AtomicU64>>,
}

impl CounterVec {
    /// Creates counters without any series.
    pub fn new(metric: Metric) -> Self {
        Self {
            metric,
            series: RwLock::default(),
        }
    }

    /// Adds `number` to the series with these label values. Creates the series if it does not exist.
    pub fn add(&self, values: &[&str], number: u64) {
        let labels = self.labels(values);
        let series = self.series.read();
        if let Some(counter) = series.get(&labels) {
            counter.inc_by(number);
            return;
        }
        drop(series);
        self.series
            .write()
            .entry(labels)
            .or_insert_with(|| AtomicU64::new(0))
            .inc_by(number);
    }

    /// Removes the series with these label values.
    pub fn remove(&self, values: &[&str]) {
        let mut series = self.series.write();
        series.remove(&self.labels(values));
    }

    /// Writes all series.
    pub fn write(&self, writer: &mut Writer) {
        let series = self.series.read();
        let mut samples = Samples::default();
        for (labels, counter) in &*series {
            samples.add(self.metric.name, labels, count(counter.get()));
        }
        writer.family(&self.metric, &samples);
    }

    fn labels(&self, values: &[&str]) -> String {
        let mut labels = String::new();
        for (name, value) in self.metric.labels.iter().zip(values) {
            label(&mut labels, name, value);
        }
        labels
    }
}
