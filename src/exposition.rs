//! The exposition: the response to a scrape, and how it is rendered.
//!
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
use families::{AGE, IDENTITY, INTEGRATION, PRESENT, SCOPE, SCOPES, identity, scope_labels};
use gzip::{Deflated, Deflater};
use std::sync::Arc;
use text_format::{Format, Metric, metadata, sample};

/// The initial buffer for the exporter's own metrics: enough for a few scopes.
const TELEMETRY_BYTES: usize = 32 * 1024;
/// Writing and compressing this number of samples takes 0.2 ms.
const MAX_INLINE_SAMPLES: usize = 2_000;
/// The number of counters of a scope.
const SAMPLES_PER_SCOPE: usize = 13;

/// A rendered snapshot.
#[derive(Debug, Default)]
pub struct Exposition {
    chunks: Vec<Arc<Chunk>>,
    /// The families of integrations and scopes in each format.
    shared: [SharedFamilies; Format::ALL.len()],
    /// The approximate number of samples that each scrape writes.
    samples_per_scrape: usize,
    blocks_scrape: bool,
    pending_first_poll: bool,
}

/// The families that all scrapes share, with their metadata lines.
#[derive(Debug, Default)]
struct SharedFamilies {
    buffers: Vec<Bytes>,
    deflated: Deflated,
}

impl Exposition {
    /// Renders everything that does not depend on the time of the scrape. Reuses the unchanged chunks of `previous`.
    pub fn render(snapshot: &Snapshot, previous: &Self) -> Self {
        let mut deflater = Deflater::default();
        let chunks = chunks::render(&snapshot.integrations, &previous.chunks, &mut deflater);
        let mut missing = String::new();
        for integration in &snapshot.missing {
            sample(&mut missing, PRESENT, &identity(&integration.arn), 0.0);
        }
        let missing = Fragment::new(missing, &mut deflater);
        let identities: Vec<String> = snapshot.scopes.iter().map(scope_labels).collect();
        let scopes = SCOPES.iter().map(|family| {
            let samples = family.samples(identities.iter().zip(&snapshot.scopes));
            (family.metric, Fragment::new(samples, &mut deflater))
        });
        let scopes: Vec<(Metric, Fragment)> = scopes.collect();
        let mut families: Vec<(Metric, Vec<&Fragment>)> = Vec::new();
        for (index, family) in INTEGRATION.iter().enumerate() {
            let fragments = chunks.iter().map(|chunk| &chunk.fragments[index]);
            let missing = (family.metric.name == PRESENT).then_some(&missing);
            families.push((family.metric, fragments.chain(missing).collect()));
        }
        families.extend(
            scopes
                .iter()
                .map(|(metric, samples)| (*metric, vec![samples])),
        );
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

    /// Returns true if a scrape need not wait: there is data for every scope of the start.
    pub fn is_complete(&self) -> bool {
        !self.blocks_scrape
    }

    /// Returns true if every scope of the start has been polled.
    pub fn is_ready(&self) -> bool {
        !self.pending_first_poll
    }

    /// Returns true if writing a scrape is about as fast as waking up another thread for it.
    pub fn render_inline(&self) -> bool {
        self.samples_per_scrape < MAX_INLINE_SAMPLES
    }

    /// Returns the exposition at `now`, in Unix seconds, as consecutive buffers.
    pub fn text(&self, format: Format, telemetry: &Telemetry, now: f64) -> Vec<Bytes> {
        let shared = &self.shared[format as usize];
        let ages = self.ages(format, now).map(Bytes::from);
        let telemetry = Bytes::from(own_metrics(format, telemetry));
        ages.chain(shared.buffers.iter().cloned())
            .chain([telemetry])
            .collect()
    }

    /// Returns the exposition at `now` as one gzip member.
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

    /// Returns the family of the ages, which precedes the shared families.
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

/// Returns the metrics that change without a poll, which follow the shared families.
fn own_metrics(format: Format, telemetry: &Telemetry) -> String {
    let mut text = String::with_capacity(TELEMETRY_BYTES);
    for family in telemetry::METRICS {
        family.append(&mut text, format, telemetry);
    }
    process::append(&mut text, format);
    text.push_str(format.end());
    text
}

impl SharedFamilies {
    fn join(
        format: Format,
        families: &[(Metric, Vec<&Fragment>)],
        deflater: &mut Deflater,
    ) -> Self {
        let mut fragments: Vec<Fragment> = Vec::new();
        for (metric, samples) in families {
            let samples = samples.iter().copied();
            let mut samples = samples.filter(|it| !it.text.is_empty()).peekable();
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

/// Returns every metric with all of its labels, sorted by name.
pub fn metrics() -> Vec<(Metric, Vec<&'static str>)> {
    let with = |first: &[&'static str], metric: Metric| (metric, [first, metric.labels].concat());
    let integrations = INTEGRATION.iter().map(|family| family.metric).chain([AGE]);
    let mut all: Vec<_> = integrations
        .map(|metric| with(&IDENTITY, metric))
        .chain(SCOPES.iter().map(|family| with(&SCOPE, family.metric)))
        .chain(
            telemetry::METRICS
                .iter()
                .map(|family| with(&[], family.metric)),
        )
        .chain(process::METRICS.iter().map(|metric| with(&[], *metric)))
        .collect();
    all.sort_by_key(|(metric, _)| metric.name);
    all
}
