//! A token bucket, as Go's `x/time/rate` has it: full at first, a token more each interval, never more than the burst.

use crate::config::web::RateLimit;
use std::sync::{Mutex, PoisonError};
use tokio::time::Instant;

/// Lets in so many requests, all clients together.
#[derive(Debug)]
pub struct Bucket {
    limit: RateLimit,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    tokens: u32,
    /// When the last of them came, or all of them were there.
    at: Instant,
}

impl Bucket {
    /// A full one.
    pub fn new(limit: RateLimit) -> Self {
        Self {
            limit,
            state: Mutex::new(State {
                tokens: limit.burst,
                at: Instant::now(),
            }),
        }
    }

    /// What it was made of.
    pub fn limit(&self) -> RateLimit {
        self.limit
    }

    /// Takes a token, if there is one.
    pub fn take(&self) -> bool {
        let now = Instant::now();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let interval = self.limit.interval.as_nanos().max(1);
        let passed = now.saturating_duration_since(state.at).as_nanos();
        let missing = self.limit.burst - state.tokens;
        let come = u32::try_from(passed / interval).unwrap_or(u32::MAX);
        if come >= missing {
            state.tokens = self.limit.burst;
            state.at = now;
        } else {
            state.tokens += come;
            state.at += self.limit.interval * come;
        }
        match state.tokens.checked_sub(1) {
            Some(left) => {
                state.tokens = left;
                true
            }
            None => false,
        }
    }
}
