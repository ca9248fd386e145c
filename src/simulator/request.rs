//! Parses the headers and the input of an API request, and returns the errors that AWS would return.
//! It does not verify the signature, because the simulator has no secret keys.

use super::response::{API_CONTENT_TYPE, ApiError, parse_json};
use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE};
use serde::{Deserialize, Serialize};

pub(super) const INBOUND: &str = "DescribeInboundIntegrations";
const CREATED: &str = "DescribeIntegrations";

/// A valid request to the API, as the simulator parsed it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct RecordedRequest {
    /// `DescribeInboundIntegrations` or `DescribeIntegrations`.
    pub operation: &'static str,
    /// The region of the signature's credential scope.
    pub region: String,
    pub access_key_id: String,
    /// `IntegrationArn`, or `IntegrationIdentifier` of `DescribeIntegrations`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub integration_arn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_arn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub marker: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_records: Option<u32>,
    /// Number of the page within its listing, starting at 1.
    pub page: u32,
}

/// The input of both operations. Like AWS, it treats a `null` member as absent.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Input {
    #[serde(alias = "IntegrationIdentifier")]
    integration_arn: Option<String>,
    target_arn: Option<String>,
    marker: Option<String>,
    max_records: Option<i64>,
}

impl RecordedRequest {
    pub(super) fn parse(headers: &HeaderMap, body: &[u8]) -> Result<Self, ApiError> {
        let operation = operation(headers)?;
        let (access_key_id, region) = credential(headers)?;
        let input: Input = parse_json(body)
            .map_err(|message| ApiError::new("SerializationException", &message))?;
        check_length("IntegrationArn", input.integration_arn.as_deref(), 128)?;
        check_length("TargetArn", input.target_arn.as_deref(), 512)?;
        let page = match input.marker.as_deref().map(parse_marker) {
            None => 1,
            Some(Some((page, _))) => page,
            Some(None) => return Err(invalid("Marker", "the Marker of an earlier response")),
        };
        let max_records = match input.max_records.map(u32::try_from) {
            None => None,
            Some(Ok(records @ 1..)) => Some(records),
            Some(_) => return Err(invalid("MaxRecords", "a whole number of at least 1")),
        };
        Ok(Self {
            operation,
            region,
            access_key_id,
            integration_arn: input.integration_arn,
            target_arn: input.target_arn,
            max_records,
            marker: input.marker,
            page,
        })
    }

    /// Returns the ARN before the first one of the page.
    pub(super) fn after(&self) -> Option<&str> {
        let marker = self.marker.as_deref().and_then(parse_marker);
        marker.map(|(_, last_arn)| last_arn)
    }

    /// Returns the marker of the next page. It contains the position, so the simulator stores none.
    pub(super) fn next_marker(&self, last_arn: &str) -> String {
        format!("{}:{last_arn}", self.page.saturating_add(1))
    }
}

/// Returns the number of the page, and the ARN before its first one.
fn parse_marker(marker: &str) -> Option<(u32, &str)> {
    let (page, last_arn) = marker.split_once(':')?;
    Some((page.parse().ok()?, last_arn))
}

fn invalid(field: &str, expected: &str) -> ApiError {
    let message = format!("1 validation error detected: {field} must be {expected}");
    ApiError::new("ValidationException", &message)
}

fn check_length(field: &str, text: Option<&str>, max: usize) -> Result<(), ApiError> {
    match text.map(|text| text.chars().count()) {
        Some(length) if length == 0 || length > max => {
            Err(invalid(field, &format!("1 to {max} characters")))
        }
        _ => Ok(()),
    }
}

/// Returns the operation in the headers.
///
/// # Errors
/// The content type is wrong, or the operation is not simulated.
fn operation(headers: &HeaderMap) -> Result<&'static str, ApiError> {
    let text = |name: &str| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default()
    };
    let unknown = |message: String| ApiError::new("UnknownOperationException", &message);
    let content_type = text(CONTENT_TYPE.as_str());
    if content_type.split(';').next().map(str::trim) != Some(API_CONTENT_TYPE) {
        return Err(unknown(format!(
            "The content type must be {API_CONTENT_TYPE}, not {content_type:?}."
        )));
    }
    match text("x-amz-target") {
        "AWSGlue.DescribeInboundIntegrations" => Ok(INBOUND),
        "AWSGlue.DescribeIntegrations" => Ok(CREATED),
        other => Err(unknown(format!(
            "The operation {other:?} is not simulated: expected {INBOUND} or {CREATED}."
        ))),
    }
}

/// Returns the access key id and the region from the `Authorization` header: `AWS4-HMAC-SHA256
/// Credential=AKID/20261122/eu-west-1/glue/aws4_request, SignedHeaders=…, Signature=…`.
fn credential(headers: &HeaderMap) -> Result<(String, String), ApiError> {
    let Some(authorization) = headers.get(AUTHORIZATION) else {
        return Err(ApiError::new(
            "MissingAuthenticationTokenException",
            "Missing Authentication Token",
        ));
    };
    let parameters = authorization.to_str().ok();
    let scope = parameters
        .and_then(|text| text.strip_prefix("AWS4-HMAC-SHA256 "))
        .into_iter()
        .flat_map(|parameters| parameters.split(','))
        .find_map(|parameter| parameter.trim().strip_prefix("Credential="));
    // Split from the right: an access key id may contain `/`, the other parts may not.
    let parts: Vec<&str> = scope.unwrap_or_default().rsplitn(5, '/').collect();
    if let ["aws4_request", service, region, _date, key] = parts[..]
        && !region.is_empty()
        && !key.is_empty()
    {
        if service == "glue" {
            return Ok((key.to_owned(), region.to_owned()));
        }
        let message = "Credential should be scoped to correct service: 'glue'.";
        return Err(ApiError::new("InvalidSignatureException", message));
    }
    Err(ApiError::new(
        "IncompleteSignatureException",
        "Authorization header requires a full 'Credential' parameter.",
    ))
}
