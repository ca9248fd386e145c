//! Asks CloudWatch about the data of a scope's integrations. Polls neither wait for these requests nor fail with them.

use super::background::{BackgroundLog, in_task};
use super::schedule::Schedule;
use crate::cache::{Key, key};
use crate::clock::Clock;
use crate::config::ScopeRegion;
use crate::freshness::{FreshnessQuery, Round};
use crate::glue::cloudwatch::CloudWatch;
use crate::glue::{Deadline, RequestContext};
use crate::publisher::Publisher;
use crate::telemetry::Telemetry;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

pub struct FreshnessPoller {
    watch: ScopeRegion,
    key: Key,
    cloudwatch: Arc<dyn CloudWatch>,
    publisher: Arc<Publisher>,
    telemetry: Arc<Telemetry>,
    clock: Clock,
    schedule: Schedule,
    interval: Duration,
    log: BackgroundLog,
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
        Self {
            key: key(&watch),
            schedule: Schedule::new(&watch, interval, clock.now()),
            interval,
            watch,
            cloudwatch,
            publisher,
            telemetry,
            clock,
            log: BackgroundLog {
                failed: "CloudWatch did not answer in full, serving the last good data; polls are not affected",
                recovered: "CloudWatch answered in full again",
                grant: "allow these credentials the actions cloudwatch:ListMetrics and cloudwatch:GetMetricData on *, or remove `freshness`",
                failing: BTreeSet::new(),
            },
        }
    }

    /// Asks as soon as an integration is known, and then at every interval.
    pub async fn run(&mut self, polled: &Notify) {
        while self.query().is_empty() {
            polled.notified().await;
        }
        loop {
            self.round().await;
            let now = Instant::now();
            let (due, _) = self.schedule.next(now, now, None);
            sleep_until(due).await;
        }
    }

    fn query(&self) -> FreshnessQuery {
        let query = self.publisher.cache.lock().freshness_query(&self.key);
        query.unwrap_or_default()
    }

    async fn round(&mut self) {
        let query = self.query();
        let (scope, cloudwatch) = (self.watch.scope.clone(), Arc::clone(&self.cloudwatch));
        // A request that hangs leaves time for others.
        let deadline = Deadline::of_requests(self.interval * 9 / 10, self.interval / 4);
        let started = self.clock.unix_now();
        let round = in_task(async move {
            let context = RequestContext {
                scope: scope.as_str(),
                deadline: &deadline,
            };
            Round::run(&*cloudwatch, &query, started, context).await
        });
        let round = round.await.unwrap_or_else(|error| Round {
            started,
            errors: vec![error],
            ..Round::default()
        });
        self.log.log(&self.watch, &round.errors);
        let (scope, region) = (&self.watch.scope, &self.watch.region);
        self.telemetry
            .metrics_requested(scope, region, round.metrics_requested);
        self.publisher.apply_freshness(&self.key, round);
    }
}
