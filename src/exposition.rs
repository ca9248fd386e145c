//! The page that a scrape gets. What follows from the snapshot is written once, when a poll publishes it, and shared by all
//! scrapes; a scrape adds the ages of that moment and the exporter's own metrics.

pub mod families;
pub mod own;
pub mod process;
pub mod table;
pub mod text;

use crate::clock::round_to_millis;
use crate::snapshot::Snapshot;
use families::{AGE, INTEGRATION, PRESENCE, SCOPES, identity, scope_labels};
use own::Own;
use text::{Format, Metric, Samples, Text};

/// What the exporter says of itself fits, with some scopes.
const ROOM_FOR_OWN: usize = 32 * 1024;

/// A snapshot, written.
#[derive(Debug)]
pub struct Page {
    /// The labels of each integration whose time of creation is known, and that time.
    created: Vec<(String, f64)>,
    /// The families of integrations behind the ages.
    integrations: Vec<(Metric, Samples)>,
    scopes: Vec<(Metric, Samples)>,
    awaited: usize,
    unpolled: usize,
}

impl Page {
    /// Writes what does not depend on the moment of the scrape.
    pub fn render(snapshot: &Snapshot) -> Self {
        let identities: Vec<String> = snapshot
            .integrations
            .iter()
            .map(|shown| identity(&shown.integration.arn))
            .collect();
        let configured: Vec<String> = snapshot
            .presence
            .iter()
            .map(|presence| identity(&presence.arn))
            .collect();
        let of_scopes: Vec<String> = snapshot.scopes.iter().map(scope_labels).collect();
        let mut integrations: Vec<(Metric, Samples)> = INTEGRATION
            .iter()
            .map(|family| {
                let samples = family.samples(zip(&identities, &snapshot.integrations));
                (family.metric, samples)
            })
            .collect();
        let presence = PRESENCE.samples(zip(&configured, &snapshot.presence));
        integrations.push((PRESENCE.metric, presence));
        integrations.sort_by_key(|(metric, _)| metric.name);
        let scopes = SCOPES
            .iter()
            .map(|family| {
                let samples = family.samples(zip(&of_scopes, &snapshot.scopes));
                (family.metric, samples)
            })
            .collect();
        let created = identities
            .into_iter()
            .zip(&snapshot.integrations)
            .filter_map(|(labels, shown)| Some((labels, shown.integration.created?)))
            .collect();
        Self {
            created,
            integrations,
            scopes,
            awaited: snapshot.awaited,
            unpolled: snapshot.unpolled,
        }
    }

    /// Something is known of every scope that was there at the start, so that a scrape need not wait.
    pub fn is_complete(&self) -> bool {
        self.awaited == 0
    }

    /// Every scope that was there at the start has been polled.
    pub fn is_ready(&self) -> bool {
        self.unpolled == 0
    }

    /// The whole page at `now`, in Unix seconds.
    pub fn scrape(&self, format: Format, own: &Own, now: f64) -> String {
        let mut ages = Samples::default();
        for (labels, created) in &self.created {
            ages.add(AGE.name, labels, round_to_millis((now - created).max(0.0)));
        }
        let families = self.integrations.iter().chain(&self.scopes);
        let written: usize = families.map(|(_, samples)| samples.len()).sum();
        let mut text = Text::new(format, written + ages.len() + ROOM_FOR_OWN);
        text.family(&AGE, &ages);
        for (metric, samples) in &self.integrations {
            text.family(metric, samples);
        }
        own.write(&mut text, &self.scopes);
        process::write(&mut text);
        text.finish()
    }
}

fn zip<'a, T>(labels: &'a [String], things: &'a [T]) -> impl Iterator<Item = (&'a str, &'a T)> {
    labels.iter().map(String::as_str).zip(things)
}
