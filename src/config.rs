//! What to watch and how often, as its user wrote it down. Whatever exists here is valid: all checks were made while it
//! was read. Knows nothing of AWS but the names of things.
//!
//! ```text
//! text -> yaml (a tree with places) -> read (checks, collects mistakes) -> Config -> watches
//! ```

mod arn;
mod describe;
mod error;
mod field;
mod partition;
mod pattern;
mod read;
mod secret;
mod select;
mod shard_by;
mod tags;
mod timing;
mod value;
pub mod web;
mod yaml;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::files::{self, MIB};

use self::error::ConfigError;
use self::partition::partition_mismatch;

pub use self::arn::{IntegrationArn, RoleArn, TargetArn};
pub use self::describe::{describe, pattern_warnings};
pub use self::error::ConfigErrors;
pub use self::pattern::{ArnPattern, NamePattern, Pattern};
pub use self::select::{Candidate, Patterns, Selection};
pub use self::shard_by::ShardBy;
pub use self::tags::{LabelName, TagKey, TagLabel};
pub use self::value::{
    Checked, ConfigDuration, ExternalId, Interval, Lookup, RegionName, ScopeName, ValueError,
};

/// Far more than any configuration needs, and little enough to be parsed in a second.
const MAX_CONFIG_BYTES: u64 = MIB;

/// A configuration in which no mistake was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// One or more, each with a name of its own, in the order of the file.
    pub scopes: Vec<Scope>,
    /// Where the last good data is kept over a restart; nowhere if `None`. As written: it may be relative.
    pub storage_path: Option<PathBuf>,
    /// Tags that become labels of every integration, no tag and no label twice.
    pub tag_labels: Vec<TagLabel>,
    /// How many requests may go out with one set of credentials in one region, all scopes together.
    pub requests_per_second: u16,
}

/// One set of credentials and what it watches. Whatever it does not say itself comes from `polling` or the defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// Unique in the configuration.
    pub name: ScopeName,
    /// As written, each once; empty if none were given.
    pub regions: Vec<RegionName>,
    /// Each once, and in one of `regions` if there are any.
    pub integration_arns: Vec<IntegrationArn>,
    /// How `integration_arns` are asked for; `List` only if there are any, and all are of one account.
    pub lookup: Lookup,
    /// Each once, and in one of `regions` if there are any and the ARN names one.
    pub target_arns: Vec<TargetArn>,
    /// Of what targets and regions list.
    pub selection: Arc<Selection>,
    /// How it is shared out, where there are shards.
    pub shard_by: ShardBy,
    /// What to ask AWS with.
    pub credentials: Credentials,
    /// From one poll to the next.
    pub interval: Duration,
    /// For one poll with all its pages and retries; below `interval`.
    pub timeout: Duration,
    /// For how long the last good data is served; at least twice `interval`, at most 100 years.
    pub stale_after: Duration,
    /// AWS requests in flight at once, in each region.
    pub concurrency: usize,
    /// `MaxRecords` of each request; AWS decides if `None`.
    pub page_size: Option<u16>,
    /// Ask for names and tags too.
    pub describe: bool,
}

/// What to ask AWS with: the SDK's default chain, or the profile, and the role that is assumed with it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Credentials {
    /// A profile of the SDK's own configuration files; never empty.
    pub profile: Option<String>,
    /// Assumed with the credentials of the profile or the default chain.
    pub role: Option<Role>,
}

impl Credentials {
    /// What the role is assumed with; without a role the same.
    pub fn source(&self) -> Self {
        Self {
            profile: self.profile.clone(),
            role: None,
        }
    }
}

/// A role to assume.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Role {
    /// Of any account.
    pub arn: RoleArn,
    /// What its owner asks for.
    pub external_id: Option<ExternalId>,
}

/// What one scope watches in one region: the unit that is polled. The fields are those of its `Scope`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    pub scope: ScopeName,
    pub region: RegionName,
    /// One or more; `All` stands alone.
    pub queries: Vec<Query>,
    /// How those of `queries` that are integrations are asked; there may be none of them in this region.
    pub lookup: Lookup,
    /// What is watched of that which those of `queries` that list bring.
    pub selection: Arc<Selection>,
    pub shard_by: ShardBy,
    pub credentials: Credentials,
    pub interval: Duration,
    pub timeout: Duration,
    pub stale_after: Duration,
    pub concurrency: usize,
    pub page_size: Option<u16>,
    pub describe: bool,
}

/// Names and tags are asked for once in so many polls. They change when a person changes them.
const POLLS_PER_DESCRIBE: u32 = 10;
/// But not more often than this, and not less often than that.
const MIN_DESCRIBE_INTERVAL: Duration = Duration::from_secs(300);
const MAX_DESCRIBE_INTERVAL: Duration = Duration::from_secs(3600);

impl Watch {
    /// From one question for names and tags to the next; never less than from poll to poll.
    pub fn describe_interval(&self) -> Duration {
        (self.interval * POLLS_PER_DESCRIBE)
            .clamp(MIN_DESCRIBE_INTERVAL, MAX_DESCRIBE_INTERVAL)
            .max(self.interval)
    }
}

/// What AWS is to answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Query {
    /// This integration, or that there is none.
    Integration(IntegrationArn),
    /// Whatever writes into this resource.
    Target(TargetArn),
    /// Every inbound integration of the account and region.
    All,
}

impl Query {
    /// Whether it brings what the configuration does not name, so that the scope's selection decides.
    pub fn lists(&self) -> bool {
        match self {
            Query::Integration(_) => false,
            Query::Target(_) | Query::All => true,
        }
    }
}

impl Config {
    /// Reads the file at `path` (1 MiB at most) and the `external_id_file`s that it names, each relative to its directory.
    /// Fails with every mistake in it, or with the one reason why it could not be read.
    pub fn load(path: &Path) -> Result<Config, ConfigErrors> {
        Config::from_yaml(&decode(files::read(path, MAX_CONFIG_BYTES), path)?, path)
    }

    /// Like [`Config::load`], of a text that is in `file` (which is not read).
    pub fn from_yaml(text: &str, file: &Path) -> Result<Config, ConfigErrors> {
        read::read(text, file)
    }

    /// The scopes that only the SDK's default region can give a region: neither `regions` nor an ARN names one.
    pub fn scopes_without_region(&self) -> impl Iterator<Item = &Scope> {
        self.scopes
            .iter()
            .filter(|scope| scope.named_regions().is_empty())
    }

    /// What is to be polled: scopes as written, in each the regions as written, or else in the order in which its ARNs
    /// first name them. `default_region` is asked for the scopes of [`Config::scopes_without_region`] only; those that it knows
    /// no region for are the mistakes, with the reason that it gives.
    pub fn watches(
        &self,
        default_region: impl Fn(&Scope) -> Result<RegionName, Option<String>>,
    ) -> Result<Vec<Watch>, ConfigErrors> {
        let mut watches = Vec::new();
        let mut errors = Vec::new();
        for (i, scope) in self.scopes.iter().enumerate() {
            let mut regions = scope.named_regions();
            if regions.is_empty() {
                match default_region(scope) {
                    Ok(region) => regions.push(region),
                    Err(why) => errors.push(ConfigError {
                        path: format!("scopes[{i}]"),
                        ..ConfigError::whole_file(match why {
                            Some(why) => format!("scope `{}` has no region: {why}", scope.name),
                            None => format!(
                                "scope `{}` has no region; set `regions`, or the environment variable AWS_REGION or AWS_DEFAULT_REGION",
                                scope.name
                            ),
                        })
                    }),
                }
            }
            // Those that the configuration names were held against it when it was read.
            if let (true, Some(role)) = (scope.named_regions().is_empty(), &scope.credentials.role)
                && let Some(mismatch) = regions
                    .first()
                    .and_then(|region| partition_mismatch(&role.arn, region))
            {
                errors.push(ConfigError {
                    path: format!("scopes[{i}].role_arn"),
                    ..ConfigError::whole_file(format!(
                        "`{}` {mismatch} (the region is the SDK's default region)",
                        role.arn
                    ))
                });
            }
            watches.extend(regions.into_iter().map(|region| scope.watch(region)));
        }
        ConfigErrors::into_result(errors, None, watches)
    }
}

/// One mistake of the file at `path` as a whole.
pub fn file_error(path: &Path, text: &str) -> ConfigErrors {
    ConfigErrors::one(path, ConfigError::whole_file(text))
}

/// The text of the file at `path`, of which `read` is the outcome of reading it.
fn decode(read: io::Result<Vec<u8>>, path: &Path) -> Result<String, ConfigErrors> {
    let bytes = read.map_err(|e| file_error(path, &format!("cannot be read: {e}")))?;
    String::from_utf8(bytes).map_err(|e| {
        let good = String::from_utf8_lossy(&e.as_bytes()[..e.utf8_error().valid_up_to()]);
        let place = yaml::location_of_byte(&good, good.len());
        ConfigErrors::one(
            path,
            ConfigError {
                location: Some(place),
                ..ConfigError::whole_file("is not valid UTF-8 from here on")
            },
        )
    })
}

impl Scope {
    fn named_regions(&self) -> Vec<RegionName> {
        if !self.regions.is_empty() {
            return self.regions.clone();
        }
        let of_integrations = self.integration_arns.iter().map(IntegrationArn::region);
        let of_targets = self.target_arns.iter().filter_map(TargetArn::region);
        let mut regions: Vec<RegionName> = Vec::new();
        for region in of_integrations.chain(of_targets) {
            if !regions.contains(region) {
                regions.push(region.clone());
            }
        }
        regions
    }

    fn watch(&self, region: RegionName) -> Watch {
        let integrations = self
            .integration_arns
            .iter()
            .filter(|arn| *arn.region() == region)
            .map(|arn| Query::Integration(arn.clone()));
        let targets = self
            .target_arns
            .iter()
            .filter(|arn| arn.region().is_none_or(|named| *named == region))
            .map(|arn| Query::Target(arn.clone()));
        let mut queries: Vec<Query> = integrations.chain(targets).collect();
        if self.integration_arns.is_empty() && self.target_arns.is_empty() {
            queries.push(Query::All);
        }
        Watch {
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
        }
    }
}
