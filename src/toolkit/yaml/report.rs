//! Collects the errors of one file.

use super::error::{At, ConfigErrors, Location};
use super::field::List;
use super::tree::{Node, Value};
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::path::Path;

/// Nobody reads more errors at once.
const MAX_SHOWN_ERRORS: usize = 100;

/// Longer values are cut in messages.
const MAX_SHOWN_CHARACTERS: usize = 120;

/// How a kind of file is read.
#[derive(Clone, Copy)]
pub(crate) struct Format {
    /// The keys whose values are secrets.
    pub(crate) secret_keys: &'static [&'static str],
    /// Whether a key without a value or with an empty text counts as absent, as in Go.
    pub(crate) empty_is_absent: bool,
}

/// The errors of one file so far.
pub(crate) struct Report {
    pub(super) format: Format,
    places: RefCell<Vec<(String, Location)>>,
    errors: RefCell<Vec<(At, String)>>,
    secrets: HashSet<String>,
}

impl Report {
    pub(super) fn new(root: &Node, format: Format) -> Self {
        let mut secrets = HashSet::new();
        collect_secrets(root, false, format.secret_keys, &mut secrets);
        Self {
            format,
            places: RefCell::default(),
            errors: RefCell::default(),
            secrets,
        }
    }

    pub(super) fn place(&self, path: &str, location: Location) -> At {
        let mut places = self.places.borrow_mut();
        places.push((path.to_owned(), location));
        At(places.len() - 1)
    }

    /// Returns the path of a value, such as `scopes[2].regions[0]`; empty for the root.
    pub(crate) fn path(&self, at: At) -> String {
        self.places.borrow()[at.0].0.clone()
    }

    pub(crate) fn error(&self, at: At, text: impl Into<String>) {
        self.errors.borrow_mut().push((at, text.into()));
    }

    pub(crate) fn already_listed(&self, at: At, value: &str, first: At) {
        let (value, first) = (self.quote(value), self.path(first));
        self.error(at, format!("{value} is already listed as {first}"));
    }

    /// Reports the elements of `list` for which `key` returns the same text as for an earlier one.
    pub(crate) fn reject_duplicates<T: ToString>(
        &self,
        list: &List<T>,
        key: impl Fn(&T) -> String,
    ) {
        let mut seen = HashMap::new();
        for (value, at) in &list.items {
            if let Some(first) = seen.insert(key(value), *at) {
                self.already_listed(*at, &value.to_string(), first);
            }
        }
    }

    pub(crate) fn has_errors(&self) -> bool {
        !self.errors.borrow().is_empty()
    }

    /// Returns whether `text` is a secret or contains one with its key. YAML joins lines into one text if the space after a colon
    /// is missing: `profile: a` followed by the indented line `external_id:b`.
    pub(super) fn is_secret(&self, text: &str) -> bool {
        let keys = self.format.secret_keys;
        let is_swallowed = |key: &&str| text.contains(&format!("{key}:"));
        self.secrets.contains(text) || keys.iter().any(is_swallowed)
    }

    /// Quotes `text` in backticks, on one line and cut to a maximum length; a secret becomes `***`.
    pub(crate) fn quote(&self, text: &str) -> String {
        if self.is_secret(text) {
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

    /// Returns `value` if there are no errors, otherwise the errors in the order of their locations.
    pub(super) fn finish<T>(self, file: &Path, value: T) -> Result<T, ConfigErrors> {
        let places = self.places.into_inner();
        let mut errors = self.errors.into_inner();
        errors.sort_by_key(|(At(index), _)| places[*index].1);
        let hidden = errors.len().saturating_sub(MAX_SHOWN_ERRORS);
        errors.truncate(MAX_SHOWN_ERRORS);
        let lines = errors.into_iter().map(|(At(index), text)| {
            let (path, Location { line, column }) = &places[index];
            let colon = if path.is_empty() { "" } else { ": " };
            format!("{}:{line}:{column}: {path}{colon}{text}", file.display())
        });
        let mut lines: Vec<String> = lines.collect();
        if hidden > 0 {
            lines.push(format!(
                "{}: {hidden} more errors are not shown",
                file.display()
            ));
        }
        ConfigErrors::check(lines, value)
    }
}

/// Collects every value below one of `keys`. An alias may repeat a secret elsewhere, so texts are compared, not locations.
fn collect_secrets(node: &Node, secret: bool, keys: &[&str], texts: &mut HashSet<String>) {
    match &node.value {
        Value::Scalar(text) if secret => {
            texts.insert(text.clone());
        }
        Value::Null | Value::Tagged | Value::Scalar(_) => {}
        Value::List(items) => {
            for item in items {
                collect_secrets(item, secret, keys, texts);
            }
        }
        Value::Map(entries) => {
            for (key, value) in entries {
                collect_secrets(key, secret, keys, texts);
                let is_secret_key =
                    matches!(&key.value, Value::Scalar(name) if keys.contains(&name.as_str()));
                collect_secrets(value, secret || is_secret_key, keys, texts);
            }
        }
    }
}
