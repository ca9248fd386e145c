//! The control endpoint under `/simulator/`, which changes the account and the faults while the
//! simulator serves. It has no authentication. A web page cannot change anything, because browsers
//! send its `Origin` with every method except GET and HEAD.
//!
//! `dispatch` is the list of requests. A change returns 204, an error returns `{"message": …}`. A fault
//! is `{"Kind": "Error", "Code": "ThrottlingException", "On": {"Region": "eu-west-1"}, "Times": 3}`. An
//! integration has the form of `InboundIntegrations`, with six more optional members: `Account` and
//! `Region` of the target (default: those of its ARN), `IntegrationName`, `Tags`, and for CloudWatch `Tables` and
//! `Metrics` (see `replication.rs`). PATCH replaces `Status`, `Errors`, `Tables` or `Metrics`.

use super::fault::{Fault, FaultKind, RequestMatcher};
use super::handle::Handle;
use super::integration::{SimulatedError, SimulatedIntegration};
use super::protocol::parse_json;
use super::replication::{SimulatedMetrics, SimulatedTable};
use super::response::{ResponseBody, read_body, whole};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::header::ORIGIN;
use hyper::{Request, Response, StatusCode};
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;

const MAX_BODY_BYTES: usize = 64 * 1024 * 1024;

/// The JSON body of a response, `None` for 204, or the status and the message of an error.
type ControlResult = Result<Option<Value>, (StatusCode, String)>;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Patch {
    status: Option<String>,
    errors: Option<Vec<SimulatedError>>,
    tables: Option<Vec<SimulatedTable>>,
    metrics: Option<SimulatedMetrics>,
}

/// The faults of a fire drill. The other kinds are for tests, which use `Handle`.
#[derive(Deserialize)]
enum DrillFault {
    Error,
    Hang,
    Delay,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct FaultBody {
    kind: DrillFault,
    /// Of an error only.
    code: Option<String>,
    #[serde(default)]
    message: String,
    /// Of a delay only.
    milliseconds: Option<u64>,
    #[serde(default)]
    on: RequestMatcher,
    times: Option<u32>,
}

impl FaultBody {
    fn into_fault(self) -> Result<Fault, &'static str> {
        let kind = match (self.kind, self.code, self.milliseconds) {
            (DrillFault::Error, Some(code), None) => FaultKind::error(&code, &self.message),
            (DrillFault::Delay, None, Some(time)) => FaultKind::Delay(Duration::from_millis(time)),
            (DrillFault::Hang, None, None) => FaultKind::Hang,
            _ => return Err("allowed: an Error with Code, a Delay with Milliseconds, or a Hang"),
        };
        Ok(Fault {
            matcher: self.on,
            times: self.times,
            kind,
        })
    }
}

pub(super) async fn respond(handle: &Handle, request: Request<Incoming>) -> Response<ResponseBody> {
    let (parts, body) = request.into_parts();
    let result = if parts.headers.contains_key(ORIGIN) {
        let message = "Web pages must not use this endpoint: expected no Origin header.";
        Err((StatusCode::FORBIDDEN, message.to_owned()))
    } else if let Some(body) = read_body(body, MAX_BODY_BYTES).await {
        dispatch(handle, parts.method.as_str(), parts.uri.path(), &body)
    } else {
        let message = format!("The body is larger than {MAX_BODY_BYTES} bytes.");
        Err((StatusCode::PAYLOAD_TOO_LARGE, message))
    };
    let (status, body) = match result {
        Ok(Some(body)) => (StatusCode::OK, body),
        Ok(None) => {
            let mut response = Response::new(Either::Left(Full::default()));
            *response.status_mut() = StatusCode::NO_CONTENT;
            return response;
        }
        Err((status, message)) => (status, json!({"message": message})),
    };
    whole(status, "application/json", body.to_string())
}

fn dispatch(handle: &Handle, method: &str, path: &str, body: &[u8]) -> ControlResult {
    let path = path.strip_prefix("/simulator/").unwrap_or_default();
    let (collection, arn) = match path.split_once('/') {
        Some((collection, arn)) => (collection, Some(percent_decode_str(arn))),
        None => (path, None),
    };
    let arn = arn.map(percent_encoding::PercentDecode::decode_utf8_lossy);
    match (method, collection, arn.as_deref()) {
        ("GET", "integrations", None) => return Ok(Some(json!(handle.integrations()))),
        ("POST", "integrations", None) => {
            let list: Vec<SimulatedIntegration> = parse(body)?;
            if list.iter().any(|integration| integration.arn.is_empty()) {
                return Err(bad_request("missing field `IntegrationArn`"));
            }
            handle.put_all(list);
        }
        ("DELETE", "integrations", None) => handle.state().account.integrations.clear(),
        ("PUT", "integrations", Some(arn)) if !arn.is_empty() => {
            let mut integration: SimulatedIntegration = parse(body)?;
            arn.clone_into(&mut integration.arn);
            handle.put(integration);
        }
        ("PATCH", "integrations", Some(arn)) => {
            let patch: Patch = parse(body)?;
            let changed = handle.change(arn, |integration| {
                if let Some(status) = patch.status {
                    integration.status = status;
                }
                if patch.errors.is_some() {
                    integration.errors = patch.errors;
                }
                if patch.tables.is_some() {
                    integration.tables = patch.tables;
                }
                if let Some(metrics) = patch.metrics {
                    integration.metrics = metrics;
                }
            });
            check_found(changed, arn)?;
        }
        ("DELETE", "integrations", Some(arn)) => check_found(handle.remove(arn), arn)?,
        ("POST", "faults", None) => {
            let fault: FaultBody = parse(body)?;
            handle.push_fault(fault.into_fault().map_err(bad_request)?);
        }
        ("DELETE", "faults", None) => handle.clear_faults(),
        ("GET", "requests", None) => return Ok(Some(json!(handle.requests()))),
        _ => {
            let message = "Not found. The requests are GET, POST and DELETE /simulator/integrations, PUT, PATCH and DELETE \
                           /simulator/integrations/ARN, POST and DELETE /simulator/faults, and GET /simulator/requests.";
            return Err((StatusCode::NOT_FOUND, message.to_owned()));
        }
    }
    Ok(None)
}

fn check_found(found: bool, arn: &str) -> Result<(), (StatusCode, String)> {
    let message = format!("Integration {arn} does not exist.");
    found.then_some(()).ok_or((StatusCode::NOT_FOUND, message))
}

fn bad_request(message: impl Into<String>) -> (StatusCode, String) {
    (StatusCode::BAD_REQUEST, message.into())
}

fn parse<T: for<'a> Deserialize<'a>>(body: &[u8]) -> Result<T, (StatusCode, String)> {
    parse_json(body).map_err(bad_request)
}
