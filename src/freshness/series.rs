//! The metrics that tell about the data, and the integrations to which their series belong.

use super::Wanted;
use crate::arn::canonical_arn;
use crate::glue::cloudwatch::{Metric, Statistic};
use std::collections::HashMap;
use strum::{IntoStaticStr, VariantArray};

/// Longer table names are cut, because each sample repeats the name.
const MAX_TABLE_NAME_CHARS: usize = 256;
/// A larger number of seconds would be after the year 5000, so it is milliseconds.
const MAX_SECONDS: f64 = 1e11;
const YEAR_2000: f64 = 946_684_800.0;
const DAY_SECONDS: f64 = 86_400.0;

/// The metrics of tables, and those of integrations with a Redshift target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr, VariantArray)]
pub(super) enum Kind {
    IngestionSucceeded,
    IngestionFailed,
    LastSyncTimestamp,
    IntegrationLag,
    IntegrationNumTablesFailedReplication,
}

/// What a sample says: readings are compared by the first number, and the second one is exported.
pub(super) type Reading = (f64, f64);

impl Kind {
    pub fn name(self) -> &'static str {
        self.into()
    }

    pub fn is_of_redshift(self) -> bool {
        matches!(
            self,
            Self::IntegrationLag | Self::IntegrationNumTablesFailedReplication
        )
    }

    /// AWS documents no namespace for the metrics of Redshift, so all are listed.
    pub fn namespace(self) -> Option<&'static str> {
        (!self.is_of_redshift()).then_some("AWS/Glue/ZeroETL")
    }

    pub fn statistic(self) -> Statistic {
        match self {
            Self::IngestionSucceeded | Self::IngestionFailed => Statistic::Sum,
            _ => Statistic::Maximum,
        }
    }

    /// Returns `None` if the sample says nothing: a count of 0, or a number that cannot be right.
    pub fn read(self, minute: i64, value: f64, now: f64) -> Option<Reading> {
        #[allow(clippy::cast_precision_loss, reason = "exact for 285 million years")]
        let minute = minute as f64;
        match self {
            Self::IngestionSucceeded | Self::IngestionFailed => {
                (value > 0.0).then_some((minute, minute))
            }
            Self::LastSyncTimestamp => {
                let is_millis = value > MAX_SECONDS;
                let time = if is_millis { value / 1000.0 } else { value };
                let possible = YEAR_2000..=now + DAY_SECONDS;
                possible.contains(&time).then_some((time, time))
            }
            Self::IntegrationLag | Self::IntegrationNumTablesFailedReplication => {
                value.is_finite().then_some((minute, value))
            }
        }
    }
}

/// A series of an integration.
pub(super) struct Series<'a> {
    pub metric: Metric,
    /// The canonical ARN of the integration.
    pub arn: &'a str,
    /// Empty if the series is of the whole integration.
    pub table: String,
}

/// Finds the integration of a series.
pub(super) struct Owners<'a> {
    wanted: &'a Wanted,
    /// The canonical ARNs of integrations with a Redshift target, by their UUID.
    redshift: HashMap<&'a str, &'a str>,
}

impl<'a> Owners<'a> {
    pub fn new(wanted: &'a Wanted) -> Self {
        let redshift = wanted.iter().filter(|(_, it)| it.has_redshift_target);
        let redshift = redshift.filter_map(|(arn, _)| Some((arn.rsplit(':').next()?, &**arn)));
        Self {
            wanted,
            redshift: redshift.collect(),
        }
    }

    pub fn may_have(&self, kind: Kind) -> bool {
        !self.wanted.is_empty() && (!kind.is_of_redshift() || !self.redshift.is_empty())
    }

    /// Returns `None` if the metric is of no integration of the round.
    pub fn series(&self, kind: Kind, metric: Metric) -> Option<Series<'a>> {
        let dimension = |name| {
            let mut dimensions = metric.dimensions.iter();
            dimensions.find_map(|(it, value)| (it == name).then_some(value.as_str()))
        };
        if kind.is_of_redshift() {
            let arn = *self.redshift.get(dimension("IntegrationId")?)?;
            let table = String::new();
            return Some(Series { metric, arn, table });
        }
        let table = dimension("tableName").filter(|name| !name.is_empty())?;
        let table = table.chars().take(MAX_TABLE_NAME_CHARS).collect();
        let arn = canonical_arn(dimension("integrationArn")?);
        let (arn, _) = self.wanted.get_key_value(arn.as_ref())?;
        Some(Series { metric, arn, table })
    }
}
