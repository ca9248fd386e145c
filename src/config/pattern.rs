//! Glob patterns with `*` and `?`, as in the ARNs of IAM policies.

use std::fmt;
use std::str::FromStr;

use wildmatch::WildMatch;

use super::value::{Checked, ValueError, check_length, reject_characters};
use crate::arn;

/// AWS's limit for the ARN of a source or a target.
const MAX_ARN_CHARACTERS: usize = 512;
/// AWS's limit for the name of an integration.
const MAX_NAME_CHARACTERS: usize = 128;

/// A glob pattern that must match a whole text and is case-sensitive. `*` matches any number of characters, including `/` and `:`;
/// `?` matches one character; every other character matches itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pattern(String);

impl Pattern {
    /// Returns the pattern as written in the configuration.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns whether the pattern matches the whole of `text`.
    pub fn matches(&self, text: &str) -> bool {
        WildMatch::new(&self.0).matches(text)
    }

    /// Returns whether this is probably a regular expression, which would match nothing.
    pub(super) fn looks_like_regex(&self) -> bool {
        [".*", ".+", "|"].iter().any(|part| self.0.contains(part)) || self.0.ends_with('$')
    }

    /// Returns whether the pattern matches every text.
    pub(super) fn matches_everything(&self) -> bool {
        self.0.chars().all(|c| c == '*')
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A pattern for ARNs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArnPattern(Pattern);

impl From<ArnPattern> for Pattern {
    fn from(pattern: ArnPattern) -> Self {
        pattern.0
    }
}

impl Checked for ArnPattern {
    const EXPECTED: &'static str = "a pattern for an ARN, at most 512 characters; `*` matches any characters including `/` and `:`, `?` matches one character";
}

impl FromStr for ArnPattern {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        check_length::<Self>(text, 1, MAX_ARN_CHARACTERS)?;
        // Characters of other pattern languages would match only themselves, so the pattern would hide everything.
        reject_characters::<Self>(text, |c| {
            c.is_whitespace() || c.is_control() || r"[]{}\".contains(c)
        })?;
        let literal = text.split(['*', '?']).next().unwrap_or_default();
        if literal.len() == text.len() {
            arn::check_arn::<Self>(text)?;
        } else {
            arn::check_prefix::<Self>(literal)?;
        }
        let separators = text.chars().filter(|c| ":?".contains(*c)).count();
        if !text.contains('*') && separators < arn::SEPARATORS {
            return Err(ValueError::of::<Self>(
                "has no `*` and fewer than the six parts of an ARN",
            ));
        }
        Ok(ArnPattern(Pattern(text.to_owned())))
    }
}

/// A pattern for names of integrations. AWS limits the length of names and does not document their characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamePattern(Pattern);

impl From<NamePattern> for Pattern {
    fn from(pattern: NamePattern) -> Self {
        pattern.0
    }
}

impl Checked for NamePattern {
    const EXPECTED: &'static str = r"a pattern for a name, at most 128 characters; `*` matches any characters, `?` matches one character; write `?` for each of []{}\^$|";
}

impl FromStr for NamePattern {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        check_length::<Self>(text, 1, MAX_NAME_CHARACTERS)?;
        if text.trim() != text {
            return Err(ValueError::of::<Self>("begins or ends with a space"));
        }
        // Characters of regular expressions and shell patterns would match only themselves, so the pattern would hide everything.
        reject_characters::<Self>(text, |c| c.is_control() || r"[]{}\^$|".contains(c))?;
        Ok(NamePattern(Pattern(text.to_owned())))
    }
}
