//! What is known: the last good data of each scope and region, and what a poll changes about it. Pure: time comes in as a
//! parameter, nothing here waits, asks or writes a page.
//!
//! The rules are those of a pager. A failure removes nothing and changes no value; only an answer of AWS does. A later sight of an
//! integration is right wherever an earlier one is kept, also when the earlier one would outlive it.

mod diagnostics;
mod inherit;
mod metadata;
mod scope;
pub mod stored;

use crate::clock::Timestamp;
use crate::config::{Query, RegionName, ScopeName, Watch};
use crate::glue::{Answer, canonical_arn};
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

/// How many integrations that no scope shows keep the moment of their status. Those seen last are kept.
const MAX_REMEMBERED_STATUSES: usize = 100_000;

/// A scope in a region.
pub type Key = (ScopeName, RegionName);

/// What one poll of a scope in a region brought.
#[derive(Clone, Debug)]
pub struct PollResult {
    pub started: Timestamp,
    pub ended: Timestamp,
    /// One for each query of the watch, in its order.
    pub answers: Vec<Answer>,
}

/// A status that changed from one sight of an integration to the next, for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusChange {
    pub arn: String,
    pub from: Status,
    pub to: Status,
}

/// What a poll changed.
#[derive(Clone, Debug, Default)]
pub struct Applied {
    /// Of what is shown, or would be but for `stale_after`.
    pub changes: Vec<StatusChange>,
    /// What the poll brought with a status that is not known, once for each answer that it is in.
    pub unknown_statuses: Vec<Arc<Integration>>,
    /// A status changed, or an integration came or went: the moment of a status that is lost cannot be had again.
    pub statuses_changed: bool,
    /// When the oldest data of the scope that are shown will end.
    pub next_end: Option<Instant>,
}

/// Everything that is known of all scopes.
#[derive(Debug, Default)]
pub struct IntegrationCache {
    scopes: BTreeMap<Key, Scope>,
    /// By integration ARN. Outlives the data it came from: only AWS's word that an integration is gone ends it.
    statuses: HashMap<String, StatusSince>,
    /// When AWS last answered that an integration is gone, for as long as a poll may be under way that saw it before that.
    deleted: BTreeMap<String, Instant>,
    tag_labels: TagLabels,
}

#[derive(Clone, Copy, Debug)]
struct StatusSince {
    status: Status,
    /// Unix time in seconds.
    since: f64,
    /// The last sight of the integration: an answer that is older says nothing about the present status.
    observed_at: Instant,
}

impl IntegrationCache {
    /// Starts with nothing known of `watches`.
    pub fn new<'a>(watches: impl IntoIterator<Item = &'a Watch>) -> Self {
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

    /// Watches something else from now on. Of a scope that goes on, the queries that go on keep what they brought, whatever else
    /// changed about it; the moment of each status is kept in any case. A scope that is new makes nobody wait for it.
    pub fn reconfigure<'a>(&mut self, watches: impl IntoIterator<Item = &'a Watch>) {
        let mut before = std::mem::take(&mut self.scopes);
        let mut dropped: Vec<QueryState> = Vec::new();
        for watch in watches {
            let key = key(watch);
            let mut scope = Scope::new(watch);
            scope.blocks_scrape = false;
            scope.pending_first_poll = false;
            if let Some(names) = &mut scope.metadata {
                names.blocks_scrape = false;
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
                .map(|(_, known)| known),
        );
        self.correct(dropped.iter().flat_map(|known| known.observations.values()));
    }

    /// The scopes of these sights do not watch them any more. Where another has seen the integration earlier, the later sight is right still.
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
        for observation in queries.flat_map(|(_, known)| known.observations.values_mut()) {
            if let Some(later) = latest.get(observation.integration.arn.as_str())
                && observation.observed_at < later.observed_at
            {
                observation.integration = Arc::clone(&later.integration);
            }
        }
    }

    /// What is to be kept over a restart, at `now`.
    pub fn stored(&self, now: Timestamp) -> Stored {
        let wall = |at: Instant| now.unix - (now.instant - at).as_secs_f64();
        Stored {
            scopes: self
                .scopes
                .iter()
                .map(|((scope, region), known)| StoredScope {
                    scope: scope.to_string(),
                    region: region.to_string(),
                    polled: known.polled.map(|polled| StoredPoll {
                        ended: wall(polled.at),
                        up: polled.up,
                        duration: polled.duration,
                    }),
                    last_success: known.last_success,
                    credentials_key: Some(known.credentials_key.clone()),
                    queries: known
                        .queries
                        .iter()
                        .map(|(query, known)| known.stored(query, wall))
                        .collect(),
                    names: known.metadata.as_ref().map(|names| names.stored(wall)),
                })
                .collect(),
            statuses: self
                .statuses
                .iter()
                .map(|(arn, since)| StoredStatus {
                    arn: arn.clone(),
                    status: since.status,
                    since: since.since,
                    seen: wall(since.observed_at),
                })
                .collect(),
        }
    }

    /// Takes over what was kept by the process before: the data of those queries that are still asked, and the moment of each
    /// status. Data that are too old to be shown too: what an older sight elsewhere says is not right again after a restart.
    pub fn restore(&mut self, stored: Stored, now: Timestamp) {
        // A clock that was set back since makes data younger, never older than the exporter itself could have seen it.
        let at = |wall: f64| {
            let age = Duration::try_from_secs_f64((now.unix - wall).max(0.0)).ok()?;
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

    /// Takes over what a poll brought.
    pub fn apply(&mut self, key: &Key, mut poll: PollResult) -> Applied {
        // Another poll, which ended before this one, may have been answered later.
        if !self.deleted.is_empty() {
            for answer in &mut poll.answers {
                answer.integrations.retain(|(integration, moment)| {
                    let gone = self.deleted.get(&integration.arn);
                    gone.is_none_or(|gone| *gone <= moment.instant)
                });
            }
        }
        let Some(scope) = self.scopes.get_mut(key) else {
            return Applied::default();
        };
        let now = poll.ended.instant;
        // Of an integration that came twice in this poll only the later sight counts: an earlier page's status was never shown.
        let mut seen: HashMap<&str, (Status, Timestamp)> = HashMap::new();
        for (integration, moment) in poll.answers.iter().flat_map(|answer| &answer.integrations) {
            let observation = (integration.status, *moment);
            let latest = seen.entry(&integration.arn).or_insert(observation);
            if moment.instant >= latest.1.instant {
                *latest = observation;
            }
        }
        let gone = scope.apply(&poll, &seen);
        let next_end = scope.next_end(now);
        let brought = poll.answers.iter().flat_map(|answer| &answer.integrations);
        let unknown = brought
            .map(|(integration, _)| integration)
            .filter(|one| one.status == Status::Unknown && !scope.excludes(&one.arn))
            .map(Arc::clone)
            .collect();
        let known = self.statuses.len();
        let mut changes = self.note_statuses(&seen);
        let changed = !changes.is_empty();
        changes.retain(|change| {
            let mut scopes = self.scopes.get(key).into_iter().chain(self.scopes.values());
            scopes.any(|scope| scope.watches(&change.arn))
        });
        let came = self.statuses.len() > known;
        let forgotten = self.drop_deleted(&gone);
        self.remember_deleted(gone, now);
        self.bound_statuses();
        Applied {
            statuses_changed: came || forgotten || changed,
            changes,
            unknown_statuses: unknown,
            next_end,
        }
    }

    fn note_statuses(&mut self, seen: &HashMap<&str, (Status, Timestamp)>) -> Vec<StatusChange> {
        let mut changes = Vec::new();
        for (arn, (status, moment)) in seen {
            let now = StatusSince {
                status: *status,
                since: moment.unix,
                observed_at: moment.instant,
            };
            match self.statuses.get_mut(*arn) {
                None => {
                    self.statuses.insert((*arn).to_owned(), now);
                }
                Some(known) if now.observed_at >= known.observed_at => {
                    let before = known.status;
                    if before == *status {
                        known.observed_at = now.observed_at;
                    } else {
                        *known = now;
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
        // For people who read the log.
        changes.sort_by(|one, other| one.arn.cmp(&other.arn));
        changes
    }

    /// AWS answered that these, which the scope that asked had seen, are gone. An older sight of one elsewhere is not shown any more.
    /// Returns whether the moment of a status was forgotten.
    fn drop_deleted(&mut self, gone: &BTreeMap<String, Instant>) -> bool {
        let before = self.statuses.len();
        for (arn, at) in gone {
            let mut seen_elsewhere = false;
            for (query, known) in self
                .scopes
                .values_mut()
                .flat_map(|scope| &mut scope.queries)
            {
                seen_elsewhere |= known.remove_if_older(query, arn, *at);
            }
            if !seen_elsewhere {
                self.statuses.remove(arn);
            }
        }
        self.statuses.len() < before
    }

    fn remember_deleted(&mut self, gone: BTreeMap<String, Instant>, now: Instant) {
        for (arn, at) in gone {
            let latest = self.deleted.entry(arn).or_insert(at);
            *latest = at.max(*latest);
        }
        // No poll lasts longer than its scope's interval.
        let longest = self.scopes.values().map(|scope| scope.interval).max();
        self.deleted
            .retain(|_, at| *at + longest.unwrap_or_default() > now);
    }

    fn count(&self, which: impl Fn(&Scope) -> bool) -> usize {
        self.scopes.values().filter(|scope| which(scope)).count()
    }

    fn bound_statuses(&mut self) {
        let kept: usize = self
            .scopes
            .values()
            .flat_map(|scope| &scope.queries)
            .map(|(_, known)| known.observations.len())
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

    /// What is to be shown at `now`, and when that will next change without a poll: the moment at which a series ends.
    pub fn snapshot(&self, now: Instant) -> (Snapshot, Option<Instant>) {
        let mut next_end: Option<Instant> = None;
        let mut lasts = |end: Instant| {
            let lasts = end > now;
            if lasts {
                next_end = Some(next_end.map_or(end, |next| next.min(end)));
            }
            lasts
        };
        // Each with whether its scope may show it. The latest sight says what an integration is; it is shown for as long as any scope
        // may show its own sight of it.
        let mut observations: Vec<Seen<'_>> = Vec::new();
        // By the one spelling of the ARN: whether some query that asks for it was answered that there is none.
        let mut configured: BTreeMap<Cow<'_, str>, bool> = BTreeMap::new();
        let mut scopes = Vec::with_capacity(self.scopes.len());
        for (place, ((name, region), scope)) in self.scopes.iter().enumerate() {
            let first = observations.len();
            for (query, known) in &scope.queries {
                for (arn, observation) in &known.observations {
                    let shown =
                        !scope.excludes(arn) && lasts(observation.observed_at + scope.stale_after);
                    observations.push((arn, observation, shown, place));
                }
                if let Query::Integration(arn) = query {
                    let absent = known.observations.is_empty()
                        && known
                            .last_complete
                            .is_some_and(|complete| lasts(complete.instant + scope.stale_after));
                    *configured.entry(canonical_arn(arn.as_str())).or_default() |= absent;
                }
            }
            let of_scope = &mut observations[first..];
            of_scope.sort_by_key(|(arn, ..)| *arn);
            let integrations = of_scope
                .chunk_by(|one, other| one.0 == other.0)
                .filter(|observations| observations.iter().any(|(_, _, shown, _)| *shown))
                .count();
            scopes.push(ScopeState {
                scope: name.to_string(),
                region: region.to_string(),
                interval: scope.interval,
                names_up: scope.metadata.as_ref().and_then(|names| names.up),
                polled: scope.polled.map(|polled| PolledScope {
                    up: polled.up,
                    stale: polled.stale,
                    last_success: scope.last_success,
                    integrations,
                    duration: polled.duration,
                }),
            });
        }
        observations.sort_by_key(|(arn, ..)| *arn);
        let names = self.names();
        let naming = |arn: &str| {
            let name = names.get(canonical_arn(arn).as_ref());
            name.map_or(self.tag_labels.empty(), |name| &name.labels)
        };
        let of_one: Vec<&[Seen<'_>]> = observations
            .chunk_by(|one, other| one.0 == other.0)
            .filter(|observations| observations.iter().any(|(_, _, shown, _)| *shown))
            .collect();
        let integrations: Vec<ExportedIntegration> = of_one
            .iter()
            .filter_map(|observations| latest(observations))
            .map(|(arn, observation, ..)| ExportedIntegration {
                integration: Arc::clone(&observation.integration),
                labels: Arc::clone(naming(arn)),
                status_since: self.statuses.get(*arn).map_or(0.0, |since| since.since),
            })
            .collect();
        // A scope that only lists has none to be looked up.
        let looked_up = integrations.iter().filter(|_| !configured.is_empty());
        let shown: HashMap<Cow<'_, str>, &str> = looked_up
            .map(|shown| shown.integration.arn.as_str())
            .map(|arn| (canonical_arn(arn), arn))
            .collect();
        let presence: Vec<Presence> = configured
            .into_iter()
            .filter_map(|(arn, absent)| {
                // As AWS spells it, so that it is the same integration in every metric.
                let present = shown.get(&arn);
                (present.is_some() || absent).then(|| Presence {
                    arn: present.map_or_else(|| arn.into_owned(), ToString::to_string),
                    present: present.is_some(),
                })
            })
            .collect();
        let snapshot = Snapshot {
            diagnostics: self.diagnostics(&of_one, &presence),
            blocks_scrape: self.count(|scope| {
                scope.blocks_scrape
                    || scope
                        .metadata
                        .as_ref()
                        .is_some_and(|names| names.blocks_scrape)
            }),
            pending_first_poll: self.count(|scope| scope.pending_first_poll),
            presence,
            integrations,
            scopes,
        };
        (snapshot, next_end)
    }
}

/// A sight of an integration: its ARN, whether its scope may show it, and which of the scopes that is.
type Seen<'a> = (&'a str, &'a Observation, bool, usize);

/// What says what an integration is.
fn latest<'a, 's>(observations: &'s [Seen<'a>]) -> Option<&'s Seen<'a>> {
    observations
        .iter()
        .max_by_key(|(_, observation, ..)| observation.observed_at)
}

/// The key of a watch.
pub fn key(watch: &Watch) -> Key {
    (watch.scope.clone(), watch.region.clone())
}
