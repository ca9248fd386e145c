//! Loads the configuration and creates the AWS clients, at the start and on each reload: from a file and for AWS, or for the demo.

use crate::config::{
    Config, ConfigErrors, Credentials, RegionName, ScopeRegion, TagLabel, pattern_warnings,
};
use crate::glue::RateLimiter;
use crate::glue::aws::{Network, Sdk, default_region};
use crate::glue::{Glue, Observer};
use crate::shard::Shard;
use crate::toolkit::files::FileWorker;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The demo's configuration.
const DEMO: &str = include_str!("demo.yaml");

/// Where the configuration comes from.
#[derive(Clone, Debug)]
pub enum ConfigSource {
    /// A file, the shard that this process is, and the worker that reads the file.
    File(PathBuf, Shard, FileWorker),
    Demo,
}

impl ConfigSource {
    /// Returns a source that reads `path` and keeps what `shard` watches.
    pub fn file(path: PathBuf, shard: Shard) -> Self {
        Self::File(path, shard, FileWorker::default())
    }

    /// Reads and validates the configuration.
    ///
    /// # Errors
    /// All errors in the configuration.
    pub async fn load(&self) -> Result<LoadedConfig, ConfigErrors> {
        let (config, file, shard) = match self {
            Self::File(file, shard, worker) => {
                let path = file.clone();
                let config = worker.run(move || Config::load(&path)).await;
                let config = config.map_err(|error| ConfigErrors::unreadable(file, &error))??;
                (config, file.as_path(), *shard)
            }
            Self::Demo => {
                let file = Path::new("the demo's configuration");
                (Config::from_yaml(DEMO, file)?, file, Shard::SINGLE)
            }
        };
        let watches = watches(&config).await;
        let watches = watches.map_err(|errors| errors.in_file(file))?;
        Ok(LoadedConfig {
            total_targets: watches.len(),
            watches: watches
                .into_iter()
                .filter_map(|watch| watch.for_shard(shard))
                .collect(),
            storage_path: config.storage_path,
            requests_per_second: config.requests_per_second,
            tag_labels: config.tag_labels,
        })
    }

    /// Reads the proxy settings and the CA bundles that the scopes of `loaded` use.
    ///
    /// # Errors
    /// All errors in the proxy variables and the CA bundles.
    pub async fn network(&self, loaded: &LoadedConfig) -> Result<Network, ConfigErrors> {
        let Self::File(..) = self else {
            return Ok(Network::default());
        };
        let profiles = loaded.watches.iter();
        let profiles = profiles.map(|watch| watch.credentials.profile.clone());
        let network = Network::load(profiles.collect()).await;
        network.or_else(|errors| ConfigErrors::check(errors, Network::default()))
    }
}

/// A valid configuration.
#[derive(Clone, Debug)]
pub struct LoadedConfig {
    /// Number of watches on all shards together.
    pub total_targets: usize,
    pub watches: Vec<ScopeRegion>,
    pub storage_path: Option<PathBuf>,
    pub requests_per_second: u16,
    pub tag_labels: Vec<TagLabel>,
}

impl LoadedConfig {
    /// Logs a warning for each pattern that is probably a mistake.
    pub fn warn_suspicious_patterns(&self) {
        for warning in pattern_warnings(&self.watches) {
            tracing::warn!("{warning}");
        }
    }
}

/// Returns how many requests can be in flight: one for each watch, and a second one if it fetches names and tags.
fn concurrent_requests(watches: &[ScopeRegion]) -> usize {
    let describing = watches.iter().filter(|watch| watch.describe);
    watches.len() + describing.count()
}

/// Returns the watches of a configuration. A scope without regions gets the SDK's default region.
///
/// # Errors
/// If a scope has no region and there is no default region.
async fn watches(config: &Config) -> Result<Vec<ScopeRegion>, ConfigErrors> {
    let mut regions: BTreeMap<Option<String>, Result<RegionName, Option<String>>> = BTreeMap::new();
    for scope in config.scopes_without_region() {
        if let Entry::Vacant(entry) = regions.entry(scope.credentials.profile.clone()) {
            let region = default_region(entry.key().as_deref()).await;
            entry.insert(region.and_then(|region| {
                region.parse().map_err(|invalid| {
                    Some(format!(
                        "the SDK's default region (AWS_REGION, AWS_DEFAULT_REGION, the profile's `region` or the metadata service's answer) `{}` {invalid}",
                        region.chars().take(64).collect::<String>().escape_debug()
                    ))
                })
            }));
        }
    }
    config.watches(|scope| {
        let region = regions.get(&scope.credentials.profile).cloned();
        region.unwrap_or(Err(None))
    })
}

/// Creates and caches clients. Watches with the same credentials and region share one client.
pub struct Clients {
    endpoint: Endpoint,
    requests_per_second: u16,
    clients: HashMap<(Credentials, RegionName), (Arc<dyn Glue>, RateLimiter)>,
}

enum Endpoint {
    Aws(Sdk),
    Simulated {
        url: String,
        observer: Arc<dyn Observer>,
    },
}

impl Clients {
    /// Returns clients of AWS. They share cached credentials with everything else that `sdk` creates.
    pub fn for_aws(loaded: &LoadedConfig, sdk: Sdk) -> Self {
        sdk.set_clients(concurrent_requests(&loaded.watches));
        Self::new(loaded.requests_per_second, Endpoint::Aws(sdk))
    }

    /// Returns clients of a simulated endpoint.
    pub fn for_simulator(
        url: String,
        requests_per_second: u16,
        observer: Arc<dyn Observer>,
    ) -> Self {
        Self::new(requests_per_second, Endpoint::Simulated { url, observer })
    }

    fn new(requests_per_second: u16, endpoint: Endpoint) -> Self {
        Self {
            requests_per_second,
            endpoint,
            clients: HashMap::new(),
        }
    }

    /// Returns the client for the credentials and region of `watch`, creating it if necessary.
    pub fn client(&mut self, watch: &ScopeRegion) -> Arc<dyn Glue> {
        let key = (watch.credentials.clone(), watch.region.clone());
        if let Some((client, _)) = self.clients.get(&key) {
            return Arc::clone(client);
        }
        let rate_limiter = RateLimiter::new(self.requests_per_second);
        let client: Arc<dyn Glue> = match &self.endpoint {
            Endpoint::Aws(sdk) => {
                Arc::new(sdk.connect(&watch.credentials, &watch.region, rate_limiter.clone()))
            }
            Endpoint::Simulated { url, observer } => Arc::new(Sdk::connect_simulated(
                Arc::clone(observer),
                url.clone(),
                &watch.region,
                rate_limiter.clone(),
            )),
        };
        self.clients
            .insert(key, (Arc::clone(&client), rate_limiter));
        client
    }

    /// Applies the CA bundles of a network that was read anew.
    pub fn trust(&self, network: Network) {
        if let Endpoint::Aws(sdk) = &self.endpoint {
            sdk.trust(network);
        }
    }

    /// Applies a new rate limit, and drops the clients that `watches` do not use.
    pub fn reconfigure(&mut self, watches: &[ScopeRegion], requests_per_second: u16) {
        self.requests_per_second = requests_per_second;
        if let Endpoint::Aws(sdk) = &self.endpoint {
            sdk.set_clients(concurrent_requests(watches));
        }
        for (_, rate_limiter) in self.clients.values() {
            rate_limiter.set(requests_per_second);
        }
        let is_used = |(credentials, region): &(Credentials, RegionName)| {
            let same =
                |watch: &ScopeRegion| watch.credentials == *credentials && watch.region == *region;
            watches.iter().any(same)
        };
        self.clients.retain(|key, _| is_used(key));
    }
}
