//! TLS handshakes: client certificates, versions, cipher suites and curves, and clients that do not complete a handshake.

use crate::support::certificates::{Authority, Identity};
use crate::tls::server::{Client, Server, TIMEOUT, TLS, is_closed, without_timeouts};
use glue_integration_exporter::http::Limits;
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair, SanType,
    date_time_ymd,
};
use rustls::crypto::aws_lc_rs::{cipher_suite, kx_group};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConnection, StreamOwned, SupportedProtocolVersion};
use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

const ONLY_12: &[&SupportedProtocolVersion] = &[&TLS12];
const ONLY_13: &[&SupportedProtocolVersion] = &[&TLS13];

fn with_tls(more: &str) -> String {
    format!("tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n{more}")
}

fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

/// Returns the status of a scrape, or `None` if the handshake failed.
fn status(server: &Server, client: &Client) -> Option<u16> {
    let response = client.get(&server.addr, "/metrics", "");
    response.ok().map(|response| response.status)
}

#[test]
fn client_auth_type_decides_on_certificate() {
    // Whether a client is accepted without a certificate, with one of the authority, with one of another authority.
    let types = [
        ("NoClientCert", "", [true, true, true]),
        ("RequestClientCert", "", [true, true, true]),
        ("RequireAnyClientCert", "", [false, true, true]),
        ("RequireClientCert", "", [false, true, true]),
        ("RequireAnyClientCert", "ca.crt", [false, true, true]),
        ("VerifyClientCertIfGiven", "ca.crt", [true, true, false]),
        ("RequireAndVerifyClientCert", "ca.crt", [false, true, false]),
    ];
    for (name, ca, accepted) in types {
        let web = format!("  client_auth_type: {name}\n  client_ca_file: {ca}\n");
        let server = Server::start(&with_tls(&web));
        let trusted = server.authority.client(vec![dns("prometheus")]);
        let foreign = Authority::new("authority").client(vec![dns("prometheus")]);
        for versions in [ONLY_12, ONLY_13] {
            for (identity, accepted) in [None, Some(&trusted), Some(&foreign)].iter().zip(accepted)
            {
                let client = Client {
                    identity: identity.cloned(),
                    versions,
                    ..server.client()
                };
                let expected = accepted.then_some(200);
                assert_eq!(status(&server, &client), expected, "{name} {versions:?}");
            }
        }
    }
}

#[test]
fn rejected_client_gets_tls_alert() {
    let web = "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.crt\n";
    let server = Server::start(&with_tls(web));
    for _ in 0..20 {
        // With TLS 1.3 the client can send the request before the server rejects it.
        let mut stream = server.client().connect(&server.addr).unwrap();
        stream
            .write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
            .unwrap();
        stream.flush().unwrap();
        let error = stream.read(&mut [0; 100]).unwrap_err();
        assert!(error.to_string().contains("CertificateRequired"), "{error}");
    }
}

#[test]
fn server_certificate_is_no_client_certificate() {
    let web = "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.crt\n";
    let server = Server::start(&with_tls(web));
    let client = Client {
        identity: Some(server.authority.server()),
        ..server.client()
    };
    assert_eq!(status(&server, &client), None);
}

/// Returns a self-signed certificate.
fn self_signed(usage: &[ExtendedKeyUsagePurpose], change: fn(&mut CertificateParams)) -> Identity {
    let mut params = CertificateParams::new(["prometheus".to_owned()]).unwrap();
    // `openssl req -x509` creates a CA certificate too.
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.extended_key_usages = usage.to_vec();
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    Identity {
        certificate: params.self_signed(&key).unwrap().pem(),
        key: key.serialize_pem(),
    }
}

#[test]
fn self_signed_client_is_accepted_if_listed() {
    use ExtendedKeyUsagePurpose::{Any, ClientAuth, ServerAuth};
    let plain = self_signed(&[], |_| {});
    let not_ca = self_signed(&[], |params| params.is_ca = IsCa::NoCa);
    let for_clients = self_signed(&[ServerAuth, ClientAuth], |_| {});
    let for_all = self_signed(&[Any], |_| {});
    let for_servers = self_signed(&[ServerAuth], |_| {});
    let expired = self_signed(&[], |params| params.not_after = date_time_ymd(2020, 1, 1));
    let early = self_signed(&[], |params| params.not_before = date_time_ymd(4000, 1, 1));
    let other_name = self_signed(&[], |params| params.subject_alt_names = vec![dns("other")]);
    let unlisted = self_signed(&[], |_| {});
    let listed = [
        &plain,
        &not_ca,
        &for_clients,
        &for_all,
        &for_servers,
        &expired,
        &early,
        &other_name,
    ];
    let bundle: String = listed.map(|listed| listed.certificate.as_str()).concat();
    let bundle = bundle.replace('\n', "\n    ");
    for client_auth in ["RequireAndVerifyClientCert", "VerifyClientCertIfGiven"] {
        let mut web = format!("  client_auth_type: {client_auth}\n  client_ca: |\n    {bundle}\n");
        let checks_names = client_auth == "RequireAndVerifyClientCert";
        if checks_names {
            web += "  client_allowed_sans: [prometheus]\n";
        }
        let server = Server::start(&with_tls(&web));
        for (name, identity, accepted) in [
            ("plain", &plain, true),
            ("not a CA", &not_ca, true),
            ("for clients", &for_clients, true),
            ("for every usage", &for_all, true),
            ("for servers", &for_servers, false),
            ("expired", &expired, false),
            ("not valid yet", &early, false),
            ("another name", &other_name, !checks_names),
            ("not listed", &unlisted, false),
        ] {
            for versions in [ONLY_12, ONLY_13] {
                let client = Client {
                    identity: Some(identity.clone()),
                    versions,
                    ..server.client()
                };
                let expected = accepted.then_some(200);
                assert_eq!(status(&server, &client), expected, "{client_auth} {name}");
            }
        }
        // A listed certificate is public, so the client must also have its key.
        for (key, accepted) in [(&plain, true), (&unlisted, false)] {
            for versions in [ONLY_12, ONLY_13] {
                let client = Client {
                    versions,
                    ..server.client()
                };
                let mut config = client.config();
                config.client_auth_cert_resolver = with_key(&plain, key);
                let name = "localhost".try_into().unwrap();
                let connection = ClientConnection::new(Arc::new(config), name).unwrap();
                let mut stream = StreamOwned::new(connection, server.socket());
                // An error leads to an empty response.
                let _ = stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n");
                let mut response = String::new();
                let _ = stream.read_to_string(&mut response);
                assert_eq!(
                    response.starts_with("HTTP/1.0 200 "),
                    accepted,
                    "{response}"
                );
            }
        }
    }
}

/// Presents the certificate of one identity and signs with the key of another.
fn with_key(presented: &Identity, signer: &Identity) -> Arc<SingleCertAndKey> {
    let certificate = CertificateDer::from_pem_slice(presented.certificate.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(signer.key.as_bytes()).unwrap();
    let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).unwrap();
    Arc::new(CertifiedKey::new(vec![certificate], key).into())
}

#[test]
fn allowed_sans_match_exactly() {
    for client_auth in ["RequireAndVerifyClientCert", "RequireAnyClientCert"] {
        let web = format!(
            "  client_auth_type: {client_auth}\n  client_ca_file: ca.crt\n  client_allowed_sans: \
             [prometheus.example.com, 192.0.2.7, '2001:db8::1', ops@example.com, 'spiffe://example.com/prometheus']\n"
        );
        let server = Server::start(&with_tls(&web));
        let ip = |text: &str| SanType::IpAddress(text.parse().unwrap());
        let uri = |text: &str| SanType::URI(text.try_into().unwrap());
        let mail = |text: &str| SanType::Rfc822Name(text.try_into().unwrap());
        for (names, accepted) in [
            (vec![dns("prometheus.example.com")], true),
            (vec![dns("x"), dns("prometheus.example.com")], true),
            (vec![ip("192.0.2.7")], true),
            (vec![ip("2001:db8::1")], true),
            (vec![mail("ops@example.com")], true),
            (vec![uri("spiffe://example.com/prometheus")], true),
            (vec![], false),
            (vec![dns("Prometheus.example.com")], false),
            (vec![dns("prometheus.example.com.evil.example")], false),
            (vec![dns("*.example.com")], false),
            (vec![dns("192.0.2.7")], true),
            (vec![ip("192.0.2.8")], false),
            (vec![uri("spiffe://example.com/prometheus/x")], false),
        ] {
            let client = Client {
                identity: Some(server.authority.client(names.clone())),
                ..server.client()
            };
            let expected = accepted.then_some(200);
            assert_eq!(
                status(&server, &client),
                expected,
                "{client_auth} {names:?}"
            );
        }
    }
}

#[test]
fn versions_suites_and_curves_follow_config() {
    type Change = fn(&mut Client);
    let tls12: Change = |client| client.versions = ONLY_12;
    let tls13: Change = |client| client.versions = ONLY_13;
    let aes128: Change = |client| {
        client.versions = ONLY_12;
        client.provider.cipher_suites = vec![cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256];
    };
    let p256: Change = |client| client.provider.kx_groups = vec![kx_group::SECP256R1];
    let x25519: Change = |client| client.provider.kx_groups = vec![kx_group::X25519];
    let aes256_only = "  cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384]\n";
    let some_unsupported = "  cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, TLS_RSA_WITH_AES_128_CBC_SHA]\n  \
        curve_preferences: [CurveP521, X25519]\n";
    let only_tls13_names = "  cipher_suites: [TLS_AES_128_GCM_SHA256]\n";
    for (web, change, accepted) in [
        ("", tls12, true),
        ("", tls13, true),
        ("", p256, true),
        ("", aes128, true),
        ("  min_version: TLS13\n", tls12, false),
        ("  min_version: TLS13\n", tls13, true),
        ("  max_version: TLS12\n", tls12, true),
        ("  max_version: TLS12\n", tls13, false),
        ("  min_version: TLS10\n", tls12, true),
        (aes256_only, tls12, true),
        (aes256_only, aes128, false),
        // As in Go, the list does not apply to TLS 1.3.
        (aes256_only, tls13, true),
        (only_tls13_names, tls12, false),
        (only_tls13_names, tls13, true),
        ("  curve_preferences: [CurveP256]\n", p256, true),
        ("  curve_preferences: [CurveP256]\n", x25519, false),
        ("  curve_preferences: [X25519, CurveP384]\n", x25519, true),
        (some_unsupported, tls12, true),
        (some_unsupported, aes128, false),
        (some_unsupported, p256, false),
    ] {
        let server = Server::start(&with_tls(web));
        let mut client = server.client();
        change(&mut client);
        assert_eq!(status(&server, &client), accepted.then_some(200), "{web}");
    }
}

#[test]
fn tls_clients_negotiate_http1() {
    for (web, offered, agreed) in [
        ("", vec!["h2", "http/1.1"], Some(Some("http/1.1"))),
        ("", vec!["http/1.1"], Some(Some("http/1.1"))),
        ("", vec![], Some(None)),
        ("", vec!["h2"], None),
        // `http2` is accepted, as in exporter-toolkit, and has no effect.
        (
            "http_server_config: {http2: true}",
            vec!["h2", "http/1.1"],
            Some(Some("http/1.1")),
        ),
    ] {
        let server = Server::start(&(TLS.to_owned() + web));
        let mut client = server.client();
        client.protocols.clone_from(&offered);
        let found = client.connect(&server.addr).ok().map(|stream| {
            let agreed = stream.conn.alpn_protocol();
            agreed.map(|name| String::from_utf8(name.to_vec()).unwrap())
        });
        assert_eq!(
            found.as_ref().map(|name| name.as_deref()),
            agreed,
            "{offered:?}"
        );
    }
}

#[test]
fn plain_http_gets_400() {
    let server = Server::start(TLS);
    let mut socket = server.socket();
    socket
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    let mut response = String::new();
    socket.read_to_string(&mut response).unwrap();
    assert!(response.starts_with("HTTP/1.0 400 "), "{response}");
    assert!(response.contains("https://"), "{response}");
}

#[test]
fn invalid_handshake_closes_connection() {
    let server = Server::start(TLS);
    for bytes in [
        &b"\x16\x03\x01\xff\xff"[..],
        b"\x00\x01\x02",
        b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x03",
        b"\xff",
    ] {
        let mut socket = server.socket();
        socket.write_all(bytes).unwrap();
        socket.shutdown(std::net::Shutdown::Write).unwrap();
        assert!(is_closed(&mut socket), "{bytes:?}");
    }
    server.assert_serves("after broken handshakes");
}

#[test]
fn slow_handshake_closes_connection() {
    let limits = Limits {
        head: Duration::from_millis(500),
        ..without_timeouts()
    };
    let server = Server::with(TLS, limits, 1);
    let start = Instant::now();
    let silent = server.socket();
    let mut half = server.socket();
    half.write_all(b"\x16\x03\x01\x01\x00").unwrap();
    // This client sends single bytes that never complete the handshake.
    let mut slow = server.socket();
    slow.set_read_timeout(Some(Duration::from_millis(50)))
        .unwrap();
    slow.write_all(b"\x16\x03\x01\x01\x00").unwrap();
    while !is_closed(&mut slow) {
        assert!(start.elapsed() < TIMEOUT);
        if slow.write_all(b"\x00").is_err() {
            break;
        }
    }
    // This client completes the handshake, but not the request.
    let mut late = server.client().connect(&server.addr).unwrap();
    late.write_all(b"GET /metrics HTTP/1.1\r\n").unwrap();
    late.flush().unwrap();
    assert!(is_closed(&mut late));
    for mut socket in [silent, half] {
        assert!(is_closed(&mut socket));
    }
    assert!(start.elapsed() < TIMEOUT);
    server.assert_serves("after slow handshakes");
}

#[test]
fn incomplete_handshakes_allow_scrapes() {
    let limits = Limits {
        connections: 4,
        ..without_timeouts()
    };
    let server = Server::with(TLS, limits, 1);
    let mut sockets = Vec::new();
    for _ in 0..64 {
        let mut socket = server.socket();
        socket.write_all(b"\x16\x03\x01\x01\x00").unwrap();
        sockets.push(socket);
    }
    server.assert_serves("while handshakes are incomplete");
    let closed = sockets.iter_mut().take(60).all(is_closed);
    assert!(closed, "the oldest connections were not closed");
}

#[test]
fn sessions_are_not_resumed() {
    let web = "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.crt\n";
    let server = Server::start(&with_tls(web));
    for versions in [ONLY_12, ONLY_13] {
        let client = Client {
            identity: Some(server.authority.client(vec![])),
            versions,
            ..server.client()
        };
        let config = Arc::new(client.config());
        for _ in 0..2 {
            let name = "localhost".try_into().unwrap();
            let connection = ClientConnection::new(config.clone(), name).unwrap();
            let mut stream = StreamOwned::new(connection, server.socket());
            stream
                .write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                .unwrap();
            let mut response = String::new();
            stream.read_to_string(&mut response).unwrap();
            assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
            let kind = stream.conn.handshake_kind();
            assert_ne!(kind, Some(rustls::HandshakeKind::Resumed));
        }
    }
}
