//! Maps the errors of the SDK to the reasons of a failure.

use crate::glue::Reason;
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_glue::config::http::HttpResponse;
use aws_sdk_glue::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_glue::operation::describe_inbound_integrations::DescribeInboundIntegrationsError as ApiError;
use aws_sdk_sts::operation::assume_role::AssumeRoleError;
use std::error::Error;

/// Returns the reason of a failed request.
pub fn classify<E>(error: &SdkError<E, HttpResponse>) -> Reason
where
    E: Error + ProvideErrorMetadata + 'static,
{
    if has_cause::<CredentialsError>(error) {
        return Reason::Credentials;
    }
    let status = error
        .raw_response()
        .map(|response| response.status().as_u16());
    match error {
        SdkError::TimeoutError(_) => Reason::Timeout,
        SdkError::DispatchFailure(failure) if failure.is_timeout() => Reason::Timeout,
        SdkError::DispatchFailure(failure) if failure.is_user() => Reason::Other,
        SdkError::DispatchFailure(_) => Reason::Network,
        // Regardless of the body: a 503 with an HTML page of a proxy or load balancer is a server error too.
        _ if status.is_some_and(|status| status >= 500) => Reason::ServerError,
        SdkError::ServiceError(response) => reason_for_code(response.err().code(), status),
        SdkError::ResponseError(_)
            if has_cause::<hyper::Error>(error) || has_cause::<std::io::Error>(error) =>
        {
            Reason::Network
        }
        SdkError::ResponseError(_) => Reason::InvalidResponse,
        _ => Reason::Other,
    }
}

/// Returns true if STS denied assuming the role.
pub fn is_role_denied(error: &CredentialsError) -> bool {
    assume_role_code(error) == Some("AccessDenied")
}

/// Returns true if STS rejected the credentials with which the role should be assumed.
pub fn is_source_rejected(error: &CredentialsError) -> bool {
    assume_role_code(error)
        .is_some_and(|code| reason_for_code(Some(code), None) == Reason::Credentials)
}

fn assume_role_code(error: &CredentialsError) -> Option<&str> {
    cause::<AssumeRoleError>(error).and_then(ProvideErrorMetadata::code)
}

/// Returns the reason for an error code of either operation or one common to all AWS services.
///
/// <https://docs.aws.amazon.com/glue/latest/webapi/API_DescribeInboundIntegrations.html>,
/// <https://docs.aws.amazon.com/glue/latest/webapi/CommonErrors.html>
fn reason_for_code(code: Option<&str>, status: Option<u16>) -> Reason {
    match code.unwrap_or_default() {
        "ThrottlingException"
        | "Throttling"
        | "ThrottledException"
        | "TooManyRequestsException"
        | "RequestLimitExceeded"
        | "RequestThrottled"
        | "RequestThrottledException"
        | "LimitExceededException"
        | "BandwidthLimitExceeded"
        | "PriorRequestNotComplete"
        | "SlowDown" => Reason::Throttled,
        "AccessDeniedException"
        | "AccessDenied"
        | "NotAuthorized"
        | "UnauthorizedOperation"
        | "OptInRequired"
        | "SubscriptionRequiredException" => Reason::AccessDenied,
        "ExpiredTokenException"
        | "ExpiredToken"
        | "TokenRefreshRequired"
        | "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "InvalidSignatureException"
        | "SignatureDoesNotMatch"
        | "IncompleteSignature"
        | "IncompleteSignatureException"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException"
        | "AuthFailure"
        | "RequestExpired"
        | "RequestTimeTooSkewed"
        | "RequestInTheFuture" => Reason::Credentials,
        "RequestTimeout" | "RequestTimeoutException" => Reason::Timeout,
        "InternalServerException"
        | "InternalServiceException"
        | "InternalServerError"
        | "InternalFailure"
        | "InternalError"
        | "ServiceUnavailable"
        | "ServiceUnavailableException" => Reason::ServerError,
        "ValidationException"
        | "ValidationError"
        | "InvalidInputException"
        | "InvalidParameterValue"
        | "InvalidParameterValueException"
        | "InvalidParameterCombination"
        | "MissingParameter"
        | "SerializationException"
        | "MalformedQueryString"
        | "InvalidQueryParameter" => Reason::InvalidRequest,
        "EntityNotFoundException" | "IntegrationNotFoundFault" | "TargetResourceNotFound" => {
            Reason::NotFound
        }
        "OperationNotSupportedException" | "UnknownOperationException" | "InvalidAction" => {
            Reason::Unsupported
        }
        // No code: the response is not from Glue, or it could not be decoded.
        "" => match status {
            Some(429) => Reason::Throttled,
            Some(401 | 403) => Reason::AccessDenied,
            Some(407) => Reason::Network,
            _ => Reason::InvalidResponse,
        },
        _ => Reason::Other,
    }
}

/// Returns true if the error says that the requested integration does not exist.
pub fn is_not_found(error: &ApiError) -> bool {
    matches!(
        error,
        ApiError::IntegrationNotFoundFault(_) | ApiError::EntityNotFoundException(_)
    )
}

fn has_cause<E: Error + 'static>(error: &(dyn Error + 'static)) -> bool {
    cause::<E>(error).is_some()
}

fn cause<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        cause = error.source();
    }
    None
}
