//! A received request and its signature.

use std::collections::BTreeMap;
use std::io::BufRead;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4::SigningParams;
use aws_smithy_types::date_time::{DateTime, Format};
use tokio::time::Instant;

/// One request.
#[derive(Clone, Debug)]
pub struct Request {
    pub at: Instant,
    /// The host of the CONNECT request to the proxy, or else of the request itself.
    pub host: String,
    pub method: String,
    pub path: String,
    /// Header names in lower case.
    pub headers: BTreeMap<String, String>,
    /// CBOR is not text, and nothing reads it here.
    pub body: String,
}

/// The signature of a request. Empty if it is not signed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signed {
    pub access_key_id: String,
    pub region: String,
    pub service: String,
    /// Empty for long-term keys.
    pub session_token: String,
}

impl Request {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// Returns the fields of a form.
    pub fn form(&self) -> BTreeMap<String, String> {
        let pairs = self.body.split('&').filter_map(|pair| pair.split_once('='));
        pairs
            .map(|(name, value)| {
                let value = value.replace("%3A", ":").replace("%2F", "/");
                (name.to_owned(), value)
            })
            .collect()
    }

    /// Returns a field of the form, or an empty string.
    pub fn field(&self, name: &str) -> String {
        self.form().remove(name).unwrap_or_default()
    }

    pub fn signed(&self) -> Signed {
        let authorization = self.header("authorization");
        let Some((_, credential)) = authorization.split_once("Credential=") else {
            return Signed::default();
        };
        let credential = credential.split(',').next().unwrap();
        let &[key, _date, region, service, "aws4_request"] =
            credential.split('/').collect::<Vec<_>>().as_slice()
        else {
            panic!("{authorization}");
        };
        Signed {
            access_key_id: key.to_owned(),
            region: region.to_owned(),
            service: service.to_owned(),
            session_token: self.header("x-amz-security-token").to_owned(),
        }
    }

    /// Returns true if the signature of the received request is valid for this secret key.
    pub fn is_signed_with(&self, secret_key: &str) -> bool {
        let signed = self.signed();
        let authorization = self.header("authorization");
        let part = |name: &str| {
            let (_, rest) = authorization.split_once(name).unwrap_or_default();
            rest.split(',').next().unwrap_or_default()
        };
        let token = Some(signed.session_token).filter(|token| !token.is_empty());
        let keys = Credentials::new(signed.access_key_id, secret_key, token, None, "test").into();
        let params = SigningParams::builder()
            .identity(&keys)
            .region(&signed.region)
            .name(&signed.service)
            .time(parse_time(self.header("x-amz-date")))
            .settings(SigningSettings::default())
            .build()
            .unwrap()
            .into();
        // Signing adds the other headers.
        let headers = part("SignedHeaders=")
            .split(';')
            .filter(|name| !["host", "x-amz-date", "x-amz-security-token"].contains(name))
            .map(|name| (name, self.header(name)));
        let url = format!("https://{}{}", self.header("host"), self.path);
        let body = SignableBody::Bytes(self.body.as_bytes());
        let request = SignableRequest::new(&self.method, url, headers, body).unwrap();
        sign(request, &params).unwrap().signature() == part("Signature=")
    }
}

/// Parses a time such as `20150830T123600Z`.
fn parse_time(basic: &str) -> SystemTime {
    let digits = |range| basic.get(range).unwrap_or_default();
    let text = format!(
        "{}-{}-{}T{}:{}:{}Z",
        digits(0..4),
        digits(4..6),
        digits(6..8),
        digits(9..11),
        digits(11..13),
        digits(13..15)
    );
    DateTime::from_str(&text, Format::DateTime)
        .and_then(|time| {
            SystemTime::try_from(time).map_err(|_| unreachable!("a time within four digits"))
        })
        .unwrap_or(UNIX_EPOCH)
}

/// Reads the next request on a connection to `host`. Returns None at its end.
pub(super) fn read(reader: &mut impl BufRead, host: &str) -> std::io::Result<Option<Request>> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split(' ');
    let (Some(method), Some(target)) = (words.next(), words.next()) else {
        return Ok(None);
    };
    let (method, mut path) = (method.to_owned(), target.to_owned());
    let mut host = host.to_owned();
    let mut headers = BTreeMap::new();
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length");
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    reader.read_exact(&mut body)?;
    if let Some(rest) = path.strip_prefix("http://") {
        // The request is for a proxy.
        let (name, rest) = rest.split_once('/').unwrap();
        (host, path) = (name.to_owned(), format!("/{rest}"));
    } else if host.is_empty() && method != "CONNECT" {
        host = headers.get("host").cloned().unwrap_or_default();
    }
    Ok(Some(Request {
        at: Instant::now(),
        host,
        method,
        path,
        headers,
        body: String::from_utf8_lossy(&body).into_owned(),
    }))
}
