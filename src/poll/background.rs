//! Shared by the loops beside the polls: names and tags, and CloudWatch. Polls neither wait for their requests nor fail with them.

use crate::config::ScopeRegion;
use crate::glue::{GlueError, Reason};
use std::collections::BTreeSet;
use std::future::Future;
use std::mem;
use tokio_util::task::AbortOnDropHandle;

/// Runs `requests` in a task of their own, so that parsing a large response delays no poll, and a panic ends only these requests.
pub async fn in_task<T: Send + 'static>(
    requests: impl Future<Output = T> + Send + 'static,
) -> Result<T, GlueError> {
    let task = AbortOnDropHandle::new(tokio::spawn(requests));
    let panicked = |_| GlueError::new(Reason::Other, "the task that sends the requests panicked");
    task.await.map_err(panicked)
}

/// Logs each reason of failures once, until requests do not fail for it.
pub struct BackgroundLog {
    pub failed: &'static str,
    pub recovered: &'static str,
    /// How to grant the missing permission.
    pub grant: &'static str,
    pub failing: BTreeSet<Reason>,
}

impl BackgroundLog {
    pub fn log<'a>(
        &mut self,
        watch: &ScopeRegion,
        errors: impl IntoIterator<Item = &'a GlueError>,
    ) {
        let (scope, region) = (&watch.scope, &watch.region);
        let previous = mem::take(&mut self.failing);
        for error in errors {
            let (reason, request_id) = (error.reason.as_str(), error.request_id.as_deref());
            let is_known = previous.contains(&error.reason);
            if !self.failing.insert(error.reason) || is_known {
                tracing::debug!(%scope, %region, reason, request_id, %error, "{}", self.failed);
                continue;
            }
            let hint = match error.reason {
                Reason::AccessDenied => self.grant,
                _ => "the exporter retries",
            };
            tracing::warn!(%scope, %region, reason, request_id, %error, hint, "{}", self.failed);
        }
        if self.failing.is_empty() && !previous.is_empty() {
            tracing::info!(%scope, %region, "{}", self.recovered);
        }
    }
}
