//! What is wrong with a configuration, in the words that its author reads.

use std::fmt;
use std::path::Path;

/// More than this many would hide the first ones, and each place costs one more pass over the file.
const MAX_SHOWN_ERRORS: usize = 100;

/// Where in a file: both count from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Location {
    pub(super) line: usize,
    pub(super) column: usize,
}

/// One mistake. What is unknown or of no use (a place, a path) is left out of its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ConfigError {
    pub(super) location: Option<Location>,
    pub(super) path: String,
    pub(super) text: String,
}

impl ConfigError {
    /// A mistake of the whole file.
    pub(super) fn whole_file(text: impl Into<String>) -> Self {
        ConfigError {
            location: None,
            path: String::new(),
            text: text.into(),
        }
    }
}

/// Everything that is wrong with a configuration: one mistake or more, in the order of their lines.
///
/// Its text has one line for each: `file:line:column: path: what was found; allowed: …`.
/// It never holds a secret: neither an `external_id`, nor a private key, nor the hash of a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors {
    file: Option<String>,
    first: ConfigError,
    more: Vec<ConfigError>,
}

impl ConfigErrors {
    /// The one mistake of a file that could not be read as a configuration at all.
    pub(super) fn one(file: &Path, error: ConfigError) -> Self {
        ConfigErrors {
            file: Some(file.display().to_string()),
            first: error,
            more: Vec::new(),
        }
    }

    /// `result`, if nothing is wrong; the mistakes, sorted, if anything is. A `file` of `None` is not named.
    pub(super) fn into_result<T>(
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

    /// Errors outside the file: in the environment, or in a file that it names.
    ///
    /// # Errors
    /// If anything is.
    pub fn from_environment(found: Vec<String>) -> Result<(), ConfigErrors> {
        Self::into_result(
            found.into_iter().map(ConfigError::whole_file).collect(),
            None,
            (),
        )
    }

    /// The same mistakes, with the file named that they are in.
    pub fn in_file(self, file: &Path) -> Self {
        ConfigErrors {
            file: Some(file.display().to_string()),
            ..self
        }
    }

    /// Finds out the places of the first mistakes; says how many are left over, if there are more.
    pub(super) fn locate_all<P>(
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
