//! The metrics that tell about the data, and the integrations to which their series belong.

use crate::arn::canonical_arn;
use crate::glue::Reason;
use crate::glue::cloudwatch::{Metric, MetricName, MetricSamples};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

pub(super) const MINUTE: i64 = 60;
/// Samples may come late.
const OVERLAP_SECONDS: i64 = 86_400;
/// CloudWatch keeps minutes for 15 days. An hour less, so that rounding loses no sample.
const MAX_WINDOW_SECONDS: i64 = 15 * 86_400 - 3_600;
/// Redshift reports every minute, and only the newest sample counts.
const REDSHIFT_WINDOW_SECONDS: i64 = 3 * 3_600;
/// Longer table names are cut, because each sample repeats the name.
const MAX_TABLE_NAME_CHARS: usize = 256;
/// A larger number of seconds would be after the year 5000, so it is milliseconds.
const MAX_SECONDS: f64 = 1e11;
const YEAR_2000: f64 = 946_684_800.0;
const DAY_SECONDS: f64 = 86_400.0;

/// The integrations to ask about, by canonical ARN.
pub type FreshnessQuery = BTreeMap<String, QueriedIntegration>;

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct QueriedIntegration {
    pub has_redshift_target: bool,
    /// When CloudWatch last answered in full about the integration, in Unix seconds.
    pub checked: Option<f64>,
}

/// The canonical ARN of an integration and the start of the window of its samples, by what its series name: its canonical ARN, or the
/// UUID in it if it has a Redshift target.
pub(super) type Owners<'a> = HashMap<&'a str, (&'a str, i64)>;

pub(super) fn owners(query: &FreshnessQuery, now: f64) -> Owners<'_> {
    let now = whole_minute(now);
    let mut owners = Owners::new();
    for (arn, integration) in query {
        let (arn, oldest) = (arn.as_str(), now - MAX_WINDOW_SECONDS);
        // If the clock was set back, `checked` is in the future.
        let start = integration.checked.map_or(oldest, |checked| {
            oldest.max(whole_minute(checked).min(now) - OVERLAP_SECONDS)
        });
        owners.insert(arn, (arn, start));
        if integration.has_redshift_target {
            let id = arn.rsplit(':').next().unwrap_or(arn);
            owners.insert(id, (arn, now - REDSHIFT_WINDOW_SECONDS));
        }
    }
    owners
}

pub(crate) fn whole_minute(unix_seconds: f64) -> i64 {
    #[allow(clippy::cast_possible_truncation, reason = "`as` saturates")]
    let seconds = unix_seconds as i64;
    seconds - seconds.rem_euclid(MINUTE)
}

/// A series of an integration, and the answer about it.
pub(super) struct Series<'a> {
    pub metric: Metric,
    /// The canonical ARN of the integration.
    pub arn: &'a str,
    /// Empty if the series is of the whole integration.
    pub table: String,
    /// Of the window, in Unix seconds.
    pub start: i64,
    /// The newest minute with a sample that says something, and what it says.
    pub newest: Option<(i64, f64)>,
    /// Why samples are missing, `None` if CloudWatch returned all.
    pub missing: Option<Reason>,
}

impl<'a> Series<'a> {
    /// Returns `None` if the metric is of no integration of the round.
    pub fn new(metric: Metric, owners: &Owners<'a>) -> Option<Self> {
        let dimension = |name| {
            let mut dimensions = metric.dimensions.iter();
            dimensions.find_map(|(it, value)| (it == name).then_some(value.as_str()))
        };
        let (owner, table) = if metric.name.is_of_redshift() {
            (Cow::Borrowed(dimension("IntegrationId")?), "")
        } else {
            let table = dimension("tableName").filter(|name| !name.is_empty())?;
            (canonical_arn(dimension("integrationArn")?), table)
        };
        let (arn, start) = *owners.get(&*owner)?;
        let table = table.chars().take(MAX_TABLE_NAME_CHARS).collect();
        Some(Self {
            arn,
            table,
            start,
            newest: None,
            missing: Some(Reason::InvalidResponse),
            metric,
        })
    }

    /// Equal for all series of a table.
    pub fn key(&self) -> (i64, &str, &str) {
        (self.start, self.arn, &self.table)
    }

    /// Adds a page. What was missing before no longer counts: CloudWatch may send with the next page what an internal error held back.
    pub fn add(&mut self, page: &MetricSamples, end: i64) {
        for &(minute, value) in &page.samples {
            let is_newest = self.newest.is_none_or(|(newest, _)| newest < minute);
            if let Some(value) = read(self.metric.name, minute, value)
                && is_newest
                && (self.start..end).contains(&minute)
            {
                self.newest = Some((minute, value));
            }
        }
        self.missing = page.missing;
    }
}

/// Returns the value to export, or `None` if the sample says nothing: a count of 0, or a number that cannot be right.
fn read(name: MetricName, minute: i64, value: f64) -> Option<f64> {
    #[allow(clippy::cast_precision_loss, reason = "exact for 285 million years")]
    let minute = minute as f64;
    if name.is_count() {
        return (value > 0.0).then_some(minute);
    }
    if name != MetricName::LastSyncTimestamp {
        return value.is_finite().then_some(value);
    }
    let is_millis = value > MAX_SECONDS;
    let time = if is_millis { value / 1000.0 } else { value };
    let is_valid = (YEAR_2000..=minute + DAY_SECONDS).contains(&time);
    is_valid.then_some(time)
}
