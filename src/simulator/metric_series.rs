//! The metrics of an integration. Their samples are a function of time, so the past exists from the start.

use super::integration::{SimulatedIntegration, arn_field};
use super::metric_request::{Dimension, Metric};
use super::replication::SimulatedTable;
use std::ops::Range;

const RUN_METRICS: [&str; 6] = [
    "DeleteCount",
    "IngestionFailed",
    "IngestionSucceeded",
    "InsertCount",
    "LastSyncTimestamp",
    "UpdateCount",
];
const REDSHIFT_METRICS: [&str; 2] = ["IntegrationLag", "IntegrationNumTablesFailedReplication"];
const DEFAULT_INTERVAL_MINUTES: i64 = 15;
/// How much older than the end of its run the synchronized data of a table are.
const RUN_DURATION: i64 = 60;

/// One metric of an integration.
#[derive(Clone, Copy)]
pub(super) struct Series<'a> {
    integration: &'a SimulatedIntegration,
    /// `None` for a Redshift target, which reports each minute.
    table: Option<&'a SimulatedTable>,
    pub name: &'static str,
}

impl<'a> Series<'a> {
    /// Returns the metrics of an integration, always in the same order.
    pub fn of(integration: &'a SimulatedIntegration) -> impl Iterator<Item = Self> {
        let tables = integration.tables.as_deref().unwrap_or_default();
        let (tables, names): (Vec<_>, &[_]) = if is_redshift(integration) {
            (vec![None], &REDSHIFT_METRICS)
        } else {
            (tables.iter().map(Some).collect(), &RUN_METRICS)
        };
        tables.into_iter().flat_map(move |table| {
            names.iter().map(move |name| Self {
                integration,
                table,
                name,
            })
        })
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
            None => vec![dimension("IntegrationId", integration_id(arn))],
        };
        Metric {
            namespace: self.namespace().to_owned(),
            metric_name: self.name.to_owned(),
            dimensions,
        }
    }

    /// A query with another unit has no samples.
    pub fn unit(&self) -> &'a str {
        let unit = self.integration.metrics.unit.as_deref();
        unit.unwrap_or("Count")
    }

    /// Returns true if `ListMetrics` returns the metric: it has a sample in the last `max_silence` seconds.
    pub fn is_listed(&self, now: i64, max_silence: i64) -> bool {
        let delay = i64::from(self.integration.metrics.listing_delay);
        let mut times = self.times(i64::MIN..i64::MAX, now);
        let Some(first) = times.next() else {
            return false;
        };
        let last = times.next_back().unwrap_or(first);
        first <= now - delay && last > now - max_silence
    }

    /// Returns the times of the samples within the window that can be read, in ascending order.
    pub fn times(&self, window: Range<i64>, now: i64) -> impl DoubleEndedIterator<Item = i64> {
        let interval = self.interval();
        let multiple = move |time: i64| time.saturating_add(interval - 1).div_euclid(interval);
        let [before, after] = self.reporting(now).map(|range| {
            let (from, until) = (range.start.max(window.start), range.end.min(window.end));
            multiple(from)..multiple(until)
        });
        before.chain(after).map(move |run| run * interval)
    }

    pub fn value(&self, time: i64) -> f64 {
        let metrics = &self.integration.metrics;
        match self.name {
            "IntegrationLag" => metrics.replication_lag,
            "IntegrationNumTablesFailedReplication" => metrics.failed_tables,
            "IngestionSucceeded" => f64::from(u8::from(!self.fails_at(time))),
            "IngestionFailed" => f64::from(u8::from(self.fails_at(time))),
            "LastSyncTimestamp" => {
                let unit = if metrics.milliseconds { 1000 } else { 1 };
                as_f64((time - RUN_DURATION) * unit)
            }
            // The number of changed rows differs from run to run.
            _ => as_f64((time / 60).rem_euclid(97)),
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
        60 * minutes.map_or(DEFAULT_INTERVAL_MINUTES, |minutes| i64::from(minutes.get()))
    }

    /// Returns when the metric has samples, as two ranges in ascending order. A range can be empty.
    fn reporting(&self, now: i64) -> [Range<i64>; 2] {
        let metrics = &self.integration.metrics;
        // A time beyond the range of i64 is as good as its limit.
        #[allow(clippy::cast_possible_truncation, reason = "`as` saturates")]
        let created = self.integration.create_time as i64;
        let running_since = self.table.and_then(|table| table.running_since);
        let silent_since = self.table.and_then(|table| table.silent_since);
        let from = running_since.unwrap_or(created);
        let until = [silent_since, metrics.silent_since]
            .into_iter()
            .flatten()
            .fold(now - i64::from(metrics.sample_delay) + 1, i64::min);
        let failing = self.failing();
        let failing = failing.start.max(from)..failing.end.min(until);
        let reports_both = metrics.zeros && self.name.starts_with("Ingestion");
        let none = until..until;
        if self.name == "IngestionFailed" && !reports_both {
            [failing, none]
        } else if self.table.is_none() || reports_both || failing.is_empty() {
            [from..until, none]
        } else {
            [from..failing.start, failing.end..until]
        }
    }

    fn failing(&self) -> Range<i64> {
        let since = self.table.and_then(|table| table.failing_since);
        let until = self.table.and_then(|table| table.failing_until);
        since.unwrap_or(i64::MAX)..until.unwrap_or(i64::MAX)
    }

    fn fails_at(&self, time: i64) -> bool {
        self.failing().contains(&time)
    }
}

fn is_redshift(integration: &SimulatedIntegration) -> bool {
    let service = arn_field(&integration.target_arn, 2);
    service.is_some_and(|service| service.starts_with("redshift"))
}

/// Returns the UUID at the end of an integration's ARN.
pub(super) fn integration_id(arn: &str) -> &str {
    arn.rsplit([':', '/']).next().unwrap_or_default()
}

#[allow(clippy::cast_precision_loss, reason = "times are far below 2^53")]
fn as_f64(value: i64) -> f64 {
    value as f64
}
