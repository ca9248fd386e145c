//! The query parameters of a request.

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// The maximum length of a name or value in an error message.
const MAX_VALUE_BYTES: usize = 200;
/// The maximum number of allowed values in an error message.
const MAX_LISTED_VALUES: usize = 20;

/// An unknown parameter, or a value that is not allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{parameter}={value:?} is not allowed; allowed: {allowed}")]
pub struct InvalidParameter {
    pub parameter: String,
    pub value: String,
    pub allowed: String,
}

impl InvalidParameter {
    /// Creates the error for a value that is not `allowed`.
    pub fn new(parameter: &str, value: &str, allowed: impl Into<String>) -> Self {
        Self {
            parameter: truncate(parameter),
            value: truncate(value),
            allowed: allowed.into(),
        }
    }

    /// Creates the error for an unknown parameter.
    pub fn unknown(parameter: &str, value: &str, known: &[&str]) -> Self {
        let allowed = format!("the parameters {}", known.join(", "));
        Self::new(parameter, value, allowed)
    }

    /// Creates the error for a repeated parameter.
    pub fn repeated(parameter: &str, value: &str) -> Self {
        Self::new(parameter, value, "this parameter only once")
    }
}

fn truncate(text: &str) -> String {
    if text.len() <= MAX_VALUE_BYTES {
        return text.to_owned();
    }
    format!("{}…", &text[..text.floor_char_boundary(MAX_VALUE_BYTES)])
}

/// Returns the allowed values as a list. Truncates a long list.
pub fn list_values<'a>(values: impl IntoIterator<Item = &'a str>) -> String {
    let values: Vec<&str> = values.into_iter().collect();
    match values.get(..MAX_LISTED_VALUES) {
        Some(first) if values.len() > MAX_LISTED_VALUES => {
            let others = values.len() - first.len();
            format!("{} and {others} others", first.join(", "))
        }
        _ if values.is_empty() => "no value, because none exists".to_owned(),
        _ => values.join(", "),
    }
}

/// Parses names and values as a form encodes them: `+` and `%20` are a space.
///
/// # Errors
/// If a name or value is not UTF-8.
pub fn parse_query(query: &str) -> Result<Vec<(String, String)>, InvalidParameter> {
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match (decode(name), decode(value)) {
                (Some(name), Some(value)) => Ok((name, value)),
                _ => Err(InvalidParameter::new(name, value, "percent-encoded UTF-8")),
            }
        })
        .collect()
}

fn decode(text: &str) -> Option<String> {
    let spaced = text.replace('+', " ");
    let decoded = percent_decode_str(&spaced).decode_utf8().ok()?;
    Some(decoded.into_owned())
}

/// Returns a relative URL of the page with these parameters.
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
