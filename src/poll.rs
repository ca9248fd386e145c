//! The schedule: when each scope and region is polled, and how one poll spends its time. Each runs on its own and none waits
//! for another. Knows nothing of the SDK and nothing of pages.

mod log;
mod phase;

use crate::board::Board;
use crate::clock::Clock;
use crate::config::{ScopeName, Watch};
use crate::exposition::own::Own;
use crate::glue::{Allowance, Answer, Glue, Listing, Pace, Reason, time_left};
use crate::last_good::{PollResult, key};
use crate::snapshot::Status;
use log::Failures;
use phase::Phase;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// A throttled scope waits at most so many intervals for its next poll.
const LONGEST_BACKOFF: u32 = 4;
/// With so many queries waiting that each would have less, a request still gets this much, or a tenth of the poll: less would give
/// up requests that are merely slow.
const LEAST_SHARE: Duration = Duration::from_secs(1);

/// A poll that is to renew data ends so long before they do.
const MARGIN: Duration = Duration::from_secs(1);

/// Polls one scope in one region.
pub struct Poller {
    watch: Watch,
    glue: Arc<dyn Glue>,
    board: Arc<Board>,
    own: Arc<Own>,
    clock: Clock,
    /// The queries, by their place in the watch, that failed last time: they are asked after the others.
    failed: BTreeSet<usize>,
    /// Those that had no turn last time: they are asked before the others, or they would have none again and again.
    not_asked: BTreeSet<usize>,
    failures: Failures,
    phase: Phase,
    throttled_polls: u32,
    /// When the oldest data of this scope that are shown will end.
    next_end: Option<Instant>,
}

impl Poller {
    /// A poller that has not polled yet; what it brings goes to `board`.
    pub fn new(
        watch: Watch,
        glue: Arc<dyn Glue>,
        board: Arc<Board>,
        own: Arc<Own>,
        clock: Clock,
    ) -> Self {
        own.add_scope(&watch.scope, &watch.region);
        Self {
            failures: Failures::new(&watch.scope, &watch.region),
            phase: Phase::new(&watch.scope, &watch.region, watch.interval, clock.now()),
            watch,
            glue,
            board,
            own,
            clock,
            failed: BTreeSet::new(),
            not_asked: BTreeSet::new(),
            throttled_polls: 0,
            next_end: None,
        }
    }

    /// Polls at once, then at every interval, until `stop`; a poll that is under way then is dropped.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut due = Instant::now();
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(due) => {}
                () = stop.cancelled() => return,
            }
            tokio::select! {
                _ = self.poll() => {}
                () = stop.cancelled() => return,
            }
            let (next, skipped) = self.phase.next(due, Instant::now(), self.backoff(due));
            self.own
                .polls_skipped(&self.watch.scope, &self.watch.region, skipped);
            due = next;
        }
    }

    /// Polls once. Returns whether the poll got everything.
    pub async fn poll(&mut self) -> bool {
        let result = self.ask().await;
        let (scope, region) = (&self.watch.scope, &self.watch.region);
        let mut reasons: BTreeSet<Reason> = BTreeSet::new();
        self.failed.clear();
        self.not_asked.clear();
        for (place, answer) in result.answers.iter().enumerate() {
            if let Err(error) = &answer.outcome {
                reasons.insert(error.reason);
                if error.asked {
                    self.failed.insert(place);
                } else {
                    self.not_asked.insert(place);
                }
            }
            for (integration, _) in &answer.integrations {
                if integration.status == Status::Unknown {
                    self.own.unknown_status();
                    self.failures.log_unknown_status(integration);
                }
            }
        }
        self.own.poll_ended(scope, region, &reasons);
        self.failures.log(&result);
        self.throttled_polls = if reasons.contains(&Reason::Throttled) {
            self.throttled_polls.saturating_add(1)
        } else {
            0
        };
        let applied = self.board.apply(&key(&self.watch), result);
        self.next_end = applied.next_end;
        for change in applied.changes {
            tracing::info!(
                scope = %self.watch.scope,
                region = %self.watch.region,
                integration = change.arn,
                from = change.from.as_str(),
                to = change.to.as_str(),
                "integration status changed"
            );
        }
        reasons.is_empty()
    }

    /// When a scope that was throttled in the poll of `due` polls again, if not at its next tick: after a wait that doubles with each
    /// throttled poll, but none so long that data would end before the poll that could renew them has ended.
    fn backoff(&self, due: Instant) -> Option<Instant> {
        if self.throttled_polls == 0 {
            return None;
        }
        let intervals = (1u32 << self.throttled_polls.min(8)).min(LONGEST_BACKOFF);
        let longest = self.watch.interval * intervals;
        // Up to a quarter less, so that scopes which were throttled together do not come back together.
        let wanted = due + longest - longest / 4 * self.phase.jitter(self.throttled_polls) / 100;
        let latest = self
            .next_end
            .and_then(|end| end.checked_sub(self.watch.timeout + MARGIN));
        Some(latest.map_or(wanted, |latest| wanted.min(latest)))
    }

    /// Asks every query, as many at once as the watch allows, and ends by the watch's timeout.
    async fn ask(&self) -> PollResult {
        let started = self.clock.now();
        let deadline = started.at + self.watch.timeout;
        let mut waiting: VecDeque<Turn> = self.first_turns();
        let pace = Arc::new(PollPace {
            started: started.at,
            deadline,
            lanes: self.watch.concurrency.min(waiting.len()).max(1),
            waiting: AtomicUsize::new(waiting.len()),
            waited: AtomicU64::new(0),
            least: LEAST_SHARE.min(self.watch.timeout / 10),
        });
        let mut answers: Vec<Option<Answer>> = self.watch.queries.iter().map(|_| None).collect();
        let mut under_way: JoinSet<Turn> = JoinSet::new();
        loop {
            while under_way.len() < self.watch.concurrency
                && let Some(turn) = waiting.pop_front()
            {
                pace.waiting.store(waiting.len(), Ordering::Relaxed);
                if time_left(deadline).is_zero() {
                    let reason = if pace.short_of_budget() {
                        Reason::Throttled
                    } else {
                        Reason::Timeout
                    };
                    answers[turn.place] = Some(turn.listing.into_answer(reason));
                    continue;
                }
                under_way.spawn(turn.take(
                    self.watch.scope.clone(),
                    Arc::clone(&self.glue),
                    self.clock.clone(),
                    Arc::clone(&pace),
                ));
            }
            match under_way.join_next().await {
                Some(Ok(mut turn)) => {
                    if turn.may_go_on(deadline) {
                        waiting.push_back(turn);
                    } else {
                        answers[turn.place] = Some(turn.listing.into_answer(Reason::Timeout));
                    }
                }
                // A task that panicked leaves its query without an answer, which fails below.
                Some(Err(_)) => {}
                None => break,
            }
        }
        PollResult {
            started,
            ended: self.clock.now(),
            answers: answers
                .into_iter()
                .map(|answer| answer.unwrap_or_else(Answer::lost))
                .collect(),
        }
    }

    fn first_turns(&self) -> VecDeque<Turn> {
        let mut places: Vec<usize> = (0..self.watch.queries.len()).collect();
        places.sort_by_key(|place| (!self.not_asked.contains(place), self.failed.contains(place)));
        places
            .into_iter()
            .map(|place| Turn {
                place,
                second: false,
                listing: Listing::new(self.watch.queries[place].clone(), self.watch.page_size),
            })
            .collect()
    }
}

/// A query's turn within a poll. One that is given up for the sake of the others gets a second turn after them.
struct Turn {
    /// The query's place in the watch.
    place: usize,
    second: bool,
    listing: Listing,
}

impl Turn {
    async fn take(
        mut self,
        scope: ScopeName,
        glue: Arc<dyn Glue>,
        clock: Clock,
        pace: Arc<PollPace>,
    ) -> Self {
        let allowance = Allowance {
            scope: scope.as_str(),
            pace: &*pace,
        };
        self.listing.follow(&*glue, &clock, allowance).await;
        self
    }

    fn may_go_on(&mut self, deadline: Instant) -> bool {
        let may = !self.second && self.listing.timed_out() && !time_left(deadline).is_zero();
        self.second = true;
        may
    }
}

/// The pace of one poll.
struct PollPace {
    started: Instant,
    deadline: Instant,
    /// How many requests are in flight at once.
    lanes: usize,
    /// How many queries have not had their turn.
    waiting: AtomicUsize,
    /// For how long requests waited for the budget, all together, in milliseconds.
    waited: AtomicU64,
    least: Duration,
}

impl Pace for PollPace {
    fn deadline(&self) -> Instant {
        self.deadline
    }

    /// So much that those waiting behind the request can still be asked within this poll.
    fn share(&self) -> Duration {
        let left = time_left(self.deadline);
        let rounds = 1 + self.waiting.load(Ordering::Relaxed).div_ceil(self.lanes);
        let rounds = u32::try_from(rounds).unwrap_or(u32::MAX);
        (left / rounds).max(self.least).min(left)
    }

    fn waited(&self, duration: Duration) {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        self.waited.fetch_add(millis, Ordering::Relaxed);
    }

    fn short_of_budget(&self) -> bool {
        let lanes = u32::try_from(self.lanes).unwrap_or(u32::MAX);
        let time = self.started.elapsed().saturating_mul(lanes);
        Duration::from_millis(self.waited.load(Ordering::Relaxed)) > time / 2
    }
}
