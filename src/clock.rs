//! Timers and comparisons use the monotonic clock, so a wall clock that jumps does not move a timer or expire a series.

use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use time::OffsetDateTime;
use tokio::time::Instant;

/// A point in time on both clocks. Only the Unix time is stored, because a monotonic clock does not survive its process.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "f64", into = "f64")]
pub struct Timestamp {
    pub instant: Instant,
    /// The wall clock, in Unix seconds.
    pub unix: f64,
}

impl Timestamp {
    pub(crate) fn unix_of(self, instant: Instant) -> f64 {
        let ahead = instant.saturating_duration_since(self.instant);
        let behind = self.instant.saturating_duration_since(instant);
        self.unix + ahead.as_secs_f64() - behind.as_secs_f64()
    }

    /// Sets the instant of a stored time from its Unix time. Returns false if the monotonic clock does not reach back so far.
    pub(crate) fn rebase(&mut self, now: Self) -> bool {
        // If the clock was set back since, the age would be negative: treat the time as now.
        let age = Duration::try_from_secs_f64((now.unix - self.unix).max(0.0)).ok();
        let instant = age.and_then(|age| now.instant.checked_sub(age));
        self.instant = instant.unwrap_or(self.instant);
        instant.is_some()
    }
}

impl From<Timestamp> for f64 {
    fn from(at: Timestamp) -> Self {
        at.unix
    }
}

impl From<f64> for Timestamp {
    /// The instant is not known before [`Timestamp::rebase`].
    fn from(unix: f64) -> Self {
        let instant = Instant::now();
        Self { instant, unix }
    }
}

#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> f64 + Send + Sync>);

impl Clock {
    pub fn system() -> Self {
        Self::from_wall(|| {
            #[allow(clippy::disallowed_methods, reason = "the one wall clock read")]
            SystemTime::now()
                .duration_since(UNIX_EPOCH)
                // A clock before 1970 is wrong by decades, so 0 is as good as any value.
                .map_or(0.0, |since| since.as_secs_f64())
        })
    }

    pub fn from_wall(wall: impl Fn() -> f64 + Send + Sync + 'static) -> Self {
        Self(Arc::new(wall))
    }

    pub fn now(&self) -> Timestamp {
        Timestamp {
            instant: Instant::now(),
            unix: (self.0)(),
        }
    }

    /// In seconds, rounded to milliseconds to keep meaningless digits out of the output.
    pub fn unix_now(&self) -> f64 {
        round_to_millis((self.0)())
    }
}

pub fn round_to_millis(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}

/// Formats a Unix time as `2026-11-22T03:12:07.250Z`. Returns `None` before the year 0 and after 9999.
pub fn rfc3339(unix_seconds: f64) -> Option<String> {
    // The range is checked below.
    #[allow(clippy::cast_possible_truncation, reason = "`as` saturates")]
    let millis = (unix_seconds * 1000.0).round() as i64;
    let utc = OffsetDateTime::from_unix_timestamp_nanos(i128::from(millis) * 1_000_000).ok()?;
    (0..=9999).contains(&utc.year()).then(|| {
        let (date, (hour, minute, second, milli)) = (utc.date(), utc.time().as_hms_milli());
        format!("{date}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
    })
}

pub fn seconds(duration: Duration) -> f64 {
    round_to_millis(duration.as_secs_f64())
}
