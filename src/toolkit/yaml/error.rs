//! The errors of a configuration, as its author reads them.

use std::fmt::Display;
use std::io;
use std::path::Path;

/// A position in a file. Lines and columns count from 1; columns count characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Location {
    pub(super) line: usize,
    pub(super) column: usize,
}

/// A value of the file. The report knows its path and its location.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct At(pub(super) usize);

/// All errors of a configuration. The message has one line for each error: `file:line:column: path: what is wrong; allowed: …`.
/// It never contains a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct ConfigErrors(Vec<String>);

impl ConfigErrors {
    /// Returns an error of the file as a whole.
    pub fn of_file(file: &Path, text: impl Display) -> Self {
        Self(vec![format!("{}: {text}", file.display())])
    }

    /// Returns the error of a file that cannot be read.
    pub fn unreadable(file: &Path, error: &io::Error) -> Self {
        Self::of_file(file, format!("cannot be read: {error}"))
    }

    pub(super) fn at(file: &Path, Location { line, column }: Location, text: &str) -> Self {
        Self(vec![format!("{}:{line}:{column}: {text}", file.display())])
    }

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

    /// Adds the name of the file to each message.
    pub fn in_file(self, file: &Path) -> Self {
        let lines = self.0.iter();
        Self(
            lines
                .map(|line| format!("{}: {line}", file.display()))
                .collect(),
        )
    }
}
