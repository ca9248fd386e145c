//! The API of AWS: records a request, and responds with a page, an error or a fault.

use super::account::Account;
use super::cloudwatch::{get_metric_data, list_metrics};
use super::fault::{FaultKind, next_marker};
use super::handle::Handle;
use super::protocol::{ApiError, Protocol};
use super::request::{GET_METRIC_DATA, INBOUND, LIST_METRICS, RecordedRequest};
use super::response::{ResponseBody, in_pieces, read_body, whole};
use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::header::HeaderValue;
use hyper::http::request::Parts;
use hyper::{Request, Response, StatusCode};
use serde_json::{Value, json};
use std::time::Duration;

/// Without this pause, the first half of a truncated body would never leave the server's buffer.
const FLUSH_DELAY: Duration = Duration::from_millis(20);

pub(super) async fn respond(handle: &Handle, request: Request<Incoming>) -> Response<ResponseBody> {
    let number = handle.count_request();
    let (parts, body) = request.into_parts();
    let (protocol, operation) = Protocol::of(&parts);
    let response = response_to(handle, protocol, operation, &parts, body).await;
    let mut response = response.unwrap_or_else(|error| error.response(protocol));
    // The ids are numbered, so a repeated test run gets the same ones.
    let id = format!("00000000-0000-4000-8000-{number:012x}");
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert("x-amzn-requestid", id);
    }
    response
}

async fn response_to(
    handle: &Handle,
    protocol: Protocol,
    operation: &str,
    parts: &Parts,
    body: Incoming,
) -> Result<Response<ResponseBody>, ApiError> {
    let body = read_body(body).await;
    let body = body.map_err(|message| ApiError::new("SerializationException", &message))?;
    let request = RecordedRequest::parse(protocol, operation, &parts.headers, &body)?;
    let fault = handle.state().record(&request);
    match &fault {
        Some(FaultKind::Error(error)) => return Err(error.clone()),
        Some(FaultKind::Raw(response)) => {
            return Ok(response.clone().map(|body| Either::Left(Full::new(body))));
        }
        Some(FaultKind::Hang) => std::future::pending().await,
        Some(FaultKind::Delay(time)) => tokio::time::sleep(*time).await,
        _ => {}
    }
    let body = page(handle, protocol, &request, &body, fault.as_ref())?;
    let content_type = protocol.content_type();
    let length = body.len();
    Ok(match fault {
        Some(FaultKind::ResetMidBody) => {
            let half = vec![body.slice(..length / 2)];
            in_pieces(content_type, length, half, FLUSH_DELAY)
        }
        Some(FaultKind::Drip { bytes, pause }) => {
            let pieces = body.chunks(bytes).map(Bytes::copy_from_slice);
            in_pieces(content_type, length, pieces.collect(), pause)
        }
        _ => whole(StatusCode::OK, content_type, body),
    })
}

fn page(
    handle: &Handle,
    protocol: Protocol,
    request: &RecordedRequest,
    body: &[u8],
    fault: Option<&FaultKind>,
) -> Result<Bytes, ApiError> {
    let account = &handle.state().account;
    Ok(match request.operation {
        LIST_METRICS => protocol.serialize(&list_metrics(account, request, fault)),
        GET_METRIC_DATA => {
            let input = protocol.parse(body)?;
            protocol.serialize(&get_metric_data(account, request, input, fault)?)
        }
        _ => protocol.serialize(&integrations_page(account, request, fault)?),
    })
}

fn integrations_page(
    account: &Account,
    request: &RecordedRequest,
    fault: Option<&FaultKind>,
) -> Result<Value, ApiError> {
    let (found, has_more) = account.page(request)?;
    let last = found.last().map(|item| item.arn.as_str());
    let last = last.or(request.after.as_deref()).unwrap_or_default();
    let name = match request.operation {
        INBOUND => "InboundIntegrations",
        _ => "Integrations",
    };
    let mut body = json!({name: found});
    if let Some(marker) = next_marker(request, fault, last, has_more) {
        body["Marker"] = json!(marker);
    }
    Ok(body)
}
