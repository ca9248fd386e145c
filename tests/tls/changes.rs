//! Files that change while they are served from.

use crate::certificates::Authority;
use crate::server::{Answer, Client, SOON, Server, TLS, until};
use std::io::{Read, Write};
use std::sync::atomic::Ordering;
use tokio::time::Instant;

const LIMITED: &str = "rate_limit: {interval: 1h, burst: 1000000}\n";

fn outcomes(server: &Server) -> [usize; 2] {
    [0, 1].map(|n| server.outcomes[n].load(Ordering::SeqCst))
}

/// Whether a client that trusts this authority is answered.
fn is_served_by(server: &Server, authority: &Authority) -> bool {
    let client = Client {
        authority: authority.pem(),
        ..server.client()
    };
    client.get(&server.addr, "/metrics", "").is_ok()
}

#[test]
fn certificates_are_replaced_and_nobody_is_turned_away() {
    let server = Server::start(TLS);
    let mut kept = server.client().connect(&server.addr).unwrap();
    let new = Authority::new("the next authority");
    let identity = new.server();
    assert!(!is_served_by(&server, &new));
    // One after the other, as most tools do it.
    server.write("server.crt", &identity.certificate);
    server.write("server.key", &identity.key);
    let start = Instant::now();
    while !is_served_by(&server, &new) {
        assert!(is_served_by(&server, &server.authority) || is_served_by(&server, &new));
        assert!(start.elapsed() < SOON);
    }
    assert!(!is_served_by(&server, &server.authority));
    assert_eq!(outcomes(&server), [1, 0]);
    // A connection that was there goes on.
    let head = "GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    kept.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    kept.read_to_string(&mut answer).unwrap();
    assert_eq!(Answer::of(&answer).status, 200);
}

#[test]
fn what_is_broken_keeps_the_old_and_is_told_once() {
    let server = Server::start(&(TLS.to_owned() + LIMITED));
    let mut refused = 0;
    let broken: [(&str, &str); 7] = [
        ("server.key", "no key"),
        ("server.crt", ""),
        ("web.yml", "tls_server_config: {"),
        ("web.yml", "tls_server_configs: {}"),
        ("web.yml", ""),
        ("web.yml", "# nothing\n"),
        ("web.yml", LIMITED),
    ];
    for (name, text) in broken {
        server.write(name, text);
        refused += 1;
        until("it was refused", || outcomes(&server)[1] == refused);
        server.serves_well(text);
    }
    server.remove("web.yml");
    refused += 1;
    until("it was refused", || outcomes(&server)[1] == refused);
    server.serves_well("without the file");
    // Nothing has changed since, so nothing is read.
    std::thread::park_timeout(std::time::Duration::from_secs(3));
    assert_eq!(outcomes(&server), [0, refused]);
    // All is well again.
    let new = Authority::new("the next authority");
    let identity = new.server();
    server.write("server.crt", &identity.certificate);
    server.write("server.key", &identity.key);
    server.write("web.yml", TLS);
    until("it was read", || outcomes(&server)[0] == 1);
    assert!(is_served_by(&server, &new));
}

#[test]
fn a_change_holds_for_connections_that_are_there() {
    let server = Server::start(LIMITED);
    let mut socket = server.socket();
    let mut ask = || {
        socket
            .write_all(b"HEAD /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
            .unwrap();
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            socket.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        Answer::of(std::str::from_utf8(&head).unwrap()).status
    };
    assert_eq!(ask(), 200);
    let hash = bcrypt::hash("secret", 4).unwrap();
    let users = format!("basic_auth_users: {{alice: {hash}}}\n");
    server.write("web.yml", &users);
    until("a password is asked for", || ask() == 401);
    server.write("web.yml", &(users + "rate_limit: {interval: 1h, burst: 1}"));
    until("the limit holds", || ask() == 429);
}

#[test]
fn passwords_do_not_end_without_a_restart() {
    let hash = bcrypt::hash("secret", 4).unwrap();
    let user = |name: &str| format!("basic_auth_users: {{{name}: {hash}}}\n");
    let server = Server::start(&(TLS.to_owned() + &user("alice")));
    let status = || {
        let answer = server.client().get(&server.addr, "/metrics", "");
        answer.unwrap().status
    };
    for (n, without) in ["", "basic_auth_users:\n", "basic_auth_users: {}\n"]
        .into_iter()
        .enumerate()
    {
        server.write("web.yml", &format!("{TLS}{without}# {n}\n"));
        until("it was refused", || outcomes(&server)[1] == n + 1);
        assert_eq!(status(), 401);
    }
    let refused = server.runtime().block_on(server.access.reread());
    let told = refused.unwrap_err().to_string();
    assert!(
        told.ends_with(
            "web.yml: names none of the `basic_auth_users` any more; passwords end only with a restart"
        ),
        "{told}"
    );
    // Another user is no less protection.
    server.write("web.yml", &(TLS.to_owned() + &user("bob")));
    until("it was read", || outcomes(&server)[0] == 1);
    assert_eq!(status(), 401);
}

#[test]
fn tokens_that_were_used_stay_used() {
    let web = "rate_limit: {interval: 1h, burst: 1}\n";
    let server = Server::start(&(TLS.to_owned() + web));
    let ask = || {
        server
            .client()
            .get(&server.addr, "/metrics", "")
            .unwrap()
            .status
    };
    assert_eq!(ask(), 200);
    server.write(
        "web.yml",
        &format!("{TLS}{web}http_server_config: {{http2: false}}\n"),
    );
    until("it was read", || outcomes(&server)[0] == 1);
    assert_eq!(ask(), 429);
}

#[test]
fn tls_can_be_switched_on() {
    let server = Server::start(LIMITED);
    assert!(!is_served_by(&server, &server.authority));
    server.write("web.yml", TLS);
    until("it was read", || outcomes(&server)[0] == 1);
    assert!(is_served_by(&server, &server.authority));
}

#[test]
fn who_asks_for_it_gets_it_read_at_once() {
    let server = Server::start(TLS);
    let new = Authority::new("the next authority");
    let identity = new.server();
    server.write("server.crt", &identity.certificate);
    server.write("server.key", &identity.key);
    server.runtime().block_on(server.access.reread()).unwrap();
    assert!(is_served_by(&server, &new));
    server.write("server.key", "no key");
    let wrong = server
        .runtime()
        .block_on(server.access.reread())
        .unwrap_err();
    assert!(
        wrong.to_string().contains("tls_server_config.key_file"),
        "{wrong}"
    );
    assert!(is_served_by(&server, &new));
}
