//! One round of requests to CloudWatch about the integrations of a scope: when their tables last succeeded and failed.

mod series;
mod update;

use crate::glue::cloudwatch::{CloudWatch, DataRequest, Metric, MetricsRequest, Statistic};
use crate::glue::{Cursor, GlueError, Reason, RequestContext};
use series::{METRICS, MetricKind, Owners, Series};
use std::collections::BTreeMap;
use update::Answer;

pub use update::Update;

/// The limit of `GetMetricData`.
const MAX_BATCH: usize = 500;
/// Bounds the memory of a listing that never ends.
const MAX_SERIES: usize = 200_000;
/// 500 metrics with a sample in each minute of 15 days, at 100,800 samples a page. AWS bills every page.
const MAX_DATA_PAGES: usize = 108;
/// After so many failed requests in a row, the other series of the same metric would fail too.
const MAX_FAILED_BATCHES: usize = 3;
const MINUTE: i64 = 60;
/// Samples may come late.
const OVERLAP_SECONDS: i64 = 86_400;
/// CloudWatch keeps minutes for 15 days. An hour less, so that rounding loses no sample.
const MAX_WINDOW_SECONDS: i64 = 15 * 86_400 - 3_600;
/// Redshift reports every minute, and only the newest sample counts.
const REDSHIFT_WINDOW_SECONDS: i64 = 3 * 3_600;

/// The integrations of a round, by canonical ARN.
pub type Wanted = BTreeMap<String, WantedIntegration>;

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct WantedIntegration {
    pub has_redshift_target: bool,
    /// When CloudWatch last answered in full about the integration, in Unix seconds.
    pub checked: Option<f64>,
}

#[derive(Clone, Debug, Default)]
pub struct Round {
    /// In Unix seconds. The answers are as of this time.
    pub started: f64,
    /// By canonical ARN.
    pub updates: BTreeMap<String, Update>,
    /// One for each failed request, and for each reason why metrics of a successful request failed.
    pub errors: Vec<GlueError>,
    /// Each page of samples counts all its metrics, as in the bill of AWS.
    pub metrics_requested: u64,
}

impl Round {
    pub async fn run(
        cloudwatch: &dyn CloudWatch,
        wanted: &Wanted,
        started: f64,
        context: RequestContext<'_>,
    ) -> Self {
        let updates = wanted.iter();
        let updates = updates.map(|(arn, it)| (arn.clone(), Update::new(it.has_redshift_target)));
        let mut round = Self {
            started,
            updates: updates.collect(),
            ..Self::default()
        };
        let owners = Owners::new(wanted);
        // One metric after the other, so that the series of only one are in memory.
        for kind in METRICS.iter().filter(|kind| owners.may_have(kind)) {
            let series = round.list(cloudwatch, kind, &owners, context).await;
            round.request_all(cloudwatch, kind, series, context).await;
        }
        round
    }

    /// Returns the series of the integrations. If a page fails, those of the pages before.
    async fn list<'a>(
        &mut self,
        cloudwatch: &dyn CloudWatch,
        kind: &MetricKind,
        owners: &Owners<'a>,
        context: RequestContext<'_>,
    ) -> Vec<Series<'a>> {
        let mut found: Vec<Series<'a>> = Vec::new();
        let outcome = async {
            let mut cursor = Cursor::default();
            loop {
                let request = MetricsRequest {
                    namespace: kind.namespace,
                    name: kind.name,
                    marker: cursor.next.as_deref(),
                    context,
                };
                let page = cloudwatch.metrics(request).await?;
                let has_next = cursor.advance(&page);
                let metrics = page.items.into_iter();
                found.extend(metrics.filter_map(|metric| owners.series(kind, metric)));
                if found.len() > MAX_SERIES {
                    let name = kind.name;
                    let why = format!("CloudWatch lists more than {MAX_SERIES} series of {name}");
                    return Err(GlueError::new(Reason::InvalidResponse, why));
                }
                if !has_next? {
                    return Ok(());
                }
            }
        }
        .await;
        found.truncate(MAX_SERIES);
        if let Err(error) = outcome {
            self.errors.push(error);
            for update in self.updates.values_mut() {
                update.listing_failed(kind);
            }
        }
        for series in &found {
            if let Some(update) = self.updates.get_mut(series.arn) {
                update.add_table(series);
            }
        }
        found
    }

    async fn request_all(
        &mut self,
        cloudwatch: &dyn CloudWatch,
        kind: &MetricKind,
        series: Vec<Series<'_>>,
        context: RequestContext<'_>,
    ) {
        let mut by_start: BTreeMap<i64, Vec<Series<'_>>> = BTreeMap::new();
        for series in series {
            let start = self.start(kind, series.checked);
            by_start.entry(start).or_default().push(series);
        }
        let mut failed_batches = 0;
        for (start, series) in &by_start {
            for batch in series.chunks(MAX_BATCH) {
                let mut answers = vec![Answer::default(); batch.len()];
                if failed_batches < MAX_FAILED_BATCHES {
                    let request =
                        self.request(cloudwatch, kind, batch, *start, &mut answers, context);
                    let failed = request.await.err();
                    failed_batches = failed.as_ref().map_or(0, |_| failed_batches + 1);
                    self.note_failures(kind, &answers, failed);
                }
                self.update(kind, batch, &answers);
            }
        }
    }

    fn start(&self, kind: &MetricKind, checked: Option<f64>) -> i64 {
        let now = whole_minute(self.started);
        let oldest = now - MAX_WINDOW_SECONDS;
        match checked {
            _ if kind.is_of_redshift() => now - REDSHIFT_WINDOW_SECONDS,
            // If the clock was set back, `checked` is in the future.
            Some(checked) => {
                let overlapping = whole_minute(checked).min(now) - OVERLAP_SECONDS;
                overlapping.max(oldest)
            }
            None => oldest,
        }
    }

    /// Follows the pages of samples. If a page fails, `answers` has those of the pages before.
    async fn request(
        &mut self,
        cloudwatch: &dyn CloudWatch,
        kind: &MetricKind,
        batch: &[Series<'_>],
        start: i64,
        answers: &mut [Answer],
        context: RequestContext<'_>,
    ) -> Result<(), GlueError> {
        let metrics = batch.iter();
        let metrics = metrics.map(|series| (series.metric.clone(), kind.statistic));
        let metrics: Vec<(Metric, Statistic)> = metrics.collect();
        let end = whole_minute(self.started) + MINUTE;
        let mut cursor = Cursor::default();
        for _ in 0..MAX_DATA_PAGES {
            self.metrics_requested += metrics.len() as u64;
            let request = DataRequest {
                metrics: &metrics,
                start,
                end,
                marker: cursor.next.as_deref(),
                context,
            };
            let page = cloudwatch.data(request).await?;
            for result in page.results {
                let Some(answer) = answers.get_mut(result.index) else {
                    continue;
                };
                let samples = result.samples.into_iter();
                let samples = samples.filter(|(minute, _)| (start..end).contains(minute));
                let readings =
                    samples.filter_map(|(minute, value)| kind.read(minute, value, self.started));
                answer.add(readings, result.status);
            }
            if !cursor.advance_to(page.marker.as_deref())? {
                return Ok(());
            }
        }
        let why = format!("CloudWatch sent more than {MAX_DATA_PAGES} pages of samples");
        Err(GlueError::new(Reason::InvalidResponse, why))
    }

    /// Adds the error of the request, or one error for each reason why a part of its metrics failed.
    fn note_failures(&mut self, kind: &MetricKind, answers: &[Answer], failed: Option<GlueError>) {
        let mut failures: BTreeMap<Reason, usize> = BTreeMap::new();
        for reason in answers.iter().filter_map(Answer::failure) {
            *failures.entry(reason).or_default() += 1;
        }
        if let Some(error) = failed {
            // Incomplete answers are its consequence.
            failures.remove(&Reason::InvalidResponse);
            self.errors.push(error);
        }
        for (reason, count) in failures {
            let (name, all) = (kind.name, answers.len());
            let why = format!(
                "CloudWatch did not return all samples for {count} of {all} series of {name}"
            );
            self.errors.push(GlueError::new(reason, why));
        }
    }

    fn update(&mut self, kind: &MetricKind, batch: &[Series<'_>], answers: &[Answer]) {
        for (series, answer) in batch.iter().zip(answers) {
            if let Some(update) = self.updates.get_mut(series.arn) {
                update.add(kind, series, answer);
            }
        }
    }
}

fn whole_minute(unix_seconds: f64) -> i64 {
    #[allow(clippy::cast_possible_truncation, reason = "`as` saturates")]
    let seconds = unix_seconds as i64;
    seconds - seconds.rem_euclid(MINUTE)
}
