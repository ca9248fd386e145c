//! The description of a configuration that `check` prints. It contains no secrets.

use std::path::Path;
use std::time::Duration;

use super::model::{Credentials, FreshnessConfig, Query, ScopeRegion};
use super::pattern::Pattern;
use super::selection::Selection;
use super::value::{Lookup, TagLabel};
use crate::toolkit::yaml::format_duration;

const DAY_SECONDS: f64 = 86_400.0;
/// `IngestionSucceeded`, `IngestionFailed` and `LastSyncTimestamp`. Each is listed with one `ListMetrics` too.
const METRICS_PER_TABLE: f64 = 3.0;
const DOLLARS_PER_METRIC: f64 = 0.01 / 1000.0;

/// Describes what the exporter does with this configuration. Numbers of requests are without further pages and retries.
pub fn describe(
    watches: &[ScopeRegion],
    storage: Option<&Path>,
    requests_per_second: u16,
    tag_labels: &[TagLabel],
) -> String {
    let mut text = String::new();
    for watch in watches {
        text += &format!("{}\n", describe_watch(watch));
    }
    // Unlike `sum`, which returns -0 for a shard without scopes.
    let rates = watches.iter().map(requests_per_hour);
    let total = format_rate(rates.fold(0.0, |total, rate| total + rate));
    text += &format!("In total at least {total} API requests per hour.\n");
    for TagLabel { tag, label } in tag_labels {
        let (tag, label) = (tag.as_str(), label.as_str());
        text += &format!("The tag {tag} becomes the label {label} of aws_glue_integration_info.\n");
    }
    text += &match storage {
        Some(path) => format!(
            "The last good data is stored in {} and survives a restart.\n",
            path.display()
        ),
        None => "No data survives a restart, because storage.path is not set.\n".to_owned(),
    };
    if !tag_labels.is_empty() && !watches.iter().any(|watch| watch.describe) {
        text += "Warning: no scope has `describe: true`, so the labels of `tag_labels` will always be empty.\n";
    }
    for watch in watches {
        text += &rate_warning(watch, requests_per_second).unwrap_or_default();
    }
    text
}

/// Warns if the requests need more than half of the timeout. Pages, retries and slow responses need the other half.
fn rate_warning(watch: &ScopeRegion, requests_per_second: u16) -> Option<String> {
    let requests = requests_per_poll(watch);
    let needed = f64::from(requests) / f64::from(requests_per_second);
    (needed > watch.timeout.as_secs_f64() / 2.0).then(|| {
        format!(
            "Warning: scope {} in {} needs {needed:.0}s for its {} at {requests_per_second} requests per second, which is more than half of \
             its timeout of {}; raise polling.requests_per_second or the timeout.\n",
            watch.scope,
            watch.region,
            pluralize(&requests, "request"),
            format_duration(watch.timeout)
        )
    })
}

fn describe_watch(watch: &ScopeRegion) -> String {
    let mut text = format!("Scope {} in {}:\n", watch.scope, watch.region);
    for query in &watch.queries {
        text += &match query {
            Query::Integration(arn) => format!("  watches the integration {arn}\n"),
            Query::Target(arn) => format!("  watches every integration that writes into {arn}\n"),
            Query::All => "  watches every inbound integration of the account\n".to_owned(),
        };
    }
    if watch.queries.iter().any(Query::lists) {
        text += &selection(&watch.selection);
    }
    if watch.lookup == Lookup::List && watch.queries.iter().any(|query| !query.lists()) {
        text += "  looks the integrations up in one listing of the region, and requests each missing one by its ARN\n";
    }
    text += &format!("  uses {}\n", credentials(&watch.credentials));
    text += &format!(
        "  polls every {} with a timeout of {}, at most {} in flight, {}\n",
        format_duration(watch.interval),
        format_duration(watch.timeout),
        pluralize(&watch.concurrency, "request"),
        match watch.page_size {
            Some(size) => format!("{} per page", pluralize(&size, "integration")),
            None => "page size chosen by AWS".to_owned(),
        }
    );
    if watch.describe {
        let interval = format_duration(watch.describe_interval());
        text += &format!(
            "  fetches names and tags every {interval}, which also needs glue:DescribeIntegrations\n"
        );
    }
    if let Some(freshness) = watch.freshness {
        text += &describe_freshness(freshness);
    }
    let stale_after = format_duration(watch.stale_after);
    text +=
        &format!("  serves the last good data for up to {stale_after} while AWS requests fail\n");
    let rate = format_rate(requests_per_hour(watch));
    text + &format!("  makes at least {rate} API requests per hour\n")
}

fn describe_freshness(freshness: FreshnessConfig) -> String {
    let interval = format_duration(freshness.interval);
    // An interval that does not divide a day has one round less on some days.
    let rounds = (DAY_SECONDS / freshness.interval.as_secs_f64()).ceil();
    let dollars = rounds * METRICS_PER_TABLE * DOLLARS_PER_METRIC;
    let tables = pluralize(&freshness.max_tables, "table");
    format!(
        "  asks CloudWatch every {interval} whether data arrives, which also needs cloudwatch:ListMetrics and cloudwatch:GetMetricData\n  \
         costs at most ${dollars:.5} a day for each load type of each table, without further pages and retries\n  \
         exports series of at most {tables} for each integration\n"
    )
}

fn selection(selection: &Selection) -> String {
    let mut text = String::new();
    let sides = [
        (&selection.include, "watches", "only if"),
        (&selection.exclude, "ignores", "if"),
    ];
    for (patterns, verb, condition) in sides {
        for (key, patterns) in patterns.by_key() {
            if patterns.is_empty() {
                continue;
            }
            let patterns: Vec<&str> = patterns.iter().map(Pattern::as_str).collect();
            let unknown = match (verb, key) {
                ("watches", "name") => ", or if the name is not known",
                _ => "",
            };
            text += &format!(
                "  {verb} listed integrations {condition} {key} matches {}{unknown}\n",
                patterns.join(" or ")
            );
        }
    }
    if selection.shard.is_some() {
        text += "  watches only this shard's part of the listed integrations\n";
    }
    text
}

fn credentials(credentials: &Credentials) -> String {
    let source = match &credentials.profile {
        Some(profile) => format!("the profile {profile}"),
        None => "the SDK's default credentials".to_owned(),
    };
    let Some(role) = &credentials.role else {
        return source;
    };
    let id = match role.external_id {
        Some(_) => " with an external ID",
        None => "",
    };
    format!("the role {}{id}, assumed with {source}", role.arn)
}

/// Returns the minimum number of requests of one poll. A lookup by listing needs at least the pages that its integrations fill.
fn requests_per_poll(watch: &ScopeRegion) -> u32 {
    let arns = watch.queries.iter().filter_map(Query::integration).count();
    let lookups = match (watch.lookup, watch.page_size) {
        (Lookup::Each, _) => arns,
        (Lookup::List, Some(size)) => arns.div_ceil(size.into()),
        (Lookup::List, None) => arns.min(1),
    };
    let requests = watch.queries.len() - arns + lookups;
    u32::try_from(requests).unwrap_or(u32::MAX)
}

fn requests_per_hour(watch: &ScopeRegion) -> f64 {
    let per_hour = |interval: Duration| 3600.0 / interval.as_secs_f64();
    let mut requests = f64::from(requests_per_poll(watch)) * per_hour(watch.interval);
    if watch.describe {
        requests += per_hour(watch.describe_interval());
    }
    if let Some(freshness) = watch.freshness {
        requests += METRICS_PER_TABLE * per_hour(freshness.interval);
    }
    requests
}

/// Formats a rate without trailing zeros. Two decimals show one request per day as 0.04.
fn format_rate(per_hour: f64) -> String {
    let text = format!("{per_hour:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn pluralize(count: &impl ToString, noun: &str) -> String {
    let count = count.to_string();
    format!("{count} {noun}{}", if count == "1" { "" } else { "s" })
}
