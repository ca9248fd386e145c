//! The errors of a configuration file, as its author reads them.

use std::fmt;
use std::path::Path;

/// Finding each location parses the file once more, and nobody reads more errors at once.
const MAX_SHOWN_ERRORS: usize = 100;

/// A position in a file. Lines and columns count from 1; columns count characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Location {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

/// One error. The message omits an unknown location and an empty path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConfigError {
    pub(crate) location: Option<Location>,
    pub(crate) path: String,
    pub(crate) text: String,
}

impl ConfigError {
    /// Returns an error of the file as a whole.
    pub(crate) fn whole_file(text: impl Into<String>) -> Self {
        ConfigError {
            location: None,
            path: String::new(),
            text: text.into(),
        }
    }
}

/// All errors of a configuration, at least one, in the order of their lines.
///
/// The message has one line for each error: `file:line:column: path: what was found; allowed: …`.
/// It never contains a secret: an `external_id`, a private key or the hash of a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors {
    file: Option<String>,
    first: ConfigError,
    more: Vec<ConfigError>,
}

impl ConfigErrors {
    /// Returns the single error of a file that cannot be parsed.
    pub(crate) fn one(file: &Path, error: ConfigError) -> Self {
        ConfigErrors {
            file: Some(file.display().to_string()),
            first: error,
            more: Vec::new(),
        }
    }

    /// Returns `result` if `list` is empty, otherwise the sorted errors. Messages omit a `file` of `None`.
    pub(crate) fn into_result<T>(
        mut list: Vec<ConfigError>,
        file: Option<&Path>,
        result: T,
    ) -> Result<T, ConfigErrors> {
        list.sort_by_key(|error| (error.location.is_none(), error.location));
        let mut list = list.into_iter();
        match list.next() {
            None => Ok(result),
            Some(first) => Err(ConfigErrors {
                file: file.map(|file| file.display().to_string()),
                first,
                more: list.collect(),
            }),
        }
    }

    /// Returns the errors outside of the file: in the environment, or in files that the configuration names.
    ///
    /// # Errors
    /// If `found` is not empty.
    pub fn from_environment(found: Vec<String>) -> Result<(), ConfigErrors> {
        Self::into_result(
            found.into_iter().map(ConfigError::whole_file).collect(),
            None,
            (),
        )
    }

    /// Adds the name of the file to the messages.
    pub fn in_file(self, file: &Path) -> Self {
        ConfigErrors {
            file: Some(file.display().to_string()),
            ..self
        }
    }

    /// Finds the locations of the first errors, and counts the others in a last message.
    pub(crate) fn locate_all<P>(
        found: Vec<(P, String)>,
        locate: impl Fn(&P) -> (Option<Location>, String),
    ) -> Vec<ConfigError> {
        let left = found.len().saturating_sub(MAX_SHOWN_ERRORS);
        let mut list: Vec<ConfigError> = found
            .into_iter()
            .take(MAX_SHOWN_ERRORS)
            .map(|(at, text)| {
                let (location, path) = locate(&at);
                ConfigError {
                    location,
                    path,
                    text,
                }
            })
            .collect();
        if left > 0 {
            list.push(ConfigError::whole_file(format!(
                "{left} more errors are not shown"
            )));
        }
        list
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in std::iter::once(&self.first).chain(&self.more).enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            if let Some(file) = &self.file {
                f.write_str(file)?;
                if let Some(Location { line, column }) = error.location {
                    write!(f, ":{line}:{column}")?;
                }
                f.write_str(": ")?;
            }
            if !error.path.is_empty() {
                write!(f, "{}: ", error.path)?;
            }
            f.write_str(&error.text)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}
