//! The rows that the page and the API list: integrations, and configured integrations that do not exist in AWS. Decides which rows have
//! a problem and which ones a request selects.

pub mod filter;
pub mod query;

use crate::arn::Arn;
use crate::snapshot::{
    ExportedIntegration, Integration, IntegrationError, Missing, Provenance, ScopeState, Snapshot,
    Status,
};
use std::time::Duration;

/// An integration is stuck if it is CREATING, MODIFYING or DELETING for longer. CREATING usually takes 15 to 30 minutes
/// (<https://docs.aws.amazon.com/glue/latest/dg/zero-etl-using.html>).
pub const STUCK_AFTER: Duration = Duration::from_secs(3600);

/// A problem of an integration, the most severe one first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Problem {
    Failed,
    NeedsAttention,
    Stuck,
    Missing,
    Errors,
    UnknownStatus,
}

impl Problem {
    /// Every problem, the most severe one first.
    pub const ALL: [Self; 6] = [
        Self::Failed,
        Self::NeedsAttention,
        Self::Stuck,
        Self::Missing,
        Self::Errors,
        Self::UnknownStatus,
    ];

    /// Returns the name of the problem in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::NeedsAttention => "needs_attention",
            Self::Stuck => "stuck",
            Self::Missing => "missing",
            Self::Errors => "errors",
            Self::UnknownStatus => "unknown_status",
        }
    }
}

/// A row: an integration or a missing one.
#[derive(Clone, Copy, Debug)]
pub enum Row<'a> {
    Shown(&'a ExportedIntegration, &'a Provenance),
    Missing(&'a Missing),
}

/// Returns all rows of a snapshot, sorted by ARN.
pub fn rows(snapshot: &Snapshot) -> Vec<Row<'_>> {
    let diagnostics = &snapshot.diagnostics;
    let shown = snapshot.integrations.iter().zip(&diagnostics.provenance);
    let mut rows: Vec<Row<'_>> = shown
        .map(|(shown, provenance)| Row::Shown(shown, provenance))
        .chain(diagnostics.missing.iter().map(Row::Missing))
        .collect();
    if !diagnostics.missing.is_empty() {
        rows.sort_by_key(|row| row.arn());
    }
    rows
}

impl<'a> Row<'a> {
    pub fn arn(self) -> &'a str {
        match self {
            Self::Shown(shown, _) => &shown.integration.arn,
            Self::Missing(missing) => &missing.arn,
        }
    }

    /// Returns the integration as AWS describes it. For a missing one this is the last known description.
    pub fn integration(self) -> Option<&'a Integration> {
        match self {
            Self::Shown(shown, _) => Some(&*shown.integration),
            Self::Missing(missing) => missing.last.as_deref(),
        }
    }

    /// Returns the status, or `None` if the integration is missing.
    pub fn status(self) -> Option<Status> {
        match self {
            Self::Shown(shown, _) => Some(shown.integration.status),
            Self::Missing(_) => None,
        }
    }

    /// Returns the name, or an empty text if it is unknown.
    pub fn name(self) -> &'a str {
        match self {
            Self::Shown(shown, _) => &shown.labels.name,
            Self::Missing(missing) => &missing.name,
        }
    }

    /// Returns when AWS last reported this row, in Unix seconds.
    pub fn observed_at(self) -> f64 {
        match self {
            Self::Shown(_, provenance) => provenance.observed_at,
            Self::Missing(missing) => missing.answered_at,
        }
    }

    /// Returns true if the row is older than the last poll of the scope that it comes from.
    pub fn is_old(self) -> bool {
        match self {
            Self::Shown(_, provenance) => provenance.stale,
            Self::Missing(missing) => missing.stale,
        }
    }

    /// Returns the errors that AWS lists; none for a missing integration.
    pub fn errors(self) -> &'a [IntegrationError] {
        match self {
            Self::Shown(shown, _) => &shown.integration.errors,
            Self::Missing(_) => &[],
        }
    }

    /// Returns the scopes that see the integration. For a missing one these are the scopes that are configured with it.
    pub fn scopes(self, snapshot: &'a Snapshot) -> impl Iterator<Item = &'a ScopeState> {
        let indexes = match self {
            Self::Shown(_, provenance) => {
                snapshot.diagnostics.seen_by.get(provenance.seen_by.clone())
            }
            Self::Missing(missing) => Some(&missing.scopes[..]),
        };
        let indexes = indexes.unwrap_or_default().iter();
        indexes.filter_map(|index| snapshot.scopes.get(*index as usize))
    }

    /// Returns when the current status began, in Unix seconds, if it is known. CREATING is the first status, so it began at the creation.
    pub fn since(self) -> Option<f64> {
        match self {
            Self::Shown(shown, _) => {
                let observed = Some(shown.status_since).filter(|since| *since > 0.0);
                let created = shown.integration.created;
                match (shown.integration.status, observed, created) {
                    (Status::Creating, Some(observed), Some(created)) => {
                        Some(observed.min(created))
                    }
                    (Status::Creating, None, created) => created,
                    _ => observed,
                }
            }
            Self::Missing(missing) => missing.since,
        }
    }

    /// Returns the problem at `now`, in Unix seconds, if there is one.
    pub fn problem(self, now: f64) -> Option<Problem> {
        let Some(status) = self.status() else {
            return Some(Problem::Missing);
        };
        match status {
            Status::Failed => Some(Problem::Failed),
            Status::NeedsAttention => Some(Problem::NeedsAttention),
            Status::Creating | Status::Modifying | Status::Deleting if self.is_stuck(now) => {
                Some(Problem::Stuck)
            }
            Status::Unknown => Some(Problem::UnknownStatus),
            _ if !self.errors().is_empty() => Some(Problem::Errors),
            _ => None,
        }
    }

    fn is_stuck(self, now: f64) -> bool {
        self.since()
            .is_some_and(|since| now - since > STUCK_AFTER.as_secs_f64())
    }

    /// Returns the account and region of its ARN.
    pub fn arn_fields(self) -> Arn<'a> {
        Arn::split(self.arn())
    }
}
