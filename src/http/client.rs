//! The HTTP client of `health`: a health check for images without a shell or curl.

use crate::files::{self, FileWorker};
use crate::toolkit::web_config::MAX_PEM_BYTES;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, HOST, HeaderValue};
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use percent_encoding::percent_decode_str;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

/// A health check that takes longer has failed.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(5);
/// The default path for a Unix socket.
const DEFAULT_PATH: &str = "/-/healthy";

/// Why a health check failed.
#[derive(Debug, thiserror::Error)]
pub enum HealthError {
    /// The URL is not supported.
    #[error(
        "`{0}` is not a supported URL; allowed: http://host:port/path, https://host:port/path, unix:/socket or unix:/socket:/path, with a \
         percent-encoded user:password@ before the host if needed"
    )]
    Url(String),
    /// The trusted certificates cannot be loaded.
    #[error("{0}")]
    TrustStore(String),
    /// The server sent no response.
    #[error("no response: {0}")]
    NoResponse(String),
    /// The status is not a success.
    #[error("the server responded with {0}")]
    Status(StatusCode),
}

/// The server to connect to.
enum Target {
    Plain(String),
    Tls(String, ServerName<'static>, Arc<ClientConfig>),
    Unix(PathBuf),
}

/// Requests `url` once and expects a success status. With `https` the certificate must be issued by an authority in `ca_file`, or by
/// default by one that the system trusts. For a loopback address without a `ca_file` every certificate is accepted, because nobody
/// can intercept the connection.
///
/// # Errors
/// Returns the reason if the server is not healthy.
pub async fn check(url: &str, ca_file: Option<&Path>) -> Result<(), HealthError> {
    let invalid_url = || HealthError::Url(redacted(url));
    let (target, host, path, userinfo) = if let Some(socket) = url.strip_prefix("unix:") {
        if !socket.starts_with('/') {
            return Err(invalid_url());
        }
        // The syntax of nginx: the socket, a colon and the path.
        let (socket, path) = match socket.split_once(":/") {
            Some((socket, path)) => (socket, format!("/{path}")),
            None => (socket, DEFAULT_PATH.to_owned()),
        };
        let target = Target::Unix(PathBuf::from(socket));
        (target, "localhost".to_owned(), path, None)
    } else {
        let uri: Uri = url.parse().map_err(|_| invalid_url())?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(invalid_url());
        };
        let (userinfo, host_and_port) = match authority.as_str().rsplit_once('@') {
            Some((userinfo, host)) => (Some(userinfo.to_owned()), host),
            // For example, a slash in the password ends the authority too early.
            None if url.contains('@') => return Err(invalid_url()),
            None => (None, authority.as_str()),
        };
        let host = authority.host();
        let address = |port| format!("{host}:{}", authority.port_u16().unwrap_or(port));
        let target = match scheme {
            "http" => Target::Plain(address(80)),
            "https" => {
                let name = host.trim_start_matches('[').trim_end_matches(']');
                let server = ServerName::try_from(name.to_owned()).map_err(|_| invalid_url())?;
                let (name, ca_file) = (name.to_owned(), ca_file.map(Path::to_owned));
                let config = FileWorker::default()
                    .run(move || tls_config(&name, ca_file.as_deref()))
                    .await
                    .map_err(|error| HealthError::TrustStore(error.to_string()))?;
                Target::Tls(address(443), server, Arc::new(config?))
            }
            _ => return Err(invalid_url()),
        };
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        (target, host_and_port.to_owned(), path.to_owned(), userinfo)
    };
    let mut request = Request::get(path).header(HOST, host);
    if let Some(userinfo) = userinfo {
        request = request.header(AUTHORIZATION, basic(&userinfo).ok_or_else(invalid_url)?);
    }
    let request = request
        .body(Empty::<Bytes>::new())
        .map_err(|_| invalid_url())?;
    let status = tokio::time::timeout(HEALTH_TIMEOUT, target.request(request))
        .await
        .unwrap_or_else(|_| Err(format!("timed out after {} s", HEALTH_TIMEOUT.as_secs())))
        .map_err(HealthError::NoResponse)?;
    if status.is_success() {
        Ok(())
    } else {
        Err(HealthError::Status(status))
    }
}

/// Returns the URL without its user and password, even if the URL is invalid.
pub fn redacted(url: &str) -> String {
    match url.rsplit_once('@') {
        Some((before, host)) if !url.starts_with("unix:") => match before.split_once("://") {
            Some((scheme @ ("http" | "https"), _)) => format!("{scheme}://***@{host}"),
            _ => format!("***@{host}"),
        },
        _ => url.to_owned(),
    }
}

fn basic(userinfo: &str) -> Option<HeaderValue> {
    let (user, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
    let credentials: Vec<u8> = percent_decode_str(user)
        .chain([b':'])
        .chain(percent_decode_str(password))
        .collect();
    let encoded = BASE64_STANDARD.encode(credentials);
    let mut value = HeaderValue::try_from(format!("Basic {encoded}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

impl Target {
    async fn request(self, request: Request<Empty<Bytes>>) -> Result<StatusCode, String> {
        match self {
            Self::Plain(address) => send_request(tcp(&address).await?, request).await,
            Self::Tls(address, server, config) => {
                let connector = TlsConnector::from(config);
                let stream = connector
                    .connect(server, tcp(&address).await?)
                    .await
                    .map_err(|error| format!("the TLS handshake with {address}: {error}"))?;
                send_request(stream, request).await
            }
            Self::Unix(path) => {
                let socket = UnixStream::connect(&path).await.map_err(|error| {
                    format!("connecting to the socket {}: {error}", path.display())
                })?;
                send_request(socket, request).await
            }
        }
    }
}

async fn tcp(address: &str) -> Result<TcpStream, String> {
    TcpStream::connect(address)
        .await
        .map_err(|error| format!("connecting to {address}: {error}"))
}

async fn send_request(
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Empty<Bytes>>,
) -> Result<StatusCode, String> {
    let describe = |error: hyper::Error| {
        // The sources have the cause, for example that the server requires a client certificate.
        let mut message = format!("sending the request: {error}");
        let mut source = std::error::Error::source(&error);
        while let Some(error) = source {
            message += &format!(": {error}");
            source = error.source();
        }
        message
    };
    let (mut sender, connection) = http1::handshake(TokioIo::new(io)).await.map_err(describe)?;
    let mut response = pin!(sender.send_request(request));
    let response = tokio::select! {
        biased;
        // If both fail, the error of the connection has the cause.
        ended = connection => match ended {
            Ok(()) => response.await,
            Err(error) => Err(error),
        },
        response = response.as_mut() => response,
    };
    Ok(response.map_err(describe)?.status())
}

fn tls_config(host: &str, ca_file: Option<&Path>) -> Result<ClientConfig, HealthError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let trust_error = |message: String| HealthError::TrustStore(message);
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| trust_error(error.to_string()))?;
    let is_loopback = host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
    if is_loopback && ca_file.is_none() {
        let verifier = Arc::new(NoVerification(provider));
        return Ok(builder
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth());
    }
    let certificates = match ca_file {
        Some(file) => {
            let read_error = |error: &dyn fmt::Display| {
                trust_error(format!("reading {}: {error}", file.display()))
            };
            let bytes = files::read(file, MAX_PEM_BYTES).map_err(|error| read_error(&error))?;
            CertificateDer::pem_slice_iter(&bytes)
                .collect::<Result<Vec<_>, _>>()
                .map_err(|error| read_error(&error))?
        }
        None => rustls_native_certs::load_native_certs().certs,
    };
    let mut roots = RootCertStore::empty();
    if roots.add_parsable_certificates(certificates).0 == 0 {
        let from = ca_file.map_or_else(
            || "the system's trust store".to_owned(),
            |file| file.display().to_string(),
        );
        return Err(trust_error(format!("{from}: no CA certificate found")));
    }
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// Accepts every certificate, but the server must prove that it has the private key.
#[derive(Debug)]
struct NoVerification(Arc<CryptoProvider>);

impl ServerCertVerifier for NoVerification {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
