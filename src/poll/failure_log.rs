//! Logs failed polls: the first failure, then a reminder every hour, then the recovery. Otherwise a failure that repeats every minute
//! would flood the log.

use crate::cache::PollResult;
use crate::clock::seconds;
use crate::config::ScopeRegion;
use crate::glue::{GlueError, Reason};
use crate::snapshot::Integration;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant;

/// How often an ongoing failure is logged again.
const REMINDER_INTERVAL: Duration = Duration::from_secs(3600);

/// Maximum number of different unknown statuses that are logged.
const MAX_UNKNOWN_STATUSES: usize = 20;

/// Logs the failures of one scope in one region.
#[derive(Debug, Default)]
pub struct FailureLog {
    ongoing: BTreeMap<Reason, Ongoing>,
    logged_statuses: BTreeSet<String>,
}

#[derive(Clone, Copy, Debug)]
struct Ongoing {
    since: Instant,
    polls: u64,
    logged: Instant,
}

impl FailureLog {
    /// Logs an unknown status when it occurs for the first time.
    pub fn log_unknown_status(&mut self, watch: &ScopeRegion, integration: &Integration) {
        let status = integration.status_text.as_deref().unwrap_or("(not set)");
        if self.logged_statuses.len() < MAX_UNKNOWN_STATUSES
            && self.logged_statuses.insert(status.to_owned())
        {
            tracing::warn!(
                scope = %watch.scope, region = %watch.region, integration = integration.arn, status,
                "integration has an unknown status, exporting it as UNKNOWN"
            );
        }
    }

    /// Logs new failures, reminders and recoveries. Returns the reasons of the failures.
    pub fn log(&mut self, watch: &ScopeRegion, result: &PollResult) -> BTreeSet<Reason> {
        let mut failed: BTreeMap<Reason, (&GlueError, usize)> = BTreeMap::new();
        let outcomes = result.answers.iter().map(|answer| &answer.outcome);
        for error in outcomes.filter_map(|outcome| outcome.as_ref().err()) {
            failed.entry(error.reason).or_insert((error, 0)).1 += 1;
        }
        let now = result.ended.instant;
        let took = seconds(result.ended.instant - result.started.instant);
        let (scope, region) = (&watch.scope, &watch.region);
        for (reason, (error, queries)) in &failed {
            let ongoing = self.ongoing.entry(*reason).or_insert(Ongoing {
                since: now,
                polls: 0,
                logged: now,
            });
            ongoing.polls += 1;
            let (polls, since) = (ongoing.polls, seconds(now - ongoing.since));
            let request_id = error.request_id.as_deref();
            let reason = reason.as_str();
            if ongoing.polls == 1 {
                tracing::warn!(
                    %scope, %region, reason, queries, seconds = took, request_id, error = %error,
                    "poll failed"
                );
            } else if now - ongoing.logged >= REMINDER_INTERVAL {
                ongoing.logged = now;
                tracing::warn!(
                    %scope, %region, reason, queries, polls, since_seconds = since, request_id, error = %error,
                    "polls are still failing"
                );
            } else {
                tracing::debug!(
                    %scope, %region, reason, queries, seconds = took, request_id, error = %error,
                    "poll failed again"
                );
            }
        }
        self.ongoing.retain(|reason, failure| {
            let continues = failed.contains_key(reason);
            if !continues {
                tracing::info!(
                    %scope, %region, reason = reason.as_str(), polls = failure.polls,
                    seconds = seconds(now - failure.since),
                    "polls no longer fail for this reason"
                );
            }
            continues
        });
        let counts = result
            .answers
            .iter()
            .map(|answer| answer.integrations.len());
        let integrations: usize = counts.sum();
        tracing::debug!(%scope, %region, integrations, seconds = took, "poll ended");
        failed.into_keys().collect()
    }
}
