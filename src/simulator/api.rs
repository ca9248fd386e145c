//! The API of AWS: records a request, and responds with a page, an error or a fault.

use super::account::Account;
use super::cloudwatch::{get_metric_data, list_metrics};
use super::fault::{FaultKind, next_marker};
use super::handle::Handle;
use super::integration::SimulatedIntegration;
use super::protocol::{ApiError, Protocol};
use super::request::{GET_METRIC_DATA, INBOUND, LIST_METRICS, RecordedRequest, credential};
use super::response::{ResponseBody, in_pieces, read_body, whole};
use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::header::HeaderValue;
use hyper::http::request::Parts;
use hyper::{Request, Response, StatusCode};
use serde_json::{Value, json};
use std::num::NonZeroUsize;
use std::ops::Bound::{Excluded, Included, Unbounded};
use std::time::Duration;

/// Without this pause, the first half of a truncated body would never leave the server's buffer.
const FLUSH_DELAY: Duration = Duration::from_millis(20);
/// Start of the form that clients send to STS. `check --online` needs no other operation of STS for scopes without a role.
const GET_CALLER_IDENTITY: &[u8] = b"Action=GetCallerIdentity&";

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
    if body.starts_with(GET_CALLER_IDENTITY) {
        let (access_key_id, _) = credential(&parts.headers)?;
        let body = caller_identity(handle.state().account.account_id(&access_key_id));
        return Ok(whole(StatusCode::OK, "text/xml", body));
    }
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
    let (pieces, pause) = match fault {
        Some(FaultKind::ResetMidBody) => (vec![body.slice(..length / 2)], FLUSH_DELAY),
        Some(FaultKind::Drip { bytes, pause }) => {
            let pieces = body.chunks(bytes).map(Bytes::copy_from_slice);
            (pieces.collect(), pause)
        }
        _ => return Ok(whole(StatusCode::OK, content_type, body)),
    };
    Ok(in_pieces(content_type, length, pieces, pause))
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

fn caller_identity(account: &str) -> String {
    format!(
        "<GetCallerIdentityResponse><GetCallerIdentityResult>\
         <Arn>arn:aws:iam::{account}:user/simulated</Arn><UserId>simulated</UserId><Account>{account}</Account>\
         </GetCallerIdentityResult></GetCallerIdentityResponse>"
    )
}

/// Returns a page of integrations, ordered by ARN. A marker has the last ARN of its page, so changes between two pages
/// do not shift the second one.
fn integrations_page(
    account: &Account,
    request: &RecordedRequest,
    fault: Option<&FaultKind>,
) -> Result<Value, ApiError> {
    let arn = request.integration_arn.as_deref();
    let after = request.after.as_deref();
    let range = match arn {
        Some(arn) => (Included(arn), Included(arn)),
        None => (after.map_or(Unbounded, Excluded), Unbounded),
    };
    let target = request.target_arn.as_deref();
    let has_target =
        |found: &&SimulatedIntegration| target.is_none_or(|arn| found.target_arn == arn);
    let requested = request.max_records.map_or(usize::MAX, NonZeroUsize::get);
    let size = requested.min(account.max_page_size);

    let mut found = account.visible(request, range).filter(has_target);
    let page: Vec<_> = found.by_ref().take(size).collect();
    if let (Some(arn), None) = (arn, page.first()) {
        let message = format!("Integration {arn} not found.");
        return Err(ApiError::new("IntegrationNotFoundFault", &message));
    }
    let last = page.last().map(|item| item.arn.as_str());
    let last = last.or(after).unwrap_or_default();
    let mut items: Vec<Value> = page.iter().map(|item| json!(item)).collect();
    let list = if request.operation == INBOUND {
        // AWS returns names and tags only to the account that created the integration.
        for item in items.iter_mut().filter_map(Value::as_object_mut) {
            item.remove("IntegrationName");
            item.remove("Tags");
        }
        "InboundIntegrations"
    } else {
        "Integrations"
    };
    let mut body = json!({list: items});
    if let Some(marker) = next_marker(request, fault, last, found.next().is_some()) {
        body["Marker"] = json!(marker);
    }
    Ok(body)
}
