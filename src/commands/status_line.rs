//! Reports the exporter's state to the service manager: ready, reloading, stopping, and a status line.

use crate::publisher::Publisher;
use crate::snapshot::{Snapshot, Status};
use crate::toolkit::systemd::ServiceManager;
use crate::toolkit::watchdog::Watchdog;
use parking_lot::Mutex;
use std::fmt::Write;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Hundreds of polls can end each second, and people do not read that fast.
const STATUS_INTERVAL: Duration = Duration::from_secs(5);

/// Sends the exporter's state to the service manager.
#[derive(Debug)]
pub struct StatusReporter {
    service_manager: ServiceManager,
    /// The error of the last reload, if it failed.
    reload_error: Mutex<Option<String>>,
}

impl StatusReporter {
    pub fn new(service_manager: ServiceManager) -> Self {
        Self {
            service_manager,
            reload_error: Mutex::default(),
        }
    }

    /// Returns the watchdog that long-running tasks register with.
    pub fn watchdog(&self) -> &Watchdog {
        &self.service_manager.watchdog
    }

    /// Reports that the configuration is valid and the sockets are bound.
    pub async fn started(&self, publisher: &Publisher) {
        self.ready(publisher).await;
    }

    /// Reports that a reload begins.
    pub async fn reloading(&self) {
        self.service_manager.reloading().await;
    }

    /// Reports that a reload has ended, and how.
    pub async fn reloaded(&self, outcome: &Result<(), String>, publisher: &Publisher) {
        *self.reload_error.lock() = outcome.clone().err();
        self.ready(publisher).await;
    }

    /// Sends keep-alives and status lines until `stop`, then reports that the exporter is stopping.
    pub async fn run(&self, publisher: &Publisher, stop: &CancellationToken) {
        tokio::join!(
            self.service_manager.send_keep_alives(stop),
            self.update_status(publisher, stop)
        );
        stop.cancelled().await;
        self.service_manager.stopping().await;
    }

    async fn update_status(&self, publisher: &Publisher, stop: &CancellationToken) {
        if !self.service_manager.is_present() {
            return;
        }
        let mut pages = publisher.subscribe();
        let updating = async {
            let mut sent = String::new();
            // The sender lives as long as the publisher.
            while pages.changed().await.is_ok() {
                let status = self.status(publisher);
                if sent != status {
                    self.service_manager.status(&status).await;
                    sent = status;
                }
                tokio::time::sleep(STATUS_INTERVAL).await;
            }
        };
        tokio::select! {
            () = updating => {}
            () = stop.cancelled() => {}
        }
    }

    async fn ready(&self, publisher: &Publisher) {
        if self.service_manager.is_present() {
            self.service_manager.ready(&self.status(publisher)).await;
        }
    }

    fn status(&self, publisher: &Publisher) -> String {
        let (snapshot, _) = publisher.snapshot();
        let reload_error = self.reload_error.lock();
        status(&snapshot, reload_error.as_deref())
    }
}

/// Returns one line. A problem comes first, since terminals cut long lines.
fn status(snapshot: &Snapshot, reload_error: Option<&str>) -> String {
    let mut line = String::new();
    if let Some(errors) = reload_error {
        let mut errors = errors.lines();
        let first = errors.next().unwrap_or_default();
        let more = match errors.count() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let _ = write!(
            line,
            "Last reload failed, keeping the previous configuration ({first}{more}); "
        );
    }
    let scopes = &snapshot.scopes;
    let pending = scopes.iter().filter(|scope| scope.polled.is_none()).count();
    let up = scopes.iter().filter_map(|scope| scope.polled.as_ref());
    let up = up.filter(|polled| polled.up).count();
    let _ = write!(
        line,
        "{up} of {} pairs of scope and region up",
        scopes.len()
    );
    if pending > 0 {
        let _ = write!(line, ", {pending} not polled yet");
    }
    let _ = write!(line, "; {} integrations", snapshot.integrations.len());
    let statuses = snapshot
        .integrations
        .iter()
        .map(|shown| shown.integration.status);
    let mut separator = ": ";
    for status in Status::ALL {
        let count = statuses.clone().filter(|one| *one == status).count();
        if count > 0 {
            let _ = write!(line, "{separator}{count} {}", status.as_str());
            separator = ", ";
        }
    }
    line
}
