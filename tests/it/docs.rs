//! Generates the tables of the documentation from the code, and checks its links and its sentences. `UPDATE=1 cargo test --test it docs::` rewrites the tables.

mod configuration;
mod text;

use clap::CommandFactory;
use glue_integration_exporter::cli::Cli;
use glue_integration_exporter::config::{Config, ScopeRegion};
use glue_integration_exporter::exposition;
use glue_integration_exporter::glue::{Operation, Reason};
use glue_integration_exporter::iam;
use glue_integration_exporter::shard::Shard;
use glue_integration_exporter::snapshot::Status;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Mutex;

/// Serializes the tests, which write the same files.
static PAGES: Mutex<()> = Mutex::new(());

/// Checks that the block `name` of a page is `expected`.
fn check_block(page: &str, name: &str, expected: &str) {
    let _guard = PAGES.lock();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
    let text = fs::read_to_string(&path).unwrap();
    let begin = format!("<!-- {name}: written by the tests -->\n");
    let end = format!("<!-- end of {name} -->");
    let (before, rest) = text.split_once(&begin).expect("the start of the block");
    let (current, after) = rest.split_once(&end).expect("the end of the block");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, format!("{before}{begin}{expected}{end}{after}")).unwrap();
    } else {
        assert_eq!(current, expected, "UPDATE=1 rewrites the block");
    }
}

/// The labels of every metric of integrations, which docs/metrics.md lists once.
const IDENTITY: [&str; 3] = ["aws_account_id", "aws_region", "integration_arn"];

/// The blocks of docs/metrics.md, and how the names of their metrics begin. A metric belongs to the first block that matches.
const METRIC_BLOCKS: [(&str, &[&str]); 3] = [
    (
        "metrics of freshness",
        &[
            "aws_glue_integration_freshness_",
            "aws_glue_integration_oldest_success_",
            "aws_glue_integration_replication_lag_",
            "aws_glue_integration_table",
            "glue_integration_exporter_cloudwatch_",
            "glue_integration_exporter_scope_freshness_",
        ],
    ),
    ("metrics of integrations", &["aws_glue_integration_"]),
    (
        "metrics of the exporter",
        &["glue_integration_exporter_", "process_"],
    ),
];

#[test]
fn metrics_blocks_match_code() {
    let mut rows: BTreeMap<&str, String> = BTreeMap::new();
    for (metric, labels) in exposition::metrics() {
        let block = METRIC_BLOCKS
            .iter()
            .find(|(_, names)| names.iter().any(|name| metric.name.starts_with(name)));
        let Some((block, _)) = block else {
            panic!("{} is in no block of docs/metrics.md", metric.name)
        };
        let labels = labels.strip_prefix(&IDENTITY).unwrap_or(&labels);
        let mut labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
        if metric.name == "aws_glue_integration_info" {
            labels.push("the labels of `tag_labels`".to_owned());
        }
        rows.entry(block).or_default().push_str(&format!(
            "| `{}` | {} | {} | {} |\n",
            metric.name,
            metric.kind.as_str(),
            labels.join(", "),
            metric.help
        ));
    }
    for (block, _) in METRIC_BLOCKS {
        let table = format!(
            "| metric | type | labels | meaning |\n|---|---|---|---|\n{}",
            rows[block]
        );
        check_block("docs/metrics.md", block, &table);
    }
}

/// Each reason of a failure and each status has a row of its own.
#[test]
fn metrics_page_explains_reasons_and_statuses() {
    let page = fs::read_to_string("docs/metrics.md").unwrap();
    let reasons = Reason::ALL.iter().map(|reason| reason.as_str());
    let statuses = Status::ALL.iter().map(|status| status.as_str());
    for value in reasons.chain(statuses) {
        let rows = page.matches(&format!("\n| `{value}` |")).count();
        assert_eq!(rows, 1, "{value}");
    }
}

/// The first sentence of each runbook says when its alert fires. `prometheus.rs` compares the runbooks with the rules.
#[test]
fn alerts_block_matches_rules_and_runbooks() {
    let groups = ["alerts.yaml", "freshness.yaml"].map(|file| {
        let rules = fs::read_to_string(format!("deploy/prometheus/{file}")).unwrap();
        let rules: serde_yaml::Value = serde_yaml::from_str(&rules).unwrap();
        rules["groups"].as_sequence().unwrap().clone()
    });
    let runbooks = fs::read_to_string("docs/runbooks.md").unwrap();
    let mut table = String::from("| alert | severity | for | fires when |\n|---|---|---|---|\n");
    let groups = groups.iter().flatten();
    for rule in groups.flat_map(|group| group["rules"].as_sequence().unwrap()) {
        let Some(name) = rule["alert"].as_str() else {
            continue;
        };
        let (_, section) = runbooks.split_once(&format!("### {name}\n\n")).unwrap();
        let (fires, _) = section.split_once("\n\n").unwrap();
        table.push_str(&format!(
            "| [{name}](runbooks.md#{}) | {} | {} | {} |\n",
            name.to_lowercase(),
            rule["labels"]["severity"].as_str().unwrap(),
            rule["for"].as_str().unwrap(),
            fires
                .strip_prefix("Fires when ")
                .unwrap()
                .replace('\n', " ")
        ));
    }
    check_block("docs/alerts.md", "alerts", &table);
}

#[test]
fn commands_block_matches_code() {
    let mut table = String::from("| command | what it does | flags |\n|---|---|---|\n");
    for command in Cli::command().get_subcommands() {
        let flags = command.get_arguments().filter_map(|flag| flag.get_long());
        let flags: Vec<String> = flags.map(|flag| format!("`--{flag}`")).collect();
        table.push_str(&format!(
            "| `{}` | {} | {} |\n",
            command.get_name(),
            command.get_about().unwrap(),
            flags.join(", ")
        ));
    }
    check_block("README.md", "commands", &table);
}

#[test]
fn readme_has_the_shipped_policy() {
    let readme = fs::read_to_string("README.md").unwrap();
    let policy = fs::read_to_string("deploy/iam/policy.json").unwrap();
    assert!(readme.contains(&format!("```json\n{}\n```", policy.trim_end())));
}

#[test]
fn flags_block_matches_code() {
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
    check_block("README.md", "flags", &table);
}

/// Returns a fleet of 1,000 accounts, each with a role, in 17 regions.
fn fleet(interval: &str) -> Vec<ScopeRegion> {
    let regions: Vec<String> = (1..=17).map(|n| format!("eu-fleet-{n}")).collect();
    let regions = regions.join(", ");
    let scopes: String = (0..1_000)
        .map(|n| {
            let role = format!("arn:aws:iam::{}:role/glue", 100_000_000_000_u64 + n);
            format!("  - {{name: a{n}, regions: [{regions}], role_arn: '{role}'}}\n")
        })
        .collect();
    let yaml = format!("polling: {{interval: {interval}}}\nscopes:\n{scopes}");
    let config = Config::from_yaml(&yaml, Path::new("fleet.yaml")).unwrap();
    config.watches(|_| Err(None)).unwrap()
}

/// Returns the requests per second if each poll of a scope in a region needs one page.
fn requests_per_second(watches: &[&ScopeRegion]) -> f64 {
    let requests = watches
        .iter()
        .map(|watch| 1.0 / watch.interval.as_secs_f64());
    requests.sum()
}

#[test]
fn fleet_block_matches_sharding() {
    let mut table = String::from(
        "| shards | fewest pairs on one shard | most pairs on one shard | its requests per second at 60s | at 5m |\n|---|---|---|---|---|\n",
    );
    let fleets = ["60s", "5m"].map(fleet);
    for total in [1, 2, 3, 5, 10, 20] {
        let parts: Vec<[Vec<&ScopeRegion>; 2]> = (0..total)
            .map(|index| {
                let shard = Shard::from_flags(Some(index), Some(total), || unreachable!()).unwrap();
                [&fleets[0], &fleets[1]].map(|fleet| {
                    let its =
                        |watch: &&ScopeRegion| ScopeRegion::clone(watch).for_shard(shard).is_some();
                    fleet.iter().filter(its).collect()
                })
            })
            .collect();
        assert_eq!(
            parts.iter().map(|[part, _]| part.len()).sum::<usize>(),
            17_000
        );
        let fewest = parts.iter().map(|[part, _]| part.len()).min().unwrap();
        let [minutely, rare] = parts.iter().max_by_key(|[part, _]| part.len()).unwrap();
        table.push_str(&format!(
            "| {total} | {fewest} | {} | {:.1} | {:.1} |\n",
            minutely.len(),
            requests_per_second(minutely),
            requests_per_second(rare)
        ));
    }
    check_block("docs/sharding.md", "fleet", &table);
}

#[test]
fn iam_block_matches_command() {
    let config = Config::load(Path::new("tests/iam/role.yaml")).unwrap();
    let watches = config.watches(|_| Err(None)).unwrap();
    let printed = iam::write(&watches, false);
    let configured = fs::read_to_string("tests/iam/role.yaml").unwrap();
    let text = format!(
        "\n```yaml\n{configured}```\n\n```console\n$ glue-integration-exporter iam\n{printed}```\n\n"
    );
    check_block("docs/permissions.md", "iam", &text);
}

/// tests/it/e2e/online.rs compares the file with the output of the binary.
#[test]
fn check_online_block_matches_file() {
    let configured = fs::read_to_string("tests/online/refused.yaml").unwrap();
    let printed = fs::read_to_string("tests/online/refused.txt").unwrap();
    let text = format!(
        "\n```yaml\n{configured}```\n\n```console\n$ glue-integration-exporter check --online\n{printed}```\n\n"
    );
    check_block("docs/permissions.md", "check --online", &text);
}

/// tests/it/e2e/partitions.rs compares the file with the hosts that the binary connects to.
#[test]
fn hosts_block_matches_file() {
    let table = fs::read_to_string("tests/partitions/hosts.md").unwrap();
    check_block("docs/permissions.md", "hosts", &table);
}

#[test]
fn policy_matches_shipped_file() {
    let _guard = PAGES.lock();
    let page = fs::read_to_string("docs/permissions.md").unwrap();
    let policy = fs::read_to_string("deploy/iam/policy.json").unwrap();
    assert!(page.contains(&format!("```json\n{policy}```\n")));
    let policy: serde_json::Value = serde_json::from_str(&policy).unwrap();
    let actions = &policy["Statement"][0]["Action"];
    let [list, describe, metrics, data] = Operation::ALL else {
        panic!("the page names four operations")
    };
    assert_eq!(actions, &serde_json::json!(list.action()));
    let actions = format!("\"{}\", \"{}\"", data.action(), metrics.action());
    for actions in [format!("\"{}\"", describe.action()), format!("[{actions}]")] {
        assert!(
            page.contains(&format!("\"Action\": {actions}")),
            "{actions}"
        );
    }
}

#[test]
fn architecture_names_files_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap();
    assert!(text.lines().count() <= 150);
    let quoted = text.split('`').skip(1).step_by(2);
    let paths: Vec<&str> = quoted
        .filter(|it| it.contains('/') && !it.contains(' ') && !it.starts_with('/'))
        .collect();
    assert!(paths.len() > 20);
    for path in paths {
        let exists = root.join("src").join(path).exists() || root.join(path).exists();
        assert!(exists, "{path}");
    }
}
