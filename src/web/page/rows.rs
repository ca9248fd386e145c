//! Integrations, scopes and times as the page shows them.

use super::View;
use crate::clock::rfc3339;
use crate::hash::fnv1a;
use crate::snapshot::{Failed, IntegrationError, Missing, PolledScope, ScopeState, Status};
use crate::web::inventory::filter::StatusFilter;
use crate::web::inventory::query::link;
use crate::web::inventory::{Problem, Row};
use std::time::Duration;

/// A point in time as text.
pub struct Timestamp {
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
        let datetime = rfc3339(at);
        Self {
            text: datetime.as_ref().map_or_else(
                || "invalid time".to_owned(),
                |datetime| format!("{} {} UTC", &datetime[..10], &datetime[11..19]),
            ),
            datetime: datetime.unwrap_or_default(),
            ago: distance(at - now),
        }
    }
}

/// Formats the distance from now in the two largest units.
fn distance(seconds: f64) -> String {
    let length =
        format_duration(Duration::try_from_secs_f64(seconds.abs()).unwrap_or(Duration::MAX));
    if seconds > 0.0 {
        format!("in {length}")
    } else {
        format!("{length} ago")
    }
}

/// Formats a duration in its two largest units.
fn format_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let in_units = |large: u64, large_name: &str, small: u64, small_name: &str| {
        let (larges, smalls) = (seconds / large, seconds % large / small);
        match smalls {
            0 => format!("{larges} {large_name}"),
            smalls => format!("{larges} {large_name} {smalls} {small_name}"),
        }
    };
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => in_units(60, "min", 1, "s"),
        3600..86_400 => in_units(3600, "h", 60, "min"),
        _ => in_units(86_400, "d", 3600, "h"),
    }
}

/// A row of an integration.
pub struct RowView<'a> {
    /// The HTML id: the same in each response, so that `page.js` finds the row again.
    pub id: String,
    pub severity: &'static str,
    pub icon: &'static str,
    pub status: &'static str,
    /// A short addition to the status.
    pub note: Option<String>,
    pub name: &'a str,
    pub arn: &'a str,
    pub source: &'a str,
    pub target: &'a str,
    pub since: Option<Timestamp>,
    pub created: Option<Timestamp>,
    pub refresh_interval: Option<String>,
    /// True if the integration is a one-time snapshot.
    pub one_time: bool,
    pub tags: Vec<(&'a str, &'a str)>,
    pub scopes: Vec<&'a ScopeState>,
    pub observed_at: Timestamp,
    /// True if AWS answered that the integration does not exist.
    pub missing: bool,
    pub old: bool,
    pub errors: &'a [IntegrationError],
    /// The number of errors that are not in `errors`.
    pub omitted_errors: usize,
    /// The URL of a page with only this integration.
    pub link: String,
}

impl<'a> RowView<'a> {
    /// Creates the view of `row`. Its errors reduce `error_bytes`, the remaining size of all errors on the page.
    pub fn of(view: &'a View<'_>, row: Row<'a>, error_bytes: &mut usize) -> Self {
        let integration = row.integration();
        let problem = row.problem(view.now);
        let timestamp = |at: f64| Timestamp::at(at, view.now);
        let (errors, omitted_errors) = fitting(row.errors(), error_bytes);
        let (severity, icon) = match problem {
            Some(Problem::Failed | Problem::Missing) => ("bad", "✖"),
            Some(Problem::NeedsAttention | Problem::Stuck) => ("warn", "▲"),
            Some(Problem::Errors | Problem::UnknownStatus) => ("look", "◆"),
            None if row.status() == Some(Status::Active) => ("well", "●"),
            None => ("moving", "◌"),
        };
        let tags = match row {
            Row::Shown(shown, _) => &shown.labels.tags[..],
            Row::Missing(_) => &[],
        };
        Self {
            id: format!("i-{:016x}", fnv1a(&[row.arn()])),
            severity,
            icon,
            status: StatusFilter::of(row).as_str(),
            note: note(row, problem),
            name: row.name(),
            arn: row.arn(),
            source: integration.map_or("", |integration| &integration.source_arn),
            target: integration.map_or("", |integration| &integration.target_arn),
            since: row.since().map(timestamp),
            created: integration
                .and_then(|integration| integration.created)
                .map(timestamp),
            refresh_interval: integration
                .and_then(|integration| integration.refresh_interval)
                .map(format_duration),
            one_time: integration
                .is_some_and(|integration| integration.continuous_sync == Some(false)),
            tags: tags
                .iter()
                .filter(|(_, value)| !value.is_empty())
                .map(|(label, value)| (&**label, value.as_str()))
                .collect(),
            scopes: row.scopes(view.snapshot).collect(),
            observed_at: timestamp(row.observed_at()),
            missing: problem == Some(Problem::Missing),
            old: row.is_old(),
            errors,
            omitted_errors,
            link: link([("q", row.arn())]),
        }
    }
}

fn note(row: Row<'_>, problem: Option<Problem>) -> Option<String> {
    match problem? {
        Problem::Failed | Problem::NeedsAttention => None,
        Problem::Stuck => Some("stuck".to_owned()),
        Problem::Missing => Some("does not exist in AWS".to_owned()),
        Problem::Errors => match row.errors().len() {
            1 => Some("1 error".to_owned()),
            many => Some(format!("{many} errors")),
        },
        Problem::UnknownStatus => {
            let text = row.integration()?.status_text.as_deref();
            Some(match text {
                Some(text) => format!("AWS sent the status “{text}”"),
                None => "AWS sent no status".to_owned(),
            })
        }
    }
}

/// Returns the first errors that fit into `error_bytes`, and the number of the remaining ones.
fn fitting<'a>(
    errors: &'a [IntegrationError],
    error_bytes: &mut usize,
) -> (&'a [IntegrationError], usize) {
    /// The HTML around the code and the message.
    const MARKUP_BYTES: usize = 100;
    let fitting = errors.iter().take_while(|error| {
        let texts = [&error.code, &error.message].into_iter().flatten();
        let needed = MARKUP_BYTES + texts.map(String::len).sum::<usize>();
        let fits = needed <= *error_bytes;
        *error_bytes = error_bytes.saturating_sub(needed);
        fits
    });
    let fitting = fitting.count();
    (&errors[..fitting], errors.len() - fitting)
}

/// A row of a scope in a region.
pub struct ScopeRow<'a> {
    pub scope: &'a ScopeState,
    pub link: String,
    pub severity: &'static str,
    pub icon: &'static str,
    pub state: &'static str,
    pub interval: String,
    pub integrations: Option<usize>,
    pub last_success: Option<Timestamp>,
    pub next_poll: Option<Timestamp>,
    pub polling: bool,
    pub failed: Option<(Timestamp, &'a Failed)>,
    /// True if the last poll succeeded.
    pub recovered: bool,
    pub names: &'static str,
    pub failed_names: Option<&'a Failed>,
    /// The reasons of `failed`.
    pub reasons: String,
}

impl<'a> ScopeRow<'a> {
    /// Creates the row of the scope at `index` in the snapshot.
    pub fn of(view: &'a View<'_>, index: usize) -> Self {
        let scope = &view.snapshot.scopes[index];
        let diagnostics = view.snapshot.diagnostics.scopes.get(index);
        let polled = scope.polled.as_ref();
        let timestamp = |at: f64| Timestamp::at(at, view.now);
        let is_configured =
            |missing: &Missing| missing.scopes.iter().any(|it| *it as usize == index);
        let serves_old_data = |polled: &PolledScope| {
            let mut missing = view.snapshot.missing.iter();
            polled.integrations > 0
                || polled.stale && missing.any(|missing| missing.stale && is_configured(missing))
        };
        let (severity, icon, state) = match polled {
            None => ("look", "◌", "not polled yet"),
            Some(polled) if !polled.up && serves_old_data(polled) => {
                ("bad", "✖", "failing, serving old data")
            }
            Some(polled) if !polled.up => ("bad", "✖", "failing"),
            Some(polled) if polled.stale => ("warn", "▲", "serving old data"),
            Some(_) => ("well", "●", "healthy"),
        };
        let next = view.next_polls.get(index).copied().flatten();
        let failed = diagnostics.and_then(|diagnostics| diagnostics.failed_poll.as_deref());
        let reasons = failed.iter().flat_map(|failed| &failed.failures);
        let reasons: Vec<&str> = reasons.map(|failure| failure.reason).collect();
        Self {
            scope,
            link: link([("scope", scope.scope.as_str()), ("region", &scope.region)]),
            severity,
            icon,
            state,
            interval: format_duration(scope.interval),
            integrations: polled.map(|polled| polled.integrations),
            last_success: polled.and_then(|polled| polled.last_success).map(timestamp),
            next_poll: next.filter(|next| *next > view.now).map(timestamp),
            polling: next.is_some_and(|next| next <= view.now),
            failed: failed.map(|failed| (timestamp(failed.at), failed)),
            recovered: polled.is_some_and(|polled| polled.up),
            names: match scope.names_up {
                Some(true) => "fetched",
                Some(false) => "failed to fetch",
                None => "not fetched",
            },
            failed_names: diagnostics
                .and_then(|diagnostics| diagnostics.failed_metadata.as_deref()),
            reasons: if reasons.is_empty() {
                "failed before the exporter started".to_owned()
            } else {
                reasons.join(", ")
            },
        }
    }
}
