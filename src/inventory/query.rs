//! The parameters of a request, read from the part of its URL behind the question mark.

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use std::fmt;

/// So many bytes of a value are repeated in a refusal.
const MOST_TOLD: usize = 200;
/// So many allowed values are named in one.
const MOST_ALLOWED: usize = 20;

/// A parameter that is not understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub parameter: String,
    pub value: String,
    /// What would have been.
    pub allowed: String,
}

impl Refused {
    /// Of a parameter that there is, with another value than what is `allowed`.
    pub fn value(parameter: &str, value: &str, allowed: impl Into<String>) -> Self {
        Self {
            parameter: told(parameter),
            value: told(value),
            allowed: allowed.into(),
        }
    }

    /// Of a parameter that there is not.
    pub fn unknown(parameter: &str, value: &str, known: &[&str]) -> Self {
        let allowed = format!("the parameters {}", known.join(", "));
        Self::value(parameter, value, allowed)
    }

    /// Of a parameter that came twice.
    pub fn twice(parameter: &str, value: &str) -> Self {
        Self::value(parameter, value, "this parameter once")
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            parameter,
            value,
            allowed,
        } = self;
        write!(
            f,
            "{parameter}={value:?} is not allowed; allowed: {allowed}"
        )
    }
}

fn told(text: &str) -> String {
    if text.len() <= MOST_TOLD {
        return text.to_owned();
    }
    format!("{}…", &text[..text.floor_char_boundary(MOST_TOLD)])
}

/// These values as a list to choose from, or its beginning.
pub fn any_of<'a>(values: impl IntoIterator<Item = &'a str>) -> String {
    let values: Vec<&str> = values.into_iter().collect();
    match values.get(..MOST_ALLOWED) {
        Some(first) if values.len() > MOST_ALLOWED => {
            let others = values.len() - first.len();
            format!("{} and {others} others", first.join(", "))
        }
        _ if values.is_empty() => "none, there is nothing to choose from".to_owned(),
        _ => values.join(", "),
    }
}

/// Names and values, as a form sends them: `+` and `%20` are a space.
///
/// # Errors
/// If one of them is not UTF-8.
pub fn parameters(query: &str) -> Result<Vec<(String, String)>, Refused> {
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match (decoded(name), decoded(value)) {
                (Some(name), Some(value)) => Ok((name, value)),
                _ => Err(Refused::value(name, value, "percent-encoded UTF-8")),
            }
        })
        .collect()
}

fn decoded(text: &str) -> Option<String> {
    let spaced = text.replace('+', " ");
    let decoded = percent_decode_str(&spaced).decode_utf8().ok()?;
    Some(decoded.into_owned())
}

/// The opposite: a reference to the same page with these parameters.
pub fn link<'a>(parameters: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let encoded = |text: &'a str| utf8_percent_encode(text, NON_ALPHANUMERIC);
    let pairs = parameters.into_iter();
    let pairs: Vec<String> = pairs
        .map(|(name, value)| format!("{}={}", encoded(name), encoded(value)))
        .collect();
    if pairs.is_empty() {
        "./".to_owned()
    } else {
        format!("?{}", pairs.join("&"))
    }
}
