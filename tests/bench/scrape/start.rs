//! What the exporter takes when nobody asks, and how soon it answers after a start.

use crate::support::account::FakeAccount;
use crate::support::client::{Client, IDENTITY};
use crate::support::exporter::Exporter;
use crate::support::limits::Limits;
use crate::support::{median, millis, wait};
use std::time::Duration;
use tokio::time::Instant;

const STARTS: usize = 11;
/// In milliseconds, beyond what AWS takes, with so many integrations as `FEW`.
const START_LIMIT: f64 = 100.0;
const FEW: usize = 100;
const MANY: usize = 10_000;
/// The default interval, which the time below is a multiple of.
const INTERVAL: &str = "60s";
const IDLE: Duration = Duration::from_secs(120);
/// The first poll and what it leaves to do are over.
const SETTLE: Duration = Duration::from_secs(5);
/// In percent of a core.
const IDLE_LIMIT: f64 = 0.1;

/// From starting the process to the last byte of a scrape that has all integrations.
pub fn to_first_scrape(limits: &mut Limits) {
    println!("\nFrom the start to a served first scrape, median of {STARTS}:\n");
    println!(
        "| integrations | first scrape ms | AWS takes ms | difference ms | at most |\n|---|---|---|---|---|"
    );
    for integrations in [FEW, MANY] {
        let account = FakeAccount::of(integrations);
        let starts: Vec<Duration> = (0..STARTS)
            .map(|_| {
                let start = Instant::now();
                let exporter = Exporter::start(&account);
                let mut client = Client::connect(exporter.address);
                let page = str::from_utf8(client.ask(IDENTITY)).unwrap();
                let took = start.elapsed();
                let shown = page.matches("\naws_glue_integration_info{").count();
                assert_eq!(shown, integrations, "the scrape did not wait for the poll");
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
            let what = "from the start to a first scrape, without AWS";
            limits.at_most(what, difference, START_LIMIT, "ms");
        }
    }
}

/// Polls go on, nobody scrapes.
pub fn idle(limits: &mut Limits) {
    let account = FakeAccount::of(FEW);
    let exporter = Exporter::polling(&account, INTERVAL);
    Client::connect(exporter.address).ask(IDENTITY);
    wait(SETTLE);
    let (asked, before) = (account.asked(), exporter.process.cpu());
    wait(IDLE);
    let used = exporter.process.cpu().since(&before);
    let percent = 100.0 * used.as_secs_f64() / IDLE.as_secs_f64();
    println!(
        "\nIdle for {} s with {FEW} integrations and {} polls: {:.1} ms of processor time.",
        IDLE.as_secs(),
        account.asked() - asked,
        millis(used)
    );
    limits.at_most("idle", percent, IDLE_LIMIT, "% of a core");
}
