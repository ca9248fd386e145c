//! Loads the configuration and creates the AWS clients, at the start and on each reload: from a file and for AWS, or for the demo.

use crate::config::{Config, ConfigErrors, Credentials, RegionName, ScopeRegion, TagLabel};
use crate::glue::aws::{AwsGlue, Network, Sdk, default_region};
use crate::glue::{Observer, RateLimiter};
use crate::shard::Shard;
use crate::toolkit::files::FileWorker;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const DEMO: &str = include_str!("demo.yaml");
/// Of all watches together. Leaves file descriptors for scrapes.
const MAX_REQUESTS: usize = 512;

#[derive(Clone, Debug)]
pub enum ConfigSource {
    /// A file, the shard that this process is, and the worker that reads the file.
    File(PathBuf, Shard, FileWorker),
    Demo,
}

impl ConfigSource {
    pub fn file(path: PathBuf, shard: Shard) -> Self {
        Self::File(path, shard, FileWorker::default())
    }

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
        let total_targets = watches.len();
        let of_shard = watches.into_iter();
        let of_shard = of_shard.filter_map(|watch| watch.for_shard(shard));
        let mut watches: Vec<ScopeRegion> = of_shard.collect();
        // Each watch may have at least one, so that an endpoint that hangs blocks no other watch.
        let others = |watch: &ScopeRegion| {
            usize::from(watch.describe) + usize::from(watch.freshness.is_some())
        };
        let loops: usize = watches.iter().map(|watch| 1 + others(watch)).sum();
        let max = MAX_REQUESTS / loops.max(1);
        for watch in &mut watches {
            watch.concurrency = watch.concurrency.min(max.max(1));
        }
        Ok(LoadedConfig {
            total_targets,
            watches,
            storage_path: config.storage_path,
            requests_per_second: config.requests_per_second,
            tag_labels: config.tag_labels,
        })
    }

    /// Reads the proxy settings and the CA bundles that the scopes of `loaded` use.
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

#[derive(Clone, Debug)]
pub struct LoadedConfig {
    /// Number of watches on all shards together.
    pub total_targets: usize,
    pub watches: Vec<ScopeRegion>,
    pub storage_path: Option<PathBuf>,
    pub requests_per_second: u16,
    pub tag_labels: Vec<TagLabel>,
}

/// Returns the watches of a configuration. A scope without regions gets the SDK's default region.
async fn watches(config: &Config) -> Result<Vec<ScopeRegion>, ConfigErrors> {
    let mut regions: HashMap<Option<String>, Result<RegionName, Option<String>>> = HashMap::new();
    for scope in config.scopes_without_region() {
        let profile = &scope.credentials.profile;
        if !regions.contains_key(profile) {
            let region = default_region(profile.as_deref()).await;
            let region = region.and_then(|region| {
                region.parse().map_err(|invalid| {
                    Some(format!(
                        "the SDK's default region (AWS_REGION, AWS_DEFAULT_REGION, the profile's `region` or the metadata service's answer) `{}` {invalid}",
                        region.chars().take(64).collect::<String>().escape_debug()
                    ))
                })
            });
            regions.insert(profile.clone(), region);
        }
    }
    config.watches(|scope| {
        let region = regions.get(&scope.credentials.profile).cloned();
        region.unwrap_or(Err(None))
    })
}

enum Backend {
    Aws(Sdk),
    Simulator {
        url: String,
        observer: Arc<dyn Observer>,
    },
}

/// Creates and caches clients. Watches with the same credentials and region share one client.
pub struct Clients {
    backend: Backend,
    requests_per_second: u16,
    clients: HashMap<(Credentials, RegionName), Arc<AwsGlue>>,
}

impl Clients {
    /// The clients share cached credentials with everything else that `sdk` creates.
    pub(crate) fn for_aws(loaded: &LoadedConfig, sdk: Sdk) -> Self {
        Self {
            backend: Backend::Aws(sdk),
            requests_per_second: loaded.requests_per_second,
            clients: HashMap::new(),
        }
    }

    pub fn for_simulator(
        url: String,
        requests_per_second: u16,
        observer: Arc<dyn Observer>,
    ) -> Self {
        Self {
            backend: Backend::Simulator { url, observer },
            requests_per_second,
            clients: HashMap::new(),
        }
    }

    pub(crate) fn client(&mut self, watch: &ScopeRegion) -> Arc<AwsGlue> {
        let key = (watch.credentials.clone(), watch.region.clone());
        let client = self.clients.entry(key).or_insert_with(|| {
            let region = &watch.region;
            let rate_limiter = RateLimiter::new(self.requests_per_second);
            Arc::new(match &self.backend {
                Backend::Aws(sdk) => sdk.connect(&watch.credentials, region, rate_limiter),
                Backend::Simulator { url, observer } => {
                    Sdk::connect_simulated(Arc::clone(observer), url.clone(), region, rate_limiter)
                }
            })
        });
        Arc::clone(client)
    }

    pub(crate) fn trust(&self, network: Network) {
        if let Backend::Aws(sdk) = &self.backend {
            sdk.trust(network);
        }
    }

    /// Applies a new rate limit, and drops the clients that `watches` do not use.
    pub(crate) fn reconfigure(&mut self, watches: &[ScopeRegion], requests_per_second: u16) {
        self.requests_per_second = requests_per_second;
        for client in self.clients.values() {
            client.rate_limiter.set(requests_per_second);
        }
        self.clients.retain(|(credentials, region), _| {
            let mut watches = watches.iter();
            watches.any(|watch| watch.credentials == *credentials && watch.region == *region)
        });
    }
}
