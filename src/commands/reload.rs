//! The pollers of all watches, together: started, replaced by a reload, stopped.

use super::source::{Clients, Loaded, Source};
use super::status_line::StatusReporter;
use crate::cache::{Key, key};
use crate::clock::Clock;
use crate::config::{ConfigErrors, Watch};
use crate::glue::aws::Network;
use crate::http::access::AccessControl;
use crate::poll::Poller;
use crate::publisher::Publisher;
use crate::storage;
use crate::telemetry::Telemetry;
use crate::watchdog::Watchdog;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

/// A disk that hangs does not hold up a stop for longer: the whole stop has 5 s.
const LAST_WRITE: Duration = Duration::from_secs(4);

/// Asks for a reload; the answer says why it was refused.
pub type ReloadRequest = oneshot::Sender<Result<(), String>>;

/// Everything between the configuration and the page.
pub struct Exporter {
    pub publisher: Arc<Publisher>,
    pub telemetry: Arc<Telemetry>,
    pub clock: Clock,
    pub source: Source,
    pub clients: Clients,
    pub status_reporter: Arc<StatusReporter>,
    pub watchdog: Watchdog,
    /// Read again with the configuration.
    pub access: Option<Arc<AccessControl>>,
}

/// A poller that runs.
struct Running {
    watch: Watch,
    stop: CancellationToken,
}

/// A task that ended.
enum Ended {
    Poller(Key),
    Publisher,
}

impl Exporter {
    /// Polls on schedule what `loaded` watches, publishes, stores, and loads the configuration again when it is asked to, until `stop`.
    ///
    /// # Errors
    /// If one of the tasks panicked: a scope that is not polled any more must not look as if it were.
    pub async fn run(
        mut self,
        loaded: Loaded,
        mut reloads: mpsc::Receiver<ReloadRequest>,
        stop: CancellationToken,
    ) -> Result<(), JoinError> {
        let mut tasks = JoinSet::new();
        let (publisher, publisher_stop) = (Arc::clone(&self.publisher), stop.clone());
        let publisher_pulse = self.watchdog.register("what publishes the page");
        tasks.spawn(async move {
            publisher.publish(publisher_pulse, publisher_stop).await;
            Ended::Publisher
        });
        let storage_path = watch::Sender::new(loaded.storage_path);
        let stored = CancellationToken::new();
        let storing = tokio::spawn(storage::persist(
            Arc::clone(&self.publisher),
            storage_path.subscribe(),
            stored.clone(),
        ));
        let mut running = BTreeMap::new();
        let status_reporter = Arc::clone(&self.status_reporter);
        let mut ticket = self.watchdog.register("the schedule of all scopes");
        self.start(loaded.watches, &mut running, &mut tasks, &stop);
        loop {
            tokio::select! {
                Some(ended) = tasks.join_next() => {
                    ended?;
                }
                () = ticket.check_in() => {}
                Some(answer) = reloads.recv() => {
                    status_reporter.reloading().await;
                    let (web, loaded) = tokio::select! {
                        both = ticket.run_checked(self.reread()) => both,
                        // Finding the default region can take seconds.
                        () = stop.cancelled() => break,
                    };
                    let outcome = match loaded {
                        Ok((loaded, network)) => {
                            storage_path.send_replace(loaded.storage_path.clone());
                            ticket
                                .run_checked(self.swap(loaded, network, &mut running, &mut tasks, &stop))
                                .await?;
                            self.telemetry.config_loaded(self.clock.unix_now());
                            tracing::info!("the configuration was loaded again");
                            web.map_err(|errors| errors.to_string())
                        }
                        Err(errors) => {
                            self.telemetry.config_refused();
                            tracing::error!(
                                error = %errors,
                                "the new configuration was refused, the old one goes on"
                            );
                            let web = web.err().map(|web| format!("\n{web}"));
                            Err(format!("{errors}{}", web.unwrap_or_default()))
                        }
                    };
                    status_reporter.reloaded(&outcome, &self.publisher).await;
                    // Who asked may have gone.
                    let _ = answer.send(outcome);
                }
                () = stop.cancelled() => break,
            }
        }
        while let Some(ended) = tasks.join_next().await {
            ended?;
        }
        // Only now, when no poll brings anything any more.
        stored.cancel();
        tokio::time::timeout(LAST_WRITE, storing)
            .await
            .unwrap_or_else(|_| {
                tracing::error!(
                    seconds = LAST_WRITE.as_secs(),
                    "the last data were not stored: the disk took too long"
                );
                Ok(())
            })
    }

    /// The web configuration, which is in force then, and the configuration.
    async fn reread(
        &self,
    ) -> (
        Result<(), ConfigErrors>,
        Result<(Loaded, Network), ConfigErrors>,
    ) {
        let web = match &self.access {
            Some(access) => access.reread().await,
            None => Ok(()),
        };
        self.telemetry.web_config_reread(web.is_ok());
        let loaded = async {
            let loaded = self.source.load().await?;
            let network = self.source.network(&loaded).await?;
            Ok((loaded, network))
        };
        (web, loaded.await)
    }

    /// Polls each of `watches` once, all at the same time, asks for their names and tags, and publishes. Returns whether every poll got
    /// everything.
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

    /// Replaces what is watched. Scopes that did not change are not touched: their poller, its timer and its data go on.
    async fn swap(
        &mut self,
        loaded: Loaded,
        network: Network,
        running: &mut BTreeMap<Key, Running>,
        tasks: &mut JoinSet<Ended>,
        stop: &CancellationToken,
    ) -> Result<(), JoinError> {
        loaded.warn_of_open_files();
        loaded.warn_of_patterns();
        let watches = loaded.watches;
        let by_key: HashMap<Key, &Watch> =
            watches.iter().map(|watch| (key(watch), watch)).collect();
        let mut ending: BTreeSet<Key> = BTreeSet::new();
        running.retain(|key, poller| {
            let goes_on = by_key.get(key).is_some_and(|watch| **watch == poller.watch);
            if !goes_on {
                poller.stop.cancel();
                ending.insert(key.clone());
            }
            goes_on
        });
        // The board must not get an old poll's answers to queries that it no longer knows.
        let mut awaited = ending.clone();
        while !awaited.is_empty() {
            match tasks.join_next().await.transpose()? {
                Some(Ended::Poller(key)) => awaited.remove(&key),
                Some(Ended::Publisher) | None => break,
            };
        }
        for key in &ending {
            if !by_key.contains_key(key) {
                let (scope, region) = key;
                self.telemetry.remove_scope(scope, region);
            }
        }
        self.publisher.reconfigure(&watches);
        self.publisher.set_tag_labels(&loaded.tag_labels);
        self.clients
            .reconfigure(&watches, loaded.requests_per_second, network);
        self.start(watches, running, tasks, stop);
        Ok(())
    }

    /// Starts the pollers of those watches that have none.
    fn start(
        &mut self,
        watches: Vec<Watch>,
        running: &mut BTreeMap<Key, Running>,
        tasks: &mut JoinSet<Ended>,
        stop: &CancellationToken,
    ) {
        for watch in watches {
            let key = key(&watch);
            if running.contains_key(&key) {
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
                Ended::Poller(task_key)
            });
            running.insert(key, Running { watch, stop });
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
