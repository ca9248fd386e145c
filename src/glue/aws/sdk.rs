//! Creates the clients, which share HTTP connections and loaded credentials.

use super::client::{AwsGlue, Backend};
use super::credentials::{CredentialCache, Provider};
use super::http_client::HttpClients;
use super::network::Network;
use crate::config::{Credentials, RegionName};
use crate::glue::{Observer, RateLimiter};
use aws_config::Region;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::OnceCell;

/// A page of 100 integrations with 100 errors each and messages of maximum length has 21 million bytes.
const MAX_RESPONSE_BYTES: usize = 32 << 20;
/// For each set of credentials in each region. AWS allows 25 `ListMetrics` and 50 `GetMetricData` requests per second and account.
const CLOUDWATCH_REQUESTS_PER_SECOND: u16 = 2;
/// Credentials are a few thousand bytes long.
const MAX_CREDENTIALS_BYTES: usize = 1 << 20;

#[derive(Clone)]
pub struct Sdk {
    http: Arc<HttpClients>,
    observer: Arc<dyn Observer>,
    credential_caches: Arc<Mutex<HashMap<Credentials, Arc<CredentialCache>>>>,
}

impl Sdk {
    pub fn new(network: Network, observer: Arc<dyn Observer>) -> Self {
        Self {
            http: HttpClients::new(network),
            observer,
            credential_caches: Arc::default(),
        }
    }

    /// The first request reads the endpoints and loads the credentials, so errors there are errors of that request.
    pub fn connect(
        &self,
        credentials: &Credentials,
        region: &RegionName,
        rate_limiter: RateLimiter,
    ) -> AwsGlue {
        let backend = Backend::Aws(self.provider(credentials, region));
        self.client(backend, credentials, region, rate_limiter)
    }

    /// Ignores the credentials, endpoints and proxies of the environment.
    pub fn connect_simulated(
        observer: Arc<dyn Observer>,
        endpoint: String,
        region: &RegionName,
        rate_limiter: RateLimiter,
    ) -> AwsGlue {
        let sdk = Self::new(Network::default(), observer);
        let backend = Backend::Simulated { endpoint };
        sdk.client(backend, &Credentials::default(), region, rate_limiter)
    }

    fn client(
        &self,
        backend: Backend,
        credentials: &Credentials,
        region: &RegionName,
        rate_limiter: RateLimiter,
    ) -> AwsGlue {
        let profile = credentials.profile.as_deref();
        AwsGlue {
            backend,
            glue: OnceCell::new(),
            cloudwatch: OnceCell::new(),
            http: self.http.client(profile, MAX_RESPONSE_BYTES),
            region: region.clone(),
            credentials: credentials.clone(),
            rate_limiter,
            cloudwatch_rate_limiter: RateLimiter::new(CLOUDWATCH_REQUESTS_PER_SECOND),
            observer: Arc::clone(&self.observer),
        }
    }

    pub fn trust(&self, network: Network) {
        self.http.trust(network.bundles);
    }

    pub(super) fn provider(&self, credentials: &Credentials, region: &RegionName) -> Arc<Provider> {
        let source = credentials.source();
        Arc::new(Provider {
            http: self
                .http
                .client(credentials.profile.as_deref(), MAX_CREDENTIALS_BYTES),
            credentials: credentials.clone(),
            region: Region::new(region.as_str().to_owned()),
            source: (source != *credentials).then(|| self.provider(&source, region)),
            cache: self.credential_cache(credentials),
            running: tokio::sync::Mutex::default(),
            rejected: Mutex::default(),
        })
    }

    fn credential_cache(&self, credentials: &Credentials) -> Arc<CredentialCache> {
        let mut credential_caches = self.credential_caches.lock();
        // No provider uses the others any more.
        credential_caches.retain(|_, cache| Arc::strong_count(cache) > 1);
        Arc::clone(credential_caches.entry(credentials.clone()).or_default())
    }
}
