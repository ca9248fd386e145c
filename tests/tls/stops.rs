//! What clients of HTTP/2 see of a stop.

use crate::server::{NEVER, Server, TLS, WELL, is_closed, patient};
use crate::wire::{
    ACK, DATA, END_STREAM, GOAWAY, HEADERS, INITIAL_WINDOW_SIZE, PING, WINDOW_UPDATE, Wire, frame,
};
use glue_integration_exporter::http::Limits;
use glue_integration_exporter::http::shared_responses::SharedResponses;
use socket2::{Domain, SockAddr, Socket, Type};
use std::net::SocketAddr;
use tokio::time::Instant;

/// Of `:status: 200` in the static table.
const OK: u8 = 0x88;
const ROOM: u32 = 1 << 30;

/// A client that could take all, were its system's buffer not so small.
fn narrow(server: &Server) -> Wire {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(8192).unwrap();
    let addr: SocketAddr = server.addr.parse().unwrap();
    socket.connect(&SockAddr::from(addr)).unwrap();
    let mut wire = Wire::over(socket.into(), server, &[(INITIAL_WINDOW_SIZE, ROOM)]);
    wire.send(&frame(WINDOW_UPDATE, 0, 0, &ROOM.to_be_bytes()))
        .unwrap();
    wire
}

#[test]
fn the_end_of_an_answer_is_let_out() {
    let server = Server::with(TLS, patient(), SharedResponses::default(), 1_000);
    // Of some the end is where the system takes no more and the server has no more to give.
    let mut wires: Vec<Wire> = (40..=100)
        .map(|size| {
            let mut wire = narrow(&server);
            wire.ask(1, &format!("/api/v1/integrations?limit={}", size * 10));
            wire.until(&[HEADERS]);
            wire
        })
        .collect();
    server.serves_well("beside clients that read nothing");
    server.bench.stop.cancel();
    for (number, wire) in wires.iter_mut().enumerate() {
        let mut bytes = 0;
        loop {
            let next = wire
                .next()
                .unwrap_or_else(|error| panic!("{number}: {error} after {bytes}"));
            bytes += next.payload.len();
            if next.kind == DATA && next.flags & END_STREAM != 0 {
                break;
            }
        }
    }
}

fn used(server: &Server) -> Wire {
    let mut wire = Wire::open(server, &[]);
    wire.ask(1, "/-/healthy");
    assert_eq!(wire.answer(1).0, OK);
    wire
}

/// What the client is told of the end: the last request that is answered.
fn last_stream(wire: &mut Wire) -> u32 {
    let told = wire.until(&[GOAWAY]).payload;
    assert_eq!(told[4..8], [0; 4], "it is an error: {told:?}");
    u32::from_be_bytes([told[0], told[1], told[2], told[3]])
}

#[test]
fn clients_without_a_request_are_told() {
    let limits = Limits {
        farewell: NEVER,
        ..patient()
    };
    let server = Server::with(TLS, limits, SharedResponses::default(), 1);
    let mut wire = used(&server);
    server.bench.stop.cancel();
    // First that there will be an end, so that what has crossed with it is answered, then which request was the last.
    assert_eq!(last_stream(&mut wire), 0x7fff_ffff);
    let asked = wire.until(&[PING]);
    wire.ask(3, "/metrics");
    assert_eq!(wire.answer(3).0, OK);
    wire.send(&frame(PING, ACK, 0, &asked.payload)).unwrap();
    assert_eq!(last_stream(&mut wire), 3);
    assert!(is_closed(&mut wire.stream));
}

#[test]
fn clients_that_do_not_hear_it_are_hardly_waited_for() {
    let limits = Limits {
        farewell: Limits::default().farewell,
        ..patient()
    };
    let server = Server::with(TLS, limits, SharedResponses::default(), 1);
    let mut wire = used(&server);
    let start = Instant::now();
    server.bench.stop.cancel();
    assert_eq!(last_stream(&mut wire), 0x7fff_ffff);
    assert!(is_closed(&mut wire.stream));
    let took = start.elapsed();
    assert!(took < WELL, "{took:?}");
}
