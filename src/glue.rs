//! The seam to AWS Glue, in our own words: one question, one page of an answer, one closed list of reasons for a failure.
//! What follows pages is here; what speaks to AWS is in `aws`.

pub mod aws;
pub mod metadata;
pub mod rate_limit;

use crate::clock::{Clock, Timestamp};
use crate::config::{Candidate, IntegrationArn, Query, Selection};
use crate::snapshot::Integration;
use metadata::{MetadataRequest, NamesFuture};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::error::Error;
use std::fmt;
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
    /// Every reason, so that each has its row from the start.
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

    /// The value of the label `reason`.
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

/// A question to AWS that was not answered, or not wholly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GlueError {
    pub reason: Reason,
    /// What was wrong, with its causes, the outermost first.
    pub message: String,
    /// AWS's id of the failed request, for a support case.
    pub request_id: Option<String>,
    /// A request was made. It was not where the time of the poll was used up before.
    pub asked: bool,
}

impl GlueError {
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            request_id: None,
            asked: true,
        }
    }

    /// The failure of a query for which the poll had no time left, since other requests of it failed for `reason`.
    pub fn not_asked(reason: Reason) -> Self {
        Self {
            asked: false,
            ..Self::new(
                reason,
                "AWS was not asked: the time of this poll was used up by the requests before",
            )
        }
    }
}

impl fmt::Display for GlueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for GlueError {}

/// The API operations that the exporter calls: the values of the label `operation`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    DescribeInboundIntegrations,
    DescribeIntegrations,
}

impl Operation {
    /// Every operation, so that each has its rows from the start.
    pub const ALL: [Self; 2] = [
        Self::DescribeInboundIntegrations,
        Self::DescribeIntegrations,
    ];

    /// The value of the label `operation`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DescribeInboundIntegrations => "DescribeInboundIntegrations",
            Self::DescribeIntegrations => "DescribeIntegrations",
        }
    }
}

/// Is told of every HTTP attempt.
pub trait Observer: Send + Sync {
    /// A request waited so long for the budget.
    fn waited(&self, operation: Operation, duration: Duration);
    /// A request leaves for AWS.
    fn sent(&self, operation: Operation);
    /// The attempt ended after `duration`; without a reason it brought an answer.
    fn ended(&self, operation: Operation, duration: Duration, failure: Option<Reason>);
}

/// How the time of a poll is shared out among its requests.
pub trait Deadline: Send + Sync {
    /// No request, and no waiting for one, goes on beyond it.
    fn end(&self) -> Instant;
    /// How long a request that begins now may take, its retries included.
    fn per_request(&self) -> Duration;
    /// A request has waited so long for the budget.
    fn waited(&self, duration: Duration);
    /// Most of the time has gone into waiting for the budget.
    fn starved_by_rate_limit(&self) -> bool;
    /// Takes one of the retries. Returns false if none is left.
    fn take_retry(&self) -> bool {
        true
    }
}

/// On whose behalf requests are made, and how long they may take.
#[derive(Clone, Copy)]
pub struct RequestContext<'a> {
    /// Requests that wait for the budget are served scope by scope.
    pub scope: &'a str,
    pub deadline: &'a dyn Deadline,
}

/// One request for one page.
#[derive(Clone, Copy)]
pub struct PageRequest<'a> {
    pub query: &'a Query,
    /// `Marker` of the page before, none for the first.
    pub marker: Option<&'a str>,
    /// `MaxRecords`; AWS decides if absent.
    pub page_size: Option<u16>,
    /// The request answers or fails within its share.
    pub context: RequestContext<'a>,
}

/// One page of an answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    pub integrations: Vec<Integration>,
    /// Items that had no ARN, or none that can be one: they cannot be shown, so the listing lacks something.
    pub without_arn: usize,
    /// Where the next page begins; none on the last page.
    pub marker: Option<String>,
}

/// What a request will have brought.
pub type PageFuture<'a> = Pin<Box<dyn Future<Output = Result<Page, GlueError>> + Send + 'a>>;

/// AWS Glue as one set of credentials sees it in one region.
pub trait Glue: Send + Sync {
    /// How many requests one scope may have under way here at once, so that no other has to wait for them.
    fn max_concurrent_requests(&self) -> usize {
        usize::MAX
    }

    /// Asks for one page of `DescribeInboundIntegrations`. That a configured integration does not exist is an answer: an empty page.
    fn page<'a>(&'a self, request: PageRequest<'a>) -> PageFuture<'a>;

    /// Asks for one page of `DescribeIntegrations`: what the caller's own account has created.
    fn names<'a>(&'a self, request: MetadataRequest<'a>) -> NamesFuture<'a>;
}

/// A listing of 10,000 pages is 100 times what the largest known account needs; more is an answer that never ends.
const MAX_PAGES: usize = 10_000;
/// In bytes, with what the page has of them: 100,000 integrations with an error each take about 450 million. It bounds what an answer
/// without an end can take.
pub const MAX_LISTING_BYTES: usize = 512 << 20;

/// The answer to one query while its pages are followed, and what it came to. A listing that was given up goes on where it stopped.
#[derive(Debug)]
pub struct Listing {
    query: Query,
    wanted: Filter,
    page_size: Option<u16>,
    /// By the one spelling of the ARN, each with the moment of its page: when one comes twice, the later page is right.
    integrations: BTreeMap<String, (Arc<Integration>, Timestamp)>,
    /// About how much memory they and their rows on the page take, in bytes.
    approx_bytes: usize,
    without_arn: usize,
    /// AWS sent an integration that is not wanted.
    foreign_items: bool,
    cursor: Cursor,
    state: State,
}

/// What is kept of a page; the others are dropped with it.
#[derive(Debug)]
enum Filter {
    /// Those with these ARNs, in the one spelling.
    Named(BTreeSet<String>),
    Selected(Arc<Selection>),
}

/// Where the pages of a listing lead. No listing is followed in a circle, or for ever.
#[derive(Debug, Default)]
struct Cursor {
    next: Option<String>,
    seen: HashSet<String>,
}

impl Cursor {
    /// Goes on to the page that begins here.
    fn advance(&mut self, marker: String) -> Result<(), GlueError> {
        if self.seen.contains(&marker) {
            return Err(GlueError::new(
                Reason::InvalidResponse,
                "AWS sent a page's marker a second time: following it would never end",
            ));
        }
        if self.seen.len() + 1 >= MAX_PAGES {
            return Err(GlueError::new(
                Reason::InvalidResponse,
                format!("the listing was given up after {MAX_PAGES} pages, each naming a next one"),
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

/// What one query brought in one poll.
#[derive(Clone, Debug)]
pub struct Answer {
    pub integrations: Vec<(Arc<Integration>, Timestamp)>,
    /// The moment of the last page if the listing is complete, else why it is not.
    pub outcome: Result<Timestamp, GlueError>,
}

impl Answer {
    /// The answer to a query that brought nothing.
    pub fn failed(error: GlueError) -> Self {
        Self {
            integrations: Vec::new(),
            outcome: Err(error),
        }
    }

    /// The answer to a query that was lost by a fault of this program.
    pub fn lost() -> Self {
        Self::failed(GlueError::new(
            Reason::Other,
            "the task that asked AWS ended without an answer",
        ))
    }
}

impl Listing {
    /// A listing of which nothing was asked yet. If it may bring what nobody named, `selection` is kept of it.
    pub fn new(query: Query, selection: &Arc<Selection>, page_size: Option<u16>) -> Self {
        // AWS is asked for one ARN; an answer about another one says nothing about what the configuration names.
        let wanted = match &query {
            Query::Integration(arn) => Filter::Named(canonical_arns([arn])),
            Query::Target(_) | Query::All => Filter::Selected(Arc::clone(selection)),
        };
        Self::of(query, wanted, page_size)
    }

    /// A listing of everything, of which only these are kept.
    pub fn lookup<'a>(
        arns: impl IntoIterator<Item = &'a IntegrationArn>,
        page_size: Option<u16>,
    ) -> Self {
        Self::of(Query::All, Filter::Named(canonical_arns(arns)), page_size)
    }

    fn of(query: Query, wanted: Filter, page_size: Option<u16>) -> Self {
        Self {
            query,
            wanted,
            page_size,
            integrations: BTreeMap::new(),
            approx_bytes: 0,
            without_arn: 0,
            foreign_items: false,
            cursor: Cursor::default(),
            state: State::Open,
        }
    }

    /// What AWS is asked.
    pub fn query(&self) -> &Query {
        &self.query
    }

    /// Follows the pages to the end or to the first failure.
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
            match &self.wanted {
                Filter::Named(arns) if !arns.contains(&arn) => {
                    self.foreign_items = true;
                    continue;
                }
                Filter::Selected(selection) if !selects(selection, &integration) => {
                    // An earlier page may have said something else of it.
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
            // Not after the page: one alone may be too much.
            if self.approx_bytes > MAX_LISTING_BYTES {
                break;
            }
        }
        self.approx_bytes += page.marker.as_ref().map_or(0, String::len);
        if self.approx_bytes > MAX_LISTING_BYTES {
            self.state = State::Failed(GlueError::new(
                Reason::InvalidResponse,
                format!("the listing was given up: it takes more than {MAX_LISTING_BYTES} bytes"),
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
                format!("AWS was asked for {arn} and answered with other integrations alone"),
            ));
            return;
        }
        match page.marker {
            None if self.without_arn > 0 => {
                self.state = State::Failed(GlueError::new(
                    Reason::InvalidResponse,
                    format!(
                        "AWS listed {} integrations without an ARN",
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

    /// Whether asking on may bring the rest: the request took too long, and the poll may have time left.
    pub fn timed_out(&self) -> bool {
        matches!(&self.state, State::Failed(error) if error.reason == Reason::Timeout)
    }

    /// What was had. A query that was not asked at all fails for `reason`.
    pub fn into_answer(self, reason: Reason) -> Answer {
        Answer {
            outcome: self.outcome(reason),
            integrations: self.integrations.into_values().collect(),
        }
    }

    /// The moment of the last page if the listing is complete, else why it is not: `reason` if it was not asked for at all.
    pub fn outcome(&self, reason: Reason) -> Result<Timestamp, GlueError> {
        match &self.state {
            State::Complete(at) => Ok(*at),
            State::Failed(error) => Err(error.clone()),
            State::Open => Err(GlueError::not_asked(reason)),
        }
    }

    /// What was had of one that is looked up: an answer about it, whatever became of the rest of the listing.
    pub fn picked(&self, arn: &IntegrationArn) -> Option<Answer> {
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

/// Whether this selection of a listing has this integration.
pub fn selects(selection: &Selection, integration: &Integration) -> bool {
    selection.matches(Candidate {
        arn: &canonical_arn(&integration.arn),
        source_arn: &integration.source_arn,
        target_arn: &integration.target_arn,
    })
}

/// AWS writes `integration:ID`, and in one sample `integration/ID`: an ARN in the one spelling by which the two compare as equal.
pub fn canonical_arn(arn: &str) -> Cow<'_, str> {
    // Most have no slash at all, which is found out faster.
    if arn.contains('/') && arn.contains(":integration/") {
        Cow::Owned(arn.replacen(":integration/", ":integration:", 1))
    } else {
        Cow::Borrowed(arn)
    }
}

/// The time left until `deadline`.
pub fn time_left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}
