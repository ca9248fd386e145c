//! Few file descriptors while AWS hangs: scrapes and the scopes that AWS answers must not be affected.

use std::fmt::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use glue_integration_exporter::simulator::Account;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::e2e::support::{Daemon, Process, SECRET_KEY, Setup, simulator, until};

const SCOPES: usize = 20;
const REGIONS: [&str; 15] = [
    "eu-west-1",
    "eu-west-2",
    "eu-west-3",
    "eu-central-1",
    "eu-north-1",
    "eu-south-1",
    "us-east-1",
    "us-east-2",
    "us-west-1",
    "us-west-2",
    "ap-south-1",
    "ap-southeast-1",
    "ap-southeast-2",
    "ap-northeast-1",
    "sa-east-1",
];
/// The default soft limit of open files on most systems.
const LIMIT: &str = "ulimit -n 1024; exec \"$0\" \"$@\"";
const UP: &str = "glue_integration_exporter_scope_up";
const POLLS: &str = "glue_integration_exporter_polls_total";

/// Accepts all connections and never answers.
fn hangs() -> SocketAddr {
    let limit = getrlimit(Resource::Nofile);
    let most = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, most).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut held = Vec::new();
        for stream in listener.incoming() {
            held.push(stream.unwrap());
        }
    });
    addr
}

/// Four integrations in each of 300 pairs of scope and region, and one more scope with another endpoint.
fn config() -> String {
    let mut config = "polling: {interval: 10s, requests_per_second: 100}\nscopes:\n  - {name: well, profile: well, regions: [eu-west-1]}\n".to_owned();
    for scope in 0..SCOPES {
        let account = 111_122_223_000 + scope;
        let arns: Vec<String> = REGIONS
            .iter()
            .flat_map(|region| {
                (0..4).map(move |n| format!("arn:aws:glue:{region}:{account}:integration:i{n}"))
            })
            .collect();
        writeln!(
            config,
            "  - {{name: s{scope}, profile: s{scope}, integration_arns: ['{}']}}",
            arns.join("', '")
        )
        .unwrap();
    }
    config
}

fn profiles(well: SocketAddr, hangs: SocketAddr) -> String {
    let mut profiles = format!(
        "[services well]\nglue =\n  endpoint_url = http://{well}\n[services hangs]\nglue =\n  endpoint_url = http://{hangs}\n\
         [profile well]\nservices = well\naws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = {SECRET_KEY}\n"
    );
    for scope in 0..SCOPES {
        write!(profiles, "[profile s{scope}]\nservices = hangs\naws_access_key_id = AKIDEXAMPLE{scope}\naws_secret_access_key = {SECRET_KEY}\n").unwrap();
    }
    profiles
}

#[test]
fn hanging_pairs_leave_descriptors_for_scrapes() {
    let sim = simulator(Account::generated(3));
    let setup = Setup::bare()
        .file("config.yaml", &config())
        .file("profiles", &profiles(sim.addr, hangs()));
    let path = setup.path("profiles").display().to_string();
    let setup = setup.env("AWS_CONFIG_FILE", &path);
    let exporter = env!("CARGO_BIN_EXE_glue-integration-exporter");
    let process = Process::of(setup.command(
        "sh",
        &["-c", LIMIT, exporter, "--web.listen-address=127.0.0.1:0"],
    ));
    let addr = process.addresses(1).remove(0);
    let daemon = Daemon { process, addr };

    let mut most_open = 0.0_f64;
    let scrape = until(
        "each scope has polled, and the healthy one twice",
        Duration::from_secs(60),
        || {
            let scrape = daemon.scrape();
            most_open = scrape
                .value("process_open_fds", &[])
                .unwrap()
                .max(most_open);
            let polls = |scope: &str| {
                scrape
                    .rows(POLLS, &[("scope", scope)])
                    .iter()
                    .map(|(_, polls)| *polls)
                    .collect::<Vec<_>>()
            };
            let well = polls("well").iter().all(|polls| *polls >= 2.0);
            let hanging = (0..SCOPES).all(|scope| {
                polls(&format!("s{scope}"))
                    .iter()
                    .all(|polls| *polls >= 1.0)
            });
            (well && hanging).then_some(scrape)
        },
    );
    assert!(most_open > 300.0, "{most_open} were open at most");
    assert!(most_open < 1_000.0, "{most_open} were open at most");
    assert_eq!(scrape.value(UP, &[("scope", "well")]), Some(1.0));
    // With one connection per pair, its four integrations are requested one after the other.
    let requests = scrape.value(
        "glue_integration_exporter_api_requests_total",
        &[("operation", "DescribeInboundIntegrations")],
    );
    assert!(requests > Some(1_000.0), "{requests:?} requests were sent");
    let failures = scrape.rows("glue_integration_exporter_poll_failures_total", &[]);
    let wrong: Vec<_> = failures
        .iter()
        .filter(|(labels, count)| {
            *count > 0.0 && (labels["reason"] != "timeout" || labels["scope"] == "well")
        })
        .collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    let log = daemon.process.stderr();
    assert!(
        !log.contains("failed to accept a connection") && !log.contains("limit of open files"),
        "{log}"
    );
}
