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
use text::Text;

/// A snapshot, written.
#[derive(Debug)]
pub struct Page {
    /// The labels of each integration whose time of creation is known, and that time.
    created: Vec<(String, f64)>,
    /// The families of integrations behind the ages.
    integrations: String,
    /// The families of scopes.
    scopes: String,
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
        let presence: Vec<String> = snapshot
            .presence
            .iter()
            .map(|presence| identity(&presence.arn))
            .collect();
        let scopes: Vec<String> = snapshot.scopes.iter().map(scope_labels).collect();
        let mut integrations = Text::default();
        // Families are in the order of their names, and the presence of configured ARNs has its place among those of integrations.
        let (before, after) = INTEGRATION.split_at(
            INTEGRATION.partition_point(|family| family.metric.name < PRESENCE.metric.name),
        );
        for family in before {
            family.write(&mut integrations, zip(&identities, &snapshot.integrations));
        }
        PRESENCE.write(&mut integrations, zip(&presence, &snapshot.presence));
        for family in after {
            family.write(&mut integrations, zip(&identities, &snapshot.integrations));
        }
        let mut of_scopes = Text::default();
        for family in SCOPES {
            family.write(&mut of_scopes, zip(&scopes, &snapshot.scopes));
        }
        let created = identities
            .into_iter()
            .zip(&snapshot.integrations)
            .filter_map(|(labels, shown)| Some((labels, shown.integration.created?)))
            .collect();
        Self {
            created,
            integrations: integrations.into_string(),
            scopes: of_scopes.into_string(),
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
    pub fn scrape(&self, own: &Own, now: f64) -> String {
        let mut text = Text::with_capacity(
            self.integrations.len() + self.scopes.len() + self.created.len() * 250 + 16_384,
        );
        if !self.created.is_empty() {
            text.family(&AGE);
        }
        for (labels, created) in &self.created {
            let age = round_to_millis((now - created).max(0.0));
            text.sample(AGE.name, labels, age);
        }
        text.push_str(&self.integrations);
        own.write(&mut text, &self.scopes);
        process::write(&mut text);
        text.into_string()
    }
}

fn zip<'a, T>(labels: &'a [String], things: &'a [T]) -> impl Iterator<Item = (&'a str, &'a T)> {
    labels.iter().map(String::as_str).zip(things)
}
