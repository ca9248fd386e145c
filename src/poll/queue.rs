//! The queries of one poll: their order and their answers.

use crate::config::{Lookup, Query, ScopeRegion};
use crate::glue::{Answer, GlueError, Listing, Reason};
use std::collections::{BTreeMap, VecDeque};

/// The queries that failed in the previous poll, with true if a request was sent. Queries without a request run first, the others last.
pub type PreviousPoll = BTreeMap<Query, bool>;

/// A query of the scope, or one listing that looks up all configured integrations.
#[derive(Debug)]
pub struct PendingQuery {
    pub listing: Listing,
    /// The index of the scope's query, None for the lookup.
    index: Option<usize>,
    second_run: bool,
}

impl PendingQuery {
    pub fn can_resume(&self) -> bool {
        !self.second_run && self.listing.timed_out()
    }
}

#[derive(Debug)]
pub struct QueryQueue<'a> {
    watch: &'a ScopeRegion,
    previous_poll: &'a PreviousPoll,
    this_poll: PreviousPoll,
    waiting: VecDeque<PendingQuery>,
    /// The lookup listing has not ended. Requests for the ARNs that it does not contain may follow.
    looking_up: bool,
    answers: Vec<Option<Answer>>,
}

impl<'a> QueryQueue<'a> {
    pub fn new(watch: &'a ScopeRegion, previous_poll: &'a PreviousPoll) -> Self {
        let is_looked_up =
            |query: &Query| watch.lookup == Lookup::List && matches!(query, Query::Integration(_));
        let (looked_up, individual): (Vec<usize>, Vec<usize>) =
            (0..watch.queries.len()).partition(|index| is_looked_up(&watch.queries[*index]));
        let mut queue = Self {
            watch,
            previous_poll,
            this_poll: PreviousPoll::default(),
            waiting: VecDeque::new(),
            looking_up: !looked_up.is_empty(),
            answers: watch.queries.iter().map(|_| None).collect(),
        };
        if queue.looking_up {
            let arns = watch.queries.iter().filter_map(Query::integration);
            queue.waiting.push_back(PendingQuery {
                listing: Listing::lookup(arns, watch.page_size),
                index: None,
                second_run: false,
            });
        }
        queue.enqueue(individual);
        queue
    }

    fn enqueue(&mut self, indexes: Vec<usize>) {
        let (watch, previous_poll) = (self.watch, self.previous_poll);
        self.waiting
            .extend(indexes.into_iter().map(|index| PendingQuery {
                listing: Listing::new(
                    watch.queries[index].clone(),
                    &watch.selection,
                    watch.page_size,
                ),
                index: Some(index),
                second_run: false,
            }));
        self.waiting.make_contiguous().sort_by_key(|pending| {
            let rank = match previous_poll.get(&pending.listing.query) {
                Some(false) => 0,
                None => 1,
                Some(true) => 2,
            };
            (pending.second_run, rank)
        });
    }

    /// Counts one more round of requests while a lookup runs, so that a listing that hangs does not use up the poll's time.
    pub fn waiting(&self) -> usize {
        let may_follow = if self.looking_up {
            self.watch.concurrency
        } else {
            0
        };
        self.waiting.len() + may_follow
    }

    pub fn next(&mut self) -> Option<PendingQuery> {
        self.waiting.pop_front()
    }

    /// Runs a query that timed out a second time, after all others.
    pub fn requeue(&mut self, mut pending: PendingQuery) {
        pending.second_run = true;
        self.waiting.push_back(pending);
    }

    /// A query for which no request was sent fails with `reason`.
    pub fn end(&mut self, pending: PendingQuery, reason: Reason) {
        let outcome = pending.listing.outcome(reason);
        if let Err(error) = &outcome {
            self.this_poll
                .insert(pending.listing.query.clone(), error.request_sent);
        }
        if let Some(index) = pending.index {
            self.answers[index] = Some(pending.listing.into_answer(reason));
            return;
        }
        self.looking_up = false;
        let mut missing = Vec::new();
        for (index, query) in self.watch.queries.iter().enumerate() {
            let Some(arn) = query.integration() else {
                continue;
            };
            match (pending.listing.find(arn), &outcome) {
                (Some(answer), _) => self.answers[index] = Some(answer),
                // AWS does not document that a call without an ARN lists everything, and it does not list integrations of other accounts.
                // Only a request for this ARN shows whether the integration exists.
                (None, Ok(_)) => missing.push(index),
                // More requests would only add load while AWS fails.
                (None, Err(error)) => self.answers[index] = Some(Answer::failed(error.clone())),
            }
        }
        self.enqueue(missing);
    }

    /// Returns the answers in the order of the queries, and the outcomes for the next poll.
    pub fn into_answers(self) -> (Vec<Answer>, PreviousPoll) {
        let panicked = || {
            let why = "the task that sends the requests panicked";
            Answer::failed(GlueError::new(Reason::Other, why))
        };
        let answers = self.answers.into_iter();
        let answers = answers.map(|answer| answer.unwrap_or_else(panicked));
        (answers.collect(), self.this_poll)
    }
}
