//! The JSON API. `api/openapi.yaml` describes it; `tests/it/api.rs` compares the two.

use super::inventory::{Condition, Inventory, Row, ScopeRow};
use super::query::{InvalidParameter, Query, Rendered};
use crate::arn::Arn;
use crate::clock::{rfc3339, seconds};
use crate::snapshot::{Failed, Failure, IntegrationError, MAX_ARN_BYTES};
use serde::Serialize;
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};
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
struct List<'a> {
    as_of: Option<String>,
    /// The number of matching rows in all responses of the list.
    total: usize,
    /// The value of `after` for the next response; `None` in the last one.
    next: Option<&'a str>,
    items: Vec<Box<RawValue>>,
}

#[derive(Serialize)]
struct IntegrationItem<'a> {
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
    problem: Option<Condition>,
    created: Option<String>,
    refresh_interval_seconds: Option<u64>,
    continuous_sync: Option<bool>,
    target_namespace: Option<&'a str>,
    errors: &'a [IntegrationError],
    scopes: Vec<ScopeKey<'a>>,
    seen: Option<String>,
    old: bool,
}

#[derive(Serialize)]
struct ScopeKey<'a> {
    scope: &'a str,
    region: &'a str,
}

#[derive(Serialize)]
struct ScopeItem<'a> {
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
    last_failure: Option<FailedPoll<'a>>,
    names_up: Option<bool>,
    names_failure: Option<FailedPoll<'a>>,
}

#[derive(Serialize)]
struct FailedPoll<'a> {
    at: Option<String>,
    failures: &'a [Failure],
}

/// Returns the integrations that `query` selects.
///
/// # Errors
/// If a row cannot be written as JSON, which is a bug.
pub fn integrations(inventory: &Inventory<'_>, query: &str) -> serde_json::Result<Rendered> {
    let parameters = ["status", "scope", "account", "region", "limit", "after"];
    let query = match parse(query, &parameters, inventory) {
        Ok(query) => query,
        Err(invalid) => return refuse(&invalid),
    };
    let rows = inventory.rows().into_iter();
    let rows: Vec<(String, Row<'_>)> = rows
        .filter(|row| row.has_status(query.all("status")) && inventory.has_location(row, &query))
        .map(|row| (row.arn.to_owned(), row))
        .collect();
    list(inventory, &query, &rows, |row| {
        integration_item(inventory, row)
    })
}

/// Returns the scopes that `query` selects.
///
/// # Errors
/// If a row cannot be written as JSON, which is a bug.
pub fn scopes(inventory: &Inventory<'_>, query: &str) -> serde_json::Result<Rendered> {
    let query = match parse(query, &["scope", "region", "limit", "after"], inventory) {
        Ok(query) => query,
        Err(invalid) => return refuse(&invalid),
    };
    let rows = inventory.scopes(&query).into_iter();
    let mut rows: Vec<(String, ScopeRow<'_>)> = rows
        .map(|row| (format!("{}/{}", row.state.scope, row.state.region), row))
        .collect();
    // The scopes are sorted by name and region, which is another order: a hyphen in a name sorts before the slash.
    rows.sort_by(|(key, _), (other, _)| key.cmp(other));
    list(inventory, &query, &rows, scope_item)
}

fn parse(
    query: &str,
    parameters: &[&'static str],
    inventory: &Inventory<'_>,
) -> Result<Query, InvalidParameter> {
    Query::parse(query, parameters, |name, value| match name {
        "limit" => match value.parse() {
            Ok(1..=MAX_LIMIT) => Ok(()),
            _ => Err(format!("a whole number from 1 to {MAX_LIMIT}")),
        },
        "after" => match value.chars().count() {
            1..=MAX_ARN_BYTES => Ok(()),
            _ => Err(format!(
                "the next of a response, from 1 to {MAX_ARN_BYTES} characters"
            )),
        },
        filter => inventory.check_filter(filter, value),
    })
}

fn refuse(invalid: &InvalidParameter) -> serde_json::Result<Rendered> {
    Ok(Rendered {
        body: json!({ "error": invalid }).to_string(),
        is_bad_request: true,
    })
}

/// Renders the part of a list that `query` selects. `rows` have unique keys and are sorted by them.
fn list<R, T: Serialize>(
    inventory: &Inventory<'_>,
    query: &Query,
    rows: &[(String, R)],
    item: impl Fn(&R) -> T,
) -> serde_json::Result<Rendered> {
    let after = query.get("after").unwrap_or_default();
    let rest = &rows[rows.partition_point(|(key, _)| key.as_str() <= after)..];
    let mut items = Vec::new();
    let mut bytes = 0;
    for (_, row) in rest
        .iter()
        .take(query.number("limit").unwrap_or(DEFAULT_LIMIT))
    {
        let json = to_raw_value(&item(row))?;
        bytes += json.get().len();
        items.push(json);
        if bytes > MAX_RESPONSE_BYTES {
            break;
        }
    }
    let last = rest[..items.len()].last().map(|(key, _)| key.as_str());
    let body = serde_json::to_string(&List {
        as_of: rfc3339(inventory.now),
        total: rows.len(),
        next: last.filter(|_| items.len() < rest.len()),
        items,
    })?;
    Ok(Rendered {
        body,
        is_bad_request: false,
    })
}

fn integration_item<'a>(inventory: &Inventory<'a>, row: &Row<'a>) -> IntegrationItem<'a> {
    let arn = Arn::split(row.arn);
    let text = |text: &'a str| Some(text).filter(|text| !text.is_empty());
    let source = row.integration.map_or("", |it| &it.source_arn);
    let target = row.integration.map_or("", |it| &it.target_arn);
    let existing = row.integration.filter(|_| !row.is_missing());
    let scopes = inventory.scopes_of(row);
    let tags = row.tags.iter().filter(|(_, value)| !value.is_empty());
    IntegrationItem {
        arn: row.arn,
        name: text(row.name),
        tags: tags
            .map(|(label, value)| (&**label, value.as_str()))
            .collect(),
        account: text(arn.account),
        region: text(arn.region),
        source_arn: text(source),
        target_arn: text(target),
        source_service: text(Arn::split(source).service),
        target_service: text(Arn::split(target).service),
        status: row.status,
        status_text: existing.and_then(|it| it.status_text.as_deref()),
        status_since: row.status_since.and_then(rfc3339),
        problem: Some(row.condition).filter(|condition| condition.is_problem()),
        created: row.integration.and_then(|it| rfc3339(it.created?)),
        refresh_interval_seconds: existing.and_then(|it| Some(it.refresh_interval?.as_secs())),
        continuous_sync: existing.and_then(|it| it.continuous_sync),
        target_namespace: existing.and_then(|it| it.target_namespace.as_deref()),
        errors: row.errors,
        scopes: scopes
            .map(|scope| ScopeKey {
                scope: &scope.scope,
                region: &scope.region,
            })
            .collect(),
        seen: rfc3339(row.observed_at),
        old: row.old,
    }
}

fn scope_item<'a>(row: &ScopeRow<'a>) -> ScopeItem<'a> {
    let polled = row.state.polled.as_ref();
    let failed = |failed: &'a Failed| FailedPoll {
        at: rfc3339(failed.at),
        failures: &failed.failures,
    };
    ScopeItem {
        scope: &row.state.scope,
        region: &row.state.region,
        interval_seconds: seconds(row.state.interval),
        up: polled.map(|polled| polled.up),
        stale: polled.map(|polled| polled.stale),
        last_success: row.last_success().and_then(rfc3339),
        last_poll_duration_seconds: polled.map(|polled| seconds(polled.duration)),
        integrations: polled.map(|polled| polled.integrations),
        polling: row.polling,
        next_poll: row.next_poll.and_then(rfc3339),
        last_failure: row.failed_poll.map(failed),
        names_up: row.state.names_up,
        names_failure: row.failed_metadata.map(failed),
    }
}
