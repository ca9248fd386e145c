//! What goes wrong on purpose: which requests a fault hits, how often, and what they get instead of
//! an answer. Only describes; `api` carries it out.

use std::time::Duration;

use bytes::Bytes;
use hyper::header::{CONTENT_LENGTH, HeaderName, TRANSFER_ENCODING};
use hyper::http::response;
use hyper::{HeaderMap, Response, StatusCode};

use super::RecordedRequest;
use super::fields::{FieldError, Fields};

/// Longest delay that the control endpoint takes: a day.
const MAX_MILLISECONDS: u32 = 86_400_000;

/// Which requests a fault hits: those that agree in everything that is set. The default hits all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestMatcher {
    /// `DescribeInboundIntegrations` or `DescribeIntegrations`.
    pub operation: Option<String>,
    pub integration_arn: Option<String>,
    pub target_arn: Option<String>,
    pub region: Option<String>,
    pub access_key_id: Option<String>,
    /// The n-th page of a listing, from 1.
    pub page: Option<u32>,
}

impl RequestMatcher {
    /// Every request.
    pub fn any() -> Self {
        Self::default()
    }

    /// Requests with this `IntegrationArn` (or `IntegrationIdentifier`).
    pub fn integration(arn: &str) -> Self {
        Self {
            integration_arn: Some(arn.to_owned()),
            ..Self::default()
        }
    }

    /// Requests with this `TargetArn`.
    pub fn target(arn: &str) -> Self {
        Self {
            target_arn: Some(arn.to_owned()),
            ..Self::default()
        }
    }

    /// Requests that were signed for this region.
    pub fn region(region: &str) -> Self {
        Self {
            region: Some(region.to_owned()),
            ..Self::default()
        }
    }

    /// Requests that were signed with this access key.
    pub fn access_key(access_key_id: &str) -> Self {
        Self {
            access_key_id: Some(access_key_id.to_owned()),
            ..Self::default()
        }
    }

    /// Requests for the n-th page of a listing, from 1.
    pub fn page(page: u32) -> Self {
        Self {
            page: Some(page),
            ..Self::default()
        }
    }

    fn hits(&self, request: &RecordedRequest) -> bool {
        fn agrees<T: PartialEq>(wanted: &Option<T>, found: &Option<T>) -> bool {
            wanted.is_none() || wanted == found
        }
        self.operation
            .as_deref()
            .is_none_or(|operation| operation == request.operation)
            && agrees(&self.integration_arn, &request.integration_arn)
            && agrees(&self.target_arn, &request.target_arn)
            && self
                .region
                .as_ref()
                .is_none_or(|region| *region == request.region)
            && self
                .access_key_id
                .as_ref()
                .is_none_or(|key| *key == request.access_key_id)
            && self.page.is_none_or(|page| page == request.page)
    }

    fn read(fields: &Fields) -> Result<Self, FieldError> {
        fields.only(&[
            "Operation",
            "IntegrationArn",
            "TargetArn",
            "Region",
            "AccessKeyId",
            "Page",
        ])?;
        Ok(Self {
            operation: fields.text("Operation", 1..=128)?,
            integration_arn: fields.text("IntegrationArn", 1..=512)?,
            target_arn: fields.text("TargetArn", 1..=512)?,
            region: fields.text("Region", 1..=128)?,
            access_key_id: fields.text("AccessKeyId", 1..=128)?,
            page: fields.whole("Page", 1..=u32::MAX)?,
        })
    }
}

/// What a request gets instead of its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// An error in the form of the API.
    Error {
        code: String,
        status: u16,
        message: String,
    },
    /// Any answer at all: truncated JSON, HTML, `{}`, a null list, items with missing fields. Not
    /// for a wrong `Content-Length` (see `ResetMidBody`): that header and `Transfer-Encoding` may
    /// not be among `headers`.
    Raw {
        status: u16,
        headers: Vec<(String, String)>,
        body: Bytes,
    },
    /// No answer, until the client closes the connection or the simulator stops.
    Hang,
    /// The headers and half of the body of the normal answer, then the connection closes.
    ResetMidBody,
    /// The normal answer, but with the marker that the request had: a listing that never gets on.
    RepeatMarker,
    /// The normal answer, but always with a new marker: a listing that never ends. Its pages are
    /// empty in the end.
    EndlessMarkers,
    /// The normal answer, after this time.
    Delay(Duration),
    /// The normal answer, `bytes` of the body at a time with `pause` before each.
    Drip { bytes: usize, pause: Duration },
}

impl FaultKind {
    /// An error with the HTTP status that AWS uses for its code.
    pub fn error(code: &str, message: &str) -> Self {
        Self::Error {
            code: code.to_owned(),
            status: error_status(code),
            message: message.to_owned(),
        }
    }

    /// An answer with this body, of the API's content type.
    pub fn raw(status: u16, body: impl Into<Bytes>) -> Self {
        let headers = vec![(
            "content-type".to_owned(),
            super::input::CONTENT_TYPE.to_owned(),
        )];
        Self::Raw {
            status,
            headers,
            body: body.into(),
        }
    }
}

/// A fault: the first one of the list that hits a request is the one that it gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub on: RequestMatcher,
    /// How many requests it hits; `None`: until it is cleared.
    pub times: Option<u32>,
    pub what: FaultKind,
}

impl Fault {
    /// A fault that stays until it is cleared.
    pub fn new(on: RequestMatcher, what: FaultKind) -> Self {
        Self {
            on,
            times: None,
            what,
        }
    }

    /// The same fault for this many requests only.
    pub fn times(self, times: u32) -> Self {
        Self {
            times: Some(times),
            ..self
        }
    }

    /// From the control endpoint's JSON: `{"Kind": "Error", "Code": "ThrottlingException", "On":
    /// {"Region": "eu-west-1"}, "Times": 3}`. `On` (all requests if absent) may have Operation,
    /// IntegrationArn, TargetArn, Region, AccessKeyId and Page; `Times` is without an end if
    /// absent. The other fields depend on the kind: Error has Code, Status (AWS' own if absent) and
    /// Message; Raw has Status (200), Headers (an object) and Body (a text); Delay has
    /// Milliseconds; Drip has Bytes (1) and Milliseconds (100); Hang, ResetMidBody, RepeatMarker
    /// and EndlessMarkers have none.
    pub(super) fn read(fields: &Fields) -> Result<Self, FieldError> {
        let only = |names: &[&str]| fields.only(&[&["Kind", "On", "Times"], names].concat());
        let milliseconds = |default| {
            let found = fields
                .whole("Milliseconds", 0..=MAX_MILLISECONDS)?
                .or(default);
            let allowed = format!("a whole number from 0 to {MAX_MILLISECONDS}");
            let found =
                found.ok_or_else(|| FieldError::new(fields.name("Milliseconds"), None, allowed))?;
            Ok(Duration::from_millis(found.into()))
        };
        let kind = fields.required_text("Kind", 1..=128)?;
        let what = match kind.as_str() {
            "Error" => {
                only(&["Code", "Status", "Message"])?;
                let code = fields.required_text("Code", 1..=128)?;
                let status = http_status(fields)?.unwrap_or_else(|| error_status(&code));
                let message = fields.text("Message", 0..=2048)?.unwrap_or_default();
                FaultKind::Error {
                    code,
                    status,
                    message,
                }
            }
            "Raw" => {
                only(&["Status", "Headers", "Body"])?;
                let headers = fields.texts("Headers")?.unwrap_or_default();
                if let Err(reason) = header_map(&headers) {
                    return Err(FieldError::new(
                        fields.name("Headers"),
                        fields.value("Headers"),
                        reason,
                    ));
                }
                let body = fields.text("Body", 0..=usize::MAX)?.unwrap_or_default();
                FaultKind::Raw {
                    status: http_status(fields)?.unwrap_or(200),
                    headers,
                    body: body.into(),
                }
            }
            "Delay" => {
                only(&["Milliseconds"])?;
                FaultKind::Delay(milliseconds(None)?)
            }
            "Drip" => {
                only(&["Bytes", "Milliseconds"])?;
                let bytes = fields.whole("Bytes", 1..=u32::MAX)?.unwrap_or(1);
                FaultKind::Drip {
                    bytes: bytes as usize,
                    pause: milliseconds(Some(100))?,
                }
            }
            plain => {
                let kind = match plain {
                    "Hang" => FaultKind::Hang,
                    "ResetMidBody" => FaultKind::ResetMidBody,
                    "RepeatMarker" => FaultKind::RepeatMarker,
                    "EndlessMarkers" => FaultKind::EndlessMarkers,
                    _ => {
                        let allowed = "one of Error, Raw, Hang, ResetMidBody, RepeatMarker, EndlessMarkers, Delay, Drip";
                        return Err(FieldError::new(
                            fields.name("Kind"),
                            fields.value("Kind"),
                            allowed,
                        ));
                    }
                };
                only(&[])?;
                kind
            }
        };
        let on = fields
            .object("On")?
            .map(|on| RequestMatcher::read(&on))
            .transpose()?
            .unwrap_or_default();
        Ok(Self {
            on,
            times: fields.whole("Times", 1..=u32::MAX)?,
            what,
        })
    }
}

/// The first of `faults` that hits the request; one that has hit often enough is taken off the
/// list.
pub(super) fn take_fault(faults: &mut Vec<Fault>, request: &RecordedRequest) -> Option<FaultKind> {
    faults.retain(|fault| fault.times != Some(0));
    let fault = faults.iter_mut().find(|fault| fault.on.hits(request))?;
    fault.times = fault.times.map(|times| times.saturating_sub(1));
    Some(fault.what.clone())
}

fn http_status(fields: &Fields) -> Result<Option<u16>, FieldError> {
    // 1xx is not an answer, and from 600 on clients refuse to read.
    let status = fields.whole("Status", 200..=599)?;
    Ok(status.and_then(|status| u16::try_from(status).ok()))
}

/// The HTTP status that Glue uses for an error: 400 for nearly all, even for
/// InternalServerException.
pub(super) fn error_status(code: &str) -> u16 {
    match code {
        "InternalServiceException" | "InternalFailure" => 500,
        "ServiceUnavailable" | "ServiceUnavailableException" => 503,
        _ => 400,
    }
}

/// The headers of a raw answer, or why they cannot be sent.
pub(super) fn header_map(headers: &[(String, String)]) -> Result<HeaderMap, String> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let name: HeaderName = name
            .parse()
            .map_err(|_| format!("names of HTTP headers, which {name:?} is not"))?;
        if name == CONTENT_LENGTH || name == TRANSFER_ENCODING {
            return Err(
                "neither Content-Length nor Transfer-Encoding, which follow from the body"
                    .to_owned(),
            );
        }
        let value = value
            .parse()
            .map_err(|_| format!("values without control characters in {name}"))?;
        map.append(name, value);
    }
    Ok(map)
}

/// The head of a raw answer, or why it cannot be sent.
pub(super) fn raw_head(
    status: u16,
    headers: &[(String, String)],
) -> Result<response::Parts, String> {
    let (mut head, ()) = Response::new(()).into_parts();
    head.headers = header_map(headers)?;
    let sendable = StatusCode::from_u16(status)
        .ok()
        .filter(|status| (200..=599).contains(&status.as_u16()));
    head.status = sendable.ok_or_else(|| format!("a status from 200 to 599, not {status}"))?;
    Ok(head)
}
