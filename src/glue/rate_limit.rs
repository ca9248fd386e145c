//! Limits the requests per second of one set of credentials in one region. AWS throttles per account and region, so the exporter's
//! requests reduce the quota of other programs.
//!
//! The scopes are served in turn, so that a scope with hundreds of ARNs does not delay a scope with a single listing. Each attempt takes
//! one permit when it is sent: a request that hangs blocks no other, and a retry waits again.

use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// After a pause, the requests of this time may be sent at once.
const BURST: Duration = Duration::from_secs(1);

/// A rate limiter (GCRA). Clones share their state.
#[derive(Clone, Debug)]
pub struct RateLimiter(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    /// Time between two requests.
    period: Duration,
    /// When a full burst is available again. Each request moves it by one period.
    theoretical_arrival: Instant,
    /// The waiting scopes. The first one is served next.
    waiting: VecDeque<Waiting>,
    serving: bool,
}

#[derive(Debug)]
struct Waiting {
    scope: String,
    senders: VecDeque<oneshot::Sender<()>>,
}

impl RateLimiter {
    /// Creates a limiter for this many requests per second, at least one.
    pub fn new(per_second: u16) -> Self {
        Self(Arc::new(Mutex::new(State {
            period: period(per_second),
            theoretical_arrival: Instant::now(),
            waiting: VecDeque::new(),
            serving: false,
        })))
    }

    /// Changes the rate.
    pub fn set(&self, per_second: u16) {
        self.0.lock().period = period(per_second);
    }

    /// Waits until a request of `scope` may be sent. Dropping the future leaves the queue.
    pub async fn acquire(&self, scope: &str) {
        let permit = {
            let mut state = self.0.lock();
            if state.waiting.is_empty() && state.try_take(Instant::now()).is_ok() {
                return;
            }
            let (sender, permit) = oneshot::channel();
            state.enqueue(scope, sender);
            if !state.serving {
                state.serving = true;
                tokio::spawn(self.clone().serve());
            }
            permit
        };
        // The sender is dropped without sending only when the runtime ends.
        let _ = permit.await;
    }

    /// Waits until a request of low priority may be sent: until no other request waits and the full burst is available. It delays later
    /// requests by at most one period.
    pub async fn acquire_idle(&self) {
        loop {
            let next = {
                let mut state = self.0.lock();
                let now = Instant::now();
                if !state.waiting.is_empty() {
                    now + state.period
                } else if state.theoretical_arrival > now {
                    state.theoretical_arrival
                } else {
                    state.theoretical_arrival = now + state.period;
                    return;
                }
            };
            tokio::time::sleep_until(next).await;
        }
    }

    async fn serve(self) {
        loop {
            let next = {
                let mut state = self.0.lock();
                state.drop_abandoned();
                if state.waiting.is_empty() {
                    state.serving = false;
                    return;
                }
                match state.try_take(Instant::now()) {
                    Ok(()) => {
                        if let Some(sender) = state.dequeue() {
                            // If the receiver was dropped just now, the permit is lost.
                            let _ = sender.send(());
                        }
                        continue;
                    }
                    Err(next) => next,
                }
            };
            tokio::time::sleep_until(next).await;
        }
    }
}

impl State {
    /// Takes a permit, or returns when one will be available.
    fn try_take(&mut self, now: Instant) -> Result<(), Instant> {
        let theoretical_arrival = self.theoretical_arrival.max(now) + self.period;
        // With one request per second, the burst is a single request.
        let earliest = theoretical_arrival - BURST.max(self.period);
        if earliest > now {
            return Err(earliest);
        }
        self.theoretical_arrival = theoretical_arrival;
        Ok(())
    }

    fn enqueue(&mut self, scope: &str, sender: oneshot::Sender<()>) {
        match self.waiting.iter_mut().find(|entry| entry.scope == scope) {
            Some(entry) => entry.senders.push_back(sender),
            None => self.waiting.push_back(Waiting {
                scope: scope.to_owned(),
                senders: VecDeque::from([sender]),
            }),
        }
    }

    /// Takes the next sender of the scope that was served longest ago.
    fn dequeue(&mut self) -> Option<oneshot::Sender<()>> {
        let mut entry = self.waiting.pop_front()?;
        let sender = entry.senders.pop_front();
        if !entry.senders.is_empty() {
            self.waiting.push_back(entry);
        }
        sender
    }

    fn drop_abandoned(&mut self) {
        for entry in &mut self.waiting {
            entry.senders.retain(|sender| !sender.is_closed());
        }
        self.waiting.retain(|entry| !entry.senders.is_empty());
    }
}

fn period(per_second: u16) -> Duration {
    Duration::from_secs(1) / u32::from(per_second.max(1))
}
