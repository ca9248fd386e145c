//! `tag_labels`: tags of integrations that become labels, and the names of these labels.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use super::field::{Field, Reader, Section};
use super::value::{Checked, ValueError, check_length};
use super::yaml::{Node, NodePath};

const TAG_LABEL_KEYS: &[&str] = &["tag", "label"];

/// AWS allows at most 50 tags per resource.
const MAX_TAGS: usize = 50;

/// The labels that `aws_glue_integration_info` always has.
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

/// A tag that becomes a label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagLabel {
    pub tag: TagKey,
    pub label: LabelName,
}

/// The key of a tag, which is case-sensitive.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TagKey(String);

impl TagKey {
    /// Returns the key as AWS spells it.
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

impl fmt::Display for TagKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A label that a user may add to `aws_glue_integration_info`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LabelName(String);

impl LabelName {
    /// Returns the name as it appears in the exposition.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the default label of a tag. Label names cannot contain other characters.
    fn default_for(tag: &TagKey) -> Self {
        let valid = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
        Self(format!(
            "tag_{}",
            tag.0.chars().map(valid).collect::<String>()
        ))
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
        super::value::check_characters::<Self>(text, "_")?;
        if text.starts_with(|first: char| first.is_ascii_digit()) {
            return Err(ValueError::of::<Self>("begins with a digit"));
        }
        if text.starts_with("__") {
            return Err(ValueError::of::<Self>(
                "begins with two underscores, which Prometheus reserves",
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for LabelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Reader {
    /// Reads the entries of `tag_labels` in their order.
    pub(super) fn tag_labels(&mut self, top: &Section<'_>) -> Vec<TagLabel> {
        let Some((node, at)) = top.get("tag_labels") else {
            return Vec::new();
        };
        let Some(items) = self.items(
            node,
            &at,
            "a list `[…]`; each element: a map with the keys tag, label",
        ) else {
            return Vec::new();
        };
        if items.len() > MAX_TAGS {
            let text = format!("has {} entries; allowed: at most {MAX_TAGS}", items.len());
            self.error(&at, text);
            return Vec::new();
        }
        let mut labels = Vec::new();
        let mut tags: HashMap<TagKey, NodePath> = HashMap::new();
        let mut names: HashMap<LabelName, NodePath> = HashMap::new();
        for (i, item) in items.iter().enumerate() {
            labels.extend(self.tag_label(item, &at.item(i), &mut tags, &mut names));
        }
        labels
    }

    fn tag_label(
        &mut self,
        item: &Node,
        at: &NodePath,
        tags: &mut HashMap<TagKey, NodePath>,
        names: &mut HashMap<LabelName, NodePath>,
    ) -> Option<TagLabel> {
        let fields = self.section(item, at, TAG_LABEL_KEYS)?;
        let tag = self.value::<TagKey>(&fields, "tag");
        if let Field::Absent = tag {
            self.error(at, "`tag` is missing; each entry needs a tag");
        }
        let label = self.value::<LabelName>(&fields, "label");
        let (tag, tag_at) = match tag {
            Field::Valid(tag, at) => (tag, at),
            Field::Absent | Field::Invalid => return None,
        };
        if let Some(first) = tags.insert(tag.clone(), tag_at.clone()) {
            let text = format!(
                "{} is already listed as {}",
                self.quote(tag.as_str()),
                first.path
            );
            self.error(&tag_at, text);
            return None;
        }
        let (label, label_at) = match label {
            Field::Valid(label, at) => (label, at),
            Field::Absent => (LabelName::default_for(&tag), tag_at),
            Field::Invalid => return None,
        };
        let shown = self.quote(label.as_str());
        if EXPORTER_LABELS.contains(&label.as_str()) {
            let text = format!(
                "the exporter already sets the label {shown}; allowed: any label except {}",
                EXPORTER_LABELS.join(", ")
            );
            self.error(&label_at, text);
            return None;
        }
        if TARGET_LABELS.contains(&label.as_str()) {
            let text = format!(
                "Prometheus sets the label {shown} on every target; allowed: any label except {}",
                TARGET_LABELS.join(", ")
            );
            self.error(&label_at, text);
            return None;
        }
        if let Some(first) = names.insert(label.clone(), label_at.clone()) {
            let text = format!(
                "the label {shown} is already the label of {}; set another `label` for one of them",
                first.path
            );
            self.error(&label_at, text);
            return None;
        }
        Some(TagLabel { tag, label })
    }
}
