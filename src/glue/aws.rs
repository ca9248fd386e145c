//! The implementation of `Glue` with the AWS SDK. Only this module uses the `aws_*` crates.

mod call;
mod classify;
mod convert;
mod credential_process;
mod credentials;
mod endpoint;
mod http_client;
mod identity;
mod message;
mod network;
mod profiles;
mod proxy;
mod resolver;
mod response;

use super::api::{
    BoxFuture, Glue, MetadataPage, MetadataRequest, Observer, Operation, Page, PageRequest,
};
use super::error::GlueError;
use super::rate_limit::RateLimiter;
use crate::config::{Credentials, Query, RegionName};
use aws_config::default_provider::region::DefaultRegionChain;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_glue::config::{Builder, SharedHttpClient};
use aws_sdk_glue::operation::describe_integrations::DescribeIntegrationsError;
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use call::Call;
use credentials::{CredentialCache, Provider};
use http_client::HttpClients;
use parking_lot::Mutex;
use response::ResponseCheck;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::OnceCell;

pub use credentials::environment_key_errors;
pub use identity::IdentityError;
pub use network::Network;
pub use profiles::profile_or_endpoint_error as profile_error;

/// The default of the SDK. It is repeated here because it is the only timeout that the SDK sets.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(3_100);
/// Requests of all clients in flight. Each client may have at least one, so that an endpoint that hangs blocks no other client.
const MAX_REQUESTS: usize = 512;
/// A page of 100 integrations with 100 errors each and messages of maximum length has 21 million bytes.
const MAX_RESPONSE_BYTES: usize = 32 << 20;
/// Maximum size of a response with credentials. They are a few thousand bytes long.
const MAX_CREDENTIALS_BYTES: usize = 1 << 20;

/// Creates the clients, which share HTTP connections and loaded credentials.
#[derive(Clone)]
pub struct Sdk {
    http: HttpClients,
    observer: Arc<dyn Observer>,
    /// How many requests each client may have in flight.
    max_concurrent_requests: Arc<AtomicUsize>,
    /// The cache of each set of credentials in use.
    credential_caches: Arc<Mutex<HashMap<Credentials, Weak<CredentialCache>>>>,
}

impl Sdk {
    /// Creates an `Sdk` whose clients reach AWS over `network`.
    pub fn new(network: Network, observer: Arc<dyn Observer>) -> Self {
        Self {
            http: HttpClients::new(network),
            observer,
            max_concurrent_requests: Arc::new(AtomicUsize::new(MAX_REQUESTS)),
            credential_caches: Arc::default(),
        }
    }

    /// Returns a client with `credentials` for `region`. The first request reads the endpoints and loads the credentials, so errors there are
    /// errors of that request.
    pub fn connect(
        &self,
        credentials: &Credentials,
        region: &RegionName,
        rate_limiter: RateLimiter,
    ) -> AwsGlue {
        let backend = Backend::Aws(self.provider(credentials, region));
        self.client(backend, credentials.clone(), region.clone(), rate_limiter)
    }

    /// Returns a client of a simulated endpoint. It ignores the credentials, endpoints and proxies of the environment.
    pub fn connect_simulated(
        observer: Arc<dyn Observer>,
        endpoint: String,
        region: &RegionName,
        rate_limiter: RateLimiter,
    ) -> AwsGlue {
        let sdk = Self::new(Network::default(), observer);
        let backend = Backend::Simulated { endpoint };
        sdk.client(
            backend,
            Credentials::default(),
            region.clone(),
            rate_limiter,
        )
    }

    fn client(
        &self,
        backend: Backend,
        credentials: Credentials,
        region: RegionName,
        rate_limiter: RateLimiter,
    ) -> AwsGlue {
        let profile = credentials.profile.as_deref();
        AwsGlue {
            backend,
            client: OnceCell::new(),
            http: self.http.client(profile, MAX_RESPONSE_BYTES),
            region,
            credentials,
            max_concurrent_requests: Arc::clone(&self.max_concurrent_requests),
            rate_limiter,
            observer: Arc::clone(&self.observer),
        }
    }

    /// Divides the requests in flight between this number of clients.
    pub fn set_clients(&self, clients: usize) {
        let max = (MAX_REQUESTS / clients.max(1)).max(1);
        self.max_concurrent_requests.store(max, Ordering::Relaxed);
    }

    /// Trusts the CA bundles of `network` from now on, in existing clients too.
    pub fn trust(&self, network: Network) {
        self.http.trust(network.bundles);
    }

    fn provider(&self, credentials: &Credentials, region: &RegionName) -> Arc<Provider> {
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
        if let Some(credential_cache) = credential_caches.get(credentials).and_then(Weak::upgrade) {
            return credential_cache;
        }
        let credential_cache = Arc::default();
        credential_caches.retain(|_, credential_cache| credential_cache.strong_count() > 0);
        credential_caches.insert(credentials.clone(), Arc::downgrade(&credential_cache));
        credential_cache
    }
}

/// Kills all running `credential_process` commands. Called when no load waits for them any more.
pub fn kill_credential_processes() {
    credential_process::kill_older_than(Duration::ZERO);
}

/// Returns the default region of the SDK, from the environment, the profile or the instance metadata service.
///
/// # Errors
/// If there is no default region. Contains the error of the profile, if there is one.
pub async fn default_region(profile: Option<&str>) -> Result<String, Option<String>> {
    let mut chain = DefaultRegionChain::builder();
    if let Some(profile) = profile {
        chain = chain.profile_name(profile);
    }
    if let Some(error) = profiles::pipe_error() {
        return Err(Some(error));
    }
    let chain = chain.build();
    // In its own task, so that a panic of the SDK means that there is no region.
    let region = tokio::spawn(async move { chain.region().await });
    let region = region.await.ok().flatten();
    match region {
        Some(region) => Ok(region.as_ref().to_owned()),
        None => Err(profiles::profile_error(profile).await),
    }
}

/// AWS Glue as one set of credentials sees it in one region.
pub struct AwsGlue {
    backend: Backend,
    client: OnceCell<aws_sdk_glue::Client>,
    http: SharedHttpClient,
    region: RegionName,
    credentials: Credentials,
    max_concurrent_requests: Arc<AtomicUsize>,
    rate_limiter: RateLimiter,
    observer: Arc<dyn Observer>,
}

enum Backend {
    Aws(Arc<Provider>),
    Simulated { endpoint: String },
}

impl Glue for AwsGlue {
    fn max_concurrent_requests(&self) -> usize {
        self.max_concurrent_requests.load(Ordering::Relaxed)
    }

    fn page<'a>(&'a self, request: PageRequest<'a>) -> BoxFuture<'a, Result<Page, GlueError>> {
        Box::pin(self.inbound_integrations(request))
    }

    fn metadata_page<'a>(
        &'a self,
        request: MetadataRequest<'a>,
    ) -> BoxFuture<'a, Result<MetadataPage, GlueError>> {
        Box::pin(self.created_integrations(request))
    }
}

impl AwsGlue {
    async fn inbound_integrations(&self, request: PageRequest<'_>) -> Result<Page, GlueError> {
        let query = request.query;
        let region = &self.region;
        let call = Call {
            operation: Operation::DescribeInboundIntegrations,
            attempted: match query {
                Query::Integration(arn) => format!("asking AWS Glue in {region} for {arn}"),
                Query::Target(arn) => {
                    format!("asking AWS Glue in {region} for the integrations that write to {arn}")
                }
                Query::All => format!("asking AWS Glue in {region} for all inbound integrations"),
            },
            context: request.context,
            not_found_is_answer: matches!(query, Query::Integration(_)),
        };
        let answer = self.call(call, classify::is_not_found, |client, settings| {
            let call = client
                .describe_inbound_integrations()
                .set_marker(request.marker.map(str::to_owned))
                .set_max_records(request.page_size.map(i32::from));
            let call = match query {
                Query::Integration(arn) => call.integration_arn(arn.as_str()),
                Query::Target(arn) => call.target_arn(arn.as_str()),
                Query::All => call,
            };
            call.customize().config_override(settings).send()
        });
        Ok(answer.await?.map(convert::page).unwrap_or_default())
    }

    async fn created_integrations(
        &self,
        request: MetadataRequest<'_>,
    ) -> Result<MetadataPage, GlueError> {
        let call = Call {
            operation: Operation::DescribeIntegrations,
            attempted: format!("asking AWS Glue in {} for names and tags", self.region),
            context: request.context,
            not_found_is_answer: false,
        };
        let answer = self.call(
            call,
            |_: &DescribeIntegrationsError| false,
            |client, settings| {
                let call = client
                    .describe_integrations()
                    .set_marker(request.marker.map(str::to_owned))
                    .set_max_records(request.page_size.map(i32::from));
                call.customize().config_override(settings).send()
            },
        );
        let page = answer
            .await?
            .map(|output| convert::metadata_page(output, request.tags));
        Ok(page.unwrap_or_default())
    }

    async fn client(&self) -> aws_sdk_glue::Client {
        let client = self.client.get_or_init(|| async {
            let sdk = match &self.backend {
                Backend::Aws(provider) => provider.sdk_config().await,
                Backend::Simulated { endpoint } => SdkConfig::builder()
                    .behavior_version(BehaviorVersion::v2026_01_12())
                    .region(Region::new(self.region.as_str().to_owned()))
                    .endpoint_url(endpoint)
                    .build(),
            };
            let config = Builder::from(&sdk)
                .http_client(self.http.clone())
                .retry_config(RetryConfig::disabled())
                .interceptor(ResponseCheck)
                .timeout_config(
                    TimeoutConfig::builder()
                        .connect_timeout(CONNECT_TIMEOUT)
                        .build(),
                )
                .build();
            aws_sdk_glue::Client::from_conf(config)
        });
        client.await.clone()
    }
}
