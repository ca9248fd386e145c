//! Responses of the API and of the control endpoint, and the reading of request bodies.

use super::protocol::Protocol;
use bytes::Bytes;
use http_body_util::channel::Channel;
use http_body_util::{BodyExt, Either, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::json;
use std::time::Duration;
use tokio::time::sleep;

pub(super) type ResponseBody = Either<Full<Bytes>, Channel<Bytes>>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    code: String,
    message: String,
}

impl ApiError {
    pub(super) fn new(code: &str, message: &str) -> Self {
        Self {
            code: code.to_owned(),
            message: message.to_owned(),
        }
    }

    pub(super) fn response(&self, protocol: Protocol) -> Response<ResponseBody> {
        let status = self.status();
        // Clients read the code from `__type`. Those of CloudWatch prefer the header, which has the code of its first protocol.
        let (message, header, code) = match protocol {
            Protocol::GlueJson => ("Message", "x-amzn-errortype", self.code.clone()),
            Protocol::CloudWatchJson | Protocol::CloudWatchCbor => {
                let fault = if status.is_server_error() {
                    "Receiver"
                } else {
                    "Sender"
                };
                let code = format!("{};{fault}", self.code);
                ("message", "x-amzn-query-error", code)
            }
        };
        let body = json!({"__type": self.code, message: self.message});
        let body = protocol.serialize(&body);
        let mut response = whole(status, protocol.content_type(), body);
        if let Ok(code) = HeaderValue::from_str(&code) {
            response.headers_mut().insert(header, code);
        }
        response
    }

    /// Glue returns 400 for nearly all errors, even for InternalServerException.
    fn status(&self) -> StatusCode {
        match self.code.as_str() {
            "InternalServiceException" | "InternalServiceError" | "InternalFailure" => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
            "ServiceUnavailable" | "ServiceUnavailableException" => StatusCode::SERVICE_UNAVAILABLE,
            "RequestEntityTooLargeException" => StatusCode::PAYLOAD_TOO_LARGE,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

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

/// Returns `None` if the body is larger than `limit` bytes or the client closed the connection.
pub(super) async fn read_body(body: Incoming, limit: usize) -> Option<Bytes> {
    let body = Limited::new(body, limit).collect().await.ok()?;
    Some(body.to_bytes())
}
