//! The errors of a configuration, as its author reads them.

use std::fmt::Display;
use std::io;
use std::path::Path;

/// All errors of a configuration. The message has one line for each error: `file:line:column: path: what is wrong; allowed: …`.
/// It never contains a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct ConfigErrors(Vec<String>);

impl ConfigErrors {
    /// Returns `value` if there are no errors.
    ///
    /// # Errors
    /// If `errors` is not empty.
    pub fn check<T>(errors: Vec<String>, value: T) -> Result<T, ConfigErrors> {
        if errors.is_empty() {
            Ok(value)
        } else {
            Err(Self(errors))
        }
    }

    /// Returns an error of the file as a whole.
    pub fn of_file(file: &Path, text: impl Display) -> Self {
        Self(vec![line(file, None, text)])
    }

    /// Returns the error of a file that cannot be read.
    pub fn unreadable(file: &Path, error: &io::Error) -> Self {
        Self::of_file(file, format!("cannot be read: {error}"))
    }

    /// Adds the name of the file to each message.
    pub fn in_file(mut self, file: &Path) -> Self {
        for line in &mut self.0 {
            *line = format!("{}: {line}", file.display());
        }
        self
    }
}

/// A line and a column of a file. Both count from 1; columns count characters.
#[derive(Clone, Copy, Debug)]
pub(super) struct Location {
    pub(super) line: usize,
    pub(super) column: usize,
}

impl Location {
    pub(super) fn of_error(error: &serde_yaml::Error) -> Option<Self> {
        error.location().map(|location| Self {
            line: location.line(),
            column: location.column(),
        })
    }

    pub(super) fn of_byte(text: &str, index: usize) -> Self {
        let before = &text[..index];
        let line = before.rsplit('\n').next().unwrap_or(before);
        Self {
            line: before.matches('\n').count() + 1,
            column: line.chars().count() + 1,
        }
    }
}

/// Why a text is not a YAML document.
#[derive(Debug)]
pub(super) struct SyntaxError {
    pub(super) location: Option<Location>,
    pub(super) text: String,
}

impl SyntaxError {
    pub(super) fn in_file(self, file: &Path) -> ConfigErrors {
        ConfigErrors(vec![line(file, self.location, self.text)])
    }
}

/// Returns the line for an error.
pub(super) fn line(file: &Path, location: Option<Location>, text: impl Display) -> String {
    let file = file.display();
    match location {
        Some(Location { line, column }) => format!("{file}:{line}:{column}: {text}"),
        None => format!("{file}: {text}"),
    }
}
