//! How credentials are loaded: in a task of their own, one load at a time, from files that are read anew, and not for ever.
//!
//! The SDK parses the profile files once in a provider's life, so each load makes a provider of its own. A request that is given up
//! does not end the load: one that takes longer than a request may is there for the next, and a process that hangs is not started a
//! second time beside itself.

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
use std::sync::{Arc, PoisonError};
use std::time::{Duration, UNIX_EPOCH};
use tokio::sync::{Mutex, MutexGuard};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Enough for a slow STS with its retries, and for a process that asks a slow service.
pub const LOAD_TIMEOUT: Duration = Duration::from_secs(30);
/// What a load brought that nobody fetched is not used later than this: credentials live for 15 minutes at the least.
const RESULT_TTL: Duration = Duration::from_secs(300);
/// Before they expire credentials are loaded again: the SDK asks for new ones 10 s before at the latest.
const EXPIRY_MARGIN: Duration = Duration::from_secs(60);
/// A security token service answers in less.
const SINGLE_FLIGHT_WINDOW: Duration = Duration::from_secs(2);
/// No region waits longer for what others load: where it is slow everywhere, a second region has tried by then, and not all of them.
const MAX_WAIT: Duration = Duration::from_secs(4);
/// Credentials that do not say when they expire serve other regions for so long: those that start together.
const SHARE_TTL: Duration = Duration::from_secs(30);
/// Seen in CloudTrail and in the assumed role's ARN: a fixed name lets a policy or a person recognise the exporter.
const SESSION_NAME: &str = "glue-integration-exporter";

/// Where credentials come from.
pub struct CredentialSource {
    pub http: SharedHttpClient,
    pub credentials: Credentials,
    pub region: Region,
    /// What the role is assumed with, if there is one: all roles share what it loads, so that a fleet of them does not have its own
    /// identity's credentials issued once for each.
    pub source: Option<Arc<Provider>>,
}

impl CredentialSource {
    /// What the environment and the profile files say now. Loads no credentials.
    pub async fn sdk_config(&self) -> SdkConfig {
        let mut credential_cache = aws_config::defaults(BehaviorVersion::v2026_01_12())
            // Given, or the start would wait for the instance metadata service.
            .region(self.region.clone())
            .http_client(self.http.clone())
            // What AWS_RETRY_MODE, AWS_MAX_ATTEMPTS and the profile say of retries is not for this program, and a wrong value there makes
            // the SDK panic.
            .retry_config(RetryConfig::standard());
        if let Some(profile) = &self.credentials.profile {
            // By itself the SDK would prefer the environment's keys to a profile that was asked for, which may be another account's.
            let provider = ProfileFileCredentialsProvider::builder()
                .profile_name(profile)
                .configure(
                    &ProviderConfig::without_region()
                        .with_region(Some(self.region.clone()))
                        .with_http_client(self.http.clone()),
                )
                .build();
            credential_cache = credential_cache
                .profile_name(profile)
                .credentials_provider(provider);
        }
        credential_cache.load().await
    }

    async fn load(&self) -> provider::Result {
        if let Some(mistake) = profiles::pipe() {
            return Err(CredentialsError::invalid_configuration(mistake));
        }
        let sdk = self.sdk_config().await;
        if let Some(mistake) = endpoint::unusable(&sdk) {
            return Err(CredentialsError::invalid_configuration(mistake));
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
                && (classify::says_source_refused(error)
                    // Those of another role would be refused too, but may have been put right by now. Seldom, since a role of a fleet
                    // that is refused must not have them loaded again for all others.
                    || classify::says_role_refused(error) && source.age() >= SHARE_TTL)
            {
                source.refused();
            }
            return assumed;
        }
        match sdk.credentials_provider() {
            Some(provider) => match provider.provide_credentials().await {
                Ok(credentials) => Ok(credentials),
                Err(error) => Err(self.explained(error).await),
            },
            None => Err(CredentialsError::not_loaded_no_source()),
        }
    }

    /// Returns the error with what is wrong with the profile, which the SDK leaves out.
    async fn explained(&self, error: CredentialsError) -> CredentialsError {
        if !matches!(
            error,
            CredentialsError::CredentialsNotLoaded(_) | CredentialsError::InvalidConfiguration(_)
        ) {
            return error;
        }
        let profile = self.credentials.profile.as_deref();
        match (profiles::mistake(profile).await, profile) {
            (Some(mistake), Some(_)) => CredentialsError::invalid_configuration(mistake),
            // The other members of the default chain have no credentials either.
            (Some(mistake), None) => CredentialsError::invalid_configuration(format!(
                "{mistake}; {}",
                message::chain(&error)
            )),
            (None, Some(profile)) if error.source().is_none() => {
                CredentialsError::not_loaded(format!("the profile `{profile}` has no credentials"))
            }
            (None, _) => error,
        }
    }

    async fn load_in_time(self: Arc<Self>) -> provider::Result {
        let starting = credential_process::note_start().await;
        let loaded = tokio::time::timeout(LOAD_TIMEOUT, self.load()).await;
        drop(starting);
        let loaded = loaded.unwrap_or_else(|_elapsed| {
            // The SDK leaves a `credential_process` running that it does not wait for any more.
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

/// Returns why credentials cannot be sent in the headers of a request: the SDK panics on some of them.
fn unusable(credentials: &aws_credential_types::Credentials) -> Option<String> {
    let parts = [
        ("access key ID", credentials.access_key_id()),
        ("secret access key", credentials.secret_access_key()),
        (
            "session token",
            credentials.session_token().unwrap_or_default(),
        ),
    ];
    let (name, _) = parts
        .into_iter()
        .find(|(_, value)| !value.bytes().all(|byte| byte.is_ascii_graphic()))?;
    Some(format!(
        "the {name} has a character that cannot be part of it, such as a space or a line break at its end"
    ))
}

/// Returns how long credentials are valid, by this machine's clock. None if they do not say it.
pub fn valid_for(credentials: &aws_credential_types::Credentials) -> Option<Duration> {
    let now = UNIX_EPOCH + Duration::from_secs_f64(Clock::system().unix_now());
    Some(
        credentials
            .expiry()?
            .duration_since(now)
            .unwrap_or_default(),
    )
}

/// What one set of credentials has brought, for all regions. Each region loads with an origin and in a task of its own, so that a
/// security token service that fails or hangs in one region costs that region alone, and what any of them has loaded serves all.
#[derive(Default)]
pub struct CredentialCache {
    /// Held by the region that loads, for a while.
    single_flight: Mutex<()>,
    kept: std::sync::Mutex<Option<Loaded>>,
}

/// What a load brought.
#[derive(Clone)]
struct Loaded {
    credentials: aws_credential_types::Credentials,
    at: Instant,
}

impl CredentialCache {
    fn fresh(&self) -> Option<Loaded> {
        self.kept().clone().filter(Loaded::is_fresh)
    }

    fn keep(&self, credentials: aws_credential_types::Credentials) -> Loaded {
        let at = Instant::now();
        let loaded = Loaded { credentials, at };
        *self.kept() = Some(loaded.clone());
        loaded
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Option<Loaded>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Loaded {
    /// Good for another region too.
    fn is_fresh(&self) -> bool {
        match valid_for(&self.credentials) {
            Some(left) => left > EXPIRY_MARGIN,
            // A file or an environment that may say something else by now.
            None => self.at.elapsed() < SHARE_TTL,
        }
    }
}

/// The provider of one region's client.
pub struct Provider {
    credential_cache: Arc<CredentialCache>,
    credential_source: Arc<CredentialSource>,
    /// None where its loads are part of another one's.
    connection_limiter: Option<ConnectionLimiter>,
    under_way: Mutex<Option<(Instant, JoinHandle<provider::Result>)>>,
    /// When what it handed out last was loaded.
    handed_out: std::sync::Mutex<Option<Instant>>,
}

impl Provider {
    /// Loads nothing yet.
    pub fn new(
        credential_cache: Arc<CredentialCache>,
        credential_source: Arc<CredentialSource>,
        connection_limiter: Option<ConnectionLimiter>,
    ) -> Self {
        Self {
            credential_cache,
            credential_source,
            connection_limiter,
            under_way: Mutex::new(None),
            handed_out: std::sync::Mutex::default(),
        }
    }

    /// What it handed out last was refused: no region is given it again.
    pub fn refused(&self) {
        let handed_out = *self.handed_out();
        let mut kept = self.credential_cache.kept();
        if kept.as_ref().map(|kept| kept.at) == handed_out {
            *kept = None;
        }
    }

    /// Of what it handed out last.
    fn age(&self) -> Duration {
        self.handed_out().map_or(Duration::ZERO, |at| at.elapsed())
    }

    /// What the environment and the profile files say now. Loads no credentials.
    pub async fn sdk_config(&self) -> SdkConfig {
        self.credential_source.sdk_config().await
    }

    /// Returns credentials: those that another region has loaded and that are still good, or else new ones.
    ///
    /// # Errors
    /// If they could not be loaded, or could not be sent to AWS.
    pub async fn load(&self) -> provider::Result {
        let loaded = match self.credential_cache.fresh() {
            Some(kept) => kept,
            None => {
                // Another region may be about to have them.
                let single_flight =
                    tokio::time::timeout(MAX_WAIT, self.credential_cache.single_flight.lock())
                        .await;
                match self.credential_cache.fresh() {
                    Some(kept) => kept,
                    None => self
                        .credential_cache
                        .keep(self.load_single_flight(single_flight.ok()).await?),
                }
            }
        };
        *self.handed_out() = Some(loaded.at);
        Ok(loaded.credentials)
    }

    /// A load that takes too long goes on without its turn, and the next region tries its own.
    async fn load_single_flight(
        &self,
        single_flight: Option<MutexGuard<'_, ()>>,
    ) -> provider::Result {
        let mut load = pin!(self.load_anew());
        if let Ok(loaded) = tokio::time::timeout(SINGLE_FLIGHT_WINDOW, &mut load).await {
            return loaded;
        }
        drop(single_flight);
        load.await
    }

    async fn load_anew(&self) -> provider::Result {
        let mut under_way = self.under_way.lock().await;
        if let Some((started, load)) = &mut *under_way
            && load.is_finished()
        {
            let fresh = started.elapsed() <= RESULT_TTL;
            let loaded = load.await;
            *under_way = None;
            // That it failed was then; the credentials may be back.
            if let Ok(Ok(credentials)) = loaded
                && fresh
            {
                return Ok(credentials);
            }
        }
        let (_, load) = under_way.get_or_insert_with(|| {
            let (credential_source, connection_limiter) = (
                Arc::clone(&self.credential_source),
                self.connection_limiter.clone(),
            );
            let load = tokio::spawn(async move {
                let _socket = match &connection_limiter {
                    Some(connection_limiter) => connection_limiter.for_load().await,
                    None => None,
                };
                credential_source.load_in_time().await
            });
            (Instant::now(), load)
        });
        let loaded = load.await;
        *under_way = None;
        loaded.unwrap_or_else(|panicked| Err(CredentialsError::unhandled(panicked)))
    }

    fn handed_out(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.handed_out
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
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
