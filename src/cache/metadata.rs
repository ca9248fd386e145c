//! Names and tags of what one scope sees in one region, the labels that are made of them, and what is left out for its name. What AWS does
//! not say again keeps its last good value for as long as the scope sees the integration: an ARN is never given to another one.

use super::diagnostics::failed_request;
use super::stored::{StoredDescription, StoredMetadata};
use super::{IntegrationCache, Key};
use crate::clock::Timestamp;
use crate::config::{Query, Selection, TagLabel, Watch};
use crate::glue::canonical_arn;
use crate::glue::metadata::{MAX_METADATA_BYTES, Names as Answer, Wanted};
use crate::snapshot::{Description, Failed, MetadataLabels};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use tokio::time::Instant;

/// Which tags become labels, in the order of these labels on the page.
#[derive(Debug, Default)]
pub(super) struct TagLabels {
    labels: Vec<(String, Arc<str>)>,
    /// Shared by all integrations of which nothing is known.
    empty: Arc<MetadataLabels>,
}

impl TagLabels {
    pub fn new(labels: &[TagLabel]) -> Self {
        let mut labels = Self {
            labels: labels
                .iter()
                .map(|entry| (entry.tag.to_string(), Arc::from(entry.label.as_str())))
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

    fn labels_of(&self, described: &Description) -> Arc<MetadataLabels> {
        let value = |tag: &String| described.tags.get(tag).cloned().unwrap_or_default();
        let labels = self.labels.iter();
        Arc::new(MetadataLabels {
            name: described.name.clone(),
            tags: labels
                .map(|(tag, label)| (Arc::clone(label), value(tag)))
                .collect(),
        })
    }
}

/// What is known in one scope and region.
#[derive(Debug)]
pub(super) struct Metadata {
    /// By the one spelling of the ARN.
    entries: BTreeMap<String, MetadataEntry>,
    /// Which of `known` the selection leaves out for their names. Kept, so that a publication compares no name with a pattern.
    excluded: HashSet<String>,
    /// In the one spelling: what the configuration names is shown whatever it is called, also while only a listing has brought it.
    configured: HashSet<String>,
    selection: Arc<Selection>,
    /// What AWS was asked for last and has not named: it is not asked for these alone.
    undescribed: BTreeSet<String>,
    /// The tags that AWS was asked for last; none if it has not been asked since the start.
    requested_tags: Option<BTreeSet<String>>,
    /// AWS was asked and answered all; none until it has been asked.
    pub up: Option<bool>,
    /// A scrape waits for the first answer or failure.
    pub blocks_scrape: bool,
    /// Why they could not be had when AWS was last asked.
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

    /// Whether an integration is not to be shown for its name. Never one whose name is not known.
    pub fn is_excluded_by(&self, arn: &str) -> bool {
        // Mostly nothing is, which is found out faster.
        !self.excluded.is_empty() && self.excluded.contains(canonical_arn(arn).as_ref())
    }

    /// Takes over what is known in the scope as it was configured before.
    pub fn inherit(&mut self, before: Self) {
        let now = std::mem::replace(self, before);
        (self.configured, self.selection) = (now.configured, now.selection);
        let known = self.entries.iter();
        let left_out = known.filter(|(arn, name)| !self.admits(arn, &name.description.name));
        self.excluded = left_out.map(|(arn, _)| arn.clone()).collect();
    }

    fn admits(&self, arn: &str, name: &str) -> bool {
        self.configured.contains(arn) || self.selection.admits_name(name)
    }

    /// What an integration is called; none if that is not known.
    pub fn name(&self, arn: &str) -> Option<&str> {
        let known = self.entries.get(canonical_arn(arn).as_ref());
        known.map(|name| name.description.name.as_str())
    }

    /// What AWS is to be asked for, where the scope sees these integrations.
    pub fn wanted<'a>(&self, arns: impl Iterator<Item = &'a str>, labels: &TagLabels) -> Wanted {
        Wanted {
            arns: arns.map(|arn| canonical_arn(arn).into_owned()).collect(),
            tags: labels.tags(),
        }
    }

    /// Whether asking should not wait for its time: never asked yet, for another tag, or there is an integration that was not there.
    pub fn due<'a>(&self, mut arns: impl Iterator<Item = &'a str>, labels: &TagLabels) -> bool {
        let has = |arn: &str| {
            let arn = canonical_arn(arn);
            self.entries.contains_key(arn.as_ref()) || self.undescribed.contains(arn.as_ref())
        };
        match &self.requested_tags {
            None => true,
            Some(tags) => !labels.tags().is_subset(tags) || arns.any(|arn| !has(arn)),
        }
    }

    /// Takes over what AWS answered at `now`; the scope sees the integrations `arns` now.
    pub fn apply<'a>(
        &mut self,
        asked: Wanted,
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
        for (arn, described) in answer.found {
            self.put(arn, described, at, labels);
        }
        self.bound(at);
        self.excluded.retain(|arn| self.entries.contains_key(arn));
        self.undescribed = asked.arns;
        self.undescribed
            .retain(|arn| !self.entries.contains_key(arn));
        self.requested_tags = Some(asked.tags);
    }

    fn put(&mut self, arn: String, mut described: Description, seen: Instant, labels: &TagLabels) {
        // Each integration has one, so an answer without it says nothing about it.
        if described.name.is_empty()
            && let Some(before) = self.entries.get(&arn)
        {
            described.name.clone_from(&before.description.name);
        }
        let before = self.entries.get(&arn);
        if before.is_none_or(|before| before.description.name != described.name) {
            if self.admits(&arn, &described.name) {
                self.excluded.remove(&arn);
            } else {
                self.excluded.insert(arn.clone());
            }
        }
        let mut naming = labels.labels_of(&described);
        // The page compares by the pointer first.
        if let Some(before) = self.entries.get(&arn)
            && before.labels == naming
        {
            naming = Arc::clone(&before.labels);
        }
        let name = MetadataEntry {
            description: described,
            labels: naming,
            observed_at: seen,
        };
        self.entries.insert(arn, name);
    }

    /// One answer is bounded. What several of them name, with other integrations each time, is kept to a little more.
    fn bound(&mut self, latest: Instant) {
        let approx_bytes: usize = self
            .entries
            .values()
            .map(|name| name.description.approx_bytes())
            .sum();
        if approx_bytes > MAX_METADATA_BYTES + MAX_METADATA_BYTES / 4 {
            self.entries.retain(|_, name| name.observed_at == latest);
        }
    }

    /// Other tags are wanted from now on, or by other labels. What is not wanted any more is not kept.
    pub fn relabel(&mut self, labels: &TagLabels) {
        let tags = labels.tags();
        for name in self.entries.values_mut() {
            name.description.tags.retain(|tag, _| tags.contains(tag));
            name.labels = labels.labels_of(&name.description);
        }
    }

    pub fn stored(&self, wall: impl Fn(Instant) -> f64) -> StoredMetadata {
        StoredMetadata {
            up: self.up,
            known: self
                .entries
                .iter()
                .map(|(arn, name)| StoredDescription {
                    arn: arn.clone(),
                    described: name.description.clone(),
                    seen: wall(name.observed_at),
                })
                .collect(),
        }
    }

    /// Takes over the names, whatever their age. What is asked for is found out anew.
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
    /// These tags are labels from now on. Those that were labels before, or have another label now, keep their values.
    pub fn set_tag_labels(&mut self, tag_labels: &[TagLabel]) {
        self.tag_labels = TagLabels::new(tag_labels);
        for scope in self.scopes.values_mut() {
            if let Some(names) = &mut scope.metadata {
                names.relabel(&self.tag_labels);
            }
        }
    }

    /// Whether AWS should be asked for the names and tags of a scope before it is time to.
    pub fn metadata_due(&self, key: &Key) -> bool {
        self.scopes.get(key).is_some_and(|scope| {
            let names = scope.metadata.as_ref();
            names.is_some_and(|names| names.due(scope.arns(), &self.tag_labels))
        })
    }

    /// The names and tags that a scope lacks or may have to renew; none where they are not asked for.
    pub fn metadata_wanted(&self, key: &Key) -> Option<Wanted> {
        let scope = self.scopes.get(key)?;
        let names = scope.metadata.as_ref()?;
        Some(names.wanted(scope.arns(), &self.tag_labels))
    }

    /// Takes over the names and tags that AWS answered with at `now`.
    pub fn apply_metadata(&mut self, key: &Key, asked: Wanted, answer: Answer, now: Timestamp) {
        if let Some(scope) = self.scopes.get_mut(key)
            && let Some(mut names) = scope.metadata.take()
        {
            names.apply(asked, answer, scope.arns(), now, &self.tag_labels);
            scope.metadata = Some(names);
            if scope.uses_names() {
                scope.renew_stale();
            }
        }
    }

    /// Of an integration that several scopes have named, the latest.
    pub(super) fn names(&self) -> HashMap<&str, &MetadataEntry> {
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
