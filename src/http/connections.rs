//! How many connections there may be. When all places are taken the connection that has been idle longest gives up its own, so
//! that idle ones, however many, never keep a scraper out.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// A scraper needs one; a thousand file descriptors, the usual limit, are shared with the requests to AWS.
const MOST: usize = 512;

/// The connections that are open.
#[derive(Debug, Default)]
pub struct Connections {
    open: Mutex<Vec<Arc<State>>>,
    /// A count of everything that happens, as a clock without time.
    events: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    /// The event since which it is idle; 0 while a request is being answered.
    idle_since: AtomicU64,
    first_request: CancellationToken,
    evicted: CancellationToken,
}

/// A connection's place. Dropping it frees it.
#[derive(Debug)]
pub struct Place {
    connections: Arc<Connections>,
    state: Arc<State>,
}

/// A request is being answered until this is dropped.
#[derive(Debug)]
pub struct Busy {
    connections: Arc<Connections>,
    state: Arc<State>,
}

impl Connections {
    /// A place for a new connection; none if all are taken by connections whose requests are being answered.
    pub fn admit(self: &Arc<Self>) -> Option<Place> {
        let mut open = self.lock();
        if open.len() >= MOST {
            let (longest_idle, _) = open
                .iter()
                .enumerate()
                .map(|(place, state)| (place, state.idle_since.load(Ordering::Relaxed)))
                .filter(|(_, since)| *since > 0)
                .min_by_key(|(_, since)| *since)?;
            open.swap_remove(longest_idle).evicted.cancel();
        }
        let state = Arc::new(State::default());
        state.idle_since.store(self.next_event(), Ordering::Relaxed);
        open.push(Arc::clone(&state));
        Some(Place {
            connections: Arc::clone(self),
            state,
        })
    }

    fn next_event(&self) -> u64 {
        self.events.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<State>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Marks that a request is being answered.
    pub fn busy(&self) -> Busy {
        self.state.first_request.cancel();
        self.state.idle_since.store(0, Ordering::Relaxed);
        Busy {
            connections: Arc::clone(&self.connections),
            state: Arc::clone(&self.state),
        }
    }

    /// Ends if no request has come within `limit`.
    pub async fn silent_for(&self, limit: Duration) {
        let request = self.state.first_request.cancelled();
        if tokio::time::timeout(limit, request).await.is_ok() {
            std::future::pending::<()>().await;
        }
    }

    /// Ends when the place is needed for another connection.
    pub async fn evicted(&self) {
        self.state.evicted.cancelled().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections
            .lock()
            .retain(|state| !Arc::ptr_eq(state, &self.state));
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let now = self.connections.next_event();
        self.state.idle_since.store(now, Ordering::Relaxed);
    }
}
