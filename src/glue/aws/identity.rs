//! The identity of credentials from AWS STS, which needs no permission.

use super::client::MAX_ATTEMPTS;
use super::sdk::Sdk;
use super::{classify, message};
use crate::config::{Credentials, RegionName};
use crate::glue::{GlueError, Reason};
use aws_smithy_types::retry::RetryConfig;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

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
    /// Returns an ARN. For a role, it is the ARN of the session.
    pub async fn caller_identity(
        &self,
        credentials: &Credentials,
        region: &RegionName,
        timeout: Duration,
    ) -> Result<String, IdentityError> {
        let deadline = Instant::now() + timeout;
        let provider = self.provider(credentials, region);
        let sdk = provider.sdk_config().await;
        let keys = timeout_at(deadline, provider.get())
            .await
            .map_err(|_elapsed| {
                let why = message::with_hint(message::TIMED_OUT, credentials);
                GlueError::new(Reason::Credentials, why)
            })?
            .map_err(|error| IdentityError {
                role_refused: classify::role_refused(&error) == Some(Reason::AccessDenied),
                error: GlueError::new(
                    Reason::Credentials,
                    message::load_failed(&error, credentials),
                ),
            })?;
        let config = aws_sdk_sts::config::Builder::from(&sdk)
            .credentials_provider(keys)
            .retry_config(RetryConfig::standard().with_max_attempts(MAX_ATTEMPTS))
            .build();
        let call = aws_sdk_sts::Client::from_conf(config)
            .get_caller_identity()
            .send();
        let attempted = format!("asking AWS STS in {region} for the identity of the credentials");
        let answer = timeout_at(deadline, call)
            .await
            .map_err(|_elapsed| {
                let why = format!("{attempted} timed out: STS did not answer");
                GlueError::new(Reason::Timeout, why)
            })?
            .map_err(|error| {
                let reason = classify::classify(&error);
                message::call_failed(&attempted, reason, &error, credentials)
            })?;
        let arn = answer.arn.filter(|arn| !arn.is_empty());
        Ok(arn.ok_or_else(|| {
            let why = format!("{attempted} failed: the response has no ARN");
            GlueError::new(Reason::InvalidResponse, why)
        })?)
    }
}
