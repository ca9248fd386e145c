//! What people want to know besides the metrics: where what is shown comes from, since when something is missing, why polls failed.

use super::metadata::Metadata;
use super::scope::QueryState;
use super::{IntegrationCache, PollResult, Seen, latest};
use crate::config::Query;
use crate::glue::{Answer, GlueError, canonical_arn};
use crate::snapshot::{
    Diagnostics, Failed, Failure, Integration, Missing, Presence, Provenance, ScopeDiagnostics,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::time::Instant;

/// How many characters of a message are kept: enough for all causes of an error, whatever AWS puts into one of them.
const MAX_MESSAGE_CHARS: usize = 1024;
/// AWS's own have 36.
const MAX_REQUEST_ID_CHARS: usize = 128;

/// AWS answered that there is no such integration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct NotFound {
    /// The first such answer, in Unix seconds.
    pub since: f64,
    /// What it was before.
    pub last: Option<Arc<Integration>>,
    /// Empty if it is not known.
    pub name: String,
}

impl QueryState {
    /// Notes whether a complete answer is that there is none. Called before the answer is taken over.
    pub fn note_not_found(&mut self, query: &Query, answer: &Answer, names: Option<&Metadata>) {
        let (Query::Integration(arn), Ok(at)) = (query, &answer.outcome) else {
            return;
        };
        if !answer.integrations.is_empty() {
            self.not_found = None;
        } else if self.not_found.is_none() {
            let before = self.observations.values().next();
            let name = names.and_then(|names| names.name(arn.as_str()));
            self.not_found = Some(NotFound {
                since: at.unix,
                last: before.map(|observation| Arc::clone(&observation.integration)),
                name: name.unwrap_or_default().to_owned(),
            });
        }
    }
}

impl IntegrationCache {
    /// The details of a snapshot with these integrations, each by all sights of it, and this presence.
    pub(super) fn diagnostics(
        &self,
        integrations: &[&[Seen<'_>]],
        presence: &[Presence],
    ) -> Diagnostics {
        let place = |place: usize| u32::try_from(place).unwrap_or(u32::MAX);
        let started: Vec<Option<Instant>> = self
            .scopes
            .values()
            .map(|scope| scope.polled.and_then(|polled| polled.started))
            .collect();
        let mut seers: Vec<u32> = Vec::with_capacity(integrations.len());
        let sightings = integrations
            .iter()
            .filter_map(|observations| {
                let first = seers.len();
                for (_, _, shown, scope) in *observations {
                    // They are in the order of the scopes, and two queries of one scope may see the same.
                    if *shown && seers[first..].last() != Some(&place(*scope)) {
                        seers.push(place(*scope));
                    }
                }
                let (_, observation, _, scope) = latest(observations)?;
                Some(Provenance {
                    observed_at: observation.observed_at_unix,
                    stale: started[*scope].is_none_or(|started| observation.observed_at < started),
                    seen_by: first..seers.len(),
                })
            })
            .collect();
        Diagnostics {
            provenance: sightings,
            seen_by: seers,
            missing: self.missing(presence, &started),
            scopes: self
                .scopes
                .values()
                .map(|scope| ScopeDiagnostics {
                    failed_poll: scope.failed_poll.clone(),
                    failed_metadata: scope
                        .metadata
                        .as_ref()
                        .and_then(|names| names.failure.clone()),
                })
                .collect(),
        }
    }

    /// `started` says of each scope when its last poll did.
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
        for ((place, scope), started) in (0_u32..).zip(self.scopes.values()).zip(started) {
            for (query, known) in &scope.queries {
                let Query::Integration(arn) = query else {
                    continue;
                };
                let Some((latest, missing)) = missing.get_mut(canonical_arn(arn.as_str()).as_ref())
                else {
                    continue;
                };
                missing.scopes.push(place);
                if let Some(answered) = known
                    .last_complete
                    .filter(|_| known.observations.is_empty())
                    && latest.is_none_or(|latest| answered.instant > latest)
                {
                    *latest = Some(answered.instant);
                    missing.answered_at = answered.unix;
                    missing.stale = started.is_none_or(|started| answered.instant < started);
                }
                let Some(absent) = &known.not_found else {
                    continue;
                };
                let since = missing
                    .since
                    .map_or(absent.since, |since| since.min(absent.since));
                missing.since = Some(since);
                if absent.last.is_some() {
                    missing.last.clone_from(&absent.last);
                }
                if !absent.name.is_empty() {
                    missing.name.clone_from(&absent.name);
                }
            }
        }
        missing.into_values().map(|(_, missing)| missing).collect()
    }
}

/// Why a poll did not get everything.
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

/// Why one request failed at a moment in Unix seconds.
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
        message: bounded(&error.message, MAX_MESSAGE_CHARS),
        request_id: error
            .request_id
            .as_deref()
            .map(|id| bounded(id, MAX_REQUEST_ID_CHARS)),
        queries: 0,
    }
}

fn bounded(text: &str, characters: usize) -> String {
    match text.char_indices().nth(characters) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
