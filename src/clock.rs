//! Time comes in here: the one reader of the wall clock. Everything that waits or compares uses the monotonic side, so a wall
//! clock that jumps moves no timer and ends no series.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use time::OffsetDateTime;
use tokio::time::Instant;

/// One moment on both clocks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Timestamp {
    /// For order, deadlines and ages of data.
    pub instant: Instant,
    /// Unix time in seconds, for what is shown to people and Prometheus.
    pub unix: f64,
}

/// Reads the time; tests put their own wall clock in.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> f64 + Send + Sync>);

impl Clock {
    /// The system's clocks.
    pub fn system() -> Self {
        Self::from_wall(|| {
            #[allow(
                clippy::disallowed_methods,
                reason = "the one place where the wall clock is read"
            )]
            SystemTime::now()
                .duration_since(UNIX_EPOCH)
                // A clock before 1970 is wrong by decades whichever value stands for it.
                .map_or(0.0, |since| since.as_secs_f64())
        })
    }

    /// A clock whose wall time, in Unix seconds, is what `wall` returns.
    pub fn from_wall(wall: impl Fn() -> f64 + Send + Sync + 'static) -> Self {
        Self(Arc::new(wall))
    }

    /// This moment.
    pub fn now(&self) -> Timestamp {
        Timestamp {
            instant: Instant::now(),
            unix: (self.0)(),
        }
    }

    /// The wall time alone: Unix seconds, rounded to milliseconds so that a page does not show digits that mean nothing.
    pub fn unix_now(&self) -> f64 {
        round_to_millis((self.0)())
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

/// Seconds with at most three decimals.
pub fn round_to_millis(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}

/// A moment as a calendar has it: `2026-11-22T03:12:07.250Z`. None if it is before the year 0 or after 9999.
pub fn rfc3339(unix_seconds: f64) -> Option<String> {
    let utc = utc(unix_seconds)?;
    let (date, time) = (utc.date(), utc.time());
    Some(format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
        date.year(),
        u8::from(date.month()),
        date.day(),
        time.hour(),
        time.minute(),
        time.second(),
        time.millisecond()
    ))
}

/// The same in UTC, to the millisecond.
fn utc(unix_seconds: f64) -> Option<OffsetDateTime> {
    /// Of the first second that a calendar of four digits does not have.
    const YEAR_10000: f64 = 253_402_300_800.0;
    const YEAR_0: f64 = -62_167_219_200.0;
    if !(YEAR_0..YEAR_10000 - 0.0005).contains(&unix_seconds) {
        return None;
    }
    #[allow(
        clippy::cast_possible_truncation,
        reason = "milliseconds of ten thousand years are far below 2^63"
    )]
    let millis = (unix_seconds * 1000.0).round() as i64;
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(millis) * 1_000_000).ok()
}

/// A duration in seconds with at most three decimals.
pub fn seconds(duration: Duration) -> f64 {
    round_to_millis(duration.as_secs_f64())
}
