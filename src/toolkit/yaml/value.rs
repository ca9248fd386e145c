//! Values that are checked while they are parsed from one text.

use serde::de::{Error, Expected, Unexpected};
use std::fmt::Display;
use std::str::FromStr;

/// The reason why a text is not a valid value, and the allowed values. The message continues the quoted text:
/// "`5` has no unit; allowed: …". It contains no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}; allowed: {allowed}")]
pub struct ValueError {
    pub(super) why: String,
    pub(super) allowed: String,
}

impl ValueError {
    pub(crate) fn of<V: Checked>(why: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            allowed: V::EXPECTED.to_owned(),
        }
    }
}

/// serde names the reason as "unexpected" and the allowed values as "expected".
impl Error for ValueError {
    fn custom<T: Display>(why: T) -> Self {
        Self {
            why: why.to_string(),
            allowed: String::new(),
        }
    }

    fn invalid_value(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self {
            why: unexpected.to_string(),
            allowed: expected.to_string(),
        }
    }
}

pub trait Checked: FromStr<Err = ValueError> {
    const EXPECTED: &'static str;
    /// Whether a number without quotes is allowed.
    const MAY_BE_NUMBER: bool = false;
}

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

/// Allows ASCII letters, digits and the characters in `others`.
pub(crate) fn check_characters<V: Checked>(text: &str, others: &str) -> Result<(), ValueError> {
    let is_valid = |c: char| c.is_ascii_alphanumeric() || others.contains(c);
    reject_characters::<V>(text, |c| !is_valid(c))
}

pub(crate) fn reject_characters<V: Checked>(
    text: &str,
    is_invalid: impl Fn(char) -> bool,
) -> Result<(), ValueError> {
    let Some(c) = text.chars().find(|c| is_invalid(*c)) else {
        return Ok(());
    };
    let why = format!("contains the invalid character `{}`", c.escape_debug());
    Err(ValueError::of::<V>(why))
}

pub(crate) struct NonEmpty(pub(crate) String);

impl Checked for NonEmpty {
    const EXPECTED: &'static str = "non-empty text";
}

impl FromStr for NonEmpty {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        if text.trim().is_empty() {
            return Err(ValueError::of::<Self>("is empty"));
        }
        Ok(Self(text.to_owned()))
    }
}
