//! The content of the state file. The names of the fields are part of its format.
//!
//! All times are Unix times in seconds, because a monotonic clock does not survive its process.

use super::diagnostics::NotFound;
use crate::config::Query;
use crate::snapshot::{Description, Integration, Status};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// The whole cache.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stored {
    pub(super) scopes: Vec<StoredScope>,
    pub(super) statuses: Vec<StoredStatus>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct StoredScope {
    pub scope: String,
    pub region: String,
    /// `None` if the scope has not been polled since its data expired.
    pub polled: Option<StoredPoll>,
    pub last_success: Option<f64>,
    /// Absent in old files.
    #[serde(default, rename = "asker", skip_serializing_if = "Option::is_none")]
    pub credentials_key: Option<String>,
    pub queries: Vec<StoredQueryState>,
    /// Absent in old files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub names: Option<StoredMetadata>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct StoredMetadata {
    pub up: Option<bool>,
    pub known: Vec<StoredDescription>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct StoredDescription {
    /// The canonical ARN.
    pub arn: String,
    pub described: Description,
    pub seen: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct StoredPoll {
    pub ended: f64,
    pub up: bool,
    pub duration: Duration,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct StoredQueryState {
    pub query: StoredQuery,
    pub complete: Option<f64>,
    /// Absent in old files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub absent: Option<NotFound>,
    #[serde(rename = "sights")]
    pub observations: Vec<StoredObservation>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct StoredObservation {
    pub integration: Arc<Integration>,
    pub seen: f64,
    /// True if another query, or the same query with other credentials, made the observation.
    #[serde(
        default,
        rename = "adopted",
        skip_serializing_if = "std::ops::Not::not"
    )]
    pub inherited: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct StoredStatus {
    pub arn: String,
    pub status: Status,
    pub since: f64,
    pub seen: f64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum StoredQuery {
    Integration(String),
    Target(String),
    All,
}

impl StoredQuery {
    pub fn of(query: &Query) -> Self {
        match query {
            Query::Integration(arn) => Self::Integration(arn.to_string()),
            Query::Target(arn) => Self::Target(arn.to_string()),
            Query::All => Self::All,
        }
    }

    pub fn is(&self, query: &Query) -> bool {
        match (self, query) {
            (Self::Integration(stored), Query::Integration(arn)) => stored == arn.as_str(),
            (Self::Target(stored), Query::Target(arn)) => stored == arn.as_str(),
            (Self::All, Query::All) => true,
            (Self::Integration(_) | Self::Target(_) | Self::All, _) => false,
        }
    }
}
