//! Injected faults: the requests that a fault matches, how often, and the response to them. `api`
//! sends the responses.

use std::time::Duration;

use bytes::Bytes;
use hyper::header::{CONTENT_LENGTH, HeaderName, TRANSFER_ENCODING};
use hyper::http::response;
use hyper::{HeaderMap, Response, StatusCode};

use super::RecordedRequest;
use super::fields::{FieldError, Fields};

/// Maximum delay in a request to the control endpoint: one day.
const MAX_MILLISECONDS: u32 = 86_400_000;

/// The requests that a fault applies to. A request matches if it unset_or_equal every field that is set; the
/// default matches all requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestMatcher {
    /// `DescribeInboundIntegrations` or `DescribeIntegrations`.
    pub operation: Option<String>,
    pub integration_arn: Option<String>,
    pub target_arn: Option<String>,
    pub region: Option<String>,
    pub access_key_id: Option<String>,
    /// Number of a page within its listing, starting at 1.
    pub page: Option<u32>,
}

impl RequestMatcher {
    /// Matches every request.
    pub fn any() -> Self {
        Self::default()
    }

    /// Matches requests with this `IntegrationArn` or `IntegrationIdentifier`.
    pub fn integration(arn: &str) -> Self {
        Self {
            integration_arn: Some(arn.to_owned()),
            ..Self::default()
        }
    }

    /// Matches requests with this `TargetArn`.
    pub fn target(arn: &str) -> Self {
        Self {
            target_arn: Some(arn.to_owned()),
            ..Self::default()
        }
    }

    /// Matches requests that were signed for this region.
    pub fn region(region: &str) -> Self {
        Self {
            region: Some(region.to_owned()),
            ..Self::default()
        }
    }

    /// Matches requests that were signed with this access key.
    pub fn access_key(access_key_id: &str) -> Self {
        Self {
            access_key_id: Some(access_key_id.to_owned()),
            ..Self::default()
        }
    }

    /// Matches requests for this page of a listing; the first page is 1.
    pub fn page(page: u32) -> Self {
        Self {
            page: Some(page),
            ..Self::default()
        }
    }

    fn matches(&self, request: &RecordedRequest) -> bool {
        fn unset_or_equal<T: PartialEq>(wanted: &Option<T>, found: &Option<T>) -> bool {
            wanted.is_none() || wanted == found
        }
        self.operation
            .as_deref()
            .is_none_or(|operation| operation == request.operation)
            && unset_or_equal(&self.integration_arn, &request.integration_arn)
            && unset_or_equal(&self.target_arn, &request.target_arn)
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

    fn from_fields(fields: &Fields) -> Result<Self, FieldError> {
        fields.reject_unknown(&[
            "Operation",
            "IntegrationArn",
            "TargetArn",
            "Region",
            "AccessKeyId",
            "Page",
        ])?;
        Ok(Self {
            operation: fields.string("Operation", 1..=128)?,
            integration_arn: fields.string("IntegrationArn", 1..=512)?,
            target_arn: fields.string("TargetArn", 1..=512)?,
            region: fields.string("Region", 1..=128)?,
            access_key_id: fields.string("AccessKeyId", 1..=128)?,
            page: fields.integer("Page", 1..=u32::MAX)?,
        })
    }
}

/// The response to a request that a fault matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// An error response of the API.
    Error {
        code: String,
        status: u16,
        message: String,
    },
    /// Any response: truncated JSON, HTML, `{}`, a null list, items with missing fields. `headers`
    /// must not contain `Content-Length` or `Transfer-Encoding`; for a wrong length, see
    /// `ResetMidBody`.
    Raw {
        status: u16,
        headers: Vec<(String, String)>,
        body: Bytes,
    },
    /// No response until the client closes the connection or the simulator stops.
    Hang,
    /// The headers and half of the body of the normal response, then the connection closes.
    ResetMidBody,
    /// The normal response with the marker of the request: the listing returns the same page again.
    RepeatMarker,
    /// The normal response, but always with a new marker: the listing continues endlessly with empty
    /// pages.
    EndlessMarkers,
    /// The normal response after this time.
    Delay(Duration),
    /// The normal response, slowly: `bytes` of the body at a time, with `pause` before each chunk.
    Drip { bytes: usize, pause: Duration },
}

impl FaultKind {
    /// Returns an error with the HTTP status that AWS uses for this code.
    pub fn error(code: &str, message: &str) -> Self {
        Self::Error {
            code: code.to_owned(),
            status: error_status(code),
            message: message.to_owned(),
        }
    }

    /// Returns a response with this body and the content type of the API.
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

/// A fault. A request gets the first fault of the list that matches it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub matcher: RequestMatcher,
    /// Remaining number of requests; `None` means until the fault is cleared.
    pub times: Option<u32>,
    pub kind: FaultKind,
}

impl Fault {
    /// Creates a fault that stays until it is cleared.
    pub fn new(matcher: RequestMatcher, kind: FaultKind) -> Self {
        Self {
            matcher,
            times: None,
            kind,
        }
    }

    /// Limits the fault to this number of requests.
    pub fn times(self, times: u32) -> Self {
        Self {
            times: Some(times),
            ..self
        }
    }

    /// Parses the JSON of the control endpoint: `{"Kind": "Error", "Code": "ThrottlingException",
    /// "On": {"Region": "eu-west-1"}, "Times": 3}`.
    ///
    /// - `On`: Operation, IntegrationArn, TargetArn, Region, AccessKeyId and Page. Default: all
    ///   requests.
    /// - `Times`: default unlimited.
    /// - Error: Code, Status (default: the status that AWS uses) and Message.
    /// - Raw: Status (default 200), Headers (an object) and Body (a string).
    /// - Delay: Milliseconds.
    /// - Drip: Bytes (default 1) and Milliseconds (default 100).
    /// - Hang, ResetMidBody, RepeatMarker and EndlessMarkers have no other fields.
    pub(super) fn from_fields(fields: &Fields) -> Result<Self, FieldError> {
        let allow_fields =
            |names: &[&str]| fields.reject_unknown(&[&["Kind", "On", "Times"], names].concat());
        let milliseconds = |default| {
            let found = fields
                .integer("Milliseconds", 0..=MAX_MILLISECONDS)?
                .or(default);
            let allowed = format!("a whole number from 0 to {MAX_MILLISECONDS}");
            let found = found
                .ok_or_else(|| FieldError::new(fields.path_of("Milliseconds"), None, allowed))?;
            Ok(Duration::from_millis(found.into()))
        };
        let name = fields.required_string("Kind", 1..=128)?;
        let kind = match name.as_str() {
            "Error" => {
                allow_fields(&["Code", "Status", "Message"])?;
                let code = fields.required_string("Code", 1..=128)?;
                let status = http_status(fields)?.unwrap_or_else(|| error_status(&code));
                let message = fields.string("Message", 0..=2048)?.unwrap_or_default();
                FaultKind::Error {
                    code,
                    status,
                    message,
                }
            }
            "Raw" => {
                allow_fields(&["Status", "Headers", "Body"])?;
                let headers = fields.string_map("Headers")?.unwrap_or_default();
                if let Err(reason) = header_map(&headers) {
                    return Err(FieldError::new(
                        fields.path_of("Headers"),
                        fields.value("Headers"),
                        reason,
                    ));
                }
                let body = fields.string("Body", 0..=usize::MAX)?.unwrap_or_default();
                FaultKind::Raw {
                    status: http_status(fields)?.unwrap_or(200),
                    headers,
                    body: body.into(),
                }
            }
            "Delay" => {
                allow_fields(&["Milliseconds"])?;
                FaultKind::Delay(milliseconds(None)?)
            }
            "Drip" => {
                allow_fields(&["Bytes", "Milliseconds"])?;
                let bytes = fields.integer("Bytes", 1..=u32::MAX)?.unwrap_or(1);
                FaultKind::Drip {
                    bytes: bytes as usize,
                    pause: milliseconds(Some(100))?,
                }
            }
            name => {
                let kind = match name {
                    "Hang" => FaultKind::Hang,
                    "ResetMidBody" => FaultKind::ResetMidBody,
                    "RepeatMarker" => FaultKind::RepeatMarker,
                    "EndlessMarkers" => FaultKind::EndlessMarkers,
                    _ => {
                        let allowed = "one of Error, Raw, Hang, ResetMidBody, RepeatMarker, EndlessMarkers, Delay, Drip";
                        return Err(FieldError::new(
                            fields.path_of("Kind"),
                            fields.value("Kind"),
                            allowed,
                        ));
                    }
                };
                allow_fields(&[])?;
                kind
            }
        };
        let matcher = fields
            .object("On")?
            .map(|matcher| RequestMatcher::from_fields(&matcher))
            .transpose()?
            .unwrap_or_default();
        Ok(Self {
            matcher,
            times: fields.integer("Times", 1..=u32::MAX)?,
            kind,
        })
    }
}

/// Returns the first fault that matches the request, and removes faults that are used up.
pub(super) fn take_fault(faults: &mut Vec<Fault>, request: &RecordedRequest) -> Option<FaultKind> {
    faults.retain(|fault| fault.times != Some(0));
    let fault = faults
        .iter_mut()
        .find(|fault| fault.matcher.matches(request))?;
    fault.times = fault.times.map(|times| times.saturating_sub(1));
    Some(fault.kind.clone())
}

fn http_status(fields: &Fields) -> Result<Option<u16>, FieldError> {
    // 1xx is not a final response, and clients reject 600 and above.
    let status = fields.integer("Status", 200..=599)?;
    Ok(status.and_then(|status| u16::try_from(status).ok()))
}

/// Returns the HTTP status that Glue uses for an error code: nearly always 400, even for
/// InternalServerException.
pub(super) fn error_status(code: &str) -> u16 {
    match code {
        "InternalServiceException" | "InternalFailure" => 500,
        "ServiceUnavailable" | "ServiceUnavailableException" => 503,
        _ => 400,
    }
}

/// Returns the headers of a raw response, or the allowed headers as the reason of the error.
pub(super) fn header_map(headers: &[(String, String)]) -> Result<HeaderMap, String> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let name: HeaderName = name
            .parse()
            .map_err(|_| format!("valid names of HTTP headers, not {name:?}"))?;
        if name == CONTENT_LENGTH || name == TRANSFER_ENCODING {
            return Err(
                "no Content-Length or Transfer-Encoding, because the body determines them"
                    .to_owned(),
            );
        }
        let value = value
            .parse()
            .map_err(|_| format!("a value without control characters for {name}"))?;
        map.append(name, value);
    }
    Ok(map)
}

/// Returns the status and headers of a raw response, or the allowed values as the reason of the
/// error.
pub(super) fn raw_response_parts(
    status: u16,
    headers: &[(String, String)],
) -> Result<response::Parts, String> {
    let (mut parts, ()) = Response::new(()).into_parts();
    parts.headers = header_map(headers)?;
    let valid = StatusCode::from_u16(status)
        .ok()
        .filter(|status| (200..=599).contains(&status.as_u16()));
    parts.status = valid.ok_or_else(|| format!("a status from 200 to 599, not {status}"))?;
    Ok(parts)
}
