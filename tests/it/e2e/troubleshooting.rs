//! The README's table of symptoms quotes log lines of the binary.

use std::fs;

use glue_integration_exporter::simulator::{Account, Fault, FaultKind, RequestMatcher};

use crate::e2e::support::{ONE_SCOPE, Setup, simulator};

/// Returns the quoted parts of each row's log line.
fn log_lines() -> Vec<Vec<String>> {
    let readme = fs::read_to_string("README.md").unwrap();
    let (_, table) = readme.split_once("<!-- troubleshooting -->\n").unwrap();
    let (table, _) = table.split_once("<!-- end of troubleshooting -->").unwrap();
    let quoted = |row: &str| {
        let line = row.split(" | ").nth(1).unwrap();
        line.split('`')
            .skip(1)
            .step_by(2)
            .map(str::to_owned)
            .collect()
    };
    table.lines().skip(2).map(quoted).collect()
}

#[test]
fn readme_quotes_log_lines() {
    let sim = simulator(Account::generated(1));
    let configured = || Setup::new(&sim, ONE_SCOPE);
    let fails_with = |code: &str, message: &str| {
        sim.handle.clear_faults();
        let error = FaultKind::error(code, message);
        sim.handle
            .push_fault(Fault::new(RequestMatcher::default(), error));
        configured().run(&["once"]).stderr
    };
    let invalid = "scopes:\n  - name: a\n    interval: 5s\n";
    let without_credentials = Setup::bare()
        .file("config.yaml", ONE_SCOPE)
        .env("AWS_EC2_METADATA_DISABLED", "true");
    let nobody_listens = configured().env("AWS_ENDPOINT_URL_GLUE", "http://127.0.0.1:1");
    let denied = "User: arn:aws:iam::111122223333:user/exporter is not authorized to perform: glue:DescribeInboundIntegrations";
    let logs = [
        configured()
            .file("config.yaml", invalid)
            .run(&["check"])
            .stderr,
        without_credentials.run(&["once"]).stderr,
        fails_with("AccessDeniedException", denied),
        fails_with("ThrottlingException", "Rate exceeded"),
        nobody_listens.run(&["once"]).stderr,
    ];
    let quoted = log_lines();
    assert_eq!(quoted.len(), logs.len() + 1);
    for (log, quoted) in logs.iter().zip(quoted) {
        assert!(!quoted.is_empty());
        for part in quoted {
            assert!(log.contains(&part), "{part} is not in {log}");
        }
    }
}
