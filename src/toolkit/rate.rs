//! A token bucket as in Go's `x/time/rate`: it starts full and gets one token per interval, up to the burst.

use super::web_config::RateLimit;
use parking_lot::Mutex;
use tokio::time::Instant;

#[derive(Debug)]
pub struct TokenBucket {
    pub limit: RateLimit,
    /// When the bucket will be full if no token is taken until then.
    full_at: Mutex<Instant>,
}

impl TokenBucket {
    pub fn new(limit: RateLimit) -> Self {
        Self {
            limit,
            full_at: Mutex::new(Instant::now()),
        }
    }

    /// Returns false if the bucket is empty.
    pub fn take(&self) -> bool {
        let RateLimit { interval, burst } = self.limit;
        let now = Instant::now();
        let mut full_at = self.full_at.lock();
        let Some(next) = (*full_at).max(now).checked_add(interval) else {
            return false;
        };
        let has_token = next - now <= interval.saturating_mul(burst);
        if has_token {
            *full_at = next;
        }
        has_token
    }
}
