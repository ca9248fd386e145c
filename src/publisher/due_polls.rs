//! The time of the next poll of each scope. It is not part of the snapshot, because a new time is no reason to render the exposition.

use crate::cache::Key;
use crate::clock::Timestamp;
use crate::config::ScopeRegion;
use crate::snapshot::ScopeState;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use tokio::time::Instant;

/// The next poll times, by scope and region.
#[derive(Debug, Default)]
pub(super) struct NextPolls(Mutex<BTreeMap<String, BTreeMap<String, Instant>>>);

impl NextPolls {
    pub fn set(&self, (scope, region): &Key, due: Instant) {
        let mut scopes = self.0.lock();
        let regions = scopes.entry(scope.to_string()).or_default();
        regions.insert(region.to_string(), due);
    }

    /// Drops the scopes that are not watched any more.
    pub fn retain(&self, watches: &[ScopeRegion]) {
        let kept: BTreeSet<(&str, &str)> = watches
            .iter()
            .map(|watch| (watch.scope.as_str(), watch.region.as_str()))
            .collect();
        self.0.lock().retain(|scope, regions| {
            regions.retain(|region, _| kept.contains(&(scope.as_str(), region.as_str())));
            !regions.is_empty()
        });
    }

    /// Returns the time of the next poll of each scope in Unix seconds, `None` if it is unknown.
    pub fn unix_times(&self, scopes: &[ScopeState], now: Timestamp) -> Vec<Option<f64>> {
        let times = self.0.lock();
        let unix = |due: Instant| {
            let ahead = due.saturating_duration_since(now.instant).as_secs_f64();
            now.unix + ahead - now.instant.saturating_duration_since(due).as_secs_f64()
        };
        let due = |scope: &ScopeState| times.get(&scope.scope)?.get(&scope.region).copied();
        scopes.iter().map(|scope| due(scope).map(unix)).collect()
    }
}
