use super::integrations::{IntegrationCache, next_expiry};
use super::query::{Observation, QueryState};
use super::scope::Scope;
use crate::arn::canonical_arn;
use crate::snapshot::{
    ExportedIntegration, Missing, PolledScope, Provenance, ScopeState, Snapshot,
};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::time::Instant;

struct ScopeObservation<'a> {
    observation: &'a Observation,
    /// Whether the scope may export it: it is fresh, and not excluded.
    exported: bool,
    scope: &'a Scope,
    index: u32,
}

type ConfiguredQuery<'a> = (u32, &'a Scope, &'a QueryState);

impl IntegrationCache {
    pub fn snapshot(&self, now: Instant) -> (Snapshot, Option<Instant>) {
        let mut observations: Vec<ScopeObservation<'_>> = Vec::new();
        let mut configured: BTreeMap<Cow<'_, str>, Vec<ConfiguredQuery<'_>>> = BTreeMap::new();
        for (index, scope) in (0..).zip(self.scopes.values()) {
            for query in &scope.queries {
                if let Some(arn) = query.query.configured_arn() {
                    let queries = configured.entry(canonical_arn(arn)).or_default();
                    queries.push((index, scope, query));
                }
            }
            observations.extend(scope.observations().map(|observation| ScopeObservation {
                observation,
                exported: observation.observed_at.instant + scope.stale_after > now
                    && !scope.excludes(observation.arn()),
                scope,
                index,
            }));
        }
        // Stable, so that the scopes of an integration stay in their order.
        observations.sort_by_key(|entry| entry.observation.arn());
        let mut counts = vec![0; self.scopes.len()];
        let mut integrations = Vec::new();
        let mut provenance = Vec::new();
        let mut seen_by: Vec<u32> = Vec::new();
        for group in
            observations.chunk_by(|one, other| one.observation.arn() == other.observation.arn())
        {
            let first = seen_by.len();
            for entry in group.iter().filter(|entry| entry.exported) {
                // Two queries of one scope may observe the same integration.
                if seen_by[first..].last() != Some(&entry.index) {
                    seen_by.push(entry.index);
                    counts[entry.index as usize] += 1;
                }
            }
            // The latest observation describes the integration, as long as any scope has a fresh one.
            let entries = group.iter();
            let latest = entries.max_by_key(|entry| entry.observation.observed_at.instant);
            let Some(latest) = latest.filter(|_| seen_by.len() > first) else {
                continue;
            };
            let arn = latest.observation.arn();
            let entries = group.iter();
            let described = entries.filter_map(|entry| entry.scope.metadata.as_ref()?.entry(arn));
            let described = described.max_by_key(|entry| entry.observed_at.instant);
            let labels = described.map_or(&self.tag_labels.empty, |entry| &entry.labels);
            integrations.push(ExportedIntegration {
                integration: Arc::clone(&latest.observation.integration),
                labels: Arc::clone(labels),
                status_since: self.statuses.get(arn).map_or(0.0, |since| since.since),
                // Removed, so that only the integrations that are not exported are left.
                configured: configured.remove(&canonical_arn(arn)).is_some(),
            });
            provenance.push(Provenance {
                observed_at: latest.observation.observed_at.unix,
                stale: latest.scope.is_older(latest.observation.observed_at),
                seen_by: first..seen_by.len(),
            });
        }
        let missing = configured.into_iter();
        let missing = missing.filter_map(|(arn, queries)| find_missing(&arn, &queries, now));
        let scopes = self.scopes.values().zip(counts);
        let scopes = scopes.map(|(scope, integrations)| scope_state(scope, integrations));
        let snapshot = Snapshot {
            missing: missing.collect(),
            integrations,
            provenance,
            seen_by,
            scopes: scopes.collect(),
            blocks_scrape: self.scopes.values().any(Scope::blocks_scrape),
            pending_first_poll: self.scopes.values().any(|scope| scope.pending_first_poll),
        };
        let expiries = self.scopes.values().flat_map(Scope::expiries);
        (snapshot, next_expiry(expiries, now))
    }
}

fn scope_state(scope: &Scope, integrations: usize) -> ScopeState {
    let metadata = scope.metadata.as_ref();
    ScopeState {
        scope: scope.name.clone(),
        region: scope.region.clone(),
        interval: scope.interval,
        names_up: metadata.and_then(|metadata| metadata.up),
        polled: scope.polled.map(|polled| PolledScope {
            up: polled.up,
            stale: scope.is_stale(),
            last_success: scope.last_success,
            integrations,
            duration: polled.duration,
        }),
        failed_poll: scope.failed_poll.clone(),
        failed_metadata: metadata.and_then(|metadata| metadata.failure.clone()),
    }
}

fn find_missing(arn: &str, queries: &[ConfiguredQuery<'_>], now: Instant) -> Option<Missing> {
    let answers = queries.iter().filter_map(|(_, scope, query)| {
        let answered = query.last_complete?;
        let is_fresh = answered.instant + scope.stale_after > now;
        (is_fresh && query.observations.is_empty()).then_some((answered, scope))
    });
    let (answered, scope) = answers.max_by_key(|(answered, _)| answered.instant)?;
    let not_found = queries.iter().filter_map(|(.., it)| it.not_found.as_ref());
    let mut names = not_found.clone().map(|it| &it.name);
    let name = names.find(|name| !name.is_empty()).cloned();
    Some(Missing {
        arn: arn.to_owned(),
        since: not_found.clone().map(|it| it.since).min_by(f64::total_cmp),
        answered_at: answered.unix,
        stale: scope.is_older(answered),
        last: not_found.clone().find_map(|it| it.last.clone()),
        name: name.unwrap_or_default(),
        scopes: queries.iter().map(|(index, ..)| *index).collect(),
    })
}
