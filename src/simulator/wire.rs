//! Response bodies that are sent whole, truncated or slowly, and the reading of request bodies.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use tokio::time::{Instant, Sleep, sleep};

/// Pause before a truncated body ends the connection. Without it, the first half would stay in the
/// server's buffer and never be sent.
const FLUSH_DELAY: Duration = Duration::from_millis(20);

/// Error that closes the connection without a complete response.
#[derive(Debug, thiserror::Error)]
#[error("the simulator dropped this connection")]
pub(super) struct ConnectionDropped;

/// The body of a response.
pub(super) struct ResponseBody {
    rest: Bytes,
    delivery: Delivery,
}

/// How a body is sent.
enum Delivery {
    Whole,
    /// The body ends early; after the pause, the connection closes.
    Truncated(Pin<Box<Sleep>>),
    Drip {
        bytes: usize,
        pause: Duration,
        next: Pin<Box<Sleep>>,
    },
}

impl ResponseBody {
    pub fn whole(body: impl Into<Bytes>) -> Self {
        Self {
            rest: body.into(),
            delivery: Delivery::Whole,
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = ConnectionDropped;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ConnectionDropped>>> {
        let ResponseBody { rest, delivery } = &mut *self;
        let length = rest.len();
        let chunk_length = match delivery {
            Delivery::Truncated(wait) if length == 0 => {
                ready!(wait.as_mut().poll(context));
                return Poll::Ready(Some(Err(ConnectionDropped)));
            }
            _ if length == 0 => return Poll::Ready(None),
            Delivery::Whole | Delivery::Truncated(_) => length,
            Delivery::Drip { bytes, pause, next } => {
                ready!(next.as_mut().poll(context));
                next.as_mut().reset(Instant::now() + *pause);
                length.min(*bytes)
            }
        };
        Poll::Ready(Some(Ok(Frame::data(rest.split_to(chunk_length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && !matches!(self.delivery, Delivery::Truncated(_))
    }

    fn size_hint(&self) -> SizeHint {
        match self.delivery {
            // The Content-Length header is larger than the body, so a hint would contradict it.
            Delivery::Truncated(_) => SizeHint::default(),
            Delivery::Whole | Delivery::Drip { .. } => SizeHint::with_exact(self.rest.len() as u64),
        }
    }
}

/// Returns a response with a JSON body.
pub(super) fn json(
    status: StatusCode,
    content_type: &'static str,
    body: Vec<u8>,
) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::whole(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// Truncates a response: the connection closes after half of the body.
pub(super) fn truncate(response: Response<ResponseBody>) -> Response<ResponseBody> {
    let (mut head, body) = response.into_parts();
    let content_length = body.rest.len();
    head.headers
        .insert(CONTENT_LENGTH, HeaderValue::from(content_length));
    let rest = body.rest.slice(..content_length / 2);
    Response::from_parts(
        head,
        ResponseBody {
            rest,
            delivery: Delivery::Truncated(Box::pin(sleep(FLUSH_DELAY))),
        },
    )
}

/// Slows a response down: the body is sent `bytes` at a time, with `pause` before each chunk.
pub(super) fn drip(
    response: Response<ResponseBody>,
    bytes: usize,
    pause: Duration,
) -> Response<ResponseBody> {
    let next = Box::pin(sleep(pause));
    response.map(|body| ResponseBody {
        rest: body.rest,
        delivery: Delivery::Drip {
            bytes: bytes.max(1),
            pause,
            next,
        },
    })
}

/// The reason why a request body could not be read.
pub(super) enum ReadBodyError {
    TooLarge,
    /// The client closed the connection.
    Aborted,
}

/// Reads a request body of at most `limit` bytes.
pub(super) async fn read_body(body: Incoming, limit: usize) -> Result<Bytes, ReadBodyError> {
    match Limited::new(body, limit).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            Err(ReadBodyError::TooLarge)
        }
        Err(_) => Err(ReadBodyError::Aborted),
    }
}
