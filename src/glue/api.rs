//! The requests to AWS Glue and its answers, independent of the SDK.

use super::deadline::Deadline;
use super::error::{GlueError, Reason};
use crate::config::Query;
use crate::snapshot::{Description, Integration};
use futures_util::future::BoxFuture;
use std::collections::BTreeSet;
use std::time::Duration;
use strum::{IntoStaticStr, VariantArray};

/// The API operations that the exporter calls: the values of the label `operation`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr, VariantArray)]
pub enum Operation {
    DescribeInboundIntegrations,
    DescribeIntegrations,
    ListMetrics,
    GetMetricData,
}

impl Operation {
    pub const ALL: &[Self] = Self::VARIANTS;

    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// The action in an IAM policy that allows the operation.
    pub fn action(self) -> String {
        let service = match self {
            Self::DescribeInboundIntegrations | Self::DescribeIntegrations => "glue",
            Self::ListMetrics | Self::GetMetricData => "cloudwatch",
        };
        format!("{service}:{}", self.as_str())
    }
}

/// Receives the events of every HTTP request attempt: its wait for the rate limiter, its start and its end.
pub trait Observer: Send + Sync {
    fn waited(&self, operation: Operation, duration: Duration);
    fn sent(&self, operation: Operation);
    fn ended(&self, operation: Operation, duration: Duration, failure: Option<Reason>);
}

#[derive(Clone, Copy)]
pub struct RequestContext<'a> {
    /// The rate limiter serves the scopes in turn.
    pub scope: &'a str,
    pub deadline: &'a Deadline,
}

#[derive(Clone, Copy)]
pub struct PageRequest<'a> {
    pub marker: Option<&'a str>,
    /// `MaxRecords`. AWS decides if it is None.
    pub page_size: Option<u16>,
    pub context: RequestContext<'a>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// Number of items without a valid ARN, which cannot be exported.
    pub without_arn: usize,
    pub marker: Option<String>,
}

impl<T> Page<T> {
    pub fn last(items: Vec<T>) -> Self {
        Self {
            items,
            without_arn: 0,
            marker: None,
        }
    }
}

impl<T> Default for Page<T> {
    fn default() -> Self {
        Self::last(Vec::new())
    }
}

/// The ARN of an integration as AWS sent it, and its name and tags.
pub type Described = (String, Description);

/// AWS Glue as one set of credentials sees it in one region.
pub trait Glue: Send + Sync {
    /// Requests a page of `DescribeInboundIntegrations`. It is empty if a configured integration does not exist.
    fn page<'a>(
        &'a self,
        query: &'a Query,
        request: PageRequest<'a>,
    ) -> BoxFuture<'a, Result<Page<Integration>, GlueError>>;

    /// Requests a page of `DescribeIntegrations`, which lists only the integrations of the caller's account.
    fn metadata_page<'a>(
        &'a self,
        tags: &'a BTreeSet<String>,
        request: PageRequest<'a>,
    ) -> BoxFuture<'a, Result<Page<Described>, GlueError>>;
}
