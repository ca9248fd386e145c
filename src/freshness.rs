//! One round of requests to CloudWatch about the integrations of a scope: when their tables last succeeded and failed.

mod series;
mod update;

use crate::glue::cloudwatch::{CloudWatch, DataRequest, Metric, MetricsRequest, Statistic};
use crate::glue::{Cursor, GlueError, Reason, RequestContext};
use series::{Kind, Owners, Series};
use std::collections::BTreeMap;
use strum::VariantArray;
use update::Answer;

pub use update::Update;

/// The limit of `GetMetricData`.
const MAX_BATCH: usize = 500;
/// Bounds the memory of a listing that never ends.
const MAX_SERIES: usize = 200_000;
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

/// The series of one metric that are requested together, with the start of their window.
struct Batch<'a> {
    kind: Kind,
    series: &'a [Series<'a>],
    start: i64,
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
        for &kind in Kind::VARIANTS {
            if !owners.may_have(kind) {
                continue;
            }
            let mut by_start: BTreeMap<i64, Vec<Series<'_>>> = BTreeMap::new();
            for series in round.list(cloudwatch, kind, &owners, context).await {
                let checked = wanted.get(series.arn).and_then(|it| it.checked);
                let start = round.start(kind, checked);
                by_start.entry(start).or_default().push(series);
            }
            let mut failed = 0;
            for (&start, series) in &by_start {
                for series in series.chunks(MAX_BATCH) {
                    let batch = Batch {
                        kind,
                        series,
                        start,
                    };
                    let mut answers = vec![Answer::default(); series.len()];
                    if failed < MAX_FAILED_BATCHES {
                        let request = round.request(cloudwatch, &batch, &mut answers, context);
                        let error = request.await.err();
                        failed = error.as_ref().map_or(0, |_| failed + 1);
                        round.note_failures(kind, &answers, error);
                    }
                    round.update(&batch, &answers);
                }
            }
        }
        round
    }

    /// Returns the series of the integrations. If a page fails, those of the pages before.
    async fn list<'a>(
        &mut self,
        cloudwatch: &dyn CloudWatch,
        kind: Kind,
        owners: &Owners<'a>,
        context: RequestContext<'_>,
    ) -> Vec<Series<'a>> {
        let mut found: Vec<Series<'a>> = Vec::new();
        let outcome = async {
            let mut cursor = Cursor::default();
            loop {
                let request = MetricsRequest {
                    namespace: kind.namespace(),
                    name: kind.name(),
                    marker: cursor.next.as_deref(),
                    context,
                };
                let page = cloudwatch.metrics(request).await?;
                let has_next = cursor.advance(&page);
                let metrics = page.items.into_iter();
                found.extend(metrics.filter_map(|metric| owners.series(kind, metric)));
                if found.len() > MAX_SERIES {
                    found.truncate(MAX_SERIES);
                    let name = kind.name();
                    let why = format!("CloudWatch lists more than {MAX_SERIES} series of {name}");
                    return Err(GlueError::new(Reason::InvalidResponse, why));
                }
                if !has_next? {
                    return Ok(());
                }
            }
        }
        .await;
        for series in &found {
            if let Some(update) = self.updates.get_mut(series.arn) {
                update.add_table(series);
            }
        }
        if let Err(error) = outcome {
            self.errors.push(error);
            for update in self.updates.values_mut() {
                update.listing_failed(kind);
            }
        }
        found
    }

    fn start(&self, kind: Kind, checked: Option<f64>) -> i64 {
        let now = whole_minute(self.started);
        let oldest = now - MAX_WINDOW_SECONDS;
        match checked {
            _ if kind.is_of_redshift() => now - REDSHIFT_WINDOW_SECONDS,
            // If the clock was set back, `checked` is in the future.
            Some(checked) => oldest.max(whole_minute(checked).min(now) - OVERLAP_SECONDS),
            None => oldest,
        }
    }

    /// Follows the pages of samples. If a page fails, `answers` has those of the pages before.
    async fn request(
        &mut self,
        cloudwatch: &dyn CloudWatch,
        batch: &Batch<'_>,
        answers: &mut [Answer],
        context: RequestContext<'_>,
    ) -> Result<(), GlueError> {
        let Batch { kind, start, .. } = *batch;
        let metrics = batch.series.iter();
        let metrics = metrics.map(|series| (series.metric.clone(), kind.statistic()));
        let metrics: Vec<(Metric, Statistic)> = metrics.collect();
        let end = whole_minute(self.started) + MINUTE;
        let mut cursor = Cursor::default();
        loop {
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
                let samples = result.samples.into_iter();
                let samples = samples.filter(|(minute, _)| (start..end).contains(minute));
                let readings = samples.filter_map(|(at, value)| kind.read(at, value, self.started));
                if let Some(answer) = answers.get_mut(result.index) {
                    answer.add(readings, result.status);
                }
            }
            if !cursor.advance_to(page.marker.as_deref())? {
                return Ok(());
            }
        }
    }

    /// Adds the error of the request, and one error for each other reason why a part of its metrics failed.
    fn note_failures(&mut self, kind: Kind, answers: &[Answer], error: Option<GlueError>) {
        let mut failures: BTreeMap<Reason, usize> = BTreeMap::new();
        for reason in answers.iter().filter_map(Answer::failure) {
            *failures.entry(reason).or_default() += 1;
        }
        if let Some(error) = error {
            // Incomplete answers are its consequence.
            failures.remove(&Reason::InvalidResponse);
            self.errors.push(error);
        }
        for (reason, count) in failures {
            let (name, all) = (kind.name(), answers.len());
            let why = format!(
                "CloudWatch did not return all samples for {count} of {all} series of {name}"
            );
            self.errors.push(GlueError::new(reason, why));
        }
    }

    fn update(&mut self, batch: &Batch<'_>, answers: &[Answer]) {
        for (series, answer) in batch.series.iter().zip(answers) {
            if let Some(update) = self.updates.get_mut(series.arn) {
                update.add(batch.kind, series, answer);
            }
        }
    }
}

fn whole_minute(unix_seconds: f64) -> i64 {
    #[allow(clippy::cast_possible_truncation, reason = "`as` saturates")]
    let seconds = unix_seconds as i64;
    seconds - seconds.rem_euclid(MINUTE)
}
