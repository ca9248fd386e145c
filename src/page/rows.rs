//! One integration, one scope and one moment, in the words of the page.

use super::View;
use crate::clock::rfc3339;
use crate::hash::fnv1a;
use crate::inventory::filter::State;
use crate::inventory::query::link;
use crate::inventory::{Entry, Problem};
use crate::snapshot::{Failed, IntegrationError, Missing, PolledScope, ScopeState, Status};
use std::time::Duration;

/// A moment for people.
pub struct Moment {
    /// As a calendar has it, for machines.
    pub datetime: String,
    /// To the second, in UTC.
    pub text: String,
    /// From now.
    pub ago: String,
}

impl Moment {
    /// `at`, seen from `now`, both in Unix seconds.
    pub fn at(at: f64, now: f64) -> Self {
        let datetime = rfc3339(at);
        Self {
            text: datetime.as_ref().map_or_else(
                || "a moment that no calendar has".to_owned(),
                |datetime| format!("{} {} UTC", &datetime[..10], &datetime[11..19]),
            ),
            datetime: datetime.unwrap_or_default(),
            ago: distance(at - now),
        }
    }
}

/// How far a moment is from now, in its two largest units.
fn distance(seconds: f64) -> String {
    let length = span(Duration::try_from_secs_f64(seconds.abs()).unwrap_or(Duration::MAX));
    if seconds > 0.0 {
        format!("in {length}")
    } else {
        format!("{length} ago")
    }
}

/// A duration in its two largest units.
fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let of = |unit: u64, name: &str, part: u64, part_name: &str| {
        let (units, parts) = (seconds / unit, seconds % unit / part);
        match parts {
            0 => format!("{units} {name}"),
            parts => format!("{units} {name} {parts} {part_name}"),
        }
    };
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => of(60, "min", 1, "s"),
        3600..86_400 => of(3600, "h", 60, "min"),
        _ => of(86_400, "d", 3600, "h"),
    }
}

/// An integration.
pub struct Row<'a> {
    /// Stays the same, so that it is found again when the page is refreshed.
    pub id: String,
    pub kind: &'static str,
    pub sign: &'static str,
    pub state: &'static str,
    /// What the state does not say.
    pub note: Option<String>,
    pub name: &'a str,
    pub arn: &'a str,
    pub source: &'a str,
    pub target: &'a str,
    pub since: Option<Moment>,
    pub created: Option<Moment>,
    pub every: Option<String>,
    pub once: bool,
    pub tags: Vec<(&'a str, &'a str)>,
    pub scopes: Vec<&'a ScopeState>,
    pub seen: Moment,
    /// Nothing sees it: AWS answered that there is none.
    pub missing: bool,
    pub old: bool,
    pub errors: &'a [IntegrationError],
    /// How many more there are than are shown here.
    pub left_out: usize,
    /// Shows it alone.
    pub link: String,
}

impl<'a> Row<'a> {
    /// The row of `entry`; the text of its errors takes from what is left for the page.
    pub fn of(view: &'a View<'_>, entry: Entry<'a>, text: &mut usize) -> Self {
        let integration = entry.integration();
        let problem = entry.problem(view.now);
        let when = |at: f64| Moment::at(at, view.now);
        let (errors, left_out) = fitting(entry.errors(), text);
        let (kind, sign) = match problem {
            Some(Problem::Failed | Problem::Missing) => ("bad", "✖"),
            Some(Problem::NeedsAttention | Problem::Stuck) => ("warn", "▲"),
            Some(Problem::Errors | Problem::UnknownStatus) => ("look", "◆"),
            None if entry.status() == Some(Status::Active) => ("well", "●"),
            None => ("moving", "◌"),
        };
        let tags = match entry {
            Entry::Shown(shown, _) => &shown.labels.tags[..],
            Entry::Missing(_) => &[],
        };
        Self {
            id: format!("i-{:016x}", fnv1a(&[entry.arn()])),
            kind,
            sign,
            state: State::of(entry).as_str(),
            note: note(entry, problem),
            name: entry.name(),
            arn: entry.arn(),
            source: integration.map_or("", |integration| &integration.source_arn),
            target: integration.map_or("", |integration| &integration.target_arn),
            since: entry.since().map(when),
            created: integration
                .and_then(|integration| integration.created)
                .map(when),
            every: integration
                .and_then(|integration| integration.refresh_interval)
                .map(span),
            once: integration.is_some_and(|integration| integration.continuous_sync == Some(false)),
            tags: tags
                .iter()
                .filter(|(_, value)| !value.is_empty())
                .map(|(label, value)| (&**label, value.as_str()))
                .collect(),
            scopes: entry.scopes(view.snapshot).collect(),
            seen: when(entry.seen()),
            missing: problem == Some(Problem::Missing),
            old: entry.is_old(),
            errors,
            left_out,
            link: link([("q", entry.arn())]),
        }
    }
}

fn note(entry: Entry<'_>, problem: Option<Problem>) -> Option<String> {
    match problem? {
        Problem::Failed => None,
        Problem::NeedsAttention => None,
        Problem::Stuck => Some("stuck".to_owned()),
        Problem::Missing => Some("AWS answers that there is no such integration".to_owned()),
        Problem::Errors => match entry.errors().len() {
            1 => Some("with an error".to_owned()),
            many => Some(format!("with {many} errors")),
        },
        Problem::UnknownStatus => {
            let text = entry.integration()?.status_text.as_deref();
            Some(match text {
                Some(text) => format!("AWS says “{text}”"),
                None => "AWS sent no status".to_owned(),
            })
        }
    }
}

/// As many as there is room for, and how many are left out.
fn fitting<'a>(
    errors: &'a [IntegrationError],
    text: &mut usize,
) -> (&'a [IntegrationError], usize) {
    /// Around the code and the message.
    const MARKUP: usize = 100;
    let fitting = errors.iter().take_while(|error| {
        let parts = [&error.code, &error.message].into_iter().flatten();
        let needed = MARKUP + parts.map(String::len).sum::<usize>();
        let fits = needed <= *text;
        *text = text.saturating_sub(needed);
        fits
    });
    let fitting = fitting.count();
    (&errors[..fitting], errors.len() - fitting)
}

/// A scope in a region.
pub struct ScopeRow<'a> {
    pub scope: &'a ScopeState,
    pub link: String,
    pub kind: &'static str,
    pub sign: &'static str,
    pub state: &'static str,
    pub interval: String,
    pub integrations: Option<usize>,
    pub last_success: Option<Moment>,
    pub next_poll: Option<Moment>,
    pub polling: bool,
    pub failed: Option<(Moment, &'a Failed)>,
    /// The last poll was not the one that failed.
    pub over: bool,
    pub names: &'static str,
    pub failed_names: Option<&'a Failed>,
    /// The reasons of the failure that goes on.
    pub reasons: String,
}

impl<'a> ScopeRow<'a> {
    /// The row of the scope at that place of the snapshot.
    pub fn of(view: &'a View<'_>, place: usize) -> Self {
        let scope = &view.snapshot.scopes[place];
        let diagnostics = view.snapshot.diagnostics.scopes.get(place);
        let polled = scope.polled.as_ref();
        let when = |at: f64| Moment::at(at, view.now);
        let is_here = |missing: &Missing| missing.scopes.iter().any(|it| *it as usize == place);
        let shows_old = |polled: &PolledScope| {
            let mut missing = view.snapshot.diagnostics.missing.iter();
            polled.integrations > 0
                || polled.stale && missing.any(|missing| missing.stale && is_here(missing))
        };
        let (kind, sign, state) = match polled {
            None => ("look", "◌", "not polled yet"),
            Some(polled) if !polled.up && shows_old(polled) => {
                ("bad", "✖", "failing, shows old data")
            }
            Some(polled) if !polled.up => ("bad", "✖", "failing"),
            Some(polled) if polled.stale => ("warn", "▲", "shows old data"),
            Some(_) => ("well", "●", "gets everything"),
        };
        let next = view.next_polls.get(place).copied().flatten();
        let failed = diagnostics.and_then(|diagnostics| diagnostics.failed_poll.as_deref());
        let reasons = failed.iter().flat_map(|failed| &failed.failures);
        let reasons: Vec<&str> = reasons.map(|failure| failure.reason).collect();
        Self {
            scope,
            link: link([("scope", scope.scope.as_str()), ("region", &scope.region)]),
            kind,
            sign,
            state,
            interval: span(scope.interval),
            integrations: polled.map(|polled| polled.integrations),
            last_success: polled.and_then(|polled| polled.last_success).map(when),
            next_poll: next.filter(|next| *next > view.now).map(when),
            polling: next.is_some_and(|next| next <= view.now),
            failed: failed.map(|failed| (when(failed.at), failed)),
            over: polled.is_some_and(|polled| polled.up),
            names: match scope.names_up {
                Some(true) => "known",
                Some(false) => "cannot be had",
                None => "not asked for",
            },
            failed_names: diagnostics
                .and_then(|diagnostics| diagnostics.failed_metadata.as_deref()),
            reasons: if reasons.is_empty() {
                "before this start of the exporter".to_owned()
            } else {
                reasons.join(", ")
            },
        }
    }
}
