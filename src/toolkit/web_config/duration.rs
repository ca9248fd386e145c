//! Durations in the format of Go.

use crate::config::value::{Checked, ValueError};
use std::str::FromStr;
use std::time::Duration;

pub(super) const EXPECTED: &str = "0, or a duration with the units ns, us, ms, s, m, h, such as 1s, 500ms, 1m30s; at most 290 years";

/// A duration of whole nanoseconds that fits into 63 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct GoDuration(pub(super) Duration);

impl Checked for GoDuration {
    const EXPECTED: &'static str = EXPECTED;
}

impl FromStr for GoDuration {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let invalid = |why: &str| ValueError::of::<Self>(why);
        if text == "0" {
            return Ok(Self::default());
        }
        if text.is_empty() {
            return Err(invalid("is empty"));
        }
        if text.starts_with('-') {
            return Err(invalid("is negative"));
        }
        let mut rest = text.strip_prefix('+').unwrap_or(text);
        let mut total: u128 = 0;
        while !rest.is_empty() {
            let digits = |c: char| !c.is_ascii_digit() && c != '.';
            let (number, tail) = rest.split_at(rest.find(digits).unwrap_or(rest.len()));
            let next = |c: char| c.is_ascii_digit() || c == '.';
            let (unit, tail) = tail.split_at(tail.find(next).unwrap_or(tail.len()));
            let nanos = match unit {
                "ns" => 1,
                "us" | "µs" | "μs" => 1_000,
                "ms" => 1_000_000,
                "s" => 1_000_000_000,
                "m" => 60 * 1_000_000_000,
                "h" => 3_600 * 1_000_000_000,
                "" => return Err(invalid("has no unit")),
                _ => return Err(invalid("has an unknown unit")),
            };
            let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
            if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
                return Err(invalid("has no number before a unit"));
            }
            total = part(whole, fraction, nanos)
                .and_then(|part| total.checked_add(part))
                .ok_or_else(|| invalid("is too long"))?;
            rest = tail;
        }
        let nanos = i64::try_from(total).map_err(|_| invalid("is too long"))?;
        Ok(Self(Duration::from_nanos(nanos.unsigned_abs())))
    }
}

/// Returns `whole.fraction` units of `nanos` nanoseconds, rounded down; `None` on overflow.
fn part(whole: &str, fraction: &str, nanos: u128) -> Option<u128> {
    let whole: u128 = if whole.is_empty() {
        0
    } else {
        whole.parse().ok()?
    };
    // One nanosecond is the 13th decimal place of an hour, so 14 digits are enough.
    let mut scale = nanos;
    let mut decimals = 0;
    for digit in fraction.bytes().take(14) {
        scale *= 10;
        decimals = decimals * 10 + u128::from(digit - b'0');
    }
    let decimals = decimals * nanos / (scale / nanos);
    whole.checked_mul(nanos)?.checked_add(decimals)
}
