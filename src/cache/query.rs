//! The cached result of one query, and how an answer changes it. The names of the fields are part of the state file.

use crate::arn::canonical_arn;
use crate::clock::Timestamp;
use crate::config::{Query, Selection};
use crate::glue::Answer;
use crate::snapshot::Integration;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::{BTreeMap, HashSet};
use std::ops::Not;
use std::sync::Arc;
use tokio::time::Instant;

/// The limit while a listing stays incomplete. Without it, integrations that come and go would fill the memory.
const MAX_OBSERVATIONS: usize = 200_000;

/// A query as it is stored, without the checks of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum QueryKey {
    Integration(String),
    Target(String),
    All,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct QueryState {
    pub query: QueryKey,
    #[serde(
        rename = "sights",
        serialize_with = "serialize_observations",
        deserialize_with = "deserialize_observations"
    )]
    pub observations: BTreeMap<String, Observation>,
    #[serde(rename = "complete")]
    pub last_complete: Option<Timestamp>,
    /// Set if the query is for one integration, and AWS answered that it does not exist.
    #[serde(default, rename = "absent", skip_serializing_if = "Option::is_none")]
    pub not_found: Option<NotFound>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Observation {
    pub integration: Arc<Integration>,
    #[serde(rename = "seen")]
    pub observed_at: Timestamp,
    /// True if another query, or the same query with other credentials, made the observation. Then an answer without the integration
    /// does not mean that it is deleted: other credentials may be of another account.
    #[serde(default, rename = "adopted", skip_serializing_if = "Not::not")]
    pub inherited: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct NotFound {
    /// Time of the first such answer, in Unix seconds.
    pub since: f64,
    pub last: Option<Arc<Integration>>,
}

impl Observation {
    pub fn arn(&self) -> &str {
        &self.integration.arn
    }
}

impl QueryKey {
    pub fn configured_arn(&self) -> Option<&str> {
        match self {
            Self::Integration(arn) => Some(arn),
            Self::Target(_) | Self::All => None,
        }
    }

    /// Returns true if a complete answer would contain the integration, if it exists.
    pub fn covers(&self, selection: &Selection, integration: &Integration) -> bool {
        let listed = match self {
            Self::Integration(arn) => return canonical_arn(arn) == canonical_arn(&integration.arn),
            Self::Target(target) => *target == integration.target_arn,
            Self::All => true,
        };
        listed && selection.matches(integration)
    }
}

impl QueryState {
    pub fn new(query: &Query) -> Self {
        let query = match query {
            Query::Integration(arn) => QueryKey::Integration(arn.to_string()),
            Query::Target(arn) => QueryKey::Target(arn.to_string()),
            Query::All => QueryKey::All,
        };
        Self {
            query,
            observations: BTreeMap::new(),
            last_complete: None,
            not_found: None,
        }
    }

    /// Returns the observed integrations that a complete answer lacks.
    pub fn apply(&mut self, answer: &Answer) -> Vec<Arc<Integration>> {
        if !answer.integrations.is_empty() {
            self.not_found = None;
        }
        self.observe(&answer.integrations);
        let Ok(at) = answer.outcome else {
            self.bound();
            return Vec::new();
        };
        if self.query.configured_arn().is_some() && answer.integrations.is_empty() {
            let last = self.observations.values().next();
            self.not_found.get_or_insert_with(|| NotFound {
                since: at.unix,
                last: last.map(|observation| Arc::clone(&observation.integration)),
            });
        }
        self.last_complete = Some(at);
        self.drop_unlisted(&answer.integrations)
    }

    /// Adds observations. An unchanged integration keeps its pointer, so that the snapshot and the cache share it.
    fn observe(&mut self, integrations: &[(Arc<Integration>, Timestamp)]) {
        for (integration, observed_at) in integrations {
            let mut observation = Observation {
                integration: Arc::clone(integration),
                observed_at: *observed_at,
                inherited: false,
            };
            if let Some(known) = self.observations.get_mut(&integration.arn) {
                if known.integration == *integration {
                    observation.integration = Arc::clone(&known.integration);
                }
                *known = observation;
                continue;
            }
            let arn = integration.arn.clone();
            self.observations.insert(arn, observation);
        }
    }

    /// Drops the observations that a complete answer lacks, and returns those that the query itself made.
    fn drop_unlisted(
        &mut self,
        integrations: &[(Arc<Integration>, Timestamp)],
    ) -> Vec<Arc<Integration>> {
        let listed = integrations.iter().map(|(integration, _)| &integration.arn);
        // Both are sorted, and usually equal.
        if self.observations.keys().eq(listed.clone()) {
            return Vec::new();
        }
        let listed: HashSet<&String> = listed.collect();
        self.observations
            .extract_if(.., |arn, _| !listed.contains(arn))
            .filter(|(_, observation)| !observation.inherited)
            .map(|(_, observation)| observation.integration)
            .collect()
    }

    /// Removes an observation older than `at`, when another query found its integration deleted. Returns whether there was one.
    pub fn remove_if_older(&mut self, arn: &str, at: Instant) -> bool {
        let observation = self.observations.get(arn);
        let is_older = observation.is_some_and(|it| it.observed_at.instant < at);
        if is_older {
            self.observations.remove(arn);
            if self.query.configured_arn().is_some() {
                // AWS has not yet answered this query with "does not exist".
                self.last_complete = None;
            }
        }
        is_older
    }

    pub fn inherit(&mut self, observations: &[&Observation]) {
        for observation in observations {
            let arn = observation.arn();
            let existing = self.observations.get(arn);
            if existing.is_none_or(|it| it.observed_at.instant < observation.observed_at.instant) {
                let mut inherited = (*observation).clone();
                inherited.inherited = true;
                self.observations.insert(arn.to_owned(), inherited);
            }
        }
    }

    fn bound(&mut self) {
        if self.observations.len() > MAX_OBSERVATIONS {
            let observations = self.observations.values();
            let mut times: Vec<Instant> = observations.map(|it| it.observed_at.instant).collect();
            times.sort_unstable();
            let oldest_kept = times[times.len() - MAX_OBSERVATIONS];
            self.observations
                .retain(|_, observation| observation.observed_at.instant >= oldest_kept);
        }
    }
}

fn serialize_observations<S: Serializer>(
    observations: &BTreeMap<String, Observation>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(observations.values())
}

fn deserialize_observations<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, Observation>, D::Error> {
    let observations = Vec::<Observation>::deserialize(deserializer)?.into_iter();
    Ok(observations.map(|it| (it.arn().to_owned(), it)).collect())
}
