//! The rules for `include` and `exclude`.

use crate::arn::{IntegrationArn, TargetArn};
use crate::config::pattern::Pattern;
use crate::config::schema::PatternKeys;
use crate::config::selection::{Patterns, Selection};
use crate::toolkit::yaml::{Field, List, Report};

/// Limits the cost of a poll, which compares each listed integration with each pattern.
const MAX_PATTERNS: usize = 100;

type Lists = [List<Pattern>; 3];

pub(super) fn selection(
    report: &Report,
    [include, exclude]: [Field<PatternKeys>; 2],
    integrations: &List<IntegrationArn>,
    targets: &List<TargetArn>,
    describe: &Field<bool>,
) -> Selection {
    if !integrations.items.is_empty() && targets.is_empty() {
        for at in [include.at(), exclude.at()].into_iter().flatten() {
            let text = "has no effect, because the scope's `integration_arns` are always watched; \
                        allowed: together with `target_arns`, or in a scope without ARNs";
            report.error(at, text);
        }
    }
    let (include, exclude) = (lists(report, include), lists(report, exclude));
    for (pattern, at) in exclude.iter().flat_map(|list| &list.items) {
        if pattern.matches_everything() {
            report.reject(*at, pattern.as_str(), "excludes everything");
        }
    }
    let ([_, included, _], [_, excluded, _]) = (&include, &exclude);
    for (target, at) in &targets.items {
        let matches = |pattern: &Pattern| pattern.matches(target.as_str());
        let reason = if excluded.iter().any(matches) {
            "excluded by exclude.target_arn"
        } else if !included.has_errors && !included.is_empty() && !included.iter().any(matches) {
            "not included by include.target_arn"
        } else {
            continue;
        };
        let why = format!("is {reason}; no integration that writes into it would be watched");
        report.reject(*at, target.as_str(), why);
    }
    if matches!(describe, Field::Absent | Field::Valid(false, _)) {
        for at in [include[2].at, exclude[2].at].into_iter().flatten() {
            let text = "has no effect, because the scope does not fetch names; allowed: with `describe: true` in the scope, \
                        which needs the permission glue:DescribeIntegrations";
            report.error(at, text);
        }
    }
    Selection {
        include: patterns(include),
        exclude: patterns(exclude),
        shard: None,
    }
}

fn patterns(lists: Lists) -> Patterns {
    let [source_arn, target_arn, name] = lists.map(List::values);
    Patterns {
        source_arn,
        target_arn,
        name,
    }
}

fn lists(report: &Report, field: Field<PatternKeys>) -> Lists {
    let Field::Valid(keys, at) = field else {
        return Lists::default();
    };
    let lists = [keys.source_arn, keys.target_arn, keys.name];
    for (pattern, at) in lists[..2].iter().flat_map(|list| &list.items) {
        if let Err(error) = pattern.check_arn() {
            report.reject(*at, pattern.as_str(), error);
        }
    }
    if lists.iter().all(List::is_absent) {
        let text = "is empty; remove it or set source_arn, target_arn, name";
        report.error(at, text);
    }
    for list in &lists {
        report.reject_duplicates(list, Pattern::to_string);
        let count = list.items.len();
        if let Some(at) = list.at
            && (list.is_empty() || count > MAX_PATTERNS)
        {
            let text = format!("has {count} patterns; allowed: 1 to {MAX_PATTERNS}");
            report.error(at, text);
        }
    }
    lists
}
