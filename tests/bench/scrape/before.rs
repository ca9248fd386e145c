//! Compares the exporter with an earlier binary of it, in the same rounds: scrapes, memory, and the time from the start to the first scrape.

use crate::support::account::FakeAccount;
use crate::support::client::{Client, GZIP, IDENTITY};
use crate::support::exporter::Exporter;
use crate::support::{median, megabytes, millis, wait};
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;
use tokio::time::Instant;

const SIZES: [usize; 3] = [100, 1_000, 10_000];
const WARM_UP_ROUNDS: usize = 3;
const MIN_ROUNDS: usize = 30;
const MAX_ROUNDS: usize = 600;
/// After this time, no round starts if there are at least `MIN_ROUNDS`.
const MAX_DURATION: Duration = Duration::from_secs(8);
const STARTS: usize = 15;
/// Polls with scrapes between them before the memory is measured.
const POLLS: u32 = 20;
const SLOW_READERS: usize = 100;
/// Time in which the server has written to the slow readers what it can.
const SETTLE_TIME: Duration = Duration::from_secs(2);

/// The exporter, and the earlier one.
type Pair<T> = [T; 2];

pub fn compare(before: &Path) {
    let binaries = [
        Path::new(env!("CARGO_BIN_EXE_glue-integration-exporter")),
        before,
    ];
    println!("| measured | before | now | now/before |\n|---|---|---|---|");
    for integrations in SIZES {
        let account = FakeAccount::start(integrations);
        let exporters = binaries.map(|binary| Exporter::of(binary, &account, "24h"));
        for (encoding, request) in [("identity", IDENTITY), ("gzip", GZIP)] {
            let times = scrapes(exporters.each_ref().map(|e| e.address), request);
            let name = format!("scrape of {integrations} integrations, {encoding}, ms");
            report(&name, times.map(millis));
        }
    }
    for integrations in [SIZES[0], SIZES[2]] {
        let account = FakeAccount::start(integrations);
        let name = format!("start to first scrape of {integrations} integrations, ms");
        let times = starts(binaries, &account).map(millis);
        report(&name, times);
    }
    memory(binaries);
}

fn report(name: &str, [now, before]: Pair<f64>) {
    println!("| {name} | {before:.2} | {now:.2} | {:.2} |", now / before);
}

/// Returns the median times of a scrape. The order alternates, because the second server finds other CPU caches.
fn scrapes(addresses: Pair<SocketAddr>, request: &str) -> Pair<Duration> {
    let mut clients = addresses.map(Client::connect);
    for client in &mut clients {
        for _ in 0..WARM_UP_ROUNDS {
            client.fetch(request);
        }
    }
    let mut times: Pair<Vec<Duration>> = Default::default();
    let start = Instant::now();
    let mut round = 0;
    while round < MIN_ROUNDS || round < MAX_ROUNDS && start.elapsed() < MAX_DURATION {
        for server in [round % 2, 1 - round % 2] {
            times[server].push(clients[server].time(request));
        }
        round += 1;
    }
    times.map(|times| median(&times))
}

/// Returns the median times from the start of the process to the last byte of a scrape with all integrations.
fn starts(binaries: Pair<&Path>, account: &FakeAccount) -> Pair<Duration> {
    let mut times: Pair<Vec<Duration>> = Default::default();
    for _ in 0..STARTS {
        for (binary, times) in binaries.iter().zip(&mut times) {
            let start = Instant::now();
            let exporter = Exporter::of(binary, account, "24h");
            Client::connect(exporter.address).fetch(IDENTITY);
            times.push(start.elapsed());
        }
    }
    times.map(|times| median(&times))
}

/// Compares the CPU time of polls, the memory after them, and with readers that have sent a request and read nothing while polls publish new data.
fn memory(binaries: Pair<&Path>) {
    let account = FakeAccount::start(SIZES[2]);
    let mut cpu = [0.0; 2];
    let mut after_polls = [0.0; 2];
    let mut with_readers = [0.0; 2];
    for (server, binary) in binaries.into_iter().enumerate() {
        let mut exporter = Exporter::of(binary, &account, "24h");
        let mut client = Client::connect(exporter.address);
        let mut poll = |exporter: &mut Exporter| {
            account.change();
            exporter.poll(&account);
            client.fetch(IDENTITY);
            client.fetch(GZIP);
        };
        let before = exporter.process.cpu();
        for _ in 0..POLLS {
            poll(&mut exporter);
        }
        cpu[server] = millis(exporter.process.cpu().since(&before)) / f64::from(POLLS);
        after_polls[server] = megabytes(exporter.process.memory().resident);
        let readers: Vec<TcpStream> = (0..SLOW_READERS)
            .map(|reader| {
                if reader % 10 == 0 {
                    poll(&mut exporter);
                }
                let mut stream = TcpStream::connect(exporter.address).unwrap();
                stream.write_all(IDENTITY.as_bytes()).unwrap();
                stream
            })
            .collect();
        wait(SETTLE_TIME);
        with_readers[server] = megabytes(exporter.process.memory().peak);
        drop(readers);
    }
    let name = "CPU time of a poll of 10,000 integrations with two scrapes, ms";
    report(name, cpu);
    let name = format!("memory after {POLLS} polls of 10,000 integrations, MB");
    report(&name, after_polls);
    let name = format!("peak memory with {SLOW_READERS} slow readers while polls publish, MB");
    report(&name, with_readers);
}
