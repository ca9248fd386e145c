//! The interface to AWS Glue, independent of the SDK: requests, pages and the reasons for failures. Follows the pages of a listing. The
//! implementation with the AWS SDK is in `aws`.

pub mod aws;
pub mod metadata;
pub mod rate_limit;

use crate::clock::{Clock, Timestamp};
use crate::config::{Candidate, IntegrationArn, Query, Selection};
use crate::snapshot::Integration;
use metadata::{MetadataPage, MetadataRequest};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Why a request or a poll failed: the value of the label `reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    Throttled,
    AccessDenied,
    Credentials,
    Timeout,
    Network,
    ServerError,
    InvalidResponse,
    InvalidRequest,
    NotFound,
    Unsupported,
    Other,
}

impl Reason {
    /// Every reason, so that each has a series from the start.
    pub const ALL: [Self; 11] = [
        Self::Throttled,
        Self::AccessDenied,
        Self::Credentials,
        Self::Timeout,
        Self::Network,
        Self::ServerError,
        Self::InvalidResponse,
        Self::InvalidRequest,
        Self::NotFound,
        Self::Unsupported,
        Self::Other,
    ];

    /// Returns the value of the label `reason`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Throttled => "throttled",
            Self::AccessDenied => "access_denied",
            Self::Credentials => "credentials",
            Self::Timeout => "timeout",
            Self::Network => "network",
            Self::ServerError => "server_error",
            Self::InvalidResponse => "invalid_response",
            Self::InvalidRequest => "invalid_request",
            Self::NotFound => "not_found",
            Self::Unsupported => "unsupported",
            Self::Other => "other",
        }
    }
}

/// A query that failed, completely or partly.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct GlueError {
    pub reason: Reason,
    /// The error and its causes, the outermost first.
    pub message: String,
    /// The AWS request ID, for a support case.
    pub request_id: Option<String>,
    /// False if the poll ran out of time before a request was sent.
    pub request_sent: bool,
}

impl GlueError {
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            request_id: None,
            request_sent: true,
        }
    }

    /// Creates the error of a query for which the poll had no time left because of `reason`.
    pub fn not_sent(reason: Reason) -> Self {
        Self {
            request_sent: false,
            ..Self::new(
                reason,
                "no request was sent: earlier requests used up the poll's timeout",
            )
        }
    }
}

/// The API operations that the exporter calls: the values of the label `operation`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    DescribeInboundIntegrations,
    DescribeIntegrations,
}

impl Operation {
    /// Every operation, so that each has its series from the start.
    pub const ALL: [Self; 2] = [
        Self::DescribeInboundIntegrations,
        Self::DescribeIntegrations,
    ];

    /// Returns the value of the label `operation`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DescribeInboundIntegrations => "DescribeInboundIntegrations",
            Self::DescribeIntegrations => "DescribeIntegrations",
        }
    }
}

/// Receives the events of every HTTP request attempt.
pub trait Observer: Send + Sync {
    /// A request waited this long for the rate limiter.
    fn waited(&self, operation: Operation, duration: Duration);
    /// A request is sent to AWS.
    fn sent(&self, operation: Operation);
    /// The attempt ended after `duration`. It succeeded if `failure` is None.
    fn ended(&self, operation: Operation, duration: Duration, failure: Option<Reason>);
}

/// The time limits of a poll's requests.
pub trait Deadline: Send + Sync {
    /// Returns the time at which every request, and every wait for one, must end.
    fn end(&self) -> Instant;
    /// Returns how long a request that starts now may take, including retries.
    fn per_request(&self) -> Duration;
    /// Records that a request waited this long for the rate limiter.
    fn waited(&self, duration: Duration);
    /// Returns true if requests spent most of the time waiting for the rate limiter.
    fn starved_by_rate_limit(&self) -> bool;
    /// Uses one of the poll's retries. Returns false if none are left.
    fn take_retry(&self) -> bool {
        true
    }
}

/// The scope that sends a request, and its time limits.
#[derive(Clone, Copy)]
pub struct RequestContext<'a> {
    /// The rate limiter serves the scopes in turn.
    pub scope: &'a str,
    pub deadline: &'a dyn Deadline,
}

/// A request for one page of `DescribeInboundIntegrations`.
#[derive(Clone, Copy)]
pub struct PageRequest<'a> {
    pub query: &'a Query,
    /// `Marker` of the previous page, None for the first page.
    pub marker: Option<&'a str>,
    /// `MaxRecords`. AWS decides if it is None.
    pub page_size: Option<u16>,
    pub context: RequestContext<'a>,
}

/// One page of `DescribeInboundIntegrations`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    pub integrations: Vec<Integration>,
    /// Number of items without a valid ARN. They cannot be exported, so the listing is incomplete.
    pub without_arn: usize,
    /// `Marker` of the next page, None on the last page.
    pub marker: Option<String>,
}

/// A boxed future, as in the `futures` crate.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// AWS Glue as one set of credentials sees it in one region.
pub trait Glue: Send + Sync {
    /// Returns how many requests one scope may have in flight without blocking other scopes.
    fn max_concurrent_requests(&self) -> usize {
        usize::MAX
    }

    /// Requests one page of `DescribeInboundIntegrations`. Returns an empty page if a configured integration does not exist.
    fn page<'a>(&'a self, request: PageRequest<'a>) -> BoxFuture<'a, Result<Page, GlueError>>;

    /// Requests one page of `DescribeIntegrations`, which lists the integrations that the caller's account created.
    fn metadata_page<'a>(
        &'a self,
        request: MetadataRequest<'a>,
    ) -> BoxFuture<'a, Result<MetadataPage, GlueError>>;
}

/// Stops a listing that never ends. The largest known account needs a hundredth of this.
const MAX_PAGES: usize = 10_000;
/// Bounds the memory of a listing that never ends. 100,000 integrations with one error each, and their series, take about 450 million bytes.
pub const MAX_LISTING_BYTES: usize = 512 << 20;

/// A query and the pages received so far. A listing that timed out can resume at the page where it stopped.
#[derive(Debug)]
pub struct Listing {
    query: Query,
    filter: Filter,
    page_size: Option<u16>,
    /// By canonical ARN, with the time of the page. If an integration appears twice, the later page wins.
    integrations: BTreeMap<String, (Arc<Integration>, Timestamp)>,
    /// Approximate memory of the integrations and their series.
    approx_bytes: usize,
    without_arn: usize,
    /// AWS sent an integration that was not requested.
    foreign_items: bool,
    cursor: Cursor,
    state: State,
}

/// Selects the integrations of a page that are kept.
#[derive(Debug)]
enum Filter {
    /// Integrations with these canonical ARNs.
    Named(BTreeSet<String>),
    Selected(Arc<Selection>),
}

/// The position in a listing. Detects loops and listings that never end.
#[derive(Debug, Default)]
struct Cursor {
    next: Option<String>,
    seen: HashSet<String>,
}

impl Cursor {
    /// Advances to the page at `marker`.
    fn advance(&mut self, marker: String) -> Result<(), GlueError> {
        if self.seen.contains(&marker) {
            return Err(GlueError::new(
                Reason::InvalidResponse,
                "AWS sent the same page marker twice, so the listing would never end",
            ));
        }
        if self.seen.len() + 1 >= MAX_PAGES {
            return Err(GlueError::new(
                Reason::InvalidResponse,
                format!("the listing has more than {MAX_PAGES} pages"),
            ));
        }
        self.seen.insert(marker.clone());
        self.next = Some(marker);
        Ok(())
    }
}

#[derive(Debug)]
enum State {
    Open,
    Complete(Timestamp),
    Failed(GlueError),
}

/// The answer to one query in one poll.
#[derive(Clone, Debug)]
pub struct Answer {
    pub integrations: Vec<(Arc<Integration>, Timestamp)>,
    /// The time of the last page if the listing is complete, otherwise the error.
    pub outcome: Result<Timestamp, GlueError>,
}

impl Answer {
    /// Creates the answer to a query that failed without any integrations.
    pub fn failed(error: GlueError) -> Self {
        Self {
            integrations: Vec::new(),
            outcome: Err(error),
        }
    }

    /// Creates the answer to a query whose task panicked.
    pub fn panicked() -> Self {
        Self::failed(GlueError::new(
            Reason::Other,
            "the task that sends the requests panicked",
        ))
    }
}

impl Listing {
    /// Creates a listing for `query`. `selection` applies unless the query names a single integration.
    pub fn new(query: Query, selection: &Arc<Selection>, page_size: Option<u16>) -> Self {
        // A response about another ARN says nothing about the configured integration.
        let filter = match &query {
            Query::Integration(arn) => Filter::Named(canonical_arns([arn])),
            Query::Target(_) | Query::All => Filter::Selected(Arc::clone(selection)),
        };
        Self::with_filter(query, filter, page_size)
    }

    /// Creates a listing of all integrations that keeps only the given ARNs.
    pub fn lookup<'a>(
        arns: impl IntoIterator<Item = &'a IntegrationArn>,
        page_size: Option<u16>,
    ) -> Self {
        Self::with_filter(Query::All, Filter::Named(canonical_arns(arns)), page_size)
    }

    fn with_filter(query: Query, filter: Filter, page_size: Option<u16>) -> Self {
        Self {
            query,
            filter,
            page_size,
            integrations: BTreeMap::new(),
            approx_bytes: 0,
            without_arn: 0,
            foreign_items: false,
            cursor: Cursor::default(),
            state: State::Open,
        }
    }

    /// Returns the query.
    pub fn query(&self) -> &Query {
        &self.query
    }

    /// Requests the remaining pages, up to the first failure.
    pub async fn follow(&mut self, glue: &dyn Glue, clock: &Clock, context: RequestContext<'_>) {
        self.state = State::Open;
        while let State::Open = self.state {
            let request = PageRequest {
                query: &self.query,
                marker: self.cursor.next.as_deref(),
                page_size: self.page_size,
                context,
            };
            let answer = glue.page(request).await;
            let now = clock.now();
            match answer {
                Ok(page) => self.take(page, now),
                Err(error) => self.state = State::Failed(error),
            }
        }
    }

    fn take(&mut self, page: Page, now: Timestamp) {
        self.without_arn += page.without_arn;
        for integration in page.integrations {
            let arn = canonical_arn(&integration.arn).into_owned();
            match &self.filter {
                Filter::Named(arns) if !arns.contains(&arn) => {
                    self.foreign_items = true;
                    continue;
                }
                Filter::Selected(selection) if !is_selected(selection, &integration) => {
                    // An earlier page may have contained a version that was selected.
                    if let Some((earlier, _)) = self.integrations.remove(&arn) {
                        self.approx_bytes -= earlier.approx_bytes();
                    }
                    continue;
                }
                Filter::Named(_) | Filter::Selected(_) => {}
            }
            self.approx_bytes += integration.approx_bytes();
            if let Some((earlier, _)) = self.integrations.insert(arn, (Arc::new(integration), now))
            {
                self.approx_bytes -= earlier.approx_bytes();
            }
            // Checked within the page, because one page alone may exceed the limit.
            if self.approx_bytes > MAX_LISTING_BYTES {
                break;
            }
        }
        self.approx_bytes += page.marker.as_ref().map_or(0, String::len);
        if self.approx_bytes > MAX_LISTING_BYTES {
            self.state = State::Failed(GlueError::new(
                Reason::InvalidResponse,
                format!("the listing takes more than {MAX_LISTING_BYTES} bytes"),
            ));
            return;
        }
        if let Query::Integration(arn) = &self.query
            && self.foreign_items
            && self.integrations.is_empty()
            && page.marker.is_none()
        {
            self.state = State::Failed(GlueError::new(
                Reason::InvalidResponse,
                format!("AWS returned only other integrations for a request for {arn}"),
            ));
            return;
        }
        match page.marker {
            None if self.without_arn > 0 => {
                self.state = State::Failed(GlueError::new(
                    Reason::InvalidResponse,
                    format!(
                        "AWS listed {} integrations without a valid ARN",
                        self.without_arn
                    ),
                ));
            }
            None => self.state = State::Complete(now),
            Some(marker) => {
                if let Err(error) = self.cursor.advance(marker) {
                    self.state = State::Failed(error);
                }
            }
        }
    }

    /// Returns true if a request timed out, so that the listing can be resumed if the poll has time left.
    pub fn timed_out(&self) -> bool {
        matches!(&self.state, State::Failed(error) if error.reason == Reason::Timeout)
    }

    /// Returns the integrations received so far. If no request was sent, the outcome is an error with `reason`.
    pub fn into_answer(self, reason: Reason) -> Answer {
        Answer {
            outcome: self.outcome(reason),
            integrations: self.integrations.into_values().collect(),
        }
    }

    /// Returns the time of the last page if the listing is complete. If no request was sent, the outcome is an error with `reason`.
    pub fn outcome(&self, reason: Reason) -> Result<Timestamp, GlueError> {
        match &self.state {
            State::Complete(at) => Ok(*at),
            State::Failed(error) => Err(error.clone()),
            State::Open => Err(GlueError::not_sent(reason)),
        }
    }

    /// Returns the answer for one integration if the pages so far contain it, even if the listing failed later.
    pub fn find(&self, arn: &IntegrationArn) -> Option<Answer> {
        let (integration, at) = self
            .integrations
            .get(canonical_arn(arn.as_str()).as_ref())?;
        Some(Answer {
            integrations: vec![(Arc::clone(integration), *at)],
            outcome: Ok(*at),
        })
    }
}

fn canonical_arns<'a>(arns: impl IntoIterator<Item = &'a IntegrationArn>) -> BTreeSet<String> {
    arns.into_iter()
        .map(|arn| canonical_arn(arn.as_str()).into_owned())
        .collect()
}

/// Returns true if `selection` selects the integration.
pub fn is_selected(selection: &Selection, integration: &Integration) -> bool {
    selection.matches(Candidate {
        arn: &canonical_arn(&integration.arn),
        source_arn: &integration.source_arn,
        target_arn: &integration.target_arn,
    })
}

/// Returns the canonical form of an integration ARN. AWS writes `integration:ID`, but one of its examples has `integration/ID`.
pub fn canonical_arn(arn: &str) -> Cow<'_, str> {
    // Most ARNs have no slash, which is faster to check.
    if arn.contains('/') && arn.contains(":integration/") {
        Cow::Owned(arn.replacen(":integration/", ":integration:", 1))
    } else {
        Cow::Borrowed(arn)
    }
}

/// Returns the time left until `deadline`.
pub fn time_left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}
