//! How many connections to AWS there are at a time. Each client has two of its own, for a request and for loading its credentials, so that
//! endpoints that hang keep no other client from asking; what is left over is for whoever wants more at once.

use crate::descriptors::Descriptors;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

/// The connections of all clients.
#[derive(Clone, Debug)]
pub struct Sockets {
    requests: Arc<Semaphore>,
    loads: Arc<Semaphore>,
}

impl Sockets {
    /// As many as there are descriptors for.
    pub fn new(descriptors: Descriptors) -> Self {
        let semaphore =
            |permits: usize| Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS)));
        Self {
            requests: semaphore(descriptors.requests),
            loads: semaphore(descriptors.loads),
        }
    }

    /// The part of one client, given back when it is dropped. When all are given away it has to wait for others like it.
    pub fn part(&self) -> Part {
        let own = Arc::clone(&self.requests).try_acquire_many_owned(2).ok();
        let each = usize::from(own.is_some());
        Part {
            request: Semaphore::new(each),
            load: Semaphore::new(each),
            of_all: self.clone(),
            _own: own,
        }
    }
}

/// What one client may have.
#[derive(Debug)]
pub struct Part {
    request: Semaphore,
    load: Semaphore,
    of_all: Sockets,
    _own: Option<OwnedSemaphorePermit>,
}

/// A connection that may be had. None of the semaphores is ever closed, so there always is a permit.
pub type Socket<'a> = Option<SemaphorePermit<'a>>;

impl Part {
    /// Waits for a connection for a request.
    pub async fn for_request(&self) -> Socket<'_> {
        either(&self.request, &self.of_all.requests).await
    }

    /// Waits for a connection for loading credentials.
    pub async fn for_load(&self) -> Socket<'_> {
        either(&self.load, &self.of_all.loads).await
    }
}

async fn either<'a>(own: &'a Semaphore, shared: &'a Semaphore) -> Socket<'a> {
    tokio::select! {
        biased;
        permit = own.acquire() => permit.ok(),
        permit = shared.acquire() => permit.ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    async fn at_once<T>(socket: impl Future<Output = T>) -> Option<T> {
        tokio::time::timeout(Duration::ZERO, socket).await.ok()
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_hangs_leaves_the_others_theirs() {
        let sockets = Sockets {
            requests: Arc::new(Semaphore::new(5)),
            loads: Arc::new(Semaphore::new(1)),
        };
        let (hangs, works) = (sockets.part(), sockets.part());
        let first = at_once(hangs.for_request()).await;
        let second = at_once(hangs.for_request()).await;
        assert!(first.is_some() && second.is_some());
        assert!(at_once(hangs.for_request()).await.is_none());

        let request = at_once(works.for_request()).await;
        let load = at_once(works.for_load()).await;
        assert!(request.is_some() && load.is_some());
        assert!(at_once(works.for_request()).await.is_none());

        drop(second);
        assert!(at_once(works.for_request()).await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_client_had_goes_to_the_next() {
        let sockets = Sockets {
            requests: Arc::new(Semaphore::new(2)),
            loads: Arc::new(Semaphore::new(1)),
        };
        let before = sockets.part();
        let without = sockets.part();
        assert!(at_once(without.for_request()).await.is_none());
        assert!(at_once(without.for_load()).await.is_some());
        drop(before);
        assert!(at_once(without.for_request()).await.is_some());
        assert!(at_once(sockets.part().for_request()).await.is_some());
    }
}
