//! Counters with labels. Not the crate's own vectors: reading those copies every name and value of every label, which took a
//! sixth of a small scrape for some 100 rows, and each scope adds 13.

use super::text_format::{Metric, Samples, Text, count, label};
use prometheus::core::{Atomic, AtomicU64};
use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

/// A counter for each set of values of its labels.
#[derive(Debug)]
pub struct Counters {
    metric: Metric,
    /// By the labels as they stand in the braces.
    rows: RwLock<BTreeMap<String, AtomicU64>>,
}

impl Counters {
    /// Without any row.
    pub fn new(metric: Metric) -> Self {
        Self {
            metric,
            rows: RwLock::default(),
        }
    }

    /// Adds `number` to the row with these values of the labels. A row that is not there starts at 0 first.
    pub fn add(&self, values: &[&str], number: u64) {
        let labels = self.labels(values);
        let rows = self.rows.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(row) = rows.get(&labels) {
            row.inc_by(number);
            return;
        }
        drop(rows);
        self.rows
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(labels)
            .or_insert_with(|| AtomicU64::new(0))
            .inc_by(number);
    }

    /// Ends the row with these values of the labels.
    pub fn remove(&self, values: &[&str]) {
        let mut rows = self.rows.write().unwrap_or_else(PoisonError::into_inner);
        rows.remove(&self.labels(values));
    }

    /// Writes all rows.
    pub fn write(&self, text: &mut Text) {
        let rows = self.rows.read().unwrap_or_else(PoisonError::into_inner);
        let mut samples = Samples::default();
        for (labels, row) in &*rows {
            samples.add(self.metric.name, labels, count(row.get()));
        }
        text.family(&self.metric, &samples);
    }

    fn labels(&self, values: &[&str]) -> String {
        let mut labels = String::new();
        for (name, value) in self.metric.labels.iter().zip(values) {
            label(&mut labels, name, value);
        }
        labels
    }
}
