//! One scraper with one connection: how long it waits, and how much processor time the servers take for it.

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

/// Rounds that are not counted: buffers grow, the processor wakes up.
const WARM_UP: usize = 3;
/// Rounds, if they fit into the time.
const LEAST_ROUNDS: usize = 15;
const MOST_ROUNDS: usize = 300;
const TIME: Duration = Duration::from_secs(6);
/// Scrapers come seldom: what was kept ready for the next moment only is of no use to them. Rounds after so long a silence.
const SILENCE: Duration = Duration::from_millis(1_100);
const ROUNDS_AFTER_SILENCE: usize = 7;
/// Processor time, as often as nginx takes it.
const CPU_LIMIT: f64 = 2.0;

const MOST: usize = 10_000;

struct Size {
    integrations: usize,
    /// How often as long as with nginx a scrape may take.
    identity: f64,
    gzip: f64,
    /// The page that is built again takes most of the time: it is asked for in every n-th round only.
    naive_every: usize,
}

const SIZES: [Size; 3] = [
    Size {
        integrations: 100,
        identity: 2.0,
        gzip: 2.0,
        naive_every: 1,
    },
    Size {
        integrations: 1_000,
        identity: 1.3,
        gzip: 4.0,
        naive_every: 1,
    },
    Size {
        integrations: MOST,
        identity: 1.3,
        gzip: 10.0,
        naive_every: 5,
    },
];

struct Servers {
    nginx: Nginx,
    exporter: Exporter,
    naive: Naive,
}

/// The median scrape, and the processor time of the mean one.
struct Measured {
    nginx: Duration,
    exporter: Duration,
    naive: Duration,
    nginx_cpu: Duration,
    exporter_cpu: Duration,
}

/// One line of the tables.
struct Row {
    integrations: usize,
    encoding: &'static str,
    body: usize,
    limit: f64,
    measured: Measured,
    /// nginx and the exporter.
    after_silence: Option<[Duration; 2]>,
}

pub fn compare(nginx: &Path, limits: &mut Limits) {
    let rows: Vec<Row> = SIZES.iter().flat_map(|size| rows(nginx, size)).collect();
    tell_scrapes(&rows, limits);
    tell_silence(&rows, limits);
    tell_cpu(&rows, limits);
}

fn rows(nginx: &Path, size: &Size) -> [Row; 2] {
    let account = FakeAccount::of(size.integrations);
    let exporter = Exporter::start(&account);
    let mut client = Client::connect(exporter.address);
    let page = client.ask(IDENTITY).to_vec();
    let gzip = client.ask(GZIP).to_vec();
    let servers = Servers {
        nginx: Nginx::serving(nginx, &page),
        naive: Naive::serving(&page),
        exporter,
    };
    same_series(&page, &gzip, &servers.naive);
    [
        ("identity", IDENTITY, page.len(), size.identity),
        ("gzip", GZIP, gzip.len(), size.gzip),
    ]
    .map(|(encoding, request, body, limit)| Row {
        integrations: size.integrations,
        encoding,
        body,
        limit,
        measured: servers.measure(request, size.naive_every),
        after_silence: (size.integrations == MOST).then(|| servers.measure_after_silence(request)),
    })
}

fn tell_scrapes(rows: &[Row], limits: &mut Limits) {
    println!(
        "One scraper, median of a scrape:\n\n\
         | integrations | encoding | body MB | nginx ms | exporter ms | naive ms | exporter/nginx | at most | naive/exporter |\n\
         |---|---|---|---|---|---|---|---|---|"
    );
    for row in rows {
        let Measured {
            nginx,
            exporter,
            naive,
            ..
        } = row.measured;
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
        limits.at_most(&row.what("a scrape"), ratio, row.limit, "x nginx");
    }
}

fn tell_silence(rows: &[Row], limits: &mut Limits) {
    println!(
        "\nThe same with {MOST} integrations, each scrape after {} s without any:\n\n\
         | encoding | nginx ms | exporter ms | exporter/nginx | at most |\n|---|---|---|---|---|",
        SILENCE.as_secs_f64()
    );
    for row in rows {
        let Some([nginx, exporter]) = row.after_silence else {
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
        let what = row.what("a scrape after a silence");
        limits.at_most(&what, ratio, row.limit, "x nginx");
    }
}

fn tell_cpu(rows: &[Row], limits: &mut Limits) {
    println!(
        "\nProcessor time of a scrape, in the same rounds:\n\n\
         | integrations | encoding | nginx ms | exporter ms | exporter/nginx | at most |\n|---|---|---|---|---|---|"
    );
    for row in rows {
        let (nginx, exporter) = (row.measured.nginx_cpu, row.measured.exporter_cpu);
        let ratio = exporter.as_secs_f64() / nginx.as_secs_f64();
        let mut limit = "-".to_owned();
        if row.encoding == "identity" {
            limit = format!("{CPU_LIMIT:.1}");
            let what = row.what("processor time of a scrape");
            limits.at_most(&what, ratio, CPU_LIMIT, "x nginx");
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
    fn what(&self, measured: &str) -> String {
        format!(
            "{measured} of {} integrations, {}",
            self.integrations, self.encoding
        )
    }
}

impl Servers {
    fn measure(&self, request: &str, naive_every: usize) -> Measured {
        let mut nginx = Client::connect(self.nginx.address);
        let mut exporter = Client::connect(self.exporter.address);
        let mut naive = Client::connect(self.naive.address);
        for client in [&mut nginx, &mut exporter, &mut naive] {
            for _ in 0..WARM_UP {
                client.ask(request);
            }
        }
        let (mut of_nginx, mut of_exporter, mut of_naive) = (vec![], vec![], vec![]);
        let before = (self.nginx.process.cpu(), self.exporter.process.cpu());
        let start = Instant::now();
        let mut rounds = 0;
        while rounds < LEAST_ROUNDS || rounds < MOST_ROUNDS && start.elapsed() < TIME {
            // In turns: who comes first finds the caches as the naive page has left them.
            if rounds % 2 == 0 {
                of_nginx.push(nginx.time(request));
                of_exporter.push(exporter.time(request));
            } else {
                of_exporter.push(exporter.time(request));
                of_nginx.push(nginx.time(request));
            }
            if rounds % naive_every == 0 {
                of_naive.push(naive.time(request));
            }
            rounds += 1;
        }
        let scrapes = u32::try_from(rounds).unwrap();
        Measured {
            nginx: median(&of_nginx),
            exporter: median(&of_exporter),
            naive: median(&of_naive),
            nginx_cpu: self.nginx.process.cpu().since(&before.0) / scrapes,
            exporter_cpu: self.exporter.process.cpu().since(&before.1) / scrapes,
        }
    }

    /// The median scrapes of nginx and of the exporter.
    fn measure_after_silence(&self, request: &str) -> [Duration; 2] {
        let servers = [self.nginx.address, self.exporter.address];
        servers.map(|address| {
            let mut client = Client::connect(address);
            client.ask(request);
            let mut time = |_| {
                wait(SILENCE);
                client.time(request)
            };
            median(&(0..ROUNDS_AFTER_SILENCE).map(&mut time).collect::<Vec<_>>())
        })
    }
}

/// Who leaves something out is fast.
fn same_series(page: &[u8], gzip: &[u8], naive: &Naive) {
    let mut unpacked = Vec::new();
    GzDecoder::new(gzip).read_to_end(&mut unpacked).unwrap();
    let expected = series(page);
    assert!(
        series(&unpacked) == expected,
        "gzip has other series than the plain page"
    );
    let mut client = Client::connect(naive.address);
    assert_eq!(series(client.ask(IDENTITY)).len(), expected.len());
}

/// Names and labels of all samples.
fn series(page: &[u8]) -> Vec<&str> {
    str::from_utf8(page)
        .unwrap()
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.rsplit_once(' ').unwrap().0)
        .collect()
}
