//! What a poll of 10,000 integrations costs in processor time, beside what boto3 takes to list the same pages. Fails if it is more
//! than a fifth. README.md says how to run it.
//!
//! The exporter's side is a daemon that runs, from a quiet moment before a poll to one after it: the poll with all that it leads to,
//! up to the new page. boto3's side is the listing alone, its client made beforehand.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark that cannot go on fails by panicking; what it measured is to be read"
)]

mod support;

use std::env;
use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};
use std::time::Duration;
use support::account::FakeAccount;
use support::client::{Client, IDENTITY};
use support::exporter::Exporter;
use support::limits::Limits;
use support::{median, millis, wait};
use tokio::time::Instant;

const INTEGRATIONS: usize = 10_000;
/// The first is not counted: connections are made, code is loaded.
const ROUNDS: usize = 8;
/// The shortest that there is: each round waits for a poll.
const INTERVAL: &str = "10s";
const SOON: Duration = Duration::from_secs(20);
/// Of boto3's processor time.
const LIMIT: f64 = 0.2;
/// After so long without using the processor, a process has nothing left to do.
const QUIET: Duration = Duration::from_millis(200);

fn main() -> ExitCode {
    if !env::args().any(|arg| arg == "--bench") {
        println!("Nothing is measured but by `cargo bench`.");
        return ExitCode::SUCCESS;
    }
    let account = FakeAccount::of(INTEGRATIONS);
    let python = env::var("PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let Some(mut boto3) = Boto3::start(&python, &account) else {
        eprintln!(
            "{python} has no boto3; name an interpreter that has it: PYTHON=path cargo bench --bench poll"
        );
        return ExitCode::FAILURE;
    };
    let exporter = Exporter::polling(&account, INTERVAL);
    // It waits for the first poll.
    Client::connect(exporter.address).ask(IDENTITY);

    let (mut of_exporter, mut of_boto3) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let listing = boto3.list(&account);
        // What a poll brings is seldom the same as before.
        account.move_on();
        let poll = poll(&exporter, &account);
        if round > 0 {
            of_boto3.push(listing);
            of_exporter.push(poll);
        }
    }
    let (poll, listing) = (median(&of_exporter), median(&of_boto3));
    let ratio = poll.as_secs_f64() / listing.as_secs_f64();
    println!(
        "| integrations | pages | boto3 {} ms | exporter ms | exporter/boto3 | at most |\n|---|---|---|---|---|---|",
        boto3.version
    );
    println!(
        "| {INTEGRATIONS} | {} | {:.0} | {:.0} | {ratio:.3} | {LIMIT:.1} |",
        account.pages(),
        millis(listing),
        millis(poll),
    );
    let mut limits = Limits::default();
    let what = format!("processor time of a poll of {INTEGRATIONS} integrations");
    limits.at_most(&what, ratio, LIMIT, "x boto3");
    limits.tell()
}

/// The processor time of the next poll. With it comes that of waiting for it.
fn poll(exporter: &Exporter, account: &FakeAccount) -> Duration {
    quiet(exporter);
    let asked = account.asked() + u64::try_from(account.pages()).unwrap();
    let before = exporter.process.cpu();
    let start = Instant::now();
    while account.asked() < asked {
        assert!(start.elapsed() < SOON, "the exporter does not poll");
        wait(Duration::from_millis(20));
    }
    quiet(exporter);
    exporter.process.cpu().since(&before)
}

fn quiet(exporter: &Exporter) {
    let mut since = Instant::now();
    let mut last = exporter.process.cpu();
    while since.elapsed() < QUIET {
        wait(Duration::from_millis(20));
        let now = exporter.process.cpu();
        if !now.since(&last).is_zero() {
            since = Instant::now();
        }
        last = now;
    }
}

struct Boto3 {
    child: Child,
    ask: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    version: String,
}

impl Boto3 {
    /// None if there is no such interpreter, or it has no boto3.
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
        let ask = child.stdin.take().unwrap();
        let mut answers = BufReader::new(child.stdout.take().unwrap()).lines();
        let version = answers.next().transpose().unwrap();
        let started = version.map(|version| (ask, answers, version));
        let Some((ask, answers, version)) = started else {
            let _ = child.wait();
            return None;
        };
        Some(Self {
            child,
            ask,
            answers,
            version,
        })
    }

    /// The processor time of listing all integrations.
    fn list(&mut self, account: &FakeAccount) -> Duration {
        self.ask.write_all(b"\n").unwrap();
        let answer = self.answers.next().unwrap().unwrap();
        let mut words = answer.split(' ');
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
