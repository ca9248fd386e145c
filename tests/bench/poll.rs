//! Compares the CPU time of a poll of 10,000 integrations with the CPU time that boto3 needs to list the same pages.
//! docs/benchmarks.md describes how to run it.
//!
//! For the exporter, it measures a running daemon between two idle moments: the poll and everything after it, up to the new exposition.
//! For boto3, it measures only the listing, without creating the client.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark fails by panicking, and prints its results"
)]

mod support;

use std::env;
use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};
use std::time::Duration;
use support::account::FakeAccount;
use support::client::{Client, IDENTITY};
use support::exporter::Exporter;
use support::{median, millis, wait};
use tokio::time::Instant;

const INTEGRATIONS: usize = 10_000;
/// The first round is not counted, because it opens connections and loads code.
const ROUNDS: usize = 8;
/// The minimum, because each round waits for a poll.
const INTERVAL: &str = "10s";
const POLL_TIMEOUT: Duration = Duration::from_secs(20);
/// A process that used no CPU for this time is idle.
const IDLE_TIME: Duration = Duration::from_millis(200);

fn main() -> ExitCode {
    if !env::args().any(|arg| arg == "--bench") {
        println!("This benchmark only runs with `cargo bench`.");
        return ExitCode::SUCCESS;
    }
    let account = FakeAccount::start(INTEGRATIONS);
    let python = env::var("PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let Some(mut boto3) = Boto3::start(&python, &account) else {
        eprintln!(
            "{python} has no boto3. Set an interpreter with boto3: PYTHON=path cargo bench --bench poll"
        );
        return ExitCode::FAILURE;
    };
    let exporter = Exporter::polling(&account, INTERVAL);
    // The first scrape waits for the first poll.
    Client::connect(exporter.address).fetch(IDENTITY);

    let (mut polls, mut listings) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let listing = boto3.list(&account);
        // Change an integration, because a poll rarely returns the same data as the one before.
        account.change();
        let poll = poll(&exporter, &account);
        if round > 0 {
            listings.push(listing);
            polls.push(poll);
        }
    }
    let (poll, listing) = (median(&polls), median(&listings));
    println!(
        "| integrations | pages | boto3 {} ms | exporter ms | exporter/boto3 |\n|---|---|---|---|---|",
        boto3.version
    );
    println!(
        "| {INTEGRATIONS} | {} | {:.0} | {:.0} | {:.3} |",
        account.pages(),
        millis(listing),
        millis(poll),
        poll.as_secs_f64() / listing.as_secs_f64(),
    );
    ExitCode::SUCCESS
}

/// Returns the CPU time of the next poll, including the time of waiting for it.
fn poll(exporter: &Exporter, account: &FakeAccount) -> Duration {
    wait_until_idle(exporter);
    let expected = account.request_count() + u64::try_from(account.pages()).unwrap();
    let before = exporter.process.cpu();
    let start = Instant::now();
    while account.request_count() < expected {
        assert!(
            start.elapsed() < POLL_TIMEOUT,
            "the exporter did not poll in time"
        );
        wait(Duration::from_millis(20));
    }
    wait_until_idle(exporter);
    exporter.process.cpu().since(&before)
}

/// Waits until the exporter is idle.
fn wait_until_idle(exporter: &Exporter) {
    let mut idle_since = Instant::now();
    let mut last = exporter.process.cpu();
    while idle_since.elapsed() < IDLE_TIME {
        wait(Duration::from_millis(20));
        let now = exporter.process.cpu();
        if !now.since(&last).is_zero() {
            idle_since = Instant::now();
        }
        last = now;
    }
}

/// A Python process that lists integrations with boto3.
struct Boto3 {
    child: Child,
    stdin: ChildStdin,
    stdout_lines: Lines<BufReader<ChildStdout>>,
    version: String,
}

impl Boto3 {
    /// Starts the process. Returns `None` if the interpreter does not exist or has no boto3.
    fn start(python: &str, account: &FakeAccount) -> Option<Self> {
        let mut child = Command::new(python)
            .args(["-B", "tests/bench/poll.py"])
            .arg(format!("http://{}", account.address))
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .env("NO_PROXY", "127.0.0.1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .ok()?;
        let stdin = child.stdin.take().unwrap();
        let mut stdout_lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let version = stdout_lines.next().transpose().unwrap();
        let started = version.map(|version| (stdin, stdout_lines, version));
        let Some((stdin, stdout_lines, version)) = started else {
            let _ = child.wait();
            return None;
        };
        Some(Self {
            child,
            stdin,
            stdout_lines,
            version,
        })
    }

    /// Lists all integrations and returns the CPU time.
    fn list(&mut self, account: &FakeAccount) -> Duration {
        self.stdin.write_all(b"\n").unwrap();
        let line = self.stdout_lines.next().unwrap().unwrap();
        let mut words = line.split(' ');
        let mut word = || words.next().unwrap();
        let took = Duration::from_secs_f64(word().parse().unwrap());
        assert_eq!(word(), account.pages().to_string());
        assert_eq!(word(), account.integrations.to_string());
        took
    }
}

impl Drop for Boto3 {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
