//! Measures the latency and the CPU time of the servers for one scraper with one connection.

use super::limits::Limits;
use super::naive::Naive;
use super::nginx::Nginx;
use crate::support::account::FakeAccount;
use crate::support::client::{Client, GZIP, IDENTITY};
use crate::support::exporter::Exporter;
use crate::support::{median, megabytes, millis};
use flate2::read::GzDecoder;
use std::io::Read;
use std::path::Path;
use std::time::Duration;
use tokio::time::Instant;

/// Number of rounds that are not counted, because buffers grow and the CPU wakes up.
const WARM_UP_ROUNDS: usize = 3;
const MIN_ROUNDS: usize = 15;
const MAX_ROUNDS: usize = 300;
/// After this time, no round starts if there are at least `MIN_ROUNDS`.
const MAX_DURATION: Duration = Duration::from_secs(6);

struct Size {
    integrations: usize,
    /// Minimum ratio of the latency of the naive exporter to that of the exporter.
    min_naive_ratio: f64,
    /// The naive exporter is slow, so it is only scraped in every n-th round.
    naive_every: usize,
}

const SIZES: [Size; 3] = [
    Size {
        integrations: 100,
        min_naive_ratio: 4.0,
        naive_every: 1,
    },
    Size {
        integrations: 1_000,
        min_naive_ratio: 10.0,
        naive_every: 1,
    },
    Size {
        integrations: 10_000,
        min_naive_ratio: 20.0,
        naive_every: 5,
    },
];

struct Servers {
    nginx: Nginx,
    exporter: Exporter,
    naive: Naive,
}

/// The median latency and the mean CPU time of a scrape.
struct Measurement {
    nginx: Duration,
    exporter: Duration,
    naive: Duration,
    nginx_cpu: Duration,
    exporter_cpu: Duration,
}

/// A line of the table.
struct Row {
    integrations: usize,
    encoding: &'static str,
    body: usize,
    min_naive_ratio: f64,
    measurement: Measurement,
}

pub fn compare(nginx: &Path, limits: &mut Limits) {
    let rows: Vec<Row> = SIZES.iter().flat_map(|size| rows(nginx, size)).collect();
    report(&rows, limits);
}

fn rows(nginx: &Path, size: &Size) -> [Row; 2] {
    let account = FakeAccount::start(size.integrations);
    let exporter = Exporter::start(&account);
    let mut client = Client::connect(exporter.address);
    let page = client.fetch(IDENTITY).to_vec();
    let gzip = client.fetch(GZIP).to_vec();
    let servers = Servers {
        nginx: Nginx::serving(nginx, &page),
        naive: Naive::serving(&page),
        exporter,
    };
    assert_same_series(&page, &gzip, &servers.naive);
    [
        ("identity", IDENTITY, page.len()),
        ("gzip", GZIP, gzip.len()),
    ]
    .map(|(encoding, request, body)| Row {
        integrations: size.integrations,
        encoding,
        body,
        min_naive_ratio: size.min_naive_ratio,
        measurement: servers.measure(request, size.naive_every),
    })
}

fn report(rows: &[Row], limits: &mut Limits) {
    println!(
        "One scraper, median time and mean CPU time of a scrape:\n\n\
         | integrations | encoding | body MB | naive ms | exporter ms | naive/exporter | nginx ms | exporter/nginx | CPU exporter/nginx |\n\
         |---|---|---|---|---|---|---|---|---|"
    );
    for row in rows {
        let measured = &row.measurement;
        let naive_ratio = ratio(measured.naive, measured.exporter);
        println!(
            "| {} | {} | {:.2} | {:.1} | {:.2} | {naive_ratio:.1} | {:.2} | {:.2} | {:.2} |",
            row.integrations,
            row.encoding,
            megabytes(row.body),
            millis(measured.naive),
            millis(measured.exporter),
            millis(measured.nginx),
            ratio(measured.exporter, measured.nginx),
            ratio(measured.exporter_cpu, measured.nginx_cpu),
        );
        let name = format!(
            "a scrape of {} integrations, {}",
            row.integrations, row.encoding
        );
        limits.check_min(
            &name,
            naive_ratio,
            row.min_naive_ratio,
            "x faster than the naive exporter",
        );
    }
}

fn ratio(one: Duration, other: Duration) -> f64 {
    one.as_secs_f64() / other.as_secs_f64()
}

impl Servers {
    fn measure(&self, request: &str, naive_every: usize) -> Measurement {
        let mut nginx = Client::connect(self.nginx.address);
        let mut exporter = Client::connect(self.exporter.address);
        let mut naive = Client::connect(self.naive.address);
        for client in [&mut nginx, &mut exporter, &mut naive] {
            for _ in 0..WARM_UP_ROUNDS {
                client.fetch(request);
            }
        }
        let (mut nginx_times, mut exporter_times, mut naive_times) = (vec![], vec![], vec![]);
        let before = (self.nginx.process.cpu(), self.exporter.process.cpu());
        let start = Instant::now();
        let mut rounds = 0;
        while rounds < MIN_ROUNDS || rounds < MAX_ROUNDS && start.elapsed() < MAX_DURATION {
            // Alternate the order, because the first server finds the CPU caches filled by the naive exporter.
            if rounds % 2 == 0 {
                nginx_times.push(nginx.time(request));
                exporter_times.push(exporter.time(request));
            } else {
                exporter_times.push(exporter.time(request));
                nginx_times.push(nginx.time(request));
            }
            if rounds % naive_every == 0 {
                naive_times.push(naive.time(request));
            }
            rounds += 1;
        }
        let scrapes = u32::try_from(rounds).unwrap();
        Measurement {
            nginx: median(&nginx_times),
            exporter: median(&exporter_times),
            naive: median(&naive_times),
            nginx_cpu: self.nginx.process.cpu().since(&before.0) / scrapes,
            exporter_cpu: self.exporter.process.cpu().since(&before.1) / scrapes,
        }
    }
}

/// Checks that all servers send the same series, because sending fewer would be faster.
fn assert_same_series(page: &[u8], gzip: &[u8], naive: &Naive) {
    let mut uncompressed = Vec::new();
    GzDecoder::new(gzip).read_to_end(&mut uncompressed).unwrap();
    let expected = series(page);
    assert!(
        series(&uncompressed) == expected,
        "the gzip response has different series"
    );
    let mut client = Client::connect(naive.address);
    assert_eq!(series(client.fetch(IDENTITY)).len(), expected.len());
}

/// Returns the names and labels of all samples.
fn series(page: &[u8]) -> Vec<&str> {
    str::from_utf8(page)
        .unwrap()
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.rsplit_once(' ').unwrap().0)
        .collect()
}
