//! How many connections there may be. When all places are taken the one that has got nowhere for longest is closed, so that idle
//! connections, clients that do not read, and scrapes that wait, however many, never keep a scraper out. Nobody is preferred:
//! were it those that wait, a client that has just come would have to go before it could ask.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio_util::sync::CancellationToken;

/// The connections that are open.
#[derive(Debug)]
pub struct Connections {
    open: Mutex<Vec<Arc<State>>>,
    most: usize,
    /// A count of everything that happens, as a clock without time.
    events: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    /// The last event at which it got on: it came, a request came, a part of an answer went out.
    progress: AtomicU64,
    evicted: CancellationToken,
}

/// A connection's place. Dropping it frees it.
#[derive(Debug)]
pub struct Slot {
    connections: Arc<Connections>,
    state: Arc<State>,
}

impl Connections {
    /// Room for `most` connections.
    pub fn new(most: usize) -> Self {
        Self {
            open: Mutex::default(),
            most,
            events: AtomicU64::default(),
        }
    }

    /// A place for a new connection, if need be another's.
    pub fn admit(self: &Arc<Self>) -> Slot {
        let state = Arc::new(State::default());
        state.progress.store(self.next_event(), Ordering::Relaxed);
        let mut open = self.lock();
        if open.len() >= self.most {
            evict_one(&mut open);
        }
        open.push(Arc::clone(&state));
        drop(open);
        Slot {
            connections: Arc::clone(self),
            state,
        }
    }

    /// Closes the connection that has got nowhere for longest. False if there is none.
    pub fn evict_one(&self) -> bool {
        evict_one(&mut self.lock())
    }

    fn next_event(&self) -> u64 {
        self.events.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<State>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn evict_one(open: &mut Vec<Arc<State>>) -> bool {
    let slowest = open
        .iter()
        .enumerate()
        .min_by_key(|(_, state)| state.progress.load(Ordering::Relaxed));
    let Some((index, _)) = slowest else {
        return false;
    };
    open.swap_remove(index).evicted.cancel();
    true
}

impl Slot {
    /// Notes that the connection got on.
    pub fn progress(&self) {
        let now = self.connections.next_event();
        self.state.progress.store(now, Ordering::Relaxed);
    }

    /// The event at which it last got on.
    pub fn last_progress(&self) -> u64 {
        self.state.progress.load(Ordering::Relaxed)
    }

    /// Closes the connection.
    pub fn evict(&self) {
        self.state.evicted.cancel();
    }

    /// Ends when the connection is to be closed for the sake of others.
    pub async fn evicted(&self) {
        self.state.evicted.cancelled().await;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.connections
            .lock()
            .retain(|state| !Arc::ptr_eq(state, &self.state));
    }
}
