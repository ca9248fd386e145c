//! Runs the exporter binary against a simulated account.

use super::account::FakeAccount;
use super::client::Client;
use super::process::Process;
use super::wait;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;
use tokio::time::Instant;

/// Maximum time of a poll of 10,000 integrations on a busy machine.
const POLL_TIMEOUT: Duration = Duration::from_secs(40);
const RELOAD: &str = "POST /-/reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n";

pub struct Exporter {
    pub process: Process,
    pub address: SocketAddr,
    dir: TempDir,
    interval: &'static str,
    concurrency: u8,
}

impl Exporter {
    /// Starts the exporter with a long interval, so that it does not poll during the measurement of scrapes.
    pub fn start(account: &FakeAccount) -> Self {
        Self::polling(account, "24h")
    }

    /// Starts the exporter with an interval.
    pub fn polling(account: &FakeAccount, interval: &'static str) -> Self {
        let binary = Path::new(env!("CARGO_BIN_EXE_glue-integration-exporter"));
        Self::of(binary, account, interval)
    }

    /// Starts this binary, which may be an earlier version of the exporter.
    pub fn of(binary: &Path, account: &FakeAccount, interval: &'static str) -> Self {
        let dir = TempDir::new().unwrap();
        write_config(&dir, interval, 4);
        let (process, address) = Process::listening(
            Command::new(binary)
                .args(["--web.listen-address=127.0.0.1:0", "--web.enable-lifecycle"])
                .current_dir(dir.path())
                .env_clear()
                .env("HOME", dir.path())
                .env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
                .env("AWS_SECRET_ACCESS_KEY", "not-a-secret")
                .env("AWS_EC2_METADATA_DISABLED", "true")
                .env(
                    "AWS_ENDPOINT_URL_GLUE",
                    format!("http://{}", account.address),
                ),
        );
        Self {
            process,
            address,
            dir,
            interval,
            concurrency: 4,
        }
    }

    /// Triggers a poll, and returns when AWS has sent all responses. A reload polls a changed scope immediately. This changes the
    /// concurrency, which has no effect on a single listing.
    pub fn poll(&mut self, account: &FakeAccount) {
        let (before, pages) = (
            account.request_count(),
            u64::try_from(account.pages()).unwrap(),
        );
        self.concurrency = 9 - self.concurrency;
        write_config(&self.dir, self.interval, self.concurrency);
        Client::connect(self.address).fetch(RELOAD);
        let start = Instant::now();
        while account.request_count() < before + pages {
            assert!(
                start.elapsed() < POLL_TIMEOUT,
                "the exporter did not poll in time"
            );
            wait(Duration::from_millis(1));
        }
    }
}

/// Writes the configuration with the maximum request rate: the default would spread one listing over ten seconds.
fn write_config(dir: &TempDir, interval: &str, concurrency: u8) {
    let config = format!(
        "polling: {{interval: {interval}, requests_per_second: 1000, concurrency: {concurrency}}}\n\
         scopes: [{{name: all, regions: [eu-west-1]}}]\n"
    );
    fs::write(dir.path().join("config.yaml"), config).unwrap();
}
