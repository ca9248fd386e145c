//! How the time of one poll is shared out among its requests.

use crate::glue::{Deadline, time_left};
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// With so many queries waiting that each would have less, a request still gets this much, or a tenth of the poll: less would give
/// up requests that are merely slow.
const MIN_REQUEST_TIME: Duration = Duration::from_secs(1);
/// Retries in one poll, of all its requests together: what fails for hundreds of ARNs at once must not get three times the requests.
const MAX_RETRIES: u32 = 20;

/// The pace of one poll.
pub struct PollDeadline {
    deadline: Instant,
    /// How many requests may be in flight at once.
    concurrency: usize,
    /// Since when so many were in flight at once as its place says, the first being one.
    in_flight_since: Mutex<Vec<Instant>>,
    /// How many queries are to have their turn yet.
    waiting: AtomicUsize,
    /// For how long requests waited for the budget, all together, in milliseconds.
    waited: AtomicU64,
    least: Duration,
    retries: AtomicU32,
}

impl PollDeadline {
    /// Of a poll that begins now and may take until `timeout` is over.
    pub fn new(started: Instant, timeout: Duration, concurrency: usize) -> Self {
        Self {
            deadline: started + timeout,
            concurrency,
            in_flight_since: Mutex::default(),
            waiting: AtomicUsize::new(0),
            waited: AtomicU64::new(0),
            least: MIN_REQUEST_TIME.min(timeout / 10),
            retries: AtomicU32::new(0),
        }
    }

    /// So many queries are to have their turn yet.
    pub fn wait(&self, queries: usize) {
        self.waiting.store(queries, Ordering::Relaxed);
    }

    /// So many turns are taken at once now.
    pub fn in_flight(&self, requests: usize) {
        let mut in_flight_since = self
            .in_flight_since
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        while in_flight_since.len() < requests {
            in_flight_since.push(Instant::now());
        }
    }
}

impl Deadline for PollDeadline {
    fn end(&self) -> Instant {
        self.deadline
    }

    /// So much that those waiting behind the request can still be asked within this poll.
    fn per_request(&self) -> Duration {
        let left = time_left(self.deadline);
        let rounds = 1 + self
            .waiting
            .load(Ordering::Relaxed)
            .div_ceil(self.concurrency);
        let rounds = u32::try_from(rounds).unwrap_or(u32::MAX);
        (left / rounds).max(self.least).min(left)
    }

    fn waited(&self, duration: Duration) {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        self.waited.fetch_add(millis, Ordering::Relaxed);
    }

    fn starved_by_rate_limit(&self) -> bool {
        let in_flight_since = self
            .in_flight_since
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let time: Duration = in_flight_since.iter().map(Instant::elapsed).sum();
        Duration::from_millis(self.waited.load(Ordering::Relaxed)) > time / 2
    }

    fn take_retry(&self) -> bool {
        self.retries.fetch_add(1, Ordering::Relaxed) < MAX_RETRIES
    }
}
