//! Where watches and their clients come from: a file and AWS, or the demo's own text and the simulated endpoint. Asked once at the
//! start and again at each reload.

use crate::config::{
    Config, ConfigErrors, Credentials, RegionName, TagLabel, Watch, file_error, pattern_warnings,
};
use crate::files::FileWorker;
use crate::glue::aws::{Network, Sdk, default_region};
use crate::glue::rate_limit::RateLimiter;
use crate::glue::{Glue, Observer};
use crate::rlimit::OpenFiles;
use crate::shard::Shard;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What the demo watches of the simulated account.
const DEMO: &str = include_str!("demo.yaml");

/// The configuration.
#[derive(Clone, Debug)]
pub enum Source {
    /// A file, what this shard has of it, and what reads it.
    File(PathBuf, Shard, FileWorker),
    Demo,
}

impl Source {
    /// A file, and what this shard has of it.
    pub fn file(path: PathBuf, shard: Shard) -> Self {
        Self::File(path, shard, FileWorker::default())
    }

    /// Reads and validates the configuration, whole.
    ///
    /// # Errors
    /// All of its mistakes.
    pub async fn load(&self) -> Result<Loaded, ConfigErrors> {
        let (config, file, shard) = match self {
            Self::File(file, shard, worker) => {
                let path = file.clone();
                let config = worker.run(move || Config::load(&path)).await;
                let config = config
                    .map_err(|error| file_error(file, &format!("cannot be read: {error}")))??;
                (config, file.as_path(), *shard)
            }
            Self::Demo => {
                let file = Path::new("the demo's configuration");
                (Config::from_yaml(DEMO, file)?, file, Shard::SINGLE)
            }
        };
        let watches = watches(&config).await;
        let watches = watches.map_err(|errors| errors.in_file(file))?;
        Ok(Loaded {
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

    /// Reads the proxies and CA bundles for the scopes of `loaded`.
    ///
    /// # Errors
    /// What is wrong with the proxy variables and the CA bundles.
    pub async fn network(&self, loaded: &Loaded) -> Result<Network, ConfigErrors> {
        let Self::File(..) = self else {
            return Ok(Network::default());
        };
        let profiles = loaded.watches.iter();
        let profiles = profiles.map(|watch| watch.credentials.profile.clone());
        let loaded = Network::load(profiles.collect()).await;
        loaded.or_else(|found| ConfigErrors::from_environment(found).map(|()| Network::default()))
    }
}

/// A configuration that holds.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// How many watches there are on whatever shard.
    pub total_targets: usize,
    pub watches: Vec<Watch>,
    pub storage_path: Option<PathBuf>,
    pub requests_per_second: u16,
    pub tag_labels: Vec<TagLabel>,
}

impl Loaded {
    /// Says in the log which patterns can hardly be meant.
    pub fn warn_of_patterns(&self) {
        for warning in pattern_warnings(&self.watches) {
            tracing::warn!("{warning}");
        }
    }

    /// Says so if there are more pairs than connections that can be open: where endpoints hang, they would wait for each other.
    pub fn warn_of_open_files(&self) {
        let descriptors = OpenFiles::of_process();
        let requests = concurrent_requests(&self.watches);
        if requests > descriptors.requests {
            tracing::warn!(
                limit = descriptors.limit,
                needed = OpenFiles::limit_for(requests),
                requests,
                enough_for = descriptors.requests,
                "the hard limit of open files (LimitNOFILE, ulimit -n) is too low for a request of every scope and region at a time: where AWS \
                 hangs, they will wait for each other"
            );
        }
    }
}

/// A request of each pair of scope and region, and of each that asks for names another.
fn concurrent_requests(watches: &[Watch]) -> usize {
    let describing = watches.iter().filter(|watch| watch.describe);
    watches.len() + describing.count()
}

/// What there is one client for, each.
fn clients(watches: &[Watch]) -> HashSet<(&Credentials, &RegionName)> {
    watches
        .iter()
        .map(|watch| (&watch.credentials, &watch.region))
        .collect()
}

/// What a configuration watches. The SDK is asked for its default region for the scopes that name none.
///
/// # Errors
/// If there is no region to be found for a scope.
async fn watches(config: &Config) -> Result<Vec<Watch>, ConfigErrors> {
    let mut regions: BTreeMap<Option<String>, Result<RegionName, Option<String>>> = BTreeMap::new();
    for scope in config.scopes_without_region() {
        if let Entry::Vacant(entry) = regions.entry(scope.credentials.profile.clone()) {
            let found = default_region(entry.key().as_deref()).await;
            entry.insert(found.and_then(|region| {
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
        let known = regions.get(&scope.credentials.profile).cloned();
        known.unwrap_or(Err(None))
    })
}

/// Makes clients, and keeps those in use: watches with the same credentials and region share one.
pub struct Clients {
    endpoint: Endpoint,
    requests_per_second: u16,
    kept: HashMap<(Credentials, RegionName), (Arc<dyn Glue>, RateLimiter)>,
}

enum Endpoint {
    Aws(Sdk),
    Simulated {
        url: String,
        observer: Arc<dyn Observer>,
    },
}

impl Clients {
    /// Clients of AWS. What else `sdk` makes has its credentials from the same loads.
    pub fn of_aws(loaded: &Loaded, sdk: Sdk) -> Self {
        sdk.set_clients(concurrent_requests(&loaded.watches));
        Self::new(loaded.requests_per_second, Endpoint::Aws(sdk))
    }

    /// Clients of a simulated endpoint.
    pub fn of_simulator(
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
            kept: HashMap::new(),
        }
    }

    /// The client of a watch: the one that is there for its credentials and region, or else a new one.
    pub fn client(&mut self, watch: &Watch) -> Arc<dyn Glue> {
        let key = (watch.credentials.clone(), watch.region.clone());
        if let Some((client, _)) = self.kept.get(&key) {
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
        self.kept.insert(key, (Arc::clone(&client), rate_limiter));
        client
    }

    /// Keeps to another rate and network from now on, and drops the clients that none of `watches` uses.
    pub fn reconfigure(&mut self, watches: &[Watch], requests_per_second: u16, network: Network) {
        self.requests_per_second = requests_per_second;
        if let Endpoint::Aws(sdk) = &self.endpoint {
            sdk.trust(network);
            sdk.set_clients(concurrent_requests(watches));
        }
        for (_, rate_limiter) in self.kept.values() {
            rate_limiter.set(requests_per_second);
        }
        let used = clients(watches);
        self.kept
            .retain(|(credentials, region), _| used.contains(&(credentials, region)));
    }
}
