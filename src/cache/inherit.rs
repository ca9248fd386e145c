//! A scope after a reload or a restart: what it takes over of the one before, which may have asked otherwise, or as somebody else.

use super::metadata::TagLabels;
use super::scope::{Observation, Polled, QueryState, Scope};
use super::stored::StoredScope;
use crate::clock::Timestamp;
use crate::config::{Credentials, Query, Selection};
use crate::glue::{canonical_arn, selects};
use crate::snapshot::Integration;
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use tokio::time::Instant;

impl Scope {
    /// Takes over what the process before this one kept, `at` being the moment of a Unix time. Data that are too old to be shown too.
    pub fn restore(
        &mut self,
        before: StoredScope,
        now: Instant,
        at: impl Fn(f64) -> Option<Instant>,
        labels: &TagLabels,
    ) {
        let names_up = before.names.as_ref().and_then(|names| names.up);
        if let (Some(names), Some(stored)) = (&mut self.metadata, before.names) {
            names.restore(stored, &at, labels);
        }
        // A file that does not say who asked is of before that was kept.
        let same_credentials = before
            .credentials_key
            .is_none_or(|credentials_key| credentials_key == self.credentials_key);
        let mut dropped = Vec::new();
        let mut fresh: HashSet<Query> = self
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
            if let Some((query, known)) = same {
                fresh.remove(query);
                known.observations = observations.collect();
                known.last_complete = stored.complete.and_then(|wall| {
                    Some(Timestamp {
                        instant: at(wall)?,
                        unix: wall,
                    })
                });
                known.not_found = stored.absent;
                known.drop_all_but(&self.selection, query);
            } else {
                dropped.push(QueryState {
                    observations: observations.collect(),
                    ..QueryState::default()
                });
            }
        }
        self.inherit_from(&fresh, &dropped);
        self.last_success = before.last_success;
        // After a stop so long that nothing of it may be shown any more, a scrape waits as at a first start.
        if let Some(poll) = before.polled
            && let Some(ended) = at(poll.ended)
            && ended + self.stale_after > now
        {
            self.polled = Some(Polled {
                up: poll.up,
                older_regardless: true,
                stale: true,
                started: None,
                at: ended,
                duration: poll.duration,
            });
            self.blocks_scrape = false;
            if let Some(names) = &mut self.metadata {
                names.up = names_up;
                names.blocks_scrape = false;
            }
        }
    }

    /// Takes over what is known of the scope as it was configured before. Returns what is not watched any more: what was brought by
    /// queries that are not asked, and what the selection leaves out.
    pub fn inherit(&mut self, before: Self) -> Vec<QueryState> {
        let uses_names = self.uses_names() || before.uses_names();
        let same_credentials = self.credentials_key == before.credentials_key;
        let mut known: HashMap<Query, QueryState> = before.queries.into_iter().collect();
        let mut left_out = Vec::new();
        let mut fresh = HashSet::new();
        for (query, empty) in &mut self.queries {
            if let Some(known) = known.remove(query) {
                *empty = known;
                left_out.push(empty.drop_all_but(&self.selection, query));
                for observation in empty.observations.values_mut() {
                    observation.confirmed &= same_credentials;
                }
            } else {
                fresh.insert(query.clone());
            }
        }
        let dropped: Vec<QueryState> = known.into_values().collect();
        self.inherit_from(&fresh, &dropped);
        if let (Some(names), Some(before)) = (&mut self.metadata, before.metadata) {
            names.inherit(before);
        }
        self.polled = before.polled;
        // Nobody has asked like this yet.
        let has_others = self
            .observations()
            .any(|(_, observation)| !observation.confirmed);
        if let Some(polled) = &mut self.polled {
            polled.older_regardless |= has_others;
            polled.stale |= has_others;
        }
        if uses_names {
            self.renew_stale();
        }
        self.last_success = before.last_success;
        self.failed_poll = before.failed_poll;
        self.blocks_scrape = before.blocks_scrape;
        self.pending_first_poll = before.pending_first_poll;
        dropped.into_iter().chain(left_out).collect()
    }

    /// Has queries that were not asked before show what those that are not asked any more have brought, as far as it is theirs: until they
    /// are answered themselves, nobody says that it is gone.
    fn inherit_from(&mut self, fresh: &HashSet<Query>, dropped: &[QueryState]) {
        let observations = || dropped.iter().flat_map(|known| known.observations.values());
        // There can be thousands of ARNs, and thousands of sights.
        let mut by_arn: HashMap<Cow<'_, str>, Vec<&Observation>> = HashMap::new();
        if !fresh.is_empty() {
            for observation in observations() {
                let arn = canonical_arn(&observation.integration.arn);
                by_arn.entry(arn).or_default().push(observation);
            }
        }
        for (query, known) in &mut self.queries {
            if !fresh.contains(query) {
                continue;
            }
            match query {
                Query::Integration(arn) => {
                    let of_arn = by_arn.get(&canonical_arn(arn.as_str()));
                    of_arn
                        .into_iter()
                        .flatten()
                        .for_each(|observation| known.inherit_from(observation));
                }
                Query::Target(_) | Query::All => observations()
                    .filter(|observation| lists(query, &self.selection, &observation.integration))
                    .for_each(|observation| known.inherit_from(observation)),
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
            .is_none_or(|other| other.observed_at < observation.observed_at)
        {
            let inherited = Observation {
                confirmed: false,
                ..observation.clone()
            };
            self.observations.insert(arn.clone(), inherited);
        }
    }

    /// Keeps what a query that lists may show. Now and not with the next answer, which would take what it leaves out for gone, also where
    /// another scope sees it. Returns what was dropped.
    fn drop_all_but(&mut self, selection: &Selection, query: &Query) -> Self {
        let is_left_out = |_: &String, observation: &mut Observation| {
            query.lists() && !selects(selection, &observation.integration)
        };
        Self {
            observations: self.observations.extract_if(.., is_left_out).collect(),
            ..Self::default()
        }
    }
}

/// The profile and the role. Not the external id, which lets the same in.
pub(super) fn credentials_key(credentials: &Credentials) -> String {
    let profile = credentials.profile.as_deref().unwrap_or_default();
    let role = credentials.role.as_ref().map(|role| role.arn.as_str());
    format!("{profile} {}", role.unwrap_or_default())
}

/// Whether the answer to a query that lists would have this one, if it is there.
fn lists(query: &Query, selection: &Selection, integration: &Integration) -> bool {
    let is_of_target =
        |arn: &str| !matches!(query, Query::Target(target) if target.as_str() != arn);
    query.lists() && is_of_target(&integration.target_arn) && selects(selection, integration)
}
