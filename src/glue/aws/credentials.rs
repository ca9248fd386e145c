//! Loads credentials in a separate task, one load at a time and with a timeout.
//!
//! A provider of the SDK parses the profile files only once, so each load creates a new provider. A request that times out does not cancel
//! the load: the next request uses its result, and a `credential_process` that hangs is not started twice.

use super::connection_limit::ConnectionLimiter;
use super::{classify, credential_process, endpoint, message, profiles};
use crate::clock::Clock;
use crate::config::Credentials;
use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{self, ProvideCredentials, future};
use aws_sdk_glue::config::{SharedCredentialsProvider, SharedHttpClient};
use aws_smithy_types::retry::RetryConfig;
use std::error::Error;
use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};
use tokio::sync::{Mutex, MutexGuard};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Enough for a slow STS with its retries, or for a `credential_process` that calls a slow service.
pub const LOAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the result of a load that no request waited for can be used. Credentials are valid for at least 15 minutes.
const RESULT_TTL: Duration = Duration::from_secs(300);
/// Cached credentials that expire within this time are not shared. A client requests new ones 10 s before they expire.
const EXPIRY_MARGIN: Duration = Duration::from_secs(60);
/// How long a load blocks the loads of other regions. STS usually answers within this time.
const SINGLE_FLIGHT_WINDOW: Duration = Duration::from_secs(2);
/// How long a region waits for another region's load before it starts its own.
const MAX_WAIT: Duration = Duration::from_secs(4);
/// How long credentials without an expiry time are shared with other regions. Regions that start together share one load.
const SHARE_TTL: Duration = Duration::from_secs(30);
/// Appears in CloudTrail and in the ARN of the assumed role, so that a policy or a person can recognise the exporter.
const SESSION_NAME: &str = "glue-integration-exporter";

/// Loads one set of credentials in one region.
pub struct CredentialSource {
    pub http: SharedHttpClient,
    pub credentials: Credentials,
    pub region: Region,
    /// The credentials with which the role is assumed. All roles share them, so that they are not loaded once for each role.
    pub source: Option<Arc<Provider>>,
}

impl CredentialSource {
    /// Reads the environment and the profile files. Does not load credentials.
    pub async fn sdk_config(&self) -> SdkConfig {
        let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
            // Without it, the start would wait for the instance metadata service.
            .region(self.region.clone())
            .http_client(self.http.clone())
            // Overrides AWS_RETRY_MODE, AWS_MAX_ATTEMPTS and the profile, because an invalid value there makes the SDK panic.
            .retry_config(RetryConfig::standard());
        if let Some(profile) = &self.credentials.profile {
            // The SDK's default chain prefers the keys of the environment, which may belong to another account, to the profile.
            let provider = ProfileFileCredentialsProvider::builder()
                .profile_name(profile)
                .configure(
                    &ProviderConfig::without_region()
                        .with_region(Some(self.region.clone()))
                        .with_http_client(self.http.clone()),
                )
                .build();
            loader = loader.profile_name(profile).credentials_provider(provider);
        }
        loader.load().await
    }

    async fn load(&self) -> provider::Result {
        if let Some(error) = profiles::pipe_error() {
            return Err(CredentialsError::invalid_configuration(error));
        }
        let sdk = self.sdk_config().await;
        if let Some(error) = endpoint::configuration_error(&sdk) {
            return Err(CredentialsError::invalid_configuration(error));
        }
        if let (Some(role), Some(source)) = (&self.credentials.role, &self.source) {
            let shared: Arc<dyn ProvideCredentials> = Arc::<Provider>::clone(source);
            let sdk = sdk
                .into_builder()
                .credentials_provider(SharedCredentialsProvider::new(shared))
                .build();
            let mut provider = AssumeRoleProvider::builder(role.arn.as_str())
                .session_name(SESSION_NAME)
                .region(self.region.clone())
                .configure(&sdk);
            if let Some(external_id) = &role.external_id {
                provider = provider.external_id(external_id.expose());
            }
            let assumed = provider.build().await.provide_credentials().await;
            if let Err(error) = &assumed
                && (classify::is_source_rejected(error)
                    // New source credentials may be allowed to assume the role. At most once per `SHARE_TTL`, because one denied role
                    // must not reload the source credentials of all roles.
                    || classify::is_role_denied(error) && source.age() >= SHARE_TTL)
            {
                source.discard();
            }
            return assumed;
        }
        match sdk.credentials_provider() {
            Some(provider) => match provider.provide_credentials().await {
                Ok(credentials) => Ok(credentials),
                Err(error) => Err(self.explain(error).await),
            },
            None => Err(CredentialsError::not_loaded_no_source()),
        }
    }

    /// Adds the error of the profile, which the SDK omits.
    async fn explain(&self, error: CredentialsError) -> CredentialsError {
        if !matches!(
            error,
            CredentialsError::CredentialsNotLoaded(_) | CredentialsError::InvalidConfiguration(_)
        ) {
            return error;
        }
        let profile = self.credentials.profile.as_deref();
        match (profiles::profile_error(profile).await, profile) {
            (Some(profile_error), Some(_)) => {
                CredentialsError::invalid_configuration(profile_error)
            }
            // The other providers of the default chain have no credentials either.
            (Some(profile_error), None) => CredentialsError::invalid_configuration(format!(
                "{profile_error}; {}",
                message::chain(&error)
            )),
            (None, Some(profile)) if error.source().is_none() => {
                CredentialsError::not_loaded(format!("the profile `{profile}` has no credentials"))
            }
            (None, _) => error,
        }
    }

    async fn load_with_timeout(self: Arc<Self>) -> provider::Result {
        let start_guard = credential_process::note_start().await;
        let loaded = tokio::time::timeout(LOAD_TIMEOUT, self.load()).await;
        drop(start_guard);
        let loaded = loaded.unwrap_or_else(|_elapsed| {
            // After the timeout the SDK leaves a `credential_process` running.
            credential_process::kill_older_than(
                LOAD_TIMEOUT.saturating_sub(Duration::from_secs(1)),
            );
            Err(CredentialsError::provider_timed_out(LOAD_TIMEOUT))
        });
        credential_process::reap_orphans();
        let loaded = loaded?;
        match unusable(&loaded) {
            Some(why) => Err(CredentialsError::invalid_configuration(why)),
            None => Ok(loaded),
        }
    }
}

/// Returns why credentials cannot be sent in the headers of a request. The SDK panics on some invalid characters.
fn unusable(credentials: &aws_credential_types::Credentials) -> Option<String> {
    let parts = [
        ("access key ID", credentials.access_key_id()),
        ("secret access key", credentials.secret_access_key()),
        (
            "session token",
            credentials.session_token().unwrap_or_default(),
        ),
    ];
    let (name, _) = parts.into_iter().find(|(_, value)| !is_usable(value))?;
    Some(format!(
        "the {name} has a character that cannot be part of it, such as a space or a line break at its end"
    ))
}

fn is_usable(part: &str) -> bool {
    part.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Returns an error for each variable of the environment whose credentials cannot be sent. `check` reports them; in a poll they are a
/// failure of the scopes that use them.
pub fn environment_key_errors() -> Vec<String> {
    ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"]
        .into_iter()
        .filter_map(|name| {
            let value = std::env::var(name).ok()?;
            // The SDK trims the session token.
            let value = if name == "AWS_SESSION_TOKEN" { value.trim() } else { &value };
            (!is_usable(value)).then(|| {
                format!("{name} has a character that cannot be part of it, such as a space or a line break at its end")
            })
        })
        .collect()
}

/// Returns how long credentials are valid, by the system clock. None if they have no expiry time.
pub fn valid_for(credentials: &aws_credential_types::Credentials) -> Option<Duration> {
    let now = UNIX_EPOCH + Duration::from_secs_f64(Clock::system().unix_now());
    Some(
        credentials
            .expiry()?
            .duration_since(now)
            .unwrap_or_default(),
    )
}

/// Shares one set of credentials between all regions. Each region loads in its own task and with its own endpoint, so that an STS that
/// fails or hangs in one region affects only that region.
#[derive(Default)]
pub struct CredentialCache {
    /// Held by the region that loads, for `SINGLE_FLIGHT_WINDOW` at most.
    single_flight: Mutex<()>,
    cached: parking_lot::Mutex<Option<Loaded>>,
}

/// The result of a load.
#[derive(Clone)]
struct Loaded {
    credentials: aws_credential_types::Credentials,
    at: Instant,
}

impl CredentialCache {
    fn fresh(&self) -> Option<Loaded> {
        self.cached().clone().filter(Loaded::is_fresh)
    }

    fn store(&self, credentials: aws_credential_types::Credentials) -> Loaded {
        let at = Instant::now();
        let loaded = Loaded { credentials, at };
        *self.cached() = Some(loaded.clone());
        loaded
    }

    fn cached(&self) -> parking_lot::MutexGuard<'_, Option<Loaded>> {
        self.cached.lock()
    }
}

impl Loaded {
    /// Returns true if another region may use the credentials.
    fn is_fresh(&self) -> bool {
        match valid_for(&self.credentials) {
            Some(left) => left > EXPIRY_MARGIN,
            // The file or the environment may have changed.
            None => self.at.elapsed() < SHARE_TTL,
        }
    }
}

/// The provider of one region's client.
pub struct Provider {
    credential_cache: Arc<CredentialCache>,
    credential_source: Arc<CredentialSource>,
    /// None if another provider's load, which has its own permit, calls this provider.
    connection_limiter: Option<ConnectionLimiter>,
    running: Mutex<Option<(Instant, JoinHandle<provider::Result>)>>,
    /// When the credentials that it returned last were loaded.
    returned: parking_lot::Mutex<Option<Instant>>,
}

impl Provider {
    /// Creates a provider that has not loaded anything yet.
    pub fn new(
        credential_cache: Arc<CredentialCache>,
        credential_source: Arc<CredentialSource>,
        connection_limiter: Option<ConnectionLimiter>,
    ) -> Self {
        Self {
            credential_cache,
            credential_source,
            connection_limiter,
            running: Mutex::new(None),
            returned: parking_lot::Mutex::default(),
        }
    }

    /// Removes the credentials that it returned last from the cache, because they were rejected.
    pub fn discard(&self) {
        let returned = *self.returned();
        let mut cached = self.credential_cache.cached();
        if cached.as_ref().map(|loaded| loaded.at) == returned {
            *cached = None;
        }
    }

    /// Returns the age of the credentials that it returned last.
    fn age(&self) -> Duration {
        self.returned().map_or(Duration::ZERO, |at| at.elapsed())
    }

    /// Reads the environment and the profile files. Does not load credentials.
    pub async fn sdk_config(&self) -> SdkConfig {
        self.credential_source.sdk_config().await
    }

    /// Returns the cached credentials of any region if they are fresh, or loads new ones.
    ///
    /// # Errors
    /// If they cannot be loaded, or contain characters that cannot be sent to AWS.
    pub async fn load(&self) -> provider::Result {
        let loaded = match self.credential_cache.fresh() {
            Some(loaded) => loaded,
            None => {
                // Another region may be loading them.
                let single_flight =
                    tokio::time::timeout(MAX_WAIT, self.credential_cache.single_flight.lock())
                        .await;
                match self.credential_cache.fresh() {
                    Some(loaded) => loaded,
                    None => self
                        .credential_cache
                        .store(self.load_single_flight(single_flight.ok()).await?),
                }
            }
        };
        *self.returned() = Some(loaded.at);
        Ok(loaded.credentials)
    }

    /// Loads credentials. If this takes longer than `SINGLE_FLIGHT_WINDOW`, the next region may start its own load.
    async fn load_single_flight(
        &self,
        single_flight: Option<MutexGuard<'_, ()>>,
    ) -> provider::Result {
        let mut load = pin!(self.load_uncached());
        if let Ok(loaded) = tokio::time::timeout(SINGLE_FLIGHT_WINDOW, &mut load).await {
            return loaded;
        }
        drop(single_flight);
        load.await
    }

    async fn load_uncached(&self) -> provider::Result {
        let mut running = self.running.lock().await;
        if let Some((started, load)) = &mut *running
            && load.is_finished()
        {
            let fresh = started.elapsed() <= RESULT_TTL;
            let loaded = load.await;
            *running = None;
            // An old failure is ignored, because a new load may succeed.
            if let Ok(Ok(credentials)) = loaded
                && fresh
            {
                return Ok(credentials);
            }
        }
        let (_, load) = running.get_or_insert_with(|| {
            let (credential_source, connection_limiter) = (
                Arc::clone(&self.credential_source),
                self.connection_limiter.clone(),
            );
            let load = tokio::spawn(async move {
                let _permit = match &connection_limiter {
                    Some(connection_limiter) => connection_limiter.for_load().await,
                    None => None,
                };
                credential_source.load_with_timeout().await
            });
            (Instant::now(), load)
        });
        let loaded = load.await;
        *running = None;
        loaded.unwrap_or_else(|panicked| Err(CredentialsError::unhandled(panicked)))
    }

    fn returned(&self) -> parking_lot::MutexGuard<'_, Option<Instant>> {
        self.returned.lock()
    }
}

impl ProvideCredentials for Provider {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.load())
    }
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Provider")
    }
}
