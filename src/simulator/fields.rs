//! Reads the members of a JSON object and says exactly what is wrong with one: field, value, what
//! is allowed. Knows neither the wire nor the account. serde's own errors do not name the field.

use std::fmt;
use std::ops::RangeInclusive;

use serde_json::{Map, Value};

/// Longest excerpt of a refused value in a message: the value can be as large as the body.
const SHOWN_CHARS: usize = 80;

/// Why a member was refused. Its text names the field, the value and what is allowed.
#[derive(Debug)]
pub(super) struct FieldError {
    pub field: String,
    /// The JSON type is wrong, not the value: AWS answers these two with different errors.
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
    /// `found` is the refused value, `None` when there is none.
    pub fn new(
        field: impl Into<String>,
        found: Option<&Value>,
        allowed: impl Into<String>,
    ) -> Self {
        let value = match found.map(Value::to_string) {
            None => "no value".to_owned(),
            Some(text) if text.chars().count() <= SHOWN_CHARS => text,
            Some(text) => text.chars().take(SHOWN_CHARS).chain("…".chars()).collect(),
        };
        Self {
            field: field.into(),
            wrong_type: false,
            value,
            allowed: allowed.into(),
        }
    }

    fn of_type(field: String, found: &Value, allowed: &str) -> Self {
        Self {
            wrong_type: true,
            ..Self::new(field, Some(found), allowed)
        }
    }
}

/// A JSON object being read. A member that is `null` counts as absent, as it does for AWS.
pub(super) struct Fields<'a> {
    path: String,
    members: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    /// `path` is where `value` stands, for messages: empty for a whole body.
    pub fn of(path: &str, value: &'a Value) -> Result<Self, FieldError> {
        let name = if path.is_empty() { "body" } else { path };
        match value {
            Value::Object(members) => Ok(Self {
                path: path.to_owned(),
                members,
            }),
            other => Err(FieldError::of_type(name.to_owned(), other, "an object")),
        }
    }

    /// Refuses any member that is not in `names`: a misspelt one would otherwise do nothing,
    /// silently.
    pub fn only(&self, names: &[&str]) -> Result<(), FieldError> {
        match self
            .members
            .iter()
            .find(|(name, _)| !names.contains(&name.as_str()))
        {
            None => Ok(()),
            Some((name, value)) => Err(FieldError::new(
                self.name(name),
                Some(value),
                format!("only the fields {}", names.join(", ")),
            )),
        }
    }

    /// The member's full name, for messages.
    pub fn name(&self, name: &str) -> String {
        if self.path.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.path)
        }
    }

    pub fn value(&self, name: &str) -> Option<&'a Value> {
        self.members.get(name).filter(|value| !value.is_null())
    }

    /// A text whose length in characters lies in `length`.
    pub fn text(
        &self,
        name: &str,
        length: RangeInclusive<usize>,
    ) -> Result<Option<String>, FieldError> {
        let allowed = || {
            format!(
                "a text of {} to {} characters",
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
                Err(FieldError::new(self.name(name), Some(found), allowed()))
            }
            Some(found) => Err(FieldError::of_type(self.name(name), found, &allowed())),
        }
    }

    /// As `text`, but it must be there.
    pub fn required_text(
        &self,
        name: &str,
        length: RangeInclusive<usize>,
    ) -> Result<String, FieldError> {
        let allowed = format!(
            "a text of {} to {} characters",
            length.start(),
            length.end()
        );
        self.text(name, length)?
            .ok_or_else(|| FieldError::new(self.name(name), None, allowed))
    }

    pub fn flag(&self, name: &str) -> Result<Option<bool>, FieldError> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(found) => Err(FieldError::of_type(self.name(name), found, "true or false")),
        }
    }

    /// A whole number in `range`.
    pub fn whole(&self, name: &str, range: RangeInclusive<u32>) -> Result<Option<u32>, FieldError> {
        let allowed = format!("a whole number from {} to {}", range.start(), range.end());
        let Some(found) = self.value(name) else {
            return Ok(None);
        };
        if !found.is_i64() && !found.is_u64() {
            return Err(FieldError::of_type(self.name(name), found, &allowed));
        }
        match found
            .as_u64()
            .and_then(|number| u32::try_from(number).ok())
            .filter(|number| range.contains(number))
        {
            Some(number) => Ok(Some(number)),
            None => Err(FieldError::new(self.name(name), Some(found), allowed)),
        }
    }

    /// Epoch seconds; a fraction is allowed.
    pub fn epoch_seconds(&self, name: &str) -> Result<Option<f64>, FieldError> {
        match self.value(name).map(|found| (found, found.as_f64())) {
            None => Ok(None),
            Some((_, Some(seconds))) => Ok(Some(seconds)),
            Some((found, None)) => Err(FieldError::of_type(
                self.name(name),
                found,
                "epoch seconds as a number",
            )),
        }
    }

    /// A nested object.
    pub fn object(&self, name: &str) -> Result<Option<Fields<'a>>, FieldError> {
        self.value(name)
            .map(|value| Fields::of(&self.name(name), value))
            .transpose()
    }

    /// A nested object of which every member is a text, such as a map of properties.
    pub fn texts(&self, name: &str) -> Result<Option<Vec<(String, String)>>, FieldError> {
        let Some(object) = self.object(name)? else {
            return Ok(None);
        };
        let read = |key: &String| Ok((key.clone(), object.required_text(key, 0..=MAX_MAP_TEXT)?));
        object
            .members
            .keys()
            .map(read)
            .collect::<Result<_, _>>()
            .map(Some)
    }

    /// A list of objects, each given to `read`.
    pub fn objects<T>(
        &self,
        name: &str,
        read: impl Fn(&Fields<'a>) -> Result<T, FieldError>,
    ) -> Result<Option<Vec<T>>, FieldError> {
        self.value(name)
            .map(|list| objects(&self.name(name), list, read))
            .transpose()
    }
}

/// Values of free maps: larger than any property of AWS, smaller than a nuisance.
const MAX_MAP_TEXT: usize = 65_536;

/// Reads a JSON list of objects, each with `read`; `path` is where the list stands, for messages.
pub(super) fn objects<'a, T>(
    path: &str,
    list: &'a Value,
    read: impl Fn(&Fields<'a>) -> Result<T, FieldError>,
) -> Result<Vec<T>, FieldError> {
    let name = if path.is_empty() { "body" } else { path };
    let Value::Array(items) = list else {
        return Err(FieldError::of_type(
            name.to_owned(),
            list,
            "a list of objects",
        ));
    };
    items
        .iter()
        .enumerate()
        .map(|(index, item)| read(&Fields::of(&format!("{path}[{index}]"), item)?))
        .collect()
}
