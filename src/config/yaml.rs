//! Parses a YAML document to a tree for error messages: it keeps duplicate keys and wrong types, and can find the location of each node.

use std::cell::Cell;
use std::fmt;

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, IgnoredAny, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};

use super::error::{ConfigError, Location};

/// Limits aliases of aliases, which grow exponentially. A file of 1 MiB with distinct ARNs has a fiftieth of these nodes.
const MAX_NODES: usize = 1_000_000;

/// The time of the parser is quadratic in the depth of brackets. A configuration has a depth of 4.
const MAX_BRACKET_DEPTH: usize = 128;

/// A value of the document.
#[derive(Debug, PartialEq)]
pub(crate) enum Node {
    Null,
    Bool(bool),
    /// A number, as Rust writes it (`0x10` is `16`).
    Number(String),
    Text(String),
    List(Vec<Node>),
    /// All entries in their order, including duplicate keys.
    Map(Vec<(Node, Node)>),
    /// A value with a custom tag (`!name`), which is not valid for any key.
    Tagged,
}

impl Node {
    /// Returns the name of this kind of value for messages.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Node::Null => "null",
            Node::Bool(_) => "a boolean",
            Node::Number(_) => "a number",
            Node::Text(_) => "text",
            Node::List(_) => "a list",
            Node::Map(_) => "a map",
            Node::Tagged => "a value with a tag",
        }
    }

    /// Returns the text of a boolean, number or text.
    pub(crate) fn scalar(&self) -> Option<String> {
        match self {
            Node::Bool(value) => Some(value.to_string()),
            Node::Number(text) | Node::Text(text) => Some(text.clone()),
            Node::Null | Node::List(_) | Node::Map(_) | Node::Tagged => None,
        }
    }
}

/// The path to a node of the document.
#[derive(Clone, Debug, Default)]
pub(crate) struct NodePath {
    /// The path for messages, such as `scopes[2].regions[0]`; empty for the root.
    pub(crate) path: String,
    steps: Vec<usize>,
    key: bool,
}

impl NodePath {
    /// Returns the path to the n-th element of this list.
    pub(crate) fn item(&self, n: usize) -> NodePath {
        self.down(n, format!("{}[{n}]", self.path))
    }

    /// Returns the path to the value of this map's n-th entry, which has the key `key`.
    pub(crate) fn entry(&self, n: usize, key: &str) -> NodePath {
        let dot = if self.path.is_empty() { "" } else { "." };
        self.down(n, format!("{}{dot}{key}", self.path))
    }

    /// Returns the path to the key of this map's n-th entry. Messages show the path of the map, because the key itself is invalid.
    pub(crate) fn key(&self, n: usize) -> NodePath {
        NodePath {
            key: true,
            ..self.down(n, self.path.clone())
        }
    }

    fn down(&self, n: usize, path: String) -> NodePath {
        let mut steps = self.steps.clone();
        steps.push(n);
        NodePath {
            path,
            steps,
            key: false,
        }
    }
}

/// Parses the single document in `text`; an empty text is `Null`.
///
/// # Errors
/// If the text is not YAML, has a second document, or expands to too many nodes.
pub(crate) fn parse(text: &str) -> Result<Node, ConfigError> {
    if let Some((at, forbidden)) = text.char_indices().find(|(_, c)| unprintable(*c)) {
        return Err(ConfigError {
            location: Some(location_of_byte(text, at)),
            ..ConfigError::whole_file(format!(
                "the character U+{:04X} is not allowed in YAML",
                u32::from(forbidden)
            ))
        });
    }
    if let Some((at, reason)) = find_slow_construct(text) {
        return Err(ConfigError {
            location: Some(location_of_byte(text, at)),
            ..ConfigError::whole_file(reason)
        });
    }
    let mut documents = serde_yaml::Deserializer::from_str(text);
    let left = Cell::new(MAX_NODES);
    let root = match documents.next() {
        Some(document) => Tree { left: &left }
            .deserialize(document)
            .map_err(|e| failure(&e, text))?,
        None => Node::Null,
    };
    match documents.next() {
        None => Ok(root),
        Some(second) => Err(ConfigError {
            location: FailAt(&NodePath::default(), 0)
                .deserialize(second)
                .err()
                .and_then(|e| location_of(&e)),
            ..ConfigError::whole_file(
                "a second YAML document begins here; allowed: one document per file",
            )
        }),
    }
}

/// Returns the location of `at` in `text`, which must be valid. A node behind an alias has the location of its anchor.
pub(crate) fn location(text: &str, at: &NodePath) -> Option<Location> {
    // The parser reports the location where a visitor fails, so this visitor fails at the node.
    let document = serde_yaml::Deserializer::from_str(text);
    location_of(&FailAt(at, 0).deserialize(document).err()?)
}

/// Returns the location of the byte at `index`, or of the end.
pub(crate) fn location_of_byte(text: &str, index: usize) -> Location {
    let before = text.get(..index).unwrap_or(text);
    let line = before.rsplit('\n').next().unwrap_or(before);
    Location {
        line: before.matches('\n').count() + 1,
        column: line.chars().count() + 1,
    }
}

fn location_of(error: &serde_yaml::Error) -> Option<Location> {
    error.location().map(|location| Location {
        line: location.line(),
        column: location.column(),
    })
}

/// Returns whether YAML forbids the character. The parser checks it too, but reports a byte offset instead of a line.
fn unprintable(c: char) -> bool {
    (c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{85}'))
        || matches!(c, '\u{FFFE}' | '\u{FFFF}')
}

/// Finds constructs for which the parser needs quadratic time. Counts brackets in quotes and comments too, because only a parser can
/// recognize them.
fn find_slow_construct(text: &str) -> Option<(usize, String)> {
    let mut depth = 0_usize;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'%' if text[at..].starts_with("%TAG") && (at == 0 || text[..at].ends_with('\n')) => {
                return Some((at, "a `%TAG` directive is not supported".to_owned()));
            }
            _ => {}
        }
        if depth > MAX_BRACKET_DEPTH {
            let reason = format!(
                "brackets are nested too deeply; allowed: {MAX_BRACKET_DEPTH} levels of `[` and `{{`"
            );
            return Some((at, reason));
        }
    }
    None
}

fn failure(error: &serde_yaml::Error, document: &str) -> ConfigError {
    let location = location_of(error);
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
    ConfigError {
        location,
        ..ConfigError::whole_file(text)
    }
}

/// Builds a `Node`, and counts down the nodes of the whole document.
#[derive(Clone, Copy)]
struct Tree<'a> {
    left: &'a Cell<usize>,
}

impl<'de> DeserializeSeed<'de> for Tree<'_> {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        match self.left.get().checked_sub(1) {
            Some(left) => self.left.set(left),
            None => {
                return Err(D::Error::custom(
                    "too many values; check for aliases that contain aliases",
                ));
            }
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Tree<'_> {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Number(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Number(value.to_string()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Node, E> {
        Ok(Node::Number(value.to_string()))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Node, E> {
        Ok(Node::Number(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Number(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            list.push(item);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry_seed(self, self)? {
            map.push(entry);
        }
        Ok(Node::Map(map))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, tagged: A) -> Result<Node, A::Error> {
        let (IgnoredAny, value) = tagged.variant()?;
        value.newtype_variant::<IgnoredAny>()?;
        Ok(Node::Tagged)
    }
}

/// Follows a path, of which a number of steps is done, and fails at its end.
struct FailAt<'a>(&'a NodePath, usize);

impl FailAt<'_> {
    fn next(&self) -> Option<usize> {
        self.0.steps.get(self.1).copied()
    }

    fn further(&self) -> Self {
        FailAt(self.0, self.1 + 1)
    }
}

impl<'de> DeserializeSeed<'de> for FailAt<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

/// The default methods fail for scalars, which can only be the end of a path.
impl<'de> Visitor<'de> for FailAt<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("something else")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let Some(step) = self.next() else {
            return Err(A::Error::custom("here"));
        };
        for _ in 0..step {
            items.next_element::<IgnoredAny>()?;
        }
        items.next_element_seed(self.further()).map(|_| ())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let Some(step) = self.next() else {
            return Err(A::Error::custom("here"));
        };
        for _ in 0..step {
            entries.next_entry::<IgnoredAny, IgnoredAny>()?;
        }
        let further = self.further();
        if self.0.key && further.next().is_none() {
            return entries.next_key_seed(further).map(|_| ());
        }
        entries.next_key::<IgnoredAny>()?;
        entries.next_value_seed(further)
    }
}
