//! Decides which password is hashed next; one is hashed at a time. Clients that never had the permit are first, then the client
//! whose last permit is oldest. So clients that guess passwords delay no other client for long. Among the requests of one client the
//! newest is next. Behind a proxy it may come from a scraper, and the oldest has probably timed out.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use tokio::sync::oneshot;

/// The maximum number of waiting requests.
const MAX_WAITING: usize = 256;
/// The maximum number of clients whose last permit is remembered.
const MAX_CLIENTS: usize = 1_024;

/// An IPv4 address, or the /64 network of an IPv6 address, since one owner usually has all of it. `None` stands for all Unix sockets.
type Client = Option<IpAddr>;

/// The requests that wait for the permit to hash a password.
#[derive(Debug, Default)]
pub struct HashQueue(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    is_hashing: bool,
    /// In order of arrival.
    waiting: Vec<(Client, oneshot::Sender<HashPermit>)>,
    /// The number of the last permit of each client.
    last_permits: BTreeMap<Client, u64>,
    permits: u64,
}

/// The permit to hash a password. Dropping it grants it to the next request.
#[derive(Debug)]
pub struct HashPermit(Arc<HashQueue>);

impl HashQueue {
    /// Waits for the permit for a request from `peer`. Returns `None` if too many requests are waiting.
    pub async fn acquire(self: &Arc<Self>, peer: Option<IpAddr>) -> Option<HashPermit> {
        let (sender, granted) = oneshot::channel();
        let is_idle = {
            let mut state = self.0.lock();
            state.enqueue(client(peer), sender);
            !std::mem::replace(&mut state.is_hashing, true)
        };
        if is_idle {
            self.grant();
        }
        granted.await.ok()
    }

    fn grant(self: &Arc<Self>) {
        let next = self.0.lock().next();
        if let Some(sender) = next {
            // If the client has disconnected, the permit comes back here, and dropping it grants it to the next request.
            let _ = sender.send(HashPermit(Arc::clone(self)));
        }
    }
}

impl Drop for HashPermit {
    fn drop(&mut self) {
        self.0.grant();
    }
}

impl State {
    /// Adds a request. If the queue is full, refuses the request that would be last.
    fn enqueue(&mut self, client: Client, sender: oneshot::Sender<HashPermit>) {
        self.waiting.retain(|(_, sender)| !sender.is_closed());
        self.waiting.push((client, sender));
        let newest_first = (0..self.waiting.len()).rev();
        if self.waiting.len() > MAX_WAITING
            && let Some(last) = newest_first.max_by_key(|index| self.last_permit(*index))
        {
            self.waiting.remove(last);
        }
    }

    /// Removes and returns the request that is next.
    fn next(&mut self) -> Option<oneshot::Sender<HashPermit>> {
        let newest_first = (0..self.waiting.len()).rev();
        let Some(next) = newest_first.min_by_key(|index| self.last_permit(*index)) else {
            self.is_hashing = false;
            return None;
        };
        let (client, sender) = self.waiting.remove(next);
        self.permits += 1;
        self.last_permits.insert(client, self.permits);
        if self.last_permits.len() > MAX_CLIENTS
            && let Some(oldest) = self.last_permits.values().copied().min()
        {
            self.last_permits.retain(|_, permit| *permit != oldest);
        }
        Some(sender)
    }

    /// Returns the number of the client's last permit, or `None`, which sorts first, if it never had one.
    fn last_permit(&self, index: usize) -> Option<u64> {
        self.last_permits.get(&self.waiting[index].0).copied()
    }
}

fn client(peer: Option<IpAddr>) -> Client {
    // A dual-stack socket reports IPv4 clients with IPv4-mapped IPv6 addresses.
    match peer?.to_canonical() {
        IpAddr::V6(ip) => Some(Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << 64)).into()),
        v4 @ IpAddr::V4(_) => Some(v4),
    }
}

#[cfg(test)]
#[allow(clippy::panic, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use std::future::Future;
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    type Waiting = Pin<Box<dyn Future<Output = Option<HashPermit>>>>;

    /// Returns a permit that is held, and requests from these addresses that wait for it in this order.
    fn waiting(peers: &[&str]) -> (HashPermit, Vec<Waiting>) {
        let queue = Arc::new(HashQueue::default());
        let mut first: Waiting = Box::pin({
            let queue = Arc::clone(&queue);
            async move { queue.acquire(None).await }
        });
        let Poll::Ready(Some(permit)) = poll(&mut first) else {
            panic!("the first request must not wait")
        };
        let mut requests = Vec::new();
        for peer in peers {
            let (queue, peer) = (Arc::clone(&queue), peer.parse().ok());
            let mut request: Waiting = Box::pin(async move { queue.acquire(peer).await });
            assert!(poll(&mut request).is_pending());
            requests.push(request);
        }
        (permit, requests)
    }

    fn poll(request: &mut Waiting) -> Poll<Option<HashPermit>> {
        request
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
    }

    /// Returns the order in which requests from these addresses get the permit.
    fn order(peers: &[&str]) -> Vec<usize> {
        let (permit, mut requests) = waiting(peers);
        let mut order = Vec::new();
        let mut current = Some(permit);
        while current.take().is_some() {
            for (index, request) in requests.iter_mut().enumerate() {
                if !order.contains(&index)
                    && let Poll::Ready(Some(permit)) = poll(request)
                {
                    order.push(index);
                    current = Some(permit);
                    break;
                }
            }
        }
        order
    }

    #[test]
    fn clients_alternate_newest_request_first() {
        for (peers, expected) in [
            (&["10.0.0.1", "10.0.0.1", "10.0.0.1"][..], &[2, 1, 0][..]),
            (
                &["10.0.0.1", "10.0.0.2", "10.0.0.2", "10.0.0.2"],
                &[3, 0, 2, 1],
            ),
            // An IPv4-mapped address is the same client, and so is a /64 network.
            (&["::ffff:10.0.0.1", "10.0.0.2", "10.0.0.1"], &[2, 1, 0]),
            (
                &["2001:db8::1", "2001:db8:0:1::1", "2001:db8::2"],
                &[2, 1, 0],
            ),
            // Unix sockets are one client, which already had the first permit.
            (&["unix", "10.0.0.1", "unix", "10.0.0.1"], &[3, 2, 1, 0]),
        ] {
            assert_eq!(order(peers), expected, "{peers:?}");
        }
    }

    #[test]
    fn full_queue_refuses_oldest_of_last_client() {
        let mut peers = vec!["10.0.0.2"];
        peers.extend(["10.0.0.1"; MAX_WAITING - 1]);
        let (permit, mut requests) = waiting(&peers);
        drop(permit);
        // The guessing client has the permit now and sends two more requests.
        let Poll::Ready(Some(permit)) = poll(&mut requests[MAX_WAITING - 1]) else {
            panic!("the newest request must get the permit")
        };
        let queue = Arc::clone(&permit.0);
        let mut more: Vec<Waiting> = (0..2)
            .map(|_| {
                let (queue, peer) = (Arc::clone(&queue), peers[1].parse().ok());
                let mut request: Waiting = Box::pin(async move { queue.acquire(peer).await });
                assert!(poll(&mut request).is_pending());
                request
            })
            .collect();
        assert!(matches!(poll(&mut requests[1]), Poll::Ready(None)));
        assert!(poll(&mut requests[2]).is_pending());
        drop(permit);
        assert!(matches!(poll(&mut requests[0]), Poll::Ready(Some(_))));
        assert!(matches!(poll(&mut more[1]), Poll::Ready(Some(_))));
    }

    #[test]
    fn disconnected_client_passes_permit_on() {
        let (permit, mut requests) = waiting(&["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
        // One client disconnects while it waits, another one after it was granted the permit.
        drop(requests.remove(1));
        drop(permit);
        drop(requests.remove(1));
        let Poll::Ready(Some(permit)) = poll(&mut requests[0]) else {
            panic!("the permit is lost")
        };
        let queue = Arc::clone(&permit.0);
        drop(permit);
        assert!(!queue.0.lock().is_hashing);
    }
}
