//! Divides the time of one poll among its requests.

use super::error::Reason;
use parking_lot::Mutex;
use std::time::Duration;
use tokio::time::Instant;

/// Or a tenth of the poll's timeout if that is shorter. With less, slow requests would time out.
const MIN_REQUEST_TIMEOUT: Duration = Duration::from_secs(1);
/// In one poll. An error that affects hundreds of ARNs would otherwise triple the number of requests.
const MAX_RETRIES: u32 = 20;

#[derive(Debug)]
pub struct Deadline {
    started: Instant,
    /// When every request, and every wait for one, must end.
    pub(crate) end: Instant,
    concurrency: usize,
    min_request_timeout: Duration,
    /// None for a poll, in which a single request may use all the time.
    max_request_timeout: Option<Duration>,
    usage: Mutex<Usage>,
}

#[derive(Debug, Default)]
struct Usage {
    waiting: usize,
    most_in_flight: usize,
    waited: Duration,
    retries: u32,
}

impl Deadline {
    pub fn new(timeout: Duration, concurrency: usize) -> Self {
        let started = Instant::now();
        Self {
            started,
            end: started + timeout,
            concurrency: concurrency.max(1),
            min_request_timeout: MIN_REQUEST_TIMEOUT.min(timeout / 10),
            max_request_timeout: None,
            usage: Mutex::default(),
        }
    }

    /// `timeout` includes the waits for the rate limiter.
    pub(crate) fn of_requests(timeout: Duration, max_request_timeout: Duration) -> Self {
        Self {
            max_request_timeout: Some(max_request_timeout),
            ..Self::new(timeout, 1)
        }
    }

    pub(crate) fn update(&self, waiting: usize, in_flight: usize) {
        let mut usage = self.usage.lock();
        usage.waiting = waiting;
        usage.most_in_flight = usage.most_in_flight.max(in_flight);
    }

    pub(crate) fn time_left(&self) -> Duration {
        self.end.saturating_duration_since(Instant::now())
    }

    /// Retries included. Leaves time for the waiting queries.
    pub fn request_timeout(&self) -> Duration {
        let left = self.time_left();
        let rounds = 1 + self.usage.lock().waiting.div_ceil(self.concurrency);
        let rounds = u32::try_from(rounds).unwrap_or(u32::MAX);
        let timeout = (left / rounds).max(self.min_request_timeout).min(left);
        timeout.min(self.max_request_timeout.unwrap_or(timeout))
    }

    pub(crate) fn waited(&self, duration: Duration) {
        self.usage.lock().waited += duration;
    }

    /// Returns why no time is left: `Throttled` if requests spent most of the time waiting for the rate limiter.
    pub(crate) fn reason(&self) -> Reason {
        let usage = self.usage.lock();
        let requests = u32::try_from(usage.most_in_flight.max(1)).unwrap_or(u32::MAX);
        let time = self.started.elapsed() * requests;
        if self.max_request_timeout.is_none() && usage.waited > time / 2 {
            Reason::Throttled
        } else {
            Reason::Timeout
        }
    }

    pub(crate) fn take_retry(&self) -> bool {
        let mut usage = self.usage.lock();
        usage.retries += 1;
        usage.retries <= MAX_RETRIES
    }
}
