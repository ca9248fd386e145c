//! The two operations of CloudWatch that the exporter calls.

use super::client::{AwsGlue, Call};
use crate::glue::cloudwatch::{
    CloudWatch, DataPage, DataRequest, Metric, MetricSamples, MetricsRequest, Statistic,
};
use crate::glue::{BoxFuture, GlueError, Operation, Page, Reason};
use aws_credential_types::Credentials as Keys;
use aws_sdk_cloudwatch::config::Builder;
use aws_sdk_cloudwatch::error::SdkError;
use aws_sdk_cloudwatch::operation::get_metric_data::GetMetricDataOutput;
use aws_sdk_cloudwatch::operation::list_metrics::ListMetricsOutput;
use aws_sdk_cloudwatch::primitives::DateTime;
use aws_sdk_cloudwatch::types::{
    Dimension, Metric as SdkMetric, MetricDataQuery, MetricDataResult, MetricStat, ScanBy,
    StatusCode,
};

const PERIOD_SECONDS: i32 = 60;

impl CloudWatch for AwsGlue {
    fn metrics<'a>(
        &'a self,
        request: MetricsRequest<'a>,
    ) -> BoxFuture<'a, Result<Page<Metric>, GlueError>> {
        let (region, name) = (&self.region, request.name);
        let call = Call {
            operation: Operation::ListMetrics,
            attempted: format!("asking CloudWatch in {region} for the metrics {name}"),
            is_for_integration: false,
            context: request.context,
        };
        let send = move |keys| async move {
            let client = self.cloudwatch().await;
            let client = client.map_err(SdkError::construction_failure)?;
            let call = client
                .list_metrics()
                .set_namespace(request.namespace.map(str::to_owned))
                .metric_name(name)
                .set_next_token(request.marker.map(str::to_owned))
                .customize();
            call.config_override(settings(keys)).send().await
        };
        Box::pin(self.call(call, send, metrics_page))
    }

    fn data<'a>(&'a self, request: DataRequest<'a>) -> BoxFuture<'a, Result<DataPage, GlueError>> {
        let (region, requested) = (&self.region, request.metrics.len());
        let call = Call {
            operation: Operation::GetMetricData,
            attempted: format!("asking CloudWatch in {region} for metric data"),
            is_for_integration: false,
            context: request.context,
        };
        let send = move |keys| async move {
            let client = self.cloudwatch().await;
            let client = client.map_err(SdkError::construction_failure)?;
            let queries = request.metrics.iter().enumerate().map(query).collect();
            let call = client
                .get_metric_data()
                .set_metric_data_queries(Some(queries))
                .start_time(DateTime::from_secs(request.start))
                .end_time(DateTime::from_secs(request.end))
                .scan_by(ScanBy::TimestampDescending)
                .set_next_token(request.marker.map(str::to_owned))
                .customize();
            call.config_override(settings(keys)).send().await
        };
        Box::pin(self.call(call, send, move |output| data_page(output, requested)))
    }
}

fn settings(keys: Keys) -> Builder {
    Builder::new().credentials_provider(keys)
}

/// Without a unit, CloudWatch returns the samples of every unit.
fn query((index, (metric, statistic)): (usize, &(Metric, Statistic))) -> MetricDataQuery {
    let dimensions = metric.dimensions.iter();
    let dimensions =
        dimensions.map(|(name, value)| Dimension::builder().name(name).value(value).build());
    let metric = SdkMetric::builder()
        .namespace(&metric.namespace)
        .metric_name(&metric.name)
        .set_dimensions(Some(dimensions.collect()))
        .build();
    let statistic = match statistic {
        Statistic::Sum => "Sum",
        Statistic::Maximum => "Maximum",
    };
    let statistic = MetricStat::builder()
        .metric(metric)
        .period(PERIOD_SECONDS)
        .stat(statistic)
        .build();
    MetricDataQuery::builder()
        .id(format!("m{index}"))
        .metric_stat(statistic)
        .build()
}

/// CloudWatch sends an empty list if there are no metrics. A response without a list is not from CloudWatch.
fn metrics_page(output: ListMetricsOutput) -> Result<Page<Metric>, String> {
    let marker = marker(output.next_token);
    if output.metrics.is_none() && marker.is_none() {
        return Err("the response has no list of metrics".to_owned());
    }
    let metrics = output.metrics.unwrap_or_default().into_iter();
    Ok(Page {
        marker,
        ..Page::last(metrics.filter_map(metric).collect())
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
        name: metric.metric_name?,
        dimensions: dimensions.collect::<Option<_>>()?,
    })
}

fn data_page(output: GetMetricDataOutput, requested: usize) -> Result<DataPage, String> {
    let marker = marker(output.next_token);
    if output.metric_data_results.is_none() && marker.is_none() {
        return Err("the response has no list of results".to_owned());
    }
    let results = output.metric_data_results.unwrap_or_default().into_iter();
    let results = results.map(|result| samples(result, requested));
    Ok(DataPage {
        results: results.collect::<Result<_, _>>()?,
        marker,
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

fn marker(token: Option<String>) -> Option<String> {
    token.filter(|token| !token.is_empty())
}
