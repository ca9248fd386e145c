//! Parses a YAML document to a tree that keeps duplicate keys and wrong types, and finds the location of a node.

use super::error::{Location, SyntaxError};
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, IgnoredAny, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};
use std::cell::Cell;
use std::collections::HashSet;
use std::fmt;

/// Limits aliases of aliases, which grow exponentially. A file of 1 MiB with distinct ARNs has a fifth of these nodes.
const MAX_NODES: usize = 100_000;

/// The time of the parser is quadratic in the depth of brackets. A configuration has a depth of 4.
const MAX_BRACKET_DEPTH: usize = 128;

/// A value of the document.
#[derive(Debug)]
pub(super) struct Node {
    /// Counts the nodes in the order of the document, aliases expanded.
    pub(super) number: usize,
    pub(super) value: Value,
}

#[derive(Debug)]
pub(super) enum Value {
    Null,
    Bool(bool),
    /// A number, as Rust writes it (`0x10` is `16`).
    Number(String),
    Text(String),
    List(Vec<Node>),
    /// All entries in their order, including duplicate keys.
    Map(Vec<(Node, Node)>),
    /// A value with a tag (`!name`), which is not valid for any key.
    Tagged,
}

impl Value {
    /// Returns what a value of this kind is, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Value::Null => "is empty",
            Value::Bool(_) => "is a boolean",
            Value::Number(_) => "is a number",
            Value::Text(_) => "is text",
            Value::List(_) => "is a list",
            Value::Map(_) => "is a map",
            Value::Tagged => "has a YAML tag (`!…`), which is not supported",
        }
    }

    /// Returns true if Go reads the value as if the key were absent.
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Value::Null => true,
            Value::Text(text) => text.is_empty(),
            Value::Bool(_) | Value::Number(_) | Value::List(_) | Value::Map(_) | Value::Tagged => {
                false
            }
        }
    }

    pub(super) fn scalar(&self) -> Option<String> {
        match self {
            Value::Bool(value) => Some(value.to_string()),
            Value::Number(text) | Value::Text(text) => Some(text.clone()),
            Value::Null | Value::List(_) | Value::Map(_) | Value::Tagged => None,
        }
    }

    /// Adds the texts below one of `keys` to `secrets`.
    pub(super) fn find_secrets(
        &self,
        is_secret: bool,
        keys: &[&str],
        secrets: &mut HashSet<String>,
    ) {
        match self {
            Value::List(items) => {
                for item in items {
                    item.value.find_secrets(is_secret, keys, secrets);
                }
            }
            Value::Map(entries) => {
                for (key, node) in entries {
                    let is_key =
                        matches!(&key.value, Value::Text(name) if keys.contains(&name.as_str()));
                    node.value.find_secrets(is_secret || is_key, keys, secrets);
                }
            }
            scalar => secrets.extend(scalar.scalar().filter(|_| is_secret)),
        }
    }
}

/// Parses the single document in `text`; an empty text is `Null`.
///
/// # Errors
/// If the text is not YAML, has a second document, or expands to too many nodes.
pub(super) fn parse(text: &str) -> Result<Node, SyntaxError> {
    if let Some((at, why)) = find_unsupported(text) {
        return Err(SyntaxError {
            location: Some(Location::of_byte(text, at)),
            text: why,
        });
    }
    let mut documents = serde_yaml::Deserializer::from_str(text);
    let root = match documents.next() {
        Some(document) => Tree::new(&Cell::new(0), MAX_NODES)
            .deserialize(document)
            .map_err(|error| syntax_error(&error, text))?,
        None => Node {
            number: 0,
            value: Value::Null,
        },
    };
    match documents.next() {
        None => Ok(root),
        Some(second) => Err(SyntaxError {
            location: first_failure(second, 0),
            text: "a second YAML document begins here; allowed: one document per file".to_owned(),
        }),
    }
}

/// Returns the location of a node of `text`, which [`parse`] has accepted. A node behind an alias has the location of its anchor.
pub(super) fn location(text: &str, number: usize) -> Option<Location> {
    first_failure(serde_yaml::Deserializer::from_str(text), number)
}

/// The parser tells a location only with an error, so this parses until the node and fails there.
fn first_failure(document: serde_yaml::Deserializer<'_>, number: usize) -> Option<Location> {
    let parsed = Tree::new(&Cell::new(0), number).deserialize(document);
    Location::of_error(&parsed.err()?)
}

/// Finds what the parser reports without a line, and constructs for which it needs quadratic time. Counts brackets in quotes and
/// comments too, because only a parser can recognize them.
fn find_unsupported(text: &str) -> Option<(usize, String)> {
    let mut depth = 0_usize;
    for (at, c) in text.char_indices() {
        let is_control = c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{85}');
        if is_control || matches!(c, '\u{FFFE}' | '\u{FFFF}') {
            let code = u32::from(c);
            return Some((
                at,
                format!("the character U+{code:04X} is not allowed in YAML"),
            ));
        }
        match c {
            '[' | '{' => depth += 1,
            ']' | '}' => depth = depth.saturating_sub(1),
            '%' if text[at..].starts_with("%TAG") && (at == 0 || text[..at].ends_with('\n')) => {
                return Some((at, "a `%TAG` directive is not supported".to_owned()));
            }
            _ => {}
        }
        if depth > MAX_BRACKET_DEPTH {
            let levels = format!("allowed: {MAX_BRACKET_DEPTH} levels of `[` and `{{`");
            return Some((at, format!("brackets are nested too deeply; {levels}")));
        }
    }
    None
}

fn syntax_error(error: &serde_yaml::Error, document: &str) -> SyntaxError {
    let location = Location::of_error(error);
    let mut text = error.to_string();
    let is_tab = |location: Location| {
        let line = document.split('\n').nth(location.line.saturating_sub(1))?;
        Some(line.chars().nth(location.column.saturating_sub(1))? == '\t')
    };
    if text.contains("invalid value: ") || text.contains("invalid type: ") {
        // The parser prints the value for `!!int value`, which may be a secret.
        text = "a value does not match its YAML tag (`!!…`); remove the tag".to_owned();
    } else if location.and_then(is_tab) == Some(true) {
        text = "a tab is not allowed here; indent with spaces".to_owned();
    } else if let Some(Location { line, column }) = location {
        text = text.replacen(&format!(" at line {line} column {column}"), "", 1);
    }
    SyntaxError { location, text }
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
            Ok(number)
        } else {
            Err(E::custom(
                "too many values; check for aliases that contain aliases",
            ))
        }
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

    fn visit_enum<A: EnumAccess<'de>>(self, tagged: A) -> Result<Node, A::Error> {
        let number = self.begin()?;
        let (IgnoredAny, value) = tagged.variant()?;
        value.newtype_variant::<IgnoredAny>()?;
        let value = Value::Tagged;
        Ok(Node { number, value })
    }
}
