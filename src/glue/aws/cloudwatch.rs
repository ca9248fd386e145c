//! The two operations of CloudWatch that the exporter calls.

use super::client::{AwsGlue, Call};
use crate::glue::cloudwatch::{CloudWatch, Metric, MetricName, MetricSamples};
use crate::glue::{BoxFuture, GlueError, Operation, Page, PageRequest, Reason};
use aws_sdk_cloudwatch::config::Builder;
use aws_sdk_cloudwatch::operation::get_metric_data::GetMetricDataOutput;
use aws_sdk_cloudwatch::operation::list_metrics::ListMetricsOutput;
use aws_sdk_cloudwatch::primitives::DateTime;
use aws_sdk_cloudwatch::types::{
    Dimension, Metric as SdkMetric, MetricDataQuery, MetricDataResult, MetricStat, ScanBy,
    StatusCode,
};
use std::ops::Range;

const PERIOD_SECONDS: i32 = 60;

impl CloudWatch for AwsGlue {
    fn metrics<'a>(
        &'a self,
        name: MetricName,
        request: PageRequest<'a>,
    ) -> BoxFuture<'a, Result<Page<Metric>, GlueError>> {
        let (region, text) = (&self.region, name.as_str());
        let call = Call {
            operation: Operation::ListMetrics,
            attempted: format!("asking CloudWatch in {region} for the metrics {text}"),
            is_for_integration: false,
            context: request.context,
        };
        let send = move |keys| async move {
            let client = self.cloudwatch().await?;
            let call = client
                .list_metrics()
                .set_namespace(name.namespace().map(str::to_owned))
                .metric_name(text)
                .set_next_token(request.marker.map(str::to_owned))
                .customize();
            let settings = Builder::new().credentials_provider(keys);
            call.config_override(settings).send().await
        };
        let convert = |output: ListMetricsOutput| {
            page(output.metrics, output.next_token, |it| Ok(metric(it)))
        };
        Box::pin(self.call(call, send, convert))
    }

    fn data<'a>(
        &'a self,
        metrics: &'a [Metric],
        window: Range<i64>,
        request: PageRequest<'a>,
    ) -> BoxFuture<'a, Result<Page<MetricSamples>, GlueError>> {
        let (region, requested) = (&self.region, metrics.len());
        let call = Call {
            operation: Operation::GetMetricData,
            attempted: format!("asking CloudWatch in {region} for metric data"),
            is_for_integration: false,
            context: request.context,
        };
        let (start, end) = (window.start, window.end);
        let send = move |keys| async move {
            let client = self.cloudwatch().await?;
            let queries = metrics.iter().enumerate().map(query).collect();
            let call = client
                .get_metric_data()
                .set_metric_data_queries(Some(queries))
                .start_time(DateTime::from_secs(start))
                .end_time(DateTime::from_secs(end))
                .scan_by(ScanBy::TimestampDescending)
                .set_next_token(request.marker.map(str::to_owned))
                .customize();
            let settings = Builder::new().credentials_provider(keys);
            call.config_override(settings).send().await
        };
        let convert = move |output: GetMetricDataOutput| {
            let results = output.metric_data_results;
            page(results, output.next_token, |it| {
                samples(it, requested).map(Some)
            })
        };
        Box::pin(self.call(call, send, convert))
    }
}

/// Without a unit, CloudWatch returns the samples of every unit.
fn query((index, metric): (usize, &Metric)) -> MetricDataQuery {
    let dimensions = metric.dimensions.iter();
    let dimensions =
        dimensions.map(|(name, value)| Dimension::builder().name(name).value(value).build());
    let sdk_metric = SdkMetric::builder()
        .namespace(&metric.namespace)
        .metric_name(metric.name.as_str())
        .set_dimensions(Some(dimensions.collect()))
        .build();
    let statistic = if metric.name.is_count() {
        "Sum"
    } else {
        "Maximum"
    };
    let statistic = MetricStat::builder()
        .metric(sdk_metric)
        .period(PERIOD_SECONDS)
        .stat(statistic)
        .build();
    MetricDataQuery::builder()
        .id(format!("m{index}"))
        .metric_stat(statistic)
        .build()
}

/// CloudWatch sends an empty list if there is nothing. A response without a list is not from CloudWatch.
fn page<S, T>(
    items: Option<Vec<S>>,
    token: Option<String>,
    convert: impl Fn(S) -> Result<Option<T>, String>,
) -> Result<Page<T>, String> {
    let marker = token.filter(|token| !token.is_empty());
    if items.is_none() && marker.is_none() {
        return Err("the response has no list of metrics".to_owned());
    }
    let items = items.unwrap_or_default().into_iter();
    let items = items.filter_map(|item| convert(item).transpose());
    Ok(Page {
        marker,
        ..Page::last(items.collect::<Result<_, _>>()?)
    })
}

/// Returns `None` for a metric that cannot be requested, because a part of it is missing.
fn metric(metric: SdkMetric) -> Option<Metric> {
    let dimensions = metric.dimensions.unwrap_or_default().into_iter();
    // The SDK replaces a missing name or value with an empty one.
    let dimensions = dimensions.map(|dimension| {
        let (name, value) = (dimension.name?, dimension.value?);
        (!name.is_empty() && !value.is_empty()).then_some((name, value))
    });
    Some(Metric {
        namespace: metric.namespace?,
        name: metric.metric_name?.parse().ok()?,
        dimensions: dimensions.collect::<Option<_>>()?,
    })
}

fn samples(result: MetricDataResult, requested: usize) -> Result<MetricSamples, String> {
    let index = result
        .id
        .as_deref()
        .and_then(|id| id.strip_prefix('m')?.parse().ok());
    let Some(index) = index.filter(|index| *index < requested) else {
        return Err("the response has data of a metric that was not requested".to_owned());
    };
    let timestamps = result.timestamps.unwrap_or_default();
    let values = result.values.unwrap_or_default();
    if timestamps.len() != values.len() || !values.iter().all(|value| value.is_finite()) {
        return Err(
            "the response has timestamps without values, or values that are not numbers".to_owned(),
        );
    }
    Ok(MetricSamples {
        index,
        samples: timestamps.iter().map(DateTime::secs).zip(values).collect(),
        missing: match result.status_code {
            Some(StatusCode::Complete) => None,
            Some(StatusCode::InternalError) => Some(Reason::ServerError),
            Some(StatusCode::Forbidden) => Some(Reason::AccessDenied),
            _ => Some(Reason::InvalidResponse),
        },
    })
}
