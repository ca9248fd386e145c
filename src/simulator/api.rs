//! The AWS Glue API: records a request, and responds with a page, an error or a fault.

use super::fault::FaultKind;
use super::handle::Handle;
use super::request::{INBOUND, RecordedRequest};
use super::response::{API_CONTENT_TYPE, ApiError, ResponseBody, in_pieces, read_body, whole};
use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::header::HeaderValue;
use hyper::{Request, Response, StatusCode};
use serde_json::{Value, json};
use std::time::Duration;

const MAX_BODY_BYTES: usize = 64 * 1024;
/// Without this pause, the first half of a truncated body would never leave the server's buffer.
const FLUSH_DELAY: Duration = Duration::from_millis(20);

pub(super) async fn respond(handle: &Handle, request: Request<Incoming>) -> Response<ResponseBody> {
    let number = handle.count_request();
    let (parts, body) = request.into_parts();
    let body = read_body(body, MAX_BODY_BYTES).await.ok_or_else(|| {
        let message = format!("The request is larger than {MAX_BODY_BYTES} bytes.");
        ApiError::new("RequestEntityTooLargeException", &message)
    });
    let mut response = match body.and_then(|body| RecordedRequest::parse(&parts.headers, &body)) {
        Ok(request) => response_to(handle, &request).await,
        Err(error) => error.response(),
    };
    // The ids are numbered, so a repeated test run gets the same ones.
    let id = format!("00000000-0000-4000-8000-{number:012x}");
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert("x-amzn-requestid", id);
    }
    response
}

async fn response_to(handle: &Handle, request: &RecordedRequest) -> Response<ResponseBody> {
    let fault = handle.state().record(request);
    match &fault {
        Some(FaultKind::Error(error)) => return error.response(),
        Some(FaultKind::Raw(response)) => {
            return response.clone().map(|body| Either::Left(Full::new(body)));
        }
        Some(FaultKind::Hang) => std::future::pending().await,
        Some(FaultKind::Delay(time)) => tokio::time::sleep(*time).await,
        _ => {}
    }
    let body = match page(handle, request, fault.as_ref()) {
        Ok(body) => Bytes::from(body.to_string()),
        Err(error) => return error.response(),
    };
    let length = body.len();
    match fault {
        Some(FaultKind::ResetMidBody) => {
            in_pieces(length, vec![body.slice(..length / 2)], FLUSH_DELAY)
        }
        Some(FaultKind::Drip { bytes, pause }) => {
            let pieces = body.chunks(bytes).map(Bytes::copy_from_slice);
            in_pieces(length, pieces.collect(), pause)
        }
        _ => whole(StatusCode::OK, API_CONTENT_TYPE, body),
    }
}

fn page(
    handle: &Handle,
    request: &RecordedRequest,
    fault: Option<&FaultKind>,
) -> Result<Value, ApiError> {
    let state = handle.state();
    let (found, more) = state.account.page(request)?;
    let last = found.last().map(|item| item.arn.as_str());
    let last = last.or(request.after.as_deref()).unwrap_or_default();
    // A marker contains the position, so the simulator stores none.
    let next = format!("{}:{last}", request.page.saturating_add(1));
    let marker = match (fault, &request.marker) {
        (Some(FaultKind::RepeatMarker), Some(marker)) => Some(marker.clone()),
        (Some(FaultKind::RepeatMarker | FaultKind::EndlessMarkers), _) => Some(next),
        _ => more.then_some(next),
    };
    let (name, items) = if request.operation == INBOUND {
        ("InboundIntegrations", json!(found))
    } else {
        let items = found.iter().map(|item| item.created_json());
        ("Integrations", items.collect())
    };
    let mut body = json!({name: items});
    if let Some(marker) = marker {
        body["Marker"] = json!(marker);
    }
    Ok(body)
}
