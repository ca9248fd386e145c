//! From the SDK's shapes to ours. The SDK fills required fields that AWS did not send with values of its own; each is recognised
//! here, so that none is ever shown as AWS's.

use crate::glue::Page;
use crate::glue::metadata::MetadataPage;
use crate::snapshot::{Description, Integration, IntegrationError, MAX_ARN_BYTES, Status};
use aws_sdk_glue::operation::describe_inbound_integrations::DescribeInboundIntegrationsOutput;
use aws_sdk_glue::operation::describe_integrations::DescribeIntegrationsOutput;
use aws_sdk_glue::primitives::DateTime;
use aws_sdk_glue::types::{InboundIntegration, Tag};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What the SDK puts where AWS sent no status (`inbound_integration_correct_errors` in aws-sdk-glue).
const NO_STATUS: &str = "no value was set";

/// In Unix seconds: AWS writes no time of this year or later.
const YEAR_10_000: f64 = 253_402_300_800.0;
/// In characters: what AWS allows for the value of a tag, and twice what it allows for a name. More is cut off, since each is a label.
const MAX_LABEL_CHARS: usize = 256;
/// Of every other text of an integration: the longest that AWS's model allows, an error's message, has as many. More would be a label, a log
/// line and a row of the page of any length.
const MAX_TEXT_CHARS: usize = 2_048;

/// One page of the operation's answer. A list that is absent, null or empty says that there are none.
pub fn page(output: DescribeInboundIntegrationsOutput) -> Page {
    let mut page = Page {
        marker: output.marker.filter(|marker| !marker.is_empty()),
        ..Page::default()
    };
    for item in output.inbound_integrations.unwrap_or_default() {
        if is_arn(&item.integration_arn) {
            page.integrations.push(integration(item));
        } else {
            page.without_arn += 1;
        }
    }
    page
}

/// One page of names, with those of the tags that are asked for.
pub fn names(output: DescribeIntegrationsOutput, tags: &BTreeSet<String>) -> MetadataPage {
    let mut page = MetadataPage {
        marker: output.marker.filter(|marker| !marker.is_empty()),
        ..MetadataPage::default()
    };
    for item in output.integrations.unwrap_or_default() {
        if is_arn(&item.integration_arn) {
            let described = Description {
                name: cut(item.integration_name, MAX_LABEL_CHARS),
                tags: wanted_tags(item.tags.unwrap_or_default(), tags),
            };
            page.described.push((item.integration_arn, described));
        } else {
            page.without_arn += 1;
        }
    }
    page
}

fn wanted_tags(sent: Vec<Tag>, wanted: &BTreeSet<String>) -> BTreeMap<String, String> {
    sent.into_iter()
        .filter_map(|tag| {
            Some((
                tag.key?,
                cut(tag.value.unwrap_or_default(), MAX_LABEL_CHARS),
            ))
        })
        .filter(|(key, _)| wanted.contains(key))
        .collect()
}

/// Returns the first `max` characters of a text that is longer, with a mark.
fn cut(mut text: String, max: usize) -> String {
    if let Some((end, _)) = text.char_indices().nth(max) {
        text.truncate(end);
        text.push('…');
    }
    text
}

fn is_arn(text: &str) -> bool {
    !text.trim().is_empty() && text.len() <= MAX_ARN_BYTES
}

fn bounded(text: String) -> String {
    cut(text, MAX_TEXT_CHARS)
}

fn integration(item: InboundIntegration) -> Integration {
    let text = item.status.as_str();
    let status = Status::parse(text);
    let is_told = status == Status::Unknown && text != NO_STATUS;
    let config = item.integration_config;
    let (refresh_interval, continuous_sync, target_namespace) =
        config.map_or_else(Default::default, |config| {
            (
                config
                    .refresh_interval
                    .as_deref()
                    .and_then(refresh_interval),
                config.continuous_sync,
                config.target_namespace,
            )
        });
    Integration {
        arn: item.integration_arn,
        source_arn: bounded(item.source_arn),
        target_arn: bounded(item.target_arn),
        status,
        status_text: is_told.then(|| bounded(text.to_owned())),
        created: created(&item.create_time),
        refresh_interval,
        continuous_sync,
        target_namespace: target_namespace.map(bounded),
        errors: item
            .errors
            .unwrap_or_default()
            .into_iter()
            .map(|error| IntegrationError {
                code: error
                    .error_code
                    .filter(|code| !code.is_empty())
                    .map(bounded),
                message: error.error_message.map(bounded),
            })
            .collect(),
    }
}

/// The epoch itself is what the SDK puts where AWS sent no time, and a number that is no time becomes the last one that it can hold.
fn created(time: &DateTime) -> Option<f64> {
    Some(time.as_secs_f64()).filter(|seconds| *seconds != 0.0 && *seconds < YEAR_10_000)
}

/// `RefreshInterval` is a whole number of minutes in a string (`"60"`); anything else cannot be read.
fn refresh_interval(text: &str) -> Option<Duration> {
    let minutes: u64 = text.trim().parse().ok()?;
    let seconds = minutes.checked_mul(60).filter(|seconds| *seconds > 0)?;
    Some(Duration::from_secs(seconds))
}
