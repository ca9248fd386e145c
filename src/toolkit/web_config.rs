//! The file of `--web.config.file`, in the format of Prometheus' exporter-toolkit. Reading is stricter than the toolkit where the toolkit
//! would give less protection than the file suggests.

mod client_certificate;
mod clients;
mod names;
mod pem;
mod schema;
mod tls;

use self::pem::Context;
pub use self::schema::PasswordHash;
use self::schema::{FORMAT, GoDuration, HeaderKeys, HeaderText, RateLimitKeys, Root};
use crate::toolkit::yaml::{
    self, ConfigErrors, Field, MAX_CONFIG_BYTES, Parsed, Report, Value, Whole,
};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use std::{io, mem};

pub use pem::{FileIdentity, MAX_PEM_BYTES, ReadFile};

#[derive(Clone, Debug, Default)]
pub struct WebConfig {
    /// TLS for TCP connections; plain HTTP if `None`.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Headers of every response; values contain no control characters.
    pub headers: Vec<(&'static str, String)>,
    /// `None` if there is no limit.
    pub rate_limit: Option<RateLimit>,
    pub users: BTreeMap<String, PasswordHash>,
    /// Settings that the exporter ignores or interprets differently.
    pub notes: Vec<String>,
    pub is_empty: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Average time between two requests; greater than zero.
    pub interval: Duration,
    /// Maximum number of requests at once; at least 1.
    pub burst: u32,
}

/// The result of reading a web configuration, and the identities of all files that were read, valid or not.
#[derive(Debug)]
pub struct WebConfigRead {
    pub config: Result<WebConfig, ConfigErrors>,
    pub files: Vec<ReadFile>,
}

impl WebConfigRead {
    pub(crate) fn failed(path: &Path, error: &io::Error) -> Self {
        Self {
            config: Err(ConfigErrors::unreadable(path, error)),
            files: Vec::new(),
        }
    }
}

impl WebConfig {
    /// Reads the file at `path` (at most 1 MiB) and the files that it names, which are relative to its directory.
    pub fn load(path: &Path) -> WebConfigRead {
        let mut files = Vec::new();
        let bytes = pem::content(path, MAX_CONFIG_BYTES, &mut files);
        let bytes = bytes.map_err(|error| ConfigErrors::unreadable(path, &error));
        let read = |root, report: &Report| {
            let mut context = Context {
                report,
                directory: path.parent().unwrap_or(Path::new("")),
                files: &mut files,
                notes: Vec::new(),
            };
            convert(root, &mut context)
        };
        let config = bytes.and_then(|bytes| yaml::read(&bytes, path, FORMAT, read));
        WebConfigRead { config, files }
    }

    pub fn describe(&self) -> String {
        let mut text = match self.tls {
            Some(_) => "Serves TLS".to_owned(),
            None => "Serves plain HTTP".to_owned(),
        };
        match self.users.len() {
            0 => text += ", without passwords",
            1 => text += ", with a password for 1 user",
            users => text += &format!(", with passwords for {users} users"),
        }
        if let Some(RateLimit { interval, burst }) = self.rate_limit {
            text += &format!(
                ", rate limit of one request per {interval:?} and bursts of up to {burst}"
            );
        }
        text += ".\n";
        for note in &self.notes {
            text += &format!("{note}\n");
        }
        text
    }
}

fn convert(root: Field<Root>, context: &mut Context<'_>) -> WebConfig {
    let Some(root) = root.valid() else {
        return WebConfig {
            is_empty: true,
            ..WebConfig::default()
        };
    };
    let http = root.http_server_config.valid().unwrap_or_default();
    let headers = http.headers.valid().unwrap_or_default();
    let tls = root.tls_server_config.located();
    WebConfig {
        headers: self::headers(context.report, headers),
        rate_limit: rate_limit(context.report, root.rate_limit.valid().unwrap_or_default()),
        users: users(context.report, root.basic_auth_users),
        // Builds a configuration only if there are no errors so far.
        tls: tls.and_then(|(keys, at)| tls::tls(context, keys, at)),
        notes: mem::take(&mut context.notes),
        is_empty: false,
    }
}

fn headers(report: &Report, keys: HeaderKeys) -> Vec<(&'static str, String)> {
    let any: &[&str] = &[];
    let options: &[&str] = &["nosniff"];
    let frames: &[&str] = &["deny", "sameorigin"];
    let hsts = keys.strict_transport_security;
    let rows = [
        ("Content-Security-Policy", keys.content_security_policy, any),
        ("Strict-Transport-Security", hsts, any),
        ("X-Content-Type-Options", keys.content_type_options, options),
        ("X-Frame-Options", keys.frame_options, frames),
        ("X-XSS-Protection", keys.xss_protection, any),
    ];
    let mut headers = Vec::new();
    for (name, field, allowed) in rows {
        let Field::Valid(Parsed(HeaderText(value)), at) = field else {
            continue;
        };
        if !allowed.is_empty() && !allowed.contains(&value.as_str()) {
            let (value, allowed) = (report.quote(&value), allowed.join(" or "));
            report.error(at, format!("{value} is not valid; allowed: {allowed}"));
        }
        headers.push((name, value));
    }
    headers
}

fn rate_limit(report: &Report, keys: RateLimitKeys) -> Option<RateLimit> {
    let (Parsed(GoDuration(interval)), at) = keys.interval.located()?;
    if interval.is_zero() {
        return None;
    }
    let missing = "needs a `burst` of 1 to 1000000, because without it every request is rejected";
    let (Whole(burst), at) = report.required(keys.burst, at, missing)?;
    if burst == 0 {
        report.error(at, "`0` would reject every request; allowed: 1 to 1000000");
    }
    Some(RateLimit { interval, burst })
}

fn users(
    report: &Report,
    field: Field<BTreeMap<String, Value<PasswordHash>>>,
) -> BTreeMap<String, PasswordHash> {
    let mut users = BTreeMap::new();
    for (name, hash) in field.valid().unwrap_or_default() {
        let Field::Valid(Parsed(hash), at) = hash else {
            continue;
        };
        if name.contains(':') || name.chars().any(char::is_control) {
            let text =
                "is not a valid user name; allowed: text without colons and control characters";
            report.error(at, text);
        }
        users.insert(name, hash);
    }
    users
}
