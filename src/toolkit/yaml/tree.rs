//! Parses a YAML document to a tree that keeps duplicate keys and wrong types, and finds the location of a node.

use super::error::ConfigErrors;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_yaml::Location;
use std::cell::Cell;
use std::collections::HashSet;
use std::fmt;
use std::path::Path;

/// Limits aliases of aliases, which grow exponentially. A file of 1 MiB with distinct ARNs has a fifth of these nodes.
const MAX_NODES: usize = 100_000;
/// The parser would be busy with a file full of opening brackets for a quarter of an hour.
const MAX_OPEN_BRACKETS: usize = 128;

pub(super) struct Node {
    /// Counts the nodes in the order of the document, with aliases expanded.
    pub(super) number: usize,
    pub(super) value: Value,
}

pub(super) enum Value {
    Null,
    Bool(bool),
    /// A number, as Rust writes it (`0x10` is `16`).
    Number(String),
    Text(String),
    List(Vec<Node>),
    /// All entries in their order, including duplicate keys.
    Map(Vec<(Node, Node)>),
}

impl Value {
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Value::Null => "is empty",
            Value::Bool(_) => "is a boolean",
            Value::Number(_) => "is a number",
            Value::Text(_) => "is text",
            Value::List(_) => "is a list",
            Value::Map(_) => "is a map",
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Value::Null) || matches!(self, Value::Text(text) if text.is_empty())
    }

    pub(super) fn scalar(&self) -> Option<String> {
        match self {
            Value::Bool(value) => Some(value.to_string()),
            Value::Number(text) | Value::Text(text) => Some(text.clone()),
            Value::Null | Value::List(_) | Value::Map(_) => None,
        }
    }

    pub(super) fn find_secrets(&self, is_secret: bool, keys: &[&str], found: &mut HashSet<String>) {
        match self {
            Value::List(items) => {
                for item in items {
                    item.value.find_secrets(is_secret, keys, found);
                }
            }
            Value::Map(entries) => {
                for (key, node) in entries {
                    let is_key =
                        matches!(&key.value, Value::Text(name) if keys.contains(&name.as_str()));
                    node.value.find_secrets(is_secret || is_key, keys, found);
                }
            }
            scalar => found.extend(scalar.scalar().filter(|_| is_secret)),
        }
    }
}

pub(super) fn parse(text: &str, file: &Path) -> Result<Node, ConfigErrors> {
    let mut open_brackets: usize = 0;
    for byte in text.bytes() {
        match byte {
            b'[' | b'{' => open_brackets += 1,
            b']' | b'}' => open_brackets = open_brackets.saturating_sub(1),
            _ => {}
        }
        if open_brackets > MAX_OPEN_BRACKETS {
            let why = format!("more than {MAX_OPEN_BRACKETS} brackets are open at once");
            return Err(ConfigErrors::of_file(file, why));
        }
    }
    let mut documents = serde_yaml::Deserializer::from_str(text);
    let root = match documents.next() {
        Some(document) => Tree::new(&Cell::new(0), MAX_NODES)
            .deserialize(document)
            .map_err(|error| syntax_error(&error, text, file))?,
        None => Node {
            number: 0,
            value: Value::Null,
        },
    };
    let Some(second) = documents.next() else {
        return Ok(root);
    };
    let location = first_failure(second, 0);
    let text = "a second YAML document begins here; allowed: one document per file";
    Err(ConfigErrors::of_location(file, location.as_ref(), text))
}

/// Returns the location of a node of `text`, which [`parse`] has accepted. A node behind an alias has the location of its anchor.
pub(super) fn location(text: &str, number: usize) -> Option<Location> {
    first_failure(serde_yaml::Deserializer::from_str(text), number)
}

/// The parser tells a location only with an error, so this parses until the node and fails there.
fn first_failure(document: serde_yaml::Deserializer<'_>, number: usize) -> Option<Location> {
    let parsed = Tree::new(&Cell::new(0), number).deserialize(document);
    parsed.err()?.location()
}

fn syntax_error(error: &serde_yaml::Error, document: &str, file: &Path) -> ConfigErrors {
    let location = error.location();
    let mut text = error.to_string();
    let is_tab = |at: &Location| {
        let line = document.split('\n').nth(at.line().saturating_sub(1))?;
        Some(line.chars().nth(at.column().saturating_sub(1))? == '\t')
    };
    if text.contains("invalid value: ") || text.contains("invalid type: ") {
        // The parser prints the value for `!!int value`, which may be a secret.
        text = "a value does not match its YAML tag (`!…`); remove the tag".to_owned();
    } else if location.as_ref().and_then(is_tab) == Some(true) {
        text = "a tab is not allowed here; indent with spaces".to_owned();
    } else if let Some(at) = &location {
        let shown = format!(" at line {} column {}", at.line(), at.column());
        text = text.replacen(&shown, "", 1);
    }
    ConfigErrors::of_location(file, location.as_ref(), text)
}

/// Builds the next node. Fails at the node with the number `end`.
#[derive(Clone, Copy)]
struct Tree<'a> {
    next: &'a Cell<usize>,
    end: usize,
}

impl<'a> Tree<'a> {
    fn new(next: &'a Cell<usize>, end: usize) -> Self {
        Self { next, end }
    }

    fn begin<E: Error>(self) -> Result<usize, E> {
        let number = self.next.replace(self.next.get() + 1);
        if number < self.end {
            return Ok(number);
        }
        let why = "too many values; check for aliases that contain aliases";
        Err(E::custom(why))
    }

    fn scalar<E: Error>(self, value: Value) -> Result<Node, E> {
        let number = self.begin()?;
        Ok(Node { number, value })
    }
}

impl<'de> DeserializeSeed<'de> for Tree<'_> {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Tree<'_> {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    /// For an empty document.
    fn visit_none<E: Error>(self) -> Result<Node, E> {
        self.scalar(Value::Null)
    }

    fn visit_unit<E: Error>(self) -> Result<Node, E> {
        self.scalar(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Node, E> {
        self.scalar(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Node, E> {
        self.scalar(Value::Number(value.to_string()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Node, E> {
        self.scalar(Value::Number(value.to_string()))
    }

    fn visit_i128<E: Error>(self, value: i128) -> Result<Node, E> {
        self.scalar(Value::Number(value.to_string()))
    }

    fn visit_u128<E: Error>(self, value: u128) -> Result<Node, E> {
        self.scalar(Value::Number(value.to_string()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Node, E> {
        self.scalar(Value::Number(value.to_string()))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Node, E> {
        self.scalar(Value::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let number = self.begin()?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            list.push(item);
        }
        let value = Value::List(list);
        Ok(Node { number, value })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        let number = self.begin()?;
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry_seed(self, self)? {
            map.push(entry);
        }
        let value = Value::Map(map);
        Ok(Node { number, value })
    }
}
