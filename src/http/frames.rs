//! HTTP/2 as it passes by: where frames begin and end, and what they are about. Who sends what when is all that is to be known of it,
//! so contents are passed over.

use super::timeouts::ConnectionTimeouts;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What a client says before its first frame.
const PREFACE: usize = 24;
const HEAD: usize = 9;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;

/// The head of a frame.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    pub kind: u8,
    flags: u8,
    pub stream: u32,
}

impl Frame {
    /// It is the last of its stream in this direction.
    pub fn ends_stream(self) -> bool {
        matches!(self.kind, DATA | HEADERS) && self.flags & END_STREAM != 0
    }

    /// It is the last of a head.
    pub fn ends_head(self) -> bool {
        matches!(self.kind, HEADERS | CONTINUATION) && self.flags & END_HEADERS != 0
    }
}

/// What was seen.
#[derive(Clone, Copy, Debug)]
pub enum Seen {
    /// The first byte of a frame.
    Begin,
    /// Some of its content, or its head.
    Part(Frame),
    End(Frame),
}

/// One direction of a connection.
#[derive(Debug, Default)]
pub struct Frames {
    /// Bytes that are to be passed over.
    left: usize,
    head: Vec<u8>,
    frame: Option<Frame>,
}

impl Frames {
    /// What a client sends.
    pub fn of_client() -> Self {
        Self {
            left: PREFACE,
            ..Self::default()
        }
    }

    /// Goes over the next bytes.
    pub fn pass(&mut self, mut bytes: &[u8], mut saw: impl FnMut(Seen)) {
        while !bytes.is_empty() {
            if self.left > 0 {
                let passed = self.left.min(bytes.len());
                self.left -= passed;
                bytes = &bytes[passed..];
            } else {
                if self.head.is_empty() {
                    saw(Seen::Begin);
                }
                let (head, rest) = bytes.split_at(bytes.len().min(HEAD - self.head.len()));
                self.head.extend_from_slice(head);
                bytes = rest;
                if let [a, b, c, kind, flags, d, e, f, g] = self.head[..] {
                    self.left = u32::from_be_bytes([0, a, b, c]) as usize;
                    self.frame = Some(Frame {
                        kind,
                        flags,
                        // Its highest bit says nothing.
                        stream: u32::from_be_bytes([d & 0x7f, e, f, g]),
                    });
                    self.head.clear();
                }
            }
            if let Some(frame) = self.frame {
                saw(Seen::Part(frame));
                if self.left == 0 {
                    self.frame = None;
                    saw(Seen::End(frame));
                }
            }
        }
    }
}

/// A connection that speaks HTTP/2, which tells `timeouts` what happens on it.
#[derive(Debug)]
pub struct Watched<I> {
    io: I,
    timeouts: Arc<ConnectionTimeouts>,
}

impl<I> Watched<I> {
    /// Tells `timeouts`, which was told that this is HTTP/2.
    pub fn new(io: I, timeouts: Arc<ConnectionTimeouts>) -> Self {
        Self { io, timeouts }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Watched<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(context, buffer))?;
        self.timeouts.received(&buffer.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Watched<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.io).poll_write(context, bytes))?;
        self.timeouts.sent(&bytes[..written]);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.io).poll_write_vectored(context, slices))?;
        let mut left = written;
        for slice in slices {
            let sent = left.min(slice.len());
            self.timeouts.sent(&slice[..sent]);
            left -= sent;
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}
