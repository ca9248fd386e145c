//! Responses of the API and of the control endpoint, and the reading of request bodies.

use bytes::Bytes;
use http_body_util::channel::Channel;
use http_body_util::{BodyExt, Either, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use std::time::Duration;
use tokio::time::sleep;

const MAX_BODY_BYTES: usize = 64 * 1024 * 1024;

pub(super) type ResponseBody = Either<Full<Bytes>, Channel<Bytes>>;

pub(super) fn whole(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<ResponseBody> {
    let mut response = Response::new(Either::Left(Full::new(body.into())));
    *response.status_mut() = status;
    let content_type = HeaderValue::from_static(content_type);
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

/// Pauses after each piece. The connection closes if the pieces are shorter than `length` bytes.
pub(super) fn in_pieces(
    content_type: &'static str,
    length: usize,
    pieces: Vec<Bytes>,
    pause: Duration,
) -> Response<ResponseBody> {
    let (mut sender, body) = Channel::new(1);
    tokio::spawn(async move {
        for piece in pieces {
            if sender.send_data(piece).await.is_err() {
                return;
            }
            sleep(pause).await;
        }
    });
    let mut response = whole(StatusCode::OK, content_type, "").map(|_| Either::Right(body));
    let length = HeaderValue::from(length);
    response.headers_mut().insert(CONTENT_LENGTH, length);
    response
}

/// Returns an error if the body is larger than 64 MiB or the client closed the connection.
pub(super) async fn read_body(body: Incoming) -> Result<Bytes, String> {
    let body = Limited::new(body, MAX_BODY_BYTES).collect().await;
    let body = body.map_err(|error| format!("reading the request: {error}"))?;
    Ok(body.to_bytes())
}
