//! Filters for listed integrations: `include` and `exclude` of a scope, and the shard.

use super::field::{Field, List, Reader, Section};
use super::pattern::{ArnPattern, NamePattern, Pattern};
use super::value::Checked;
use super::{IntegrationArn, TargetArn};
use crate::shard::Shard;

const PATTERN_KEYS: &[&str] = &["source_arn", "target_arn", "name"];
/// Limits the cost of a poll, which compares each listed integration with each pattern.
const MAX_PATTERNS: usize = 100;

/// Decides which listed integrations are watched. It does not apply to `integration_arns`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// At least one pattern of each list that is not empty must match.
    pub include: Patterns,
    /// No pattern may match.
    pub exclude: Patterns,
    /// The shard that must own the integration, with `shard_by: integration`.
    pub shard: Option<Shard>,
}

/// The patterns of `include` or `exclude`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Patterns {
    pub source_arn: Vec<Pattern>,
    pub target_arn: Vec<Pattern>,
    /// Empty unless the scope fetches names.
    pub name: Vec<Pattern>,
}

/// The fields of a listed integration that a selection compares. Unknown fields are empty.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// In the spelling `integration:ID`.
    pub arn: &'a str,
    pub source_arn: &'a str,
    pub target_arn: &'a str,
}

impl Selection {
    /// Returns whether the integration is watched, without regard to its name. Patterns for an ARN that AWS did not send are
    /// ignored, because an alert too many is better than a missed one.
    pub fn matches(&self, candidate: Candidate<'_>) -> bool {
        self.include.verdicts(candidate).all(|matches| matches)
            && !self.exclude.verdicts(candidate).any(|matches| matches)
            && self.shard.is_none_or(|shard| shard.owns(&[candidate.arn]))
    }

    /// Returns whether any pattern is for names.
    pub fn uses_names(&self) -> bool {
        !self.include.name.is_empty() || !self.exclude.name.is_empty()
    }

    /// Returns whether an integration with this name is watched. The name is fetched after the listing and is empty until then; an
    /// empty name always matches.
    pub fn matches_name(&self, name: &str) -> bool {
        let name_verdict = |patterns: &Patterns| verdict(&patterns.name, name);
        name_verdict(&self.include).unwrap_or(true) && !name_verdict(&self.exclude).unwrap_or(false)
    }
}

impl Patterns {
    /// Returns each list with its key.
    pub fn by_key(&self) -> [(&'static str, &[Pattern]); 3] {
        [
            ("source_arn", &self.source_arn),
            ("target_arn", &self.target_arn),
            ("name", &self.name),
        ]
    }

    /// Returns the verdicts of the lists that apply to a listing.
    fn verdicts(&self, candidate: Candidate<'_>) -> impl Iterator<Item = bool> {
        [
            verdict(&self.source_arn, candidate.source_arn),
            verdict(&self.target_arn, candidate.target_arn),
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

/// The lists under `include` or `exclude`, with their locations.
struct Lists {
    source_arn: List<Pattern>,
    target_arn: List<Pattern>,
    name: List<Pattern>,
}

impl Lists {
    fn all(&self) -> [&List<Pattern>; 3] {
        [&self.source_arn, &self.target_arn, &self.name]
    }

    fn patterns(self) -> Patterns {
        Patterns {
            source_arn: self.source_arn.values(),
            target_arn: self.target_arn.values(),
            name: self.name.values(),
        }
    }
}

impl Reader {
    pub(super) fn selection(
        &mut self,
        fields: &Section<'_>,
        integrations: &List<IntegrationArn>,
        targets: &List<TargetArn>,
        describe: &Field<bool>,
    ) -> Selection {
        let include = self.lists(fields, "include");
        let exclude = self.lists(fields, "exclude");
        if !integrations.items.is_empty() && targets.items.is_empty() && targets.complete {
            for (_, at) in ["include", "exclude"]
                .map(|key| fields.get(key))
                .iter()
                .flatten()
            {
                self.error(
                    at,
                    "has no effect, because the scope's `integration_arns` are always shown; \
                     allowed: together with `target_arns`, or in a scope without ARNs",
                );
            }
        }
        self.reject_empty_selection(&include, &exclude, targets);
        if let Field::Absent | Field::Valid(false, _) = describe {
            for at in [&include, &exclude]
                .iter()
                .filter_map(|l| l.name.at.as_ref())
            {
                self.error(
                    at,
                    "has no effect, because the scope does not fetch names; \
                     allowed: with `describe: true` in the scope, which needs the permission glue:DescribeIntegrations",
                );
            }
        }
        Selection {
            include: include.patterns(),
            exclude: exclude.patterns(),
            shard: None,
        }
    }

    /// Reads the lists under `key`.
    fn lists(&mut self, fields: &Section<'_>, key: &str) -> Lists {
        let given = fields.get(key).and_then(|(node, at)| {
            let own = self.section(node, &at, PATTERN_KEYS)?;
            if PATTERN_KEYS.iter().all(|name| own.get(name).is_none()) {
                let keys = PATTERN_KEYS.join(", ");
                self.error(&at, format!("is empty; remove it or set {keys}"));
            }
            Some(own)
        });
        let Some(own) = given else {
            return Lists {
                source_arn: List::default(),
                target_arn: List::default(),
                name: List::default(),
            };
        };
        Lists {
            source_arn: self.patterns::<ArnPattern>(&own, "source_arn"),
            target_arn: self.patterns::<ArnPattern>(&own, "target_arn"),
            name: self.patterns::<NamePattern>(&own, "name"),
        }
    }

    fn patterns<T: Checked + Into<Pattern>>(
        &mut self,
        own: &Section<'_>,
        key: &str,
    ) -> List<Pattern> {
        let listed = self.list::<T>(own, key).map(Into::into);
        self.reject_duplicates(&listed, ToString::to_string);
        if let Some(at) = &listed.at {
            let count = listed.items.len();
            if count == 0 && listed.complete {
                self.error(
                    at,
                    format!("is empty; remove it or list 1 to {MAX_PATTERNS} patterns"),
                );
            } else if count > MAX_PATTERNS {
                self.error(
                    at,
                    format!("has {count} patterns; allowed: 1 to {MAX_PATTERNS}"),
                );
            }
        }
        listed
    }

    /// Reports patterns and targets for which no integration would be left.
    fn reject_empty_selection(
        &mut self,
        include: &Lists,
        exclude: &Lists,
        targets: &List<TargetArn>,
    ) {
        for (included, excluded) in include.all().into_iter().zip(exclude.all()) {
            for (pattern, at) in &excluded.items {
                if pattern.matches_everything() {
                    let text = format!("{} excludes everything", self.quote(pattern.as_str()));
                    self.error(at, text);
                } else if let Some((_, first)) = included.items.iter().find(|(p, _)| p == pattern) {
                    let text = format!(
                        "{} is also included by {}; nothing that matches it would be shown",
                        self.quote(pattern.as_str()),
                        first.path
                    );
                    self.error(at, text);
                }
            }
        }
        let (included, excluded) = (&include.target_arn, &exclude.target_arn);
        for (target, at) in &targets.items {
            let matches = |(pattern, _): &(Pattern, _)| pattern.matches(target.as_str());
            let reason = if excluded.items.iter().any(matches) {
                "excluded by exclude.target_arn"
            } else if included.complete
                && !included.items.is_empty()
                && !included.items.iter().any(matches)
            {
                "not included by include.target_arn"
            } else {
                continue;
            };
            let target = self.quote(target.as_str());
            self.error(
                at,
                format!("{target} is {reason}; no integration that writes into it would be shown"),
            );
        }
    }
}
