//! Reads single values from the tree and collects an error for each invalid one: location, value and allowed values.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

use super::secret::Secrets;
use super::value::{Checked, ValueError};
use super::yaml::{Node, NodePath};

/// The error for the merge key of YAML 1.1, which copies the entries of another map.
pub(crate) const MERGE_KEY: &str = "the merge key `<<` is not supported; copy its entries instead";

/// A key with a larger edit distance is not suggested.
const MAX_SUGGESTION_DISTANCE: usize = 2;

/// Longer values are cut in messages.
const MAX_SHOWN_CHARACTERS: usize = 120;

/// The value of a key: absent, invalid (the error is already collected), or valid with its location.
#[derive(Default)]
pub(crate) enum Field<T> {
    #[default]
    Absent,
    Invalid,
    Valid(T, NodePath),
}

impl<T> Field<T> {
    pub(crate) fn valid(self) -> Option<T> {
        match self {
            Field::Valid(value, _) => Some(value),
            Field::Absent | Field::Invalid => None,
        }
    }

    /// Returns this field, or `parent` if it is absent.
    pub(crate) fn or_inherited<'a>(&'a self, parent: &'a Field<T>) -> &'a Field<T> {
        match self {
            Field::Absent => parent,
            Field::Invalid | Field::Valid(..) => self,
        }
    }

    pub(crate) fn as_valid(&self) -> Option<&T> {
        match self {
            Field::Valid(value, _) => Some(value),
            Field::Absent | Field::Invalid => None,
        }
    }
}

/// The valid elements of a list, with their locations. If the key is absent, the list is empty and complete.
pub(crate) struct List<T> {
    /// The location of the list, if the key is present.
    pub(crate) at: Option<NodePath>,
    pub(crate) items: Vec<(T, NodePath)>,
    /// Whether every element was valid.
    pub(crate) complete: bool,
}

impl<T> Default for List<T> {
    fn default() -> Self {
        List {
            at: None,
            items: Vec::new(),
            complete: true,
        }
    }
}

impl<T> List<T> {
    /// Converts the elements.
    pub(crate) fn map<U>(self, value: impl Fn(T) -> U) -> List<U> {
        let items = self.items.into_iter();
        List {
            at: self.at,
            items: items.map(|(old, at)| (value(old), at)).collect(),
            complete: self.complete,
        }
    }

    pub(crate) fn values(self) -> Vec<T> {
        self.items.into_iter().map(|(value, _)| value).collect()
    }
}

/// The entries of a map with known, unique keys.
pub(crate) struct Section<'n> {
    pub(crate) at: NodePath,
    entries: Vec<(&'static str, usize, &'n Node)>,
}

impl<'n> Section<'n> {
    /// Returns the value of `key` and its location. The value may be null.
    pub(crate) fn get(&self, key: &str) -> Option<(&'n Node, NodePath)> {
        self.entries
            .iter()
            .find(|(name, _, _)| *name == key)
            .map(|(_, n, node)| (*node, self.at.entry(*n, key)))
    }
}

/// Reads a whole document and collects all errors.
pub(crate) struct Reader {
    pub(crate) errors: Vec<(NodePath, String)>,
    secrets: Secrets,
}

impl Reader {
    pub(crate) fn new(secrets: Secrets) -> Self {
        Reader {
            errors: Vec::new(),
            secrets,
        }
    }

    pub(crate) fn error(&mut self, at: &NodePath, text: impl Into<String>) {
        self.errors.push((at.clone(), text.into()));
    }

    /// Quotes `text` in backticks, on one line and cut to a maximum length; a secret becomes `***`.
    pub(crate) fn quote(&self, text: &str) -> String {
        if self.secrets.contains(text) {
            return "`***`".to_owned();
        }
        let mut shown = String::from("`");
        for c in text.chars().take(MAX_SHOWN_CHARACTERS) {
            match c {
                '"' | '\'' | '\\' => shown.push(c),
                c => shown.extend(c.escape_debug()),
            }
        }
        if text.chars().nth(MAX_SHOWN_CHARACTERS).is_some() {
            shown.push('…');
        }
        shown + "`"
    }

    /// Returns the entries of the map at `at`. Reports and skips unknown and duplicate keys.
    pub(crate) fn section<'n>(
        &mut self,
        node: &'n Node,
        at: &NodePath,
        allowed: &'static [&'static str],
    ) -> Option<Section<'n>> {
        let Node::Map(map) = node else {
            let keys = allowed.join(", ");
            self.wrong_kind(node, at, &format!("a map with the keys {keys}"));
            return None;
        };
        let mut entries: Vec<(&'static str, usize, &Node)> = Vec::new();
        for (n, (key, value)) in map.iter().enumerate() {
            let known = match key {
                Node::Text(text) => allowed.iter().find(|name| **name == text),
                _ => None,
            };
            match known {
                Some(name) if entries.iter().any(|(seen, _, _)| seen == name) => {
                    self.error(&at.key(n), format!("the key `{name}` is set twice"));
                }
                Some(name) => entries.push((name, n, value)),
                None => {
                    let text = self.unknown_key(key, allowed);
                    self.error(&at.key(n), text);
                }
            }
        }
        Some(Section {
            at: at.clone(),
            entries,
        })
    }

    fn unknown_key(&self, key: &Node, allowed: &[&'static str]) -> String {
        let keys = allowed.join(", ");
        let Some(written) = key.scalar() else {
            return format!("a key is {}; allowed: {keys}", key.kind());
        };
        if written == "<<" {
            return MERGE_KEY.to_owned();
        }
        let meant = match suggest(&written, allowed) {
            Some(name) => format!(", did you mean `{name}`?"),
            None => ";".to_owned(),
        };
        format!(
            "unknown key {}{meant} allowed: {keys}",
            self.quote(&written)
        )
    }

    /// Returns the elements of the list at `at`; `what` describes the list for the error message.
    pub(crate) fn items<'n>(
        &mut self,
        node: &'n Node,
        at: &NodePath,
        what: &str,
    ) -> Option<&'n [Node]> {
        match node {
            Node::List(items) => Some(items),
            _ => {
                self.wrong_kind(node, at, what);
                None
            }
        }
    }

    pub(crate) fn list<T: Checked>(&mut self, fields: &Section<'_>, key: &str) -> List<T> {
        let mut listed = List::default();
        let Some((node, at)) = fields.get(key) else {
            return listed;
        };
        match self.items(
            node,
            &at,
            &format!("a list `[…]`; each element: {}", T::EXPECTED),
        ) {
            None => listed.complete = false,
            Some(nodes) => {
                for (n, node) in nodes.iter().enumerate() {
                    let item_at = at.item(n);
                    match self.one(node, &item_at) {
                        Some(value) => listed.items.push((value, item_at)),
                        None => listed.complete = false,
                    }
                }
            }
        }
        listed.at = Some(at);
        listed
    }

    pub(crate) fn value<T: Checked>(&mut self, fields: &Section<'_>, key: &str) -> Field<T> {
        let Some((node, at)) = fields.get(key) else {
            return Field::Absent;
        };
        match self.one(node, &at) {
            Some(value) => Field::Valid(value, at),
            None => Field::Invalid,
        }
    }

    fn one<T: Checked>(&mut self, node: &Node, at: &NodePath) -> Option<T> {
        let Some(text) = node.scalar() else {
            self.wrong_kind(node, at, T::EXPECTED);
            return None;
        };
        let reason = match (text.parse::<T>(), node) {
            (Ok(value), Node::Text(_)) => return Some(value),
            (Ok(_), _) => format!("is {}, not text; put it in quotes", node.kind()),
            // The reason could contain a part of the secret.
            (Err(_), _) if self.secrets.contains(&text) => {
                format!("is not valid; allowed: {}", T::EXPECTED)
            }
            (Err(e), _) => e.to_string(),
        };
        let text = format!("{} {reason}", self.quote(&text));
        self.error(at, text);
        None
    }

    /// Returns the whole number at `key`, which must be within `range`.
    pub(crate) fn number<N: FromStr + PartialOrd + Display>(
        &mut self,
        fields: &Section<'_>,
        key: &str,
        range: RangeInclusive<N>,
    ) -> Field<N> {
        let Some((node, at)) = fields.get(key) else {
            return Field::Absent;
        };
        let allowed = format!("a whole number from {} to {}", range.start(), range.end());
        let Some(text) = node.scalar() else {
            self.wrong_kind(node, &at, &allowed);
            return Field::Invalid;
        };
        let reason = match (node, text.parse::<N>()) {
            (Node::Number(_), Ok(number)) if range.contains(&number) => {
                return Field::Valid(number, at);
            }
            (Node::Number(_), _) if text.contains('.') => "is not a whole number",
            (Node::Number(_), _) => "is out of range",
            (Node::Text(_), Ok(_)) => "is text, not a number; write it without quotes",
            _ => "is not a number",
        };
        let text = format!("{} {reason}; allowed: {allowed}", self.quote(&text));
        self.error(&at, text);
        Field::Invalid
    }

    /// Returns the boolean at `key`.
    pub(crate) fn boolean(&mut self, fields: &Section<'_>, key: &str) -> Field<bool> {
        match fields.get(key) {
            None => Field::Absent,
            Some((Node::Bool(flag), at)) => Field::Valid(*flag, at),
            Some((node, at)) => {
                self.wrong_kind(node, &at, "true or false");
                Field::Invalid
            }
        }
    }

    pub(crate) fn wrong_kind(&mut self, node: &Node, at: &NodePath, allowed: &str) {
        let text = match node {
            Node::Null => format!("has no value; remove it or set it to {allowed}"),
            Node::Tagged => format!("has a YAML tag (`!…`); remove the tag; allowed: {allowed}"),
            Node::List(_) | Node::Map(_) => format!("is {}; allowed: {allowed}", node.kind()),
            Node::Bool(_) | Node::Number(_) | Node::Text(_) => format!(
                "{} is {}; allowed: {allowed}",
                self.quote(&node.scalar().unwrap_or_default()),
                node.kind()
            ),
        };
        self.error(at, text);
    }

    /// Returns the text at `key`, which must not be empty.
    pub(crate) fn non_empty(&mut self, fields: &Section<'_>, key: &str) -> Field<String> {
        match self.value::<NonEmpty>(fields, key) {
            Field::Valid(NonEmpty(text), at) => Field::Valid(text, at),
            Field::Absent => Field::Absent,
            Field::Invalid => Field::Invalid,
        }
    }
}

struct NonEmpty(String);

impl Checked for NonEmpty {
    const EXPECTED: &'static str = "non-empty text";
}

impl FromStr for NonEmpty {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        if text.trim().is_empty() {
            return Err(ValueError::of::<Self>("is empty"));
        }
        // File names and profiles cannot contain NUL, and the error of the system call is less clear.
        if text.contains('\0') {
            return Err(ValueError::of::<Self>("contains a NUL character"));
        }
        Ok(NonEmpty(text.to_owned()))
    }
}

/// Returns the allowed key that is most similar to `written`, if it is similar enough.
fn suggest(written: &str, allowed: &[&'static str]) -> Option<&'static str> {
    if written.len() > 32 {
        return None;
    }
    allowed
        .iter()
        .map(|name| (strsim::levenshtein(written, name), *name))
        .min()
        .filter(|(distance, _)| *distance <= MAX_SUGGESTION_DISTANCE)
        .map(|(_, name)| name)
}
