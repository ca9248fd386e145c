//! Eight scrapers at once, each with a connection of its own, again and again at the same moment.

use super::nginx::Nginx;
use crate::support::account::FakeAccount;
use crate::support::client::{Client, IDENTITY};
use crate::support::exporter::Exporter;
use crate::support::limits::Limits;
use crate::support::{median, megabytes, millis};
use std::path::Path;
use std::sync::Barrier;
use std::time::Duration;

const INTEGRATIONS: usize = 10_000;
const SCRAPERS: usize = 8;
const ROUNDS: usize = 15;
/// How often as long as with nginx, which sends the same bytes to as many, the slowest scrape of a round may take.
const TIME_LIMIT: f64 = 1.3;
/// By so many bodies the memory may grow, for all scrapers together.
const GROWTH_LIMIT: f64 = 1.0;

/// What scrapes took: each, and the slowest of each round.
struct Took {
    each: Vec<Duration>,
    slowest: Vec<Duration>,
}

pub fn compare(nginx: &Path, limits: &mut Limits) {
    let account = FakeAccount::of(INTEGRATIONS);
    let exporter = Exporter::start(&account);
    let mut client = Client::connect(exporter.address);
    let page = client.ask(IDENTITY).to_vec();
    let nginx = Nginx::serving(nginx, &page);
    // What one scraper needs is there before; the eight must not need it eight times.
    client.ask(IDENTITY);
    let before = exporter.process.memory().resident;
    exporter.process.forget_peak();

    let barrier = Barrier::new(SCRAPERS);
    let scrape = || {
        let mut clients = [nginx.address, exporter.address].map(Client::connect);
        // The first round warms up.
        let round = |_| {
            clients.each_mut().map(|client| {
                barrier.wait();
                client.time(IDENTITY)
            })
        };
        (0..=ROUNDS).map(round).skip(1).collect::<Vec<_>>()
    };
    let took: Vec<Vec<[Duration; 2]>> = std::thread::scope(|scope| {
        let scrapers: Vec<_> = (0..SCRAPERS).map(|_| scope.spawn(scrape)).collect();
        let took = scrapers.into_iter().map(|scraper| scraper.join().unwrap());
        took.collect()
    });
    let memory = exporter.process.memory();

    println!("\n{SCRAPERS} scrapers at once, {INTEGRATIONS} integrations, identity:\n");
    println!("| server | median ms | median of the slowest ms | worst ms |\n|---|---|---|---|");
    let [nginx, exporter] = [("nginx", 0), ("exporter", 1)].map(|(name, server)| {
        let took = of_server(&took, server);
        let slowest = median(&took.slowest);
        println!(
            "| {name} | {:.1} | {:.1} | {:.1} |",
            millis(median(&took.each)),
            millis(slowest),
            millis(took.slowest.iter().copied().max().unwrap_or_default()),
        );
        slowest
    });
    let ratio = exporter.as_secs_f64() / nginx.as_secs_f64();
    let what = format!("the slowest of {SCRAPERS} scrapes at once");
    limits.at_most(&what, ratio, TIME_LIMIT, "x nginx");

    let body = megabytes(page.len());
    println!(
        "\nMemory of the exporter, body {body:.1} MB: {:.1} MB before, at most {:.1} MB meanwhile, {:.1} MB after.",
        megabytes(before),
        megabytes(memory.peak),
        megabytes(memory.resident),
    );
    let growth = (megabytes(memory.peak) - megabytes(before)) / body;
    let what = format!("growth of memory by {SCRAPERS} scrapes at once");
    limits.at_most(&what, growth, GROWTH_LIMIT, "bodies");
}

fn of_server(took: &[Vec<[Duration; 2]>], server: usize) -> Took {
    let of_round = |round: usize| took.iter().map(move |scraper| scraper[round][server]);
    Took {
        each: (0..ROUNDS).flat_map(of_round).collect(),
        slowest: (0..ROUNDS)
            .filter_map(|round| of_round(round).max())
            .collect(),
    }
}
