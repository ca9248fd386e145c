//! Parses a YAML document to a tree that keeps the location of each value and duplicate keys.

use super::error::Location;
use saphyr_parser::{Event, Parser, ScalarStyle, StrInput, Tag};
use std::borrow::Cow;
use std::collections::HashMap;
use std::rc::Rc;

/// Limits aliases of aliases, which grow exponentially. A file of 1 MiB with distinct ARNs has a fifth of these nodes.
const MAX_NODES: usize = 100_000;

/// Limits the recursion. A configuration has a depth of 4.
const MAX_DEPTH: usize = 64;

/// A value of the document. A node behind an alias has the location of its anchor.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) location: Location,
    pub(super) value: Value,
}

#[derive(Debug)]
pub(super) enum Value {
    Null,
    /// A text, number or boolean as written. The type of its key decides.
    Scalar(String),
    List(Vec<Rc<Node>>),
    /// All entries in their order, including duplicate keys.
    Map(Vec<(Rc<Node>, Rc<Node>)>),
    /// A value with a tag (`!name`), which is not valid for any key.
    Tagged,
}

impl Node {
    /// Returns what a value of this kind is, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "is empty",
            Value::Scalar(_) => "is text",
            Value::List(_) => "is a list",
            Value::Map(_) => "is a map",
            Value::Tagged => "has a YAML tag (`!…`), which is not supported",
        }
    }
}

/// The text is not a YAML document.
pub(super) struct SyntaxError {
    pub(super) location: Location,
    pub(super) text: String,
}

fn error<T>(location: Location, text: impl Into<String>) -> Result<T, SyntaxError> {
    let text = text.into();
    Err(SyntaxError { location, text })
}

/// Parses the single document in `text`; an empty text is `Null`.
///
/// # Errors
/// If the text is not YAML, has a second document, or expands to too many nodes.
pub(super) fn parse(text: &str) -> Result<Rc<Node>, SyntaxError> {
    if let Some((at, forbidden)) = text.char_indices().find(|(_, c)| is_unprintable(*c)) {
        let code = u32::from(forbidden);
        return error(
            end_of(&text[..at]),
            format!("the character U+{code:04X} is not allowed in YAML"),
        );
    }
    let loader = Loader {
        events: Parser::new_from_str(text),
        anchors: HashMap::new(),
        nodes: 0,
    };
    loader.document().map_err(|error| explain_tab(error, text))
}

/// Returns the location after `text`.
pub(super) fn end_of(text: &str) -> Location {
    let last_line = text.rsplit('\n').next().unwrap_or(text);
    Location {
        line: text.matches('\n').count() + 1,
        column: last_line.chars().count() + 1,
    }
}

/// Returns whether YAML forbids the character. The parser does not check it.
fn is_unprintable(c: char) -> bool {
    (c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{85}'))
        || matches!(c, '\u{FFFE}' | '\u{FFFF}')
}

/// Finds the tab of an error that is about a tab. The parser reports the text before it.
fn explain_tab(error: SyntaxError, text: &str) -> SyntaxError {
    let from = error.location.line - 1;
    let indents = text.lines().enumerate().skip(from);
    let mut indents = indents.map(|(n, line)| (n, &line[..line.len() - line.trim_start().len()]));
    match indents.find(|(_, indent)| indent.contains('\t')) {
        Some((n, indent)) if error.text.contains("tab") => SyntaxError {
            location: Location {
                line: n + 1,
                column: indent.find('\t').unwrap_or(0) + 1,
            },
            text: "a tab is not allowed here; indent with spaces".to_owned(),
        },
        _ => error,
    }
}

struct Loader<'t> {
    events: Parser<'t, StrInput<'t>>,
    /// The nodes with an anchor, with the number of nodes below them.
    anchors: HashMap<usize, (Rc<Node>, usize)>,
    /// The number of nodes so far, with aliases expanded.
    nodes: usize,
}

impl<'t> Loader<'t> {
    fn next(&mut self) -> Result<(Event<'t>, Location), SyntaxError> {
        let location = |mark: saphyr_parser::Marker| Location {
            line: mark.line(),
            column: mark.col() + 1,
        };
        match self.events.next_event() {
            Some(Ok((event, span))) => Ok((event, location(span.start))),
            Some(Err(scan)) => error(location(*scan.marker()), scan.info()),
            None => Ok((Event::StreamEnd, Location { line: 1, column: 1 })),
        }
    }

    fn document(mut self) -> Result<Rc<Node>, SyntaxError> {
        let mut root = None;
        loop {
            match self.next()? {
                (Event::DocumentStart(_), location) => {
                    if root.is_some() {
                        return error(
                            location,
                            "a second YAML document begins here; allowed: one document per file",
                        );
                    }
                    let (event, location) = self.next()?;
                    root = Some(self.node(event, location, 0)?);
                }
                (Event::StreamEnd, _) => break,
                _ => {}
            }
        }
        let empty = Node {
            location: Location { line: 1, column: 1 },
            value: Value::Null,
        };
        Ok(root.unwrap_or_else(|| Rc::new(empty)))
    }

    /// Returns the node that begins with `event`.
    fn node(
        &mut self,
        event: Event<'t>,
        location: Location,
        depth: usize,
    ) -> Result<Rc<Node>, SyntaxError> {
        let nodes_before = self.nodes;
        self.nodes += match &event {
            Event::Alias(id) => self.anchors.get(id).map_or(1, |(_, nodes)| *nodes),
            _ => 1,
        };
        if self.nodes > MAX_NODES {
            return error(location, "too many values; check for aliases of aliases");
        }
        if depth > MAX_DEPTH {
            let text = format!("is nested too deeply; allowed: {MAX_DEPTH} levels");
            return error(location, text);
        }
        let (anchor, value) = match event {
            Event::Alias(id) => {
                return match self.anchors.get(&id) {
                    Some((node, _)) => Ok(Rc::clone(node)),
                    None => error(location, "the alias is inside of its own anchor"),
                };
            }
            Event::Scalar(_, _, anchor, tag) if is_custom(tag.as_ref(), "str") => {
                (anchor, Value::Tagged)
            }
            Event::Scalar(text, style, anchor, tag) => {
                let is_plain = style == ScalarStyle::Plain && tag.is_none();
                let is_null = matches!(&*text, "" | "~" | "null" | "Null" | "NULL");
                let scalar = Value::Scalar(text.into_owned());
                (
                    anchor,
                    if is_plain && is_null {
                        Value::Null
                    } else {
                        scalar
                    },
                )
            }
            Event::SequenceStart(anchor, tag) => {
                let mut list = Vec::new();
                while let Some(item) = self.child(depth)? {
                    list.push(item);
                }
                let is_custom = is_custom(tag.as_ref(), "seq");
                (
                    anchor,
                    if is_custom {
                        Value::Tagged
                    } else {
                        Value::List(list)
                    },
                )
            }
            Event::MappingStart(anchor, tag) => {
                let mut map = Vec::new();
                while let Some(key) = self.child(depth)? {
                    map.extend(self.child(depth)?.map(|value| (key, value)));
                }
                let is_custom = is_custom(tag.as_ref(), "map");
                (
                    anchor,
                    if is_custom {
                        Value::Tagged
                    } else {
                        Value::Map(map)
                    },
                )
            }
            _ => (0, Value::Null),
        };
        let node = Rc::new(Node { location, value });
        if anchor > 0 {
            let below = self.nodes - nodes_before;
            self.anchors.insert(anchor, (Rc::clone(&node), below));
        }
        Ok(node)
    }

    /// Returns the next item, key or value, or `None` at the end of the list or map.
    fn child(&mut self, depth: usize) -> Result<Option<Rc<Node>>, SyntaxError> {
        match self.next()? {
            (Event::SequenceEnd | Event::MappingEnd, _) => Ok(None),
            (event, location) => self.node(event, location, depth + 1).map(Some),
        }
    }
}

/// Returns whether the tag is another one than `standard`, which the node would have without a tag.
fn is_custom(tag: Option<&Cow<'_, Tag>>, standard: &str) -> bool {
    tag.is_some_and(|tag| !tag.is_yaml_core_schema() || tag.suffix != standard)
}
