//! Changes of the web configuration, its certificates and its keys while the server runs.

use crate::support::certificates::Authority;
use crate::tls::server::{Client, Response, Server, TIMEOUT, TLS, wait_until};
use std::io::{Read, Write};
use std::sync::atomic::Ordering;
use tokio::time::Instant;

const RATE_LIMIT: &str = "rate_limit: {interval: 1h, burst: 1000000}\n";

fn rereads(server: &Server) -> [usize; 2] {
    [0, 1].map(|n| server.rereads[n].load(Ordering::SeqCst))
}

/// Returns true if a client that trusts only `authority` gets a response.
fn serves_certificate_of(server: &Server, authority: &Authority) -> bool {
    let client = Client {
        authority: authority.pem(),
        ..server.client()
    };
    client.get(&server.addr, "/metrics", "").is_ok()
}

#[test]
fn new_certificate_rejects_no_client() {
    let server = Server::start(TLS);
    let mut kept = server.client().connect(&server.addr).unwrap();
    let new = Authority::new("the next authority");
    let identity = new.server();
    assert!(!serves_certificate_of(&server, &new));
    // Most tools replace the files one after the other.
    server.write("server.crt", &identity.certificate);
    server.write("server.key", &identity.key);
    let start = Instant::now();
    while !serves_certificate_of(&server, &new) {
        assert!(
            serves_certificate_of(&server, &server.authority)
                || serves_certificate_of(&server, &new)
        );
        assert!(start.elapsed() < TIMEOUT);
    }
    assert!(!serves_certificate_of(&server, &server.authority));
    assert_eq!(rereads(&server), [1, 0]);
    // Open connections stay usable.
    let head = "GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    kept.write_all(head.as_bytes()).unwrap();
    let mut response = String::new();
    kept.read_to_string(&mut response).unwrap();
    assert_eq!(Response::parse(&response).status, 200);
}

#[test]
fn invalid_file_keeps_previous_config() {
    let server = Server::start(&(TLS.to_owned() + RATE_LIMIT));
    let mut failed = 0;
    let invalid: [(&str, &str); 7] = [
        ("server.key", "no key"),
        ("server.crt", ""),
        ("web.yml", "tls_server_config: {"),
        ("web.yml", "tls_server_configs: {}"),
        ("web.yml", ""),
        ("web.yml", "# nothing\n"),
        ("web.yml", RATE_LIMIT),
    ];
    for (name, text) in invalid {
        server.write(name, text);
        failed += 1;
        wait_until("the reread fails", || rereads(&server)[1] == failed);
        server.assert_serves(text);
    }
    server.remove("web.yml");
    failed += 1;
    wait_until("the reread fails", || rereads(&server)[1] == failed);
    server.assert_serves("without the file");
    // The files have not changed since, so there is no further reread.
    std::thread::park_timeout(std::time::Duration::from_secs(3));
    assert_eq!(rereads(&server), [0, failed]);
    // A valid configuration is loaded again.
    let new = Authority::new("the next authority");
    let identity = new.server();
    server.write("server.crt", &identity.certificate);
    server.write("server.key", &identity.key);
    server.write("web.yml", TLS);
    wait_until("the reread succeeds", || rereads(&server)[0] == 1);
    assert!(serves_certificate_of(&server, &new));
}

#[test]
fn change_applies_to_open_connections() {
    let server = Server::start(RATE_LIMIT);
    let mut socket = server.socket();
    let mut status = || {
        socket
            .write_all(b"HEAD /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
            .unwrap();
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            socket.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        Response::parse(std::str::from_utf8(&head).unwrap()).status
    };
    assert_eq!(status(), 200);
    let hash = bcrypt::hash("secret", 4).unwrap();
    let users = format!("basic_auth_users: {{alice: {hash}}}\n");
    server.write("web.yml", &users);
    wait_until("a password is required", || status() == 401);
    server.write("web.yml", &(users + "rate_limit: {interval: 1h, burst: 1}"));
    wait_until("the limit applies", || status() == 429);
}

#[test]
fn reread_does_not_turn_off_passwords() {
    let hash = bcrypt::hash("secret", 4).unwrap();
    let user = |name: &str| format!("basic_auth_users: {{{name}: {hash}}}\n");
    let server = Server::start(&(TLS.to_owned() + &user("alice")));
    let status = || {
        let response = server.client().get(&server.addr, "/metrics", "");
        response.unwrap().status
    };
    for (n, without) in ["", "basic_auth_users:\n", "basic_auth_users: {}\n"]
        .into_iter()
        .enumerate()
    {
        server.write("web.yml", &format!("{TLS}{without}# {n}\n"));
        wait_until("the reread fails", || rereads(&server)[1] == n + 1);
        assert_eq!(status(), 401);
    }
    let reread = server.runtime().block_on(server.access.reread());
    let error = reread.unwrap_err().to_string();
    assert!(
        error.ends_with(
            "web.yml: no longer has any `basic_auth_users`; restart the exporter to turn off basic auth"
        ),
        "{error}"
    );
    // Replacing all users is allowed.
    server.write("web.yml", &(TLS.to_owned() + &user("bob")));
    wait_until("the reread succeeds", || rereads(&server)[0] == 1);
    assert_eq!(status(), 401);
}

#[test]
fn reread_does_not_refill_rate_limit() {
    let web = "rate_limit: {interval: 1h, burst: 1}\n";
    let server = Server::start(&(TLS.to_owned() + web));
    let status = || {
        server
            .client()
            .get(&server.addr, "/metrics", "")
            .unwrap()
            .status
    };
    assert_eq!(status(), 200);
    server.write(
        "web.yml",
        &format!("{TLS}{web}http_server_config: {{http2: false}}\n"),
    );
    wait_until("the reread succeeds", || rereads(&server)[0] == 1);
    assert_eq!(status(), 429);
}

#[test]
fn reread_can_turn_on_tls() {
    let server = Server::start(RATE_LIMIT);
    assert!(!serves_certificate_of(&server, &server.authority));
    server.write("web.yml", TLS);
    wait_until("the reread succeeds", || rereads(&server)[0] == 1);
    assert!(serves_certificate_of(&server, &server.authority));
}

#[test]
fn explicit_reread_applies_at_once() {
    let server = Server::start(TLS);
    let new = Authority::new("the next authority");
    let identity = new.server();
    server.write("server.crt", &identity.certificate);
    server.write("server.key", &identity.key);
    server.runtime().block_on(server.access.reread()).unwrap();
    assert!(serves_certificate_of(&server, &new));
    server.write("server.key", "no key");
    let error = server
        .runtime()
        .block_on(server.access.reread())
        .unwrap_err();
    assert!(
        error.to_string().contains("tls_server_config.key_file"),
        "{error}"
    );
    assert!(serves_certificate_of(&server, &new));
}
