use super::by_arn;
use super::failures::failed;
use super::freshness::FreshnessCache;
use super::metadata::Metadata;
use super::query::{Observation, QueryKey, QueryState};
use crate::arn::{canonical_arn, is_redshift};
use crate::clock::Timestamp;
use crate::config::{Credentials, ScopeRegion, Selection};
use crate::freshness::{FreshnessQuery, QueriedIntegration};
use crate::glue::{Answer, GlueError};
use crate::snapshot::{Failed, Integration};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long an integration that vanished is shown as missing.
const VANISHED_RETENTION: Duration = Duration::from_secs(86_400);
/// Without this limit, integrations that come and go would fill the memory.
const MAX_VANISHED: usize = 10_000;

#[derive(Clone, Debug)]
pub struct PollResult {
    pub started: Timestamp,
    pub ended: Timestamp,
    /// One answer for each query of the watch, in the same order.
    pub answers: Vec<Answer>,
}

/// The names of the stored fields are part of the state file.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Scope {
    #[serde(rename = "scope")]
    pub name: String,
    pub region: String,
    #[serde(skip)]
    pub interval: Duration,
    #[serde(skip)]
    pub stale_after: Duration,
    #[serde(skip)]
    selection: Arc<Selection>,
    /// The profile and role of the scope. Absent in old files.
    #[serde(default, rename = "asker")]
    credentials_key: String,
    pub queries: Vec<QueryState>,
    /// By ARN. Absent in old files.
    #[serde(default, with = "by_arn", skip_serializing_if = "BTreeMap::is_empty")]
    pub vanished: BTreeMap<String, Vanished>,
    pub polled: Option<Polled>,
    pub last_success: Option<f64>,
    #[serde(skip)]
    pub failed_poll: Option<Arc<Failed>>,
    /// `None` if the scope does not need names and tags. Absent in old files.
    #[serde(default, rename = "names", skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Metadata>,
    /// `None` if the scope does not ask CloudWatch. Absent in old files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freshness: Option<FreshnessCache>,
    /// The number of tables of an integration that have series.
    #[serde(skip)]
    pub max_tables: usize,
    #[serde(skip)]
    pub blocks_scrape: bool,
    #[serde(skip)]
    pub pending_first_poll: bool,
}

/// An integration that AWS no longer lists, although it was not DELETING.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Vanished {
    /// The first answer without it.
    pub since: Timestamp,
    pub last: Arc<Integration>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Polled {
    pub up: bool,
    /// Earlier observations are stale. `None` if the poll was by the previous process: then all data is stale.
    #[serde(skip)]
    pub started: Option<Instant>,
    pub ended: Timestamp,
    pub duration: Duration,
}

impl Vanished {
    pub fn expiry(&self) -> Instant {
        self.since.instant + VANISHED_RETENTION
    }
}

impl Scope {
    /// `at_start` is true if scrapes wait for the first poll.
    pub fn new(watch: &ScopeRegion, at_start: bool) -> Self {
        Self {
            name: watch.scope.to_string(),
            region: watch.region.to_string(),
            interval: watch.interval,
            stale_after: watch.stale_after,
            selection: Arc::clone(&watch.selection),
            credentials_key: credentials_key(&watch.credentials),
            queries: watch.queries.iter().map(QueryState::new).collect(),
            metadata: watch.describe.then(|| Metadata::new(watch, at_start)),
            freshness: watch.freshness.map(|_| FreshnessCache::default()),
            max_tables: watch.freshness.map_or(0, |freshness| freshness.max_tables),
            blocks_scrape: at_start,
            pending_first_poll: at_start,
            ..Self::default()
        }
    }

    /// Returns the integrations that a complete answer lacks, with the times of the answers. It excludes integrations that the scope
    /// never observed, because its credentials may be of another account.
    pub fn apply(&mut self, poll: &PollResult) -> BTreeMap<String, Vanished> {
        let mut unlisted: BTreeMap<String, Vanished> = BTreeMap::new();
        let confirmed = self.observations().filter(|it| !it.inherited);
        let confirmed: HashMap<&str, &Observation> = confirmed.map(|it| (it.arn(), it)).collect();
        let arns = self.queries.iter().map(|it| it.query.configured_arn());
        let confirmed = arns.map(|arn| Some(Arc::clone(&confirmed.get(arn?)?.integration)));
        let confirmed: Vec<Option<Arc<Integration>>> = confirmed.collect();
        let queries = self.queries.iter_mut().zip(confirmed);
        for ((query, confirmed), answer) in queries.zip(&poll.answers) {
            let missing = query.apply(answer).into_iter().chain(confirmed);
            if let Ok(since) = answer.outcome {
                unlisted.extend(missing.map(|last| (last.arn.clone(), Vanished { since, last })));
            }
        }
        let now = poll.ended.instant;
        self.vanished.retain(|_, it| it.expiry() > now);
        let outcomes = poll.answers.iter().map(|it| it.outcome.as_ref());
        let errors: Vec<&GlueError> = outcomes.filter_map(Result::err).collect();
        if errors.is_empty() {
            self.last_success = Some(poll.ended.unix);
        } else {
            self.failed_poll = Some(failed(&errors, poll.ended.unix));
        }
        self.blocks_scrape = false;
        self.pending_first_poll = false;
        self.polled = Some(Polled {
            up: errors.is_empty(),
            started: Some(poll.started.instant),
            ended: poll.ended,
            duration: poll.ended.instant - poll.started.instant,
        });
        unlisted
    }

    pub fn observations(&self) -> impl Iterator<Item = &Observation> {
        self.queries.iter().flat_map(|it| it.observations.values())
    }

    pub fn observations_mut(&mut self) -> impl Iterator<Item = &mut Observation> {
        let queries = self.queries.iter_mut();
        queries.flat_map(|query| query.observations.values_mut())
    }

    pub fn canonical_arns(&self) -> BTreeSet<String> {
        let arns = self.observations().map(Observation::arn);
        arns.map(|arn| canonical_arn(arn).into_owned()).collect()
    }

    /// Returns the integrations to ask CloudWatch about, `None` if the scope does not ask it.
    pub fn freshness_query(&self) -> Option<FreshnessQuery> {
        let freshness = self.freshness.as_ref()?;
        let observations = self.observations();
        let included = observations.filter(|it| !self.excludes(it.arn()));
        let query = included.map(|observation| {
            let arn = canonical_arn(observation.arn()).into_owned();
            let entry = freshness.entries.get(&arn);
            let integration = QueriedIntegration {
                has_redshift_target: is_redshift(&observation.integration.target_arn),
                checked: entry.and_then(|entry| entry.checked),
            };
            (arn, integration)
        });
        Some(query.collect())
    }

    pub fn note_vanished(&mut self, vanished: &Vanished) {
        let arn = &vanished.last.arn;
        if self.vanished.len() < MAX_VANISHED && !self.excludes(arn) {
            self.vanished.insert(arn.clone(), vanished.clone());
        }
    }

    /// Returns when a query last had a complete answer that would contain the integration.
    pub fn last_complete(&self, vanished: &Vanished) -> Timestamp {
        let queries = self.queries.iter();
        let queries = queries.filter(|it| it.query.covers(&self.selection, &vanished.last));
        let answers = queries.filter_map(|query| query.last_complete);
        let latest = answers.max_by_key(|at| at.instant);
        latest
            .filter(|at| at.instant > vanished.since.instant)
            .unwrap_or(vanished.since)
    }

    pub fn excludes(&self, arn: &str) -> bool {
        self.metadata.as_ref().is_some_and(|it| it.excludes(arn))
    }

    pub fn includes(&self, arn: &str) -> bool {
        let mut queries = self.queries.iter();
        !self.excludes(arn) && queries.any(|query| query.observations.contains_key(arn))
    }

    pub fn blocks_scrape(&self) -> bool {
        self.blocks_scrape || self.metadata.as_ref().is_some_and(|it| it.blocks_scrape)
    }

    pub fn is_older(&self, at: Timestamp) -> bool {
        let started = self.polled.and_then(|polled| polled.started);
        started.is_none_or(|started| at.instant < started)
    }

    /// Returns true if any data is older than the last poll, or inherited. An empty answer is data too.
    pub fn is_stale(&self) -> bool {
        let is_stale = |query: &QueryState| {
            let observations = query.observations.values();
            let included = observations.filter(|it| !self.excludes(it.arn()));
            let mut included = included.peekable();
            if included.peek().is_none() {
                return query.last_complete.is_some_and(|at| self.is_older(at));
            }
            included.any(|it| it.inherited || self.is_older(it.observed_at))
        };
        let is_restored = self.polled.is_some_and(|polled| polled.started.is_none());
        is_restored || self.queries.iter().any(is_stale)
    }

    pub fn expiries(&self) -> impl Iterator<Item = Instant> {
        let empty = self.queries.iter().filter(|it| it.observations.is_empty());
        let empty = empty.filter_map(|query| query.last_complete);
        let included = self.observations().filter(|it| !self.excludes(it.arn()));
        let times = included.map(|it| it.observed_at).chain(empty);
        let vanished = self.vanished.values();
        times
            .map(|at| at.instant + self.stale_after)
            .chain(vanished.map(Vanished::expiry))
    }

    /// Prepares the data of the previous process, whose times have no instants yet, to be inherited by `scope`.
    pub fn rebase(&mut self, stale_after: Duration, now: Timestamp) {
        for query in &mut self.queries {
            query.last_complete.take_if(|at| !at.rebase(now));
            let observations = &mut query.observations;
            observations.retain(|_, observation| observation.observed_at.rebase(now));
        }
        self.vanished.retain(|_, it| it.since.rebase(now));
        // If all data expired while the exporter was stopped, a scrape waits as at a first start.
        self.polled.take_if(|polled| {
            !polled.ended.rebase(now) || polled.ended.instant + stale_after <= now.instant
        });
        if let Some(polled) = &mut self.polled {
            polled.started = None;
        }
        self.blocks_scrape = self.polled.is_none();
        self.pending_first_poll = true;
        let metadata = self.metadata.get_or_insert_default();
        let entries = &mut metadata.entries;
        entries.retain(|_, entry| entry.observed_at.rebase(now));
        metadata.blocks_scrape = self.blocks_scrape;
        metadata.up.take_if(|_| self.blocks_scrape);
    }

    /// Returns the dropped observations: those of removed queries, and those that the selection excludes now.
    pub fn inherit(&mut self, before: Self) -> Vec<Observation> {
        let same_credentials = self.credentials_key == before.credentials_key;
        let mut new_queries: Vec<&mut QueryState> = Vec::new();
        let old_queries = before.queries.into_iter();
        let mut old_queries: HashMap<QueryKey, QueryState> =
            old_queries.map(|old| (old.query.clone(), old)).collect();
        let mut excluded: Vec<Observation> = Vec::new();
        for query in &mut self.queries {
            let Some(old) = old_queries.remove(&query.query) else {
                new_queries.push(query);
                continue;
            };
            *query = old;
            let is_configured = query.query.configured_arn().is_some();
            // The next listing lacks what is excluded now, and the cache would take that for deleted, in other scopes too.
            let dropped = query.observations.extract_if(.., |_, observation| {
                observation.inherited |= !same_credentials;
                !is_configured && !self.selection.matches(&observation.integration)
            });
            excluded.extend(dropped.map(|(_, observation)| observation));
        }
        let removed = old_queries.into_values();
        let dropped = removed.flat_map(|old| old.observations.into_values());
        let mut dropped: Vec<Observation> = dropped.collect();
        inherit_dropped(new_queries, &dropped, &self.selection);
        dropped.extend(excluded);
        if let (Some(metadata), Some(before)) = (&mut self.metadata, before.metadata) {
            metadata.inherit(before);
        }
        if self.freshness.is_some() && before.freshness.is_some() {
            self.freshness = before.freshness;
        }
        self.vanished = before.vanished;
        let (queries, selection) = (&self.queries, &self.selection);
        self.vanished.retain(|_, it| {
            let mut queries = queries.iter();
            queries.any(|query| query.query.covers(selection, &it.last))
        });
        self.polled = before.polled;
        self.last_success = before.last_success;
        self.failed_poll = before.failed_poll;
        self.blocks_scrape = before.blocks_scrape;
        self.pending_first_poll = before.pending_first_poll;
        dropped
    }
}

fn inherit_dropped(queries: Vec<&mut QueryState>, dropped: &[Observation], selection: &Selection) {
    // An index, because there can be thousands of ARNs and thousands of observations.
    let mut by_arn: HashMap<Cow<'_, str>, Vec<&Observation>> = HashMap::new();
    for observation in dropped {
        let arn = canonical_arn(observation.arn());
        by_arn.entry(arn).or_default().push(observation);
    }
    for query in queries {
        let key = &query.query;
        let matching: Vec<&Observation> = match key.configured_arn() {
            Some(arn) => by_arn.get(&canonical_arn(arn)).cloned().unwrap_or_default(),
            None => {
                let listed = |it: &&Observation| key.covers(selection, &it.integration);
                dropped.iter().filter(listed).collect()
            }
        };
        query.inherit(&matching);
    }
}

/// Returns a key of the profile and the role. The external ID does not change what the credentials can access.
fn credentials_key(credentials: &Credentials) -> String {
    let profile = credentials.profile.as_deref().unwrap_or_default();
    let role = credentials.role.as_ref().map(|role| role.arn.as_str());
    format!("{profile} {}", role.unwrap_or_default())
}
