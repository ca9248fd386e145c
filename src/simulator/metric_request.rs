//! The input of the two operations of Amazon CloudWatch. Members that no client here sends are errors.

use super::protocol::EpochSeconds;
use super::response::ApiError;
use serde::{Deserialize, Serialize};

const MAX_QUERIES: usize = 500;
const PERIOD_SECONDS: u32 = 60;

#[derive(PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct Dimension {
    pub name: String,
    pub value: String,
}

#[derive(PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct Metric {
    pub namespace: String,
    pub metric_name: String,
    #[serde(default)]
    pub dimensions: Vec<Dimension>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct ListMetricsInput {
    pub namespace: Option<String>,
    pub metric_name: Option<String>,
    pub next_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct GetMetricDataInput {
    pub metric_data_queries: Vec<MetricDataQuery>,
    pub start_time: EpochSeconds,
    pub end_time: EpochSeconds,
    pub next_token: Option<String>,
    pub max_datapoints: Option<usize>,
    #[serde(rename = "ScanBy")]
    _scan_by: Option<ScanBy>,
}

/// A query of one metric. Expressions are not simulated.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct MetricDataQuery {
    pub id: String,
    pub metric_stat: MetricStat,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct MetricStat {
    pub metric: Metric,
    period: u32,
    #[serde(rename = "Stat")]
    _stat: Statistic,
}

#[derive(Deserialize)]
enum ScanBy {
    TimestampDescending,
}

/// A period has one sample at most, so both are its value.
#[derive(Deserialize)]
enum Statistic {
    Maximum,
    Sum,
}

impl GetMetricDataInput {
    pub fn validate(&self) -> Result<(), ApiError> {
        let queries = &self.metric_data_queries;
        let mut periods = queries.iter().map(|query| query.metric_stat.period);
        let reason = if queries.is_empty() || queries.len() > MAX_QUERIES {
            format!("MetricDataQueries must have 1 to {MAX_QUERIES} members")
        } else if self.start_time.0 >= self.end_time.0 {
            "StartTime must be less than EndTime".to_owned()
        } else if let Some(period) = periods.find(|period| *period != PERIOD_SECONDS) {
            format!("Period is {period}, but only {PERIOD_SECONDS} is simulated")
        } else {
            return Ok(());
        };
        Err(ApiError::new("ValidationError", &reason))
    }
}
