//! The rules for intervals and timeouts, and their defaults.

use crate::config::schema::Polling;
use crate::config::value::ConfigDuration;
use crate::toolkit::yaml::{At, Field, Report, Value, format_duration};
use std::time::Duration;

const DEFAULT_INTERVAL: Duration = Duration::from_secs(60);
const MIN_INTERVAL: Duration = Duration::from_secs(10);
const MAX_INTERVAL: Duration = Duration::from_secs(86_400);
/// Enough for several pages and retries, and shorter than the default interval.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(45);
const MIN_TIMEOUT: Duration = Duration::from_secs(1);
/// Long, because an alert that resolves only because data is missing is worse than data that is marked as stale.
const DEFAULT_STALE_AFTER: Duration = Duration::from_secs(86_400);

/// Returns interval, timeout and `stale_after` of the `own` keys. Defaults depend on the effective interval. Returns `None` if a
/// value is invalid.
pub(super) fn timing(report: &Report, own: &Polling, inherited: &Polling) -> Option<[Duration; 3]> {
    let interval = duration(own.interval.or(&inherited.interval), DEFAULT_INTERVAL)?;
    if let Some((_, at)) = own.interval.as_valid()
        && !check_interval(report, interval, at, MIN_INTERVAL)
    {
        return None;
    }
    let default = DEFAULT_TIMEOUT.min(interval * 3 / 4);
    let timeout = duration(own.timeout.or(&inherited.timeout), default)?;
    let default = DEFAULT_STALE_AFTER.max(interval * 6);
    let stale_after = duration(own.stale_after.or(&inherited.stale_after), default)?;

    // An inherited value is reported at the scope's interval. If the scope has none, `polling` itself is wrong and reported.
    let report_at = |field: &Value<ConfigDuration>, name: &str, value: Duration, allowed: &str| {
        let inherited = if field.is_absent() { "inherited " } else { "" };
        if let Some(at) = field.at().or(own.interval.at()) {
            let text = format!(
                "the {inherited}{name} of {} does not fit the interval of {}; allowed: {allowed}",
                format_duration(value),
                format_duration(interval)
            );
            report.error(at, text);
        }
    };
    let timeout_fits = timeout >= MIN_TIMEOUT && timeout < interval;
    if !timeout_fits {
        let allowed = "at least 1s and shorter than the interval";
        report_at(&own.timeout, "timeout", timeout, allowed);
    }
    let stale_after_fits = stale_after >= interval * 2;
    if !stale_after_fits {
        let allowed = "at least twice the interval";
        report_at(&own.stale_after, "stale_after", stale_after, allowed);
    }
    (timeout_fits && stale_after_fits).then_some([interval, timeout, stale_after])
}

pub(super) fn check_interval(report: &Report, interval: Duration, at: At, min: Duration) -> bool {
    let is_valid = (min..=MAX_INTERVAL).contains(&interval);
    if !is_valid {
        let [interval, min] = [interval, min].map(format_duration);
        let text = format!("{interval} is out of range; allowed: {min} to 24h");
        report.error(at, text);
    }
    is_valid
}

fn duration(field: &Value<ConfigDuration>, default: Duration) -> Option<Duration> {
    match field {
        Field::Valid(duration, _) => Some(duration.0.0),
        Field::Absent => Some(default),
        Field::Invalid => None,
    }
}
