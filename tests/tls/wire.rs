//! HTTP/2 frame by frame, for clients that misbehave.

use crate::server::{Server, Stream};
use std::io::{self, Read, Write};
use std::net::TcpStream;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;
pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;
/// Of SETTINGS.
pub const INITIAL_WINDOW_SIZE: u16 = 4;

pub struct Wire {
    pub stream: Stream,
}

#[derive(Debug)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A head that asks for `path`, with further headers.
pub fn get(path: &str, headers: &[(String, String)]) -> Vec<u8> {
    // GET and https from the static table; path and authority as literals that are not remembered.
    let mut head = vec![0x82, 0x87];
    let literal = |head: &mut Vec<u8>, text: &str| {
        // Lengths below 127 fit into the prefix; others go on in bytes of 7 bits.
        if let Ok(short @ 0..127) = u8::try_from(text.len()) {
            head.push(short);
        } else {
            head.push(127);
            let mut rest = text.len() - 127;
            while rest >= 128 {
                head.push(u8::try_from(rest % 128).unwrap() | 128);
                rest /= 128;
            }
            head.push(u8::try_from(rest).unwrap());
        }
        head.extend(text.as_bytes());
    };
    head.push(0x04);
    literal(&mut head, path);
    head.push(0x01);
    literal(&mut head, "localhost");
    for (name, value) in headers {
        head.push(0);
        literal(&mut head, name);
        literal(&mut head, value);
    }
    head
}

impl Wire {
    /// A connection on which both sides have said what they begin with.
    pub fn open(server: &Server, settings: &[(u16, u32)]) -> Self {
        Self::over(TcpStream::connect(&server.addr).unwrap(), server, settings)
    }

    pub fn over(socket: TcpStream, server: &Server, settings: &[(u16, u32)]) -> Self {
        let mut client = server.client();
        client.protocols = vec!["h2"];
        let stream = client.connect_over(socket).unwrap();
        let mut wire = Self { stream };
        let mut payload = Vec::new();
        for (name, value) in settings {
            payload.extend(name.to_be_bytes());
            payload.extend(value.to_be_bytes());
        }
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        bytes.extend(frame(SETTINGS, 0, 0, &payload));
        wire.send(&bytes).unwrap();
        wire
    }

    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush()
    }

    pub fn ask(&mut self, stream: u32, path: &str) {
        let head = get(path, &[]);
        self.send(&frame(HEADERS, END_STREAM | END_HEADERS, stream, &head))
            .unwrap();
    }

    pub fn next(&mut self) -> io::Result<Frame> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        self.stream.read_exact(&mut payload)?;
        Ok(Frame {
            kind: head[3],
            flags: head[4],
            stream: u32::from_be_bytes([head[5], head[6], head[7], head[8]]),
            payload,
        })
    }

    /// The next frame that is one of these.
    pub fn until(&mut self, kinds: &[u8]) -> Frame {
        loop {
            let next = self.next().unwrap();
            if kinds.contains(&next.kind) {
                return next;
            }
        }
    }

    /// Reads the answer on this stream; its first byte of a head tells the status where the static table has it. The client makes
    /// room as it reads.
    pub fn answer(&mut self, stream: u32) -> (u8, Vec<u8>) {
        let mut status = 0;
        let mut body = Vec::new();
        loop {
            let next = self.next().unwrap();
            if next.stream != stream {
                continue;
            }
            match next.kind {
                HEADERS => status = next.payload[0],
                DATA => {
                    body.extend(&next.payload);
                    let length = u32::try_from(next.payload.len()).unwrap().to_be_bytes();
                    if next.payload.is_empty() {
                        // It would be a mistake.
                    } else {
                        let mut more = frame(WINDOW_UPDATE, 0, 0, &length);
                        if next.flags & END_STREAM == 0 {
                            more.extend(frame(WINDOW_UPDATE, 0, stream, &length));
                        }
                        self.send(&more).unwrap();
                    }
                }
                RST_STREAM => panic!("{next:?}"),
                _ => {}
            }
            if matches!(next.kind, HEADERS | DATA) && next.flags & END_STREAM != 0 {
                return (status, body);
            }
        }
    }
}
