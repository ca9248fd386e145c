//! Basic auth, headers and the rate limit.

use crate::server::{Client, Server, TLS, WELL, is_closed, until};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use socket2::{Domain, Socket, Type};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::time::Instant;

fn hash(password: &str, cost: u32) -> String {
    bcrypt::hash(password, cost).unwrap()
}

fn users(users: &[(&str, &str, u32)]) -> String {
    let lines = users
        .iter()
        .map(|(name, password, cost)| format!("  {name}: {}\n", hash(password, *cost)));
    format!("basic_auth_users:\n{}", lines.collect::<String>())
}

fn basic(credentials: impl AsRef<[u8]>) -> String {
    format!(
        "Authorization: Basic {}\r\n",
        BASE64_STANDARD.encode(credentials)
    )
}

/// A request over plain HTTP: its status and its whole answer.
fn get(server: &Server, path: &str, headers: &str) -> (u16, String) {
    let mut socket = server.socket();
    let head = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{headers}\r\n");
    socket.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    (answer[9..12].parse().unwrap(), answer)
}

#[test]
fn users_are_known_by_their_passwords() {
    let all = users(&[
        ("alice", "pass:word", 4),
        ("bob", "", 4),
        ("\"\"", "nobody", 4),
        ("zoë", "ü", 4),
    ]);
    let server = Server::start(&all);
    let long = "a".repeat(80);
    for (what, headers, status) in [
        ("nothing", String::new(), 401),
        ("a colon in the password", basic("alice:pass:word"), 200),
        ("a wrong password", basic("alice:pass"), 401),
        ("no password", basic("alice:"), 401),
        ("an unknown user", basic("eve:pass:word"), 401),
        ("another case", basic("Alice:pass:word"), 401),
        ("another user's password", basic("alice:nobody"), 401),
        ("an empty password", basic("bob:"), 200),
        ("an empty user", basic(":nobody"), 200),
        ("letters beyond ASCII", basic("zoë:ü"), 200),
        ("no UTF-8", basic(b"zo\xeb:\xfc"), 401),
        ("no colon", basic("alice"), 401),
        ("zero bytes", basic("alice:pass:word\0"), 401),
        ("a long password", basic(format!("alice:{long}")), 401),
        ("no base64", "Authorization: Basic %%%\r\n".to_owned(), 401),
        (
            "base64 without its end",
            "Authorization: Basic Ym9iOg\r\n".to_owned(),
            401,
        ),
        (
            "another scheme",
            "Authorization: Bearer Ym9iOg==\r\n".to_owned(),
            401,
        ),
        (
            "the scheme alone",
            "Authorization: Basic\r\n".to_owned(),
            401,
        ),
        (
            "another case of the scheme",
            "authorization: bASIC Ym9iOg==\r\n".to_owned(),
            200,
        ),
        (
            "two, of which the first counts",
            "Authorization: Basic Ym9iOg==\r\nAuthorization: Basic x\r\n".to_owned(),
            200,
        ),
    ] {
        for path in [
            "/metrics",
            "/",
            "/-/healthy",
            "/-/ready",
            "/nowhere",
            "/-/reload",
        ] {
            let expected = match (status, path) {
                (200, "/nowhere") => 404,
                (200, "/-/reload") => 405,
                (status, _) => status,
            };
            let (found, answer) = get(&server, path, &headers);
            assert_eq!(found, expected, "{what} {path}");
            let asks = answer
                .to_lowercase()
                .contains("www-authenticate: basic\r\n");
            assert_eq!(asks, expected == 401, "{answer}");
        }
    }
    let page = get(&server, "/metrics", &basic("bob:")).1;
    for path in ["/metrics", "/-/healthy", "other"] {
        let row = format!("http_requests_total{{path=\"{path}\",code=\"401\"}} 1");
        assert!(page.contains(&row), "{row} in {page}");
        let row = format!("http_requests_total{{path=\"{path}\",code=\"429\"}} 0");
        assert!(page.contains(&row), "{row} in {page}");
    }
}

#[test]
fn an_unknown_user_costs_what_a_wrong_password_costs() {
    let server = Server::start(&users(&[("alice", "secret", 10)]));
    let took = |credentials: String| {
        let start = Instant::now();
        assert_eq!(get(&server, "/metrics", &basic(credentials)).0, 401);
        start.elapsed()
    };
    // In turns, and the least of each: the machine is busy with other tests.
    let (mut wrong, mut unknown) = (Duration::MAX, Duration::MAX);
    for n in 0..10 {
        wrong = wrong.min(took(format!("alice:{n}")));
        unknown = unknown.min(took(format!("mallory{n}:secret")));
    }
    let ratio = unknown.as_secs_f64() / wrong.as_secs_f64();
    assert!((0.5..2.0).contains(&ratio), "{unknown:?} and {wrong:?}");
    // A password that was right is not checked again.
    assert_eq!(get(&server, "/metrics", &basic("alice:secret")).0, 200);
    let start = Instant::now();
    assert_eq!(get(&server, "/metrics", &basic("alice:secret")).0, 200);
    assert!(start.elapsed() < wrong);
}

#[test]
fn passwords_that_are_checked_hold_up_nobody_who_is_known() {
    let server = Server::start(&users(&[("alice", "secret", 11)]));
    assert_eq!(get(&server, "/metrics", &basic("alice:secret")).0, 200);
    let guesses: Vec<TcpStream> = (0..400)
        .map(|n| {
            let mut socket = server.socket();
            let headers = basic(format!("alice:{n}"));
            let head = format!("GET /metrics HTTP/1.1\r\nHost: a\r\n{headers}\r\n");
            socket.write_all(head.as_bytes()).unwrap();
            socket
        })
        .collect();
    for _ in 0..20 {
        let start = Instant::now();
        assert_eq!(get(&server, "/metrics", &basic("alice:secret")).0, 200);
        let took = start.elapsed();
        assert!(took < WELL, "a scrape took {took:?}");
    }
    // Beyond those that may wait they are sent away at once.
    until("guesses are sent away", || {
        let page = get(&server, "/metrics", &basic("alice:secret")).1;
        let row = "http_requests_total{path=\"/metrics\",code=\"503\"} ";
        let (_, count) = page.split_once(row).unwrap();
        let count: usize = count.lines().next().unwrap().parse().unwrap();
        (100..=144).contains(&count)
    });
    drop(guesses);
}

/// A client at `address` that tries one password after the other, on a connection each, until it is told to stop.
fn guesser(
    server: &Server,
    address: Ipv4Addr,
    shared: &Arc<(AtomicBool, AtomicUsize)>,
) -> JoinHandle<()> {
    let (server, shared) = (
        server.addr.parse::<SocketAddr>().unwrap(),
        Arc::clone(shared),
    );
    std::thread::spawn(move || {
        let (is_over, answered) = &*shared;
        let guess = |number: usize| -> io::Result<()> {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
            socket.bind(&SocketAddr::from((address, 0)).into())?;
            socket.connect(&server.into())?;
            let mut socket = TcpStream::from(socket);
            let headers = basic(format!("alice:{address} {number}"));
            let head =
                format!("GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{headers}\r\n");
            socket.write_all(head.as_bytes())?;
            socket.read_to_end(&mut Vec::new()).map(drop)
        };
        let mut number = 0;
        while !is_over.load(Ordering::SeqCst) {
            number += 1;
            if guess(number).is_ok() {
                answered.fetch_add(1, Ordering::SeqCst);
            }
        }
    })
}

#[test]
fn guesses_of_100_clients_keep_no_scraper_out() {
    for (what, first, step) in [
        ("of one address", [127, 0, 1, 1], 0),
        ("of 100 addresses", [127, 0, 2, 1], 1),
        ("of the scraper's address", [127, 0, 0, 1], 0),
    ] {
        let server = Server::start(&users(&[("alice", "secret", 6)]));
        let shared: Arc<(AtomicBool, AtomicUsize)> = Arc::default();
        let guessers: Vec<_> = (0..100)
            .map(|number| {
                let address = Ipv4Addr::from_bits(Ipv4Addr::from(first).to_bits() + step * number);
                guesser(&server, address, &shared)
            })
            .collect();
        until("guesses are answered", || {
            shared.1.load(Ordering::SeqCst) > 20
        });
        let start = Instant::now();
        let status = get(&server, "/metrics", &basic("alice:secret")).0;
        let took = start.elapsed();
        shared.0.store(true, Ordering::SeqCst);
        // That closes their connections.
        drop(server);
        for guesser in guessers {
            guesser.join().unwrap();
        }
        assert_eq!(status, 200, "guesses {what}");
        assert!(took < Duration::from_secs(10), "guesses {what}: {took:?}");
    }
}

#[test]
fn probes_pass_where_they_are_let() {
    let web = users(&[("alice", "secret", 4)]) + "rate_limit: {interval: 1h, burst: 1}\n";
    for (web, passes) in [(web.clone() + "# probes pass", true), (web, false)] {
        let server = Server::start(&web);
        assert_eq!(get(&server, "/metrics", &basic("alice:secret")).0, 200);
        for path in ["/-/healthy", "/-/ready"] {
            assert_eq!(get(&server, path, "").0 == 200, passes, "{path}");
        }
        for path in ["/metrics", "/", "/-/reload", "/-/healthy/"] {
            assert_eq!(get(&server, path, &basic("alice:secret")).0, 429, "{path}");
        }
    }
}

#[test]
fn the_rate_limit_is_a_bucket_of_tokens() {
    let server = Server::start("rate_limit: {interval: 1h, burst: 3}");
    let statuses: Vec<u16> = (0..5).map(|_| get(&server, "/metrics", "").0).collect();
    assert_eq!(statuses, [200, 200, 200, 429, 429]);
    // A token comes each interval.
    let server = Server::start("rate_limit: {interval: 300ms, burst: 2}");
    let mut let_in = 0;
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(3) {
        let_in += u32::from(get(&server, "/-/healthy", "").0 == 200);
    }
    assert!((8..=13).contains(&let_in), "{let_in}");
}

#[test]
fn headers_are_those_of_the_file() {
    let web = "http_server_config:\n  headers:\n    X-Frame-Options: deny\n    X-XSS-Protection: 0\n    \
        Strict-Transport-Security: max-age=1; includeSubDomains\nrate_limit: {interval: 1h, burst: 2}\n";
    let server = Server::start(&(TLS.to_owned() + web));
    let client = Client {
        protocols: vec![],
        ..server.client()
    };
    for status in [200, 404, 429] {
        let path = if status == 404 {
            "/nowhere"
        } else {
            "/metrics"
        };
        let answer = client.get(&server.addr, path, "").unwrap();
        assert_eq!(answer.status, status);
        for header in [
            "x-frame-options: deny\r\n",
            "x-xss-protection: 0\r\n",
            "strict-transport-security: max-age=1; includesubdomains\r\n",
        ] {
            assert!(
                (answer.head.clone() + "\r\n").contains(header),
                "{}",
                answer.head
            );
        }
        assert!(!answer.head.contains("content-security-policy"));
    }
}

#[test]
fn headers_of_the_file_do_not_take_the_place_of_the_page_s_own() {
    let web = "http_server_config:\n  headers:\n    X-Content-Type-Options: nosniff\n    X-Frame-Options: sameorigin\n    \
        Content-Security-Policy: frame-ancestors 'self'\n";
    let server = Server::start(&(TLS.to_owned() + web));
    for (path, telemetry) in [
        ("/", &["default-src 'none'; script-src 'self'"][..]),
        ("/api/v1/scopes", &["default-src 'none'; frame-ancestors"]),
        ("/metrics", &[]),
    ] {
        let answer = server.client().get(&server.addr, path, "").unwrap();
        assert_eq!(answer.status, 200, "{path}");
        let values = |name: &str| -> Vec<&str> {
            let lines = answer.head.lines();
            lines.filter_map(|line| line.strip_prefix(name)).collect()
        };
        // Browsers keep every one of them.
        let policies = values("content-security-policy: ");
        assert_eq!(policies.len(), telemetry.len() + 1, "{path}: {policies:?}");
        for (policy, telemetry) in policies.iter().zip(telemetry) {
            assert!(policy.starts_with(telemetry), "{path}: {policies:?}");
        }
        assert_eq!(policies.last(), Some(&"frame-ancestors 'self'"));
        assert_eq!(values("x-content-type-options: "), ["nosniff"], "{path}");
        assert_eq!(values("x-frame-options: "), ["sameorigin"], "{path}");
    }
}

#[test]
fn a_client_that_goes_leaves_nothing_behind() {
    let server = Server::start(&users(&[("alice", "secret", 6)]));
    for n in 0..100 {
        let mut socket = server.socket();
        let head = format!(
            "GET /metrics HTTP/1.1\r\nHost: a\r\n{}\r\n",
            basic(format!("alice:{n}"))
        );
        socket.write_all(head.as_bytes()).unwrap();
        socket.shutdown(std::net::Shutdown::Both).unwrap();
        assert!(is_closed(&mut socket));
    }
    until("the queue is empty", || {
        get(&server, "/metrics", &basic("alice:secret")).0 == 200
    });
}
