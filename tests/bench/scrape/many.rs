//! Measures eight scrapers that scrape at the same time, each with its own connection.

use super::limits::Limits;
use super::nginx::Nginx;
use crate::support::account::FakeAccount;
use crate::support::client::{Client, IDENTITY};
use crate::support::exporter::Exporter;
use crate::support::{median, megabytes, millis};
use std::path::Path;
use std::sync::Barrier;
use std::time::Duration;

const INTEGRATIONS: usize = 10_000;
const SCRAPERS: usize = 8;
const ROUNDS: usize = 15;
/// Maximum growth of memory for all scrapers together, in response bodies.
const MAX_GROWTH_BODIES: f64 = 1.0;

/// Durations of scrapes.
struct ScrapeTimes {
    all: Vec<Duration>,
    /// The slowest scrape of each round.
    slowest: Vec<Duration>,
}

pub fn compare(nginx: &Path, limits: &mut Limits) {
    let account = FakeAccount::start(INTEGRATIONS);
    let exporter = Exporter::start(&account);
    let mut client = Client::connect(exporter.address);
    let page = client.fetch(IDENTITY).to_vec();
    let nginx = Nginx::serving(nginx, &page);
    // Measure the memory after one scrape, because eight scrapers must not need it eight times.
    client.fetch(IDENTITY);
    let before = exporter.process.memory().resident;
    exporter.process.reset_peak();

    let barrier = Barrier::new(SCRAPERS);
    let scrape = || {
        let mut clients = [nginx.address, exporter.address].map(Client::connect);
        // The first round is a warm-up and not counted.
        let round = |_| {
            clients.each_mut().map(|client| {
                barrier.wait();
                client.time(IDENTITY)
            })
        };
        (0..=ROUNDS).map(round).skip(1).collect::<Vec<_>>()
    };
    let times: Vec<Vec<[Duration; 2]>> = std::thread::scope(|scope| {
        let scrapers: Vec<_> = (0..SCRAPERS).map(|_| scope.spawn(scrape)).collect();
        let times = scrapers.into_iter().map(|scraper| scraper.join().unwrap());
        times.collect()
    });
    let memory = exporter.process.memory();

    println!("\n{SCRAPERS} scrapers at once, {INTEGRATIONS} integrations, identity:\n");
    println!("| server | median ms | median of the slowest ms | worst ms |\n|---|---|---|---|");
    for (server, name) in ["nginx", "exporter"].into_iter().enumerate() {
        let times = of_server(&times, server);
        println!(
            "| {name} | {:.1} | {:.1} | {:.1} |",
            millis(median(&times.all)),
            millis(median(&times.slowest)),
            millis(times.slowest.iter().copied().max().unwrap_or_default()),
        );
    }

    let body = megabytes(page.len());
    println!(
        "\nMemory of the exporter, body {body:.1} MB: {:.1} MB before, at most {:.1} MB during the scrapes, {:.1} MB after.",
        megabytes(before),
        megabytes(memory.peak),
        megabytes(memory.resident),
    );
    let growth = (megabytes(memory.peak) - megabytes(before)) / body;
    let name = format!("memory growth by {SCRAPERS} scrapes at once");
    limits.check_max(&name, growth, MAX_GROWTH_BODIES, "bodies");
}

fn of_server(times: &[Vec<[Duration; 2]>], server: usize) -> ScrapeTimes {
    let of_round = |round: usize| times.iter().map(move |scraper| scraper[round][server]);
    ScrapeTimes {
        all: (0..ROUNDS).flat_map(of_round).collect(),
        slowest: (0..ROUNDS)
            .filter_map(|round| of_round(round).max())
            .collect(),
    }
}
