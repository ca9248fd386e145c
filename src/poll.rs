//! Polls each scope and region on its own schedule. A slow or failing scope delays no other scope.

mod background;
mod failure_log;
mod freshness;
mod metadata;
mod queue;
mod schedule;

use crate::cache::{Key, PollResult, key};
use crate::clock::Clock;
use crate::config::ScopeRegion;
use crate::glue::cloudwatch::CloudWatch;
use crate::glue::{Deadline, Glue, Reason, RequestContext};
use crate::publisher::Publisher;
use crate::telemetry::Telemetry;
use failure_log::FailureLog;
use freshness::FreshnessPoller;
use metadata::MetadataPoller;
use queue::{PendingQuery, PreviousPoll, QueryQueue};
use schedule::Schedule;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

const MAX_BACKOFF_INTERVALS: u32 = 4;
/// A throttled scope's poll must end at least this long before its data expires.
const EXPIRY_MARGIN: Duration = Duration::from_secs(1);

pub struct Poller {
    watch: ScopeRegion,
    key: Key,
    glue: Arc<dyn Glue>,
    publisher: Arc<Publisher>,
    telemetry: Arc<Telemetry>,
    clock: Clock,
    previous_poll: PreviousPoll,
    failures: FailureLog,
    schedule: Schedule,
    throttled_polls: u32,
    next_expiry: Option<Instant>,
    /// Each of the other loops has its own, because a notification wakes only one.
    polled: Arc<Notify>,
    freshness_polled: Arc<Notify>,
    metadata_poller: Option<MetadataPoller>,
    freshness_poller: Option<FreshnessPoller>,
}

impl Poller {
    pub fn new(
        watch: ScopeRegion,
        glue: Arc<dyn Glue>,
        publisher: Arc<Publisher>,
        telemetry: Arc<Telemetry>,
        clock: Clock,
    ) -> Self {
        telemetry.add_scope(&watch);
        let metadata_poller = watch
            .describe
            .then(|| MetadataPoller::new(watch.clone(), Arc::clone(&glue), Arc::clone(&publisher)));
        Self {
            polled: Arc::default(),
            freshness_polled: Arc::default(),
            metadata_poller,
            freshness_poller: None,
            failures: FailureLog::default(),
            schedule: Schedule::new(&watch, watch.interval, clock.now()),
            key: key(&watch),
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

    /// Asks CloudWatch too while it runs, if the scope is configured so.
    pub fn with_cloudwatch(mut self, cloudwatch: Arc<dyn CloudWatch>) -> Self {
        self.freshness_poller = self.watch.freshness.map(|config| FreshnessPoller {
            watch: self.watch.clone(),
            interval: config.interval,
            cloudwatch,
            publisher: Arc::clone(&self.publisher),
            telemetry: Arc::clone(&self.telemetry),
            clock: self.clock.clone(),
        });
        self
    }

    /// Polls until `stop` is cancelled, which aborts a running poll.
    pub async fn run(mut self, stop: CancellationToken) {
        let (metadata, freshness) = (self.metadata_poller.take(), self.freshness_poller.take());
        let (polled, clock) = (Arc::clone(&self.polled), self.clock.clone());
        let freshness_polled = Arc::clone(&self.freshness_polled);
        let metadata_polls = async {
            if let Some(mut poller) = metadata {
                poller.run(&polled, &clock).await;
            }
        };
        let freshness_polls = async {
            if let Some(poller) = freshness {
                poller.run(&freshness_polled).await;
            }
        };
        stop.run_until_cancelled(async {
            tokio::join!(self.keep_polling(), metadata_polls, freshness_polls)
        })
        .await;
    }

    async fn keep_polling(&mut self) {
        let mut due = Instant::now();
        loop {
            self.publisher.set_next_poll(&self.key, due);
            tokio::time::sleep_until(due).await;
            self.poll().await;
            let (next, skipped) = self.schedule.next(due, Instant::now(), self.backoff(due));
            self.telemetry.polls_skipped(&self.key, skipped);
            due = next;
        }
    }

    /// Returns true if every query succeeded.
    pub async fn poll(&mut self) -> bool {
        let result = self.run_queries().await;
        let (scope, region) = (&self.watch.scope, &self.watch.region);
        let reasons = self.failures.log(&self.watch, &result);
        self.throttled_polls = if reasons.contains(&Reason::Throttled) {
            self.throttled_polls.saturating_add(1)
        } else {
            0
        };
        let applied = self.publisher.apply(&self.key, result);
        for integration in &applied.unknown_statuses {
            self.telemetry.unknown_status();
            self.failures.log_unknown_status(&self.watch, integration);
        }
        // After `apply`, so that the data of a poll is available once its counter has increased.
        self.telemetry.poll_ended(&self.key, &reasons);
        self.next_expiry = applied.next_expiry;
        self.polled.notify_one();
        self.freshness_polled.notify_one();
        for change in applied.changes {
            tracing::info!(
                %scope, %region,
                integration = change.arn,
                from = change.from.as_str(),
                to = change.to.as_str(),
                "integration status changed"
            );
        }
        reasons.is_empty()
    }

    pub async fn describe(&mut self) {
        if let Some(metadata_poller) = &mut self.metadata_poller {
            metadata_poller.describe().await;
        }
    }

    /// The wait doubles with each throttled poll, but the next poll has time to end before the scope's data expires.
    fn backoff(&self, due: Instant) -> Option<Instant> {
        if self.throttled_polls == 0 {
            return None;
        }
        let intervals = (1u32 << self.throttled_polls.min(8)).min(MAX_BACKOFF_INTERVALS);
        let longest = self.watch.interval * intervals;
        // Up to a quarter less, so that scopes that were throttled together do not poll together again.
        let wanted = due + longest.mul_f64(1.0 - fastrand::f64() / 4.0);
        let latest = self
            .next_expiry
            .and_then(|expiry| expiry.checked_sub(self.watch.timeout + EXPIRY_MARGIN));
        Some(latest.map_or(wanted, |latest| wanted.min(latest)))
    }

    async fn run_queries(&mut self) -> PollResult {
        let started = self.clock.now();
        let concurrency = self.watch.concurrency;
        let deadline = Arc::new(Deadline::new(self.watch.timeout, concurrency));
        let mut queue = QueryQueue::new(&self.watch, &self.previous_poll);
        let mut running: JoinSet<PendingQuery> = JoinSet::new();
        loop {
            while running.len() < concurrency
                && let Some(mut pending) = queue.next()
            {
                if deadline.time_left().is_zero() {
                    queue.end(pending, deadline.reason());
                    continue;
                }
                deadline.update(queue.waiting(), running.len() + 1);
                let (scope, glue) = (self.watch.scope.clone(), Arc::clone(&self.glue));
                let (clock, deadline) = (self.clock.clone(), Arc::clone(&deadline));
                running.spawn(async move {
                    let context = RequestContext {
                        scope: scope.as_str(),
                        deadline: &deadline,
                    };
                    pending.listing.follow(&*glue, &clock, context).await;
                    pending
                });
            }
            // A lookup that ended may have added queries.
            deadline.update(queue.waiting(), running.len());
            match running.join_next().await {
                Some(Ok(pending)) if pending.can_resume() && !deadline.time_left().is_zero() => {
                    queue.requeue(pending);
                }
                Some(Ok(pending)) => queue.end(pending, deadline.reason()),
                // The task panicked.
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
