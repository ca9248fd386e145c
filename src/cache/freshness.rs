//! What CloudWatch said about the data of one scope's integrations.

use super::by_arn;
use super::failures::failed;
use crate::config::FreshnessConfig;
use crate::freshness::{Round, Wanted};
use crate::glue::GlueError;
use crate::snapshot::{Failed, Freshness};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The limit for all integrations of a scope. Without it, tables that come and go while answers are incomplete would fill the memory.
const MAX_TABLES: usize = 200_000;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct FreshnessCache {
    /// By canonical ARN. An integration has an entry after the first complete listing.
    #[serde(with = "by_arn")]
    pub entries: BTreeMap<String, Arc<Freshness>>,
    /// Integrations have series for so many tables.
    #[serde(skip)]
    pub max_tables: usize,
    /// True if the last round got everything, `None` before the first one.
    pub up: Option<bool>,
    #[serde(skip)]
    pub failure: Option<Arc<Failed>>,
}

impl FreshnessCache {
    pub fn new(config: FreshnessConfig) -> Self {
        Self {
            max_tables: config.max_tables,
            ..Self::default()
        }
    }

    pub fn inherit(&mut self, before: Self) {
        *self = Self {
            max_tables: self.max_tables,
            ..before
        };
    }

    /// Drops what is known about other integrations than `wanted`.
    pub fn apply(&mut self, round: Round, wanted: &Wanted) {
        self.entries.retain(|arn, _| wanted.contains_key(arn));
        self.up = Some(round.errors.is_empty());
        let errors: Vec<&GlueError> = round.errors.iter().collect();
        let failure = failed(&errors, round.started);
        self.failure = (!errors.is_empty()).then_some(failure);
        let entries = self.entries.values();
        let mut tables: usize = entries.map(|entry| entry.tables.len()).sum();
        for (arn, update) in round.updates {
            if !wanted.contains_key(&arn) {
                continue;
            }
            let before = self.entries.get(&arn);
            let tables_before = before.map_or(0, |entry| entry.tables.len());
            let others = tables - tables_before;
            let before = before.map(AsRef::as_ref);
            let Some(after) = update.merge(before, round.started, MAX_TABLES - others) else {
                continue;
            };
            tables = others + after.tables.len();
            // Keep the old pointer: rendering compares pointers first.
            if before != Some(&after) {
                self.entries.insert(arn, Arc::new(after));
            }
        }
    }
}
