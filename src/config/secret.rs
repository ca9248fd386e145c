//! Finds the secrets of a configuration, so that messages do not print them.

use std::collections::HashSet;
use std::path::Path;

use super::value::ExternalId;
use super::yaml::Node;
use crate::files::{self, KIB};

/// The keys of the configuration that hold secrets.
pub(crate) const SECRET_KEYS: &[&str] = &["external_id"];

/// More than the longest external ID with its line breaks.
const MAX_EXTERNAL_ID_FILE_BYTES: u64 = 4 * KIB;

/// Collects every value below one of `keys`, of any type. An alias may repeat a secret elsewhere, so texts are compared, not locations.
pub(crate) fn find_secrets(root: &Node, keys: &'static [&'static str]) -> Secrets {
    let mut texts = HashSet::new();
    collect(root, false, keys, &mut texts);
    Secrets { texts, keys }
}

fn collect(node: &Node, secret: bool, keys: &[&str], texts: &mut HashSet<String>) {
    match node {
        Node::List(items) => {
            for item in items {
                collect(item, secret, keys, texts);
            }
        }
        Node::Map(entries) => {
            for (key, value) in entries {
                collect(key, secret, keys, texts);
                let secret_below =
                    secret || matches!(key, Node::Text(name) if keys.contains(&name.as_str()));
                collect(value, secret_below, keys, texts);
            }
        }
        Node::Null | Node::Tagged => {}
        Node::Bool(_) | Node::Number(_) | Node::Text(_) => {
            if secret {
                texts.extend(node.scalar());
            }
        }
    }
}

/// Texts that no message may show.
pub(crate) struct Secrets {
    texts: HashSet<String>,
    keys: &'static [&'static str],
}

impl Secrets {
    /// Returns whether `text` is a secret or contains one with its key. YAML joins lines into one text if the space after a colon
    /// is missing: `profile: a` followed by the indented line `external_id:b`.
    pub(crate) fn contains(&self, text: &str) -> bool {
        let swallowed = |key: &&str| text.contains(&format!("{key}:"));
        self.texts.contains(text) || self.keys.iter().any(swallowed)
    }
}

/// Reads an external ID from a file that contains nothing else except trailing line breaks.
/// Errors contain the name of the file, never its content.
pub(crate) fn read_external_id(path: &Path) -> Result<ExternalId, String> {
    let bytes = files::read(path, MAX_EXTERNAL_ID_FILE_BYTES)
        .map_err(|e| format!("`{}` cannot be read: {e}", path.display()))?;
    let invalid = |why: &dyn std::fmt::Display| format!("the file `{}` {why}", path.display());
    let text = std::str::from_utf8(&bytes).map_err(|_| invalid(&"is not valid UTF-8"))?;
    text.trim_end_matches(['\r', '\n'])
        .parse()
        .map_err(|e| invalid(&e))
}
