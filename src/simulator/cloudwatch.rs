//! The operations of Amazon CloudWatch: `ListMetrics` and `GetMetricData`.

use super::account::Account;
use super::fault::{FaultKind, next_marker};
use super::metric_request::{GetMetricDataInput, ListMetricsInput, Metric};
use super::metric_series::Series;
use super::protocol::EpochSeconds;
use super::request::RecordedRequest;
use super::response::ApiError;
use serde::Serialize;
use std::collections::HashMap;

const METRICS_PER_PAGE: usize = 500;
const MAX_DATAPOINTS: usize = 100_800;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct MetricsPage {
    metrics: Vec<Metric>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
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
    input: &ListMetricsInput,
    fault: Option<&FaultKind>,
) -> Result<MetricsPage, ApiError> {
    let offset = request.offset()?;
    let now = account.unix_now();
    let matches = |wanted: Option<&str>, found: &str| wanted.is_none_or(|wanted| wanted == found);
    let mut listed = account
        .visible(request, ..)
        .flat_map(Series::of)
        .filter(|series| matches(input.namespace.as_deref(), series.namespace()))
        .filter(|series| matches(input.metric_name.as_deref(), series.name))
        .filter(|series| series.is_listed(now))
        .skip(offset);
    let page = listed.by_ref().take(METRICS_PER_PAGE);
    let metrics: Vec<_> = page.map(|series| series.metric()).collect();
    let end = offset.saturating_add(metrics.len());
    let has_more = listed.next().is_some();
    Ok(MetricsPage {
        metrics,
        next_token: next_marker(request, fault, end, has_more),
    })
}

/// Answers the queries one after the other until the page is full. Each page has a result for every query.
pub(super) fn get_metric_data(
    account: &Account,
    request: &RecordedRequest,
    input: &GetMetricDataInput,
    fault: Option<&FaultKind>,
) -> Result<DataPage, ApiError> {
    let offset = request.offset()?;
    let max_datapoints = input.max_datapoints.unwrap_or(MAX_DATAPOINTS);
    let max_datapoints = max_datapoints.clamp(1, MAX_DATAPOINTS);
    let now = account.unix_now();
    let window = input.start_time.0..input.end_time.0;
    // CloudWatch knows a metric only by all its dimensions.
    let series = account.visible(request, ..).flat_map(Series::of);
    let series = series.map(|series| (series.metric(), series));
    let mut series: HashMap<Metric, Series> = series.collect();
    if let Some(FaultKind::MetricStatus(_)) = fault {
        series.clear();
    }

    // The datapoints of earlier pages that are still to skip, and the space that is left on this page.
    let (mut to_skip, mut space) = (offset, max_datapoints);
    let mut has_more = false;
    let mut metric_data_results = Vec::new();
    for query in &input.metric_data_queries {
        let found = series.get(&query.metric_stat.metric).into_iter();
        let mut samples = found.flat_map(|found| found.samples(window.clone(), now));
        to_skip -= samples.by_ref().take(to_skip).count();
        let page = samples.by_ref().take(space);
        let page = page.map(|(time, value)| (EpochSeconds(time), value));
        let (timestamps, values): (Vec<_>, Vec<_>) = page.unzip();
        space -= values.len();
        let is_partial = samples.next().is_some();
        has_more |= is_partial;
        metric_data_results.push(MetricDataResult {
            id: query.id.clone(),
            timestamps,
            values,
            status_code: match fault {
                Some(FaultKind::MetricStatus(status_code)) => status_code,
                _ if is_partial => "PartialData",
                _ => "Complete",
            },
        });
    }
    let end = offset.saturating_add(max_datapoints - space);
    Ok(DataPage {
        metric_data_results,
        next_token: next_marker(request, fault, end, has_more),
    })
}
