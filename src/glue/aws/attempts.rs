//! Follows one call through its HTTP attempts: counts each, and knows why the last one failed, or what was under way when the
//! call was given up.

use super::reason::{self, Stage};
use crate::glue::budget::Budget;
use crate::glue::{Observer, Operation, Reason};
use aws_sdk_glue::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_glue::error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeTransmitInterceptorContextRef, FinalizerInterceptorContextRef,
};
use memchr::memmem;
use serde::de::IgnoredAny;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::time::Instant;

/// Where the operations' answers have their lists, quoted as in JSON.
const LISTS: [&str; 2] = ["\"InboundIntegrations\"", "\"Integrations\""];
/// What else an answer has.
const MARKER: &str = "Marker";
/// Only errors have it.
const ERROR_TYPE: &str = "x-amzn-errortype";

/// An interceptor of one call. A clone sees the same call.
#[derive(Clone)]
pub struct Attempts {
    budget: Budget,
    scope: Arc<str>,
    /// The first attempt has its turn before the call begins, so that the wait is no part of the call's time.
    has_turn: Arc<AtomicBool>,
    observer: Arc<dyn Observer>,
    operation: Operation,
    /// The answer that there is no such integration is an answer to this call.
    absence_is_answer: bool,
    state: Arc<Mutex<State>>,
}

#[derive(Clone, Copy, Default)]
enum State {
    /// Between attempts: before the first, or waiting to try again after one that failed so.
    #[default]
    Idle,
    Failed(Reason),
    /// Loading credentials and signing.
    Preparing,
    /// About to go out.
    Signed,
    /// Waiting for the budget.
    Waiting,
    Sent(Instant),
}

impl Attempts {
    /// A call on behalf of `scope`, of which nothing was sent yet.
    pub fn new(
        budget: Budget,
        scope: &str,
        observer: Arc<dyn Observer>,
        operation: Operation,
        absence_is_answer: bool,
    ) -> Self {
        Self {
            budget,
            scope: scope.into(),
            has_turn: Arc::default(),
            observer,
            operation,
            absence_is_answer,
            state: Arc::default(),
        }
    }

    /// Waits for the turn of the first attempt.
    pub async fn first_turn(&self) {
        self.turn().await;
        self.has_turn.store(true, Ordering::Relaxed);
    }

    /// Waits until the attempt may go out, and counts it.
    pub async fn may_go_out(&self) {
        if !self.has_turn.swap(false, Ordering::Relaxed) {
            *self.lock() = State::Waiting;
            self.turn().await;
        }
        self.observer.sent(self.operation);
        *self.lock() = State::Sent(Instant::now());
    }

    async fn turn(&self) {
        let since = Instant::now();
        match self.operation {
            Operation::DescribeInboundIntegrations => self.budget.turn(&self.scope).await,
            Operation::DescribeIntegrations => self.budget.spare_turn().await,
        }
        self.observer.waited(self.operation, since.elapsed());
    }

    /// Why the last attempt failed, if it did.
    pub fn reason(&self) -> Option<Reason> {
        match *self.lock() {
            State::Failed(reason) => Some(reason),
            State::Idle | State::Preparing | State::Signed | State::Waiting | State::Sent(_) => {
                None
            }
        }
    }

    /// The call was dropped: why it had not ended by now. An attempt that was under way is counted as one that failed.
    pub fn give_up(&self) -> Reason {
        match *self.lock() {
            State::Sent(since) => {
                self.observer
                    .ended(self.operation, since.elapsed(), Some(Reason::Timeout));
                Reason::Timeout
            }
            State::Preparing => Reason::Credentials,
            State::Signed => Reason::Timeout,
            State::Waiting => Reason::Throttled,
            State::Failed(reason) => reason,
            State::Idle => Reason::Timeout,
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // The state is one word: a panic elsewhere cannot have left it half written.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Attempts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Attempts")
    }
}

impl Intercept for Attempts {
    fn name(&self) -> &'static str {
        "Attempts"
    }

    fn read_before_attempt(
        &self,
        _context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        *self.lock() = State::Preparing;
        Ok(())
    }

    fn read_before_transmit(
        &self,
        _context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        *self.lock() = State::Signed;
        Ok(())
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let status = context
            .response()
            .map(|response| response.status().as_u16());
        let mut state = self.lock();
        let (stage, sent) = match *state {
            State::Sent(since) => (Stage::Sent, Some(since)),
            State::Signed => (Stage::Sent, None),
            State::Waiting => (Stage::Waiting, None),
            State::Idle | State::Failed(_) | State::Preparing => (Stage::Preparing, None),
        };
        let failure = match context.output_or_error() {
            Some(Ok(_)) if is_no_answer(context) => Some(Reason::InvalidResponse),
            Some(Ok(_)) => None,
            Some(Err(error)) => Some(reason::of_attempt(error, status, stage)),
            None => Some(Reason::Other),
        };
        if let Some(since) = sent {
            let counted = failure.filter(|_| {
                !(self.absence_is_answer
                    && context
                        .output_or_error()
                        .and_then(Result::err)
                        .is_some_and(reason::attempt_says_absent))
            });
            self.observer
                .ended(self.operation, since.elapsed(), counted);
        }
        *state = failure.map_or(State::Idle, State::Failed);
        Ok(())
    }
}

/// The SDK reads whatever has no list in it as AWS's word that there is nothing, also no body at all, or an error that came with
/// status 200. Glue's own word is the list, or nothing beside the marker.
fn is_no_answer(context: &FinalizerInterceptorContextRef<'_>) -> bool {
    context.response().is_some_and(|response| {
        response.headers().get(ERROR_TYPE).is_some()
            || response.body().bytes().is_some_and(has_no_list)
    })
}

fn has_no_list(body: &[u8]) -> bool {
    // Nearly all answers have one; these are not to be read twice.
    if LISTS
        .iter()
        .any(|list| memmem::find(body, list.as_bytes()).is_some())
    {
        return false;
    }
    match serde_json::from_slice::<BTreeMap<String, IgnoredAny>>(body) {
        Ok(members) => members.keys().any(|member| member != MARKER),
        Err(_) => true,
    }
}
