//! `tag_labels`: tags of integrations that become labels, and the names of these labels.

use super::value::{Checked, ValueError, check_characters, check_length};
use std::str::FromStr;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagLabel {
    pub tag: TagKey,
    pub label: LabelName,
}

/// The key of a tag, which is case-sensitive.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TagKey(String);

impl TagKey {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Checked for TagKey {
    const EXPECTED: &'static str = "a tag key, 1 to 128 characters";
}

impl FromStr for TagKey {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        check_length::<Self>(text, 1, 128)?;
        if text.trim() != text {
            return Err(ValueError::of::<Self>("begins or ends with a space"));
        }
        Ok(Self(text.to_owned()))
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LabelName(String);

impl LabelName {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the default label of a tag. Label names cannot contain other characters.
    pub(super) fn default_for(tag: &TagKey) -> Self {
        let valid = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
        let tag: String = tag.0.chars().map(valid).collect();
        Self(format!("tag_{tag}"))
    }
}

/// <https://prometheus.io/docs/concepts/data_model/#metric-names-and-labels>
impl Checked for LabelName {
    const EXPECTED: &'static str = "1 to 128 letters (a-z, A-Z), digits and underscores, not beginning with a digit or two underscores";
}

impl FromStr for LabelName {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        check_length::<Self>(text, 1, 128)?;
        check_characters::<Self>(text, "_")?;
        if text.starts_with(|first: char| first.is_ascii_digit()) {
            return Err(ValueError::of::<Self>("begins with a digit"));
        }
        if text.starts_with("__") {
            return Err(ValueError::of::<Self>(
                "begins with two underscores, which Prometheus reserves",
            ));
        }
        Ok(Self(text.to_owned()))
    }
}
