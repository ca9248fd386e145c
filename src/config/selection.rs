//! Filters for listed integrations: `include` and `exclude` of a scope, and the shard.

use super::pattern::Pattern;
use crate::arn::canonical_arn;
use crate::shard::Shard;
use crate::snapshot::Integration;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// At least one pattern of each list that is not empty must match.
    pub include: Patterns,
    /// No pattern may match.
    pub exclude: Patterns,
    pub shard: Option<Shard>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Patterns {
    pub source_arn: Vec<Pattern>,
    pub target_arn: Vec<Pattern>,
    /// Empty unless the scope fetches names.
    pub name: Vec<Pattern>,
}

impl Selection {
    /// Returns whether the integration is watched, without regard to its name. Patterns for an ARN that AWS did not send are
    /// ignored, because an alert too many is better than a missed one.
    pub fn matches(&self, integration: &Integration) -> bool {
        let arn = canonical_arn(&integration.arn);
        self.include.verdicts(integration).all(|matches| matches)
            && !self.exclude.verdicts(integration).any(|matches| matches)
            && self.shard.is_none_or(|shard| shard.owns(&[&arn]))
    }

    pub fn uses_names(&self) -> bool {
        !self.include.name.is_empty() || !self.exclude.name.is_empty()
    }

    /// The name is fetched after the listing and is empty until then; an empty name always matches.
    pub fn matches_name(&self, name: &str) -> bool {
        let name_verdict = |patterns: &Patterns| verdict(&patterns.name, name);
        name_verdict(&self.include).unwrap_or(true) && !name_verdict(&self.exclude).unwrap_or(false)
    }
}

impl Patterns {
    pub fn by_key(&self) -> [(&'static str, &[Pattern]); 3] {
        [
            ("source_arn", &self.source_arn),
            ("target_arn", &self.target_arn),
            ("name", &self.name),
        ]
    }

    fn verdicts(&self, integration: &Integration) -> impl Iterator<Item = bool> {
        [
            verdict(&self.source_arn, &integration.source_arn),
            verdict(&self.target_arn, &integration.target_arn),
        ]
        .into_iter()
        .flatten()
    }
}

/// Returns whether one of the patterns matches; `None` if there are no patterns or the value is unknown.
fn verdict(patterns: &[Pattern], value: &str) -> Option<bool> {
    let applies = !patterns.is_empty() && !value.is_empty();
    applies.then(|| patterns.iter().any(|pattern| pattern.matches(value)))
}
