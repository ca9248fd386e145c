//! The last good data of all scopes, and how polls, reloads and restarts change it.

use super::by_arn;
use super::metadata::TagLabels;
use super::query::Observation;
use super::scope::{PollResult, Scope, Vanished};
use crate::arn::canonical_arn;
use crate::clock::Timestamp;
use crate::config::{ScopeRegion, TagLabel};
use crate::freshness::{FreshnessQuery, Round};
use crate::glue::{Metadata as MetadataAnswer, MetadataFilter};
use crate::snapshot::{Integration, Status};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Above this number of statuses, those of integrations that no scope observes any more are dropped.
const MAX_STATUSES: usize = 300_000;

/// The scope and the region.
pub type Key = (String, String);

pub fn key(watch: &ScopeRegion) -> Key {
    (watch.scope.to_string(), watch.region.to_string())
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusChange {
    pub arn: String,
    pub from: Status,
    pub to: Status,
}

#[derive(Clone, Debug, Default)]
pub struct Applied {
    /// Status changes of the integrations that are exported, or were until `stale_after` passed.
    pub changes: Vec<StatusChange>,
    pub unknown_statuses: Vec<Arc<Integration>>,
    /// Also if an integration appeared or disappeared. To be stored soon, because AWS cannot tell later when a status began.
    pub statuses_changed: bool,
    pub next_expiry: Option<Instant>,
}

#[derive(Debug, Default)]
pub struct IntegrationCache {
    pub(crate) scopes: BTreeMap<Key, Scope>,
    /// By integration ARN. Kept after the data expire, until AWS answers that the integration is deleted.
    pub(crate) statuses: HashMap<String, StatusSince>,
    /// When AWS last answered that an integration is deleted. Kept as long as a poll that observed it earlier may still be running.
    deleted: BTreeMap<String, Instant>,
    pub(crate) tag_labels: TagLabels,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct StatusSince {
    status: Status,
    pub since: f64,
    #[serde(rename = "seen")]
    observed_at: Timestamp,
}

/// The part of the cache that outlives a restart: the content of the state file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Stored {
    scopes: Vec<Scope>,
    #[serde(with = "by_arn")]
    statuses: HashMap<String, StatusSince>,
}

impl IntegrationCache {
    pub fn new(watches: &[ScopeRegion]) -> Self {
        Self {
            scopes: scopes(watches, true),
            ..Self::default()
        }
    }

    /// Queries that a scope keeps also keep their data, and all start times of statuses are kept. No scrape waits for a new scope.
    pub fn reconfigure(&mut self, watches: &[ScopeRegion]) {
        let before = std::mem::replace(&mut self.scopes, scopes(watches, false));
        self.inherit(before);
    }

    pub fn stored(&self) -> Stored {
        Stored {
            scopes: self.scopes.values().cloned().collect(),
            statuses: self.statuses.clone(),
        }
    }

    /// Restores expired data too, because they still correct older observations by other scopes.
    pub fn restore(&mut self, stored: Stored, now: Timestamp) {
        let before = stored.scopes.into_iter().map(|mut before| {
            let key = (before.name.clone(), before.region.clone());
            let scope = self.scopes.get(&key);
            before.rebase(scope.map_or(Duration::ZERO, |it| it.stale_after), now);
            (key, before)
        });
        self.inherit(before.collect());
        self.relabel();
        self.statuses = stored.statuses;
        self.statuses.retain(|_, it| it.observed_at.rebase(now));
    }

    fn inherit(&mut self, mut before: BTreeMap<Key, Scope>) {
        let mut dropped: Vec<Observation> = Vec::new();
        for (key, scope) in &mut self.scopes {
            if let Some(before) = before.remove(key) {
                dropped.extend(scope.inherit(before));
            }
        }
        for scope in before.values() {
            dropped.extend(scope.observations().cloned());
        }
        // A later observation stays right for other scopes, even if its own scope drops it.
        dropped.sort_by_key(|observation| observation.observed_at.instant);
        let latest: HashMap<&str, &Observation> = dropped.iter().map(|it| (it.arn(), it)).collect();
        for observation in self.scopes.values_mut().flat_map(Scope::observations_mut) {
            if let Some(latest) = latest.get(observation.arn())
                && observation.observed_at.instant < latest.observed_at.instant
            {
                observation.integration = Arc::clone(&latest.integration);
            }
        }
    }

    pub fn apply(&mut self, key: &Key, mut poll: PollResult) -> Applied {
        // A poll that ended earlier may have got a later answer that the integration is deleted.
        for answer in &mut poll.answers {
            answer.integrations.retain(|(integration, at)| {
                let deleted = self.deleted.get(&integration.arn);
                deleted.is_none_or(|deleted| *deleted <= at.instant)
            });
        }
        let Some(scope) = self.scopes.get_mut(key) else {
            return Applied::default();
        };
        // If the poll returned an integration twice, the later observation counts: the earlier status was never exported.
        let mut observed: HashMap<&str, StatusSince> = HashMap::new();
        let mut unknown_statuses = Vec::new();
        let mut deleted = scope.apply(&poll);
        for (integration, at) in poll.answers.iter().flat_map(|answer| &answer.integrations) {
            let observation = StatusSince {
                status: integration.status,
                since: at.unix,
                observed_at: *at,
            };
            let latest = observed.entry(&integration.arn).or_insert(observation);
            if at.instant >= latest.observed_at.instant {
                *latest = observation;
            }
            if integration.status == Status::Unknown && !scope.excludes(&integration.arn) {
                unknown_statuses.push(Arc::clone(integration));
            }
        }
        deleted.retain(|arn, _| !observed.contains_key(arn.as_str()));
        for scope in self.scopes.values_mut() {
            scope.vanished.retain(|arn, vanished| {
                let later = observed.get(arn.as_str());
                later.is_none_or(|it| it.observed_at.instant < vanished.since.instant)
            });
        }
        let known_before = self.statuses.len();
        let mut changes = self.note_statuses(observed);
        let known = self.statuses.len();
        self.drop_deleted(key, &deleted);
        let statuses_changed =
            known > known_before || self.statuses.len() < known || !changes.is_empty();
        changes.retain(|change| self.scopes.values().any(|it| it.includes(&change.arn)));
        changes.sort_by(|one, other| one.arn.cmp(&other.arn));
        self.remember_deleted(deleted, poll.ended.instant);
        if self.statuses.len() > MAX_STATUSES {
            let observations = self.scopes.values().flat_map(Scope::observations);
            let observed: HashSet<&str> = observations.map(Observation::arn).collect();
            self.statuses
                .retain(|arn, _| observed.contains(arn.as_str()));
        }
        let scope = self.scopes.get(key);
        let expiries = scope.into_iter().flat_map(Scope::expiries);
        Applied {
            changes,
            unknown_statuses,
            statuses_changed,
            next_expiry: next_expiry(expiries, poll.ended.instant),
        }
    }

    fn note_statuses(&mut self, observed: HashMap<&str, StatusSince>) -> Vec<StatusChange> {
        let mut changes = Vec::new();
        for (arn, now) in observed {
            let Some(known) = self.statuses.get_mut(arn) else {
                self.statuses.insert(arn.to_owned(), now);
                continue;
            };
            if now.observed_at.instant < known.observed_at.instant {
                continue;
            }
            if known.status == now.status {
                known.observed_at = now.observed_at;
            } else {
                changes.push(StatusChange {
                    arn: arn.to_owned(),
                    from: known.status,
                    to: now.status,
                });
                *known = now;
            }
        }
        changes
    }

    /// Drops what any scope observed before the answers to `polled`. What was not DELETING has vanished, unless it was observed later.
    fn drop_deleted(&mut self, polled: &Key, deleted: &BTreeMap<String, Vanished>) {
        for (arn, vanished) in deleted {
            let status = self.statuses.get(arn).map(|it| it.status);
            let mut observed_by: Vec<&mut Scope> = Vec::new();
            let mut is_deleted = true;
            for (key, scope) in &mut self.scopes {
                let mut observed = key == polled;
                for query in &mut scope.queries {
                    observed |= query.remove_if_older(arn, vanished.since.instant);
                    is_deleted &= !query.observations.contains_key(arn);
                }
                if observed {
                    observed_by.push(scope);
                }
            }
            if is_deleted {
                self.statuses.remove(arn);
                if status != Some(Status::Deleting) {
                    for scope in observed_by {
                        scope.note_vanished(vanished);
                    }
                }
            }
        }
    }

    fn remember_deleted(&mut self, deleted: BTreeMap<String, Vanished>, now: Instant) {
        for (arn, at) in deleted {
            let at = at.since.instant;
            let latest = self.deleted.entry(arn).or_insert(at);
            *latest = at.max(*latest);
        }
        // No poll lasts longer than its scope's interval.
        let longest = self.scopes.values().map(|scope| scope.interval).max();
        self.deleted
            .retain(|_, at| *at + longest.unwrap_or_default() > now);
    }

    /// Tags that were configured before keep their values.
    pub fn set_tag_labels(&mut self, tag_labels: &[TagLabel]) {
        self.tag_labels = TagLabels::new(tag_labels);
        self.relabel();
    }

    fn relabel(&mut self) {
        let scopes = self.scopes.values_mut();
        for metadata in scopes.filter_map(|scope| scope.metadata.as_mut()) {
            metadata.relabel(&self.tag_labels);
        }
    }

    /// True if names and tags should be requested before their schedule.
    pub fn metadata_due(&self, key: &Key) -> bool {
        let scope = self.scopes.get(key);
        let metadata = scope.and_then(|scope| scope.metadata.as_ref());
        let both = metadata.zip(self.metadata_wanted(key));
        both.is_some_and(|(metadata, wanted)| metadata.due(&wanted))
    }

    pub fn metadata_wanted(&self, key: &Key) -> Option<MetadataFilter> {
        let scope = self.scopes.get(key)?;
        scope.metadata.as_ref().map(|_| MetadataFilter {
            arns: scope.canonical_arns(),
            tags: self.tag_labels.tags(),
        })
    }

    pub fn apply_metadata(
        &mut self,
        key: &Key,
        request: MetadataFilter,
        answer: MetadataAnswer,
        now: Timestamp,
    ) {
        if let Some(scope) = self.scopes.get_mut(key) {
            let mut arns = scope.canonical_arns();
            let vanished = scope.vanished.keys();
            arns.extend(vanished.map(|arn| canonical_arn(arn).into_owned()));
            if let Some(metadata) = &mut scope.metadata {
                metadata.apply(request, answer, &arns, now, &self.tag_labels);
            }
        }
    }

    pub fn freshness_query(&self, key: &Key) -> Option<FreshnessQuery> {
        self.scopes.get(key)?.freshness_query()
    }

    pub fn apply_freshness(&mut self, key: &Key, round: Round) {
        let Some(scope) = self.scopes.get_mut(key) else {
            return;
        };
        // Asked again, because a poll may have ended since the round started.
        let query = scope.freshness_query().unwrap_or_default();
        if let Some(freshness) = &mut scope.freshness {
            freshness.apply(round, &query);
        }
    }
}

fn scopes(watches: &[ScopeRegion], at_start: bool) -> BTreeMap<Key, Scope> {
    let watches = watches.iter();
    let scopes = watches.map(|watch| (key(watch), Scope::new(watch, at_start)));
    scopes.collect()
}

pub(crate) fn next_expiry(times: impl Iterator<Item = Instant>, now: Instant) -> Option<Instant> {
    times.filter(|end| *end > now).min()
}
