//! Glob patterns with `*` and `?`, as in the ARNs of IAM policies.

use super::value::{Checked, ValueError, check_length, reject_characters};
use crate::arn;
use std::fmt;
use std::str::FromStr;
use wildmatch::WildMatch;

/// AWS's limit for the ARN of a source or a target; names of integrations are shorter.
const MAX_CHARACTERS: usize = 512;

/// A glob pattern that must match a whole text and is case-sensitive. `*` matches any number of characters, including `/` and `:`;
/// `?` matches one character; every other character matches itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    pub fn matches(&self, text: &str) -> bool {
        WildMatch::new(&self.0).matches(text)
    }

    pub(super) fn matches_everything(&self) -> bool {
        self.0.chars().all(|c| c == '*')
    }

    pub fn check_arn(&self) -> Result<(), ValueError> {
        let text = self.as_str();
        reject_characters::<Self>(text, char::is_whitespace)?;
        let literal = text.split(['*', '?']).next().unwrap_or_default();
        if literal.len() == text.len() {
            arn::check_arn::<Self>(text)?;
        } else {
            arn::check_prefix::<Self>(literal)?;
        }
        let separators = text.chars().filter(|c| ":?".contains(*c)).count();
        if !text.contains('*') && separators < arn::SEPARATORS {
            let why = "has no `*` and fewer than the six parts of an ARN";
            return Err(ValueError::of::<Self>(why));
        }
        Ok(())
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Checked for Pattern {
    const EXPECTED: &'static str = r"a pattern for a whole ARN or name, at most 512 characters; `*` matches any characters including `/` and `:`, `?` matches one character; write `?` for each of []{}\^$|";
}

impl FromStr for Pattern {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        check_length::<Self>(text, 1, MAX_CHARACTERS)?;
        if text.trim() != text {
            return Err(ValueError::of::<Self>("begins or ends with a space"));
        }
        // Characters of regular expressions and shell patterns would match only themselves, so the pattern would hide everything.
        reject_characters::<Self>(text, |c| c.is_control() || r"[]{}\^$|".contains(c))?;
        Ok(Pattern(text.to_owned()))
    }
}
