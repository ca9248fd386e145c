//! From a TCP connection to one that is encrypted.

use super::timeouts::Timed;
use rustls::{CertificateError, Error, ServerConfig};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// To who speaks plain HTTP: a person with a browser, or a scraper whose `scheme` is missing.
const NOT_TLS: &[u8] =
    b"HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n\
    This port speaks HTTPS: ask for https:// instead of http://.\n";

/// A scraper that is refused tries again with each scrape.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// When client certificates were last logged as refused, for each reason.
#[derive(Debug, Default)]
pub struct RefusalLog(Mutex<BTreeMap<&'static str, Instant>>);

impl RefusalLog {
    fn refused(&self, peer: Option<SocketAddr>, reason: &'static str) {
        if self.is_due(reason) {
            let address = peer.map_or_else(|| "unknown".to_owned(), |peer| peer.to_string());
            tracing::info!(address, reason, "client certificate refused");
        }
    }

    fn is_due(&self, reason: &'static str) -> bool {
        let now = Instant::now();
        let mut logged = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = logged.get(reason);
        let due = before.is_none_or(|at| now.duration_since(*at) >= LOG_INTERVAL);
        if due {
            logged.insert(reason, now);
        }
        due
    }
}

/// Why the client's certificate was refused, if that is why the handshake failed. The texts are fixed, so that clients cannot
/// write into the log and there are only so many reasons.
fn refusal(error: &io::Error) -> Option<&'static str> {
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
            "none of its names is in client_allowed_sans"
        }
        CertificateError::BadSignature
        | CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "a signature does not match (another authority of the same name?), or its algorithm or key size is not supported"
        }
        _ => {
            "not an end-entity certificate of X.509 v3 (client_ca_file must list a self-signed one that may sign others)"
        }
    })
}

/// The handshake. None if it failed, which the client knows best, or if the client did not begin one.
pub async fn accept(
    mut socket: Timed,
    config: Arc<ServerConfig>,
    log: &RefusalLog,
) -> Option<TlsStream<Timed>> {
    let peer = socket.peer();
    let first = match socket.peek().await {
        Ok(first) => first,
        Err(error) => {
            failed(&error);
            return None;
        }
    };
    if first.is_ascii_uppercase() {
        tell(&mut socket).await.ok();
        return None;
    }
    match TlsAcceptor::from(config)
        .accept(socket)
        .into_fallible()
        .await
    {
        Ok(stream) => Some(stream),
        Err((error, mut socket)) => {
            if let Some(reason) = refusal(&error) {
                log.refused(peer, reason);
            }
            failed(&error);
            // What it was told, it would not get to read if it were still sending.
            socket.shutdown().await.ok();
            None
        }
    }
}

fn failed(error: &io::Error) {
    tracing::debug!(%error, "a TLS handshake failed");
}

async fn tell(socket: &mut Timed) -> io::Result<()> {
    socket.write_all(NOT_TLS).await?;
    socket.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn refusal_log_repeats_a_reason_after_a_minute() {
        let log = RefusalLog::default();
        assert!(log.is_due("expired"));
        assert!(!log.is_due("expired"));
        assert!(log.is_due("not valid yet"));
        tokio::time::advance(LOG_INTERVAL - Duration::from_millis(1)).await;
        assert!(!log.is_due("expired"));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(log.is_due("expired"));
        assert!(!log.is_due("expired"));
    }
}
