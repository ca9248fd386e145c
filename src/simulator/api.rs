//! The API of AWS: records a request, and responds with a page, an error or a fault.

use super::cloudwatch::{get_metric_data, list_metrics};
use super::fault::FaultKind;
use super::handle::Handle;
use super::protocol::Protocol;
use super::request::{INBOUND, Input, RecordedRequest};
use super::response::{ApiError, ResponseBody, in_pieces, read_body, whole};
use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::header::HeaderValue;
use hyper::{Request, Response, StatusCode};
use serde::Serialize;
use serde_json::json;
use std::time::Duration;

/// `GetMetricData` with 500 queries is much longer than all other requests.
const MAX_BODY_BYTES: usize = 64 * 1024;
const MAX_CLOUDWATCH_BODY_BYTES: usize = 1024 * 1024;
/// Without this pause, the first half of a truncated body would never leave the server's buffer.
const FLUSH_DELAY: Duration = Duration::from_millis(20);

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct MetricsPage<T> {
    metrics: Vec<T>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct DataPage<T> {
    metric_data_results: Vec<T>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
}

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
    let state = handle.state();
    let account = &state.account;
    Ok(match input {
        Input::ListMetrics(input) => {
            let found = list_metrics(account, request, input)?;
            protocol.serialize(&MetricsPage {
                next_token: marker(request, fault, &found.position, found.has_more),
                metrics: found.items,
            })
        }
        Input::GetMetricData(input) => {
            let found = get_metric_data(account, request, input, fault)?;
            protocol.serialize(&DataPage {
                next_token: marker(request, fault, &found.position, found.has_more),
                metric_data_results: found.items,
            })
        }
        Input::Glue => {
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
            if let Some(marker) = marker(request, fault, last, has_more) {
                body["Marker"] = json!(marker);
            }
            protocol.serialize(&body)
        }
    })
}

/// Returns the marker of the next page. It contains the position, so the simulator stores none.
fn marker(
    request: &RecordedRequest,
    fault: Option<&FaultKind>,
    position: &str,
    has_more: bool,
) -> Option<String> {
    let next = format!("{}:{position}", request.page.saturating_add(1));
    match (fault, &request.marker) {
        (Some(FaultKind::RepeatMarker), Some(marker)) => Some(marker.clone()),
        (Some(FaultKind::RepeatMarker | FaultKind::EndlessMarkers), _) => Some(next),
        _ => has_more.then_some(next),
    }
}
