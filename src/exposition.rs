//! The exposition: the response to a scrape, and how it is rendered.
//!
//! When a poll publishes, `Exposition::render` writes every series that only a poll changes: all series of integrations except their
//! ages. It works in `chunks` of some hundreds of integrations and reuses each unchanged chunk of the previous exposition. Each fragment
//! of a chunk is kept as text and compressed. All scrapes share these fragments and do not copy them.
//!
//! A scrape writes only the current ages, which come first, and the exporter's own metrics, which come last. With gzip it compresses
//! only these two; `gzip` joins them and the compressed fragments to one member.

pub mod chunks;
pub(crate) mod counters;
pub mod families;
pub mod gzip;
pub mod process;
pub mod table;
pub mod text_format;

use crate::snapshot::{ExportedIntegration, Presence, Snapshot};
use crate::telemetry::Telemetry;
use bytes::Bytes;
use chunks::{Chunks, Fragment};
use families::{AGE, SCOPES, scope_labels};
use gzip::{Deflated, Deflater};
use text_format::{Format, Metric, Samples, Writer};

/// The initial buffer for the exporter's own metrics: enough for a few scopes.
const TELEMETRY_BYTES: usize = 32 * 1024;
/// Writing and compressing this number of samples takes 0.2 ms.
const MAX_INLINE_SAMPLES: usize = 2_000;
/// The number of gauges and counters of a scope.
const SAMPLES_PER_SCOPE: usize = 20;

/// A rendered snapshot.
#[derive(Debug, Default)]
pub struct Exposition {
    integrations: Chunks<ExportedIntegration>,
    presence: Chunks<Presence>,
    /// The families of `integrations` and `presence` in each format.
    shared: [SharedFamilies; Format::ALL.len()],
    scopes: Vec<(Metric, Samples)>,
    /// The approximate number of samples that each scrape writes.
    samples_per_scrape: usize,
    blocks_scrape: usize,
    pending_first_poll: usize,
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
        let integrations = Chunks::render(
            &snapshot.integrations,
            &previous.integrations,
            &mut deflater,
        );
        let presence = Chunks::render(&snapshot.presence, &previous.presence, &mut deflater);
        let mut families: Vec<_> = integrations.families().chain(presence.families()).collect();
        families.sort_by_key(|(metric, _)| metric.name);
        let shared =
            Format::ALL.map(|format| SharedFamilies::join(format, &families, &mut deflater));
        let scope_labels: Vec<String> = snapshot.scopes.iter().map(scope_labels).collect();
        let scopes = SCOPES
            .iter()
            .map(|family| {
                let labelled = scope_labels
                    .iter()
                    .map(String::as_str)
                    .zip(&snapshot.scopes);
                (
                    family.metric,
                    family.samples(labelled.map(|(labels, scope)| (labels, "", scope))),
                )
            })
            .collect();
        Self {
            integrations,
            presence,
            shared,
            scopes,
            samples_per_scrape: snapshot.integrations.len()
                + SAMPLES_PER_SCOPE * snapshot.scopes.len(),
            blocks_scrape: snapshot.blocks_scrape,
            pending_first_poll: snapshot.pending_first_poll,
        }
    }

    /// Returns true if a scrape need not wait: there is data for every scope of the start.
    pub fn is_complete(&self) -> bool {
        self.blocks_scrape == 0
    }

    /// Returns true if every scope of the start has been polled.
    pub fn is_ready(&self) -> bool {
        self.pending_first_poll == 0
    }

    /// Returns true if writing a scrape is about as fast as waking up another thread for it.
    pub fn render_inline(&self) -> bool {
        self.samples_per_scrape < MAX_INLINE_SAMPLES
    }

    /// Returns the exposition at `now`, in Unix seconds, as consecutive buffers.
    pub fn text(&self, format: Format, telemetry: &Telemetry, now: f64) -> Vec<Bytes> {
        let shared = &self.shared[format as usize];
        let ages = self.ages(format, now).map(Bytes::from);
        let telemetry = Bytes::from(self.telemetry(format, telemetry));
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
                deflater.deflate(self.telemetry(format, telemetry)),
            )
        });
        gzip::member(&[&ages, &self.shared[format as usize].deflated, &telemetry])
    }

    /// Returns the family of the ages, which precedes the shared families.
    fn ages(&self, format: Format, now: f64) -> impl Iterator<Item = String> {
        let mut ages = self
            .integrations
            .ages(now)
            .filter(|ages| !ages.is_empty())
            .peekable();
        let mut writer = Writer::new(format, 0);
        if ages.peek().is_some() {
            writer.metadata(&AGE);
        }
        std::iter::once(writer.into_string()).chain(ages)
    }

    /// Returns the exporter's own metrics, which follow the shared families.
    fn telemetry(&self, format: Format, telemetry: &Telemetry) -> String {
        let mut writer = Writer::new(format, TELEMETRY_BYTES);
        telemetry.write(&mut writer, &self.scopes);
        process::write(&mut writer);
        writer.end();
        writer.into_string()
    }
}

impl SharedFamilies {
    fn join(
        format: Format,
        families: &[(Metric, Vec<&Fragment>)],
        deflater: &mut Deflater,
    ) -> Self {
        let metadata: Vec<Fragment> = families
            .iter()
            .map(|(metric, _)| {
                let mut writer = Writer::new(format, 0);
                writer.metadata(metric);
                Fragment::new(writer.into_string(), deflater)
            })
            .collect();
        let fragments: Vec<&Fragment> = metadata
            .iter()
            .zip(families)
            .flat_map(|(metadata, (_, samples))| {
                std::iter::once(metadata).chain(samples.iter().copied())
            })
            .collect();
        let texts = fragments.iter().map(|fragment| fragment.text.clone());
        let deflated: Vec<&Deflated> = fragments.iter().map(|it| &it.deflated).collect();
        Self {
            buffers: texts.collect(),
            deflated: Deflated::join(&deflated),
        }
    }
}
