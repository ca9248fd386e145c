//! Divides the time of one poll among its requests.

use super::error::Reason;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// Minimum time for a request, or a tenth of the poll's timeout if that is shorter. With less, requests that are only slow would time out.
const MIN_REQUEST_TIMEOUT: Duration = Duration::from_secs(1);
/// Maximum number of retries in one poll. Without it, an error that affects hundreds of ARNs would triple the number of requests.
const MAX_RETRIES: u32 = 20;

/// The time limits of a poll's requests.
#[derive(Debug)]
pub struct Deadline {
    started: Instant,
    /// When every request, and every wait for one, must end.
    pub(crate) end: Instant,
    /// Maximum number of requests in flight.
    concurrency: usize,
    min_request_timeout: Duration,
    /// None for a poll, in which a single request may use all the time.
    max_request_timeout: Option<Duration>,
    /// Number of queries that have not started yet.
    waiting: AtomicUsize,
    /// The most requests that were in flight at the same time.
    most_in_flight: AtomicU32,
    /// Total time that requests waited for the rate limiter, in milliseconds.
    waited_millis: AtomicU64,
    retries: AtomicU32,
}

impl Deadline {
    /// Creates the deadline of a poll that starts now and sends up to `concurrency` requests at the same time.
    pub fn new(timeout: Duration, concurrency: usize) -> Self {
        let started = Instant::now();
        Self {
            started,
            end: started + timeout,
            concurrency: concurrency.max(1),
            min_request_timeout: MIN_REQUEST_TIMEOUT.min(timeout / 10),
            max_request_timeout: None,
            waiting: AtomicUsize::new(0),
            most_in_flight: AtomicU32::new(1),
            waited_millis: AtomicU64::new(0),
            retries: AtomicU32::new(0),
        }
    }

    /// Creates a deadline for requests that take up to `max_request_timeout` each. `timeout` includes their waits for the rate limiter.
    pub(crate) fn of_requests(timeout: Duration, max_request_timeout: Duration) -> Self {
        Self {
            max_request_timeout: Some(max_request_timeout),
            ..Self::new(timeout, 1)
        }
    }

    /// Updates the number of queries that have not started yet and the number of requests in flight.
    pub(crate) fn update(&self, waiting: usize, in_flight: usize) {
        self.waiting.store(waiting, Ordering::Relaxed);
        let in_flight = u32::try_from(in_flight).unwrap_or(u32::MAX);
        self.most_in_flight.fetch_max(in_flight, Ordering::Relaxed);
    }

    pub(crate) fn time_left(&self) -> Duration {
        self.end.saturating_duration_since(Instant::now())
    }

    /// Returns how long a request that starts now may take, retries included. Leaves time for the waiting queries.
    pub fn request_timeout(&self) -> Duration {
        let left = self.time_left();
        let waiting = self.waiting.load(Ordering::Relaxed);
        let rounds = 1 + waiting.div_ceil(self.concurrency);
        let rounds = u32::try_from(rounds).unwrap_or(u32::MAX);
        let timeout = (left / rounds).max(self.min_request_timeout).min(left);
        timeout.min(self.max_request_timeout.unwrap_or(timeout))
    }

    /// Records that a request waited this long for the rate limiter.
    pub(crate) fn waited(&self, duration: Duration) {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        self.waited_millis.fetch_add(millis, Ordering::Relaxed);
    }

    /// Returns why no time is left: `Throttled` if requests spent most of the time waiting for the rate limiter.
    pub(crate) fn reason(&self) -> Reason {
        let time = self.started.elapsed() * self.most_in_flight.load(Ordering::Relaxed);
        let waited = Duration::from_millis(self.waited_millis.load(Ordering::Relaxed));
        if self.max_request_timeout.is_none() && waited > time / 2 {
            Reason::Throttled
        } else {
            Reason::Timeout
        }
    }

    /// Uses one of the poll's retries. Returns false if none are left.
    pub(crate) fn take_retry(&self) -> bool {
        self.retries.fetch_add(1, Ordering::Relaxed) < MAX_RETRIES
    }
}
