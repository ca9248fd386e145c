//! Plain data: an integration as AWS describes it, and the immutable picture of all of them that one publication makes.
//! Knows nothing of AWS's SDK, of time's passing or of how a page is written.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// The state of an integration: those of the API's model, and `Unknown` for whatever else AWS sends.
///
/// <https://docs.aws.amazon.com/glue/latest/webapi/API_InboundIntegration.html>
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
    /// Every status, in the order in which the page shows them.
    pub const ALL: [Self; 8] = [
        Self::Creating,
        Self::Active,
        Self::Modifying,
        Self::Failed,
        Self::Deleting,
        Self::Syncing,
        Self::NeedsAttention,
        Self::Unknown,
    ];

    /// The value of the label `status`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Creating => "CREATING",
            Self::Active => "ACTIVE",
            Self::Modifying => "MODIFYING",
            Self::Failed => "FAILED",
            Self::Deleting => "DELETING",
            Self::Syncing => "SYNCING",
            Self::NeedsAttention => "NEEDS_ATTENTION",
            Self::Unknown => "UNKNOWN",
        }
    }

    /// Reads AWS's text without regard to case: AWS's own pages show statuses in lower case.
    pub fn parse(text: &str) -> Self {
        Self::ALL
            .into_iter()
            .find(|status| status.as_str().eq_ignore_ascii_case(text))
            .unwrap_or(Self::Unknown)
    }
}

/// In bytes. Eight times what the API's model allows: the ARN is repeated in each row of the page, and remembered. Whatever asks for an
/// integration by its ARN takes as many characters, which fit into the head of a request however they are encoded.
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
    /// What AWS sent as a status that is unknown; none of one that is known, or if it sent none.
    pub status_text: Option<String>,
    /// Unix time in seconds.
    pub created: Option<f64>,
    pub refresh_interval: Option<Duration>,
    pub continuous_sync: Option<bool>,
    pub target_namespace: Option<String>,
    pub errors: Vec<IntegrationError>,
}

impl Integration {
    /// About how many bytes of memory it takes, and its rows on the page.
    pub fn approx_bytes(&self) -> usize {
        /// Each row repeats the ARN; these have a code of an error besides, at most 22 of them.
        const ROWS: usize = 15;
        const MOST_ROWS_OF_ERRORS: usize = 22;
        /// The name of the metric, those of the labels, account, region and value.
        const REST_OF_A_ROW: usize = 150;
        let row = REST_OF_A_ROW + self.arn.len();
        let rows = ROWS + self.errors.len().min(MOST_ROWS_OF_ERRORS);
        let texts = [
            &self.arn,
            &self.arn,
            &self.source_arn,
            &self.target_arn,
            &self.source_arn,
            &self.target_arn,
        ]
        .map(String::len)
        .iter()
        .sum::<usize>();
        let optional = [&self.status_text, &self.target_namespace]
            .into_iter()
            .flatten()
            .map(String::len)
            .sum::<usize>();
        let errors = self
            .errors
            .iter()
            .map(|error| {
                let texts = [&error.code, &error.code, &error.message];
                size_of::<IntegrationError>()
                    + texts.into_iter().flatten().map(String::len).sum::<usize>()
            })
            .sum::<usize>();
        size_of::<Self>() + texts + optional + errors + rows * row
    }
}

/// What AWS says of an integration in the listing of those that an account created, and in that listing alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// Empty where AWS sent none.
    pub name: String,
    /// Those tags that were asked for and are there, by their keys.
    pub tags: BTreeMap<String, String>,
}

impl Description {
    /// About how many bytes of memory it takes, and what it adds to a row on the page.
    pub fn approx_bytes(&self) -> usize {
        /// It is kept as AWS said it, as labels, and on the page in both formats.
        const COPIES: usize = 4;
        let tags = self.tags.iter();
        let tags: usize = tags
            .map(|(tag, value)| tag.len() + value.len() + 2 * size_of::<String>())
            .sum();
        size_of::<Self>() + COPIES * (self.name.len() + tags)
    }
}

/// What people call an integration, as labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetadataLabels {
    /// Empty while it is not known.
    pub name: String,
    /// Each configured label with its value, empty where the tag is absent or not known: alike in all namings of a snapshot.
    pub tags: Vec<(Arc<str>, String)>,
}

/// An error that AWS lists for an integration; both parts are optional in the API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IntegrationError {
    pub code: Option<String>,
    /// Free text of up to 2,048 characters: never a label.
    pub message: Option<String>,
}

/// The fields of `arn:partition:service:region:account:resource` that labels need; each is empty where the ARN has none or is no ARN.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ArnFields<'a> {
    pub service: &'a str,
    pub region: &'a str,
    pub account: &'a str,
}

impl<'a> ArnFields<'a> {
    /// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-arns.html>
    pub fn of(arn: &'a str) -> Self {
        let mut fields = arn.splitn(6, ':');
        match (
            fields.next(),
            fields.next(),
            fields.next(),
            fields.next(),
            fields.next(),
            fields.next(),
        ) {
            (Some("arn"), Some(_), Some(service), Some(region), Some(account), Some(_)) => Self {
                service,
                region,
                account,
            },
            _ => Self::default(),
        }
    }
}

/// An integration as it is shown.
#[derive(Clone, Debug)]
pub struct ExportedIntegration {
    pub integration: Arc<Integration>,
    pub labels: Arc<MetadataLabels>,
    /// When this exporter first saw the present status: Unix time in seconds.
    pub status_since: f64,
}

impl PartialEq for ExportedIntegration {
    fn eq(&self, other: &Self) -> bool {
        // Mostly they are the same ones, which need not be compared word by word.
        fn same<T: PartialEq>(one: &Arc<T>, other: &Arc<T>) -> bool {
            Arc::ptr_eq(one, other) || one == other
        }
        same(&self.integration, &other.integration)
            && same(&self.labels, &other.labels)
            && self.status_since == other.status_since
    }
}

/// A configured integration ARN of which AWS has said whether it exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presence {
    pub arn: String,
    pub present: bool,
}

/// A scope in one region.
#[derive(Clone, Debug, PartialEq)]
pub struct ScopeState {
    pub scope: String,
    pub region: String,
    pub interval: Duration,
    /// Whether names and tags were had when AWS was last asked for them; none until it was asked, and where they are not asked for.
    pub names_up: Option<bool>,
    /// None until the first poll has ended.
    pub polled: Option<PolledScope>,
}

/// What is known of a scope in one region since its last poll.
#[derive(Clone, Debug, PartialEq)]
pub struct PolledScope {
    /// The last poll got everything.
    pub up: bool,
    /// Something is, or would be but for `stale_after`, from an earlier poll than the last.
    pub stale: bool,
    /// Unix time in seconds of the end of the last poll that got everything.
    pub last_success: Option<f64>,
    /// How many integrations of this scope are shown.
    pub integrations: usize,
    pub duration: Duration,
}

/// Everything that is shown, at one moment. Immutable: the next poll makes another.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// Sorted by ARN, each ARN once.
    pub integrations: Vec<ExportedIntegration>,
    /// Sorted by ARN, each ARN once.
    pub presence: Vec<Presence>,
    /// Sorted by scope and region, each pair once.
    pub scopes: Vec<ScopeState>,
    /// For how many scopes a scrape waits: those of the start of which nothing is known yet, or not the names that are asked for.
    pub blocks_scrape: usize,
    /// How many scopes that were there at the start have not been polled yet.
    pub pending_first_poll: usize,
    pub diagnostics: Diagnostics,
}

/// What people want to know besides. No metric shows any of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Diagnostics {
    /// One for each integration, in the same order.
    pub provenance: Vec<Provenance>,
    /// The places in `Snapshot::scopes` that sightings name.
    pub seen_by: Vec<u32>,
    /// Sorted by ARN: those of `Snapshot::presence` that are not present.
    pub missing: Vec<Missing>,
    /// One for each scope, in the same order.
    pub scopes: Vec<ScopeDiagnostics>,
}

/// Where what is shown of an integration comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct Provenance {
    /// When AWS said so: Unix time in seconds.
    pub observed_at: f64,
    /// Not in the last poll of the scope that saw it, but in an earlier one.
    pub stale: bool,
    /// The scopes that may show it: which of `Diagnostics::seers`.
    pub seen_by: Range<usize>,
}

/// A configured integration of which AWS answered that there is none.
#[derive(Clone, Debug, PartialEq)]
pub struct Missing {
    pub arn: String,
    /// When this exporter first got that answer, in Unix seconds; none if another scope's answer is all that there is.
    pub since: Option<f64>,
    /// When AWS last answered so: Unix time in seconds.
    pub answered_at: f64,
    /// Not in the last poll of the scope that AWS answered so, but in an earlier one.
    pub stale: bool,
    /// What it was before, if this exporter saw it.
    pub last: Option<Arc<Integration>>,
    /// What it was called; empty if that is not known.
    pub name: String,
    /// The scopes that are configured with it, as places in `Snapshot::scopes`.
    pub scopes: Vec<u32>,
}

/// Of a scope in one region, besides its state.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ScopeDiagnostics {
    /// The last poll that did not get everything, over or not; none if there was none since the start.
    pub failed_poll: Option<Arc<Failed>>,
    /// Why names and tags could not be had; none where they could, or are not asked for.
    pub failed_metadata: Option<Arc<Failed>>,
}

/// Why AWS did not answer, or not wholly.
#[derive(Clone, Debug, PartialEq)]
pub struct Failed {
    /// Unix time in seconds.
    pub at: f64,
    /// One for each reason.
    pub failures: Vec<Failure>,
}

/// A failure as the log tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The value of the label `reason`.
    pub reason: &'static str,
    /// In words, bounded in length.
    pub message: String,
    /// AWS's id of the failed request.
    pub request_id: Option<String>,
    /// How many queries of the poll failed for this reason; the message is that of the first.
    pub queries: usize,
}
