//! Responses of the API and of the control endpoint, and the reading of request bodies.

use bytes::Bytes;
use http_body_util::channel::Channel;
use http_body_util::{BodyExt, Either, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::json;
use std::time::Duration;
use tokio::time::sleep;

pub(super) const API_CONTENT_TYPE: &str = "application/x-amz-json-1.1";

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

    /// botocore reads the code from `__type`, and Glue's model has the member `Message`.
    pub(super) fn response(&self) -> Response<ResponseBody> {
        // Glue returns 400 for nearly all errors, even for InternalServerException.
        let status = match self.code.as_str() {
            "InternalServiceException" | "InternalFailure" => StatusCode::INTERNAL_SERVER_ERROR,
            "ServiceUnavailable" | "ServiceUnavailableException" => StatusCode::SERVICE_UNAVAILABLE,
            "RequestEntityTooLargeException" => StatusCode::PAYLOAD_TOO_LARGE,
            _ => StatusCode::BAD_REQUEST,
        };
        let body = json!({"__type": self.code, "Message": self.message}).to_string();
        let mut response = whole(status, API_CONTENT_TYPE, body);
        if let Ok(code) = HeaderValue::from_str(&self.code) {
            response.headers_mut().insert("x-amzn-errortype", code);
        }
        response
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
    let mut response = whole(StatusCode::OK, API_CONTENT_TYPE, "").map(|_| Either::Right(body));
    let length = HeaderValue::from(length);
    response.headers_mut().insert(CONTENT_LENGTH, length);
    response
}

/// Returns `None` if the body is larger than `limit` bytes or the client closed the connection.
pub(super) async fn read_body(body: Incoming, limit: usize) -> Option<Bytes> {
    let body = Limited::new(body, limit).collect().await.ok()?;
    Some(body.to_bytes())
}

pub(super) fn parse_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| error.to_string())?;
    json.end().map_err(|error| error.to_string())?;
    Ok(value)
}
