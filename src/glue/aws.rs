//! The implementation of `Glue` with the AWS SDK. Only this module uses the `aws_*` crates.

mod call;
mod classify;
mod clock_check;
mod connection_limit;
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
use crate::rlimit::OpenFiles;
use aws_config::default_provider::region::DefaultRegionChain;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::provider;
use aws_sdk_glue::config::{Builder, SharedHttpClient};
use aws_sdk_glue::operation::describe_integrations::DescribeIntegrationsError;
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use call::Call;
use clock_check::ClockCheck;
use connection_limit::ConnectionLimiter;
use credentials::{CredentialCache, CredentialSource, Provider, valid_for};
use http_client::HttpClients;
use parking_lot::Mutex;
use response::ResponseCheck;
use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::OnceCell;
use tokio::time::Instant;

pub use credentials::environment_key_errors;
pub use identity::IdentityError;
pub use network::Network;
pub use profiles::profile_or_endpoint_error as profile_error;

/// The default of the SDK. It is repeated here because it is the only timeout that the SDK sets.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(3_100);
/// Minimum time between two loads of credentials that Glue rejected. One poll can have hundreds of rejected requests.
const MIN_RELOAD_INTERVAL: Duration = Duration::from_secs(2);
/// How long credentials without an expiry time are used: the shortest lifetime of temporary credentials.
const DEFAULT_CREDENTIALS_TTL: Duration = Duration::from_mins(15);
/// Credentials are not used this long before they expire, because a request may take some time to arrive.
const EXPIRY_MARGIN: Duration = Duration::from_secs(10);

/// Creates the clients, which share HTTP connections and loaded credentials.
#[derive(Clone)]
pub struct Sdk {
    http: HttpClients,
    observer: Arc<dyn Observer>,
    connection_limiter: ConnectionLimiter,
    /// The cache of each set of credentials in use.
    credential_caches: Arc<Mutex<HashMap<Credentials, Weak<CredentialCache>>>>,
}

impl Sdk {
    /// Creates an `Sdk` whose clients reach AWS over `network`.
    pub fn new(network: Network, observer: Arc<dyn Observer>) -> Self {
        let descriptors = OpenFiles::of_process();
        Self {
            http: HttpClients::new(network, descriptors.idle_per_endpoint),
            observer,
            connection_limiter: ConnectionLimiter::new(descriptors),
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
        let provider = Provider::new(
            self.credential_cache(credentials),
            self.credential_source(credentials, region),
            Some(self.connection_limiter.clone()),
        );
        self.client(
            Backend::Aws(provider),
            credentials.clone(),
            region.clone(),
            rate_limiter,
        )
    }

    /// Sets the number of clients that share the connections.
    pub fn set_clients(&self, clients: usize) {
        self.connection_limiter.set_clients(clients);
    }

    /// Trusts the CA bundles of `network` from now on, in existing clients too.
    pub fn trust(&self, network: Network) {
        self.http.trust(network.bundles);
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

    fn credential_source(
        &self,
        credentials: &Credentials,
        region: &RegionName,
    ) -> Arc<CredentialSource> {
        let source = credentials.role.as_ref().map(|_role| {
            let source = credentials.source();
            let provider = Provider::new(
                self.credential_cache(&source),
                self.credential_source(&source, region),
                None,
            );
            Arc::new(provider)
        });
        Arc::new(CredentialSource {
            source,
            http: http_client::for_credentials(
                self.http.of_profile(credentials.profile.as_deref()),
            ),
            credentials: credentials.clone(),
            region: Region::new(region.as_str().to_owned()),
        })
    }

    /// Returns a client of a simulated endpoint. It ignores the credentials, endpoints and proxies of the environment.
    pub fn connect_simulated(
        observer: Arc<dyn Observer>,
        endpoint: String,
        region: &RegionName,
        rate_limiter: RateLimiter,
    ) -> AwsGlue {
        let sdk = Self::new(Network::default(), observer);
        sdk.client(
            Backend::Simulated { endpoint },
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
        AwsGlue {
            backend,
            client: OnceCell::new(),
            identity: tokio::sync::Mutex::default(),
            http: self.http.of_profile(credentials.profile.as_deref()),
            region,
            credentials,
            connection_limiter: self.connection_limiter.clone(),
            rate_limiter,
            observer: Arc::clone(&self.observer),
        }
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
    identity: tokio::sync::Mutex<Option<Identity>>,
    http: SharedHttpClient,
    region: RegionName,
    credentials: Credentials,
    connection_limiter: ConnectionLimiter,
    rate_limiter: RateLimiter,
    observer: Arc<dyn Observer>,
}

enum Backend {
    Aws(Provider),
    Simulated { endpoint: String },
}

/// The credentials in use.
struct Identity {
    credentials: aws_credential_types::Credentials,
    loaded: Instant,
    usable_until: Instant,
    /// Glue rejected them, so they must be loaded again before they expire.
    rejected: bool,
}

impl Glue for AwsGlue {
    fn max_concurrent_requests(&self) -> usize {
        self.connection_limiter.per_client()
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
                .interceptor(ClockCheck)
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

    /// Returns the credentials in use, or loads new ones if they are not usable.
    async fn current_credentials(&self) -> provider::Result {
        let provider = match &self.backend {
            Backend::Aws(provider) => provider,
            Backend::Simulated { .. } => {
                return Ok(aws_credential_types::Credentials::new(
                    "SIMULATED",
                    "simulated",
                    None,
                    None,
                    "simulator",
                ));
            }
        };
        let mut identity = self.identity.lock().await;
        if let Some(held) = &*identity {
            if held.rejected && held.loaded.elapsed() >= MIN_RELOAD_INTERVAL {
                provider.discard();
            } else if Instant::now() < held.usable_until {
                return Ok(held.credentials.clone());
            }
        }
        let credentials = provider.load().await?;
        let loaded = Instant::now();
        let ttl = valid_for(&credentials).map_or(DEFAULT_CREDENTIALS_TTL, |left| {
            left.saturating_sub(EXPIRY_MARGIN)
        });
        *identity = Some(Identity {
            credentials: credentials.clone(),
            loaded,
            usable_until: loaded + ttl,
            rejected: false,
        });
        Ok(credentials)
    }

    /// Notes that Glue rejected these credentials.
    async fn reject(&self, credentials: &aws_credential_types::Credentials) {
        if let Some(held) = &mut *self.identity.lock().await
            && held.credentials == *credentials
        {
            held.rejected = true;
        }
    }
}
