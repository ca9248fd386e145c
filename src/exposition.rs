//! When a poll publishes, `Exposition::render` writes every series that only a poll changes: those of integrations, except their ages,
//! and those of scopes. It works in `chunks` of some hundreds of integrations and reuses each unchanged chunk of the previous exposition.
//! Each fragment of a chunk is kept as text and compressed. All scrapes share these fragments and do not copy them.
//!
//! A scrape writes only the current ages, which come first, and the exporter's other metrics, which come last. With gzip it compresses
//! only these two; `gzip` joins them and the compressed fragments to one member.

pub(crate) mod chunks;
pub(crate) mod counters;
pub(crate) mod families;
pub(crate) mod family;
pub(crate) mod gzip;
pub(crate) mod process;
pub mod text_format;

use crate::snapshot::Snapshot;
use crate::telemetry::{self, Telemetry};
use bytes::Bytes;
use chunks::{Chunk, Fragment};
use families::{AGE, IDENTITY, INTEGRATION, SCOPE, SCOPES, identity, scope_labels};
use family::Family;
use gzip::{Deflated, Deflater};
use std::sync::Arc;
use text_format::{Format, Metric, metadata};

const TELEMETRY_BYTES: usize = 32 * 1024;
/// Writing and compressing this number of samples takes 0.2 ms.
const MAX_INLINE_SAMPLES: usize = 2_000;
const SAMPLES_PER_SCOPE: usize = 13;

#[derive(Debug, Default)]
pub struct Exposition {
    chunks: Vec<Arc<Chunk>>,
    shared: [SharedFamilies; Format::ALL.len()],
    samples_per_scrape: usize,
    pub blocks_scrape: bool,
    pub pending_first_poll: bool,
}

#[derive(Debug, Default)]
struct SharedFamilies {
    buffers: Vec<Bytes>,
    deflated: Deflated,
}

impl Exposition {
    pub fn render(snapshot: &Snapshot, previous: &Self) -> Self {
        let mut deflater = Deflater::default();
        let chunks = chunks::render(&snapshot.integrations, &previous.chunks, &mut deflater);
        let missing = snapshot.missing.iter();
        let missing_identities: Vec<String> = missing.map(|it| identity(&it.arn)).collect();
        let identities: Vec<String> = snapshot.scopes.iter().map(scope_labels).collect();
        let mut families: Vec<(Metric, Vec<Fragment>)> = Vec::new();
        for (index, family) in INTEGRATION.iter().enumerate() {
            let fragments = chunks.iter().map(|chunk| &chunk.fragments[index]);
            let mut fragments: Vec<Fragment> = fragments.cloned().collect();
            if let Some(write) = families::missing(family.metric.name) {
                let metric = family.metric;
                let items = missing_identities.iter().zip(&snapshot.missing);
                let samples = Family { metric, write }.samples(items);
                fragments.push(Fragment::new(samples, &mut deflater));
            }
            families.push((family.metric, fragments));
        }
        for family in SCOPES {
            let samples = family.samples(identities.iter().zip(&snapshot.scopes));
            let fragment = Fragment::new(samples, &mut deflater);
            families.push((family.metric, vec![fragment]));
        }
        Self {
            shared: Format::ALL
                .map(|format| SharedFamilies::join(format, &families, &mut deflater)),
            chunks,
            samples_per_scrape: snapshot.integrations.len()
                + SAMPLES_PER_SCOPE * snapshot.scopes.len(),
            blocks_scrape: snapshot.blocks_scrape,
            pending_first_poll: snapshot.pending_first_poll,
        }
    }

    /// True if writing a scrape is about as fast as waking up another thread.
    pub fn render_inline(&self) -> bool {
        self.samples_per_scrape < MAX_INLINE_SAMPLES
    }

    pub fn text(&self, format: Format, telemetry: &Telemetry, now: f64) -> Vec<Bytes> {
        let shared = &self.shared[format as usize];
        let ages = self.ages(format, now).map(Bytes::from);
        let telemetry = Bytes::from(own_metrics(format, telemetry));
        ages.chain(shared.buffers.iter().cloned())
            .chain([telemetry])
            .collect()
    }

    pub fn gzip(&self, format: Format, telemetry: &Telemetry, now: f64) -> Vec<Bytes> {
        let (ages, telemetry) = Deflater::with(|deflater| {
            for text in self.ages(format, now) {
                deflater.add(&text);
            }
            (
                deflater.end(),
                deflater.deflate(own_metrics(format, telemetry)),
            )
        });
        gzip::member(&[&ages, &self.shared[format as usize].deflated, &telemetry])
    }

    fn ages(&self, format: Format, now: f64) -> impl Iterator<Item = String> {
        let ages = self.chunks.iter().map(move |chunk| chunk.ages(now));
        let mut ages = ages.filter(|ages| !ages.is_empty()).peekable();
        let mut head = String::new();
        if ages.peek().is_some() {
            metadata(&mut head, format, &AGE);
        }
        std::iter::once(head).chain(ages)
    }
}

fn own_metrics(format: Format, telemetry: &Telemetry) -> String {
    let mut text = String::with_capacity(TELEMETRY_BYTES);
    for family in telemetry::METRICS {
        family.append(&mut text, format, telemetry);
    }
    process::append(&mut text, format);
    if format == Format::OpenMetrics {
        text.push_str("# EOF\n");
    }
    text
}

impl SharedFamilies {
    fn join(format: Format, families: &[(Metric, Vec<Fragment>)], deflater: &mut Deflater) -> Self {
        let mut fragments: Vec<Fragment> = Vec::new();
        for (metric, samples) in families {
            let mut samples = samples.iter().filter(|it| !it.text.is_empty()).peekable();
            if samples.peek().is_some() {
                let mut head = String::new();
                metadata(&mut head, format, metric);
                fragments.push(Fragment::new(head, deflater));
                fragments.extend(samples.cloned());
            }
        }
        let deflated: Vec<&Deflated> = fragments.iter().map(|it| &it.deflated).collect();
        Self {
            deflated: Deflated::join(&deflated),
            buffers: fragments.into_iter().map(|it| it.text).collect(),
        }
    }
}

pub fn metrics() -> Vec<(Metric, Vec<&'static str>)> {
    let with = |first: &[&'static str], metric: Metric| (metric, [first, metric.labels].concat());
    let mut all = vec![with(&IDENTITY, AGE)];
    all.extend(INTEGRATION.iter().map(|it| with(&IDENTITY, it.metric)));
    all.extend(SCOPES.iter().map(|it| with(&SCOPE, it.metric)));
    all.extend(telemetry::METRICS.iter().map(|it| with(&[], it.metric)));
    all.extend(process::METRICS.iter().map(|it| with(&[], *it)));
    all.sort_by_key(|(metric, _)| metric.name);
    all
}
