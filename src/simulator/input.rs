//! The head and the input of an API request, and the errors that refuse them. Knows what the wire
//! format says, not what the account has. The signature itself is not checked: the simulator knows
//! no secret.

use hyper::header::{AUTHORIZATION, CONTENT_TYPE as CONTENT_TYPE_HEADER, HeaderValue};
use hyper::{HeaderMap, Response, StatusCode};
use serde_json::{Value, json};

use super::RecordedRequest;
use super::fault;
use super::fields::{FieldError, Fields};
use super::wire::{self, Answer};

pub(super) const CONTENT_TYPE: &str = "application/x-amz-json-1.1";

pub(super) const INBOUND: &str = "DescribeInboundIntegrations";
const CREATED: &str = "DescribeIntegrations";

/// An error as the API sends it.
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

    /// `{"__type": …, "Message": …}`: botocore takes the code from `__type`, and Glue's model names
    /// the text `Message`.
    pub fn response(self) -> Response<Answer> {
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

/// The operation that the headers name, if it is one of the two.
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
            "The operation {other:?} is not simulated: only {INBOUND} and {CREATED} are."
        ))),
    }
}

/// The access key id and the region of the credential scope: `AWS4-HMAC-SHA256
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
    // An access key id may hold a `/`, the rest of the scope may not.
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

/// The request `blank` (operation and signature) with what its body says.
pub(super) fn read_input(
    blank: &RecordedRequest,
    body: &[u8],
) -> Result<RecordedRequest, ApiError> {
    let value: Value = serde_json::from_slice(body).map_err(|error| {
        ApiError::new(
            "SerializationException",
            format!("The body is no JSON: {error}"),
        )
    })?;
    let fields = Fields::of("", &value)?;
    let mut request = blank.clone();
    if blank.operation == INBOUND {
        request.integration_arn = fields.text("IntegrationArn", 1..=128)?;
        request.target_arn = fields.text("TargetArn", 1..=512)?;
    } else {
        request.integration_arn = fields.text("IntegrationIdentifier", 1..=128)?;
        if let Some(filters) = fields.value("Filters") {
            // Ignoring it would return what was not asked for.
            return Err(FieldError::new(
                "Filters",
                Some(filters),
                "none: filters are not simulated",
            )
            .into());
        }
    }
    request.marker = fields.text("Marker", 1..=128)?;
    request.max_records = fields.whole("MaxRecords", 1..=i32::MAX as u32)?;
    Ok(request)
}
