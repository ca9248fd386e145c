//! The metrics of integrations and scopes, sorted by name. The tables of docs/metrics.md are generated from these rows. The samples do
//! not pass through a `prometheus` registry, whose vectors compare label values only by hash.

use super::family::{Family, Samples, family, gauge};
use super::text_format::{Metric, MetricType, count, labels};
use crate::arn::Arn;
use crate::clock::{round_to_millis, seconds};
use crate::snapshot::{
    ExportedFreshness, ExportedIntegration, Integration, MetadataLabels, Missing, PolledScope,
    ScopeState, Status, TableFreshness,
};
use std::collections::BTreeMap;

/// The number of error codes of one integration that have their own series.
const MAX_ERROR_CODES: usize = 20;

const TABLE: &[&str] = &["table_name"];

/// The first labels of each series of an integration, and of a scope.
pub(crate) const IDENTITY: [&str; 3] = ["aws_account_id", "aws_region", "integration_arn"];
pub(crate) const SCOPE: [&str; 2] = ["scope", "aws_region"];

pub(crate) const AGE: Metric = Metric {
    name: "aws_glue_integration_age_seconds",
    kind: MetricType::Gauge,
    labels: &[],
    help: "Age of the integration in seconds at the time of the scrape; never below 0.",
};

const INFO: &str = "aws_glue_integration_info";
const PRESENT: &str = "aws_glue_integration_present";
const STALE: &str = "aws_glue_integration_stale";

pub(crate) const INTEGRATION: &[Family<ExportedIntegration>] = &[
    gauge(
        "aws_glue_integration_continuous_sync",
        "1 if the integration syncs continuously, 0 if it is a one-time copy, as of its last good poll; absent if AWS does not report it.",
        |shown, samples| samples.value(shown.integration.continuous_sync.map(f64::from)),
    ),
    gauge(
        "aws_glue_integration_created_timestamp_seconds",
        "Unix time in seconds at which the integration was created, as of its last good poll; absent if AWS does not report it.",
        |shown, samples| samples.value(shown.integration.created),
    ),
    gauge(
        "aws_glue_integration_errors",
        "Number of errors that AWS lists for the integration, as of its last good poll.",
        |shown, samples| samples.value(count(shown.integration.errors.len() as u64)),
    ),
    family(
        MetricType::Gauge,
        "aws_glue_integration_errors_by_code",
        &["error_code"],
        "Number of errors with this code that AWS lists for the integration, as of its last good poll; codes after the first 20 in alphabetical order count as other, errors without a code as none.",
        errors_by_code,
    ),
    gauge(
        "aws_glue_integration_freshness_checked_timestamp_seconds",
        "Unix time in seconds at which CloudWatch last answered in full about the integration; absent before the first such answer, and if the scope does not ask CloudWatch.",
        |shown, samples| freshness(shown, samples, |it| it.data.checked),
    ),
    family(
        MetricType::Gauge,
        INFO,
        &[
            "integration_name",
            "source_arn",
            "target_arn",
            "source_service",
            "target_service",
        ],
        "Always 1, labeled with the source and target of the integration as of its last good poll, and with its name and tags if the scope fetches them.",
        |shown, samples| info(&shown.integration, &shown.labels, samples),
    ),
    gauge(
        "aws_glue_integration_oldest_success_timestamp_seconds",
        "Unix time in seconds of the oldest last success of the integration's tables, as of the last answer from CloudWatch; absent if no table succeeded in the last 15 days.",
        |shown, samples| freshness(shown, samples, ExportedFreshness::oldest_success),
    ),
    gauge(
        PRESENT,
        "1 if the integration exists, as of its last good poll; 0 if AWS answered that a configured one does not, and for 24 hours if AWS no longer lists one that was not DELETING.",
        |_, samples| samples.value(1.0),
    ),
    gauge(
        "aws_glue_integration_refresh_interval_seconds",
        "Interval in seconds at which the integration pulls changes, as of its last good poll; absent if AWS does not report it.",
        |shown, samples| samples.value(shown.integration.refresh_interval.map(seconds)),
    ),
    gauge(
        "aws_glue_integration_replication_lag_seconds",
        "Newest IntegrationLag in seconds that CloudWatch has for an integration with a Redshift target; absent without a sample in the last 3 hours.",
        |shown, samples| freshness(shown, samples, |it| it.data.replication_lag),
    ),
    gauge(
        STALE,
        "1 if the last poll of the scope did not refresh the integration, so that its values are older, otherwise 0.",
        |shown, samples| samples.value(f64::from(shown.stale)),
    ),
    family(
        MetricType::Gauge,
        "aws_glue_integration_status",
        &["status"],
        "1 for the current status of the integration, 0 for every other status, as of its last good poll; a status that the exporter does not know is UNKNOWN.",
        |shown, samples| {
            for &status in Status::ALL {
                let is_current = shown.integration.status == status;
                samples.labelled(&[status.as_str()], f64::from(is_current));
            }
        },
    ),
    gauge(
        "aws_glue_integration_status_since_timestamp_seconds",
        "Unix time in seconds at which this exporter first saw the current status of the integration.",
        |shown, samples| samples.value(round_to_millis(shown.status_since)),
    ),
    family(
        MetricType::Gauge,
        "aws_glue_integration_table_last_failure_timestamp_seconds",
        TABLE,
        "Unix time in seconds of the newest minute in which a run of the table failed, as of the last answer from CloudWatch; absent without one.",
        |shown, samples| tables(shown, samples, |table| table.last_failure),
    ),
    family(
        MetricType::Gauge,
        "aws_glue_integration_table_last_success_timestamp_seconds",
        TABLE,
        "Unix time in seconds of the newest minute in which a run of the table succeeded, as of the last answer from CloudWatch; absent without one.",
        |shown, samples| tables(shown, samples, |table| table.last_success),
    ),
    family(
        MetricType::Gauge,
        "aws_glue_integration_table_synced_until_timestamp_seconds",
        TABLE,
        "Unix time in seconds until which the source of the table has been synced to the target (LastSyncTimestamp), as of the last answer from CloudWatch; absent if it cannot be read.",
        |shown, samples| tables(shown, samples, |table| table.synced_until),
    ),
    gauge(
        "aws_glue_integration_tables",
        "Number of tables of the integration that reported to CloudWatch in the last 15 days; absent before the first complete listing, and for Redshift targets, whose tables do not report.",
        |shown, samples| {
            let tables = |it: &ExportedFreshness| it.tables().map(|tables| count(tables as u64));
            freshness(shown, samples, tables);
        },
    ),
    gauge(
        "aws_glue_integration_tables_failing",
        "Number of tables of the integration whose newest run failed, as of the last answer from CloudWatch; for Redshift targets the newest IntegrationNumTablesFailedReplication, absent without one in the last 3 hours.",
        |shown, samples| freshness(shown, samples, ExportedFreshness::tables_failing),
    ),
];

/// Returns the function that writes samples of a metric for integrations that do not exist. Most metrics have none.
pub(crate) fn missing(metric: &str) -> Option<fn(&Missing, &mut Samples<'_>)> {
    match metric {
        INFO => Some(|missing, samples| {
            if let Some(last) = &missing.last {
                info(last, &missing.labels, samples);
            }
        }),
        PRESENT => Some(|_, samples| samples.value(0.0)),
        STALE => Some(|missing, samples| samples.value(f64::from(missing.stale))),
        _ => None,
    }
}

pub(crate) const SCOPES: &[Family<ScopeState>] = &[
    gauge(
        "glue_integration_exporter_scope_freshness_up",
        "1 if CloudWatch answered everything in the last round of requests for the scope, otherwise 0; absent before the first round and for scopes that do not ask CloudWatch.",
        |scope, samples| samples.value(scope.freshness_up.map(f64::from)),
    ),
    gauge(
        "glue_integration_exporter_scope_integrations",
        "Number of integrations of the scope that are exported.",
        |scope, samples| last_poll(scope, samples, |polled| count(polled.integrations as u64)),
    ),
    gauge(
        "glue_integration_exporter_scope_interval_seconds",
        "Configured interval between polls of the scope in seconds.",
        |scope, samples| samples.value(seconds(scope.interval)),
    ),
    gauge(
        "glue_integration_exporter_scope_last_poll_duration_seconds",
        "Duration of the last poll of the scope in seconds.",
        |scope, samples| last_poll(scope, samples, |polled| seconds(polled.duration)),
    ),
    gauge(
        "glue_integration_exporter_scope_last_success_timestamp_seconds",
        "Unix time in seconds at which the last poll of the scope that succeeded for every query ended; 0 if there was none.",
        |scope, samples| {
            let value = |it: &PolledScope| round_to_millis(it.last_success.unwrap_or(0.0));
            last_poll(scope, samples, value);
        },
    ),
    gauge(
        "glue_integration_exporter_scope_names_up",
        "1 if the last fetch of names and tags for the scope succeeded, otherwise 0; absent before the first fetch and for scopes that do not fetch them.",
        |scope, samples| samples.value(scope.names_up.map(f64::from)),
    ),
    gauge(
        "glue_integration_exporter_scope_stale",
        "1 if any data of the scope is older than its last poll, otherwise 0; data that ended after stale_after still counts.",
        |scope, samples| last_poll(scope, samples, |polled| f64::from(polled.stale)),
    ),
    gauge(
        "glue_integration_exporter_scope_up",
        "1 if the last poll of the scope succeeded for every query, otherwise 0.",
        |scope, samples| last_poll(scope, samples, |polled| f64::from(polled.up)),
    ),
];

fn last_poll(scope: &ScopeState, samples: &mut Samples<'_>, value: fn(&PolledScope) -> f64) {
    samples.value(scope.polled.as_ref().map(value));
}

fn freshness(
    shown: &ExportedIntegration,
    samples: &mut Samples<'_>,
    value: fn(&ExportedFreshness) -> Option<f64>,
) {
    samples.value(shown.freshness.as_ref().and_then(value));
}

fn tables(
    shown: &ExportedIntegration,
    samples: &mut Samples<'_>,
    value: fn(&TableFreshness) -> Option<f64>,
) {
    let tables = shown.freshness.iter();
    let tables = tables.flat_map(|it| it.data.tables.iter().take(it.max_tables));
    for (name, table) in tables {
        if let Some(value) = value(table) {
            samples.labelled(&[name], value);
        }
    }
}

fn info(integration: &Integration, labels: &MetadataLabels, samples: &mut Samples<'_>) {
    let (source, target) = (&integration.source_arn, &integration.target_arn);
    let services = [source, target].map(|arn| Arn::split(arn).service);
    let values = [&labels.name, source, target, services[0], services[1]];
    samples.tagged(&values, &labels.tags, 1.0);
}

fn errors_by_code(shown: &ExportedIntegration, samples: &mut Samples<'_>) {
    const NO_CODE: &str = "none";
    const OTHER: &str = "other";
    let mut by_code: BTreeMap<&str, u64> = BTreeMap::new();
    for error in &shown.integration.errors {
        let code = error.code.as_deref().unwrap_or(NO_CODE);
        *by_code.entry(code).or_default() += 1;
    }
    // An AWS code named "none" or "other" shares that series: a second one would be a duplicate.
    let no_code = by_code.remove(NO_CODE);
    let mut other = by_code.remove(OTHER);
    for (index, (code, errors)) in by_code.into_iter().enumerate() {
        if index < MAX_ERROR_CODES {
            samples.labelled(&[code], count(errors));
        } else {
            other = Some(other.unwrap_or_default() + errors);
        }
    }
    for (code, errors) in [(NO_CODE, no_code), (OTHER, other)] {
        if let Some(errors) = errors {
            samples.labelled(&[code], count(errors));
        }
    }
}

pub(crate) fn identity(arn: &str) -> String {
    let fields = Arn::split(arn);
    let values = [fields.account, fields.region, arn];
    labels(IDENTITY.into_iter().zip(values))
}

pub(crate) fn scope_labels(scope: &ScopeState) -> String {
    labels(SCOPE.into_iter().zip([scope.scope.as_str(), &scope.region]))
}
