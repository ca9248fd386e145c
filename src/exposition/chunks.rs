//! The rows that change with a poll alone. They stand in blocks of some hundreds of integrations, and a block in which nothing has
//! changed is taken over from the page before: publishing costs what has changed, and two pages share what they have in common.

use super::families::{AGE, Family, identity};
use super::gzip::{Deflated, Deflater};
use super::text_format::{Metric, number};
use crate::clock::round_to_millis;
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::Arc;

/// One ARN in so many is the last one of its block, by its checksum: an integration that comes or goes moves no other block's ends.
const USUAL_LENGTH: u32 = 256;
/// However the ARNs are chosen, no block is longer.
const MOST_LENGTH: usize = 1024;

/// What has rows on the page.
pub trait Exported: Clone + PartialEq + 'static {
    /// Its rows, but for the age.
    const FAMILIES: &'static [Family<Self>];

    /// What it is sorted by.
    fn arn(&self) -> &str;

    /// Its age is counted from here, in Unix seconds; without it there is none.
    fn created(&self) -> Option<f64>;

    /// The labels of its tags, as they stand in the braces.
    fn tags(&self) -> String;
}

/// Things in the order of their ARNs, and their rows.
#[derive(Debug)]
pub struct Chunks<T>(Vec<Arc<Chunk<T>>>);

#[derive(Debug)]
struct Chunk<T> {
    items: Vec<T>,
    /// One for each family.
    parts: Vec<Fragment>,
    /// The rows of the ages without their values, one behind the other.
    ages: String,
    /// For each of them where it ends, and when its integration was created.
    created: Vec<(usize, f64)>,
}

/// Rows of one family, as they are sent.
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
    /// Writes the rows of `items`, but for those that `before` has.
    pub fn render(items: &[T], before: &Self, deflater: &mut Deflater) -> Self {
        let before: HashMap<&str, &Arc<Chunk<T>>> = before
            .0
            .iter()
            .filter_map(|block| Some((block.items.first()?.arn(), block)))
            .collect();
        let block = |items: &[T]| {
            let same = before
                .get(items.first()?.arn())
                .filter(|block| block.items == items);
            Some(same.map_or_else(
                || Arc::new(Chunk::render(items, deflater)),
                |same| Arc::clone(same),
            ))
        };
        Self(split(items).filter_map(block).collect())
    }

    /// Each family that has rows, with these rows.
    pub fn families(&self) -> impl Iterator<Item = (Metric, Vec<&Fragment>)> {
        T::FAMILIES
            .iter()
            .enumerate()
            .map(|(index, family)| {
                let parts = self.0.iter().map(|block| &block.parts[index]);
                let parts: Vec<_> = parts.filter(|part| !part.text.is_empty()).collect();
                (family.metric, parts)
            })
            .filter(|(_, parts)| !parts.is_empty())
    }

    /// The rows of the ages at `now`, in Unix seconds: those of one block after another.
    pub fn ages(&self, now: f64) -> impl Iterator<Item = String> {
        self.0.iter().map(move |block| block.ages(now))
    }
}

fn split<T: Exported>(items: &[T]) -> impl Iterator<Item = &[T]> {
    let mut rest = items;
    std::iter::from_fn(move || {
        let is_last =
            |thing: &T| crc32fast::hash(thing.arn().as_bytes()).is_multiple_of(USUAL_LENGTH);
        let last = rest.iter().take(MOST_LENGTH).position(is_last);
        let length = last.map_or(rest.len().min(MOST_LENGTH), |last| last + 1);
        let (block, others) = rest.split_at(length);
        rest = others;
        (!block.is_empty()).then_some(block)
    })
}

impl<T: Exported> Chunk<T> {
    fn render(items: &[T], deflater: &mut Deflater) -> Self {
        let labels: Vec<String> = items.iter().map(|thing| identity(thing.arn())).collect();
        let tags: Vec<String> = items.iter().map(T::tags).collect();
        let parts = T::FAMILIES.iter().map(|family| {
            let labelled = labels.iter().zip(&tags).zip(items);
            let labelled =
                labelled.map(|((labels, tags), thing)| (labels.as_str(), tags.as_str(), thing));
            Fragment::new(family.samples(labelled).into_string(), deflater)
        });
        let parts = parts.collect();
        let mut ages = String::new();
        let mut created = Vec::new();
        for (thing, labels) in items.iter().zip(&labels) {
            if let Some(at) = thing.created() {
                ages.extend([AGE.name, "{", labels, "} "]);
                created.push((ages.len(), at));
            }
        }
        ages.shrink_to_fit();
        created.shrink_to_fit();
        Self {
            items: items.to_vec(),
            parts,
            ages,
            created,
        }
    }

    fn ages(&self, now: f64) -> String {
        /// An age of 30 years with its decimals, and the end of the row.
        const VALUE: usize = 14;
        let mut text = String::with_capacity(self.ages.len() + self.created.len() * VALUE);
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
    /// Compresses these rows.
    pub fn new(text: String, deflater: &mut Deflater) -> Self {
        Self {
            deflated: deflater.deflate(&text),
            // A vector that has room to spare would keep it.
            text: Bytes::from(text.into_bytes().into_boxed_slice()),
        }
    }
}
