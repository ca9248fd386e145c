//! What clients of HTTP/2 see of a stop.

use crate::server::{Server, TLS, patient};
use crate::wire::{DATA, END_STREAM, HEADERS, INITIAL_WINDOW_SIZE, WINDOW_UPDATE, Wire, frame};
use glue_integration_exporter::http::scrapes::Scrapes;
use socket2::{Domain, SockAddr, Socket, Type};
use std::net::SocketAddr;

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
    let server = Server::with(TLS, patient(), Scrapes::default(), 1_000);
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
