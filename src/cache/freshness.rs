//! The last answers from CloudWatch about the integrations of one scope.

use super::by_arn;
use super::failures::failed;
use crate::freshness::{FreshnessQuery, MAX_SERIES, Round};
use crate::glue::GlueError;
use crate::snapshot::{Failed, Freshness};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

const RETENTION_SECONDS: f64 = 15.0 * 86_400.0;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct FreshnessCache {
    /// By canonical ARN. An integration has an entry after the first complete listing.
    #[serde(with = "by_arn")]
    pub entries: BTreeMap<String, Arc<Freshness>>,
    /// True if the last round got everything, `None` before the first one.
    pub up: Option<bool>,
    #[serde(skip)]
    pub failure: Option<Arc<Failed>>,
}

impl FreshnessCache {
    /// Drops what is known about integrations that `query` lacks.
    pub fn apply(&mut self, round: Round, query: &FreshnessQuery) {
        self.entries.retain(|arn, _| query.contains_key(arn));
        self.up = Some(round.errors.is_empty());
        let errors: Vec<&GlueError> = round.errors.iter().collect();
        let failure = failed(&errors, round.started);
        self.failure = (!errors.is_empty()).then_some(failure);
        let tables: usize = self.entries.values().map(|entry| entry.tables.len()).sum();
        // If CloudWatch listed other tables in each round, keeping all of them would fill the memory.
        let retention = if tables > MAX_SERIES {
            0.0
        } else {
            RETENTION_SECONDS
        };
        for (arn, answer) in round.answers {
            if !query.contains_key(&arn) {
                continue;
            }
            let entry = self.entries.entry(arn).or_default();
            let after = merge(entry, answer, round.started - retention);
            // Keep the old pointer: rendering compares pointers first.
            if **entry != after {
                *entry = Arc::new(after);
            }
        }
    }
}

/// Returns what is known after an answer. What the answer lacks is kept, and tables that are not listed if they had a run since `oldest`.
fn merge(before: &Freshness, answer: Freshness, oldest: f64) -> Freshness {
    let mut after = answer;
    if after.checked.is_none() {
        after.checked = before.checked;
        after.replication_lag = after.replication_lag.or(before.replication_lag);
        after.failed_tables = after.failed_tables.or(before.failed_tables);
    }
    for (name, table) in &before.tables {
        if let Some(after) = after.tables.get_mut(name) {
            raise(&mut after.last_success, table.last_success);
            raise(&mut after.last_failure, table.last_failure);
            raise(&mut after.synced_until, table.synced_until);
        } else if table.last_success >= Some(oldest) || table.last_failure >= Some(oldest) {
            after.tables.insert(name.clone(), *table);
        }
    }
    after
}

/// Times only move forward.
fn raise(current: &mut Option<f64>, before: Option<f64>) {
    if *current < before {
        *current = before;
    }
}
