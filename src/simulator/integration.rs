//! A simulated integration, as the API and the control endpoint write and read it in JSON.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::num::NonZeroU32;

/// An entry of `Errors`. Both members are optional in the API model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SimulatedError {
    #[serde(rename = "ErrorCode", skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    #[serde(rename = "ErrorMessage", skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// `IntegrationConfig`. Responses omit members that are `None` or empty.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase", deny_unknown_fields)]
pub struct SimulatedConfig {
    /// Minutes as an integer in a string: `"60"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh_interval: Option<String>,
    /// Like in AWS, it can contain secret ARNs and subnets.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub source_properties: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub continuous_sync: Option<bool>,
    /// Only S3 Tables targets have one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_namespace: Option<String>,
}

/// An entry of `Tags`. Unlike all other members, its members are in lower case in the API model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SimulatedTag {
    pub key: String,
    pub value: String,
}

/// A table of an integration. Its runs end at the multiples of its interval. Times are Unix seconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct SimulatedTable {
    #[serde(rename = "TableName")]
    pub name: String,
    /// Default: the refresh interval of the integration, or 15.
    pub interval_minutes: Option<NonZeroU32>,
    /// Runs fail from this time on.
    pub failing_since: Option<i64>,
    /// There are no runs from this time on.
    pub silent_since: Option<i64>,
}

/// Its strings are not validated, so that a test can simulate invalid responses of AWS.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct SimulatedIntegration {
    /// The account in this ARN created the integration, and `DescribeIntegrations` lists it there.
    #[serde(rename = "IntegrationArn", default)]
    pub arn: String,
    pub source_arn: String,
    pub target_arn: String,
    pub status: String,
    /// Unix time in seconds, possibly with a fraction.
    pub create_time: f64,
    #[serde(rename = "IntegrationConfig", skip_serializing_if = "Option::is_none")]
    pub config: Option<SimulatedConfig>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub errors: Option<Vec<SimulatedError>>,
    /// Only `DescribeIntegrations` returns the name and the tags.
    #[serde(rename = "IntegrationName", default)]
    pub name: String,
    #[serde(default)]
    pub tags: Vec<SimulatedTag>,
    /// The tables that CloudWatch has metrics of: none if the target role must not write them.
    /// Default: one with the name of the source.
    #[serde(default, skip_serializing)]
    pub tables: Option<Vec<SimulatedTable>>,
    /// In seconds, of Redshift targets only.
    #[serde(default, skip_serializing)]
    pub replication_lag: f64,
}

impl SimulatedIntegration {
    pub fn new(arn: &str, source_arn: &str, target_arn: &str, status: &str) -> Self {
        Self {
            arn: arn.to_owned(),
            source_arn: source_arn.to_owned(),
            target_arn: target_arn.to_owned(),
            status: status.to_owned(),
            create_time: 1_700_000_000.0,
            config: Some(SimulatedConfig {
                refresh_interval: Some("60".to_owned()),
                continuous_sync: Some(true),
                ..SimulatedConfig::default()
            }),
            ..Self::default()
        }
        .with_defaults()
    }

    /// Returns the region and the account of the target. `DescribeInboundIntegrations` lists the integration there.
    pub(super) fn region_and_account(&self) -> [Option<&str>; 2] {
        [3, 4]
            .map(|index| arn_field(&self.target_arn, index).or_else(|| arn_field(&self.arn, index)))
    }

    /// Fills empty members from the ARNs.
    pub(super) fn with_defaults(mut self) -> Self {
        if self.name.is_empty() {
            self.name = arn_id(&self.arn).to_owned();
        }
        if self.tables.is_none() {
            self.tables = Some(vec![SimulatedTable {
                name: arn_id(&self.source_arn).to_owned(),
                ..SimulatedTable::default()
            }]);
        }
        self
    }

    /// Adds `start` to all times.
    pub(super) fn shift(&mut self, start: f64) {
        self.create_time += start;
        #[allow(clippy::cast_possible_truncation, reason = "`as` saturates")]
        let start = start as i64;
        for table in self.tables.iter_mut().flatten() {
            table.failing_since = table.failing_since.map(|time| time + start);
            table.silent_since = table.silent_since.map(|time| time + start);
        }
    }
}

/// Returns a field of an ARN (3: region, 4: account), or `None` if it is empty or absent.
pub(super) fn arn_field(arn: &str, index: usize) -> Option<&str> {
    arn.split(':').nth(index).filter(|field| !field.is_empty())
}

/// Returns the text after the last colon or slash of an ARN: the UUID of an integration, the name of a table.
pub(super) fn arn_id(arn: &str) -> &str {
    arn.rsplit([':', '/']).next().unwrap_or_default()
}
