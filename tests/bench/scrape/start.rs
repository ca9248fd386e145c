//! Measures the time from the start to the first scrape, and the CPU time of an idle exporter.

use crate::support::account::FakeAccount;
use crate::support::client::{Client, IDENTITY};
use crate::support::exporter::Exporter;
use crate::support::{median, millis, wait};
use std::time::Duration;
use tokio::time::Instant;

const STARTS: usize = 11;
const FEW: usize = 100;
const MANY: usize = 10_000;
/// The default interval. `IDLE_TIME` is a multiple of it.
const INTERVAL: &str = "60s";
const IDLE_TIME: Duration = Duration::from_secs(120);
/// Pause after the start, so that the first poll and its effects are not measured.
const SETTLE_TIME: Duration = Duration::from_secs(5);

/// Measures the time from starting the process to the last byte of a scrape with all integrations.
pub fn to_first_scrape() {
    println!("\nFrom the start to the first scrape, median of {STARTS}:\n");
    println!("| integrations | first scrape ms | AWS ms | difference ms |\n|---|---|---|---|");
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
        println!(
            "| {integrations} | {took:.1} | {aws:.1} | {:.1} |",
            took - aws
        );
    }
}

/// Measures an exporter that polls, but is not scraped.
pub fn idle() {
    let account = FakeAccount::start(FEW);
    let exporter = Exporter::polling(&account, INTERVAL);
    Client::connect(exporter.address).fetch(IDENTITY);
    wait(SETTLE_TIME);
    let (requests, before) = (account.request_count(), exporter.process.cpu());
    wait(IDLE_TIME);
    let used = exporter.process.cpu().since(&before);
    let percent = 100.0 * used.as_secs_f64() / IDLE_TIME.as_secs_f64();
    println!(
        "\nIdle for {} s with {FEW} integrations and {} polls: {:.1} ms of CPU time, {percent:.3} % of a core.",
        IDLE_TIME.as_secs(),
        account.request_count() - requests,
        millis(used)
    );
}
