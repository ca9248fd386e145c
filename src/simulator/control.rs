//! The control endpoint under `/simulator/`: a script changes the account and pushes faults while
//! the simulator serves. Anyone who reaches the port may use it, hence the check of `Host` and
//! `Origin`: a web page must not reach it.
//!
//! | request | does |
//! |---|---|
//! | `GET /simulator/integrations` | lists all, in the shape of `InboundIntegrations` |
//! | `POST /simulator/integrations` | creates or replaces each of a list |
//! | `DELETE /simulator/integrations` | removes all |
//! | `PUT`, `DELETE /simulator/integrations/ARN` | creates or replaces one, removes one |
//! | `PATCH /simulator/integrations/ARN` | `{"Status": …, "Errors": […], "IntegrationName": …, "Tags": […]}`, each may be absent |
//! | `POST /simulator/faults` | adds one fault, see `Fault::read` |
//! | `DELETE /simulator/faults` | removes all faults |
//! | `GET /simulator/requests` | lists what the API was asked |
//!
//! A change answers 204, a refusal `{"message": …}`.

use std::net::IpAddr;

use hyper::body::Incoming;
use hyper::header::{HOST, ORIGIN};
use hyper::http::uri::Authority;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use serde_json::{Value, json};

use super::fault::Fault;
use super::fields::{FieldError, Fields, objects};
use super::integration::{SimulatedConfig, SimulatedError, SimulatedIntegration};
use super::wire::{self, Answer, Dropped, Unread};
use super::{Handle, RecordedRequest};

/// Longest body of a request.
const MAX_BODY: usize = 64 * 1024 * 1024;
/// The bounds of what scripts can pile up.
const MAX_INTEGRATIONS: usize = 1_000_000;
const MAX_FAULTS: usize = 1_000;

/// Why a control request was refused.
struct Refusal {
    status: StatusCode,
    message: String,
}

impl Refusal {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
        }
    }
}

impl From<FieldError> for Refusal {
    fn from(error: FieldError) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error.to_string())
    }
}

/// What a control request gets: JSON, or nothing but "done".
type Outcome = Result<Option<Value>, Refusal>;

/// Answers a control request. `local` is the address that the connection arrived at.
pub(super) async fn answer(
    handle: &Handle,
    request: Request<Incoming>,
    local: IpAddr,
) -> Result<Response<Answer>, Dropped> {
    let (head, body) = request.into_parts();
    let outcome = match refuse_strangers(&head.headers, local) {
        Err(refusal) => Err(refusal),
        Ok(()) => match wire::read_body(body, MAX_BODY).await {
            Ok(body) => act(handle, &head.method, head.uri.path(), &body),
            Err(Unread::Broken) => return Err(Dropped),
            Err(Unread::TooLarge) => {
                let message = format!("The body is larger than {MAX_BODY} bytes.");
                Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, message))
            }
        },
    };
    let (status, body) = match outcome {
        Ok(None) => return Ok(no_content()),
        Ok(Some(body)) => (StatusCode::OK, body),
        Err(refusal) => (refusal.status, json!({"message": refusal.message})),
    };
    Ok(wire::json(
        status,
        "application/json",
        body.to_string().into(),
    ))
}

fn no_content() -> Response<Answer> {
    let mut response = Response::new(Answer::whole(""));
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// Web pages send an `Origin`; a name that was made to point here (DNS rebinding) comes as a
/// strange `Host`.
fn refuse_strangers(headers: &HeaderMap, local: IpAddr) -> Result<(), Refusal> {
    let forbidden = |message: String| Err(Refusal::new(StatusCode::FORBIDDEN, message));
    if headers.contains_key(ORIGIN) {
        return forbidden(
            "Requests with an Origin header are refused: this is not for web pages.".to_owned(),
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
    let known = address.map_or(name == "localhost", |ip| ip.is_loopback() || ip == local);
    if known {
        return Ok(());
    }
    forbidden(format!(
        "Host: {host:?} is not allowed: expected localhost, a loopback address or {local}"
    ))
}

fn act(handle: &Handle, method: &Method, path: &str, body: &[u8]) -> Outcome {
    let path = path.strip_prefix("/simulator/").unwrap_or_default();
    if let Some(arn) = path.strip_prefix("integrations/") {
        return one_integration(handle, method, &percent_decoded(arn)?, body);
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
            let list = objects("", &parsed(body)?, |fields| integration(fields, None))?;
            if handle.state().account.len() + list.len() > MAX_INTEGRATIONS {
                let message = format!("At most {MAX_INTEGRATIONS} integrations are allowed.");
                return Err(Refusal::new(StatusCode::BAD_REQUEST, message));
            }
            handle.put_all(list);
            Ok(None)
        }
        ("integrations", "DELETE") => {
            handle.replace_all(Vec::new());
            Ok(None)
        }
        ("faults", "POST") => {
            let value = parsed(body)?;
            let fault = Fault::read(&Fields::of("", &value)?)?;
            if handle.state().faults.len() >= MAX_FAULTS {
                let message =
                    format!("At most {MAX_FAULTS} faults are allowed: delete them first.");
                return Err(Refusal::new(StatusCode::BAD_REQUEST, message));
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
        ("integrations", _) => Err(wrong_method("GET, POST, DELETE")),
        ("faults", _) => Err(wrong_method("POST, DELETE")),
        ("requests", _) => Err(wrong_method("GET")),
        _ => Err(Refusal::new(
            StatusCode::NOT_FOUND,
            "There are /simulator/integrations, /simulator/integrations/ARN, /simulator/faults and /simulator/requests.",
        )),
    }
}

fn one_integration(handle: &Handle, method: &Method, arn: &str, body: &[u8]) -> Outcome {
    let done = match method.as_str() {
        "PUT" => {
            let value = parsed(body)?;
            let integration = integration(&Fields::of("", &value)?, Some(arn))?;
            handle.put(integration);
            true
        }
        "PATCH" => {
            let value = parsed(body)?;
            let fields = Fields::of("", &value)?;
            fields.only(&["Status", "Errors", "IntegrationName", "Tags"])?;
            let status = fields.text("Status", 0..=128)?;
            let errors = fields.objects("Errors", error)?;
            let name = fields.text("IntegrationName", 1..=128)?;
            let tags = fields.objects("Tags", tag)?;
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
        _ => return Err(wrong_method("PUT, PATCH, DELETE")),
    };
    if done {
        Ok(None)
    } else {
        Err(Refusal::new(
            StatusCode::NOT_FOUND,
            format!("There is no integration {arn}."),
        ))
    }
}

fn wrong_method(allowed: &str) -> Refusal {
    Refusal::new(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("Allowed here: {allowed}."),
    )
}

fn parsed(body: &[u8]) -> Result<Value, Refusal> {
    let no_json = |error| {
        Refusal::new(
            StatusCode::BAD_REQUEST,
            format!("The body is no JSON: {error}"),
        )
    };
    serde_json::from_slice(body).map_err(no_json)
}

/// An integration as the API shows it, and four fields that are optional here: Account and Region
/// (of the target; by default as in its ARN), IntegrationName and Tags. `path_arn` is the ARN in
/// the path, which the body may repeat.
fn integration(
    fields: &Fields,
    path_arn: Option<&str>,
) -> Result<SimulatedIntegration, FieldError> {
    fields.only(&[
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
    let given = fields.text("IntegrationArn", 1..=128)?;
    let arn = match (given, path_arn) {
        (Some(given), Some(path)) if given != path => {
            let name = fields.name("IntegrationArn");
            return Err(FieldError::new(
                name,
                fields.value("IntegrationArn"),
                format!("{path}, as in the path"),
            ));
        }
        (Some(arn), _) => arn,
        (None, Some(path)) if path.chars().count() <= 128 => path.to_owned(),
        (None, _) => fields.required_text("IntegrationArn", 1..=128)?,
    };
    let source = fields.required_text("SourceArn", 1..=512)?;
    let target = fields.required_text("TargetArn", 1..=512)?;
    // An empty status is allowed: AWS' model has no minimum for it.
    let status = fields.required_text("Status", 0..=128)?;
    let by_arn = SimulatedIntegration::new(&arn, &source, &target, &status);
    let created = fields.epoch_seconds("CreateTime")?;
    Ok(SimulatedIntegration {
        create_time: created.ok_or_else(|| {
            FieldError::new(fields.name("CreateTime"), None, "epoch seconds as a number")
        })?,
        config: fields
            .object("IntegrationConfig")?
            .map(|config| config_of(&config))
            .transpose()?,
        errors: fields.objects("Errors", error)?,
        account: fields.text("Account", 1..=128)?.unwrap_or(by_arn.account),
        region: fields.text("Region", 1..=128)?.unwrap_or(by_arn.region),
        name: fields
            .text("IntegrationName", 1..=128)?
            .unwrap_or(by_arn.name),
        tags: fields.objects("Tags", tag)?.unwrap_or_default(),
        arn: by_arn.arn,
        source_arn: source,
        target_arn: target,
        status,
    })
}

fn config_of(fields: &Fields) -> Result<SimulatedConfig, FieldError> {
    fields.only(&[
        "RefreshInterval",
        "SourceProperties",
        "ContinuousSync",
        "TargetNamespace",
    ])?;
    Ok(SimulatedConfig {
        refresh_interval: fields.text("RefreshInterval", 0..=128)?,
        source_properties: fields
            .texts("SourceProperties")?
            .unwrap_or_default()
            .into_iter()
            .collect(),
        continuous_sync: fields.flag("ContinuousSync")?,
        target_namespace: fields.text("TargetNamespace", 1..=255)?,
    })
}

fn error(fields: &Fields) -> Result<SimulatedError, FieldError> {
    fields.only(&["ErrorCode", "ErrorMessage"])?;
    Ok(SimulatedError {
        code: fields.text("ErrorCode", 0..=128)?,
        message: fields.text("ErrorMessage", 0..=2048)?,
    })
}

fn tag(fields: &Fields) -> Result<(String, String), FieldError> {
    fields.only(&["key", "value"])?;
    Ok((
        fields.required_text("key", 1..=128)?,
        fields.text("value", 0..=256)?.unwrap_or_default(),
    ))
}

fn percent_decoded(text: &str) -> Result<String, Refusal> {
    let bad = || {
        Refusal::new(
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
                .ok_or_else(bad)
        };
        decoded.push(match byte {
            b'%' => digit(rest.next())? * 16 + digit(rest.next())?,
            plain => plain,
        });
    }
    String::from_utf8(decoded)
        .ok()
        .filter(|arn| !arn.is_empty())
        .ok_or_else(bad)
}
