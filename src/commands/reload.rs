//! The pollers of all watches, together: started, replaced by a reload, stopped.

use super::source::{Clients, Loaded, Source};
use super::status_line::Supervised;
use crate::cache::{Key, key};
use crate::clock::Clock;
use crate::config::{Mistakes, Watch};
use crate::glue::aws::Network;
use crate::http::access::Door;
use crate::poll::Poller;
use crate::publisher::Board;
use crate::storage;
use crate::telemetry::Own;
use crate::watchdog::Heartbeat;
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
    pub board: Arc<Board>,
    pub own: Arc<Own>,
    pub clock: Clock,
    pub source: Source,
    pub clients: Clients,
    pub supervised: Arc<Supervised>,
    pub heartbeat: Heartbeat,
    /// Read again with the configuration.
    pub door: Option<Arc<Door>>,
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
        let (board, publisher_stop) = (Arc::clone(&self.board), stop.clone());
        let publisher_pulse = self.heartbeat.join("what publishes the page");
        tasks.spawn(async move {
            board.publish(publisher_pulse, publisher_stop).await;
            Ended::Publisher
        });
        let storage_path = watch::Sender::new(loaded.storage_path);
        let stored = CancellationToken::new();
        let storing = tokio::spawn(storage::keep(
            Arc::clone(&self.board),
            storage_path.subscribe(),
            stored.clone(),
        ));
        let mut running = BTreeMap::new();
        let supervised = Arc::clone(&self.supervised);
        let mut pulse = self.heartbeat.join("the schedule of all scopes");
        self.start(loaded.watches, &mut running, &mut tasks, &stop);
        loop {
            tokio::select! {
                Some(ended) = tasks.join_next() => {
                    ended?;
                }
                () = pulse.beat() => {}
                Some(answer) = reloads.recv() => {
                    supervised.reloading().await;
                    let (web, loaded) = tokio::select! {
                        both = pulse.beside(self.load_again()) => both,
                        // Finding the default region can take seconds.
                        () = stop.cancelled() => break,
                    };
                    let outcome = match loaded {
                        Ok((loaded, network)) => {
                            storage_path.send_replace(loaded.storage_path.clone());
                            pulse
                                .beside(self.swap(loaded, network, &mut running, &mut tasks, &stop))
                                .await?;
                            self.own.config_loaded(self.clock.wall());
                            tracing::info!("the configuration was loaded again");
                            web.map_err(|mistakes| mistakes.to_string())
                        }
                        Err(mistakes) => {
                            self.own.config_refused();
                            tracing::error!(
                                error = %mistakes,
                                "the new configuration was refused, the old one goes on"
                            );
                            let web = web.err().map(|web| format!("\n{web}"));
                            Err(format!("{mistakes}{}", web.unwrap_or_default()))
                        }
                    };
                    supervised.reloaded(&outcome, &self.board).await;
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
    async fn load_again(&self) -> (Result<(), Mistakes>, Result<(Loaded, Network), Mistakes>) {
        let web = match &self.door {
            Some(door) => door.reread().await,
            None => Ok(()),
        };
        self.own.web_config_reread(web.is_ok());
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
        self.board.publish_now();
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
                self.own.remove_scope(scope, region);
            }
        }
        self.board.reconfigure(&watches);
        self.board.label_tags(&loaded.tag_labels);
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
            let mut pulse = self
                .heartbeat
                .join(format!("scope {} in {}", watch.scope, watch.region));
            tasks.spawn(async move {
                pulse.beside(poller.run(until)).await;
                pulse.leave();
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
            Arc::clone(&self.board),
            Arc::clone(&self.own),
            self.clock.clone(),
        )
    }
}
