//! Whom credentials belong to: AWS STS says it to everybody, whatever they may do. What assumes the role on the way is what assumes it
//! for the polls.

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

/// Why it is not known whom credentials belong to.
#[derive(Clone, Debug)]
pub struct IdentityError {
    pub error: GlueError,
    /// STS said that the role may not be assumed.
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
    /// The ARN that AWS knows the owner of `credentials` by, of a role that of the session. Answers within `limit`.
    ///
    /// # Errors
    /// If the credentials could not be loaded, the role not be assumed or STS not be asked.
    pub async fn caller_identity(
        &self,
        credentials: &Credentials,
        region: &RegionName,
        limit: Duration,
    ) -> Result<String, IdentityError> {
        let deadline = Instant::now() + limit;
        let credential_source = self.credential_source(credentials, region);
        let sdk = credential_source.sdk_config().await;
        let unloaded = |why: &str| {
            let what_to_do = message::hint(why, credentials);
            GlueError::new(Reason::Credentials, format!("{why}{what_to_do}"))
        };
        let provider = Provider::new(
            self.credential_cache(credentials),
            credential_source,
            Some(self.connection_limiter.clone()),
        );
        let loaded = tokio::time::timeout_at(deadline, provider.provide_credentials())
            .await
            .map_err(|_elapsed| unloaded(message::TIMED_OUT))?
            .map_err(|error| IdentityError {
                role_refused: classify::says_role_refused(&error),
                error: unloaded(&message::describe_load_error(&error, credentials)),
            })?;
        let config = aws_sdk_sts::config::Builder::from(&sdk)
            .credentials_provider(loaded)
            .retry_config(RetryConfig::standard().with_max_attempts(MAX_ATTEMPTS))
            .build();
        let call = aws_sdk_sts::Client::from_conf(config)
            .get_caller_identity()
            .send();
        let attempted = format!("asking AWS STS in {region} whom the credentials belong to");
        let answer = tokio::time::timeout_at(deadline, call)
            .await
            .map_err(|_elapsed| {
                let why = format!("{attempted} was given up: STS did not answer");
                GlueError::new(Reason::Timeout, why)
            })?
            .map_err(|error| {
                let reason = classify::classify(&error);
                let why = message::describe_error(&error, credentials);
                let what_to_do = match reason {
                    Reason::Credentials => message::hint(&why, credentials),
                    _ => String::new(),
                };
                GlueError {
                    request_id: error.request_id().map(str::to_owned),
                    ..GlueError::new(reason, format!("{attempted} failed: {why}{what_to_do}"))
                }
            })?;
        let nameless = || {
            let why = format!("{attempted} failed: the answer has no ARN");
            GlueError::new(Reason::InvalidResponse, why)
        };
        Ok(answer
            .arn
            .filter(|arn| !arn.is_empty())
            .ok_or_else(nameless)?)
    }
}
