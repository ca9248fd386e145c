//! AWS Glue through its SDK. Only the files of this module name `aws_*`; nothing of the SDK's types leaves them.

mod attempts;
mod call;
mod children;
mod clock_check;
mod convert;
mod credentials;
mod identity;
mod metered;
mod reason;
mod resolver;
mod sockets;
mod words;

use super::budget::Budget;
use super::names::{NamesFuture, NamesPage, NamesRequest};
use super::{Glue, GlueError, Observer, Operation, Page, PageFuture, PageRequest};
use crate::config::{Credentials, Query, RegionName};
use crate::descriptors::Descriptors;
use aws_config::default_provider::region::DefaultRegionChain;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_glue::config::{
    Builder, IdentityCache, ProvideCredentials, RuntimeComponents, SharedCredentialsProvider,
    SharedHttpClient,
};
use aws_sdk_glue::operation::describe_integrations::DescribeIntegrationsError;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::{Connector, tls};
use aws_smithy_runtime::client::retries::{RetryPartition, TokenBucket};
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use call::Call;
use clock_check::ClockCheck;
use credentials::{LOAD_TIMEOUT, Loader, Origin, Provider};
use metered::Metered;
use resolver::Resolver;
use sockets::Sockets;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::time::Instant;

pub use identity::Unidentified;

/// The SDK's own default, said here because it is the only timeout that it sets.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(3_100);
/// Shorter than the idle time after which a load balancer may drop a connection silently, so that no request dies on a dead one.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(20);
/// One request and two more tries.
const ATTEMPTS: u32 = 3;
/// No attempt is cut shorter than this while its request has the time: loading credentials is part of the first one.
const SHORTEST_ATTEMPT: Duration = Duration::from_secs(1);
/// Retries that one account and region may have in a burst cost 5 tokens each; one token comes back each second, so that
/// retries return after an outage of any length. The SDK's own bucket refills by successes alone.
const RETRY_TOKENS: usize = 100;
const RETRY_TOKENS_PER_SECOND: f32 = 1.0;
/// Credentials that Glue refused are loaded again for the next request, but not more often than this: hundreds of requests of one
/// poll are refused alike.
const LEAST_LOAD_PERIOD: Duration = Duration::from_secs(2);

/// Makes the clients. One for each account and region, kept: each has connections, credentials and retries of its own.
#[derive(Clone)]
pub struct Sdk {
    http: SharedHttpClient,
    observer: Arc<dyn Observer>,
    sockets: Sockets,
    /// One for each set of credentials that a client uses.
    loaders: Arc<Mutex<HashMap<Credentials, Weak<Loader>>>>,
}

impl Sdk {
    /// Clients that go through the proxy that the environment names, if it names one.
    pub fn new(observer: Arc<dyn Observer>) -> Self {
        Self::over(ProxyConfig::from_env(), observer)
    }

    fn over(proxy: ProxyConfig, observer: Arc<dyn Observer>) -> Self {
        let descriptors = Descriptors::of_process();
        Self {
            http: http_client(proxy, descriptors.idle),
            observer,
            sockets: Sockets::new(descriptors),
            loaders: Arc::default(),
        }
    }

    /// A client with `credentials` for `region`. Endpoints come from the environment and the profile as in every AWS tool;
    /// credentials are loaded by the first request, so a failure to load them is that request's failure.
    pub async fn connect(
        &self,
        credentials: &Credentials,
        region: &RegionName,
        budget: Budget,
    ) -> AwsGlue {
        let origin = self.origin(credentials, region);
        let provider = Arc::new(Provider::new(
            self.loader(credentials),
            Arc::clone(&origin),
            Some(self.sockets.clone()),
        ));
        let shared: Arc<dyn ProvideCredentials> = Arc::<Provider>::clone(&provider);
        let builder = Builder::from(&origin.sdk_config().await)
            .credentials_provider(SharedCredentialsProvider::new(shared));
        let provided = (credentials.clone(), Some(provider));
        self.client(builder, region, provided, budget)
    }

    /// So many pairs of scope and region may make requests at the same time, or listings of names.
    pub fn share_out(&self, pairs: usize) {
        self.sockets.share_out(pairs);
    }

    fn loader(&self, credentials: &Credentials) -> Arc<Loader> {
        let mut loaders = self.loaders.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(loader) = loaders.get(credentials).and_then(Weak::upgrade) {
            return loader;
        }
        let loader = Arc::default();
        loaders.retain(|_, loader| loader.strong_count() > 0);
        loaders.insert(credentials.clone(), Arc::downgrade(&loader));
        loader
    }

    fn origin(&self, credentials: &Credentials, region: &RegionName) -> Arc<Origin> {
        let source = credentials.role.as_ref().map(|_role| {
            let source = credentials.source();
            let provider = Provider::new(self.loader(&source), self.origin(&source, region), None);
            Arc::new(provider)
        });
        Arc::new(Origin {
            source,
            http: self.http.clone(),
            credentials: credentials.clone(),
            region: Region::new(region.as_str().to_owned()),
        })
    }

    /// A client of a simulated endpoint on this machine: neither the environment's credentials, nor its endpoints or proxies have a say.
    pub fn connect_simulated(
        observer: Arc<dyn Observer>,
        endpoint: String,
        region: &RegionName,
        budget: Budget,
    ) -> AwsGlue {
        let sdk = Self::over(ProxyConfig::disabled(), observer);
        let config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::new(region.as_str().to_owned()))
            .http_client(sdk.http.clone())
            .endpoint_url(endpoint)
            .credentials_provider(SharedCredentialsProvider::new(
                aws_credential_types::Credentials::new(
                    "SIMULATED",
                    "simulated",
                    None,
                    None,
                    "simulator",
                ),
            ))
            .build();
        sdk.client(
            Builder::from(&config),
            region,
            (Credentials::default(), None),
            budget,
        )
    }

    fn client(
        &self,
        builder: Builder,
        region: &RegionName,
        (credentials, provider): (Credentials, Option<Arc<Provider>>),
        budget: Budget,
    ) -> AwsGlue {
        let config = builder
            .http_client(Metered(self.http.clone()))
            .interceptor(ClockCheck)
            .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
            .retry_partition(retries(region.to_string()))
            .retry_classifier(reason::TransientDespite400)
            .timeout_config(
                TimeoutConfig::builder()
                    .connect_timeout(CONNECT_TIMEOUT)
                    .build(),
            )
            .build();
        AwsGlue {
            connection: Mutex::new(Connection {
                client: client_without_identity(&config),
                made: Instant::now(),
                refused: false,
            }),
            retries_of_names: retries(format!("names in {region}")),
            region: region.clone(),
            credentials,
            provider,
            sockets: self.sockets.clone(),
            budget,
            observer: Arc::clone(&self.observer),
        }
    }
}

/// Retries of their own.
fn retries(name: String) -> RetryPartition {
    let tokens = TokenBucket::builder()
        .capacity(RETRY_TOKENS)
        .refill_rate(RETRY_TOKENS_PER_SECOND)
        .build();
    RetryPartition::custom(name).token_bucket(tokens).build()
}

/// A client that loads its credentials with its first request.
fn client_without_identity(config: &aws_sdk_glue::Config) -> aws_sdk_glue::Client {
    let identities = IdentityCache::lazy()
        // A load ends by itself; it may have waited for the one before.
        .load_timeout(LOAD_TIMEOUT * 3)
        // The cache is this client's own, and a client has one provider as long as it lives. A cache that hundreds of clients share would
        // have to hold one partition for each: beyond its bound, which is 64 by default, they push each other out and load anew.
        .max_partitions(1)
        .build();
    aws_sdk_glue::Client::from_conf(config.to_builder().identity_cache(identities).build())
}

/// Ends what was started to load credentials and has not ended: called when nobody waits for it any more.
pub fn end_credential_processes() {
    children::end_older_than(Duration::ZERO);
}

/// The region that every AWS tool would use here: of the environment, the profile, or the instance's metadata service.
pub async fn default_region(profile: Option<&str>) -> Option<String> {
    let mut chain = DefaultRegionChain::builder();
    if let Some(profile) = profile {
        chain = chain.profile_name(profile);
    }
    let region = chain.build().region().await?;
    if region.as_ref().is_empty() {
        // What is set and empty is not set, as in AWS's other tools. The SDK looks no further than an empty AWS_REGION.
        return std::env::var("AWS_DEFAULT_REGION")
            .ok()
            .filter(|region| !region.is_empty());
    }
    Some(region.as_ref().to_owned())
}

fn http_client(proxy: ProxyConfig, idle: usize) -> SharedHttpClient {
    let resolver = Resolver::of_system();
    aws_smithy_http_client::Builder::new().build_with_connector_fn(move |settings, components| {
        let mut connector = Connector::builder()
            .tls_provider(tls::Provider::Rustls(
                tls::rustls_provider::CryptoMode::AwsLc,
            ))
            .pool_idle_timeout(POOL_IDLE_TIMEOUT)
            .pool_max_idle_per_host(idle)
            .proxy_config(proxy.clone());
        connector.set_connector_settings(settings.cloned());
        connector.set_sleep_impl(components.and_then(RuntimeComponents::sleep_impl));
        connector.build_with_resolver(resolver.clone())
    })
}

/// AWS Glue as one set of credentials sees it in one region.
pub struct AwsGlue {
    connection: Mutex<Connection>,
    retries_of_names: RetryPartition,
    region: RegionName,
    credentials: Credentials,
    provider: Option<Arc<Provider>>,
    sockets: Sockets,
    budget: Budget,
    observer: Arc<dyn Observer>,
}

struct Connection {
    client: aws_sdk_glue::Client,
    made: Instant,
    /// Glue refused its credentials. The SDK would go on with them until they expire by what it knows, which is 15 minutes for those
    /// that do not say it.
    refused: bool,
}

impl Glue for AwsGlue {
    fn most_at_once(&self) -> usize {
        self.sockets.each()
    }

    fn page<'a>(&'a self, request: PageRequest<'a>) -> PageFuture<'a> {
        Box::pin(self.inbound_integrations(request))
    }

    fn names<'a>(&'a self, request: NamesRequest<'a>) -> NamesFuture<'a> {
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
                    format!("asking AWS Glue in {region} for what writes into {arn}")
                }
                Query::All => format!("asking AWS Glue in {region} for all inbound integrations"),
            },
            allowance: request.allowance,
            absence_is_answer: matches!(query, Query::Integration(_)),
        };
        let answer = self.call(call, reason::says_absent, |client, settings| {
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
        request: NamesRequest<'_>,
    ) -> Result<NamesPage, GlueError> {
        let call = Call {
            operation: Operation::DescribeIntegrations,
            attempted: format!("asking AWS Glue in {} for names and tags", self.region),
            allowance: request.allowance,
            absence_is_answer: false,
        };
        let answer = self.call(
            call,
            |_: &DescribeIntegrationsError| false,
            |client, settings| {
                let call = client
                    .describe_integrations()
                    .set_marker(request.marker.map(str::to_owned))
                    .set_max_records(request.page_size.map(i32::from));
                // An outage of names alone must not use up the retries of polls.
                let settings = settings.retry_partition(self.retries_of_names.clone());
                call.customize().config_override(settings).send()
            },
        );
        let page = answer
            .await?
            .map(|output| convert::names(output, request.tags));
        Ok(page.unwrap_or_default())
    }

    fn client(&self) -> aws_sdk_glue::Client {
        let mut connection = self.connection();
        if connection.refused && connection.made.elapsed() >= LEAST_LOAD_PERIOD {
            if let Some(provider) = &self.provider {
                provider.refused();
            }
            *connection = Connection {
                client: client_without_identity(connection.client.config()),
                made: Instant::now(),
                refused: false,
            };
        }
        connection.client.clone()
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        // Each state of it is whole.
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
