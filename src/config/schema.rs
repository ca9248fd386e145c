//! The keys of the configuration. A new key is one field here, its rule in `validate`, and its line in the example and the docs.

use super::pattern::Pattern;
use super::value::{
    ConfigDuration, ExternalId, LabelName, Lookup, NonEmpty, RegionName, ScopeName, ShardBy, TagKey,
};
use crate::arn::{IntegrationArn, RoleArn, TargetArn};
use crate::toolkit::yaml::{Field, Format, List, Value, Whole};
use serde::Deserialize;

pub(super) const FORMAT: Format = Format {
    secret_keys: &["external_id"],
    empty_is_absent: false,
};

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Root {
    pub(super) polling: Field<Polling>,
    pub(super) storage: Field<Storage>,
    pub(super) tag_labels: Field<Vec<Field<TagLabelKeys>>>,
    pub(super) scopes: Field<Vec<Field<ScopeKeys>>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Polling {
    pub(super) interval: Value<ConfigDuration>,
    pub(super) timeout: Value<ConfigDuration>,
    pub(super) stale_after: Value<ConfigDuration>,
    pub(super) concurrency: Concurrency,
    pub(super) page_size: PageSize,
    pub(super) requests_per_second: Field<Whole<u16, 1, 1_000>>,
}

pub(super) type Concurrency = Field<Whole<usize, 1, 100>>;
pub(super) type PageSize = Field<Whole<u16, 1, 10_000>>;

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Storage {
    pub(super) path: Value<NonEmpty>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct TagLabelKeys {
    pub(super) tag: Value<TagKey>,
    pub(super) label: Value<LabelName>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct ScopeKeys {
    pub(super) name: Value<ScopeName>,
    pub(super) regions: List<RegionName>,
    pub(super) integration_arns: List<IntegrationArn>,
    pub(super) lookup: Field<Lookup>,
    pub(super) target_arns: List<TargetArn>,
    pub(super) include: Field<PatternKeys>,
    pub(super) exclude: Field<PatternKeys>,
    pub(super) shard_by: Field<ShardBy>,
    pub(super) role_arn: Value<RoleArn>,
    pub(super) external_id: Value<ExternalId>,
    pub(super) external_id_file: Value<NonEmpty>,
    pub(super) profile: Value<NonEmpty>,
    pub(super) interval: Value<ConfigDuration>,
    pub(super) timeout: Value<ConfigDuration>,
    pub(super) stale_after: Value<ConfigDuration>,
    pub(super) concurrency: Concurrency,
    pub(super) page_size: PageSize,
    pub(super) describe: Field<bool>,
    pub(super) freshness: Field<Option<FreshnessKeys>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct FreshnessKeys {
    pub(super) interval: Value<ConfigDuration>,
    pub(super) max_tables: Field<Whole<usize, 0, 1_000>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct PatternKeys {
    pub(super) source_arn: List<Pattern>,
    pub(super) target_arn: List<Pattern>,
    pub(super) name: List<Pattern>,
}
