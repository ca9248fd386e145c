//! Starts the pollers of all scopes and regions, replaces them on a reload, and stops them.

use super::source::{Clients, ConfigSource, LoadedConfig};
use super::status_line::StatusReporter;
use crate::cache::{Key, key};
use crate::clock::Clock;
use crate::config::{ConfigErrors, Watch};
use crate::glue::aws::Network;
use crate::poll::Poller;
use crate::publisher::Publisher;
use crate::storage;
use crate::telemetry::Telemetry;
use crate::toolkit::access::AccessControl;
use crate::toolkit::watchdog::Watchdog;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

/// Limits the last write of the state file, since a stop must end within 5 s.
const FINAL_WRITE_TIMEOUT: Duration = Duration::from_secs(4);

/// A request to reload, as the channel for its result. An error is the text for the user.
pub type ReloadRequest = oneshot::Sender<Result<(), String>>;

/// The pollers of all scopes and regions, and what they need.
pub struct Pollers {
    pub publisher: Arc<Publisher>,
    pub telemetry: Arc<Telemetry>,
    pub clock: Clock,
    pub source: ConfigSource,
    pub clients: Clients,
    pub status_reporter: Arc<StatusReporter>,
    pub watchdog: Watchdog,
    /// Reread together with the configuration.
    pub access: Option<Arc<AccessControl>>,
}

/// A running poller.
struct PollerHandle {
    watch: Watch,
    stop: CancellationToken,
}

/// The task that ended.
enum EndedTask {
    Poller(Key),
    Publisher,
}

impl Pollers {
    /// Polls on schedule, publishes and stores the results, and reloads the configuration on request, until `stop`.
    ///
    /// # Errors
    /// If a task panicked. The exporter must not serve a scope that it no longer polls.
    pub async fn run(
        mut self,
        loaded: LoadedConfig,
        mut reloads: mpsc::Receiver<ReloadRequest>,
        stop: CancellationToken,
    ) -> Result<(), JoinError> {
        let mut tasks = JoinSet::new();
        let (publisher, publisher_stop) = (Arc::clone(&self.publisher), stop.clone());
        let publisher_ticket = self.watchdog.register("publisher");
        tasks.spawn(async move {
            publisher.publish(publisher_ticket, publisher_stop).await;
            EndedTask::Publisher
        });
        let storage_path = watch::Sender::new(loaded.storage_path);
        let stop_storing = CancellationToken::new();
        let storing = tokio::spawn(storage::persist(
            Arc::clone(&self.publisher),
            storage_path.subscribe(),
            stop_storing.clone(),
        ));
        let mut handles = BTreeMap::new();
        let status_reporter = Arc::clone(&self.status_reporter);
        let mut ticket = self.watchdog.register("scheduler");
        self.start(loaded.watches, &mut handles, &mut tasks, &stop);
        loop {
            tokio::select! {
                Some(ended) = tasks.join_next() => {
                    ended?;
                }
                () = ticket.check_in() => {}
                Some(result_sender) = reloads.recv() => {
                    status_reporter.reloading().await;
                    let (web, loaded) = tokio::select! {
                        both = ticket.run_checked(self.reread()) => both,
                        // Looking up the default region can take seconds.
                        () = stop.cancelled() => break,
                    };
                    let outcome = match loaded {
                        Ok((loaded, network)) => {
                            storage_path.send_replace(loaded.storage_path.clone());
                            ticket
                                .run_checked(self.apply(loaded, network, &mut handles, &mut tasks, &stop))
                                .await?;
                            self.telemetry.config_loaded(self.clock.unix_now());
                            tracing::info!("configuration reloaded");
                            web.map_err(|errors| errors.to_string())
                        }
                        Err(errors) => {
                            self.telemetry.config_rejected();
                            tracing::error!(
                                error = %errors,
                                "invalid configuration, keeping the previous one"
                            );
                            let web = web.err().map(|web| format!("\n{web}"));
                            Err(format!("{errors}{}", web.unwrap_or_default()))
                        }
                    };
                    status_reporter.reloaded(&outcome, &self.publisher).await;
                    // The requester may have disconnected.
                    let _ = result_sender.send(outcome);
                }
                () = stop.cancelled() => break,
            }
        }
        while let Some(ended) = tasks.join_next().await {
            ended?;
        }
        // All polls have ended, so this write is the last.
        stop_storing.cancel();
        tokio::time::timeout(FINAL_WRITE_TIMEOUT, storing)
            .await
            .unwrap_or_else(|_| {
                tracing::error!(
                    seconds = FINAL_WRITE_TIMEOUT.as_secs(),
                    "failed to store the results of the last polls: the disk took too long"
                );
                Ok(())
            })
    }

    /// Rereads both files. A valid web configuration is applied at once; the configuration is returned.
    async fn reread(
        &self,
    ) -> (
        Result<(), ConfigErrors>,
        Result<(LoadedConfig, Network), ConfigErrors>,
    ) {
        let web = match &self.access {
            Some(access) => access.reread().await,
            None => Ok(()),
        };
        self.telemetry.web_config_reread(web.is_ok());
        let load = async {
            let loaded = self.source.load().await?;
            let network = self.source.network(&loaded).await?;
            Ok((loaded, network))
        };
        (web, load.await)
    }

    /// Polls every watch once, all at the same time, fetches names and tags, and publishes. Returns true if every poll succeeded.
    pub async fn once(mut self, watches: Vec<Watch>) -> bool {
        let mut polls = JoinSet::new();
        for watch in watches {
            let mut poller = self.poller(watch);
            polls.spawn(async move {
                let up = poller.poll().await;
                poller.describe().await;
                up
            });
        }
        let all_up = polls.join_all().await.into_iter().all(|up| up);
        self.publisher.publish_now();
        all_up
    }

    /// Applies a new configuration. An unchanged scope keeps its poller, its schedule and its data.
    async fn apply(
        &mut self,
        loaded: LoadedConfig,
        network: Network,
        handles: &mut BTreeMap<Key, PollerHandle>,
        tasks: &mut JoinSet<EndedTask>,
        stop: &CancellationToken,
    ) -> Result<(), JoinError> {
        loaded.warn_suspicious_patterns();
        let watches = loaded.watches;
        let by_key: HashMap<Key, &Watch> =
            watches.iter().map(|watch| (key(watch), watch)).collect();
        let mut stopping: BTreeSet<Key> = BTreeSet::new();
        handles.retain(|key, poller| {
            let unchanged = by_key.get(key).is_some_and(|watch| **watch == poller.watch);
            if !unchanged {
                poller.stop.cancel();
                stopping.insert(key.clone());
            }
            unchanged
        });
        // A poller that still runs would publish results of queries that are no longer configured.
        let mut unfinished = stopping.clone();
        while !unfinished.is_empty() {
            match tasks.join_next().await.transpose()? {
                Some(EndedTask::Poller(key)) => unfinished.remove(&key),
                Some(EndedTask::Publisher) | None => break,
            };
        }
        for key in &stopping {
            if !by_key.contains_key(key) {
                let (scope, region) = key;
                self.telemetry.remove_scope(scope, region);
            }
        }
        self.publisher.reconfigure(&watches);
        self.publisher.set_tag_labels(&loaded.tag_labels);
        self.clients
            .reconfigure(&watches, loaded.requests_per_second, network);
        self.start(watches, handles, tasks, stop);
        Ok(())
    }

    /// Starts a poller for each watch that has none.
    fn start(
        &mut self,
        watches: Vec<Watch>,
        handles: &mut BTreeMap<Key, PollerHandle>,
        tasks: &mut JoinSet<EndedTask>,
        stop: &CancellationToken,
    ) {
        for watch in watches {
            let key = key(&watch);
            if handles.contains_key(&key) {
                continue;
            }
            let poller = self.poller(watch.clone());
            let stop = stop.child_token();
            let until = stop.clone();
            let task_key = key.clone();
            let mut ticket = self
                .watchdog
                .register(format!("scope {} in {}", watch.scope, watch.region));
            tasks.spawn(async move {
                ticket.run_checked(poller.run(until)).await;
                ticket.finish();
                EndedTask::Poller(task_key)
            });
            handles.insert(key, PollerHandle { watch, stop });
        }
    }

    fn poller(&mut self, watch: Watch) -> Poller {
        let client = self.clients.client(&watch);
        Poller::new(
            watch,
            client,
            Arc::clone(&self.publisher),
            Arc::clone(&self.telemetry),
            self.clock.clone(),
        )
    }
}
