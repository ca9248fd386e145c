//! Where secrets are found, and how they are kept out of what is printed.

use std::collections::HashSet;
use std::path::Path;

use super::value::ExternalId;
use super::yaml::Node;
use crate::files::{self, KIB};

/// The keys of the configuration that hold secrets.
pub(super) const SECRET_KEYS: &[&str] = &["external_id"];

/// More than the longest external id with its line ends.
const MAX_EXTERNAL_ID_FILE_BYTES: u64 = 4 * KIB;

/// All that is written anywhere below one of `keys`, of whatever type: an alias may bring it to other places.
pub(super) fn find_secrets(root: &Node, keys: &'static [&'static str]) -> Secrets {
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
                let below =
                    secret || matches!(key, Node::Text(name) if keys.contains(&name.as_str()));
                collect(value, below, keys, texts);
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

/// What no message may show.
pub(super) struct Secrets {
    texts: HashSet<String>,
    keys: &'static [&'static str],
}

impl Secrets {
    /// Also true of a text that has swallowed the key: `profile: a` and below it, further in, `external_id:b`.
    pub(super) fn contains(&self, text: &str) -> bool {
        let swallowed = |key: &&str| text.contains(&format!("{key}:"));
        self.texts.contains(text) || self.keys.iter().any(swallowed)
    }
}

/// The external id that is all there is in this file, but for line ends after it.
/// Errors name the file and never what is in it.
pub(super) fn read_external_id(path: &Path) -> Result<ExternalId, String> {
    let bytes = files::read(path, MAX_EXTERNAL_ID_FILE_BYTES)
        .map_err(|e| format!("`{}` cannot be read: {e}", path.display()))?;
    let invalid = |why: &dyn std::fmt::Display| format!("the file `{}` {why}", path.display());
    let text = std::str::from_utf8(&bytes).map_err(|_| invalid(&"is not valid UTF-8"))?;
    text.trim_end_matches(['\r', '\n'])
        .parse()
        .map_err(|e| invalid(&e))
}
