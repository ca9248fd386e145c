//! The part of a snapshot that the web page and the API show besides the metrics: where the data come from, since when an integration
//! is missing, and why polls failed.

use super::metadata::Metadata;
use super::scope::QueryState;
use super::{IntegrationCache, PollResult, ScopeObservation, latest};
use crate::arn::canonical_arn;
use crate::config::Query;
use crate::glue::{Answer, GlueError};
use crate::snapshot::{
    Diagnostics, Failed, Failure, Integration, Missing, Presence, Provenance, ScopeDiagnostics,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::time::Instant;

/// Limit for error messages: enough for a whole chain of causes, even if AWS sends a long one.
const MAX_MESSAGE_CHARS: usize = 1024;
/// Request IDs of AWS have 36 characters.
const MAX_REQUEST_ID_CHARS: usize = 128;

/// The answer of AWS that a configured integration does not exist.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct NotFound {
    /// Time of the first such answer, in Unix seconds.
    pub since: f64,
    /// The last observation before.
    pub last: Option<Arc<Integration>>,
    /// The name of the integration, empty if it is unknown.
    pub name: String,
}

impl QueryState {
    /// Records whether AWS answered that the integration does not exist. Call it before the answer changes the observations, because it
    /// keeps the last one.
    pub fn note_not_found(&mut self, query: &Query, answer: &Answer, metadata: Option<&Metadata>) {
        let (Query::Integration(arn), Ok(at)) = (query, &answer.outcome) else {
            return;
        };
        if !answer.integrations.is_empty() {
            self.not_found = None;
        } else if self.not_found.is_none() {
            let before = self.observations.values().next();
            let name = metadata.and_then(|metadata| metadata.name(arn.as_str()));
            self.not_found = Some(NotFound {
                since: at.unix,
                last: before.map(|observation| Arc::clone(&observation.integration)),
                name: name.unwrap_or_default().to_owned(),
            });
        }
    }
}

impl IntegrationCache {
    /// Returns the diagnostics of a snapshot. `integrations` has all observations of each exported integration.
    pub(super) fn diagnostics(
        &self,
        integrations: &[&[ScopeObservation<'_>]],
        presence: &[Presence],
    ) -> Diagnostics {
        let index = |scope: usize| u32::try_from(scope).unwrap_or(u32::MAX);
        let started: Vec<Option<Instant>> = self
            .scopes
            .values()
            .map(|scope| scope.polled.and_then(|polled| polled.started))
            .collect();
        let mut seen_by: Vec<u32> = Vec::with_capacity(integrations.len());
        let provenance = integrations
            .iter()
            .filter_map(|observations| {
                let first = seen_by.len();
                for entry in *observations {
                    // They are sorted by scope, and two queries of one scope may observe the same integration.
                    if entry.exported && seen_by[first..].last() != Some(&index(entry.scope)) {
                        seen_by.push(index(entry.scope));
                    }
                }
                let ScopeObservation {
                    observation, scope, ..
                } = latest(observations)?;
                Some(Provenance {
                    observed_at: observation.observed_at_unix,
                    stale: started[*scope].is_none_or(|started| observation.observed_at < started),
                    seen_by: first..seen_by.len(),
                })
            })
            .collect();
        Diagnostics {
            provenance,
            seen_by,
            missing: self.missing(presence, &started),
            scopes: self
                .scopes
                .values()
                .map(|scope| ScopeDiagnostics {
                    failed_poll: scope.failed_poll.clone(),
                    failed_metadata: scope
                        .metadata
                        .as_ref()
                        .and_then(|metadata| metadata.failure.clone()),
                })
                .collect(),
        }
    }

    /// Returns the configured integrations that do not exist. `started` has the start of the last poll of each scope.
    fn missing(&self, presence: &[Presence], started: &[Option<Instant>]) -> Vec<Missing> {
        let mut missing: BTreeMap<&str, (Option<Instant>, Missing)> = presence
            .iter()
            .filter(|presence| !presence.present)
            .map(|presence| {
                let missing = Missing {
                    arn: presence.arn.clone(),
                    since: None,
                    answered_at: 0.0,
                    stale: true,
                    last: None,
                    name: String::new(),
                    scopes: Vec::new(),
                };
                (presence.arn.as_str(), (None, missing))
            })
            .collect();
        if missing.is_empty() {
            return Vec::new();
        }
        for ((index, scope), started) in (0_u32..).zip(self.scopes.values()).zip(started) {
            for (query, state) in &scope.queries {
                let Query::Integration(arn) = query else {
                    continue;
                };
                let Some((latest, missing)) = missing.get_mut(canonical_arn(arn.as_str()).as_ref())
                else {
                    continue;
                };
                missing.scopes.push(index);
                if let Some(answered) = state
                    .last_complete
                    .filter(|_| state.observations.is_empty())
                    && latest.is_none_or(|latest| answered.instant > latest)
                {
                    *latest = Some(answered.instant);
                    missing.answered_at = answered.unix;
                    missing.stale = started.is_none_or(|started| answered.instant < started);
                }
                let Some(not_found) = &state.not_found else {
                    continue;
                };
                let since = missing
                    .since
                    .map_or(not_found.since, |since| since.min(not_found.since));
                missing.since = Some(since);
                if not_found.last.is_some() {
                    missing.last.clone_from(&not_found.last);
                }
                if !not_found.name.is_empty() {
                    missing.name.clone_from(&not_found.name);
                }
            }
        }
        missing.into_values().map(|(_, missing)| missing).collect()
    }
}

/// Returns the failures of a poll, one for each reason.
pub(super) fn failed_poll(poll: &PollResult) -> Failed {
    let mut failures: BTreeMap<_, Failure> = BTreeMap::new();
    let errors = poll
        .answers
        .iter()
        .filter_map(|answer| answer.outcome.as_ref().err());
    for error in errors {
        let entry = failures.entry(error.reason);
        entry.or_insert_with(|| failure(error)).queries += 1;
    }
    Failed {
        at: poll.ended.unix,
        failures: failures.into_values().collect(),
    }
}

/// Returns the failure of a single request at a time in Unix seconds.
pub(super) fn failed_request(error: &GlueError, at: f64) -> Failed {
    let failure = Failure {
        queries: 1,
        ..failure(error)
    };
    Failed {
        at,
        failures: vec![failure],
    }
}

fn failure(error: &GlueError) -> Failure {
    Failure {
        reason: error.reason.as_str(),
        message: truncate(&error.message, MAX_MESSAGE_CHARS),
        request_id: error
            .request_id
            .as_deref()
            .map(|id| truncate(id, MAX_REQUEST_ID_CHARS)),
        queries: 0,
    }
}

fn truncate(text: &str, characters: usize) -> String {
    match text.char_indices().nth(characters) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
