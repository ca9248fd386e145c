//! Maps the errors of the SDK to the reasons of a failure.

use crate::glue::Reason;
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_glue::config::http::HttpResponse;
use aws_sdk_glue::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sts::operation::assume_role::AssumeRoleError;
use std::error::Error;

pub fn classify<E>(error: &SdkError<E, HttpResponse>) -> Reason
where
    E: Error + ProvideErrorMetadata + 'static,
{
    if cause::<CredentialsError>(error).is_some() {
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
            if cause::<hyper::Error>(error).is_some()
                || cause::<std::io::Error>(error).is_some() =>
        {
            Reason::Network
        }
        SdkError::ResponseError(_) => Reason::InvalidResponse,
        _ => Reason::Other,
    }
}

/// Returns `AccessDenied` if STS refused the role, `Credentials` if it rejected the source credentials.
pub fn role_refused(error: &CredentialsError) -> Option<Reason> {
    let code = cause::<AssumeRoleError>(error)?.code()?;
    let reason = reason_for_code(Some(code), None);
    matches!(reason, Reason::AccessDenied | Reason::Credentials).then_some(reason)
}

/// The error codes of the operations and of all AWS services, separated by spaces.
/// <https://docs.aws.amazon.com/glue/latest/webapi/API_DescribeInboundIntegrations.html>,
/// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_GetMetricData.html>,
/// <https://docs.aws.amazon.com/glue/latest/webapi/CommonErrors.html>
const CODES: [(Reason, &str); 8] = [
    (
        Reason::Throttled,
        "ThrottlingException Throttling ThrottledException TooManyRequestsException RequestLimitExceeded RequestThrottled \
         RequestThrottledException LimitExceededException LimitExceeded LimitExceededFault BandwidthLimitExceeded PriorRequestNotComplete SlowDown",
    ),
    (
        Reason::AccessDenied,
        "AccessDeniedException AccessDenied NotAuthorized UnauthorizedOperation OptInRequired SubscriptionRequiredException",
    ),
    (
        Reason::Credentials,
        "ExpiredTokenException ExpiredToken TokenRefreshRequired UnrecognizedClientException InvalidClientTokenId \
         InvalidSignatureException SignatureDoesNotMatch IncompleteSignature IncompleteSignatureException \
         MissingAuthenticationToken MissingAuthenticationTokenException AuthFailure RequestExpired RequestTimeTooSkewed \
         RequestInTheFuture",
    ),
    (Reason::Timeout, "RequestTimeout RequestTimeoutException"),
    (
        Reason::ServerError,
        "InternalServerException InternalServiceException InternalServerError InternalFailure InternalError \
         InternalServiceError InternalServiceFault ServiceUnavailable ServiceUnavailableException",
    ),
    (
        Reason::InvalidRequest,
        "ValidationException ValidationError InvalidInputException InvalidParameterValue InvalidParameterValueException \
         InvalidParameterCombination InvalidParameterCombinationException MissingParameter MissingRequiredParameterException \
         InvalidNextToken SerializationException MalformedQueryString InvalidQueryParameter",
    ),
    (
        Reason::NotFound,
        "EntityNotFoundException IntegrationNotFoundFault TargetResourceNotFound",
    ),
    (
        Reason::Unsupported,
        "OperationNotSupportedException UnknownOperationException InvalidAction",
    ),
];

fn reason_for_code(code: Option<&str>, status: Option<u16>) -> Reason {
    let Some(code) = code.filter(|code| !code.is_empty()) else {
        // The response is not from Glue, or it could not be decoded.
        return match status {
            Some(429) => Reason::Throttled,
            Some(401 | 403) => Reason::AccessDenied,
            Some(407) => Reason::Network,
            _ => Reason::InvalidResponse,
        };
    };
    CODES
        .iter()
        .find(|(_, codes)| codes.split(' ').any(|known| known == code))
        .map_or(Reason::Other, |(reason, _)| *reason)
}

pub fn is_not_found(error: &impl ProvideErrorMetadata) -> bool {
    matches!(
        error.code(),
        Some("IntegrationNotFoundFault" | "EntityNotFoundException")
    )
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
