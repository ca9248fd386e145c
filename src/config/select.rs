//! Which of the integrations that a listing brings are watched: `include` and `exclude` of a scope, and the shard.

use super::field::{Field, List, Reader, Section};
use super::pattern::{ArnPattern, NamePattern, Pattern};
use super::value::Checked;
use super::{IntegrationArn, TargetArn};
use crate::shard::Shard;

const PATTERN_KEYS: &[&str] = &["source_arn", "target_arn", "name"];
/// Each integration of a listing is compared with each of them.
const MAX_PATTERNS: usize = 100;

/// Which of the integrations that a listing brings are watched. Those that a configuration names are not subject to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// One of each list that is not empty must match.
    pub include: Patterns,
    /// None may match.
    pub exclude: Patterns,
    /// The shard whose it must be, in a scope of which each has a part.
    pub shard: Option<Shard>,
}

/// The patterns of `include` or `exclude`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Patterns {
    pub source_arn: Vec<Pattern>,
    pub target_arn: Vec<Pattern>,
    /// Only of a scope that asks for names.
    pub name: Vec<Pattern>,
}

/// An integration, as far as a selection looks at it in a listing. What is not known of it is empty.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// In the spelling `integration:ID`.
    pub arn: &'a str,
    pub source_arn: &'a str,
    pub target_arn: &'a str,
}

impl Selection {
    /// Whether it is watched, whatever its name is. What AWS did not send hides nothing: a pager had better hear of one too many.
    pub fn matches(&self, candidate: Candidate<'_>) -> bool {
        self.include.verdict(candidate).all(|matches| matches)
            && !self.exclude.verdict(candidate).any(|matches| matches)
            && self.shard.is_none_or(|shard| shard.owns(&[candidate.arn]))
    }

    /// Whether names have a say in it.
    pub fn uses_names(&self) -> bool {
        !self.include.name.is_empty() || !self.exclude.name.is_empty()
    }

    /// Whether one of this name is watched. A listing does not tell the name: it comes later, or never, and is empty until then, which hides
    /// nothing either.
    pub fn matches_name(&self, name: &str) -> bool {
        let say = |patterns: &Patterns| verdict(&patterns.name, name);
        say(&self.include).unwrap_or(true) && !say(&self.exclude).unwrap_or(false)
    }
}

impl Patterns {
    /// Each list with its key.
    pub fn by_key(&self) -> [(&'static str, &[Pattern]); 3] {
        [
            ("source_arn", &self.source_arn),
            ("target_arn", &self.target_arn),
            ("name", &self.name),
        ]
    }

    /// Whether one of its patterns matches, for each list about what a listing tells.
    fn verdict(&self, candidate: Candidate<'_>) -> impl Iterator<Item = bool> {
        [
            verdict(&self.source_arn, candidate.source_arn),
            verdict(&self.target_arn, candidate.target_arn),
        ]
        .into_iter()
        .flatten()
    }
}

/// Whether one of the patterns matches; none if there are none, or what they are about is not known.
fn verdict(patterns: &[Pattern], value: &str) -> Option<bool> {
    let says = !patterns.is_empty() && !value.is_empty();
    says.then(|| patterns.iter().any(|pattern| pattern.matches(value)))
}

/// What is given under `include` or `exclude`.
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

    /// The lists under `key`.
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

    /// What would never be shown although it is asked for.
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
                        "{} is also included, by {}; nothing would be left",
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
            let in_vain = if excluded.items.iter().any(matches) {
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
                format!("{target} is {in_vain}; no integration that writes into it would be shown"),
            );
        }
    }
}
