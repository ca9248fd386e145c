//! The metrics of an integration. Their samples are a function of time, so the past exists from the start.

use super::integration::{SimulatedIntegration, SimulatedTable, arn_field, arn_id};
use serde::{Deserialize, Serialize};
use std::num::NonZeroU32;
use std::ops::Range;

const DEFAULT_INTERVAL_MINUTES: u32 = 15;
const DAY: i64 = 86_400;
/// How long CloudWatch keeps samples with a period of a minute.
const RETENTION: i64 = 15 * DAY;
/// `ListMetrics` returns a metric until it has been silent for two weeks.
const MAX_SILENCE: i64 = 14 * DAY;

#[derive(PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Dimension {
    name: String,
    value: String,
}

#[derive(PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Metric {
    pub namespace: String,
    pub metric_name: String,
    #[serde(default)]
    dimensions: Vec<Dimension>,
}

impl Metric {
    fn new(namespace: &str, name: &str, dimensions: &[(&str, &str)]) -> Self {
        let dimensions = dimensions.iter().map(|(name, value)| Dimension {
            name: (*name).to_owned(),
            value: (*value).to_owned(),
        });
        Self {
            namespace: namespace.to_owned(),
            metric_name: name.to_owned(),
            dimensions: dimensions.collect(),
        }
    }
}

/// The samples of a metric. Their times are the multiples of the interval within `reported`.
pub(super) struct Series {
    interval: i64,
    reported: Range<i64>,
    /// `None` if the value of a sample is its time.
    value: Option<f64>,
}

impl Series {
    /// Returns true if `ListMetrics` returns the metric.
    pub fn is_listed(&self, now: i64) -> bool {
        let window = now - MAX_SILENCE + 1..now + 1;
        self.samples(&window, now).next().is_some()
    }

    /// Returns the times and values of the samples within the window, the newest first.
    pub fn samples(&self, window: &Range<i64>, now: i64) -> impl Iterator<Item = (i64, f64)> {
        let start = window.start.max(self.reported.start).max(now - RETENTION);
        let end = window.end.min(self.reported.end).min(now + 1);
        // Samples are numbered by their times. This is the number of the first one from a time on.
        let first_from = |time: i64| {
            time.saturating_add(self.interval - 1)
                .div_euclid(self.interval)
        };
        let numbers = (first_from(start)..first_from(end)).rev();
        let times = numbers.map(|number| number * self.interval);
        #[allow(clippy::cast_precision_loss, reason = "far below 2^53")]
        times.map(|time| (time, self.value.unwrap_or(time as f64)))
    }
}

/// Returns the metrics of an integration, always in the same order.
pub(super) fn metrics_of(integration: &SimulatedIntegration) -> Vec<(Metric, Series)> {
    #[allow(clippy::cast_possible_truncation, reason = "`as` saturates")]
    let created = integration.create_time as i64;
    let service = arn_field(&integration.target_arn, 2);
    if service.is_some_and(|service| service.starts_with("redshift")) {
        let dimensions = [("IntegrationId", arn_id(&integration.arn))];
        let metric = |name, value| {
            let series = Series {
                interval: 60,
                reported: created..i64::MAX,
                value: Some(value),
            };
            (Metric::new("AWS/Redshift", name, &dimensions), series)
        };
        return vec![
            metric("IntegrationLag", integration.replication_lag),
            metric("IntegrationNumTablesFailedReplication", 0.0),
        ];
    }
    let tables = integration.tables.iter().flatten();
    let metrics = tables.flat_map(|table| table_metrics(integration, table, created));
    metrics.collect()
}

fn table_metrics(
    integration: &SimulatedIntegration,
    table: &SimulatedTable,
    created: i64,
) -> [(Metric, Series); 3] {
    let config = integration.config.as_ref();
    let refresh_interval = config.and_then(|config| config.refresh_interval.as_deref());
    let refresh_interval = refresh_interval.and_then(|minutes| minutes.parse().ok());
    let minutes = table.interval_minutes.or(refresh_interval);
    let minutes = minutes.map_or(DEFAULT_INTERVAL_MINUTES, NonZeroU32::get);
    let failing_since = table.failing_since.unwrap_or(i64::MAX);
    let silent_since = table.silent_since.unwrap_or(i64::MAX);
    let failed = created.max(failing_since)..silent_since;
    let succeeded = created..failing_since.min(silent_since);

    let dimensions = [
        ("integrationArn", &*integration.arn),
        // AWS does not document the values.
        ("loadType", "INCREMENTAL"),
        ("tableName", &table.name),
    ];
    let metric = |name, reported, value| {
        let series = Series {
            interval: 60 * i64::from(minutes),
            reported,
            value,
        };
        (Metric::new("AWS/Glue/ZeroETL", name, &dimensions), series)
    };
    [
        metric("IngestionFailed", failed, Some(1.0)),
        metric("IngestionSucceeded", succeeded.clone(), Some(1.0)),
        metric("LastSyncTimestamp", succeeded, None),
    ]
}
