//! Plain data: integrations as AWS describes them, and the immutable snapshot of all of them that is published after a poll.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use strum::{EnumString, IntoStaticStr, VariantArray};

/// The values of the API (<https://docs.aws.amazon.com/glue/latest/webapi/API_InboundIntegration.html>), and `Unknown` for any other text.
#[derive(EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE", ascii_case_insensitive)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Status {
    Creating,
    Active,
    Modifying,
    Failed,
    Deleting,
    Syncing,
    NeedsAttention,
    Unknown,
}

impl Status {
    /// All statuses, in the order of the exposition.
    pub const ALL: &[Self] = Self::VARIANTS;

    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Ignores case, because AWS documentation shows statuses in lower case too.
    pub fn parse(text: &str) -> Self {
        text.parse().unwrap_or(Self::Unknown)
    }
}

/// Eight times the limit of the API. Each sample repeats the ARN and the cache keeps it, so it must be bounded.
pub const MAX_ARN_BYTES: usize = 1_024;

/// One inbound integration as the API returns it. A field that AWS did not send is `None` or empty.
///
/// `SourceProperties` of the API is left out: nothing shows it, and it can hold ARNs of secrets and names of subnets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Integration {
    /// Never empty, and no longer than [`MAX_ARN_BYTES`].
    pub arn: String,
    pub source_arn: String,
    pub target_arn: String,
    pub status: Status,
    /// The text that AWS sent as an unknown status. `None` if the status is known or missing.
    pub status_text: Option<String>,
    /// Unix time in seconds.
    pub created: Option<f64>,
    pub refresh_interval: Option<Duration>,
    pub continuous_sync: Option<bool>,
    pub target_namespace: Option<String>,
    pub errors: Vec<IntegrationError>,
}

// No field is ever NaN. With `Eq`, comparing two `Arc`s of the same integration compares only the pointers.
impl Eq for Integration {}

/// The name and tags of an integration. AWS returns them only to the account that created the integration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    pub name: String,
    /// Values by tag key, only of requested tags.
    pub tags: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetadataLabels {
    /// Empty if the name is unknown.
    pub name: String,
    /// Each configured label with its value, which is empty if the tag is absent or unknown.
    pub tags: Vec<(Arc<str>, String)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IntegrationError {
    pub code: Option<String>,
    /// Free text of up to 2,048 characters, too long for a label.
    pub message: Option<String>,
}

/// The data of one integration, as CloudWatch reports it. All times are in Unix seconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Freshness {
    /// When CloudWatch last answered in full about the integration.
    pub checked: Option<f64>,
    /// By table name: the tables that have reported in the last 15 days.
    pub tables: BTreeMap<String, TableFreshness>,
    /// Redshift targets: the newest `IntegrationLag`, in seconds.
    pub replication_lag: Option<f64>,
    /// Redshift targets: the newest `IntegrationNumTablesFailedReplication`.
    pub failed_tables: Option<f64>,
}

// No field is ever NaN. With `Eq`, comparing two `Arc`s of the same value compares only the pointers.
impl Eq for Freshness {}

/// The newest minutes of one table's runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TableFreshness {
    pub last_success: Option<f64>,
    pub last_failure: Option<f64>,
    /// The newest `LastSyncTimestamp`.
    pub synced_until: Option<f64>,
}

impl TableFreshness {
    /// True if the newest run failed.
    pub fn is_failing(&self) -> bool {
        self.last_failure > self.last_success
    }
}

/// The freshness of an integration as one scope exports it.
#[derive(Clone, Debug, PartialEq)]
pub struct ExportedFreshness {
    pub data: Arc<Freshness>,
    /// The first tables in alphabetical order have their own series, up to this number.
    pub max_tables: usize,
    pub has_redshift_target: bool,
}

impl ExportedFreshness {
    /// The number of tables that report. `None` for a Redshift target without any, because its tables do not report.
    pub fn tables(&self) -> Option<usize> {
        let tables = self.data.tables.len();
        (tables > 0 || !self.has_redshift_target).then_some(tables)
    }

    /// The number of tables whose newest run failed. `None` before the first full answer, because a part of it may lack successes.
    pub fn tables_failing(&self) -> Option<f64> {
        self.data.checked?;
        let tables = self.data.tables.values();
        // The sum of no floats would be -0.
        let failing = tables.fold(0.0, |sum, table| sum + f64::from(table.is_failing()));
        self.data.failed_tables.or(self.tables().map(|_| failing))
    }

    /// The oldest last success of all tables. `None` before the first full answer too.
    pub fn oldest_success(&self) -> Option<f64> {
        self.data.checked?;
        let successes = self.data.tables.values().filter_map(|it| it.last_success);
        successes.min_by(f64::total_cmp)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct ExportedIntegration {
    pub integration: Arc<Integration>,
    pub labels: Arc<MetadataLabels>,
    /// `None` before the first answer, and if no scope that sees the integration asks CloudWatch.
    pub freshness: Option<ExportedFreshness>,
    /// When this exporter first observed the current status, in Unix seconds.
    pub status_since: f64,
    /// True if the data is older than the last poll of the scope that it comes from.
    pub stale: bool,
}

impl ExportedIntegration {
    pub(crate) fn arn(&self) -> &str {
        &self.integration.arn
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct ScopeState {
    pub scope: String,
    pub region: String,
    pub interval: Duration,
    /// True if the last request for names and tags succeeded. `None` before the first one, and if the scope does not request them.
    pub names_up: Option<bool>,
    /// True if CloudWatch answered everything in the last round. `None` before the first one, and if the scope does not ask it.
    pub freshness_up: Option<bool>,
    pub polled: Option<PolledScope>,
    /// The failures of the last incomplete poll since the start, even if a later poll succeeded.
    pub failed_poll: Option<Arc<Failed>>,
    /// The failure of the last request for names and tags, `None` if it succeeded.
    pub failed_metadata: Option<Arc<Failed>>,
    /// The failures of the last round of CloudWatch requests, `None` if all succeeded.
    pub failed_freshness: Option<Arc<Failed>>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct PolledScope {
    pub up: bool,
    /// True if any data is from an earlier poll, even if it has expired.
    pub stale: bool,
    /// End of the last successful poll, in Unix seconds.
    pub last_success: Option<f64>,
    pub integrations: usize,
    pub duration: Duration,
}

/// All exported data at one point in time. Immutable: the next poll makes a new snapshot.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// Sorted by ARN, each ARN once.
    pub integrations: Vec<ExportedIntegration>,
    /// One for each integration, in the same order. Apart from them, because it changes with each poll but not what is rendered.
    pub provenance: Vec<Provenance>,
    /// Indexes of `scopes`. Each [`Provenance`] refers to a range of them.
    pub seen_by: Vec<u32>,
    /// Sorted by ARN.
    pub missing: Vec<Missing>,
    /// Sorted by scope and region, each pair once.
    pub scopes: Vec<ScopeState>,
    /// True if a scrape waits for a scope, because its first poll or its first request for names has not ended.
    pub blocks_scrape: bool,
    /// True if a scope that existed at the start has not been polled yet.
    pub pending_first_poll: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Provenance {
    /// When AWS returned the data, in Unix seconds.
    pub observed_at: f64,
    pub seen_by: Range<usize>,
}

/// An integration that does not exist, according to AWS: a configured one, or one that a listing no longer has although it was not DELETING.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Missing {
    pub arn: String,
    /// Time of the first such answer, in Unix seconds. `None` if it is unknown.
    pub since: Option<f64>,
    /// Time of the latest such answer, in Unix seconds.
    pub answered_at: f64,
    /// True if the latest such answer is older than the last poll of its scope.
    pub stale: bool,
    pub last: Option<Arc<Integration>>,
    pub labels: Arc<MetadataLabels>,
    /// The scopes that are configured with it or observed it, as indexes of `Snapshot::scopes`.
    pub scopes: Vec<u32>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Failed {
    /// End of the poll or request, in Unix seconds.
    pub at: f64,
    pub failures: Vec<Failure>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// The value of the label `reason`.
    pub reason: &'static str,
    pub message: String,
    pub request_id: Option<String>,
    /// Number of queries that failed for this reason. The message is from the first one.
    pub queries: usize,
}
