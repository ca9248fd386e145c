//! Reports the exporter's state to the service manager: ready, reloading, stopping, and a status line.

use crate::publisher::Publisher;
use crate::snapshot::Status;
use crate::toolkit::systemd::ServiceManager;
use futures_util::future::join;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Hundreds of polls can end each second, and people do not read that fast.
const STATUS_INTERVAL: Duration = Duration::from_secs(5);

pub struct StatusReporter {
    pub(super) service_manager: ServiceManager,
    publisher: Arc<Publisher>,
    reload_error: Mutex<Option<String>>,
}

impl StatusReporter {
    pub fn new(service_manager: ServiceManager, publisher: Arc<Publisher>) -> Self {
        Self {
            service_manager,
            publisher,
            reload_error: Mutex::default(),
        }
    }

    pub(super) async fn ready(&self) {
        let status = self.status();
        self.service_manager.notify("READY=1\n", &status).await;
    }

    pub(super) async fn reloaded(&self, outcome: &Result<(), String>) {
        *self.reload_error.lock() = outcome.clone().err();
        self.ready().await;
    }

    pub(super) async fn run(&self, stop: &CancellationToken) {
        let manager = &self.service_manager;
        let reporting = join(manager.send_keep_alives(), self.update_status());
        stop.run_until_cancelled(reporting).await;
        manager.notify("STOPPING=1\n", "Stopping").await;
    }

    async fn update_status(&self) {
        if self.service_manager.socket.is_none() {
            return;
        }
        let mut sent = String::new();
        loop {
            let status = self.status();
            if sent != status {
                self.service_manager.notify("", &status).await;
                sent = status;
            }
            tokio::time::sleep(STATUS_INTERVAL).await;
        }
    }

    /// Returns one line. A problem comes first, since terminals cut long lines.
    fn status(&self) -> String {
        let snapshot = self.publisher.published();
        let mut line = String::new();
        if let Some(errors) = self.reload_error.lock().as_deref() {
            let first = errors.lines().next().unwrap_or_default();
            let more = match errors.lines().skip(1).count() {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            line =
                format!("Last reload failed, keeping the previous configuration ({first}{more}); ");
        }
        let polled = snapshot.scopes.iter().flat_map(|scope| &scope.polled);
        let up = polled.clone().filter(|polled| polled.up).count();
        let scopes = snapshot.scopes.len();
        line += &format!("{up} of {scopes} pairs of scope and region up");
        let not_polled = scopes - polled.count();
        if not_polled > 0 {
            line += &format!(", {not_polled} not polled yet");
        }
        line += &format!("; {} integrations", snapshot.integrations.len());
        let mut separator = ":";
        for status in Status::ALL {
            let integrations = snapshot.integrations.iter();
            let with_status = integrations.filter(|shown| shown.integration.status == *status);
            let count = with_status.count();
            if count > 0 {
                line += &format!("{separator} {count} {}", status.as_str());
                separator = ",";
            }
        }
        line
    }
}
