//! Basic auth, headers and the rate limit.

use crate::tls::server::{MAX_SCRAPE_TIME, Server, TLS, is_closed, wait_until};
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

/// Sends a request over plain HTTP and returns the status and the whole response.
fn get(server: &Server, path: &str, headers: &str) -> (u16, String) {
    let mut socket = server.socket();
    let head = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{headers}\r\n");
    socket.write_all(head.as_bytes()).unwrap();
    let mut response = String::new();
    socket.read_to_string(&mut response).unwrap();
    (response[9..12].parse().unwrap(), response)
}

#[test]
fn basic_auth_accepts_valid_credentials() {
    let all = users(&[
        ("alice", "pass:word", 4),
        ("bob", "", 4),
        ("\"\"", "nobody", 4),
        ("zoë", "ü", 4),
    ]);
    let server = Server::start(&all);
    let long = "a".repeat(80);
    for (name, headers, status) in [
        ("no header", String::new(), 401),
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
        ("a zero byte at the end", basic("alice:pass:word\0"), 401),
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
            "two headers; the first one is used",
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
            let (found, response) = get(&server, path, &headers);
            assert_eq!(found, expected, "{name} {path}");
            let has_challenge = response
                .to_lowercase()
                .contains("www-authenticate: basic\r\n");
            assert_eq!(has_challenge, expected == 401, "{response}");
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
fn unknown_user_takes_as_long_as_wrong_password() {
    // The first user has a faster hash.
    let server = Server::start(&users(&[("aaron", "other", 4), ("alice", "secret", 10)]));
    let time_of = |credentials: String| {
        let start = Instant::now();
        assert_eq!(get(&server, "/metrics", &basic(credentials)).0, 401);
        start.elapsed()
    };
    // Alternating requests and minimums, because other tests keep the machine busy.
    let (mut wrong, mut unknown) = (Duration::MAX, Duration::MAX);
    for n in 0..10 {
        wrong = wrong.min(time_of(format!("alice:{n}")));
        unknown = unknown.min(time_of(format!("mallory{n}:secret")));
    }
    let ratio = unknown.as_secs_f64() / wrong.as_secs_f64();
    assert!((0.25..4.0).contains(&ratio), "{unknown:?} and {wrong:?}");
    // A correct password is not hashed again.
    assert_eq!(get(&server, "/metrics", &basic("alice:secret")).0, 200);
    let start = Instant::now();
    assert_eq!(get(&server, "/metrics", &basic("alice:secret")).0, 200);
    assert!(start.elapsed() < wrong);
}

#[test]
fn guesses_do_not_delay_verified_user() {
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
        assert!(took < MAX_SCRAPE_TIME, "a scrape took {took:?}");
    }
    // All but a few guesses of a client are refused at once.
    wait_until("guesses are refused", || {
        let page = get(&server, "/metrics", &basic("alice:secret")).1;
        let row = "http_requests_total{path=\"/metrics\",code=\"503\"} ";
        let (_, count) = page.split_once(row).unwrap();
        let count: usize = count.lines().next().unwrap().parse().unwrap();
        (300..=392).contains(&count)
    });
    drop(guesses);
}

/// Starts a client at `address` that tries one password after the other, each on a new connection, until the flag in `shared` is set.
fn start_guessing(
    server: &Server,
    address: Ipv4Addr,
    shared: &Arc<(AtomicBool, AtomicUsize)>,
) -> JoinHandle<()> {
    let (server, shared) = (
        server.addr.parse::<SocketAddr>().unwrap(),
        Arc::clone(shared),
    );
    std::thread::spawn(move || {
        let (is_stopped, responses) = &*shared;
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
        while !is_stopped.load(Ordering::SeqCst) {
            number += 1;
            if guess(number).is_ok() {
                responses.fetch_add(1, Ordering::SeqCst);
            }
        }
    })
}

#[test]
fn guesses_of_100_clients_delay_no_scraper() {
    for (source, first, step) in [
        ("from one address", [127, 0, 1, 1], 0),
        ("from 100 addresses", [127, 0, 2, 1], 1),
    ] {
        let server = Server::start(&users(&[("alice", "secret", 6)]));
        let shared: Arc<(AtomicBool, AtomicUsize)> = Arc::default();
        let guessers: Vec<_> = (0..100)
            .map(|number| {
                let address = Ipv4Addr::from_bits(Ipv4Addr::from(first).to_bits() + step * number);
                start_guessing(&server, address, &shared)
            })
            .collect();
        wait_until("guesses get responses", || {
            shared.1.load(Ordering::SeqCst) > 20
        });
        let start = Instant::now();
        let status = get(&server, "/metrics", &basic("alice:secret")).0;
        let took = start.elapsed();
        shared.0.store(true, Ordering::SeqCst);
        // Dropping the server closes the connections of the guessing clients.
        drop(server);
        for guesser in guessers {
            guesser.join().unwrap();
        }
        assert_eq!(status, 200, "guesses {source}");
        assert!(took < Duration::from_secs(10), "guesses {source}: {took:?}");
    }
}

#[test]
fn exempt_probes_need_no_password() {
    let web = users(&[("alice", "secret", 4)]) + "rate_limit: {interval: 1h, burst: 1}\n";
    for (web, exempt) in [(web.clone() + "# probes exempt", true), (web, false)] {
        let server = Server::start(&web);
        assert_eq!(get(&server, "/metrics", &basic("alice:secret")).0, 200);
        for path in ["/-/healthy", "/-/ready"] {
            assert_eq!(get(&server, path, "").0 == 200, exempt, "{path}");
        }
        for path in ["/metrics", "/", "/-/reload", "/-/healthy/"] {
            assert_eq!(get(&server, path, &basic("alice:secret")).0, 429, "{path}");
        }
    }
}

#[test]
fn rate_limit_is_a_token_bucket() {
    let server = Server::start("rate_limit: {interval: 1h, burst: 3}");
    let statuses: Vec<u16> = (0..5).map(|_| get(&server, "/metrics", "").0).collect();
    assert_eq!(statuses, [200, 200, 200, 429, 429]);
    // The bucket gets one token per interval.
    let server = Server::start("rate_limit: {interval: 300ms, burst: 2}");
    let mut accepted = 0;
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(3) {
        accepted += u32::from(get(&server, "/-/healthy", "").0 == 200);
    }
    assert!((8..=13).contains(&accepted), "{accepted}");
}

#[test]
fn responses_have_configured_headers() {
    let web = "http_server_config:\n  headers:\n    X-Frame-Options: deny\n    X-XSS-Protection: 0\n    \
        Strict-Transport-Security: max-age=1; includeSubDomains\nrate_limit: {interval: 1h, burst: 2}\n";
    let server = Server::start(&(TLS.to_owned() + web));
    let client = server.client();
    for status in [200, 404, 429] {
        let path = if status == 404 {
            "/nowhere"
        } else {
            "/metrics"
        };
        let response = client.get(&server.addr, path, "").unwrap();
        assert_eq!(response.status, status);
        for header in [
            "x-frame-options: deny\r\n",
            "x-xss-protection: 0\r\n",
            "strict-transport-security: max-age=1; includesubdomains\r\n",
        ] {
            assert!(
                (response.head.clone() + "\r\n").contains(header),
                "{}",
                response.head
            );
        }
        assert!(!response.head.contains("content-security-policy"));
    }
}

#[test]
fn configured_headers_keep_own_headers() {
    let web = "http_server_config:\n  headers:\n    X-Content-Type-Options: nosniff\n    X-Frame-Options: sameorigin\n    \
        Content-Security-Policy: frame-ancestors 'self'\n";
    let server = Server::start(&(TLS.to_owned() + web));
    for (path, own) in [
        ("/", &["default-src 'none'; script-src 'self'"][..]),
        ("/api/v1/scopes", &["default-src 'none'; frame-ancestors"]),
        ("/metrics", &[]),
    ] {
        let response = server.client().get(&server.addr, path, "").unwrap();
        assert_eq!(response.status, 200, "{path}");
        let values = |name: &str| -> Vec<&str> {
            let lines = response.head.lines();
            lines.filter_map(|line| line.strip_prefix(name)).collect()
        };
        // Browsers enforce all policies of a response.
        let policies = values("content-security-policy: ");
        assert_eq!(policies.len(), own.len() + 1, "{path}: {policies:?}");
        for (policy, own) in policies.iter().zip(own) {
            assert!(policy.starts_with(own), "{path}: {policies:?}");
        }
        assert_eq!(policies.last(), Some(&"frame-ancestors 'self'"));
        assert_eq!(values("x-content-type-options: "), ["nosniff"], "{path}");
        assert_eq!(values("x-frame-options: "), ["sameorigin"], "{path}");
    }
}

#[test]
fn disconnected_clients_leave_the_queue() {
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
    wait_until("the queue is empty", || {
        get(&server, "/metrics", &basic("alice:secret")).0 == 200
    });
}
