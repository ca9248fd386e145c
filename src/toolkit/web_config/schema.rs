//! The keys of the web configuration file.

use super::clients::ClientAuth;
use super::names::{Curve, MaxVersion, MinVersion, Suite};
use crate::toolkit::yaml::{
    Checked, Field, Format, List, NonEmpty, Value, ValueError, Whole, parse_duration,
};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

pub(super) const FORMAT: Format = Format {
    secret_keys: &["key", "basic_auth_users"],
    empty_is_absent: true,
};

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Root {
    pub(super) tls_server_config: Field<TlsKeys>,
    pub(super) http_server_config: Field<HttpKeys>,
    pub(super) basic_auth_users: Field<BTreeMap<String, Value<PasswordHash>>>,
    pub(super) rate_limit: Field<RateLimitKeys>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct TlsKeys {
    pub(super) cert: Value<NonEmpty>,
    pub(super) cert_file: Value<NonEmpty>,
    pub(super) key: Value<NonEmpty>,
    pub(super) key_file: Value<NonEmpty>,
    pub(super) client_auth_type: Field<ClientAuth>,
    pub(super) client_ca: Value<NonEmpty>,
    pub(super) client_ca_file: Value<NonEmpty>,
    pub(super) client_allowed_sans: List<NonEmpty>,
    pub(super) min_version: Field<MinVersion>,
    pub(super) max_version: Field<MaxVersion>,
    pub(super) cipher_suites: List<Suite>,
    pub(super) prefer_server_cipher_suites: Field<bool>,
    pub(super) curve_preferences: List<Curve>,
}

impl TlsKeys {
    /// Go then serves plain HTTP.
    pub(super) fn is_empty(&self) -> bool {
        let texts = [
            &self.cert,
            &self.cert_file,
            &self.key,
            &self.key_file,
            &self.client_ca,
            &self.client_ca_file,
        ];
        texts.into_iter().all(Field::is_absent)
            && self.client_auth_type.is_absent()
            && self.client_allowed_sans.is_absent()
            && self.min_version.is_absent()
            && self.max_version.is_absent()
            && self.cipher_suites.is_absent()
            && self.prefer_server_cipher_suites.is_absent()
            && self.curve_preferences.is_absent()
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct HttpKeys {
    /// Accepted and without effect: HTTP/2 is not served.
    #[serde(rename = "http2")]
    pub(super) _http2: Field<bool>,
    pub(super) headers: Field<HeaderKeys>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct HeaderKeys {
    #[serde(rename = "Content-Security-Policy")]
    pub(super) content_security_policy: Value<HeaderText>,
    #[serde(rename = "Strict-Transport-Security")]
    pub(super) strict_transport_security: Value<HeaderText>,
    #[serde(rename = "X-Content-Type-Options")]
    pub(super) content_type_options: Value<HeaderText>,
    #[serde(rename = "X-Frame-Options")]
    pub(super) frame_options: Value<HeaderText>,
    #[serde(rename = "X-XSS-Protection")]
    pub(super) xss_protection: Value<HeaderText>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct RateLimitKeys {
    pub(super) interval: Value<GoDuration>,
    pub(super) burst: Field<Whole<u32, 0, 1_000_000>>,
}

pub(super) struct HeaderText(pub(super) String);

impl Checked for HeaderText {
    const EXPECTED: &'static str = "text of visible ASCII characters and spaces";
    // `X-XSS-Protection: 0`
    const MAY_BE_NUMBER: bool = true;
}

impl FromStr for HeaderText {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        if text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
            Ok(Self(text.to_owned()))
        } else {
            Err(ValueError::of::<Self>("is not valid"))
        }
    }
}

/// The units of Go's durations, in seconds. Go accepts both characters for micro.
const GO_UNITS: [(&str, f64); 8] = [
    ("h", 3_600.0),
    ("m", 60.0),
    ("s", 1.0),
    ("ms", 1e-3),
    ("us", 1e-6),
    ("µs", 1e-6),
    ("μs", 1e-6),
    ("ns", 1e-9),
];

pub(super) struct GoDuration(pub(super) Duration);

impl Checked for GoDuration {
    const EXPECTED: &'static str =
        "0, or a duration in h, m, s, ms, us, ns, largest unit first, such as 1s, 500ms, 1m30s";
    const MAY_BE_NUMBER: bool = true;
}

impl FromStr for GoDuration {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        if text == "0" {
            return Ok(Self(Duration::ZERO));
        }
        let duration = parse_duration(text, &GO_UNITS);
        duration.map(Self).map_err(ValueError::of::<Self>)
    }
}

/// At cost 18, checking one password takes many seconds of CPU time, and each further step doubles it.
const MAX_COST: u32 = 18;

/// A valid bcrypt hash. It prints as `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(String);

impl PasswordHash {
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl Checked for PasswordHash {
    const EXPECTED: &'static str =
        "a bcrypt hash of 60 characters, such as $2y$10$…, with a cost of 4 to 18";
}

impl FromStr for PasswordHash {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let why = match text.parse::<bcrypt::HashParts>() {
            Err(_) => "is not a bcrypt hash".to_owned(),
            Ok(parts) => match parts.get_cost() {
                4..=MAX_COST => return Ok(Self(text.to_owned())),
                cost => format!("has a cost of {cost}"),
            },
        };
        Err(ValueError::of::<Self>(why))
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
