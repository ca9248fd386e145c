use hyper::body::Bytes;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use std::sync::Arc;

/// Consecutive buffers.
pub type Content = Arc<Vec<Bytes>>;

/// Sets the length, so that a response to HEAD has the header too. hyper omits the body of a response to HEAD.
pub fn response(
    status: StatusCode,
    content_type: &'static str,
    content: Content,
) -> Response<Content> {
    let length: usize = content.iter().map(Bytes::len).sum();
    let mut response = Response::new(content);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    response
}

pub fn plain(status: StatusCode, text: impl Into<Bytes>) -> Response<Content> {
    let content = Arc::new(vec![text.into()]);
    response(status, "text/plain; charset=utf-8", content)
}

/// Returns 503 for a full queue, which is usually free again within a second.
pub fn busy(text: &'static str) -> Response<Content> {
    let mut response = plain(StatusCode::SERVICE_UNAVAILABLE, text);
    response.headers_mut().insert(RETRY_AFTER, 1_u16.into());
    response
}
