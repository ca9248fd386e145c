//! A model that computes the expected snapshot from the answers from AWS, as the contract describes it. It keeps observations and the times
//! of deletions, and computes the snapshot from them alone. The exporter instead updates its cache with each poll.

use glue_integration_exporter::cache::{Key, key};
use glue_integration_exporter::clock::Timestamp;
use glue_integration_exporter::config::{Lookup, Query, ScopeRegion};
use glue_integration_exporter::snapshot::{
    ExportedIntegration, Integration, MetadataLabels, Missing, PolledScope, ScopeState, Snapshot,
    Status,
};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

use super::environment::Reply;

const VANISHED_RETENTION: Duration = Duration::from_secs(86_400);

/// A poll that ended, and all replies to it.
#[derive(Clone)]
pub struct Polled {
    pub key: Key,
    pub started: Timestamp,
    pub ended: Timestamp,
    pub up: bool,
    pub replies: Vec<Reply>,
}

impl fmt::Display for Polled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scope, _) = &self.key;
        write!(
            f,
            "  {scope} polled from {:?} to {:?}, up {}",
            self.started.instant, self.ended.instant, self.up
        )?;
        self.replies.iter().try_for_each(|reply| reply.fmt(f))
    }
}

pub struct Model {
    scopes: BTreeMap<Key, Scope>,
    /// When AWS last answered to a scope that an observed integration is deleted.
    deleted: BTreeMap<String, Instant>,
    statuses: BTreeMap<String, StatusSince>,
}

struct Scope {
    watch: ScopeRegion,
    queries: Vec<(Query, QueryModel)>,
    polled: Option<PolledScope>,
    /// The start of the last poll of this process.
    started: Option<Instant>,
    ended: Option<Instant>,
    last_success: Option<f64>,
    blocks_scrape: bool,
    pending_first_poll: bool,
    /// The integrations that a complete answer lacked although they were not DELETING, and the time of that answer.
    vanished: BTreeMap<String, (Arc<Integration>, Instant)>,
}

#[derive(Clone, Default)]
struct QueryModel {
    /// The latest observation of each integration.
    observations: BTreeMap<String, (Arc<Integration>, Instant)>,
    /// The integrations that an answer to this query contained, with the current credentials.
    confirmed: BTreeSet<String>,
    /// The last poll with a complete answer: its start, and the time of the answer.
    last_complete: Option<(Instant, Instant)>,
}

struct StatusSince {
    status: Status,
    wall: f64,
    seen: Instant,
}

impl Scope {
    fn new(watch: &ScopeRegion, at_start: bool) -> Self {
        Self {
            watch: watch.clone(),
            queries: watch
                .queries
                .iter()
                .map(|query| (query.clone(), QueryModel::default()))
                .collect(),
            polled: None,
            started: None,
            ended: None,
            last_success: None,
            blocks_scrape: at_start,
            pending_first_poll: at_start,
            vanished: BTreeMap::new(),
        }
    }

    fn older(&self, at: Instant) -> bool {
        self.started.is_none_or(|started| at < started)
    }

    fn fresh(&self, at: Instant, now: Instant) -> bool {
        now < at + self.watch.stale_after
    }

    /// Returns true if any data is older than the last poll, or of the previous process.
    fn stale(&self, deleted: &BTreeMap<String, Instant>) -> bool {
        let Some(started) = self.started else {
            return true;
        };
        self.queries.iter().any(|(_, state)| {
            let mut current = state.current(deleted).peekable();
            if current.peek().is_none() {
                return state.last_complete.is_some_and(|(_, at)| at < started);
            }
            current.any(|(arn, _, at)| at < started || !state.confirmed.contains(arn))
        })
    }
}

impl QueryModel {
    /// Returns the observations that no later answer contradicts.
    fn current<'a>(
        &'a self,
        deleted: &'a BTreeMap<String, Instant>,
    ) -> impl Iterator<Item = (&'a String, &'a Arc<Integration>, Instant)> {
        self.observations
            .iter()
            .map(|(arn, (integration, at))| (arn, integration, *at))
            .filter(|(arn, _, at)| {
                deleted.get(*arn).is_none_or(|deleted| at >= deleted)
                    && self.last_complete.is_none_or(|(began, _)| *at >= began)
            })
    }
}

/// Returns true if a complete answer to a query contains this integration, if it exists.
fn matches_query(query: &Query, integration: &Integration) -> bool {
    match query {
        Query::Integration(arn) => arn.as_str() == integration.arn,
        Query::Target(arn) => arn.as_str() == integration.target_arn,
        Query::All => true,
    }
}

fn is_query_for(query: &Query, arn: &str) -> bool {
    matches!(query, Query::Integration(of) if of.as_str() == arn)
}

/// The observations in the replies to a query, and the time of the complete answer, if there was one.
type QueryReplies = (Vec<(Arc<Integration>, Instant)>, Option<Instant>);

fn replies_to(query: &Query, replies: &[Reply]) -> QueryReplies {
    let of_query: Vec<&Reply> = replies
        .iter()
        .filter(|reply| reply.query == *query)
        .collect();
    let complete = of_query
        .last()
        .filter(|last| last.last && !of_query.iter().any(|reply| reply.incomplete))
        .map(|last| last.at.instant);
    let observations = of_query
        .iter()
        .flat_map(|reply| {
            let integrations = reply.integrations.iter().cloned();
            integrations.map(|integration| (integration, reply.at.instant))
        })
        .collect();
    (observations, complete)
}

/// Returns the replies in a scope with `lookup: list`. If the listing contains the integration, it is the answer. If the complete listing
/// lacks it, the exporter queries the ARN.
fn looked_up_or_queried(query: &Query, replies: &[Reply]) -> QueryReplies {
    if !matches!(query, Query::Integration(_)) {
        return replies_to(query, replies);
    }
    let (mut observations, whole) = replies_to(&Query::All, replies);
    observations.retain(|(integration, _)| is_query_for(query, &integration.arn));
    match observations.last() {
        Some((_, at)) => {
            let at = *at;
            (observations, Some(at))
        }
        None if whole.is_some() => replies_to(query, replies),
        None => (observations, None),
    }
}

impl Model {
    pub fn new(watches: &[ScopeRegion]) -> Self {
        Self {
            scopes: watches
                .iter()
                .map(|watch| (key(watch), Scope::new(watch, true)))
                .collect(),
            deleted: BTreeMap::new(),
            statuses: BTreeMap::new(),
        }
    }

    /// Returns the number of integrations with a known start of their status.
    pub fn statuses(&self) -> usize {
        self.statuses.len()
    }

    pub fn reconfigure(&mut self, watches: &[ScopeRegion]) {
        let mut before = std::mem::take(&mut self.scopes);
        let dropped: Vec<QueryModel> = before
            .iter()
            .flat_map(|(of, scope)| {
                scope
                    .queries
                    .iter()
                    .map(move |(query, state)| (of, query, state))
            })
            .filter(|(of, query, _)| {
                !watches
                    .iter()
                    .any(|watch| key(watch) == **of && watch.queries.contains(query))
            })
            .map(|(_, _, state)| state.clone())
            .collect();
        for watch in watches {
            let mut scope = Scope::new(watch, false);
            if let Some(before) = before.remove(&key(watch)) {
                let ended: Vec<&QueryModel> = before
                    .queries
                    .iter()
                    .filter(|(query, _)| !watch.queries.contains(query))
                    .map(|(_, state)| state)
                    .collect();
                for (query, state) in &mut scope.queries {
                    if let Some((_, known)) = before
                        .queries
                        .iter()
                        .find(|(existing, _)| existing == query)
                    {
                        *state = known.clone();
                        if before.watch.credentials != watch.credentials {
                            state.confirmed.clear();
                        }
                    } else {
                        let seen = ended.iter().flat_map(|state| state.current(&self.deleted));
                        let mut seen: Vec<_> = seen
                            .filter(|(_, integration, _)| matches_query(query, integration))
                            .collect();
                        seen.sort_by_key(|(_, _, at)| *at);
                        for (arn, integration, at) in seen {
                            let observation = (Arc::clone(integration), at);
                            state.observations.insert(arn.clone(), observation);
                        }
                    }
                }
                scope = Scope {
                    watch: scope.watch,
                    queries: scope.queries,
                    ..before
                };
                let queries = &scope.queries;
                scope.vanished.retain(|_, (integration, _)| {
                    let mut queries = queries.iter();
                    queries.any(|(query, _)| matches_query(query, integration))
                });
            }
            self.scopes.insert(key(watch), scope);
        }
        self.correct(&dropped);
    }

    /// Applies dropped observations: the later observation is right, even if its scope is not watched any more.
    fn correct(&mut self, dropped: &[QueryModel]) {
        let mut observations: Vec<_> = dropped
            .iter()
            .flat_map(|state| state.current(&self.deleted))
            .collect();
        // The latest one must be applied last.
        observations.sort_by_key(|(_, _, at)| *at);
        for (arn, integration, at) in observations {
            for (_, state) in self
                .scopes
                .values_mut()
                .flat_map(|scope| &mut scope.queries)
            {
                if let Some(observation) = state.observations.get_mut(arn)
                    && observation.1 < at
                {
                    observation.0 = Arc::clone(integration);
                }
            }
        }
    }

    pub fn restart(&mut self, watches: &[ScopeRegion], now: Instant) {
        for watch in watches {
            let scope = self.scopes.get_mut(&key(watch)).unwrap();
            scope.started = None;
            if scope.ended.is_some_and(|ended| scope.fresh(ended, now)) {
                scope.blocks_scrape = false;
                scope.pending_first_poll = true;
            } else {
                // Its observations still correct those of other scopes, although they have expired.
                scope.polled = None;
                scope.ended = None;
                scope.blocks_scrape = true;
                scope.pending_first_poll = true;
            }
        }
    }

    pub fn poll(&mut self, polled: Polled) {
        let Polled {
            key,
            started,
            ended,
            up,
            mut replies,
        } = polled;
        let scope = self.scopes.get_mut(&key).unwrap();
        let looked_up = scope.watch.lookup == Lookup::List;
        // With `lookup: list`, integrations that are not configured are ignored.
        for reply in &mut replies {
            if looked_up && reply.query == Query::All {
                reply.integrations.retain(|integration| {
                    scope
                        .watch
                        .queries
                        .iter()
                        .any(|query| is_query_for(query, &integration.arn))
                });
            }
        }
        // The later observation within a poll is right, whichever query returned it.
        let mut seen: BTreeMap<&String, (Status, Timestamp)> = BTreeMap::new();
        for reply in &replies {
            for integration in &reply.integrations {
                seen.insert(&integration.arn, (integration.status, reply.at));
            }
        }
        let mut deleted_now: BTreeMap<String, Instant> = BTreeMap::new();
        let confirmed: BTreeSet<String> = scope
            .queries
            .iter()
            .flat_map(|(_, state)| {
                let current = state.current(&self.deleted);
                current.filter(|(arn, ..)| state.confirmed.contains(*arn))
            })
            .map(|(arn, _, _)| arn.clone())
            .collect();
        let mut integrations: BTreeMap<String, Arc<Integration>> = BTreeMap::new();
        for (_, state) in &scope.queries {
            for (arn, integration, _) in state.current(&self.deleted) {
                integrations.insert(arn.clone(), Arc::clone(integration));
            }
        }
        let mut all = true;
        for (query, state) in &mut scope.queries {
            let (observations, complete) = if looked_up {
                looked_up_or_queried(query, &replies)
            } else {
                replies_to(query, &replies)
            };
            let before: Vec<String> = state
                .current(&self.deleted)
                .map(|(arn, ..)| arn.clone())
                .filter(|arn| state.confirmed.contains(arn))
                .collect();
            if complete.is_some() {
                state.observations.clear();
            }
            for (integration, at) in observations {
                let arn = integration.arn.clone();
                state.confirmed.insert(arn.clone());
                state.observations.insert(arn, (integration, at));
            }
            if let Some(at) = complete {
                state.last_complete = Some((started.instant, at));
                if let Query::Integration(arn) = query
                    && confirmed.contains(arn.as_str())
                {
                    deleted_now.insert(arn.to_string(), at);
                }
                deleted_now.extend(before.into_iter().map(|arn| (arn, at)));
            } else {
                all = false;
            }
        }
        assert_eq!(
            all, up,
            "{key:?}: the exporter and the model disagree on whether the poll succeeded"
        );
        deleted_now.retain(|arn, _| !seen.contains_key(arn));
        let mut observed_by: BTreeSet<(String, Key)> = BTreeSet::new();
        for arn in deleted_now.keys() {
            for (of, scope) in &self.scopes {
                let mut queries = scope.queries.iter();
                let observed = queries.any(|(_, state)| {
                    let mut current = state.current(&self.deleted);
                    current.any(|(seen, ..)| seen == arn)
                });
                if observed || *of == key {
                    observed_by.insert((arn.clone(), of.clone()));
                }
            }
        }
        // If another query finds that an integration is deleted, the query for its ARN has no answer yet.
        let all_queries = self.scopes.iter_mut().flat_map(|(of, scope)| {
            let state = scope.queries.iter_mut();
            state.map(move |(query, state)| (of, query, state))
        });
        for (of, query, state) in all_queries {
            let is_contradicted = |(arn, _, at): (&String, _, Instant)| {
                // This poll may have answered it.
                let unanswered = *of != key
                    || state
                        .last_complete
                        .is_none_or(|(began, _)| began < started.instant);
                is_query_for(query, arn)
                    && unanswered
                    && deleted_now
                        .get(arn)
                        .is_some_and(|deleted_now| at < *deleted_now)
            };
            if state.current(&self.deleted).any(is_contradicted) {
                state.last_complete = None;
            }
        }
        self.deleted.extend(deleted_now.clone());
        let scope = self.scopes.get_mut(&key).unwrap();
        if all {
            scope.last_success = Some(ended.unix);
        }
        scope.polled = Some(PolledScope {
            up: all,
            stale: false,
            last_success: scope.last_success,
            integrations: 0,
            duration: ended.instant - started.instant,
        });
        scope.started = Some(started.instant);
        scope.ended = Some(ended.instant);
        scope.blocks_scrape = false;
        scope.pending_first_poll = false;

        for scope in self.scopes.values_mut() {
            scope.vanished.retain(|arn, (_, since)| {
                let again = seen.get(arn);
                again.is_none_or(|(_, moment)| moment.instant < *since)
            });
        }
        for (arn, (status, moment)) in seen {
            if self
                .deleted
                .get(arn)
                .is_some_and(|deleted| moment.instant < *deleted)
            {
                continue;
            }
            let since = self.statuses.entry(arn.clone()).or_insert(StatusSince {
                status,
                wall: moment.unix,
                seen: moment.instant,
            });
            if moment.instant >= since.seen {
                since.seen = moment.instant;
                if since.status != status {
                    since.status = status;
                    since.wall = moment.unix;
                }
            }
        }
        for (arn, at) in &deleted_now {
            let mut scopes = self.scopes.values().flat_map(|scope| &scope.queries);
            let elsewhere =
                scopes.any(|(_, state)| state.current(&self.deleted).any(|(seen, ..)| seen == arn));
            if elsewhere {
                continue;
            }
            let status = self.statuses.remove(arn);
            if status.is_some_and(|last| last.status == Status::Deleting) {
                continue;
            }
            for (of, scope) in &mut self.scopes {
                if observed_by.contains(&(arn.clone(), of.clone())) {
                    let integration = Arc::clone(&integrations[arn]);
                    scope.vanished.insert(arn.clone(), (integration, *at));
                }
            }
        }
        self.prune(ended.instant);
    }

    /// Drops data that do not matter any more.
    fn prune(&mut self, now: Instant) {
        for scope in self.scopes.values_mut() {
            for (_, state) in &mut scope.queries {
                let current: BTreeSet<String> = state
                    .current(&self.deleted)
                    .map(|(arn, ..)| arn.clone())
                    .collect();
                state.observations.retain(|arn, _| current.contains(arn));
                state.confirmed.retain(|arn| current.contains(arn));
            }
        }
        self.deleted
            .retain(|_, at| *at + Duration::from_secs(3600) > now);
    }

    pub fn shown(&self, now: Instant) -> Snapshot {
        let mut latest: BTreeMap<&String, (&Arc<Integration>, Instant, bool)> = BTreeMap::new();
        let mut fresh: BTreeSet<&String> = BTreeSet::new();
        let mut scopes = Vec::new();
        for ((name, region), scope) in &self.scopes {
            let mut of_scope = BTreeSet::new();
            for (_, state) in &scope.queries {
                for (arn, integration, at) in state.current(&self.deleted) {
                    if latest.get(arn).is_none_or(|(_, before, _)| *before <= at) {
                        latest.insert(arn, (integration, at, scope.older(at)));
                    }
                    if scope.fresh(at, now) {
                        of_scope.insert(arn);
                    }
                }
            }
            scopes.push(ScopeState {
                scope: name.to_string(),
                region: region.to_string(),
                interval: scope.watch.interval,
                polled: scope.polled.clone().map(|polled| PolledScope {
                    integrations: of_scope.len(),
                    stale: scope.stale(&self.deleted),
                    ..polled
                }),
                ..ScopeState::default()
            });
            fresh.extend(of_scope);
        }
        // For each missing integration the latest answer, and whether it is older than the last poll of its scope.
        let mut missing: BTreeMap<&str, (Instant, bool)> = BTreeMap::new();
        let mut answered = |scope: &Scope, arn, at: Instant| {
            if missing.get(arn).is_none_or(|(before, _)| *before <= at) {
                missing.insert(arn, (at, scope.older(at)));
            }
        };
        for scope in self.scopes.values() {
            for (query, state) in &scope.queries {
                let (Query::Integration(arn), Some((_, at))) = (query, state.last_complete) else {
                    continue;
                };
                let exists = state.current(&self.deleted).next().is_some();
                if !exists && scope.fresh(at, now) {
                    answered(scope, arn.as_str(), at);
                }
            }
            for (arn, (integration, since)) in &scope.vanished {
                if now < *since + VANISHED_RETENTION {
                    let queries = scope.queries.iter();
                    let covering = queries.filter(|(query, _)| matches_query(query, integration));
                    let answers = covering.filter_map(|(_, state)| Some(state.last_complete?.1));
                    answered(scope, arn, answers.max().unwrap_or(*since).max(*since));
                }
            }
        }
        missing.retain(|arn, _| !fresh.iter().any(|shown| shown == arn));
        Snapshot {
            integrations: latest
                .into_iter()
                .filter(|(arn, _)| fresh.contains(arn))
                .map(|(arn, (integration, _, stale))| ExportedIntegration {
                    integration: Arc::clone(integration),
                    labels: Arc::new(MetadataLabels::default()),
                    freshness: None,
                    status_since: self.statuses.get(arn).map_or(0.0, |since| since.wall),
                    stale,
                })
                .collect(),
            missing: missing
                .into_iter()
                .map(|(arn, (_, stale))| Missing {
                    arn: arn.to_owned(),
                    stale,
                    ..Missing::default()
                })
                .collect(),
            scopes,
            blocks_scrape: self.scopes.values().any(|scope| scope.blocks_scrape),
            pending_first_poll: self.scopes.values().any(|scope| scope.pending_first_poll),
            ..Snapshot::default()
        }
    }
}
