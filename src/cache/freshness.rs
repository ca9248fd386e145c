//! The last answers of CloudWatch about the integrations of one scope.

use super::by_arn;
use super::failures::failed;
use crate::config::FreshnessConfig;
use crate::freshness::{MAX_SERIES, Round, Wanted};
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
        let tables: usize = self.entries.values().map(|entry| entry.tables.len()).sum();
        // If CloudWatch listed other tables in each round, keeping all of them would fill the memory.
        let retention = if tables > MAX_SERIES {
            0.0
        } else {
            RETENTION_SECONDS
        };
        for (arn, answer) in round.answers {
            if !wanted.contains_key(&arn) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::freshness::WantedIntegration;
    use crate::snapshot::TableFreshness;

    #[test]
    fn tables_that_change_in_each_round_are_bounded() {
        let arn = "arn:aws:glue:eu-west-1:111122223333:integration:a";
        let wanted = Wanted::from([(arn.to_owned(), WantedIntegration::default())]);
        let mut cache = FreshnessCache::default();
        let all = MAX_SERIES + 2;
        for (listed, known) in [(0..1, 1), (1..all, all), (0..1, 1)] {
            let mut round = Round {
                started: 1e9,
                ..Round::default()
            };
            let answer = round.answers.entry(arn.to_owned()).or_default();
            let table = TableFreshness {
                last_success: Some(1e9 - 60.0),
                ..TableFreshness::default()
            };
            answer.tables = listed.map(|n| (n.to_string(), table)).collect();
            cache.apply(round, &wanted);
            assert_eq!(cache.entries[arn].tables.len(), known);
        }
    }
}
