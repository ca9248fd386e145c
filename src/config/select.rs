//! Which of the integrations that a listing brings are watched: `include` and `exclude` of a scope, and the shard.

use super::field::{Fields, Listed, Reader};
use super::pattern::ArnPattern;
use super::{IntegrationArn, TargetArn};
use crate::shard::Shard;

const PATTERNS: &[&str] = &["source_arn", "target_arn"];
/// Each integration of a listing is compared with each of them.
const MOST_PATTERNS: usize = 100;

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
    pub source_arn: Vec<ArnPattern>,
    pub target_arn: Vec<ArnPattern>,
}

/// An integration, as far as a selection looks at it. What is not known of it is empty.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// In the spelling `integration:ID`.
    pub arn: &'a str,
    pub source_arn: &'a str,
    pub target_arn: &'a str,
}

impl Selection {
    /// Whether it is watched. What AWS did not send hides nothing: a pager had better hear of one too many.
    pub fn admits(&self, candidate: Candidate<'_>) -> bool {
        self.include.say_of(candidate).all(|matches| matches)
            && !self.exclude.say_of(candidate).any(|matches| matches)
            && self.shard.is_none_or(|shard| shard.owns(&[candidate.arn]))
    }
}

impl Patterns {
    /// Each list with its key.
    pub fn by_key(&self) -> [(&'static str, &[ArnPattern]); 2] {
        [
            ("source_arn", &self.source_arn),
            ("target_arn", &self.target_arn),
        ]
    }

    /// Whether one of its patterns matches, for each list that there is, if what it is about is known.
    fn say_of(&self, candidate: Candidate<'_>) -> impl Iterator<Item = bool> {
        [
            (&self.source_arn, candidate.source_arn),
            (&self.target_arn, candidate.target_arn),
        ]
        .into_iter()
        .filter(|(patterns, value)| !patterns.is_empty() && !value.is_empty())
        .map(|(patterns, value)| patterns.iter().any(|pattern| pattern.matches(value)))
    }
}

impl Reader {
    pub(super) fn selection(
        &mut self,
        fields: &Fields<'_>,
        integrations: &Listed<IntegrationArn>,
        targets: &Listed<TargetArn>,
    ) -> Selection {
        let include = self.patterns(fields, "include");
        let exclude = self.patterns(fields, "exclude");
        if !integrations.items.is_empty() && targets.items.is_empty() && targets.complete {
            for (_, at) in ["include", "exclude"]
                .map(|key| fields.get(key))
                .iter()
                .flatten()
            {
                self.mistake(
                    at,
                    "the scope's `integration_arns` are always shown, and it lists no others that this would choose from; \
                     allowed: beside `target_arns`, or without either",
                );
            }
        }
        self.nothing_left(&include, &exclude, targets);
        let patterns = |listed: [Listed<ArnPattern>; 2]| {
            let [source_arn, target_arn] = listed.map(Listed::values);
            Patterns {
                source_arn,
                target_arn,
            }
        };
        Selection {
            include: patterns(include),
            exclude: patterns(exclude),
            shard: None,
        }
    }

    /// The lists under `key`, in the order of `PATTERNS`.
    fn patterns(&mut self, fields: &Fields<'_>, key: &str) -> [Listed<ArnPattern>; 2] {
        let given = fields.get(key).and_then(|(node, at)| {
            let own = self.fields(node, &at, PATTERNS)?;
            if PATTERNS.iter().all(|name| own.get(name).is_none()) {
                let keys = PATTERNS.join(", ");
                self.mistake(&at, format!("is empty; leave it out or give {keys}"));
            }
            Some(own)
        });
        let mut list = |name| {
            let listed = match &given {
                Some(own) => self.list::<ArnPattern>(own, name),
                None => Listed::default(),
            };
            self.no_twins(&listed, ToString::to_string);
            if let Some(at) = &listed.at {
                let count = listed.items.len();
                if count == 0 && listed.complete {
                    self.mistake(
                        at,
                        format!("is empty; leave it out or give 1 to {MOST_PATTERNS} patterns"),
                    );
                } else if count > MOST_PATTERNS {
                    self.mistake(
                        at,
                        format!("has {count} patterns; allowed: 1 to {MOST_PATTERNS}"),
                    );
                }
            }
            listed
        };
        [list(PATTERNS[0]), list(PATTERNS[1])]
    }

    /// What would never be shown although it is asked for.
    fn nothing_left(
        &mut self,
        include: &[Listed<ArnPattern>; 2],
        exclude: &[Listed<ArnPattern>; 2],
        targets: &Listed<TargetArn>,
    ) {
        for (included, excluded) in include.iter().zip(exclude) {
            for (pattern, at) in &excluded.items {
                if pattern.matches_everything() {
                    let text = format!("{} excludes everything", self.shown(pattern.as_str()));
                    self.mistake(at, text);
                } else if let Some((_, first)) = included.items.iter().find(|(p, _)| p == pattern) {
                    let text = format!(
                        "{} is included, as {}; nothing of it would be left",
                        self.shown(pattern.as_str()),
                        first.path
                    );
                    self.mistake(at, text);
                }
            }
        }
        let [_, included] = include;
        let [_, excluded] = exclude;
        for (target, at) in &targets.items {
            let matches = |(pattern, _): &(ArnPattern, _)| pattern.matches(target.as_str());
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
            let target = self.shown(target.as_str());
            self.mistake(
                at,
                format!("{target} is {in_vain}; nothing that writes into it would be shown"),
            );
        }
    }
}
