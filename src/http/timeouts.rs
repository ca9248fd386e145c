//! How long a client may take for its part: for sending a head, for reading an answer, between two requests. `ConnectionTimeouts` knows what
//! the connection is about and when that must end; `Timed` is its socket, which tells it what happens.

use super::Limits;
use super::buf_list::BufList;
use super::connections::Slot;
use super::listen::Socket;
use super::shared_responses::{Content, ReadGuard};
use hyper::body::{Body, Buf, Frame, SizeHint};
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, sleep_until};

/// The server takes an answer in frames of this size: where it copies them (as it must to encrypt them), it copies no more.
pub const FRAME: usize = 128 * 1024;

/// What a connection is about, and when that must end.
#[derive(Debug)]
pub struct ConnectionTimeouts {
    phase: Mutex<ConnectionPhase>,
    slot: Arc<Slot>,
    limits: Arc<Limits>,
}

#[derive(Debug)]
enum ConnectionPhase {
    /// The next head is awaited, or a part of it has come.
    Head { until: Instant, begun: bool },
    /// A request is with the handler, which has limits of its own.
    Handling { unread: bool },
    /// An answer is being written.
    Writing {
        until: Instant,
        /// When the client last made room for more, if it makes none now.
        stuck: Option<Instant>,
        /// The server has taken all of it.
        taken: bool,
        /// The request has a body, which nobody reads.
        unread: bool,
        /// Keeps a shared text's account.
        _reading: Option<ReadGuard>,
    },
    /// All is said; what the client still sends is thrown away.
    Closing { until: Instant },
}

impl ConnectionTimeouts {
    /// The pace of a connection that was just accepted.
    pub fn new(slot: Arc<Slot>, limits: Arc<Limits>) -> Arc<Self> {
        let until = Instant::now() + limits.head;
        Arc::new(Self {
            phase: Mutex::new(ConnectionPhase::Head {
                until,
                begun: false,
            }),
            slot,
            limits,
        })
    }

    /// A request has come. `unread`: it has a body, which nobody will read.
    pub fn request(&self, unread: bool) {
        *self.phase() = ConnectionPhase::Handling { unread };
        self.slot.progress();
    }

    /// The answer that the handler gave, as the server is to send it.
    pub fn answer(self: &Arc<Self>, content: Content) -> Answer {
        let mut phase = self.phase();
        let reading = content
            .shared
            .map(|scraped| scraped.read_by(Arc::clone(&self.slot)));
        *phase = ConnectionPhase::Writing {
            until: Instant::now() + self.limits.answer,
            stuck: None,
            taken: false,
            unread: matches!(*phase, ConnectionPhase::Handling { unread: true }),
            _reading: reading,
        };
        drop(phase);
        self.slot.progress();
        Answer {
            rest: BufList::from(content.pieces),
            timeouts: Arc::clone(self),
        }
    }

    /// Returns true while a request is handled or its response is being written.
    pub fn is_answering(&self) -> bool {
        matches!(
            *self.phase(),
            ConnectionPhase::Handling { .. } | ConnectionPhase::Writing { .. }
        )
    }

    /// Ends when the client has taken too long. To be polled after the connection, in the same task.
    pub async fn timed_out(&self) {
        let mut alarm = pin!(sleep_until(Instant::now()));
        poll_fn(|context| {
            let Some(until) = self.until() else {
                return Poll::Pending;
            };
            // A timer that is set to this moment rings at the next, when the moment to end would be another again.
            if until <= Instant::now() {
                return Poll::Ready(());
            }
            if alarm.deadline() != until {
                alarm.as_mut().reset(until);
            }
            alarm.as_mut().poll(context)
        })
        .await;
    }

    fn until(&self) -> Option<Instant> {
        match &*self.phase() {
            ConnectionPhase::Handling { .. } => None,
            ConnectionPhase::Head { until, .. } | ConnectionPhase::Closing { until } => {
                Some(*until)
            }
            ConnectionPhase::Writing { until, stuck, .. } => {
                Some(stuck.map_or(*until, |since| *until.min(&(since + self.limits.stuck))))
            }
        }
    }

    fn has_read(&self) {
        if let ConnectionPhase::Head { until, begun } = &mut *self.phase()
            && !*begun
        {
            *begun = true;
            *until = (*until).min(Instant::now() + self.limits.head);
        }
    }

    fn has_written(&self, written: bool) {
        match &mut *self.phase() {
            ConnectionPhase::Writing { stuck, .. } if written => {
                *stuck = None;
                self.slot.progress();
            }
            ConnectionPhase::Writing { stuck, .. } => {
                stuck.get_or_insert_with(Instant::now);
            }
            ConnectionPhase::Head { .. }
            | ConnectionPhase::Handling { .. }
            | ConnectionPhase::Closing { .. } => {}
        }
    }

    fn taken(&self) {
        if let ConnectionPhase::Writing { taken, .. } = &mut *self.phase() {
            *taken = true;
        }
    }

    /// The server holds nothing back any more.
    fn flushed(&self) {
        let mut phase = self.phase();
        if let ConnectionPhase::Writing {
            taken: true,
            unread: false,
            ..
        } = *phase
        {
            *phase = ConnectionPhase::Head {
                until: Instant::now() + self.limits.idle,
                begun: false,
            };
        }
    }

    /// The connection ends in good order. True if the client may still be sending: closing the socket then would make the
    /// system throw away what the client has not read of the answer.
    fn closing(&self) -> bool {
        let mut phase = self.phase();
        let sends = match *phase {
            ConnectionPhase::Head { begun, .. } => begun,
            ConnectionPhase::Handling { unread } | ConnectionPhase::Writing { unread, .. } => {
                unread
            }
            ConnectionPhase::Closing { .. } => return true,
        };
        if sends {
            *phase = ConnectionPhase::Closing {
                until: Instant::now() + self.limits.closing,
            };
        }
        sends
    }

    fn phase(&self) -> MutexGuard<'_, ConnectionPhase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An answer on its way.
#[derive(Debug)]
pub struct Answer {
    rest: BufList,
    timeouts: Arc<ConnectionTimeouts>,
}

impl Body for Answer {
    type Data = BufList;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<BufList>, Infallible>>> {
        let next = self.rest.split_to(FRAME);
        Poll::Ready(next.has_remaining().then(|| Ok(Frame::data(next))))
    }

    fn is_end_stream(&self) -> bool {
        !self.rest.has_remaining()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.remaining() as u64)
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.timeouts.taken();
    }
}

/// A connection's socket.
#[derive(Debug)]
pub struct Timed {
    socket: Socket,
    timeouts: Arc<ConnectionTimeouts>,
}

impl Timed {
    /// Tells `timeouts` what happens on `socket`.
    pub fn new(socket: Socket, timeouts: Arc<ConnectionTimeouts>) -> Self {
        Self { socket, timeouts }
    }

    /// The client's address, if it is known.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.socket.peer()
    }

    /// The first byte that comes, which stays there to be read.
    pub async fn peek(&self) -> io::Result<u8> {
        let first = self.socket.peek().await;
        self.timeouts.has_read();
        first
    }

    fn socket(self: Pin<&mut Self>) -> Pin<&mut Socket> {
        Pin::new(&mut self.get_mut().socket)
    }
}

impl AsyncRead for Timed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = self.as_mut().socket().poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.timeouts.has_read();
        }
        read
    }
}

impl AsyncWrite for Timed {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = self.as_mut().socket().poll_write(context, bytes);
        self.timeouts.has_written(written.is_ready());
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = self.as_mut().socket().poll_write_vectored(context, slices);
        self.timeouts.has_written(written.is_ready());
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.as_mut().socket().poll_flush(context))?;
        self.timeouts.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.as_mut().socket().poll_shutdown(context))?;
        if !self.timeouts.closing() {
            return Poll::Ready(Ok(()));
        }
        let mut thrown_away = [0; 4096];
        loop {
            let mut buffer = ReadBuf::new(&mut thrown_away);
            ready!(self.as_mut().socket().poll_read(context, &mut buffer))?;
            if buffer.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl Drop for Timed {
    /// A client that was given up while it had an answer to read does not get the rest: without this the system would go on
    /// offering it for minutes, from memory of its own.
    fn drop(&mut self) {
        let has_more = match &*self.timeouts.phase() {
            ConnectionPhase::Writing { unread, .. } => !unread,
            ConnectionPhase::Head { .. }
            | ConnectionPhase::Handling { .. }
            | ConnectionPhase::Closing { .. } => false,
        };
        if has_more {
            self.socket.abort();
        }
    }
}
