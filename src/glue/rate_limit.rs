//! Limits the requests per second of one set of credentials in one region, because other programs share the quota of the account.
//! The scopes are served in turn, so that a scope with hundreds of ARNs does not delay a scope with a single listing.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// After a pause, the requests of this time may be sent at once.
const BURST: Duration = Duration::from_secs(1);

/// A rate limiter (GCRA). Clones share their state.
#[derive(Clone, Debug)]
pub struct RateLimiter {
    period: Arc<Mutex<Duration>>,
    /// When a full burst is available again. Each request moves it by one period, and holds the lock while it waits for its permit.
    full_burst_at: Arc<tokio::sync::Mutex<Instant>>,
    /// Only one request of each scope queues for `full_burst_at`, so the scopes take turns. The other requests queue here.
    scopes: Arc<Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>>,
}

impl RateLimiter {
    pub fn new(per_second: u16) -> Self {
        Self {
            period: Arc::new(Mutex::new(period(per_second))),
            full_burst_at: Arc::new(tokio::sync::Mutex::new(Instant::now())),
            scopes: Arc::default(),
        }
    }

    pub fn set(&self, per_second: u16) {
        *self.period.lock() = period(per_second);
    }

    pub async fn acquire(&self, scope: &str) {
        let queue = {
            let mut scopes = self.scopes.lock();
            Arc::clone(scopes.entry(scope.to_owned()).or_default())
        };
        let _first_of_scope = queue.lock().await;
        let mut full_burst_at = self.full_burst_at.lock().await;
        let period = *self.period.lock();
        // With one request per second, the burst is a single request.
        sleep_until(*full_burst_at + period - BURST.max(period)).await;
        *full_burst_at = (*full_burst_at).max(Instant::now()) + period;
    }

    /// For requests of low priority: waits until no other request waits and the full burst is available.
    pub async fn acquire_idle(&self) {
        loop {
            let mut full_burst_at = self.full_burst_at.lock().await;
            let now = Instant::now();
            if *full_burst_at <= now {
                *full_burst_at = now + *self.period.lock();
                return;
            }
            let next = *full_burst_at;
            drop(full_burst_at);
            sleep_until(next).await;
        }
    }
}

fn period(per_second: u16) -> Duration {
    Duration::from_secs(1) / u32::from(per_second.max(1))
}
