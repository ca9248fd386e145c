//! What the exporter knows, as JSON for scripts. `api/openapi.yaml` describes it; `tests/api.rs` holds the two together.

use crate::clock::{rfc3339, round_to_millis, seconds};
use crate::inventory::filter::{Filter, State};
use crate::inventory::query::{Refused, parameters};
use crate::inventory::{Entry, Problem, entries};
use crate::snapshot::{ArnFields, Failed, MAX_ARN_BYTES, ScopeState, Snapshot};
use serde::Serialize;
use std::collections::BTreeMap;

/// The description of the API, as it is served.
pub const OPENAPI: &str = include_str!("api/openapi.yaml");

/// So many rows are in one answer unless the client says otherwise, and so many at most.
const DEFAULT_LIMIT: usize = 1000;
const MOST_ROWS: usize = 10_000;
/// An answer ends behind the row with which it gets larger than this. AWS's messages can be long, and there is no limit to their number.
const MOST_BYTES: usize = 8 * 1024 * 1024;

/// Rows, and where the next ones are.
#[derive(Serialize)]
struct List<T> {
    as_of: Option<String>,
    /// How many fit, in this answer or not.
    total: usize,
    /// What to give as `after`; none in the last answer.
    next: Option<String>,
    items: Vec<T>,
}

#[derive(Serialize)]
struct IntegrationRow<'a> {
    arn: &'a str,
    name: Option<&'a str>,
    tags: BTreeMap<&'a str, &'a str>,
    account: Option<&'a str>,
    region: Option<&'a str>,
    source_arn: Option<&'a str>,
    target_arn: Option<&'a str>,
    source_service: Option<&'a str>,
    target_service: Option<&'a str>,
    status: &'static str,
    status_text: Option<&'a str>,
    status_since: Option<String>,
    problem: Option<&'static str>,
    created: Option<String>,
    refresh_interval_seconds: Option<u64>,
    continuous_sync: Option<bool>,
    target_namespace: Option<&'a str>,
    errors: Vec<ErrorRow<'a>>,
    scopes: Vec<ScopeKey<'a>>,
    seen: Option<String>,
    old: bool,
}

#[derive(Serialize)]
struct ErrorRow<'a> {
    code: Option<&'a str>,
    message: Option<&'a str>,
}

#[derive(Serialize)]
struct ScopeKey<'a> {
    scope: &'a str,
    region: &'a str,
}

#[derive(Serialize)]
struct ScopeRow<'a> {
    scope: &'a str,
    region: &'a str,
    interval_seconds: f64,
    up: Option<bool>,
    stale: Option<bool>,
    last_success: Option<String>,
    last_poll_duration_seconds: Option<f64>,
    integrations: Option<usize>,
    polling: bool,
    next_poll: Option<String>,
    last_failure: Option<FailedRow<'a>>,
    names_up: Option<bool>,
    names_failure: Option<FailedRow<'a>>,
}

#[derive(Serialize)]
struct FailedRow<'a> {
    at: Option<String>,
    failures: Vec<FailureRow<'a>>,
}

#[derive(Serialize)]
struct FailureRow<'a> {
    reason: &'static str,
    message: &'a str,
    request_id: Option<&'a str>,
    queries: usize,
}

#[derive(Serialize)]
struct Refusal<'a> {
    error: RefusalRow<'a>,
}

#[derive(Serialize)]
struct RefusalRow<'a> {
    parameter: &'a str,
    value: &'a str,
    allowed: &'a str,
    message: String,
}

/// Which part of a list is wanted.
#[derive(Default)]
struct Part {
    limit: Option<usize>,
    after: Option<String>,
}

impl Part {
    const PARAMETERS: [&str; 2] = ["limit", "after"];

    fn take(&mut self, name: &str, value: &str) -> Result<bool, Refused> {
        let twice = match name {
            "limit" => {
                let digits = value.bytes().all(|byte| byte.is_ascii_digit());
                let limit = value.parse().ok().filter(|_| digits);
                let limit = limit.filter(|limit| (1..=MOST_ROWS).contains(limit));
                let allowed = || format!("a whole number from 1 to {MOST_ROWS}");
                let limit = limit.ok_or_else(|| Refused::value(name, value, allowed()))?;
                self.limit.replace(limit).is_some()
            }
            "after" => {
                if !(1..=MAX_ARN_BYTES).contains(&value.chars().count()) {
                    let allowed =
                        format!("what an answer has as next, of 1 to {MAX_ARN_BYTES} characters");
                    return Err(Refused::value(name, value, allowed));
                }
                self.after.replace(value.to_owned()).is_some()
            }
            _ => return Ok(false),
        };
        if twice {
            return Err(Refused::twice(name, value));
        }
        Ok(true)
    }

    /// The list of that part of `all`, which is sorted by `key`.
    fn of<T: Copy, R: Serialize>(
        &self,
        all: &[T],
        now: f64,
        key: impl Fn(T) -> String,
        row: impl Fn(T) -> R,
    ) -> Result<Vec<u8>, serde_json::Error> {
        let after = self.after.as_deref();
        let first = after.map_or(0, |after| {
            all.partition_point(|thing| key(*thing).as_str() <= after)
        });
        let rest = &all[first..];
        let mut items = Vec::new();
        let mut bytes = 0;
        for thing in rest.iter().take(self.limit.unwrap_or(DEFAULT_LIMIT)) {
            let item = serde_json::value::to_raw_value(&row(*thing))?;
            bytes += item.get().len();
            items.push(item);
            if bytes > MOST_BYTES {
                break;
            }
        }
        let last = items.len().checked_sub(1).and_then(|last| rest.get(last));
        serde_json::to_vec(&List {
            as_of: rfc3339(now),
            total: all.len(),
            next: last
                .filter(|_| items.len() < rest.len())
                .map(|last| key(*last)),
            items,
        })
    }
}

/// Why a request is not answered.
pub enum NoAnswer {
    /// The request is wrong; this says why.
    Refused(Vec<u8>),
    /// What never happens: it cannot be written as JSON.
    Failed(serde_json::Error),
}

impl From<Refused> for NoAnswer {
    fn from(refused: Refused) -> Self {
        let message = refused.to_string();
        let Refused {
            parameter,
            value,
            allowed,
        } = &refused;
        let error = RefusalRow {
            parameter,
            value,
            allowed,
            message,
        };
        serde_json::to_vec(&Refusal { error }).map_or_else(Self::Failed, Self::Refused)
    }
}

impl From<serde_json::Error> for NoAnswer {
    fn from(error: serde_json::Error) -> Self {
        Self::Failed(error)
    }
}

/// The integrations that `query` asks for, at `now` in Unix seconds.
///
/// # Errors
/// If the query has a parameter or a value that there is not.
pub fn integrations(snapshot: &Snapshot, now: f64, query: &str) -> Result<Vec<u8>, NoAnswer> {
    let (mut filter, mut part) = (Filter::default(), Part::default());
    for (name, value) in parameters(query)? {
        if !filter.take(&name, &value, snapshot)? && !part.take(&name, &value)? {
            let known = [&Filter::PARAMETERS[..], &Part::PARAMETERS].concat();
            return Err(Refused::unknown(&name, &value, &known).into());
        }
    }
    let mut entries = entries(snapshot);
    entries
        .retain(|entry| filter.fits_state(*entry, now) && filter.fits_elsewhere(*entry, snapshot));
    let key = |entry: Entry<'_>| entry.arn().to_owned();
    Ok(part.of(&entries, now, key, |entry| {
        integration_row(entry, snapshot, now)
    })?)
}

/// The scopes that `query` asks for, at `now` in Unix seconds; `next_polls` has one moment for each scope of the snapshot.
///
/// # Errors
/// If the query has a parameter or a value that there is not.
pub fn scopes(
    snapshot: &Snapshot,
    next_polls: &[Option<f64>],
    now: f64,
    query: &str,
) -> Result<Vec<u8>, NoAnswer> {
    const PARAMETERS: [&str; 2] = ["scope", "region"];
    let (mut filter, mut part) = (Filter::default(), Part::default());
    for (name, value) in parameters(query)? {
        let is_filter = PARAMETERS.contains(&name.as_str());
        let taken = is_filter && filter.take(&name, &value, snapshot)?;
        if !taken && !part.take(&name, &value)? {
            let known = [PARAMETERS, Part::PARAMETERS].concat();
            return Err(Refused::unknown(&name, &value, &known).into());
        }
    }
    let is =
        |wanted: &Option<String>, value: &str| wanted.as_ref().is_none_or(|wanted| wanted == value);
    let mut places: Vec<usize> = (0..snapshot.scopes.len()).collect();
    places.retain(|place| {
        let scope = &snapshot.scopes[*place];
        is(&filter.scope, &scope.scope) && is(&filter.region, &scope.region)
    });
    let key = |place: usize| {
        let scope = &snapshot.scopes[place];
        format!("{}/{}", scope.scope, scope.region)
    };
    // By the key as it is given: a hyphen in a scope's name comes before the slash behind it.
    places.sort_by_cached_key(|place| key(*place));
    let row = |place| scope_row(snapshot, place, next_polls, now);
    Ok(part.of(&places, now, key, row)?)
}

fn integration_row<'a>(entry: Entry<'a>, snapshot: &'a Snapshot, now: f64) -> IntegrationRow<'a> {
    let integration = entry.integration();
    let fields = entry.fields();
    let text = |text: &'a str| Some(text).filter(|text| !text.is_empty());
    let source = integration.map_or("", |integration| &integration.source_arn);
    let target = integration.map_or("", |integration| &integration.target_arn);
    let naming = match entry {
        Entry::Shown(shown, _) => Some(&shown.labels),
        Entry::Missing(_) => None,
    };
    let tags = naming.iter().flat_map(|naming| &naming.tags);
    let described = integration.filter(|_| naming.is_some());
    let status_since = match entry {
        Entry::Shown(shown, _) => Some(shown.status_since).filter(|since| *since > 0.0),
        Entry::Missing(missing) => missing.since,
    };
    IntegrationRow {
        arn: entry.arn(),
        name: text(entry.name()),
        tags: tags
            .filter(|(_, value)| !value.is_empty())
            .map(|(label, value)| (&**label, value.as_str()))
            .collect(),
        account: text(fields.account),
        region: text(fields.region),
        source_arn: text(source),
        target_arn: text(target),
        source_service: text(ArnFields::of(source).service),
        target_service: text(ArnFields::of(target).service),
        status: State::of(entry).as_str(),
        status_text: described.and_then(|integration| integration.status_text.as_deref()),
        status_since: status_since.and_then(rfc3339),
        problem: entry.problem(now).map(Problem::as_str),
        created: integration.and_then(|integration| rfc3339(integration.created?)),
        refresh_interval_seconds: described
            .and_then(|integration| Some(integration.refresh_interval?.as_secs())),
        continuous_sync: described.and_then(|integration| integration.continuous_sync),
        target_namespace: described.and_then(|integration| integration.target_namespace.as_deref()),
        errors: entry
            .errors()
            .iter()
            .map(|error| ErrorRow {
                code: error.code.as_deref(),
                message: error.message.as_deref(),
            })
            .collect(),
        scopes: entry
            .scopes(snapshot)
            .map(|scope| ScopeKey {
                scope: &scope.scope,
                region: &scope.region,
            })
            .collect(),
        seen: rfc3339(entry.seen()),
        old: entry.is_old(),
    }
}

fn scope_row<'a>(
    snapshot: &'a Snapshot,
    place: usize,
    next_polls: &[Option<f64>],
    now: f64,
) -> ScopeRow<'a> {
    let scope: &ScopeState = &snapshot.scopes[place];
    let diagnostics = snapshot.diagnostics.scopes.get(place);
    let polled = scope.polled.as_ref();
    let next_poll = next_polls.get(place).copied().flatten();
    let failed = |failed: Option<&'a Failed>| failed.map(failed_row);
    ScopeRow {
        scope: &scope.scope,
        region: &scope.region,
        interval_seconds: seconds(scope.interval),
        up: polled.map(|polled| polled.up),
        stale: polled.map(|polled| polled.stale),
        last_success: polled.and_then(|polled| rfc3339(polled.last_success?)),
        last_poll_duration_seconds: polled
            .map(|polled| round_to_millis(polled.duration.as_secs_f64())),
        integrations: polled.map(|polled| polled.integrations),
        polling: next_poll.is_some_and(|next| next <= now),
        next_poll: next_poll.filter(|next| *next > now).and_then(rfc3339),
        last_failure: failed(
            diagnostics.and_then(|diagnostics| diagnostics.failed_poll.as_deref()),
        ),
        names_up: scope.names_up,
        names_failure: failed(
            diagnostics.and_then(|diagnostics| diagnostics.failed_metadata.as_deref()),
        ),
    }
}

fn failed_row(failed: &Failed) -> FailedRow<'_> {
    FailedRow {
        at: rfc3339(failed.at),
        failures: failed
            .failures
            .iter()
            .map(|failure| FailureRow {
                reason: failure.reason,
                message: &failure.message,
                request_id: failure.request_id.as_deref(),
                queries: failure.queries,
            })
            .collect(),
    }
}
