//! The metrics of an integration. Their samples are a function of time, so the past exists from the start.

use super::integration::{SimulatedIntegration, arn_field, arn_id};
use super::metric_request::{Dimension, Metric};
use super::replication::SimulatedTable;
use std::num::NonZeroU32;
use std::ops::Range;

const TABLE_METRICS: [&str; 3] = ["IngestionFailed", "IngestionSucceeded", "LastSyncTimestamp"];
const REDSHIFT_METRICS: [&str; 2] = ["IntegrationLag", "IntegrationNumTablesFailedReplication"];
const DEFAULT_INTERVAL_MINUTES: u32 = 15;
const DAY: i64 = 86_400;
/// How long CloudWatch keeps samples with a period of a minute.
const RETENTION: i64 = 15 * DAY;
/// `ListMetrics` returns a metric until it has been silent for two weeks.
const MAX_SILENCE: i64 = 14 * DAY;
/// How much older than the end of its run the synchronized data of a table are.
const RUN_DURATION: i64 = 60;

/// One metric of an integration.
pub(super) struct Series<'a> {
    integration: &'a SimulatedIntegration,
    /// `None` for a Redshift target, which reports each minute.
    table: Option<&'a SimulatedTable>,
    pub name: &'static str,
}

impl<'a> Series<'a> {
    /// Returns the metrics of an integration, always in the same order.
    pub fn of(integration: &'a SimulatedIntegration) -> Vec<Self> {
        let series = |table, name| Self {
            integration,
            table,
            name,
        };
        if is_redshift(integration) {
            return REDSHIFT_METRICS.map(|name| series(None, name)).into();
        }
        let tables = integration.tables.iter().flatten();
        tables
            .flat_map(|table| TABLE_METRICS.map(|name| series(Some(table), name)))
            .collect()
    }

    pub fn namespace(&self) -> &'a str {
        let default = match self.table {
            Some(_) => "AWS/Glue/ZeroETL",
            None => "AWS/Redshift",
        };
        let namespace = self.integration.metrics.namespace.as_deref();
        namespace.unwrap_or(default)
    }

    pub fn metric(&self) -> Metric {
        let dimension = |name: &str, value: &str| Dimension {
            name: name.to_owned(),
            value: value.to_owned(),
        };
        let arn = &self.integration.arn;
        let dimensions = match self.table {
            Some(table) => {
                let load_type = table.load_type.as_deref().unwrap_or("INCREMENTAL");
                let arn = if self.integration.metrics.slash_in_arn {
                    arn.replace(":integration:", ":integration/")
                } else {
                    arn.clone()
                };
                vec![
                    dimension("integrationArn", &arn),
                    dimension("loadType", load_type),
                    dimension("tableName", &table.name),
                ]
            }
            None => vec![dimension("IntegrationId", arn_id(arn))],
        };
        Metric {
            namespace: self.namespace().to_owned(),
            metric_name: self.name.to_owned(),
            dimensions,
        }
    }

    /// Returns true if `ListMetrics` returns the metric.
    pub fn is_listed(&self, now: i64) -> bool {
        let delay = i64::from(self.integration.metrics.listing_delay);
        let window = now - MAX_SILENCE + 1..now - delay + 1;
        self.samples(window, now).next().is_some()
    }

    /// Returns the times and values of the samples within the window that can be read, the newest first.
    pub fn samples(&self, window: Range<i64>, now: i64) -> impl Iterator<Item = (i64, f64)> {
        #[allow(clippy::cast_possible_truncation, reason = "`as` saturates")]
        let created = self.integration.create_time as i64;
        let start = window.start.max(created).max(now - RETENTION);
        let readable = now - i64::from(self.integration.metrics.sample_delay) + 1;
        let silent_since = self.table.and_then(|table| table.silent_since);
        let end = window.end.min(readable);
        let end = end.min(silent_since.unwrap_or(i64::MAX));

        // Runs end at the multiples of the interval. This is the number of the first run from a time on.
        let interval = self.interval();
        let run_from = |time: i64| time.saturating_add(interval - 1).div_euclid(interval);
        let runs = (run_from(start)..run_from(end)).rev();
        let times = runs.map(move |run| run * interval);
        times.filter_map(move |time| Some((time, self.value(time)?)))
    }

    /// Returns `None` if the run that ends at this time does not report the metric.
    fn value(&self, time: i64) -> Option<f64> {
        let metrics = &self.integration.metrics;
        let failing_since = self.table.and_then(|table| table.failing_since);
        let failed = time >= failing_since.unwrap_or(i64::MAX);
        let count = |happened: bool| (happened || metrics.zeros).then_some(f64::from(happened));
        match self.name {
            "IntegrationLag" => Some(metrics.replication_lag),
            "IntegrationNumTablesFailedReplication" => Some(metrics.failed_tables),
            "IngestionFailed" => count(failed),
            "IngestionSucceeded" => count(!failed),
            _ => {
                let unit = if metrics.milliseconds { 1000 } else { 1 };
                #[allow(clippy::cast_precision_loss, reason = "far below 2^53")]
                let synced_until = ((time - RUN_DURATION) * unit) as f64;
                (!failed).then_some(synced_until)
            }
        }
    }

    fn interval(&self) -> i64 {
        let Some(table) = self.table else {
            return 60;
        };
        let config = self.integration.config.as_ref();
        let refresh_interval = config.and_then(|config| config.refresh_interval.as_deref());
        let refresh_interval = refresh_interval.and_then(|minutes| minutes.parse().ok());
        let minutes = table.interval_minutes.or(refresh_interval);
        60 * i64::from(minutes.map_or(DEFAULT_INTERVAL_MINUTES, NonZeroU32::get))
    }
}

fn is_redshift(integration: &SimulatedIntegration) -> bool {
    let service = arn_field(&integration.target_arn, 2);
    service.is_some_and(|service| service.starts_with("redshift"))
}
