//! A simulated integration and its JSON forms in the API.

use std::collections::BTreeMap;

use serde_json::{Map, Number, Value, json};

/// An entry of `Errors`. Both members are optional in the API model.
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

/// `IntegrationConfig`. Responses omit members that are `None` or empty.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SimulatedConfig {
    /// Minutes as an integer in a string: `"60"`.
    pub refresh_interval: Option<String>,
    /// Like in AWS, it can contain secret ARNs and subnets.
    pub source_properties: BTreeMap<String, String>,
    pub continuous_sync: Option<bool>,
    /// Only S3 Tables targets have one.
    pub target_namespace: Option<String>,
}

/// One integration. Its strings are not validated, so that a test can simulate invalid responses of
/// AWS.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SimulatedIntegration {
    /// The account in this ARN created the integration, and `DescribeIntegrations` lists it there.
    pub arn: String,
    pub source_arn: String,
    pub target_arn: String,
    pub status: String,
    /// Unix time in seconds, possibly with a fraction.
    pub create_time: f64,
    /// The account of the target; `DescribeInboundIntegrations` lists the integration there.
    pub account: String,
    pub region: String,
    pub config: Option<SimulatedConfig>,
    /// If it is `None`, responses omit the member.
    pub errors: Option<Vec<SimulatedError>>,
    /// Only `DescribeIntegrations` returns the name and the tags.
    pub name: String,
    pub tags: Vec<(String, String)>,
}

impl SimulatedIntegration {
    /// Creates an integration with continuous sync, a refresh interval of 60 minutes and the creation
    /// time 1,700,000,000. Account and region come from the target ARN, or from the integration ARN
    /// if the target ARN has none. The name is the last part of the ARN.
    pub fn new(arn: &str, source_arn: &str, target_arn: &str, status: &str) -> Self {
        let target_field = |index| arn_field(target_arn, index).or_else(|| arn_field(arn, index));
        Self {
            arn: arn.to_owned(),
            source_arn: source_arn.to_owned(),
            target_arn: target_arn.to_owned(),
            status: status.to_owned(),
            create_time: 1_700_000_000.0,
            region: target_field(3).unwrap_or_default().to_owned(),
            account: target_field(4).unwrap_or_default().to_owned(),
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

    /// Returns the item of `InboundIntegrations`. It has no null members.
    pub fn inbound_json(&self) -> Value {
        Value::Object(self.common_members())
    }

    /// Returns the item of `Integrations`, the list of `DescribeIntegrations`.
    pub fn created_json(&self) -> Value {
        let mut members = self.common_members();
        members.insert("IntegrationName".to_owned(), json!(self.name));
        // Unlike all other members, those of a tag are in lower case in the API model.
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
                non_null([
                    ("ErrorCode", json!(e.code)),
                    ("ErrorMessage", json!(e.message)),
                ])
            };
            put("Errors", errors.iter().map(json).collect());
        }
        members
    }

    /// Returns the account that created the integration.
    pub(super) fn creator(&self) -> &str {
        arn_field(&self.arn, 4).unwrap_or_default()
    }
}

impl SimulatedConfig {
    fn json(&self) -> Value {
        let properties = (!self.source_properties.is_empty()).then_some(&self.source_properties);
        non_null([
            ("RefreshInterval", json!(self.refresh_interval)),
            ("SourceProperties", json!(properties)),
            ("ContinuousSync", json!(self.continuous_sync)),
            ("TargetNamespace", json!(self.target_namespace)),
        ])
    }
}

/// Returns an object with the members that are not null.
fn non_null<const N: usize>(members: [(&str, Value); N]) -> Value {
    members
        .into_iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// Returns a field of an ARN (3: region, 4: account), or `None` if it is empty or absent.
fn arn_field(arn: &str, index: usize) -> Option<&str> {
    arn.split(':').nth(index).filter(|field| !field.is_empty())
}

/// Returns a time as a JSON number, or `None` if JSON cannot represent it. Like AWS, it writes whole
/// seconds without a fraction.
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
