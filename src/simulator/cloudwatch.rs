//! The operations of Amazon CloudWatch: `ListMetrics` and `GetMetricData`.

use super::account::Account;
use super::fault::FaultKind;
use super::metric_data::Reader;
use super::metric_request::{GetMetricDataInput, ListMetricsInput, MAX_DATAPOINTS, Metric};
use super::metric_series::Series;
use super::protocol::EpochSeconds;
use super::request::{RecordedRequest, invalid_marker};
use super::response::ApiError;
use serde::Serialize;

const METRICS_PER_PAGE: usize = 500;
const MAX_SILENCE: i64 = 14 * 86_400;
const MAX_SILENCE_RECENTLY_ACTIVE: i64 = 3 * 3600;
const PARTIAL_DATA: &str = "PartialData";

/// A page, and where the next one starts.
pub(super) struct Listing<T> {
    pub items: Vec<T>,
    pub position: String,
    pub has_more: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct MetricDataResult {
    id: String,
    label: String,
    timestamps: Vec<EpochSeconds>,
    values: Vec<f64>,
    status_code: String,
}

pub(super) fn list_metrics(
    account: &Account,
    request: &RecordedRequest,
    input: &ListMetricsInput,
) -> Result<Listing<Metric>, ApiError> {
    let offset: usize = match request.after.as_deref().map(str::parse) {
        None => 0,
        Some(Ok(offset)) => offset,
        Some(Err(_)) => return Err(invalid_marker(request.operation)),
    };
    let now = account.unix_now();
    let max_silence = match input.recently_active {
        Some(_) => MAX_SILENCE_RECENTLY_ACTIVE,
        None => MAX_SILENCE,
    };
    let series = account.visible(request).flat_map(Series::of);
    let found = series
        .filter(|series| input.matches_name(series.namespace(), series.name))
        .filter(|series| series.is_listed(now, max_silence))
        .filter(|series| input.dimensions.is_empty() || input.matches_dimensions(&series.metric()));
    let page = found.skip(offset).take(METRICS_PER_PAGE + 1);
    let mut items: Vec<_> = page.map(|series| series.metric()).collect();
    let has_more = items.len() > METRICS_PER_PAGE;
    items.truncate(METRICS_PER_PAGE);
    let position = offset.saturating_add(items.len()).to_string();
    Ok(Listing {
        items,
        position,
        has_more,
    })
}

/// Answers the queries one after the other until the page is full. Each page has a result for every query.
pub(super) fn get_metric_data(
    account: &Account,
    request: &RecordedRequest,
    input: &GetMetricDataInput,
    fault: Option<&FaultKind>,
) -> Result<Listing<MetricDataResult>, ApiError> {
    let (first, mut continued) = match request.after.as_deref().map(parse_position) {
        None => (0, None),
        Some(Some((first, continued))) => (first, Some(continued)),
        Some(None) => return Err(invalid_marker(request.operation)),
    };
    let reader = Reader::new(account, request, input);
    let mut left = input.max_datapoints.unwrap_or(MAX_DATAPOINTS);
    let mut next = None;
    let mut items = Vec::new();
    for (index, query) in input.metric_data_queries.iter().enumerate() {
        let stat = &query.metric_stat;
        let mut points = Vec::new();
        if index >= first && next.is_none() {
            let found = reader.read(stat, continued.take(), left);
            left -= found.points.len();
            next = found.next.map(|continued| (index, continued));
            points = found.points;
        }
        let mut status = if next.is_some() {
            PARTIAL_DATA
        } else {
            "Complete"
        };
        if let Some(FaultKind::MetricStatus(fault)) = fault
            && fault.applies_to(&stat.metric)
        {
            status = &fault.status_code;
            if status != PARTIAL_DATA {
                points.clear();
            }
        }
        let (times, values): (Vec<_>, _) = points.into_iter().unzip();
        items.push(MetricDataResult {
            id: query.id.clone(),
            label: stat.metric.metric_name.clone(),
            timestamps: times.into_iter().map(EpochSeconds).collect(),
            values,
            status_code: status.to_owned(),
        });
    }
    let (index, continued) = next.unwrap_or((input.metric_data_queries.len(), 0));
    Ok(Listing {
        items,
        position: format!("{index}:{continued}"),
        has_more: next.is_some(),
    })
}

/// Returns the first query that is not answered in full, and where its datapoints continue.
fn parse_position(position: &str) -> Option<(usize, i64)> {
    let (index, continued) = position.split_once(':')?;
    Some((index.parse().ok()?, continued.parse().ok()?))
}
