//! Reads a configuration and checks the rules across its keys. A check is skipped if it depends on an invalid value.

mod selection;
mod tags;
mod timing;

use self::timing::{TimingKeys, timing};
use super::model::{Config, Credentials, Role, Scope, partition_mismatch};
use super::schema::{FORMAT, Polling, Root, ScopeKeys};
use super::value::{ExternalId, Lookup, NonEmpty, RegionName, ScopeName};
use crate::arn::{Arn, IntegrationArn, RoleArn, TargetArn};
use crate::toolkit::files::{self, KIB};
use crate::toolkit::yaml::{
    self, At, ConfigErrors, Field, List, MAX_CONFIG_BYTES, Parsed, Report, Value, Whole,
};
use std::collections::{HashMap, HashSet};
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const DEFAULT_CONCURRENCY: usize = 4;
/// AWS documents no quota for this operation, but throttles similar Glue operations at tens of requests per second. This rate leaves most
/// of that quota to others, and polls 200 ARNs within half of the default timeout.
const DEFAULT_REQUESTS_PER_SECOND: u16 = 10;

/// More than the longest external ID with its line breaks.
const MAX_EXTERNAL_ID_FILE_BYTES: u64 = 4 * KIB;

impl Config {
    /// Reads the file at `path` (at most 1 MiB) and its `external_id_file`s, which are relative to its directory.
    ///
    /// # Errors
    /// All errors in the file, or the reason why it cannot be read.
    pub fn load(path: &Path) -> Result<Config, ConfigErrors> {
        match files::read(path, MAX_CONFIG_BYTES) {
            Ok(bytes) => read(&bytes, path),
            Err(error) => Err(ConfigErrors::unreadable(path, &error)),
        }
    }

    /// Parses `text` as the content of `file`. Reads only the `external_id_file`s.
    ///
    /// # Errors
    /// All errors in the text.
    pub fn from_yaml(text: &str, file: &Path) -> Result<Config, ConfigErrors> {
        read(text.as_bytes(), file)
    }
}

fn read(bytes: &[u8], file: &Path) -> Result<Config, ConfigErrors> {
    let directory = file.parent().unwrap_or(Path::new(""));
    yaml::read(bytes, file, FORMAT, |root, report| {
        config(report, root, directory)
    })
}

/// Converts the whole file. The result is complete only if there are no errors.
fn config(report: &Report, root: Field<Root>, directory: &Path) -> Config {
    let mut config = Config {
        scopes: Vec::new(),
        storage_path: None,
        tag_labels: Vec::new(),
        requests_per_second: DEFAULT_REQUESTS_PER_SECOND,
    };
    let Field::Valid(root, at) = root else {
        return config;
    };
    let polling = root.polling.valid().unwrap_or_default();
    timing(report, polling.timing(), None);
    if let Some((Whole(rate), _)) = polling.requests_per_second.as_valid() {
        config.requests_per_second = *rate;
    }
    let storage = root.storage.valid().and_then(|keys| keys.path.parsed());
    config.storage_path = storage.map(|NonEmpty(path)| PathBuf::from(path));
    config.tag_labels = tags::tag_labels(report, root.tag_labels);
    match root.scopes {
        Field::Valid(scopes, at) => {
            if scopes.is_empty() {
                report.error(at, "is empty; at least one scope is needed");
            }
            let mut names = HashMap::new();
            for (scope, at) in scopes.into_iter().filter_map(Field::located) {
                let name = scope_name(report, &scope.name, at, &mut names);
                config
                    .scopes
                    .extend(self::scope(report, scope, name, &polling, directory));
            }
        }
        Field::Absent => report.error(at, "`scopes` is missing; at least one scope is needed"),
        Field::Invalid => {}
    }
    config
}

impl Polling {
    fn timing(&self) -> TimingKeys<'_> {
        TimingKeys {
            interval: &self.interval,
            timeout: &self.timeout,
            stale_after: &self.stale_after,
        }
    }
}

fn scope_name(
    report: &Report,
    name: &Value<ScopeName>,
    scope_at: At,
    names: &mut HashMap<ScopeName, At>,
) -> Option<ScopeName> {
    match name {
        Field::Valid(Parsed(name), at) => {
            if let Some(first) = names.insert(name.clone(), *at) {
                let (shown, first) = (report.quote(name.as_str()), report.path(first));
                report.error(*at, format!("{shown} is already used as {first}"));
            }
            Some(name.clone())
        }
        Field::Absent => {
            report.error(
                scope_at,
                "`name` is missing; each scope needs a unique name",
            );
            None
        }
        Field::Invalid => None,
    }
}

fn scope(
    report: &Report,
    keys: ScopeKeys,
    name: Option<ScopeName>,
    polling: &Polling,
    directory: &Path,
) -> Option<Scope> {
    let (regions, integrations, targets) =
        (&keys.regions, &keys.integration_arns, &keys.target_arns);
    report.reject_duplicates(regions, RegionName::to_string);
    report.reject_duplicates(integrations, IntegrationArn::canonical);
    report.reject_duplicates(targets, TargetArn::to_string);
    check_lookup(report, &keys.lookup, integrations);
    check_regions(report, regions, integrations, targets);
    check_partitions(report, &keys.role_arn, regions, integrations, targets);
    let own_timing = TimingKeys {
        interval: &keys.interval,
        timeout: &keys.timeout,
        stale_after: &keys.stale_after,
    };
    let timing = timing(report, own_timing, Some(polling.timing()));
    let patterns = [keys.include, keys.exclude];
    let selection = selection::selection(report, patterns, integrations, targets, &keys.describe);
    let credentials = credentials(
        report,
        keys.profile,
        keys.role_arn,
        keys.external_id,
        keys.external_id_file,
        directory,
    );
    let timing = timing?;
    let concurrency = keys.concurrency.or(&polling.concurrency).as_valid();
    let page_size = keys.page_size.or(&polling.page_size).as_valid();
    Some(Scope {
        name: name?,
        regions: keys.regions.values(),
        integration_arns: keys.integration_arns.values(),
        lookup: keys.lookup.valid().unwrap_or_default(),
        target_arns: keys.target_arns.values(),
        selection: Arc::new(selection),
        shard_by: keys.shard_by.valid().unwrap_or_default(),
        credentials,
        interval: timing.interval,
        timeout: timing.timeout,
        stale_after: timing.stale_after,
        concurrency: concurrency.map_or(DEFAULT_CONCURRENCY, |(count, _)| count.0),
        page_size: page_size.map(|(size, _)| size.0),
        describe: keys.describe.valid().unwrap_or(false),
    })
}

fn check_lookup(report: &Report, lookup: &Field<Lookup>, integrations: &List<IntegrationArn>) {
    if let Field::Valid(Lookup::List, at) = lookup
        && integrations.is_empty()
    {
        let text = "`list` needs `integration_arns`, but the scope has none; allowed: `each`, or `list` with `integration_arns`";
        report.error(*at, text);
    }
}

fn check_regions(
    report: &Report,
    regions: &List<RegionName>,
    integrations: &List<IntegrationArn>,
    targets: &List<TargetArn>,
) {
    let integration_regions = integrations.items.iter();
    let integration_regions =
        integration_regions.map(|(arn, at)| (Some(arn.region()), arn.as_str(), *at));
    let target_regions = targets.items.iter();
    let target_regions = target_regions.map(|(arn, at)| (arn.region(), arn.as_str(), *at));
    let used: Vec<(Option<&RegionName>, &str, At)> =
        integration_regions.chain(target_regions).collect();
    let is_everywhere = used.iter().any(|(region, ..)| region.is_none());
    let Some(regions_at) = regions.at else {
        for (_, arn, at) in used.iter().filter(|(region, ..)| region.is_none()) {
            if !regions.has_errors {
                let arn = report.quote(arn);
                let text = format!("{arn} has no region, so the scope needs `regions`");
                report.error(*at, text);
            }
        }
        return;
    };
    if regions.is_empty() {
        let text = "is empty; remove it to use the regions of the ARNs or the SDK's default region";
        report.error(regions_at, text);
        return;
    }
    if !regions.has_errors {
        let listed: HashSet<&RegionName> = regions.iter().collect();
        for (region, arn, at) in &used {
            if let Some(region) = region.filter(|region| !listed.contains(region)) {
                let arn = report.quote(arn);
                let text = format!(
                    "{arn} is in {region}, which is not in `regions`; it would never be polled"
                );
                report.error(*at, text);
            }
        }
    }
    if used.is_empty() || is_everywhere || integrations.has_errors || targets.has_errors {
        return;
    }
    let needed: HashSet<&RegionName> = used.iter().filter_map(|(region, ..)| *region).collect();
    for (region, at) in regions.items.iter().filter(|(r, _)| !needed.contains(r)) {
        let text = format!("no ARN of the scope is in {region}; nothing would be polled there");
        report.error(*at, text);
    }
}

/// Compares the partition of ARNs without a region with the regions of the scope. Parsing has checked ARNs with a region.
fn check_partitions(
    report: &Report,
    role: &Value<RoleArn>,
    regions: &List<RegionName>,
    integrations: &List<IntegrationArn>,
    targets: &List<TargetArn>,
) {
    let integration_regions = integrations.iter().map(IntegrationArn::region);
    let target_regions = targets.iter().filter_map(TargetArn::region);
    let mut used = regions
        .iter()
        .chain(integration_regions)
        .chain(target_regions);
    if let Some((role, at)) = role.as_valid()
        && let Some(mismatch) = used.find_map(|region| partition_mismatch(role, region))
    {
        let role = report.quote(role.as_str());
        report.error(at, format!("{role} {mismatch}"));
    }
    for (arn, at) in targets
        .items
        .iter()
        .filter(|(arn, _)| arn.region().is_none())
    {
        let partition = Arn::split(arn.as_str()).partition;
        if let Some(region) = regions
            .iter()
            .find(|region| !region.in_partition(partition))
        {
            let arn = report.quote(arn.as_str());
            let text = format!(
                "{arn} is in the partition `{partition}`, but {region} in `regions` is not"
            );
            report.error(*at, text);
        }
    }
}

fn credentials(
    report: &Report,
    profile: Value<NonEmpty>,
    role: Value<RoleArn>,
    id: Value<ExternalId>,
    file: Value<NonEmpty>,
    directory: &Path,
) -> Credentials {
    if role.is_absent() {
        for at in [id.at(), file.at()].into_iter().flatten() {
            let text = "has no effect without `role_arn`; set `role_arn` or remove it";
            report.error(at, text);
        }
    }
    let mut external_id = id.parsed();
    if let Field::Valid(Parsed(NonEmpty(name)), at) = file {
        if external_id.is_some() {
            report.error(at, "`external_id` is set too; allowed: only one of the two");
        }
        match read_external_id(&directory.join(name)) {
            Ok(id) => external_id = Some(id),
            Err(text) => report.error(at, text),
        }
    }
    Credentials {
        profile: profile.parsed().map(|NonEmpty(name)| name),
        role: role.parsed().map(|arn| Role { arn, external_id }),
    }
}

/// Reads an external ID from a file that contains nothing else except trailing line breaks.
/// Errors contain the name of the file, never its content.
fn read_external_id(path: &Path) -> Result<ExternalId, String> {
    let bytes = files::read(path, MAX_EXTERNAL_ID_FILE_BYTES)
        .map_err(|e| format!("`{}` cannot be read: {e}", path.display()))?;
    let invalid = |why: &dyn Display| format!("the file `{}` {why}", path.display());
    let text = std::str::from_utf8(&bytes).map_err(|_| invalid(&"is not valid UTF-8"))?;
    text.trim_end_matches(['\r', '\n'])
        .parse()
        .map_err(|e| invalid(&e))
}
