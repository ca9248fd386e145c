//! The cache of the last good data of each scope and region (stale-if-error, RFC 5861).
//!
//! Pure: time comes in as a parameter, and nothing here waits, sends requests or renders the exposition.
//!
//! A failed poll removes nothing and changes no value; only an answer from AWS does. If several scopes observed the same integration,
//! the latest observation is right for all of them, even after its own scope stopped serving it.

mod diagnostics;
mod inherit;
mod metadata;
mod scope;
pub mod stored;

use crate::arn::canonical_arn;
use crate::clock::Timestamp;
use crate::config::{Query, RegionName, ScopeName, ScopeRegion};
use crate::glue::Answer;
use crate::snapshot::{
    ExportedIntegration, Integration, PolledScope, Presence, ScopeState, Snapshot, Status,
};
use metadata::TagLabels;
use scope::{Observation, QueryState, Scope};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;
use stored::{StoredPoll, StoredScope, StoredStatus};
use tokio::time::Instant;

pub use stored::Stored;

/// Number of statuses kept for integrations that no scope observes any more. The latest observed ones are kept.
const MAX_REMEMBERED_STATUSES: usize = 100_000;

/// A scope in a region.
pub type Key = (ScopeName, RegionName);

/// The result of one poll of a scope in a region.
#[derive(Clone, Debug)]
pub struct PollResult {
    pub started: Timestamp,
    pub ended: Timestamp,
    /// One answer for each query of the watch, in the same order.
    pub answers: Vec<Answer>,
}

/// A status change between two observations of an integration, for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusChange {
    pub arn: String,
    pub from: Status,
    pub to: Status,
}

/// The effects of a poll on the cache.
#[derive(Clone, Debug, Default)]
pub struct Applied {
    /// Status changes of the integrations that are exported, or were until `stale_after` passed.
    pub changes: Vec<StatusChange>,
    /// The integrations with an unknown status, once for each answer that contains them.
    pub unknown_statuses: Vec<Arc<Integration>>,
    /// True if a status changed, or an integration appeared or disappeared. The caller should store the cache soon, because AWS cannot
    /// tell later when a status began.
    pub statuses_changed: bool,
    /// When the oldest exported data of the scope will expire.
    pub next_expiry: Option<Instant>,
}

/// The last good data of all scopes.
#[derive(Debug, Default)]
pub struct IntegrationCache {
    scopes: BTreeMap<Key, Scope>,
    /// By integration ARN. Kept after the data expire, until AWS answers that the integration is deleted.
    statuses: HashMap<String, StatusSince>,
    /// When AWS last answered that an integration is deleted. Kept as long as a poll that observed it earlier may still be running.
    deleted: BTreeMap<String, Instant>,
    tag_labels: TagLabels,
}

#[derive(Clone, Copy, Debug)]
struct StatusSince {
    status: Status,
    /// Unix time in seconds.
    since: f64,
    /// The latest observation of the integration. Older answers do not change the status.
    observed_at: Instant,
}

impl IntegrationCache {
    /// Returns an empty cache for `watches`.
    pub fn new<'a>(watches: impl IntoIterator<Item = &'a ScopeRegion>) -> Self {
        Self {
            scopes: watches
                .into_iter()
                .map(|watch| (key(watch), Scope::new(watch)))
                .collect(),
            statuses: HashMap::new(),
            deleted: BTreeMap::new(),
            tag_labels: TagLabels::default(),
        }
    }

    /// Replaces the watches. Queries that a scope keeps also keep their data, whatever else changed about the scope. The start times of
    /// all statuses are kept. No scrape waits for a new scope.
    pub fn reconfigure<'a>(&mut self, watches: impl IntoIterator<Item = &'a ScopeRegion>) {
        let mut before = std::mem::take(&mut self.scopes);
        let mut dropped: Vec<QueryState> = Vec::new();
        for watch in watches {
            let key = key(watch);
            let mut scope = Scope::new(watch);
            scope.blocks_scrape = false;
            scope.pending_first_poll = false;
            if let Some(metadata) = &mut scope.metadata {
                metadata.blocks_scrape = false;
            }
            if let Some(before) = before.remove(&key) {
                dropped.extend(scope.inherit(before));
            }
            self.scopes.insert(key, scope);
        }
        dropped.extend(
            before
                .into_values()
                .flat_map(|scope| scope.queries)
                .map(|(_, state)| state),
        );
        self.correct(dropped.iter().flat_map(|state| state.observations.values()));
    }

    /// Copies dropped observations into older observations of the same integrations by other scopes, because the later one is still right.
    fn correct<'a>(&mut self, dropped: impl Iterator<Item = &'a Observation>) {
        let mut latest: HashMap<&str, &Observation> = HashMap::new();
        for observation in dropped {
            let entry = latest
                .entry(&observation.integration.arn)
                .or_insert(observation);
            if observation.observed_at > entry.observed_at {
                *entry = observation;
            }
        }
        if latest.is_empty() {
            return;
        }
        let queries = self
            .scopes
            .values_mut()
            .flat_map(|scope| &mut scope.queries);
        for observation in queries.flat_map(|(_, state)| state.observations.values_mut()) {
            if let Some(later) = latest.get(observation.integration.arn.as_str())
                && observation.observed_at < later.observed_at
            {
                observation.integration = Arc::clone(&later.integration);
            }
        }
    }

    /// Returns the data to keep over a restart, at `now`.
    pub fn stored(&self, now: Timestamp) -> Stored {
        let unix = |at: Instant| now.unix - (now.instant - at).as_secs_f64();
        Stored {
            scopes: self
                .scopes
                .iter()
                .map(|((name, region), scope)| StoredScope {
                    scope: name.to_string(),
                    region: region.to_string(),
                    polled: scope.polled.map(|polled| StoredPoll {
                        ended: unix(polled.at),
                        up: polled.up,
                        duration: polled.duration,
                    }),
                    last_success: scope.last_success,
                    credentials_key: Some(scope.credentials_key.clone()),
                    queries: scope
                        .queries
                        .iter()
                        .map(|(query, state)| state.stored(query, unix))
                        .collect(),
                    names: scope
                        .metadata
                        .as_ref()
                        .map(|metadata| metadata.stored(unix)),
                })
                .collect(),
            statuses: self
                .statuses
                .iter()
                .map(|(arn, since)| StoredStatus {
                    arn: arn.clone(),
                    status: since.status,
                    since: since.since,
                    seen: unix(since.observed_at),
                })
                .collect(),
        }
    }

    /// Restores the data of the previous process: those of the queries that are still configured, and the start times of the statuses.
    /// Expired data are restored too, because they still correct older observations by other scopes.
    pub fn restore(&mut self, stored: Stored, now: Timestamp) {
        // If the clock was set back since, the age would be negative: treat the data as current.
        let at = |unix: f64| {
            let age = Duration::try_from_secs_f64((now.unix - unix).max(0.0)).ok()?;
            now.instant.checked_sub(age)
        };
        let mut scopes: HashMap<(String, String), &mut Scope> = self
            .scopes
            .iter_mut()
            .map(|((name, region), scope)| ((name.to_string(), region.to_string()), scope))
            .collect();
        for before in stored.scopes {
            let key = (before.scope.clone(), before.region.clone());
            if let Some(scope) = scopes.get_mut(&key) {
                scope.restore(before, now.instant, at, &self.tag_labels);
            }
        }
        for before in stored.statuses {
            if let Some(seen) = at(before.seen) {
                self.statuses.insert(
                    before.arn,
                    StatusSince {
                        status: before.status,
                        since: before.since,
                        observed_at: seen,
                    },
                );
            }
        }
    }

    /// Applies the result of a poll.
    pub fn apply(&mut self, key: &Key, mut poll: PollResult) -> Applied {
        // A poll that ended earlier may have got a later answer that the integration is deleted.
        if !self.deleted.is_empty() {
            for answer in &mut poll.answers {
                answer.integrations.retain(|(integration, moment)| {
                    let deleted = self.deleted.get(&integration.arn);
                    deleted.is_none_or(|deleted| *deleted <= moment.instant)
                });
            }
        }
        let Some(scope) = self.scopes.get_mut(key) else {
            return Applied::default();
        };
        let now = poll.ended.instant;
        // If the poll returned an integration twice, the later observation counts: the earlier status was never exported.
        let mut observed: HashMap<&str, (Status, Timestamp)> = HashMap::new();
        for (integration, moment) in poll.answers.iter().flat_map(|answer| &answer.integrations) {
            let observation = (integration.status, *moment);
            let latest = observed.entry(&integration.arn).or_insert(observation);
            if moment.instant >= latest.1.instant {
                *latest = observation;
            }
        }
        let deleted = scope.apply(&poll, &observed);
        let next_expiry = scope.next_expiry(now);
        let returned = poll.answers.iter().flat_map(|answer| &answer.integrations);
        let unknown = returned
            .map(|(integration, _)| integration)
            .filter(|integration| {
                integration.status == Status::Unknown && !scope.excludes(&integration.arn)
            })
            .map(Arc::clone)
            .collect();
        let known_before = self.statuses.len();
        let mut changes = self.note_statuses(&observed);
        let changed = !changes.is_empty();
        changes.retain(|change| {
            let mut scopes = self.scopes.get(key).into_iter().chain(self.scopes.values());
            scopes.any(|scope| scope.includes(&change.arn))
        });
        let added = self.statuses.len() > known_before;
        let dropped = self.drop_deleted(&deleted);
        self.remember_deleted(deleted, now);
        self.bound_statuses();
        Applied {
            statuses_changed: added || dropped || changed,
            changes,
            unknown_statuses: unknown,
            next_expiry,
        }
    }

    fn note_statuses(
        &mut self,
        observed: &HashMap<&str, (Status, Timestamp)>,
    ) -> Vec<StatusChange> {
        let mut changes = Vec::new();
        for (arn, (status, moment)) in observed {
            let now = StatusSince {
                status: *status,
                since: moment.unix,
                observed_at: moment.instant,
            };
            match self.statuses.get_mut(*arn) {
                None => {
                    self.statuses.insert((*arn).to_owned(), now);
                }
                Some(state) if now.observed_at >= state.observed_at => {
                    let before = state.status;
                    if before == *status {
                        state.observed_at = now.observed_at;
                    } else {
                        *state = now;
                        changes.push(StatusChange {
                            arn: (*arn).to_owned(),
                            from: before,
                            to: *status,
                        });
                    }
                }
                Some(_) => {}
            }
        }
        // The log gets a stable order.
        changes.sort_by(|one, other| one.arn.cmp(&other.arn));
        changes
    }

    /// Removes older observations of deleted integrations from all scopes. Returns whether the start time of a status was dropped.
    fn drop_deleted(&mut self, deleted: &BTreeMap<String, Instant>) -> bool {
        let before = self.statuses.len();
        for (arn, at) in deleted {
            let mut seen_elsewhere = false;
            for (query, state) in self
                .scopes
                .values_mut()
                .flat_map(|scope| &mut scope.queries)
            {
                seen_elsewhere |= state.remove_if_older(query, arn, *at);
            }
            if !seen_elsewhere {
                self.statuses.remove(arn);
            }
        }
        self.statuses.len() < before
    }

    fn remember_deleted(&mut self, deleted: BTreeMap<String, Instant>, now: Instant) {
        for (arn, at) in deleted {
            let latest = self.deleted.entry(arn).or_insert(at);
            *latest = at.max(*latest);
        }
        // No poll lasts longer than its scope's interval.
        let longest = self.scopes.values().map(|scope| scope.interval).max();
        self.deleted
            .retain(|_, at| *at + longest.unwrap_or_default() > now);
    }

    fn count(&self, condition: impl Fn(&Scope) -> bool) -> usize {
        self.scopes
            .values()
            .filter(|scope| condition(scope))
            .count()
    }

    fn bound_statuses(&mut self) {
        let kept: usize = self
            .scopes
            .values()
            .flat_map(|scope| &scope.queries)
            .map(|(_, state)| state.observations.len())
            .sum();
        if self.statuses.len() > kept + MAX_REMEMBERED_STATUSES {
            let mut seen: Vec<Instant> = self
                .statuses
                .values()
                .map(|since| since.observed_at)
                .collect();
            seen.sort_unstable();
            let oldest_kept = seen[seen.len() - kept - MAX_REMEMBERED_STATUSES / 2];
            self.statuses
                .retain(|_, since| since.observed_at >= oldest_kept);
        }
    }

    /// Returns the snapshot at `now`, and when the next series expires, which changes the snapshot without a poll.
    pub fn snapshot(&self, now: Instant) -> (Snapshot, Option<Instant>) {
        let mut next_expiry: Option<Instant> = None;
        let mut is_fresh = |end: Instant| {
            let is_fresh = end > now;
            if is_fresh {
                next_expiry = Some(next_expiry.map_or(end, |next| next.min(end)));
            }
            is_fresh
        };
        // The latest observation describes an integration. It is exported as long as any scope has a fresh observation of it.
        let mut observations: Vec<ScopeObservation<'_>> = Vec::new();
        // By canonical ARN: true if AWS answered a query for it with "does not exist".
        let mut configured: BTreeMap<Cow<'_, str>, bool> = BTreeMap::new();
        let mut scopes = Vec::with_capacity(self.scopes.len());
        for (index, ((name, region), scope)) in self.scopes.iter().enumerate() {
            let first = observations.len();
            for (query, state) in &scope.queries {
                for (arn, observation) in &state.observations {
                    let exported = !scope.excludes(arn)
                        && is_fresh(observation.observed_at + scope.stale_after);
                    observations.push(ScopeObservation {
                        arn,
                        observation,
                        exported,
                        scope: index,
                    });
                }
                if let Query::Integration(arn) = query {
                    let not_found = state.observations.is_empty()
                        && state
                            .last_complete
                            .is_some_and(|complete| is_fresh(complete.instant + scope.stale_after));
                    *configured.entry(canonical_arn(arn.as_str())).or_default() |= not_found;
                }
            }
            let of_scope = &mut observations[first..];
            of_scope.sort_by_key(|entry| entry.arn);
            let integrations = of_scope
                .chunk_by(|one, other| one.arn == other.arn)
                .filter(|observations| observations.iter().any(|entry| entry.exported))
                .count();
            scopes.push(ScopeState {
                scope: name.to_string(),
                region: region.to_string(),
                interval: scope.interval,
                names_up: scope.metadata.as_ref().and_then(|metadata| metadata.up),
                polled: scope.polled.map(|polled| PolledScope {
                    up: polled.up,
                    stale: polled.stale,
                    last_success: scope.last_success,
                    integrations,
                    duration: polled.duration,
                }),
            });
        }
        observations.sort_by_key(|entry| entry.arn);
        let metadata = self.metadata();
        let labels = |arn: &str| {
            let entry = metadata.get(canonical_arn(arn).as_ref());
            entry.map_or(self.tag_labels.empty(), |entry| &entry.labels)
        };
        let exported: Vec<&[ScopeObservation<'_>]> = observations
            .chunk_by(|one, other| one.arn == other.arn)
            .filter(|observations| observations.iter().any(|entry| entry.exported))
            .collect();
        let integrations: Vec<ExportedIntegration> = exported
            .iter()
            .filter_map(|observations| latest(observations))
            .map(|latest| ExportedIntegration {
                integration: Arc::clone(&latest.observation.integration),
                labels: Arc::clone(labels(latest.arn)),
                status_since: self
                    .statuses
                    .get(latest.arn)
                    .map_or(0.0, |since| since.since),
            })
            .collect();
        // Without configured ARNs nothing is looked up in this map.
        let looked_up = integrations.iter().filter(|_| !configured.is_empty());
        let shown: HashMap<Cow<'_, str>, &str> = looked_up
            .map(|shown| shown.integration.arn.as_str())
            .map(|arn| (canonical_arn(arn), arn))
            .collect();
        let presence: Vec<Presence> = configured
            .into_iter()
            .filter_map(|(arn, not_found)| {
                // The spelling of AWS, so that all metrics have the same label.
                let present = shown.get(&arn);
                (present.is_some() || not_found).then(|| Presence {
                    arn: present.map_or_else(|| arn.into_owned(), ToString::to_string),
                    present: present.is_some(),
                })
            })
            .collect();
        let snapshot = Snapshot {
            diagnostics: self.diagnostics(&exported, &presence),
            blocks_scrape: self.count(|scope| {
                scope.blocks_scrape
                    || scope
                        .metadata
                        .as_ref()
                        .is_some_and(|metadata| metadata.blocks_scrape)
            }),
            pending_first_poll: self.count(|scope| scope.pending_first_poll),
            presence,
            integrations,
            scopes,
        };
        (snapshot, next_expiry)
    }
}

/// An observation of an integration by a scope.
struct ScopeObservation<'a> {
    arn: &'a str,
    observation: &'a Observation,
    /// Whether the scope may export it: it is fresh, and not excluded.
    exported: bool,
    /// The index of the scope.
    scope: usize,
}

/// Returns the latest observation, which describes the integration.
fn latest<'a, 's>(observations: &'s [ScopeObservation<'a>]) -> Option<&'s ScopeObservation<'a>> {
    observations
        .iter()
        .max_by_key(|entry| entry.observation.observed_at)
}

/// Returns the key of a watch.
pub fn key(watch: &ScopeRegion) -> Key {
    (watch.scope.clone(), watch.region.clone())
}
