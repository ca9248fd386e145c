//! Looks up host names as the system does.

use aws_smithy_runtime_api::client::dns::{DnsFuture, ResolveDns, ResolveDnsError};
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::Arc;
use tokio::sync::Semaphore;

/// A lookup takes a thread that nobody can stop. When name servers hang, every retry of every scope leaves one behind: this limit leaves
/// threads for everything else.
const MAX_LOOKUPS: usize = 64;

/// The system's resolver with a limit on lookups in flight. It caches nothing, because the system does not tell how long an answer is valid.
#[derive(Clone, Debug)]
pub struct Resolver(Arc<Semaphore>);

impl Resolver {
    /// Returns a resolver that clones share the limit of.
    pub fn system() -> Self {
        Self(Arc::new(Semaphore::new(MAX_LOOKUPS)))
    }

    async fn addresses(&self, name: String) -> Result<Vec<IpAddr>, ResolveDnsError> {
        let permit = Arc::clone(&self.0).acquire_owned().await;
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
