//! Services on this machine that answer as they are told to: AWS STS above all.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use crate::support::{SECRET_KEY, SOON};

pub const ROLE: &str = "arn:aws:iam::111122223333:role/reader";
/// What STS hands out for a role.
pub const ASSUMED_KEY: &str = "ASIAASSUMED";
/// Where a request's access key id stands beside its form.
pub const ACCESS_KEY: &str = "(access key id)";

/// The form or query of a request.
pub type Asked = BTreeMap<String, String>;
/// Status, media type and body.
pub type Answer = (u16, &'static str, String);
type Answering = Box<dyn Fn(&Asked) -> Answer + Send>;
/// Until when the credentials are good, or an error's code and message.
pub type Outcome = Result<&'static str, (&'static str, &'static str)>;

/// A service on this machine that answers as it is told to.
pub struct Double {
    addr: SocketAddr,
    answering: Arc<Mutex<Answering>>,
}

impl Double {
    pub fn start(answering: impl Fn(&Asked) -> Answer + Send + 'static) -> Self {
        Self::at(([127, 0, 0, 1], 0).into(), answering)
    }

    pub fn at(addr: SocketAddr, answering: impl Fn(&Asked) -> Answer + Send + 'static) -> Self {
        let listener = TcpListener::bind(addr).unwrap();
        let double = Self {
            addr: listener.local_addr().unwrap(),
            answering: Arc::new(Mutex::new(Box::new(answering))),
        };
        let answering = Arc::clone(&double.answering);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                // One that goes away has had its answer, or is none of ours.
                let _ = answer(stream.unwrap(), &answering);
            }
        });
        double
    }

    /// One that never answers whoever comes first.
    pub fn hanging_once(answering: impl Fn(&Asked) -> Answer + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let double = Self {
            addr: listener.local_addr().unwrap(),
            answering: Arc::new(Mutex::new(Box::new(answering))),
        };
        let answering = Arc::clone(&double.answering);
        std::thread::spawn(move || {
            let mut streams = listener.incoming();
            let _first = streams.next();
            for stream in streams {
                let _ = answer(stream.unwrap(), &answering);
            }
        });
        double
    }

    /// The two operations of STS that assume a role.
    pub fn sts(outcome: impl Fn(&Asked) -> Outcome + Send + 'static) -> Self {
        Self::start(move |asked| sts_answer(asked, outcome(asked)))
    }

    pub fn now_does(&self, outcome: impl Fn(&Asked) -> Outcome + Send + 'static) {
        *self.answering.lock().unwrap() = Box::new(move |asked| sts_answer(asked, outcome(asked)));
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }
}

/// An operation that assumes a role.
pub fn sts_answer(asked: &Asked, outcome: Outcome) -> Answer {
    let action = &asked["Action"];
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

/// Who AWS knows the caller as.
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

/// One request on one connection.
fn answer(mut stream: TcpStream, answering: &Mutex<Answering>) -> std::io::Result<()> {
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
    let form = String::from_utf8(body).unwrap();
    let query = target.split([' ', '?']).nth(2).unwrap_or_default();
    let asked: Asked = form
        .split('&')
        .chain(query.split('&'))
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| {
            let value = value.replace("%3A", ":").replace("%2F", "/");
            (name.to_owned(), value)
        })
        .chain([(ACCESS_KEY.to_owned(), access_key)])
        .collect();
    let (status, media_type, body) = (answering.lock().unwrap())(&asked);
    write!(
        stream,
        "HTTP/1.1 {status} .\r\nContent-Type: {media_type}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}
