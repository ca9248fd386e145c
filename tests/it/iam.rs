//! The permissions that `iam` prints. `UPDATE=1` rewrites the expected files; read the diff before you commit it. `world/run` checks the
//! output with linters.

use glue_integration_exporter::config::{Config, ScopeRegion};
use glue_integration_exporter::glue::Operation;
use glue_integration_exporter::iam;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

fn watches(config: &Config) -> Vec<ScopeRegion> {
    config.watches(|_| Err(None)).unwrap()
}

fn watches_of_file(name: &str) -> Vec<ScopeRegion> {
    watches(&Config::load(&Path::new("tests/iam").join(name)).unwrap())
}

fn watches_of_text(text: &str) -> Vec<ScopeRegion> {
    watches(&Config::from_yaml(text, Path::new("c.yaml")).unwrap())
}

fn document(watches: &[ScopeRegion]) -> Value {
    serde_json::from_str(&iam::write(watches, false)).unwrap()
}

#[test]
fn output_matches_the_expected_files() {
    for name in ["smallest", "role", "fleet"] {
        let watches = watches_of_file(&format!("{name}.yaml"));
        let text = iam::write(&watches, false);
        let path = format!("tests/iam/{name}.json");
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&path, &text).unwrap();
        }
        let expected = fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(text, expected, "{path}: UPDATE=1 rewrites it");
    }
}

#[test]
fn external_ids_need_the_flag() {
    let watches = watches_of_file("fleet.yaml");
    let hidden = iam::write(&watches, false);
    assert!(!hidden.contains("SECRET"), "{hidden}");
    let shown = iam::write(&watches, true);
    for scope in ["lake", "archive", "partner"] {
        assert!(
            shown.contains(&format!("\"SECRET-of-the-{scope}\"")),
            "{shown}"
        );
    }
    assert!(!shown.contains("EXTERNAL-ID"), "{shown}");
}

#[test]
fn smallest_configuration_needs_shipped_policy() {
    let shipped: Value =
        serde_json::from_str(&fs::read_to_string("deploy/iam/policy.json").unwrap()).unwrap();
    let document = document(&watches_of_file("smallest.yaml"));
    assert_eq!(document["identities"][0]["policies"], json!([shipped]));
    assert_eq!(document["roles"], json!([]));
}

#[test]
fn every_operation_is_needed_by_some_watch() {
    let needed: Vec<Operation> = watches_of_file("fleet.yaml")
        .iter()
        .flat_map(iam::operations)
        .collect();
    for operation in Operation::ALL {
        assert!(needed.contains(operation), "{operation:?}");
    }
}

#[test]
fn role_used_without_external_id_has_no_condition() {
    let document = document(&watches_of_text(
        "scopes:
  - {name: a, regions: [eu-west-1], role_arn: 'arn:aws:iam::111122223333:role/r', external_id: SECRET}
  - {name: b, regions: [eu-west-1], role_arn: 'arn:aws:iam::111122223333:role/r'}
",
    ));
    let statements = &document["roles"][0]["trust_policy"]["Statement"];
    assert_eq!(statements.as_array().unwrap().len(), 1);
    assert_eq!(statements[0].get("Condition"), None);
}

/// IAM's limit for each policy is 6,144 characters without white space.
#[test]
fn many_roles_are_split_among_policies() {
    let mut text = String::from("scopes:\n");
    for n in 0..300 {
        text.push_str(&format!(
            "  - {{name: s{n}, regions: [eu-west-1], role_arn: 'arn:aws:iam::{n:012}:role/glue-integration-exporter'}}\n"
        ));
    }
    let watches = watches_of_text(&text);
    let document = document(&watches);
    let policies = document["identities"][0]["policies"].as_array().unwrap();
    assert_eq!(policies.len(), 4);
    let mut roles = BTreeSet::new();
    for policy in policies {
        assert!(policy.to_string().len() <= 6_144);
        let statement = policy["Statement"].as_array().unwrap().last().unwrap();
        for role in statement["Resource"].as_array().unwrap() {
            assert!(
                roles.insert(role.as_str().unwrap().to_owned()),
                "{role} twice"
            );
        }
    }
    assert_eq!(roles.len(), 300);
}
