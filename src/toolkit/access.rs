//! Applies `--web.config.file`: TLS, basic auth, the rate limit and response headers. The file, its certificates and its keys are
//! checked for changes every second and reread after a change. An invalid configuration is logged once and changes nothing.

use super::basic_auth::BasicAuth;
pub use super::basic_auth::Refusal;
use crate::toolkit::files::FileWorker;
use crate::toolkit::web_config::{FileIdentity, RateLimit, ReadFile, WebConfig, WebConfigRead};
use crate::toolkit::yaml::ConfigErrors;
use aws_lc_rs::error::Unspecified;
use hyper::header::{CONTENT_SECURITY_POLICY, HeaderMap, HeaderValue};
use parking_lot::{Mutex, RwLock};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// A changed file is reread when two checks in a row found the same state, so that its writer has probably finished.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub struct AccessControl {
    file: PathBuf,
    /// If true, `/-/healthy` and `/-/ready` need no password and do not count towards the rate limit.
    probes_exempt: bool,
    current: RwLock<Arc<ActiveConfig>>,
    basic_auth: BasicAuth,
    /// The files of the last read, successful or not.
    files: tokio::sync::Mutex<Vec<ReadFile>>,
    worker: FileWorker,
}

#[derive(Debug)]
struct ActiveConfig {
    config: WebConfig,
    bucket: Option<Arc<TokenBucket>>,
}

impl ActiveConfig {
    fn new(file: &Path, config: WebConfig, previous: Option<&Self>) -> Self {
        for note in &config.notes {
            tracing::warn!(file = %file.display(), "{note}");
        }
        let previous_bucket = previous.and_then(|previous| previous.bucket.clone());
        let bucket = config.rate_limit.map(|limit| {
            // A reload with the same limit must not refill the bucket.
            let kept = previous_bucket.filter(|bucket| bucket.limit == limit);
            kept.unwrap_or_else(|| {
                let full_at = Mutex::new(Instant::now());
                Arc::new(TokenBucket { limit, full_at })
            })
        });
        Self { config, bucket }
    }
}

impl AccessControl {
    pub fn new(
        path: &Path,
        config: WebConfig,
        files: Vec<ReadFile>,
        probes_exempt: bool,
    ) -> Result<Self, Unspecified> {
        let current = ActiveConfig::new(path, config, None);
        Ok(Self {
            file: path.to_owned(),
            probes_exempt,
            current: RwLock::new(Arc::new(current)),
            basic_auth: BasicAuth::new()?,
            files: tokio::sync::Mutex::new(files),
            worker: FileWorker::default(),
        })
    }

    pub fn tls(&self) -> Option<Arc<rustls::ServerConfig>> {
        self.current().config.tls.clone()
    }

    pub async fn check(
        &self,
        headers: &HeaderMap,
        peer: Option<IpAddr>,
        is_probe: bool,
    ) -> Result<(), Refusal> {
        if is_probe && self.probes_exempt {
            return Ok(());
        }
        let current = self.current();
        if current.bucket.as_ref().is_some_and(|bucket| !bucket.take()) {
            return Err(Refusal::RateLimited);
        }
        let users = &current.config.users;
        if users.is_empty() {
            return Ok(());
        }
        self.basic_auth.check(users, headers, peer).await
    }

    /// Adds the configured headers to a response. Headers that the response already has stay, as in Prometheus' exporter-toolkit.
    pub fn add_headers(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.current().config.headers {
            let Ok(value) = HeaderValue::from_str(value) else {
                continue;
            };
            // Browsers enforce all policies of a response.
            if CONTENT_SECURITY_POLICY == *name || !headers.contains_key(*name) {
                headers.append(*name, value);
            }
        }
    }

    /// On errors the previous configuration stays active.
    pub async fn reread(&self) -> Result<(), ConfigErrors> {
        let mut files = self.files.lock().await;
        let loaded = read(&self.file, &self.worker).await;
        if !loaded.files.is_empty() {
            *files = loaded.files;
        }
        let previous = self.current();
        let invalid = |message| Err(ConfigErrors::of_file(&self.file, message));
        let config = match loaded.config {
            // An editor may leave the file empty for a moment, which must not turn off access control.
            Ok(config) if config.is_empty => {
                invalid("is empty; an empty file is accepted only at startup")
            }
            Ok(config) if config.tls.is_none() && previous.config.tls.is_some() => {
                invalid("no longer has a `tls_server_config`; restart the exporter to turn off TLS")
            }
            Ok(config) if config.users.is_empty() && !previous.config.users.is_empty() => invalid(
                "no longer has any `basic_auth_users`; restart the exporter to turn off basic auth",
            ),
            other => other,
        };
        let config = config.inspect_err(|errors| {
            tracing::error!(error = %errors, "invalid web configuration, keeping the previous one");
        })?;
        let new = ActiveConfig::new(&self.file, config, Some(&previous));
        *self.current.write() = Arc::new(new);
        tracing::info!(file = %self.file.display(), "reloaded the web configuration");
        Ok(())
    }

    /// Rereads changed files until `stop`. Calls `on_reread` after each attempt with true if it succeeded.
    pub async fn watch(&self, on_reread: impl Fn(bool), stop: CancellationToken) {
        let mut previous = Vec::new();
        let next_check = || stop.run_until_cancelled(tokio::time::sleep(CHECK_INTERVAL));
        while next_check().await.is_some() {
            let read = self.files.lock().await.clone();
            let mut found = read.clone();
            let check = self.worker.run(move || {
                for file in &mut found {
                    file.identity = FileIdentity::of(&file.path);
                }
                found
            });
            let Ok(found) = check.await else {
                continue;
            };
            if found != read && found == previous {
                on_reread(self.reread().await.is_ok());
            }
            previous = found;
        }
    }

    fn current(&self) -> Arc<ActiveConfig> {
        Arc::clone(&self.current.read())
    }
}

pub(crate) async fn read(file: &Path, worker: &FileWorker) -> WebConfigRead {
    let path = file.to_owned();
    let read = worker.run(move || WebConfig::load(&path)).await;
    read.unwrap_or_else(|error| WebConfigRead::failed(file, &error))
}

/// As in Go's `x/time/rate`: it starts full and gets one token per interval, up to the burst.
#[derive(Debug)]
struct TokenBucket {
    limit: RateLimit,
    /// When the bucket will be full if no token is taken until then.
    full_at: Mutex<Instant>,
}

impl TokenBucket {
    /// Returns false if the bucket is empty.
    fn take(&self) -> bool {
        let RateLimit { interval, burst } = self.limit;
        let now = Instant::now();
        let mut full_at = self.full_at.lock();
        let Some(next) = (*full_at).max(now).checked_add(interval) else {
            return false;
        };
        let has_token = next - now <= interval.saturating_mul(burst);
        if has_token {
            *full_at = next;
        }
        has_token
    }
}
