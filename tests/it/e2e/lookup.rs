//! Looks up configured integrations in one listing.

use std::fs;

use glue_integration_exporter::simulator::Account;

use crate::e2e::support::{Setup, arn, integration, simulator};

const REGION: &str = "eu-west-1";

/// 200 integrations. The last one does not exist.
fn config(lookup: &str) -> String {
    let arns: Vec<String> = (0..200).map(|n| arn(REGION, &format!("i{n}"))).collect();
    let arns = arns.join("', '");
    format!(
        "polling: {{interval: 24h}}\nscopes:\n  - {{name: many, {lookup}page_size: 100, integration_arns: ['{arns}']}}\n"
    )
}

#[test]
fn lookup_list_of_200_sends_three_requests() {
    let existing = (0..199).map(|n| integration(REGION, &format!("i{n}"), "ACTIVE"));
    let unconfigured = integration(REGION, "zzz", "PAUSED");
    let sim = simulator(Account::of(existing.chain([unconfigured]).collect()));
    let setup = Setup::new(&sim, &config(""));

    let each = setup.run(&["check"]);
    assert_eq!(each.code, Some(0), "{}", each.stderr);
    assert!(
        each.stdout
            .contains("In total at least 8.33 API requests per hour"),
        "{}",
        each.stdout
    );
    fs::write(setup.path("config.yaml"), config("lookup: list, ")).unwrap();
    let list = setup.run(&["check"]);
    assert_eq!(list.code, Some(0), "{}", list.stderr);
    assert!(
        list.stdout
            .contains("In total at least 0.08 API requests per hour"),
        "{}",
        list.stdout
    );
    assert!(
        list.stdout
            .contains("looks the integrations up in one listing"),
        "{}",
        list.stdout
    );
    assert!(sim.handle.requests().is_empty());

    let daemon = setup.daemon(&[]);
    let scrape = daemon.scrape();
    let requests = scrape.value(
        "glue_integration_exporter_api_requests_total",
        &[("operation", "DescribeInboundIntegrations")],
    );
    let arrived = sim.handle.requests();
    let requested: Vec<Option<String>> = arrived
        .iter()
        .map(|request| request.integration_arn.clone())
        .collect();
    let missing = arn(REGION, "i199");
    assert_eq!(requested, [None, None, Some(missing.clone())]);
    assert_eq!(requests, Some(3.0));
    assert_eq!(scrape.of_arn("present", &missing), Some(0.0));
    assert_eq!(scrape.of_arn("present", &arn(REGION, "i198")), Some(1.0));
    assert_eq!(scrape.of_scope("scope_integrations", "many"), Some(199.0));
    assert_eq!(scrape.of_scope("scope_up", "many"), Some(1.0));
    assert_eq!(scrape.status(&arn(REGION, "zzz")), None);
    let unknown = scrape.value("glue_integration_exporter_unknown_statuses_total", &[]);
    assert_eq!(unknown, Some(0.0));
}
