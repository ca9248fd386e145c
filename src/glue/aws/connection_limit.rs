//! Limits the number of connections to AWS. Each pair of scope and region gets at least one, so that an endpoint that hangs does not block
//! other pairs while there are enough connections.

use crate::rlimit::OpenFiles;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::{Semaphore, SemaphorePermit};

/// Limits the connections of all clients.
#[derive(Clone, Debug)]
pub struct ConnectionLimiter {
    max_connections: usize,
    requests: Arc<Semaphore>,
    loads: Arc<Semaphore>,
    per_client: Arc<AtomicUsize>,
}

/// A permit for one connection. It is never None, because the semaphores are never closed.
pub type Permit<'a> = Option<SemaphorePermit<'a>>;

impl ConnectionLimiter {
    /// Creates a limiter for the connections that the limit of open files allows.
    pub fn new(descriptors: OpenFiles) -> Self {
        let max_connections = descriptors.requests.min(Semaphore::MAX_PERMITS);
        Self {
            max_connections,
            requests: Arc::new(Semaphore::new(max_connections)),
            loads: Arc::new(Semaphore::new(max_connections)),
            per_client: Arc::new(AtomicUsize::new(max_connections)),
        }
    }

    /// Sets the number of clients that share the connections.
    pub fn set_clients(&self, clients: usize) {
        let per_client = (self.max_connections / clients.max(1)).max(1);
        self.per_client.store(per_client, Ordering::Relaxed);
    }

    /// Returns how many connections each client may use without blocking another client.
    pub fn per_client(&self) -> usize {
        self.per_client.load(Ordering::Relaxed)
    }

    /// Waits for a permit to send a request.
    pub async fn for_request(&self) -> Permit<'_> {
        self.requests.acquire().await.ok()
    }

    /// Waits for a permit to load credentials, or to start a process that loads them.
    pub async fn for_load(&self) -> Permit<'_> {
        self.loads.acquire().await.ok()
    }
}
