//! Reads a configuration and checks the rules across its keys. A check is skipped if it depends on an invalid value.

mod selection;
mod tags;
mod timing;

use self::timing::{check_interval, timing};
use super::model::{Config, Credentials, FreshnessConfig, Role, Scope, partition_mismatch};
use super::schema::{FORMAT, FreshnessKeys, Polling, Root, ScopeKeys};
use super::value::{ExternalId, Lookup, NonEmpty, RegionName, ScopeName};
use crate::arn::{Arn, IntegrationArn, RoleArn, TargetArn};
use crate::toolkit::files::{self, KIB};
use crate::toolkit::yaml::{
    self, At, ConfigErrors, Field, List, MAX_CONFIG_BYTES, Parsed, Report, Value, Whole,
};
use std::collections::HashMap;
use std::fmt::Display;
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

const DEFAULT_FRESHNESS_INTERVAL: Duration = Duration::from_mins(15);
const MIN_FRESHNESS_INTERVAL: Duration = Duration::from_mins(1);
const DEFAULT_MAX_TABLES: usize = 100;
const DEFAULT_CONCURRENCY: usize = 4;
/// AWS throttles similar Glue operations at tens of requests per second. This rate polls 200 ARNs within half of the default timeout.
const DEFAULT_REQUESTS_PER_SECOND: u16 = 10;
/// More than the longest external ID with its line breaks.
const MAX_EXTERNAL_ID_FILE_BYTES: u64 = 4 * KIB;

impl Config {
    /// Reads the file at `path` (at most 1 MiB) and its `external_id_file`s, which are relative to its directory.
    pub fn load(path: &Path) -> Result<Config, ConfigErrors> {
        let bytes = files::read(path, MAX_CONFIG_BYTES);
        let bytes = bytes.map_err(|error| ConfigErrors::unreadable(path, &error))?;
        Self::from_yaml(bytes, path)
    }

    pub fn from_yaml(text: impl AsRef<[u8]>, file: &Path) -> Result<Config, ConfigErrors> {
        let directory = file.parent().unwrap_or(Path::new(""));
        yaml::read(text.as_ref(), file, FORMAT, |root, report| {
            config(report, root, directory)
        })
    }
}

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
    timing(report, &polling, &polling);
    if let Some((Whole(rate), _)) = polling.requests_per_second.as_valid() {
        config.requests_per_second = *rate;
    }
    let storage = root.storage.valid().and_then(|keys| keys.path.parsed());
    config.storage_path = storage.map(|NonEmpty(path)| PathBuf::from(path));
    config.tag_labels = tags::tag_labels(report, root.tag_labels);
    let missing = "`scopes` is missing; at least one scope is needed";
    let Some((scopes, at)) = report.required(root.scopes, at, missing) else {
        return config;
    };
    if scopes.is_empty() {
        report.error(at, "is empty; at least one scope is needed");
    }
    let mut names = HashMap::new();
    for (mut scope, at) in scopes.into_iter().filter_map(Field::located) {
        let missing = "`name` is missing; each scope needs a unique name";
        let name = report.required(mem::take(&mut scope.name), at, missing);
        let name = name.map(|(Parsed(name), at)| {
            if let Some(first) = names.insert(name.clone(), at) {
                report.already_listed(at, name.as_str(), first);
            }
            name
        });
        let scope = self::scope(report, scope, name, &polling, directory);
        config.scopes.extend(scope);
    }
    config
}

fn scope(
    report: &Report,
    mut keys: ScopeKeys,
    name: Option<ScopeName>,
    polling: &Polling,
    directory: &Path,
) -> Option<Scope> {
    let credentials = credentials(report, &mut keys, directory);
    let (regions, integrations, targets) =
        (&keys.regions, &keys.integration_arns, &keys.target_arns);
    report.reject_duplicates(regions, RegionName::to_string);
    report.reject_duplicates(integrations, IntegrationArn::canonical);
    report.reject_duplicates(targets, TargetArn::to_string);
    if let Field::Valid(Lookup::List, at) = keys.lookup
        && integrations.is_empty()
    {
        let text = "`list` needs `integration_arns`, but the scope has none; allowed: `each`, or `list` with `integration_arns`";
        report.error(at, text);
    }
    check_regions(report, regions, integrations, targets);
    check_partitions(report, &keys.role_arn, regions, integrations, targets);
    let own = Polling {
        interval: keys.interval,
        timeout: keys.timeout,
        stale_after: keys.stale_after,
        concurrency: keys.concurrency,
        page_size: keys.page_size,
        requests_per_second: Field::Absent,
    };
    let timing = timing(report, &own, polling);
    let patterns = [keys.include, keys.exclude];
    let selection = selection::selection(report, patterns, integrations, targets, &keys.describe);
    let [interval, timeout, stale_after] = timing?;
    let concurrency = own.concurrency.or(&polling.concurrency).as_valid();
    let page_size = own.page_size.or(&polling.page_size).as_valid();
    Some(Scope {
        name: name?,
        regions: keys.regions.values(),
        integration_arns: keys.integration_arns.values(),
        lookup: keys.lookup.valid().unwrap_or_default(),
        target_arns: keys.target_arns.values(),
        selection: Arc::new(selection),
        shard_by: keys.shard_by.valid().unwrap_or_default(),
        credentials,
        interval,
        timeout,
        stale_after,
        concurrency: concurrency.map_or(DEFAULT_CONCURRENCY, |(count, _)| count.0),
        page_size: page_size.map(|(size, _)| size.0),
        describe: keys.describe.valid().unwrap_or(false),
        freshness: freshness(report, keys.freshness),
    })
}

fn freshness(report: &Report, keys: Field<Option<FreshnessKeys>>) -> Option<FreshnessConfig> {
    let keys = keys.valid()??;
    let mut interval = DEFAULT_FRESHNESS_INTERVAL;
    if let Some((Parsed(configured), at)) = keys.interval.located() {
        interval = configured.0;
        check_interval(report, interval, at, MIN_FRESHNESS_INTERVAL);
    }
    let max_tables = keys.max_tables.valid();
    Some(FreshnessConfig {
        interval,
        max_tables: max_tables.map_or(DEFAULT_MAX_TABLES, |max| max.0),
    })
}

fn check_regions(
    report: &Report,
    regions: &List<RegionName>,
    integrations: &List<IntegrationArn>,
    targets: &List<TargetArn>,
) {
    let mut used: Vec<(Option<&RegionName>, &str, At)> = Vec::new();
    for (arn, at) in &integrations.items {
        used.push((Some(arn.region()), arn.as_str(), *at));
    }
    for (arn, at) in &targets.items {
        used.push((arn.region(), arn.as_str(), *at));
    }
    let Some(regions_at) = regions.at else {
        let everywhere = used.iter().filter(|(region, ..)| region.is_none());
        for (_, arn, at) in everywhere.filter(|_| regions.is_absent()) {
            report.reject(*at, arn, "has no region, so the scope needs `regions`");
        }
        return;
    };
    if regions.is_empty() {
        let text = "is empty; remove it to use the regions of the ARNs or the SDK's default region";
        report.error(regions_at, text);
        return;
    }
    for (region, arn, at) in used.iter().filter(|_| !regions.has_errors) {
        if let Some(region) = region.filter(|region| !regions.iter().any(|r| r == *region)) {
            let outside = format!("is in {region}, which is not in `regions`");
            report.reject(*at, arn, format!("{outside}; it would never be polled"));
        }
    }
    let is_everywhere = used.iter().any(|(region, ..)| region.is_none());
    if used.is_empty() || is_everywhere || integrations.has_errors || targets.has_errors {
        return;
    }
    for (region, at) in &regions.items {
        if !used.iter().any(|(used, ..)| *used == Some(region)) {
            let text = format!("no ARN of the scope is in {region}; nothing would be polled there");
            report.error(*at, text);
        }
    }
}

/// Compares ARNs without a region with the regions of the scope. Parsing has checked the others.
fn check_partitions(
    report: &Report,
    role: &Value<RoleArn>,
    regions: &List<RegionName>,
    integrations: &List<IntegrationArn>,
    targets: &List<TargetArn>,
) {
    let integration_regions = integrations.iter().map(IntegrationArn::region);
    let target_regions = targets.iter().filter_map(TargetArn::region);
    let of_arns = integration_regions.chain(target_regions);
    let mut used = regions.iter().chain(of_arns);
    if let Some((Parsed(role), at)) = role.as_valid()
        && let Some(mismatch) = used.find_map(|region| partition_mismatch(role, region))
    {
        report.reject(at, role.as_str(), mismatch);
    }
    for (arn, at) in &targets.items {
        let partition = Arn::split(arn.as_str()).partition;
        let mut regions = regions.iter();
        if arn.region().is_none()
            && let Some(region) = regions.find(|region| !region.in_partition(partition))
        {
            let why =
                format!("is in the partition `{partition}`, but {region} in `regions` is not");
            report.reject(*at, arn.as_str(), why);
        }
    }
}

fn credentials(report: &Report, keys: &mut ScopeKeys, directory: &Path) -> Credentials {
    let id = mem::take(&mut keys.external_id);
    let file = mem::take(&mut keys.external_id_file);
    if keys.role_arn.is_absent() {
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
    let role = keys.role_arn.as_valid().map(|(Parsed(arn), _)| arn.clone());
    let profile = mem::take(&mut keys.profile).parsed();
    Credentials {
        profile: profile.map(|NonEmpty(name)| name),
        role: role.map(|arn| Role { arn, external_id }),
    }
}

/// The file contains nothing else except trailing line breaks. Errors do not contain its content.
fn read_external_id(path: &Path) -> Result<ExternalId, String> {
    let bytes = files::read(path, MAX_EXTERNAL_ID_FILE_BYTES)
        .map_err(|e| format!("`{}` cannot be read: {e}", path.display()))?;
    let invalid = |why: &dyn Display| format!("the file `{}` {why}", path.display());
    let text = std::str::from_utf8(&bytes).map_err(|_| invalid(&"is not valid UTF-8"))?;
    text.trim_end_matches(['\r', '\n'])
        .parse()
        .map_err(|e| invalid(&e))
}
