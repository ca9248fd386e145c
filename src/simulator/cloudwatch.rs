//! The operations of Amazon CloudWatch: `ListMetrics` and `GetMetricData`. They ignore members that the exporter does not send.

use super::account::Account;
use super::fault::{FaultKind, next_marker};
use super::metric_series::{Metric, Series, metrics_of};
use super::protocol::{ApiError, EpochSeconds};
use super::request::RecordedRequest;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

const METRICS_PER_PAGE: usize = 500;
const MAX_DATAPOINTS: usize = 100_800;
const MAX_QUERIES: usize = 500;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct MetricsPage {
    metrics: Vec<Metric>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GetMetricDataInput {
    metric_data_queries: Vec<MetricDataQuery>,
    start_time: EpochSeconds,
    end_time: EpochSeconds,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct MetricDataQuery {
    id: String,
    metric_stat: MetricStat,
}

/// The period is 60 seconds, which have one sample at most. So each statistic is its value.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct MetricStat {
    metric: Metric,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DataPage {
    metric_data_results: Vec<MetricDataResult>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct MetricDataResult {
    id: String,
    timestamps: Vec<EpochSeconds>,
    values: Vec<f64>,
    status_code: &'static str,
}

pub(super) fn list_metrics(
    account: &Account,
    request: &RecordedRequest,
    fault: Option<&FaultKind>,
) -> MetricsPage {
    let now = account.unix_now();
    let matches = |wanted: &Option<String>, found: &String| {
        wanted.as_ref().is_none_or(|wanted| wanted == found)
    };
    let mut listed = account
        .visible(request, ..)
        .flat_map(metrics_of)
        .filter(|(metric, _)| matches(&request.namespace, &metric.namespace))
        .filter(|(metric, _)| matches(&request.metric_name, &metric.metric_name))
        .filter(|(_, series)| series.is_listed(now))
        .map(|(metric, _)| metric)
        .skip(request.items_before(METRICS_PER_PAGE));
    MetricsPage {
        metrics: listed.by_ref().take(METRICS_PER_PAGE).collect(),
        next_token: next_marker(request, fault, "", listed.next().is_some()),
    }
}

/// Answers the queries one after the other until the page is full. Each page has a result for every query.
pub(super) fn get_metric_data(
    account: &Account,
    request: &RecordedRequest,
    input: GetMetricDataInput,
    fault: Option<&FaultKind>,
) -> Result<DataPage, ApiError> {
    let queries = input.metric_data_queries;
    if queries.is_empty() || queries.len() > MAX_QUERIES {
        let message = format!("MetricDataQueries must have 1 to {MAX_QUERIES} members");
        return Err(ApiError::new("ValidationError", &message));
    }
    let now = account.unix_now();
    let window = input.start_time.0..input.end_time.0;
    // CloudWatch knows a metric only by all its dimensions.
    let metrics = account.visible(request, ..).flat_map(metrics_of);
    let metrics: HashMap<Metric, Series> = metrics.collect();

    // The datapoints of earlier pages that are still to skip, and the space that is left on this page.
    let mut to_skip = request.items_before(MAX_DATAPOINTS);
    let mut space = MAX_DATAPOINTS;
    let mut has_more = false;
    let mut metric_data_results = Vec::new();
    for query in queries {
        let found = metrics.get(&query.metric_stat.metric).into_iter();
        let mut samples = found.flat_map(|series| series.samples(&window, now));
        to_skip -= samples.by_ref().take(to_skip).count();
        let page = samples.by_ref().take(space);
        let page = page.map(|(time, value)| (EpochSeconds(time), value));
        let (timestamps, values): (Vec<_>, Vec<_>) = page.unzip();
        space -= values.len();
        let is_partial = samples.next().is_some();
        has_more |= is_partial;
        metric_data_results.push(MetricDataResult {
            id: query.id,
            timestamps,
            values,
            status_code: if is_partial {
                "PartialData"
            } else {
                "Complete"
            },
        });
    }
    Ok(DataPage {
        metric_data_results,
        next_token: next_marker(request, fault, "", has_more),
    })
}
