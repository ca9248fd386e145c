//! A scraper with one connection. It is as cheap as possible, so that benchmarks measure the server.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;
use tokio::time::Instant;

const RESPONSE_TIMEOUT: Duration = Duration::from_secs(60);

pub const IDENTITY: &str = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: text/plain;version=0.0.4\r\n\
     Accept-Encoding: identity\r\nX-Prometheus-Scrape-Timeout-Seconds: 30\r\n\r\n";
pub const GZIP: &str = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: text/plain;version=0.0.4\r\n\
     Accept-Encoding: gzip\r\nX-Prometheus-Scrape-Timeout-Seconds: 30\r\n\r\n";

pub struct Client {
    stream: TcpStream,
    /// As large as the largest response so far.
    buffer: Vec<u8>,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(RESPONSE_TIMEOUT)).unwrap();
        Self {
            stream,
            buffer: vec![0; 64 * 1024],
        }
    }

    /// Sends a request and returns the body of the response. The status must be 200.
    pub fn fetch(&mut self, request: &str) -> &[u8] {
        self.stream.write_all(request.as_bytes()).unwrap();
        let mut filled = 0;
        let start = loop {
            filled += self.read(filled);
            // The headers come first, so this does not search the body.
            let headers = self.buffer[..filled]
                .windows(4)
                .position(|four| four == b"\r\n\r\n");
            if let Some(end) = headers {
                break end + 4;
            }
        };
        let end = start + content_length(&self.buffer[..start]);
        if self.buffer.len() < end {
            self.buffer.resize(end, 0);
        }
        while filled < end {
            filled += self.read(filled);
        }
        assert_eq!(
            filled, end,
            "the response is longer than its Content-Length"
        );
        &self.buffer[start..end]
    }

    /// Returns the time of a request and its response.
    pub fn time(&mut self, request: &str) -> Duration {
        let start = Instant::now();
        self.fetch(request);
        start.elapsed()
    }

    fn read(&mut self, filled: usize) -> usize {
        let read = self.stream.read(&mut self.buffer[filled..]).unwrap();
        assert!(read > 0, "the server closed the connection");
        read
    }
}

fn content_length(head: &[u8]) -> usize {
    let head = str::from_utf8(head).unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.parse().unwrap())
    });
    length.expect("no Content-Length")
}
