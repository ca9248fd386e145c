//! Follows the pages of a listing and keeps the integrations of one query.

use super::api::{Glue, Page, PageRequest, RequestContext};
use super::error::{GlueError, Reason};
use crate::arn::canonical_arn;
use crate::clock::{Clock, Timestamp};
use crate::config::{IntegrationArn, Query, Selection};
use crate::hash::fnv1a;
use crate::snapshot::Integration;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

/// Stops a listing that never ends. The largest known account needs a hundredth of this.
const MAX_PAGES: usize = 10_000;
/// Far longer than the 128 characters that AWS Glue documents. CloudWatch documents no limit.
const MAX_MARKER_BYTES: usize = 64 << 10;
/// Integrations and their errors. Bounds the memory of a listing that never ends.
const MAX_ITEMS: usize = 200_000;

/// A query and the pages received so far. A listing that timed out can resume at the page where it stopped.
#[derive(Debug)]
pub struct Listing {
    pub(crate) query: Query,
    filter: Filter,
    page_size: Option<u16>,
    /// By canonical ARN, with the time of the page. If an integration appears twice, the later page wins.
    integrations: BTreeMap<String, (Arc<Integration>, Timestamp)>,
    items: usize,
    foreign_items: bool,
    cursor: Cursor,
    /// The time of the last page if the listing is complete. None while pages are missing.
    outcome: Option<Result<Timestamp, GlueError>>,
}

#[derive(Debug)]
enum Filter {
    Named(BTreeSet<String>),
    Selected(Arc<Selection>),
}

/// The position in a listing. Detects loops and listings that never end.
#[derive(Debug, Default)]
pub(crate) struct Cursor {
    next: Option<String>,
    /// Hashes of the markers so far, because markers can be long.
    seen: HashSet<u64>,
    without_arn: usize,
}

impl Cursor {
    pub(crate) fn request<'a>(
        &'a self,
        page_size: Option<u16>,
        context: RequestContext<'a>,
    ) -> PageRequest<'a> {
        PageRequest {
            marker: self.next.as_deref(),
            page_size,
            context,
        }
    }

    /// Advances to the page after `page`. Returns false if `page` is the last one.
    pub(crate) fn advance<T>(&mut self, page: &Page<T>) -> Result<bool, GlueError> {
        self.without_arn += page.without_arn;
        let Some(marker) = &page.marker else {
            return match self.without_arn {
                0 => Ok(false),
                without_arn => Err(invalid(format!(
                    "AWS listed {without_arn} integrations without a valid ARN"
                ))),
            };
        };
        if marker.len() > MAX_MARKER_BYTES {
            return Err(invalid("AWS sent a page marker that is too long"));
        }
        if !self.seen.insert(fnv1a(&[marker])) {
            let why = "AWS sent the same page marker twice, so the listing would never end";
            return Err(invalid(why));
        }
        if self.seen.len() >= MAX_PAGES {
            let why = format!("the listing has more than {MAX_PAGES} pages");
            return Err(invalid(why));
        }
        self.next = Some(marker.clone());
        Ok(true)
    }
}

pub(super) fn invalid(message: impl Into<String>) -> GlueError {
    GlueError::new(Reason::InvalidResponse, message)
}

#[derive(Clone, Debug)]
pub struct Answer {
    pub integrations: Vec<(Arc<Integration>, Timestamp)>,
    /// The time of the last page if the listing is complete, otherwise the error.
    pub outcome: Result<Timestamp, GlueError>,
}

impl Answer {
    pub fn failed(error: GlueError) -> Self {
        Self {
            integrations: Vec::new(),
            outcome: Err(error),
        }
    }
}

impl Listing {
    pub fn new(query: Query, selection: &Arc<Selection>, page_size: Option<u16>) -> Self {
        // A response about another ARN says nothing about the configured integration.
        let filter = match &query {
            Query::Integration(arn) => Filter::Named([arn.canonical()].into()),
            Query::Target(_) | Query::All => Filter::Selected(Arc::clone(selection)),
        };
        Self::with_filter(query, filter, page_size)
    }

    pub fn lookup<'a>(
        arns: impl IntoIterator<Item = &'a IntegrationArn>,
        page_size: Option<u16>,
    ) -> Self {
        let arns = arns.into_iter().map(IntegrationArn::canonical);
        Self::with_filter(Query::All, Filter::Named(arns.collect()), page_size)
    }

    fn with_filter(query: Query, filter: Filter, page_size: Option<u16>) -> Self {
        Self {
            query,
            filter,
            page_size,
            integrations: BTreeMap::new(),
            items: 0,
            foreign_items: false,
            cursor: Cursor::default(),
            outcome: None,
        }
    }

    pub async fn follow(&mut self, glue: &dyn Glue, clock: &Clock, context: RequestContext<'_>) {
        self.outcome = None;
        while self.outcome.is_none() {
            let request = self.cursor.request(self.page_size, context);
            let answer = glue.page(&self.query, request).await;
            let now = clock.now();
            self.outcome = match answer.and_then(|page| self.add(page, now)) {
                Ok(true) => None,
                Ok(false) => Some(Ok(now)),
                Err(error) => Some(Err(error)),
            };
        }
    }

    fn add(&mut self, page: Page<Integration>, now: Timestamp) -> Result<bool, GlueError> {
        let has_next = self.cursor.advance(&page);
        for integration in page.items {
            let arn = canonical_arn(&integration.arn).into_owned();
            match &self.filter {
                Filter::Named(arns) if !arns.contains(&arn) => {
                    self.foreign_items = true;
                    continue;
                }
                Filter::Selected(selection) if !selection.matches(&integration) => {
                    // An earlier page may have contained a version that was selected.
                    self.integrations.remove(&arn);
                    continue;
                }
                Filter::Named(_) | Filter::Selected(_) => {}
            }
            self.items += 1 + integration.errors.len();
            if self.items > MAX_ITEMS {
                let why = format!("the listing has more than {MAX_ITEMS} integrations and errors");
                return Err(invalid(why));
            }
            self.integrations.insert(arn, (Arc::new(integration), now));
        }
        let has_next = has_next?;
        match &self.query {
            Query::Integration(arn)
                if !has_next && self.foreign_items && self.integrations.is_empty() =>
            {
                Err(invalid(format!(
                    "AWS returned only other integrations for a request for {arn}"
                )))
            }
            _ => Ok(has_next),
        }
    }

    pub(crate) fn timed_out(&self) -> bool {
        matches!(&self.outcome, Some(Err(error)) if error.reason == Reason::Timeout)
    }

    pub fn into_answer(self, reason: Reason) -> Answer {
        Answer {
            outcome: self.outcome(reason),
            integrations: self.integrations.into_values().collect(),
        }
    }

    /// If no request was sent, the outcome is an error with `reason`.
    pub(crate) fn outcome(&self, reason: Reason) -> Result<Timestamp, GlueError> {
        let outcome = self.outcome.clone();
        outcome.unwrap_or_else(|| Err(GlueError::not_sent(reason)))
    }

    /// Returns the answer for one integration if the pages so far contain it, even if the listing failed later.
    pub fn find(&self, arn: &IntegrationArn) -> Option<Answer> {
        let (integration, at) = self.integrations.get(&arn.canonical())?;
        Some(Answer {
            integrations: vec![(Arc::clone(integration), *at)],
            outcome: Ok(*at),
        })
    }
}
