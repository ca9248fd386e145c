//! The content of the state file. The names of the fields are part of its format.
//!
//! All times are Unix times in seconds, because a monotonic clock does not survive its process.

use crate::cache::IntegrationCache;
use crate::cache::integrations::StatusSince;
use crate::cache::metadata::{Metadata, MetadataEntry};
use crate::cache::query::{NotFound, Observation, QueryKey, QueryState};
use crate::cache::scope::{Polled, Scope};
use crate::clock::Timestamp;
use crate::snapshot::{Description, Integration, Status};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// The whole cache.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stored {
    scopes: Vec<StoredScope>,
    statuses: Vec<StoredStatus>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct StoredScope {
    scope: String,
    region: String,
    /// `None` if the scope has not been polled since its data expired.
    polled: Option<StoredPoll>,
    last_success: Option<f64>,
    /// Absent in old files.
    #[serde(default, rename = "asker")]
    credentials_key: String,
    queries: Vec<StoredQueryState>,
    /// Absent in old files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    names: Option<StoredMetadata>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct StoredPoll {
    ended: f64,
    up: bool,
    duration: Duration,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct StoredMetadata {
    up: Option<bool>,
    known: Vec<StoredDescription>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct StoredDescription {
    /// The canonical ARN.
    arn: String,
    described: Description,
    seen: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct StoredQueryState {
    query: QueryKey,
    complete: Option<f64>,
    /// Absent in old files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    absent: Option<NotFound>,
    #[serde(rename = "sights")]
    observations: Vec<StoredObservation>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct StoredObservation {
    integration: Arc<Integration>,
    seen: f64,
    /// True if another query, or the same query with other credentials, made the observation.
    #[serde(
        default,
        rename = "adopted",
        skip_serializing_if = "std::ops::Not::not"
    )]
    inherited: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct StoredStatus {
    arn: String,
    status: Status,
    since: f64,
    seen: f64,
}

impl IntegrationCache {
    /// Returns the data to keep over a restart, at `now`.
    pub fn stored(&self, now: Timestamp) -> Stored {
        let scopes = self.scopes.iter().map(|((name, region), scope)| {
            StoredScope::new(name.to_string(), region.to_string(), scope, now)
        });
        let statuses = self.statuses.iter().map(|(arn, since)| StoredStatus {
            arn: arn.clone(),
            status: since.status,
            since: since.since,
            seen: now.unix_of(since.observed_at),
        });
        Stored {
            scopes: scopes.collect(),
            statuses: statuses.collect(),
        }
    }

    /// Restores the data of the previous process.
    pub fn restore(&mut self, stored: Stored, now: Timestamp) {
        let scopes = stored.scopes.into_iter().map(|stored| {
            let key = (stored.scope.clone(), stored.region.clone());
            (key, stored.restored(now))
        });
        let statuses = stored.statuses.into_iter().filter_map(|stored| {
            let since = StatusSince {
                status: stored.status,
                since: stored.since,
                observed_at: now.at_unix(stored.seen)?.instant,
            };
            Some((stored.arn, since))
        });
        self.restore_parts(scopes.collect(), statuses.collect(), now.instant);
    }
}

impl StoredScope {
    fn new(name: String, region: String, scope: &Scope, now: Timestamp) -> Self {
        let queries = scope.queries.iter().map(|state| StoredQueryState {
            query: state.query.clone(),
            complete: state.last_complete.map(|at| now.unix_of(at.instant)),
            absent: state.not_found.clone(),
            observations: state
                .observations
                .values()
                .map(|it| StoredObservation {
                    integration: Arc::clone(&it.integration),
                    seen: now.unix_of(it.observed_at.instant),
                    inherited: !it.confirmed,
                })
                .collect(),
        });
        Self {
            scope: name,
            region,
            polled: scope.polled.map(|polled| StoredPoll {
                ended: now.unix_of(polled.ended),
                up: polled.up,
                duration: polled.duration,
            }),
            last_success: scope.last_success,
            credentials_key: scope.credentials_key.clone(),
            queries: queries.collect(),
            names: scope
                .metadata
                .as_ref()
                .map(|metadata| StoredMetadata::new(metadata, now)),
        }
    }

    fn restored(self, now: Timestamp) -> Scope {
        let queries = self.queries.into_iter().map(|stored| stored.restored(now));
        Scope {
            credentials_key: self.credentials_key,
            queries: queries.collect(),
            polled: self.polled.and_then(|stored| {
                Some(Polled {
                    up: stored.up,
                    started: None,
                    ended: now.at_unix(stored.ended)?.instant,
                    duration: stored.duration,
                })
            }),
            last_success: self.last_success,
            metadata: Some(self.names.unwrap_or_default().restored(now)),
            ..Scope::default()
        }
    }
}

impl StoredQueryState {
    fn restored(self, now: Timestamp) -> QueryState {
        let observations = self.observations.into_iter().filter_map(|stored| {
            let observation = Observation {
                observed_at: now.at_unix(stored.seen)?,
                integration: stored.integration,
                confirmed: !stored.inherited,
            };
            Some((observation.integration.arn.clone(), observation))
        });
        QueryState {
            query: self.query,
            observations: observations.collect(),
            last_complete: self.complete.and_then(|unix| now.at_unix(unix)),
            not_found: self.absent,
        }
    }
}

impl StoredMetadata {
    fn new(metadata: &Metadata, now: Timestamp) -> Self {
        let known = metadata
            .entries
            .iter()
            .map(|(arn, entry)| StoredDescription {
                arn: arn.clone(),
                described: entry.description.clone(),
                seen: now.unix_of(entry.observed_at),
            });
        Self {
            up: metadata.up,
            known: known.collect(),
        }
    }

    /// The cache makes the labels and applies the selection.
    fn restored(self, now: Timestamp) -> Metadata {
        let entries = self.known.into_iter().filter_map(|stored| {
            let entry = MetadataEntry {
                description: stored.described,
                labels: Arc::default(),
                observed_at: now.at_unix(stored.seen)?.instant,
                excluded: false,
            };
            Some((stored.arn, entry))
        });
        Metadata {
            entries: entries.collect(),
            up: self.up,
            ..Metadata::default()
        }
    }
}
