//! Measures the latency and the CPU time of the servers for one scraper with one connection.

use super::naive::Naive;
use super::nginx::Nginx;
use crate::support::account::FakeAccount;
use crate::support::client::{Client, GZIP, IDENTITY};
use crate::support::exporter::Exporter;
use crate::support::limits::Limits;
use crate::support::{median, megabytes, millis, wait};
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
/// Pause before each scrape of the idle measurement. Real scrapes are rare, so data that is only cached for a moment does not help them.
const IDLE_TIME: Duration = Duration::from_millis(1_100);
const IDLE_ROUNDS: usize = 7;
/// Maximum ratio of the CPU time to that of nginx.
const MAX_CPU_RATIO: f64 = 2.0;

const MAX_INTEGRATIONS: usize = 10_000;

struct Size {
    integrations: usize,
    /// Maximum ratio of the latency to that of nginx.
    max_identity_ratio: f64,
    max_gzip_ratio: f64,
    /// The naive exporter is slow, so it is only scraped in every n-th round.
    naive_every: usize,
}

const SIZES: [Size; 3] = [
    Size {
        integrations: 100,
        max_identity_ratio: 2.0,
        max_gzip_ratio: 2.0,
        naive_every: 1,
    },
    Size {
        integrations: 1_000,
        max_identity_ratio: 1.3,
        max_gzip_ratio: 4.0,
        naive_every: 1,
    },
    Size {
        integrations: MAX_INTEGRATIONS,
        max_identity_ratio: 1.3,
        max_gzip_ratio: 10.0,
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

/// A line of the tables.
struct Row {
    integrations: usize,
    encoding: &'static str,
    body: usize,
    limit: f64,
    measurement: Measurement,
    /// Latencies of nginx and the exporter after a pause.
    after_idle: Option<[Duration; 2]>,
}

pub fn compare(nginx: &Path, limits: &mut Limits) {
    let rows: Vec<Row> = SIZES.iter().flat_map(|size| rows(nginx, size)).collect();
    report_latency(&rows, limits);
    report_idle(&rows, limits);
    report_cpu(&rows, limits);
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
        ("identity", IDENTITY, page.len(), size.max_identity_ratio),
        ("gzip", GZIP, gzip.len(), size.max_gzip_ratio),
    ]
    .map(|(encoding, request, body, limit)| Row {
        integrations: size.integrations,
        encoding,
        body,
        limit,
        measurement: servers.measure(request, size.naive_every),
        after_idle: (size.integrations == MAX_INTEGRATIONS)
            .then(|| servers.measure_after_idle(request)),
    })
}

fn report_latency(rows: &[Row], limits: &mut Limits) {
    println!(
        "One scraper, median of a scrape:\n\n\
         | integrations | encoding | body MB | nginx ms | exporter ms | naive ms | exporter/nginx | at most | naive/exporter |\n\
         |---|---|---|---|---|---|---|---|---|"
    );
    for row in rows {
        let Measurement {
            nginx,
            exporter,
            naive,
            ..
        } = row.measurement;
        let ratio = exporter.as_secs_f64() / nginx.as_secs_f64();
        println!(
            "| {} | {} | {:.2} | {:.2} | {:.2} | {:.1} | {ratio:.2} | {:.1} | {:.1} |",
            row.integrations,
            row.encoding,
            megabytes(row.body),
            millis(nginx),
            millis(exporter),
            millis(naive),
            row.limit,
            naive.as_secs_f64() / exporter.as_secs_f64(),
        );
        limits.check_max(&row.describe("a scrape"), ratio, row.limit, "x nginx");
    }
}

fn report_idle(rows: &[Row], limits: &mut Limits) {
    println!(
        "\nThe same with {MAX_INTEGRATIONS} integrations, each scrape after a pause of {} s:\n\n\
         | encoding | nginx ms | exporter ms | exporter/nginx | at most |\n|---|---|---|---|---|",
        IDLE_TIME.as_secs_f64()
    );
    for row in rows {
        let Some([nginx, exporter]) = row.after_idle else {
            continue;
        };
        let ratio = exporter.as_secs_f64() / nginx.as_secs_f64();
        println!(
            "| {} | {:.2} | {:.2} | {ratio:.2} | {:.1} |",
            row.encoding,
            millis(nginx),
            millis(exporter),
            row.limit
        );
        let name = row.describe("a scrape after a pause");
        limits.check_max(&name, ratio, row.limit, "x nginx");
    }
}

fn report_cpu(rows: &[Row], limits: &mut Limits) {
    println!(
        "\nCPU time of a scrape, in the same rounds:\n\n\
         | integrations | encoding | nginx ms | exporter ms | exporter/nginx | at most |\n|---|---|---|---|---|---|"
    );
    for row in rows {
        let (nginx, exporter) = (row.measurement.nginx_cpu, row.measurement.exporter_cpu);
        let ratio = exporter.as_secs_f64() / nginx.as_secs_f64();
        let mut limit = "-".to_owned();
        if row.encoding == "identity" {
            limit = format!("{MAX_CPU_RATIO:.1}");
            let name = row.describe("CPU time of a scrape");
            limits.check_max(&name, ratio, MAX_CPU_RATIO, "x nginx");
        }
        println!(
            "| {} | {} | {:.2} | {:.2} | {ratio:.2} | {limit} |",
            row.integrations,
            row.encoding,
            millis(nginx),
            millis(exporter),
        );
    }
}

impl Row {
    fn describe(&self, measurement: &str) -> String {
        format!(
            "{measurement} of {} integrations, {}",
            self.integrations, self.encoding
        )
    }
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

    /// Returns the median latencies of nginx and of the exporter.
    fn measure_after_idle(&self, request: &str) -> [Duration; 2] {
        let servers = [self.nginx.address, self.exporter.address];
        servers.map(|address| {
            let mut client = Client::connect(address);
            client.fetch(request);
            let mut time = |_| {
                wait(IDLE_TIME);
                client.time(request)
            };
            median(&(0..IDLE_ROUNDS).map(&mut time).collect::<Vec<_>>())
        })
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
