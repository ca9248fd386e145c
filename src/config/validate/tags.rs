//! The rules for `tag_labels`.

use crate::config::schema::TagLabelKeys;
use crate::config::value::{LabelName, TagLabel};
use crate::toolkit::yaml::{Field, Parsed, Report};
use std::collections::HashMap;

/// AWS allows at most 50 tags per resource.
const MAX_TAGS: usize = 50;
const EXPORTER_LABELS: [&str; 8] = [
    "aws_account_id",
    "aws_region",
    "integration_arn",
    "integration_name",
    "source_arn",
    "target_arn",
    "source_service",
    "target_service",
];

/// The labels that Prometheus sets on each target. It would rename ours, or replace the target's with `honor_labels`.
const TARGET_LABELS: [&str; 2] = ["job", "instance"];

pub(super) fn tag_labels(report: &Report, field: Field<Vec<Field<TagLabelKeys>>>) -> Vec<TagLabel> {
    let Field::Valid(entries, at) = field else {
        return Vec::new();
    };
    if entries.len() > MAX_TAGS {
        let count = entries.len();
        let text = format!("has {count} entries; allowed: at most {MAX_TAGS}");
        report.error(at, text);
        return Vec::new();
    }
    let (mut labels, mut tags, mut names) = (Vec::new(), HashMap::new(), HashMap::new());
    for (TagLabelKeys { tag, label }, at) in entries.into_iter().filter_map(Field::located) {
        let missing = "`tag` is missing; each entry needs a tag";
        let Some((Parsed(tag), tag_at)) = report.required(tag, at, missing) else {
            continue;
        };
        if let Some(first) = tags.insert(tag.clone(), tag_at) {
            report.already_listed(tag_at, tag.as_str(), first);
            continue;
        }
        let default = Parsed(LabelName::default_for(&tag));
        let Some((Parsed(label), label_at)) = label.located_or(default, tag_at) else {
            continue;
        };
        let shown = report.quote(label.as_str());
        let setters: [(&str, &[&str]); 2] = [
            ("the exporter already sets the label", &EXPORTER_LABELS),
            ("Prometheus already sets the label", &TARGET_LABELS),
        ];
        let mut setters = setters.iter();
        let reserved = setters.find(|(_, labels)| labels.contains(&label.as_str()));
        if let Some((why, labels)) = reserved {
            let allowed = labels.join(", ");
            let text = format!("{why} {shown}; allowed: any label except {allowed}");
            report.error(label_at, text);
        } else if let Some(first) = names.insert(label.clone(), label_at) {
            let first = report.path(first);
            let text = format!(
                "the label {shown} is already the label of {first}; set another `label` for one of them"
            );
            report.error(label_at, text);
        }
        labels.push(TagLabel { tag, label });
    }
    labels
}
