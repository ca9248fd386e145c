//! How many requests per second may go out with one set of credentials in one region. AWS throttles per account and region, and what
//! the exporter takes of that quota is missing elsewhere.
//!
//! Who waits is served in turn, scope by scope, so that a scope with hundreds of ARNs does not hold up one with a single listing. A
//! request takes its share at the moment at which it goes out: one that hangs holds no place, and one that is tried again waits again.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// After a pause so much may go out at once: one second's requests.
const BURST: Duration = Duration::from_secs(1);

/// A budget. A clone is the same one.
#[derive(Clone, Debug)]
pub struct RateLimiter(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    /// From one request to the next.
    period: Duration,
    /// When the whole burst may go out again: it moves by a period with each request.
    theoretical_arrival: Instant,
    /// The scopes that wait, the next to be served first.
    waiting: VecDeque<Waiting>,
    serving: bool,
}

#[derive(Debug)]
struct Waiting {
    scope: String,
    turns: VecDeque<oneshot::Sender<()>>,
}

impl RateLimiter {
    /// A budget of so many requests per second, at least one.
    pub fn new(per_second: u16) -> Self {
        Self(Arc::new(Mutex::new(State {
            period: period(per_second),
            theoretical_arrival: Instant::now(),
            waiting: VecDeque::new(),
            serving: false,
        })))
    }

    /// Another rate from now on.
    pub fn set(&self, per_second: u16) {
        self.lock().period = period(per_second);
    }

    /// Returns when a request of `scope` may go out. Dropping the future gives up the place.
    pub async fn acquire(&self, scope: &str) {
        let acquire = {
            let mut state = self.lock();
            if state.waiting.is_empty() && state.try_take(Instant::now()).is_ok() {
                return;
            }
            let (sender, acquire) = oneshot::channel();
            state.enqueue(scope, sender);
            if !state.serving {
                state.serving = true;
                tokio::spawn(self.clone().serve());
            }
            acquire
        };
        // The sender is dropped unused only with the runtime.
        let _ = acquire.await;
    }

    /// Returns when a request may go out that can wait: when none waits for its turn, and as much may go out at once as ever may. So it
    /// takes the place of no other, and at most one period from those that come after it.
    pub async fn acquire_idle(&self) {
        loop {
            let next = {
                let mut state = self.lock();
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
                let mut state = self.lock();
                state.drop_abandoned();
                if state.waiting.is_empty() {
                    state.serving = false;
                    return;
                }
                match state.try_take(Instant::now()) {
                    Ok(()) => {
                        if let Some(acquire) = state.dequeue() {
                            // Who gives up at this very moment has used the turn.
                            let _ = acquire.send(());
                        }
                        continue;
                    }
                    Err(next) => next,
                }
            };
            tokio::time::sleep_until(next).await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes one request's share, or says when there will be one.
    fn try_take(&mut self, now: Instant) -> Result<(), Instant> {
        let theoretical_arrival = self.theoretical_arrival.max(now) + self.period;
        // A budget of one per second has no burst beyond that one.
        let earliest = theoretical_arrival - BURST.max(self.period);
        if earliest > now {
            return Err(earliest);
        }
        self.theoretical_arrival = theoretical_arrival;
        Ok(())
    }

    fn enqueue(&mut self, scope: &str, acquire: oneshot::Sender<()>) {
        match self.waiting.iter_mut().find(|line| line.scope == scope) {
            Some(line) => line.turns.push_back(acquire),
            None => self.waiting.push_back(Waiting {
                scope: scope.to_owned(),
                turns: VecDeque::from([acquire]),
            }),
        }
    }

    /// The next turn of the scope that was served longest ago.
    fn dequeue(&mut self) -> Option<oneshot::Sender<()>> {
        let mut line = self.waiting.pop_front()?;
        let acquire = line.turns.pop_front();
        if !line.turns.is_empty() {
            self.waiting.push_back(line);
        }
        acquire
    }

    fn drop_abandoned(&mut self) {
        for line in &mut self.waiting {
            line.turns.retain(|acquire| !acquire.is_closed());
        }
        self.waiting.retain(|line| !line.turns.is_empty());
    }
}

fn period(per_second: u16) -> Duration {
    Duration::from_secs(1) / u32::from(per_second.max(1))
}
