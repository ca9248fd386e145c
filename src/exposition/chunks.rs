//! The series that only a poll changes, rendered in chunks of some hundreds of integrations. An exposition reuses each unchanged chunk
//! of the previous one. Publishing therefore costs only the changes, and two expositions share the memory of what they have in common.

use super::families::{AGE, Family, identity};
use super::gzip::{Deflated, Deflater};
use super::text_format::{Metric, number};
use crate::clock::round_to_millis;
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::Arc;

/// The mean number of items in a chunk. The checksum of an ARN decides whether its item ends a chunk, so that a new or deleted
/// integration does not move the boundaries of other chunks.
const MEAN_CHUNK_ITEMS: u32 = 256;
/// Limits the length of a chunk for every choice of ARNs.
const MAX_CHUNK_ITEMS: usize = 1024;

/// An item with series in the exposition.
pub trait Exported: Clone + PartialEq + 'static {
    /// Its metrics, except the age.
    const FAMILIES: &'static [Family<Self>];

    /// Returns the ARN, which is the sort key.
    fn arn(&self) -> &str;

    /// Returns the creation time in Unix seconds. An item without one has no age.
    fn created(&self) -> Option<f64>;

    /// Returns the labels of its tags as text between braces.
    fn tags(&self) -> String;
}

/// Items sorted by ARN, with their rendered series.
#[derive(Debug)]
pub struct Chunks<T>(Vec<Arc<Chunk<T>>>);

#[derive(Debug)]
struct Chunk<T> {
    items: Vec<T>,
    /// One for each family.
    fragments: Vec<Fragment>,
    /// The concatenated samples of the age, without their values.
    ages: String,
    /// For each of these samples its end in `ages` and the creation time of its integration.
    created: Vec<(usize, f64)>,
}

/// Text of one family, plain and compressed.
#[derive(Clone, Debug)]
pub struct Fragment {
    pub text: Bytes,
    pub deflated: Deflated,
}

impl<T> Default for Chunks<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Exported> Chunks<T> {
    /// Renders the series of `items`. Reuses the chunks of `previous` that did not change.
    pub fn render(items: &[T], previous: &Self, deflater: &mut Deflater) -> Self {
        let previous: HashMap<&str, &Arc<Chunk<T>>> = previous
            .0
            .iter()
            .filter_map(|chunk| Some((chunk.items.first()?.arn(), chunk)))
            .collect();
        let chunk = |items: &[T]| {
            let unchanged = previous
                .get(items.first()?.arn())
                .filter(|chunk| chunk.items == items);
            Some(unchanged.map_or_else(
                || Arc::new(Chunk::render(items, deflater)),
                |unchanged| Arc::clone(unchanged),
            ))
        };
        Self(split(items).filter_map(chunk).collect())
    }

    /// Returns each family that has samples, with the fragments that contain them.
    pub fn families(&self) -> impl Iterator<Item = (Metric, Vec<&Fragment>)> {
        T::FAMILIES
            .iter()
            .enumerate()
            .map(|(index, family)| {
                let fragments = self.0.iter().map(|chunk| &chunk.fragments[index]);
                let fragments: Vec<_> = fragments
                    .filter(|fragment| !fragment.text.is_empty())
                    .collect();
                (family.metric, fragments)
            })
            .filter(|(_, fragments)| !fragments.is_empty())
    }

    /// Returns the age samples of each chunk at `now`, in Unix seconds.
    pub fn ages(&self, now: f64) -> impl Iterator<Item = String> {
        self.0.iter().map(move |chunk| chunk.ages(now))
    }
}

fn split<T: Exported>(items: &[T]) -> impl Iterator<Item = &[T]> {
    let mut rest = items;
    std::iter::from_fn(move || {
        let ends_chunk =
            |item: &T| crc32fast::hash(item.arn().as_bytes()).is_multiple_of(MEAN_CHUNK_ITEMS);
        let last = rest.iter().take(MAX_CHUNK_ITEMS).position(ends_chunk);
        let length = last.map_or(rest.len().min(MAX_CHUNK_ITEMS), |last| last + 1);
        let (chunk, remaining) = rest.split_at(length);
        rest = remaining;
        (!chunk.is_empty()).then_some(chunk)
    })
}

impl<T: Exported> Chunk<T> {
    fn render(items: &[T], deflater: &mut Deflater) -> Self {
        let labels: Vec<String> = items.iter().map(|item| identity(item.arn())).collect();
        let tags: Vec<String> = items.iter().map(T::tags).collect();
        let fragments = T::FAMILIES.iter().map(|family| {
            let labelled = labels.iter().zip(&tags).zip(items);
            let labelled =
                labelled.map(|((labels, tags), item)| (labels.as_str(), tags.as_str(), item));
            Fragment::new(family.samples(labelled).into_string(), deflater)
        });
        let fragments = fragments.collect();
        let mut ages = String::new();
        let mut created = Vec::new();
        for (item, labels) in items.iter().zip(&labels) {
            if let Some(at) = item.created() {
                ages.extend([AGE.name, "{", labels, "} "]);
                created.push((ages.len(), at));
            }
        }
        ages.shrink_to_fit();
        created.shrink_to_fit();
        Self {
            items: items.to_vec(),
            fragments,
            ages,
            created,
        }
    }

    fn ages(&self, now: f64) -> String {
        /// Enough for an age of 30 years with decimals and the line feed.
        const VALUE_BYTES: usize = 14;
        let mut text = String::with_capacity(self.ages.len() + self.created.len() * VALUE_BYTES);
        let mut start = 0;
        for (end, created) in &self.created {
            text.push_str(&self.ages[start..*end]);
            number(&mut text, round_to_millis((now - created).max(0.0)));
            text.push('\n');
            start = *end;
        }
        text
    }
}

impl Fragment {
    /// Compresses `text` and keeps both.
    pub fn new(text: String, deflater: &mut Deflater) -> Self {
        Self {
            deflated: deflater.deflate(&text),
            // A boxed slice has no spare capacity.
            text: Bytes::from(text.into_bytes().into_boxed_slice()),
        }
    }
}
