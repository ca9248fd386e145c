//! Names and tags of the integrations of one scope and region, the labels made of them, and which integrations are excluded by name.
//!
//! An integration keeps its last good name and tags as long as the scope observes it. That is safe, because AWS never reuses an ARN.

use super::diagnostics::failed_request;
use super::stored::{StoredDescription, StoredMetadata};
use super::{IntegrationCache, Key};
use crate::arn::canonical_arn;
use crate::clock::Timestamp;
use crate::config::{Query, Selection, TagLabel, Watch};
use crate::glue::{Metadata as Answer, MetadataFilter};
use crate::snapshot::{Description, Failed, MetadataLabels};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use tokio::time::Instant;

/// Memory limit for names and tags.
const MAX_METADATA_BYTES: usize = 80 << 20;

/// The tags that become labels, in the order of the labels in the exposition.
#[derive(Debug, Default)]
pub(super) struct TagLabels {
    labels: Vec<(String, Arc<str>)>,
    /// Shared by all integrations without metadata.
    empty: Arc<MetadataLabels>,
}

impl TagLabels {
    pub fn new(labels: &[TagLabel]) -> Self {
        let mut labels = Self {
            labels: labels
                .iter()
                .map(|entry| {
                    (
                        entry.tag.as_str().to_owned(),
                        Arc::from(entry.label.as_str()),
                    )
                })
                .collect(),
            empty: Arc::default(),
        };
        labels.empty = labels.labels_of(&Description::default());
        labels
    }

    pub fn empty(&self) -> &Arc<MetadataLabels> {
        &self.empty
    }

    fn tags(&self) -> BTreeSet<String> {
        self.labels.iter().map(|(tag, _)| tag.clone()).collect()
    }

    fn labels_of(&self, description: &Description) -> Arc<MetadataLabels> {
        let value = |tag: &String| description.tags.get(tag).cloned().unwrap_or_default();
        let labels = self.labels.iter();
        Arc::new(MetadataLabels {
            name: description.name.clone(),
            tags: labels
                .map(|(tag, label)| (Arc::clone(label), value(tag)))
                .collect(),
        })
    }
}

/// The names and tags of the integrations of one scope and region.
#[derive(Debug)]
pub(super) struct Metadata {
    /// By canonical ARN.
    entries: BTreeMap<String, MetadataEntry>,
    /// The ARNs that the selection excludes by name. Stored, so that publishing a snapshot does not match patterns.
    excluded: HashSet<String>,
    /// Canonical ARNs of `integration_arns`. They are exported whatever their name is.
    configured: HashSet<String>,
    selection: Arc<Selection>,
    /// The ARNs that the last request did not find. They alone are no reason for another request.
    undescribed: BTreeSet<String>,
    /// The tags of the last request, `None` before the first request of this process.
    requested_tags: Option<BTreeSet<String>>,
    /// True if the last request succeeded, `None` before the first one.
    pub up: Option<bool>,
    /// True while a scrape waits for the first answer or failure.
    pub blocks_scrape: bool,
    /// Why the last request failed.
    pub failure: Option<Arc<Failed>>,
}

#[derive(Debug)]
pub(super) struct MetadataEntry {
    description: Description,
    pub labels: Arc<MetadataLabels>,
    pub observed_at: Instant,
}

impl Metadata {
    pub fn new(watch: &Watch) -> Self {
        let configured = watch.queries.iter().filter_map(|query| match query {
            Query::Integration(arn) => Some(canonical_arn(arn.as_str()).into_owned()),
            Query::Target(_) | Query::All => None,
        });
        Self {
            entries: BTreeMap::new(),
            excluded: HashSet::new(),
            configured: configured.collect(),
            selection: Arc::clone(&watch.selection),
            undescribed: BTreeSet::new(),
            requested_tags: None,
            up: None,
            blocks_scrape: true,
            failure: None,
        }
    }

    pub fn entries(&self) -> impl Iterator<Item = (&str, &MetadataEntry)> {
        self.entries.iter().map(|(arn, name)| (arn.as_str(), name))
    }

    /// Returns true if the selection excludes an integration by name. An integration without a known name is never excluded.
    pub fn is_excluded_by(&self, arn: &str) -> bool {
        // Usually nothing is excluded: skip making the canonical ARN.
        !self.excluded.is_empty() && self.excluded.contains(canonical_arn(arn).as_ref())
    }

    /// Inherits the names and tags of the scope as it was configured before a reload.
    pub fn inherit(&mut self, before: Self) {
        let now = std::mem::replace(self, before);
        (self.configured, self.selection) = (now.configured, now.selection);
        let entries = self.entries.iter();
        let excluded = entries.filter(|(arn, entry)| !self.admits(arn, &entry.description.name));
        self.excluded = excluded.map(|(arn, _)| arn.clone()).collect();
    }

    fn admits(&self, arn: &str, name: &str) -> bool {
        self.configured.contains(arn) || self.selection.matches_name(name)
    }

    /// Returns the name of an integration, `None` if it is unknown.
    pub fn name(&self, arn: &str) -> Option<&str> {
        let entry = self.entries.get(canonical_arn(arn).as_ref());
        entry.map(|entry| entry.description.name.as_str())
    }

    /// Returns the request to AWS for the integrations `arns`.
    pub fn wanted<'a>(
        &self,
        arns: impl Iterator<Item = &'a str>,
        labels: &TagLabels,
    ) -> MetadataFilter {
        MetadataFilter {
            arns: arns.map(|arn| canonical_arn(arn).into_owned()).collect(),
            tags: labels.tags(),
        }
    }

    /// Returns true if a request should not wait for its schedule: it is the first one, it needs another tag, or there is a new
    /// integration.
    pub fn due<'a>(&self, mut arns: impl Iterator<Item = &'a str>, labels: &TagLabels) -> bool {
        let is_known = |arn: &str| {
            let arn = canonical_arn(arn);
            self.entries.contains_key(arn.as_ref()) || self.undescribed.contains(arn.as_ref())
        };
        match &self.requested_tags {
            None => true,
            Some(tags) => !labels.tags().is_subset(tags) || arns.any(|arn| !is_known(arn)),
        }
    }

    /// Applies the answer that AWS gave at `now`. `arns` are the integrations that the scope observes now.
    pub fn apply<'a>(
        &mut self,
        request: MetadataFilter,
        answer: Answer,
        arns: impl Iterator<Item = &'a str>,
        now: Timestamp,
        labels: &TagLabels,
    ) {
        let at = now.instant;
        let seen: BTreeSet<String> = arns.map(|arn| canonical_arn(arn).into_owned()).collect();
        self.entries.retain(|arn, _| seen.contains(arn));
        self.up = Some(answer.outcome.is_ok());
        let failed = answer.outcome.as_ref().err();
        self.failure = failed.map(|error| Arc::new(failed_request(error, now.unix)));
        self.blocks_scrape = false;
        for (arn, description) in answer.found {
            self.put(arn, description, at, labels);
        }
        self.bound(at);
        self.excluded.retain(|arn| self.entries.contains_key(arn));
        self.undescribed = request.arns;
        self.undescribed
            .retain(|arn| !self.entries.contains_key(arn));
        self.requested_tags = Some(request.tags);
    }

    fn put(
        &mut self,
        arn: String,
        mut description: Description,
        seen: Instant,
        labels: &TagLabels,
    ) {
        // Every integration has a name, so keep the last one if the answer lacks it.
        if description.name.is_empty()
            && let Some(before) = self.entries.get(&arn)
        {
            description.name.clone_from(&before.description.name);
        }
        let before = self.entries.get(&arn);
        if before.is_none_or(|before| before.description.name != description.name) {
            if self.admits(&arn, &description.name) {
                self.excluded.remove(&arn);
            } else {
                self.excluded.insert(arn.clone());
            }
        }
        let mut rendered = labels.labels_of(&description);
        // Keep the old pointer: rendering compares pointers first.
        if let Some(before) = self.entries.get(&arn)
            && before.labels == rendered
        {
            rendered = Arc::clone(&before.labels);
        }
        let entry = MetadataEntry {
            description,
            labels: rendered,
            observed_at: seen,
        };
        self.entries.insert(arn, entry);
    }

    /// Bounds the memory of several answers that describe different integrations. The size of one answer is bounded already.
    fn bound(&mut self, latest: Instant) {
        let approx_bytes: usize = self
            .entries
            .values()
            .map(|name| name.description.approx_bytes())
            .sum();
        if approx_bytes > MAX_METADATA_BYTES {
            self.entries.retain(|_, name| name.observed_at == latest);
        }
    }

    /// Rebuilds the labels and drops tags that are not configured any more.
    pub fn relabel(&mut self, labels: &TagLabels) {
        let tags = labels.tags();
        for name in self.entries.values_mut() {
            name.description.tags.retain(|tag, _| tags.contains(tag));
            name.labels = labels.labels_of(&name.description);
        }
    }

    pub fn stored(&self, unix: impl Fn(Instant) -> f64) -> StoredMetadata {
        StoredMetadata {
            up: self.up,
            known: self
                .entries
                .iter()
                .map(|(arn, entry)| StoredDescription {
                    arn: arn.clone(),
                    described: entry.description.clone(),
                    seen: unix(entry.observed_at),
                })
                .collect(),
        }
    }

    /// Restores the names and tags, whatever their age. The next request still asks for all of them.
    pub fn restore(
        &mut self,
        before: StoredMetadata,
        at: impl Fn(f64) -> Option<Instant>,
        labels: &TagLabels,
    ) {
        let tags = labels.tags();
        for mut stored in before.known {
            if let Some(seen) = at(stored.seen) {
                stored.described.tags.retain(|tag, _| tags.contains(tag));
                self.put(stored.arn, stored.described, seen, labels);
            }
        }
    }
}

impl IntegrationCache {
    /// Sets the tags that become labels. Tags that were configured before keep their values.
    pub fn set_tag_labels(&mut self, tag_labels: &[TagLabel]) {
        self.tag_labels = TagLabels::new(tag_labels);
        for scope in self.scopes.values_mut() {
            if let Some(metadata) = &mut scope.metadata {
                metadata.relabel(&self.tag_labels);
            }
        }
    }

    /// Returns true if the names and tags of a scope should be requested now, before their schedule.
    pub fn metadata_due(&self, key: &Key) -> bool {
        self.scopes.get(key).is_some_and(|scope| {
            let metadata = scope.metadata.as_ref();
            metadata.is_some_and(|metadata| metadata.due(scope.arns(), &self.tag_labels))
        })
    }

    /// Returns the next request for names and tags of a scope, `None` if the scope does not need them.
    pub fn metadata_wanted(&self, key: &Key) -> Option<MetadataFilter> {
        let scope = self.scopes.get(key)?;
        let metadata = scope.metadata.as_ref()?;
        Some(metadata.wanted(scope.arns(), &self.tag_labels))
    }

    /// Applies the names and tags that AWS returned at `now`.
    pub fn apply_metadata(
        &mut self,
        key: &Key,
        request: MetadataFilter,
        answer: Answer,
        now: Timestamp,
    ) {
        if let Some(scope) = self.scopes.get_mut(key)
            && let Some(mut metadata) = scope.metadata.take()
        {
            metadata.apply(request, answer, scope.arns(), now, &self.tag_labels);
            scope.metadata = Some(metadata);
            if scope.uses_names() {
                scope.update_stale();
            }
        }
    }

    /// Returns the latest names and tags of each integration, by canonical ARN.
    pub(super) fn metadata(&self) -> HashMap<&str, &MetadataEntry> {
        let mut latest: HashMap<&str, &MetadataEntry> = HashMap::new();
        let scopes = self.scopes.values();
        for (arn, name) in scopes
            .filter_map(|scope| scope.metadata.as_ref())
            .flat_map(Metadata::entries)
        {
            let entry = latest.entry(arn).or_insert(name);
            if name.observed_at > entry.observed_at {
                *entry = name;
            }
        }
        latest
    }
}
