//! The page that a scrape gets, and how it comes about.
//!
//! When a poll publishes, `Page::render` writes everything that changes with polls alone: all rows of integrations but their ages.
//! It does so off the path of any scrape, in `blocks` of some hundreds of integrations; a block in which nothing has changed is
//! taken over from the page before. Each part of a block is kept as it is sent, as text and compressed. A scrape writes what
//! stands before these rows, the ages of that moment, and what stands behind them, the exporter's own metrics; the rows between
//! are shared by all scrapes and copied by none. With gzip only what the scrape wrote is compressed: `gzip` joins it and the
//! compressed parts to one member.

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
use text_format::{Format, Metric, Samples, Text};

/// What the exporter says of itself fits, with some scopes.
const ROOM_FOR_OWN: usize = 32 * 1024;
/// So many rows are written and compressed in 0.2 ms.
const INLINE_SAMPLES: usize = 2_000;
/// Of a scope: its gauges and counters.
const ROWS_OF_SCOPE: usize = 20;

/// A snapshot, written.
#[derive(Debug, Default)]
pub struct Page {
    integrations: Chunks<ExportedIntegration>,
    presence: Chunks<Presence>,
    /// The rows of both, in each format.
    rows: [Rows; Format::ALL.len()],
    scopes: Vec<(Metric, Samples)>,
    /// How many rows a scrape writes, about.
    changing: usize,
    blocks_scrape: usize,
    unpolled: usize,
}

/// Families one behind the other, with their headings.
#[derive(Debug, Default)]
struct Rows {
    pieces: Vec<Bytes>,
    deflated: Deflated,
}

impl Page {
    /// Writes what does not depend on the moment of the scrape, but for what `before` has of it.
    pub fn render(snapshot: &Snapshot, before: &Self) -> Self {
        let mut deflater = Deflater::default();
        let integrations =
            Chunks::render(&snapshot.integrations, &before.integrations, &mut deflater);
        let presence = Chunks::render(&snapshot.presence, &before.presence, &mut deflater);
        let mut families: Vec<_> = integrations.families().chain(presence.families()).collect();
        families.sort_by_key(|(metric, _)| metric.name);
        let rows = Format::ALL.map(|format| Rows::join(format, &families, &mut deflater));
        let of_scopes: Vec<String> = snapshot.scopes.iter().map(scope_labels).collect();
        let scopes = SCOPES
            .iter()
            .map(|family| {
                let labelled = of_scopes.iter().map(String::as_str).zip(&snapshot.scopes);
                (
                    family.metric,
                    family.samples(labelled.map(|(labels, scope)| (labels, "", scope))),
                )
            })
            .collect();
        Self {
            integrations,
            presence,
            rows,
            scopes,
            changing: snapshot.integrations.len() + ROWS_OF_SCOPE * snapshot.scopes.len(),
            blocks_scrape: snapshot.blocks_scrape,
            unpolled: snapshot.pending_first_poll,
        }
    }

    /// Something is known of every scope that was there at the start, so that a scrape need not wait.
    pub fn is_complete(&self) -> bool {
        self.blocks_scrape == 0
    }

    /// Every scope that was there at the start has been polled.
    pub fn is_ready(&self) -> bool {
        self.unpolled == 0
    }

    /// What a scrape adds is written as fast as another thread could be woken for it.
    pub fn render_inline(&self) -> bool {
        self.changing < INLINE_SAMPLES
    }

    /// The whole page at `now`, in Unix seconds, in pieces.
    pub fn text(&self, format: Format, telemetry: &Telemetry, now: f64) -> Vec<Bytes> {
        let rows = &self.rows[format as usize];
        let ages = self.ages(format, now).map(Bytes::from);
        let telemetry = Bytes::from(self.telemetry(format, telemetry));
        ages.chain(rows.pieces.iter().cloned())
            .chain([telemetry])
            .collect()
    }

    /// The same, compressed.
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
        gzip::member(&[&ages, &self.rows[format as usize].deflated, &telemetry])
    }

    /// What stands before the rows: the family of the ages.
    fn ages(&self, format: Format, now: f64) -> impl Iterator<Item = String> {
        let mut ages = self
            .integrations
            .ages(now)
            .filter(|ages| !ages.is_empty())
            .peekable();
        let mut metadata = Text::new(format, 0);
        if ages.peek().is_some() {
            metadata.metadata(&AGE);
        }
        std::iter::once(metadata.into_string()).chain(ages)
    }

    /// What stands behind them.
    fn telemetry(&self, format: Format, telemetry: &Telemetry) -> String {
        let mut text = Text::new(format, ROOM_FOR_OWN);
        telemetry.write(&mut text, &self.scopes);
        process::write(&mut text);
        text.end();
        text.into_string()
    }
}

impl Rows {
    fn join(
        format: Format,
        families: &[(Metric, Vec<&Fragment>)],
        deflater: &mut Deflater,
    ) -> Self {
        let headings: Vec<Fragment> = families
            .iter()
            .map(|(metric, _)| {
                let mut text = Text::new(format, 0);
                text.metadata(metric);
                Fragment::new(text.into_string(), deflater)
            })
            .collect();
        let parts: Vec<&Fragment> = headings
            .iter()
            .zip(families)
            .flat_map(|(metadata, (_, parts))| {
                std::iter::once(metadata).chain(parts.iter().copied())
            })
            .collect();
        let deflated: Vec<&Deflated> = parts.iter().map(|part| &part.deflated).collect();
        Self {
            pieces: parts.iter().map(|part| part.text.clone()).collect(),
            deflated: Deflated::join(&deflated),
        }
    }
}
