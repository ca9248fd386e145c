//! Loads credentials in a separate task with a timeout, and caches them for all regions.
//!
//! A provider of the SDK parses the profile files only once, so each load creates a new one. A request that times out does not cancel
//! the load, so that a `credential_process` that hangs is not started twice.

use super::{classify, credential_process, endpoint, message, profiles};
use crate::clock::Clock;
use crate::config::Credentials;
use crate::glue::BoxFuture;
use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials as Keys;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{self, ProvideCredentials};
use aws_sdk_glue::config::SharedHttpClient;
use aws_smithy_types::retry::RetryConfig;
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

/// Enough for a slow STS with its retries, or for a `credential_process` that calls a slow service.
const LOAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a region waits for another region's load before it starts its own.
const MAX_WAIT: Duration = Duration::from_secs(4);
/// Minimum time between two loads of rejected credentials. One poll can have hundreds of rejected requests.
const MIN_RELOAD_INTERVAL: Duration = Duration::from_secs(2);
/// How long credentials without an expiry time are used: the shortest lifetime of temporary credentials.
const DEFAULT_TTL: Duration = Duration::from_mins(15);
/// A request may take some time to arrive.
const EXPIRY_MARGIN: Duration = Duration::from_secs(10);
/// Appears in CloudTrail and in the ARN of the assumed role.
const SESSION_NAME: &str = "glue-integration-exporter";

#[derive(Default)]
pub struct CredentialCache {
    single_flight: Mutex<()>,
    loaded: parking_lot::Mutex<Option<Loaded>>,
}

struct Loaded {
    keys: Keys,
    at: Instant,
    usable_until: Instant,
}

/// Loads credentials with the endpoint of one region, so that an STS that hangs affects only that region.
pub struct Provider {
    pub http: SharedHttpClient,
    pub credentials: Credentials,
    pub region: Region,
    /// The credentials with which the role is assumed. All roles share them.
    pub source: Option<Arc<Provider>>,
    pub cache: Arc<CredentialCache>,
    pub running: Mutex<Option<JoinHandle<provider::Result>>>,
    /// When the credentials that AWS rejected last were loaded.
    pub rejected: parking_lot::Mutex<Option<Instant>>,
}

impl Provider {
    pub fn get(self: &Arc<Self>) -> BoxFuture<'_, provider::Result> {
        Box::pin(async move {
            if let Some(keys) = self.usable() {
                return Ok(keys);
            }
            let _single_flight = timeout(MAX_WAIT, self.cache.single_flight.lock()).await;
            let mut running = self.running.lock().await;
            if let Some(keys) = self.usable() {
                return Ok(keys);
            }
            // It failed after the last request that waited for it had timed out. A new load may succeed.
            if running.as_ref().is_some_and(JoinHandle::is_finished) {
                *running = None;
            }
            let load =
                running.get_or_insert_with(|| tokio::spawn(Arc::clone(self).load_with_timeout()));
            let loaded = load.await;
            *running = None;
            loaded.unwrap_or_else(|panicked| Err(CredentialsError::unhandled(panicked)))
        })
    }

    fn usable(&self) -> Option<Keys> {
        let loaded = self.cache.loaded.lock();
        let loaded = loaded.as_ref()?;
        let must_reload =
            *self.rejected.lock() == Some(loaded.at) && loaded.at.elapsed() >= MIN_RELOAD_INTERVAL;
        (!must_reload && Instant::now() < loaded.usable_until).then(|| loaded.keys.clone())
    }

    pub fn reject(&self, keys: &Keys) {
        if let Some(loaded) = &*self.cache.loaded.lock()
            && loaded.keys == *keys
        {
            *self.rejected.lock() = Some(loaded.at);
        }
    }

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

    async fn load_with_timeout(self: Arc<Self>) -> provider::Result {
        let start_guard = credential_process::note_start().await;
        let loaded = timeout(LOAD_TIMEOUT, self.load()).await;
        drop(start_guard);
        let loaded = loaded.unwrap_or_else(|_elapsed| {
            // After the timeout the SDK leaves a `credential_process` running.
            credential_process::kill_older_than(
                LOAD_TIMEOUT.saturating_sub(Duration::from_secs(1)),
            );
            Err(CredentialsError::provider_timed_out(LOAD_TIMEOUT))
        });
        credential_process::reap_orphans();
        let keys = loaded?;
        if let Some(why) = unusable(&keys) {
            return Err(CredentialsError::invalid_configuration(why));
        }
        let at = Instant::now();
        let ttl = valid_for(&keys).map_or(DEFAULT_TTL, |left| left.saturating_sub(EXPIRY_MARGIN));
        *self.cache.loaded.lock() = Some(Loaded {
            keys: keys.clone(),
            at,
            usable_until: at + ttl,
        });
        Ok(keys)
    }

    async fn load(&self) -> provider::Result {
        if let Some(error) = profiles::pipe_error() {
            return Err(CredentialsError::invalid_configuration(error));
        }
        let profile = self.credentials.profile.as_deref();
        if let Some(error) = profiles::endpoint_error(profile, &endpoint::POLLED).await {
            return Err(CredentialsError::invalid_configuration(error));
        }
        let sdk = self.sdk_config().await;
        if let (Some(role), Some(source)) = (&self.credentials.role, &self.source) {
            let keys = source.get().await?;
            let mut provider = AssumeRoleProvider::builder(role.arn.as_str())
                .session_name(SESSION_NAME)
                .region(self.region.clone())
                .configure(&sdk);
            if let Some(external_id) = &role.external_id {
                provider = provider.external_id(external_id.expose());
            }
            let provider = provider.build_from_provider(keys.clone()).await;
            let assumed = provider.provide_credentials().await;
            // Other source credentials may be allowed to assume the role.
            if let Err(error) = &assumed
                && classify::role_refused(error).is_some()
            {
                source.reject(&keys);
            }
            return assumed;
        }
        match sdk.credentials_provider() {
            Some(provider) => match provider.provide_credentials().await {
                Ok(keys) => Ok(keys),
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
}

/// Returns why credentials cannot be sent in headers. The SDK panics on some invalid characters.
fn unusable(keys: &Keys) -> Option<String> {
    let token = keys.session_token().unwrap_or_default();
    key_error("the access key ID", keys.access_key_id())
        .or_else(|| key_error("the secret access key", keys.secret_access_key()))
        .or_else(|| key_error("the session token", token))
}

fn key_error(name: &str, part: &str) -> Option<String> {
    let is_usable = part.bytes().all(|byte| byte.is_ascii_graphic());
    (!is_usable).then(|| {
        format!("{name} has a character that cannot be part of it, such as a space or a line break at its end")
    })
}

/// For `check`. In a poll they are a failure of the scopes that use them.
pub fn environment_key_errors() -> Vec<String> {
    let error = |name| {
        let value = std::env::var(name).unwrap_or_default();
        // The SDK trims the session token.
        let is_trimmed = name == "AWS_SESSION_TOKEN";
        key_error(name, if is_trimmed { value.trim() } else { &value })
    };
    let names = [
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
    ];
    names.into_iter().filter_map(error).collect()
}

fn valid_for(keys: &Keys) -> Option<Duration> {
    let now = UNIX_EPOCH + Duration::from_secs_f64(Clock::system().unix_now());
    Some(keys.expiry()?.duration_since(now).unwrap_or_default())
}
