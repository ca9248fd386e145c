//! Durations such as `1h30m`.

use std::time::Duration;

/// 100 years. Adding much more to a point in time overflows and panics.
const MAX_SECONDS: f64 = 36_500.0 * 86_400.0;

const UNITS: [(&str, u64); 3] = [("d", 86_400), ("h", 3_600), ("m", 60)];

/// Parses numbers with `units`, which are names and seconds in the order in which they must be written, each at most once.
pub fn parse_duration(text: &str, units: &[(&str, f64)]) -> Result<Duration, String> {
    if text.is_empty() {
        return Err("is empty".to_owned());
    }
    let is_number = |c: char| c.is_ascii_digit() || c == '.';
    let mut seconds = 0.0;
    let mut next_units = units.iter();
    let mut rest = text;
    while !rest.is_empty() {
        let (number, tail) = split_before(rest, |c| !is_number(c));
        let (unit, tail) = split_before(tail, is_number);
        let shown = unit.escape_debug();
        if number.is_empty() {
            return Err(format!("begins with `{shown}` instead of a digit"));
        }
        if unit.is_empty() {
            return Err("has no unit".to_owned());
        }
        // The iterator only moves forward, so it does not find earlier units.
        let Some((_, length)) = next_units.find(|(name, _)| *name == unit) else {
            let why = "which is unknown, repeated or in the wrong order";
            return Err(format!("has the unit `{shown}`, {why}"));
        };
        let number: f64 = number
            .parse()
            .map_err(|_| format!("has the invalid number `{number}`"))?;
        seconds += number * length;
        rest = tail;
    }
    if seconds > MAX_SECONDS {
        return Err("is longer than 100 years".to_owned());
    }
    Ok(Duration::from_secs_f64(seconds))
}

fn split_before(text: &str, is: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(is).unwrap_or(text.len()))
}

/// Writes a duration as in a configuration, such as `1h30m`. Seconds may have a fraction: `7.5s`.
pub fn format_duration(duration: Duration) -> String {
    let mut text = String::new();
    let mut rest = duration.as_secs();
    for (unit, length) in UNITS {
        if rest >= length {
            text += &format!("{}{unit}", rest / length);
            rest %= length;
        }
    }
    let seconds = Duration::new(rest, duration.subsec_nanos()).as_secs_f64();
    if seconds > 0.0 || text.is_empty() {
        text += &format!("{seconds}s");
    }
    text
}
