//! Test doubles of HTTP services, above all of AWS STS.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use crate::e2e::support::{SECRET_KEY, SOON};

pub const ROLE: &str = "arn:aws:iam::111122223333:role/reader";
/// The access key ID that STS returns for a role.
pub const ASSUMED_KEY: &str = "ASIAASSUMED";
/// The key of `Form` that holds the request's access key ID.
pub const ACCESS_KEY: &str = "(access key id)";

/// The form or query of a request.
pub type Form = BTreeMap<String, String>;
/// Status, media type and body.
pub type Answer = (u16, &'static str, String);
type Handler = Box<dyn Fn(&Form) -> Answer + Send>;
/// The expiry of the credentials, or an error's code and message.
pub type Outcome = Result<&'static str, (&'static str, &'static str)>;

/// An HTTP service whose handler the test supplies.
pub struct Double {
    addr: SocketAddr,
    handler: Arc<Mutex<Handler>>,
}

impl Double {
    pub fn start(handler: impl Fn(&Form) -> Answer + Send + 'static) -> Self {
        Self::at(([127, 0, 0, 1], 0).into(), handler)
    }

    pub fn at(addr: SocketAddr, handler: impl Fn(&Form) -> Answer + Send + 'static) -> Self {
        let listener = TcpListener::bind(addr).unwrap();
        let double = Self {
            addr: listener.local_addr().unwrap(),
            handler: Arc::new(Mutex::new(Box::new(handler))),
        };
        let handler = Arc::clone(&double.handler);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                // An error means that the client has disconnected.
                let _ = respond(stream.unwrap(), &handler);
            }
        });
        double
    }

    /// Starts a service that never responds to the first connection.
    pub fn hanging_once(handler: impl Fn(&Form) -> Answer + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let double = Self {
            addr: listener.local_addr().unwrap(),
            handler: Arc::new(Mutex::new(Box::new(handler))),
        };
        let handler = Arc::clone(&double.handler);
        std::thread::spawn(move || {
            let mut streams = listener.incoming();
            let _first = streams.next();
            for stream in streams {
                let _ = respond(stream.unwrap(), &handler);
            }
        });
        double
    }

    /// Starts an STS that serves the two operations that assume a role.
    pub fn sts(outcome: impl Fn(&Form) -> Outcome + Send + 'static) -> Self {
        Self::start(move |form| sts_answer(form, outcome(form)))
    }

    pub fn now_does(&self, outcome: impl Fn(&Form) -> Outcome + Send + 'static) {
        *self.handler.lock().unwrap() = Box::new(move |form| sts_answer(form, outcome(form)));
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }
}

/// Returns the response of an operation that assumes a role.
pub fn sts_answer(form: &Form, outcome: Outcome) -> Answer {
    let action = &form["Action"];
    match outcome {
        Ok(expiration) => (
            200,
            "text/xml",
            format!(
                "<{action}Response><{action}Result><Credentials><AccessKeyId>{ASSUMED_KEY}</AccessKeyId>\
                 <SecretAccessKey>{SECRET_KEY}</SecretAccessKey><SessionToken>session-token-value</SessionToken>\
                 <Expiration>{expiration}</Expiration></Credentials><AssumedRoleUser><AssumedRoleId>A:b</AssumedRoleId>\
                 <Arn>{ROLE}</Arn></AssumedRoleUser></{action}Result></{action}Response>"
            ),
        ),
        Err((code, message)) => sts_error(code, message),
    }
}

pub fn sts_error(code: &str, message: &str) -> Answer {
    (
        403,
        "text/xml",
        format!(
            "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>\
             <RequestId>sts-request</RequestId></ErrorResponse>"
        ),
    )
}

/// Returns the response of GetCallerIdentity.
pub fn sts_caller(arn: &str) -> Answer {
    (
        200,
        "text/xml",
        format!(
            "<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>{arn}</Arn><UserId>A</UserId>\
             <Account>111122223333</Account></GetCallerIdentityResult></GetCallerIdentityResponse>"
        ),
    )
}

/// Serves one request on one connection.
fn respond(mut stream: TcpStream, handler: &Mutex<Handler>) -> std::io::Result<()> {
    stream.set_read_timeout(Some(SOON))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut target = String::new();
    reader.read_line(&mut target)?;
    let mut length = 0;
    let mut access_key = String::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if let Some((_, signed)) = line.split_once("Credential=") {
            signed
                .split('/')
                .next()
                .unwrap()
                .clone_into(&mut access_key);
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let encoded = String::from_utf8(body).unwrap();
    let query = target.split([' ', '?']).nth(2).unwrap_or_default();
    let form: Form = encoded
        .split('&')
        .chain(query.split('&'))
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| {
            let value = value.replace("%3A", ":").replace("%2F", "/");
            (name.to_owned(), value)
        })
        .chain([(ACCESS_KEY.to_owned(), access_key)])
        .collect();
    let (status, media_type, body) = (handler.lock().unwrap())(&form);
    write!(
        stream,
        "HTTP/1.1 {status} .\r\nContent-Type: {media_type}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}
