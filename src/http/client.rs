//! The one request that this program makes itself: of a health check, in images without a shell or curl.

use crate::config::web::MAX_PEM_BYTES;
use crate::files::{self, FileWorker};
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

/// A health check that takes longer has failed, whatever would have come.
const PATIENCE: Duration = Duration::from_secs(5);
/// The path that is requested over a Unix socket if the URL names none.
const HEALTHY: &str = "/-/healthy";

/// Why a health check failed.
#[derive(Debug)]
pub enum HealthError {
    /// The URL cannot be asked.
    Url(String),
    /// There is nothing to know the server's certificate by.
    Authorities(String),
    /// Nobody answered.
    NoAnswer(String),
    Status(StatusCode),
}

impl fmt::Display for HealthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(url) => write!(
                f,
                "`{url}` cannot be asked; allowed: http://host:port/path, https://host:port/path, unix:/socket or unix:/socket:/path; \
                before the host may stand user:password@, percent-encoded"
            ),
            Self::Authorities(why) => f.write_str(why),
            Self::NoAnswer(why) => write!(f, "no answer: {why}"),
            Self::Status(status) => write!(f, "the answer was {status}"),
        }
    }
}

impl std::error::Error for HealthError {}

/// Whom to ask.
enum Target {
    Plain(String),
    Tls(String, ServerName<'static>, Arc<ClientConfig>),
    Unix(PathBuf),
}

/// Asks `url` once; any status of success is healthy. With `https` the certificate must be issued by one of the authorities in
/// `ca_file`, or else by one that the system trusts. On a loopback address any certificate will do without a `ca_file`: nothing
/// secret is asked, and nobody is in between.
///
/// # Errors
/// Says why it is not.
pub async fn check(url: &str, ca_file: Option<&Path>) -> Result<(), HealthError> {
    let bad = || HealthError::Url(redacted(url));
    let (target, host, path, userinfo) = if let Some(socket) = url.strip_prefix("unix:") {
        if !socket.starts_with('/') {
            return Err(bad());
        }
        // As nginx writes it: the socket, a colon and the path.
        let (socket, path) = match socket.split_once(":/") {
            Some((socket, path)) => (socket, format!("/{path}")),
            None => (socket, HEALTHY.to_owned()),
        };
        let target = Target::Unix(PathBuf::from(socket));
        (target, "localhost".to_owned(), path, None)
    } else {
        let uri: Uri = url.parse().map_err(|_| bad())?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(bad());
        };
        let (userinfo, host_and_port) = match authority.as_str().rsplit_once('@') {
            Some((userinfo, host)) => (Some(userinfo.to_owned()), host),
            // A password with a slash, for one, ends the host too early.
            None if url.contains('@') => return Err(bad()),
            None => (None, authority.as_str()),
        };
        let host = authority.host();
        let address = |port| format!("{host}:{}", authority.port_u16().unwrap_or(port));
        let target = match scheme {
            "http" => Target::Plain(address(80)),
            "https" => {
                let name = host.trim_start_matches('[').trim_end_matches(']');
                let server = ServerName::try_from(name.to_owned()).map_err(|_| bad())?;
                let (name, ca_file) = (name.to_owned(), ca_file.map(Path::to_owned));
                let trust = FileWorker::default()
                    .run(move || trust(&name, ca_file.as_deref()))
                    .await
                    .map_err(|error| HealthError::Authorities(error.to_string()))?;
                let trust = Arc::new(trust?);
                Target::Tls(address(443), server, trust)
            }
            _ => return Err(bad()),
        };
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        (target, host_and_port.to_owned(), path.to_owned(), userinfo)
    };
    let mut request = Request::get(path).header(HOST, host);
    if let Some(userinfo) = userinfo {
        request = request.header(AUTHORIZATION, basic(&userinfo).ok_or_else(bad)?);
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(|_| bad())?;
    let status = tokio::time::timeout(PATIENCE, target.ask(request))
        .await
        .unwrap_or_else(|_| Err(format!("it took longer than {} s", PATIENCE.as_secs())))
        .map_err(HealthError::NoAnswer)?;
    if status.is_success() {
        Ok(())
    } else {
        Err(HealthError::Status(status))
    }
}

/// The URL without a user and a password, whatever is wrong with it.
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
    async fn ask(self, request: Request<Empty<Bytes>>) -> Result<StatusCode, String> {
        match self {
            Self::Plain(address) => ask(tcp(&address).await?, request).await,
            Self::Tls(address, server, trust) => {
                let connector = TlsConnector::from(trust);
                let stream = connector
                    .connect(server, tcp(&address).await?)
                    .await
                    .map_err(|error| format!("the TLS handshake with {address}: {error}"))?;
                ask(stream, request).await
            }
            Self::Unix(path) => {
                let socket = UnixStream::connect(&path).await.map_err(|error| {
                    format!("connecting to the socket {}: {error}", path.display())
                })?;
                ask(socket, request).await
            }
        }
    }
}

async fn tcp(address: &str) -> Result<TcpStream, String> {
    TcpStream::connect(address)
        .await
        .map_err(|error| format!("connecting to {address}: {error}"))
}

async fn ask(
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Empty<Bytes>>,
) -> Result<StatusCode, String> {
    let talking = |error: hyper::Error| {
        // At its end is what happened: that the server wants a certificate, for one.
        let mut why = format!("talking to it: {error}");
        let mut source = std::error::Error::source(&error);
        while let Some(error) = source {
            why += &format!(": {error}");
            source = error.source();
        }
        why
    };
    let (mut sender, connection) = http1::handshake(TokioIo::new(io)).await.map_err(talking)?;
    let mut asked = pin!(sender.send_request(request));
    let response = tokio::select! {
        biased;
        // It knows best why there is no answer.
        ended = connection => match ended {
            Ok(()) => asked.await,
            Err(error) => Err(error),
        },
        response = asked.as_mut() => response,
    };
    Ok(response.map_err(talking)?.status())
}

fn trust(host: &str, ca_file: Option<&Path>) -> Result<ClientConfig, HealthError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let unusable = |why: String| HealthError::Authorities(why);
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(error.to_string()))?;
    let is_loopback = host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
    if is_loopback && ca_file.is_none() {
        let anybody = Arc::new(NoVerification(provider));
        return Ok(builder
            .dangerous()
            .with_custom_certificate_verifier(anybody)
            .with_no_client_auth());
    }
    let certificates = match ca_file {
        Some(file) => {
            let failed =
                |error: &dyn fmt::Display| unusable(format!("reading {}: {error}", file.display()));
            let bytes = files::read(file, MAX_PEM_BYTES).map_err(|error| failed(&error))?;
            CertificateDer::pem_slice_iter(&bytes)
                .collect::<Result<Vec<_>, _>>()
                .map_err(|error| failed(&error))?
        }
        None => rustls_native_certs::load_native_certs().certs,
    };
    let mut roots = RootCertStore::empty();
    if roots.add_parsable_certificates(certificates).0 == 0 {
        let from = ca_file.map_or_else(
            || "the system's authorities".to_owned(),
            |file| file.display().to_string(),
        );
        return Err(unusable(format!("{from}: no certificate of an authority")));
    }
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// Takes any certificate, whose owner must have its key all the same.
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
