//! A scraper with one connection, which costs as little as one can: what is measured is the server.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;
use tokio::time::Instant;

/// No answer takes so long: something is broken.
const PATIENCE: Duration = Duration::from_secs(60);

pub const IDENTITY: &str = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: text/plain;version=0.0.4\r\n\
     Accept-Encoding: identity\r\nX-Prometheus-Scrape-Timeout-Seconds: 30\r\n\r\n";
pub const GZIP: &str = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: text/plain;version=0.0.4\r\n\
     Accept-Encoding: gzip\r\nX-Prometheus-Scrape-Timeout-Seconds: 30\r\n\r\n";

pub struct Client {
    stream: TcpStream,
    /// As large as the largest answer so far.
    buffer: Vec<u8>,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self {
            stream,
            buffer: vec![0; 64 * 1024],
        }
    }

    /// The body of the answer, which must be 200 and as long as it says.
    pub fn ask(&mut self, request: &str) -> &[u8] {
        self.stream.write_all(request.as_bytes()).unwrap();
        let mut filled = 0;
        let start = loop {
            filled += self.read(filled);
            // The head is at the front, so this does not walk through the body.
            let head = self.buffer[..filled]
                .windows(4)
                .position(|four| four == b"\r\n\r\n");
            if let Some(end) = head {
                break end + 4;
            }
        };
        let end = start + length(&self.buffer[..start]);
        if self.buffer.len() < end {
            self.buffer.resize(end, 0);
        }
        while filled < end {
            filled += self.read(filled);
        }
        assert_eq!(filled, end, "more came than the head said");
        &self.buffer[start..end]
    }

    /// How long the whole answer took.
    pub fn time(&mut self, request: &str) -> Duration {
        let start = Instant::now();
        self.ask(request);
        start.elapsed()
    }

    fn read(&mut self, filled: usize) -> usize {
        let read = self.stream.read(&mut self.buffer[filled..]).unwrap();
        assert!(read > 0, "the server closed the connection");
        read
    }
}

fn length(head: &[u8]) -> usize {
    let head = str::from_utf8(head).unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.parse().unwrap())
    });
    length.expect("a Content-Length")
}
