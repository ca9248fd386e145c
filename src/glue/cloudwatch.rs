//! The requests to CloudWatch and its answers, independent of the SDK.

use super::api::{Page, RequestContext};
use super::error::{GlueError, Reason};
use futures_util::future::BoxFuture;

/// A metric as `ListMetrics` returned it. CloudWatch answers only if it gets back the same dimensions, byte for byte.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Metric {
    pub namespace: String,
    pub name: String,
    /// Names and values.
    pub dimensions: Vec<(String, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Statistic {
    Sum,
    Maximum,
}

#[derive(Clone, Copy)]
pub struct MetricsRequest<'a> {
    /// All namespaces if it is None.
    pub namespace: Option<&'a str>,
    pub name: &'a str,
    pub marker: Option<&'a str>,
    pub context: RequestContext<'a>,
}

#[derive(Clone, Copy)]
pub struct DataRequest<'a> {
    /// At most 500. Their samples are requested for each minute, the newest first.
    pub metrics: &'a [(Metric, Statistic)],
    /// The window in Unix seconds, with whole minutes. `end` is not part of it.
    pub start: i64,
    pub end: i64,
    pub marker: Option<&'a str>,
    pub context: RequestContext<'a>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct DataPage {
    pub results: Vec<MetricSamples>,
    pub marker: Option<String>,
}

/// A part of the samples of one metric. CloudWatch may divide them among pages.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricSamples {
    /// The position of the metric in the request.
    pub index: usize,
    /// The Unix time of the minute in seconds, and the value.
    pub samples: Vec<(i64, f64)>,
    /// Why samples are missing, `None` if these are all. The next page may have them. HTTP 200 says nothing about it.
    pub missing: Option<Reason>,
}

/// Amazon CloudWatch as one set of credentials sees it in one region.
pub trait CloudWatch: Send + Sync {
    /// Requests a page of `ListMetrics`.
    fn metrics<'a>(
        &'a self,
        request: MetricsRequest<'a>,
    ) -> BoxFuture<'a, Result<Page<Metric>, GlueError>>;

    /// Requests a page of `GetMetricData`.
    fn data<'a>(&'a self, request: DataRequest<'a>) -> BoxFuture<'a, Result<DataPage, GlueError>>;
}
