//! The real binary, which watches an account.

use super::account::FakeAccount;
use super::client::Client;
use super::process::Process;
use super::wait;
use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;
use tokio::time::Instant;

/// A poll of 10,000 integrations on a machine that is busy.
const POLL: Duration = Duration::from_secs(40);
const RELOAD: &str = "POST /-/reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n";

pub struct Exporter {
    pub process: Process,
    pub address: SocketAddr,
    dir: TempDir,
    interval: &'static str,
    concurrency: u8,
}

impl Exporter {
    /// With so long an interval, nothing is polled while scrapes are measured, but at the start.
    pub fn start(account: &FakeAccount) -> Self {
        Self::polling(account, "24h")
    }

    pub fn polling(account: &FakeAccount, interval: &'static str) -> Self {
        let dir = TempDir::new().unwrap();
        write_config(&dir, interval, 4);
        let (process, address) = Process::listening(
            Command::new(env!("CARGO_BIN_EXE_glue-integration-exporter"))
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

    /// Polls now, and returns when AWS has answered all. A reload polls at once what is watched otherwise than before; this changes
    /// how many requests may be in flight at once, which a single listing does not make use of.
    pub fn poll(&mut self, account: &FakeAccount) {
        let (asked, pages) = (account.asked(), u64::try_from(account.pages()).unwrap());
        self.concurrency = 9 - self.concurrency;
        write_config(&self.dir, self.interval, self.concurrency);
        Client::connect(self.address).ask(RELOAD);
        let start = Instant::now();
        while account.asked() < asked + pages {
            assert!(start.elapsed() < POLL, "the exporter does not poll");
            wait(Duration::from_millis(1));
        }
    }
}

/// As many requests per second as can be set: the default would spread the pages of one listing over ten seconds.
fn write_config(dir: &TempDir, interval: &str, concurrency: u8) {
    let config = format!(
        "polling: {{interval: {interval}, requests_per_second: 1000, concurrency: {concurrency}}}\n\
         scopes: [{{name: all, regions: [eu-west-1]}}]\n"
    );
    fs::write(dir.path().join("config.yaml"), config).unwrap();
}
