//! Converts the types of the SDK. The SDK fills required fields that AWS did not send with placeholders, which are never exported.

use crate::glue::{Described, Page};
use crate::snapshot::{Description, Integration, IntegrationError, MAX_ARN_BYTES, Status};
use aws_sdk_glue::operation::describe_inbound_integrations::DescribeInboundIntegrationsOutput;
use aws_sdk_glue::operation::describe_integrations::DescribeIntegrationsOutput;
use aws_sdk_glue::primitives::DateTime;
use aws_sdk_glue::types::{InboundIntegration, Integration as SdkIntegration};
use std::collections::BTreeSet;
use std::time::Duration;

/// The SDK's placeholder for a missing status (`inbound_integration_correct_errors` in aws-sdk-glue).
const STATUS_PLACEHOLDER: &str = "no value was set";

const YEAR_10_000: f64 = 253_402_300_800.0;
/// The longest string that AWS's model allows, for an error message.
const MAX_TEXT_CHARS: usize = 2_048;

/// A list that is absent, null or empty means that there are no integrations.
pub fn page(output: DescribeInboundIntegrationsOutput) -> Page<Integration> {
    let items = output.inbound_integrations.unwrap_or_default();
    let has_arn = |item: &InboundIntegration| is_arn(&item.integration_arn);
    convert(items, output.marker, has_arn, integration)
}

pub fn metadata_page(
    output: DescribeIntegrationsOutput,
    tags: &BTreeSet<String>,
) -> Page<Described> {
    let items = output.integrations.unwrap_or_default();
    let has_arn = |item: &SdkIntegration| is_arn(&item.integration_arn);
    convert(items, output.marker, has_arn, |item| {
        let item_tags = item.tags.unwrap_or_default().into_iter();
        let item_tags = item_tags.filter_map(|tag| Some((tag.key?, tag.value.unwrap_or_default())));
        let described = Description {
            name: bounded(item.integration_name),
            tags: item_tags
                .filter(|(key, _)| tags.contains(key))
                .map(|(key, value)| (key, bounded(value)))
                .collect(),
        };
        (item.integration_arn, described)
    })
}

fn convert<S, T>(
    mut items: Vec<S>,
    marker: Option<String>,
    has_arn: impl Fn(&S) -> bool,
    convert: impl FnMut(S) -> T,
) -> Page<T> {
    let listed = items.len();
    items.retain(has_arn);
    Page {
        without_arn: listed - items.len(),
        items: items.into_iter().map(convert).collect(),
        marker: marker.filter(|marker| !marker.is_empty()),
    }
}

fn bounded(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(MAX_TEXT_CHARS) {
        text.truncate(end);
        text.push('…');
    }
    text
}

fn is_arn(text: &str) -> bool {
    !text.trim().is_empty() && text.len() <= MAX_ARN_BYTES
}

fn integration(item: InboundIntegration) -> Integration {
    let text = item.status.as_str();
    let status = Status::parse(text);
    let is_unknown = status == Status::Unknown && text != STATUS_PLACEHOLDER;
    let config = item.integration_config.as_ref();
    let errors = item.errors.unwrap_or_default().into_iter();
    Integration {
        arn: item.integration_arn,
        source_arn: bounded(item.source_arn),
        target_arn: bounded(item.target_arn),
        status,
        status_text: is_unknown.then(|| bounded(text.to_owned())),
        created: created(&item.create_time),
        refresh_interval: config
            .and_then(|config| refresh_interval(config.refresh_interval.as_deref()?)),
        continuous_sync: config.and_then(|config| config.continuous_sync),
        target_namespace: config
            .and_then(|config| config.target_namespace.clone())
            .map(bounded),
        errors: errors
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

/// The SDK replaces a missing time with the epoch and an invalid number with its maximum time.
fn created(time: &DateTime) -> Option<f64> {
    Some(time.as_secs_f64()).filter(|seconds| *seconds != 0.0 && *seconds < YEAR_10_000)
}

/// `RefreshInterval` is a number of minutes as a string (`"60"`).
fn refresh_interval(text: &str) -> Option<Duration> {
    let minutes: u64 = text.trim().parse().ok()?;
    let seconds = minutes.checked_mul(60).filter(|seconds| *seconds > 0)?;
    Some(Duration::from_secs(seconds))
}
