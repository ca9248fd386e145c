//! What connections and requests must pass before they are answered, as `--web.config.file` says now. The file, its certificates
//! and keys are looked at once a second and read again when they have changed; what cannot be used is told once and changes nothing.

use super::basic_auth::{AuthResult, BasicAuth};
use super::rate::Bucket;
use crate::config::web::{FileIdentity, ReadFile, WebConfig, WebConfigRead};
use crate::config::{ConfigErrors, file_error};
use crate::files::FileWorker;
use aws_lc_rs::error::Unspecified;
use hyper::header::{CONTENT_SECURITY_POLICY, HeaderMap, HeaderName, HeaderValue};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// A file that changed is read when two looks in a row saw the same: who writes it is done by then, and with those beside it.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The door.
#[derive(Debug)]
pub struct AccessControl {
    file: PathBuf,
    /// `/-/healthy` and `/-/ready` are answered to everybody.
    probes_exempt: bool,
    current: RwLock<Arc<ActiveConfig>>,
    passwords: BasicAuth,
    /// As they were read last, whether that went well or not.
    files: tokio::sync::Mutex<Vec<ReadFile>>,
    worker: FileWorker,
}

#[derive(Debug)]
struct ActiveConfig {
    config: WebConfig,
    headers: Vec<(HeaderName, HeaderValue)>,
    bucket: Option<Arc<Bucket>>,
}

/// Why a request is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Beyond the rate limit.
    TooMany,
    /// Not by one of the users.
    Unauthorized,
    /// Too many passwords wait to be checked.
    Busy,
}

impl ActiveConfig {
    fn new(config: WebConfig, before: Option<&Self>) -> Self {
        let headers = config.headers.iter().filter_map(|(name, value)| {
            let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
            Some((name, HeaderValue::from_str(value).ok()?))
        });
        let kept = before.and_then(|before| before.bucket.clone());
        Self {
            headers: headers.collect(),
            // Tokens that were used stay used where the limit is the same.
            bucket: config.rate_limit.map(|limit| {
                kept.filter(|bucket| bucket.limit() == limit)
                    .unwrap_or_else(|| Arc::new(Bucket::new(limit)))
            }),
            config,
        }
    }
}

impl AccessControl {
    /// As the file at `path` said, which was read before.
    ///
    /// # Errors
    /// Without a source of random numbers.
    pub fn new(
        path: &Path,
        config: WebConfig,
        files: Vec<ReadFile>,
        probes_exempt: bool,
    ) -> Result<Self, Unspecified> {
        for note in &config.notes {
            tracing::warn!(file = %path.display(), "{note}");
        }
        Ok(Self {
            file: path.to_owned(),
            probes_exempt,
            current: RwLock::new(Arc::new(ActiveConfig::new(config, None))),
            passwords: BasicAuth::new()?,
            files: tokio::sync::Mutex::new(files),
            worker: FileWorker::default(),
        })
    }

    /// What TCP connections speak from now on; plain HTTP if `None`.
    pub fn tls(&self) -> Option<Arc<rustls::ServerConfig>> {
        self.current().config.tls.clone()
    }

    /// Why a request with these headers from `peer` is not to be answered, if it is not.
    pub async fn check(
        &self,
        headers: &HeaderMap,
        peer: Option<IpAddr>,
        is_probe: bool,
    ) -> Option<Refusal> {
        if is_probe && self.probes_exempt {
            return None;
        }
        let current = self.current();
        if current.bucket.as_ref().is_some_and(|bucket| !bucket.take()) {
            return Some(Refusal::TooMany);
        }
        let users = &current.config.users;
        if users.is_empty() {
            return None;
        }
        match self.passwords.check(users, headers, peer).await {
            AuthResult::Known => None,
            AuthResult::Unknown => Some(Refusal::Unauthorized),
            AuthResult::Busy => Some(Refusal::Busy),
        }
    }

    /// Adds what every answer is to have. What it has of its own it keeps, as with the toolkit, which adds before it answers.
    pub fn add_headers(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.current().headers {
            // Browsers keep all policies that there are.
            if name == CONTENT_SECURITY_POLICY {
                headers.append(name, value.clone());
            } else {
                headers.entry(name).or_insert_with(|| value.clone());
            }
        }
    }

    /// Reads the file and what it names again. The log says how that went.
    ///
    /// # Errors
    /// Says what is wrong with it; the old one goes on.
    pub async fn reread(&self) -> Result<(), ConfigErrors> {
        let mut files = self.files.lock().await;
        let path = self.file.clone();
        let read = self.worker.run(move || WebConfig::load(&path)).await;
        let loaded = read.unwrap_or_else(|error| WebConfigRead::failed(&self.file, &error));
        if !loaded.files.is_empty() {
            *files = loaded.files;
        }
        let before = self.current();
        let refused = |why| Err(file_error(&self.file, why));
        let config = match loaded.config {
            // What an editor leaves for a moment must not open the door.
            Ok(config) if config.is_empty => {
                refused("is empty, which counts only when the exporter starts")
            }
            Ok(config) if config.tls.is_none() && before.config.tls.is_some() => {
                refused("has no `tls_server_config` any more; TLS ends only with a restart")
            }
            Ok(config) if config.users.is_empty() && !before.config.users.is_empty() => refused(
                "names none of the `basic_auth_users` any more; passwords end only with a restart",
            ),
            other => other,
        };
        match config {
            Ok(config) => {
                for note in &config.notes {
                    tracing::warn!(file = %self.file.display(), "{note}");
                }
                let new = Arc::new(ActiveConfig::new(config, Some(&before)));
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = new;
                tracing::info!(file = %self.file.display(), "the web configuration was loaded again");
                Ok(())
            }
            Err(errors) => {
                tracing::error!(
                    error = %errors,
                    "the new web configuration was refused, the old one goes on"
                );
                Err(errors)
            }
        }
    }

    /// Reads again what has changed, until `stop`; tells `outcome` whether that went well.
    pub async fn watch(&self, outcome: impl Fn(bool), stop: CancellationToken) {
        let mut seen_before = None;
        while stop
            .run_until_cancelled(tokio::time::sleep(LOOK_EVERY))
            .await
            .is_some()
        {
            let read = self.files.lock().await.clone();
            let paths: Vec<PathBuf> = read.iter().map(|file| file.path.clone()).collect();
            let look = self.worker.run(|| {
                let file = |path| ReadFile {
                    identity: FileIdentity::of(&path as &Path),
                    path,
                };
                paths.into_iter().map(|path: PathBuf| file(path)).collect()
            });
            let Ok(seen): Result<Vec<ReadFile>, _> = look.await else {
                continue;
            };
            if seen == read {
                seen_before = None;
            } else if seen_before.as_ref() == Some(&seen) {
                seen_before = None;
                outcome(self.reread().await.is_ok());
            } else {
                seen_before = Some(seen);
            }
        }
    }

    fn current(&self) -> Arc<ActiveConfig> {
        let current = self.current.read();
        Arc::clone(&current.unwrap_or_else(PoisonError::into_inner))
    }
}
