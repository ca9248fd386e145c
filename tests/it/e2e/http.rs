//! The HTTP routes: paths, methods, headers and counters, and clients that behave badly.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use glue_integration_exporter::simulator::Account;
use tokio::time::Instant;

use crate::e2e::exposition::Scrape;
use crate::e2e::support::{
    Answer, Daemon, ONE_SCOPE, Process, SOON, Setup, Sim, connect, request, simulator, until,
};

const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Starts a daemon. The simulator and the directory must live as long as it.
fn daemon(flags: &[&str]) -> (Daemon, Setup, Sim) {
    let sim = simulator(Account::generated(3));
    let setup = Setup::new(&sim, ONE_SCOPE);
    let daemon = setup.daemon(flags);
    (daemon, setup, sim)
}

/// Returns the sorted names of the headers.
fn header_names(answer: &Answer) -> Vec<&str> {
    let mut names: Vec<&str> = answer
        .headers
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    names.sort_unstable();
    names
}

#[test]
fn get_and_head_have_the_same_headers() {
    let (daemon, _setup, _sim) = daemon(&[]);
    let mut client = connect(&daemon.addr);
    for path in ["/metrics", "/-/healthy", "/-/ready", "/", "/missing"] {
        let get = client.ask("GET", path, "");
        // A body here would break the next response on this connection.
        let head = client.ask("HEAD", path, "");
        assert_eq!(get.status, head.status, "{path}");
        assert_eq!(header_names(&get), header_names(&head), "{path}");
        assert_eq!(get.header("content-type"), head.header("content-type"));
        let length = |answer: &Answer| -> usize {
            answer.header("content-length").unwrap().parse().unwrap()
        };
        assert_eq!(length(&get), get.body.len());
        // The values of metrics change between the two requests.
        assert!(length(&head).abs_diff(length(&get)) < 200, "{path}");
    }
    let scrape = client.ask("GET", "/metrics", "");
    assert_eq!(scrape.header("content-type"), Some(TEXT));
    Scrape::of(&scrape.body);
}

#[test]
fn paths_and_methods_get_expected_status() {
    let (daemon, _setup, _sim) = daemon(&[]);
    assert_eq!(daemon.get("/metrics").status, 200);
    assert_eq!(daemon.get("/metrics?name=x").status, 200);
    assert_eq!(daemon.get("/-/healthy").status, 200);
    assert_eq!(daemon.get("/-/ready").status, 200);
    let page = daemon.get("/");
    assert_eq!(page.status, 200);
    assert!(
        page.header("content-type")
            .unwrap()
            .starts_with("text/html")
    );
    assert!(page.body.contains("href=\"./metrics\""), "{}", page.body);
    for path in [
        "/missing",
        "/metrics/",
        "//metrics",
        "/-/",
        "/-/quit",
        "/%6detrics",
    ] {
        assert_eq!(daemon.get(path).status, 404, "{path}");
    }
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"] {
        for path in ["/metrics", "/-/healthy", "/-/ready", "/"] {
            let answer = request(&daemon.addr, method, path, "");
            assert_eq!(answer.status, 405, "{method} {path}");
            assert_eq!(answer.header("allow"), Some("GET, HEAD"), "{method} {path}");
        }
        assert_eq!(request(&daemon.addr, method, "/missing", "").status, 404);
    }
    for method in ["GET", "HEAD", "DELETE", "BREW"] {
        let answer = request(&daemon.addr, method, "/-/reload", "");
        assert_eq!(answer.status, 405, "{method}");
        assert_eq!(answer.header("allow"), Some("POST"), "{method}");
    }
    let reload = request(&daemon.addr, "POST", "/-/reload", "Content-Length: 0\r\n");
    assert_eq!(reload.status, 403);
}

#[test]
fn absolute_url_selects_route_by_path() {
    let (daemon, _setup, _sim) = daemon(&[]);
    let url = format!("http://{}/metrics", daemon.addr);
    assert_eq!(daemon.get(&url).status, 200);
    assert_eq!(daemon.get("http://elsewhere.example/-/healthy").status, 200);
    assert_eq!(daemon.get("http://elsewhere.example/missing").status, 404);
    assert_eq!(daemon.get("http://elsewhere.example").status, 200);
}

#[test]
fn connections_are_kept_alive_and_pipelined() {
    let (daemon, _setup, _sim) = daemon(&[]);
    let mut client = connect(&daemon.addr);
    for _ in 0..3 {
        assert_eq!(client.ask("GET", "/metrics", "").status, 200);
    }
    let one = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
    client.send(&[one("/"), one("/missing"), one("/metrics"), one("/-/ready")].concat());
    let statuses: Vec<u16> = (0..4).map(|_| client.answer().status).collect();
    assert_eq!(statuses, [200, 404, 200, 200]);
    assert_eq!(client.ask("GET", "/", "Connection: close\r\n").status, 200);
    assert!(client.is_closed());
    // HTTP/1.0 closes the connection.
    let mut client = connect(&daemon.addr);
    client.send("GET /metrics HTTP/1.0\r\n\r\n");
    assert_eq!(client.answer().status, 200);
    assert!(client.is_closed());
}

#[test]
fn invalid_request_affects_no_other_client() {
    let (daemon, _setup, _sim) = daemon(&[]);
    daemon.scrape();
    let log_before = daemon.process.stderr();
    let fill = "a".repeat(64 * 1024);
    let many: String = (0..2_000).map(|n| format!("X-{n}: {n}\r\n")).collect();
    for invalid in [
        format!("GET /metrics HTTP/1.1\r\nHost: a\r\nX-Fill: {fill}\r\n\r\n"),
        format!("GET /{fill} HTTP/1.1\r\nHost: a\r\n\r\n"),
        format!("GET /metrics HTTP/1.1\r\nHost: a\r\n{many}\r\n"),
        "nonsense\r\n\r\n".to_owned(),
        "GET /metrics HTTP/9.9\r\n\r\n".to_owned(),
        "GET /me trics HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
        "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}".to_owned() + "\r\n\r\n",
    ] {
        let mut stream = TcpStream::connect(&daemon.addr).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        // The server may close the connection before all bytes are sent.
        let _ = stream.write_all(invalid.as_bytes());
        let mut answer = [0; 12];
        let start: String = invalid.chars().take(40).collect();
        if stream.read_exact(&mut answer).is_ok() {
            let answer = String::from_utf8_lossy(&answer).into_owned();
            assert!(answer.starts_with("HTTP/1.1 4"), "{start}: {answer}");
        }
        assert_eq!(daemon.get("/-/healthy").status, 200, "{start}");
    }
    // The server ignores request bodies.
    let answer = request(
        &daemon.addr,
        "POST",
        "/metrics",
        "Content-Length: 1000000000\r\n",
    );
    assert_eq!(answer.status, 405);
    // Nothing of this is logged.
    assert_eq!(daemon.process.stderr(), log_before);
}

#[test]
fn idle_connections_do_not_block_a_scrape() {
    let (daemon, _setup, _sim) = daemon(&[]);
    daemon.scrape();
    let idle: Vec<TcpStream> = (0..600)
        .map(|n| {
            let mut stream = TcpStream::connect(&daemon.addr).unwrap();
            if n % 2 == 0 {
                // Half of the clients have sent a part of a request.
                stream.write_all(b"GET /metrics HTTP/1.1\r\nHo").unwrap();
            }
            stream
        })
        .collect();
    assert!(!daemon.scrape().names_with("aws_glue_").is_empty());
    drop(idle);
}

/// Returns a value from a page that is too large to parse as a whole.
fn value(page: &str, name: &str) -> f64 {
    let line = page.lines().find(|line| line.starts_with(name)).unwrap();
    line.rsplit_once(' ').unwrap().1.parse().unwrap()
}

#[test]
fn unread_pages_take_bounded_memory() {
    let sim = simulator(Account::generated(8_000));
    let daemon = Setup::new(&sim, "scopes: [{name: all, regions: [eu-west-1]}]").daemon(&[]);
    let scrape = || {
        let start = Instant::now();
        let page = daemon.get("/metrics").body;
        let took = start.elapsed();
        (value(&page, "process_resident_memory_bytes ") / 1e6, took)
    };
    scrape();
    let (before, _) = scrape();
    // Sequential scrapes get different pages: 2.7 GB without sharing.
    let unread: Vec<TcpStream> = (0..120)
        .map(|_| {
            let mut stream = TcpStream::connect(&daemon.addr).unwrap();
            stream
                .write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
                .unwrap();
            stream.read_exact(&mut [0; 9]).unwrap();
            stream
        })
        .collect();
    let (after, took) = scrape();
    // More than twice the limit of 128 MiB, since the allocator keeps freed memory of each thread.
    assert!(after < before + 500.0, "{before} MB became {after} MB");
    assert!(took < Duration::from_secs(1), "a scrape took {took:?}");
    drop(unread);
}

#[test]
fn lack_of_descriptors_is_logged_once_and_passes() {
    let sim = simulator(Account::generated(3));
    let setup = Setup::new(&sim, ONE_SCOPE);
    let binary = env!("CARGO_BIN_EXE_glue-integration-exporter");
    let start = format!("ulimit -n 16; exec {binary} --web.listen-address=127.0.0.1:0");
    let process = Process::of(setup.command("/bin/sh", &["-c", &start]));
    let addr = process.addresses(1).remove(0);
    let daemon = Daemon { process, addr };
    let cpu = || {
        let page = daemon.get("/metrics").body;
        page.lines()
            .find_map(|line| line.strip_prefix("process_cpu_seconds_total "))
            .map(|seconds| seconds.parse::<f64>().unwrap())
    };
    until("the first poll is over", SOON, || {
        (daemon.get("/-/ready").status == 200).then_some(())
    });
    let warnings = |log: &str| log.matches("failed to accept a connection").count();
    let idle: Vec<TcpStream> = (0..200)
        .map(|_| TcpStream::connect(&daemon.addr).unwrap())
        .collect();
    for _ in 0..5 {
        assert_eq!(daemon.get("/metrics").status, 200);
    }
    until("a warning is logged", SOON, || {
        (warnings(&daemon.process.stderr()) > 0).then_some(())
    });
    drop(idle);
    let before = until("descriptors are free again", SOON, cpu);
    let start = Instant::now();
    for _ in 0..5 {
        assert_eq!(daemon.get("/metrics").status, 200);
    }
    let log = daemon.process.stderr();
    assert_eq!(warnings(&log), 1, "{log}");
    assert!(!log.contains("panicked"), "{log}");
    let used = until("descriptors are still free", SOON, cpu) - before;
    assert!(used < 1.0, "{used} s of CPU in {:?}", start.elapsed());
}

#[test]
fn telemetry_path_flag_moves_the_metrics() {
    let (daemon, _setup, _sim) = daemon(&["--web.telemetry-path=/m"]);
    let scrape = Scrape::of(&daemon.get("/m").body);
    assert!(!scrape.names_with("aws_glue_").is_empty());
    assert_eq!(daemon.get("/metrics").status, 404);
    assert!(daemon.get("/").body.contains("href=\"./m\""));
    let scrape = Scrape::of(&daemon.get("/m").body);
    let count = |path, code| request_count(&scrape, path, code);
    assert_eq!(count("/m", "200"), Some(1.0));
    assert_eq!(count("other", "404"), Some(1.0));
    assert_eq!(count("/metrics", "404"), None);
}

fn request_count(scrape: &Scrape, path: &str, code: &str) -> Option<f64> {
    scrape.value(
        "glue_integration_exporter_http_requests_total",
        &[("path", path), ("code", code)],
    )
}

#[test]
fn requests_are_counted_by_path_and_code() {
    let (daemon, _setup, _sim) = daemon(&[]);
    let first = daemon.scrape();
    let rows = first.rows("glue_integration_exporter_http_requests_total", &[]);
    assert!(rows.iter().all(|(_, count)| *count == 0.0), "{rows:?}");
    for (path, code) in [
        ("/metrics", "200"),
        ("/metrics", "405"),
        ("/-/healthy", "200"),
        ("/-/healthy", "405"),
        ("/-/ready", "200"),
        ("/-/ready", "503"),
        ("/-/ready", "405"),
        ("/-/reload", "200"),
        ("/-/reload", "403"),
        ("/-/reload", "405"),
        ("/-/reload", "500"),
        ("/", "200"),
        ("/", "405"),
        ("other", "404"),
    ] {
        assert_eq!(
            request_count(&first, path, code),
            Some(0.0),
            "{path} {code}"
        );
    }
    let hits = [
        ("GET", "/", "/", "200"),
        ("HEAD", "/", "/", "200"),
        ("GET", "/-/healthy", "/-/healthy", "200"),
        ("GET", "/secret/path", "other", "404"),
        ("BREW", "/another", "other", "404"),
        ("POST", "/-/reload", "/-/reload", "403"),
        ("DELETE", "/metrics", "/metrics", "405"),
    ];
    for (method, target, _, _) in hits {
        request(&daemon.addr, method, target, "");
    }
    // A scrape is counted after its page is rendered, so the count includes only earlier scrapes.
    let seen = until("the scrapes are counted", SOON, || {
        let scrape = daemon.scrape();
        (request_count(&scrape, "/metrics", "200") >= Some(2.0)).then_some(scrape)
    });
    for (_, _, path, code) in hits {
        let times = hits
            .iter()
            .filter(|hit| (hit.2, hit.3) == (path, code))
            .count();
        assert_eq!(
            request_count(&seen, path, code).map(|count| count.to_string()),
            Some(times.to_string()),
            "{path} {code}"
        );
    }
    // Unknown paths create no series.
    let rows = seen.rows("glue_integration_exporter_http_requests_total", &[]);
    assert!(
        rows.iter()
            .all(|(labels, _)| !labels["path"].contains("secret")),
        "{rows:?}"
    );
}

#[test]
fn soft_limit_of_open_files_is_raised() {
    let sim = simulator(Account::generated(1));
    let setup = Setup::new(&sim, ONE_SCOPE);
    let start = "ulimit -S -n 200; ulimit -H -n 1000; exec \"$0\" --web.listen-address=127.0.0.1:0";
    let exporter = env!("CARGO_BIN_EXE_glue-integration-exporter");
    let process = Process::of(setup.command("sh", &["-c", start, exporter]));
    let addr = process.addresses(1).remove(0);
    let scrape = Daemon { process, addr }.scrape();
    assert_eq!(scrape.value("process_max_fds", &[]), Some(1000.0));
}
