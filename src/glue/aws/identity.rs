//! Returns the identity of credentials from AWS STS, which needs no permission. Assumes the role in the same way as the polls.

use super::call::MAX_ATTEMPTS;
use super::credentials::Provider;
use super::{Sdk, classify, message};
use crate::config::{Credentials, RegionName};
use crate::glue::{GlueError, Reason};
use aws_credential_types::provider::ProvideCredentials;
use aws_sdk_sts::operation::RequestId;
use aws_smithy_types::retry::RetryConfig;
use std::time::Duration;
use tokio::time::Instant;

/// Why the identity of credentials is unknown.
#[derive(Clone, Debug)]
pub struct IdentityError {
    pub error: GlueError,
    /// STS denied assuming the role.
    pub role_refused: bool,
}

impl From<GlueError> for IdentityError {
    fn from(error: GlueError) -> Self {
        Self {
            error,
            role_refused: false,
        }
    }
}

impl Sdk {
    /// Returns the ARN of the identity that `credentials` belong to. For a role, it is the ARN of the session. Returns within `timeout`.
    ///
    /// # Errors
    /// If the credentials cannot be loaded, the role cannot be assumed or the request to STS fails.
    pub async fn caller_identity(
        &self,
        credentials: &Credentials,
        region: &RegionName,
        timeout: Duration,
    ) -> Result<String, IdentityError> {
        let deadline = Instant::now() + timeout;
        let credential_source = self.credential_source(credentials, region);
        let sdk = credential_source.sdk_config().await;
        let load_failed = |why: &str| {
            let hint = message::hint(why, credentials);
            GlueError::new(Reason::Credentials, format!("{why}{hint}"))
        };
        let provider = Provider::new(
            self.credential_cache(credentials),
            credential_source,
            Some(self.connection_limiter.clone()),
        );
        let loaded = tokio::time::timeout_at(deadline, provider.provide_credentials())
            .await
            .map_err(|_elapsed| load_failed(message::TIMED_OUT))?
            .map_err(|error| IdentityError {
                role_refused: classify::is_role_denied(&error),
                error: load_failed(&message::describe_load_error(&error, credentials)),
            })?;
        let config = aws_sdk_sts::config::Builder::from(&sdk)
            .credentials_provider(loaded)
            .retry_config(RetryConfig::standard().with_max_attempts(MAX_ATTEMPTS))
            .build();
        let call = aws_sdk_sts::Client::from_conf(config)
            .get_caller_identity()
            .send();
        let attempted = format!("asking AWS STS in {region} for the identity of the credentials");
        let answer = tokio::time::timeout_at(deadline, call)
            .await
            .map_err(|_elapsed| {
                let why = format!("{attempted} timed out: STS did not answer");
                GlueError::new(Reason::Timeout, why)
            })?
            .map_err(|error| {
                let reason = classify::classify(&error);
                let why = message::describe_error(&error, credentials);
                let hint = match reason {
                    Reason::Credentials => message::hint(&why, credentials),
                    _ => String::new(),
                };
                GlueError {
                    request_id: error.request_id().map(str::to_owned),
                    ..GlueError::new(reason, format!("{attempted} failed: {why}{hint}"))
                }
            })?;
        let no_arn = || {
            let why = format!("{attempted} failed: the response has no ARN");
            GlueError::new(Reason::InvalidResponse, why)
        };
        Ok(answer
            .arn
            .filter(|arn| !arn.is_empty())
            .ok_or_else(no_arn)?)
    }
}
