//! Parses the headers and the input of an API request, and returns the errors that AWS would return.
//! It does not verify the signature, because the simulator has no secret keys.

use hyper::header::{AUTHORIZATION, CONTENT_TYPE as CONTENT_TYPE_HEADER, HeaderValue};
use hyper::{HeaderMap, Response, StatusCode};
use serde_json::{Value, json};

use super::RecordedRequest;
use super::fault;
use super::fields::{FieldError, Fields};
use super::wire::{self, ResponseBody};

pub(super) const CONTENT_TYPE: &str = "application/x-amz-json-1.1";

pub(super) const INBOUND: &str = "DescribeInboundIntegrations";
const CREATED: &str = "DescribeIntegrations";

/// An error response of the API.
#[derive(Debug)]
pub(super) struct ApiError {
    pub code: String,
    pub status: u16,
    pub message: String,
}

impl ApiError {
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            status: fault::error_status(code),
            message: message.into(),
        }
    }

    /// Returns the response `{"__type": …, "Message": …}`: botocore reads the code from `__type`, and
    /// Glue's model has the member `Message`.
    pub fn response(self) -> Response<ResponseBody> {
        let body = json!({"__type": self.code, "Message": self.message}).to_string();
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = wire::json(status, CONTENT_TYPE, body.into());
        if let Ok(code) = HeaderValue::from_str(&self.code) {
            response.headers_mut().insert("x-amzn-errortype", code);
        }
        response
    }
}

impl From<FieldError> for ApiError {
    fn from(error: FieldError) -> Self {
        if error.wrong_type {
            return Self::new("SerializationException", error.to_string());
        }
        Self::new(
            "ValidationException",
            format!("1 validation error detected: {error}"),
        )
    }
}

/// Returns the operation in the headers.
///
/// # Errors
/// The content type is wrong, or the operation is not simulated.
pub(super) fn operation(headers: &HeaderMap) -> Result<&'static str, ApiError> {
    let text = |name| {
        headers
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok())
            .unwrap_or_default()
    };
    let unknown = |message: String| ApiError::new("UnknownOperationException", message);
    let content_type = text(CONTENT_TYPE_HEADER.as_str());
    if content_type.split(';').next().map(str::trim) != Some(CONTENT_TYPE) {
        return Err(unknown(format!(
            "The content type must be {CONTENT_TYPE}, not {content_type:?}."
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
pub(super) fn credential(headers: &HeaderMap) -> Result<(String, String), ApiError> {
    let Some(authorization) = headers.get(AUTHORIZATION) else {
        return Err(ApiError::new(
            "MissingAuthenticationTokenException",
            "Missing Authentication Token",
        ));
    };
    let incomplete = || {
        ApiError::new(
            "IncompleteSignatureException",
            "Authorization header requires a full 'Credential' parameter.",
        )
    };
    let text = authorization.to_str().map_err(|_| incomplete())?;
    let parameters = text
        .strip_prefix("AWS4-HMAC-SHA256 ")
        .ok_or_else(incomplete)?;
    let scope = parameters
        .split(',')
        .find_map(|parameter| parameter.trim().strip_prefix("Credential="));
    // Split from the right: an access key id may contain `/`, the other parts may not.
    let mut parts = scope.ok_or_else(incomplete)?.rsplitn(5, '/');
    let (Some(end), Some(service), Some(region), Some(_date), Some(key)) = (
        parts.next(),
        parts.next(),
        parts.next(),
        parts.next(),
        parts.next(),
    ) else {
        return Err(incomplete());
    };
    if end != "aws4_request" || key.is_empty() || region.is_empty() {
        return Err(incomplete());
    }
    if service != "glue" {
        let message = "Credential should be scoped to correct service: 'glue'.";
        return Err(ApiError::new("InvalidSignatureException", message));
    }
    Ok((key.to_owned(), region.to_owned()))
}

/// Returns the request `signed` (operation and signature) with the input from the body.
pub(super) fn read_input(
    signed: &RecordedRequest,
    body: &[u8],
) -> Result<RecordedRequest, ApiError> {
    let value: Value = serde_json::from_slice(body).map_err(|error| {
        ApiError::new(
            "SerializationException",
            format!("The body is not valid JSON: {error}"),
        )
    })?;
    let fields = Fields::from_value("", &value)?;
    let mut request = signed.clone();
    if signed.operation == INBOUND {
        request.integration_arn = fields.string("IntegrationArn", 1..=128)?;
        request.target_arn = fields.string("TargetArn", 1..=512)?;
    } else {
        request.integration_arn = fields.string("IntegrationIdentifier", 1..=128)?;
        if let Some(filters) = fields.value("Filters") {
            // A listing that ignores its filters would be wrong.
            return Err(FieldError::new(
                "Filters",
                Some(filters),
                "no filters, because they are not simulated",
            )
            .into());
        }
    }
    request.marker = fields.string("Marker", 1..=128)?;
    request.max_records = fields.integer("MaxRecords", 1..=i32::MAX as u32)?;
    Ok(request)
}
