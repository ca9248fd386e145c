//! Types for checked values. Each is created only by `FromStr`, so every value is valid. ARNs are in `arn`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// The reason why a text is not a valid value, and the allowed values. The message continues the quoted text:
/// "`5` has no unit; allowed: …". It contains no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}; allowed: {allowed}")]
pub struct ValueError {
    why: String,
    allowed: &'static str,
}

impl ValueError {
    /// Returns an error with the allowed values of `V`.
    pub(crate) fn of<V: Checked>(why: impl Into<String>) -> Self {
        ValueError {
            why: why.into(),
            allowed: V::EXPECTED,
        }
    }
}

/// A type that is parsed from one text.
pub trait Checked: FromStr<Err = ValueError> {
    /// Describes the allowed values for error messages.
    const EXPECTED: &'static str;
}

/// A duration as written in the configuration: `90s`, `5m`, `1h30m`. It is parsed in whole seconds; a value from a `Duration` may
/// have a fraction (`7.5s`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConfigDuration(Duration);

/// The units, in the order in which they must be written.
const UNITS: [(&str, u64); 4] = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];

impl Checked for ConfigDuration {
    const EXPECTED: &'static str =
        "a duration in whole d, h, m, s, largest unit first, such as 90s, 5m, 1h30m";
}

impl FromStr for ConfigDuration {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        seconds(text)
            .map(|seconds| ConfigDuration(Duration::from_secs(seconds)))
            .map_err(ValueError::of::<Self>)
    }
}

fn seconds(text: &str) -> Result<u64, String> {
    if text.is_empty() {
        return Err("is empty".to_owned());
    }
    let mut total: u64 = 0;
    let mut units = UNITS.iter();
    let mut rest = text;
    while !rest.is_empty() {
        let (number, tail) = split_before(rest, |c| !c.is_ascii_digit());
        let (unit, tail) = split_before(tail, |c| c.is_ascii_digit());
        if number.is_empty() {
            return Err(format!(
                "begins with `{}` instead of a digit",
                unit.escape_debug()
            ));
        }
        if unit.is_empty() {
            return Err("has no unit".to_owned());
        }
        if !UNITS.iter().any(|(name, _)| *name == unit) {
            return Err(format!("has the unknown unit `{}`", unit.escape_debug()));
        }
        // The iterator only moves forward, so it does not find earlier units.
        let Some((_, length)) = units.find(|(name, _)| *name == unit) else {
            return Err(format!("has the unit `{unit}` twice or in the wrong order"));
        };
        total = number
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(*length))
            .and_then(|part| total.checked_add(part))
            .ok_or("is too long")?;
        rest = tail;
    }
    Ok(total)
}

/// Splits `text` before the first character for which `is` returns true.
fn split_before(text: &str, is: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(is).unwrap_or(text.len()))
}

impl From<Duration> for ConfigDuration {
    fn from(duration: Duration) -> Self {
        ConfigDuration(duration)
    }
}

impl From<ConfigDuration> for Duration {
    fn from(duration: ConfigDuration) -> Self {
        duration.0
    }
}

impl fmt::Display for ConfigDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.as_secs();
        for (name, length) in UNITS.iter().filter(|(name, _)| *name != "s") {
            if rest >= *length {
                write!(f, "{}{name}", rest / length)?;
                rest %= length;
            }
        }
        let fraction = format!("{:09}", self.0.subsec_nanos());
        match fraction.trim_end_matches('0') {
            "" if rest == 0 && !self.0.is_zero() => Ok(()),
            "" => write!(f, "{rest}s"),
            fraction => write!(f, "{rest}.{fraction}s"),
        }
    }
}

/// The poll interval: 10s to 24h.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Interval(ConfigDuration);

impl Checked for Interval {
    const EXPECTED: &'static str = "10s to 24h, such as 90s, 5m, 1h30m";
}

impl FromStr for Interval {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let seconds = seconds(text).map_err(ValueError::of::<Self>)?;
        match seconds {
            ..10 => Err(ValueError::of::<Self>("is too short")),
            10..=86_400 => Ok(Interval(ConfigDuration(Duration::from_secs(seconds)))),
            _ => Err(ValueError::of::<Self>("is too long")),
        }
    }
}

impl From<Interval> for Duration {
    fn from(interval: Interval) -> Self {
        interval.0.into()
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The name of an AWS region. Only the format is checked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegionName(String);

impl RegionName {
    /// Returns the name as AWS writes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Checked for RegionName {
    const EXPECTED: &'static str = "the name of an AWS region, such as eu-west-1 or us-gov-west-1";
}

impl FromStr for RegionName {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let letters =
            |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase());
        let parts: Vec<&str> = text.split('-').collect();
        match parts.as_slice() {
            [area, places @ .., number]
                if area.len() >= 2
                    && letters(area)
                    && !places.is_empty()
                    && places.iter().all(letters)
                    && matches!(number.len(), 1 | 2)
                    && number.bytes().all(|b| b.is_ascii_digit()) =>
            {
                Ok(RegionName(text.to_owned()))
            }
            _ => Err(ValueError::of::<Self>("is not a region name")),
        }
    }
}

impl fmt::Display for RegionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of a scope, which is the label `scope` of the exporter's own metrics.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScopeName(String);

impl ScopeName {
    /// Returns the name as written in the configuration.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Checked for ScopeName {
    const EXPECTED: &'static str =
        "1 to 64 letters (a-z, A-Z), digits, underscores, hyphens and dots";
}

impl FromStr for ScopeName {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        check_length::<Self>(text, 1, 64)?;
        check_characters::<Self>(text, "_-.")?;
        Ok(ScopeName(text.to_owned()))
    }
}

impl fmt::Display for ScopeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How a scope's `integration_arns` are looked up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lookup {
    /// One request for each integration.
    #[default]
    Each,
    /// One listing of the region, and one request for each integration that it does not contain.
    List,
}

impl Checked for Lookup {
    const EXPECTED: &'static str = "each or list";
}

impl FromStr for Lookup {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        match text {
            "each" => Ok(Self::Each),
            "list" => Ok(Self::List),
            "" => Err(ValueError::of::<Self>("is empty")),
            _ => Err(ValueError::of::<Self>("is not a lookup mode")),
        }
    }
}

/// The external ID that a role's trust policy requires. It is a secret and prints as `***`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExternalId(String);

impl ExternalId {
    /// Returns the secret for the request that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// The limits of `ExternalId` in the STS operation AssumeRole.
impl Checked for ExternalId {
    const EXPECTED: &'static str = "2 to 1224 characters of a-z, A-Z, 0-9 and _+=,.@:/-";
}

impl FromStr for ExternalId {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        // The message does not name the character, because it is a part of the secret.
        check_length::<Self>(text, 2, 1224)?;
        check_characters::<Self>(text, "_+=,.@:/-")
            .map_err(|_| ValueError::of::<Self>("contains a character that is not allowed"))?;
        Ok(ExternalId(text.to_owned()))
    }
}

impl fmt::Debug for ExternalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for ExternalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Checks that `text` has `min` to `max` characters.
pub(crate) fn check_length<V: Checked>(
    text: &str,
    min: usize,
    max: usize,
) -> Result<(), ValueError> {
    match text.chars().count() {
        0 => Err(ValueError::of::<V>("is empty")),
        count if count < min => Err(ValueError::of::<V>("is too short")),
        count if count > max => Err(ValueError::of::<V>(format!(
            "is too long ({count} characters)"
        ))),
        _ => Ok(()),
    }
}

/// Checks that `text` contains only ASCII letters, digits and the characters in `others`.
pub(crate) fn check_characters<V: Checked>(text: &str, others: &str) -> Result<(), ValueError> {
    match text
        .chars()
        .find(|c| !c.is_ascii_alphanumeric() && !others.contains(*c))
    {
        None => Ok(()),
        Some(invalid) => Err(ValueError::of::<V>(format!(
            "contains the invalid character `{}`",
            invalid.escape_debug()
        ))),
    }
}
