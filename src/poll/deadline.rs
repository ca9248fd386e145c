//! Divides the time of one poll among its requests.

use crate::glue::{Deadline, time_left};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// Minimum time for a request, or a tenth of the poll's timeout if that is shorter. With less, requests that are only slow would time out.
const MIN_REQUEST_TIME: Duration = Duration::from_secs(1);
/// Maximum number of retries in one poll. Without it, an error that affects hundreds of ARNs would triple the number of requests.
const MAX_RETRIES: u32 = 20;

/// The deadline of one poll.
pub struct PollDeadline {
    deadline: Instant,
    /// Maximum number of requests in flight.
    concurrency: usize,
    /// Element `n` is when `n + 1` requests were first in flight at the same time.
    in_flight_since: Mutex<Vec<Instant>>,
    /// Number of queries that have not started yet.
    waiting: AtomicUsize,
    /// Total time that requests waited for the rate limiter, in milliseconds.
    waited_millis: AtomicU64,
    min_request_time: Duration,
    retries: AtomicU32,
}

impl PollDeadline {
    /// Creates the deadline of a poll that starts at `started` and may take `timeout`.
    pub fn new(started: Instant, timeout: Duration, concurrency: usize) -> Self {
        Self {
            deadline: started + timeout,
            concurrency,
            in_flight_since: Mutex::default(),
            waiting: AtomicUsize::new(0),
            waited_millis: AtomicU64::new(0),
            min_request_time: MIN_REQUEST_TIME.min(timeout / 10),
            retries: AtomicU32::new(0),
        }
    }

    /// Sets the number of queries that have not started yet.
    pub fn set_waiting(&self, queries: usize) {
        self.waiting.store(queries, Ordering::Relaxed);
    }

    /// Sets the number of requests in flight.
    pub fn set_in_flight(&self, requests: usize) {
        let mut in_flight_since = self.in_flight_since.lock();
        while in_flight_since.len() < requests {
            in_flight_since.push(Instant::now());
        }
    }
}

impl Deadline for PollDeadline {
    fn end(&self) -> Instant {
        self.deadline
    }

    /// Leaves time for the waiting queries within this poll.
    fn per_request(&self) -> Duration {
        let left = time_left(self.deadline);
        let rounds = 1 + self
            .waiting
            .load(Ordering::Relaxed)
            .div_ceil(self.concurrency);
        let rounds = u32::try_from(rounds).unwrap_or(u32::MAX);
        (left / rounds).max(self.min_request_time).min(left)
    }

    fn waited(&self, duration: Duration) {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        self.waited_millis.fetch_add(millis, Ordering::Relaxed);
    }

    fn starved_by_rate_limit(&self) -> bool {
        let in_flight_since = self.in_flight_since.lock();
        let time: Duration = in_flight_since.iter().map(Instant::elapsed).sum();
        Duration::from_millis(self.waited_millis.load(Ordering::Relaxed)) > time / 2
    }

    fn take_retry(&self) -> bool {
        self.retries.fetch_add(1, Ordering::Relaxed) < MAX_RETRIES
    }
}
