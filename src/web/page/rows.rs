//! Integrations, scopes and times as the page shows them.

use crate::clock::rfc3339;
use crate::hash::fnv1a;
use crate::snapshot::IntegrationError;
use crate::web::inventory::{Condition, Row, ScopeRow};
use crate::web::query::Query;
use std::time::Duration;

/// The units of a duration in seconds, the largest first.
const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3600, "h"), (60, "min"), (1, "s")];

/// A point in time as text.
pub(super) struct Timestamp {
    /// The time as RFC 3339, or empty if the format cannot represent it.
    pub datetime: String,
    /// The time to the second, in UTC.
    pub text: String,
    /// The distance from now.
    pub ago: String,
}

impl Timestamp {
    /// Formats the time `at` relative to `now`, both in Unix seconds.
    pub fn at(at: f64, now: f64) -> Self {
        let datetime = rfc3339(at).unwrap_or_default();
        let text = match (datetime.get(..10), datetime.get(11..19)) {
            (Some(date), Some(time)) => format!("{date} {time} UTC"),
            _ => "invalid time".to_owned(),
        };
        let distance = Duration::try_from_secs_f64((at - now).abs()).unwrap_or(Duration::MAX);
        let distance = format_duration(&distance);
        let ago = if at > now {
            format!("in {distance}")
        } else {
            format!("{distance} ago")
        };
        Self {
            datetime,
            text,
            ago,
        }
    }
}

/// Formats a duration in its two largest units.
pub(super) fn format_duration(duration: &Duration) -> String {
    let seconds = duration.as_secs();
    let mut units = UNITS.iter().skip_while(|(length, _)| seconds < *length);
    let (length, unit) = units.next().unwrap_or(&(1, "s"));
    let larger = format!("{} {unit}", seconds / length);
    match units.next() {
        Some((smaller, unit)) if seconds % length >= *smaller => {
            format!("{larger} {} {unit}", seconds % length / smaller)
        }
        _ => larger,
    }
}

/// An integration.
pub(super) struct RowView<'a> {
    pub row: Row<'a>,
    /// The HTML id: the same in each response, so that `page.js` finds the row again.
    pub id: String,
    pub severity: &'static str,
    pub icon: &'static str,
    /// A short addition to the status.
    pub note: Option<String>,
    pub errors: &'a [IntegrationError],
    /// The number of errors that are not in `errors`.
    pub omitted_errors: usize,
    /// The URL of a page with only this integration.
    pub link: String,
}

impl<'a> RowView<'a> {
    /// Creates the view of `row`. Its errors reduce `max_errors`, which is for the whole page.
    pub fn of(row: Row<'a>, max_errors: &mut usize) -> Self {
        let (severity, icon) = match row.condition {
            Condition::Failed | Condition::Missing => ("bad", "✖"),
            Condition::NeedsAttention | Condition::Stuck => ("warn", "▲"),
            Condition::Errors | Condition::UnknownStatus => ("look", "◆"),
            Condition::Healthy => ("well", "●"),
            Condition::InProgress => ("moving", "◌"),
        };
        let errors = &row.errors[..row.errors.len().min(*max_errors)];
        *max_errors -= errors.len();
        Self {
            id: format!("i-{:016x}", fnv1a(&[row.arn])),
            severity,
            icon,
            note: note(&row),
            errors,
            omitted_errors: row.errors.len() - errors.len(),
            link: Query::default().link(&[("q", Some(row.arn))]),
            row,
        }
    }
}

fn note(row: &Row<'_>) -> Option<String> {
    match row.condition {
        Condition::Stuck => Some("stuck".to_owned()),
        Condition::Missing => Some("does not exist in AWS".to_owned()),
        Condition::Errors => match row.errors.len() {
            1 => Some("1 error".to_owned()),
            many => Some(format!("{many} errors")),
        },
        Condition::UnknownStatus => match &row.integration?.status_text {
            Some(text) => Some(format!("AWS sent the status “{text}”")),
            None => Some("AWS sent no status".to_owned()),
        },
        Condition::Failed
        | Condition::NeedsAttention
        | Condition::InProgress
        | Condition::Healthy => None,
    }
}

/// A scope in one region.
pub(super) struct ScopeView<'a> {
    pub row: ScopeRow<'a>,
    pub link: String,
    pub severity: &'static str,
    pub icon: &'static str,
    pub state: &'static str,
    pub names: &'static str,
    /// Why the last incomplete poll failed.
    pub reasons: String,
}

impl<'a> ScopeView<'a> {
    /// Creates the view of `row`. `rows` are all integrations.
    pub fn of(row: ScopeRow<'a>, rows: &[Row<'_>]) -> Self {
        let is_old_missing = |it: &Row<'_>| {
            it.is_missing() && it.old && it.scopes.iter().any(|it| *it as usize == row.index)
        };
        let (severity, icon, state) = match &row.state.polled {
            None => ("look", "◌", "not polled yet"),
            Some(polled) if !polled.up => {
                let has_missing = polled.stale && rows.iter().any(is_old_missing);
                match polled.integrations > 0 || has_missing {
                    true => ("bad", "✖", "failing, serving old data"),
                    false => ("bad", "✖", "failing"),
                }
            }
            Some(polled) if polled.stale => ("warn", "▲", "serving old data"),
            Some(_) => ("well", "●", "healthy"),
        };
        let (scope, region) = (row.state.scope.as_str(), row.state.region.as_str());
        let failures = row.failed_poll.iter().flat_map(|failed| &failed.failures);
        let reasons: Vec<&str> = failures.map(|failure| failure.reason).collect();
        Self {
            link: Query::default().link(&[("scope", Some(scope)), ("region", Some(region))]),
            severity,
            icon,
            state,
            names: match row.state.names_up {
                Some(true) => "fetched",
                Some(false) => "failed to fetch",
                None => "not fetched",
            },
            reasons: if reasons.is_empty() {
                "failed before the exporter started".to_owned()
            } else {
                reasons.join(", ")
            },
            row,
        }
    }
}
