//! The one request that this program makes itself: of a health check, in images without a shell or curl.

use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use std::fmt;
use std::time::Duration;
use tokio::net::TcpStream;

/// A health check that takes longer has failed, whatever would have come.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why a health check failed.
#[derive(Debug)]
pub enum Unhealthy {
    /// The URL cannot be asked.
    Url(String),
    /// Nobody answered.
    NoAnswer(String),
    Status(StatusCode),
}

impl fmt::Display for Unhealthy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(url) => write!(f, "`{url}` cannot be asked; allowed: http://host:port/path"),
            Self::NoAnswer(why) => write!(f, "no answer: {why}"),
            Self::Status(status) => write!(f, "the answer was {status}"),
        }
    }
}

impl std::error::Error for Unhealthy {}

/// Asks `url` once; any status of success is healthy.
///
/// # Errors
/// Says why it is not.
pub async fn check(url: &str) -> Result<(), Unhealthy> {
    let bad = || Unhealthy::Url(url.to_owned());
    let uri: Uri = url.parse().map_err(|_| bad())?;
    let (Some("http"), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(bad());
    };
    let address = format!(
        "{}:{}",
        authority.host(),
        authority.port_u16().unwrap_or(80)
    );
    let request = Request::get(uri.path_and_query().map_or("/", |path| path.as_str()))
        .header(HOST, authority.as_str())
        .body(Empty::<Bytes>::new())
        .map_err(|_| bad())?;
    let answer = async {
        let socket = TcpStream::connect(&address)
            .await
            .map_err(|error| format!("connecting to {address}: {error}"))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(socket))
            .await
            .map_err(|error| format!("talking to {address}: {error}"))?;
        let connection = tokio::spawn(connection);
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| format!("talking to {address}: {error}"))?;
        connection.abort();
        Ok(response.status())
    };
    let status = tokio::time::timeout(PATIENCE, answer)
        .await
        .unwrap_or_else(|_| {
            Err(format!(
                "{address} took longer than {} s",
                PATIENCE.as_secs()
            ))
        })
        .map_err(Unhealthy::NoAnswer)?;
    if status.is_success() {
        Ok(())
    } else {
        Err(Unhealthy::Status(status))
    }
}
