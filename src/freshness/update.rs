//! The answers of a round about one integration, and how they change what is known about it.

use super::series::{Kind, Reading, Series};
use crate::glue::Reason;
use crate::glue::cloudwatch::SamplesStatus;
use crate::snapshot::{Freshness, TableFreshness};
use std::collections::BTreeMap;

const RETENTION_SECONDS: f64 = 15.0 * 86_400.0;

/// The answer about one series.
#[derive(Clone, Debug, Default)]
pub(super) struct Answer {
    newest: Option<Reading>,
    /// `None` before the first page with the series.
    status: Option<SamplesStatus>,
}

impl Answer {
    /// Adds a page. Its status replaces the one before: CloudWatch may send with the next page what an internal error held back.
    pub fn add(&mut self, readings: impl Iterator<Item = Reading>, status: SamplesStatus) {
        for reading in readings {
            raise(&mut self.newest, Some(reading));
        }
        self.status = Some(status);
    }

    pub fn failure(&self) -> Option<Reason> {
        match self.status {
            Some(SamplesStatus::Complete) => None,
            Some(SamplesStatus::Failed(reason)) => Some(reason),
            Some(SamplesStatus::Partial) | None => Some(Reason::InvalidResponse),
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Update {
    has_redshift_target: bool,
    listing_failed: bool,
    samples_failed: bool,
    tables: BTreeMap<String, TableFreshness>,
    replication_lag: Option<Reading>,
    failed_tables: Option<Reading>,
}

impl Update {
    pub(super) fn new(has_redshift_target: bool) -> Self {
        Self {
            has_redshift_target,
            ..Self::default()
        }
    }

    pub(super) fn listing_failed(&mut self, kind: Kind) {
        self.listing_failed |= self.has_redshift_target || !kind.is_of_redshift();
    }

    pub(super) fn add_table(&mut self, series: &Series<'_>) {
        if !series.table.is_empty() {
            self.tables.entry(series.table.clone()).or_default();
        }
    }

    /// Adds the samples of a series, whose table was added before. If the series failed, they count as none.
    pub(super) fn add(&mut self, kind: Kind, series: &Series<'_>, answer: &Answer) {
        if answer.failure().is_some() {
            self.samples_failed = true;
            return;
        }
        let newest = answer.newest;
        let time = newest.map(|(_, value)| value);
        let mut unlisted = TableFreshness::default();
        let table = self.tables.get_mut(&series.table).unwrap_or(&mut unlisted);
        match kind {
            Kind::IngestionSucceeded => raise(&mut table.last_success, time),
            Kind::IngestionFailed => raise(&mut table.last_failure, time),
            Kind::LastSyncTimestamp => raise(&mut table.synced_until, time),
            Kind::IntegrationLag => raise(&mut self.replication_lag, newest),
            Kind::IntegrationNumTablesFailedReplication => raise(&mut self.failed_tables, newest),
        }
    }

    /// Returns what is known after a round that started at `now`, in Unix seconds. A failure removes nothing and changes no value.
    /// Returns `None` if nothing was known and the listing is incomplete. There are at most `max_tables` tables.
    pub fn merge(
        self,
        before: Option<&Freshness>,
        now: f64,
        max_tables: usize,
    ) -> Option<Freshness> {
        if before.is_none() && self.listing_failed {
            return None;
        }
        let mut after = before.cloned().unwrap_or_default();
        if !self.listing_failed && !self.samples_failed {
            after.checked = Some(now);
            after.replication_lag = None;
            after.failed_tables = None;
            let oldest = Some(now - RETENTION_SECONDS);
            after.tables.retain(|name, table| {
                self.tables.contains_key(name)
                    || table.last_success >= oldest
                    || table.last_failure >= oldest
            });
        }
        for (name, found) in self.tables {
            if after.tables.len() >= max_tables && !after.tables.contains_key(&name) {
                continue;
            }
            let table = after.tables.entry(name).or_default();
            raise(&mut table.last_success, found.last_success);
            raise(&mut table.last_failure, found.last_failure);
            raise(&mut table.synced_until, found.synced_until);
        }
        let value = |(_, value): Reading| value;
        let (lag, failed_tables) = (self.replication_lag, self.failed_tables);
        after.replication_lag = lag.map(value).or(after.replication_lag);
        after.failed_tables = failed_tables.map(value).or(after.failed_tables);
        Some(after)
    }
}

/// Values only move forward.
fn raise<T: PartialOrd + Copy>(current: &mut Option<T>, value: Option<T>) {
    if *current < value {
        *current = value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: f64 = 1_795_300_000.0;

    fn update(tables: &[(&str, f64)]) -> Update {
        let table = |success: f64| TableFreshness {
            last_success: Some(success),
            ..TableFreshness::default()
        };
        let tables = tables.iter();
        Update {
            tables: tables
                .map(|(name, at)| ((*name).to_owned(), table(*at)))
                .collect(),
            ..Update::new(false)
        }
    }

    fn successes(freshness: &Freshness) -> Vec<(&str, Option<f64>)> {
        let tables = freshness.tables.iter();
        tables
            .map(|(name, it)| (name.as_str(), it.last_success))
            .collect()
    }

    #[test]
    fn incomplete_first_listing_says_nothing() {
        let mut first = update(&[("orders", NOW)]);
        first.listing_failed = true;
        assert_eq!(first.merge(None, NOW, 9), None);
    }

    #[test]
    fn times_only_move_forward() {
        let first = update(&[("orders", NOW)]).merge(None, NOW, 9);
        let second = update(&[("orders", NOW - 60.0)]).merge(first.as_ref(), NOW + 60.0, 9);
        let second = second.unwrap();
        assert_eq!(second.checked, Some(NOW + 60.0));
        assert_eq!(successes(&second), [("orders", Some(NOW))]);
    }

    #[test]
    fn only_full_answer_drops_silent_table() {
        let silent = update(&[("orders", NOW - RETENTION_SECONDS - 1.0), ("clients", NOW)]);
        let before = silent.merge(None, NOW, 9);
        for (listing_failed, samples_failed) in [(true, false), (false, true)] {
            let mut partial = update(&[]);
            (partial.listing_failed, partial.samples_failed) = (listing_failed, samples_failed);
            assert_eq!(partial.merge(before.as_ref(), NOW + 60.0, 9), before);
        }
        let after = update(&[]).merge(before.as_ref(), NOW, 9).unwrap();
        assert_eq!(successes(&after), [("clients", Some(NOW))]);
    }

    #[test]
    fn tables_beyond_limit_are_not_added() {
        let before = update(&[("b", NOW)]).merge(None, NOW, 2);
        let after = update(&[("a", NOW), ("b", NOW + 1.0), ("c", NOW)]);
        let after = after.merge(before.as_ref(), NOW, 2).unwrap();
        assert_eq!(
            successes(&after),
            [("a", Some(NOW)), ("b", Some(NOW + 1.0))]
        );
    }

    #[test]
    fn status_of_last_page_counts() {
        let failed = SamplesStatus::Failed(Reason::ServerError);
        for (first, last, failure) in [
            (SamplesStatus::Partial, SamplesStatus::Complete, None),
            (failed, SamplesStatus::Complete, None),
            (SamplesStatus::Partial, failed, Some(Reason::ServerError)),
            (
                SamplesStatus::Complete,
                SamplesStatus::Partial,
                Some(Reason::InvalidResponse),
            ),
        ] {
            let mut answer = Answer::default();
            assert_eq!(answer.failure(), Some(Reason::InvalidResponse));
            answer.add([(1.0, 1.0)].into_iter(), first);
            answer.add([].into_iter(), last);
            assert_eq!(answer.failure(), failure);
            assert_eq!(answer.newest, Some((1.0, 1.0)));
        }
    }

    #[test]
    fn full_answer_without_lag_ends_it() {
        let mut first = Update::new(true);
        raise(&mut first.replication_lag, Some((NOW - 60.0, 7.0)));
        raise(&mut first.replication_lag, Some((NOW - 120.0, 9.0)));
        let first = first.merge(None, NOW, 9);
        assert_eq!(first.as_ref().unwrap().replication_lag, Some(7.0));
        let mut failed = Update::new(true);
        failed.samples_failed = true;
        let second = failed.merge(first.as_ref(), NOW, 9).unwrap();
        assert_eq!(second.replication_lag, Some(7.0));
        let third = Update::new(true).merge(Some(&second), NOW, 9).unwrap();
        assert_eq!(third.replication_lag, None);
    }
}
