//! ARNs and partitions. ARNs that AWS sent are only split; those of a configuration are checked.

use crate::config::value::{
    Checked, RegionName, ValueError, check_characters, check_length, reject_characters,
};
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-arns.html>
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arn<'a> {
    pub partition: &'a str,
    pub service: &'a str,
    pub region: &'a str,
    pub account: &'a str,
    pub resource: &'a str,
}

pub(crate) const SEPARATORS: usize = 5;

impl<'a> Arn<'a> {
    /// Splits an ARN without further checks. Every part is empty if the text is not an ARN.
    pub fn split(text: &'a str) -> Self {
        let parts: Vec<&str> = text.splitn(SEPARATORS + 1, ':').collect();
        match parts.as_slice() {
            &["arn", partition, service, region, account, resource] => Self {
                partition,
                service,
                region,
                account,
                resource,
            },
            _ => Self::default(),
        }
    }

    /// Checks what applies to every ARN of a configuration. Returns its region too.
    fn parse<V: Checked>(
        text: &'a str,
        max: usize,
    ) -> Result<(Self, Option<RegionName>), ValueError> {
        check_length::<V>(text, 1, max)?;
        reject_characters::<V>(text, |c| c.is_whitespace() || c.is_control())?;
        let arn = Self::split(text);
        let (partition, service, account) = (arn.partition, arn.service, arn.account);
        let parts = 1 + text.matches(':').count();
        let is_lower = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let is_part = |name: &str| !name.is_empty() && name.bytes().all(is_lower);
        let is_partition = partition == "aws"
            || partition
                .strip_prefix("aws-")
                .is_some_and(|names| names.split('-').all(is_part));
        let is_service = !service.is_empty() && service.bytes().all(|b| is_lower(b) || b == b'-');
        let is_account = account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit());
        let why = if !text.starts_with("arn:") {
            "is not an ARN: it does not begin with `arn:`".to_owned()
        } else if parts <= SEPARATORS {
            format!("has only {parts} of the six parts of an ARN")
        } else if !is_partition {
            format!("has the partition `{partition}`; a partition is `aws` or begins with `aws-`")
        } else if !is_service {
            format!("has the service `{service}`, which is not a service name")
        } else if !account.is_empty() && !is_account {
            format!("has the account `{account}`; an account ID has 12 digits")
        } else if arn.resource.is_empty() {
            "has no resource".to_owned()
        } else if arn.region.is_empty() {
            return Ok((arn, None));
        } else {
            match arn.region.parse::<RegionName>() {
                Ok(region) if region.in_partition(partition) => return Ok((arn, Some(region))),
                Ok(region) => {
                    format!(
                        "has the region `{region}`, which is not in the partition `{partition}`"
                    )
                }
                Err(_) => format!(
                    "has the region `{}`, which is not a region name",
                    arn.region
                ),
            }
        };
        Err(ValueError::of::<V>(why))
    }
}

/// Returns the spelling that is compared. AWS writes `integration:ID`, but one of its examples has `integration/ID`.
pub fn canonical_arn(arn: &str) -> Cow<'_, str> {
    // Most ARNs have no slash, which is faster to check.
    if arn.contains('/') && arn.contains(":integration/") {
        Cow::Owned(arn.replacen(":integration/", ":integration:", 1))
    } else {
        Cow::Borrowed(arn)
    }
}

/// Returns true if the ARN is of an Amazon Redshift data warehouse, provisioned or serverless.
pub(crate) fn is_redshift(arn: &str) -> bool {
    matches!(Arn::split(arn).service, "redshift" | "redshift-serverless")
}

pub(crate) fn check_arn<V: Checked>(text: &str) -> Result<(), ValueError> {
    Arn::parse::<V>(text, usize::MAX).map(drop)
}

/// Checks the beginning of an ARN. The last part may be incomplete.
pub(crate) fn check_prefix<V: Checked>(text: &str) -> Result<(), ValueError> {
    let mut parts: Vec<&str> = text.splitn(SEPARATORS + 1, ':').collect();
    let last = parts.pop().unwrap_or_default();
    match parts.len() {
        0 if !"arn".starts_with(last) => parts.push(last),
        1 if !"aws".starts_with(last) && !last.starts_with("aws") => parts.push(last),
        _ => {}
    }
    let rest = ["arn", "aws", "x", "", "", "x"];
    parts.extend(rest.iter().skip(parts.len()));
    check_arn::<V>(&parts.join(":"))
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IntegrationArn {
    text: String,
    region: RegionName,
}

impl IntegrationArn {
    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub fn region(&self) -> &RegionName {
        &self.region
    }

    pub(crate) fn canonical(&self) -> String {
        canonical_arn(&self.text).into_owned()
    }
}

impl Checked for IntegrationArn {
    const EXPECTED: &'static str = "arn:PARTITION:glue:REGION:ACCOUNT:integration:ID (or integration/ID), at most 128 characters";
}

impl FromStr for IntegrationArn {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let (arn, region) = Arn::parse::<Self>(text, 128)?;
        let (kind, id) = arn
            .resource
            .split_once([':', '/'])
            .unwrap_or((arn.resource, ""));
        let why = match region {
            _ if arn.service != "glue" => format!(
                "has the service `{}`; an integration ARN has the service `glue`",
                arn.service
            ),
            None => "has no region".to_owned(),
            Some(_) if arn.account.is_empty() => "has no account".to_owned(),
            Some(_) if kind != "integration" => format!(
                "is the ARN of a Glue `{}`, not of an `integration`",
                kind.escape_debug()
            ),
            Some(_) if id.is_empty() => "has no ID after `integration`".to_owned(),
            Some(region) => {
                check_characters::<Self>(id, "-")?;
                let text = text.to_owned();
                return Ok(Self { text, region });
            }
        };
        Err(ValueError::of::<Self>(why))
    }
}

impl fmt::Display for IntegrationArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TargetArn {
    text: String,
    region: Option<RegionName>,
}

impl TargetArn {
    pub fn as_str(&self) -> &str {
        &self.text
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
        let (_, region) = Arn::parse::<Self>(text, 512)?;
        let text = text.to_owned();
        Ok(Self { text, region })
    }
}

impl fmt::Display for TargetArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoleArn(String);

impl RoleArn {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn partition(&self) -> &str {
        Arn::split(&self.0).partition
    }
}

impl Checked for RoleArn {
    const EXPECTED: &'static str = "arn:PARTITION:iam::ACCOUNT:role/NAME, at most 2048 characters";
}

impl FromStr for RoleArn {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let (arn, _) = Arn::parse::<Self>(text, 2048)?;
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

/// The prefix of region names of each partition. Other partitions are accepted too, because AWS adds new ones.
/// <https://docs.aws.amazon.com/general/latest/gr/rande.html>, and the SDK's table of partitions
const PARTITION_PREFIXES: [(&str, &str); 7] = [
    ("cn-", "aws-cn"),
    ("us-gov-", "aws-us-gov"),
    ("us-iso-", "aws-iso"),
    ("us-isob-", "aws-iso-b"),
    ("eu-isoe-", "aws-iso-e"),
    ("us-isof-", "aws-iso-f"),
    ("eusc-", "aws-eusc"),
];

impl RegionName {
    pub fn partition(&self) -> &'static str {
        PARTITION_PREFIXES
            .iter()
            .find(|(prefix, _)| self.as_str().starts_with(prefix))
            .map_or("aws", |(_, partition)| partition)
    }

    pub fn in_partition(&self, partition: &str) -> bool {
        let is_known = |name: &str| PARTITION_PREFIXES.iter().any(|(_, known)| *known == name);
        match self.partition() {
            "aws" => !is_known(partition),
            named => named == partition,
        }
    }
}
