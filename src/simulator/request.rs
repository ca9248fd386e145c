//! Parses what the API requests have in common. It does not verify signatures, because the simulator has no secret keys.

use super::protocol::{ApiError, Protocol};
use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;
use serde::{Deserialize, Serialize};
use std::num::NonZeroUsize;

pub(super) const INBOUND: &str = "DescribeInboundIntegrations";
pub(super) const CREATED: &str = "DescribeIntegrations";
pub(super) const LIST_METRICS: &str = "ListMetrics";
pub(super) const GET_METRIC_DATA: &str = "GetMetricData";
/// Longer than all ARNs and markers. Requests are recorded, so their texts have a limit.
const MAX_TEXT_BYTES: usize = 2048;

/// A request: the headers, and the input of all operations but the queries of `GetMetricData`. Like in AWS, `null`
/// means absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RecordedRequest {
    #[serde(skip_deserializing)]
    pub operation: &'static str,
    /// The region of the signature's credential scope.
    #[serde(skip_deserializing)]
    pub region: String,
    #[serde(skip_deserializing)]
    pub access_key_id: String,
    #[serde(alias = "IntegrationIdentifier")]
    pub integration_arn: Option<String>,
    pub target_arn: Option<String>,
    #[serde(alias = "NextToken")]
    pub marker: Option<String>,
    pub max_records: Option<NonZeroUsize>,
    pub namespace: Option<String>,
    pub metric_name: Option<String>,
    /// Number of the page within its listing, starting at 1.
    #[serde(skip_deserializing)]
    pub page: u32,
    /// The ARN before the first one of the page, for the operations of Glue.
    #[serde(skip)]
    pub(super) after: Option<String>,
}

impl RecordedRequest {
    pub(super) fn parse(
        protocol: Protocol,
        operation: &str,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Self, ApiError> {
        let operation = simulated_operation(operation)?;
        let (access_key_id, region) = credential(headers)?;
        let recorded: Self = protocol.parse(body)?;
        let (page, after) = match recorded.marker.as_deref().map(parse_marker) {
            None => (1, None),
            Some(Some((page, after))) => (page, Some(after.to_owned())),
            Some(None) => {
                let message = "Marker or NextToken must be that of an earlier response";
                return Err(ApiError::new("ValidationException", message));
            }
        };
        let request = Self {
            operation,
            region,
            access_key_id,
            page,
            after,
            ..recorded
        };
        if request.texts().any(|text| text.len() > MAX_TEXT_BYTES) {
            let message = format!("A text is longer than {MAX_TEXT_BYTES} bytes");
            return Err(ApiError::new("ValidationException", &message));
        }
        Ok(request)
    }

    fn texts(&self) -> impl Iterator<Item = &String> {
        let optional = [
            &self.integration_arn,
            &self.target_arn,
            &self.marker,
            &self.namespace,
            &self.metric_name,
        ];
        let required = [&self.region, &self.access_key_id];
        required.into_iter().chain(optional.into_iter().flatten())
    }

    /// Returns the number of items on the earlier pages, which are full.
    pub(super) fn items_before(&self, items_per_page: usize) -> usize {
        self.page.saturating_sub(1) as usize * items_per_page
    }
}

fn parse_marker(marker: &str) -> Option<(u32, &str)> {
    let (page, after) = marker.split_once(':')?;
    Some((page.parse().ok()?, after))
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
pub(super) fn credential(headers: &HeaderMap) -> Result<(String, String), ApiError> {
    let header = headers.get(AUTHORIZATION);
    let header = header.and_then(|header| header.to_str().ok());
    let header = header.unwrap_or_default();
    let (_, credential) = header.split_once("Credential=").unwrap_or_default();
    let parts: Vec<&str> = credential.split('/').collect();
    match parts[..] {
        [key, _date, region, _service, _end] if !key.is_empty() && !region.is_empty() => {
            Ok((key.to_owned(), region.to_owned()))
        }
        _ => {
            let message = "Authorization header requires a full 'Credential' parameter.";
            Err(ApiError::new("IncompleteSignatureException", message))
        }
    }
}
