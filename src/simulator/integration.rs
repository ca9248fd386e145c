//! A simulated integration, as the API and the control endpoint write and read it in JSON.

use super::replication::{SimulatedMetrics, SimulatedTable};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

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
    /// The account of the target; `DescribeInboundIntegrations` lists the integration there.
    #[serde(default, skip_serializing)]
    pub account: String,
    #[serde(default, skip_serializing)]
    pub region: String,
    #[serde(rename = "IntegrationConfig", skip_serializing_if = "Option::is_none")]
    pub config: Option<SimulatedConfig>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub errors: Option<Vec<SimulatedError>>,
    /// Only `DescribeIntegrations` returns the name and the tags.
    #[serde(rename = "IntegrationName", default, skip_serializing)]
    pub name: String,
    #[serde(default, skip_serializing)]
    pub tags: Vec<SimulatedTag>,
    /// The tables that CloudWatch has metrics of: none if the target role must not write them.
    /// Default: one with the name of the source.
    #[serde(default, skip_serializing)]
    pub tables: Option<Vec<SimulatedTable>>,
    #[serde(default, skip_serializing)]
    pub metrics: SimulatedMetrics,
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

    /// Fills empty members from the ARNs. For account and region, the target ARN has precedence.
    pub(super) fn with_defaults(mut self) -> Self {
        let field = |index| {
            let found = arn_field(&self.target_arn, index).or_else(|| arn_field(&self.arn, index));
            found.unwrap_or_default().to_owned()
        };
        if self.region.is_empty() {
            self.region = field(3);
        }
        if self.account.is_empty() {
            self.account = field(4);
        }
        if self.name.is_empty() {
            self.name = arn_id(&self.arn).to_owned();
        }
        if self.tables.is_none() {
            self.tables = Some(vec![SimulatedTable::new(arn_id(&self.source_arn))]);
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

    pub(super) fn created_json(&self) -> Value {
        let mut item = json!(self);
        item["IntegrationName"] = json!(self.name);
        if !self.tags.is_empty() {
            item["Tags"] = json!(self.tags);
        }
        item
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
