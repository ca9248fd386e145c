//! Whose turn it is within one poll: in which order AWS is asked, by which requests, and what that answers. Knows nothing of time
//! but that a poll can run out of it.

use crate::config::{IntegrationArn, Lookup, Query, Watch};
use crate::glue::{Answer, GlueError, Listing, Reason};
use std::collections::{BTreeSet, VecDeque};

/// What the last poll says for the order of the next.
#[derive(Debug, Default)]
pub struct PreviousPoll {
    /// What was asked and failed: it is asked after the others.
    failed: BTreeSet<Query>,
    /// What had no turn: it is asked before the others, or it would have none again and again.
    not_asked: BTreeSet<Query>,
}

impl PreviousPoll {
    /// The place in the line; the least comes first.
    fn rank(&self, query: &Query) -> (bool, bool) {
        (!self.not_asked.contains(query), self.failed.contains(query))
    }

    fn note(&mut self, query: &Query, error: &GlueError) {
        let queries = if error.asked {
            &mut self.failed
        } else {
            &mut self.not_asked
        };
        queries.insert(query.clone());
    }
}

/// One turn: a query of the watch, or the listing in which those at these places are looked up. One that is given up for the sake of
/// the others gets a second turn after them.
#[derive(Debug)]
pub struct PendingQuery {
    /// What is asked, as far as it was answered.
    pub listing: Listing,
    answers: Answers,
    second: bool,
}

#[derive(Debug)]
enum Answers {
    /// The query at this place of the watch.
    One(usize),
    /// The integrations at these places.
    Lookup(Vec<(usize, IntegrationArn)>),
}

impl PendingQuery {
    /// Whether it is to have another turn: asking on may bring the rest.
    pub fn can_resume(&self) -> bool {
        !self.second && self.listing.timed_out()
    }
}

/// The turns of one poll, and what they have brought.
#[derive(Debug)]
pub struct QueryQueue<'a> {
    watch: &'a Watch,
    previous_poll: &'a PreviousPoll,
    this_poll: PreviousPoll,
    waiting: VecDeque<PendingQuery>,
    /// A listing in which integrations are looked up has not ended: requests for what it lacks may follow.
    looking_up: bool,
    /// By the place of the query in the watch.
    answers: Vec<Option<Answer>>,
}

impl<'a> QueryQueue<'a> {
    /// Nothing was asked yet.
    pub fn new(watch: &'a Watch, previous_poll: &'a PreviousPoll) -> Self {
        let mut queue = Self {
            watch,
            previous_poll,
            this_poll: PreviousPoll::default(),
            waiting: VecDeque::new(),
            looking_up: false,
            answers: watch.queries.iter().map(|_| None).collect(),
        };
        let mut looked_up: Vec<(usize, IntegrationArn)> = Vec::new();
        let mut alone: Vec<usize> = Vec::new();
        for (place, query) in watch.queries.iter().enumerate() {
            match (watch.lookup, query) {
                (Lookup::List, Query::Integration(arn)) => looked_up.push((place, arn.clone())),
                _ => alone.push(place),
            }
        }
        if !looked_up.is_empty() {
            queue.looking_up = true;
            queue.waiting.push_back(PendingQuery {
                listing: Listing::lookup(looked_up.iter().map(|(_, arn)| arn), watch.page_size),
                answers: Answers::Lookup(looked_up),
                second: false,
            });
        }
        queue.enqueue(alone);
        queue
    }

    /// These are asked each on its own. Of those that wait for their first turn the order is that of the last time's failures.
    fn enqueue(&mut self, places: Vec<usize>) {
        let (watch, previous_poll) = (self.watch, self.previous_poll);
        self.waiting
            .extend(places.into_iter().map(|place| PendingQuery {
                listing: Listing::new(
                    watch.queries[place].clone(),
                    &watch.selection,
                    watch.page_size,
                ),
                answers: Answers::One(place),
                second: false,
            }));
        self.waiting
            .make_contiguous()
            .sort_by_key(|pending| (pending.second, previous_poll.rank(pending.listing.query())));
    }

    /// How many are to have their turn yet. What a lookup's listing will lack is not known before its end: time for as many as are asked
    /// at once is left to them, so that a listing that hangs does not take it all.
    pub fn waiting(&self) -> usize {
        let may_follow = if self.looking_up {
            self.watch.concurrency
        } else {
            0
        };
        self.waiting.len() + may_follow
    }

    /// The next turn.
    pub fn next(&mut self) -> Option<PendingQuery> {
        self.waiting.pop_front()
    }

    /// A second turn, after the first turns of all others.
    pub fn requeue(&mut self, pending: PendingQuery) {
        self.waiting.push_back(PendingQuery {
            second: true,
            ..pending
        });
    }

    /// Takes what a turn brought; what was not asked at all fails for `reason`.
    pub fn end(&mut self, pending: PendingQuery, reason: Reason) {
        let outcome = pending.listing.outcome(reason);
        if let Err(error) = &outcome {
            self.this_poll.note(pending.listing.query(), error);
        }
        let looked_up = match pending.answers {
            Answers::One(place) => {
                self.answers[place] = Some(pending.listing.into_answer(reason));
                return;
            }
            Answers::Lookup(looked_up) => looked_up,
        };
        self.looking_up = false;
        let mut lacking = Vec::new();
        for (place, arn) in looked_up {
            match (pending.listing.picked(&arn), &outcome) {
                (Some(answer), _) => self.answers[place] = Some(answer),
                // That a call without an ARN lists everything is documented nowhere, and what another account has it never lists: only an
                // answer about this one can say that there is none.
                (None, Ok(_)) => lacking.push(place),
                // Asking for each would only add to what AWS fails under.
                (None, Err(error)) => self.answers[place] = Some(Answer::failed(error.clone())),
            }
        }
        if !lacking.is_empty() {
            tracing::debug!(
                scope = %self.watch.scope, region = %self.watch.region, integrations = lacking.len(),
                "the listing lacks configured integrations, each is asked for by itself"
            );
        }
        self.enqueue(lacking);
    }

    /// All answers, one for each query of the watch in its order, and what they say for the next poll.
    pub fn into_answers(self) -> (Vec<Answer>, PreviousPoll) {
        let answers = self
            .answers
            .into_iter()
            // A task that panicked leaves its queries without an answer.
            .map(|answer| answer.unwrap_or_else(Answer::lost))
            .collect();
        (answers, self.this_poll)
    }
}
