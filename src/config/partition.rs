//! The partitions of AWS. They are separate: a region, an identity or a role of one partition cannot be used in another.

use super::value::RegionName;
use crate::arn::RoleArn;

/// The partitions that are known by the prefix of their region names. Other partitions are accepted too, because AWS adds new ones.
///
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
    /// Returns the partition of the region: `aws`, unless the prefix of the name is that of another partition.
    pub fn partition(&self) -> &'static str {
        self.partition_by_prefix().unwrap_or("aws")
    }

    /// Returns whether the region can be in this partition.
    pub fn in_partition(&self, partition: &str) -> bool {
        match self.partition_by_prefix() {
            Some(named) => named == partition,
            None => PARTITION_PREFIXES
                .iter()
                .all(|(_, named)| *named != partition),
        }
    }

    fn partition_by_prefix(&self) -> Option<&'static str> {
        PARTITION_PREFIXES
            .iter()
            .find(|(prefix, _)| self.as_str().starts_with(prefix))
            .map(|(_, partition)| *partition)
    }
}

/// Returns why the role cannot be used in the region, if it cannot.
pub(super) fn partition_mismatch(role: &RoleArn, region: &RegionName) -> Option<String> {
    let partition = role.partition();
    (!region.in_partition(partition)).then(|| {
        format!(
            "is in the partition `{partition}`, but {region} is not; allowed: a role in the partition `{}`",
            region.partition()
        )
    })
}
