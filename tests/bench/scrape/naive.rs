//! A naive exporter in its own process. Like other exporters, it creates a registry for each scrape, fills a `GaugeVec` for each metric,
//! encodes it with `TextEncoder` and compresses the result. It serves the series of a given exposition.

use crate::support::process::Process;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ACCEPT_ENCODING, CONTENT_ENCODING, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use prometheus::{Encoder, GaugeVec, Opts, Registry, TextEncoder};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::env;
use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use tempfile::NamedTempFile;
use tokio::net::TcpListener;

/// The argument that starts this process as the server, followed by the path of an exposition.
pub const COMMAND: &str = "naive";

pub struct Naive {
    _process: Process,
    pub address: SocketAddr,
}

impl Naive {
    pub fn serving(page: &[u8]) -> Self {
        let mut file = NamedTempFile::new().unwrap();
        file.write_all(page).unwrap();
        let (process, address) = Process::listening(
            Command::new(env::current_exe().unwrap())
                .arg(COMMAND)
                .arg(file.path()),
        );
        Self {
            _process: process,
            address,
        }
    }
}

/// The help text, the label names and the samples of a metric.
#[derive(Default)]
struct Family {
    help: String,
    labels: Vec<String>,
    samples: Vec<(Vec<String>, f64)>,
}

type Families = BTreeMap<String, Family>;

pub fn serve(path: &str) -> ExitCode {
    let families = Arc::new(parse(&fs::read_to_string(path).unwrap()));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        eprintln!("listening address={}", listener.local_addr().unwrap());
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let families = Arc::clone(&families);
            let service = service_fn(move |request| {
                let response = respond(&families, &request);
                async { Ok::<_, Infallible>(response) }
            });
            // The task ends when the benchmark closes the connection.
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    })
}

fn respond(families: &Families, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let page = render(families);
    let accepted = request.headers().get(ACCEPT_ENCODING);
    if accepted.is_none_or(|encoding| encoding != "gzip") {
        return Response::new(Full::new(page.into()));
    }
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(&page).unwrap();
    let mut response = Response::new(Full::new(gzip.finish().unwrap().into()));
    response
        .headers_mut()
        .insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    response
}

fn render(families: &Families) -> Vec<u8> {
    let registry = Registry::new();
    for (name, family) in families {
        let labels: Vec<&str> = family.labels.iter().map(String::as_str).collect();
        let gauges = GaugeVec::new(Opts::new(name, &family.help), &labels).unwrap();
        for (values, value) in &family.samples {
            gauges.with_label_values(values).set(*value);
        }
        registry.register(Box::new(gauges)).unwrap();
    }
    let mut page = Vec::new();
    TextEncoder::new()
        .encode(&registry.gather(), &mut page)
        .unwrap();
    page
}

/// Parses an exposition in the text format. Each series name of a histogram becomes a separate metric.
fn parse(page: &str) -> Families {
    let mut families = Families::new();
    let mut help = "";
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ').unwrap().1;
        } else if !line.starts_with('#') {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let (name, labels) = match series.split_once('{') {
                Some((name, labels)) => (name, labels.strip_suffix("\"}").unwrap()),
                None => (series, ""),
            };
            let family = families.entry(name.to_owned()).or_default();
            help.clone_into(&mut family.help);
            // The generated label values contain no quotes.
            let (names, values) = labels
                .split("\",")
                .filter_map(|label| label.split_once("=\""))
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .unzip();
            family.labels = names;
            family.samples.push((values, value.parse().unwrap()));
        }
    }
    families
}
