//! When each scope is polled next. Not part of a snapshot: a new moment is no reason to write the page anew.

use super::unpoisoned;
use crate::cache::Key;
use crate::clock::Timestamp;
use crate::config::Watch;
use crate::snapshot::ScopeState;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use tokio::time::Instant;

/// By scope, then by region.
#[derive(Debug, Default)]
pub(super) struct Schedule(Mutex<BTreeMap<String, BTreeMap<String, Instant>>>);

impl Schedule {
    pub fn set(&self, (scope, region): &Key, due: Instant) {
        let mut scopes = unpoisoned(&self.0);
        let regions = scopes.entry(scope.to_string()).or_default();
        regions.insert(region.to_string(), due);
    }

    /// Forgets what is not watched.
    pub fn keep(&self, watches: &[Watch]) {
        let kept: BTreeSet<(&str, &str)> = watches
            .iter()
            .map(|watch| (watch.scope.as_str(), watch.region.as_str()))
            .collect();
        unpoisoned(&self.0).retain(|scope, regions| {
            regions.retain(|region, _| kept.contains(&(scope.as_str(), region.as_str())));
            !regions.is_empty()
        });
    }

    /// In Unix seconds, one for each of `scopes`.
    pub fn of(&self, scopes: &[ScopeState], now: Timestamp) -> Vec<Option<f64>> {
        let known = unpoisoned(&self.0);
        let wall = |due: Instant| {
            let ahead = due.saturating_duration_since(now.instant).as_secs_f64();
            now.unix + ahead - now.instant.saturating_duration_since(due).as_secs_f64()
        };
        let due = |scope: &ScopeState| known.get(&scope.scope)?.get(&scope.region).copied();
        scopes.iter().map(|scope| due(scope).map(wall)).collect()
    }
}
