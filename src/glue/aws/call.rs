//! One call of an operation: its turn under the budget, its time, and what came of it.

use super::attempts::Attempts;
use super::metered::CALL;
use super::{ATTEMPTS, AwsGlue, CONNECT_TIMEOUT, SHORTEST_ATTEMPT, words};
use crate::glue::{Allowance, GlueError, Operation, Reason};
use aws_sdk_glue::Client;
use aws_sdk_glue::config::Builder;
use aws_sdk_glue::config::http::HttpResponse;
use aws_sdk_glue::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_glue::operation::RequestId;
use aws_smithy_types::timeout::TimeoutConfig;
use std::error::Error;
use std::future::Future;
use std::sync::Arc;
use tokio::time::Instant;

/// What is to be called.
pub struct Call<'a> {
    pub operation: Operation,
    /// In words, for the error: "asking AWS Glue in … for …".
    pub attempted: String,
    pub allowance: Allowance<'a>,
    /// The answer that there is no such integration is an answer to this call.
    pub absence_is_answer: bool,
}

impl AwsGlue {
    /// Makes the call. `send` is given a client and the settings of this call. None if AWS's error is an answer, that there is nothing;
    /// `says_absent` knows it.
    pub(super) async fn call<T, E, F>(
        &self,
        call: Call<'_>,
        says_absent: impl FnOnce(&E) -> bool,
        send: impl FnOnce(Client, Builder) -> F,
    ) -> Result<Option<T>, GlueError>
    where
        T: RequestId,
        E: Error + ProvideErrorMetadata + 'static,
        SdkError<E, HttpResponse>: RequestId,
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    {
        let Call {
            operation,
            attempted,
            allowance,
            absence_is_answer,
        } = call;
        let attempts = Attempts::new(
            self.budget.clone(),
            allowance.scope,
            Arc::clone(&self.observer),
            operation,
            absence_is_answer,
        );
        let pace = allowance.pace;
        let asked = Instant::now();
        let turn = tokio::time::timeout_at(pace.deadline(), attempts.first_turn()).await;
        pace.waited(asked.elapsed());
        if turn.is_err() {
            return Err(GlueError {
                asked: false,
                ..short_of_budget(&attempted)
            });
        }
        let socket = tokio::time::timeout_at(pace.deadline(), self.sockets.for_request()).await;
        let Ok(_socket) = socket else {
            return Err(GlueError {
                asked: false,
                ..GlueError::new(
                    Reason::Timeout,
                    format!(
                        "{attempted} had to wait for other requests until the poll's time was used up: the process's limit of open files is too \
                         low for what is watched"
                    ),
                )
            });
        };
        let limit = pace.share();
        if limit.is_zero() {
            return Err(GlueError::not_asked(if pace.short_of_budget() {
                Reason::Throttled
            } else {
                Reason::Timeout
            }));
        }
        let attempt_timeout = (limit / ATTEMPTS).max(SHORTEST_ATTEMPT.min(limit));
        let settings = Builder::new().interceptor(attempts.clone()).timeout_config(
            TimeoutConfig::builder()
                // The same for every request, however short: the client keeps a connector, with a pool and TLS of its own, for each
                // connect timeout that it has ever seen. The attempt's timeout ends connecting too.
                .connect_timeout(CONNECT_TIMEOUT)
                .operation_attempt_timeout(attempt_timeout)
                .build(),
        );
        let answer = CALL.scope(attempts.clone(), send(self.client(), settings));
        // Not the SDK's operation timeout: it would hide whether the time went to the request, to its credentials or to waiting
        // between tries of a throttled one.
        match tokio::time::timeout(limit, answer).await {
            Ok(Ok(output)) => match attempts.reason() {
                None => Ok(Some(output)),
                Some(reason) => Err(GlueError {
                    reason,
                    message: format!("{attempted} failed: AWS's answer has no body"),
                    request_id: output.request_id().map(str::to_owned),
                    asked: true,
                }),
            },
            Ok(Err(error)) => {
                let reason = attempts.reason().unwrap_or(Reason::Other);
                if reason == Reason::Timeout && pace.short_of_budget() {
                    return Err(short_of_budget(&attempted));
                }
                if absence_is_answer
                    && reason == Reason::NotFound
                    && error.as_service_error().is_some_and(says_absent)
                {
                    return Ok(None);
                }
                let why = if reason == Reason::Credentials
                    && matches!(error, SdkError::TimeoutError(_))
                {
                    // The SDK knows of an attempt that took too long, not of what took so long.
                    words::LATE.to_owned()
                } else {
                    words::of(&error, &self.credentials)
                };
                let mut message = format!("{attempted} failed: {why}");
                if reason == Reason::Credentials {
                    if error.as_service_error().is_some() {
                        self.connection().refused = true;
                    }
                    message.push_str(&words::what_to_do(&why, &self.credentials));
                }
                Err(GlueError {
                    reason,
                    message,
                    request_id: error.request_id().map(str::to_owned),
                    asked: true,
                })
            }
            Err(_elapsed) => {
                let reason = attempts.give_up();
                // The time that it lacks has gone into waiting.
                if reason == Reason::Timeout && pace.short_of_budget() {
                    return Err(short_of_budget(&attempted));
                }
                let (why, what_to_do) = match reason {
                    Reason::Timeout => ("AWS did not answer", String::new()),
                    Reason::Credentials => (
                        words::LATE,
                        words::what_to_do(words::LATE, &self.credentials),
                    ),
                    _ => (
                        "its tries failed, and there was no time for another",
                        String::new(),
                    ),
                };
                Err(GlueError::new(
                    reason,
                    format!(
                        "{attempted} was given up after {:.1} s: {why}{what_to_do}",
                        limit.as_secs_f64(),
                    ),
                ))
            }
        }
    }
}

fn short_of_budget(attempted: &str) -> GlueError {
    GlueError::new(
        Reason::Throttled,
        format!(
            "{attempted} had to wait for other requests until the poll's time was used up: polling.requests_per_second is too low for what \
             is watched"
        ),
    )
}
