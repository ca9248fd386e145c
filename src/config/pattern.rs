//! Patterns in which `*` and `?` stand for what is not written out, as in the ARNs of IAM's own policies.

use std::fmt;
use std::str::FromStr;

use super::arn;
use super::value::{Checked, ValueError, check_length};

/// As long as a source's or a target's ARN may be (AWS's own bound).
const MAX_ARN_CHARACTERS: usize = 512;
/// As long as the name of an integration may be (AWS's own bound).
const MAX_NAME_CHARACTERS: usize = 128;

/// What a text is compared with, as a whole and with regard to case: `*` is any run of characters, also an empty one and one with `/`
/// and `:` in it, `?` is any one character, everything else is itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pattern(String);

impl Pattern {
    /// As the configuration has it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the whole of `text` is like this.
    pub fn matches(&self, text: &str) -> bool {
        glob_matches(text, &self.0)
    }

    /// Whether it was probably meant as a regular expression, which matches nothing as a pattern.
    pub(super) fn looks_like_regex(&self) -> bool {
        [".*", ".+", "|"].iter().any(|part| self.0.contains(part)) || self.0.ends_with('$')
    }

    /// Whether there is nothing that is not like this.
    pub(super) fn matches_everything(&self) -> bool {
        self.0.chars().all(|c| c == '*')
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A pattern of ARNs.
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
        // What other programs' patterns give a meaning to would be taken as it is here, match nothing and hide what it was to show.
        let no_part = |c: &char| c.is_whitespace() || c.is_control() || r"[]{}\".contains(*c);
        if let Some(c) = text.chars().find(no_part) {
            return Err(ValueError::of::<Self>(format!(
                "contains the invalid character `{}`",
                c.escape_debug()
            )));
        }
        let literal = text.split(['*', '?']).next().unwrap_or_default();
        if literal.len() == text.len() {
            arn::check_whole::<Self>(text)?;
        } else {
            arn::check_beginning::<Self>(literal)?;
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

/// A pattern of the names of integrations. AWS bounds their length and says nothing of their characters.
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
        // Taken as it is, what was meant as a regular expression or a shell's pattern would hide what it was to show.
        let other_language = |c: &char| c.is_control() || r"[]{}\^$|".contains(*c);
        if let Some(c) = text.chars().find(other_language) {
            return Err(ValueError::of::<Self>(format!(
                "contains the invalid character `{}`",
                c.escape_debug()
            )));
        }
        Ok(NamePattern(Pattern(text.to_owned())))
    }
}

/// Only the last `*` is ever tried anew: what the ones before it took first leaves the most for the rest. So it takes at most the product
/// of both lengths, whatever the pattern.
fn glob_matches(text: &str, pattern: &str) -> bool {
    let (mut text, mut pattern) = (text.chars(), pattern.chars());
    // What comes behind the last `*`, and where it was last tried.
    let mut retry = None;
    loop {
        let here = text.clone();
        match (pattern.next(), text.next()) {
            (Some('*'), _) => {
                text = here;
                retry = Some((pattern.clone(), text.clone()));
            }
            (None, None) => return true,
            (Some(_), None) => return false,
            (Some('?'), Some(_)) => {}
            (Some(wanted), Some(found)) if wanted == found => {}
            (_, Some(_)) => match &mut retry {
                None => return false,
                Some((behind, tried)) => {
                    tried.next();
                    (pattern, text) = (behind.clone(), tried.clone());
                }
            },
        }
    }
}
