//! One scope in one region: what each of its queries has brought, and what a poll changes about that.

use super::PollResult;
use super::diagnostics::{NotFound, failed_poll};
use super::inherit::credentials_key;
use super::metadata::Metadata;
use super::stored::{StoredObservation, StoredQuery, StoredQueryState};
use crate::clock::Timestamp;
use crate::config::{Query, Selection, Watch};
use crate::glue::MAX_LISTING_BYTES;
use crate::snapshot::{Failed, Integration, Status};
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How many integrations whose series have ended one query remembers while its listing stays incomplete, so that an endless
/// coming and going of integrations cannot fill the memory. Those seen last are kept.
const MAX_ENDED: usize = 100_000;
/// How many bytes the integrations of one query may take while its listing stays incomplete. Those seen last are kept.
const MAX_KEPT_BYTES: usize = MAX_LISTING_BYTES + MAX_LISTING_BYTES / 4;

#[derive(Debug)]
pub(super) struct Scope {
    pub interval: Duration,
    pub stale_after: Duration,
    pub queries: Vec<(Query, QueryState)>,
    pub selection: Arc<Selection>,
    /// Who asks, as far as the configuration says.
    pub credentials_key: String,
    pub polled: Option<Polled>,
    pub last_success: Option<f64>,
    /// The last poll that did not get everything.
    pub failed_poll: Option<Arc<Failed>>,
    /// Only where they are asked for.
    pub metadata: Option<Metadata>,
    /// A scrape waits for its first poll.
    pub blocks_scrape: bool,
    /// It has not been polled since the start, and was there then.
    pub pending_first_poll: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Polled {
    pub up: bool,
    /// Something is from an earlier poll whatever else is: that there was nothing, or all that a process before this one kept.
    pub older_regardless: bool,
    pub stale: bool,
    /// What was seen before is older than the last poll; none if all of it is, from before this process.
    pub started: Option<Instant>,
    pub at: Instant,
    pub duration: Duration,
}

/// What one query has brought, in this poll or an earlier one.
#[derive(Debug, Default)]
pub(super) struct QueryState {
    pub observations: BTreeMap<String, Observation>,
    /// When AWS last answered in full.
    pub last_complete: Option<Timestamp>,
    /// Of a query for one integration: AWS answers that there is none.
    pub not_found: Option<NotFound>,
}

#[derive(Clone, Debug)]
pub(super) struct Observation {
    pub integration: Arc<Integration>,
    pub observed_at: Instant,
    /// The same moment in Unix seconds, for people.
    pub observed_at_unix: f64,
    /// An answer to this query had it, to the credentials that the scope has now. Only then an answer without it says that it is gone:
    /// others may not see it, in another account for one.
    pub confirmed: bool,
}

impl Scope {
    pub fn new(watch: &Watch) -> Self {
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

    /// Returns what AWS answered to be gone, and when: what this scope had seen, and complete answers lack now. Not what it never saw:
    /// its credentials may be those of another account. `seen` is what this poll brought.
    pub fn apply(
        &mut self,
        poll: &PollResult,
        seen: &HashMap<&str, (Status, Timestamp)>,
    ) -> BTreeMap<String, Instant> {
        let mut gone: BTreeMap<String, Instant> = BTreeMap::new();
        let sighted: HashSet<&str> = self
            .observations()
            .filter(|(_, observation)| observation.confirmed)
            .map(|(arn, _)| arn.as_str())
            .collect();
        let seen_before: HashSet<String> = self
            .configured()
            .filter(|arn| sighted.contains(arn))
            .map(str::to_owned)
            .collect();
        let mut up = true;
        let mut brought_nothing = Vec::with_capacity(self.queries.len());
        let names = self.metadata.as_ref();
        for ((query, known), answer) in self.queries.iter_mut().zip(&poll.answers) {
            let mut shown = answer.integrations.iter();
            let nothing = shown.all(|(integration, _)| is_excluded_by(names, &integration.arn));
            brought_nothing.push(answer.outcome.is_err() && nothing);
            match &answer.outcome {
                Ok(at) => {
                    known.note_not_found(query, answer, self.metadata.as_ref());
                    let not_listed = known.observe_all(&answer.integrations);
                    known.last_complete = Some(*at);
                    if let Query::Integration(arn) = query
                        && seen_before.contains(arn.as_str())
                    {
                        gone.insert(arn.to_string(), at.instant);
                    }
                    gone.extend(not_listed.into_iter().map(|arn| (arn, at.instant)));
                }
                Err(_) => {
                    up = false;
                    if !answer.integrations.is_empty() {
                        known.not_found = None;
                    }
                    known.observe(&answer.integrations);
                    known.bound(self.stale_after, poll.ended.instant);
                }
            }
        }
        gone.retain(|arn, _| !seen.contains_key(arn.as_str()));
        for (arn, at) in &gone {
            for (query, known) in &mut self.queries {
                known.remove_if_older(query, arn, *at);
            }
        }
        let older_sight = self
            .watched()
            .any(|(_, observation)| observation.observed_at < poll.started.instant);
        // That there was nothing is older data too.
        let older_emptiness = self
            .queries
            .iter()
            .zip(brought_nothing)
            .any(|((_, known), nothing)| nothing && known.last_complete.is_some());
        if up {
            self.last_success = Some(poll.ended.unix);
        } else {
            self.failed_poll = Some(Arc::new(failed_poll(poll)));
        }
        self.blocks_scrape = false;
        self.pending_first_poll = false;
        self.polled = Some(Polled {
            up,
            older_regardless: older_emptiness,
            stale: older_emptiness || older_sight,
            started: Some(poll.started.instant),
            at: poll.ended.instant,
            duration: poll.ended.instant - poll.started.instant,
        });
        gone
    }

    /// The integrations that are asked for by name.
    fn configured(&self) -> impl Iterator<Item = &str> {
        self.queries.iter().filter_map(|(query, _)| match query {
            Query::Integration(arn) => Some(arn.as_str()),
            Query::Target(_) | Query::All => None,
        })
    }

    /// Whether names have a say in what is shown.
    pub fn uses_names(&self) -> bool {
        self.selection.uses_names()
    }

    /// Whether data are stale, after a name or the selection has changed what is shown.
    pub fn renew_stale(&mut self) {
        if let Some(mut polled) = self.polled {
            let is_older = |(_, observation): (&String, &Observation)| {
                polled
                    .started
                    .is_none_or(|started| observation.observed_at < started)
            };
            polled.stale = polled.older_regardless || self.watched().any(is_older);
            self.polled = Some(polled);
        }
    }

    /// Whether an integration is not to be shown for its name.
    pub fn excludes(&self, arn: &str) -> bool {
        is_excluded_by(self.metadata.as_ref(), arn)
    }

    /// All that it sees, or has seen and AWS did not say to be gone, but for what is left out for its name.
    fn watched(&self) -> impl Iterator<Item = (&String, &Observation)> {
        self.observations().filter(|(arn, _)| !self.excludes(arn))
    }

    /// What is known by each query.
    pub fn observations(&self) -> impl Iterator<Item = (&String, &Observation)> {
        self.queries
            .iter()
            .flat_map(|(_, known)| &known.observations)
    }

    /// Whether it shows this one, or would but for `stale_after`.
    pub fn watches(&self, arn: &str) -> bool {
        let mut queries = self.queries.iter();
        !self.excludes(arn) && queries.any(|(_, known)| known.observations.contains_key(arn))
    }

    /// The ARNs of all that it sees, or has seen and AWS did not say to be gone, also of what is left out for its name.
    pub fn arns(&self) -> impl Iterator<Item = &str> {
        self.observations().map(|(arn, _)| arn.as_str())
    }

    pub fn next_end(&self, now: Instant) -> Option<Instant> {
        self.queries
            .iter()
            .filter(|(_, known)| known.observations.is_empty())
            .flat_map(|(_, known)| known.last_complete.map(|complete| complete.instant))
            .chain(
                self.watched()
                    .map(|(_, observation)| observation.observed_at),
            )
            .map(|seen| seen + self.stale_after)
            .filter(|end| *end > now)
            .min()
    }
}

fn is_excluded_by(names: Option<&Metadata>, arn: &str) -> bool {
    names.is_some_and(|names| names.is_excluded_by(arn))
}

impl QueryState {
    /// An answer to another query, at `at`, says that one is gone which this one has seen. Returns whether it was seen later than that.
    pub fn remove_if_older(&mut self, query: &Query, arn: &str, at: Instant) -> bool {
        let Some(observation) = self.observations.get(arn) else {
            return false;
        };
        if observation.observed_at >= at {
            return true;
        }
        self.observations.remove(arn);
        // Who asks for it by its ARN has not been answered yet that there is none.
        if matches!(query, Query::Integration(_)) {
            self.last_complete = None;
        }
        false
    }

    pub fn stored(&self, query: &Query, wall: impl Fn(Instant) -> f64) -> StoredQueryState {
        StoredQueryState {
            query: StoredQuery::of(query),
            complete: self.last_complete.map(|complete| wall(complete.instant)),
            absent: self.not_found.clone(),
            observations: self
                .observations
                .values()
                .map(|observation| StoredObservation {
                    integration: Arc::clone(&observation.integration),
                    seen: wall(observation.observed_at),
                    inherited: !observation.confirmed,
                })
                .collect(),
        }
    }

    /// Takes over what was seen. A description that is the same as before is not kept twice: the page and what is known share one.
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

    /// Takes over a complete answer. Returns what is gone: an earlier answer had it, and this one has not.
    fn observe_all(&mut self, integrations: &[(Arc<Integration>, Timestamp)]) -> Vec<String> {
        self.observe(integrations);
        let listed = integrations.iter().map(|(integration, _)| &integration.arn);
        // Both are sorted, and mostly nothing has gone.
        if self.observations.keys().eq(listed.clone()) {
            return Vec::new();
        }
        let listed: HashSet<&String> = listed.collect();
        let others = self.observations.keys().filter(|arn| !listed.contains(arn));
        let mut others: Vec<String> = others.cloned().collect();
        others.retain(|arn| {
            self.observations
                .remove(arn)
                .is_some_and(|observation| observation.confirmed)
        });
        others
    }

    /// An answer that never ends, with other integrations each time, would fill the memory before the first of them is too old to be
    /// shown: what is kept is no larger than one listing may be.
    fn bound(&mut self, stale_after: Duration, now: Instant) {
        let mut ended: Vec<Instant> = self
            .observations
            .values()
            .map(|observation| observation.observed_at)
            .filter(|seen| *seen + stale_after <= now)
            .collect();
        if ended.len() > MAX_ENDED {
            ended.sort_unstable();
            let oldest_kept = ended[ended.len() - MAX_ENDED / 2];
            self.observations
                .retain(|_, observation| observation.observed_at >= oldest_kept);
        }
        let mut weights: Vec<(Instant, usize)> = self
            .observations
            .values()
            .map(|observation| {
                (
                    observation.observed_at,
                    observation.integration.approx_bytes(),
                )
            })
            .collect();
        weights.sort_unstable_by_key(|(seen, _)| Reverse(*seen));
        let mut approx_bytes = 0;
        let too_much = weights.into_iter().find(|(_, of_one)| {
            approx_bytes += of_one;
            approx_bytes > MAX_KEPT_BYTES
        });
        if let Some((latest_dropped, _)) = too_much {
            self.observations
                .retain(|_, observation| observation.observed_at > latest_dropped);
        }
    }
}
