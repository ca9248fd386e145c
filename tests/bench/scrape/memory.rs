//! Measures the memory over many polls, with scrapes between them.

use super::limits::Limits;
use crate::support::account::FakeAccount;
use crate::support::client::{Client, GZIP, IDENTITY};
use crate::support::exporter::Exporter;
use crate::support::{megabytes, wait};
use std::time::Duration;

const INTEGRATIONS: usize = 10_000;
/// Maximum memory: this number of response bodies, plus `MAX_OTHER_MB`.
const MAX_BODIES: f64 = 2.5;
const MAX_OTHER_MB: f64 = 25.0;
/// Maximum ratio of the last polls to the first ones. It allows for the noise of the allocator.
const MAX_GROWTH_RATIO: f64 = 1.2;
/// Number of polls after which all buffers have their final size.
const WARM_UP_POLLS: usize = 5;
const GZIP_EVERY: usize = 10;

/// Measures the memory over a number of polls. Reloads trigger the polls, because the minimum interval of ten seconds would take hours.
pub fn over(polls: usize, limits: &mut Limits) {
    let account = FakeAccount::start(INTEGRATIONS);
    let mut exporter = Exporter::start(&account);
    let mut client = Client::connect(exporter.address);
    // The first scrape waits for the first poll.
    let body = megabytes(client.fetch(IDENTITY).len());
    let mut resident = Vec::new();
    for poll in 1..polls {
        account.change();
        exporter.poll(&account);
        // AWS has sent all responses, but the exporter publishes them a moment later.
        while completed_polls(client.fetch(IDENTITY)) <= poll {
            wait(Duration::from_millis(1));
        }
        if poll % GZIP_EVERY == 0 {
            client.fetch(GZIP);
        }
        resident.push(megabytes(exporter.process.memory().resident));
    }
    let peak = megabytes(exporter.process.memory().peak);

    let settled = &resident[WARM_UP_POLLS..];
    let quarter = settled.len() / 4;
    let first = median_value(&settled[..quarter]);
    let last = median_value(&settled[settled.len() - quarter..]);
    let max = resident.iter().copied().fold(0.0, f64::max);
    println!(
        "\nMemory with {INTEGRATIONS} integrations over {polls} polls, in MB:\n\n\
         | body | first quarter | last quarter | maximum after a poll | peak |\n|---|---|---|---|---|"
    );
    println!("| {body:.1} | {first:.1} | {last:.1} | {max:.1} | {peak:.1} |");
    let limit = MAX_BODIES * body + MAX_OTHER_MB;
    limits.check_max("memory after a poll", max, limit, "MB");
    limits.check_max("peak memory", peak, limit, "MB");
    let name = format!("memory at the end of {polls} polls");
    limits.check_max(
        &name,
        last / first,
        MAX_GROWTH_RATIO,
        "x the memory at the beginning",
    );
}

/// Returns the number of completed polls from the metrics of the exporter.
fn completed_polls(page: &[u8]) -> usize {
    const COUNTER: &str = "\nglue_integration_exporter_polls_total{";
    let page = str::from_utf8(page).unwrap();
    let (_, row) = page.rsplit_once(COUNTER).unwrap();
    let (_, value) = row.lines().next().unwrap().rsplit_once(' ').unwrap();
    value.parse().unwrap()
}

fn median_value(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}
