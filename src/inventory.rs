//! What is listed for people and their scripts, by the page and by the API: integrations, and configured ones of which AWS answers that
//! there is none. Which of them are wrong, and which of them a request asks for.

pub mod filter;
pub mod query;

use crate::snapshot::{
    ArnFields, ExportedIntegration, Integration, IntegrationError, Missing, Provenance, ScopeState,
    Snapshot, Status,
};
use std::time::Duration;

/// After so long in CREATING, MODIFYING or DELETING an integration is called stuck. CREATING usually lasts 15 to 30 minutes
/// (<https://docs.aws.amazon.com/glue/latest/dg/zero-etl-using.html>).
pub const STUCK_AFTER: Duration = Duration::from_secs(3600);

/// What is wrong with an integration, the worst first.
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
    /// Every problem, in this order.
    pub const ALL: [Self; 6] = [
        Self::Failed,
        Self::NeedsAttention,
        Self::Stuck,
        Self::Missing,
        Self::Errors,
        Self::UnknownStatus,
    ];

    /// Its name in the API.
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

/// One row.
#[derive(Clone, Copy, Debug)]
pub enum Entry<'a> {
    Shown(&'a ExportedIntegration, &'a Provenance),
    Missing(&'a Missing),
}

/// All rows of a snapshot, sorted by ARN.
pub fn entries(snapshot: &Snapshot) -> Vec<Entry<'_>> {
    let diagnostics = &snapshot.diagnostics;
    let shown = snapshot.integrations.iter().zip(&diagnostics.provenance);
    let mut entries: Vec<Entry<'_>> = shown
        .map(|(shown, sighting)| Entry::Shown(shown, sighting))
        .chain(diagnostics.missing.iter().map(Entry::Missing))
        .collect();
    if !diagnostics.missing.is_empty() {
        entries.sort_by_key(|entry| entry.arn());
    }
    entries
}

impl<'a> Entry<'a> {
    pub fn arn(self) -> &'a str {
        match self {
            Self::Shown(shown, _) => &shown.integration.arn,
            Self::Missing(missing) => &missing.arn,
        }
    }

    /// As AWS describes it; of a missing one as AWS last did, if this exporter saw it.
    pub fn integration(self) -> Option<&'a Integration> {
        match self {
            Self::Shown(shown, _) => Some(&*shown.integration),
            Self::Missing(missing) => missing.last.as_deref(),
        }
    }

    /// None if it is missing.
    pub fn status(self) -> Option<Status> {
        match self {
            Self::Shown(shown, _) => Some(shown.integration.status),
            Self::Missing(_) => None,
        }
    }

    /// Empty while it is not known.
    pub fn name(self) -> &'a str {
        match self {
            Self::Shown(shown, _) => &shown.labels.name,
            Self::Missing(missing) => &missing.name,
        }
    }

    /// When AWS said so, in Unix seconds.
    pub fn seen(self) -> f64 {
        match self {
            Self::Shown(_, sighting) => sighting.observed_at,
            Self::Missing(missing) => missing.answered_at,
        }
    }

    /// AWS said so in an earlier poll than the last, of the scope that it said it to.
    pub fn is_old(self) -> bool {
        match self {
            Self::Shown(_, sighting) => sighting.stale,
            Self::Missing(missing) => missing.stale,
        }
    }

    /// What AWS lists now.
    pub fn errors(self) -> &'a [IntegrationError] {
        match self {
            Self::Shown(shown, _) => &shown.integration.errors,
            Self::Missing(_) => &[],
        }
    }

    /// The scopes that see it, or of a missing one those that are configured with it.
    pub fn scopes(self, snapshot: &'a Snapshot) -> impl Iterator<Item = &'a ScopeState> {
        let places = match self {
            Self::Shown(_, sighting) => snapshot.diagnostics.seen_by.get(sighting.seen_by.clone()),
            Self::Missing(missing) => Some(&missing.scopes[..]),
        };
        let places = places.unwrap_or_default().iter();
        places.filter_map(|place| snapshot.scopes.get(*place as usize))
    }

    /// Since when it is as it is, in Unix seconds, as far as this exporter knows. Nothing is CREATING before it was created, or anything
    /// else first.
    pub fn since(self) -> Option<f64> {
        match self {
            Self::Shown(shown, _) => {
                let seen = Some(shown.status_since).filter(|since| *since > 0.0);
                let created = shown.integration.created;
                match (shown.integration.status, seen, created) {
                    (Status::Creating, Some(seen), Some(created)) => Some(seen.min(created)),
                    (Status::Creating, None, created) => created,
                    _ => seen,
                }
            }
            Self::Missing(missing) => missing.since,
        }
    }

    /// What is wrong at `now`, in Unix seconds; none if nothing is.
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

    /// What its ARN says.
    pub fn fields(self) -> ArnFields<'a> {
        ArnFields::of(self.arn())
    }
}
