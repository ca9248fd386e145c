//! What is wrong with a configuration, in the words that its author reads.

use std::fmt;
use std::path::Path;

/// More than this many would hide the first ones, and each place costs one more pass over the file.
const SHOWN: usize = 100;

/// Where in a file: both count from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) line: usize,
    pub(super) column: usize,
}

/// One mistake. What is unknown or of no use (a place, a path) is left out of its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mistake {
    pub(super) place: Option<Place>,
    pub(super) path: String,
    pub(super) text: String,
}

impl Mistake {
    /// A mistake of the whole file.
    pub(super) fn of_file(text: impl Into<String>) -> Self {
        Mistake {
            place: None,
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
pub struct Mistakes {
    file: Option<String>,
    first: Mistake,
    more: Vec<Mistake>,
}

impl Mistakes {
    /// The one mistake of a file that could not be read as a configuration at all.
    pub(super) fn one(file: &Path, mistake: Mistake) -> Self {
        Mistakes {
            file: Some(file.display().to_string()),
            first: mistake,
            more: Vec::new(),
        }
    }

    /// `result`, if nothing is wrong; the mistakes, sorted, if anything is. A `file` of `None` is not named.
    pub(super) fn or<T>(
        mut list: Vec<Mistake>,
        file: Option<&Path>,
        result: T,
    ) -> Result<T, Mistakes> {
        list.sort_by_key(|mistake| (mistake.place.is_none(), mistake.place));
        let mut list = list.into_iter();
        match list.next() {
            None => Ok(result),
            Some(first) => Err(Mistakes {
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
    pub fn of_environment(found: Vec<String>) -> Result<(), Mistakes> {
        Self::or(found.into_iter().map(Mistake::of_file).collect(), None, ())
    }

    /// The same mistakes, with the file named that they are in.
    pub fn in_file(self, file: &Path) -> Self {
        Mistakes {
            file: Some(file.display().to_string()),
            ..self
        }
    }

    /// Finds out the places of the first mistakes; says how many are left over, if there are more.
    pub(super) fn located<At>(
        found: Vec<(At, String)>,
        place: impl Fn(&At) -> (Option<Place>, String),
    ) -> Vec<Mistake> {
        let left = found.len().saturating_sub(SHOWN);
        let mut list: Vec<Mistake> = found
            .into_iter()
            .take(SHOWN)
            .map(|(at, text)| {
                let (place, path) = place(&at);
                Mistake { place, path, text }
            })
            .collect();
        if left > 0 {
            list.push(Mistake::of_file(format!(
                "{left} more mistakes are not shown"
            )));
        }
        list
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, mistake) in std::iter::once(&self.first).chain(&self.more).enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            if let Some(file) = &self.file {
                f.write_str(file)?;
                if let Some(Place { line, column }) = mistake.place {
                    write!(f, ":{line}:{column}")?;
                }
                f.write_str(": ")?;
            }
            if !mistake.path.is_empty() {
                write!(f, "{}: ", mistake.path)?;
            }
            f.write_str(&mistake.text)?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}
