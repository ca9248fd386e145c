//! Whose turn it is within one poll: in which order AWS is asked, by which requests, and what that answers. Knows nothing of time
//! but that a poll can run out of it.

use crate::config::{Query, Watch};
use crate::glue::{Answer, GlueError, Listing, Reason};
use std::collections::{BTreeSet, VecDeque};
use std::ops::Range;

/// What the last poll says for the order of the next.
#[derive(Debug, Default)]
pub struct LastTime {
    /// What was asked and failed: it is asked after the others.
    failed: BTreeSet<Query>,
    /// What had no turn: it is asked before the others, or it would have none again and again.
    not_asked: BTreeSet<Query>,
}

impl LastTime {
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

/// The turn of one query of the watch. One that is given up for the sake of the others gets a second turn after them.
#[derive(Debug)]
pub struct Turn {
    /// What is asked, as far as it was answered.
    pub listing: Listing,
    /// The query's place in the watch.
    place: usize,
    second: bool,
}

impl Turn {
    /// Whether it is to have another turn: asking on may bring the rest.
    pub fn may_go_on(&self) -> bool {
        !self.second && self.listing.timed_out()
    }
}

/// The turns of one poll, and what they have brought.
#[derive(Debug)]
pub struct Turns<'a> {
    watch: &'a Watch,
    last_time: &'a LastTime,
    this_time: LastTime,
    waiting: VecDeque<Turn>,
    /// By the place of the query in the watch.
    answers: Vec<Option<Answer>>,
}

impl<'a> Turns<'a> {
    /// Nothing was asked yet.
    pub fn new(watch: &'a Watch, last_time: &'a LastTime) -> Self {
        let mut turns = Self {
            watch,
            last_time,
            this_time: LastTime::default(),
            waiting: VecDeque::new(),
            answers: watch.queries.iter().map(|_| None).collect(),
        };
        turns.line_up(0..watch.queries.len());
        turns
    }

    /// These are asked each on its own. Of those that wait for their first turn the order is that of the last time's failures.
    fn line_up(&mut self, places: Range<usize>) {
        let (watch, last_time) = (self.watch, self.last_time);
        self.waiting.extend(places.map(|place| Turn {
            listing: Listing::new(watch.queries[place].clone(), watch.page_size),
            place,
            second: false,
        }));
        self.waiting
            .make_contiguous()
            .sort_by_key(|turn| (turn.second, last_time.rank(turn.listing.query())));
    }

    /// How many are to have their turn yet.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// The next turn.
    pub fn next(&mut self) -> Option<Turn> {
        self.waiting.pop_front()
    }

    /// A second turn, after the first turns of all others.
    pub fn again(&mut self, turn: Turn) {
        self.waiting.push_back(Turn {
            second: true,
            ..turn
        });
    }

    /// Takes what a turn brought; what was not asked at all fails for `reason`.
    pub fn end(&mut self, turn: Turn, reason: Reason) {
        if let Err(error) = &turn.listing.outcome(reason) {
            self.this_time.note(turn.listing.query(), error);
        }
        self.answers[turn.place] = Some(turn.listing.into_answer(reason));
    }

    /// All answers, one for each query of the watch in its order, and what they say for the next poll.
    pub fn into_answers(self) -> (Vec<Answer>, LastTime) {
        let answers = self
            .answers
            .into_iter()
            // A task that panicked leaves its queries without an answer.
            .map(|answer| answer.unwrap_or_else(Answer::lost))
            .collect();
        (answers, self.this_time)
    }
}
