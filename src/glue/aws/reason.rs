//! Why an attempt failed: from what the SDK knows of it to the closed list of reasons.

use crate::glue::Reason;
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_glue::config::http::HttpResponse;
use aws_sdk_glue::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_glue::operation::describe_inbound_integrations::DescribeInboundIntegrationsError as ApiError;
use aws_sdk_glue::operation::describe_integrations::DescribeIntegrationsError;
use aws_sdk_sts::operation::assume_role::AssumeRoleError;
use aws_smithy_runtime_api::client::interceptors::context::{Error as Erased, InterceptorContext};
use aws_smithy_runtime_api::client::orchestrator::OrchestratorError;
use aws_smithy_runtime_api::client::retries::classifiers::{
    ClassifyRetry, RetryAction, RetryClassifierPriority,
};
use std::error::Error;

/// How far an attempt had got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Loading credentials, finding the endpoint and signing; only the first can take time.
    Preparing,
    /// Waiting for the budget.
    Waiting,
    Sent,
}

/// Why an attempt failed that had got so far.
pub fn of_attempt(error: &OrchestratorError<Erased>, status: Option<u16>, stage: Stage) -> Reason {
    match stage {
        Stage::Preparing if error.is_timeout_error() || has_cause::<CredentialsError>(error) => {
            return Reason::Credentials;
        }
        Stage::Preparing => return Reason::Other,
        Stage::Waiting => return Reason::Throttled,
        Stage::Sent => {}
    }
    if error.is_timeout_error() {
        return Reason::Timeout;
    }
    if let Some(connector) = error.as_connector_error() {
        return if connector.is_timeout() {
            Reason::Timeout
        } else {
            Reason::Network
        };
    }
    // Whatever the body says: a proxy's or a load balancer's 503 is a server error, its page of HTML is not an answer.
    if status.is_some_and(|status| status >= 500) {
        return Reason::ServerError;
    }
    if let Some(erased) = error.as_operation_error() {
        return of_answer(code(erased), status);
    }
    if error.is_response_error() {
        return if has_cause::<hyper::Error>(error) || has_cause::<std::io::Error>(error) {
            Reason::Network
        } else {
            Reason::InvalidResponse
        };
    }
    Reason::Other
}

/// Why a call failed that was not followed through its attempts.
pub fn of_call<E>(error: &SdkError<E, HttpResponse>) -> Reason
where
    E: Error + ProvideErrorMetadata + 'static,
{
    if has_cause::<CredentialsError>(error) {
        return Reason::Credentials;
    }
    match error {
        SdkError::TimeoutError(_) => Reason::Timeout,
        SdkError::DispatchFailure(failure) if failure.is_timeout() => Reason::Timeout,
        SdkError::DispatchFailure(failure) if failure.is_io() => Reason::Network,
        SdkError::ServiceError(answer) if answer.raw().status().as_u16() >= 500 => {
            Reason::ServerError
        }
        SdkError::ServiceError(answer) => {
            of_answer(answer.err().code(), Some(answer.raw().status().as_u16()))
        }
        SdkError::ResponseError(_) => Reason::InvalidResponse,
        _ => Reason::Other,
    }
}

/// Whether STS said that a role may not be assumed.
pub fn says_role_refused(error: &CredentialsError) -> bool {
    assume_role_code(error) == Some("AccessDenied")
}

/// Whether STS did not take the credentials that a role was to be assumed with.
pub fn says_source_refused(error: &CredentialsError) -> bool {
    assume_role_code(error).is_some_and(|code| of_answer(Some(code), None) == Reason::Credentials)
}

fn assume_role_code(error: &CredentialsError) -> Option<&str> {
    cause::<AssumeRoleError>(error).and_then(ProvideErrorMetadata::code)
}

fn code(error: &Erased) -> Option<&str> {
    let of_names = || error.downcast_ref::<DescribeIntegrationsError>()?.code();
    error
        .downcast_ref::<ApiError>()
        .map_or_else(of_names, ProvideErrorMetadata::code)
}

/// The errors of both operations, of Glue and those common to all AWS services.
///
/// <https://docs.aws.amazon.com/glue/latest/webapi/API_DescribeInboundIntegrations.html>,
/// <https://docs.aws.amazon.com/glue/latest/webapi/CommonErrors.html>
fn of_answer(code: Option<&str>, status: Option<u16>) -> Reason {
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
        // No code: whoever answered is not Glue, or what it said could not be decoded.
        "" => match status {
            Some(429) => Reason::Throttled,
            Some(401 | 403) => Reason::AccessDenied,
            Some(407) => Reason::Network,
            _ => Reason::InvalidResponse,
        },
        _ => Reason::Other,
    }
}

/// Whether the error says that the configured integration which was asked for does not exist.
pub fn says_absent(error: &ApiError) -> bool {
    matches!(
        error,
        ApiError::IntegrationNotFoundFault(_) | ApiError::EntityNotFoundException(_)
    )
}

/// The same, of an attempt of a call that asked for a configured integration.
pub fn attempt_says_absent(error: &OrchestratorError<Erased>) -> bool {
    error
        .as_operation_error()
        .and_then(|error| error.downcast_ref::<ApiError>())
        .is_some_and(says_absent)
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

/// Glue sends its InternalServerException with status 400, which the SDK takes for the caller's fault and does not try again.
#[derive(Debug)]
pub struct TransientDespite400;

impl ClassifyRetry for TransientDespite400 {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        match context.output_or_error() {
            Some(Err(error))
                if error
                    .as_operation_error()
                    .and_then(code)
                    .is_some_and(|code| code == "InternalServerException") =>
            {
                RetryAction::server_error()
            }
            _ => RetryAction::NoActionIndicated,
        }
    }

    fn name(&self) -> &'static str {
        "Glue's InternalServerException"
    }

    fn priority(&self) -> RetryClassifierPriority {
        RetryClassifierPriority::modeled_as_retryable_classifier()
    }
}
