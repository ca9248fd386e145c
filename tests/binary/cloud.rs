//! All of AWS on this machine: a proxy that plays whatever host is behind it, over TLS as well, so that the program asks for the names
//! that it would ask for anywhere, and metadata services that are asked directly. Certificates are its own.

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

use crate::support::Setup;

pub use asked::Asked;
use asked::read;

/// Longer than the program keeps a connection that it does not use.
const IDLE: Duration = Duration::from_secs(60);

/// Seconds from now, as AWS writes it.
pub fn in_seconds(seconds: f64) -> String {
    DateTime::from_secs_f64((Clock::system().unix_now() + seconds).floor())
        .fmt(Format::DateTime)
        .unwrap()
}

pub struct Answer {
    pub status: u16,
    pub media_type: &'static str,
    /// Further header lines.
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

    /// A page of Glue's with these integrations, all of them ACTIVE.
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

    /// An error as Glue says it.
    pub fn glue_error(code: &str, message: &str) -> Self {
        Self {
            status: 400,
            ..Self::json(format!(
                "{{\"__type\":\"{code}\",\"Message\":\"{message}\"}}"
            ))
        }
    }
}

impl From<crate::double::Answer> for Answer {
    fn from((status, media_type, body): crate::double::Answer) -> Self {
        Self {
            status,
            media_type,
            headers: "",
            body,
        }
    }
}

type Answering = dyn Fn(&Asked) -> Answer + Send + Sync;

/// All that AWS is.
pub struct Cloud {
    addr: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    answering: Box<Answering>,
    asked: Mutex<Vec<Arc<Asked>>>,
    issuer: CertifiedIssuer<'static, KeyPair>,
    /// For each host.
    tls: Mutex<HashMap<String, Arc<ServerConfig>>>,
}

impl Cloud {
    pub fn start(answering: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
        let shared = Arc::new(Shared {
            answering: Box::new(answering),
            asked: Mutex::default(),
            issuer,
            tls: Mutex::default(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let serving = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, serving) = (stream.unwrap(), Arc::clone(&serving));
                // One that goes away has had its answer.
                std::thread::spawn(move || serving.serve(stream));
            }
        });
        Self { addr, shared }
    }

    /// Everything that is asked for by the environment's means is asked for here.
    pub fn around(&self, setup: Setup) -> Setup {
        let setup = setup.file("authority.pem", &self.authority());
        let path = setup.path("authority.pem").display().to_string();
        setup
            .env("SSL_CERT_FILE", &path)
            .env("HTTPS_PROXY", &self.url())
    }

    /// Who its certificates are issued by, as PEM.
    pub fn authority(&self) -> String {
        self.shared.issuer.pem()
    }

    /// For what is asked without a proxy, or as one.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// All requests that were answered, in the order in which they came.
    pub fn asked(&self) -> Vec<Arc<Asked>> {
        self.asked_of("")
    }

    /// What was asked of hosts whose names begin so.
    pub fn asked_of(&self, host: &str) -> Vec<Arc<Asked>> {
        let asked = self.shared.asked.lock().unwrap();
        let of_host = asked.iter().filter(|asked| asked.host.starts_with(host));
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
        while let Some(asked) = read(&mut inside, &host)? {
            let answer = self.answer(asked);
            inside.get_mut().write_all(answer.as_bytes())?;
        }
        Ok(())
    }

    fn converse(
        &self,
        reader: &mut impl BufRead,
        writer: &mut impl Write,
        mut next: Option<Asked>,
    ) -> std::io::Result<()> {
        while let Some(asked) = next {
            writer.write_all(self.answer(asked).as_bytes())?;
            next = read(reader, "")?;
        }
        Ok(())
    }

    fn answer(&self, asked: Asked) -> String {
        let answer = (self.answering)(&asked);
        self.asked.lock().unwrap().push(Arc::new(asked));
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
