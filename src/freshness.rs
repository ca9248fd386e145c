//! One round of requests to CloudWatch about the integrations of a scope: when their tables last succeeded and failed.

mod series;

use crate::glue::cloudwatch::{CloudWatch, Metric, MetricName};
use crate::glue::{Cursor, GlueError, Reason, RequestContext};
use crate::snapshot::{Freshness, TableFreshness};
use series::{MINUTE, Series, owners};
use std::collections::{BTreeMap, BTreeSet};

pub(crate) use series::whole_minute;
pub use series::{FreshnessQuery, QueriedIntegration};

/// The limit of `GetMetricData`.
const MAX_BATCH: usize = 500;
/// Bounds the memory. 10,000 integrations with 5 tables have 150,000 series, which need about 120 MB during a round.
pub const MAX_SERIES: usize = 300_000;

#[derive(Clone, Debug, Default)]
pub struct Round {
    /// In Unix seconds. The answers are as of this time.
    pub started: f64,
    /// The answers from CloudWatch, by canonical ARN. There are none if a listing failed. `checked` is `None` if a series failed.
    pub answers: BTreeMap<String, Freshness>,
    /// One for each failed request, and for each reason why series of a successful request failed.
    pub errors: Vec<GlueError>,
    /// Each page of samples counts all its metrics, as in the bill of AWS.
    pub metrics_requested: u64,
}

impl Round {
    pub async fn run(
        cloudwatch: &dyn CloudWatch,
        query: &FreshnessQuery,
        started: f64,
        context: RequestContext<'_>,
    ) -> Self {
        let mut round = Self {
            started,
            ..Self::default()
        };
        let mut all = match list(cloudwatch, query, started, context).await {
            Ok(all) => all,
            Err(error) => {
                round.errors.push(error);
                return round;
            }
        };
        // All series of a table are in one batch, except at the end of a full batch.
        all.sort_by(|one, other| one.key().cmp(&other.key()));
        for window in all.chunk_by_mut(|one, other| one.start == other.start) {
            for batch in window.chunks_mut(MAX_BATCH) {
                if let Err(error) = round.request(cloudwatch, batch, context).await {
                    round.errors.push(error);
                }
            }
        }
        let answer = Freshness {
            checked: Some(started),
            ..Freshness::default()
        };
        let answers = query.keys().map(|arn| (arn.clone(), answer.clone()));
        round.answers = answers.collect();
        for table in all.chunk_by(|one, other| one.key() == other.key()) {
            round.add(table);
        }
        round
    }

    /// Follows the pages of samples. If a page fails, the series have the samples of the pages before.
    async fn request(
        &mut self,
        cloudwatch: &dyn CloudWatch,
        batch: &mut [Series<'_>],
        context: RequestContext<'_>,
    ) -> Result<(), GlueError> {
        let end = whole_minute(self.started) + MINUTE;
        let start = batch.first().map_or(end, |series| series.start);
        let metrics: Vec<Metric> = batch.iter().map(|series| series.metric.clone()).collect();
        let mut cursor = Cursor::default();
        loop {
            self.metrics_requested += metrics.len() as u64;
            let request = cursor.request(None, context);
            let page = cloudwatch.data(&metrics, start..end, request).await?;
            for result in &page.items {
                if let Some(series) = batch.get_mut(result.index) {
                    series.add(result, end);
                }
            }
            if !cursor.advance(&page)? {
                break;
            }
        }
        let mut failures: BTreeMap<Reason, usize> = BTreeMap::new();
        for reason in batch.iter().filter_map(|series| series.missing) {
            *failures.entry(reason).or_default() += 1;
        }
        for (reason, count) in failures {
            let all = batch.len();
            let why = format!("CloudWatch did not return all samples for {count} of {all} series");
            self.errors.push(GlueError::new(reason, why));
        }
        Ok(())
    }

    /// Adds all series of one table, or those of an integration with a Redshift target.
    fn add(&mut self, table: &[Series<'_>]) {
        let [first, ..] = table else { return };
        let Some(answer) = self.answers.get_mut(first.arn) else {
            return;
        };
        let (failed, answered): (Vec<_>, Vec<_>) =
            table.iter().partition(|series| series.missing.is_some());
        if !failed.is_empty() {
            answer.checked = None;
        }
        let newest = |name| {
            let series = answered.iter().filter(|series| series.metric.name == name);
            let newest = series.filter_map(|series| series.newest);
            let newest = newest.reduce(|one, other| if one < other { other } else { one });
            newest.map(|(_, value)| value)
        };
        if first.metric.name.is_of_redshift() {
            answer.replication_lag = newest(MetricName::IntegrationLag);
            answer.failed_tables = newest(MetricName::IntegrationNumTablesFailedReplication);
            return;
        }
        // Successes and failures count only together: a table is failing if its newest run failed.
        let mut failed = failed.iter();
        let knows_runs = failed.all(|series| series.metric.name == MetricName::LastSyncTimestamp);
        let newest_run = |name| newest(name).filter(|_| knows_runs);
        let freshness = TableFreshness {
            last_success: newest_run(MetricName::IngestionSucceeded),
            last_failure: newest_run(MetricName::IngestionFailed),
            synced_until: newest(MetricName::LastSyncTimestamp),
        };
        answer.tables.insert(first.table.clone(), freshness);
    }
}

/// Returns the names of the tables that have reported in the last two weeks, by the ARN of their integration.
pub(crate) async fn tables(
    cloudwatch: &dyn CloudWatch,
    query: &FreshnessQuery,
    context: RequestContext<'_>,
) -> Result<BTreeMap<String, BTreeSet<String>>, GlueError> {
    let all = list(cloudwatch, query, 0.0, context).await?;
    let tables = query.keys().map(|arn| (arn.clone(), BTreeSet::new()));
    let mut tables: BTreeMap<String, BTreeSet<String>> = tables.collect();
    for series in all {
        let of_integration = tables.entry(series.arn.to_owned()).or_default();
        of_integration.insert(series.table);
    }
    Ok(tables)
}

/// Returns all series, or an error: with the failures and without the successes, tables would look as if they fail.
async fn list<'a>(
    cloudwatch: &dyn CloudWatch,
    query: &'a FreshnessQuery,
    now: f64,
    context: RequestContext<'_>,
) -> Result<Vec<Series<'a>>, GlueError> {
    let owners = owners(query, now);
    let has_redshift_target = query.values().any(|it| it.has_redshift_target);
    let mut all = Vec::new();
    for &name in MetricName::ALL {
        if name.is_of_redshift() && !has_redshift_target {
            continue;
        }
        let mut cursor = Cursor::default();
        loop {
            let request = cursor.request(None, context);
            let page = cloudwatch.metrics(name, request).await?;
            let has_next = cursor.advance(&page)?;
            let metrics = page.items.into_iter();
            all.extend(metrics.filter_map(|metric| Series::new(metric, &owners)));
            if all.len() > MAX_SERIES {
                let why = format!("CloudWatch lists more than {MAX_SERIES} series");
                return Err(GlueError::new(Reason::InvalidResponse, why));
            }
            if !has_next {
                break;
            }
        }
    }
    Ok(all)
}
