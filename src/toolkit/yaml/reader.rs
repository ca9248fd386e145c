//! A serde deserializer over the tree. Fields report their errors here, so that reading goes on.

use super::field::At;
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
use std::{iter, mem};

/// A key with a larger edit distance is not suggested.
const MAX_SUGGESTION_DISTANCE: usize = 2;

#[derive(Clone)]
pub(super) struct Reader<'a> {
    node: &'a Node,
    path: String,
    report: &'a Report,
}

impl<'a> Reader<'a> {
    pub(super) fn new(node: &'a Node, path: String, report: &'a Report) -> Self {
        Self { node, path, report }
    }

    /// Returns the entries of a map with unique keys. Reports all other keys, and those that are not in `allowed`.
    fn entries(&self, map: &'a [(Node, Node)], allowed: Option<&[&str]>) -> Vec<(&'a str, Self)> {
        let format = self.report.format;
        let mut known = HashSet::new();
        let mut entries = Vec::new();
        for (key, node) in map {
            let reject = |text: String| {
                let at = self.report.place(&self.path, key);
                self.report.error(at, text);
            };
            let name = match &key.value {
                Value::Text(name) => name,
                // Of numbers, only integers keep their spelling: `1.10` becomes 1.1.
                Value::Number(name) if name.bytes().all(|byte| byte.is_ascii_digit()) => name,
                other => {
                    reject(format!("a key {}; allowed: text", other.kind()));
                    continue;
                }
            };
            let shown = name.escape_debug();
            match allowed {
                _ if name == "<<" => {
                    reject("the merge key `<<` is not supported; copy its entries instead".into());
                }
                Some(allowed) if !allowed.contains(&name.as_str()) => reject(format!(
                    "unknown key {}{} allowed: {}",
                    self.report.quote(name),
                    suggest(name, allowed),
                    allowed.join(", ")
                )),
                _ if !known.insert(name) => reject(format!("the key `{shown}` is set twice")),
                // The entries of a map without a fixed list of keys need a value.
                Some(_) if format.empty_is_absent && node.value.is_empty() => {}
                _ => {
                    let dot = if self.path.is_empty() { "" } else { "." };
                    let path = format!("{}{dot}{shown}", self.path);
                    entries.push((name.as_str(), Self::new(node, path, self.report)));
                }
            }
        }
        entries
    }

    fn wrong_kind(&self, expected: &dyn Expected) -> ValueError {
        ValueError::invalid_value(Unexpected::Other(self.node.value.kind()), expected)
    }

    fn scalar(&self, expected: &dyn Expected) -> Result<String, ValueError> {
        let scalar = self.node.value.scalar();
        scalar.ok_or_else(|| self.wrong_kind(expected))
    }

    fn error_text(&self, error: &ValueError) -> String {
        match self.node.value.scalar() {
            Some(text) => format!("{} {error}", self.report.quote(&text)),
            None => error.to_string(),
        }
    }
}

/// Returns the punctuation after an unknown key, with the most similar allowed key.
fn suggest(written: &str, allowed: &[&str]) -> String {
    // The comparison takes quadratic time.
    let written: String = written.chars().take(32).collect();
    let distance = |name: &&&str| strsim::levenshtein(&written, name);
    let closest = allowed.iter().min_by_key(distance);
    match closest.filter(|name| distance(name) <= MAX_SUGGESTION_DISTANCE) {
        Some(name) => format!(", did you mean `{name}`?"),
        None => ";".to_owned(),
    }
}

impl<'de> Deserializer<'de> for Reader<'_> {
    type Error = ValueError;

    /// Reads a [`super::field::Field`]. No other type asks for a newtype struct.
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        let at = self.report.place(&self.path, self.node);
        visitor.visit_seq(FieldParts {
            reader: self,
            at: at.0,
            read_location: false,
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

    /// Reads a struct that `true` and `false` switch on and off: `true` is short for a map without keys.
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match self.node.value {
            Value::Bool(false) => visitor.visit_none(),
            Value::Bool(true) => {
                let no_entries = iter::empty::<(&str, Self)>();
                visitor.visit_some(MapDeserializer::new(no_entries))
            }
            _ => visitor.visit_some(self).map_err(|error| ValueError {
                allowed: format!("true, false, or {}", error.allowed),
                ..error
            }),
        }
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
        let items = list.iter().enumerate().map(|(n, node)| {
            let path = format!("{}[{n}]", self.path);
            Self::new(node, path, self.report)
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
        let text = self.scalar(&expected.as_str())?;
        if variants.contains(&text.as_str()) {
            visitor.visit_enum(text.into_deserializer())
        } else {
            let why = Unexpected::Other("is not valid");
            Err(ValueError::invalid_value(why, &expected.as_str()))
        }
    }

    /// Rejects numbers and booleans that would be valid texts: YAML does not keep how they were written (`010` is 8).
    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        let expected = (&visitor as &dyn Expected).to_string();
        let text = self.scalar(&visitor)?;
        let value = visitor.visit_str(&text)?;
        if matches!(self.node.value, Value::Text(_)) {
            return Ok(value);
        }
        let why = format!("{}, not text; put it in quotes", self.node.value.kind());
        let why = Unexpected::Other(&why);
        Err(ValueError::invalid_value(why, &expected.as_str()))
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        if let Value::Number(text) = &self.node.value
            && let Ok(number) = text.parse()
        {
            return visitor.visit_u32(number);
        }
        Err(self.wrong_kind(&visitor))
    }

    /// Accepts the words of YAML 1.1 too, which Go's and other tools write.
    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        let text = self.scalar(&"true or false")?;
        match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "y" => visitor.visit_bool(true),
            "false" | "no" | "off" | "n" => visitor.visit_bool(false),
            _ => Err(self.wrong_kind(&"true or false")),
        }
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        let text = self.scalar(&visitor)?;
        visitor.visit_str(&text)
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u64 u128 f32 f64 char string bytes byte_buf unit
        unit_struct tuple tuple_struct identifier ignored_any
    }
}

impl<'de> IntoDeserializer<'de, ValueError> for Reader<'_> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// Gives a field its location and then its value. Reports an invalid value and leaves it out.
struct FieldParts<'a> {
    reader: Reader<'a>,
    at: usize,
    read_location: bool,
}

impl<'de> SeqAccess<'de> for FieldParts<'_> {
    type Error = ValueError;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, ValueError> {
        if !mem::replace(&mut self.read_location, true) {
            return seed.deserialize(self.at.into_deserializer()).map(Some);
        }
        let value = seed.deserialize(self.reader.clone());
        if let Err(error) = &value {
            let text = self.reader.error_text(error);
            self.reader.report.error(At(self.at), text);
        }
        Ok(value.ok())
    }
}
