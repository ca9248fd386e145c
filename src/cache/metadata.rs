//! Names and tags of the integrations of one scope and region, the labels made of them, and which integrations are excluded by name.
//! An integration keeps its last good name and tags as long as it is shown, also as missing, because AWS never reuses an ARN.

use super::by_arn;
use super::failures::failed;
use crate::arn::canonical_arn;
use crate::clock::Timestamp;
use crate::config::{Query, ScopeRegion, Selection, TagLabel};
use crate::glue::{Metadata as Answer, MetadataFilter};
use crate::snapshot::{Description, Failed, MetadataLabels};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

#[derive(Debug, Default)]
pub(crate) struct TagLabels {
    labels: Vec<(String, Arc<str>)>,
    pub empty: Arc<MetadataLabels>,
}

impl TagLabels {
    pub fn new(labels: &[TagLabel]) -> Self {
        let labels = labels.iter();
        let labels = labels.map(|it| (it.tag.as_str().to_owned(), it.label.as_str().into()));
        let mut labels = Self {
            labels: labels.collect(),
            empty: Arc::default(),
        };
        labels.empty = labels.labels_of(&Description::default());
        labels
    }

    pub fn tags(&self) -> BTreeSet<String> {
        self.labels.iter().map(|(tag, _)| tag.clone()).collect()
    }

    fn labels_of(&self, description: &Description) -> Arc<MetadataLabels> {
        let value = |tag: &String| description.tags.get(tag).cloned().unwrap_or_default();
        let tags = self.labels.iter();
        let tags = tags.map(|(tag, label)| (Arc::clone(label), value(tag)));
        Arc::new(MetadataLabels {
            name: description.name.clone(),
            tags: tags.collect(),
        })
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Metadata {
    /// By canonical ARN.
    #[serde(rename = "known", with = "by_arn")]
    pub entries: BTreeMap<String, MetadataEntry>,
    #[serde(skip)]
    selection: Arc<Selection>,
    /// Canonical ARNs of `integration_arns`. They are exported whatever their name is.
    #[serde(skip)]
    configured: HashSet<String>,
    #[serde(skip)]
    last_request: Option<MetadataFilter>,
    /// True if the last request succeeded, `None` before the first one.
    pub up: Option<bool>,
    /// True while a scrape waits for the first answer or failure.
    #[serde(skip)]
    pub blocks_scrape: bool,
    #[serde(skip)]
    pub failure: Option<Arc<Failed>>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct MetadataEntry {
    #[serde(rename = "described")]
    description: Description,
    #[serde(skip)]
    pub labels: Arc<MetadataLabels>,
    #[serde(rename = "seen")]
    pub observed_at: Timestamp,
    /// True if the selection excludes this name. Kept, so that publishing a snapshot does not match patterns.
    #[serde(skip)]
    excluded: bool,
}

impl Metadata {
    pub fn new(watch: &ScopeRegion, blocks_scrape: bool) -> Self {
        let configured = watch.queries.iter().filter_map(|query| match query {
            Query::Integration(arn) => Some(canonical_arn(arn.as_str()).into_owned()),
            Query::Target(_) | Query::All => None,
        });
        Self {
            selection: Arc::clone(&watch.selection),
            configured: configured.collect(),
            blocks_scrape,
            ..Self::default()
        }
    }

    pub fn excludes(&self, arn: &str) -> bool {
        // Usually names exclude nothing: skip the lookup.
        self.selection.uses_names() && self.entry(arn).is_some_and(|entry| entry.excluded)
    }

    pub fn entry(&self, arn: &str) -> Option<&MetadataEntry> {
        self.entries.get(canonical_arn(arn).as_ref())
    }

    pub fn inherit(&mut self, before: Self) {
        *self = Self {
            selection: std::mem::take(&mut self.selection),
            configured: std::mem::take(&mut self.configured),
            ..before
        };
        for (arn, entry) in &mut self.entries {
            let name = &entry.description.name;
            entry.excluded = !self.configured.contains(arn) && !self.selection.matches_name(name);
        }
    }

    /// Returns true if a request should not wait for its schedule: it is the first one, it needs another tag, or there is a new
    /// integration. An integration that the last request did not find is not new.
    pub fn due(&self, wanted: &MetadataFilter) -> bool {
        self.last_request.as_ref().is_none_or(|last| {
            let is_new = |arn: &String| !last.arns.contains(arn) && !self.entries.contains_key(arn);
            !wanted.tags.is_subset(&last.tags) || wanted.arns.iter().any(is_new)
        })
    }

    pub fn apply(
        &mut self,
        request: MetadataFilter,
        answer: Answer,
        arns: &BTreeSet<String>,
        now: Timestamp,
        labels: &TagLabels,
    ) {
        self.entries
            .retain(|arn, _| arns.contains(arn) || self.configured.contains(arn));
        self.up = Some(answer.outcome.is_ok());
        let error = answer.outcome.as_ref().err();
        self.failure = error.map(|error| failed(&[error], now.unix));
        self.blocks_scrape = false;
        self.last_request = Some(request);
        for (arn, mut description) in answer.found {
            let before = self.entries.get(&arn);
            // Every integration has a name, so keep the last one if the answer lacks it.
            if let Some(before) = before.filter(|_| description.name.is_empty()) {
                description.name.clone_from(&before.description.name);
            }
            let rendered = labels.labels_of(&description);
            // Keep the old pointer: rendering compares pointers first.
            let unchanged = before.filter(|before| before.labels == rendered);
            let entry = MetadataEntry {
                labels: unchanged.map_or(rendered, |before| Arc::clone(&before.labels)),
                observed_at: now,
                excluded: !self.configured.contains(&arn)
                    && !self.selection.matches_name(&description.name),
                description,
            };
            self.entries.insert(arn, entry);
        }
    }

    pub fn relabel(&mut self, labels: &TagLabels) {
        let tags = labels.tags();
        for entry in self.entries.values_mut() {
            entry.description.tags.retain(|tag, _| tags.contains(tag));
            entry.labels = labels.labels_of(&entry.description);
        }
    }
}
