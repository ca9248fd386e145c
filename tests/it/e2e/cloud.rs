//! Fake AWS endpoints: a proxy that answers for every host name, over TLS too, so that the exporter uses the real host names. It also
//! serves as a metadata service without a proxy. It issues its own certificates.

mod asked;

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_smithy_types::date_time::{DateTime, Format};
use glue_integration_exporter::clock::Clock;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::e2e::support::Setup;

pub use asked::Request;
use asked::read;

/// Longer than the exporter keeps an idle connection.
const IDLE: Duration = Duration::from_secs(60);

/// Returns the time this many seconds from now, in AWS's format.
pub fn in_seconds(seconds: f64) -> String {
    DateTime::from_secs_f64((Clock::system().unix_now() + seconds).floor())
        .fmt(Format::DateTime)
        .unwrap()
}

pub struct Answer {
    pub status: u16,
    pub media_type: &'static str,
    /// Additional header lines.
    pub headers: &'static str,
    pub body: String,
}

impl Answer {
    pub fn json(body: impl Into<String>) -> Self {
        Self {
            status: 200,
            media_type: "application/x-amz-json-1.1",
            headers: "",
            body: body.into(),
        }
    }

    pub fn text(status: u16, body: impl Into<String>) -> Self {
        Self {
            status,
            media_type: "text/plain",
            headers: "",
            body: body.into(),
        }
    }

    /// A page of Glue with these integrations, all ACTIVE.
    pub fn integrations(arns: &[String]) -> Self {
        let items: Vec<String> = arns
            .iter()
            .map(|arn| {
                let of = |service: &str| arn.replace(":glue:", &format!(":{service}:"));
                format!(
                    "{{\"IntegrationArn\":\"{arn}\",\"SourceArn\":\"{}\",\"TargetArn\":\"{arn}-target\",\"Status\":\"ACTIVE\",\
                     \"CreateTime\":1700000000}}",
                    of("dynamodb")
                )
            })
            .collect();
        Self::json(format!("{{\"InboundIntegrations\":[{}]}}", items.join(",")))
    }

    /// An error in the format of Glue.
    pub fn glue_error(code: &str, message: &str) -> Self {
        Self {
            status: 400,
            ..Self::json(format!(
                "{{\"__type\":\"{code}\",\"Message\":\"{message}\"}}"
            ))
        }
    }
}

impl From<crate::e2e::doubles::Answer> for Answer {
    fn from((status, media_type, body): crate::e2e::doubles::Answer) -> Self {
        Self {
            status,
            media_type,
            headers: "",
            body,
        }
    }
}

type Answering = dyn Fn(&Request) -> Answer + Send + Sync;

/// The fake endpoints.
pub struct Cloud {
    addr: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    answering: Box<Answering>,
    requests: Mutex<Vec<Arc<Request>>>,
    issuer: CertifiedIssuer<'static, KeyPair>,
    /// The TLS configuration of each host.
    tls: Mutex<HashMap<String, Arc<ServerConfig>>>,
}

impl Cloud {
    pub fn start(answering: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
        let shared = Arc::new(Shared {
            answering: Box::new(answering),
            requests: Mutex::default(),
            issuer,
            tls: Mutex::default(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let serving = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, serving) = (stream.unwrap(), Arc::clone(&serving));
                // An error means that the client has closed the connection.
                std::thread::spawn(move || serving.serve(stream));
            }
        });
        Self { addr, shared }
    }

    /// Sets the environment so that all requests are sent to these endpoints.
    pub fn around(&self, setup: Setup) -> Setup {
        let setup = setup.file("authority.pem", &self.authority());
        let path = setup.path("authority.pem").display().to_string();
        setup
            .env("SSL_CERT_FILE", &path)
            .env("HTTPS_PROXY", &self.url())
    }

    /// Returns the CA certificate as PEM.
    pub fn authority(&self) -> String {
        self.shared.issuer.pem()
    }

    /// Returns the URL, for use as an endpoint or a proxy.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Returns all answered requests in the order of their arrival.
    pub fn requests(&self) -> Vec<Arc<Request>> {
        self.requests_to("")
    }

    /// Returns the requests to hosts with this prefix.
    pub fn requests_to(&self, host: &str) -> Vec<Arc<Request>> {
        let requests = self.shared.requests.lock().unwrap();
        let of_host = requests
            .iter()
            .filter(|request| request.host.starts_with(host));
        of_host.cloned().collect()
    }
}

impl Shared {
    fn serve(&self, mut stream: TcpStream) -> std::io::Result<()> {
        stream.set_read_timeout(Some(IDLE))?;
        stream.set_nodelay(true)?;
        let mut reader = BufReader::new(stream.try_clone()?);
        let Some(first) = read(&mut reader, "")? else {
            return Ok(());
        };
        if first.method != "CONNECT" {
            return self.converse(&mut reader, &mut stream, Some(first));
        }
        let host = first.path.trim_end_matches(":443").to_owned();
        stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
        let tls = ServerConnection::new(self.tls(&host)).unwrap();
        let mut inside = BufReader::new(StreamOwned::new(tls, stream));
        while let Some(request) = read(&mut inside, &host)? {
            let answer = self.answer(request);
            inside.get_mut().write_all(answer.as_bytes())?;
        }
        Ok(())
    }

    fn converse(
        &self,
        reader: &mut impl BufRead,
        writer: &mut impl Write,
        mut next: Option<Request>,
    ) -> std::io::Result<()> {
        while let Some(request) = next {
            writer.write_all(self.answer(request).as_bytes())?;
            next = read(reader, "")?;
        }
        Ok(())
    }

    fn answer(&self, request: Request) -> String {
        let answer = (self.answering)(&request);
        self.requests.lock().unwrap().push(Arc::new(request));
        let Answer {
            status,
            media_type,
            headers,
            body,
        } = answer;
        format!(
            "HTTP/1.1 {status} .\r\nContent-Type: {media_type}\r\nContent-Length: {}\r\n{headers}\r\n{body}",
            body.len()
        )
    }

    fn tls(&self, host: &str) -> Arc<ServerConfig> {
        let mut known = self.tls.lock().unwrap();
        let config = known.entry(host.to_owned()).or_insert_with(|| {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new(vec![host.to_owned()]).unwrap();
            let certificate = params.signed_by(&key, &self.issuer).unwrap();
            let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
            let config = ServerConfig::builder()
                .with_no_client_auth()
                .with_single_cert(vec![certificate.der().clone()], key)
                .unwrap();
            Arc::new(config)
        });
        Arc::clone(config)
    }
}
