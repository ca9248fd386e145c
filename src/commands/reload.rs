//! Runs the pollers of all scopes and regions, and replaces them on a reload.

use super::signals::ReloadRequest;
use super::source::{Clients, ConfigSource, LoadedConfig};
use super::status_line::StatusReporter;
use crate::cache::key;
use crate::clock::Clock;
use crate::config::{ConfigErrors, ScopeRegion};
use crate::glue::aws::Network;
use crate::poll::Poller;
use crate::publisher::Publisher;
use crate::storage;
use crate::telemetry::Telemetry;
use crate::toolkit::access::AccessControl;
use crate::toolkit::watchdog::Watchdog;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

/// Limits the last write of the state file, since a stop must end within 5 s.
const FINAL_WRITE_TIMEOUT: Duration = Duration::from_secs(4);

pub(super) async fn load(source: &ConfigSource) -> Result<(LoadedConfig, Network), ConfigErrors> {
    let loaded = source.load().await?;
    let network = source.network(&loaded).await?;
    Ok((loaded, network))
}

pub struct Pollers {
    pub publisher: Arc<Publisher>,
    pub telemetry: Arc<Telemetry>,
    pub clock: Clock,
    pub source: ConfigSource,
    pub clients: Clients,
    pub status_reporter: Arc<StatusReporter>,
    pub watchdog: Watchdog,
    pub access: Option<Arc<AccessControl>>,
    pub running: Running,
}

#[derive(Default)]
pub struct Running {
    pollers: Vec<RunningPoller>,
    tasks: JoinSet<()>,
}

struct RunningPoller {
    watch: ScopeRegion,
    stop: CancellationToken,
    /// Cancelled by the task, also if it panics.
    ended: CancellationToken,
}

impl Pollers {
    /// Must run before the pollers of these watches start. Queries that a scope keeps also keep their data.
    pub fn apply(&mut self, loaded: &LoadedConfig) {
        self.publisher.reconfigure(&loaded.watches);
        self.publisher.set_tag_labels(&loaded.tag_labels);
        self.clients
            .reconfigure(&loaded.watches, loaded.requests_per_second);
        self.telemetry.config_loaded(self.clock.unix_now());
    }

    /// Polls on schedule, publishes and stores the results, and reloads the configuration on request, until `stop`. Fails if a task
    /// panicked: the exporter must not serve a scope that it no longer polls.
    pub async fn run(
        mut self,
        loaded: LoadedConfig,
        mut reloads: mpsc::Receiver<ReloadRequest>,
        stop: CancellationToken,
    ) -> Result<(), JoinError> {
        let publisher_ticket = self.watchdog.register("publisher");
        let publishing = Arc::clone(&self.publisher).publish(publisher_ticket, stop.clone());
        self.running.tasks.spawn(publishing);
        let storage_path = watch::Sender::new(loaded.storage_path);
        let stop_storing = CancellationToken::new();
        let (publisher, path) = (Arc::clone(&self.publisher), storage_path.subscribe());
        let storing = tokio::spawn(storage::persist(publisher, path, stop_storing.clone()));
        let mut ticket = self.watchdog.register("scheduler");
        self.start(loaded.watches, &stop);
        loop {
            tokio::select! {
                Some(ended) = self.running.tasks.join_next() => ended?,
                () = ticket.check_in() => {}
                Some(result_sender) = reloads.recv() => {
                    let reloading = ticket.run_checked(self.reload(&storage_path, &stop));
                    // Looking up the default region can take seconds.
                    let Some(outcome) = stop.run_until_cancelled(reloading).await else {
                        break;
                    };
                    // The requester may have disconnected.
                    let _ = result_sender.send(outcome);
                }
                () = stop.cancelled() => break,
            }
        }
        while let Some(ended) = self.running.tasks.join_next().await {
            ended?;
        }
        // All polls have ended, so this write is the last.
        stop_storing.cancel();
        let stored = tokio::time::timeout(FINAL_WRITE_TIMEOUT, storing).await;
        stored.unwrap_or_else(|_elapsed| {
            let seconds = FINAL_WRITE_TIMEOUT.as_secs();
            tracing::error!(
                seconds,
                "failed to store the last results: the disk took too long"
            );
            Ok(())
        })
    }

    /// Rereads both files. Each valid one is applied; an error is the text for the user.
    async fn reload(
        &mut self,
        storage_path: &watch::Sender<Option<PathBuf>>,
        stop: &CancellationToken,
    ) -> Result<(), String> {
        self.status_reporter.service_manager.reloading().await;
        let web = match &self.access {
            Some(access) => access.reread().await,
            None => Ok(()),
        };
        self.telemetry.web_config_reread(web.is_ok());
        let outcome = match load(&self.source).await {
            Ok((loaded, network)) => {
                storage_path.send_replace(loaded.storage_path.clone());
                self.stop_changed(&loaded.watches).await;
                self.clients.trust(network);
                self.apply(&loaded);
                self.start(loaded.watches, stop);
                tracing::info!("configuration reloaded");
                web.map_err(|errors| errors.to_string())
            }
            Err(errors) => {
                self.telemetry.config_rejected();
                tracing::error!(error = %errors, "invalid configuration, keeping the previous one");
                let web = web.err().map(|web| format!("\n{web}"));
                Err(format!("{errors}{}", web.unwrap_or_default()))
            }
        };
        self.status_reporter.reloaded(&outcome).await;
        outcome
    }

    /// Waits until the pollers of watches that are not among `watches` have ended: a poll that still runs would publish results of
    /// queries that are no longer configured. An unchanged scope keeps its poller, its schedule and its data.
    async fn stop_changed(&mut self, watches: &[ScopeRegion]) {
        let is_changed = |poller: &mut RunningPoller| !watches.contains(&poller.watch);
        let changed = self.running.pollers.extract_if(.., is_changed);
        let changed: Vec<RunningPoller> = changed.collect();
        for poller in &changed {
            poller.stop.cancel();
        }
        for RunningPoller { watch, ended, .. } in &changed {
            ended.cancelled().await;
            let key = key(watch);
            if !watches.iter().any(|new| self::key(new) == key) {
                self.telemetry.remove_scope(&key);
            }
        }
    }

    fn start(&mut self, watches: Vec<ScopeRegion>, stop: &CancellationToken) {
        for watch in watches {
            let mut running = self.running.pollers.iter();
            if running.any(|running| running.watch == watch) {
                continue;
            }
            let client = self.clients.client(&watch);
            let (publisher, telemetry) = (Arc::clone(&self.publisher), Arc::clone(&self.telemetry));
            let clock = self.clock.clone();
            let cloudwatch = Arc::clone(&client);
            let poller = Poller::new(watch.clone(), client, publisher, telemetry, clock);
            let poller = poller.with_cloudwatch(cloudwatch);
            let name = format!("scope {} in {}", watch.scope, watch.region);
            let mut ticket = self.watchdog.register(name);
            let running = RunningPoller {
                watch,
                stop: stop.child_token(),
                ended: CancellationToken::new(),
            };
            let (until, ended) = (running.stop.clone(), running.ended.clone());
            self.running.tasks.spawn(async move {
                let _ended = ended.drop_guard();
                ticket.run_checked(poller.run(until)).await;
                ticket.finish();
            });
            self.running.pollers.push(running);
        }
    }
}
