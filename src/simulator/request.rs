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
/// An ARN or two numbers. Requests are recorded, so their texts have limits.
const MAX_POSITION_BYTES: usize = 2048;

/// The input of both operations of Glue, a summary of the input of CloudWatch's, and what the headers say.
/// Like in AWS, `null` means absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
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
    /// Of `ListMetrics`.
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    pub metric_name: Option<String>,
    /// The number of metrics that `GetMetricData` requests, which AWS bills.
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<usize>,
    /// Of `GetMetricData`, in Unix seconds.
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<f64>,
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    pub end_time: Option<f64>,
    /// Number of the page within its listing, starting at 1.
    #[serde(skip_deserializing)]
    pub page: u32,
    /// The ARN before the first one of the page, or the position in CloudWatch's answer.
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
        let operation = simulated_operation(protocol, operation)?;
        let (access_key_id, region) = credential(protocol.signing_name(), headers)?;
        let invalid = |message: String| ApiError::new("SerializationException", &message);
        let (recorded, input) = match operation {
            LIST_METRICS => {
                let input: ListMetricsInput = protocol.parse(body).map_err(invalid)?;
                input.validate()?;
                (Self::of_list_metrics(&input), Input::ListMetrics(input))
            }
            GET_METRIC_DATA => {
                let input: GetMetricDataInput = protocol.parse(body).map_err(invalid)?;
                input.validate()?;
                (Self::of_metric_data(&input), Input::GetMetricData(input))
            }
            _ => (protocol.parse(body).map_err(invalid)?, Input::Glue),
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

    fn of_list_metrics(input: &ListMetricsInput) -> Self {
        Self {
            marker: input.next_token.clone(),
            metric_name: input.metric_name.clone(),
            ..Self::default()
        }
    }

    fn of_metric_data(input: &GetMetricDataInput) -> Self {
        Self {
            marker: input.next_token.clone(),
            metrics: Some(input.metric_data_queries.len()),
            start_time: Some(input.start_time),
            end_time: Some(input.end_time),
            ..Self::default()
        }
    }
}

pub(super) fn invalid_marker(operation: &str) -> ApiError {
    let (code, member) = match operation {
        LIST_METRICS => ("InvalidParameterValue", "NextToken"),
        GET_METRIC_DATA => ("InvalidNextToken", "NextToken"),
        _ => ("ValidationException", "Marker"),
    };
    let message = format!("{member} must be the {member} of an earlier response");
    ApiError::new(code, &message)
}

fn parse_marker(marker: &str) -> Option<(u32, &str)> {
    let (page, position) = marker.split_once(':')?;
    if position.len() > MAX_POSITION_BYTES {
        return None;
    }
    Some((page.parse().ok()?, position))
}

fn simulated_operation(protocol: Protocol, name: &str) -> Result<&'static str, ApiError> {
    let simulated = match protocol {
        Protocol::GlueJson => [INBOUND, CREATED],
        Protocol::CloudWatchJson | Protocol::CloudWatchCbor => [LIST_METRICS, GET_METRIC_DATA],
    };
    let found = simulated.into_iter().find(|simulated| *simulated == name);
    found.ok_or_else(|| {
        let [first, second] = simulated;
        let message =
            format!("The operation {name:?} is not simulated: expected {first} or {second}.");
        ApiError::new("UnknownOperationException", &message)
    })
}

/// Returns the access key id and the region from the `Authorization` header: `AWS4-HMAC-SHA256
/// Credential=AKID/20261122/eu-west-1/glue/aws4_request, SignedHeaders=…, Signature=…`.
fn credential(service: &str, headers: &HeaderMap) -> Result<(String, String), ApiError> {
    let authorization = headers.get(AUTHORIZATION).ok_or_else(|| {
        let message = "Missing Authentication Token";
        ApiError::new("MissingAuthenticationTokenException", message)
    })?;
    let parameters = authorization.to_str().unwrap_or_default();
    let (_, credential) = parameters.split_once("Credential=").unwrap_or_default();
    let scope = credential.split(',').next().unwrap_or_default();
    let parts: Vec<&str> = scope.split('/').collect();
    match parts[..] {
        [key, _date, region, signed, "aws4_request"]
            if signed == service && !key.is_empty() && !region.is_empty() =>
        {
            Ok((key.to_owned(), region.to_owned()))
        }
        _ => {
            let message = format!(
                "Authorization header requires a full 'Credential' parameter for the service '{service}'."
            );
            Err(ApiError::new("IncompleteSignatureException", &message))
        }
    }
}
