//! The timeouts of a connection: for a request head, for the client to read a response, and between two requests.
//! `ConnectionTimeouts` tracks the phase of the connection and its deadline; `TimedSocket` reports reads and writes to it.

use super::Limits;
use super::buf_list::BufList;
use super::connections::Slot;
use super::shared_responses::{Content, ReadGuard};
use crate::toolkit::listen::Socket;
use hyper::body::{Body, Buf, Frame, SizeHint};
use parking_lot::{Mutex, MutexGuard};
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, sleep_until};

/// hyper takes a response body in frames of this size, so it never copies more than this at once (it must copy to encrypt).
const FRAME_BYTES: usize = 128 * 1024;

/// The phase of a connection and its deadline.
#[derive(Debug)]
pub struct ConnectionTimeouts {
    phase: Mutex<ConnectionPhase>,
    slot: Arc<Slot>,
    limits: Arc<Limits>,
}

#[derive(Debug)]
enum ConnectionPhase {
    /// The connection waits for a request head, or has read a part of one (`started`).
    Head { deadline: Instant, started: bool },
    /// The handler processes a request; it has timeouts of its own.
    Handling { unread_input: bool },
    /// The server writes a response.
    Writing {
        deadline: Instant,
        /// When the socket stopped accepting bytes because the client does not read; `None` while it accepts them.
        stalled_since: Option<Instant>,
        /// hyper has taken the whole body.
        body_taken: bool,
        /// The server will not read the rest of the client's input, for example a request body.
        unread_input: bool,
        /// Registers the connection as a reader of a shared body.
        _guard: Option<ReadGuard>,
    },
    /// The response is written; further input is discarded so that the client can read the response.
    Lingering { deadline: Instant },
}

impl ConnectionTimeouts {
    /// Returns the timeouts of a connection that was just accepted.
    pub fn new(slot: Arc<Slot>, limits: Arc<Limits>) -> Arc<Self> {
        let deadline = Instant::now() + limits.head;
        Arc::new(Self {
            phase: Mutex::new(ConnectionPhase::Head {
                deadline,
                started: false,
            }),
            slot,
            limits,
        })
    }

    /// Records that a request arrived. `unread_input` is true if the client may send more that the server will not read.
    pub fn start_request(&self, unread_input: bool) {
        *self.phase() = ConnectionPhase::Handling { unread_input };
        self.slot.touch();
    }

    /// Starts the response and returns its body for hyper.
    pub fn start_response(self: &Arc<Self>, content: Content) -> ResponseBody {
        let mut phase = self.phase();
        let guard = content
            .shared
            .map(|body| body.read_by(Arc::clone(&self.slot)));
        *phase = ConnectionPhase::Writing {
            deadline: Instant::now() + self.limits.response,
            stalled_since: None,
            body_taken: false,
            unread_input: matches!(*phase, ConnectionPhase::Handling { unread_input: true }),
            _guard: guard,
        };
        drop(phase);
        self.slot.touch();
        ResponseBody {
            rest: BufList::from(content.buffers),
            timeouts: Arc::clone(self),
        }
    }

    /// Returns true while a request is handled or its response is being written.
    pub fn is_responding(&self) -> bool {
        matches!(
            *self.phase(),
            ConnectionPhase::Handling { .. } | ConnectionPhase::Writing { .. }
        )
    }

    /// Waits until a deadline of the connection has passed. The same task must poll the connection first: the deadline changes
    /// without waking this future.
    pub async fn timed_out(&self) {
        let mut timer = pin!(sleep_until(Instant::now()));
        poll_fn(|context| {
            let Some(deadline) = self.deadline() else {
                return Poll::Pending;
            };
            // A timer for a past deadline fires one tick later, and the deadline could have moved by then.
            if deadline <= Instant::now() {
                return Poll::Ready(());
            }
            if timer.deadline() != deadline {
                timer.as_mut().reset(deadline);
            }
            timer.as_mut().poll(context)
        })
        .await;
    }

    fn deadline(&self) -> Option<Instant> {
        match &*self.phase() {
            ConnectionPhase::Handling { .. } => None,
            ConnectionPhase::Head { deadline, .. } | ConnectionPhase::Lingering { deadline } => {
                Some(*deadline)
            }
            ConnectionPhase::Writing {
                deadline,
                stalled_since,
                ..
            } => {
                let stall_deadline = stalled_since.map(|since| since + self.limits.write_stall);
                Some(stall_deadline.map_or(*deadline, |stall| stall.min(*deadline)))
            }
        }
    }

    fn on_read(&self) {
        if let ConnectionPhase::Head { deadline, started } = &mut *self.phase()
            && !*started
        {
            *started = true;
            *deadline = (*deadline).min(Instant::now() + self.limits.head);
        }
    }

    fn on_write(&self, accepted: bool) {
        match &mut *self.phase() {
            ConnectionPhase::Writing { stalled_since, .. } if accepted => {
                *stalled_since = None;
                self.slot.touch();
            }
            ConnectionPhase::Writing { stalled_since, .. } => {
                stalled_since.get_or_insert_with(Instant::now);
            }
            ConnectionPhase::Head { .. }
            | ConnectionPhase::Handling { .. }
            | ConnectionPhase::Lingering { .. } => {}
        }
    }

    fn on_body_taken(&self) {
        if let ConnectionPhase::Writing { body_taken, .. } = &mut *self.phase() {
            *body_taken = true;
        }
    }

    /// Ends a response that is completely written.
    fn on_flush(&self) {
        let mut phase = self.phase();
        if let ConnectionPhase::Writing {
            body_taken: true,
            unread_input: false,
            ..
        } = *phase
        {
            *phase = ConnectionPhase::Head {
                deadline: Instant::now() + self.limits.idle,
                started: false,
            };
        }
    }

    /// Returns true if the server must discard further input before it closes the socket. If it closed the socket while the client
    /// is still sending, the system would drop the part of the response that the client has not read.
    fn must_linger(&self) -> bool {
        let mut phase = self.phase();
        let is_sending = match *phase {
            ConnectionPhase::Head { started, .. } => started,
            ConnectionPhase::Handling { unread_input }
            | ConnectionPhase::Writing { unread_input, .. } => unread_input,
            ConnectionPhase::Lingering { .. } => return true,
        };
        if is_sending {
            *phase = ConnectionPhase::Lingering {
                deadline: Instant::now() + self.limits.linger,
            };
        }
        is_sending
    }

    fn phase(&self) -> MutexGuard<'_, ConnectionPhase> {
        self.phase.lock()
    }
}

/// The body of a response, as hyper reads it.
#[derive(Debug)]
pub struct ResponseBody {
    rest: BufList,
    timeouts: Arc<ConnectionTimeouts>,
}

impl Body for ResponseBody {
    type Data = BufList;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<BufList>, Infallible>>> {
        let next = self.rest.split_to(FRAME_BYTES);
        Poll::Ready(next.has_remaining().then(|| Ok(Frame::data(next))))
    }

    fn is_end_stream(&self) -> bool {
        !self.rest.has_remaining()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.remaining() as u64)
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        self.timeouts.on_body_taken();
    }
}

/// The socket of a connection, which reports reads and writes to its timeouts.
#[derive(Debug)]
pub struct TimedSocket {
    socket: Socket,
    timeouts: Arc<ConnectionTimeouts>,
}

impl TimedSocket {
    /// Wraps `socket` and reports its reads and writes to `timeouts`.
    pub fn new(socket: Socket, timeouts: Arc<ConnectionTimeouts>) -> Self {
        Self { socket, timeouts }
    }

    /// Returns the address of the client, if known.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.socket.peer()
    }

    /// Waits for the first byte and returns it without consuming it.
    pub async fn peek(&self) -> io::Result<u8> {
        let first = self.socket.peek().await;
        self.timeouts.on_read();
        first
    }

    fn socket(self: Pin<&mut Self>) -> Pin<&mut Socket> {
        Pin::new(&mut self.get_mut().socket)
    }
}

impl AsyncRead for TimedSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = self.as_mut().socket().poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.timeouts.on_read();
        }
        read
    }
}

impl AsyncWrite for TimedSocket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = self.as_mut().socket().poll_write(context, bytes);
        self.timeouts.on_write(written.is_ready());
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = self.as_mut().socket().poll_write_vectored(context, slices);
        self.timeouts.on_write(written.is_ready());
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.as_mut().socket().poll_flush(context))?;
        self.timeouts.on_flush();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.as_mut().socket().poll_shutdown(context))?;
        if !self.timeouts.must_linger() {
            return Poll::Ready(Ok(()));
        }
        let mut discarded = [0; 4096];
        loop {
            let mut buffer = ReadBuf::new(&mut discarded);
            ready!(self.as_mut().socket().poll_read(context, &mut buffer))?;
            if buffer.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl Drop for TimedSocket {
    /// Resets a connection whose client did not read its response. Otherwise the system would keep the rest in memory for minutes.
    fn drop(&mut self) {
        let has_unread_response = match &*self.timeouts.phase() {
            ConnectionPhase::Writing { unread_input, .. } => !unread_input,
            ConnectionPhase::Head { .. }
            | ConnectionPhase::Handling { .. }
            | ConnectionPhase::Lingering { .. } => false,
        };
        if has_unread_response {
            self.socket.abort();
        }
    }
}
