//! Bodies as they go over the wire: whole, cut off, or dripping. Knows nothing of Glue.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use tokio::time::{Instant, Sleep, sleep};

/// How long a cut body waits before it breaks off. Without it the first half is still in the
/// server's buffer and is never sent.
const FLUSH: Duration = Duration::from_millis(20);

/// Ends the connection instead of an answer.
#[derive(Debug)]
pub(super) struct Dropped;

impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the simulator drops this connection")
    }
}

impl std::error::Error for Dropped {}

/// The body of an answer.
pub(super) struct Answer {
    rest: Bytes,
    pace: Deadline,
}

enum Deadline {
    Whole,
    Cut(Pin<Box<Sleep>>),
    Drip {
        bytes: usize,
        pause: Duration,
        next: Pin<Box<Sleep>>,
    },
}

impl Answer {
    pub fn whole(body: impl Into<Bytes>) -> Self {
        Self {
            rest: body.into(),
            pace: Deadline::Whole,
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Dropped;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Dropped>>> {
        let Answer { rest, pace } = &mut *self;
        let length = rest.len();
        let piece = match pace {
            Deadline::Cut(wait) if length == 0 => {
                ready!(wait.as_mut().poll(context));
                return Poll::Ready(Some(Err(Dropped)));
            }
            _ if length == 0 => return Poll::Ready(None),
            Deadline::Whole | Deadline::Cut(_) => length,
            Deadline::Drip { bytes, pause, next } => {
                ready!(next.as_mut().poll(context));
                next.as_mut().reset(Instant::now() + *pause);
                length.min(*bytes)
            }
        };
        Poll::Ready(Some(Ok(Frame::data(rest.split_to(piece)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && !matches!(self.pace, Deadline::Cut(_))
    }

    fn size_hint(&self) -> SizeHint {
        match self.pace {
            // Its header promises more than comes: a hint would contradict it.
            Deadline::Cut(_) => SizeHint::default(),
            Deadline::Whole | Deadline::Drip { .. } => SizeHint::with_exact(self.rest.len() as u64),
        }
    }
}

/// An answer with a JSON body.
pub(super) fn json(
    status: StatusCode,
    content_type: &'static str,
    body: Vec<u8>,
) -> Response<Answer> {
    let mut response = Response::new(Answer::whole(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// The same answer, of which only half arrives before the connection closes.
pub(super) fn cut(response: Response<Answer>) -> Response<Answer> {
    let (mut head, body) = response.into_parts();
    let promised = body.rest.len();
    head.headers
        .insert(CONTENT_LENGTH, HeaderValue::from(promised));
    let rest = body.rest.slice(..promised / 2);
    Response::from_parts(
        head,
        Answer {
            rest,
            pace: Deadline::Cut(Box::pin(sleep(FLUSH))),
        },
    )
}

/// The same answer, its body a few bytes at a time.
pub(super) fn drip(response: Response<Answer>, bytes: usize, pause: Duration) -> Response<Answer> {
    let next = Box::pin(sleep(pause));
    response.map(|body| Answer {
        rest: body.rest,
        pace: Deadline::Drip {
            bytes: bytes.max(1),
            pause,
            next,
        },
    })
}

/// Why a request's body was not read.
pub(super) enum Unread {
    TooLarge,
    /// The client broke off.
    Broken,
}

/// The whole body of a request, if it has at most `limit` bytes.
pub(super) async fn read_body(body: Incoming, limit: usize) -> Result<Bytes, Unread> {
    match Limited::new(body, limit).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => Err(Unread::TooLarge),
        Err(_) => Err(Unread::Broken),
    }
}
