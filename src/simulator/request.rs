//! Parses API requests. It does not verify signatures, because the simulator has no secret keys.

use super::metric_request::{GetMetricDataInput, ListMetricsInput};
use super::protocol::Protocol;
use super::response::ApiError;
use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;
use serde::{Deserialize, Serialize};
use std::num::NonZeroUsize;

pub(super) const INBOUND: &str = "DescribeInboundIntegrations";
pub(super) const CREATED: &str = "DescribeIntegrations";
const LIST_METRICS: &str = "ListMetrics";
const GET_METRIC_DATA: &str = "GetMetricData";
/// A marker has an ARN or a number. Requests are recorded, so their texts have limits.
const MAX_MARKER_BYTES: usize = 2048;

/// The input of both operations of Glue, the marker of CloudWatch's, and what the headers say.
/// Like in AWS, `null` means absent.
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
    /// `NextToken` of CloudWatch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub marker: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_records: Option<NonZeroUsize>,
    /// Number of the page within its listing, starting at 1.
    #[serde(skip_deserializing)]
    pub page: u32,
    /// The ARN before the first one of the page, or the number of items on CloudWatch's earlier pages.
    #[serde(skip)]
    pub(super) after: Option<String>,
}

/// The input of a request, validated.
pub(super) enum Input {
    /// Of both operations of Glue: `RecordedRequest` has it.
    Glue,
    ListMetrics(ListMetricsInput),
    GetMetricData(GetMetricDataInput),
}

impl RecordedRequest {
    pub(super) fn parse(
        protocol: Protocol,
        operation: &str,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<(Self, Input), ApiError> {
        let operation = simulated_operation(operation)?;
        let (access_key_id, region) = credential(headers)?;
        let invalid = |message: String| ApiError::new("SerializationException", &message);
        let mut recorded = Self::default();
        let input = match operation {
            LIST_METRICS => {
                let input: ListMetricsInput = protocol.parse(body).map_err(invalid)?;
                recorded.marker.clone_from(&input.next_token);
                Input::ListMetrics(input)
            }
            GET_METRIC_DATA => {
                let input: GetMetricDataInput = protocol.parse(body).map_err(invalid)?;
                input.validate()?;
                recorded.marker.clone_from(&input.next_token);
                Input::GetMetricData(input)
            }
            _ => {
                recorded = protocol.parse(body).map_err(invalid)?;
                Input::Glue
            }
        };
        let (page, after) = match recorded.marker.as_deref().map(parse_marker) {
            None => (1, None),
            Some(Some((page, after))) => (page, Some(after.to_owned())),
            Some(None) => return Err(invalid_marker(operation)),
        };
        let recorded = Self {
            operation,
            region,
            access_key_id,
            page,
            after,
            ..recorded
        };
        Ok((recorded, input))
    }

    /// Returns the number of items on CloudWatch's earlier pages.
    pub(super) fn offset(&self) -> Result<usize, ApiError> {
        let after = self.after.as_deref().unwrap_or("0");
        let offset = after.parse();
        offset.map_err(|_| invalid_marker(self.operation))
    }
}

fn invalid_marker(operation: &str) -> ApiError {
    let (code, member) = match operation {
        LIST_METRICS => ("InvalidParameterValue", "NextToken"),
        GET_METRIC_DATA => ("InvalidNextToken", "NextToken"),
        _ => ("ValidationException", "Marker"),
    };
    let message = format!("{member} must be the {member} of an earlier response");
    ApiError::new(code, &message)
}

fn parse_marker(marker: &str) -> Option<(u32, &str)> {
    let (page, after) = marker.split_once(':')?;
    let page = page.parse().ok()?;
    (marker.len() <= MAX_MARKER_BYTES).then_some((page, after))
}

fn simulated_operation(name: &str) -> Result<&'static str, ApiError> {
    let simulated = [INBOUND, CREATED, LIST_METRICS, GET_METRIC_DATA];
    let found = simulated.into_iter().find(|simulated| *simulated == name);
    found.ok_or_else(|| {
        let simulated = simulated.join(", ");
        let message = format!("The operation {name:?} is not simulated: expected {simulated}.");
        ApiError::new("UnknownOperationException", &message)
    })
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
        [key, _date, region, "glue" | "monitoring", "aws4_request"]
            if !key.is_empty() && !region.is_empty() =>
        {
            Ok((key.to_owned(), region.to_owned()))
        }
        _ => Err(ApiError::new(
            "IncompleteSignatureException",
            "Authorization header requires a full 'Credential' parameter for the service 'glue' or 'monitoring'.",
        )),
    }
}
