//! Fetches the names and tags of a scope's integrations. Polls neither wait for these requests nor fail with them.

use super::schedule::Schedule;
use crate::cache::{Key, key};
use crate::clock::Clock;
use crate::config::ScopeRegion;
use crate::glue::{Deadline, Glue, GlueError, Metadata, Reason, RequestContext};
use crate::publisher::Publisher;
use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use tokio_util::task::AbortOnDropHandle;

const MIN_BACKOFF: Duration = Duration::from_secs(60);

pub struct MetadataPoller {
    watch: ScopeRegion,
    key: Key,
    glue: Arc<dyn Glue>,
    publisher: Arc<Publisher>,
    schedule: Schedule,
    failing: Option<Reason>,
}

impl MetadataPoller {
    pub fn new(
        watch: ScopeRegion,
        glue: Arc<dyn Glue>,
        publisher: Arc<Publisher>,
        clock: &Clock,
    ) -> Self {
        let interval = watch.describe_interval();
        Self {
            key: key(&watch),
            schedule: Schedule::new(&watch, interval, clock.now()),
            watch,
            glue,
            publisher,
            failing: None,
        }
    }

    /// Fetches after the first poll, at every interval and after a poll that found a new integration.
    pub async fn run(&mut self, polled: &Notify) {
        polled.notified().await;
        loop {
            self.describe().await;
            let due = self.next(Instant::now());
            tokio::select! {
                () = sleep_until(due) => {}
                // After a failure, new integrations wait for the next retry.
                () = self.found_new(polled), if self.failing.is_none() => {}
            }
        }
    }

    async fn found_new(&self, polled: &Notify) {
        loop {
            polled.notified().await;
            if self.publisher.cache.lock().metadata_due(&self.key) {
                return;
            }
        }
    }

    pub async fn describe(&mut self) {
        let wanted = self.publisher.cache.lock().metadata_wanted(&self.key);
        let Some(filter) = wanted else {
            return;
        };
        let (watch, glue) = (self.watch.clone(), Arc::clone(&self.glue));
        let wanted = filter.clone();
        // In its own task, so that parsing a large response does not delay a poll.
        let task = AbortOnDropHandle::new(tokio::spawn(async move {
            let context = RequestContext {
                scope: watch.scope.as_str(),
                deadline: &Deadline::new(watch.timeout, 1),
            };
            Metadata::fetch(&*glue, &wanted, watch.page_size, context).await
        }));
        let metadata = task.await.unwrap_or_else(|_panicked| Metadata {
            found: BTreeMap::new(),
            outcome: Err(GlueError::new(
                Reason::Other,
                "the task that fetches names and tags panicked",
            )),
        });
        self.log(&metadata);
        self.publisher.apply_metadata(&self.key, filter, metadata);
    }

    fn next(&self, now: Instant) -> Instant {
        let (tick, _) = self.schedule.next(now, now, None);
        match self.failing {
            Some(_) => tick.min(now + self.watch.interval.max(MIN_BACKOFF)),
            None => tick,
        }
    }

    fn log(&mut self, metadata: &Metadata) {
        let (scope, region) = (&self.watch.scope, &self.watch.region);
        let failed = metadata.outcome.as_ref().err();
        let previous = mem::replace(&mut self.failing, failed.map(|error| error.reason));
        let Some(error) = failed else {
            if previous.is_some() {
                tracing::info!(%scope, %region, "fetched names and tags again");
            }
            return;
        };
        let (reason, request_id) = (error.reason.as_str(), error.request_id.as_deref());
        if previous == Some(error.reason) {
            tracing::debug!(
                %scope, %region, reason, request_id, %error,
                "failed to fetch names and tags again"
            );
            return;
        }
        let hint = match error.reason {
            Reason::AccessDenied => {
                "allow these credentials the action glue:DescribeIntegrations on *, or remove `describe`"
            }
            _ => "the exporter retries",
        };
        tracing::warn!(
            %scope, %region, reason, request_id, %error, hint,
            "failed to fetch names and tags, polls are not affected"
        );
    }
}
