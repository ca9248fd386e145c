//! Listeners: TCP, several addresses, IPv6, Unix sockets, and the sockets that systemd passes.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;

use glue_integration_exporter::simulator::Account;
use rustix::process::Signal;
use socket2::{Domain, SockAddr, Socket, Type};

use crate::e2e::support::{
    Answer, Client, ONE_SCOPE, Process, SOON, STOP, Setup, request, simulator, until,
};

fn scrape_over_unix(path: &Path) -> Answer {
    let stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    Client::over(stream).ask("GET", "/metrics", "")
}

#[test]
fn port_in_use_exits_with_1() {
    let sim = simulator(Account::generated(1));
    let setup = Setup::new(&sim, ONE_SCOPE);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let flag = format!("--web.listen-address={addr}");
    for args in [&[flag.as_str()][..], &["demo", &flag]] {
        let ended = setup.run(args);
        assert_eq!(ended.code, Some(1), "{}", ended.stderr);
        assert!(ended.stderr.contains(&addr), "{}", ended.stderr);
    }
    let ended = setup.run(&["simulate", &format!("--listen-address={addr}")]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains(&addr), "{}", ended.stderr);
}

#[test]
fn several_addresses_and_ipv6_are_served() {
    let sim = simulator(Account::generated(1));
    let setup = Setup::new(&sim, ONE_SCOPE);
    let mut flags = vec![
        "--web.listen-address=127.0.0.1:0",
        "--web.listen-address=localhost:0",
        "--web.listen-address=:0",
        "--web.listen-address=0.0.0.0:0",
    ];
    // Not every machine has IPv6.
    let ipv6 = TcpListener::bind("[::1]:0").is_ok();
    if ipv6 {
        flags.push("--web.listen-address=[::1]:0");
        flags.push("--web.listen-address=[::]:0");
    }
    let process = setup.start(&flags);
    let addresses = process.addresses(flags.len());
    for address in &addresses {
        let port = address.rsplit_once(':').unwrap().1;
        assert_ne!(port, "0", "{address}");
        // An empty host means every address of this machine.
        let reached = address
            .replace("0.0.0.0", "127.0.0.1")
            .replace("[::]", "127.0.0.1");
        assert_eq!(request(&reached, "GET", "/metrics", "").status, 200);
        if address.starts_with("[::]") {
            let reached = address.replace("[::]", "[::1]");
            assert_eq!(request(&reached, "GET", "/metrics", "").status, 200);
        }
        assert_eq!(
            address.starts_with("0.0.0.0"),
            address == &addresses[3] || !ipv6 && address == &addresses[2]
        );
    }
    let v6 = addresses
        .iter()
        .any(|address| address.starts_with("[::1]:"));
    assert_eq!(v6, ipv6, "{addresses:?}");
}

#[test]
fn hosts_in_brackets_bind_as_in_go() {
    let sim = simulator(Account::generated(1));
    let setup = Setup::new(&sim, ONE_SCOPE);
    let mut hosts = vec![("[localhost]", "127.0.0.1:"), ("[127.0.0.1]", "127.0.0.1:")];
    // Not every machine has IPv6.
    if TcpListener::bind("[::1]:0").is_ok() {
        hosts.push(("[::1%lo]", "[::1]:"));
        hosts.push(("[::1%nowhere]", "[::1]:"));
    }
    for (host, bound) in hosts {
        let process = setup.start(&[&format!("--web.listen-address={host}:0")]);
        let address = process.addresses(1).remove(0);
        assert!(address.starts_with(bound), "{host}: {address}");
        assert_eq!(request(&address, "GET", "/metrics", "").status, 200);
    }
    // The error for a link-local address names the interface too.
    let ended = setup.run(&["--web.listen-address=[fe80::1%nowhere]:0"]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("[fe80::1%nowhere]:0"),
        "{}",
        ended.stderr
    );
}

#[test]
fn unix_socket_is_removed_and_stale_one_replaced() {
    let sim = simulator(Account::generated(1));
    let setup = Setup::new(&sim, ONE_SCOPE);
    let path = setup.path("socket");
    let flag = format!("--web.listen-address=unix:{}", path.display());
    let start = || {
        let process = setup.start(&[&flag]);
        process.addresses(1);
        assert_eq!(scrape_over_unix(&path).status, 200);
        process
    };

    let killed = start();
    killed.signal(Signal::KILL);
    assert_eq!(killed.ended(STOP).code, None);
    assert!(path.exists(), "a killed process leaves its socket");

    let running = start();
    // The socket of a running process is not replaced.
    let second = setup.run(&[&flag]);
    assert_eq!(second.code, Some(1), "{}", second.stderr);
    assert_eq!(scrape_over_unix(&path).status, 200);

    running.signal(Signal::TERM);
    assert_eq!(running.ended(STOP).code, Some(0));
    assert!(!path.exists());
}

#[test]
fn unix_socket_mode_follows_the_umask() {
    let sim = simulator(Account::generated(1));
    let setup = Setup::new(&sim, ONE_SCOPE);
    let path = setup.path("socket");
    let flag = format!("--web.listen-address=unix:{}", path.display());
    let binary = env!("CARGO_BIN_EXE_glue-integration-exporter");
    for (umask, mode) in [("022", 0o755), ("007", 0o770), ("077", 0o700)] {
        let script = format!("umask {umask}; exec \"$0\" \"$1\"");
        let process = Process::of(setup.command("/bin/sh", &["-c", &script, binary, &flag]));
        process.addresses(1);
        let found = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(found, mode, "{found:o}");
        process.signal(Signal::TERM);
        assert_eq!(process.ended(STOP).code, Some(0));
    }
}

#[test]
fn stop_keeps_socket_of_another_process() {
    let sim = simulator(Account::generated(1));
    let setup = Setup::new(&sim, ONE_SCOPE);
    let path = setup.path("socket");
    let flag = format!("--web.listen-address=unix:{}", path.display());
    let first = setup.start(&[&flag]);
    first.addresses(1);
    fs::remove_file(&path).unwrap();
    let second = setup.start(&[&flag]);
    second.addresses(1);
    first.signal(Signal::TERM);
    assert_eq!(first.ended(STOP).code, Some(0));
    assert_eq!(scrape_over_unix(&path).status, 200);
}

#[test]
fn unix_socket_path_with_file_exits_with_1() {
    let sim = simulator(Account::generated(1));
    let setup = Setup::new(&sim, ONE_SCOPE).file("socket", "precious");
    let path = setup.path("socket");
    let flag = format!("--web.listen-address=unix:{}", path.display());
    let ended = setup.run(&[&flag]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("socket"), "{}", ended.stderr);
    assert_eq!(fs::read_to_string(path).unwrap(), "precious");
}

#[test]
fn unix_sockets_in_use_are_not_replaced() {
    let sim = simulator(Account::generated(1));
    let setup = Setup::new(&sim, ONE_SCOPE);
    let assert_not_replaced = |path: &Path| {
        let before = fs::metadata(path).unwrap().ino();
        let flag = format!("--web.listen-address=unix:{}", path.display());
        let ended = setup.run(&[&flag]);
        assert_eq!(ended.code, Some(1), "{}", ended.stderr);
        assert!(ended.stderr.contains("in use"), "{}", ended.stderr);
        assert!(ended.took < SOON, "{:?}", ended.took);
        assert_eq!(fs::metadata(path).unwrap().ino(), before);
    };
    // A datagram socket, such as that of a syslog daemon.
    let datagrams = setup.path("datagrams");
    let bound = UnixDatagram::bind(&datagrams).unwrap();
    assert_not_replaced(&datagrams);
    // A listener that accepts no connections and whose queue is full.
    let busy = setup.path("busy");
    let listener = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    let address = SockAddr::unix(&busy).unwrap();
    listener.bind(&address).unwrap();
    listener.listen(1).unwrap();
    let mut waiting = Vec::new();
    loop {
        let client = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        client.set_nonblocking(true).unwrap();
        let connected = client.connect(&address);
        waiting.push(client);
        if connected.is_err() {
            break;
        }
    }
    assert_not_replaced(&busy);
    drop((bound, listener, waiting));
}

#[test]
fn systemd_socket_is_served() {
    let sim = simulator(Account::generated(1));
    let setup = Setup::new(&sim, ONE_SCOPE);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    let process = setup.passed(listener.into());
    assert_eq!(process.addresses(1)[0], addr);
    assert_eq!(request(&addr, "GET", "/metrics", "").status, 200);
    process.signal(Signal::TERM);
    assert_eq!(process.ended(STOP).code, Some(0));
}

#[test]
fn systemd_socket_missing_exits_with_1() {
    let sim = simulator(Account::generated(1));
    let setup = Setup::new(&sim, ONE_SCOPE);
    let mut process = setup.start(&["--web.systemd-socket"]);
    until("it ends", SOON, || process.has_ended().then_some(()));
    let ended = process.ended(STOP);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("systemd"), "{}", ended.stderr);
    assert!(ended.stderr.contains("LISTEN_FDS"), "{}", ended.stderr);
}
