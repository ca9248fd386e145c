//! The rows that the page and the API show: integrations, missing integrations, and scopes.

use super::query::{Query, one_of};
use crate::arn::Arn;
use crate::snapshot::{
    ExportedFreshness, ExportedIntegration, Integration, IntegrationError, ScopeState, Snapshot,
    Status, TableFreshness,
};
use serde::Serialize;
use std::cmp::Ordering;
use std::sync::Arc;
use std::time::Duration;
use strum::VariantArray;

/// An integration is stuck if it is CREATING, MODIFYING or DELETING for longer. CREATING usually takes 15 to 30 minutes
/// (<https://docs.aws.amazon.com/glue/latest/dg/zero-etl-using.html>).
const STUCK_AFTER: Duration = Duration::from_secs(3600);
/// Data may be this old in addition to two refresh intervals.
const MAX_RUN_SECONDS: f64 = 15.0 * 60.0;
/// Data is never overdue before, however short the refresh interval is.
const MIN_OVERDUE_SECONDS: f64 = 24.0 * 3600.0;
/// The same for the first report of any table.
const MIN_FIRST_RUN_SECONDS: f64 = 6.0 * 3600.0;
const MISSING: &str = "MISSING";

/// The condition of an integration, in the order of the page: the most severe problem first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, VariantArray)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    Failed,
    NeedsAttention,
    Stuck,
    Missing,
    Errors,
    TablesFailing,
    DataOverdue,
    UnknownStatus,
    InProgress,
    Healthy,
}

impl Condition {
    pub const ALL: &[Self] = Self::VARIANTS;

    fn of(exported: &ExportedIntegration, since: f64, now: f64) -> Self {
        let integration = &*exported.integration;
        let is_stuck = now - since > STUCK_AFTER.as_secs_f64();
        match integration.status {
            Status::Failed => Self::Failed,
            Status::NeedsAttention => Self::NeedsAttention,
            Status::Creating | Status::Modifying | Status::Deleting if is_stuck => Self::Stuck,
            Status::Unknown => Self::UnknownStatus,
            _ if !integration.errors.is_empty() => Self::Errors,
            status => Self::of_data(exported, since).unwrap_or(match status {
                Status::Active => Self::Healthy,
                _ => Self::InProgress,
            }),
        }
    }

    /// Returns the problem of the data when CloudWatch last answered in full. The limits are those of the alerts
    /// GlueIntegrationTableFailing, GlueIntegrationDataOverdue, GlueIntegrationNoTables and GlueIntegrationLagging.
    fn of_data(exported: &ExportedIntegration, since: f64) -> Option<Self> {
        let integration = &*exported.integration;
        let freshness = exported.freshness.as_ref()?;
        // A one-time copy has no next run that could succeed or be overdue.
        let is_continuous = integration.continuous_sync != Some(false);
        let checked = freshness.data.checked.filter(|_| is_continuous)?;
        if freshness.tables_failing() > Some(0.0) {
            return Some(Self::TablesFailing);
        }
        let interval = integration.refresh_interval.unwrap_or_default();
        let max_age = 2.0 * interval.as_secs_f64() + MAX_RUN_SECONDS;
        let is_lagging = freshness.data.replication_lag > Some(max_age);
        let is_overdue = match freshness.oldest_success() {
            Some(at) => checked - at > max_age.max(MIN_OVERDUE_SECONDS),
            None if freshness.tables() != Some(0) => false,
            None => checked - since > (2.0 * max_age).max(MIN_FIRST_RUN_SECONDS),
        };
        let is_active = integration.status == Status::Active && !exported.stale;
        (is_lagging || is_overdue && is_active).then_some(Self::DataOverdue)
    }

    pub fn is_problem(self) -> bool {
        !matches!(self, Self::InProgress | Self::Healthy)
    }

    /// The word of a problem that the status does not show.
    pub(crate) fn word(self) -> Option<&'static str> {
        match self {
            Self::Stuck => Some("STUCK"),
            Self::Errors => Some("ERRORS"),
            Self::TablesFailing => Some("TABLES_FAILING"),
            Self::DataOverdue => Some("DATA_OVERDUE"),
            _ => None,
        }
    }
}

pub fn statuses() -> impl Iterator<Item = &'static str> {
    Status::ALL.iter().map(|it| it.as_str()).chain([MISSING])
}

/// An integration, or a missing one: it does not exist in AWS.
#[derive(Clone, Copy)]
pub(crate) struct Row<'a> {
    pub arn: &'a str,
    pub name: &'a str,
    pub status: &'static str,
    pub condition: Condition,
    /// The integration as AWS describes it. For a missing one this is the last known description.
    pub integration: Option<&'a Integration>,
    /// Labels and values; a value is empty if the integration has no such tag.
    pub tags: &'a [(Arc<str>, String)],
    pub errors: &'a [IntegrationError],
    /// When this exporter first saw the status, or learned that the integration is missing, in Unix seconds.
    pub status_since: Option<f64>,
    /// When the status began: the creation, if that is earlier.
    pub since: Option<f64>,
    /// When AWS last reported this row, in Unix seconds.
    pub observed_at: f64,
    /// True if the row is older than the last poll of the scope that it comes from.
    pub old: bool,
    pub freshness: Option<&'a ExportedFreshness>,
    /// Indexes of the scopes that see the integration. For a missing one these are the scopes that are configured with it or saw it.
    pub scopes: &'a [u32],
}

impl Row<'_> {
    pub fn is_missing(&self) -> bool {
        self.condition == Condition::Missing
    }

    pub fn status_text(&self) -> Option<&str> {
        let existing = self.integration.filter(|_| !self.is_missing());
        existing?.status_text.as_deref()
    }

    /// Returns the tables, the worst first: those that fail, then those without a success for the longest time.
    /// Empty before the first full answer, because a part of an answer may lack the successes of tables.
    pub fn tables(&self) -> Vec<(&str, &TableFreshness)> {
        let data = self.freshness.map(|it| &*it.data);
        let data = data.filter(|it| it.checked.is_some());
        let tables = data.iter().flat_map(|it| &it.tables);
        let mut tables: Vec<_> = tables.map(|(name, it)| (name.as_str(), it)).collect();
        tables.sort_by(|(_, it), (_, other)| {
            let failing_first = other.is_failing().cmp(&it.is_failing());
            let oldest_first = it.last_success.partial_cmp(&other.last_success);
            failing_first.then(oldest_first.unwrap_or(Ordering::Equal))
        });
        tables
    }

    /// Returns true if one of `statuses` selects the row: its status, or a word for its problem. No statuses select all rows.
    pub fn has_status<'b>(&self, mut statuses: impl Iterator<Item = &'b str> + Clone) -> bool {
        statuses.clone().next().is_none()
            || statuses.any(|status| match status {
                "WRONG" => self.condition.is_problem(),
                word => word == self.status || Some(word) == self.condition.word(),
            })
    }
}

pub(crate) struct ScopeRow<'a> {
    pub state: &'a ScopeState,
    pub polling: bool,
    pub next_poll: Option<f64>,
}

impl ScopeRow<'_> {
    pub fn is_failing(&self) -> bool {
        self.state.polled.as_ref().is_some_and(|polled| !polled.up)
    }

    pub fn last_success(&self) -> Option<f64> {
        self.state.polled.as_ref()?.last_success
    }
}

pub struct Inventory<'a> {
    pub snapshot: &'a Snapshot,
    /// The time of the next poll of each scope of the snapshot, in Unix seconds.
    pub next_polls: &'a [Option<f64>],
    pub now: f64,
}

impl<'a> Inventory<'a> {
    pub(crate) fn rows(&self) -> Vec<Row<'a>> {
        let integrations = self.snapshot.integrations.iter();
        let exported = integrations.zip(&self.snapshot.provenance);
        let exported = exported.map(|(exported, provenance)| {
            let integration = &*exported.integration;
            let status_since = Some(exported.status_since).filter(|since| *since > 0.0);
            // CREATING is the first status, so it began at the creation.
            let created = integration.created;
            let created = created.filter(|_| integration.status == Status::Creating);
            let times = [status_since, created].into_iter().flatten();
            let since = times.reduce(f64::min);
            let seen_by = self.snapshot.seen_by.get(provenance.seen_by.clone());
            Row {
                arn: &integration.arn,
                name: &exported.labels.name,
                status: integration.status.as_str(),
                condition: Condition::of(exported, since.unwrap_or(self.now), self.now),
                integration: Some(integration),
                tags: &exported.labels.tags,
                errors: &integration.errors,
                status_since,
                since,
                observed_at: provenance.observed_at,
                old: exported.stale,
                freshness: exported.freshness.as_ref(),
                scopes: seen_by.unwrap_or_default(),
            }
        });
        let missing = self.snapshot.missing.iter().map(|missing| Row {
            arn: &missing.arn,
            name: &missing.labels.name,
            status: MISSING,
            condition: Condition::Missing,
            integration: missing.last.as_deref(),
            tags: &missing.labels.tags,
            errors: &[],
            status_since: missing.since,
            since: missing.since,
            observed_at: missing.answered_at,
            old: missing.stale,
            freshness: None,
            scopes: &missing.scopes,
        });
        let mut rows: Vec<Row<'_>> = exported.chain(missing).collect();
        rows.sort_by_key(|row| row.arn);
        rows
    }

    pub(crate) fn scopes(&self, query: &Query) -> Vec<ScopeRow<'a>> {
        let scopes = self.snapshot.scopes.iter().enumerate();
        let rows = scopes.map(|(index, state)| {
            let next = self.next_polls.get(index).copied().flatten();
            ScopeRow {
                state,
                polling: next.is_some_and(|next| next <= self.now),
                next_poll: next.filter(|next| *next > self.now),
            }
        });
        rows.filter(|row| {
            query.allows("scope", &row.state.scope) && query.allows("region", &row.state.region)
        })
        .collect()
    }

    pub(crate) fn scopes_of(&self, row: &Row<'_>) -> impl Iterator<Item = &'a ScopeState> {
        let scopes = &self.snapshot.scopes;
        let indexes = row.scopes.iter();
        indexes.filter_map(|index| scopes.get(*index as usize))
    }

    pub(crate) fn has_location(&self, row: &Row<'_>, query: &Query) -> bool {
        let arn = Arn::split(row.arn);
        let has_scope = |wanted: &str| self.scopes_of(row).any(|scope| scope.scope == wanted);
        query.allows("account", arn.account)
            && query.allows("region", arn.region)
            && query.get("scope").is_none_or(has_scope)
    }

    /// Returns the allowed values as an error: a filter that cannot match would look as if there were no problems.
    pub(crate) fn check_filter(&self, name: &str, value: &str) -> Result<(), String> {
        let scopes = self.snapshot.scopes.iter();
        match name {
            "status" => one_of(value, statuses()),
            "scope" => one_of(value, scopes.map(|it| it.scope.as_str())),
            "region" => one_of(value, scopes.map(|it| it.region.as_str())),
            "account" if value.len() == 12 && value.bytes().all(|it| it.is_ascii_digit()) => Ok(()),
            "account" => Err("12 digits".to_owned()),
            _ => Ok(()),
        }
    }
}
