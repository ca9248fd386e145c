//! The TLS handshake of an accepted connection, and the log of rejected client certificates.

use super::connection::TimedSocket;
use parking_lot::Mutex;
use rustls::{CertificateError, Error, ServerConfig};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// The response to plain HTTP, for example from a browser or from a scraper without `scheme: https`.
const PLAIN_HTTP_RESPONSE: &[u8] =
    b"HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n\
    This port speaks HTTPS. Use https:// instead of http://.\n";

/// How often each reason is logged: a rejected scraper tries again with each scrape.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// When each reason was last logged.
#[derive(Debug, Default)]
pub struct RejectionLog(Mutex<BTreeMap<&'static str, Instant>>);

impl RejectionLog {
    fn log(&self, peer: Option<SocketAddr>, reason: &'static str) {
        let mut logged = self.0.lock();
        let last = logged.get(reason);
        if last.is_none_or(|at| at.elapsed() >= LOG_INTERVAL) {
            logged.insert(reason, Instant::now());
            let address = peer.map_or_else(|| "unknown".to_owned(), |peer| peer.to_string());
            tracing::info!(address, reason, "rejected client certificate");
        }
    }
}

/// Returns the reason if the handshake failed because of the client certificate. The texts are fixed, so clients cannot inject text
/// into the log, and the number of reasons is bounded.
fn rejection_reason(error: &io::Error) -> Option<&'static str> {
    let certificate = match error.get_ref()?.downcast_ref()? {
        Error::NoCertificatesPresented => return Some("the client sent no certificate"),
        Error::InvalidCertificate(certificate) => certificate,
        _ => return None,
    };
    Some(match certificate {
        CertificateError::UnknownIssuer => "issued by an unknown authority",
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "not valid yet"
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "its extended key usage does not allow client authentication"
        }
        CertificateError::ApplicationVerificationFailure => {
            "no name of the certificate is in client_allowed_sans"
        }
        CertificateError::BadSignature
        | CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "a signature is invalid (possibly by another authority of the same name), or its algorithm or key size is not supported"
        }
        _ => {
            "not an X.509 v3 end-entity certificate (to accept a self-signed CA certificate, list it in client_ca_file)"
        }
    })
}

/// Returns `None` if the handshake failed or if the client speaks plain HTTP.
pub async fn accept(
    mut socket: TimedSocket,
    peer: Option<SocketAddr>,
    config: Arc<ServerConfig>,
    log: &RejectionLog,
) -> Option<TlsStream<TimedSocket>> {
    let first = socket.peek().await;
    let is_plain_http = first.is_ok_and(|first| first.is_ascii_uppercase());
    let mut socket = if is_plain_http {
        socket.write_all(PLAIN_HTTP_RESPONSE).await.ok()?;
        socket
    } else {
        let acceptor = TlsAcceptor::from(config);
        match acceptor.accept(socket).into_fallible().await {
            Ok(stream) => return Some(stream),
            Err((error, socket)) => {
                if let Some(reason) = rejection_reason(&error) {
                    log.log(peer, reason);
                }
                tracing::debug!(%error, "TLS handshake failed");
                socket
            }
        }
    };
    // This discards the client's input. Otherwise a client that is still sending could not read the response or the TLS alert.
    socket.shutdown().await.ok();
    None
}
