//! What a scope inherits from its predecessor after a reload or a restart. The predecessor may have had other queries or credentials.

use super::metadata::TagLabels;
use super::scope::{Observation, Polled, QueryState, Scope};
use super::stored::StoredScope;
use crate::arn::canonical_arn;
use crate::clock::Timestamp;
use crate::config::{Credentials, Query, Selection};
use crate::snapshot::Integration;
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use tokio::time::Instant;

impl Scope {
    /// Restores the data of the previous process, expired data included. `at` converts a Unix time to an [`Instant`].
    pub fn restore(
        &mut self,
        before: StoredScope,
        now: Instant,
        at: impl Fn(f64) -> Option<Instant>,
        labels: &TagLabels,
    ) {
        let names_up = before.names.as_ref().and_then(|metadata| metadata.up);
        if let (Some(metadata), Some(stored)) = (&mut self.metadata, before.names) {
            metadata.restore(stored, &at, labels);
        }
        // Old files do not have the key.
        let same_credentials = before
            .credentials_key
            .is_none_or(|credentials_key| credentials_key == self.credentials_key);
        let mut dropped = Vec::new();
        let mut new_queries: HashSet<Query> = self
            .queries
            .iter()
            .map(|(query, _)| query.clone())
            .collect();
        for stored in before.queries {
            let observations = stored.observations.into_iter().filter_map(|observation| {
                let seen = at(observation.seen)?;
                let arn = observation.integration.arn.clone();
                Some((
                    arn,
                    Observation {
                        integration: observation.integration,
                        observed_at: seen,
                        observed_at_unix: observation.seen,
                        confirmed: same_credentials && !observation.inherited,
                    },
                ))
            });
            let same = self
                .queries
                .iter_mut()
                .find(|(query, _)| stored.query.is(query));
            if let Some((query, state)) = same {
                new_queries.remove(query);
                state.observations = observations.collect();
                state.last_complete = stored.complete.and_then(|unix| {
                    Some(Timestamp {
                        instant: at(unix)?,
                        unix,
                    })
                });
                state.not_found = stored.absent;
                state.apply_selection(&self.selection, query);
            } else {
                dropped.push(QueryState {
                    observations: observations.collect(),
                    ..QueryState::default()
                });
            }
        }
        self.inherit_from(&new_queries, &dropped);
        self.last_success = before.last_success;
        // If all data expired while the exporter was stopped, a scrape waits as at a first start.
        if let Some(poll) = before.polled
            && let Some(ended) = at(poll.ended)
            && ended + self.stale_after > now
        {
            self.polled = Some(Polled {
                up: poll.up,
                keeps_older_data: true,
                stale: true,
                started: None,
                at: ended,
                duration: poll.duration,
            });
            self.blocks_scrape = false;
            if let Some(metadata) = &mut self.metadata {
                metadata.up = names_up;
                metadata.blocks_scrape = false;
            }
        }
    }

    /// Inherits the data of the scope as it was configured before. Returns the dropped data: those of removed queries, and those that the
    /// selection excludes now.
    pub fn inherit(&mut self, before: Self) -> Vec<QueryState> {
        let uses_names = self.uses_names() || before.uses_names();
        let same_credentials = self.credentials_key == before.credentials_key;
        let mut old_queries: HashMap<Query, QueryState> = before.queries.into_iter().collect();
        let mut excluded = Vec::new();
        let mut new_queries = HashSet::new();
        for (query, state) in &mut self.queries {
            if let Some(old) = old_queries.remove(query) {
                *state = old;
                excluded.push(state.apply_selection(&self.selection, query));
                for observation in state.observations.values_mut() {
                    observation.confirmed &= same_credentials;
                }
            } else {
                new_queries.insert(query.clone());
            }
        }
        let dropped: Vec<QueryState> = old_queries.into_values().collect();
        self.inherit_from(&new_queries, &dropped);
        if let (Some(metadata), Some(before)) = (&mut self.metadata, before.metadata) {
            metadata.inherit(before);
        }
        self.polled = before.polled;
        // Inherited observations are stale until the new queries are answered.
        let has_unconfirmed = self
            .observations()
            .any(|(_, observation)| !observation.confirmed);
        if let Some(polled) = &mut self.polled {
            polled.keeps_older_data |= has_unconfirmed;
            polled.stale |= has_unconfirmed;
        }
        if uses_names {
            self.update_stale();
        }
        self.last_success = before.last_success;
        self.failed_poll = before.failed_poll;
        self.blocks_scrape = before.blocks_scrape;
        self.pending_first_poll = before.pending_first_poll;
        dropped.into_iter().chain(excluded).collect()
    }

    /// Copies the observations of removed queries to the new queries that match them, until AWS has answered the new queries.
    fn inherit_from(&mut self, new_queries: &HashSet<Query>, dropped: &[QueryState]) {
        let observations = || dropped.iter().flat_map(|state| state.observations.values());
        // An index, because there can be thousands of ARNs and thousands of observations.
        let mut by_arn: HashMap<Cow<'_, str>, Vec<&Observation>> = HashMap::new();
        if !new_queries.is_empty() {
            for observation in observations() {
                let arn = canonical_arn(&observation.integration.arn);
                by_arn.entry(arn).or_default().push(observation);
            }
        }
        for (query, state) in &mut self.queries {
            if !new_queries.contains(query) {
                continue;
            }
            match query {
                Query::Integration(arn) => {
                    let of_arn = by_arn.get(&canonical_arn(arn.as_str()));
                    of_arn
                        .into_iter()
                        .flatten()
                        .for_each(|observation| state.inherit_from(observation));
                }
                Query::Target(_) | Query::All => observations()
                    .filter(|observation| lists(query, &self.selection, &observation.integration))
                    .for_each(|observation| state.inherit_from(observation)),
            }
        }
    }
}

impl QueryState {
    fn inherit_from(&mut self, observation: &Observation) {
        let arn = &observation.integration.arn;
        if self
            .observations
            .get(arn)
            .is_none_or(|existing| existing.observed_at < observation.observed_at)
        {
            let inherited = Observation {
                confirmed: false,
                ..observation.clone()
            };
            self.observations.insert(arn.clone(), inherited);
        }
    }

    /// Drops the observations of a listing query that the selection excludes, and returns them. The next answer would lack them, and the
    /// cache would take them for deleted, in other scopes too.
    fn apply_selection(&mut self, selection: &Selection, query: &Query) -> Self {
        let is_excluded = |_: &String, observation: &mut Observation| {
            query.lists() && !selection.matches(&observation.integration)
        };
        Self {
            observations: self.observations.extract_if(.., is_excluded).collect(),
            ..Self::default()
        }
    }
}

/// Returns a key of the profile and the role. The external ID does not change what the credentials can access.
pub(super) fn credentials_key(credentials: &Credentials) -> String {
    let profile = credentials.profile.as_deref().unwrap_or_default();
    let role = credentials.role.as_ref().map(|role| role.arn.as_str());
    format!("{profile} {}", role.unwrap_or_default())
}

/// Returns true if a listing query would return this integration, if it exists.
fn lists(query: &Query, selection: &Selection, integration: &Integration) -> bool {
    let is_of_target =
        |arn: &str| !matches!(query, Query::Target(target) if target.as_str() != arn);
    query.lists() && is_of_target(&integration.target_arn) && selection.matches(integration)
}
