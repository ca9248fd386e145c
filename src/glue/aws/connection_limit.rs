//! How many connections to AWS there are at a time. Each pair of scope and region has at least one of its own, so that endpoints that hang
//! keep no other pair from asking, as long as there are as many as pairs.

use crate::rlimit::OpenFiles;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::{Semaphore, SemaphorePermit};

/// The connections of all clients.
#[derive(Clone, Debug)]
pub struct ConnectionLimiter {
    most: usize,
    requests: Arc<Semaphore>,
    loads: Arc<Semaphore>,
    per_client: Arc<AtomicUsize>,
}

/// A connection that may be had. The semaphores are never closed, so there always is a permit.
pub type Socket<'a> = Option<SemaphorePermit<'a>>;

impl ConnectionLimiter {
    /// As many as there are descriptors for.
    pub fn new(descriptors: OpenFiles) -> Self {
        let most = descriptors.requests.min(Semaphore::MAX_PERMITS);
        Self {
            most,
            requests: Arc::new(Semaphore::new(most)),
            loads: Arc::new(Semaphore::new(most)),
            per_client: Arc::new(AtomicUsize::new(most)),
        }
    }

    /// There are so many who may each want one at any time.
    pub fn set_clients(&self, among: usize) {
        let per_client = (self.most / among.max(1)).max(1);
        self.per_client.store(per_client, Ordering::Relaxed);
    }

    /// How many each may want, so that none has to wait for another.
    pub fn per_client(&self) -> usize {
        self.per_client.load(Ordering::Relaxed)
    }

    /// Waits for a connection for a request.
    pub async fn for_request(&self) -> Socket<'_> {
        self.requests.acquire().await.ok()
    }

    /// Waits for a connection for loading credentials, or for a process that loads them.
    pub async fn for_load(&self) -> Socket<'_> {
        self.loads.acquire().await.ok()
    }
}
