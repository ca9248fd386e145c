//! Checks the responses of Glue, and the system clock against their dates.

use crate::clock::{Clock, rfc3339};
use aws_sdk_glue::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_glue::error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::AfterDeserializationInterceptorContextRef;
use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use memchr::memmem;
use serde::de::IgnoredAny;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

const LISTS: [&str; 2] = ["\"InboundIntegrations\"", "\"Integrations\""];
const MARKER: &str = "Marker";
const ERROR_TYPE: &str = "x-amzn-errortype";
const MAX_CLOCK_SKEW_SECONDS: f64 = 3600.0;

/// The warning is logged once until the clock is right again.
static CLOCK_IS_WRONG: AtomicBool = AtomicBool::new(false);

/// Rejects responses that the SDK would parse as an empty list although they are not from Glue.
#[derive(Debug)]
pub struct ResponseCheck;

impl Intercept for ResponseCheck {
    fn name(&self) -> &'static str {
        "ResponseCheck"
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let response = context.response();
        if let Some(date) = response.headers().get("date") {
            check_clock(date);
        }
        let is_error = response.headers().get(ERROR_TYPE).is_some();
        if context.output_or_error().is_ok()
            && (is_error || response.body().bytes().is_some_and(has_no_list))
        {
            return Err("the body is not a response of Glue".into());
        }
        Ok(())
    }
}

/// Returns true unless the body is a JSON object that contains a list or nothing but the marker.
fn has_no_list(body: &[u8]) -> bool {
    // Nearly all responses have a list, so this avoids parsing them twice.
    if LISTS
        .iter()
        .any(|list| memmem::find(body, list.as_bytes()).is_some())
    {
        return false;
    }
    match serde_json::from_slice::<BTreeMap<String, IgnoredAny>>(body) {
        Ok(members) => members.keys().any(|member| member != MARKER),
        Err(_) => true,
    }
}

fn check_clock(date: &str) {
    let Ok(date) = DateTime::from_str(date, Format::HttpDate) else {
        return;
    };
    let (clock, aws) = (Clock::system().unix_now(), date.as_secs_f64());
    let is_wrong = (clock - aws).abs() > MAX_CLOCK_SKEW_SECONDS;
    match (CLOCK_IS_WRONG.swap(is_wrong, Ordering::Relaxed), is_wrong) {
        (false, true) => tracing::warn!(
            clock = rfc3339(clock),
            aws = rfc3339(aws),
            "system clock is wrong by more than an hour: timestamps and ages in the metrics are wrong, and AWS may reject requests; synchronize the clock (NTP)"
        ),
        (true, false) => tracing::info!("system clock is right again"),
        (false, false) | (true, true) => {}
    }
}
