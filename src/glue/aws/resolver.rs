//! DNS lookups that share one running lookup for each host name. A system lookup blocks a thread that cannot be cancelled. When name
//! servers hang, each retry of each scope would block another thread until the thread pool is exhausted.

use aws_smithy_runtime_api::client::dns::{DnsFuture, ResolveDns, ResolveDnsError};
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// The result of a lookup. The error is a string, because several callers receive it.
type Outcome = Result<Vec<IpAddr>, String>;
type Lookup = fn(String) -> io::Result<Vec<IpAddr>>;

/// Resolves host names with the system's resolver.
#[derive(Clone)]
pub struct Resolver {
    running: Arc<Mutex<HashMap<String, watch::Receiver<Option<Outcome>>>>>,
    lookup: Lookup,
}

impl Resolver {
    /// Creates a resolver without a cache, because the system's resolver does not return a TTL.
    pub fn of_system() -> Self {
        Self::new(system)
    }

    fn new(lookup: Lookup) -> Self {
        Self {
            running: Arc::default(),
            lookup,
        }
    }

    async fn addresses(&self, name: &str) -> Outcome {
        let mut outcome = self.join(name);
        let result = outcome.wait_for(Option::is_some).await;
        match result.as_deref() {
            Ok(Some(outcome)) => outcome.clone(),
            Ok(None) | Err(_) => Err("the lookup failed".to_owned()),
        }
    }

    /// Joins the running lookup of a name, or starts a new one.
    fn join(&self, name: &str) -> watch::Receiver<Option<Outcome>> {
        let mut running = self.lock();
        if let Some(outcome) = running.get(name) {
            return outcome.clone();
        }
        let (sender, outcome) = watch::channel(None);
        running.insert(name.to_owned(), outcome.clone());
        let (resolver, name) = (self.clone(), name.to_owned());
        tokio::task::spawn_blocking(move || {
            let found = (resolver.lookup)(name.clone()).map_err(|error| error.to_string());
            // Later callers start a new lookup.
            resolver.lock().remove(&name);
            sender.send_replace(Some(found));
        });
        outcome
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, watch::Receiver<Option<Outcome>>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
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

    #[allow(clippy::needless_pass_by_value, reason = "the signature of a lookup")]
    fn slow(name: String) -> io::Result<Vec<IpAddr>> {
        LOOKUPS.fetch_add(1, Ordering::SeqCst);
        ANSWER.wait();
        match name.as_str() {
            "there" => Ok(vec![Ipv4Addr::LOCALHOST.into()]),
            _ => Err(io::Error::other("no such host")),
        }
    }

    #[tokio::test]
    async fn resolver_hanging_name_is_looked_up_once() {
        let resolver = Resolver::new(slow);
        for _ in 0..1_000 {
            // Cancelled, like a request after its timeout.
            let mut waits = Box::pin(resolver.addresses("there"));
            assert!(is_pending(&mut waits).await);
        }
        let waits = [resolver.addresses("there"), resolver.addresses("there")];
        let [mut first, mut second] = waits.map(Box::pin);
        assert!(is_pending(&mut first).await && is_pending(&mut second).await);
        ANSWER.wait();
        assert_eq!(first.await, Ok(vec![Ipv4Addr::LOCALHOST.into()]));
        assert_eq!(second.await, Ok(vec![Ipv4Addr::LOCALHOST.into()]));
        assert_eq!(LOOKUPS.load(Ordering::SeqCst), 1);

        let mut later = Box::pin(resolver.addresses("not there"));
        assert!(is_pending(&mut later).await);
        ANSWER.wait();
        assert_eq!(later.await, Err("no such host".to_owned()));
        assert_eq!(LOOKUPS.load(Ordering::SeqCst), 2);
    }

    /// Returns true if the future is still pending.
    async fn is_pending(wait: &mut (impl Future + Unpin)) -> bool {
        std::future::poll_fn(|context| {
            std::task::Poll::Ready(std::pin::Pin::new(&mut *wait).poll(context).is_pending())
        })
        .await
    }
}
