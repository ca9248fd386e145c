//! AWS Glue through its SDK. Only the files of this module name `aws_*`; nothing of the SDK's types leaves them.

mod attempts;
mod children;
mod convert;
mod credentials;
mod identity;
mod metered;
mod reason;
mod words;

use super::budget::Budget;
use super::{Glue, GlueError, Observer, Operation, Page, PageFuture, PageRequest, Reason};
use crate::config::{Credentials, Query, RegionName};
use attempts::Attempts;
use aws_config::default_provider::region::DefaultRegionChain;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_glue::config::{
    Builder, IdentityCache, ProvideCredentials, RuntimeComponents, SharedCredentialsProvider,
    SharedHttpClient,
};
use aws_sdk_glue::error::SdkError;
use aws_sdk_glue::operation::RequestId;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::{Connector, tls};
use aws_smithy_runtime::client::retries::{RetryPartition, TokenBucket};
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use credentials::{LOAD_TIMEOUT, Loader, Origin, Provider};
use metered::{CALL, Metered};
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
    /// One for each set of credentials that a client uses.
    loaders: Arc<Mutex<HashMap<Credentials, Weak<Loader>>>>,
}

impl Sdk {
    /// Clients that go through the proxy that the environment names, if it names one.
    pub fn new(observer: Arc<dyn Observer>) -> Self {
        Self {
            http: http_client(ProxyConfig::from_env()),
            observer,
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
        let provider = Arc::new(Provider::new(self.loader(credentials), Arc::clone(&origin)));
        let shared: Arc<dyn ProvideCredentials> = Arc::<Provider>::clone(&provider);
        let builder = Builder::from(&origin.sdk_config().await)
            .credentials_provider(SharedCredentialsProvider::new(shared));
        self.client(builder, region, credentials.clone(), Some(provider), budget)
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
        Arc::new(Origin {
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
        let sdk = Self {
            http: http_client(ProxyConfig::disabled()),
            observer,
            loaders: Arc::default(),
        };
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
            Credentials::default(),
            None,
            budget,
        )
    }

    fn client(
        &self,
        builder: Builder,
        region: &RegionName,
        credentials: Credentials,
        provider: Option<Arc<Provider>>,
        budget: Budget,
    ) -> AwsGlue {
        let tokens = TokenBucket::builder()
            .capacity(RETRY_TOKENS)
            .refill_rate(RETRY_TOKENS_PER_SECOND)
            .build();
        let config = builder
            .http_client(Metered(self.http.clone()))
            .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
            .retry_partition(
                RetryPartition::custom(region.to_string())
                    .token_bucket(tokens)
                    .build(),
            )
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
            region: region.clone(),
            credentials,
            provider,
            budget,
            observer: Arc::clone(&self.observer),
        }
    }
}

/// A client that loads its credentials with its first request.
fn client_without_identity(config: &aws_sdk_glue::Config) -> aws_sdk_glue::Client {
    let identities = IdentityCache::lazy()
        // A load ends by itself; it may have waited for the one before.
        .load_timeout(LOAD_TIMEOUT * 3)
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
    Some(region.as_ref().to_owned())
}

fn http_client(proxy: ProxyConfig) -> SharedHttpClient {
    aws_smithy_http_client::Builder::new().build_with_connector_fn(move |settings, components| {
        let mut connector = Connector::builder()
            .tls_provider(tls::Provider::Rustls(
                tls::rustls_provider::CryptoMode::AwsLc,
            ))
            .pool_idle_timeout(POOL_IDLE_TIMEOUT)
            .proxy_config(proxy.clone());
        connector.set_connector_settings(settings.cloned());
        connector.set_sleep_impl(components.and_then(RuntimeComponents::sleep_impl));
        connector.build()
    })
}

/// AWS Glue as one set of credentials sees it in one region.
pub struct AwsGlue {
    connection: Mutex<Connection>,
    region: RegionName,
    credentials: Credentials,
    provider: Option<Arc<Provider>>,
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
    fn page<'a>(&'a self, request: PageRequest<'a>) -> PageFuture<'a> {
        Box::pin(self.inbound_integrations(request))
    }
}

impl AwsGlue {
    async fn inbound_integrations(&self, request: PageRequest<'_>) -> Result<Page, GlueError> {
        let allowance = request.allowance;
        let attempts = Attempts::new(
            self.budget.clone(),
            allowance.scope,
            Arc::clone(&self.observer),
            Operation::DescribeInboundIntegrations,
            matches!(request.query, Query::Integration(_)),
        );
        let pace = allowance.pace;
        let asked = Instant::now();
        let turn = tokio::time::timeout_at(pace.deadline(), attempts.first_turn()).await;
        pace.waited(asked.elapsed());
        if turn.is_err() {
            return Err(GlueError {
                asked: false,
                ..self.short_of_budget(request.query)
            });
        }
        let limit = pace.share();
        if limit.is_zero() {
            return Err(GlueError::not_asked(if pace.short_of_budget() {
                Reason::Throttled
            } else {
                Reason::Timeout
            }));
        }
        let call = self
            .client()
            .describe_inbound_integrations()
            .set_marker(request.marker.map(str::to_owned))
            .set_max_records(request.page_size.map(i32::from));
        let call = match request.query {
            Query::Integration(arn) => call.integration_arn(arn.as_str()),
            Query::Target(arn) => call.target_arn(arn.as_str()),
            Query::All => call,
        };
        let attempt_timeout = (limit / ATTEMPTS).max(SHORTEST_ATTEMPT.min(limit));
        let call = call
            .customize()
            .interceptor(attempts.clone())
            .config_override(
                Builder::new().timeout_config(
                    TimeoutConfig::builder()
                        // The same for every request, however short: the client keeps a connector, with a pool and TLS of its
                        // own, for each connect timeout that it has ever seen. The attempt's timeout ends connecting too.
                        .connect_timeout(CONNECT_TIMEOUT)
                        .operation_attempt_timeout(attempt_timeout)
                        .build(),
                ),
            );
        // Not the SDK's operation timeout: it would hide whether the time went to the request, to its credentials or to waiting
        // between tries of a throttled one.
        match tokio::time::timeout(limit, CALL.scope(attempts.clone(), call.send())).await {
            Ok(Ok(output)) => match attempts.reason() {
                None => Ok(convert::page(output)),
                Some(reason) => Err(GlueError {
                    reason,
                    message: format!(
                        "{} failed: AWS's answer has no body",
                        self.attempted(request.query)
                    ),
                    request_id: output.request_id().map(str::to_owned),
                    asked: true,
                }),
            },
            Ok(Err(error)) => {
                let reason = attempts.reason().unwrap_or(Reason::Other);
                if reason == Reason::Timeout && pace.short_of_budget() {
                    return Err(self.short_of_budget(request.query));
                }
                if reason == Reason::NotFound
                    && error
                        .as_service_error()
                        .is_some_and(|error| reason::says_absent(error, request.query))
                {
                    return Ok(Page::default());
                }
                let why = if reason == Reason::Credentials
                    && matches!(error, SdkError::TimeoutError(_))
                {
                    // The SDK knows of an attempt that took too long, not of what took so long.
                    words::LATE.to_owned()
                } else {
                    words::of(&error, &self.credentials)
                };
                let mut message = format!("{} failed: {why}", self.attempted(request.query));
                if reason == Reason::Credentials {
                    if error.as_service_error().is_some() {
                        self.connection().refused = true;
                    }
                    message.push_str(&words::what_to_do(&why, &self.credentials));
                }
                Err(GlueError {
                    reason,
                    message,
                    request_id: error.request_id().map(str::to_owned),
                    asked: true,
                })
            }
            Err(_elapsed) => {
                let reason = attempts.give_up();
                // The time that it lacks has gone into waiting.
                if reason == Reason::Timeout && pace.short_of_budget() {
                    return Err(self.short_of_budget(request.query));
                }
                let (why, what_to_do) = match reason {
                    Reason::Timeout => ("AWS did not answer", String::new()),
                    Reason::Credentials => (
                        words::LATE,
                        words::what_to_do(words::LATE, &self.credentials),
                    ),
                    _ => (
                        "its tries failed, and there was no time for another",
                        String::new(),
                    ),
                };
                Err(GlueError::new(
                    reason,
                    format!(
                        "{} was given up after {:.1} s: {why}{what_to_do}",
                        self.attempted(request.query),
                        limit.as_secs_f64(),
                    ),
                ))
            }
        }
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

    fn short_of_budget(&self, query: &Query) -> GlueError {
        GlueError::new(
            Reason::Throttled,
            format!(
                "{} had to wait for other requests until the poll's time was used up: polling.requests_per_second is too low for what \
                 is watched",
                self.attempted(query)
            ),
        )
    }

    fn attempted(&self, query: &Query) -> String {
        let region = &self.region;
        match query {
            Query::Integration(arn) => format!("asking AWS Glue in {region} for {arn}"),
            Query::Target(arn) => format!("asking AWS Glue in {region} for what writes into {arn}"),
            Query::All => format!("asking AWS Glue in {region} for all inbound integrations"),
        }
    }
}
