//! Measures the time from the start to the first scrape, and the CPU time of an idle exporter.

use crate::support::account::FakeAccount;
use crate::support::client::{Client, IDENTITY};
use crate::support::exporter::Exporter;
use crate::support::limits::Limits;
use crate::support::{median, millis, wait};
use std::time::Duration;
use tokio::time::Instant;

const STARTS: usize = 11;
/// Maximum time from the start to the first scrape with `FEW` integrations, in milliseconds, without the time of AWS.
const MAX_START_MILLIS: f64 = 100.0;
const FEW: usize = 100;
const MANY: usize = 10_000;
/// The default interval. `IDLE_TIME` is a multiple of it.
const INTERVAL: &str = "60s";
const IDLE_TIME: Duration = Duration::from_secs(120);
/// Pause after the start, so that the first poll and its effects are not measured.
const SETTLE_TIME: Duration = Duration::from_secs(5);
/// Maximum CPU time of an idle exporter, in percent of a core.
const MAX_IDLE_PERCENT: f64 = 0.1;

/// Measures the time from starting the process to the last byte of a scrape with all integrations.
pub fn to_first_scrape(limits: &mut Limits) {
    println!("\nFrom the start to the first scrape, median of {STARTS}:\n");
    println!(
        "| integrations | first scrape ms | AWS ms | difference ms | at most |\n|---|---|---|---|---|"
    );
    for integrations in [FEW, MANY] {
        let account = FakeAccount::start(integrations);
        let starts: Vec<Duration> = (0..STARTS)
            .map(|_| {
                let start = Instant::now();
                let exporter = Exporter::start(&account);
                let mut client = Client::connect(exporter.address);
                let page = str::from_utf8(client.fetch(IDENTITY)).unwrap();
                let took = start.elapsed();
                let count = page.matches("\naws_glue_integration_info{").count();
                assert_eq!(count, integrations, "the scrape did not wait for the poll");
                took
            })
            .collect();
        let listings: Vec<Duration> = (0..STARTS).map(|_| account.listing()).collect();
        let (took, aws) = (millis(median(&starts)), millis(median(&listings)));
        let difference = took - aws;
        let limited = integrations == FEW;
        println!(
            "| {integrations} | {took:.1} | {aws:.1} | {difference:.1} | {} |",
            if limited { "100" } else { "-" }
        );
        if limited {
            let name = "from the start to the first scrape, without AWS";
            limits.check_max(name, difference, MAX_START_MILLIS, "ms");
        }
    }
}

/// Measures an exporter that polls, but is not scraped.
pub fn idle(limits: &mut Limits) {
    let account = FakeAccount::start(FEW);
    let exporter = Exporter::polling(&account, INTERVAL);
    Client::connect(exporter.address).fetch(IDENTITY);
    wait(SETTLE_TIME);
    let (requests, before) = (account.request_count(), exporter.process.cpu());
    wait(IDLE_TIME);
    let used = exporter.process.cpu().since(&before);
    let percent = 100.0 * used.as_secs_f64() / IDLE_TIME.as_secs_f64();
    println!(
        "\nIdle for {} s with {FEW} integrations and {} polls: {:.1} ms of CPU time.",
        IDLE_TIME.as_secs(),
        account.request_count() - requests,
        millis(used)
    );
    limits.check_max("idle", percent, MAX_IDLE_PERCENT, "% of a core");
}
