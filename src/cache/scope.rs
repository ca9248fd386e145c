//! The cached state of one scope in one region, for each of its queries, and how a poll changes it.

use super::PollResult;
use super::diagnostics::{NotFound, failed_poll};
use super::inherit::credentials_key;
use super::metadata::Metadata;
use super::stored::{StoredObservation, StoredQuery, StoredQueryState};
use crate::clock::Timestamp;
use crate::config::{Query, ScopeRegion, Selection};
use crate::snapshot::{Failed, Integration, Status};
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Number of expired integrations that a query keeps while its listing stays incomplete. The latest observed ones are kept. Without a
/// limit, integrations that come and go would fill the memory.
const MAX_EXPIRED: usize = 100_000;
/// Memory limit for the integrations of a query while its listing stays incomplete. The latest observed ones are kept.
const MAX_QUERY_BYTES: usize = 640 << 20;

#[derive(Debug)]
pub(super) struct Scope {
    pub interval: Duration,
    pub stale_after: Duration,
    pub queries: Vec<(Query, QueryState)>,
    pub selection: Arc<Selection>,
    /// The profile and role of the scope, see [`credentials_key`].
    pub credentials_key: String,
    pub polled: Option<Polled>,
    pub last_success: Option<f64>,
    /// The failures of the last incomplete poll.
    pub failed_poll: Option<Arc<Failed>>,
    /// `None` if the scope does not need names and tags.
    pub metadata: Option<Metadata>,
    /// True while a scrape waits for the first poll of the scope.
    pub blocks_scrape: bool,
    /// True if the scope existed at the start and has not been polled since.
    pub pending_first_poll: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Polled {
    pub up: bool,
    /// True if something is from an earlier poll, whatever the observations say: an empty listing, or data of the previous process.
    pub keeps_older_data: bool,
    pub stale: bool,
    /// Start of the last poll; earlier observations are stale. `None` if the poll was by the previous process: then all data are stale.
    pub started: Option<Instant>,
    pub at: Instant,
    pub duration: Duration,
}

/// The cached result of one query.
#[derive(Debug, Default)]
pub(super) struct QueryState {
    pub observations: BTreeMap<String, Observation>,
    /// Time of the last complete answer.
    pub last_complete: Option<Timestamp>,
    /// Set if the query is for one integration, and AWS answered that it does not exist.
    pub not_found: Option<NotFound>,
}

#[derive(Clone, Debug)]
pub(super) struct Observation {
    pub integration: Arc<Integration>,
    pub observed_at: Instant,
    /// The same time in Unix seconds, for display.
    pub observed_at_unix: f64,
    /// True if an answer to this query, with the current credentials, contained the integration. Only then an answer without it means
    /// that it is deleted: other credentials may be of another account.
    pub confirmed: bool,
}

impl Scope {
    pub fn new(watch: &ScopeRegion) -> Self {
        Self {
            interval: watch.interval,
            stale_after: watch.stale_after,
            queries: watch
                .queries
                .iter()
                .map(|query| (query.clone(), QueryState::default()))
                .collect(),
            selection: Arc::clone(&watch.selection),
            credentials_key: credentials_key(&watch.credentials),
            polled: None,
            last_success: None,
            failed_poll: None,
            metadata: watch.describe.then(|| Metadata::new(watch)),
            blocks_scrape: true,
            pending_first_poll: true,
        }
    }

    /// Applies the result of a poll. `observed` has the integrations of this poll.
    ///
    /// Returns the deleted integrations and the times of the answers: the scope had observed them, and complete answers lack them now. It
    /// excludes integrations that the scope never observed, because its credentials may be of another account.
    pub fn apply(
        &mut self,
        poll: &PollResult,
        observed: &HashMap<&str, (Status, Timestamp)>,
    ) -> BTreeMap<String, Instant> {
        let mut deleted: BTreeMap<String, Instant> = BTreeMap::new();
        let confirmed: HashSet<&str> = self
            .observations()
            .filter(|(_, observation)| observation.confirmed)
            .map(|(arn, _)| arn.as_str())
            .collect();
        let confirmed_configured: HashSet<String> = self
            .configured()
            .filter(|arn| confirmed.contains(arn))
            .map(str::to_owned)
            .collect();
        let mut up = true;
        let mut failed_empty = Vec::with_capacity(self.queries.len());
        let metadata = self.metadata.as_ref();
        for ((query, state), answer) in self.queries.iter_mut().zip(&poll.answers) {
            let mut returned = answer.integrations.iter();
            let nothing =
                returned.all(|(integration, _)| is_excluded_by(metadata, &integration.arn));
            failed_empty.push(answer.outcome.is_err() && nothing);
            match &answer.outcome {
                Ok(at) => {
                    state.note_not_found(query, answer, self.metadata.as_ref());
                    let not_listed = state.observe_all(&answer.integrations);
                    state.last_complete = Some(*at);
                    if let Query::Integration(arn) = query
                        && confirmed_configured.contains(arn.as_str())
                    {
                        deleted.insert(arn.to_string(), at.instant);
                    }
                    deleted.extend(not_listed.into_iter().map(|arn| (arn, at.instant)));
                }
                Err(_) => {
                    up = false;
                    if !answer.integrations.is_empty() {
                        state.not_found = None;
                    }
                    state.observe(&answer.integrations);
                    state.bound(self.stale_after, poll.ended.instant);
                }
            }
        }
        deleted.retain(|arn, _| !observed.contains_key(arn.as_str()));
        for (arn, at) in &deleted {
            for (query, state) in &mut self.queries {
                state.remove_if_older(query, arn, *at);
            }
        }
        let older_observation = self
            .included()
            .any(|(_, observation)| observation.observed_at < poll.started.instant);
        // An empty answer of an earlier poll is older data too.
        let older_empty_answer = self
            .queries
            .iter()
            .zip(failed_empty)
            .any(|((_, state), nothing)| nothing && state.last_complete.is_some());
        if up {
            self.last_success = Some(poll.ended.unix);
        } else {
            self.failed_poll = Some(Arc::new(failed_poll(poll)));
        }
        self.blocks_scrape = false;
        self.pending_first_poll = false;
        self.polled = Some(Polled {
            up,
            keeps_older_data: older_empty_answer,
            stale: older_empty_answer || older_observation,
            started: Some(poll.started.instant),
            at: poll.ended.instant,
            duration: poll.ended.instant - poll.started.instant,
        });
        deleted
    }

    /// Returns the ARNs of `integration_arns`.
    fn configured(&self) -> impl Iterator<Item = &str> {
        self.queries.iter().filter_map(|(query, _)| match query {
            Query::Integration(arn) => Some(arn.as_str()),
            Query::Target(_) | Query::All => None,
        })
    }

    /// Returns true if the selection matches names.
    pub fn uses_names(&self) -> bool {
        self.selection.uses_names()
    }

    /// Updates `stale` after names or the selection changed which integrations are exported.
    pub fn update_stale(&mut self) {
        if let Some(mut polled) = self.polled {
            let is_older = |(_, observation): (&String, &Observation)| {
                polled
                    .started
                    .is_none_or(|started| observation.observed_at < started)
            };
            polled.stale = polled.keeps_older_data || self.included().any(is_older);
            self.polled = Some(polled);
        }
    }

    /// Returns true if the selection excludes an integration by name.
    pub fn excludes(&self, arn: &str) -> bool {
        is_excluded_by(self.metadata.as_ref(), arn)
    }

    /// Returns the observations that are not excluded by name.
    fn included(&self) -> impl Iterator<Item = (&String, &Observation)> {
        self.observations().filter(|(arn, _)| !self.excludes(arn))
    }

    /// Returns the observations of all queries.
    pub fn observations(&self) -> impl Iterator<Item = (&String, &Observation)> {
        self.queries
            .iter()
            .flat_map(|(_, state)| &state.observations)
    }

    /// Returns true if the scope exports this integration, or did until `stale_after` passed.
    pub fn includes(&self, arn: &str) -> bool {
        let mut queries = self.queries.iter();
        !self.excludes(arn) && queries.any(|(_, state)| state.observations.contains_key(arn))
    }

    /// Returns the ARNs of all observations, including those excluded by name.
    pub fn arns(&self) -> impl Iterator<Item = &str> {
        self.observations().map(|(arn, _)| arn.as_str())
    }

    pub fn next_expiry(&self, now: Instant) -> Option<Instant> {
        self.queries
            .iter()
            .filter(|(_, state)| state.observations.is_empty())
            .flat_map(|(_, state)| state.last_complete.map(|complete| complete.instant))
            .chain(
                self.included()
                    .map(|(_, observation)| observation.observed_at),
            )
            .map(|seen| seen + self.stale_after)
            .filter(|end| *end > now)
            .min()
    }
}

fn is_excluded_by(metadata: Option<&Metadata>, arn: &str) -> bool {
    metadata.is_some_and(|metadata| metadata.is_excluded_by(arn))
}

impl QueryState {
    /// Removes the observation of an integration if it is older than `at`, when another query found that the integration is deleted.
    /// Returns whether there is a later observation.
    pub fn remove_if_older(&mut self, query: &Query, arn: &str, at: Instant) -> bool {
        let Some(observation) = self.observations.get(arn) else {
            return false;
        };
        if observation.observed_at >= at {
            return true;
        }
        self.observations.remove(arn);
        // AWS has not yet answered this query with "does not exist".
        if matches!(query, Query::Integration(_)) {
            self.last_complete = None;
        }
        false
    }

    pub fn stored(&self, query: &Query, unix: impl Fn(Instant) -> f64) -> StoredQueryState {
        StoredQueryState {
            query: StoredQuery::of(query),
            complete: self.last_complete.map(|complete| unix(complete.instant)),
            absent: self.not_found.clone(),
            observations: self
                .observations
                .values()
                .map(|observation| StoredObservation {
                    integration: Arc::clone(&observation.integration),
                    seen: unix(observation.observed_at),
                    inherited: !observation.confirmed,
                })
                .collect(),
        }
    }

    /// Adds observations. An unchanged integration keeps its pointer, so that the snapshot and the cache share it.
    fn observe(&mut self, integrations: &[(Arc<Integration>, Timestamp)]) {
        for (integration, moment) in integrations {
            match self.observations.get_mut(&integration.arn) {
                Some(observation) if observation.integration == *integration => {
                    observation.observed_at = moment.instant;
                    observation.observed_at_unix = moment.unix;
                    observation.confirmed = true;
                }
                _ => {
                    let observation = Observation {
                        integration: Arc::clone(integration),
                        observed_at: moment.instant,
                        observed_at_unix: moment.unix,
                        confirmed: true,
                    };
                    self.observations
                        .insert(integration.arn.clone(), observation);
                }
            }
        }
    }

    /// Applies a complete answer. Returns the integrations that an earlier answer contained and this one lacks.
    fn observe_all(&mut self, integrations: &[(Arc<Integration>, Timestamp)]) -> Vec<String> {
        self.observe(integrations);
        let listed = integrations.iter().map(|(integration, _)| &integration.arn);
        // Both are sorted, and usually equal.
        if self.observations.keys().eq(listed.clone()) {
            return Vec::new();
        }
        let listed: HashSet<&String> = listed.collect();
        let missing = self.observations.keys().filter(|arn| !listed.contains(arn));
        let mut missing: Vec<String> = missing.cloned().collect();
        missing.retain(|arn| {
            self.observations
                .remove(arn)
                .is_some_and(|observation| observation.confirmed)
        });
        missing
    }

    /// Bounds the memory. A listing that never completes and has new integrations in each poll would fill it before the first ones expire.
    fn bound(&mut self, stale_after: Duration, now: Instant) {
        let mut expired: Vec<Instant> = self
            .observations
            .values()
            .map(|observation| observation.observed_at)
            .filter(|seen| *seen + stale_after <= now)
            .collect();
        if expired.len() > MAX_EXPIRED {
            expired.sort_unstable();
            let oldest_kept = expired[expired.len() - MAX_EXPIRED / 2];
            self.observations
                .retain(|_, observation| observation.observed_at >= oldest_kept);
        }
        let mut sizes: Vec<(Instant, usize)> = self
            .observations
            .values()
            .map(|observation| {
                (
                    observation.observed_at,
                    observation.integration.approx_bytes(),
                )
            })
            .collect();
        sizes.sort_unstable_by_key(|(seen, _)| Reverse(*seen));
        let mut total_bytes = 0;
        let over_limit = sizes.into_iter().find(|(_, bytes)| {
            total_bytes += bytes;
            total_bytes > MAX_QUERY_BYTES
        });
        if let Some((latest_dropped, _)) = over_limit {
            self.observations
                .retain(|_, observation| observation.observed_at > latest_dropped);
        }
    }
}
