//! The requests to CloudWatch and its answers, independent of the SDK.

use super::api::{Page, PageRequest};
use super::error::{GlueError, Reason};
use futures_util::future::BoxFuture;
use std::ops::Range;
use strum::{EnumString, IntoStaticStr, VariantArray};

/// The metrics of tables, and those of integrations with a Redshift target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumString, IntoStaticStr, VariantArray)]
pub enum MetricName {
    IngestionSucceeded,
    IngestionFailed,
    LastSyncTimestamp,
    IntegrationLag,
    IntegrationNumTablesFailedReplication,
}

impl MetricName {
    pub const ALL: &[Self] = Self::VARIANTS;

    pub fn as_str(self) -> &'static str {
        self.into()
    }

    pub fn is_count(self) -> bool {
        matches!(self, Self::IngestionSucceeded | Self::IngestionFailed)
    }

    pub fn is_of_redshift(self) -> bool {
        !self.is_count() && self != Self::LastSyncTimestamp
    }

    /// AWS documents no namespace for the metrics of Redshift, so all are listed.
    pub fn namespace(self) -> Option<&'static str> {
        (!self.is_of_redshift()).then_some("AWS/Glue/ZeroETL")
    }
}

/// A metric as `ListMetrics` returned it. CloudWatch answers only if it gets back the same dimensions, byte for byte.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Metric {
    pub namespace: String,
    pub name: MetricName,
    /// Names and values.
    pub dimensions: Vec<(String, String)>,
}

/// A part of the samples of one metric. CloudWatch may divide them among pages.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricSamples {
    /// The position of the metric in the request.
    pub index: usize,
    /// The Unix time of the minute in seconds, and the sum of its values or the largest one.
    pub samples: Vec<(i64, f64)>,
    /// Why samples are missing, `None` if these are all. The next page may have them. HTTP 200 says nothing about it.
    pub missing: Option<Reason>,
}

/// Amazon CloudWatch as one set of credentials sees it in one region.
pub trait CloudWatch: Send + Sync {
    /// Requests a page of `ListMetrics`.
    fn metrics<'a>(
        &'a self,
        name: MetricName,
        request: PageRequest<'a>,
    ) -> BoxFuture<'a, Result<Page<Metric>, GlueError>>;

    /// Requests a page of `GetMetricData` for at most 500 metrics: the samples of each minute of `window`, the newest first. The
    /// window is in Unix seconds, with whole minutes.
    fn data<'a>(
        &'a self,
        metrics: &'a [Metric],
        window: Range<i64>,
        request: PageRequest<'a>,
    ) -> BoxFuture<'a, Result<Page<MetricSamples>, GlueError>>;
}
