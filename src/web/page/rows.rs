//! Integrations, scopes and times as the page shows them.

use crate::clock::rfc3339;
use crate::hash::fnv1a;
use crate::snapshot::ExportedFreshness;
use crate::web::inventory::{Condition, Row, ScopeRow};
use crate::web::query::Query;
use std::time::Duration;

const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3600, "h"), (60, "min"), (1, "s")];

pub(super) struct Timestamp {
    /// The time as RFC 3339, or empty if the format cannot represent it.
    pub datetime: String,
    pub text: String,
    pub ago: String,
}

impl Timestamp {
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

/// Returns the line of a row about its data: its age, the failing tables and the replication lag.
pub(super) fn data_line(freshness: &ExportedFreshness, now: &f64) -> String {
    let data = &freshness.data;
    if data.checked.is_none() {
        return "CloudWatch has not answered in full yet".to_owned();
    }
    let mut parts = Vec::new();
    if let Some(at) = freshness.oldest_success() {
        parts.push(format!("data as of {}", Timestamp::at(at, *now).ago));
    }
    if let Some(failing) = freshness.tables_failing().filter(|failing| *failing > 0.0) {
        parts.push(match data.failed_tables {
            Some(_) => format!("failing tables: {failing}"),
            None => format!("{failing} of {} tables fail", data.tables.len()),
        });
    }
    if let Some(lag) = data.replication_lag {
        let lag = Duration::try_from_secs_f64(lag).unwrap_or_default();
        parts.push(format!("replication lag {}", format_duration(&lag)));
    }
    if parts.is_empty() {
        parts.push("no table has reported a success in the last 15 days".to_owned());
    }
    parts.join(", ")
}

/// Returns the HTML id of a row: the same in each response, so that `page.js` finds the row again.
pub(super) fn id(row: &Row<'_>) -> String {
    format!("i-{:016x}", fnv1a(&[row.arn]))
}

/// Returns the severity of a condition, which is a CSS class, and its icon.
pub(super) fn severity(condition: &Condition) -> (&'static str, &'static str) {
    match condition {
        Condition::Failed | Condition::Missing => ("bad", "✖"),
        Condition::NeedsAttention | Condition::Stuck => ("warn", "▲"),
        Condition::Errors
        | Condition::TablesFailing
        | Condition::DataOverdue
        | Condition::UnknownStatus => ("look", "◆"),
        Condition::Healthy => ("well", "●"),
        Condition::InProgress => ("moving", "◌"),
    }
}

/// Returns the severity of a scope, which is a CSS class, its icon and its state.
pub(super) fn scope_state(scope: &ScopeRow<'_>) -> (&'static str, &'static str, &'static str) {
    match &scope.state.polled {
        None => ("look", "◌", "not polled yet"),
        Some(polled) if !polled.up && polled.integrations > 0 => {
            ("bad", "✖", "failing, serving old data")
        }
        Some(polled) if !polled.up => ("bad", "✖", "failing"),
        Some(polled) if polled.stale => ("warn", "▲", "serving old data"),
        Some(_) => ("well", "●", "healthy"),
    }
}

pub(super) fn scope_link(scope: &ScopeRow<'_>) -> String {
    let (name, region) = (scope.state.scope.as_str(), scope.state.region.as_str());
    Query::default().link(&[("scope", Some(name)), ("region", Some(region))])
}
