//! The state of one connection. `TimedSocket` and `ResponseBody` keep it up to date. `Connections` closes the connection after its
//! deadline.

use super::response::Content;
use crate::toolkit::listen::Socket;
use crate::toolkit::rlimit;
use bytes_utils::SegmentedBuf;
use hyper::body::{Body, Buf, Bytes, Frame, SizeHint};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// hyper takes a response body in frames of this size, so it never copies more than this at once (it must copy to encrypt).
const FRAME_BYTES: usize = 128 * 1024;
/// A smaller response usually fits into the kernel's buffer, so a client that does not read it costs no memory here.
const LARGE_RESPONSE_BYTES: usize = 256 * 1024;

#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub connections: usize,
    /// The maximum number of different large responses that are being sent.
    pub large_responses: usize,
    /// Starts when the connection opens, and for later requests at their first byte.
    pub head: Duration,
    /// How long a new connection stays open although the server stops, so that its first request arrives.
    pub accept_grace: Duration,
    pub idle: Duration,
    /// The timeout for a response that the client does not read.
    pub write_stall: Duration,
    /// The timeout for the client to read a whole response.
    pub response: Duration,
    /// How long the server discards the input of a client that is still sending, so that the client can read the response.
    pub linger: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: rlimit::max_http_connections(),
            // The response for 10,000 integrations has about 25 MB, which it shares with other responses until the next poll.
            large_responses: 8,
            // A request head usually fits into one packet. Slow heads are closed within 10 s.
            head: Duration::from_secs(9),
            // Longer than a round trip on earth, and too short to delay a stop noticeably.
            accept_grace: Duration::from_millis(250),
            // Longer than usual scrape intervals, so that a scraper keeps its connection.
            idle: Duration::from_secs(300),
            // A working link is never silent for this long.
            write_stall: Duration::from_secs(30),
            // Enough for a page of 20 MB at 0.5 Mbit/s.
            response: Duration::from_secs(300),
            // Go's server waits 500 ms.
            linger: Duration::from_secs(1),
        }
    }
}

#[derive(Debug)]
pub struct Connection {
    pub state: Mutex<State>,
    limits: Limits,
}

#[derive(Debug)]
pub struct State {
    phase: Phase,
    /// `None` while a request is handled: handlers have timeouts of their own.
    pub deadline: Option<Instant>,
    response_deadline: Instant,
    /// The connection opened, a request arrived, or a part of a response was written.
    pub last_activity: Instant,
    pub large_response: Option<Content>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Idle,
    Head,
    Handling,
    Writing,
    /// hyper has taken the whole body of the response. When that is written, the connection waits for the next request.
    Flushing,
    /// The response is written; further input is discarded so that the client can read the response.
    Lingering,
}

impl Connection {
    pub fn new(limits: Limits) -> Self {
        let now = Instant::now();
        Self {
            state: Mutex::new(State {
                phase: Phase::Idle,
                deadline: Some(now + limits.head),
                response_deadline: now,
                last_activity: now,
                large_response: None,
            }),
            limits,
        }
    }

    pub fn start_request(&self) {
        let mut state = self.state.lock();
        state.phase = Phase::Handling;
        state.deadline = None;
        state.last_activity = Instant::now();
    }

    /// Returns the body for hyper. `is_last` is true if no further request is read from the connection.
    pub fn start_response(self: &Arc<Self>, content: Content, is_last: bool) -> ResponseBody {
        let buffers = VecDeque::from(content.to_vec());
        let length = content.iter().map(Bytes::len).sum();
        let mut state = self.state.lock();
        state.phase = Phase::Writing;
        state.response_deadline = Instant::now() + self.limits.response;
        state.large_response = (length >= LARGE_RESPONSE_BYTES).then_some(content);
        drop(state);
        self.on_write();
        ResponseBody {
            buffers,
            length,
            is_last,
            connection: Arc::clone(self),
        }
    }

    pub fn is_responding(&self) -> bool {
        let phase = self.state.lock().phase;
        phase == Phase::Handling || phase.is_writing()
    }

    fn on_read(&self) {
        let mut state = self.state.lock();
        if state.phase == Phase::Idle {
            state.phase = Phase::Head;
            let timeout = Instant::now() + self.limits.head;
            state.deadline = state.deadline.map(|at| at.min(timeout));
        }
    }

    /// The socket accepts nothing while the client does not read.
    fn on_write(&self) {
        let mut state = self.state.lock();
        if state.phase.is_writing() {
            state.last_activity = Instant::now();
            let stalled = state.last_activity + self.limits.write_stall;
            state.deadline = Some(stalled.min(state.response_deadline));
        }
    }

    /// If the server closed the socket while the client is still sending, the system would drop the part of the response that the
    /// client has not read.
    fn must_linger(&self) -> bool {
        let mut state = self.state.lock();
        if ![Phase::Idle, Phase::Lingering].contains(&state.phase) {
            state.phase = Phase::Lingering;
            state.deadline = Some(Instant::now() + self.limits.linger);
        }
        state.phase == Phase::Lingering
    }
}

impl Phase {
    fn is_writing(self) -> bool {
        matches!(self, Self::Writing | Self::Flushing)
    }
}

#[derive(Debug)]
pub struct ResponseBody {
    buffers: VecDeque<Bytes>,
    length: usize,
    is_last: bool,
    connection: Arc<Connection>,
}

impl Body for ResponseBody {
    type Data = SegmentedBuf<Bytes>;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Infallible>>> {
        let mut frame = SegmentedBuf::new();
        while frame.remaining() < FRAME_BYTES
            && let Some(mut buffer) = self.buffers.pop_front()
        {
            let fitting = buffer.len().min(FRAME_BYTES - frame.remaining());
            frame.push(buffer.split_to(fitting));
            if !buffer.is_empty() {
                self.buffers.push_front(buffer);
            }
        }
        self.length -= frame.remaining();
        Poll::Ready(frame.has_remaining().then(|| Ok(Frame::data(frame))))
    }

    fn is_end_stream(&self) -> bool {
        self.length == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.length as u64)
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        let mut state = self.connection.state.lock();
        if !self.is_last && state.phase == Phase::Writing {
            state.phase = Phase::Flushing;
        }
    }
}

/// The socket of a connection, which reports reads and writes.
#[derive(Debug)]
pub struct TimedSocket {
    pub socket: Socket,
    pub connection: Arc<Connection>,
}

impl TimedSocket {
    pub async fn peek(&self) -> io::Result<u8> {
        let first = self.socket.peek().await;
        self.connection.on_read();
        first
    }
}

impl AsyncRead for TimedSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.socket.0).poll_read(context, buffer))?;
        self.connection.on_read();
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for TimedSocket {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.socket.0).poll_write_vectored(context, slices));
        self.connection.on_write();
        Poll::Ready(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.socket.0).poll_flush(context))?;
        let mut state = self.connection.state.lock();
        if state.phase == Phase::Flushing {
            state.phase = Phase::Idle;
            state.deadline = Some(Instant::now() + self.connection.limits.idle);
            state.large_response = None;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.socket.0).poll_shutdown(context))?;
        if !self.connection.must_linger() {
            return Poll::Ready(Ok(()));
        }
        let mut discarded = [0; 4096];
        loop {
            let mut buffer = ReadBuf::new(&mut discarded);
            ready!(Pin::new(&mut self.socket.0).poll_read(context, &mut buffer))?;
            if buffer.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl Drop for TimedSocket {
    /// Resets a connection whose client did not read its response. Otherwise the system would keep the rest in memory for minutes.
    fn drop(&mut self) {
        if self.connection.state.lock().phase.is_writing() {
            self.socket.abort();
        }
    }
}
