//! What the supervisor is told of the exporter, and when.

use crate::publisher::Publisher;
use crate::snapshot::{Snapshot, Status};
use crate::systemd::ServiceManager;
use crate::watchdog::Watchdog;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Hundreds of polls can end each second, and nobody reads so fast.
const STATUS_EVERY: Duration = Duration::from_secs(5);

/// The exporter as its supervisor sees it.
#[derive(Debug)]
pub struct StatusReporter {
    supervisor: ServiceManager,
    /// Why the last reload was refused, if it was.
    refused: Mutex<Option<String>>,
}

impl StatusReporter {
    pub fn by(supervisor: ServiceManager) -> Self {
        Self {
            supervisor,
            refused: Mutex::default(),
        }
    }

    /// What the loops join that the watchdog is to know of.
    pub fn watchdog(&self) -> &Watchdog {
        self.supervisor.watchdog()
    }

    /// The configuration holds, and the sockets are bound.
    pub async fn started(&self, publisher: &Publisher) {
        self.ready(publisher).await;
    }

    /// A reload begins.
    pub async fn reloading(&self) {
        self.supervisor.reloading().await;
    }

    /// A reload has ended, well or with the reason why it was refused.
    pub async fn reloaded(&self, outcome: &Result<(), String>, publisher: &Publisher) {
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = outcome.clone().err();
        self.ready(publisher).await;
    }

    /// Feeds the watchdog, keeps the status line up to date, and says that a stop begins, when `stop` asks for it.
    pub async fn run(&self, publisher: &Publisher, stop: &CancellationToken) {
        tokio::join!(
            self.supervisor.feed_watchdog(stop),
            self.keep_status(publisher, stop)
        );
        stop.cancelled().await;
        self.supervisor.stopping().await;
    }

    async fn keep_status(&self, publisher: &Publisher, stop: &CancellationToken) {
        if !self.supervisor.is_there() {
            return;
        }
        let mut pages = publisher.subscribe();
        let keeping = async {
            let mut said = String::new();
            // The sender lives as long as the board.
            while pages.changed().await.is_ok() {
                let status = self.status(publisher);
                if said != status {
                    self.supervisor.status(&status).await;
                    said = status;
                }
                tokio::time::sleep(STATUS_EVERY).await;
            }
        };
        tokio::select! {
            () = keeping => {}
            () = stop.cancelled() => {}
        }
    }

    async fn ready(&self, publisher: &Publisher) {
        if self.supervisor.is_there() {
            self.supervisor.ready(&self.status(publisher)).await;
        }
    }

    fn status(&self, publisher: &Publisher) -> String {
        let (snapshot, _) = publisher.snapshot();
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        status(&snapshot, refused.as_deref())
    }
}

/// One line: what is wrong first, since a terminal cuts what is long.
fn status(snapshot: &Snapshot, refused: Option<&str>) -> String {
    let mut line = String::new();
    if let Some(errors) = refused {
        let mut errors = errors.lines();
        let first = errors.next().unwrap_or_default();
        let more = match errors.count() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let _ = write!(
            line,
            "The last reload was refused, the old configuration goes on ({first}{more}); "
        );
    }
    let scopes = &snapshot.scopes;
    let unpolled = scopes.iter().filter(|scope| scope.polled.is_none()).count();
    let up = scopes.iter().filter_map(|scope| scope.polled.as_ref());
    let up = up.filter(|polled| polled.up).count();
    let _ = write!(
        line,
        "{up} of {} pairs of scope and region up",
        scopes.len()
    );
    if unpolled > 0 {
        let _ = write!(line, ", {unpolled} not polled yet");
    }
    let _ = write!(line, "; {} integrations", snapshot.integrations.len());
    let statuses = snapshot
        .integrations
        .iter()
        .map(|shown| shown.integration.status);
    let mut mark = ": ";
    for status in Status::ALL {
        let count = statuses.clone().filter(|one| *one == status).count();
        if count > 0 {
            let _ = write!(line, "{mark}{count} {}", status.as_str());
            mark = ", ";
        }
    }
    line
}
