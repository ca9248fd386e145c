//! The input of the two operations of Amazon CloudWatch, and its validation.

use super::response::ApiError;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

const MAX_QUERIES: usize = 500;
pub(super) const MAX_DATAPOINTS: usize = 100_800;
const MAX_NAME_BYTES: usize = 255;
const RECENTLY_ACTIVE: &str = "PT3H";

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct Dimension {
    pub name: String,
    pub value: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct Metric {
    pub namespace: String,
    pub metric_name: String,
    #[serde(default)]
    pub dimensions: Vec<Dimension>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct DimensionFilter {
    pub name: String,
    pub value: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct ListMetricsInput {
    pub namespace: Option<String>,
    pub metric_name: Option<String>,
    #[serde(default)]
    pub dimensions: Vec<DimensionFilter>,
    pub next_token: Option<String>,
    pub recently_active: Option<String>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub(super) enum ScanBy {
    #[default]
    TimestampDescending,
    TimestampAscending,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct GetMetricDataInput {
    pub metric_data_queries: Vec<MetricDataQuery>,
    /// Unix seconds.
    pub start_time: f64,
    pub end_time: f64,
    pub next_token: Option<String>,
    #[serde(default)]
    pub scan_by: ScanBy,
    pub max_datapoints: Option<usize>,
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
    /// Seconds.
    pub period: u32,
    pub stat: Statistic,
    pub unit: Option<String>,
}

/// The statistics of CloudWatch without percentiles and their like.
#[derive(Clone, Copy, Deserialize)]
pub(super) enum Statistic {
    Average,
    Maximum,
    Minimum,
    SampleCount,
    Sum,
}

impl ListMetricsInput {
    pub fn matches_name(&self, namespace: &str, name: &str) -> bool {
        let equal = |wanted: &Option<String>, found: &str| {
            wanted.as_ref().is_none_or(|wanted| wanted == found)
        };
        equal(&self.namespace, namespace) && equal(&self.metric_name, name)
    }

    /// A metric can have more dimensions than the filter.
    pub fn matches_dimensions(&self, metric: &Metric) -> bool {
        self.dimensions.iter().all(|filter| {
            let mut named = metric.dimensions.iter();
            let named = named.find(|dimension| dimension.name == filter.name);
            let value = filter.value.as_ref();
            named.is_some_and(|named| value.is_none_or(|value| *value == named.value))
        })
    }

    pub fn validate(&self) -> Result<(), ApiError> {
        let recently_active = self.recently_active.as_deref();
        let name = self.metric_name.as_deref();
        let reason = if recently_active.is_some_and(|given| given != RECENTLY_ACTIVE) {
            format!("RecentlyActive must be {RECENTLY_ACTIVE}")
        } else if name.is_some_and(|name| name.len() > MAX_NAME_BYTES) {
            format!("MetricName must have at most {MAX_NAME_BYTES} bytes")
        } else {
            return Ok(());
        };
        Err(ApiError::new("InvalidParameterValue", &reason))
    }
}

impl GetMetricDataInput {
    pub fn validate(&self) -> Result<(), ApiError> {
        let queries = &self.metric_data_queries;
        let max_datapoints = self.max_datapoints.unwrap_or(MAX_DATAPOINTS);
        let mut ids = BTreeSet::new();
        let reason = if queries.is_empty() || queries.len() > MAX_QUERIES {
            format!("MetricDataQueries must have 1 to {MAX_QUERIES} members")
        } else if self.start_time >= self.end_time {
            "The parameter StartTime must be less than the parameter EndTime".to_owned()
        } else if !(1..=MAX_DATAPOINTS).contains(&max_datapoints) {
            format!("MaxDatapoints must be 1 to {MAX_DATAPOINTS}")
        } else if let Some(query) = queries.iter().find(|query| !ids.insert(&query.id)) {
            format!("The Id {} is not unique", query.id)
        } else if let Some(query) = queries.iter().find(|query| !query.has_valid_id()) {
            let id = &query.id;
            format!("The Id {id} must have letters, digits and underscores, a lowercase one first")
        } else if let Some(query) = queries.iter().find(|query| !query.has_valid_period()) {
            format!("The Period of {} must be a multiple of 60", query.id)
        } else {
            return Ok(());
        };
        Err(ApiError::new("ValidationError", &reason))
    }
}

impl MetricDataQuery {
    fn has_valid_id(&self) -> bool {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let starts_lowercase = self
            .id
            .starts_with(|first: char| first.is_ascii_lowercase());
        starts_lowercase && self.id.bytes().all(is_allowed)
    }

    fn has_valid_period(&self) -> bool {
        let period = self.metric_stat.period;
        period > 0 && period.is_multiple_of(60)
    }
}
