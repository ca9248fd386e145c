//! The JSON API. `api/openapi.yaml` describes it; `tests/api.rs` compares the two.

use crate::arn::Arn;
use crate::clock::{rfc3339, round_to_millis, seconds};
use crate::snapshot::{Failed, MAX_ARN_BYTES, ScopeState, Snapshot};
use crate::web::inventory::filter::{Filter, StatusFilter};
use crate::web::inventory::query::{InvalidParameter, parse_query};
use crate::web::inventory::{Problem, Row, rows};
use serde::Serialize;
use std::collections::BTreeMap;

/// The OpenAPI description of the API.
pub const OPENAPI: &str = include_str!("api/openapi.yaml");

/// The default and the maximum of the parameter `limit`.
const DEFAULT_LIMIT: usize = 1000;
const MAX_LIMIT: usize = 10_000;
/// A response ends after the row that makes it larger than this, because AWS's error messages are long and their number is not limited.
const MAX_RESPONSE_BYTES: usize = 8 * 1024 * 1024;

/// The body of a list response.
#[derive(Serialize)]
struct List<T> {
    as_of: Option<String>,
    /// The number of matching rows in all responses of the list.
    total: usize,
    /// The value of `after` for the next response; `None` in the last one.
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
struct ErrorBody<'a> {
    error: ErrorDetails<'a>,
}

#[derive(Serialize)]
struct ErrorDetails<'a> {
    parameter: &'a str,
    value: &'a str,
    allowed: &'a str,
    message: String,
}

/// The parameters that select a part of a list.
#[derive(Default)]
struct ListOptions {
    limit: Option<usize>,
    after: Option<String>,
}

impl ListOptions {
    const PARAMETERS: [&str; 2] = ["limit", "after"];

    fn set(&mut self, name: &str, value: &str) -> Result<bool, InvalidParameter> {
        let repeated = match name {
            "limit" => {
                let digits = value.bytes().all(|byte| byte.is_ascii_digit());
                let limit = value.parse().ok().filter(|_| digits);
                let limit = limit.filter(|limit| (1..=MAX_LIMIT).contains(limit));
                let allowed = || format!("a whole number from 1 to {MAX_LIMIT}");
                let limit = limit.ok_or_else(|| InvalidParameter::new(name, value, allowed()))?;
                self.limit.replace(limit).is_some()
            }
            "after" => {
                if !(1..=MAX_ARN_BYTES).contains(&value.chars().count()) {
                    let allowed =
                        format!("the next of a response, from 1 to {MAX_ARN_BYTES} characters");
                    return Err(InvalidParameter::new(name, value, allowed));
                }
                self.after.replace(value.to_owned()).is_some()
            }
            _ => return Ok(false),
        };
        if repeated {
            return Err(InvalidParameter::repeated(name, value));
        }
        Ok(true)
    }

    /// Returns the JSON of the selected part of `all`, which is sorted by `key`.
    fn render<T: Copy, R: Serialize>(
        &self,
        all: &[T],
        now: f64,
        key: impl Fn(T) -> String,
        row: impl Fn(T) -> R,
    ) -> Result<Vec<u8>, serde_json::Error> {
        let after = self.after.as_deref();
        let first = after.map_or(0, |after| {
            all.partition_point(|item| key(*item).as_str() <= after)
        });
        let rest = &all[first..];
        let mut items = Vec::new();
        let mut bytes = 0;
        for item in rest.iter().take(self.limit.unwrap_or(DEFAULT_LIMIT)) {
            let json = serde_json::value::to_raw_value(&row(*item))?;
            bytes += json.get().len();
            items.push(json);
            if bytes > MAX_RESPONSE_BYTES {
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

/// The reason for an unsuccessful response.
pub enum ApiError {
    /// The request has an invalid parameter; this is the JSON of the response.
    InvalidParameter(Vec<u8>),
    /// The rows cannot be written as JSON, which is a bug.
    Serialization(serde_json::Error),
}

impl From<InvalidParameter> for ApiError {
    fn from(invalid: InvalidParameter) -> Self {
        let message = invalid.to_string();
        let InvalidParameter {
            parameter,
            value,
            allowed,
        } = &invalid;
        let error = ErrorDetails {
            parameter,
            value,
            allowed,
            message,
        };
        serde_json::to_vec(&ErrorBody { error })
            .map_or_else(Self::Serialization, Self::InvalidParameter)
    }
}

impl From<serde_json::Error> for ApiError {
    fn from(error: serde_json::Error) -> Self {
        Self::Serialization(error)
    }
}

/// Returns the JSON of the integrations that `query` selects, at `now` in Unix seconds.
///
/// # Errors
/// If the query has an invalid parameter.
pub fn integrations(snapshot: &Snapshot, now: f64, query: &str) -> Result<Vec<u8>, ApiError> {
    let (mut filter, mut options) = (Filter::default(), ListOptions::default());
    for (name, value) in parse_query(query)? {
        if !filter.set(&name, &value, snapshot)? && !options.set(&name, &value)? {
            let known = [&Filter::PARAMETERS[..], &ListOptions::PARAMETERS].concat();
            return Err(InvalidParameter::unknown(&name, &value, &known).into());
        }
    }
    let mut rows = rows(snapshot);
    rows.retain(|row| filter.matches_status(*row, now) && filter.matches_location(*row, snapshot));
    let key = |row: Row<'_>| row.arn().to_owned();
    Ok(options.render(&rows, now, key, |row| integration_row(row, snapshot, now))?)
}

/// Returns the JSON of the scopes that `query` selects, at `now` in Unix seconds. `next_polls` has one time for each scope of the snapshot.
///
/// # Errors
/// If the query has an invalid parameter.
pub fn scopes(
    snapshot: &Snapshot,
    next_polls: &[Option<f64>],
    now: f64,
    query: &str,
) -> Result<Vec<u8>, ApiError> {
    const PARAMETERS: [&str; 2] = ["scope", "region"];
    let (mut filter, mut options) = (Filter::default(), ListOptions::default());
    for (name, value) in parse_query(query)? {
        let is_filter = PARAMETERS.contains(&name.as_str());
        let is_set = is_filter && filter.set(&name, &value, snapshot)?;
        if !is_set && !options.set(&name, &value)? {
            let known = [PARAMETERS, ListOptions::PARAMETERS].concat();
            return Err(InvalidParameter::unknown(&name, &value, &known).into());
        }
    }
    let matches =
        |wanted: &Option<String>, value: &str| wanted.as_ref().is_none_or(|wanted| wanted == value);
    let mut indexes: Vec<usize> = (0..snapshot.scopes.len()).collect();
    indexes.retain(|index| {
        let scope = &snapshot.scopes[*index];
        matches(&filter.scope, &scope.scope) && matches(&filter.region, &scope.region)
    });
    let key = |index: usize| {
        let scope = &snapshot.scopes[index];
        format!("{}/{}", scope.scope, scope.region)
    };
    // Sorting by scope and region would differ from the order of the keys: a hyphen in a scope's name sorts before the slash.
    indexes.sort_by_cached_key(|index| key(*index));
    let row = |index| scope_row(snapshot, index, next_polls, now);
    Ok(options.render(&indexes, now, key, row)?)
}

fn integration_row<'a>(row: Row<'a>, snapshot: &'a Snapshot, now: f64) -> IntegrationRow<'a> {
    let integration = row.integration();
    let fields = row.arn_fields();
    let text = |text: &'a str| Some(text).filter(|text| !text.is_empty());
    let source = integration.map_or("", |integration| &integration.source_arn);
    let target = integration.map_or("", |integration| &integration.target_arn);
    let metadata = match row {
        Row::Shown(shown, _) => Some(&shown.labels),
        Row::Missing(_) => None,
    };
    let tags = metadata.iter().flat_map(|metadata| &metadata.tags);
    let existing = integration.filter(|_| metadata.is_some());
    let status_since = match row {
        Row::Shown(shown, _) => Some(shown.status_since).filter(|since| *since > 0.0),
        Row::Missing(missing) => missing.since,
    };
    IntegrationRow {
        arn: row.arn(),
        name: text(row.name()),
        tags: tags
            .filter(|(_, value)| !value.is_empty())
            .map(|(label, value)| (&**label, value.as_str()))
            .collect(),
        account: text(fields.account),
        region: text(fields.region),
        source_arn: text(source),
        target_arn: text(target),
        source_service: text(Arn::split(source).service),
        target_service: text(Arn::split(target).service),
        status: StatusFilter::of(row).as_str(),
        status_text: existing.and_then(|integration| integration.status_text.as_deref()),
        status_since: status_since.and_then(rfc3339),
        problem: row.problem(now).map(Problem::as_str),
        created: integration.and_then(|integration| rfc3339(integration.created?)),
        refresh_interval_seconds: existing
            .and_then(|integration| Some(integration.refresh_interval?.as_secs())),
        continuous_sync: existing.and_then(|integration| integration.continuous_sync),
        target_namespace: existing.and_then(|integration| integration.target_namespace.as_deref()),
        errors: row
            .errors()
            .iter()
            .map(|error| ErrorRow {
                code: error.code.as_deref(),
                message: error.message.as_deref(),
            })
            .collect(),
        scopes: row
            .scopes(snapshot)
            .map(|scope| ScopeKey {
                scope: &scope.scope,
                region: &scope.region,
            })
            .collect(),
        seen: rfc3339(row.observed_at()),
        old: row.is_old(),
    }
}

fn scope_row<'a>(
    snapshot: &'a Snapshot,
    index: usize,
    next_polls: &[Option<f64>],
    now: f64,
) -> ScopeRow<'a> {
    let scope: &ScopeState = &snapshot.scopes[index];
    let diagnostics = snapshot.diagnostics.scopes.get(index);
    let polled = scope.polled.as_ref();
    let next_poll = next_polls.get(index).copied().flatten();
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
