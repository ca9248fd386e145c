//! What must be shown, computed from AWS's answers by the words of the contract: kept are sights and the moments at which AWS denied one,
//! and what is shown follows from them alone. (The program keeps what is shown and changes it by each poll.)

use glue_integration_exporter::cache::{Key, key};
use glue_integration_exporter::clock::Timestamp;
use glue_integration_exporter::config::{Lookup, Query, Watch};
use glue_integration_exporter::snapshot::{
    Diagnostics, ExportedIntegration, Integration, MetadataLabels, PolledScope, Presence,
    ScopeState, Snapshot, Status,
};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

use super::sky::Reply;

/// A poll that ended, and all that it was answered.
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
    /// When AWS last denied an integration to a scope that had seen it.
    denied: BTreeMap<String, Instant>,
    moments: BTreeMap<String, Since>,
}

struct Scope {
    watch: Watch,
    asked: Vec<(Query, Asked)>,
    polled: Option<PolledScope>,
    ended: Option<Instant>,
    last_success: Option<f64>,
    blocks_scrape: bool,
    unpolled: bool,
}

#[derive(Clone, Default)]
struct Asked {
    /// The last sight of each integration.
    observations: BTreeMap<String, (Arc<Integration>, Instant)>,
    /// Those of them that an answer to this query had, with the credentials of now.
    telemetry: BTreeSet<String>,
    /// The last poll in which AWS answered in full: when it began, and when the answer was whole.
    full: Option<(Instant, Instant)>,
}

struct Since {
    status: Status,
    wall: f64,
    seen: Instant,
}

impl Scope {
    fn new(watch: &Watch, at_start: bool) -> Self {
        Self {
            watch: watch.clone(),
            asked: watch
                .queries
                .iter()
                .map(|query| (query.clone(), Asked::default()))
                .collect(),
            polled: None,
            ended: None,
            last_success: None,
            blocks_scrape: at_start,
            unpolled: at_start,
        }
    }

    fn fresh(&self, at: Instant, now: Instant) -> bool {
        now < at + self.watch.stale_after
    }
}

impl Asked {
    /// The sights that no later answer denies.
    fn standing<'a>(
        &'a self,
        denied: &'a BTreeMap<String, Instant>,
    ) -> impl Iterator<Item = (&'a String, &'a Arc<Integration>, Instant)> {
        self.observations
            .iter()
            .map(|(arn, (integration, at))| (arn, integration, *at))
            .filter(|(arn, _, at)| {
                denied.get(*arn).is_none_or(|denied| at >= denied)
                    && self.full.is_none_or(|(began, _)| *at >= began)
            })
    }
}

/// Whether an answer to a query has this one, if it is there.
fn covers(query: &Query, integration: &Integration) -> bool {
    match query {
        Query::Integration(arn) => arn.as_str() == integration.arn,
        Query::Target(arn) => arn.as_str() == integration.target_arn,
        Query::All => true,
    }
}

fn is(query: &Query, arn: &str) -> bool {
    matches!(query, Query::Integration(of) if of.as_str() == arn)
}

/// What the answers to a query brought, and when the answer was whole, if it was.
type Brought = (Vec<(Arc<Integration>, Instant)>, Option<Instant>);

fn asked_for(query: &Query, replies: &[Reply]) -> Brought {
    let of_query: Vec<&Reply> = replies
        .iter()
        .filter(|reply| reply.query == *query)
        .collect();
    let full = of_query
        .last()
        .filter(|last| last.last && !of_query.iter().any(|reply| reply.lacks))
        .map(|last| last.at.instant);
    let observations = of_query
        .iter()
        .flat_map(|reply| {
            let integrations = reply.integrations.iter().cloned();
            integrations.map(|integration| (integration, reply.at.instant))
        })
        .collect();
    (observations, full)
}

/// In a scope that looks its integrations up: what the listing brought of one is the answer; what a whole listing lacks was asked for.
fn looked_up_or_asked(query: &Query, replies: &[Reply]) -> Brought {
    if !matches!(query, Query::Integration(_)) {
        return asked_for(query, replies);
    }
    let (mut observations, whole) = asked_for(&Query::All, replies);
    observations.retain(|(integration, _)| is(query, &integration.arn));
    match observations.last() {
        Some((_, at)) => {
            let at = *at;
            (observations, Some(at))
        }
        None if whole.is_some() => asked_for(query, replies),
        None => (observations, None),
    }
}

impl Model {
    pub fn new(watches: &[Watch]) -> Self {
        Self {
            scopes: watches
                .iter()
                .map(|watch| (key(watch), Scope::new(watch, true)))
                .collect(),
            denied: BTreeMap::new(),
            moments: BTreeMap::new(),
        }
    }

    /// How many integrations have a moment at which their status began.
    pub fn moments(&self) -> usize {
        self.moments.len()
    }

    pub fn reconfigure(&mut self, watches: &[Watch]) {
        let mut before = std::mem::take(&mut self.scopes);
        let dropped: Vec<Asked> = before
            .iter()
            .flat_map(|(of, scope)| {
                scope
                    .asked
                    .iter()
                    .map(move |(query, asked)| (of, query, asked))
            })
            .filter(|(of, query, _)| {
                !watches
                    .iter()
                    .any(|watch| key(watch) == **of && watch.queries.contains(query))
            })
            .map(|(_, _, asked)| asked.clone())
            .collect();
        for watch in watches {
            let mut scope = Scope::new(watch, false);
            if let Some(mut before) = before.remove(&key(watch)) {
                let ended: Vec<&Asked> = before
                    .asked
                    .iter()
                    .filter(|(query, _)| !watch.queries.contains(query))
                    .map(|(_, asked)| asked)
                    .collect();
                let mut others = false;
                for (query, asked) in &mut scope.asked {
                    if let Some((_, known)) = before.asked.iter().find(|(asked, _)| asked == query)
                    {
                        *asked = known.clone();
                        if before.watch.credentials != watch.credentials {
                            asked.telemetry.clear();
                        }
                    } else {
                        let seen = ended.iter().flat_map(|asked| asked.standing(&self.denied));
                        let mut seen: Vec<_> = seen
                            .filter(|(_, integration, _)| covers(query, integration))
                            .collect();
                        seen.sort_by_key(|(_, _, at)| *at);
                        for (arn, integration, at) in seen {
                            let observation = (Arc::clone(integration), at);
                            asked.observations.insert(arn.clone(), observation);
                        }
                    }
                    let mut standing = asked.standing(&self.denied);
                    others |= standing.any(|(arn, ..)| !asked.telemetry.contains(arn));
                }
                if let Some(polled) = &mut before.polled {
                    polled.stale |= others;
                }
                scope = Scope {
                    watch: scope.watch,
                    asked: scope.asked,
                    ..before
                };
            }
            self.scopes.insert(key(watch), scope);
        }
        self.correct(&dropped);
    }

    /// Of two sights the later is right, also when its scope is not watched any more.
    fn correct(&mut self, dropped: &[Asked]) {
        let mut observations: Vec<_> = dropped
            .iter()
            .flat_map(|asked| asked.standing(&self.denied))
            .collect();
        // Of several that are dropped together the latest comes last.
        observations.sort_by_key(|(_, _, at)| *at);
        for (arn, integration, at) in observations {
            for (_, asked) in self.scopes.values_mut().flat_map(|scope| &mut scope.asked) {
                if let Some(observation) = asked.observations.get_mut(arn)
                    && observation.1 < at
                {
                    observation.0 = Arc::clone(integration);
                }
            }
        }
    }

    pub fn restart(&mut self, watches: &[Watch], now: Instant) {
        for watch in watches {
            let scope = self.scopes.get_mut(&key(watch)).unwrap();
            if scope.ended.is_some_and(|ended| scope.fresh(ended, now)) {
                scope.polled.as_mut().unwrap().stale = true;
                scope.blocks_scrape = false;
                scope.unpolled = true;
            } else {
                // What it says of others still holds, though it is not shown itself.
                scope.polled = None;
                scope.ended = None;
                scope.blocks_scrape = true;
                scope.unpolled = true;
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
        // Of a listing that some are looked up in, the others are nobody's.
        for reply in &mut replies {
            if looked_up && reply.query == Query::All {
                reply.integrations.retain(|integration| {
                    scope
                        .watch
                        .queries
                        .iter()
                        .any(|query| is(query, &integration.arn))
                });
            }
        }
        // The later sight within a poll is right, whatever brought it.
        let mut seen: BTreeMap<&String, (Status, Timestamp)> = BTreeMap::new();
        for reply in &replies {
            for integration in &reply.integrations {
                seen.insert(&integration.arn, (integration.status, reply.at));
            }
        }
        let mut gone: BTreeMap<String, Instant> = BTreeMap::new();
        let had: BTreeSet<String> = scope
            .asked
            .iter()
            .flat_map(|(_, asked)| {
                let standing = asked.standing(&self.denied);
                standing.filter(|(arn, ..)| asked.telemetry.contains(*arn))
            })
            .map(|(arn, _, _)| arn.clone())
            .collect();
        let mut all = true;
        let mut failed: Vec<(Query, bool)> = Vec::new();
        for (query, asked) in &mut scope.asked {
            let (observations, full) = if looked_up {
                looked_up_or_asked(query, &replies)
            } else {
                asked_for(query, &replies)
            };
            let before: Vec<String> = asked
                .standing(&self.denied)
                .map(|(arn, ..)| arn.clone())
                .filter(|arn| asked.telemetry.contains(arn))
                .collect();
            let brought = !observations.is_empty();
            if full.is_some() {
                asked.observations.clear();
            }
            for (integration, at) in observations {
                let arn = integration.arn.clone();
                asked.telemetry.insert(arn.clone());
                asked.observations.insert(arn, (integration, at));
            }
            if let Some(at) = full {
                asked.full = Some((started.instant, at));
                if let Query::Integration(arn) = query
                    && had.contains(arn.as_str())
                {
                    gone.insert(arn.to_string(), at);
                }
                gone.extend(before.into_iter().map(|arn| (arn, at)));
            } else {
                all = false;
                failed.push((query.clone(), brought));
            }
        }
        assert_eq!(all, up, "{key:?} says that its poll was complete");
        gone.retain(|arn, _| !seen.contains_key(arn));
        // Who asks for one by name that another was told to be gone has not been answered yet that there is none.
        let all_asked = self.scopes.iter_mut().flat_map(|(of, scope)| {
            let asked = scope.asked.iter_mut();
            asked.map(move |(query, asked)| (of, query, asked))
        });
        for (of, query, asked) in all_asked {
            let denies = |(arn, _, at): (&String, _, Instant)| {
                // An answer of this very poll has been given.
                let unanswered =
                    *of != key || asked.full.is_none_or(|(began, _)| began < started.instant);
                is(query, arn) && unanswered && gone.get(arn).is_some_and(|gone| at < *gone)
            };
            if asked.standing(&self.denied).any(denies) {
                asked.full = None;
            }
        }
        self.denied.extend(gone.clone());
        let scope = self.scopes.get_mut(&key).unwrap();
        let stale = failed.iter().any(|(query, brought)| {
            let (_, asked) = scope
                .asked
                .iter()
                .find(|(asked, _)| asked == query)
                .unwrap();
            let older = asked
                .standing(&self.denied)
                .any(|(_, _, at)| at < started.instant);
            older || (!brought && asked.full.is_some())
        });
        if all {
            scope.last_success = Some(ended.unix);
        }
        scope.polled = Some(PolledScope {
            up: all,
            stale,
            last_success: scope.last_success,
            integrations: 0,
            duration: ended.instant - started.instant,
        });
        scope.ended = Some(ended.instant);
        scope.blocks_scrape = false;
        scope.unpolled = false;

        for (arn, (status, moment)) in seen {
            if self
                .denied
                .get(arn)
                .is_some_and(|denied| moment.instant < *denied)
            {
                continue;
            }
            let since = self.moments.entry(arn.clone()).or_insert(Since {
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
        for arn in gone.keys() {
            let mut scopes = self.scopes.values().flat_map(|scope| &scope.asked);
            let elsewhere =
                scopes.any(|(_, asked)| asked.standing(&self.denied).any(|(seen, ..)| seen == arn));
            if !elsewhere {
                self.moments.remove(arn);
            }
        }
        self.prune(ended.instant);
    }

    /// Forgets what no longer says anything.
    fn prune(&mut self, now: Instant) {
        for scope in self.scopes.values_mut() {
            for (_, asked) in &mut scope.asked {
                let standing: BTreeSet<String> = asked
                    .standing(&self.denied)
                    .map(|(arn, ..)| arn.clone())
                    .collect();
                asked.observations.retain(|arn, _| standing.contains(arn));
                asked.telemetry.retain(|arn| standing.contains(arn));
            }
        }
        self.denied
            .retain(|_, at| *at + Duration::from_secs(3600) > now);
    }

    pub fn shown(&self, now: Instant) -> Snapshot {
        let mut latest: BTreeMap<&String, (&Arc<Integration>, Instant)> = BTreeMap::new();
        let mut fresh: BTreeSet<&String> = BTreeSet::new();
        let mut scopes = Vec::new();
        for ((name, region), scope) in &self.scopes {
            let mut of_scope = BTreeSet::new();
            for (_, asked) in &scope.asked {
                for (arn, integration, at) in asked.standing(&self.denied) {
                    if latest.get(arn).is_none_or(|(_, before)| *before <= at) {
                        latest.insert(arn, (integration, at));
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
                names_up: None,
                polled: scope.polled.clone().map(|polled| PolledScope {
                    integrations: of_scope.len(),
                    ..polled
                }),
            });
            fresh.extend(of_scope);
        }
        let mut presence: BTreeMap<&str, bool> = BTreeMap::new();
        for scope in self.scopes.values() {
            for (query, asked) in &scope.asked {
                let Query::Integration(arn) = query else {
                    continue;
                };
                let arn = arn.as_str();
                let denied = asked.standing(&self.denied).next().is_none()
                    && asked.full.is_some_and(|(_, at)| scope.fresh(at, now));
                if fresh.iter().any(|shown| *shown == arn) {
                    presence.insert(arn, true);
                } else if denied {
                    presence.insert(arn, false);
                }
            }
        }
        Snapshot {
            integrations: latest
                .into_iter()
                .filter(|(arn, _)| fresh.contains(arn))
                .map(|(arn, (integration, _))| ExportedIntegration {
                    integration: Arc::clone(integration),
                    labels: Arc::new(MetadataLabels::default()),
                    status_since: self.moments.get(arn).map_or(0.0, |since| since.wall),
                })
                .collect(),
            presence: presence
                .into_iter()
                .map(|(arn, present)| Presence {
                    arn: arn.to_owned(),
                    present,
                })
                .collect(),
            scopes,
            diagnostics: Diagnostics::default(),
            blocks_scrape: self
                .scopes
                .values()
                .filter(|scope| scope.blocks_scrape)
                .count(),
            pending_first_poll: self.scopes.values().filter(|scope| scope.unpolled).count(),
        }
    }
}
