//! The API of AWS: records a request, and responds with a page, an error or a fault.

use super::account::Account;
use super::cloudwatch::{get_metric_data, list_metrics};
use super::fault::{FaultKind, next_marker};
use super::handle::Handle;
use super::protocol::Protocol;
use super::request::{INBOUND, Input, RecordedRequest};
use super::response::{ApiError, ResponseBody, in_pieces, read_body, whole};
use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::header::HeaderValue;
use hyper::{Request, Response, StatusCode};
use serde_json::{Value, json};
use std::time::Duration;

/// `GetMetricData` with 500 queries is much longer than all other requests.
const MAX_BODY_BYTES: usize = 64 * 1024;
const MAX_CLOUDWATCH_BODY_BYTES: usize = 1024 * 1024;
/// Without this pause, the first half of a truncated body would never leave the server's buffer.
const FLUSH_DELAY: Duration = Duration::from_millis(20);

pub(super) async fn respond(handle: &Handle, request: Request<Incoming>) -> Response<ResponseBody> {
    let number = handle.count_request();
    let (parts, body) = request.into_parts();
    let (protocol, operation) = Protocol::of(&parts);
    let max_body_bytes = match protocol {
        Protocol::GlueJson => MAX_BODY_BYTES,
        Protocol::CloudWatchJson | Protocol::CloudWatchCbor => MAX_CLOUDWATCH_BODY_BYTES,
    };
    let body = read_body(body, max_body_bytes).await.ok_or_else(|| {
        let message = format!("The request is larger than {max_body_bytes} bytes.");
        ApiError::new("RequestEntityTooLargeException", &message)
    });
    let request =
        body.and_then(|body| RecordedRequest::parse(protocol, operation, &parts.headers, &body));
    let mut response = match request {
        Ok((request, input)) => response_to(handle, protocol, &request, &input).await,
        Err(error) => error.response(protocol),
    };
    // The ids are numbered, so a repeated test run gets the same ones.
    let id = format!("00000000-0000-4000-8000-{number:012x}");
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert("x-amzn-requestid", id);
    }
    if protocol == Protocol::CloudWatchCbor {
        let name = HeaderValue::from_static("rpc-v2-cbor");
        response.headers_mut().insert("smithy-protocol", name);
    }
    response
}

async fn response_to(
    handle: &Handle,
    protocol: Protocol,
    request: &RecordedRequest,
    input: &Input,
) -> Response<ResponseBody> {
    let fault = handle.state().record(request);
    match &fault {
        Some(FaultKind::Error(error)) => return error.response(protocol),
        Some(FaultKind::Raw(response)) => {
            return response.clone().map(|body| Either::Left(Full::new(body)));
        }
        Some(FaultKind::Hang) => std::future::pending().await,
        Some(FaultKind::Delay(time)) => tokio::time::sleep(*time).await,
        _ => {}
    }
    let body = match page(handle, protocol, request, input, fault.as_ref()) {
        Ok(body) => body,
        Err(error) => return error.response(protocol),
    };
    let content_type = protocol.content_type();
    let length = body.len();
    match fault {
        Some(FaultKind::ResetMidBody) => {
            let half = vec![body.slice(..length / 2)];
            in_pieces(content_type, length, half, FLUSH_DELAY)
        }
        Some(FaultKind::Drip { bytes, pause }) => {
            let pieces = body.chunks(bytes).map(Bytes::copy_from_slice);
            in_pieces(content_type, length, pieces.collect(), pause)
        }
        _ => whole(StatusCode::OK, content_type, body),
    }
}

fn page(
    handle: &Handle,
    protocol: Protocol,
    request: &RecordedRequest,
    input: &Input,
    fault: Option<&FaultKind>,
) -> Result<Bytes, ApiError> {
    let account = &handle.state().account;
    Ok(match input {
        Input::Glue => protocol.serialize(&integrations_page(account, request, fault)?),
        Input::ListMetrics(input) => {
            protocol.serialize(&list_metrics(account, request, input, fault)?)
        }
        Input::GetMetricData(input) => {
            protocol.serialize(&get_metric_data(account, request, input, fault)?)
        }
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
    let (name, items) = if request.operation == INBOUND {
        ("InboundIntegrations", json!(found))
    } else {
        let items = found.iter().map(|item| item.created_json());
        ("Integrations", items.collect())
    };
    let mut body = json!({name: items});
    if let Some(marker) = next_marker(request, fault, last, has_more) {
        body["Marker"] = json!(marker);
    }
    Ok(body)
}
