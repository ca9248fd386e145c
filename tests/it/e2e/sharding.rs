//! Several exporters that share one configuration.

use std::collections::BTreeSet;
use std::fs;

use glue_integration_exporter::simulator::{Account, SimulatedIntegration};

use crate::e2e::exposition::Scrape;
use crate::e2e::support::{Daemon, SECRET_KEY, SOON, Setup, Sim, request, simulator, until};

const ACCOUNTS: usize = 6;
const REGIONS: [&str; 3] = ["eu-west-1", "eu-central-1", "us-east-1"];
const TOTAL: usize = 3;
const INFO: &str = "glue_integration_exporter_shard_info";
const UP: &str = "glue_integration_exporter_scope_up";
const COUNT: &str = "glue_integration_exporter_scope_integrations";

fn account(n: usize) -> String {
    format!("{:012}", 111_122_223_333 + n)
}

fn arn(n: usize, region: &str, name: usize) -> String {
    format!("arn:aws:glue:{region}:{}:integration:i{name}", account(n))
}

/// Ten integrations in each account and region.
fn simulated_accounts() -> Account {
    let mut integrations = Vec::new();
    for n in 0..ACCOUNTS {
        for region in REGIONS {
            for name in 0..10 {
                let of = |rest: &str| format!("arn:aws:{rest}:{region}:{}", account(n));
                integrations.push(SimulatedIntegration::new(
                    &arn(n, region, name),
                    &format!("{}:table/t{name}", of("dynamodb")),
                    &format!("{}:database/lake", of("glue")),
                    ["ACTIVE", "FAILED"][name % 2],
                ));
            }
        }
    }
    let mut accounts = Account::of(integrations);
    accounts.accounts = (0..ACCOUNTS).map(|n| (key(n), account(n))).collect();
    accounts
}

fn key(n: usize) -> String {
    format!("AKIDEXAMPLE{n}")
}

/// Each account has one or two scopes. They discover integrations, have `integration_arns` (one of them missing), or use
/// `shard_by: integration`.
fn config() -> String {
    let everywhere = format!("regions: [{}]", REGIONS.join(", "));
    let named: Vec<String> = REGIONS
        .iter()
        .flat_map(|region| [0, 1, 10].map(|name| arn(3, region, name)))
        .collect();
    let scope = |name: &str, profile: usize, rest: &str| {
        format!("  - {{name: {name}, profile: p{profile}, {rest}}}\n")
    };
    [
        "polling: {interval: 24h}\nscopes:\n".to_owned(),
        scope("first", 0, &everywhere),
        scope("second", 1, &everywhere),
        scope("second-again", 1, &everywhere),
        scope("third", 2, &everywhere),
        scope(
            "named",
            3,
            &format!("integration_arns: ['{}']", named.join("', '")),
        ),
        scope("split", 4, &format!("{everywhere}, shard_by: integration")),
        scope(
            "split-named",
            5,
            &format!(
                "shard_by: integration, integration_arns: ['{}']",
                named.join("', '").replace(&account(3), &account(5))
            ),
        ),
    ]
    .concat()
}

fn setup(sim: &Sim) -> Setup {
    let profiles: String = (0..ACCOUNTS)
        .map(|n| {
            format!(
                "[p{n}]\naws_access_key_id = {}\naws_secret_access_key = {SECRET_KEY}\n",
                key(n)
            )
        })
        .collect();
    let setup = Setup::new(sim, &config()).file("credentials", &profiles);
    let path = setup.path("credentials").display().to_string();
    setup.env("AWS_SHARED_CREDENTIALS_FILE", &path)
}

fn flags(index: usize, total: usize) -> [String; 2] {
    [
        format!("--shard.index={index}"),
        format!("--shard.total={total}"),
    ]
}

fn start(setup: &Setup, flags: &[String]) -> (Daemon, Scrape) {
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let daemon = setup.daemon(&flags);
    let scrape = until("all scopes have been polled", SOON, || {
        (daemon.get("/-/ready").status == 200).then(|| daemon.scrape())
    });
    (daemon, scrape)
}

type Series = (String, std::collections::BTreeMap<String, String>);

fn integrations(scrape: &Scrape) -> BTreeSet<Series> {
    scrape
        .series()
        .into_iter()
        .filter(|(name, _)| name.starts_with("aws_glue_"))
        .cloned()
        .collect()
}

/// Returns the pairs of scope and region.
fn polled(scrape: &Scrape) -> BTreeSet<(String, String)> {
    scrape
        .rows(UP, &[])
        .into_iter()
        .map(|(labels, up)| {
            assert!(up > 0.0, "{labels:?}");
            (labels["scope"].clone(), labels["aws_region"].clone())
        })
        .collect()
}

#[test]
fn three_shards_export_each_series_once() {
    let sim = simulator(simulated_accounts());
    let setup = setup(&sim);
    let (_single, whole) = start(&setup, &[]);
    assert_eq!(
        whole.value(INFO, &[("shard_index", "0"), ("shard_total", "1")]),
        Some(1.0)
    );
    assert_eq!(
        whole.value("glue_integration_exporter_shards", &[]),
        Some(1.0)
    );
    let requests_single = sim.handle.requests().len();

    let shards: Vec<(Daemon, Scrape)> = (0..TOTAL)
        .map(|n| start(&setup, &flags(n, TOTAL)))
        .collect();
    let mut together = BTreeSet::new();
    let mut pairs: Vec<(String, String)> = Vec::new();
    let mut shown = 0.0;
    for (n, (_, scrape)) in shards.iter().enumerate() {
        let index = n.to_string();
        let labels = [("shard_index", &*index), ("shard_total", "3")];
        assert_eq!(scrape.value(INFO, &labels), Some(1.0));
        assert_eq!(
            scrape.value("glue_integration_exporter_shards", &[]),
            Some(3.0)
        );
        for series in integrations(scrape) {
            let (name, labels) = &series;
            let value = |of: &Scrape| {
                let labels: Vec<(&str, &str)> = labels
                    .iter()
                    .map(|(key, value)| (&**key, &**value))
                    .collect();
                of.value(name, &labels)
            };
            // These depend on the time of the scrape and of the first poll.
            if !name.ends_with("_age_seconds") && !name.contains("_since_") {
                assert_eq!(value(scrape), value(&whole), "{series:?}");
            }
            assert!(together.insert(series.clone()), "on two shards: {series:?}");
        }
        pairs.extend(polled(scrape));
        shown += scrape
            .rows(COUNT, &[])
            .iter()
            .map(|(_, count)| count)
            .sum::<f64>();
    }
    assert_eq!(together, integrations(&whole));
    let present = whole.rows("aws_glue_integration_present", &[]);
    let missing = present.iter().filter(|(_, value)| *value == 0.0).count();
    assert_eq!((present.len(), missing), (138, 6));
    assert_eq!(
        shown,
        whole
            .rows(COUNT, &[])
            .iter()
            .map(|(_, count)| count)
            .sum::<f64>(),
        "each integration of a scope is counted by one shard"
    );
    // Only scopes with `shard_by: integration` are polled by several shards.
    let distinct: BTreeSet<&(String, String)> = pairs.iter().collect();
    assert_eq!(distinct.len(), polled(&whole).len());
    for pair in &distinct {
        let times = pairs.iter().filter(|other| other == pair).count();
        assert!(
            times == 1 || pair.0.starts_with("split"),
            "{pair:?}: {times}"
        );
    }
    for region in REGIONS {
        let of = |scope: &str| {
            let has = |(_, scrape): &(Daemon, Scrape)| {
                polled(scrape).contains(&(scope.to_owned(), region.to_owned()))
            };
            shards.iter().position(has)
        };
        assert_eq!(of("second"), of("second-again"), "the same credentials");
    }
    // Each further shard lists the scope `split` once more.
    let requests = sim.handle.requests().len() - requests_single;
    assert_eq!(requests, requests_single + (TOTAL - 1) * REGIONS.len());
}

#[test]
fn reload_keeps_the_shard() {
    let sim = simulator(simulated_accounts());
    let setup = setup(&sim);
    let [index, total] = flags(1, TOTAL);
    let (daemon, before) = start(&setup, &[index, total, "--web.enable-lifecycle".to_owned()]);
    let text = config().replace("24h", "23h");
    fs::write(setup.path("config.yaml"), text).unwrap();
    let answer = request(&daemon.addr, "POST", "/-/reload", "Content-Length: 0\r\n");
    assert_eq!(answer.status, 200, "{}", answer.body);
    let after = daemon.scrape();
    assert_eq!(integrations(&after), integrations(&before));
    assert_eq!(polled(&after), polled(&before));
    assert_eq!(after.value(INFO, &[("shard_index", "1")]), Some(1.0));
}

#[test]
fn check_and_once_cover_one_shard() {
    let sim = simulator(simulated_accounts());
    let setup = setup(&sim);
    let mut watched = Vec::new();
    for n in 0..TOTAL {
        let [index, total] = flags(n, TOTAL);
        let check = setup.run(&["check", &index, &total]);
        assert_eq!(check.code, Some(0), "{}", check.stderr);
        let (first, _) = check.stdout.split_once('\n').unwrap();
        let parts = check.stdout.matches("\nScope ").count();
        assert_eq!(
            first,
            format!(
                "Shard {n} of 3 (counted from 0) watches at least part of {parts} of 21 pairs of scope and region."
            )
        );
        assert!(
            check
                .stdout
                .contains("watches only this shard's part of the listed integrations")
        );
        for line in check.stdout.lines() {
            if let Some(scope) = line.strip_prefix("Scope ")
                && !scope.starts_with("split")
            {
                watched.push(scope.to_owned());
            }
        }
    }
    watched.sort();
    let all = watched.len();
    watched.dedup();
    assert_eq!((all, watched.len()), (15, 15));
    assert!(sim.handle.requests().is_empty());

    let setup = setup.env("POD_NAME", "glue-exporter-2");
    let once = setup.run(&["once", "--shard.total=3"]);
    assert_eq!(once.code, Some(0), "{}", once.stderr);
    let labels = [("shard_index", "2"), ("shard_total", "3")];
    assert_eq!(Scrape::of(&once.stdout).value(INFO, &labels), Some(1.0));
    let setup = setup.env("POD_NAME", "glue-exporter");
    for command in [&[][..], &["check"], &["once"]] {
        let refused = setup.run(&[command, &["--shard.total=3"]].concat());
        assert_eq!(refused.code, Some(2));
        assert!(
            refused
                .stderr
                .contains("POD_NAME `glue-exporter` does not end in"),
            "{}",
            refused.stderr
        );
    }
}
