//! The partitions of AWS. They are separate: a region, an identity or a role of one partition cannot be used in another.

use super::field::{List, Reader, Section};
use super::{IntegrationArn, RegionName, RoleArn, TargetArn};

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

impl Reader {
    /// Compares the partition of ARNs without a region with the regions of the scope. Parsing has checked ARNs with a region.
    pub(super) fn check_partitions(
        &mut self,
        fields: &Section<'_>,
        role: Option<&RoleArn>,
        regions: &List<RegionName>,
        integrations: &List<IntegrationArn>,
        targets: &List<TargetArn>,
    ) {
        let listed = regions.items.iter().map(|(region, _)| region);
        let integration_regions = integrations.items.iter().map(|(arn, _)| arn.region());
        let target_regions = targets.items.iter().filter_map(|(arn, _)| arn.region());
        if let (Some(role), Some((_, at))) = (role, fields.get("role_arn")) {
            let mut used = listed
                .clone()
                .chain(integration_regions)
                .chain(target_regions);
            if let Some(mismatch) = used.find_map(|region| partition_mismatch(role, region)) {
                let text = format!("{} {mismatch}", self.quote(role.as_str()));
                self.error(&at, text);
            }
        }
        for (arn, at) in targets
            .items
            .iter()
            .filter(|(arn, _)| arn.region().is_none())
        {
            let partition = arn.partition();
            if let Some(region) = listed
                .clone()
                .find(|region| !region.in_partition(partition))
            {
                let text = format!(
                    "{} is in the partition `{partition}`, but {region} in `regions` is not",
                    self.quote(arn.as_str())
                );
                self.error(at, text);
            }
        }
    }
}
