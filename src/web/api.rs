//! The JSON API. `api/openapi.yaml` describes it; `tests/it/api.rs` compares the two.

use super::inventory::{Inventory, Row, ScopeRow};
use super::query::{Query, Rendered};
use crate::arn::Arn;
use crate::clock::{rfc3339, seconds};
use crate::snapshot::{ExportedFreshness, Failed, MAX_ARN_BYTES};
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub const OPENAPI: &str = include_str!("api/openapi.yaml");

const DEFAULT_LIMIT: usize = 1000;
const MAX_LIMIT: usize = 10_000;
/// A response ends after the row that makes it larger than this, because AWS's error messages are long and their number is not limited.
const MAX_RESPONSE_BYTES: usize = 8 * 1024 * 1024;

pub fn integrations(inventory: &Inventory<'_>, query: &str) -> Rendered {
    let parameters = ["status", "scope", "account", "region", "limit", "after"];
    let query = match parse(query, &parameters, inventory) {
        Ok(query) => query,
        Err(refused) => return refused,
    };
    let mut rows = inventory.rows();
    rows.retain(|row| row.has_status(query.all("status")) && inventory.has_location(row, &query));
    let rows: Vec<_> = rows.iter().map(|row| (row.arn.to_owned(), row)).collect();
    let item = |row: &&Row<'_>| integration_item(inventory, row);
    list(inventory, &query, &rows, item)
}

pub fn scopes(inventory: &Inventory<'_>, query: &str) -> Rendered {
    let query = match parse(query, &["scope", "region", "limit", "after"], inventory) {
        Ok(query) => query,
        Err(refused) => return refused,
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
) -> Result<Query, Rendered> {
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
    .map_err(|invalid| Rendered {
        body: json!({ "error": invalid }).to_string(),
        is_bad_request: true,
    })
}

/// Renders the part of a list that `query` selects. `rows` have unique keys and are sorted by them.
fn list<R>(
    inventory: &Inventory<'_>,
    query: &Query,
    rows: &[(String, R)],
    item: impl Fn(&R) -> Value,
) -> Rendered {
    let after = query.get("after").unwrap_or_default();
    let limit = query.number("limit").unwrap_or(DEFAULT_LIMIT);
    let rest = &rows[rows.partition_point(|(key, _)| key.as_str() <= after)..];
    let mut items = Vec::new();
    let mut bytes = 0;
    for (_, row) in rest.iter().take(limit) {
        let json = item(row).to_string();
        bytes += json.len();
        items.push(json);
        if bytes > MAX_RESPONSE_BYTES {
            break;
        }
    }
    let last = rest[..items.len()].last().map(|(key, _)| key);
    let next = json!(last.filter(|_| items.len() < rest.len()));
    let as_of = json!(rfc3339(inventory.now));
    // The items are text already: 10,000 of them as JSON values would need several times the memory.
    let (total, items) = (rows.len(), items.join(","));
    Rendered {
        body: format!(r#"{{"as_of":{as_of},"total":{total},"next":{next},"items":[{items}]}}"#),
        is_bad_request: false,
    }
}

fn integration_item(inventory: &Inventory<'_>, row: &Row<'_>) -> Value {
    let arn = Arn::split(row.arn);
    let integration = row.integration;
    let source = integration.map_or("", |it| &it.source_arn);
    let target = integration.map_or("", |it| &it.target_arn);
    // A missing integration has its last known description, of which only the ARNs and the creation still hold.
    let existing = integration.filter(|_| !row.is_missing());
    let tags = row.tags.iter().filter(|(_, value)| !value.is_empty());
    let tags: BTreeMap<_, _> = tags.map(|(label, value)| (&**label, value)).collect();
    let scopes = inventory
        .scopes_of(row)
        .map(|it| json!({"scope": it.scope, "region": it.region}));
    json!({
        "arn": row.arn,
        "name": non_empty(row.name),
        "tags": tags,
        "account": non_empty(arn.account),
        "region": non_empty(arn.region),
        "source_arn": non_empty(source),
        "target_arn": non_empty(target),
        "source_service": non_empty(Arn::split(source).service),
        "target_service": non_empty(Arn::split(target).service),
        "status": row.status,
        "status_text": row.status_text(),
        "status_since": row.status_since.and_then(rfc3339),
        "problem": Some(row.condition).filter(|condition| condition.is_problem()),
        "created": integration.and_then(|it| rfc3339(it.created?)),
        "refresh_interval_seconds": existing.and_then(|it| Some(it.refresh_interval?.as_secs())),
        "continuous_sync": existing.and_then(|it| it.continuous_sync),
        "target_namespace": existing.and_then(|it| it.target_namespace.as_deref()),
        "errors": row.errors,
        "scopes": scopes.collect::<Vec<_>>(),
        "seen": rfc3339(row.observed_at),
        "old": row.old,
        "freshness": row.freshness.map(|freshness| freshness_item(row, freshness)),
    })
}

fn freshness_item(row: &Row<'_>, freshness: &ExportedFreshness) -> Value {
    let data = &*freshness.data;
    let tables = row.tables().into_iter().take(freshness.max_tables);
    let tables = tables.map(|(name, table)| {
        json!({
            "name": name,
            "last_success": table.last_success.and_then(rfc3339),
            "last_failure": table.last_failure.and_then(rfc3339),
            "synced_until": table.synced_until.and_then(rfc3339),
        })
    });
    json!({
        "checked": data.checked.and_then(rfc3339),
        "oldest_success": freshness.oldest_success().and_then(rfc3339),
        "tables": freshness.tables(),
        "tables_failing": freshness.tables_failing(),
        "replication_lag_seconds": data.replication_lag,
        "table_details": tables.collect::<Vec<_>>(),
    })
}

fn non_empty(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

fn scope_item(row: &ScopeRow<'_>) -> Value {
    let polled = row.state.polled.as_ref();
    let failed = |it: &Failed| json!({"at": rfc3339(it.at), "failures": it.failures});
    json!({
        "scope": row.state.scope,
        "region": row.state.region,
        "interval_seconds": seconds(row.state.interval),
        "up": polled.map(|polled| polled.up),
        "stale": polled.map(|polled| polled.stale),
        "last_success": row.last_success().and_then(rfc3339),
        "last_poll_duration_seconds": polled.map(|polled| seconds(polled.duration)),
        "integrations": polled.map(|polled| polled.integrations),
        "polling": row.polling,
        "next_poll": row.next_poll.and_then(rfc3339),
        "last_failure": row.state.failed_poll.as_deref().map(failed),
        "names_up": row.state.names_up,
        "names_failure": row.state.failed_metadata.as_deref().map(failed),
        "freshness_up": row.state.freshness_up,
        "freshness_failure": row.state.failed_freshness.as_deref().map(failed),
    })
}
