//! Injected faults: the requests that a fault matches, how often, and the response to them.

use super::protocol::ApiError;
use super::request::RecordedRequest;
use bytes::Bytes;
use hyper::Response;
use std::fmt::Display;
use std::time::Duration;

/// The requests that a fault applies to: those that equal every field that is set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestMatcher {
    pub operation: Option<String>,
    /// `IntegrationArn` or `IntegrationIdentifier`.
    pub integration_arn: Option<String>,
    pub target_arn: Option<String>,
    /// The region that the request was signed for.
    pub region: Option<String>,
    pub access_key_id: Option<String>,
    /// Number of a page within its listing, starting at 1.
    pub page: Option<u32>,
}

impl RequestMatcher {
    pub fn region(region: &str) -> Self {
        Self {
            region: Some(region.to_owned()),
            ..Self::default()
        }
    }

    pub fn page(page: u32) -> Self {
        Self {
            page: Some(page),
            ..Self::default()
        }
    }

    pub(super) fn matches(&self, request: &RecordedRequest) -> bool {
        let equal = |wanted: &Option<String>, found: Option<&str>| {
            wanted.is_none() || wanted.as_deref() == found
        };
        equal(&self.operation, Some(request.operation))
            && equal(&self.integration_arn, request.integration_arn.as_deref())
            && equal(&self.target_arn, request.target_arn.as_deref())
            && equal(&self.region, Some(&request.region))
            && equal(&self.access_key_id, Some(&request.access_key_id))
            && self.page.is_none_or(|page| page == request.page)
    }
}

#[derive(Clone, Debug)]
pub enum FaultKind {
    Error(ApiError),
    /// Any response: truncated JSON, HTML, `{}`, a null list, items with missing fields.
    Raw(Response<Bytes>),
    /// No response until the client closes the connection or the simulator stops.
    Hang,
    /// The headers and half of the body of the normal response, then the connection closes.
    ResetMidBody,
    /// The normal response with the marker of the request: the listing returns the same page again.
    RepeatMarker,
    /// The normal response, but always with a new marker: empty pages without end.
    EndlessMarkers,
    Delay(Duration),
    /// The normal response, slowly: `bytes` of the body at a time, with `pause` after each piece.
    Drip {
        bytes: usize,
        pause: Duration,
    },
}

impl FaultKind {
    pub fn error(code: &str, message: &str) -> Self {
        Self::Error(ApiError::new(code, message))
    }

    pub fn raw(status: u16, body: impl Into<Bytes>) -> Self {
        let response = Response::builder().status(status).body(body.into());
        Self::Raw(response.unwrap_or_default())
    }
}

/// Returns the marker of the next page. It contains the position, so the simulator stores none.
pub(super) fn next_marker(
    request: &RecordedRequest,
    fault: Option<&FaultKind>,
    position: impl Display,
    has_more: bool,
) -> Option<String> {
    let next = format!("{}:{position}", request.page.saturating_add(1));
    match (fault, &request.marker) {
        (Some(FaultKind::RepeatMarker), Some(marker)) => Some(marker.clone()),
        (Some(FaultKind::RepeatMarker | FaultKind::EndlessMarkers), _) => Some(next),
        _ => has_more.then_some(next),
    }
}

/// A fault. A request gets the first fault of the list that matches it.
#[derive(Clone, Debug)]
pub struct Fault {
    pub matcher: RequestMatcher,
    /// Remaining number of requests; `None` means until the fault is cleared.
    pub times: Option<u32>,
    pub kind: FaultKind,
}

impl Fault {
    pub fn new(matcher: RequestMatcher, kind: FaultKind) -> Self {
        Self {
            matcher,
            times: None,
            kind,
        }
    }

    pub fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }
}
