//! When AWS is asked for the names and tags of a scope's integrations: after its first poll, then at an interval of their own. Beside the
//! polls, which neither wait for it nor fail with it.

use super::deadline::PollDeadline;
use super::schedule::Schedule;
use crate::cache::{Key, key};
use crate::clock::Clock;
use crate::config::Watch;
use crate::glue::metadata::{Names, Wanted};
use crate::glue::{Glue, GlueError, Reason, RequestContext};
use crate::publisher::Publisher;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// After a failure AWS is asked again no sooner than this.
const MIN_BACKOFF: Duration = Duration::from_secs(60);

/// Asks for the names and tags of one scope in one region.
pub struct MetadataPoller {
    watch: Watch,
    key: Key,
    glue: Arc<dyn Glue>,
    publisher: Arc<Publisher>,
    schedule: Schedule,
    /// How often it failed since it last did not, and why the last time.
    failing: Option<(u32, Reason)>,
}

impl MetadataPoller {
    /// One that has not asked yet.
    pub fn new(
        watch: Watch,
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

    /// Asks after the first poll, then at every interval, and after a poll that saw a new integration, until `stop`.
    pub async fn run(&mut self, polled: &Notify, stop: &CancellationToken) {
        // Before the first poll there is nothing to be named.
        let mut due: Option<Instant> = None;
        loop {
            let timer = async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = timer => {}
                // Whatever comes while AWS fails waits for the next try.
                () = polled.notified(), if self.failing.is_none() => {
                    if due.is_some() && !self.publisher.metadata_due(&self.key) {
                        continue;
                    }
                }
                () = stop.cancelled() => return,
            }
            tokio::select! {
                () = self.describe() => {}
                () = stop.cancelled() => return,
            }
            due = Some(self.next(Instant::now()));
        }
    }

    /// Asks once, with as much time as a poll has.
    pub async fn describe(&mut self) {
        let Some(wanted) = self.publisher.metadata_wanted(&self.key) else {
            return;
        };
        let asking = ask(self.watch.clone(), Arc::clone(&self.glue), wanted.clone());
        // A task of its own: reading a large answer holds up no poll.
        let mut task = JoinSet::new();
        task.spawn(asking);
        let answer = match task.join_next().await {
            Some(Ok(answer)) => answer,
            Some(Err(_)) | None => Names::failed(GlueError::new(
                Reason::Other,
                "the task that asked AWS for names ended without an answer",
            )),
        };
        self.log(&answer);
        self.publisher.apply_metadata(&self.key, wanted, answer);
    }

    /// After a success at the next tick. After failures sooner, since a name may be lacking: after a wait that doubles with each.
    fn next(&self, now: Instant) -> Instant {
        let (tick, _) = self.schedule.next(now, now, None);
        let Some((failures, _)) = self.failing else {
            return tick;
        };
        let doubled = 1u32 << failures.saturating_sub(1).min(8);
        let backoff = self.watch.interval.max(MIN_BACKOFF) * doubled;
        if backoff < self.watch.describe_interval() {
            now + backoff
        } else {
            tick
        }
    }

    /// Says what is new: that names cannot be had, for which reason, and that it is over.
    fn log(&mut self, answer: &Names) {
        let (scope, region) = (&self.watch.scope, &self.watch.region);
        let (times, before) = self.failing.unzip();
        match &answer.outcome {
            Err(error) => {
                let reason = error.reason;
                let request_id = error.request_id.as_deref();
                if before == Some(reason) {
                    tracing::debug!(
                        %scope, %region, reason = reason.as_str(), request_id, %error,
                        "names and tags could again not be had"
                    );
                } else {
                    let what_to_do = match reason {
                        Reason::AccessDenied => {
                            "allow the action glue:DescribeIntegrations on * to these credentials, or leave `describe` out"
                        }
                        _ => "they are asked for again",
                    };
                    tracing::warn!(
                        %scope, %region, reason = reason.as_str(), request_id, %error, what_to_do,
                        "names and tags cannot be had, everything else goes on"
                    );
                }
                self.failing = Some((times.unwrap_or_default().saturating_add(1), reason));
            }
            Ok(()) => {
                if before.is_some() {
                    tracing::info!(%scope, %region, times, "names and tags can be had again");
                }
                self.failing = None;
            }
        }
    }
}

async fn ask(watch: Watch, glue: Arc<dyn Glue>, wanted: Wanted) -> Names {
    let deadline = PollDeadline::new(Instant::now(), watch.timeout, 1);
    deadline.in_flight(1);
    let context = RequestContext {
        scope: watch.scope.as_str(),
        deadline: &deadline,
    };
    Names::ask(&*glue, &wanted, watch.page_size, context).await
}
