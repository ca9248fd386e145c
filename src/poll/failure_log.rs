//! What the log says of polls that fail: the first time in full, then once an hour, and when it is over. A failure that repeats
//! each minute would otherwise bury every other line.

use crate::cache::PollResult;
use crate::clock::seconds;
use crate::config::{RegionName, ScopeName};
use crate::glue::{GlueError, Reason};
use crate::snapshot::Integration;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant;

/// How often a failure that goes on is logged again.
const REMINDER_INTERVAL: Duration = Duration::from_secs(3600);

/// How many different unknown statuses are told; a list without an end is no news.
const MAX_UNKNOWN_STATUSES: usize = 20;

/// The failures of one scope in one region that are going on, by reason.
#[derive(Debug)]
pub struct FailureLog {
    scope: ScopeName,
    region: RegionName,
    going_on: BTreeMap<Reason, Ongoing>,
    /// The unknown statuses that have been told.
    unknown: BTreeSet<String>,
}

#[derive(Clone, Copy, Debug)]
struct Ongoing {
    since: Instant,
    polls: u64,
    logged: Instant,
}

impl FailureLog {
    /// No failure yet.
    pub fn new(scope: &ScopeName, region: &RegionName) -> Self {
        Self {
            scope: scope.clone(),
            region: region.clone(),
            going_on: BTreeMap::new(),
            unknown: BTreeSet::new(),
        }
    }

    /// Logs a status that the exporter does not know, the first time that it sees it.
    pub fn log_unknown_status(&mut self, integration: &Integration) {
        let status = integration
            .status_text
            .as_deref()
            .unwrap_or("(AWS sent none)");
        if self.unknown.len() < MAX_UNKNOWN_STATUSES && self.unknown.insert(status.to_owned()) {
            tracing::warn!(
                scope = %self.scope, region = %self.region, integration = integration.arn, status,
                "an integration has a status that is not known, it is shown as UNKNOWN"
            );
        }
    }

    /// Logs what is new in the result of a poll.
    pub fn log(&mut self, result: &PollResult) {
        let mut failed: BTreeMap<Reason, (&GlueError, usize)> = BTreeMap::new();
        for error in result
            .answers
            .iter()
            .filter_map(|answer| answer.outcome.as_ref().err())
        {
            failed.entry(error.reason).or_insert((error, 0)).1 += 1;
        }
        let now = result.ended.instant;
        let took = seconds(result.ended.instant - result.started.instant);
        let (scope, region) = (&self.scope, &self.region);
        for (reason, (error, queries)) in &failed {
            let going_on = self.going_on.entry(*reason).or_insert(Ongoing {
                since: now,
                polls: 0,
                logged: now,
            });
            going_on.polls += 1;
            let (polls, since) = (going_on.polls, seconds(now - going_on.since));
            let request_id = error.request_id.as_deref();
            let reason = reason.as_str();
            if going_on.polls == 1 {
                tracing::warn!(
                    %scope, %region, reason, queries, seconds = took, request_id, error = %error,
                    "poll failed"
                );
            } else if now - going_on.logged >= REMINDER_INTERVAL {
                going_on.logged = now;
                tracing::warn!(
                    %scope, %region, reason, queries, polls, since_seconds = since, request_id, error = %error,
                    "polls still fail"
                );
            } else {
                tracing::debug!(
                    %scope, %region, reason, queries, seconds = took, request_id, error = %error,
                    "poll failed again"
                );
            }
        }
        self.going_on.retain(|reason, over| {
            let goes_on = failed.contains_key(reason);
            if !goes_on {
                tracing::info!(
                    %scope, %region, reason = reason.as_str(), polls = over.polls,
                    seconds = seconds(now - over.since),
                    "polls no longer fail for this reason"
                );
            }
            goes_on
        });
        let integrations: usize = result
            .answers
            .iter()
            .map(|answer| answer.integrations.len())
            .sum();
        tracing::debug!(%scope, %region, integrations, seconds = took, "poll ended");
    }
}
