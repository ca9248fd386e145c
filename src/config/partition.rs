//! The partitions of AWS, which have nothing in common: no region, no identity, no role of one is good for anything in another.

use super::field::{List, Reader, Section};
use super::{IntegrationArn, RegionName, RoleArn, TargetArn};

/// Those whose regions can be told by their names. New ones come, and are not held up here.
///
/// <https://docs.aws.amazon.com/general/latest/gr/rande.html>, and the SDK's own table of partitions
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
    /// The partition that a region of this name lies in: `aws`, unless the name tells another.
    pub fn partition(&self) -> &'static str {
        self.named_partition().unwrap_or("aws")
    }

    /// Whether it may lie in this partition.
    pub fn in_partition(&self, partition: &str) -> bool {
        match self.named_partition() {
            Some(named) => named == partition,
            None => PARTITION_PREFIXES
                .iter()
                .all(|(_, named)| *named != partition),
        }
    }

    fn named_partition(&self) -> Option<&'static str> {
        PARTITION_PREFIXES
            .iter()
            .find(|(prefix, _)| self.as_str().starts_with(prefix))
            .map(|(_, partition)| *partition)
    }
}

/// Why a role cannot be assumed for a region.
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
    /// The ARNs of the scope that name no region against those that do. What names a region was held against its own partition.
    pub(super) fn check_partitions(
        &mut self,
        fields: &Section<'_>,
        role: Option<&RoleArn>,
        regions: &List<RegionName>,
        integrations: &List<IntegrationArn>,
        targets: &List<TargetArn>,
    ) {
        let listed = regions.items.iter().map(|(region, _)| region);
        let of_integrations = integrations.items.iter().map(|(arn, _)| arn.region());
        let of_targets = targets.items.iter().filter_map(|(arn, _)| arn.region());
        if let (Some(role), Some((_, at))) = (role, fields.get("role_arn")) {
            let mut used = listed.clone().chain(of_integrations).chain(of_targets);
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
