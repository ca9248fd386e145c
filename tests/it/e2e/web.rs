//! Tests of `--web.config.file` with the real binary: who gets a page, invalid files, reloads, and the `health` command.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use glue_integration_exporter::simulator::Account;
use rustix::process::Signal;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::net::TcpStream;

use crate::e2e::support::{
    Client, Daemon, ONE_SCOPE, SOON, STOP, Setup, Sim, request, simulator, until,
};
use crate::support::certificates::{Authority, Identity, write};

/// Returns an entry of `basic_auth_users` with the password `secret`.
fn user(name: &str) -> String {
    format!("  {name}: {}\n", bcrypt::hash("secret", 4).unwrap())
}

const TLS: &str = "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n";
const CLIENTS: &str = "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.crt\n";
/// `alice:secret`.
const ALICE: &str = "Authorization: Basic YWxpY2U6c2VjcmV0\r\n";

/// Creates a directory with `web.yml` and the certificates that it names.
fn setup(sim: &Sim, web: &str) -> (Setup, Authority) {
    let setup = Setup::new(sim, ONE_SCOPE).file("web.yml", web);
    let authority = Authority::new("authority");
    write(setup.dir.path(), &authority);
    (setup, authority)
}

fn tls_stream(
    authority: &Authority,
    identity: Option<&Identity>,
    addr: &str,
) -> StreamOwned<ClientConnection, TcpStream> {
    let mut roots = RootCertStore::empty();
    let certificate = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    roots.add(certificate(&authority.pem())).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match identity {
        Some(identity) => {
            let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
            builder
                .with_client_auth_cert(vec![certificate(&identity.certificate)], key)
                .unwrap()
        }
        None => builder.with_no_client_auth(),
    };
    let name = "localhost".try_into().unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let socket = TcpStream::connect(addr).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    StreamOwned::new(connection, socket)
}

fn reload_successful(page: &str) -> &str {
    let name = "\nglue_integration_exporter_config_last_reload_successful ";
    page.split_once(name).unwrap().1.lines().next().unwrap()
}

#[test]
fn tls_client_certificate_and_password_get_page() {
    let sim = simulator(Account::generated(1));
    let web = format!("{TLS}{CLIENTS}basic_auth_users:\n{}", user("alice"));
    let (setup, authority) = setup(&sim, &web);
    let daemon = setup.daemon(&["--web.config.file=web.yml"]);
    let client = authority.client(vec![]);
    let ask = |headers| {
        let stream = tls_stream(&authority, Some(&client), &daemon.addr);
        Client::over(stream).ask("GET", "/metrics", headers)
    };
    assert_eq!(ask("").status, 401);
    let answer = ask(ALICE);
    assert_eq!(answer.status, 200);
    assert_eq!(reload_successful(&answer.body), "1");
    // The log contains no failed handshakes and no password hashes.
    let log = daemon.process.stderr();
    assert!(log.contains("web configuration loaded"), "{log}");
    assert!(!log.contains("handshake") && !log.contains("$2b$"), "{log}");
    daemon.process.signal(Signal::TERM);
    assert_eq!(daemon.process.ended(STOP).code, Some(0));
}

#[test]
fn failed_handshake_is_logged_at_debug() {
    let sim = simulator(Account::generated(1));
    let (setup, _) = setup(&sim, TLS);
    for (level, logged) in [("info", false), ("debug", true)] {
        let flag = format!("--log.level={level}");
        let daemon = setup.daemon(&["--web.config.file=web.yml", &flag]);
        for _ in 0..5 {
            let stream = TcpStream::connect(&daemon.addr).unwrap();
            Client::over(stream).send("\u{16}\u{3}\u{1}\0\u{1}\0");
        }
        let health = format!("--url=https://{}/-/healthy", daemon.addr);
        until("it is healthy", SOON, || {
            (setup.run(&["health", &health]).code == Some(0)).then_some(())
        });
        let is_logged = || daemon.process.stderr().contains("TLS handshake failed");
        if logged {
            until("it is logged", SOON, || is_logged().then_some(()));
        } else {
            assert!(!is_logged(), "{}", daemon.process.stderr());
        }
    }
}

/// Returns whether a client with this certificate gets the page.
fn gets_page(authority: &Authority, identity: Option<&Identity>, addr: &str) -> bool {
    let mut stream = tls_stream(authority, identity, addr);
    // If the server rejects the client, the write or the read fails, depending on the TLS version and on timing.
    let _ = stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n");
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer.starts_with("HTTP/1.0 200 ")
}

#[test]
fn rejected_client_certificate_is_logged_once() {
    let sim = simulator(Account::generated(1));
    let (setup, authority) = setup(&sim, &format!("{TLS}{CLIENTS}"));
    let daemon = setup.daemon(&["--web.config.file=web.yml", "--log.level=debug"]);
    let foreign = Authority::new("foreign").client(vec![]);
    let same_name = Authority::new("authority").client(vec![]);
    for _ in 0..3 {
        assert!(!gets_page(&authority, None, &daemon.addr));
        assert!(!gets_page(&authority, Some(&same_name), &daemon.addr));
        assert!(!gets_page(&authority, Some(&foreign), &daemon.addr));
    }
    let failed = || {
        let log = daemon.process.stderr();
        (log.matches("TLS handshake failed").count() == 9).then_some(log)
    };
    let log = until("all handshakes failed", SOON, failed);
    for reason in [
        "the client sent no certificate",
        "issued by an unknown authority",
        "another authority of the same name",
    ] {
        let of_reason: Vec<&str> = log.lines().filter(|line| line.contains(reason)).collect();
        let [line] = of_reason[..] else {
            panic!("{reason}: {log}");
        };
        assert!(line.contains("level=INFO"), "{line}");
        let message = "msg=\"rejected client certificate\" address=127.0.0.1:";
        assert!(line.contains(message), "{line}");
    }
    assert!(gets_page(
        &authority,
        Some(&authority.client(vec![])),
        &daemon.addr
    ));
}

#[test]
fn missing_client_ca_uses_system_authorities() {
    let sim = simulator(Account::generated(1));
    for (client_auth, without_certificate) in [
        ("VerifyClientCertIfGiven", true),
        ("RequireAndVerifyClientCert", false),
    ] {
        let web = format!("{TLS}  client_auth_type: {client_auth}\n");
        let (setup, authority) = setup(&sim, &web);
        let roots = setup.path("ca.crt");
        let setup = setup.env("SSL_CERT_FILE", roots.to_str().unwrap());
        let ended = setup.run(&["check", "--web.config.file=web.yml"]);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let message = "verifying client certificates with the system's CA certificates";
        assert!(ended.stdout.contains(message), "{}", ended.stdout);
        let daemon = setup.daemon(&["--web.config.file=web.yml"]);
        assert!(daemon.process.stderr().contains(message));
        let (ours, foreign) = (&authority, &Authority::new("authority"));
        let addr = &daemon.addr;
        assert_eq!(
            gets_page(ours, None, addr),
            without_certificate,
            "{client_auth}"
        );
        assert!(gets_page(ours, Some(&ours.client(vec![])), addr));
        assert!(!gets_page(ours, Some(&foreign.client(vec![])), addr));
    }
}

#[test]
fn empty_web_config_flag_is_ignored() {
    let sim = simulator(Account::generated(1));
    let setup = Setup::new(&sim, ONE_SCOPE);
    let daemon = setup.daemon(&["--web.config.file="]);
    assert_eq!(daemon.get("/metrics").status, 200);
    let ended = setup.run(&["check", "--web.config.file", ""]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(!ended.stdout.contains("Serves "), "{}", ended.stdout);
}

#[test]
fn invalid_web_config_exits_with_2() {
    let sim = simulator(Account::generated(1));
    let web = "tls_server_config: {cert_file: server.crt}\nbasic_auth_users: {alice: SECRET}\n";
    let (setup, _) = setup(&sim, web);
    let message = "web.yml:1:20: tls_server_config: `key` or `key_file` is missing\n\
        web.yml:2:27: basic_auth_users.alice: `***` is not a bcrypt hash; allowed: ";
    for args in [
        &[
            "--web.config.file=web.yml",
            "--web.listen-address=127.0.0.1:0",
        ][..],
        &[
            "demo",
            "--web.config.file=web.yml",
            "--web.listen-address=127.0.0.1:0",
        ],
        &["check", "--web.config.file=web.yml"],
    ] {
        let ended = setup.run(args);
        assert_eq!(ended.code, Some(2), "{args:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(message), "{args:?}: {}", ended.stderr);
        assert!(!ended.stderr.contains("SECRET"), "{}", ended.stderr);
    }
    let ended = setup.run(&["check", "--web.config.file=nowhere.yml"]);
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    let message = "nowhere.yml: cannot be read: No such file";
    assert!(ended.stderr.contains(message), "{}", ended.stderr);
}

#[test]
fn check_describes_valid_web_config() {
    let sim = simulator(Account::generated(1));
    let web = format!(
        "{TLS}  min_version: TLS11\nbasic_auth_users:\n{}",
        user("alice")
    );
    let (setup, _) = setup(&sim, &web);
    let ended = setup.run(&["check", "--web.config.file=web.yml"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let message =
        "Serves TLS, with a password for 1 user.\ntls_server_config.min_version: TLS 1.0 and ";
    assert!(ended.stdout.contains(message), "{}", ended.stdout);
}

/// Fetches the page as alice over plain HTTP.
fn page(daemon: &Daemon) -> Option<String> {
    let answer = request(&daemon.addr, "GET", "/metrics", ALICE);
    (answer.status == 200).then_some(answer.body)
}

#[test]
fn invalid_reload_is_logged_once_and_in_gauge() {
    let sim = simulator(Account::generated(1));
    let web = format!("basic_auth_users:\n{}", user("alice"));
    let (setup, _) = setup(&sim, &web);
    let daemon = setup.daemon(&["--web.config.file=web.yml", "--web.enable-lifecycle"]);
    assert_eq!(reload_successful(&page(&daemon).unwrap()), "1");
    fs::write(setup.path("web.yml"), "basic_auth_users: {alice: SECRET}").unwrap();
    until("the gauge changes", SOON, || {
        (reload_successful(&page(&daemon)?) == "0").then_some(())
    });
    let refusals = || {
        let refused = "invalid web configuration, keeping the previous one";
        daemon.process.stderr().matches(refused).count()
    };
    until("the log has it", SOON, || (refusals() == 1).then_some(()));
    // The configuration of the scopes is valid, but the web configuration is still invalid.
    let reload = |headers| request(&daemon.addr, "POST", "/-/reload", headers);
    assert_eq!(reload("").status, 401);
    let answer = reload(ALICE);
    assert_eq!(answer.status, 500);
    assert!(
        answer
            .body
            .contains("basic_auth_users.alice: `***` is not a bcrypt hash"),
        "{}",
        answer.body
    );
    assert!(!answer.body.contains("SECRET"), "{}", answer.body);
    assert_eq!(reload_successful(&page(&daemon).unwrap()), "0");
    until("the log has it", SOON, || (refusals() == 2).then_some(()));
    // After the fix, both users have access.
    let web = format!("basic_auth_users:\n{}{}", user("alice"), user("bob"));
    fs::write(setup.path("web.yml"), web).unwrap();
    daemon.process.signal(Signal::HUP);
    until("the gauge changes", SOON, || {
        (reload_successful(&page(&daemon)?) == "1").then_some(())
    });
    let bob = "Authorization: Basic Ym9iOnNlY3JldA==\r\n";
    assert_eq!(request(&daemon.addr, "GET", "/metrics", bob).status, 200);
    assert_eq!(reload(ALICE).status, 200);
}

#[test]
fn health_verifies_tls_certificate() {
    let sim = simulator(Account::generated(1));
    let (setup, _) = setup(&sim, TLS);
    let setup = setup.file("other.crt", &Authority::new("authority").pem());
    let daemon = setup.daemon(&["--web.config.file=web.yml"]);
    let port = daemon.addr.rsplit_once(':').unwrap().1;
    for (host, ca_file, code, message) in [
        ("https://127.0.0.1", None, 0, ""),
        ("https://localhost", None, 0, ""),
        ("https://127.0.0.1", Some("ca.crt"), 0, ""),
        ("https://localhost", Some("ca.crt"), 0, ""),
        (
            "https://127.0.0.1",
            Some("other.crt"),
            1,
            "the TLS handshake with",
        ),
        // The certificate does not contain this address.
        ("https://127.0.0.2", Some("ca.crt"), 1, "127.0.0.2"),
        (
            "https://127.0.0.1",
            Some("nowhere.crt"),
            1,
            "reading nowhere.crt",
        ),
        (
            "https://127.0.0.1",
            Some("/dev/zero"),
            1,
            "reading /dev/zero: it is a device; allowed: a regular file",
        ),
        (
            "https://127.0.0.1",
            Some("config.yaml"),
            1,
            "no CA certificate found",
        ),
        // Plain HTTP to a TLS port is unhealthy.
        (
            "http://127.0.0.1",
            None,
            1,
            "the server responded with 400 Bad Request",
        ),
        ("ftp://127.0.0.1", None, 1, "is not a supported URL"),
    ] {
        let url = format!("--url={host}:{port}/-/healthy");
        let ca_file = ca_file.map(|file| format!("--ca-file={file}"));
        let args: Vec<&str> = ["health", &url]
            .into_iter()
            .chain(ca_file.as_deref())
            .collect();
        let ended = setup.run(&args);
        assert_eq!(ended.code, Some(code), "{args:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(message), "{args:?}: {}", ended.stderr);
        assert_eq!(ended.stderr.is_empty(), code == 0, "{}", ended.stderr);
    }
}

#[test]
fn health_with_client_auth_and_passwords() {
    let sim = simulator(Account::generated(1));
    let web = format!("{TLS}{CLIENTS}basic_auth_users:\n{}", user("alice"));
    let (setup, _) = setup(&sim, &web);
    let socket = setup.path("socket");
    let listen = format!("--web.listen-address=unix:{}", socket.display());
    let over_socket = format!("--url=unix:{}", socket.display());
    for (flag, code) in [
        ("--web.probes-without-auth", 0),
        ("--web.enable-lifecycle", 1),
    ] {
        let daemon = setup.daemon(&["--web.config.file=web.yml", &listen, flag]);
        daemon.process.addresses(2);
        let url = format!("--url=https://{}/-/healthy", daemon.addr);
        let ended = setup.run(&["health", &url]);
        assert_eq!(ended.code, Some(1), "{}", ended.stderr);
        assert!(
            ended.stderr.to_lowercase().contains("certificate"),
            "{}",
            ended.stderr
        );
        // Unix sockets serve plain HTTP, for example to a proxy on the same machine.
        let ended = setup.run(&["health", &over_socket]);
        assert_eq!(ended.code, Some(code), "{}", ended.stderr);
        assert_eq!(ended.stderr.contains("401"), code == 1, "{}", ended.stderr);
        let mut proxy = Client::over(UnixStream::connect(&socket).unwrap());
        assert_eq!(proxy.ask("GET", "/metrics", ALICE).status, 200);
        assert_eq!(proxy.ask("GET", "/metrics", "").status, 401);
    }
    let ended = setup.run(&["health", &over_socket]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let web = format!("{TLS}basic_auth_users:\n{}", user("alice"));
    let setup = setup.file("passwords.yml", &web);
    let daemon = setup.daemon(&["--web.config.file=passwords.yml"]);
    for (password, code) in [("secret", 0), ("%73ecret", 0), ("wrong", 1)] {
        let url = format!("--url=https://alice:{password}@{}/-/healthy", daemon.addr);
        let ended = setup.run(&["health", &url]);
        assert_eq!(ended.code, Some(code), "{}", ended.stderr);
        assert!(!ended.stderr.contains(password), "{}", ended.stderr);
    }
}
