//! A length of time as Go writes it.

use crate::config::value::{Checked, ValueError};
use std::str::FromStr;
use std::time::Duration;

pub(super) const EXPECTED: &str = "0, or a duration with the units ns, us, ms, s, m, h, such as 1s, 500ms, 1m30s; at most 290 years";

/// Whole nanoseconds, as many as fit into 63 bits.
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

/// So many units of `nanos`, rounded down; `None` if that is more than can be counted.
fn part(whole: &str, fraction: &str, nanos: u128) -> Option<u128> {
    let whole: u128 = if whole.is_empty() {
        0
    } else {
        whole.parse().ok()?
    };
    // A nanosecond is the 13th place behind the point of an hour; what comes later changes nothing.
    let mut place = nanos;
    let mut behind = 0;
    for digit in fraction.bytes().take(14) {
        place *= 10;
        behind = behind * 10 + u128::from(digit - b'0');
    }
    let behind = behind * nanos / (place / nanos);
    whole.checked_mul(nanos)?.checked_add(behind)
}
