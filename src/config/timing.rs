//! The keys that `polling` and scopes share: intervals, timeouts, their defaults and the rules between them.

use std::time::Duration;

use super::field::{Field, Reader, Section};
use super::value::{ConfigDuration, Interval};

const DEFAULT_INTERVAL: Duration = Duration::from_secs(60);
/// Enough for several pages and retries, and shorter than the default interval.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(45);
const MIN_TIMEOUT: Duration = Duration::from_secs(1);
/// Long, because an alert that resolves only because data is missing is worse than data that is marked as old.
const DEFAULT_STALE_AFTER: Duration = Duration::from_secs(3600);
/// 100 years. Adding much more to a point in time overflows and panics.
const MAX_STALE_AFTER: Duration = Duration::from_secs(36_500 * 86_400);

/// The shared keys as set in `polling` or in one scope.
#[derive(Default)]
pub(super) struct Polling {
    interval: Field<Interval>,
    timeout: Field<ConfigDuration>,
    stale_after: Field<ConfigDuration>,
    pub(super) concurrency: Field<u16>,
    pub(super) page_size: Field<u16>,
}

/// The effective timing of one scope.
pub(super) struct Timing {
    pub(super) interval: Duration,
    pub(super) timeout: Duration,
    pub(super) stale_after: Duration,
}

impl Reader {
    pub(super) fn polling(&mut self, fields: &Section<'_>) -> Polling {
        Polling {
            interval: self.value(fields, "interval"),
            timeout: self.value(fields, "timeout"),
            stale_after: self.value(fields, "stale_after"),
            concurrency: self.number(fields, "concurrency", 1..=100),
            page_size: self.number(fields, "page_size", 1..=10_000),
        }
    }

    /// Returns the timing of `own`, which inherits from `parent`; defaults depend on the effective interval.
    /// Reports an inherited value only if the scope sets its own interval, because otherwise it is reported for `parent`.
    /// Returns `None` if a value is invalid.
    pub(super) fn timing(&mut self, own: &Polling, parent: &Polling) -> Option<Timing> {
        let interval = match own.interval.or_inherited(&parent.interval) {
            Field::Valid(interval, _) => (*interval).into(),
            Field::Absent => DEFAULT_INTERVAL,
            Field::Invalid => return None,
        };
        let timeout = self.timeout(interval, own, parent);
        let stale_after = self.stale_after(interval, own, parent);
        Some(Timing {
            interval,
            timeout: timeout?,
            stale_after: stale_after?,
        })
    }

    fn timeout(&mut self, interval: Duration, own: &Polling, parent: &Polling) -> Option<Duration> {
        let (given, timeout_at) = match own.timeout.or_inherited(&parent.timeout) {
            Field::Valid(timeout, at) => (*timeout, at),
            Field::Absent => return Some(DEFAULT_TIMEOUT.min(interval * 3 / 4)),
            Field::Invalid => return None,
        };
        let timeout = Duration::from(given);
        let interval = ConfigDuration::from(interval);
        if timeout >= MIN_TIMEOUT && timeout < Duration::from(interval) {
            return Some(timeout);
        }
        match (&own.timeout, &own.interval) {
            (Field::Valid(..), _) => {
                let reason = if timeout < MIN_TIMEOUT {
                    "too short".to_owned()
                } else {
                    format!("not shorter than the interval ({interval})")
                };
                let text =
                    format!("{given} is {reason}; allowed: at least 1s and shorter than the interval");
                self.error(timeout_at, text);
            }
            (_, Field::Valid(_, interval_at)) if timeout >= MIN_TIMEOUT => self.error(
                interval_at,
                format!(
                    "{interval} is not longer than polling.timeout ({given}), which applies to this scope; \
                     allowed: a longer interval, or a timeout in the scope that is shorter than {interval}"
                ),
            ),
            _ => {}
        }
        None
    }

    fn stale_after(
        &mut self,
        interval: Duration,
        own: &Polling,
        parent: &Polling,
    ) -> Option<Duration> {
        let (given, stale_after_at) = match own.stale_after.or_inherited(&parent.stale_after) {
            Field::Valid(stale_after, at) => (*stale_after, at),
            Field::Absent => return Some(DEFAULT_STALE_AFTER.max(interval * 6)),
            Field::Invalid => return None,
        };
        let stale_after = Duration::from(given);
        if stale_after > MAX_STALE_AFTER {
            if let Field::Valid(..) = own.stale_after {
                let max = ConfigDuration::from(MAX_STALE_AFTER);
                let text = format!("{given} is too long; allowed: at most {max}");
                self.error(stale_after_at, text);
            }
            return None;
        }
        let (interval, min) = (
            ConfigDuration::from(interval),
            ConfigDuration::from(interval * 2),
        );
        if stale_after >= Duration::from(min) {
            return Some(stale_after);
        }
        match (&own.stale_after, &own.interval) {
            (Field::Valid(..), _) => self.error(
                stale_after_at,
                format!(
                    "{given} is less than twice the interval ({interval}); allowed: at least {min}"
                ),
            ),
            (_, Field::Valid(_, interval_at)) => self.error(
                interval_at,
                format!(
                    "{interval} is more than half of polling.stale_after ({given}), which applies to this scope; \
                     allowed: a shorter interval, or a stale_after in the scope of at least {min}"
                ),
            ),
            _ => {}
        }
        None
    }
}
