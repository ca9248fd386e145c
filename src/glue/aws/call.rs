//! One call of an operation: up to three attempts in a loop, each with credentials, a place under the rate limit and what is left of
//! the call's time. The SDK itself never retries.

use super::{AwsGlue, classify, message};
use crate::glue::{GlueError, Operation, Reason, RequestContext, time_left};
use aws_sdk_glue::Client;
use aws_sdk_glue::config::Builder;
use aws_sdk_glue::config::http::HttpResponse;
use aws_sdk_glue::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_glue::operation::RequestId;
use std::error::Error;
use std::future::Future;
use std::time::Duration;
use tokio::sync::SemaphorePermit;
use tokio::time::{Instant, timeout_at};

/// One request and two retries, as in the SDK's standard mode.
pub(super) const MAX_ATTEMPTS: u32 = 3;
/// The longest wait before the first retry; it doubles for the second. The wait is a random part of it, so that clients which failed
/// together do not return together.
const MAX_FIRST_BACKOFF: Duration = Duration::from_secs(1);

/// A call to make.
pub struct Call<'a> {
    pub operation: Operation,
    /// For the error message: "asking AWS Glue in … for …".
    pub attempted: String,
    pub context: RequestContext<'a>,
    /// AWS's error that the integration does not exist is an answer to this call.
    pub absence_is_answer: bool,
}

impl AwsGlue {
    /// Makes the call. `send` gets a client and the settings of one attempt. Returns None if AWS's error is the answer that there is
    /// nothing, which `is_not_found` recognises.
    ///
    /// # Errors
    /// The failure of the last attempt, or of waiting for one.
    pub(super) async fn call<T, E, F>(
        &self,
        call: Call<'_>,
        is_not_found: impl Fn(&E) -> bool,
        send: impl Fn(Client, Builder) -> F,
    ) -> Result<Option<T>, GlueError>
    where
        E: Error + ProvideErrorMetadata + 'static,
        SdkError<E, HttpResponse>: RequestId,
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    {
        let deadline = call.context.deadline;
        // The time of the call starts with its first request: neither credentials nor the rate limit take any of it.
        let mut end: Option<Instant> = None;
        let mut attempt = 1;
        loop {
            let credentials = self.credentials(&call, end).await?;
            let client = self.client().await;
            let _permit = self.permit(&call, end).await?;
            let share = deadline.per_request();
            if share.is_zero() {
                return Err(GlueError::not_asked(if deadline.starved_by_rate_limit() {
                    Reason::Throttled
                } else {
                    Reason::Timeout
                }));
            }
            let started = Instant::now();
            let end = *end.get_or_insert(started + share);
            self.observer.sent(call.operation);
            let settings = Builder::new().credentials_provider(credentials.clone());
            let outcome = timeout_at(end, send(client, settings)).await;
            let ended = |failure| {
                self.observer
                    .ended(call.operation, started.elapsed(), failure);
            };
            let error = match outcome {
                Ok(Ok(output)) => {
                    ended(None);
                    return Ok(Some(output));
                }
                Ok(Err(error))
                    if call.absence_is_answer
                        && error.as_service_error().is_some_and(&is_not_found) =>
                {
                    ended(None);
                    return Ok(None);
                }
                Ok(Err(error)) => {
                    let reason = classify::classify(&error);
                    if reason == Reason::Credentials {
                        self.reject(&credentials).await;
                    }
                    self.failure(&call, reason, &error)
                }
                Err(_elapsed) => {
                    ended(Some(Reason::Timeout));
                    return Err(if deadline.starved_by_rate_limit() {
                        starved_by_rate_limit(&call)
                    } else {
                        GlueError::new(
                            Reason::Timeout,
                            format!(
                                "{} was given up after {:.1} s: AWS did not answer",
                                call.attempted,
                                started.elapsed().as_secs_f64()
                            ),
                        )
                    });
                }
            };
            ended(Some(error.reason));
            let backoff = MAX_FIRST_BACKOFF.mul_f64(fastrand::f64()) * attempt;
            if !may_retry(error.reason)
                || attempt == MAX_ATTEMPTS
                || Instant::now() + backoff >= end
                || !deadline.take_retry()
            {
                return Err(error);
            }
            attempt += 1;
            tokio::time::sleep(backoff).await;
        }
    }

    /// Returns the credentials for an attempt, which has to wait for them if they are not loaded yet. The first attempt may wait for half of
    /// the poll: none of its other requests could go out without them either.
    async fn credentials(
        &self,
        call: &Call<'_>,
        end: Option<Instant>,
    ) -> Result<aws_credential_types::Credentials, GlueError> {
        let deadline = call.context.deadline;
        let end = end.unwrap_or_else(|| {
            Instant::now() + deadline.per_request().max(time_left(deadline.end()) / 2)
        });
        let why = match timeout_at(end, self.current_credentials()).await {
            Ok(Ok(credentials)) => return Ok(credentials),
            Ok(Err(error)) => message::describe_load_error(&error, &self.credentials),
            Err(_elapsed) => message::TIMED_OUT.to_owned(),
        };
        let what_to_do = message::hint(&why, &self.credentials);
        Err(GlueError::new(
            Reason::Credentials,
            format!("{} failed: {why}{what_to_do}", call.attempted),
        ))
    }

    /// Waits until the rate limit, and then the limit of connections, lets an attempt go out.
    async fn permit(
        &self,
        call: &Call<'_>,
        end: Option<Instant>,
    ) -> Result<Option<SemaphorePermit<'_>>, GlueError> {
        let deadline = call.context.deadline;
        let asked = end.is_some();
        let end = end.unwrap_or_else(|| deadline.end());
        let since = Instant::now();
        let turn = async {
            match call.operation {
                Operation::DescribeInboundIntegrations => {
                    self.rate_limiter.acquire(call.context.scope).await;
                }
                Operation::DescribeIntegrations => self.rate_limiter.acquire_idle().await,
            }
        };
        let in_time = timeout_at(end, turn).await.is_ok();
        deadline.waited(since.elapsed());
        if !in_time {
            return Err(GlueError {
                asked,
                ..starved_by_rate_limit(call)
            });
        }
        self.observer.waited(call.operation, since.elapsed());
        timeout_at(end, self.connection_limiter.for_request())
            .await
            .map_err(|_elapsed| GlueError {
                asked,
                ..GlueError::new(
                    Reason::Timeout,
                    format!(
                        "{} had to wait for other requests until the poll's time was used up: the process's limit of open files is too low \
                         for what is watched",
                        call.attempted
                    ),
                )
            })
    }

    fn failure<E>(
        &self,
        call: &Call<'_>,
        reason: Reason,
        error: &SdkError<E, HttpResponse>,
    ) -> GlueError
    where
        E: Error + ProvideErrorMetadata + 'static,
        SdkError<E, HttpResponse>: RequestId,
    {
        let why = message::describe_error(error, &self.credentials);
        let what_to_do = if reason == Reason::Credentials {
            message::hint(&why, &self.credentials)
        } else {
            String::new()
        };
        GlueError {
            request_id: error.request_id().map(str::to_owned),
            ..GlueError::new(
                reason,
                format!("{} failed: {why}{what_to_do}", call.attempted),
            )
        }
    }
}

/// Returns whether another attempt may succeed at once.
fn may_retry(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::Throttled | Reason::ServerError | Reason::Network | Reason::Timeout
    )
}

fn starved_by_rate_limit(call: &Call<'_>) -> GlueError {
    GlueError::new(
        Reason::Throttled,
        format!(
            "{} had to wait for other requests until the poll's time was used up: polling.requests_per_second is too low for what is watched",
            call.attempted
        ),
    )
}
