//! Names and tags: fetched beside the polls, kept over a restart, and not required by polls.

use std::time::Duration;

use glue_integration_exporter::simulator::{
    Account, Fault, FaultKind, RequestMatcher, SimulatedIntegration, SimulatedTag,
};
use rustix::process::Signal;

use crate::e2e::exposition::Scrape;
use crate::e2e::support::{
    Daemon, SOON, STOP, Setup, Sim, arn, integration, request, simulator, until,
};

const REGION: &str = "eu-west-1";
const INFO: &str = "aws_glue_integration_info";
const CONFIG: &str = "\
storage: {path: state}
tag_labels: [{tag: Cost-Center, label: tag_cost_center}, {tag: team}]
scopes: [{name: all, regions: [eu-west-1], describe: true}]
";

fn sim() -> Sim {
    let orders = SimulatedIntegration {
        name: "orders".to_owned(),
        tags: vec![
            SimulatedTag {
                key: "Cost-Center".into(),
                value: "4711".into(),
            },
            SimulatedTag {
                key: "owner".into(),
                value: "private".into(),
            },
        ],
        ..integration(REGION, "a", "FAILED")
    };
    simulator(Account::of(vec![orders]))
}

fn push_fault(sim: &Sim, kind: FaultKind) {
    let on = RequestMatcher {
        operation: Some("DescribeIntegrations".to_owned()),
        ..RequestMatcher::default()
    };
    sim.handle.push_fault(Fault::new(on, kind));
}

fn denied() -> FaultKind {
    FaultKind::error("AccessDeniedException", "not authorized")
}

/// Returns the name, the cost center and the team.
fn labels(scrape: &Scrape) -> [String; 3] {
    let rows = scrape.rows(INFO, &[("integration_arn", &arn(REGION, "a"))]);
    let (labels, _) = rows[0];
    ["integration_name", "tag_cost_center", "tag_team"].map(|label| labels[label].clone())
}

fn stop(daemon: Daemon) -> String {
    daemon.process.signal(Signal::TERM);
    let ended = daemon.process.ended(STOP);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(!ended.stderr.contains("private"), "{}", ended.stderr);
    ended.stderr
}

#[test]
fn names_denied_affect_no_poll_and_survive_restart() {
    let sim = sim();
    let setup = Setup::new(&sim, CONFIG);
    let check = setup.run(&["check"]);
    assert!(
        check.stdout.contains("names and tags every 10m"),
        "{}",
        check.stdout
    );

    push_fault(&sim, denied());
    let once = setup.run(&["once"]);
    assert_eq!(once.code, Some(0), "{}", once.stderr);
    assert_eq!(labels(&Scrape::of(&once.stdout)), ["", "", ""]);
    let daemon = setup.daemon(&[]);
    let scrape = daemon.scrape();
    assert_eq!(scrape.status(&arn(REGION, "a")), Some("FAILED"));
    assert_eq!(labels(&scrape), ["", "", ""]);
    assert_eq!(scrape.of_scope("scope_names_up", "all"), Some(0.0));
    assert_eq!(scrape.of_scope("scope_up", "all"), Some(1.0));
    let log = stop(daemon);
    let warnings = log.matches("failed to fetch names and tags, polls").count();
    assert_eq!(warnings, 1, "{log}");
    assert!(log.contains("glue:DescribeIntegrations"), "{log}");

    sim.handle.clear_faults();
    let daemon = setup.daemon(&[]);
    // Stored data is served at once, without names.
    let scrape = until("names", SOON, || {
        let scrape = daemon.scrape();
        (scrape.of_scope("scope_names_up", "all") == Some(1.0)).then_some(scrape)
    });
    assert_eq!(labels(&scrape), ["orders", "4711", ""]);
    stop(daemon);

    push_fault(&sim, denied());
    let daemon = setup.daemon(&[]);
    let scrape = until("the request for names fails", SOON, || {
        let scrape = daemon.scrape();
        assert_eq!(labels(&scrape), ["orders", "4711", ""]);
        (scrape.of_scope("scope_names_up", "all") == Some(0.0)).then_some(scrape)
    });
    assert_eq!(scrape.of_scope("scope_up", "all"), Some(1.0));
    stop(daemon);
}

#[test]
fn first_scrape_waits_for_names_until_timeout() {
    let sim = sim();
    push_fault(&sim, FaultKind::Delay(Duration::from_secs(2)));
    let setup = Setup::new(&sim, CONFIG);
    let daemon = setup.daemon(&[]);
    let scrape = |seconds| {
        let header = format!("X-Prometheus-Scrape-Timeout-Seconds: {seconds}\r\n");
        Scrape::of(&request(&daemon.addr, "GET", "/metrics", &header).body)
    };
    // The other metrics are complete.
    let early = scrape(1);
    assert_eq!(early.status(&arn(REGION, "a")), Some("FAILED"));
    assert_eq!(labels(&early), ["", "", ""]);
    assert_eq!(early.of_scope("scope_names_up", "all"), None);
    assert_eq!(labels(&scrape(10)), ["orders", "4711", ""]);
}

#[test]
fn reload_disables_names_and_renames_labels() {
    let sim = sim();
    let setup = Setup::new(&sim, CONFIG);
    let daemon = setup.daemon(&["--web.enable-lifecycle"]);
    assert_eq!(labels(&daemon.scrape()), ["orders", "4711", ""]);
    let reload = |config: &str| {
        std::fs::write(setup.path("config.yaml"), config).unwrap();
        let answer = request(&daemon.addr, "POST", "/-/reload", "Content-Length: 0\r\n");
        assert_eq!(answer.status, 200, "{}", answer.body);
    };
    let polls = daemon.scrape().of_scope("polls_total", "all");
    reload(&CONFIG.replace("tag_cost_center", "cost"));
    until("the other label", SOON, || {
        let scrape = daemon.scrape();
        let rows = scrape.rows(INFO, &[("integration_name", "orders"), ("cost", "4711")]);
        assert_eq!(scrape.rows(INFO, &[]).len(), 1);
        let now = scrape.of_scope("polls_total", "all");
        assert!(now <= polls.map(|polls| polls + 1.0), "the poller is kept");
        (!rows.is_empty()).then_some(())
    });
    reload(&CONFIG.replace("describe: true", "describe: false"));
    until("no names", SOON, || {
        let scrape = daemon.scrape();
        (labels_or_none(&scrape) == Some(["", "", ""].map(str::to_owned))
            && scrape.of_scope("scope_names_up", "all").is_none())
        .then_some(())
    });
}

fn labels_or_none(scrape: &Scrape) -> Option<[String; 3]> {
    let rows = scrape.rows(INFO, &[("integration_arn", &arn(REGION, "a"))]);
    let (labels, _) = rows.first()?;
    let found = ["integration_name", "tag_cost_center", "tag_team"].map(|label| labels.get(label));
    let [Some(name), Some(cost), Some(team)] = found else {
        return None;
    };
    Some([name.clone(), cost.clone(), team.clone()])
}

const BY_NAME: &str = "\
polling: {interval: 24h}
storage: {path: state}
scopes: [{name: all, regions: [eu-west-1], describe: true, exclude: {name: ['scratch-*']}}]
";

fn shown(scrape: &Scrape) -> Vec<&str> {
    let rows = scrape.rows("aws_glue_integration_age_seconds", &[]);
    let arns = rows
        .iter()
        .map(|(labels, _)| labels["integration_arn"].as_str());
    arns.map(|arn| arn.rsplit(':').next().unwrap()).collect()
}

#[test]
fn excluded_name_is_hidden_until_renamed() {
    let named = |id: &str, name: &str, status: &str| SimulatedIntegration {
        name: name.to_owned(),
        ..integration(REGION, id, status)
    };
    let sim = simulator(Account::of(vec![
        named("a", "orders", "ACTIVE"),
        named("b", "scratch-1", "FAILED"),
    ]));
    let setup = Setup::new(&sim, BY_NAME);
    let check = setup.run(&["check"]);
    let told = "ignores listed integrations if name matches scratch-*";
    assert!(check.stdout.contains(told), "{}", check.stdout);
    let once = setup.run(&["once"]);
    assert_eq!(once.code, Some(0), "{}", once.stderr);
    assert_eq!(shown(&Scrape::of(&once.stdout)), ["a"]);

    // The first scrape waits for the names, so it does not show the excluded integration either.
    push_fault(&sim, FaultKind::Delay(Duration::from_secs(1)));
    let daemon = setup.daemon(&[]);
    let first = daemon.scrape();
    assert_eq!(shown(&first), ["a"]);
    assert_eq!(first.of_scope("scope_integrations", "all"), Some(1.0));
    let log = stop(daemon);
    assert!(!log.contains(&arn(REGION, "b")), "{log}");

    // While the request for names fails, the names of the state file apply.
    sim.handle.clear_faults();
    push_fault(&sim, denied());
    let daemon = setup.daemon(&["--web.enable-lifecycle"]);
    until("the request for names fails", SOON, || {
        let scrape = daemon.scrape();
        assert_eq!(shown(&scrape), ["a"]);
        (scrape.of_scope("scope_names_up", "all") == Some(0.0)).then_some(())
    });
    let reload = |config: &str, shows: &[&str]| {
        std::fs::write(setup.path("config.yaml"), config).unwrap();
        let answer = request(&daemon.addr, "POST", "/-/reload", "Content-Length: 0\r\n");
        assert_eq!(answer.status, 200, "{}", answer.body);
        until("another selection", SOON, || {
            let scrape = daemon.scrape();
            (shown(&scrape) == shows).then_some(scrape)
        })
    };
    let since = |scrape: &Scrape| {
        let b = arn(REGION, "b");
        scrape.of_arn("status_since_timestamp_seconds", &b).unwrap()
    };
    let everything = BY_NAME.replace("scratch-*", "nothing");
    let before = since(&reload(&everything, &["a", "b"]));
    let started = daemon
        .scrape()
        .value("process_start_time_seconds", &[])
        .unwrap();
    assert!(before < started, "from before the restart: {before}");
    reload(BY_NAME, &["a"]);
    sim.handle.clear_faults();
    sim.handle
        .change(&arn(REGION, "b"), |b| b.name = "orders-2".to_owned());
    let renamed = BY_NAME.replace("24h", "23h");
    assert_eq!(
        since(&reload(&renamed, &["a", "b"])).to_bits(),
        before.to_bits()
    );
    stop(daemon);
}
