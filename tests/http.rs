//! Clients that behave badly, one by one and many at a time, against the server in this process with short limits. After each, a
//! client that behaves well must be answered within a second, and nothing may have been logged.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use glue_integration_exporter::http::listen::Address;
use glue_integration_exporter::http::routes::{Routes, start_counters};
use glue_integration_exporter::http::shared_responses::SharedResponses;
use glue_integration_exporter::http::{self, Limits};
use glue_integration_exporter::site::Renderer;
use glue_integration_exporter::snapshot::Status;
use glue_integration_exporter::watchdog::Watchdog;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::ops::Range;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use support::account::{Bench, FakeAccount, arn, watches};
use tokio::runtime::Runtime;
use tokio::time::Instant;
use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

/// Within this a client that behaves well is answered, whatever others do.
const WELL: Duration = Duration::from_secs(1);
/// For what a limit of some hundred milliseconds ends, on a machine that is busy.
const SOON: Duration = Duration::from_secs(15);
const NEVER: Duration = Duration::from_secs(3600);
/// A page of this many integrations has about 20 MB.
const MANY: usize = 8_000;

/// No limit in time is ever reached.
fn patient() -> Limits {
    Limits {
        connections: 512,
        head: NEVER,
        arrival: Duration::ZERO,
        idle: NEVER,
        stuck: NEVER,
        answer: NEVER,
        closing: SOON,
    }
}

struct Server {
    addr: String,
    bench: Bench,
    runtime: Option<Runtime>,
}

impl Server {
    /// Serves a page with so many integrations; without any, the first poll is not over.
    fn start(integrations: usize, limits: Limits) -> Self {
        Self::with_scrapes(integrations, limits, SharedResponses::default())
    }

    fn with_scrapes(integrations: usize, limits: Limits, scrapes: SharedResponses) -> Self {
        listen_to_the_log();
        allow_many_files();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let (bench, listener) = runtime.block_on(async {
            let bench = Bench::new(&watches("scopes: [{name: lake, regions: [eu-west-1]}]"));
            (
                bench,
                "127.0.0.1:0".parse::<Address>().unwrap().bind().await,
            )
        });
        let listener = listener.unwrap();
        let addr = listener.address();
        start_counters(&bench.telemetry, "/metrics");
        let routes = Routes {
            publisher: Arc::clone(&bench.publisher),
            telemetry: Arc::clone(&bench.telemetry),
            clock: bench.clock.clone(),
            scrapes,
            telemetry_path: "/metrics".to_owned(),
            site: Renderer::default(),
            access: None,
            reload: None,
            stop: bench.stop.clone(),
        };
        runtime.spawn(http::serve(
            vec![listener],
            Arc::new(routes),
            limits,
            Watchdog::none(),
            bench.stop.clone(),
        ));
        let server = Self {
            addr,
            bench,
            runtime: Some(runtime),
        };
        if integrations > 0 {
            server.poll(integrations);
        }
        server
    }

    /// The first poll brings so many.
    fn poll(&self, integrations: usize) {
        self.poll_numbers(0..integrations);
    }

    /// A poll brings those with these numbers.
    fn poll_numbers(&self, numbers: Range<usize>) {
        let account = FakeAccount::new();
        for number in numbers {
            account.put(&arn(number), Status::Active);
        }
        let watch = &watches("scopes: [{name: lake, regions: [eu-west-1]}]")[0];
        let runtime = self.runtime.as_ref().unwrap();
        assert!(runtime.block_on(self.bench.poller(watch, &account).poll()));
        self.bench.publisher.publish_now();
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.addr).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream
    }

    /// A connection over which this was sent.
    fn sent(&self, request: impl AsRef<[u8]>) -> TcpStream {
        let mut stream = self.connect();
        stream.write_all(request.as_ref()).unwrap();
        stream
    }

    /// A client that behaves well gets the whole page in time.
    fn serves_well(&self, during: &str) {
        let start = Instant::now();
        let mut stream = self.sent(SCRAPE_AND_CLOSE);
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let took = start.elapsed();
        let answer = String::from_utf8(answer).unwrap();
        let (head, page) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 "), "{during}: {head}");
        let length = format!("content-length: {}\r\n", page.len());
        assert!(head.contains(&length), "{during}: {head}");
        assert!(took < WELL, "{during}: a scrape took {took:?}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.bench.stop.cancel();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
        if !std::thread::panicking() {
            assert_eq!(*log().lock().unwrap(), [""; 0]);
        }
    }
}

const SCRAPE: &str = "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n";
const SCRAPE_AND_CLOSE: &str = "GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
/// What becomes of a connection after its answers.
#[derive(Clone, Copy, PartialEq)]
enum Then {
    Kept,
    Closed,
}
use Then::{Closed, Kept};

/// What is sent, the statuses of the answers, and what becomes of the connection.
struct Row(&'static str, Vec<u8>, &'static [u16], Then);

fn rows() -> Vec<Row> {
    let request = |line: &str, headers: &str| {
        format!("{line} HTTP/1.1\r\nHost: a\r\n{headers}\r\n").into_bytes()
    };
    let get = |headers: &str| request("GET /metrics", headers);
    let long = |bytes: usize| "a".repeat(bytes);
    let headers = |count: usize| -> String { (0..count).map(|n| format!("x{n}: \r\n")).collect() };
    vec![
        Row(
            "a head of 64 KB",
            get(&format!("x: {}\r\n", long(65_536))),
            &[431],
            Closed,
        ),
        Row(
            "a head of 8 KB",
            get(&format!("x: {}\r\n", long(8_192))),
            &[200],
            Kept,
        ),
        Row("10,000 headers", get(&headers(10_000)), &[431], Closed),
        Row("65 headers", get(&headers(64)), &[431], Closed),
        Row("64 headers", get(&headers(63)), &[200], Kept),
        Row(
            "a URI of 20 KB",
            request(&format!("GET /{}", long(20_000)), ""),
            &[431],
            Closed,
        ),
        Row(
            "a URI of 10 KB",
            request(&format!("GET /{}", long(10_000)), ""),
            &[404],
            Kept,
        ),
        Row(
            "a query of 10 KB",
            request(&format!("GET /metrics?{}", long(10_000)), ""),
            &[200],
            Kept,
        ),
        Row(
            "a whole URL",
            request("GET http://a:1/metrics", ""),
            &[200],
            Kept,
        ),
        Row(
            "a whole URL, broken",
            request("GET http://[a/metrics", ""),
            &[400],
            Closed,
        ),
        Row("no slash", request("GET metrics", ""), &[404], Kept),
        Row(
            "NUL in the path",
            request("GET /met\0rics", ""),
            &[400],
            Closed,
        ),
        Row(
            "no UTF-8 in the path",
            b"GET /\xff\xfe HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
            &[400],
            Closed,
        ),
        Row("NUL in a header", get("x: \0\r\n"), &[400], Closed),
        Row(
            "an unknown method",
            request("BREW /metrics", ""),
            &[405],
            Kept,
        ),
        Row(
            "a method of 10 KB",
            request(&format!("{} /metrics", long(10_000)), ""),
            &[405],
            Kept,
        ),
        Row("CONNECT", request("CONNECT a:443", ""), &[404], Kept),
        Row("OPTIONS *", request("OPTIONS *", ""), &[404], Kept),
        Row("TRACE", request("TRACE /metrics", ""), &[405], Kept),
        Row(
            "an upgrade",
            get("Connection: upgrade\r\nUpgrade: h2c\r\n"),
            &[200],
            Kept,
        ),
        Row(
            "HTTP/2",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
            &[],
            Closed,
        ),
        Row(
            "HTTP/1.0 without a host",
            b"GET /metrics HTTP/1.0\r\n\r\n".to_vec(),
            &[200],
            Closed,
        ),
        Row("HTTP/0.9", b"GET /metrics\r\n\r\n".to_vec(), &[400], Closed),
        Row(
            "TLS",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".to_vec(),
            &[400],
            Closed,
        ),
        Row("empty lines", b"\r\n".repeat(20_000), &[431], Closed),
        Row(
            "a body of 10 GB",
            get("Content-Length: 10000000000\r\n"),
            &[200],
            Closed,
        ),
        Row(
            "a body that is waited for",
            get("Content-Length: 10\r\nExpect: 100-continue\r\n"),
            &[200],
            Closed,
        ),
        Row(
            "a small body",
            [get("Content-Length: 2\r\n"), b"{}".to_vec()].concat(),
            &[200],
            Closed,
        ),
        Row(
            "a length below 0",
            get("Content-Length: -1\r\n"),
            &[400],
            Closed,
        ),
        Row(
            "a length above all",
            get("Content-Length: 99999999999999999999\r\n"),
            &[400],
            Closed,
        ),
        Row(
            "two lengths",
            get("Content-Length: 1\r\nContent-Length: 2\r\n"),
            &[400],
            Closed,
        ),
        Row(
            "a bad chunk",
            [get("Transfer-Encoding: chunked\r\n"), b"zz\r\n".to_vec()].concat(),
            &[200],
            Closed,
        ),
        Row(
            "an unknown coding",
            get("Transfer-Encoding: gzip\r\n"),
            &[400],
            Closed,
        ),
        Row(
            "a request, then none",
            [get(""), b"nonsense\r\n\r\n".to_vec()].concat(),
            &[200, 400],
            Closed,
        ),
        Row(
            "1,000 requests at once",
            get("").repeat(1_000),
            &[200; 1_000],
            Kept,
        ),
    ]
}

/// RFC 9112, section 3.2.
fn host_rows() -> Vec<Row> {
    let get =
        |version: &str, hosts: &str| format!("GET /metrics {version}\r\n{hosts}\r\n").into_bytes();
    let row = |name, hosts: &str, status, then| Row(name, get("HTTP/1.1", hosts), status, then);
    vec![
        row("no host", "", &[400], Closed),
        row("an empty host", "Host:\r\n", &[200], Kept),
        row(
            "a host with a port",
            "host: a.b-c_d:10058\r\n",
            &[200],
            Kept,
        ),
        row("a zone", "Host: [fe80::1%25eth0]:1\r\n", &[200], Kept),
        row("two hosts", "Host: a\r\nHost: b\r\n", &[400], Closed),
        row("a host twice", "Host: a\r\nHost: a\r\n", &[400], Closed),
        row("a host with a space", "Host: a b\r\n", &[400], Closed),
        row("a host with a path", "Host: a/b\r\n", &[400], Closed),
        row("a host with a user", "Host: b@a\r\n", &[400], Closed),
        row("a host beyond ASCII", "Host: ä\r\n", &[400], Closed),
        Row(
            "two hosts of HTTP/1.0",
            get("HTTP/1.0", "Host: a\r\nHost: a\r\n"),
            &[400],
            Closed,
        ),
        Row(
            "a whole URL without a host",
            b"GET http://a/metrics HTTP/1.1\r\n\r\n".to_vec(),
            &[400],
            Closed,
        ),
        Row(
            "no host, with a body and a request behind it",
            [
                get("HTTP/1.1", "Content-Length: 2\r\n"),
                b"{}".to_vec(),
                get("HTTP/1.1", "Host: a\r\n"),
            ]
            .concat(),
            &[400],
            Closed,
        ),
    ]
}

#[test]
fn odd_requests() {
    answers_as_expected(rows());
}

#[test]
fn request_without_one_valid_host_gets_400() {
    answers_as_expected(host_rows());
}

fn answers_as_expected(rows: Vec<Row>) {
    let server = Server::start(1, patient());
    for Row(name, bytes, statuses, then) in rows {
        let mut stream = server.connect();
        let mut sender = stream.try_clone().unwrap();
        // It may be refused before it is all sent.
        let sending = std::thread::spawn(move || drop(sender.write_all(&bytes)));
        for status in statuses {
            assert_eq!(answer(&mut stream, name).0, *status, "{name}");
        }
        sending.join().unwrap();
        if then == Kept {
            stream.write_all(SCRAPE.as_bytes()).unwrap();
            assert_eq!(answer(&mut stream, name).0, 200, "{name}");
        } else {
            assert!(is_closed(&mut stream), "{name}");
        }
        server.serves_well(name);
    }
}

#[test]
fn who_is_still_sending_gets_an_answer() {
    let limits = Limits {
        closing: Duration::from_millis(200),
        ..patient()
    };
    let server = Server::start(1, limits);
    let post = "POST /-/reload HTTP/1.1\r\nHost: a\r\n";
    let chunk = format!("1000\r\n{}\r\n", "a".repeat(4096));
    for (head, status, more) in [
        ("Content-Length: 10000000000\r\n\r\n", 403, &*chunk),
        ("Transfer-Encoding: chunked\r\n\r\n", 403, &chunk),
        ("X: ", 431, &chunk[6..4096]),
    ] {
        let more = more.to_owned();
        let mut stream = server.sent(format!("{post}{head}"));
        let mut sender = stream.try_clone().unwrap();
        let sending = std::thread::spawn(move || {
            let start = Instant::now();
            while sender.write_all(more.as_bytes()).is_ok() {
                assert!(start.elapsed() < SOON, "it may send for ever");
            }
        });
        assert_eq!(answer(&mut stream, head).0, status, "{head}");
        server.serves_well(head);
        // Those who never stop are stopped.
        sending.join().unwrap();
    }
}

#[test]
fn a_client_may_say_that_it_has_asked_all() {
    let server = Server::start(MANY, patient());
    for requests in [1, 3] {
        let mut stream = server.sent(SCRAPE.repeat(requests));
        stream.shutdown(Shutdown::Write).unwrap();
        for _ in 0..requests {
            let (status, page) = answer(&mut stream, "half-closed");
            assert_eq!(status, 200);
            assert!(page.len() > 20_000_000, "{}", page.len());
        }
        assert!(is_closed(&mut stream));
    }
    let mut stream = server.sent("GET /metr");
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 400 "),
        "{answer}"
    );
    server.serves_well("half-closed sockets");
}

#[test]
fn heads_must_come_in_time() {
    let limits = Limits {
        head: Duration::from_millis(300),
        ..patient()
    };
    let server = Server::start(1, limits);
    let mut silent = server.connect();
    let mut begun = server.sent("GET /metrics HTTP/1.1\r\nHos");
    let mut kept = server.sent(SCRAPE);
    assert_eq!(answer(&mut kept, "kept").0, 200);
    let mut dripping = server.connect();
    let mut dripping_later = server.sent(SCRAPE);
    assert_eq!(answer(&mut dripping_later, "dripping").0, 200);
    for (name, stream) in [("first", &mut dripping), ("next", &mut dripping_later)] {
        let mut bytes = "GET /".bytes().chain(std::iter::repeat(b'a'));
        until(&format!("the {name} head is given up"), || {
            let byte = bytes.next().unwrap();
            stream.write_all(&[byte]).is_err() || has_failed(stream)
        });
        server.serves_well(name);
    }
    for stream in [&mut silent, &mut begun] {
        assert!(is_closed(stream));
    }
    // For the next request there is more time than for a head.
    kept.write_all(SCRAPE.as_bytes()).unwrap();
    assert_eq!(answer(&mut kept, "kept").0, 200);
}

#[test]
fn idle_connections_are_closed() {
    let limits = Limits {
        idle: Duration::from_millis(300),
        ..patient()
    };
    let server = Server::start(1, limits);
    let mut stream = server.sent(SCRAPE);
    assert_eq!(answer(&mut stream, "idle").0, 200);
    assert!(is_closed(&mut stream));
}

#[test]
fn who_does_not_read_is_cut() {
    let limits = Limits {
        stuck: Duration::from_millis(500),
        ..patient()
    };
    let server = Server::start(MANY, limits);
    let none = server.sent(SCRAPE);
    let pipelined = server.sent(SCRAPE.repeat(1_000));
    let said_all = server.sent(SCRAPE);
    said_all.shutdown(Shutdown::Write).unwrap();
    let mut drop_by_drop = server.sent(SCRAPE);
    server.serves_well("clients that do not read");
    until("a client that reads a byte now and then is cut", || {
        let _ = drop_by_drop.read(&mut [0]);
        has_failed(&drop_by_drop)
    });
    for (name, stream) in [("none", none), ("1,000", pipelined), ("all", said_all)] {
        until(name, || has_failed(&stream));
    }
    // A slow link is not that: this takes longer than a client may be stuck.
    let slow = server.sent(SCRAPE_AND_CLOSE);
    let start = Instant::now();
    let mut page = Vec::new();
    while (&slow).take(1 << 20).read_to_end(&mut page).unwrap() > 0 {
        pause(Duration::from_millis(50));
    }
    assert!(start.elapsed() > Duration::from_secs(1));
    assert!(page.ends_with(b"\n") && page.len() > 20_000_000);
}

#[test]
fn an_answer_has_its_time() {
    let limits = Limits {
        answer: Duration::from_millis(500),
        ..patient()
    };
    let server = Server::start(MANY, limits);
    let mut stream = server.sent(SCRAPE);
    let mut piece = vec![0; 64 * 1024];
    until("a client that is never stuck but too slow is cut", || {
        let _ = stream.read(&mut piece);
        has_failed(&stream)
    });
    server.serves_well("slow clients");
}

#[test]
fn pages_that_nobody_reads_do_not_pile_up() {
    let server = Server::with_scrapes(MANY, patient(), SharedResponses::new(40 << 20));
    server.serves_well("nothing");
    // Each of a poll of its own, that changed all: there is room for one.
    let mut unread: Vec<TcpStream> = (0..8)
        .map(|number| {
            server.poll_numbers(MANY * number..MANY * (number + 1));
            let stream = server.sent(SCRAPE);
            assert_eq!((&stream).read(&mut [0; 9]).unwrap(), 9);
            server.serves_well(&format!("{number} pages that nobody reads"));
            stream
        })
        .collect();
    let (last, first) = unread.split_last_mut().unwrap();
    for stream in first {
        until("the first ones are cut", || has_failed(stream));
    }
    let mut rest = vec![0; 20_000_000];
    last.read_exact(&mut rest).unwrap();
    // Those of one poll have most in common: there is room for six.
    let mut unread: Vec<TcpStream> = (0..6)
        .map(|number| {
            let stream = server.sent(SCRAPE);
            assert_eq!((&stream).read(&mut [0; 9]).unwrap(), 9);
            server.serves_well(&format!("{number} of one poll"));
            stream
        })
        .collect();
    for stream in &mut unread {
        stream.read_exact(&mut rest).unwrap();
    }
    // A hundred at once share.
    let many: Vec<TcpStream> = (0..100).map(|_| server.sent(SCRAPE)).collect();
    for number in 0..3 {
        server.serves_well(&format!("100 clients that do not read, {number}"));
    }
    drop(many);
}

#[test]
fn busy_page_writer_delays_no_static_file() {
    let server = Server::start(MANY, patient());
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    let mut searching: Vec<TcpStream> = (0..30)
        .map(|number| match number % 3 {
            0 => server.sent(get("/?q=orders")),
            1 => server.sent(get("/api/v1/integrations?limit=10000")),
            _ => server.sent(get("/api/v1/scopes")),
        })
        .collect();
    let start = Instant::now();
    for path in [
        "/page.css",
        "/page.js",
        "/api/v1/openapi.yaml",
        "/-/healthy",
        "/-/ready",
    ] {
        assert_eq!(answer(&mut server.sent(get(path)), path).0, 200);
    }
    assert!(start.elapsed() < WELL, "{:?}", start.elapsed());
    server.serves_well("clients that search");
    let mut answers: Vec<String> = Vec::new();
    for stream in &mut searching {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answers.push(answer);
    }
    let with = |status: &str| {
        answers
            .iter()
            .filter(|it| it[9..].starts_with(status))
            .count()
    };
    let (written, refused) = (with("200"), with("503"));
    // One is being written and eight wait, whatever comes meanwhile.
    assert!(written >= 9 && refused >= 3, "{written} and {refused}");
    assert_eq!(written + refused, 30);
    for refusal in answers.iter().filter(|it| it[9..].starts_with("503")) {
        assert!(refusal.contains("\r\nretry-after: 1\r\n"), "{refusal}");
    }
}

#[test]
fn a_thousand_idle_connections_keep_nobody_out() {
    let server = Server::start(1, patient());
    let mut kept = server.sent(SCRAPE);
    let idle: Vec<TcpStream> = (0..1_000)
        .map(|number| match number % 4 {
            0 => server.connect(),
            1 => server.sent("GET /metrics HTTP/1.1\r\nHo"),
            2 => server.sent(SCRAPE),
            _ => server.sent("POST /-/reload HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n"),
        })
        .collect();
    server.serves_well("1,000 idle connections");
    // The one that was idle for longest had to go.
    assert_eq!(answer(&mut kept, "kept").0, 200);
    assert!(is_closed(&mut kept));
    drop(idle);
}

#[test]
fn scrapes_that_wait_do_not_pile_up() {
    let limits = Limits {
        connections: 16,
        ..patient()
    };
    let server = Server::start(0, limits);
    let patient_scrape =
        "GET /metrics HTTP/1.1\r\nHost: a\r\nX-Prometheus-Scrape-Timeout-Seconds: 1e300\r\n\r\n";
    let mut waiting: Vec<TcpStream> = (0..200).map(|_| server.sent(patient_scrape)).collect();
    let mut healthy = server.sent("GET /-/healthy HTTP/1.1\r\nHost: a\r\n\r\n");
    let start = Instant::now();
    assert_eq!(answer(&mut healthy, "healthy").0, 200);
    assert!(start.elapsed() < WELL);
    server.poll(1);
    // The last ones to come are still there.
    let last = waiting.last_mut().unwrap();
    assert_eq!(answer(last, "waiting").0, 200);
    assert!(is_closed(&mut waiting[0]));
    server.serves_well("scrapes that waited");
}

#[test]
fn a_stop_waits_for_nobody_who_has_not_asked() {
    let server = Server::start(1, patient());
    let mut silent = server.connect();
    let mut begun = server.sent("GET /metrics HTTP/1.1\r\nHo");
    let mut idle = server.sent(SCRAPE);
    assert_eq!(answer(&mut idle, "idle").0, 200);
    let start = Instant::now();
    server.bench.stop.cancel();
    for stream in [&mut silent, &mut begun, &mut idle] {
        assert!(is_closed(stream));
    }
    assert!(start.elapsed() < WELL);
}

#[test]
fn who_had_just_come_at_a_stop_is_answered() {
    let limits = Limits {
        arrival: WELL * 3,
        ..patient()
    };
    let server = Server::start(1, limits);
    let mut silent = server.connect();
    let mut asks = server.connect();
    // They were accepted before this one.
    let mut idle = server.sent(SCRAPE);
    assert_eq!(answer(&mut idle, "idle").0, 200);
    let start = Instant::now();
    server.bench.stop.cancel();
    asks.write_all(SCRAPE.as_bytes()).unwrap();
    assert_eq!(answer(&mut asks, "asks").0, 200);
    for stream in [&mut silent, &mut asks, &mut idle] {
        assert!(is_closed(stream));
    }
    assert!(start.elapsed() < SOON, "it does not wait longer");
}

/// The next answer's status and body.
fn answer(stream: &mut TcpStream, name: &str) -> (u16, Vec<u8>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream
            .read_exact(&mut byte)
            .unwrap_or_else(|error| panic!("{name}: {error} after {head:?}"));
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.unwrap().parse().unwrap()];
    stream.read_exact(&mut body).unwrap();
    (head[9..12].parse().unwrap(), body)
}

/// True if the other side closes the connection, with nothing left to read.
fn is_closed(stream: &mut TcpStream) -> bool {
    match stream.read(&mut [0]) {
        Ok(read) => read == 0,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

/// True if the other side has cut the connection, whatever is left to read. Once for each connection.
fn has_failed(stream: &TcpStream) -> bool {
    stream.take_error().unwrap().is_some()
}

fn until(what: &str, mut happened: impl FnMut() -> bool) {
    let start = Instant::now();
    while !happened() {
        assert!(start.elapsed() < SOON, "not within {SOON:?}: {what}");
        pause(Duration::from_millis(10));
    }
}

/// A client's slowness.
fn pause(time: Duration) {
    let start = Instant::now();
    while let Some(left) = time
        .checked_sub(start.elapsed())
        .filter(|left| !left.is_zero())
    {
        std::thread::park_timeout(left);
    }
}

/// What the program logged at info or above.
fn log() -> &'static Mutex<Vec<String>> {
    static LOG: OnceLock<Mutex<Vec<String>>> = OnceLock::new();
    LOG.get_or_init(Mutex::default)
}

struct Log;

impl<S: tracing::Subscriber> Layer<S> for Log {
    fn on_event(&self, event: &tracing::Event<'_>, _context: Context<'_, S>) {
        struct Line(String);
        impl Visit for Line {
            fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
                self.0.push_str(&format!("{field}={value:?} "));
            }
        }
        if *event.metadata().level() <= tracing::Level::INFO {
            let mut line = Line(format!("{} ", event.metadata().target()));
            event.record(&mut line);
            log().lock().unwrap().push(line.0);
        }
    }
}

fn listen_to_the_log() {
    // The error says that it is listened to already.
    let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry().with(Log));
}

/// Both ends of all connections are in this process.
fn allow_many_files() {
    let limit = getrlimit(Resource::Nofile);
    let most = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, most).unwrap();
}
