//! Parses API requests. It does not verify signatures, because the simulator has no secret keys.

use super::response::{ApiError, parse_json};
use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, HeaderValue};
use serde::{Deserialize, Serialize};
use std::num::NonZeroUsize;

pub(super) const INBOUND: &str = "DescribeInboundIntegrations";
const CREATED: &str = "DescribeIntegrations";

/// The input of both operations, and what the headers say. Like in AWS, `null` means absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct RecordedRequest {
    #[serde(skip_deserializing)]
    pub operation: &'static str,
    /// The region of the signature's credential scope.
    #[serde(skip_deserializing)]
    pub region: String,
    #[serde(skip_deserializing)]
    pub access_key_id: String,
    #[serde(
        alias = "IntegrationIdentifier",
        skip_serializing_if = "Option::is_none"
    )]
    pub integration_arn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_arn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub marker: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_records: Option<NonZeroUsize>,
    /// Number of the page within its listing, starting at 1.
    #[serde(skip_deserializing)]
    pub page: u32,
    /// The ARN before the first one of the page.
    #[serde(skip)]
    pub(super) after: Option<String>,
}

impl RecordedRequest {
    pub(super) fn parse(headers: &HeaderMap, body: &[u8]) -> Result<Self, ApiError> {
        let operation = operation(headers)?;
        let (access_key_id, region) = credential(headers)?;
        let invalid = |message: String| ApiError::new("SerializationException", &message);
        let input: Self = parse_json(body).map_err(invalid)?;
        let (page, after) = match input.marker.as_deref().map(parse_marker) {
            None => (1, None),
            Some(Some((page, after))) => (page, Some(after.to_owned())),
            Some(None) => {
                let message = "Marker must be the Marker of an earlier response";
                return Err(ApiError::new("ValidationException", message));
            }
        };
        Ok(Self {
            operation,
            region,
            access_key_id,
            page,
            after,
            ..input
        })
    }
}

fn parse_marker(marker: &str) -> Option<(u32, &str)> {
    let (page, last_arn) = marker.split_once(':')?;
    Some((page.parse().ok()?, last_arn))
}

fn operation(headers: &HeaderMap) -> Result<&'static str, ApiError> {
    let target = headers.get("x-amz-target");
    match target.map_or(&b""[..], HeaderValue::as_bytes) {
        b"AWSGlue.DescribeInboundIntegrations" => Ok(INBOUND),
        b"AWSGlue.DescribeIntegrations" => Ok(CREATED),
        _ => {
            let message = format!(
                "The operation {target:?} is not simulated: expected {INBOUND} or {CREATED}."
            );
            Err(ApiError::new("UnknownOperationException", &message))
        }
    }
}

/// Returns the access key id and the region from the `Authorization` header: `AWS4-HMAC-SHA256
/// Credential=AKID/20261122/eu-west-1/glue/aws4_request, SignedHeaders=…, Signature=…`.
fn credential(headers: &HeaderMap) -> Result<(String, String), ApiError> {
    let authorization = headers.get(AUTHORIZATION).ok_or_else(|| {
        let message = "Missing Authentication Token";
        ApiError::new("MissingAuthenticationTokenException", message)
    })?;
    let parameters = authorization.to_str().unwrap_or_default();
    let (_, credential) = parameters.split_once("Credential=").unwrap_or_default();
    let scope = credential.split(',').next().unwrap_or_default();
    let parts: Vec<&str> = scope.split('/').collect();
    match parts[..] {
        [key, _date, region, "glue", "aws4_request"] if !key.is_empty() && !region.is_empty() => {
            Ok((key.to_owned(), region.to_owned()))
        }
        _ => Err(ApiError::new(
            "IncompleteSignatureException",
            "Authorization header requires a full 'Credential' parameter for the service 'glue'.",
        )),
    }
}
