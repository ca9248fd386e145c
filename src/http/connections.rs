//! Limits the number of connections. When all slots are taken, the connection with the oldest activity is closed, so idle clients,
//! slow readers and waiting scrapes never keep a scraper out. Waiting requests get no preference: then a new client would be
//! evicted before it could send its request.

use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio_util::sync::CancellationToken;

/// The open connections.
#[derive(Debug)]
pub struct Connections {
    open: Mutex<Vec<Arc<State>>>,
    max: usize,
    /// A logical clock: the number of events so far.
    events: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    /// The last event of this connection: it opened, a request arrived, or a part of a response was written.
    last_activity: AtomicU64,
    evicted: CancellationToken,
}

/// The slot of a connection. Dropping it frees the slot.
#[derive(Debug)]
pub struct Slot {
    connections: Arc<Connections>,
    state: Arc<State>,
}

impl Connections {
    /// Allows `max` open connections.
    pub fn new(max: usize) -> Self {
        Self {
            open: Mutex::default(),
            max,
            events: AtomicU64::default(),
        }
    }

    /// Returns a slot for a new connection. Evicts another connection if all slots are taken.
    pub fn admit(self: &Arc<Self>) -> Slot {
        let state = Arc::new(State::default());
        state
            .last_activity
            .store(self.next_event(), Ordering::Relaxed);
        let mut open = self.open.lock();
        if open.len() >= self.max {
            evict_oldest(&mut open);
        }
        open.push(Arc::clone(&state));
        drop(open);
        Slot {
            connections: Arc::clone(self),
            state,
        }
    }

    /// Closes the connection with the oldest activity. Returns false if no connection is open.
    pub fn evict_oldest(&self) -> bool {
        evict_oldest(&mut self.open.lock())
    }

    fn next_event(&self) -> u64 {
        self.events.fetch_add(1, Ordering::Relaxed) + 1
    }
}

fn evict_oldest(open: &mut Vec<Arc<State>>) -> bool {
    let oldest = open
        .iter()
        .enumerate()
        .min_by_key(|(_, state)| state.last_activity.load(Ordering::Relaxed));
    let Some((index, _)) = oldest else {
        return false;
    };
    open.swap_remove(index).evicted.cancel();
    true
}

impl Slot {
    /// Records activity on the connection.
    pub fn touch(&self) {
        let now = self.connections.next_event();
        self.state.last_activity.store(now, Ordering::Relaxed);
    }

    /// Returns the number of the last event of this connection.
    pub fn last_activity(&self) -> u64 {
        self.state.last_activity.load(Ordering::Relaxed)
    }

    /// Closes the connection.
    pub fn evict(&self) {
        self.state.evicted.cancel();
    }

    /// Waits until the connection is evicted.
    pub async fn evicted(&self) {
        self.state.evicted.cancelled().await;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.connections
            .open
            .lock()
            .retain(|state| !Arc::ptr_eq(state, &self.state));
    }
}
