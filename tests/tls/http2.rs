//! HTTP/2 keeps what the limits say, whatever a client does.

use crate::server::{NEVER, SOON, Server, TLS, is_closed, patient, until};
use crate::wire::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, INITIAL_WINDOW_SIZE, PING,
    RST_STREAM, WINDOW_UPDATE, Wire, frame, get,
};
use glue_integration_exporter::http::Limits;
use glue_integration_exporter::http::shared_responses::SharedResponses;
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

const SHORT: Duration = Duration::from_millis(400);
/// `:status: 200` in the static table.
const OK: u8 = 0x88;
/// A page of this many integrations has about 20 MB.
const MANY: usize = 8_000;

fn serve(limits: Limits, integrations: usize) -> Server {
    Server::with(TLS, limits, SharedResponses::default(), integrations)
}

/// The connection is closed, not before `at_least` has passed since `since`.
fn is_cut(wire: &mut Wire, since: Instant, at_least: Duration) {
    assert!(is_closed(&mut wire.stream), "it was not cut");
    let after = since.elapsed();
    assert!(after >= at_least, "it was cut after {after:?}");
    assert!(after < SOON, "it was cut after {after:?}");
}

#[test]
fn requests_of_one_connection_are_answered_together() {
    let server = serve(patient(), 3);
    server.runtime().block_on(async {
        let mut client = server.client();
        client.protocols = vec!["h2"];
        let connector = TlsConnector::from(Arc::new(client.config()));
        let socket = tokio::net::TcpStream::connect(&server.addr).await.unwrap();
        let name = "localhost".try_into().unwrap();
        let stream = connector.connect(name, socket).await.unwrap();
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .unwrap();
        tokio::spawn(connection);
        let ask = |method: Method, path: &str| {
            let mut sender = sender.clone();
            let request = Request::builder()
                .method(method)
                .uri(format!("https://localhost{path}"))
                .body(Empty::<Bytes>::new())
                .unwrap();
            async move {
                let response = sender.send_request(request).await.unwrap();
                let (head, body) = response.into_parts();
                (head, body.collect().await.unwrap().to_bytes())
            }
        };
        let (page, head, unknown, wrong) = tokio::join!(
            ask(Method::GET, "/metrics"),
            ask(Method::HEAD, "/metrics"),
            ask(Method::GET, "/nowhere"),
            ask(Method::POST, "/metrics"),
        );
        assert_eq!(page.0.status, StatusCode::OK);
        assert!(page.1.starts_with(b"# HELP aws_glue_integration_"));
        let length = page.1.len().to_string();
        assert_eq!(page.0.headers["content-length"], length.as_str());
        assert_eq!((head.0.status, head.1.len()), (StatusCode::OK, 0));
        assert!(head.0.headers.contains_key("content-length"));
        assert_eq!(unknown.0.status, StatusCode::NOT_FOUND);
        assert_eq!(wrong.0.status, StatusCode::METHOD_NOT_ALLOWED);
        let many = (0..200).map(|_| ask(Method::GET, "/metrics"));
        for answer in many.map(tokio::spawn).collect::<Vec<_>>() {
            assert_eq!(answer.await.unwrap().0.status, StatusCode::OK);
        }
    });
}

#[test]
fn big_pages_come_through_whole() {
    let server = serve(patient(), MANY);
    let mut wire = Wire::open(&server, &[]);
    wire.ask(1, "/metrics");
    let (status, body) = wire.answer(1);
    assert_eq!(status, OK);
    assert!(body.len() > 10_000_000, "{}", body.len());
    assert!(body.ends_with(b"\n"));
}

#[test]
fn heads_must_come_in_time() {
    let limits = Limits {
        head: SHORT,
        ..patient()
    };
    let server = serve(limits, 1);
    let head = get("/metrics", &[]);
    let (first, rest) = head.split_at(3);
    let begun = frame(HEADERS, END_STREAM, 1, first);
    let whole = frame(HEADERS, END_STREAM | END_HEADERS, 1, &head);
    for (what, sent) in [
        ("no request", vec![]),
        ("a part of a frame's head", whole[..4].to_vec()),
        ("a part of a frame", whole[..12].to_vec()),
        ("a head without its end", begun.clone()),
    ] {
        let start = Instant::now();
        let mut wire = Wire::open(&server, &[]);
        wire.send(&sent).unwrap();
        is_cut(&mut wire, start, SHORT);
        server.serves_well(what);
    }
    // After an answer, too.
    for part in [1, 8, 12, whole.len() - 1] {
        let mut wire = Wire::open(&server, &[]);
        wire.ask(1, "/metrics");
        assert_eq!(wire.answer(1).0, OK);
        let start = Instant::now();
        let next = frame(HEADERS, END_STREAM | END_HEADERS, 3, &head);
        wire.send(&next[..part]).unwrap();
        is_cut(&mut wire, start, SHORT);
    }
    // And even if each byte comes soon after the one before.
    let mut wire = Wire::open(&server, &[]);
    wire.ask(1, "/metrics");
    assert_eq!(wire.answer(1).0, OK);
    let start = Instant::now();
    wire.send(&frame(HEADERS, END_STREAM, 3, first)).unwrap();
    let mut bytes = rest.iter();
    while start.elapsed() < SOON {
        std::thread::park_timeout(SHORT / 4);
        let next = bytes.next().copied().unwrap_or(b'x');
        if wire.send(&frame(CONTINUATION, 0, 3, &[next])).is_err() {
            break;
        }
    }
    is_cut(&mut wire, start, SHORT);
}

#[test]
fn a_connection_that_was_used_is_kept_as_long_as_of_http1() {
    let limits = Limits {
        head: SHORT,
        idle: SHORT * 6,
        ..patient()
    };
    let server = serve(limits, 1);
    let mut wire = Wire::open(&server, &[]);
    wire.ask(1, "/metrics");
    assert_eq!(wire.answer(1).0, OK);
    // What a client says beside its requests neither shortens nor prolongs it.
    let start = Instant::now();
    let mut pings = 0;
    while start.elapsed() < SOON && wire.send(&frame(PING, 0, 0, &[0; 8])).is_ok() {
        if wire.next().is_err() {
            break;
        }
        pings += 1;
        std::thread::park_timeout(SHORT / 2);
    }
    let after = start.elapsed();
    assert!(
        after >= SHORT * 5 && after < SOON,
        "it ended after {after:?}"
    );
    assert!(pings > 3);
    // A request in between does.
    let mut wire = Wire::open(&server, &[]);
    for number in 0..5 {
        wire.ask(1 + 2 * number, "/metrics");
        assert_eq!(wire.answer(1 + 2 * number).0, OK);
        std::thread::park_timeout(SHORT * 2);
    }
}

#[test]
fn who_makes_no_room_is_cut() {
    let limits = Limits {
        stuck: SHORT,
        ..patient()
    };
    let server = serve(limits, MANY);
    let start = Instant::now();
    // No room for any answer; and room for a part of it, with another request answered meanwhile.
    let mut none = Wire::open(&server, &[(INITIAL_WINDOW_SIZE, 0)]);
    none.ask(1, "/metrics");
    let mut some = Wire::open(&server, &[(INITIAL_WINDOW_SIZE, 100)]);
    some.ask(1, "/metrics");
    some.ask(3, "/-/healthy");
    is_cut(&mut none, start, SHORT);
    is_cut(&mut some, start, SHORT);
    // Nothing is read at all.
    let mut deaf = Wire::open(&server, &[(INITIAL_WINDOW_SIZE, 0x7fff_ffff)]);
    deaf.send(&frame(WINDOW_UPDATE, 0, 0, &0x7fff_0000_u32.to_be_bytes()))
        .unwrap();
    deaf.ask(1, "/metrics");
    until("the server gives it up", || {
        deaf.send(&frame(PING, 0, 0, &[0; 8])).is_err()
    });
    server.serves_well("after clients that made no room");
}

#[test]
fn an_answer_has_its_time() {
    let limits = Limits {
        answer: SHORT * 3,
        ..patient()
    };
    let server = serve(limits, MANY);
    let start = Instant::now();
    let mut wire = Wire::open(&server, &[(INITIAL_WINDOW_SIZE, 1)]);
    wire.ask(1, "/metrics");
    // A byte at a time.
    while start.elapsed() < SOON {
        std::thread::park_timeout(SHORT / 8);
        let more = frame(WINDOW_UPDATE, 0, 1, &1_u32.to_be_bytes());
        if wire.send(&more).is_err() {
            break;
        }
    }
    is_cut(&mut wire, start, SHORT * 3);
}

#[test]
fn requests_that_are_taken_back_end_the_connection() {
    let server = serve(patient(), 1);
    // Without room for it no answer ends before its request is taken back.
    let mut wire = Wire::open(&server, &[(INITIAL_WINDOW_SIZE, 0)]);
    let start = Instant::now();
    let mut sent = 0;
    for number in 0..10_000 {
        let stream = 1 + 2 * number;
        let mut both = frame(
            HEADERS,
            END_STREAM | END_HEADERS,
            stream,
            &get("/metrics", &[]),
        );
        both.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
        if wire.send(&both).is_err() {
            break;
        }
        sent += 1;
        // Each is on its way before it is taken back.
        std::thread::park_timeout(Duration::from_millis(1));
    }
    is_cut(&mut wire, start, Duration::ZERO);
    assert!(sent < 5_000, "{sent}");
    server.serves_well("after requests that were taken back");
}

#[test]
fn frames_that_bring_nobody_further_end_the_connection() {
    let server = serve(patient(), 1);
    let mut wire = Wire::open(&server, &[]);
    let start = Instant::now();
    let pings = frame(PING, ACK, 0, &[0; 8]).repeat(100);
    while start.elapsed() < SOON && wire.send(&pings).is_ok() {}
    is_cut(&mut wire, start, Duration::ZERO);
    server.serves_well("after a flood of frames");
}

#[test]
fn no_more_requests_at_a_time_than_allowed() {
    let server = serve(patient(), MANY);
    let mut wire = Wire::open(&server, &[(INITIAL_WINDOW_SIZE, 0)]);
    // Each is waiting for room.
    for number in 0..16 {
        wire.ask(1 + 2 * number, "/metrics");
    }
    let mut heads = 0;
    while heads < 16 {
        let next = wire.until(&[HEADERS, RST_STREAM, GOAWAY]);
        assert_eq!(next.kind, HEADERS, "{next:?}");
        heads += 1;
    }
    wire.ask(33, "/metrics");
    let refused = wire.until(&[HEADERS, RST_STREAM, GOAWAY]);
    assert_eq!((refused.kind, refused.stream), (RST_STREAM, 33));
    // REFUSED_STREAM: it may be asked again.
    assert_eq!(refused.payload, 7_u32.to_be_bytes());
    server.serves_well("while others wait for room");
}

#[test]
fn who_asks_for_more_before_it_was_told_is_refused_that_alone() {
    let server = serve(patient(), 1);
    for (requests, path) in [(33, "/metrics"), (100, "/metrics"), (100, "/-/healthy")] {
        let mut wire = Wire::open(&server, &[]);
        let room = frame(WINDOW_UPDATE, 0, 0, &0x1000_0000_u32.to_be_bytes());
        wire.send(&room).unwrap();
        let ask = |number| {
            let head = get(path, &[]);
            frame(HEADERS, END_STREAM | END_HEADERS, 1 + 2 * number, &head)
        };
        wire.send(&(0..requests).flat_map(ask).collect::<Vec<_>>())
            .unwrap();
        let (mut answered, mut refused) = (0, 0);
        while answered + refused < requests {
            let next = wire.until(&[DATA, RST_STREAM, GOAWAY]);
            assert_ne!(next.kind, GOAWAY, "{next:?}");
            if next.kind == RST_STREAM {
                assert_eq!(next.payload, 7_u32.to_be_bytes());
                refused += 1;
            } else if next.flags & END_STREAM != 0 {
                answered += 1;
            }
        }
        assert!(answered >= 16, "{answered}");
        wire.ask(1 + 2 * requests, path);
        assert_eq!(wire.answer(1 + 2 * requests).0, OK);
    }
}

#[test]
fn heads_have_the_sizes_of_http1() {
    let server = serve(patient(), 1);
    let headers = |count: usize, length: usize| -> Vec<(String, String)> {
        (0..count)
            .map(|n| (format!("x{n}"), "a".repeat(length)))
            .collect()
    };
    for (what, headers, allowed) in [
        ("64 headers", headers(64, 1), true),
        ("65 headers", headers(65, 1), false),
        ("a head of 8 KB", headers(1, 8_192), true),
        ("a head of 20 KB", headers(3, 7_000), false),
    ] {
        let mut wire = Wire::open(&server, &[]);
        let head = get("/metrics", &headers);
        let mut parts = head.chunks(16_000).enumerate().peekable();
        while let Some((number, part)) = parts.next() {
            let ends = if parts.peek().is_none() {
                END_HEADERS
            } else {
                0
            };
            let sent = match number {
                0 => frame(HEADERS, END_STREAM | ends, 1, part),
                _ => frame(CONTINUATION, ends, 1, part),
            };
            wire.send(&sent).unwrap();
        }
        let (status, body) = wire.answer(1);
        assert_eq!(status == OK, allowed, "{what}");
        assert_eq!(body.is_empty(), !allowed, "{what}");
        server.serves_well(what);
    }
}

#[test]
fn bodies_are_thrown_away() {
    let server = serve(patient(), 1);
    let mut wire = Wire::open(&server, &[]);
    for number in 0..50 {
        let stream = 1 + 2 * number;
        let head = frame(HEADERS, END_HEADERS, stream, &get("/metrics", &[]));
        wire.send(&head).unwrap();
        wire.send(&frame(DATA, 0, stream, &[0; 1000])).unwrap();
        assert_eq!(wire.answer(stream).0, OK);
    }
}

#[test]
fn pages_that_nobody_reads_do_not_pile_up() {
    // Room for one page.
    let server = Server::with(TLS, patient(), SharedResponses::new(1), 1);
    let start = Instant::now();
    let mut wire = Wire::open(&server, &[(INITIAL_WINDOW_SIZE, 0)]);
    wire.ask(1, "/metrics");
    wire.until(&[HEADERS]);
    server.poll(0..2);
    server.serves_well("beside a page that nobody reads");
    is_cut(&mut wire, start, Duration::ZERO);
}

#[test]
fn who_gets_nowhere_makes_room_for_others() {
    let limits = Limits {
        connections: 3,
        idle: NEVER,
        ..patient()
    };
    let server = serve(limits, 1);
    let mut wires: Vec<_> = (0..10)
        .map(|_| {
            let mut wire = Wire::open(&server, &[]);
            wire.ask(1, "/metrics");
            assert_eq!(wire.answer(1).0, OK);
            wire
        })
        .collect();
    server.serves_well("beside idle connections");
    let start = Instant::now();
    for wire in &mut wires[..7] {
        is_cut(wire, start, Duration::ZERO);
    }
}

#[test]
fn a_stop_lets_answers_end_and_waits_for_nobody_else() {
    let server = serve(patient(), MANY);
    let mut idle = Wire::open(&server, &[]);
    idle.ask(1, "/-/healthy");
    assert_eq!(idle.answer(1).0, OK);
    let mut reading = Wire::open(&server, &[]);
    reading.ask(1, "/metrics");
    reading.until(&[HEADERS]);
    let start = Instant::now();
    server.bench.stop.cancel();
    is_cut(&mut idle, start, Duration::ZERO);
    let (_, body) = reading.answer(1);
    assert!(body.len() > 10_000_000, "{}", body.len());
}
