//! A serde deserializer over the tree. Fields report their errors here, so that reading goes on.

use super::error::At;
use super::field::FIELD;
use super::report::Report;
use super::tree::{Node, Value};
use super::value::ValueError;
use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{
    DeserializeSeed, Deserializer, Error, Expected, IntoDeserializer, SeqAccess, Unexpected,
    Visitor,
};
use serde::forward_to_deserialize_any;
use std::collections::HashSet;
use std::mem;

/// A key with a larger edit distance is not suggested.
const MAX_SUGGESTION_DISTANCE: usize = 2;

/// Reads one node.
#[derive(Clone)]
pub(super) struct Reader<'a> {
    pub(super) node: &'a Node,
    /// The path for messages, such as `scopes[2].regions[0]`; empty for the root.
    pub(super) path: String,
    /// Whether the node is below a key for secrets.
    pub(super) secret: bool,
    /// Whether no value or an empty text counts as absent.
    pub(super) may_be_absent: bool,
    pub(super) report: &'a Report,
}

impl<'a> Reader<'a> {
    /// Returns the entries of a map with unique keys. Reports all other keys, and those that are not in `allowed`.
    fn entries(
        &self,
        map: &'a [(impl AsRef<Node>, impl AsRef<Node>)],
        allowed: Option<&[&str]>,
    ) -> Vec<(&'a str, Self)> {
        let mut known = HashSet::new();
        let mut entries = Vec::new();
        for (key, value) in map {
            let (key, value) = (key.as_ref(), value.as_ref());
            let reject = |text: String| {
                let at = self.report.place(&self.path, key.location);
                self.report.error(at, text);
            };
            let Value::Scalar(name) = &key.value else {
                reject(format!("a key {}; allowed: text", key.kind()));
                continue;
            };
            if name == "<<" {
                reject("the merge key `<<` is not supported; copy its entries instead".to_owned());
            } else if let Some(allowed) = allowed
                && !allowed.contains(&name.as_str())
            {
                reject(format!(
                    "unknown key {}{} allowed: {}",
                    self.report.quote(name),
                    suggest(name, allowed),
                    allowed.join(", ")
                ));
            } else if !known.insert(name) {
                reject(format!("the key `{}` is set twice", name.escape_debug()));
            } else {
                let dot = if self.path.is_empty() { "" } else { "." };
                let path = format!("{}{dot}{}", self.path, name.escape_debug());
                let format = self.report.format;
                let reader = Self {
                    node: value,
                    path,
                    secret: self.secret || format.secret_keys.contains(&name.as_str()),
                    may_be_absent: format.empty_is_absent && allowed.is_some(),
                    report: self.report,
                };
                entries.push((name.as_str(), reader));
            }
        }
        entries
    }

    fn wrong_kind(&self, expected: &dyn Expected) -> ValueError {
        if self.may_be_absent && matches!(self.node.value, Value::Null) {
            return ValueError::absent();
        }
        ValueError::invalid_value(Unexpected::Other(self.node.kind()), expected)
    }

    fn report(&self, at: At, ValueError { why, allowed }: &ValueError) {
        let text = match &self.node.value {
            // The reason may contain a part of a secret that an alias repeats here.
            Value::Scalar(text) if !self.secret && self.report.is_secret(text) => {
                format!("`***` is not valid; allowed: {allowed}")
            }
            Value::Scalar(text) => {
                format!("{} {why}; allowed: {allowed}", self.report.quote(text))
            }
            _ => format!("{why}; allowed: {allowed}"),
        };
        self.report.error(at, text);
    }

    fn text(&self, expected: &dyn Expected) -> Result<&'a str, ValueError> {
        match &self.node.value {
            Value::Scalar(text) if text.is_empty() && self.may_be_absent => {
                Err(ValueError::absent())
            }
            Value::Scalar(text) => Ok(text),
            _ => Err(self.wrong_kind(expected)),
        }
    }
}

/// Returns the punctuation after an unknown key, with the allowed key that is most similar, if it is similar enough.
fn suggest(written: &str, allowed: &[&str]) -> String {
    let distances = allowed
        .iter()
        .filter(|_| written.len() <= 32)
        .map(|name| (strsim::levenshtein(written, name), name));
    match distances.min() {
        Some((distance, name)) if distance <= MAX_SUGGESTION_DISTANCE => {
            format!(", did you mean `{name}`?")
        }
        _ => ";".to_owned(),
    }
}

impl<'de> Deserializer<'de> for Reader<'_> {
    type Error = ValueError;

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        if name != FIELD {
            return visitor.visit_newtype_struct(self);
        }
        visitor.visit_seq(FieldParts {
            reader: self,
            next: Part::Value,
        })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        let Value::Map(map) = &self.node.value else {
            let keys = format!("a map with the keys {}", fields.join(", "));
            return Err(self.wrong_kind(&keys.as_str()));
        };
        let entries = self.entries(map, Some(fields));
        visitor.visit_map(MapDeserializer::new(entries.into_iter()))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        let Value::Map(map) = &self.node.value else {
            return Err(self.wrong_kind(&visitor));
        };
        let entries = self.entries(map, None);
        visitor.visit_map(MapDeserializer::new(entries.into_iter()))
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        let Value::List(list) = &self.node.value else {
            return Err(self.wrong_kind(&"a list `[…]`"));
        };
        let items = list.iter().enumerate().map(|(n, node)| Self {
            node,
            path: format!("{}[{n}]", self.path),
            may_be_absent: false,
            ..self
        });
        visitor.visit_seq(SeqDeserializer::new(items))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        let expected = variants.join(", ");
        let text = self.text(&expected.as_str())?;
        if variants.contains(&text) {
            visitor.visit_enum(text.into_deserializer())
        } else {
            let why = Unexpected::Other("is not valid");
            Err(ValueError::invalid_value(why, &expected.as_str()))
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        let text = self.text(&visitor)?;
        visitor.visit_str(text)
    }

    /// Accepts the words of YAML 1.1 too, which Go's and other tools write.
    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        let text = self.text(&"true or false")?;
        match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "y" => visitor.visit_bool(true),
            "false" | "no" | "off" | "n" => visitor.visit_bool(false),
            _ => Err(self.wrong_kind(&"true or false")),
        }
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        Err(self.wrong_kind(&visitor))
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char string bytes byte_buf option unit
        unit_struct tuple tuple_struct identifier ignored_any
    }
}

impl<'de> IntoDeserializer<'de, ValueError> for Reader<'_> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

enum Part {
    Value,
    Location(At),
    End,
}

/// The two parts of a [`super::field::Field`]: its value, left out if it is absent or invalid, and its location, left out if it is
/// absent. Reports an invalid value.
struct FieldParts<'a> {
    reader: Reader<'a>,
    next: Part,
}

impl<'de> SeqAccess<'de> for FieldParts<'_> {
    type Error = ValueError;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, ValueError> {
        match mem::replace(&mut self.next, Part::End) {
            Part::Value => {
                let reader = &self.reader;
                let at = reader.report.place(&reader.path, reader.node.location);
                let value = seed.deserialize(reader.clone());
                match &value {
                    Err(error) if error.is_absent() => return Ok(None),
                    Err(error) => reader.report(at, error),
                    Ok(_) => {}
                }
                self.next = Part::Location(at);
                Ok(value.ok())
            }
            Part::Location(At(at)) => seed.deserialize(at.into_deserializer()).map(Some),
            Part::End => Ok(None),
        }
    }
}
