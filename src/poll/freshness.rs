//! Asks CloudWatch about the data of a scope's integrations. Polls neither wait for these requests nor fail with them.

use super::background::{BackgroundLog, in_task};
use super::schedule::Schedule;
use crate::cache::key;
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
    pub watch: ScopeRegion,
    pub interval: Duration,
    pub cloudwatch: Arc<dyn CloudWatch>,
    pub publisher: Arc<Publisher>,
    pub telemetry: Arc<Telemetry>,
    pub clock: Clock,
}

impl FreshnessPoller {
    /// Asks as soon as an integration is known, and then at every interval.
    pub async fn run(&self, polled: &Notify) {
        let schedule = Schedule::new(&self.watch, self.interval, self.clock.now());
        let mut log = BackgroundLog {
            failed: "CloudWatch did not answer in full, serving the last good data; polls are not affected",
            recovered: "CloudWatch answered in full again",
            grant: "allow these credentials the actions cloudwatch:ListMetrics and cloudwatch:GetMetricData on *, or remove `freshness`",
            failing: BTreeSet::new(),
        };
        let key = key(&self.watch);
        let query = || {
            let query = self.publisher.cache.lock().freshness_query(&key);
            query.unwrap_or_default()
        };
        while query().is_empty() {
            polled.notified().await;
        }
        loop {
            let round = self.round(query()).await;
            log.log(&self.watch, &round.errors);
            self.telemetry
                .metrics_requested(&key, round.metrics_requested);
            self.publisher.apply_freshness(&key, round);
            let now = Instant::now();
            let (due, _) = schedule.next(now, now, None);
            sleep_until(due).await;
        }
    }

    async fn round(&self, query: FreshnessQuery) -> Round {
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
        round.await.unwrap_or_else(|error| Round {
            started,
            errors: vec![error],
            ..Round::default()
        })
    }
}
