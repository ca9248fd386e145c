//! The control endpoint under `/simulator/`, which changes the account and the faults while the
//! simulator serves. It has no authentication. A web page cannot change anything, because browsers
//! send its `Origin` with every method except GET and HEAD.
//!
//! `dispatch` is the list of requests. A change returns 204, an error returns `{"message": …}`. A fault
//! is `{"Kind": "Hang"}` or `{"Kind": "Error", "Code": "ThrottlingException"}`. An integration
//! has the form of `InboundIntegrations`, with four more optional members: `IntegrationName`, `Tags`, and
//! for CloudWatch `Tables` and `ReplicationLag`. PATCH replaces `Status`, `Errors` or `Tables`.

use super::fault::{Fault, FaultKind, RequestMatcher};
use super::handle::Handle;
use super::integration::{SimulatedError, SimulatedIntegration, SimulatedTable};
use super::protocol::parse_json;
use super::response::{ResponseBody, read_body, whole};
use hyper::body::Incoming;
use hyper::header::ORIGIN;
use hyper::{Request, Response, StatusCode};
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::{Value, json};

/// The JSON body of a response, `None` for 204, or the status and the message of an error.
type ControlResult = Result<Option<Value>, (StatusCode, String)>;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Patch {
    status: Option<String>,
    errors: Option<Vec<SimulatedError>>,
    tables: Option<Vec<SimulatedTable>>,
}

/// The faults of a fire drill, for all requests. The other faults are for tests, which use `Handle`.
#[derive(Deserialize)]
#[serde(tag = "Kind", rename_all_fields = "PascalCase", deny_unknown_fields)]
enum DrillFault {
    Error {
        code: String,
        #[serde(default)]
        message: String,
    },
    Hang {},
}

pub(super) async fn respond(handle: &Handle, request: Request<Incoming>) -> Response<ResponseBody> {
    let (parts, body) = request.into_parts();
    let result = if parts.headers.contains_key(ORIGIN) {
        let message = "Web pages must not use this endpoint: expected no Origin header.";
        Err((StatusCode::FORBIDDEN, message.to_owned()))
    } else {
        let body = read_body(body).await.map_err(bad_request);
        body.and_then(|body| dispatch(handle, parts.method.as_str(), parts.uri.path(), &body))
    };
    let (status, body) = match result {
        Ok(Some(body)) => (StatusCode::OK, body.to_string()),
        Ok(None) => (StatusCode::NO_CONTENT, String::new()),
        Err((status, message)) => (status, json!({"message": message}).to_string()),
    };
    whole(status, "application/json", body)
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
            });
            check_found(changed, arn)?;
        }
        ("DELETE", "integrations", Some(arn)) => check_found(handle.remove(arn), arn)?,
        ("POST", "faults", None) => {
            let kind = match parse(body)? {
                DrillFault::Error { code, message } => FaultKind::error(&code, &message),
                DrillFault::Hang {} => FaultKind::Hang,
            };
            handle.push_fault(Fault::new(RequestMatcher::default(), kind));
        }
        ("DELETE", "faults", None) => handle.clear_faults(),
        ("GET", "requests", None) => return Ok(Some(json!(handle.requests()))),
        _ => {
            let message = "Not found. The requests are POST / and /service/ (AWS API), GET, POST and DELETE /simulator/integrations, PUT, PATCH \
                           and DELETE /simulator/integrations/ARN, POST and DELETE /simulator/faults, and GET /simulator/requests.";
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
