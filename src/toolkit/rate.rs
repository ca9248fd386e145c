//! A token bucket as in Go's `x/time/rate`: it starts full and gets one token per interval, up to the burst.

use crate::toolkit::web_config::RateLimit;
use tokio::time::Instant;

/// Limits the rate of requests of all clients together.
#[derive(Debug)]
pub struct TokenBucket {
    limit: RateLimit,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    tokens: u32,
    /// When the last token was added, or when the bucket was last seen full.
    refilled_at: Instant,
}

impl TokenBucket {
    /// Returns a full bucket.
    pub fn new(limit: RateLimit) -> Self {
        Self {
            limit,
            state: Mutex::new(State {
                tokens: limit.burst,
                refilled_at: Instant::now(),
            }),
        }
    }

    /// Returns the limit of the bucket.
    pub fn limit(&self) -> RateLimit {
        self.limit
    }

    /// Takes a token. Returns false if the bucket is empty.
    pub fn take(&self) -> bool {
        let now = Instant::now();
        let mut state = self.state.lock();
        let interval = self.limit.interval.as_nanos().max(1);
        let passed = now.saturating_duration_since(state.refilled_at).as_nanos();
        let missing = self.limit.burst - state.tokens;
        let added = u32::try_from(passed / interval).unwrap_or(u32::MAX);
        if added >= missing {
            state.tokens = self.limit.burst;
            state.refilled_at = now;
        } else {
            state.tokens += added;
            state.refilled_at += self.limit.interval * added;
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
use parking_lot::Mutex;
