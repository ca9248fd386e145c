//! A server with a web configuration, and TLS clients for it.

use crate::support::account::{Bench, FakeAccount, arn, watches};
use crate::support::certificates::{self, Authority, Identity};
use glue_integration_exporter::http::routes::{Routes, start_counters};
use glue_integration_exporter::http::{self, Limits};
use glue_integration_exporter::snapshot::Status;
use glue_integration_exporter::toolkit::access::AccessControl;
use glue_integration_exporter::toolkit::listen::Address;
use glue_integration_exporter::toolkit::watchdog::Watchdog;
use glue_integration_exporter::toolkit::web_config::WebConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
};
use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::time::Instant;

/// A normal scrape must be served within this time, whatever other clients do.
pub const MAX_SCRAPE_TIME: Duration = Duration::from_secs(1);
/// The timeout for events that a server limit of some hundred milliseconds causes, on a busy machine.
pub const TIMEOUT: Duration = Duration::from_secs(15);
pub const NO_TIMEOUT: Duration = Duration::from_secs(3600);
pub const TLS: &str = "tls_server_config: {cert_file: server.crt, key_file: server.key}\n";

/// Returns limits with timeouts that no test reaches.
pub fn without_timeouts() -> Limits {
    Limits {
        connections: 512,
        large_responses: 512,
        head: NO_TIMEOUT,
        accept_grace: Duration::ZERO,
        idle: NO_TIMEOUT,
        write_stall: NO_TIMEOUT,
        response: NO_TIMEOUT,
        linger: Duration::from_millis(500),
    }
}

pub struct Server {
    pub addr: String,
    pub bench: Bench,
    pub authority: Authority,
    pub access: Arc<AccessControl>,
    /// The number of successful and of failed rereads of the web configuration.
    pub rereads: Arc<[AtomicUsize; 2]>,
    directory: TempDir,
    runtime: Option<Runtime>,
}

impl Server {
    pub fn start(web: &str) -> Self {
        Self::with(web, without_timeouts(), 1)
    }

    /// Serves a page with this many integrations.
    pub fn with(web: &str, limits: Limits, integrations: usize) -> Self {
        let directory = TempDir::new().unwrap();
        let authority = Authority::new("authority");
        certificates::write(directory.path(), &authority);
        let file = directory.path().join("web.yml");
        fs::write(&file, web).unwrap();
        let loaded = WebConfig::load(&file);
        let config = loaded.config.unwrap_or_else(|wrong| panic!("{wrong}"));
        let access =
            AccessControl::new(&file, config, loaded.files, web.contains("# probes exempt"));
        let access = Arc::new(access.unwrap());
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let (bench, listener) = runtime.block_on(async {
            let bench = Bench::new(&watches("scopes: [{name: lake, regions: [eu-west-1]}]"));
            let address: Address = "127.0.0.1:0".parse().unwrap();
            (bench, address.bind().await.unwrap())
        });
        let addr = listener.address();
        start_counters(&bench.telemetry, "/metrics", true);
        let routes = Routes {
            access: Some(Arc::clone(&access)),
            ..bench.routes()
        };
        let stop = bench.stop.clone();
        runtime.spawn(http::serve(
            vec![listener],
            routes,
            limits,
            Watchdog::default(),
            stop,
        ));
        let rereads: Arc<[AtomicUsize; 2]> = Arc::default();
        let (watching, counted, stop) = (
            Arc::clone(&access),
            Arc::clone(&rereads),
            bench.stop.clone(),
        );
        runtime.spawn(async move {
            let count = |succeeded: bool| {
                counted[usize::from(!succeeded)].fetch_add(1, Ordering::SeqCst);
            };
            watching.watch(count, stop).await;
        });
        let server = Self {
            addr,
            bench,
            authority,
            access,
            rereads,
            directory,
            runtime: Some(runtime),
        };
        server.poll(integrations);
        server
    }

    /// Runs a poll that returns this many integrations.
    fn poll(&self, integrations: usize) {
        let account = FakeAccount::new();
        for number in 0..integrations {
            account.put(&arn(number), Status::Active);
        }
        let watch = &watches("scopes: [{name: lake, regions: [eu-west-1]}]")[0];
        assert!(
            self.runtime()
                .block_on(self.bench.poller(watch, &account).poll())
        );
        self.bench.publisher.publish_now();
    }

    pub fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().unwrap()
    }

    /// Replaces a file atomically, as most programs do.
    pub fn write(&self, name: &str, text: &str) {
        let new = self.directory.path().join("new");
        fs::write(&new, text).unwrap();
        fs::rename(new, self.directory.path().join(name)).unwrap();
    }

    pub fn remove(&self, name: &str) {
        fs::remove_file(self.directory.path().join(name)).unwrap();
    }

    pub fn socket(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.addr).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        stream.set_write_timeout(Some(TIMEOUT)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// Returns a client that trusts the authority of the server.
    pub fn client(&self) -> Client {
        Client {
            provider: aws_lc_rs::default_provider(),
            versions: rustls::ALL_VERSIONS,
            authority: self.authority.pem(),
            identity: None,
            protocols: vec!["http/1.1"],
        }
    }

    /// Asserts that a normal scrape gets the page in time.
    pub fn assert_serves(&self, during: &str) {
        let start = Instant::now();
        let response = self.client().get(&self.addr, "/metrics", "").unwrap();
        let took = start.elapsed();
        assert_eq!(response.status, 200, "{during}");
        assert!(took < MAX_SCRAPE_TIME, "{during}: a scrape took {took:?}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.bench.stop.cancel();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

pub type Stream = StreamOwned<ClientConnection, TcpStream>;

pub struct Client {
    pub provider: CryptoProvider,
    pub versions: &'static [&'static SupportedProtocolVersion],
    pub authority: String,
    pub identity: Option<Identity>,
    pub protocols: Vec<&'static str>,
}

#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub head: String,
}

impl Client {
    pub fn config(&self) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        let authority = CertificateDer::from_pem_slice(self.authority.as_bytes()).unwrap();
        roots.add(authority).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(self.provider.clone()))
            .with_protocol_versions(self.versions)
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match &self.identity {
            Some(identity) => {
                let certificate = CertificateDer::from_pem_slice(identity.certificate.as_bytes());
                let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
                builder
                    .with_client_auth_cert(vec![certificate.unwrap()], key)
                    .unwrap()
            }
            None => builder.with_no_client_auth(),
        };
        let protocols = self.protocols.iter();
        config.alpn_protocols = protocols.map(|name| name.as_bytes().to_vec()).collect();
        config
    }

    /// Connects and completes the handshake, at least on the client side.
    pub fn connect(&self, addr: &str) -> io::Result<Stream> {
        self.connect_over(TcpStream::connect(addr)?)
    }

    pub fn connect_over(&self, mut socket: TcpStream) -> io::Result<Stream> {
        let name = "localhost".try_into().unwrap();
        let mut connection = ClientConnection::new(Arc::new(self.config()), name).unwrap();
        socket.set_read_timeout(Some(TIMEOUT))?;
        socket.set_write_timeout(Some(TIMEOUT))?;
        socket.set_nodelay(true)?;
        while connection.is_handshaking() {
            connection.complete_io(&mut socket)?;
        }
        Ok(StreamOwned::new(connection, socket))
    }

    /// Sends one request on a new connection.
    pub fn get(&self, addr: &str, path: &str, headers: &str) -> io::Result<Response> {
        let mut stream = self.connect(addr)?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{headers}\r\n"
        )?;
        let mut response = String::new();
        stream.read_to_string(&mut response)?;
        Ok(Response::parse(&response))
    }
}

impl Response {
    pub fn parse(text: &str) -> Self {
        let (head, _) = text.split_once("\r\n\r\n").unwrap();
        Self {
            status: head.split(' ').nth(1).unwrap().parse().unwrap(),
            head: head.to_ascii_lowercase(),
        }
    }
}

/// Returns true if the server closes the connection before a read times out.
pub fn is_closed(stream: &mut impl Read) -> bool {
    let mut bytes = [0; 4096];
    loop {
        match stream.read(&mut bytes) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => {
                let timed_out = [io::ErrorKind::WouldBlock, io::ErrorKind::TimedOut];
                return !timed_out.contains(&error.kind());
            }
        }
    }
}

pub fn wait_until(what: &str, mut happened: impl FnMut() -> bool) {
    let start = Instant::now();
    while !happened() {
        assert!(start.elapsed() < TIMEOUT, "not within {TIMEOUT:?}: {what}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}
