//! What clients of TLS see of a stop.

use crate::server::{Server, TLS, patient};
use glue_integration_exporter::http::shared_responses::SharedResponses;
use socket2::{Domain, SockAddr, Socket, Type};
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;

/// The end of a response waits in the server, in TLS or in the system, depending on its size.
#[test]
fn stop_lets_unread_responses_end() {
    let server = Server::with(TLS, patient(), SharedResponses::default(), 1_000);
    let mut streams: Vec<_> = (40..=100)
        .map(|size| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            socket.set_recv_buffer_size(8192).unwrap();
            let addr: SocketAddr = server.addr.parse().unwrap();
            socket.connect(&SockAddr::from(addr)).unwrap();
            let mut stream = server.client().connect_over(socket.into()).unwrap();
            write!(
                stream,
                "GET /api/v1/integrations?limit={} HTTP/1.1\r\nHost: a\r\n\r\n",
                size * 10
            )
            .unwrap();
            let mut first = [0];
            stream.read_exact(&mut first).unwrap();
            stream
        })
        .collect();
    server.serves_well("beside clients that read nothing");
    server.bench.stop.cancel();
    for (number, stream) in streams.iter_mut().enumerate() {
        let mut rest = Vec::new();
        match stream.read_to_end(&mut rest) {
            Ok(_) => {}
            // A connection whose response has left the process is idle, and is closed without an alert.
            Err(error) => assert_eq!(error.kind(), ErrorKind::UnexpectedEof, "{number}"),
        }
        let rest = String::from_utf8(rest).unwrap();
        let (head, body) = rest.split_once("\r\n\r\n").unwrap();
        let length = format!("content-length: {}", body.len());
        assert!(
            head.to_ascii_lowercase().contains(&length),
            "{number}: {head}"
        );
    }
}
