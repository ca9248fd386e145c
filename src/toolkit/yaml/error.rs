//! The errors of a configuration, as its author reads them.

use serde_yaml::Location;
use std::fmt::Display;
use std::io;
use std::path::Path;

/// One line for each error: `file:line:column: path: what is wrong; allowed: …`. They never contain a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct ConfigErrors(Vec<String>);

impl ConfigErrors {
    pub(crate) fn check<T>(errors: Vec<String>, value: T) -> Result<T, ConfigErrors> {
        if errors.is_empty() {
            Ok(value)
        } else {
            Err(Self(errors))
        }
    }

    pub(crate) fn of_file(file: &Path, text: impl Display) -> Self {
        Self(vec![text.to_string()]).in_file(file)
    }

    pub(super) fn of_location(file: &Path, at: Option<&Location>, text: impl Display) -> Self {
        Self(vec![line(file, at, text)])
    }

    pub(crate) fn unreadable(file: &Path, error: &io::Error) -> Self {
        Self::of_file(file, format!("cannot be read: {error}"))
    }

    pub(crate) fn in_file(mut self, file: &Path) -> Self {
        for line in &mut self.0 {
            *line = format!("{}: {line}", file.display());
        }
        self
    }
}

/// Returns the line for an error. Lines and columns count from 1; columns count characters.
pub(super) fn line(file: &Path, at: Option<&Location>, text: impl Display) -> String {
    let file = file.display();
    match at {
        Some(at) => format!("{file}:{}:{}: {text}", at.line(), at.column()),
        None => format!("{file}: {text}"),
    }
}
