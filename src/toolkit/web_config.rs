//! The file of `--web.config.file`, in the format of Prometheus' exporter-toolkit. Every value in a [`WebConfig`] is valid, including
//! keys and certificates, because reading makes all checks.
//!
//! Reading is stricter than the toolkit where the toolkit would give less protection than the file suggests: a list of names although
//! certificates are optional, a rate limit that rejects every request, or two keys that exclude each other.

mod client_certificate;
mod clients;
mod duration;
mod names;
mod password;
mod pem;
mod tls;

use crate::config::error::ConfigErrors;
use crate::config::field::{Field, MERGE_KEY, Reader, Section};
use crate::config::yaml::{self, Node, NodePath};
use crate::config::{MAX_CONFIG_BYTES, decode, file_error, secret};
use duration::GoDuration;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use password::PasswordHash;
pub use pem::{FileIdentity, MAX_PEM_BYTES, ReadFile};

const TOP_LEVEL_KEYS: &[&str] = &[
    "tls_server_config",
    "http_server_config",
    "basic_auth_users",
    "rate_limit",
];
const HTTP_KEYS: &[&str] = &["http2", "headers"];
const HEADER_KEYS: &[&str] = &[
    "Content-Security-Policy",
    "Strict-Transport-Security",
    "X-Content-Type-Options",
    "X-Frame-Options",
    "X-XSS-Protection",
];
const RATE_LIMIT_KEYS: &[&str] = &["interval", "burst"];
/// The keys whose values are secrets: a private key and password hashes.
const SECRET_KEYS: &[&str] = &["key", "basic_auth_users"];

/// A valid web configuration.
#[derive(Clone, Debug, Default)]
pub struct WebConfig {
    /// TLS for TCP connections; plain HTTP if `None`.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Headers of every response; values contain no control characters.
    pub headers: Vec<(&'static str, String)>,
    /// `None` if there is no limit.
    pub rate_limit: Option<RateLimit>,
    /// The users with access; everybody has access if it is empty.
    pub users: BTreeMap<String, PasswordHash>,
    /// Messages about settings that the exporter ignores or interprets differently.
    pub notes: Vec<String>,
    /// Whether the file is empty.
    pub is_empty: bool,
}

/// A limit for the rate of requests.
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
    /// Returns the result for a file that cannot be read.
    pub fn failed(path: &Path, error: &io::Error) -> Self {
        Self {
            config: Err(file_error(path, &format!("cannot be read: {error}"))),
            files: Vec::new(),
        }
    }
}

impl WebConfig {
    /// Reads the file at `path` (at most 1 MiB) and the files that it names, which are relative to its directory.
    pub fn load(path: &Path) -> WebConfigRead {
        let mut files = Vec::new();
        let bytes = pem::content(path, MAX_CONFIG_BYTES, &mut files);
        let config = decode(bytes, path).and_then(|text| read(&text, path, &mut files));
        WebConfigRead { config, files }
    }
}

impl WebConfig {
    /// Describes the configuration for the output of `check`.
    pub fn describe(&self) -> String {
        let tls = if self.tls.is_some() {
            "TLS"
        } else {
            "plain HTTP"
        };
        let mut text = format!("Serves {tls}");
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

fn read(text: &str, file: &Path, files: &mut Vec<ReadFile>) -> Result<WebConfig, ConfigErrors> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let root = yaml::parse(text).map_err(|error| ConfigErrors::one(file, error))?;
    let directory = file.parent().unwrap_or(Path::new(""));
    let mut reader = Reader::new(secret::find_secrets(&root, SECRET_KEYS));
    let config = reader.web_config(&root, directory, files);
    let errors = ConfigErrors::locate_all(reader.errors, |at| {
        (yaml::location(text, at), at.path.clone())
    });
    ConfigErrors::into_result(errors, Some(file), config)
}

impl Reader {
    /// Reads the whole file. The result is complete only if there are no errors.
    fn web_config(
        &mut self,
        root: &Node,
        directory: &Path,
        files: &mut Vec<ReadFile>,
    ) -> WebConfig {
        let mut config = WebConfig::default();
        if *root == Node::Null {
            config.is_empty = true;
            return config;
        }
        let Some(top) = self.section(root, &NodePath::default(), TOP_LEVEL_KEYS) else {
            return config;
        };
        if let Some(http) = self.section_go(&top, "http_server_config", HTTP_KEYS) {
            // Accepted and without effect: HTTP/2 is not served.
            self.bool_go(&http, "http2");
            if let Some(headers) = self.section_go(&http, "headers", HEADER_KEYS) {
                config.headers = self.headers(&headers);
            }
        }
        config.tls = self.tls(&top, directory, files, &mut config.notes);
        config.rate_limit = self.rate_limit(&top);
        config.users = self.users(&top);
        config
    }

    /// Returns the map at `key`. A key without a value counts as missing, as in Go.
    fn section_go<'n>(
        &mut self,
        parent: &Section<'n>,
        key: &str,
        allowed: &'static [&'static str],
    ) -> Option<Section<'n>> {
        let (node, at) = parent.get(key).filter(|(node, _)| **node != Node::Null)?;
        self.section(node, &at, allowed)
    }

    /// Returns the text at `key`. An empty text counts as missing, as in Go.
    fn string_go(&mut self, fields: &Section<'_>, key: &str) -> Field<String> {
        match fields.get(key) {
            None | Some((Node::Null, _)) => Field::Absent,
            Some((Node::Text(text), _)) if text.is_empty() => Field::Absent,
            Some(_) => self.non_empty(fields, key),
        }
    }

    /// Returns the boolean at `key`. Accepts the words of YAML 1.1, which the toolkit uses.
    fn bool_go(&mut self, fields: &Section<'_>, key: &str) -> Field<bool> {
        match fields.get(key) {
            Some((Node::Null, _)) => Field::Absent,
            Some((Node::Text(text), at)) => match text.to_ascii_lowercase().as_str() {
                "yes" | "on" | "y" => Field::Valid(true, at),
                "no" | "off" | "n" => Field::Valid(false, at),
                _ => self.boolean(fields, key),
            },
            _ => self.boolean(fields, key),
        }
    }

    fn headers(&mut self, fields: &Section<'_>) -> Vec<(&'static str, String)> {
        let mut headers = Vec::new();
        for &name in HEADER_KEYS {
            let Some((node, at)) = fields.get(name) else {
                continue;
            };
            let allowed = match name {
                "X-Frame-Options" => "deny or sameorigin",
                "X-Content-Type-Options" => "nosniff",
                _ => "text of visible ASCII characters and spaces",
            };
            let value = match node {
                Node::Null => continue,
                // `X-XSS-Protection: 1`.
                Node::Text(text) | Node::Number(text) => text,
                _ => {
                    self.wrong_kind(node, &at, allowed);
                    continue;
                }
            };
            let right = match name {
                "X-Frame-Options" => matches!(value.as_str(), "" | "deny" | "sameorigin"),
                "X-Content-Type-Options" => matches!(value.as_str(), "" | "nosniff"),
                _ => value.bytes().all(|byte| (b' '..=b'~').contains(&byte)),
            };
            if !right {
                let text = format!("{} is not valid; allowed: {allowed}", self.quote(value));
                self.error(&at, text);
            } else if !value.is_empty() {
                headers.push((name, value.clone()));
            }
        }
        headers
    }

    fn rate_limit(&mut self, top: &Section<'_>) -> Option<RateLimit> {
        let fields = self.section_go(top, "rate_limit", RATE_LIMIT_KEYS)?;
        let interval = match fields.get("interval") {
            Some((Node::Null, _)) => Field::Absent,
            Some((Node::Number(zero), at)) if zero == "0" => {
                Field::Valid(GoDuration::default(), at)
            }
            Some((Node::Number(number), at)) => {
                // Go reads a number without a unit as nanoseconds, which is never intended.
                let text = format!("{} has no unit", self.quote(number));
                self.error(&at, format!("{text}; allowed: {}", duration::EXPECTED));
                Field::Invalid
            }
            _ => self.value::<GoDuration>(&fields, "interval"),
        };
        let burst = match fields.get("burst") {
            Some((Node::Null, _)) => Field::Absent,
            _ => self.number(&fields, "burst", 0..=1_000_000),
        };
        let Field::Valid(GoDuration(interval), at) = interval else {
            return None;
        };
        if interval.is_zero() {
            return None;
        }
        match burst {
            Field::Valid(burst, _) if burst > 0 => Some(RateLimit { interval, burst }),
            Field::Valid(_, at) => {
                self.error(&at, "`0` would reject every request; allowed: 1 to 1000000");
                None
            }
            Field::Absent => {
                let text = "needs a `burst`, because without it every request is rejected; allowed: a `burst` of 1 to 1000000";
                self.error(&at, text);
                None
            }
            Field::Invalid => None,
        }
    }

    fn users(&mut self, top: &Section<'_>) -> BTreeMap<String, PasswordHash> {
        let mut users = BTreeMap::new();
        let Some((node, at)) = top
            .get("basic_auth_users")
            .filter(|(node, _)| **node != Node::Null)
        else {
            return users;
        };
        let Node::Map(entries) = node else {
            self.wrong_kind(node, &at, "a map of user names to bcrypt hashes");
            return users;
        };
        for (n, (name, hash)) in entries.iter().enumerate() {
            let name = match name {
                Node::Text(name) if name == "<<" => {
                    self.error(&at.key(n), MERGE_KEY);
                    continue;
                }
                Node::Text(name) => name,
                // Go accepts numbers as names. Only integers keep their spelling: `1.10` becomes the number 1.1.
                Node::Number(name) if name.bytes().all(|byte| byte.is_ascii_digit()) => name,
                _ => {
                    let text =
                        format!("a user name is {}, not text; put it in quotes", name.kind());
                    self.error(&at.key(n), text);
                    continue;
                }
            };
            let shown: String = name.chars().flat_map(char::escape_debug).collect();
            let at = at.entry(n, &shown);
            if name.contains(':') || name.chars().any(char::is_control) {
                let text =
                    "is not a valid user name; allowed: text without colons and control characters";
                self.error(&at, text);
            }
            let hash = match hash {
                Node::Text(hash) => hash.parse::<PasswordHash>(),
                other => Err(format!("is {}", other.kind())),
            };
            match hash {
                Ok(hash) => {
                    if users.insert(name.clone(), hash).is_some() {
                        self.error(&at, "is listed twice");
                    }
                }
                Err(reason) => {
                    self.error(&at, format!("{reason}; allowed: {}", password::EXPECTED));
                }
            }
        }
        users
    }
}

/// Resolves `name` relative to `directory`.
fn in_directory(directory: &Path, name: &str) -> PathBuf {
    directory.join(name)
}
