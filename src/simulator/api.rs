//! The AWS Glue API: reads and records a request, and responds with a page, an error or a fault. The
//! account selects the integrations of a page.

use std::collections::{HashMap, VecDeque};

use hyper::body::Incoming;
use hyper::header::HeaderValue;
use hyper::{HeaderMap, Request, Response, StatusCode};
use serde_json::{Map, Value};

use super::account::{Account, Caller};
use super::fault::{self, FaultKind};
use super::fields::FieldError;
use super::input::{self, ApiError, CONTENT_TYPE, INBOUND};
use super::wire::{self, ConnectionDropped, ReadBodyError, ResponseBody};
use super::{Handle, RecordedRequest, SimulatedIntegration};

const MAX_BODY_BYTES: usize = 64 * 1024;

/// Number of markers that stay valid. A listing uses only its newest marker; the limit bounds the
/// memory of unfinished listings.
const MAX_MARKERS: usize = 10_000;

/// The issued markers and their positions.
#[derive(Default)]
pub(super) struct Markers {
    /// The last ARN before the page and the number of the page, by marker.
    positions: HashMap<String, (String, u32)>,
    oldest_first: VecDeque<String>,
    issued: u64,
}

impl Markers {
    fn issue(&mut self, last_arn: String, page: u32) -> String {
        self.issued = self.issued.wrapping_add(1);
        // Multiplying by an odd number keeps markers unique and makes them opaque to clients.
        let marker = format!("{:016x}", self.issued.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        if self.oldest_first.len() >= MAX_MARKERS
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            self.positions.remove(&oldest);
        }
        self.oldest_first.push_back(marker.clone());
        self.positions.insert(marker.clone(), (last_arn, page));
        marker
    }
}

/// The fault in the marker of a response.
#[derive(Clone, Copy, PartialEq, Eq)]
enum MarkerFault {
    None,
    Repeated,
    Endless,
}

/// Handles a request of the API. An error closes the connection without a response.
pub(super) async fn respond(
    handle: &Handle,
    request: Request<Incoming>,
) -> Result<Response<ResponseBody>, ConnectionDropped> {
    let (parts, body) = request.into_parts();
    let response = match read_request(handle, &parts.headers, body).await {
        Ok(request) => response_to(handle, &request).await,
        Err(RequestError::Api(error)) => Ok(error.response()),
        Err(RequestError::Aborted) => Err(ConnectionDropped),
    };
    let mut response = response?;
    if let Ok(id) = HeaderValue::from_str(&handle.next_request_id()) {
        response.headers_mut().insert("x-amzn-requestid", id);
    }
    Ok(response)
}

enum RequestError {
    Api(ApiError),
    /// The client closed the connection.
    Aborted,
}

impl From<ApiError> for RequestError {
    fn from(error: ApiError) -> Self {
        Self::Api(error)
    }
}

/// Reads and records a request. A request with a valid operation and signature is recorded even if
/// its input is invalid.
async fn read_request(
    handle: &Handle,
    headers: &HeaderMap,
    body: Incoming,
) -> Result<RecordedRequest, RequestError> {
    let operation = input::operation(headers)?;
    let (access_key_id, region) = input::credential(headers)?;
    let body = wire::read_body(body, MAX_BODY_BYTES)
        .await
        .map_err(|error| match error {
            ReadBodyError::Aborted => RequestError::Aborted,
            ReadBodyError::TooLarge => {
                let message = format!("The request is larger than {MAX_BODY_BYTES} bytes.");
                RequestError::Api(ApiError {
                    status: 413,
                    ..ApiError::new("RequestEntityTooLargeException", message)
                })
            }
        })?;
    let signed = RecordedRequest {
        operation,
        region,
        access_key_id,
        page: 1,
        ..RecordedRequest::default()
    };
    let request = input::read_input(&signed, &body);
    Ok(handle.record(request.as_ref().unwrap_or(&signed).clone(), request.err())?)
}

impl Handle {
    /// Records the request and returns it with its page number. `input_error` is the error in its
    /// input.
    fn record(
        &self,
        mut request: RecordedRequest,
        input_error: Option<ApiError>,
    ) -> Result<RecordedRequest, ApiError> {
        let mut state = self.state();
        let page = match &request.marker {
            None => Some(1),
            Some(marker) => state.markers.positions.get(marker).map(|(_, page)| *page),
        };
        request.page = page.unwrap_or(0);
        state.record(request.clone());
        if let Some(input_error) = input_error {
            return Err(input_error);
        }
        match page {
            Some(_) => Ok(request),
            None => {
                let marker = request.marker.map(Value::String);
                Err(FieldError::new(
                    "Marker",
                    marker.as_ref(),
                    "the Marker of an earlier response",
                )
                .into())
            }
        }
    }

    fn page(
        &self,
        request: &RecordedRequest,
        marker_fault: MarkerFault,
    ) -> Result<Value, ApiError> {
        let mut state = self.state();
        let state = &mut *state;
        let caller = Caller {
            account: state.account.account_of(&request.access_key_id).to_owned(),
            region: request.region.clone(),
        };
        let position = request
            .marker
            .as_ref()
            .and_then(|marker| state.markers.positions.get(marker));
        let after = position.map(|(arn, _)| arn.as_str());
        let (found, more) = select_page(&state.account, &caller, request, after)?;
        let inbound = request.operation == INBOUND;
        let items = found
            .iter()
            .map(|item| {
                if inbound {
                    item.inbound_json()
                } else {
                    item.created_json()
                }
            })
            .collect();
        let last = found
            .last()
            .map(|item| item.arn.as_str())
            .or(after)
            .unwrap_or_default()
            .to_owned();

        let mut body = Map::new();
        body.insert(
            if inbound {
                "InboundIntegrations"
            } else {
                "Integrations"
            }
            .to_owned(),
            items,
        );
        let marker = match (marker_fault, &request.marker) {
            (MarkerFault::Repeated, Some(marker)) => Some(marker.clone()),
            (MarkerFault::None, _) if !more => None,
            _ => Some(state.markers.issue(last, request.page.saturating_add(1))),
        };
        if let Some(marker) = marker {
            body.insert("Marker".to_owned(), Value::String(marker));
        }
        Ok(Value::Object(body))
    }
}

/// Returns the integrations of one page, and true if there are more pages.
fn select_page<'a>(
    account: &'a Account,
    caller: &'a Caller,
    request: &'a RecordedRequest,
    after: Option<&'a str>,
) -> Result<(Vec<&'a SimulatedIntegration>, bool), ApiError> {
    let rules = &account.rules;
    let requested = request
        .max_records
        .map_or(rules.page_size, |records| records as usize);
    let size = requested.min(rules.max_page_size).max(1);
    let inbound = request.operation == INBOUND;
    let target = request.target_arn.as_deref();
    let mut found: Vec<&SimulatedIntegration> = match &request.integration_arn {
        Some(arn) => {
            let one = if inbound {
                account.inbound(caller, arn)
            } else {
                account.created(caller, arn)
            };
            if let (None, Some(code)) = (one, &rules.unknown_integration) {
                return Err(ApiError::new(code, format!("Integration {arn} not found.")));
            }
            // The target ARN must match as well. There is only one page.
            let matches_target =
                |one: &&SimulatedIntegration| target.is_none_or(|target| one.target_arn == target);
            one.into_iter()
                .filter(matches_target)
                .filter(|_| after.is_none())
                .collect()
        }
        None if inbound => account
            .inbound_after(caller, target, after)
            .take(size + 1)
            .collect(),
        None => account
            .created_after(caller, after)
            .take(size + 1)
            .collect(),
    };
    if let (true, Some(target), Some(code)) = (
        found.is_empty() && after.is_none(),
        target,
        &rules.unknown_target,
    ) {
        return Err(ApiError::new(code, format!("Target {target} not found.")));
    }
    let more = found.len() > size;
    found.truncate(size);
    Ok((found, more))
}

async fn response_to(
    handle: &Handle,
    request: &RecordedRequest,
) -> Result<Response<ResponseBody>, ConnectionDropped> {
    let normal_response = |marker_fault| match handle.page(request, marker_fault) {
        Ok(body) => wire::json(StatusCode::OK, CONTENT_TYPE, body.to_string().into()),
        Err(error) => error.response(),
    };
    let fault = fault::take_fault(&mut handle.state().faults, request);
    Ok(match fault {
        None => normal_response(MarkerFault::None),
        Some(FaultKind::Error {
            code,
            status,
            message,
        }) => ApiError {
            code,
            status,
            message,
        }
        .response(),
        Some(FaultKind::Raw {
            status,
            headers,
            body,
        }) => match fault::raw_response_parts(status, &headers) {
            Ok(parts) => Response::from_parts(parts, ResponseBody::whole(body)),
            Err(reason) => ApiError::new(
                "InternalFailure",
                format!("Invalid raw response: expected {reason}."),
            )
            .response(),
        },
        Some(FaultKind::Hang) => {
            handle.stopped().await;
            return Err(ConnectionDropped);
        }
        Some(FaultKind::ResetMidBody) => wire::truncate(normal_response(MarkerFault::None)),
        Some(FaultKind::RepeatMarker) => normal_response(MarkerFault::Repeated),
        Some(FaultKind::EndlessMarkers) => normal_response(MarkerFault::Endless),
        Some(FaultKind::Delay(time)) => {
            tokio::select! {
                () = tokio::time::sleep(time) => normal_response(MarkerFault::None),
                () = handle.stopped() => return Err(ConnectionDropped),
            }
        }
        Some(FaultKind::Drip { bytes, pause }) => {
            wire::drip(normal_response(MarkerFault::None), bytes, pause)
        }
    })
}
