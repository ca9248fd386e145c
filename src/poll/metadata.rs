//! Fetches the names and tags of a scope's integrations. Polls neither wait for these requests nor fail with them.

use super::background::{BackgroundLog, in_task};
use super::schedule::Schedule;
use crate::cache::key;
use crate::clock::Clock;
use crate::config::ScopeRegion;
use crate::glue::{Deadline, Glue, Metadata, RequestContext};
use crate::publisher::Publisher;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

const MIN_BACKOFF: Duration = Duration::from_secs(60);

pub struct MetadataPoller {
    watch: ScopeRegion,
    glue: Arc<dyn Glue>,
    publisher: Arc<Publisher>,
    log: BackgroundLog,
}

impl MetadataPoller {
    pub fn new(watch: ScopeRegion, glue: Arc<dyn Glue>, publisher: Arc<Publisher>) -> Self {
        Self {
            watch,
            glue,
            publisher,
            log: BackgroundLog {
                failed: "failed to fetch names and tags, polls are not affected",
                recovered: "fetched names and tags again",
                grant: "allow these credentials the action glue:DescribeIntegrations on *, or remove `describe`",
                failing: BTreeSet::new(),
            },
        }
    }

    /// Fetches after the first poll, at every interval and after a poll that found a new integration.
    pub async fn run(&mut self, polled: &Notify, clock: &Clock) {
        let schedule = Schedule::new(&self.watch, self.watch.describe_interval(), clock.now());
        polled.notified().await;
        loop {
            self.describe().await;
            let now = Instant::now();
            let (mut due, _) = schedule.next(now, now, None);
            if !self.log.failing.is_empty() {
                due = due.min(now + self.watch.interval.max(MIN_BACKOFF));
            }
            tokio::select! {
                () = sleep_until(due) => {}
                // After a failure, new integrations wait for the next retry.
                () = self.found_new(polled), if self.log.failing.is_empty() => {}
            }
        }
    }

    async fn found_new(&self, polled: &Notify) {
        loop {
            polled.notified().await;
            if self.publisher.cache.lock().metadata_due(&key(&self.watch)) {
                return;
            }
        }
    }

    pub async fn describe(&mut self) {
        let key = key(&self.watch);
        let wanted = self.publisher.cache.lock().metadata_wanted(&key);
        let Some(filter) = wanted else {
            return;
        };
        let (watch, glue) = (self.watch.clone(), Arc::clone(&self.glue));
        let wanted = filter.clone();
        let metadata = in_task(async move {
            let context = RequestContext {
                scope: watch.scope.as_str(),
                deadline: &Deadline::new(watch.timeout, 1),
            };
            Metadata::fetch(&*glue, &wanted, watch.page_size, context).await
        });
        let metadata = metadata.await.unwrap_or_else(|error| Metadata {
            found: BTreeMap::new(),
            outcome: Err(error),
        });
        self.log.log(&self.watch, metadata.outcome.as_ref().err());
        self.publisher.apply_metadata(&key, filter, metadata);
    }
}
