//! The types of the keys in a configuration's structs.

use super::value::Checked;
use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Unexpected, Visitor};
use std::fmt;
use std::marker::PhantomData;

/// A value of the file. The report knows its path and its location.
#[derive(Clone, Copy)]
pub(crate) struct At(pub(super) usize);

/// The value of a key: absent, invalid (the error is already reported), or valid with its location.
#[derive(Default)]
pub(crate) enum Field<T> {
    #[default]
    Absent,
    Invalid,
    Valid(T, At),
}

pub(crate) type Value<T> = Field<Parsed<T>>;

impl<T> Field<T> {
    pub(crate) fn valid(self) -> Option<T> {
        self.located().map(|(value, _)| value)
    }

    pub(crate) fn as_valid(&self) -> Option<(&T, At)> {
        match self {
            Field::Valid(value, at) => Some((value, *at)),
            Field::Absent | Field::Invalid => None,
        }
    }

    pub(crate) fn located(self) -> Option<(T, At)> {
        match self {
            Field::Valid(value, at) => Some((value, at)),
            Field::Absent | Field::Invalid => None,
        }
    }

    /// Returns the default if the key is absent, and `None` if it is invalid.
    pub(crate) fn located_or(self, default: T, default_at: At) -> Option<(T, At)> {
        if self.is_absent() {
            return Some((default, default_at));
        }
        self.located()
    }

    pub(crate) fn at(&self) -> Option<At> {
        self.as_valid().map(|(_, at)| at)
    }

    pub(crate) fn is_absent(&self) -> bool {
        matches!(self, Field::Absent)
    }

    pub(crate) fn or<'a>(&'a self, parent: &'a Self) -> &'a Self {
        if self.is_absent() { parent } else { self }
    }
}

impl<T> Value<T> {
    pub(crate) fn parsed(self) -> Option<T> {
        self.valid().map(|Parsed(value)| value)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Field<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct("Field", FieldVisitor(PhantomData))
    }
}

struct FieldVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for FieldVisitor<T> {
    type Value = Field<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Field<T>, A::Error> {
        let at = At(parts.next_element()?.unwrap_or_default());
        let value = parts.next_element()?;
        Ok(value.map_or(Field::Invalid, |value| Field::Valid(value, at)))
    }
}

/// A value whose type parses it from a text.
pub(crate) struct Parsed<T>(pub(crate) T);

impl<'de, T: Checked> Deserialize<'de> for Parsed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let visitor = ParsedVisitor(PhantomData);
        if T::MAY_BE_NUMBER {
            deserializer.deserialize_any(visitor)
        } else {
            deserializer.deserialize_str(visitor)
        }
    }
}

struct ParsedVisitor<T>(PhantomData<T>);

impl<T: Checked> Visitor<'_> for ParsedVisitor<T> {
    type Value = Parsed<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTED)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Parsed<T>, E> {
        let parsed = text.parse::<T>().map(Parsed);
        parsed.map_err(|error| E::invalid_value(Unexpected::Other(&error.why), &self))
    }
}

pub(crate) struct Whole<T, const MIN: u32, const MAX: u32>(pub(crate) T);

impl<'de, T, const MIN: u32, const MAX: u32> Deserialize<'de> for Whole<T, MIN, MAX>
where
    T: TryFrom<u32>,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if let Ok(number) = u32::deserialize(deserializer)
            && (MIN..=MAX).contains(&number)
            && let Ok(number) = T::try_from(number)
        {
            return Ok(Whole(number));
        }
        let expected = format!("a whole number from {MIN} to {MAX}");
        let why = Unexpected::Other("is not valid");
        Err(D::Error::invalid_value(why, &expected.as_str()))
    }
}

/// The valid elements of a list, with their locations. If the key is absent, the list is empty.
pub(crate) struct List<T> {
    pub(crate) at: Option<At>,
    pub(crate) items: Vec<(T, At)>,
    /// Whether any element or the list itself is invalid.
    pub(crate) has_errors: bool,
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self {
            at: None,
            items: Vec::new(),
            has_errors: false,
        }
    }
}

impl<T> List<T> {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.items.iter().map(|(value, _)| value)
    }

    /// Returns whether the list has no elements, valid or not.
    pub(crate) fn is_empty(&self) -> bool {
        self.items.is_empty() && !self.has_errors
    }

    pub(crate) fn is_absent(&self) -> bool {
        self.at.is_none() && !self.has_errors
    }

    pub(crate) fn values(self) -> Vec<T> {
        self.items.into_iter().map(|(value, _)| value).collect()
    }
}

impl<'de, T: Checked> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let field = Field::<Vec<Value<T>>>::deserialize(deserializer)?;
        let mut list = List {
            at: field.at(),
            has_errors: matches!(field, Field::Invalid),
            ..List::default()
        };
        for item in field.valid().unwrap_or_default() {
            match item {
                Field::Valid(Parsed(value), at) => list.items.push((value, at)),
                Field::Absent | Field::Invalid => list.has_errors = true,
            }
        }
        Ok(list)
    }
}
