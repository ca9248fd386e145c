//! Types for checked values. Each is created only from a checked text, so every value is valid. ARNs are in `arn`.

use crate::toolkit::yaml::parse_duration;
use serde::Deserialize;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

pub use crate::toolkit::yaml::{Checked, ValueError};
pub(crate) use crate::toolkit::yaml::{
    NonEmpty, check_characters, check_length, reject_characters,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfigDuration(pub Duration);

impl Checked for ConfigDuration {
    const EXPECTED: &'static str =
        "a duration in whole d, h, m, s, largest unit first, such as 90s, 5m, 1h30m";
}

impl FromStr for ConfigDuration {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let units = [("d", 86_400.0), ("h", 3_600.0), ("m", 60.0), ("s", 1.0)];
        if text.contains('.') {
            return Err(ValueError::of::<Self>("has a fraction"));
        }
        let duration = parse_duration(text, &units);
        duration.map(Self).map_err(ValueError::of::<Self>)
    }
}

/// The name of an AWS region. Only the format is checked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegionName(String);

impl RegionName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Checked for RegionName {
    const EXPECTED: &'static str = "the name of an AWS region, such as eu-west-1 or us-gov-west-1";
}

impl FromStr for RegionName {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let is_word =
            |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase());
        let parts: Vec<&str> = text.split('-').collect();
        if let [words @ .., number] = parts.as_slice()
            && words.len() >= 2
            && words[0].len() >= 2
            && words.iter().all(is_word)
            && matches!(number.len(), 1 | 2)
            && number.bytes().all(|b| b.is_ascii_digit())
        {
            return Ok(RegionName(text.to_owned()));
        }
        Err(ValueError::of::<Self>("is not a region name"))
    }
}

impl fmt::Display for RegionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of a scope, which is the label `scope` of the exporter's own metrics.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScopeName(String);

impl ScopeName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Checked for ScopeName {
    const EXPECTED: &'static str =
        "1 to 64 letters (a-z, A-Z), digits, underscores, hyphens and dots";
}

impl FromStr for ScopeName {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        check_length::<Self>(text, 1, 64)?;
        check_characters::<Self>(text, "_-.")?;
        Ok(ScopeName(text.to_owned()))
    }
}

impl fmt::Display for ScopeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lookup {
    #[default]
    Each,
    /// One listing of the region, and one request for each integration that it does not contain.
    List,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ShardBy {
    /// One shard makes all requests with the same credentials in the same region, also those of other scopes. So only this shard
    /// uses the rate limit, and it sees the results of all these scopes.
    #[default]
    Scope,
    /// Every shard lists all integrations and keeps its part of them.
    Integration,
}

/// The external ID that a role's trust policy requires. It is a secret and prints as `***`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExternalId(String);

impl ExternalId {
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// The limits of `ExternalId` in the STS operation AssumeRole.
impl Checked for ExternalId {
    const EXPECTED: &'static str = "2 to 1224 characters of a-z, A-Z, 0-9 and _+=,.@:/-";
}

impl FromStr for ExternalId {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        // The message does not name the character, because it is a part of the secret.
        check_length::<Self>(text, 2, 1224)?;
        check_characters::<Self>(text, "_+=,.@:/-")
            .map_err(|_| ValueError::of::<Self>("contains a character that is not allowed"))?;
        Ok(ExternalId(text.to_owned()))
    }
}

impl fmt::Debug for ExternalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

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
            let why = "begins with two underscores, which Prometheus reserves";
            return Err(ValueError::of::<Self>(why));
        }
        Ok(Self(text.to_owned()))
    }
}
