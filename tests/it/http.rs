//! Clients that behave badly, one by one and many at a time, against a server in this process with short limits. After each, a
//! normal scrape must be served within a second, and nothing may have been logged.

use crate::support::account::{Bench, FakeAccount, arn, watches};
use crate::support::lines::Lines;
use glue_integration_exporter::http::routes::start_counters;
use glue_integration_exporter::http::{self, Limits};
use glue_integration_exporter::snapshot::Status;
use glue_integration_exporter::toolkit::listen::Address;
use glue_integration_exporter::toolkit::watchdog::Watchdog;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::time::Instant;

/// A normal scrape must be served within this time, whatever other clients do.
const MAX_SCRAPE_TIME: Duration = Duration::from_secs(1);
/// The timeout for events that a server limit of some hundred milliseconds causes, on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(15);
const NO_TIMEOUT: Duration = Duration::from_secs(3600);
/// A page with this many integrations has about 20 MB.
const LARGE: usize = 8_000;

/// Returns limits with timeouts that no test reaches.
fn without_timeouts() -> Limits {
    Limits {
        connections: 512,
        large_responses: 512,
        head: NO_TIMEOUT,
        accept_grace: Duration::ZERO,
        idle: NO_TIMEOUT,
        write_stall: NO_TIMEOUT,
        response: NO_TIMEOUT,
        linger: TIMEOUT,
    }
}

struct Server {
    addr: String,
    bench: Bench,
    runtime: Option<Runtime>,
    log: Lines,
}

impl Server {
    /// Serves a page with this many integrations. With 0 the first poll stays pending.
    fn start(integrations: usize, limits: Limits) -> Self {
        raise_file_limit();
        let log = Lines::default();
        let captured = log.clone();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .on_thread_start(move || captured.add_thread())
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
        start_counters(&bench.telemetry, "/metrics", false);
        runtime.spawn(http::serve(
            vec![listener],
            bench.routes(),
            limits,
            Watchdog::default(),
            bench.stop.clone(),
        ));
        let server = Self {
            addr,
            bench,
            runtime: Some(runtime),
            log,
        };
        if integrations > 0 {
            server.poll(integrations);
        }
        server
    }

    /// Runs a poll that returns this many integrations.
    fn poll(&self, integrations: usize) {
        let account = FakeAccount::new();
        for number in 0..integrations {
            account.put(&arn(number), Status::Active);
        }
        let watch = &watches("scopes: [{name: lake, regions: [eu-west-1]}]")[0];
        let runtime = self.runtime.as_ref().unwrap();
        assert!(runtime.block_on(self.bench.poller(watch, &account).poll()));
        self.bench.publisher.publish_now();
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.addr).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        stream
    }

    /// Connects and sends `request`.
    fn send(&self, request: impl AsRef<[u8]>) -> TcpStream {
        let mut stream = self.connect();
        stream.write_all(request.as_ref()).unwrap();
        stream
    }

    /// Asserts that a normal scrape gets the whole page in time.
    fn assert_serves(&self, during: &str) {
        let start = Instant::now();
        let mut stream = self.send(SCRAPE_AND_CLOSE);
        let mut response = Vec::new();
        stream.read_to_end(&mut response).unwrap();
        let took = start.elapsed();
        let response = String::from_utf8(response).unwrap();
        let (head, page) = response.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 "), "{during}: {head}");
        let length = format!("content-length: {}\r\n", page.len());
        assert!(head.contains(&length), "{during}: {head}");
        assert!(took < MAX_SCRAPE_TIME, "{during}: a scrape took {took:?}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.bench.stop.cancel();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
        if !std::thread::panicking() {
            assert_eq!(self.log.with(""), 0, "the log is not empty");
        }
    }
}

const SCRAPE: &str = "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n";
const SCRAPE_AND_CLOSE: &str = "GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
/// The state of a connection after its responses.
#[derive(Clone, Copy, PartialEq)]
enum Connection {
    Kept,
    Closed,
}
use Connection::{Closed, Kept};

/// A name, the bytes to send, the expected statuses, and the expected state of the connection.
struct Case(&'static str, Vec<u8>, &'static [u16], Connection);

fn odd_requests() -> Vec<Case> {
    let request = |line: &str, headers: &str| {
        format!("{line} HTTP/1.1\r\nHost: a\r\n{headers}\r\n").into_bytes()
    };
    let get = |headers: &str| request("GET /metrics", headers);
    let long = |bytes: usize| "a".repeat(bytes);
    let headers = |count: usize| -> String { (0..count).map(|n| format!("x{n}: \r\n")).collect() };
    vec![
        Case(
            "a head of 64 KB",
            get(&format!("x: {}\r\n", long(65_536))),
            &[431],
            Closed,
        ),
        Case(
            "a head of 8 KB",
            get(&format!("x: {}\r\n", long(8_192))),
            &[200],
            Kept,
        ),
        Case("10,000 headers", get(&headers(10_000)), &[431], Closed),
        Case("65 headers", get(&headers(64)), &[431], Closed),
        Case("64 headers", get(&headers(63)), &[200], Kept),
        Case(
            "a URI of 20 KB",
            request(&format!("GET /{}", long(20_000)), ""),
            &[431],
            Closed,
        ),
        Case(
            "a URI of 10 KB",
            request(&format!("GET /{}", long(10_000)), ""),
            &[404],
            Kept,
        ),
        Case(
            "a query of 10 KB",
            request(&format!("GET /metrics?{}", long(10_000)), ""),
            &[200],
            Kept,
        ),
        Case(
            "a whole URL",
            request("GET http://a:1/metrics", ""),
            &[200],
            Kept,
        ),
        Case(
            "a whole URL, broken",
            request("GET http://[a/metrics", ""),
            &[400],
            Closed,
        ),
        Case("no slash", request("GET metrics", ""), &[404], Kept),
        Case(
            "NUL in the path",
            request("GET /met\0rics", ""),
            &[400],
            Closed,
        ),
        Case(
            "no UTF-8 in the path",
            b"GET /\xff\xfe HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
            &[400],
            Closed,
        ),
        Case("NUL in a header", get("x: \0\r\n"), &[400], Closed),
        Case(
            "an unknown method",
            request("BREW /metrics", ""),
            &[405],
            Kept,
        ),
        Case(
            "a method of 10 KB",
            request(&format!("{} /metrics", long(10_000)), ""),
            &[405],
            Kept,
        ),
        Case("CONNECT", request("CONNECT a:443", ""), &[404], Kept),
        Case("OPTIONS *", request("OPTIONS *", ""), &[404], Kept),
        Case("TRACE", request("TRACE /metrics", ""), &[405], Kept),
        Case(
            "an upgrade",
            get("Connection: upgrade\r\nUpgrade: h2c\r\n"),
            &[200],
            Kept,
        ),
        Case(
            "HTTP/2",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
            &[],
            Closed,
        ),
        Case(
            "HTTP/1.0 without a host",
            b"GET /metrics HTTP/1.0\r\n\r\n".to_vec(),
            &[200],
            Closed,
        ),
        Case("HTTP/0.9", b"GET /metrics\r\n\r\n".to_vec(), &[400], Closed),
        Case(
            "TLS",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".to_vec(),
            &[400],
            Closed,
        ),
        Case("empty lines", b"\r\n".repeat(20_000), &[431], Closed),
        Case(
            "a body of 10 GB",
            get("Content-Length: 10000000000\r\n"),
            &[200],
            Closed,
        ),
        Case(
            "a body that is waited for",
            get("Content-Length: 10\r\nExpect: 100-continue\r\n"),
            &[200],
            Closed,
        ),
        Case(
            "a small body",
            [get("Content-Length: 2\r\n"), b"{}".to_vec()].concat(),
            &[200],
            Closed,
        ),
        Case(
            "a length below 0",
            get("Content-Length: -1\r\n"),
            &[400],
            Closed,
        ),
        Case(
            "a length above all",
            get("Content-Length: 99999999999999999999\r\n"),
            &[400],
            Closed,
        ),
        Case(
            "two lengths",
            get("Content-Length: 1\r\nContent-Length: 2\r\n"),
            &[400],
            Closed,
        ),
        Case(
            "a bad chunk",
            [get("Transfer-Encoding: chunked\r\n"), b"zz\r\n".to_vec()].concat(),
            &[200],
            Closed,
        ),
        Case(
            "an unknown coding",
            get("Transfer-Encoding: gzip\r\n"),
            &[400],
            Closed,
        ),
        Case(
            "a request, then none",
            [get(""), b"nonsense\r\n\r\n".to_vec()].concat(),
            &[200, 400],
            Closed,
        ),
        Case(
            "1,000 requests at once",
            get("").repeat(1_000),
            &[200; 1_000],
            Kept,
        ),
    ]
}

/// RFC 9112, section 3.2.
fn host_headers() -> Vec<Case> {
    let get =
        |version: &str, hosts: &str| format!("GET /metrics {version}\r\n{hosts}\r\n").into_bytes();
    let case = |name, hosts: &str, statuses, connection| {
        Case(name, get("HTTP/1.1", hosts), statuses, connection)
    };
    vec![
        case("no host", "", &[400], Closed),
        case("an empty host", "Host:\r\n", &[200], Kept),
        case(
            "a host with a port",
            "host: a.b-c_d:10058\r\n",
            &[200],
            Kept,
        ),
        case("a zone", "Host: [fe80::1%25eth0]:1\r\n", &[200], Kept),
        case("two hosts", "Host: a\r\nHost: b\r\n", &[400], Closed),
        case("a host twice", "Host: a\r\nHost: a\r\n", &[400], Closed),
        case("a host with a space", "Host: a b\r\n", &[400], Closed),
        case("a host with a path", "Host: a/b\r\n", &[400], Closed),
        case("a host with a user", "Host: b@a\r\n", &[400], Closed),
        case("a host beyond ASCII", "Host: ä\r\n", &[400], Closed),
        Case(
            "two hosts of HTTP/1.0",
            get("HTTP/1.0", "Host: a\r\nHost: a\r\n"),
            &[400],
            Closed,
        ),
        Case(
            "a whole URL without a host",
            b"GET http://a/metrics HTTP/1.1\r\n\r\n".to_vec(),
            &[400],
            Closed,
        ),
        Case(
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
fn odd_requests_get_expected_responses() {
    assert_responses(odd_requests());
}

#[test]
fn request_without_one_valid_host_gets_400() {
    assert_responses(host_headers());
}

fn assert_responses(cases: Vec<Case>) {
    let server = Server::start(1, without_timeouts());
    for Case(name, bytes, statuses, connection) in cases {
        let mut stream = server.connect();
        let mut sender = stream.try_clone().unwrap();
        // The server may close the connection before all bytes are sent.
        let sending = std::thread::spawn(move || drop(sender.write_all(&bytes)));
        for status in statuses {
            assert_eq!(read_response(&mut stream, name).0, *status, "{name}");
        }
        sending.join().unwrap();
        if connection == Kept {
            stream.write_all(SCRAPE.as_bytes()).unwrap();
            assert_eq!(read_response(&mut stream, name).0, 200, "{name}");
        } else {
            assert!(is_closed(&mut stream), "{name}");
        }
        server.assert_serves(name);
    }
}

#[test]
fn client_that_is_still_sending_gets_response() {
    let limits = Limits {
        linger: Duration::from_millis(200),
        ..without_timeouts()
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
        let mut stream = server.send(format!("{post}{head}"));
        let mut sender = stream.try_clone().unwrap();
        let sending = std::thread::spawn(move || {
            let start = Instant::now();
            while sender.write_all(more.as_bytes()).is_ok() {
                assert!(
                    start.elapsed() < TIMEOUT,
                    "the server must stop a client that sends without end"
                );
            }
        });
        assert_eq!(read_response(&mut stream, head).0, status, "{head}");
        server.assert_serves(head);
        // The server closes the connection of a client that does not stop.
        sending.join().unwrap();
    }
}

#[test]
fn half_closed_connection_gets_responses() {
    let server = Server::start(LARGE, without_timeouts());
    for requests in [1, 3] {
        let mut stream = server.send(SCRAPE.repeat(requests));
        stream.shutdown(Shutdown::Write).unwrap();
        for _ in 0..requests {
            let (status, page) = read_response(&mut stream, "half-closed");
            assert_eq!(status, 200);
            assert!(page.len() > 20_000_000, "{}", page.len());
        }
        assert!(is_closed(&mut stream));
    }
    let mut stream = server.send("GET /metr");
    stream.shutdown(Shutdown::Write).unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    assert!(
        response.is_empty() || response.starts_with("HTTP/1.1 400 "),
        "{response}"
    );
    server.assert_serves("half-closed sockets");
}

#[test]
fn slow_request_head_closes_connection() {
    let limits = Limits {
        head: Duration::from_millis(300),
        ..without_timeouts()
    };
    let server = Server::start(1, limits);
    let mut silent = server.connect();
    let mut started = server.send("GET /metrics HTTP/1.1\r\nHos");
    let mut kept = server.send(SCRAPE);
    assert_eq!(read_response(&mut kept, "kept").0, 200);
    let mut dripping = server.connect();
    let mut dripping_next = server.send(SCRAPE);
    assert_eq!(read_response(&mut dripping_next, "dripping").0, 200);
    for (name, stream) in [("first", &mut dripping), ("next", &mut dripping_next)] {
        let mut bytes = "GET /".bytes().chain(std::iter::repeat(b'a'));
        wait_until(&format!("the {name} head times out"), || {
            let byte = bytes.next().unwrap();
            stream.write_all(&[byte]).is_err() || has_failed(stream)
        });
        server.assert_serves(name);
    }
    for stream in [&mut silent, &mut started] {
        assert!(is_closed(stream));
    }
    // The idle timeout is longer than the timeout for a head.
    kept.write_all(SCRAPE.as_bytes()).unwrap();
    assert_eq!(read_response(&mut kept, "kept").0, 200);
}

#[test]
fn idle_connection_is_closed() {
    let limits = Limits {
        idle: Duration::from_millis(300),
        ..without_timeouts()
    };
    let server = Server::start(1, limits);
    let mut stream = server.send(SCRAPE);
    assert_eq!(read_response(&mut stream, "idle").0, 200);
    assert!(is_closed(&mut stream));
}

#[test]
fn client_that_does_not_read_is_closed() {
    let limits = Limits {
        write_stall: Duration::from_millis(500),
        ..without_timeouts()
    };
    let server = Server::start(LARGE, limits);
    let unread = server.send(SCRAPE);
    let pipelined = server.send(SCRAPE.repeat(1_000));
    let half_closed = server.send(SCRAPE);
    half_closed.shutdown(Shutdown::Write).unwrap();
    let mut byte_reader = server.send(SCRAPE);
    server.assert_serves("clients that do not read");
    wait_until("a client that reads single bytes is closed", || {
        let _ = byte_reader.read(&mut [0]);
        has_failed(&byte_reader)
    });
    for (name, stream) in [
        ("one request", unread),
        ("1,000 requests", pipelined),
        ("half-closed", half_closed),
    ] {
        wait_until(name, || has_failed(&stream));
    }
    // A slow link is not a stalled one: this takes longer than the write stall timeout.
    let slow = server.send(SCRAPE_AND_CLOSE);
    let start = Instant::now();
    let mut page = Vec::new();
    while (&slow).take(1 << 20).read_to_end(&mut page).unwrap() > 0 {
        pause(Duration::from_millis(50));
    }
    assert!(start.elapsed() > Duration::from_secs(1));
    assert!(page.ends_with(b"\n") && page.len() > 20_000_000);
}

#[test]
fn slow_reader_reaches_response_timeout() {
    let limits = Limits {
        response: Duration::from_millis(500),
        ..without_timeouts()
    };
    let server = Server::start(LARGE, limits);
    let mut stream = server.send(SCRAPE);
    let mut buffer = vec![0; 64 * 1024];
    wait_until(
        "a client that reads steadily but too slowly is closed",
        || {
            let _ = stream.read(&mut buffer);
            has_failed(&stream)
        },
    );
    server.assert_serves("slow clients");
}

#[test]
fn unread_pages_take_bounded_memory() {
    let limits = Limits {
        large_responses: 2,
        ..without_timeouts()
    };
    let server = Server::start(LARGE, limits);
    server.assert_serves("no other client");
    let mut unread: Vec<TcpStream> = (0..8)
        .map(|number| {
            let stream = server.send(SCRAPE);
            assert_eq!((&stream).read(&mut [0; 9]).unwrap(), 9);
            server.assert_serves(&format!("{number} unread pages"));
            stream
        })
        .collect();
    let (last, first) = unread.split_last_mut().unwrap();
    for stream in first {
        wait_until("the connections of older pages are closed", || {
            has_failed(stream)
        });
    }
    let mut rest = vec![0; 20_000_000];
    last.read_exact(&mut rest).unwrap();
    // A hundred concurrent scrapes share their pages, and small responses do not count.
    let small = server.send("GET /-/healthy HTTP/1.1\r\nHost: a\r\n\r\n".repeat(10_000));
    let many: Vec<TcpStream> = (0..100).map(|_| server.send(SCRAPE)).collect();
    for number in 0..3 {
        server.assert_serves(&format!("100 clients that do not read, {number}"));
    }
    assert!(!has_failed(&small));
    drop(many);
}

#[test]
fn busy_page_rendering_delays_no_static_file() {
    let server = Server::start(LARGE, without_timeouts());
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    let mut searching: Vec<TcpStream> = (0..30)
        .map(|number| match number % 3 {
            0 => server.send(get("/?q=orders")),
            1 => server.send(get("/api/v1/integrations?limit=10000")),
            _ => server.send(get("/api/v1/scopes")),
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
        assert_eq!(read_response(&mut server.send(get(path)), path).0, 200);
    }
    assert!(start.elapsed() < MAX_SCRAPE_TIME, "{:?}", start.elapsed());
    server.assert_serves("clients that search");
    let mut responses: Vec<String> = Vec::new();
    for stream in &mut searching {
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        responses.push(response);
    }
    let count = |status: &str| {
        responses
            .iter()
            .filter(|response| response[9..].starts_with(status))
            .count()
    };
    let (served, refused) = (count("200"), count("503"));
    // One page is being rendered and eight requests wait; more are refused.
    assert!(served >= 9 && refused >= 3, "{served} and {refused}");
    assert_eq!(served + refused, 30);
    for refusal in responses
        .iter()
        .filter(|response| response[9..].starts_with("503"))
    {
        assert!(refusal.contains("\r\nretry-after: 1\r\n"), "{refusal}");
    }
}

#[test]
fn thousand_idle_connections_allow_scrapes() {
    let server = Server::start(1, without_timeouts());
    let mut kept = server.send(SCRAPE);
    let idle: Vec<TcpStream> = (0..1_000)
        .map(|number| match number % 4 {
            0 => server.connect(),
            1 => server.send("GET /metrics HTTP/1.1\r\nHo"),
            2 => server.send(SCRAPE),
            _ => server.send("POST /-/reload HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n"),
        })
        .collect();
    server.assert_serves("1,000 idle connections");
    // The connection that was idle longest was evicted.
    assert_eq!(read_response(&mut kept, "kept").0, 200);
    assert!(is_closed(&mut kept));
    drop(idle);
}

#[test]
fn waiting_scrapes_allow_other_requests() {
    let limits = Limits {
        connections: 16,
        ..without_timeouts()
    };
    let server = Server::start(0, limits);
    let waiting_scrape =
        "GET /metrics HTTP/1.1\r\nHost: a\r\nX-Prometheus-Scrape-Timeout-Seconds: 1e300\r\n\r\n";
    let mut waiting: Vec<TcpStream> = (0..200).map(|_| server.send(waiting_scrape)).collect();
    let mut healthy = server.send("GET /-/healthy HTTP/1.1\r\nHost: a\r\n\r\n");
    let start = Instant::now();
    assert_eq!(read_response(&mut healthy, "healthy").0, 200);
    assert!(start.elapsed() < MAX_SCRAPE_TIME);
    server.poll(1);
    assert!(is_closed(&mut waiting[0]));
    // Which ones are open depends on the order in which the server reads the requests.
    let answered = waiting.into_iter().filter_map(|mut stream| {
        let mut start = [0; 12];
        stream.read_exact(&mut start).ok()?;
        Some(start)
    });
    let answered: Vec<[u8; 12]> = answered.collect();
    assert_eq!(answered, [*b"HTTP/1.1 200"; 15]);
    server.assert_serves("scrapes that waited");
}

#[test]
fn stop_closes_connections_without_request() {
    let server = Server::start(1, without_timeouts());
    let mut silent = server.connect();
    let mut started = server.send("GET /metrics HTTP/1.1\r\nHo");
    let mut idle = server.send(SCRAPE);
    assert_eq!(read_response(&mut idle, "idle").0, 200);
    let start = Instant::now();
    server.bench.stop.cancel();
    for stream in [&mut silent, &mut started, &mut idle] {
        assert!(is_closed(stream));
    }
    assert!(start.elapsed() < MAX_SCRAPE_TIME);
}

#[test]
fn stop_answers_new_connection() {
    let limits = Limits {
        accept_grace: MAX_SCRAPE_TIME * 3,
        ..without_timeouts()
    };
    let server = Server::start(1, limits);
    let mut silent = server.connect();
    let mut requesting = server.connect();
    // A response here means that the connections before were accepted.
    let mut idle = server.send(SCRAPE);
    assert_eq!(read_response(&mut idle, "idle").0, 200);
    let start = Instant::now();
    server.bench.stop.cancel();
    requesting.write_all(SCRAPE.as_bytes()).unwrap();
    assert_eq!(read_response(&mut requesting, "requesting").0, 200);
    for stream in [&mut silent, &mut requesting, &mut idle] {
        assert!(is_closed(stream));
    }
    assert!(start.elapsed() < TIMEOUT, "the stop took too long");
}

/// Reads the next response and returns its status and body.
fn read_response(stream: &mut TcpStream, name: &str) -> (u16, Vec<u8>) {
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

/// Returns true if the server closes the connection and nothing is left to read.
fn is_closed(stream: &mut TcpStream) -> bool {
    match stream.read(&mut [0]) {
        Ok(read) => read == 0,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

/// Returns true if the server has reset the connection, even if data is left to read. Reports a reset only once.
fn has_failed(stream: &TcpStream) -> bool {
    stream.take_error().unwrap().is_some()
}

fn wait_until(what: &str, mut happened: impl FnMut() -> bool) {
    let start = Instant::now();
    while !happened() {
        assert!(start.elapsed() < TIMEOUT, "not within {TIMEOUT:?}: {what}");
        pause(Duration::from_millis(10));
    }
}

/// Waits like a slow client.
fn pause(time: Duration) {
    let start = Instant::now();
    while let Some(left) = time
        .checked_sub(start.elapsed())
        .filter(|left| !left.is_zero())
    {
        std::thread::park_timeout(left);
    }
}

/// Raises the limit of open files, because both ends of all connections are in this process.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let most = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, most).unwrap();
}
