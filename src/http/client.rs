//! The HTTP client of `health`: a health check for images without a shell or curl.

use crate::toolkit::files;
use crate::toolkit::web_config::MAX_PEM_BYTES;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, HOST};
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use percent_encoding::percent_decode_str;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::error::Error;
use std::fmt::Display;
use std::net::IpAddr;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use std::{io, iter};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

const HEALTH_TIMEOUT: Duration = Duration::from_secs(5);

struct Target {
    transport: Transport,
    /// The host and the port, or the path of a Unix socket.
    address: String,
    host: String,
    request: Request<Empty<Bytes>>,
}

#[derive(PartialEq)]
enum Transport {
    Plain,
    Tls,
    Unix,
}

/// Expects a success status. Without `ca_file`, a loopback address may have any certificate: nobody can intercept the connection.
pub async fn check(url: &str, ca_file: Option<&Path>) -> Result<(), String> {
    let target = Target::parse(url).ok_or_else(|| {
        format!(
            "`{}` is not a supported URL; allowed: http://host:port/path, https://host:port/path, unix:/socket or unix:/socket:/path, \
             with a percent-encoded user:password@ before the host if needed",
            redacted(url)
        )
    })?;
    let is_tls = target.transport == Transport::Tls;
    let tls = is_tls.then(|| tls_config(&target.host, ca_file));
    let sending = target.send(tls.transpose()?);
    let status = tokio::time::timeout(HEALTH_TIMEOUT, sending)
        .await
        .unwrap_or_else(|_| Err(format!("timed out after {} s", HEALTH_TIMEOUT.as_secs())))
        .map_err(|error| format!("no response: {error}"))?;
    let failed = || format!("the server responded with {status}");
    status.is_success().then_some(()).ok_or_else(failed)
}

/// Hides the user and the password, even if the URL is invalid.
pub fn redacted(url: &str) -> String {
    match url.rsplit_once('@') {
        Some((before, host)) if !url.starts_with("unix:") => match before.split_once("://") {
            Some((scheme @ ("http" | "https"), _)) => format!("{scheme}://***@{host}"),
            _ => format!("***@{host}"),
        },
        _ => url.to_owned(),
    }
}

impl Target {
    fn parse(url: &str) -> Option<Self> {
        if let Some(socket) = url.strip_prefix("unix:") {
            // The syntax of nginx: the socket, a colon and the path.
            let (socket, path) = match socket.split_once(":/") {
                Some((socket, path)) => (socket, format!("/{path}")),
                None => (socket, "/-/healthy".to_owned()),
            };
            let over_tcp = Self::parse(&format!("http://localhost{path}"))?;
            return socket.starts_with('/').then(|| Self {
                transport: Transport::Unix,
                address: socket.to_owned(),
                ..over_tcp
            });
        }
        let uri: Uri = url.parse().ok()?;
        let authority = uri.authority()?;
        let (transport, default_port) = match uri.scheme_str()? {
            "http" => (Transport::Plain, 80),
            "https" => (Transport::Tls, 443),
            _ => return None,
        };
        let (userinfo, host_and_port) = match authority.as_str().rsplit_once('@') {
            Some((userinfo, host)) => (Some(userinfo), host),
            // For example, a slash in the password ends the authority too early.
            None if url.contains('@') => return None,
            None => (None, authority.as_str()),
        };
        let mut request = Request::get(uri.path_and_query()?.as_str()).header(HOST, host_and_port);
        if let Some(userinfo) = userinfo {
            request = request.header(AUTHORIZATION, basic(userinfo));
        }
        let host = authority.host();
        let port = authority.port_u16().unwrap_or(default_port);
        Some(Self {
            transport,
            address: format!("{host}:{port}"),
            host: host.trim_matches(['[', ']']).to_owned(),
            request: request.body(Empty::new()).ok()?,
        })
    }

    async fn send(self, tls: Option<ClientConfig>) -> Result<StatusCode, String> {
        let (address, request) = (self.address, self.request);
        let connecting = |error| format!("connecting to {address}: {error}");
        if self.transport == Transport::Unix {
            let socket = UnixStream::connect(&address).await.map_err(connecting)?;
            return send(socket, request).await;
        }
        let socket = TcpStream::connect(&address).await.map_err(connecting)?;
        let Some(tls) = tls else {
            return send(socket, request).await;
        };
        let handshake = |error| format!("the TLS handshake with {address}: {error}");
        let name = ServerName::try_from(self.host);
        let name = name.map_err(|error| handshake(io::Error::other(error)))?;
        let connector = TlsConnector::from(Arc::new(tls));
        let stream = connector.connect(name, socket).await.map_err(handshake)?;
        send(stream, request).await
    }
}

async fn send(
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Empty<Bytes>>,
) -> Result<StatusCode, String> {
    let handshake = http1::handshake(TokioIo::new(io)).await;
    let (mut sender, connection) = handshake.map_err(|error| describe(&error))?;
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
    Ok(response.map_err(|error| describe(&error))?.status())
}

/// The sources have the cause, for example that the server requires a client certificate.
fn describe(error: &hyper::Error) -> String {
    let mut message = format!("sending the request: {error}");
    for source in iter::successors(error.source(), |error| (*error).source()) {
        message += &format!(": {source}");
    }
    message
}

fn basic(userinfo: &str) -> String {
    let (user, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
    let [user, password] = [user, password].map(percent_decode_str);
    let credentials: Vec<u8> = user.chain([b':']).chain(password).collect();
    format!("Basic {}", BASE64_STANDARD.encode(credentials))
}

fn tls_config(host: &str, ca_file: Option<&Path>) -> Result<ClientConfig, String> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let is_loopback = host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
    if is_loopback && ca_file.is_none() {
        let verifier = NoVerification(provider.signature_verification_algorithms);
        let builder = builder.dangerous();
        let builder = builder.with_custom_certificate_verifier(Arc::new(verifier));
        return Ok(builder.with_no_client_auth());
    }
    let certificates = match ca_file {
        Some(file) => {
            let reading = |error: &dyn Display| format!("reading {}: {error}", file.display());
            let bytes = files::read(file, MAX_PEM_BYTES).map_err(|error| reading(&error))?;
            CertificateDer::pem_slice_iter(&bytes)
                .collect::<Result<Vec<_>, _>>()
                .map_err(|error| reading(&error))?
        }
        None => rustls_native_certs::load_native_certs().certs,
    };
    let mut roots = RootCertStore::empty();
    if roots.add_parsable_certificates(certificates).0 == 0 {
        let from = ca_file.map_or("the system's trust store".into(), Path::to_string_lossy);
        return Err(format!("{from}: no CA certificate found"));
    }
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

#[derive(Debug)]
struct NoVerification(WebPkiSupportedAlgorithms);

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
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
