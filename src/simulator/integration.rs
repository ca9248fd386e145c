//! One simulated integration, and how the API writes it.

use std::collections::BTreeMap;

use serde_json::{Map, Number, Value, json};

/// An entry of `Errors`. The API's model has both members optional.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SimulatedError {
    pub code: Option<String>,
    pub message: Option<String>,
}

impl SimulatedError {
    pub fn new(code: &str, message: &str) -> Self {
        Self {
            code: Some(code.to_owned()),
            message: Some(message.to_owned()),
        }
    }
}

/// `IntegrationConfig`. What is `None` or empty is absent in answers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SimulatedConfig {
    /// Minutes, as a bare integer in a text: `"60"`.
    pub refresh_interval: Option<String>,
    /// Can hold secret ARNs and subnets, as it does at AWS.
    pub source_properties: BTreeMap<String, String>,
    pub continuous_sync: Option<bool>,
    /// Only S3 Tables targets have one.
    pub target_namespace: Option<String>,
}

/// One integration. Any text is taken as it is, so that a test can simulate what AWS should never
/// send.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SimulatedIntegration {
    /// Its account is the one that created it, which `DescribeIntegrations` lists it for.
    pub arn: String,
    pub source_arn: String,
    pub target_arn: String,
    pub status: String,
    /// Epoch seconds, possibly with a fraction.
    pub create_time: f64,
    /// The target's account, which `DescribeInboundIntegrations` lists it for.
    pub account: String,
    pub region: String,
    pub config: Option<SimulatedConfig>,
    /// `None`: absent in answers; empty: an empty list.
    pub errors: Option<Vec<SimulatedError>>,
    /// `IntegrationName` and `Tags` are only in `DescribeIntegrations`.
    pub name: String,
    pub tags: Vec<(String, String)>,
}

impl SimulatedIntegration {
    /// An integration created at epoch second 1,700,000,000, syncing continuously each 60 minutes.
    /// Account and region are the target ARN's, or the integration ARN's where that has none; the
    /// name is the end of the ARN.
    pub fn new(arn: &str, source_arn: &str, target_arn: &str, status: &str) -> Self {
        let of_target = |index| arn_field(target_arn, index).or_else(|| arn_field(arn, index));
        Self {
            arn: arn.to_owned(),
            source_arn: source_arn.to_owned(),
            target_arn: target_arn.to_owned(),
            status: status.to_owned(),
            create_time: 1_700_000_000.0,
            region: of_target(3).unwrap_or_default().to_owned(),
            account: of_target(4).unwrap_or_default().to_owned(),
            config: Some(SimulatedConfig {
                refresh_interval: Some("60".to_owned()),
                continuous_sync: Some(true),
                ..SimulatedConfig::default()
            }),
            errors: None,
            name: arn.rsplit([':', '/']).next().unwrap_or_default().to_owned(),
            tags: Vec::new(),
        }
    }

    /// As an item of `InboundIntegrations`. Absent optionals are absent, not null.
    pub fn inbound_json(&self) -> Value {
        Value::Object(self.common_members())
    }

    /// As an item of `Integrations`, the list of `DescribeIntegrations`.
    pub fn created_json(&self) -> Value {
        let mut members = self.common_members();
        members.insert("IntegrationName".to_owned(), json!(self.name));
        // The members of a tag are in lower case in the API's model, unlike all others.
        let tags: Vec<_> = self
            .tags
            .iter()
            .map(|(key, value)| json!({"key": key, "value": value}))
            .collect();
        if !tags.is_empty() {
            members.insert("Tags".to_owned(), Value::Array(tags));
        }
        Value::Object(members)
    }

    fn common_members(&self) -> Map<String, Value> {
        let mut members = Map::new();
        let mut put = |name: &str, value: Value| members.insert(name.to_owned(), value);
        put("SourceArn", json!(self.source_arn));
        put("TargetArn", json!(self.target_arn));
        put("IntegrationArn", json!(self.arn));
        put("Status", json!(self.status));
        if let Some(time) = epoch_seconds(self.create_time) {
            put("CreateTime", Value::Number(time));
        }
        if let Some(config) = &self.config {
            put("IntegrationConfig", config.json());
        }
        if let Some(errors) = &self.errors {
            let json = |e: &SimulatedError| {
                present([
                    ("ErrorCode", json!(e.code)),
                    ("ErrorMessage", json!(e.message)),
                ])
            };
            put("Errors", errors.iter().map(json).collect());
        }
        members
    }

    /// The account that created it.
    pub(super) fn creator(&self) -> &str {
        arn_field(&self.arn, 4).unwrap_or_default()
    }
}

impl SimulatedConfig {
    fn json(&self) -> Value {
        let properties = (!self.source_properties.is_empty()).then_some(&self.source_properties);
        present([
            ("RefreshInterval", json!(self.refresh_interval)),
            ("SourceProperties", json!(properties)),
            ("ContinuousSync", json!(self.continuous_sync)),
            ("TargetNamespace", json!(self.target_namespace)),
        ])
    }
}

/// An object of those members that are not null.
fn present<const N: usize>(members: [(&str, Value); N]) -> Value {
    members
        .into_iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// The n-th field of an ARN (3 region, 4 account); `None` if it is empty or not there.
fn arn_field(arn: &str, index: usize) -> Option<&str> {
    arn.split(':').nth(index).filter(|field| !field.is_empty())
}

/// AWS writes whole seconds without a fraction. None for what JSON has no number for.
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "only a number that fits is cast"
)]
fn epoch_seconds(time: f64) -> Option<Number> {
    if time.fract() == 0.0 && time.abs() < i64::MAX as f64 {
        Some(Number::from(time as i64))
    } else {
        Number::from_f64(time)
    }
}
