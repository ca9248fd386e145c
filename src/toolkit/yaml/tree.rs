//! Parses a YAML document to a tree that keeps the location of each value and duplicate keys.

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, StrInput, Tag};
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
    pub(super) location: Marker,
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

impl Value {
    /// Returns what a value of this kind is, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Value::Null => "is empty",
            Value::Scalar(_) => "is text",
            Value::List(_) => "is a list",
            Value::Map(_) => "is a map",
            Value::Tagged => "has a YAML tag (`!…`), which is not supported",
        }
    }
}

/// Parses the single document in `text`; an empty text is `Null`.
///
/// # Errors
/// If the text is not YAML, has a second document, or expands to too many nodes.
pub(super) fn parse(text: &str) -> Result<Rc<Node>, ScanError> {
    let mut loader = Loader {
        events: Parser::new_from_str(text),
        anchors: HashMap::new(),
        nodes: 0,
    };
    let mut root = None;
    loop {
        match loader.next()? {
            (Event::DocumentStart(_), location) if root.is_some() => {
                let text = "a second YAML document begins here; allowed: one document per file";
                return Err(ScanError::new_str(location, text));
            }
            (Event::DocumentStart(_), _) => {
                let (event, location) = loader.next()?;
                root = Some(loader.node(event, location, 0)?);
            }
            (Event::StreamEnd, _) => break,
            _ => {}
        }
    }
    let empty = Node {
        location: Marker::new(0, 1, 0),
        value: Value::Null,
    };
    Ok(root.unwrap_or_else(|| Rc::new(empty)))
}

struct Loader<'t> {
    events: Parser<'t, StrInput<'t>>,
    /// The nodes with an anchor, with the number of nodes in them.
    anchors: HashMap<usize, (Rc<Node>, usize)>,
    /// The number of nodes so far, with aliases expanded.
    nodes: usize,
}

impl<'t> Loader<'t> {
    fn next(&mut self) -> Result<(Event<'t>, Marker), ScanError> {
        match self.events.next_event() {
            Some(event) => event.map(|(event, span)| (event, span.start)),
            None => Ok((Event::StreamEnd, Marker::default())),
        }
    }

    /// Returns the node that begins with `event`.
    fn node(
        &mut self,
        event: Event<'t>,
        location: Marker,
        depth: usize,
    ) -> Result<Rc<Node>, ScanError> {
        if depth > MAX_DEPTH {
            let text = format!("is nested too deeply; allowed: {MAX_DEPTH} levels");
            return Err(ScanError::new(location, text));
        }
        let nodes_before = self.nodes;
        self.nodes += 1;
        let (anchor, tag, value) = match event {
            Event::Alias(id) => {
                let Some((node, nodes)) = self.anchors.get(&id) else {
                    let text = "the alias is inside of its own anchor";
                    return Err(ScanError::new_str(location, text));
                };
                self.nodes += nodes;
                if self.nodes > MAX_NODES {
                    let text = "too many values; check for aliases of aliases";
                    return Err(ScanError::new_str(location, text));
                }
                return Ok(Rc::clone(node));
            }
            Event::Scalar(text, style, anchor, tag) => {
                let is_plain = style == ScalarStyle::Plain && tag.is_none();
                let is_null = matches!(&*text, "" | "~" | "null" | "Null" | "NULL");
                let value = if is_plain && is_null {
                    Value::Null
                } else {
                    Value::Scalar(text.into_owned())
                };
                (anchor, tag, value)
            }
            Event::SequenceStart(anchor, tag) => {
                let mut list = Vec::new();
                while let Some(item) = self.child(depth)? {
                    list.push(item);
                }
                (anchor, tag, Value::List(list))
            }
            Event::MappingStart(anchor, tag) => {
                let mut map = Vec::new();
                while let Some(key) = self.child(depth)? {
                    map.extend(self.child(depth)?.map(|value| (key, value)));
                }
                (anchor, tag, Value::Map(map))
            }
            _ => (0, None, Value::Null),
        };
        let value = if is_custom(tag.as_ref()) {
            Value::Tagged
        } else {
            value
        };
        let node = Rc::new(Node { location, value });
        if anchor > 0 {
            let nodes = self.nodes - nodes_before;
            self.anchors.insert(anchor, (Rc::clone(&node), nodes));
        }
        Ok(node)
    }

    /// Returns the next item, key or value, or `None` at the end of the list or map.
    fn child(&mut self, depth: usize) -> Result<Option<Rc<Node>>, ScanError> {
        match self.next()? {
            (Event::SequenceEnd | Event::MappingEnd, _) => Ok(None),
            (event, location) => self.node(event, location, depth + 1).map(Some),
        }
    }
}

/// Returns whether the tag changes the kind of the node: any tag but `!!str`, `!!seq` and `!!map`.
fn is_custom(tag: Option<&Cow<'_, Tag>>) -> bool {
    let standard = ["str", "seq", "map"];
    tag.is_some_and(|tag| !tag.is_yaml_core_schema() || !standard.contains(&tag.suffix.as_str()))
}
