//! A valid configuration, and the watches that come of it.

use super::selection::Selection;
use super::value::{ExternalId, Lookup, RegionName, ScopeName, ShardBy, TagLabel};
use crate::arn::{IntegrationArn, RoleArn, TargetArn};
use crate::shard::Shard;
use crate::toolkit::yaml::ConfigErrors;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

const NO_REGION: &str =
    "; set `regions`, or the environment variable AWS_REGION or AWS_DEFAULT_REGION";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// At least one, with unique names, in the order of the file.
    pub scopes: Vec<Scope>,
    /// May be relative; `None` if nothing is stored.
    pub storage_path: Option<PathBuf>,
    /// Tags and labels are unique.
    pub tag_labels: Vec<TagLabel>,
    /// Rate limit of all scopes with the same credentials in the same region.
    pub requests_per_second: u16,
}

/// One set of credentials and what it watches. Keys that the scope does not set come from `polling` or the defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    pub name: ScopeName,
    /// As written; empty if not set. Otherwise the region of each ARN is one of them.
    pub regions: Vec<RegionName>,
    pub integration_arns: Vec<IntegrationArn>,
    /// `List` only if there are `integration_arns`.
    pub lookup: Lookup,
    pub target_arns: Vec<TargetArn>,
    pub selection: Arc<Selection>,
    pub shard_by: ShardBy,
    pub credentials: Credentials,
    pub interval: Duration,
    /// Time limit of one poll with all its pages and retries; shorter than `interval`.
    pub timeout: Duration,
    /// How long the last good data is served; at least twice `interval`, at most 100 years.
    pub stale_after: Duration,
    /// Maximum number of AWS requests in flight in each region.
    pub concurrency: usize,
    /// `MaxRecords` of each request; AWS chooses if `None`.
    pub page_size: Option<u16>,
    pub describe: bool,
    /// `None` if CloudWatch is not asked.
    pub freshness: Option<FreshnessConfig>,
}

/// How often CloudWatch is asked about the replicated data, and how many tables of an integration have their own series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FreshnessConfig {
    pub interval: Duration,
    pub max_tables: usize,
}

/// The SDK's default credential chain or a profile, and a role to assume with it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Credentials {
    /// Never empty.
    pub profile: Option<String>,
    pub role: Option<Role>,
}

impl Credentials {
    pub fn source(&self) -> Self {
        Self {
            profile: self.profile.clone(),
            role: None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Role {
    pub arn: RoleArn,
    pub external_id: Option<ExternalId>,
}

/// A scope in one region: the unit that is polled. The fields have the meaning of those in [`Scope`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScopeRegion {
    pub scope: ScopeName,
    pub region: RegionName,
    /// One or more queries; `All` is always the only one.
    pub queries: Vec<Query>,
    pub lookup: Lookup,
    pub selection: Arc<Selection>,
    pub shard_by: ShardBy,
    pub credentials: Credentials,
    pub interval: Duration,
    pub timeout: Duration,
    pub stale_after: Duration,
    pub concurrency: usize,
    pub page_size: Option<u16>,
    pub describe: bool,
    pub freshness: Option<FreshnessConfig>,
}

/// Polls per fetch of names and tags, which change only when a person changes them.
const POLLS_PER_DESCRIBE: u32 = 10;
const MIN_DESCRIBE_INTERVAL: Duration = Duration::from_secs(300);
const MAX_DESCRIBE_INTERVAL: Duration = Duration::from_secs(3600);

impl ScopeRegion {
    pub fn describe_interval(&self) -> Duration {
        (self.interval * POLLS_PER_DESCRIBE)
            .clamp(MIN_DESCRIBE_INTERVAL, MAX_DESCRIBE_INTERVAL)
            .max(self.interval)
    }

    pub fn for_shard(self, shard: Shard) -> Option<ScopeRegion> {
        if shard == Shard::SINGLE {
            return Some(self);
        }
        match self.shard_by {
            ShardBy::Scope => {
                let Credentials { profile, role } = &self.credentials;
                let profile = profile.as_deref().unwrap_or_default();
                // The external ID is left out, because it is a secret and may change.
                let role = role.as_ref().map_or("", |role| role.arn.as_str());
                let is_owned = shard.owns(&[self.region.as_str(), profile, role]);
                is_owned.then_some(self)
            }
            ShardBy::Integration => {
                let selection = Selection {
                    shard: Some(shard),
                    ..Selection::clone(&self.selection)
                };
                let is_owned = |query: &Query| match query {
                    Query::Integration(arn) => shard.owns(&[&arn.canonical()]),
                    Query::Target(_) | Query::All => true,
                };
                let queries: Vec<Query> = self.queries.into_iter().filter(is_owned).collect();
                (!queries.is_empty()).then(|| ScopeRegion {
                    queries,
                    selection: Arc::new(selection),
                    ..self
                })
            }
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Query {
    Integration(IntegrationArn),
    Target(TargetArn),
    /// All inbound integrations of the account and region.
    All,
}

impl Query {
    pub(crate) fn integration(&self) -> Option<&IntegrationArn> {
        match self {
            Query::Integration(arn) => Some(arn),
            Query::Target(_) | Query::All => None,
        }
    }

    pub fn lists(&self) -> bool {
        self.integration().is_none()
    }
}

impl Config {
    /// Returns the scopes that need the SDK's default region, because neither `regions` nor an ARN names one.
    pub fn scopes_without_region(&self) -> impl Iterator<Item = &Scope> {
        let scopes = self.scopes.iter();
        scopes.filter(|scope| scope.named_regions().is_empty())
    }

    /// Returns the scopes and regions to poll, in the order of the file. `default_region` is called only for
    /// [`Config::scopes_without_region`]; its error may hold the reason.
    pub fn watches(
        &self,
        default_region: impl Fn(&Scope) -> Result<RegionName, Option<String>>,
    ) -> Result<Vec<ScopeRegion>, ConfigErrors> {
        let mut watches = Vec::new();
        let mut errors = Vec::new();
        for (i, scope) in self.scopes.iter().enumerate() {
            let mut regions = scope.named_regions();
            if regions.is_empty() {
                match default_region(scope) {
                    Ok(region) => regions.push(region),
                    Err(why) => errors.push(format!(
                        "scopes[{i}]: scope `{}` has no region{}",
                        scope.name,
                        why.map_or(NO_REGION.to_owned(), |why| format!(": {why}"))
                    )),
                }
                // Reading has already compared the role with the regions in the file.
                if let (Some(role), Some(region)) = (&scope.credentials.role, regions.first())
                    && let Some(mismatch) = partition_mismatch(&role.arn, region)
                {
                    errors.push(format!(
                        "scopes[{i}].role_arn: `{}` {mismatch} (the region is the SDK's default region)",
                        role.arn
                    ));
                }
            }
            watches.extend(regions.into_iter().map(|region| scope.watch(region)));
        }
        ConfigErrors::check(errors, watches)
    }
}

impl Scope {
    fn named_regions(&self) -> Vec<RegionName> {
        if !self.regions.is_empty() {
            return self.regions.clone();
        }
        let mut regions: Vec<RegionName> = Vec::new();
        let targets = self.target_arns.iter().filter_map(TargetArn::region);
        let integrations = self.integration_arns.iter().map(IntegrationArn::region);
        for region in integrations.chain(targets) {
            if !regions.contains(region) {
                regions.push(region.clone());
            }
        }
        regions
    }

    fn watch(&self, region: RegionName) -> ScopeRegion {
        let mut integrations = self.integration_arns.clone();
        integrations.retain(|arn| *arn.region() == region);
        let mut targets = self.target_arns.clone();
        targets.retain(|arn| arn.region().is_none_or(|named| *named == region));
        let mut queries: Vec<Query> = integrations.into_iter().map(Query::Integration).collect();
        queries.extend(targets.into_iter().map(Query::Target));
        if self.integration_arns.is_empty() && self.target_arns.is_empty() {
            queries.push(Query::All);
        }
        ScopeRegion {
            scope: self.name.clone(),
            region,
            queries,
            lookup: self.lookup,
            selection: Arc::clone(&self.selection),
            shard_by: self.shard_by,
            credentials: self.credentials.clone(),
            interval: self.interval,
            timeout: self.timeout,
            stale_after: self.stale_after,
            concurrency: self.concurrency,
            page_size: self.page_size,
            describe: self.describe,
            freshness: self.freshness,
        }
    }
}

pub(super) fn partition_mismatch(role: &RoleArn, region: &RegionName) -> Option<String> {
    let partition = role.partition();
    (!region.in_partition(partition)).then(|| {
        format!(
            "is in the partition `{partition}`, but {region} is not; allowed: a role in the partition `{}`",
            region.partition()
        )
    })
}
