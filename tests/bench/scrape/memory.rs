//! Memory over many polls, with scrapes between them.

use crate::support::account::FakeAccount;
use crate::support::client::{Client, GZIP, IDENTITY};
use crate::support::exporter::Exporter;
use crate::support::limits::Limits;
use crate::support::{megabytes, wait};
use std::time::Duration;

const INTEGRATIONS: usize = 10_000;
/// The body so many times, and this much besides, in MB.
const BODIES: f64 = 2.5;
const BESIDES: f64 = 25.0;
/// By how much the last polls may be above the first, for the noise of the allocator.
const STEADY: f64 = 1.05;
/// Polls after which all buffers have found their size.
const WARM_UP: usize = 5;
const GZIP_EVERY: usize = 10;

/// An interval of at least ten seconds would make hours of it: each poll is had by a reload instead, and is a whole one.
pub fn over(polls: usize, limits: &mut Limits) {
    let account = FakeAccount::of(INTEGRATIONS);
    let mut exporter = Exporter::start(&account);
    let mut client = Client::connect(exporter.address);
    // It waits for the first poll.
    let body = megabytes(client.ask(IDENTITY).len());
    let mut resident = Vec::new();
    for poll in 1..polls {
        account.move_on();
        exporter.poll(&account);
        // AWS has answered all; what it said is on the page a moment later.
        while ended(client.ask(IDENTITY)) <= poll {
            wait(Duration::from_millis(1));
        }
        if poll % GZIP_EVERY == 0 {
            client.ask(GZIP);
        }
        resident.push(megabytes(exporter.process.memory().resident));
    }
    let peak = megabytes(exporter.process.memory().peak);

    let settled = &resident[WARM_UP..];
    let quarter = settled.len() / 4;
    let first = middle(&settled[..quarter]);
    let last = middle(&settled[settled.len() - quarter..]);
    let most = resident.iter().copied().fold(0.0, f64::max);
    println!(
        "\nMemory with {INTEGRATIONS} integrations over {polls} polls, in MB:\n\n\
         | body | first quarter | last quarter | most after a poll | peak | at most |\n|---|---|---|---|---|---|"
    );
    let limit = BODIES * body + BESIDES;
    println!("| {body:.1} | {first:.1} | {last:.1} | {most:.1} | {peak:.1} | {limit:.1} |");
    limits.at_most("memory after a poll", most, limit, "MB");
    limits.at_most("peak of memory", peak, limit, "MB");
    let what = format!("memory at the end of {polls} polls");
    limits.at_most(&what, last / first, STEADY, "x that of the beginning");
}

/// How many polls have ended, by the exporter's own word.
fn ended(page: &[u8]) -> usize {
    const COUNTER: &str = "\nglue_integration_exporter_polls_total{";
    let page = str::from_utf8(page).unwrap();
    let (_, row) = page.rsplit_once(COUNTER).unwrap();
    let (_, value) = row.lines().next().unwrap().rsplit_once(' ').unwrap();
    value.parse().unwrap()
}

fn middle(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}
