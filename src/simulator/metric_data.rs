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

/// The samples of one period.
struct Bucket {
    start: i64,
    sum: f64,
    minimum: f64,
    maximum: f64,
    count: f64,
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
            (ScanBy::TimestampAscending, Some(start)) => window.start = start,
            (ScanBy::TimestampDescending, Some(end)) => window.end = end,
            (_, None) => {}
        }
        let times = series.times(window.clone(), self.now);
        let (buckets, is_complete) = match self.input.scan_by {
            ScanBy::TimestampAscending => aggregate(series, times, period, limit),
            ScanBy::TimestampDescending => aggregate(series, times.rev(), period, limit),
        };
        let last = buckets.last().map(|bucket| bucket.start);
        let next = match self.input.scan_by {
            ScanBy::TimestampAscending => last.map_or(window.start, |last| last + period),
            ScanBy::TimestampDescending => last.unwrap_or(window.end),
        };
        let points = buckets.iter();
        Datapoints {
            points: points
                .map(|bucket| (bucket.start, bucket.value(stat.stat)))
                .collect(),
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

/// Returns at most `limit` buckets, and true if there are no more samples. The times are ordered.
fn aggregate(
    series: Series,
    times: impl Iterator<Item = i64>,
    period: i64,
    limit: usize,
) -> (Vec<Bucket>, bool) {
    let mut buckets: Vec<Bucket> = Vec::new();
    for time in times {
        let start = time.div_euclid(period) * period;
        let value = series.value(time);
        let is_full = buckets.len() == limit;
        match buckets.last_mut().filter(|last| last.start == start) {
            Some(bucket) => bucket.add(value),
            None if is_full => return (buckets, false),
            None => buckets.push(Bucket::new(start, value)),
        }
    }
    (buckets, true)
}

impl Bucket {
    fn new(start: i64, value: f64) -> Self {
        Self {
            start,
            sum: value,
            minimum: value,
            maximum: value,
            count: 1.0,
        }
    }

    fn add(&mut self, value: f64) {
        self.sum += value;
        self.minimum = self.minimum.min(value);
        self.maximum = self.maximum.max(value);
        self.count += 1.0;
    }

    fn value(&self, statistic: Statistic) -> f64 {
        match statistic {
            Statistic::Average => self.sum / self.count,
            Statistic::Maximum => self.maximum,
            Statistic::Minimum => self.minimum,
            Statistic::SampleCount => self.count,
            Statistic::Sum => self.sum,
        }
    }
}
