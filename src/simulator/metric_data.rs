//! The samples of single metrics, aggregated to periods as `GetMetricData` returns them.

use super::account::Account;
use super::integration::SimulatedIntegration;
use super::metric_request::{GetMetricDataInput, MetricStat, ScanBy, Statistic};
use super::metric_series::{Series, integration_id};
use super::request::RecordedRequest;
use std::collections::HashMap;
use std::ops::Range;

const DAY: i64 = 86_400;

/// Reads the metrics that are visible to one request.
pub(super) struct Reader<'a> {
    integrations: HashMap<&'a str, &'a SimulatedIntegration>,
    input: &'a GetMetricDataInput,
    now: i64,
}

/// The datapoints of one query.
#[derive(Default)]
pub(super) struct Datapoints {
    /// Time and value.
    pub points: Vec<(i64, f64)>,
    /// Where the next page continues, if there are more.
    pub next: Option<i64>,
}

impl<'a> Reader<'a> {
    pub fn new(
        account: &'a Account,
        request: &RecordedRequest,
        input: &'a GetMetricDataInput,
    ) -> Self {
        let visible = account.visible(request);
        Self {
            integrations: visible
                .map(|integration| (integration_id(&integration.arn), integration))
                .collect(),
            input,
            now: account.unix_now(),
        }
    }

    /// Returns at most `limit` datapoints. `continued` is `next` of the page before.
    pub fn read(&self, stat: &MetricStat, continued: Option<i64>, limit: usize) -> Datapoints {
        let Some(series) = self.find(stat) else {
            return Datapoints::default();
        };
        let period = i64::from(stat.period);
        let mut window = self.window(period);
        match (self.input.scan_by, continued) {
            (ScanBy::TimestampAscending, Some(start)) => window.start = window.start.max(start),
            (ScanBy::TimestampDescending, Some(end)) => window.end = window.end.min(end),
            (_, None) => {}
        }
        let times = series.times(window.clone(), self.now);
        let (periods, is_complete) = match self.input.scan_by {
            ScanBy::TimestampAscending => group(series, times, period, limit),
            ScanBy::TimestampDescending => group(series, times.rev(), period, limit),
        };
        let last = periods.last().map(|(start, _)| *start);
        let next = match self.input.scan_by {
            ScanBy::TimestampAscending => last.map_or(window.start, |last| last + period),
            ScanBy::TimestampDescending => last.unwrap_or(window.end),
        };
        let point = |(start, values): (i64, Vec<f64>)| (start, stat.stat.of(&values));
        Datapoints {
            points: periods.into_iter().map(point).collect(),
            next: (!is_complete).then_some(next),
        }
    }

    /// CloudWatch knows a metric only by all its dimensions, in any order.
    fn find(&self, stat: &MetricStat) -> Option<Series<'a>> {
        let mut wanted = stat.metric.clone();
        wanted.dimensions.sort_unstable();
        let id = integration_id(&wanted.dimensions.first()?.value);
        let series = Series::of(self.integrations.get(id)?);
        let mut series = series.filter(|series| series.name == wanted.metric_name);
        let series = series.find(|series| series.metric() == wanted)?;
        let unit = stat.unit.as_deref();
        unit.is_none_or(|unit| unit == series.unit())
            .then_some(series)
    }

    /// Returns the requested window with whole periods, without the time for which this period is no longer kept.
    fn window(&self, period: i64) -> Range<i64> {
        let kept_days = if period % 300 != 0 {
            15
        } else if period % 3600 != 0 {
            63
        } else {
            455
        };
        // A time beyond the range of i64 is as good as its limit.
        #[allow(clippy::cast_possible_truncation, reason = "`as` saturates")]
        let (start, end) = (
            self.input.start_time as i64,
            self.input.end_time.ceil() as i64,
        );
        let start = start.max(self.now - kept_days * DAY);
        start.div_euclid(period) * period..end
    }
}

/// Returns the values of at most `limit` periods, and true if there are no more samples. The times are ordered.
fn group(
    series: Series,
    times: impl Iterator<Item = i64>,
    period: i64,
    limit: usize,
) -> (Vec<(i64, Vec<f64>)>, bool) {
    let mut periods: Vec<(i64, Vec<f64>)> = Vec::new();
    for time in times {
        let start = time.div_euclid(period) * period;
        let value = series.value(time);
        let is_full = periods.len() == limit;
        match periods.last_mut().filter(|last| last.0 == start) {
            Some((_, values)) => values.push(value),
            None if is_full => return (periods, false),
            None => periods.push((start, vec![value])),
        }
    }
    (periods, true)
}

impl Statistic {
    fn of(self, values: &[f64]) -> f64 {
        let sum = values.iter().sum();
        #[allow(clippy::cast_precision_loss, reason = "far below 2^53")]
        let count = values.len() as f64;
        match self {
            Self::Average => sum / count,
            Self::Maximum => values.iter().copied().fold(f64::MIN, f64::max),
            Self::Minimum => values.iter().copied().fold(f64::MAX, f64::min),
            Self::SampleCount => count,
            Self::Sum => sum,
        }
    }
}
