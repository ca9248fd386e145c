//! The control endpoint under `/simulator/`, which changes the account and the faults while the
//! simulator serves. It has no authentication. Checking `Host` and `Origin` keeps web pages from
//! using it.
//!
//! | request | does |
//! |---|---|
//! | `GET /simulator/integrations` | lists all, in the form of `InboundIntegrations` |
//! | `POST /simulator/integrations` | creates or replaces every integration of a list |
//! | `DELETE /simulator/integrations` | removes all |
//! | `PUT`, `DELETE /simulator/integrations/ARN` | creates or replaces one, removes one |
//! | `PATCH /simulator/integrations/ARN` | changes the members in the body: `Status`, `Errors`, `IntegrationName`, `Tags` |
//! | `POST /simulator/faults` | adds one fault, see `Fault::from_fields` |
//! | `DELETE /simulator/faults` | removes all faults |
//! | `GET /simulator/requests` | lists the requests to the API |
//!
//! A change returns 204, an error returns `{"message": …}`.

use std::net::IpAddr;

use hyper::body::Incoming;
use hyper::header::{HOST, ORIGIN};
use hyper::http::uri::Authority;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use serde_json::{Value, json};

use super::fault::Fault;
use super::fields::{FieldError, Fields, objects};
use super::integration::{SimulatedConfig, SimulatedError, SimulatedIntegration};
use super::wire::{self, ConnectionDropped, ReadBodyError, ResponseBody};
use super::{Handle, RecordedRequest};

const MAX_BODY_BYTES: usize = 64 * 1024 * 1024;
const MAX_INTEGRATIONS: usize = 1_000_000;
const MAX_FAULTS: usize = 1_000;

/// Error response of the control endpoint.
struct ControlError {
    status: StatusCode,
    message: String,
}

impl ControlError {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
        }
    }
}

impl From<FieldError> for ControlError {
    fn from(error: FieldError) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error.to_string())
    }
}

/// The JSON body of a response; `None` stands for 204.
type ControlResult = Result<Option<Value>, ControlError>;

/// Handles a control request. `local` is the address that the client connected to.
pub(super) async fn respond(
    handle: &Handle,
    request: Request<Incoming>,
    local: IpAddr,
) -> Result<Response<ResponseBody>, ConnectionDropped> {
    let (parts, body) = request.into_parts();
    let result = match check_origin(&parts.headers, local) {
        Err(error) => Err(error),
        Ok(()) => match wire::read_body(body, MAX_BODY_BYTES).await {
            Ok(body) => dispatch(handle, &parts.method, parts.uri.path(), &body),
            Err(ReadBodyError::Aborted) => return Err(ConnectionDropped),
            Err(ReadBodyError::TooLarge) => {
                let message = format!("The body is larger than {MAX_BODY_BYTES} bytes.");
                Err(ControlError::new(StatusCode::PAYLOAD_TOO_LARGE, message))
            }
        },
    };
    let (status, body) = match result {
        Ok(None) => return Ok(no_content()),
        Ok(Some(body)) => (StatusCode::OK, body),
        Err(error) => (error.status, json!({"message": error.message})),
    };
    Ok(wire::json(
        status,
        "application/json",
        body.to_string().into(),
    ))
}

fn no_content() -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::whole(""));
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// Rejects requests of web pages. They send an `Origin` header; with DNS rebinding, they send a
/// foreign `Host`.
fn check_origin(headers: &HeaderMap, local: IpAddr) -> Result<(), ControlError> {
    let forbidden = |message: String| Err(ControlError::new(StatusCode::FORBIDDEN, message));
    if headers.contains_key(ORIGIN) {
        return forbidden(
            "Requests with an Origin header are not allowed: web pages must not use this endpoint."
                .to_owned(),
        );
    }
    let host = headers
        .get(HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or_default();
    let name = host
        .parse::<Authority>()
        .map(|authority| authority.host().to_ascii_lowercase())
        .unwrap_or_default();
    let address = name
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse::<IpAddr>();
    let allowed = address.map_or(name == "localhost", |ip| ip.is_loopback() || ip == local);
    if allowed {
        return Ok(());
    }
    forbidden(format!(
        "Host: {host:?} is not allowed: expected localhost, a loopback address or {local}"
    ))
}

fn dispatch(handle: &Handle, method: &Method, path: &str, body: &[u8]) -> ControlResult {
    let path = path.strip_prefix("/simulator/").unwrap_or_default();
    if let Some(arn) = path.strip_prefix("integrations/") {
        return dispatch_integration(handle, method, &percent_decode(arn)?, body);
    }
    match (path, method.as_str()) {
        ("integrations", "GET") => Ok(Some(
            handle
                .integrations()
                .iter()
                .map(SimulatedIntegration::inbound_json)
                .collect(),
        )),
        ("integrations", "POST") => {
            let list = objects("", &parse_json(body)?, |fields| {
                parse_integration(fields, None)
            })?;
            if handle.state().account.len() + list.len() > MAX_INTEGRATIONS {
                let message = format!("At most {MAX_INTEGRATIONS} integrations are allowed.");
                return Err(ControlError::new(StatusCode::BAD_REQUEST, message));
            }
            handle.put_all(list);
            Ok(None)
        }
        ("integrations", "DELETE") => {
            handle.replace_all(Vec::new());
            Ok(None)
        }
        ("faults", "POST") => {
            let value = parse_json(body)?;
            let fault = Fault::from_fields(&Fields::from_value("", &value)?)?;
            if handle.state().faults.len() >= MAX_FAULTS {
                let message = format!(
                    "At most {MAX_FAULTS} faults are allowed. Delete the existing faults first."
                );
                return Err(ControlError::new(StatusCode::BAD_REQUEST, message));
            }
            handle.push_fault(fault);
            Ok(None)
        }
        ("faults", "DELETE") => {
            handle.clear_faults();
            Ok(None)
        }
        ("requests", "GET") => Ok(Some(
            handle
                .requests()
                .iter()
                .map(RecordedRequest::json)
                .collect(),
        )),
        ("integrations", _) => Err(method_not_allowed("GET, POST, DELETE")),
        ("faults", _) => Err(method_not_allowed("POST, DELETE")),
        ("requests", _) => Err(method_not_allowed("GET")),
        _ => Err(ControlError::new(
            StatusCode::NOT_FOUND,
            "Not found. The paths are /simulator/integrations, /simulator/integrations/ARN, /simulator/faults and /simulator/requests.",
        )),
    }
}

fn dispatch_integration(handle: &Handle, method: &Method, arn: &str, body: &[u8]) -> ControlResult {
    let found = match method.as_str() {
        "PUT" => {
            let value = parse_json(body)?;
            let integration = parse_integration(&Fields::from_value("", &value)?, Some(arn))?;
            handle.put(integration);
            true
        }
        "PATCH" => {
            let value = parse_json(body)?;
            let fields = Fields::from_value("", &value)?;
            fields.reject_unknown(&["Status", "Errors", "IntegrationName", "Tags"])?;
            let status = fields.string("Status", 0..=128)?;
            let errors = fields.objects("Errors", parse_error)?;
            let name = fields.string("IntegrationName", 1..=128)?;
            let tags = fields.objects("Tags", parse_tag)?;
            handle.change(arn, |integration| {
                if let Some(status) = status {
                    integration.status = status;
                }
                if let Some(errors) = errors {
                    integration.errors = Some(errors);
                }
                if let Some(name) = name {
                    integration.name = name;
                }
                if let Some(tags) = tags {
                    integration.tags = tags;
                }
            })
        }
        "DELETE" => handle.remove(arn),
        _ => return Err(method_not_allowed("PUT, PATCH, DELETE")),
    };
    if found {
        Ok(None)
    } else {
        Err(ControlError::new(
            StatusCode::NOT_FOUND,
            format!("Integration {arn} does not exist."),
        ))
    }
}

fn method_not_allowed(allowed: &str) -> ControlError {
    ControlError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("Method not allowed: expected {allowed}."),
    )
}

fn parse_json(body: &[u8]) -> Result<Value, ControlError> {
    let invalid_json = |error| {
        ControlError::new(
            StatusCode::BAD_REQUEST,
            format!("The body is not valid JSON: {error}"),
        )
    };
    serde_json::from_slice(body).map_err(invalid_json)
}

/// Parses an integration in the form of `InboundIntegrations`, with four more optional members:
/// Account and Region of the target (default: those of its ARN), IntegrationName and Tags.
/// `path_arn` is the ARN in the path; an ARN in the body must be equal to it.
fn parse_integration(
    fields: &Fields,
    path_arn: Option<&str>,
) -> Result<SimulatedIntegration, FieldError> {
    fields.reject_unknown(&[
        "IntegrationArn",
        "SourceArn",
        "TargetArn",
        "Status",
        "CreateTime",
        "IntegrationConfig",
        "Errors",
        "Account",
        "Region",
        "IntegrationName",
        "Tags",
    ])?;
    let given = fields.string("IntegrationArn", 1..=128)?;
    let arn = match (given, path_arn) {
        (Some(given), Some(path)) if given != path => {
            let name = fields.path_of("IntegrationArn");
            return Err(FieldError::new(
                name,
                fields.value("IntegrationArn"),
                format!("{path}, as in the path"),
            ));
        }
        (Some(arn), _) => arn,
        (None, Some(path)) if path.chars().count() <= 128 => path.to_owned(),
        (None, _) => fields.required_string("IntegrationArn", 1..=128)?,
    };
    let source = fields.required_string("SourceArn", 1..=512)?;
    let target = fields.required_string("TargetArn", 1..=512)?;
    // An empty status is allowed, because AWS' model has no minimum length for it.
    let status = fields.required_string("Status", 0..=128)?;
    let defaults = SimulatedIntegration::new(&arn, &source, &target, &status);
    let create_time = fields.epoch_seconds("CreateTime")?;
    Ok(SimulatedIntegration {
        create_time: create_time.ok_or_else(|| {
            FieldError::new(
                fields.path_of("CreateTime"),
                None,
                "epoch seconds as a number",
            )
        })?,
        config: fields
            .object("IntegrationConfig")?
            .map(|config| parse_config(&config))
            .transpose()?,
        errors: fields.objects("Errors", parse_error)?,
        account: fields
            .string("Account", 1..=128)?
            .unwrap_or(defaults.account),
        region: fields.string("Region", 1..=128)?.unwrap_or(defaults.region),
        name: fields
            .string("IntegrationName", 1..=128)?
            .unwrap_or(defaults.name),
        tags: fields.objects("Tags", parse_tag)?.unwrap_or_default(),
        arn: defaults.arn,
        source_arn: source,
        target_arn: target,
        status,
    })
}

fn parse_config(fields: &Fields) -> Result<SimulatedConfig, FieldError> {
    fields.reject_unknown(&[
        "RefreshInterval",
        "SourceProperties",
        "ContinuousSync",
        "TargetNamespace",
    ])?;
    Ok(SimulatedConfig {
        refresh_interval: fields.string("RefreshInterval", 0..=128)?,
        source_properties: fields
            .string_map("SourceProperties")?
            .unwrap_or_default()
            .into_iter()
            .collect(),
        continuous_sync: fields.boolean("ContinuousSync")?,
        target_namespace: fields.string("TargetNamespace", 1..=255)?,
    })
}

fn parse_error(fields: &Fields) -> Result<SimulatedError, FieldError> {
    fields.reject_unknown(&["ErrorCode", "ErrorMessage"])?;
    Ok(SimulatedError {
        code: fields.string("ErrorCode", 0..=128)?,
        message: fields.string("ErrorMessage", 0..=2048)?,
    })
}

fn parse_tag(fields: &Fields) -> Result<(String, String), FieldError> {
    fields.reject_unknown(&["key", "value"])?;
    Ok((
        fields.required_string("key", 1..=128)?,
        fields.string("value", 0..=256)?.unwrap_or_default(),
    ))
}

fn percent_decode(text: &str) -> Result<String, ControlError> {
    let invalid = || {
        ControlError::new(
            StatusCode::BAD_REQUEST,
            format!("path: {text:?} is not allowed: expected a percent-encoded ARN"),
        )
    };
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let digit = |byte: Option<u8>| {
            byte.and_then(|byte| char::from(byte).to_digit(16))
                .and_then(|digit| u8::try_from(digit).ok())
                .ok_or_else(invalid)
        };
        decoded.push(match byte {
            b'%' => digit(rest.next())? * 16 + digit(rest.next())?,
            plain => plain,
        });
    }
    String::from_utf8(decoded)
        .ok()
        .filter(|arn| !arn.is_empty())
        .ok_or_else(invalid)
}
