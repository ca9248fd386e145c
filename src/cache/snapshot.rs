use super::integrations::{IntegrationCache, next_expiry};
use super::query::{Observation, QueryState};
use super::scope::Scope;
use crate::arn::{canonical_arn, is_redshift};
use crate::clock::Timestamp;
use crate::snapshot::{
    ExportedFreshness, ExportedIntegration, Freshness, Integration, MetadataLabels, Missing,
    PolledScope, Provenance, ScopeState, Snapshot,
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

/// The knowledge of one scope about an integration that may not exist.
struct Absence<'a> {
    scope: &'a Scope,
    index: u32,
    /// The last answer that it does not exist. `None` if there was none, or the integration exists.
    answered: Option<Timestamp>,
    since: Option<f64>,
    last: Option<&'a Arc<Integration>>,
}

impl IntegrationCache {
    pub fn snapshot(&self, now: Instant) -> (Snapshot, Option<Instant>) {
        let mut observations: Vec<ScopeObservation<'_>> = Vec::new();
        let mut absences: BTreeMap<Cow<'_, str>, Vec<Absence<'_>>> = BTreeMap::new();
        for (index, scope) in (0..).zip(self.scopes.values()) {
            for query in &scope.queries {
                if let Some(arn) = query.query.configured_arn() {
                    let absence = configured_absence(index, scope, query, now);
                    let of_arn = absences.entry(canonical_arn(arn)).or_default();
                    of_arn.push(absence);
                }
            }
            for (arn, vanished) in &scope.vanished {
                if vanished.expiry() > now && !scope.excludes(arn) {
                    let absence = Absence {
                        scope,
                        index,
                        answered: Some(scope.last_complete(vanished)),
                        since: Some(vanished.since.unix),
                        last: Some(&vanished.last),
                    };
                    let of_arn = absences.entry(canonical_arn(arn)).or_default();
                    of_arn.push(absence);
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
            integrations.push(ExportedIntegration {
                integration: Arc::clone(&latest.observation.integration),
                labels: self.labels(arn, group.iter().map(|entry| entry.scope)),
                freshness: newest_freshness(
                    &latest.observation.integration,
                    group.iter().map(|entry| entry.scope),
                ),
                status_since: self.statuses.get(arn).map_or(0.0, |since| since.since),
                stale: latest.scope.is_older(latest.observation.observed_at),
            });
            provenance.push(Provenance {
                observed_at: latest.observation.observed_at.unix,
                seen_by: first..seen_by.len(),
            });
            absences.remove(&canonical_arn(arn));
        }
        let missing = absences.iter();
        let missing = missing.filter_map(|(arn, absences)| self.missing(arn, absences));
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

    fn labels<'a>(
        &self,
        arn: &str,
        scopes: impl Iterator<Item = &'a Scope>,
    ) -> Arc<MetadataLabels> {
        let described = scopes.filter_map(|scope| scope.metadata.as_ref()?.entry(arn));
        let latest = described.max_by_key(|entry| entry.observed_at.instant);
        Arc::clone(latest.map_or(&self.tag_labels.empty, |entry| &entry.labels))
    }

    fn missing(&self, arn: &str, absences: &[Absence<'_>]) -> Option<Missing> {
        let answers = absences.iter();
        let answers = answers.filter_map(|it| Some((it.answered?, it.scope)));
        let (answered, scope) = answers.max_by_key(|(answered, _)| answered.instant)?;
        let since = absences.iter().filter_map(|it| it.since);
        let last = absences.iter().find_map(|it| it.last);
        let mut scopes: Vec<u32> = absences.iter().map(|it| it.index).collect();
        scopes.dedup();
        Some(Missing {
            arn: last.map_or(arn, |last| &last.arn).to_owned(),
            since: since.min_by(f64::total_cmp),
            answered_at: answered.unix,
            stale: scope.is_older(answered),
            last: last.map(Arc::clone),
            labels: self.labels(arn, self.scopes.values()),
            scopes,
        })
    }
}

fn configured_absence<'a>(
    index: u32,
    scope: &'a Scope,
    query: &'a QueryState,
    now: Instant,
) -> Absence<'a> {
    let not_found = query.not_found.as_ref();
    let answered = query.last_complete.filter(|answered| {
        query.observations.is_empty() && answered.instant + scope.stale_after > now
    });
    Absence {
        scope,
        index,
        answered,
        since: not_found.map(|it| it.since),
        last: not_found.and_then(|it| it.last.as_ref()),
    }
}

/// Returns the freshness of the scope that CloudWatch answered last.
fn newest_freshness<'a>(
    integration: &Integration,
    scopes: impl Iterator<Item = &'a Scope>,
) -> Option<ExportedFreshness> {
    let arn = canonical_arn(&integration.arn);
    let known = scopes.filter_map(|scope| {
        let entries = &scope.freshness.as_ref()?.entries;
        Some((entries.get(arn.as_ref())?, scope.max_tables))
    });
    let checked = |freshness: &Freshness| freshness.checked.unwrap_or_default();
    let newest = known.max_by(|(one, _), (other, _)| checked(one).total_cmp(&checked(other)));
    newest.map(|(freshness, max_tables)| ExportedFreshness {
        data: Arc::clone(freshness),
        max_tables,
        has_redshift_target: is_redshift(&integration.target_arn),
    })
}

fn scope_state(scope: &Scope, integrations: usize) -> ScopeState {
    let metadata = scope.metadata.as_ref();
    let freshness = scope.freshness.as_ref();
    ScopeState {
        scope: scope.name.clone(),
        region: scope.region.clone(),
        interval: scope.interval,
        names_up: metadata.and_then(|metadata| metadata.up),
        freshness_up: freshness.and_then(|freshness| freshness.up),
        failed_freshness: freshness.and_then(|freshness| freshness.failure.clone()),
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
