//! Asks CloudWatch about the data of a scope's integrations. Polls neither wait for these requests nor fail with them.

use super::schedule::Schedule;
use crate::cache::{Key, key};
use crate::clock::Clock;
use crate::config::ScopeRegion;
use crate::freshness::{Round, Wanted};
use crate::glue::cloudwatch::CloudWatch;
use crate::glue::{Deadline, GlueError, Reason, RequestContext};
use crate::publisher::Publisher;
use crate::telemetry::Telemetry;
use std::collections::BTreeSet;
use std::mem;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use tokio_util::task::AbortOnDropHandle;

pub struct FreshnessPoller {
    watch: ScopeRegion,
    key: Key,
    cloudwatch: Arc<dyn CloudWatch>,
    publisher: Arc<Publisher>,
    telemetry: Arc<Telemetry>,
    clock: Clock,
    schedule: Schedule,
    interval: Duration,
    failing: BTreeSet<Reason>,
}

impl FreshnessPoller {
    pub fn new(
        watch: ScopeRegion,
        interval: Duration,
        cloudwatch: Arc<dyn CloudWatch>,
        publisher: Arc<Publisher>,
        telemetry: Arc<Telemetry>,
        clock: Clock,
    ) -> Self {
        telemetry.metrics_requested(&watch.scope, &watch.region, 0);
        Self {
            key: key(&watch),
            schedule: Schedule::new(&watch, interval, clock.now()),
            interval,
            watch,
            cloudwatch,
            publisher,
            telemetry,
            clock,
            failing: BTreeSet::new(),
        }
    }

    /// Asks as soon as an integration is known, and then at every interval.
    pub async fn run(&mut self, polled: &Notify) {
        while self.wanted().is_empty() {
            polled.notified().await;
        }
        loop {
            self.round().await;
            let now = Instant::now();
            let (due, _) = self.schedule.next(now, now, None);
            sleep_until(due).await;
        }
    }

    fn wanted(&self) -> Wanted {
        let wanted = self.publisher.cache.lock().freshness_wanted(&self.key);
        wanted.unwrap_or_default()
    }

    async fn round(&mut self) {
        let wanted = self.wanted();
        let (scope, cloudwatch) = (self.watch.scope.clone(), Arc::clone(&self.cloudwatch));
        // A request that hangs leaves time for others.
        let deadline = Deadline::of_requests(self.interval * 9 / 10, self.interval / 4);
        let started = self.clock.unix_now();
        // In its own task, so that a panic ends only this round.
        let task = AbortOnDropHandle::new(tokio::spawn(async move {
            let context = RequestContext {
                scope: scope.as_str(),
                deadline: &deadline,
            };
            Round::run(&*cloudwatch, &wanted, started, context).await
        }));
        let round = task.await.unwrap_or_else(|_panicked| Round {
            started,
            errors: vec![GlueError::new(
                Reason::Other,
                "the task that asks CloudWatch panicked",
            )],
            ..Round::default()
        });
        self.log(&round.errors);
        let (scope, region) = (&self.watch.scope, &self.watch.region);
        self.telemetry
            .metrics_requested(scope, region, round.metrics_requested);
        self.publisher.apply_freshness(&self.key, round);
    }

    /// Logs each reason once until a round without it.
    fn log(&mut self, errors: &[GlueError]) {
        let (scope, region) = (&self.watch.scope, &self.watch.region);
        let previous = mem::take(&mut self.failing);
        if errors.is_empty() && !previous.is_empty() {
            tracing::info!(%scope, %region, "CloudWatch answered in full again");
        }
        for error in errors {
            if !self.failing.insert(error.reason) || previous.contains(&error.reason) {
                continue;
            }
            let (reason, request_id) = (error.reason.as_str(), error.request_id.as_deref());
            let hint = match error.reason {
                Reason::AccessDenied => {
                    "allow these credentials the actions cloudwatch:ListMetrics and cloudwatch:GetMetricData on *, or remove `freshness`"
                }
                _ => "the exporter asks again after the interval of `freshness`",
            };
            tracing::warn!(
                %scope, %region, reason, request_id, %error, hint,
                "CloudWatch did not answer in full, serving the last good data; polls are not affected"
            );
        }
    }
}
