//! The series of integrations, in chunks. An exposition reuses the unchanged chunks of the previous one, which saves time and memory.

use super::families::{AGE, INTEGRATION, identity};
use super::gzip::{Deflated, Deflater};
use super::text_format::end_sample;
use crate::clock::round_to_millis;
use crate::snapshot::ExportedIntegration;
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::Arc;

/// The checksum of an ARN decides whether its item ends a chunk, so that a new or deleted integration moves no other boundaries.
const MEAN_CHUNK_ITEMS: u32 = 256;
const MAX_CHUNK_ITEMS: usize = 1024;

#[derive(Debug)]
pub(crate) struct Chunk {
    items: Vec<ExportedIntegration>,
    /// One for each family.
    pub fragments: Vec<Fragment>,
    /// The concatenated samples of the age, without their values.
    ages: String,
    /// For each of these samples its end in `ages` and the creation time.
    created: Vec<(usize, f64)>,
}

#[derive(Clone, Debug)]
pub(crate) struct Fragment {
    pub text: Bytes,
    pub deflated: Deflated,
}

pub(crate) fn render(
    items: &[ExportedIntegration],
    previous: &[Arc<Chunk>],
    deflater: &mut Deflater,
) -> Vec<Arc<Chunk>> {
    let previous = previous.iter().map(|chunk| (chunk.items[0].arn(), chunk));
    let previous: HashMap<&str, &Arc<Chunk>> = previous.collect();
    split(items)
        .map(|items| match previous.get(items[0].arn()) {
            Some(unchanged) if unchanged.items == items => Arc::clone(unchanged),
            _ => Arc::new(Chunk::new(items, deflater)),
        })
        .collect()
}

fn split(items: &[ExportedIntegration]) -> impl Iterator<Item = &[ExportedIntegration]> {
    let mut length = 0;
    items.chunk_by(move |item, _| {
        length += 1;
        let ends_chunk = length == MAX_CHUNK_ITEMS
            || crc32fast::hash(item.arn().as_bytes()).is_multiple_of(MEAN_CHUNK_ITEMS);
        if ends_chunk {
            length = 0;
        }
        !ends_chunk
    })
}

impl Chunk {
    fn new(items: &[ExportedIntegration], deflater: &mut Deflater) -> Self {
        let identities: Vec<String> = items.iter().map(|item| identity(item.arn())).collect();
        let families = INTEGRATION.iter();
        let samples = families.map(|family| family.samples(identities.iter().zip(items)));
        let fragments = samples.map(|it| Fragment::new(it, deflater)).collect();
        let mut ages = String::new();
        let mut created = Vec::new();
        for (item, identity) in items.iter().zip(&identities) {
            if let Some(at) = item.integration.created {
                ages.extend([AGE.name, "{", identity, "}"]);
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

    /// Returns the samples of the ages at `now`, in Unix seconds.
    pub fn ages(&self, now: f64) -> String {
        /// Enough for an age of 30 years with decimals, the space and the line feed.
        const VALUE_BYTES: usize = 15;
        let mut text = String::with_capacity(self.ages.len() + self.created.len() * VALUE_BYTES);
        let mut start = 0;
        for (end, created) in &self.created {
            text.push_str(&self.ages[start..*end]);
            end_sample(&mut text, round_to_millis((now - created).max(0.0)));
            start = *end;
        }
        text
    }
}

impl Fragment {
    pub fn new(text: String, deflater: &mut Deflater) -> Self {
        Self {
            deflated: deflater.deflate(&text),
            // A boxed slice has no spare capacity.
            text: Bytes::from(text.into_bytes().into_boxed_slice()),
        }
    }
}
