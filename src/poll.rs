//! The schedule: when each scope and region is polled, and how one poll spends its time. Each runs on its own and none waits
//! for another. Knows nothing of the SDK and nothing of pages.

mod deadline;
mod failure_log;
mod metadata;
mod queue;
mod schedule;

use crate::cache::{PollResult, key};
use crate::clock::Clock;
use crate::config::{ScopeName, Watch};
use crate::glue::{Deadline, Glue, Reason, RequestContext, time_left};
use crate::publisher::Publisher;
use crate::telemetry::Telemetry;
use deadline::PollDeadline;
use failure_log::FailureLog;
use metadata::MetadataPoller;
use queue::{PendingQuery, PreviousPoll, QueryQueue};
use schedule::Schedule;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// A throttled scope waits at most so many intervals for its next poll.
const MAX_BACKOFF_INTERVALS: u32 = 4;
/// A poll that is to renew data ends so long before they do.
const EXPIRY_MARGIN: Duration = Duration::from_secs(1);

/// Polls one scope in one region.
pub struct Poller {
    watch: Watch,
    glue: Arc<dyn Glue>,
    publisher: Arc<Publisher>,
    telemetry: Arc<Telemetry>,
    clock: Clock,
    previous_poll: PreviousPoll,
    failures: FailureLog,
    schedule: Schedule,
    throttled_polls: u32,
    /// When the oldest data of this scope that are shown will end.
    next_expiry: Option<Instant>,
    /// A poll has ended.
    polled: Arc<Notify>,
    /// Only where names and tags are asked for.
    metadata_poller: Option<MetadataPoller>,
}

impl Poller {
    /// A poller that has not polled yet; what it brings goes to `publisher`.
    pub fn new(
        watch: Watch,
        glue: Arc<dyn Glue>,
        publisher: Arc<Publisher>,
        telemetry: Arc<Telemetry>,
        clock: Clock,
    ) -> Self {
        telemetry.add_scope(&watch.scope, &watch.region);
        let metadata_poller = watch.describe.then(|| {
            MetadataPoller::new(
                watch.clone(),
                Arc::clone(&glue),
                Arc::clone(&publisher),
                &clock,
            )
        });
        Self {
            polled: Arc::default(),
            metadata_poller,
            failures: FailureLog::new(&watch.scope, &watch.region),
            schedule: Schedule::new(&watch, watch.interval, clock.now()),
            watch,
            glue,
            publisher,
            telemetry,
            clock,
            previous_poll: PreviousPoll::default(),
            throttled_polls: 0,
            next_expiry: None,
        }
    }

    /// Polls at once, then at every interval, until `stop`; a poll that is under way then is dropped. Beside it AWS is asked for names and
    /// tags, where they are asked for.
    pub async fn run(mut self, stop: CancellationToken) {
        let metadata_poller = self.metadata_poller.take();
        let polled = Arc::clone(&self.polled);
        let metadata_polls = async {
            if let Some(mut metadata_poller) = metadata_poller {
                metadata_poller.run(&polled, &stop).await;
            }
        };
        tokio::join!(self.keep_polling(&stop), metadata_polls);
    }

    async fn keep_polling(&mut self, stop: &CancellationToken) {
        let mut due = Instant::now();
        let key = key(&self.watch);
        loop {
            self.publisher.set_next_poll(&key, due);
            tokio::select! {
                () = tokio::time::sleep_until(due) => {}
                () = stop.cancelled() => return,
            }
            tokio::select! {
                _ = self.poll() => {}
                () = stop.cancelled() => return,
            }
            let (next, skipped) = self.schedule.next(due, Instant::now(), self.backoff(due));
            self.telemetry
                .polls_skipped(&self.watch.scope, &self.watch.region, skipped);
            due = next;
        }
    }

    /// Polls once. Returns whether the poll got everything.
    pub async fn poll(&mut self) -> bool {
        let result = self.ask().await;
        let (scope, region) = (&self.watch.scope, &self.watch.region);
        let mut reasons: BTreeSet<Reason> = BTreeSet::new();
        for answer in &result.answers {
            if let Err(error) = &answer.outcome {
                reasons.insert(error.reason);
            }
        }
        self.failures.log(&result);
        self.throttled_polls = if reasons.contains(&Reason::Throttled) {
            self.throttled_polls.saturating_add(1)
        } else {
            0
        };
        let applied = self.publisher.apply(&key(&self.watch), result);
        for integration in &applied.unknown_statuses {
            self.telemetry.unknown_status();
            self.failures.log_unknown_status(integration);
        }
        // Not before: who sees it counted finds on the page what it brought, or a moment later.
        self.telemetry.poll_ended(scope, region, &reasons);
        self.next_expiry = applied.next_expiry;
        self.polled.notify_one();
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

    /// Asks AWS once for names and tags, if they are asked for.
    pub async fn describe(&mut self) {
        if let Some(metadata_poller) = &mut self.metadata_poller {
            metadata_poller.describe().await;
        }
    }

    /// When a scope that was throttled in the poll of `due` polls again, if not at its next tick: after a wait that doubles with each
    /// throttled poll, but none so long that data would end before the poll that could renew them has ended.
    fn backoff(&self, due: Instant) -> Option<Instant> {
        if self.throttled_polls == 0 {
            return None;
        }
        let intervals = (1u32 << self.throttled_polls.min(8)).min(MAX_BACKOFF_INTERVALS);
        let longest = self.watch.interval * intervals;
        // Up to a quarter less, so that scopes which were throttled together do not come back together.
        let wanted = due + longest - longest / 4 * self.schedule.jitter(self.throttled_polls) / 100;
        let latest = self
            .next_expiry
            .and_then(|end| end.checked_sub(self.watch.timeout + EXPIRY_MARGIN));
        Some(latest.map_or(wanted, |latest| wanted.min(latest)))
    }

    /// Asks every query, as many at once as the watch allows, and ends by the watch's timeout.
    async fn ask(&mut self) -> PollResult {
        let started = self.clock.now();
        let timeout = self.watch.timeout;
        let concurrency = self
            .watch
            .concurrency
            .min(self.glue.max_concurrent_requests());
        let deadline = Arc::new(PollDeadline::new(started.instant, timeout, concurrency));
        let mut queue = QueryQueue::new(&self.watch, &self.previous_poll);
        let mut under_way: JoinSet<PendingQuery> = JoinSet::new();
        loop {
            while under_way.len() < concurrency
                && let Some(pending) = queue.next()
            {
                deadline.wait(queue.waiting());
                if time_left(deadline.end()).is_zero() {
                    let reason = if deadline.starved_by_rate_limit() {
                        Reason::Throttled
                    } else {
                        Reason::Timeout
                    };
                    queue.end(pending, reason);
                    continue;
                }
                deadline.in_flight(under_way.len() + 1);
                under_way.spawn(run_query(
                    pending,
                    self.watch.scope.clone(),
                    Arc::clone(&self.glue),
                    self.clock.clone(),
                    Arc::clone(&deadline),
                ));
            }
            // A turn that ended may have changed how many are to come.
            deadline.wait(queue.waiting());
            match under_way.join_next().await {
                Some(Ok(pending))
                    if pending.can_resume() && !time_left(deadline.end()).is_zero() =>
                {
                    queue.requeue(pending);
                }
                Some(Ok(pending)) => queue.end(pending, Reason::Timeout),
                // A task that panicked.
                Some(Err(_)) => {}
                None => break,
            }
        }
        let (answers, previous_poll) = queue.into_answers();
        self.previous_poll = previous_poll;
        PollResult {
            started,
            ended: self.clock.now(),
            answers,
        }
    }
}

/// Asks AWS, as long as the pace allows.
async fn run_query(
    mut pending: PendingQuery,
    scope: ScopeName,
    glue: Arc<dyn Glue>,
    clock: Clock,
    deadline: Arc<PollDeadline>,
) -> PendingQuery {
    let context = RequestContext {
        scope: scope.as_str(),
        deadline: &*deadline,
    };
    pending.listing.follow(&*glue, &clock, context).await;
    pending
}
