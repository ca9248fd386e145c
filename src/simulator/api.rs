//! Answers the AWS Glue API: from a request that was understood to a page, an error or a fault.
//! What a page holds is the world's affair.

use std::collections::{HashMap, VecDeque};

use hyper::body::Incoming;
use hyper::header::HeaderValue;
use hyper::{HeaderMap, Request, Response, StatusCode};
use serde_json::{Map, Value};

use super::account::{Account, Caller};
use super::fault::{self, FaultKind};
use super::fields::FieldError;
use super::input::{self, ApiError, CONTENT_TYPE, INBOUND};
use super::wire::{self, Answer, Dropped, Unread};
use super::{Handle, RecordedRequest, SimulatedIntegration};

/// Longest body of a request.
const MAX_BODY: usize = 64 * 1024;

/// How many markers stay good. A listing uses only its newest; the bound is for listings that
/// nobody finishes.
const MAX_MARKERS: usize = 10_000;

/// Where the markers that were given out lead to.
#[derive(Default)]
pub(super) struct Markers {
    /// Marker to the last ARN before the page and the page's number.
    known: HashMap<String, (String, u32)>,
    oldest_first: VecDeque<String>,
    issued: u64,
}

impl Markers {
    fn issue(&mut self, last_arn: String, page: u32) -> String {
        self.issued = self.issued.wrapping_add(1);
        // An odd factor maps no two numbers to one: unique, and nobody can count with it.
        let marker = format!("{:016x}", self.issued.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        if self.oldest_first.len() >= MAX_MARKERS
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            self.known.remove(&oldest);
        }
        self.oldest_first.push_back(marker.clone());
        self.known.insert(marker.clone(), (last_arn, page));
        marker
    }
}

/// How the marker of an answer departs from the truth.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Marking {
    True,
    Repeated,
    Endless,
}

/// Answers a request of the API; `Err` ends the connection without an answer.
pub(super) async fn answer(
    handle: &Handle,
    request: Request<Incoming>,
) -> Result<Response<Answer>, Dropped> {
    let (head, body) = request.into_parts();
    let answered = match read_request(handle, &head.headers, body).await {
        Ok(request) => respond(handle, &request).await,
        Err(Refused::Error(error)) => Ok(error.response()),
        Err(Refused::Dropped) => Err(Dropped),
    };
    let mut response = answered?;
    if let Ok(id) = HeaderValue::from_str(&handle.next_request_id()) {
        response.headers_mut().insert("x-amzn-requestid", id);
    }
    Ok(response)
}

enum Refused {
    Error(ApiError),
    Dropped,
}

impl From<ApiError> for Refused {
    fn from(error: ApiError) -> Self {
        Self::Error(error)
    }
}

/// Reads and records a request. One whose operation and signature were understood is recorded even
/// if its input is refused.
async fn read_request(
    handle: &Handle,
    headers: &HeaderMap,
    body: Incoming,
) -> Result<RecordedRequest, Refused> {
    let operation = input::operation(headers)?;
    let (access_key_id, region) = input::credential(headers)?;
    let body = wire::read_body(body, MAX_BODY)
        .await
        .map_err(|unread| match unread {
            Unread::Broken => Refused::Dropped,
            Unread::TooLarge => {
                let message = format!("The request is larger than {MAX_BODY} bytes.");
                Refused::Error(ApiError {
                    status: 413,
                    ..ApiError::new("RequestEntityTooLargeException", message)
                })
            }
        })?;
    let blank = RecordedRequest {
        operation,
        region,
        access_key_id,
        page: 1,
        ..RecordedRequest::default()
    };
    let read = input::read_input(&blank, &body);
    Ok(handle.record(read.as_ref().unwrap_or(&blank).clone(), read.err())?)
}

impl Handle {
    /// Writes the request down, with the number of its page. `refused` is what is wrong with its
    /// input.
    fn record(
        &self,
        mut request: RecordedRequest,
        refused: Option<ApiError>,
    ) -> Result<RecordedRequest, ApiError> {
        let mut state = self.state();
        let page = match &request.marker {
            None => Some(1),
            Some(marker) => state.markers.known.get(marker).map(|(_, page)| *page),
        };
        request.page = page.unwrap_or(0);
        state.record(request.clone());
        if let Some(refused) = refused {
            return Err(refused);
        }
        match page {
            Some(_) => Ok(request),
            None => {
                let marker = request.marker.map(Value::String);
                Err(
                    FieldError::new("Marker", marker.as_ref(), "a Marker of an earlier answer")
                        .into(),
                )
            }
        }
    }

    fn page(&self, request: &RecordedRequest, marking: Marking) -> Result<Value, ApiError> {
        let mut state = self.state();
        let state = &mut *state;
        let caller = Caller {
            account: state.account.account_of(&request.access_key_id).to_owned(),
            region: request.region.clone(),
        };
        let position = request
            .marker
            .as_ref()
            .and_then(|marker| state.markers.known.get(marker));
        let after = position.map(|(arn, _)| arn.as_str());
        let (found, more) = listed(&state.account, &caller, request, after)?;
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
        let marker = match (marking, &request.marker) {
            (Marking::Repeated, Some(marker)) => Some(marker.clone()),
            (Marking::True, _) if !more => None,
            _ => Some(state.markers.issue(last, request.page.saturating_add(1))),
        };
        if let Some(marker) = marker {
            body.insert("Marker".to_owned(), Value::String(marker));
        }
        Ok(Value::Object(body))
    }
}

/// One page of what was asked for, and whether there is more.
fn listed<'a>(
    account: &'a Account,
    caller: &'a Caller,
    request: &'a RecordedRequest,
    after: Option<&'a str>,
) -> Result<(Vec<&'a SimulatedIntegration>, bool), ApiError> {
    let rules = &account.rules;
    let asked = request
        .max_records
        .map_or(rules.page_size, |records| records as usize);
    let size = asked.min(rules.max_page_size).max(1);
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
            // With both filters, what agrees with both. After a marker nothing is left.
            let agrees =
                |one: &&SimulatedIntegration| target.is_none_or(|target| one.target_arn == target);
            one.into_iter()
                .filter(agrees)
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

async fn respond(handle: &Handle, request: &RecordedRequest) -> Result<Response<Answer>, Dropped> {
    let normal = |marking| match handle.page(request, marking) {
        Ok(body) => wire::json(StatusCode::OK, CONTENT_TYPE, body.to_string().into()),
        Err(error) => error.response(),
    };
    let fault = fault::take_fault(&mut handle.state().faults, request);
    Ok(match fault {
        None => normal(Marking::True),
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
        }) => match fault::raw_head(status, &headers) {
            Ok(head) => Response::from_parts(head, Answer::whole(body)),
            Err(reason) => {
                ApiError::new("InternalFailure", format!("A raw answer takes {reason}.")).response()
            }
        },
        Some(FaultKind::Hang) => {
            handle.stopped().await;
            return Err(Dropped);
        }
        Some(FaultKind::ResetMidBody) => wire::cut(normal(Marking::True)),
        Some(FaultKind::RepeatMarker) => normal(Marking::Repeated),
        Some(FaultKind::EndlessMarkers) => normal(Marking::Endless),
        Some(FaultKind::Delay(time)) => {
            tokio::select! {
                () = tokio::time::sleep(time) => normal(Marking::True),
                () = handle.stopped() => return Err(Dropped),
            }
        }
        Some(FaultKind::Drip { bytes, pause }) => wire::drip(normal(Marking::True), bytes, pause),
    })
}
