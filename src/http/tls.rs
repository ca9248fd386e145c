//! From a TCP connection to one that is encrypted.

use super::pace::Paced;
use rustls::ServerConfig;
use std::io;
use std::sync::Arc;
use tokio::io::AsyncWriteExt;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// To who speaks plain HTTP: a person with a browser, or a scraper whose `scheme` is missing.
const NOT_TLS: &[u8] =
    b"HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n\
    This port speaks HTTPS: ask for https:// instead of http://.\n";

/// The handshake. None if it failed, which the client knows best, or if the client did not begin one.
pub async fn accept(mut socket: Paced, config: Arc<ServerConfig>) -> Option<TlsStream<Paced>> {
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

async fn tell(socket: &mut Paced) -> io::Result<()> {
    socket.write_all(NOT_TLS).await?;
    socket.shutdown().await
}

/// It was agreed to speak HTTP/2.
pub fn is_http2(stream: &TlsStream<Paced>) -> bool {
    stream.get_ref().1.alpn_protocol() == Some(b"h2")
}
