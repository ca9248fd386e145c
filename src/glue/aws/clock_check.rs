//! Compares the system clock with the `Date` header of AWS responses and logs a warning if it is wrong.

use crate::clock::{Clock, rfc3339};
use aws_sdk_glue::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_glue::error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::BeforeDeserializationInterceptorContextRef;
use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use std::sync::atomic::{AtomicBool, Ordering};

const MAX_SKEW_SECONDS: f64 = 3600.0;

/// Shared by all clients, so that the warning is logged once until the clock is right again.
static IS_WRONG: AtomicBool = AtomicBool::new(false);

#[derive(Debug)]
pub struct ClockCheck;

impl Intercept for ClockCheck {
    fn name(&self) -> &'static str {
        "ClockCheck"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let date = context.response().headers().get("date");
        let Some(Ok(date)) = date.map(|date| DateTime::from_str(date, Format::HttpDate)) else {
            return Ok(());
        };
        let (clock, aws) = (Clock::system().unix_now(), date.as_secs_f64());
        let is_wrong = (clock - aws).abs() > MAX_SKEW_SECONDS;
        match (IS_WRONG.swap(is_wrong, Ordering::Relaxed), is_wrong) {
            (false, true) => tracing::warn!(
                clock = rfc3339(clock),
                aws = rfc3339(aws),
                "system clock is wrong by more than an hour: timestamps and ages in the metrics are wrong, and AWS may reject requests; synchronise the clock (NTP)"
            ),
            (true, false) => tracing::info!("system clock is right again"),
            (false, false) | (true, true) => {}
        }
        Ok(())
    }
}
