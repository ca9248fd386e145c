//! The README says what the program does: its tables are made from the code.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use clap::CommandFactory;
use glue_integration_exporter::cli::Cli;
use glue_integration_exporter::config::Config;
use glue_integration_exporter::exposition::table;
use glue_integration_exporter::glue::Operation;
use glue_integration_exporter::iam;
use std::fs;
use std::path::Path;
use std::sync::Mutex;

/// Two tests may write the file.
static README: Mutex<()> = Mutex::new(());

fn stands_in_the_readme(what: &str, made: &str) {
    let _one_at_a_time = README.lock();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = fs::read_to_string(&path).unwrap();
    let begin = format!("<!-- {what}: written by the tests -->\n");
    let end = format!("<!-- end of {what} -->");
    let (before, rest) = readme.split_once(&begin).expect("where it begins");
    let (stands, after) = rest.split_once(&end).expect("where it ends");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, format!("{before}{begin}{made}{end}{after}")).unwrap();
    } else {
        assert_eq!(stands, made, "UPDATE=1 writes it anew");
    }
}

#[test]
fn the_metrics_are_those_of_the_code() {
    stands_in_the_readme("metrics", &table::markdown());
}

#[test]
fn the_flags_are_those_of_the_code() {
    let mut table = String::from("| flag | default | meaning |\n|---|---|---|\n");
    for flag in Cli::command().get_arguments() {
        let Some(name) = flag.get_long() else {
            continue;
        };
        let default: Vec<_> = flag
            .get_default_values()
            .iter()
            .map(|value| format!("`{}`", value.to_string_lossy()))
            .filter(|value| value != "`false`")
            .collect();
        table.push_str(&format!(
            "| `--{name}` | {} | {} |\n",
            default.join(" "),
            flag.get_help().map(ToString::to_string).unwrap_or_default()
        ));
    }
    stands_in_the_readme("flags", &table);
}

#[test]
fn the_permissions_of_a_role_are_those_of_the_code() {
    let config = Config::load(Path::new("tests/iam/role.yaml")).unwrap();
    let watches = config.watches(|_| None).unwrap();
    let printed = iam::write(&watches, iam::Format::Json, false).unwrap();
    let configured = fs::read_to_string("tests/iam/role.yaml").unwrap();
    let text = format!(
        "\n```yaml\n{configured}```\n\n```console\n$ glue-integration-exporter iam\n{printed}```\n\n"
    );
    stands_in_the_readme("iam", &text);
}

/// That this is what it prints is shown by tests/binary/online.rs.
#[test]
fn the_findings_of_check_online_are_those_of_the_binary() {
    let configured = fs::read_to_string("tests/online/refused.yaml").unwrap();
    let printed = fs::read_to_string("tests/online/refused.txt").unwrap();
    let text = format!(
        "\n```yaml\n{configured}```\n\n```console\n$ glue-integration-exporter check --online\n{printed}```\n\n"
    );
    stands_in_the_readme("check --online", &text);
}

#[test]
fn the_policy_is_the_one_that_is_shipped() {
    let _one_at_a_time = README.lock();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let policy = fs::read_to_string(root.join("deploy/iam/policy.json")).unwrap();
    let indented: String = policy.lines().map(|line| format!("   {line}\n")).collect();
    assert!(readme.contains(&indented));
    let policy: serde_json::Value = serde_json::from_str(&policy).unwrap();
    let actions = &policy["Statement"][0]["Action"];
    let called = Operation::ALL.map(|operation| format!("glue:{}", operation.as_str()));
    assert_eq!(actions, &serde_json::json!(called[0]));
    assert_eq!(called.len(), 1);
}
