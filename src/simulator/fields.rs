//! Reads the members of a JSON object. An error names the field, the value and the allowed values;
//! serde's own errors do not name the field.

use std::fmt;
use std::ops::RangeInclusive;

use serde_json::{Map, Value};

/// Maximum length of a value in an error message: the value can be as large as the body.
const MAX_EXCERPT_CHARS: usize = 80;

/// Error of an invalid member. The message names the field, the value and the allowed values.
#[derive(Debug)]
pub(super) struct FieldError {
    pub field: String,
    /// True if the JSON type is wrong, not only the value: AWS returns different errors for these.
    pub wrong_type: bool,
    value: String,
    allowed: String,
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} is not allowed: expected {}",
            self.field, self.value, self.allowed
        )
    }
}

impl FieldError {
    /// Creates the error. `found` is the invalid value, or `None` if the member is absent.
    pub fn new(
        field: impl Into<String>,
        found: Option<&Value>,
        allowed: impl Into<String>,
    ) -> Self {
        let value = match found.map(Value::to_string) {
            None => "no value".to_owned(),
            Some(text) if text.chars().count() <= MAX_EXCERPT_CHARS => text,
            Some(text) => text
                .chars()
                .take(MAX_EXCERPT_CHARS)
                .chain("…".chars())
                .collect(),
        };
        Self {
            field: field.into(),
            wrong_type: false,
            value,
            allowed: allowed.into(),
        }
    }

    fn wrong_type(field: String, found: &Value, allowed: &str) -> Self {
        Self {
            wrong_type: true,
            ..Self::new(field, Some(found), allowed)
        }
    }
}

/// The members of a JSON object. Like AWS, it treats a `null` member as absent.
pub(super) struct Fields<'a> {
    path: String,
    members: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    /// Reads `value` as an object. `path` is its location for error messages, empty for the body.
    pub fn from_value(path: &str, value: &'a Value) -> Result<Self, FieldError> {
        let name = if path.is_empty() { "body" } else { path };
        match value {
            Value::Object(members) => Ok(Self {
                path: path.to_owned(),
                members,
            }),
            other => Err(FieldError::wrong_type(name.to_owned(), other, "an object")),
        }
    }

    /// Rejects members that are not in `names`, so that a misspelled name is not silently ignored.
    pub fn reject_unknown(&self, names: &[&str]) -> Result<(), FieldError> {
        match self
            .members
            .iter()
            .find(|(name, _)| !names.contains(&name.as_str()))
        {
            None => Ok(()),
            Some((name, value)) => Err(FieldError::new(
                self.path_of(name),
                Some(value),
                format!("only the fields {}", names.join(", ")),
            )),
        }
    }

    /// Returns the path of a member for error messages.
    pub fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.path)
        }
    }

    pub fn value(&self, name: &str) -> Option<&'a Value> {
        self.members.get(name).filter(|value| !value.is_null())
    }

    /// Reads a string. `length` is the allowed number of characters.
    pub fn string(
        &self,
        name: &str,
        length: RangeInclusive<usize>,
    ) -> Result<Option<String>, FieldError> {
        let allowed = || {
            format!(
                "a string of {} to {} characters",
                length.start(),
                length.end()
            )
        };
        match self.value(name) {
            None => Ok(None),
            Some(Value::String(text)) if length.contains(&text.chars().count()) => {
                Ok(Some(text.clone()))
            }
            Some(found @ Value::String(_)) => {
                Err(FieldError::new(self.path_of(name), Some(found), allowed()))
            }
            Some(found) => Err(FieldError::wrong_type(
                self.path_of(name),
                found,
                &allowed(),
            )),
        }
    }

    /// Reads a string like `string`, but the member is required.
    pub fn required_string(
        &self,
        name: &str,
        length: RangeInclusive<usize>,
    ) -> Result<String, FieldError> {
        let allowed = format!(
            "a string of {} to {} characters",
            length.start(),
            length.end()
        );
        self.string(name, length)?
            .ok_or_else(|| FieldError::new(self.path_of(name), None, allowed))
    }

    pub fn boolean(&self, name: &str) -> Result<Option<bool>, FieldError> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(found) => Err(FieldError::wrong_type(
                self.path_of(name),
                found,
                "true or false",
            )),
        }
    }

    /// Reads a whole number in `range`.
    pub fn integer(
        &self,
        name: &str,
        range: RangeInclusive<u32>,
    ) -> Result<Option<u32>, FieldError> {
        let allowed = format!("a whole number from {} to {}", range.start(), range.end());
        let Some(found) = self.value(name) else {
            return Ok(None);
        };
        if !found.is_i64() && !found.is_u64() {
            return Err(FieldError::wrong_type(self.path_of(name), found, &allowed));
        }
        match found
            .as_u64()
            .and_then(|number| u32::try_from(number).ok())
            .filter(|number| range.contains(number))
        {
            Some(number) => Ok(Some(number)),
            None => Err(FieldError::new(self.path_of(name), Some(found), allowed)),
        }
    }

    /// Reads a Unix time in seconds, possibly with a fraction.
    pub fn epoch_seconds(&self, name: &str) -> Result<Option<f64>, FieldError> {
        match self.value(name).map(|found| (found, found.as_f64())) {
            None => Ok(None),
            Some((_, Some(seconds))) => Ok(Some(seconds)),
            Some((found, None)) => Err(FieldError::wrong_type(
                self.path_of(name),
                found,
                "epoch seconds as a number",
            )),
        }
    }

    /// Reads a nested object.
    pub fn object(&self, name: &str) -> Result<Option<Fields<'a>>, FieldError> {
        self.value(name)
            .map(|value| Fields::from_value(&self.path_of(name), value))
            .transpose()
    }

    /// Reads a nested object with string members only, such as a map of properties.
    pub fn string_map(&self, name: &str) -> Result<Option<Vec<(String, String)>>, FieldError> {
        let Some(object) = self.object(name)? else {
            return Ok(None);
        };
        let read = |key: &String| {
            Ok((
                key.clone(),
                object.required_string(key, 0..=MAX_MAP_VALUE_CHARS)?,
            ))
        };
        object
            .members
            .keys()
            .map(read)
            .collect::<Result<_, _>>()
            .map(Some)
    }

    /// Reads a list of objects with `read`.
    pub fn objects<T>(
        &self,
        name: &str,
        read: impl Fn(&Fields<'a>) -> Result<T, FieldError>,
    ) -> Result<Option<Vec<T>>, FieldError> {
        self.value(name)
            .map(|list| objects(&self.path_of(name), list, read))
            .transpose()
    }
}

/// Maximum length of a value in a map, in characters; larger than any property of AWS.
const MAX_MAP_VALUE_CHARS: usize = 65_536;

/// Reads a JSON list of objects with `read`. `path` is the location of the list for error messages.
pub(super) fn objects<'a, T>(
    path: &str,
    list: &'a Value,
    read: impl Fn(&Fields<'a>) -> Result<T, FieldError>,
) -> Result<Vec<T>, FieldError> {
    let name = if path.is_empty() { "body" } else { path };
    let Value::Array(items) = list else {
        return Err(FieldError::wrong_type(
            name.to_owned(),
            list,
            "a list of objects",
        ));
    };
    items
        .iter()
        .enumerate()
        .map(|(index, item)| read(&Fields::from_value(&format!("{path}[{index}]"), item)?))
        .collect()
}
