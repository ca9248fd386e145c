//! Reads a configuration file in YAML into structs that derive serde's `Deserialize`, and reports all errors at once: each with its
//! line, column and path, what is wrong and what is allowed.
//!
//! ```text
//! text -> tree (values with locations) -> reader (serde) -> structs of Fields -> rules of the caller
//! ```
//!
//! The structs are the only list of keys. Reading goes on after an invalid value, which becomes [`Field::Invalid`].

mod duration;
mod error;
mod field;
mod reader;
mod report;
mod tree;
mod value;

use reader::Reader;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::path::Path;

pub use duration::{format_duration, parse_duration};
pub use error::ConfigErrors;
pub use value::{Checked, ValueError};

pub(crate) use field::{At, Field, List, Parsed, Value, Whole};
pub(crate) use report::{Format, Report};
pub(crate) use value::{NonEmpty, check_characters, check_length, reject_characters};

/// Far more than any configuration needs, and parsed within a second.
pub(crate) const MAX_CONFIG_BYTES: u64 = 1024 * 1024;

/// Parses `bytes` as the content of `file` into a `T`, and converts it with `convert`, which reports further errors.
pub(crate) fn read<T: DeserializeOwned, U>(
    bytes: &[u8],
    file: &Path,
    format: Format,
    convert: impl FnOnce(Field<T>, &Report) -> U,
) -> Result<U, ConfigErrors> {
    let text = str::from_utf8(bytes).map_err(|error| {
        let lines = bytes[..error.valid_up_to()].split(|byte| *byte == b'\n');
        ConfigErrors::of_file(file, format!("line {} is not valid UTF-8", lines.count()))
    })?;
    // Some editors write a byte order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let root = tree::parse(text, file)?;
    let report = Report::new(format, &root);
    let mut field = Field::Absent;
    if !(format.empty_is_absent && root.value.is_empty()) {
        // A field turns every error into a report.
        field = Field::deserialize(Reader::new(&root, String::new(), &report)).unwrap_or_default();
    }
    let converted = convert(field, &report);
    report.finish(file, text, converted)
}
