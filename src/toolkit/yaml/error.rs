//! The errors of a configuration, as its author reads them.

use saphyr_parser::{Marker, ScanError};
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
        Self(vec![format!("{}: {text}", file.display())])
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

pub(super) fn syntax(file: &Path, error: &ScanError) -> ConfigErrors {
    ConfigErrors(vec![line(file, *error.marker(), error.info())])
}

/// Returns the line for an error. Lines and columns count from 1; columns count characters.
pub(super) fn line(file: &Path, location: Marker, text: &str) -> String {
    let (line, column) = (location.line(), location.col() + 1);
    format!("{}:{line}:{column}: {text}", file.display())
}
