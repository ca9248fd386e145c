//! Compares the partitions of ARNs and regions.

use super::field::{List, Reader, Section};
use super::{IntegrationArn, RegionName, RoleArn, TargetArn};

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
