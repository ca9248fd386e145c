//! Decides whose password is hashed next; one is hashed at a time. Clients take turns: next is the client whose last turn is longest
//! ago, and before it those that had none, so that clients that guess passwords delay no other client for long. Of several requests
//! of one client the newest is next: behind a proxy it may be a scraper's, and the oldest has most likely been given up.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// Requests beyond these are refused.
const MAX_WAITING: usize = 256;
/// How many clients are remembered by their last turn.
const MAX_CLIENTS: usize = 1_024;

/// An IP address, or the /64 network of one of IPv6, whose addresses are its owner's to choose. None is all Unix sockets together.
type Client = Option<IpAddr>;

/// Requests that wait for a turn to hash a password.
#[derive(Debug, Default)]
pub struct HashQueue(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    is_hashing: bool,
    /// In the order of arrival.
    waiting: Vec<(Client, oneshot::Sender<Turn>)>,
    /// The number of each client's last turn.
    last_turns: BTreeMap<Client, u64>,
    turns: u64,
}

/// The turn to hash. Dropping it gives it to the next request.
#[derive(Debug)]
pub struct Turn(Arc<HashQueue>);

impl HashQueue {
    /// Waits for a turn of a request from `peer`. None if too many requests wait.
    pub async fn turn(self: &Arc<Self>, peer: Option<IpAddr>) -> Option<Turn> {
        let (turn, granted) = oneshot::channel();
        let is_idle = {
            let mut state = self.lock();
            state.enqueue(client(peer), turn);
            !std::mem::replace(&mut state.is_hashing, true)
        };
        if is_idle {
            self.grant();
        }
        granted.await.ok()
    }

    fn grant(self: &Arc<Self>) {
        let next = self.lock().next();
        if let Some(turn) = next {
            // A client that has gone leaves the turn here: dropping it grants it to the next one.
            let _ = turn.send(Turn(Arc::clone(self)));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.grant();
    }
}

impl State {
    /// Adds a request. If there are too many, refuses the one whose turn would be the last.
    fn enqueue(&mut self, client: Client, turn: oneshot::Sender<Turn>) {
        self.waiting.retain(|(_, turn)| !turn.is_closed());
        self.waiting.push((client, turn));
        let newest_first = (0..self.waiting.len()).rev();
        if self.waiting.len() > MAX_WAITING
            && let Some(last) = newest_first.max_by_key(|place| self.last_turn(*place))
        {
            self.waiting.remove(last);
        }
    }

    /// Removes the request whose turn is next.
    fn next(&mut self) -> Option<oneshot::Sender<Turn>> {
        let newest_first = (0..self.waiting.len()).rev();
        let Some(next) = newest_first.min_by_key(|place| self.last_turn(*place)) else {
            self.is_hashing = false;
            return None;
        };
        let (client, turn) = self.waiting.remove(next);
        self.turns += 1;
        self.last_turns.insert(client, self.turns);
        if self.last_turns.len() > MAX_CLIENTS
            && let Some(oldest) = self.last_turns.values().copied().min()
        {
            self.last_turns.retain(|_, turn| *turn != oldest);
        }
        Some(turn)
    }

    /// None, which comes before every number, for a client that had no turn yet.
    fn last_turn(&self, place: usize) -> Option<u64> {
        self.last_turns.get(&self.waiting[place].0).copied()
    }
}

fn client(peer: Option<IpAddr>) -> Client {
    // A socket of both protocols shows an address of IPv4 as one of IPv6.
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

    type Waiting = Pin<Box<dyn Future<Output = Option<Turn>>>>;

    /// Requests from these addresses, in this order; none of them has a turn while the first one, which is returned, has it.
    fn waiting(peers: &[&str]) -> (Turn, Vec<Waiting>) {
        let queue = Arc::new(HashQueue::default());
        let mut first: Waiting = Box::pin({
            let queue = Arc::clone(&queue);
            async move { queue.turn(None).await }
        });
        let Poll::Ready(Some(turn)) = poll(&mut first) else {
            panic!("an idle queue lets nobody wait")
        };
        let mut requests = Vec::new();
        for peer in peers {
            let (queue, peer) = (Arc::clone(&queue), peer.parse().ok());
            let mut request: Waiting = Box::pin(async move { queue.turn(peer).await });
            assert!(poll(&mut request).is_pending());
            requests.push(request);
        }
        (turn, requests)
    }

    fn poll(request: &mut Waiting) -> Poll<Option<Turn>> {
        request
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
    }

    /// The order in which requests from these addresses have their turns.
    fn order(peers: &[&str]) -> Vec<usize> {
        let (turn, mut requests) = waiting(peers);
        let mut order = Vec::new();
        let mut current = Some(turn);
        while current.take().is_some() {
            for (place, request) in requests.iter_mut().enumerate() {
                if !order.contains(&place)
                    && let Poll::Ready(Some(turn)) = poll(request)
                {
                    order.push(place);
                    current = Some(turn);
                    break;
                }
            }
        }
        order
    }

    #[test]
    fn clients_take_turns_newest_request_first() {
        for (peers, expected) in [
            (&["10.0.0.1", "10.0.0.1", "10.0.0.1"][..], &[2, 1, 0][..]),
            (
                &["10.0.0.1", "10.0.0.2", "10.0.0.2", "10.0.0.2"],
                &[3, 0, 2, 1],
            ),
            // One client by two spellings, and a /64 is one.
            (&["::ffff:10.0.0.1", "10.0.0.2", "10.0.0.1"], &[2, 1, 0]),
            (
                &["2001:db8::1", "2001:db8:0:1::1", "2001:db8::2"],
                &[2, 1, 0],
            ),
            // A Unix socket has had the first turn.
            (&["unix", "10.0.0.1", "unix", "10.0.0.1"], &[3, 2, 1, 0]),
        ] {
            assert_eq!(order(peers), expected, "{peers:?}");
        }
    }

    #[test]
    fn full_queue_refuses_oldest_of_last_client() {
        let mut peers = vec!["10.0.0.2"];
        peers.extend(["10.0.0.1"; MAX_WAITING - 1]);
        let (turn, mut requests) = waiting(&peers);
        drop(turn);
        // The guesser has its turn now, and more to guess.
        let Poll::Ready(Some(turn)) = poll(&mut requests[MAX_WAITING - 1]) else {
            panic!("the newest request has no turn")
        };
        let queue = Arc::clone(&turn.0);
        let mut more: Vec<Waiting> = (0..2)
            .map(|_| {
                let (queue, peer) = (Arc::clone(&queue), peers[1].parse().ok());
                let mut request: Waiting = Box::pin(async move { queue.turn(peer).await });
                assert!(poll(&mut request).is_pending());
                request
            })
            .collect();
        assert!(matches!(poll(&mut requests[1]), Poll::Ready(None)));
        assert!(poll(&mut requests[2]).is_pending());
        drop(turn);
        assert!(matches!(poll(&mut requests[0]), Poll::Ready(Some(_))));
        assert!(matches!(poll(&mut more[1]), Poll::Ready(Some(_))));
    }

    #[test]
    fn client_that_goes_passes_its_turn_on() {
        let (turn, mut requests) = waiting(&["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
        // One goes while it waits, one when it has its turn already.
        drop(requests.remove(1));
        drop(turn);
        drop(requests.remove(1));
        let Poll::Ready(Some(turn)) = poll(&mut requests[0]) else {
            panic!("the turn is lost")
        };
        let queue = Arc::clone(&turn.0);
        drop(turn);
        assert!(!queue.lock().is_hashing);
    }
}
