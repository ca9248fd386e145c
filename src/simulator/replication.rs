//! How the data of a simulated integration are replicated, and how that is reported to CloudWatch.
//!
//! All times are Unix seconds. In the demo account they are relative to the start.

use serde::Deserialize;
use std::num::NonZeroU32;

/// A table of an integration. Its runs end at the multiples of its interval.
///
/// Two entries with the same name and different load types are one table for AWS.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct SimulatedTable {
    #[serde(rename = "TableName")]
    pub name: String,
    /// Default: `INCREMENTAL`. AWS does not document the values.
    pub load_type: Option<String>,
    /// Default: the refresh interval of the integration, or 15.
    pub interval_minutes: Option<NonZeroU32>,
    /// Runs fail from this time on.
    pub failing_since: Option<i64>,
    /// There are no runs from this time on.
    pub silent_since: Option<i64>,
}

/// How the metrics of an integration look. AWS does not document most of this, so tests need it both ways.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "PascalCase", deny_unknown_fields)]
pub struct SimulatedMetrics {
    /// Default: `AWS/Redshift` for Redshift targets, or `AWS/Glue/ZeroETL`.
    pub namespace: Option<String>,
    /// The dimension has `integration/UUID` instead of `integration:UUID`.
    pub slash_in_arn: bool,
    /// `LastSyncTimestamp` is in milliseconds instead of seconds.
    pub milliseconds: bool,
    /// Each run reports both `IngestionSucceeded` and `IngestionFailed`, one of them as 0.
    pub zeros: bool,
    /// Seconds until a sample can be read.
    pub sample_delay: u32,
    /// Seconds from the first sample of a metric until the metric is listed.
    pub listing_delay: u32,
    /// Redshift targets: `IntegrationLag`, in seconds.
    pub replication_lag: f64,
    /// Redshift targets: `IntegrationNumTablesFailedReplication`.
    pub failed_tables: f64,
}

impl SimulatedTable {
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..Self::default()
        }
    }
}
