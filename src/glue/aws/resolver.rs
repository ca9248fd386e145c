//! Names of hosts are looked up once for all who ask for the same one at the same time. The system's lookup takes a thread that nobody can
//! stop: when name servers hang, which they do for all names at once, every try of every scope would leave one behind, until none were left
//! to publish the page that says so.

use aws_smithy_runtime_api::client::dns::{DnsFuture, ResolveDns, ResolveDnsError};
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// What a lookup brought: an error's text, since it goes to several.
type Outcome = Result<Vec<IpAddr>, String>;
type Lookup = fn(String) -> io::Result<Vec<IpAddr>>;

/// Looks names up as the system does.
#[derive(Clone)]
pub struct Resolver {
    under_way: Arc<Mutex<HashMap<String, watch::Receiver<Option<Outcome>>>>>,
    lookup: Lookup,
}

impl Resolver {
    /// Nothing is kept of an answer: how long it may be is not known here.
    pub fn of_system() -> Self {
        Self::new(system)
    }

    fn new(lookup: Lookup) -> Self {
        Self {
            under_way: Arc::default(),
            lookup,
        }
    }

    async fn addresses(&self, name: &str) -> Outcome {
        let mut outcome = self.join(name);
        let known = outcome.wait_for(Option::is_some).await;
        match known.as_deref() {
            Ok(Some(outcome)) => outcome.clone(),
            Ok(None) | Err(_) => Err("the lookup broke off".to_owned()),
        }
    }

    /// The lookup of a name: the one that is under way, or else a new one.
    fn join(&self, name: &str) -> watch::Receiver<Option<Outcome>> {
        let mut under_way = self.lock();
        if let Some(outcome) = under_way.get(name) {
            return outcome.clone();
        }
        let (told, outcome) = watch::channel(None);
        under_way.insert(name.to_owned(), outcome.clone());
        let (resolver, name) = (self.clone(), name.to_owned());
        tokio::task::spawn_blocking(move || {
            let found = (resolver.lookup)(name.clone()).map_err(|error| error.to_string());
            // Whoever asks from now on gets a lookup of their own.
            resolver.lock().remove(&name);
            told.send_replace(Some(found));
        });
        outcome
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, watch::Receiver<Option<Outcome>>>> {
        // Each change of it is one step.
        self.under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn system(name: String) -> io::Result<Vec<IpAddr>> {
    let found = std::net::ToSocketAddrs::to_socket_addrs(&(name, 0))?;
    Ok(found.map(|address| address.ip()).collect())
}

impl ResolveDns for Resolver {
    fn resolve_dns<'a>(&'a self, name: &'a str) -> DnsFuture<'a> {
        DnsFuture::new(async move { self.addresses(name).await.map_err(ResolveDnsError::new) })
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resolver")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};

    static LOOKUPS: AtomicUsize = AtomicUsize::new(0);
    static ANSWER: Barrier = Barrier::new(2);

    #[allow(clippy::needless_pass_by_value, reason = "a lookup is given it")]
    fn slow(name: String) -> io::Result<Vec<IpAddr>> {
        LOOKUPS.fetch_add(1, Ordering::SeqCst);
        ANSWER.wait();
        match name.as_str() {
            "there" => Ok(vec![Ipv4Addr::LOCALHOST.into()]),
            _ => Err(io::Error::other("no such host")),
        }
    }

    #[tokio::test]
    async fn a_name_that_hangs_is_looked_up_once() {
        let resolver = Resolver::new(slow);
        for _ in 0..1_000 {
            // Given up, as a try is after its time.
            let mut waits = Box::pin(resolver.addresses("there"));
            assert!(still_waits(&mut waits).await);
        }
        let waits = [resolver.addresses("there"), resolver.addresses("there")];
        let [mut first, mut second] = waits.map(Box::pin);
        assert!(still_waits(&mut first).await && still_waits(&mut second).await);
        ANSWER.wait();
        assert_eq!(first.await, Ok(vec![Ipv4Addr::LOCALHOST.into()]));
        assert_eq!(second.await, Ok(vec![Ipv4Addr::LOCALHOST.into()]));
        assert_eq!(LOOKUPS.load(Ordering::SeqCst), 1);

        let mut later = Box::pin(resolver.addresses("not there"));
        assert!(still_waits(&mut later).await);
        ANSWER.wait();
        assert_eq!(later.await, Err("no such host".to_owned()));
        assert_eq!(LOOKUPS.load(Ordering::SeqCst), 2);
    }

    /// Whether it still waits.
    async fn still_waits(wait: &mut (impl Future + Unpin)) -> bool {
        std::future::poll_fn(|context| {
            std::task::Poll::Ready(std::pin::Pin::new(&mut *wait).poll(context).is_pending())
        })
        .await
    }
}
