//! Compares the tables of docs/configuration.md with the keys of the configuration, their defaults and their bounds.

use glue_integration_exporter::config::Config;
use std::fs;
use std::path::Path;

/// The heading of each table, and a configuration with one map whose entries replace `@`.
const MAPS: [(&str, &str); 7] = [
    ("Top level", "@"),
    ("polling", "polling: {@}"),
    ("storage", "storage: {@}"),
    ("tag_labels", "tag_labels: [{@}]"),
    ("scopes", "scopes: [{@}]"),
    ("include and exclude", "scopes: [{name: a, include: {@}}]"),
    ("freshness", "scopes: [{name: a, freshness: {@}}]"),
];

struct Row {
    key: String,
    default: String,
    allowed: String,
}

/// Returns the rows of the table below a heading, without the marks of code.
fn rows(page: &str, heading: &str) -> Vec<Row> {
    let (_, section) = page.split_once(&format!("\n### {heading}\n")).unwrap();
    let section = section.split("\n#").next().unwrap();
    let lines = section.lines().filter(|line| line.starts_with("| `"));
    lines
        .map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
            let [key, _, default, allowed, purpose] = cells[..] else {
                panic!("{heading}: {line}");
            };
            assert!(purpose.ends_with('.'), "{heading}: {line}");
            Row {
                key: key.replace('`', ""),
                default: default.to_owned(),
                allowed: allowed.replace('`', ""),
            }
        })
        .collect()
}

fn tables() -> Vec<(&'static str, Vec<Row>)> {
    let page = fs::read_to_string("docs/configuration.md").unwrap();
    let tables = MAPS.iter();
    tables
        .map(|(heading, yaml)| (*yaml, rows(&page, heading)))
        .collect()
}

fn parse(yaml: &str) -> Result<Config, String> {
    let config = Config::from_yaml(yaml, Path::new("c.yaml"));
    config.map_err(|errors| errors.to_string().replace('`', ""))
}

#[test]
fn tables_have_every_key_once() {
    for (yaml, rows) in tables() {
        let errors = parse(&yaml.replace('@', "no-such-key: 1")).unwrap_err();
        let (_, error) = errors.split_once("unknown key no-such-key; ").unwrap();
        let keys = error.lines().next().unwrap();
        let keys = keys.strip_prefix("allowed: ").unwrap();
        let mut keys: Vec<&str> = keys.split(", ").collect();
        let mut documented: Vec<&str> = rows.iter().map(|row| row.key.as_str()).collect();
        keys.sort_unstable();
        documented.sort_unstable();
        assert_eq!(documented, keys, "{yaml}");
    }
}

/// Returns a value that only the bounds of the key reject, or a value of a wrong type.
fn invalid(key: &str) -> String {
    match key {
        "interval" | "stale_after" => "1s".to_owned(),
        "timeout" => "1h".to_owned(),
        "regions" | "integration_arns" | "target_arns" => "[x]".to_owned(),
        "scopes" => "x".to_owned(),
        "tag_labels" => format!("[{}]", "{}, ".repeat(51)),
        _ => "[]".to_owned(),
    }
}

#[test]
fn allowed_values_are_those_of_the_errors() {
    for (yaml, rows) in tables() {
        for Row { key, allowed, .. } in rows {
            let entry = format!("{key}: {}", invalid(&key));
            let errors = parse(&yaml.replace('@', &entry)).unwrap_err();
            let expected = format!("; allowed: {allowed}");
            let is_of_key = |line: &&str| {
                let path = line.split(": ").nth(1).unwrap_or_default();
                let last = path.rsplit('.').next().unwrap_or_default();
                last.split('[').next() == Some(key.as_str())
            };
            let mut lines = errors.lines().filter(is_of_key);
            assert!(
                lines.any(|line| line.ends_with(&expected)),
                "{key}: the page says {allowed}, but the error is {errors}"
            );
        }
    }
}

/// Compares the defaults that begin with a value.
#[test]
fn defaults_are_those_of_the_code() {
    let mut compared = 0;
    for (yaml, rows) in tables() {
        for Row { key, default, .. } in rows {
            let Some((value, _)) = default.strip_prefix('`').and_then(|it| it.split_once('`'))
            else {
                continue;
            };
            let with = |entry: &str| {
                let yaml = yaml.replace("scopes: [{@", "scopes: [{name: a, @");
                let yaml = yaml.replace('@', entry);
                if yaml.contains("scopes:") {
                    parse(&yaml).unwrap()
                } else {
                    parse(&format!("{yaml}\nscopes: [{{name: a}}]")).unwrap()
                }
            };
            assert_eq!(with(&format!("{key}: {value}")), with(""), "{key}");
            compared += 1;
        }
    }
    assert_eq!(compared, 11);
}
