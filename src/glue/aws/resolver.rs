//! Looks up host names as the system does.

use aws_smithy_runtime_api::client::dns::{DnsFuture, ResolveDns, ResolveDnsError};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::Arc;
use tokio::sync::Semaphore;

/// A lookup takes a thread that nobody can stop. Without a limit, name servers that hang would take all threads.
const MAX_LOOKUPS_PER_NAME: usize = 2;

/// The limit is one for each name, so that a name that hangs delays no other.
#[derive(Clone, Debug, Default)]
pub struct Resolver(Arc<Mutex<HashMap<String, Arc<Semaphore>>>>);

impl Resolver {
    async fn addresses(&self, name: String) -> Result<Vec<IpAddr>, ResolveDnsError> {
        let limit = {
            let new = || Arc::new(Semaphore::new(MAX_LOOKUPS_PER_NAME));
            Arc::clone(self.0.lock().entry(name.clone()).or_insert_with(new))
        };
        let permit = limit.acquire_owned().await;
        let permit = permit.map_err(ResolveDnsError::new)?;
        let lookup = tokio::task::spawn_blocking(move || {
            // Released when the lookup ends, whether or not somebody still waits for it.
            let _permit = permit;
            let found = (name, 0).to_socket_addrs()?;
            Ok::<_, std::io::Error>(found.map(|address| address.ip()).collect())
        });
        lookup
            .await
            .map_err(ResolveDnsError::new)?
            .map_err(ResolveDnsError::new)
    }
}

impl ResolveDns for Resolver {
    fn resolve_dns<'a>(&'a self, name: &'a str) -> DnsFuture<'a> {
        DnsFuture::new(self.addresses(name.to_owned()))
    }
}
