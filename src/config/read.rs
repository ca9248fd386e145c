//! Converts the tree to a configuration: the keys, their values and the rules across keys.
//! Reading continues after an error, to report all errors at once. A check is skipped if it depends on an invalid value.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::ConfigErrors;
use super::field::{Field, List, Reader, Section};
use super::secret;
use super::timing::Polling;
use super::yaml::{self, Node, NodePath};
use super::{
    Config, Credentials, ExternalId, IntegrationArn, Lookup, RegionName, Role, RoleArn, Scope,
    ScopeName, TargetArn,
};

const TOP_LEVEL_KEYS: &[&str] = &["polling", "storage", "tag_labels", "scopes"];
const POLLING_KEYS: &[&str] = &[
    "interval",
    "timeout",
    "stale_after",
    "concurrency",
    "page_size",
    "requests_per_second",
];
const STORAGE_KEYS: &[&str] = &["path"];
const SCOPE_KEYS: &[&str] = &[
    "name",
    "regions",
    "integration_arns",
    "lookup",
    "target_arns",
    "include",
    "exclude",
    "shard_by",
    "role_arn",
    "external_id",
    "external_id_file",
    "profile",
    "interval",
    "timeout",
    "stale_after",
    "concurrency",
    "page_size",
    "describe",
];

const DEFAULT_CONCURRENCY: usize = 4;
/// AWS documents no quota for this operation, but throttles similar Glue operations at tens of requests per second. This rate leaves most
/// of that quota to others, and polls 200 ARNs within half of the default timeout.
const DEFAULT_REQUESTS_PER_SECOND: u16 = 10;

/// Parses the configuration in `text`. Errors contain the name of `file`; relative paths are relative to its directory.
pub(super) fn read(text: &str, file: &Path) -> Result<Config, ConfigErrors> {
    // The parser reads the text after a byte order mark as a second document.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let root = yaml::parse(text).map_err(|error| ConfigErrors::one(file, error))?;
    let directory = file.parent().unwrap_or(Path::new(""));
    let mut reader = Reader::new(secret::find_secrets(&root, secret::SECRET_KEYS));
    let config = reader.config(&root, directory);
    let errors = ConfigErrors::locate_all(reader.errors, |at| {
        (yaml::location(text, at), at.path.clone())
    });
    ConfigErrors::into_result(errors, Some(file), config)
}

impl Reader {
    /// Reads the whole file. The result is complete only if there are no errors.
    fn config(&mut self, root: &Node, directory: &Path) -> Config {
        let mut config = Config {
            scopes: Vec::new(),
            storage_path: None,
            tag_labels: Vec::new(),
            requests_per_second: DEFAULT_REQUESTS_PER_SECOND,
        };
        let at = NodePath::default();
        if *root == Node::Null {
            self.error(&at, "the file is empty; it needs `scopes`");
            return config;
        }
        let Some(top) = self.section(root, &at, TOP_LEVEL_KEYS) else {
            return config;
        };
        let polling = match top.get("polling") {
            Some((node, at)) => self.section(node, &at, POLLING_KEYS).map(|own| {
                let polling = self.polling(&own);
                let rate = self.number(&own, "requests_per_second", 1..=1_000);
                if let Some(rate) = rate.valid() {
                    config.requests_per_second = rate;
                }
                self.timing(&polling, &Polling::default());
                polling
            }),
            None => None,
        }
        .unwrap_or_default();
        if let Some((node, at)) = top.get("storage")
            && let Some(storage) = self.section(node, &at, STORAGE_KEYS)
        {
            config.storage_path = self.non_empty(&storage, "path").valid().map(PathBuf::from);
        }
        config.tag_labels = self.tag_labels(&top);
        let Some((node, scopes_at)) = top.get("scopes") else {
            self.error(&at, "`scopes` is missing; at least one scope is needed");
            return config;
        };
        if *node == Node::Null || *node == Node::List(Vec::new()) {
            self.error(&scopes_at, "is empty; at least one scope is needed");
            return config;
        }
        let Some(items) = self.items(node, &scopes_at, "a list of scopes") else {
            return config;
        };
        let mut names: HashMap<ScopeName, NodePath> = HashMap::new();
        for (i, item) in items.iter().enumerate() {
            let at = scopes_at.item(i);
            if let Some(fields) = self.section(item, &at, SCOPE_KEYS) {
                let name = self.scope_name(&fields, &mut names);
                let scope = self.scope(&fields, name, &polling, directory);
                config.scopes.extend(scope);
            }
        }
        config
    }

    fn scope_name(
        &mut self,
        fields: &Section<'_>,
        names: &mut HashMap<ScopeName, NodePath>,
    ) -> Option<ScopeName> {
        if let Some((Node::Null, at)) = fields.get("name") {
            self.error(&at, "has no value; each scope needs a unique name");
            return None;
        }
        match self.value::<ScopeName>(fields, "name") {
            Field::Valid(name, at) => {
                if let Some(first) = names.get(&name) {
                    let name = self.quote(name.as_str());
                    let text = format!("{name} is already used as {}", first.path);
                    self.error(&at, text);
                } else {
                    names.insert(name.clone(), at);
                }
                Some(name)
            }
            Field::Absent => {
                self.error(
                    &fields.at,
                    "`name` is missing; each scope needs a unique name",
                );
                None
            }
            Field::Invalid => None,
        }
    }

    fn scope(
        &mut self,
        fields: &Section<'_>,
        name: Option<ScopeName>,
        polling: &Polling,
        directory: &Path,
    ) -> Option<Scope> {
        let regions = self.list::<RegionName>(fields, "regions");
        let integrations = self.list::<IntegrationArn>(fields, "integration_arns");
        let lookup = self.lookup(fields, &integrations);
        let targets = self.list::<TargetArn>(fields, "target_arns");
        self.reject_duplicates(&regions, ToString::to_string);
        self.reject_duplicates(&integrations, IntegrationArn::canonical);
        self.reject_duplicates(&targets, ToString::to_string);
        self.check_regions(&regions, &integrations, &targets);
        let describe = self.boolean(fields, "describe");
        let selection = self.selection(fields, &integrations, &targets, &describe);
        let credentials = self.credentials(fields, directory);
        let role = credentials.role.as_ref().map(|role| &role.arn);
        self.check_partitions(fields, role, &regions, &integrations, &targets);
        let own = self.polling(fields);
        let timing = self.timing(&own, polling);
        let timing = timing?;
        let concurrency = own
            .concurrency
            .or_inherited(&polling.concurrency)
            .as_valid();
        Some(Scope {
            name: name?,
            regions: regions.values(),
            integration_arns: integrations.values(),
            lookup,
            target_arns: targets.values(),
            selection: Arc::new(selection),
            shard_by: self.value(fields, "shard_by").valid().unwrap_or_default(),
            credentials,
            interval: timing.interval,
            timeout: timing.timeout,
            stale_after: timing.stale_after,
            concurrency: concurrency.map_or(DEFAULT_CONCURRENCY, |count| usize::from(*count)),
            page_size: own
                .page_size
                .or_inherited(&polling.page_size)
                .as_valid()
                .copied(),
            describe: describe.valid().unwrap_or(false),
        })
    }

    fn lookup(&mut self, fields: &Section<'_>, integrations: &List<IntegrationArn>) -> Lookup {
        let Field::Valid(Lookup::List, lookup_at) = self.value(fields, "lookup") else {
            return Lookup::Each;
        };
        if integrations.items.is_empty() && integrations.complete {
            self.error(
                &lookup_at,
                "`list` needs `integration_arns`, but the scope has none; allowed: `each`, or `list` with `integration_arns`",
            );
        }
        Lookup::List
    }

    pub(super) fn reject_duplicates<T: ToString>(
        &mut self,
        list: &List<T>,
        same: impl Fn(&T) -> String,
    ) {
        let mut seen: HashMap<String, &NodePath> = HashMap::new();
        for (value, at) in &list.items {
            if let Some(first) = seen.get(&same(value)) {
                let text = format!(
                    "{} is already listed as {}",
                    self.quote(&value.to_string()),
                    first.path
                );
                self.error(at, text);
            } else {
                seen.insert(same(value), at);
            }
        }
    }

    fn check_regions(
        &mut self,
        regions: &List<RegionName>,
        integrations: &List<IntegrationArn>,
        targets: &List<TargetArn>,
    ) {
        let used_integrations = integrations
            .items
            .iter()
            .map(|(arn, at)| (Some(arn.region()), arn.as_str(), at));
        let used_targets = targets
            .items
            .iter()
            .map(|(arn, at)| (arn.region(), arn.as_str(), at));
        let used: Vec<(Option<&RegionName>, &str, &NodePath)> =
            used_integrations.chain(used_targets).collect();
        let Some(regions_at) = &regions.at else {
            for (_, arn, at) in used.iter().filter(|(region, ..)| region.is_none()) {
                let arn = self.quote(arn);
                self.error(
                    at,
                    format!("{arn} has no region, so the scope needs `regions`"),
                );
            }
            return;
        };
        if regions.items.is_empty() && regions.complete {
            let text =
                "is empty; remove it to use the regions of the ARNs or the SDK's default region";
            self.error(regions_at, text);
            return;
        }
        if regions.complete {
            let listed: HashSet<&RegionName> = regions.items.iter().map(|(r, _)| r).collect();
            for (region, arn, at) in &used {
                if let Some(region) = region.filter(|region| !listed.contains(region)) {
                    let arn = self.quote(arn);
                    let text = format!(
                        "{arn} is in {region}, which is not in `regions`; it would never be polled"
                    );
                    self.error(at, text);
                }
            }
        }
        let everywhere = used.iter().any(|(region, ..)| region.is_none());
        if used.is_empty() || everywhere || !integrations.complete || !targets.complete {
            return;
        }
        let needed: HashSet<&RegionName> = used.iter().filter_map(|(r, ..)| *r).collect();
        for (region, at) in regions.items.iter().filter(|(r, _)| !needed.contains(r)) {
            let text = format!("no ARN of the scope is in {region}; nothing would be polled there");
            self.error(at, text);
        }
    }

    fn credentials(&mut self, fields: &Section<'_>, directory: &Path) -> Credentials {
        let profile = self.non_empty(fields, "profile").valid();
        let arn = self.value::<RoleArn>(fields, "role_arn");
        let id = self.value::<ExternalId>(fields, "external_id");
        let file = self.non_empty(fields, "external_id_file");
        for key in ["external_id", "external_id_file"] {
            if let (Some((_, at)), Field::Absent) = (fields.get(key), &arn) {
                self.error(
                    &at,
                    "has no effect without `role_arn`; set `role_arn` or remove it",
                );
            }
        }
        if let (Some(_), Some((_, at))) =
            (fields.get("external_id"), fields.get("external_id_file"))
        {
            self.error(
                &at,
                "`external_id` is set too; allowed: only one of the two",
            );
        }
        let from_file = match file {
            Field::Valid(name, at) => match secret::read_external_id(&directory.join(name)) {
                Ok(id) => Some(id),
                Err(text) => {
                    self.error(&at, text);
                    None
                }
            },
            Field::Absent | Field::Invalid => None,
        };
        Credentials {
            profile,
            role: arn.valid().map(|arn| Role {
                arn,
                external_id: id.valid().or(from_file),
            }),
        }
    }
}
