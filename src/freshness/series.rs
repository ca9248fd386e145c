//! The metrics that tell about the data, and the integrations to which their series belong.

use super::Wanted;
use crate::arn::canonical_arn;
use crate::glue::cloudwatch::{Metric, Statistic};
use std::collections::HashMap;

/// Longer table names are cut, because each sample repeats the name.
const MAX_TABLE_NAME_CHARS: usize = 256;
const NAMESPACE: Option<&str> = Some("AWS/Glue/ZeroETL");
/// 1973 in milliseconds, and the year 5138 in seconds.
const MIN_MILLISECONDS: f64 = 1e11;
const YEAR_2000: f64 = 946_684_800.0;
const DAY_SECONDS: f64 = 86_400.0;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Success,
    Failure,
    SyncedUntil,
    ReplicationLag,
    FailedTables,
}

pub(super) struct MetricKind {
    pub name: &'static str,
    /// `None` if it is documented nowhere, so that all namespaces are listed.
    pub namespace: Option<&'static str>,
    pub statistic: Statistic,
    pub value: Value,
}

pub(super) const METRICS: [MetricKind; 5] = [
    MetricKind {
        name: "IngestionSucceeded",
        namespace: NAMESPACE,
        statistic: Statistic::Sum,
        value: Value::Success,
    },
    MetricKind {
        name: "IngestionFailed",
        namespace: NAMESPACE,
        statistic: Statistic::Sum,
        value: Value::Failure,
    },
    MetricKind {
        name: "LastSyncTimestamp",
        namespace: NAMESPACE,
        statistic: Statistic::Maximum,
        value: Value::SyncedUntil,
    },
    MetricKind {
        name: "IntegrationLag",
        namespace: None,
        statistic: Statistic::Maximum,
        value: Value::ReplicationLag,
    },
    MetricKind {
        name: "IntegrationNumTablesFailedReplication",
        namespace: None,
        statistic: Statistic::Maximum,
        value: Value::FailedTables,
    },
];

/// What a sample says: values are compared by the first number, and the second one is exported.
pub(super) type Reading = (f64, f64);

impl MetricKind {
    pub fn is_of_redshift(&self) -> bool {
        matches!(self.value, Value::ReplicationLag | Value::FailedTables)
    }

    /// Returns `None` if the sample says nothing: a count of 0, or a number that cannot be right.
    pub fn read(&self, minute: i64, value: f64, now: f64) -> Option<Reading> {
        #[allow(clippy::cast_precision_loss, reason = "exact for 285 million years")]
        let minute = minute as f64;
        match self.value {
            Value::Success | Value::Failure => (value > 0.0).then_some((minute, minute)),
            Value::SyncedUntil => {
                let is_millis = value > MIN_MILLISECONDS;
                let time = if is_millis { value / 1000.0 } else { value };
                let possible = YEAR_2000..=now + DAY_SECONDS;
                possible.contains(&time).then_some((time, time))
            }
            Value::ReplicationLag | Value::FailedTables => {
                value.is_finite().then_some((minute, value))
            }
        }
    }
}

/// A series of an integration.
pub(super) struct Series<'a> {
    pub metric: Metric,
    /// The canonical ARN of the integration.
    pub arn: &'a str,
    pub checked: Option<f64>,
    /// Empty if the metric is of the whole integration.
    pub table: String,
}

/// Finds the integration of a series.
pub(super) struct Owners<'a> {
    wanted: &'a Wanted,
    /// The canonical ARNs of integrations with a Redshift target, by their UUID.
    redshift: HashMap<&'a str, &'a str>,
}

impl<'a> Owners<'a> {
    pub fn new(wanted: &'a Wanted) -> Self {
        let redshift = wanted.iter().filter(|(_, it)| it.has_redshift_target);
        let id = |arn: &'a str| arn.rsplit(':').next().unwrap_or(arn);
        Self {
            wanted,
            redshift: redshift.map(|(arn, _)| (id(arn), arn.as_str())).collect(),
        }
    }

    pub fn may_have(&self, kind: &MetricKind) -> bool {
        if kind.is_of_redshift() {
            !self.redshift.is_empty()
        } else {
            !self.wanted.is_empty()
        }
    }

    /// Returns `None` if the metric is of no integration of the scope.
    pub fn series(&self, kind: &MetricKind, metric: Metric) -> Option<Series<'a>> {
        let (arn, table) = if kind.is_of_redshift() {
            let id = dimension(&metric, "IntegrationId")?;
            (*self.redshift.get(id)?, String::new())
        } else {
            let table = dimension(&metric, "tableName").filter(|name| !name.is_empty())?;
            let table = table.chars().take(MAX_TABLE_NAME_CHARS).collect();
            let arn = canonical_arn(dimension(&metric, "integrationArn")?);
            let (arn, _) = self.wanted.get_key_value(arn.as_ref())?;
            (arn.as_str(), table)
        };
        let checked = self.wanted.get(arn)?.checked;
        Some(Series {
            metric,
            arn,
            checked,
            table,
        })
    }
}

fn dimension<'a>(metric: &'a Metric, name: &str) -> Option<&'a str> {
    let mut dimensions = metric.dimensions.iter();
    let found = dimensions.find(|(dimension, _)| dimension == name);
    found.map(|(_, value)| value.as_str())
}
