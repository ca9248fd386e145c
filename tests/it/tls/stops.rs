//! TLS connections when the server stops.

use crate::tls::server::{Server, TLS, without_timeouts};
use socket2::{Domain, SockAddr, Socket, Type};
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;

/// Depending on its size, the end of a response waits in hyper, in rustls or in the system.
#[test]
fn stop_completes_unread_responses() {
    let server = Server::with(TLS, without_timeouts(), 1_000);
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
    server.assert_serves("with clients that read nothing");
    server.bench.stop.cancel();
    for (number, stream) in streams.iter_mut().enumerate() {
        let mut rest = Vec::new();
        match stream.read_to_end(&mut rest) {
            Ok(_) => {}
            // After the response has left the process the connection is idle, and it is closed without an alert.
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
