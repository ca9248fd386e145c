//! Collects the errors of one file.

use super::error::{self, ConfigErrors};
use super::field::{At, Field, List};
use super::tree::{self, Node};
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::fmt::Display;
use std::path::Path;

/// Nobody reads more errors at once.
const MAX_SHOWN_ERRORS: usize = 100;
/// Longer values are cut in messages.
const MAX_SHOWN_CHARACTERS: usize = 120;

#[derive(Clone, Copy)]
pub(crate) struct Format {
    pub(crate) secret_keys: &'static [&'static str],
    /// Whether a key counts as absent if its value is null or an empty text, as in Go.
    pub(crate) empty_is_absent: bool,
}

pub(crate) struct Report {
    pub(super) format: Format,
    /// An alias may repeat a secret elsewhere, so texts are compared, not locations.
    secrets: HashSet<String>,
    places: RefCell<Vec<(String, usize)>>,
    errors: RefCell<Vec<(At, String)>>,
}

impl Report {
    pub(super) fn new(format: Format, root: &Node) -> Self {
        let mut secrets = HashSet::new();
        root.value
            .find_secrets(false, format.secret_keys, &mut secrets);
        Self {
            format,
            secrets,
            places: RefCell::default(),
            errors: RefCell::default(),
        }
    }

    pub(super) fn place(&self, path: &str, node: &Node) -> At {
        let mut places = self.places.borrow_mut();
        places.push((path.to_owned(), node.number));
        At(places.len() - 1)
    }

    /// Returns the path of a value, such as `scopes[2].regions[0]`; empty for the root.
    pub(crate) fn path(&self, at: At) -> String {
        self.places.borrow()[at.0].0.clone()
    }

    pub(crate) fn error(&self, at: At, text: impl Into<String>) {
        self.errors.borrow_mut().push((at, text.into()));
    }

    pub(crate) fn reject(&self, at: At, value: &str, why: impl Display) {
        self.error(at, format!("{} {why}", self.quote(value)));
    }

    pub(crate) fn has_errors(&self) -> bool {
        !self.errors.borrow().is_empty()
    }

    pub(crate) fn required<T>(&self, key: Field<T>, parent: At, text: &str) -> Option<(T, At)> {
        if key.is_absent() {
            self.error(parent, text);
        }
        key.located()
    }

    pub(crate) fn already_listed(&self, at: At, value: &str, first: At) {
        self.reject(
            at,
            value,
            format!("is already listed as {}", self.path(first)),
        );
    }

    /// Reports the elements of `list` for which `key` returns the same text as for an earlier one.
    pub(crate) fn reject_duplicates<T: ToString>(&self, list: &List<T>, key: fn(&T) -> String) {
        let mut seen = HashMap::new();
        for (value, at) in &list.items {
            if let Some(first) = seen.insert(key(value), *at) {
                self.already_listed(*at, &value.to_string(), first);
            }
        }
    }

    /// Quotes `text` on one line and cuts it. Hides a secret, also with its key before it, which YAML reads as one text if the space after
    /// the colon is missing.
    pub(crate) fn quote(&self, text: &str) -> String {
        let mut keys = self.format.secret_keys.iter();
        if self.secrets.contains(text) || keys.any(|key| text.contains(&format!("{key}:"))) {
            return "`***`".to_owned();
        }
        let shown = text.chars().take(MAX_SHOWN_CHARACTERS);
        let shown: String = shown.flat_map(char::escape_debug).collect();
        let is_cut = text.chars().nth(MAX_SHOWN_CHARACTERS).is_some();
        format!("`{shown}{}`", if is_cut { "…" } else { "" })
    }

    /// Returns `value` if there are no errors, otherwise the errors in the order of their locations in `yaml`.
    pub(super) fn finish<T>(self, file: &Path, yaml: &str, value: T) -> Result<T, ConfigErrors> {
        let places = self.places.into_inner();
        let mut errors = self.errors.into_inner();
        errors.sort_by_key(|(At(index), _)| places[*index].1);
        let hidden = errors.split_off(errors.len().min(MAX_SHOWN_ERRORS)).len();
        let lines = errors.into_iter().map(|(At(index), text)| {
            let (path, number) = &places[index];
            let colon = if path.is_empty() { "" } else { ": " };
            let location = tree::location(yaml, *number);
            error::line(file, location.as_ref(), format!("{path}{colon}{text}"))
        });
        let mut lines: Vec<String> = lines.collect();
        if hidden > 0 {
            let file = file.display();
            lines.push(format!("{file}: {hidden} more errors are not shown"));
        }
        ConfigErrors::check(lines, value)
    }
}
