//! The ARNs of a configuration. Each error says which part of the ARN is invalid.

use std::fmt;
use std::str::FromStr;

use crate::config::value::{Checked, RegionName, ValueError, check_characters, check_length};

/// The ARN of a zero-ETL integration, which contains the region and the account.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IntegrationArn {
    text: String,
    region: RegionName,
}

impl IntegrationArn {
    /// Returns the ARN as written in the configuration.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the region to poll it in.
    pub fn region(&self) -> &RegionName {
        &self.region
    }

    /// Returns the spelling `integration:ID`, for comparisons; `integration/ID` is accepted too.
    pub(crate) fn canonical(&self) -> String {
        self.text.replace('/', ":")
    }
}

impl Checked for IntegrationArn {
    const EXPECTED: &'static str = "arn:PARTITION:glue:REGION:ACCOUNT:integration:ID (or integration/ID), at most 128 characters";
}

impl FromStr for IntegrationArn {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let arn = Arn::parse::<Self>(text, 128)?;
        let invalid = |why: String| Err(ValueError::of::<Self>(why));
        if arn.service != "glue" {
            return invalid(format!(
                "has the service `{}`; an integration ARN has the service `glue`",
                arn.service
            ));
        }
        let Some(region) = arn.region::<Self>()? else {
            return invalid("has no region".to_owned());
        };
        if arn.account.is_empty() {
            return invalid("has no account".to_owned());
        }
        let (kind, id) = arn
            .resource
            .split_once([':', '/'])
            .unwrap_or((arn.resource, ""));
        if kind != "integration" {
            return invalid(format!(
                "is the ARN of a Glue `{}`, not of an `integration`",
                kind.escape_debug()
            ));
        }
        if id.is_empty() {
            return invalid("has no ID after `integration`".to_owned());
        }
        check_characters::<Self>(id, "-")?;
        Ok(IntegrationArn {
            text: text.to_owned(),
            region,
        })
    }
}

impl fmt::Display for IntegrationArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The ARN of a resource of any service that an integration writes into.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TargetArn {
    text: String,
    region: Option<RegionName>,
}

impl TargetArn {
    /// Returns the ARN as written in the configuration.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the partition, such as `aws` or `aws-cn`.
    pub fn partition(&self) -> &str {
        self.text.split(':').nth(1).unwrap_or_default()
    }

    /// Returns the region to poll it in; the ARNs of some services have none (S3 buckets).
    pub fn region(&self) -> Option<&RegionName> {
        self.region.as_ref()
    }
}

impl Checked for TargetArn {
    const EXPECTED: &'static str = "arn:PARTITION:SERVICE:REGION:ACCOUNT:RESOURCE, at most 512 characters; REGION and ACCOUNT may be empty";
}

impl FromStr for TargetArn {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let arn = Arn::parse::<Self>(text, 512)?;
        Ok(TargetArn {
            text: text.to_owned(),
            region: arn.region::<Self>()?,
        })
    }
}

impl fmt::Display for TargetArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The ARN of a role that a scope assumes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoleArn(String);

impl RoleArn {
    /// Returns the ARN as written in the configuration.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the partition, such as `aws` or `aws-cn`.
    pub fn partition(&self) -> &str {
        self.0.split(':').nth(1).unwrap_or_default()
    }
}

impl Checked for RoleArn {
    const EXPECTED: &'static str = "arn:PARTITION:iam::ACCOUNT:role/NAME, at most 2048 characters";
}

impl FromStr for RoleArn {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let arn = Arn::parse::<Self>(text, 2048)?;
        let why = match arn.resource.split_once('/') {
            _ if arn.service != "iam" => {
                format!(
                    "has the service `{}`; a role ARN has the service `iam`",
                    arn.service
                )
            }
            _ if !arn.region.is_empty() => "has a region; a role ARN has none".to_owned(),
            _ if arn.account.is_empty() => "has no account".to_owned(),
            Some(("role", name)) if !name.is_empty() && !name.ends_with('/') => {
                check_characters::<Self>(name, "_+=,.@/-")?;
                return Ok(RoleArn(text.to_owned()));
            }
            Some(("role", _)) | None => "has no role name".to_owned(),
            Some((kind, _)) => {
                format!("is the ARN of a `{}`, not of a `role`", kind.escape_debug())
            }
        };
        Err(ValueError::of::<Self>(why))
    }
}

impl fmt::Display for RoleArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Number of `:` between the six parts of an ARN.
pub(crate) const SEPARATORS: usize = 5;

/// Checks a complete ARN of any service.
pub(crate) fn check_arn<V: Checked>(text: &str) -> Result<(), ValueError> {
    Arn::parse::<V>(text, usize::MAX)?.region::<V>().map(drop)
}

/// Checks the beginning of an ARN. The last part may be incomplete, so it is checked only if it is the first or the second part.
pub(crate) fn check_prefix<V: Checked>(text: &str) -> Result<(), ValueError> {
    let mut parts: Vec<&str> = text.splitn(SEPARATORS + 1, ':').collect();
    let last = parts.pop().unwrap_or_default();
    match parts.len() {
        0 if !"arn".starts_with(last) => parts.push(last),
        1 if !"aws".starts_with(last) && !last.starts_with("aws") => parts.push(last),
        _ => {}
    }
    // Fill up with valid parts.
    let rest = ["arn", "aws", "x", "", "", "x"];
    parts.extend(rest.iter().skip(parts.len()));
    check_arn::<V>(&parts.join(":"))
}

/// The parts of an ARN, after the checks that apply to every ARN.
struct Arn<'a> {
    partition: &'a str,
    service: &'a str,
    region: &'a str,
    account: &'a str,
    resource: &'a str,
}

impl<'a> Arn<'a> {
    fn parse<V: Checked>(text: &'a str, max: usize) -> Result<Self, ValueError> {
        let invalid = |why: String| Err(ValueError::of::<V>(why));
        check_length::<V>(text, 1, max)?;
        if !text.starts_with("arn:") {
            return invalid("is not an ARN: it does not begin with `arn:`".to_owned());
        }
        if let Some(c) = text.chars().find(|c| c.is_whitespace() || c.is_control()) {
            return invalid(format!(
                "contains the invalid character `{}`",
                c.escape_debug()
            ));
        }
        let parts: Vec<&str> = text.splitn(6, ':').collect();
        let &[_, partition, service, region, account, resource] = parts.as_slice() else {
            return invalid(format!(
                "has only {} of the six parts of an ARN",
                parts.len()
            ));
        };
        if !is_partition(partition) {
            return invalid(format!(
                "has the partition `{partition}`; a partition is `aws` or begins with `aws-`"
            ));
        }
        let lower = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if service.is_empty() || !service.bytes().all(lower) {
            return invalid(format!(
                "has the service `{service}`, which is not a service name"
            ));
        }
        let is_account = account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit());
        if !account.is_empty() && !is_account {
            return invalid(format!(
                "has the account `{account}`; an account ID has 12 digits"
            ));
        }
        if resource.is_empty() {
            return invalid("has no resource".to_owned());
        }
        Ok(Arn {
            partition,
            service,
            region,
            account,
            resource,
        })
    }

    /// Returns the region, which must be in the partition.
    fn region<V: Checked>(&self) -> Result<Option<RegionName>, ValueError> {
        if self.region.is_empty() {
            return Ok(None);
        }
        let Ok(region) = self.region.parse::<RegionName>() else {
            return Err(ValueError::of::<V>(format!(
                "has the region `{}`, which is not a region name",
                self.region
            )));
        };
        if region.in_partition(self.partition) {
            return Ok(Some(region));
        }
        Err(ValueError::of::<V>(format!(
            "has the region `{region}`, which is not in the partition `{}`",
            self.partition
        )))
    }
}

fn is_partition(text: &str) -> bool {
    let part = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
    };
    text == "aws"
        || text
            .strip_prefix("aws-")
            .is_some_and(|rest| rest.split('-').all(part))
}
