//! The JSON API, compared with its OpenAPI file: paths, parameters and the fields of real responses.

use crate::support::account::{Behaviour, Bench, FakeAccount, START, arn, integration, watches};
use crate::support::snapshot::{snapshot, tables};
use glue_integration_exporter::cache::key;
use glue_integration_exporter::clock::rfc3339;
use glue_integration_exporter::config::{Config, TagLabel};
use glue_integration_exporter::exposition::Exposition;
use glue_integration_exporter::exposition::text_format::Format;
use glue_integration_exporter::glue::Reason;
use glue_integration_exporter::http::routes::{ROUTES, start_counters};
use glue_integration_exporter::snapshot::{
    Failed, Failure, Freshness, Integration, IntegrationError, MAX_ARN_BYTES, Snapshot, Status,
};
use glue_integration_exporter::telemetry::Telemetry;
use glue_integration_exporter::web::api;
use glue_integration_exporter::web::inventory::{Condition, Inventory, statuses};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, advance};

fn openapi() -> Value {
    serde_yaml::from_str(api::OPENAPI).unwrap()
}

/// Requests a path of the API. Returns whether the request was invalid, and the JSON.
fn request(bench: &Bench, path: &str, query: &str) -> (bool, Value) {
    bench.publisher.publish_now();
    let snapshot = bench.publisher.published();
    request_at(
        &Inventory {
            next_polls: &bench.publisher.next_polls(&snapshot.scopes),
            snapshot: &snapshot,
            now: bench.clock.unix_now(),
        },
        path,
        query,
    )
}

fn request_at(inventory: &Inventory<'_>, path: &str, query: &str) -> (bool, Value) {
    let answer = match path {
        "/api/v1/integrations" => api::integrations(inventory, query),
        "/api/v1/scopes" => api::scopes(inventory, query),
        _ => panic!("unexpected path {path}"),
    };
    (
        answer.is_bad_request,
        serde_json::from_str(&answer.body).unwrap(),
    )
}

fn list(bench: &Bench, path: &str, query: &str) -> Value {
    let (refused, answer) = request(bench, path, query);
    assert!(!refused, "{query}: {answer}");
    answer
}

/// Requests the list of a snapshot at the start of the clock.
fn list_of(snapshot: &Snapshot, path: &str) -> Value {
    let inventory = Inventory {
        snapshot,
        next_polls: &[None],
        now: START,
    };
    request_at(&inventory, path, "").1
}

fn arns(answer: &Value) -> Vec<&str> {
    let items = answer["items"].as_array().unwrap().iter();
    items.map(|item| item["arn"].as_str().unwrap()).collect()
}

/// A JSON Schema validator for the keywords that the OpenAPI file uses.
struct Schemas(Value);

impl Schemas {
    fn check(&self, schema: &Value, value: &Value, at: &str) {
        for (keyword, argument) in schema.as_object().unwrap() {
            let number = || argument.as_f64().unwrap();
            let fits = match keyword.as_str() {
                "$ref" => {
                    let pointer = argument.as_str().unwrap().strip_prefix('#').unwrap();
                    let referred = self.0.pointer(pointer);
                    self.check(referred.unwrap_or_else(|| panic!("{pointer}")), value, at);
                    true
                }
                "type" => {
                    let of = |kind: &Value| match kind.as_str().unwrap() {
                        "null" => value.is_null(),
                        "string" => value.is_string(),
                        "boolean" => value.is_boolean(),
                        "number" => value.is_number(),
                        "integer" => value.is_u64() || value.is_i64(),
                        "object" => value.is_object(),
                        "array" => value.is_array(),
                        other => panic!("the type {other}"),
                    };
                    argument
                        .as_array()
                        .map_or_else(|| of(argument), |kinds| kinds.iter().any(of))
                }
                "enum" => argument.as_array().unwrap().contains(value),
                "minimum" => value.as_f64().is_none_or(|value| value >= number()),
                "exclusiveMinimum" => value.as_f64().is_none_or(|value| value > number()),
                "minLength" => value.as_str().is_none_or(|text| !text.is_empty()),
                "required" => argument
                    .as_array()
                    .unwrap()
                    .iter()
                    .all(|name| value.get(name.as_str().unwrap()).is_some()),
                "properties" => {
                    for (name, value) in value.as_object().unwrap() {
                        let of = argument.get(name).unwrap_or_else(|| panic!("{at}.{name}"));
                        self.check(of, value, &format!("{at}.{name}"));
                    }
                    true
                }
                "items" => {
                    for value in value.as_array().unwrap() {
                        self.check(argument, value, &format!("{at}[]"));
                    }
                    true
                }
                "additionalProperties" => {
                    if argument.is_object() {
                        for value in value.as_object().unwrap().values() {
                            self.check(argument, value, at);
                        }
                    }
                    true
                }
                // Each `oneOf` is null or a reference.
                "oneOf" => {
                    if !value.is_null() {
                        self.check(&argument[1], value, at);
                    }
                    true
                }
                // Annotations, and the format of times, are not checked.
                "description" | "examples" | "format" | "pattern" => true,
                other => panic!("the keyword {other}"),
            };
            assert!(fits, "{at} is {value}, which violates {keyword} {argument}");
        }
    }

    /// Collects the paths of all properties that are not null.
    fn seen(value: &Value, at: &str, seen: &mut BTreeSet<String>) {
        match value {
            Value::Object(members) => {
                for (name, value) in members {
                    Self::seen(value, &format!("{at}.{name}"), seen);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| Self::seen(item, at, seen)),
            Value::Null => {}
            _ => {
                seen.insert(at.to_owned());
            }
        }
    }
}

fn tag_labels() -> Vec<TagLabel> {
    let yaml = "tag_labels: [{tag: team}]\nscopes: [{name: lake, regions: [eu-west-1]}]";
    Config::from_yaml(yaml, Path::new("test.yaml"))
        .unwrap()
        .tag_labels
}

/// Creates two scopes: one sees integrations with every property, the other fails.
async fn full() -> (Bench, Arc<FakeAccount>) {
    let yaml = format!(
        "scopes: [{{name: lake, regions: [eu-west-1], describe: true, stale_after: 1d, target_arns: ['{}'], integration_arns: ['{}']}}, {{name: sea, regions: [eu-west-1], describe: true}}]",
        integration("", Status::Active).target_arn,
        arn(9)
    );
    let watches = watches(&yaml);
    let account = FakeAccount::new();
    account.insert(Integration {
        errors: vec![
            IntegrationError {
                code: Some("Code".to_owned()),
                message: Some("<\"message\">".to_owned()),
            },
            IntegrationError {
                code: None,
                message: None,
            },
        ],
        target_namespace: Some("lake".to_owned()),
        ..integration(&arn(1), Status::Failed)
    });
    account.insert(Integration {
        status_text: Some("REPLICATING".to_owned()),
        created: None,
        refresh_interval: None,
        continuous_sync: None,
        source_arn: String::new(),
        ..integration(&arn(2), Status::Unknown)
    });
    account.put(
        "arn:aws:glue:us-east-1:444455556666:integration:3",
        Status::Active,
    );
    account.describe(&arn(1), "orders", &[("team", "data")]);
    let bench = Bench::new(&watches);
    bench.publisher.set_tag_labels(&tag_labels());
    let mut lake = bench.poller(&watches[0], &account);
    lake.poll().await;
    lake.describe().await;
    let mut sea = bench.poller(&watches[1], &account);
    account.set(Behaviour::Fail(Reason::AccessDenied));
    sea.poll().await;
    sea.describe().await;
    bench.publisher.set_next_poll(
        &key(&watches[0]),
        Instant::now() + Duration::from_millis(1_500),
    );
    (bench, account)
}

#[tokio::test(start_paused = true)]
async fn responses_match_schemas_and_cover_every_field() {
    let (bench, _account) = full().await;
    let schemas = Schemas(openapi());
    let mut seen = BTreeSet::new();
    for path in ["/api/v1/integrations", "/api/v1/scopes"] {
        let good = list(&bench, path, "limit=2");
        let responses = &schemas.0["paths"][path]["get"]["responses"];
        let schema = &responses["200"]["content"]["application/json"]["schema"];
        schemas.check(schema, &good, path);
        Schemas::seen(&good, path, &mut seen);
        let all = list(&bench, path, "");
        schemas.check(schema, &all, path);
        Schemas::seen(&all, path, &mut seen);
        let with_freshness = list_of(&with_freshness(), path);
        schemas.check(schema, &with_freshness, path);
        Schemas::seen(&with_freshness, path, &mut seen);
        let (refused, bad) = request(&bench, path, "scope=nobody");
        assert!(refused);
        let schema = &schemas.0["components"]["responses"]["Refused"]["content"]["application/json"]
            ["schema"];
        schemas.check(schema, &bad, path);
    }
    let described = |name: &str| {
        let properties = schemas.0["components"]["schemas"][name]["properties"]
            .as_object()
            .unwrap();
        properties.keys().cloned().collect::<Vec<_>>()
    };
    for (path, name) in [
        ("/api/v1/integrations.items", "Integration"),
        ("/api/v1/integrations.items.freshness", "Freshness"),
        (
            "/api/v1/integrations.items.freshness.table_details",
            "TableFreshness",
        ),
        ("/api/v1/scopes.items", "Scope"),
    ] {
        for property in described(name) {
            // This account sends no request IDs; tests/system covers them.
            let at = format!("{path}.{property}");
            assert!(
                seen.iter().any(|seen| seen.starts_with(&at)),
                "no response has {at}"
            );
        }
    }
    assert!(seen.contains("/api/v1/integrations.next"));
}

#[test]
fn openapi_file_matches_routes_and_enums() {
    let openapi = openapi();
    let described: BTreeMap<&str, BTreeSet<u16>> = openapi["paths"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(path, methods)| {
            assert_eq!(
                methods.as_object().unwrap().len(),
                1,
                "only GET, which implies HEAD"
            );
            let responses = methods["get"]["responses"].as_object().unwrap();
            (
                path.as_str(),
                responses.keys().map(|code| code.parse().unwrap()).collect(),
            )
        })
        .collect();
    let served: BTreeMap<&str, BTreeSet<u16>> = ROUTES
        .iter()
        .filter(|path| path.path.starts_with("/api/"))
        .map(|path| {
            // The file omits internal errors.
            let codes = path.codes.iter().copied().filter(|code| *code != 500);
            (path.path, codes.collect())
        })
        .collect();
    assert_eq!(described, served);
    let after = &openapi["components"]["parameters"]["After"]["schema"];
    assert_eq!(after["maxLength"], json!(MAX_ARN_BYTES));
    let schemas = &openapi["components"]["schemas"];
    let states: Vec<&str> = statuses().collect();
    assert_eq!(schemas["Status"]["enum"], json!(states));
    let problems = Condition::ALL.iter().filter(|it| it.is_problem());
    let problems: Vec<Option<&Condition>> = problems.map(Some).chain([None]).collect();
    assert_eq!(schemas["Problem"]["enum"], json!(problems));
    let reasons: Vec<&str> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    assert_eq!(schemas["Reason"]["enum"], json!(reasons));
    // Each status code of each route has a counter from the start.
    let telemetry = Telemetry::new().unwrap();
    start_counters(&telemetry, "/metrics", false);
    let exposition = Exposition::default().text(Format::Text, &telemetry, 0.0);
    let text = String::from_utf8(exposition.concat()).unwrap();
    for path in &ROUTES {
        for code in path.codes.iter().chain(&[405]) {
            let row = format!("path=\"{}\",code=\"{code}\"}} 0\n", path.path);
            assert!(text.contains(&row), "{row}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn parameters_match_openapi_file() {
    let (bench, _account) = full().await;
    let openapi = openapi();
    let good = BTreeMap::from([
        ("status", "FAILED"),
        ("scope", "lake"),
        ("account", "111122223333"),
        ("region", "eu-west-1"),
        ("limit", "10000"),
        ("after", "x/y"),
    ]);
    for path in ["/api/v1/integrations", "/api/v1/scopes"] {
        let parameters = openapi["paths"][path]["get"]["parameters"]
            .as_array()
            .unwrap();
        let names: Vec<&str> = parameters
            .iter()
            .map(|parameter| match parameter["$ref"].as_str() {
                Some(pointer) => openapi.pointer(&pointer[1..]).unwrap(),
                None => parameter,
            })
            .map(|parameter| parameter["name"].as_str().unwrap())
            .collect();
        for name in &names {
            list(&bench, path, &format!("{name}={}", good[name]));
        }
        let (refused, answer) = request(&bench, path, "colour=red");
        assert!(refused);
        let error = json!({
            "parameter": "colour",
            "value": "red",
            "allowed": format!("the parameters {}", names.join(", ")),
            "message": format!("colour=\"red\" is not allowed; allowed: the parameters {}", names.join(", ")),
        });
        assert_eq!(answer["error"], error);
    }
    assert!(request(&bench, "/api/v1/scopes", "status=FAILED").0);
}

#[tokio::test(start_paused = true)]
async fn invalid_value_reports_allowed_values() {
    let (bench, _account) = full().await;
    for (query, allowed) in [
        (
            "status=failed",
            "CREATING, ACTIVE, MODIFYING, FAILED, DELETING, SYNCING, NEEDS_ATTENTION, UNKNOWN, MISSING",
        ),
        (
            "status=",
            "CREATING, ACTIVE, MODIFYING, FAILED, DELETING, SYNCING, NEEDS_ATTENTION, UNKNOWN, MISSING",
        ),
        ("scope=lak", "lake, sea"),
        ("scope=", "lake, sea"),
        ("scope=lake&scope=sea", "this parameter only once"),
        ("region=eu-west-2", "eu-west-1"),
        ("account=11112222333", "12 digits"),
        ("account=11112222333x", "12 digits"),
        ("limit=0", "a whole number from 1 to 10000"),
        ("limit=10001", "a whole number from 1 to 10000"),
        ("limit=+1", "a whole number from 1 to 10000"),
        (
            "limit=99999999999999999999999",
            "a whole number from 1 to 10000",
        ),
        ("limit=1&limit=1", "this parameter only once"),
        (
            "after=",
            "the next of a response, from 1 to 1024 characters",
        ),
        (
            "=",
            "the parameters status, scope, account, region, limit, after",
        ),
    ] {
        let (refused, answer) = request(&bench, "/api/v1/integrations", query);
        assert!(refused, "{query}");
        assert_eq!(answer["error"]["allowed"], allowed, "{query}");
    }
    let long = format!("status={}", "€".repeat(5_000));
    let (_, answer) = request(&bench, "/api/v1/integrations", &long);
    assert!(answer.to_string().len() < 1_000);
}

#[tokio::test(start_paused = true)]
async fn list_filters_by_each_parameter() {
    let (bench, _account) = full().await;
    let other = "arn:aws:glue:us-east-1:444455556666:integration:3";
    let (one, two, gone) = (arn(1), arn(2), arn(9));
    let path = "/api/v1/integrations";
    for (query, expected) in [
        ("", vec![&*one, &two, &gone, other]),
        ("status=FAILED", vec![&*one]),
        ("status=FAILED&status=MISSING", vec![&*one, &gone]),
        ("status=SYNCING", vec![]),
        ("account=444455556666", vec![other]),
        ("region=eu-west-1", vec![&*one, &two, &gone]),
        ("scope=sea", vec![]),
        (
            "scope=lake&account=111122223333&status=UNKNOWN",
            vec![&*two],
        ),
    ] {
        let answer = list(&bench, path, query);
        assert_eq!(arns(&answer), expected, "{query}");
        assert_eq!(answer["total"], expected.len());
        assert_eq!(answer["next"], Value::Null);
    }
}

#[tokio::test(start_paused = true)]
async fn rows_have_typed_values_and_no_secrets() {
    let (bench, _account) = full().await;
    advance(Duration::from_secs(1)).await;
    let answer = list(&bench, "/api/v1/integrations", "");
    assert_eq!(answer["as_of"], "2026-11-21T22:26:41.000Z");
    let expected = json!({
        "arn": arn(1), "name": "orders", "tags": {"tag_team": "data"}, "account": "111122223333", "region": "eu-west-1",
        "source_arn": "arn:aws:dynamodb:eu-west-1:111122223333:table/orders", "source_service": "dynamodb",
        "target_arn": "arn:aws:glue:eu-west-1:111122223333:database/lake", "target_service": "glue",
        "status": "FAILED", "status_text": null, "status_since": "2026-11-21T22:26:40.000Z", "problem": "failed",
        "created": "2026-11-20T22:26:40.000Z", "refresh_interval_seconds": 3600, "continuous_sync": true,
        "target_namespace": "lake", "errors": [{"code": "Code", "message": "<\"message\">"}, {"code": null, "message": null}],
        "scopes": [{"scope": "lake", "region": "eu-west-1"}], "seen": "2026-11-21T22:26:40.000Z", "old": false, "freshness": null,
    });
    assert_eq!(answer["items"][0], expected);
    let unknown = &answer["items"][1];
    for name in [
        "name",
        "source_arn",
        "source_service",
        "created",
        "refresh_interval_seconds",
        "continuous_sync",
    ] {
        assert_eq!(unknown[name], Value::Null, "{name}");
    }
    assert_eq!(unknown["status_text"], "REPLICATING");
    let missing = &answer["items"][2];
    assert_eq!(
        (&missing["status"], &missing["problem"]),
        (&json!("MISSING"), &json!("missing"))
    );
    assert_eq!(
        (&missing["seen"], &missing["old"]),
        (&json!("2026-11-21T22:26:40.000Z"), &json!(false))
    );
    let scopes = list(&bench, "/api/v1/scopes", "");
    let lake = json!({
        "scope": "lake", "region": "eu-west-1", "interval_seconds": 60.0, "up": true, "stale": false,
        "last_success": "2026-11-21T22:26:40.000Z", "last_poll_duration_seconds": 0.0, "integrations": 3, "polling": false,
        "next_poll": "2026-11-21T22:26:41.500Z", "last_failure": null, "names_up": true, "names_failure": null,
        "freshness_up": null, "freshness_failure": null,
    });
    assert_eq!(scopes["items"][0], lake);
    let failed = json!({
        "at": "2026-11-21T22:26:40.000Z",
        "failures": [{"reason": "access_denied", "message": "the account was configured to fail", "request_id": null, "queries": 1}],
    });
    let sea = &scopes["items"][1];
    assert_eq!((&sea["up"], &sea["last_failure"]), (&json!(false), &failed));
    assert_eq!(
        (&sea["names_up"], &sea["names_failure"]),
        (&json!(false), &failed)
    );
}

#[tokio::test(start_paused = true)]
async fn missing_row_has_time_of_last_answer() {
    let yaml = format!(
        "scopes: [{{name: lake, regions: [eu-west-1], stale_after: 1d, integration_arns: ['{}']}}]",
        arn(9)
    );
    let watches = watches(&yaml);
    let account = FakeAccount::new();
    let bench = Bench::new(&watches);
    let mut poller = bench.poller(&watches[0], &account);
    poller.poll().await;
    let row = || list(&bench, "/api/v1/integrations", "")["items"][0].clone();
    let at = |row: &Value| ["status_since", "seen", "old"].map(|name| row[name].clone());
    let first = json!("2026-11-21T22:26:40.000Z");
    assert_eq!(at(&row()), [first.clone(), first.clone(), json!(false)]);
    advance(Duration::from_secs(60)).await;
    poller.poll().await;
    let second = json!("2026-11-21T22:27:40.000Z");
    assert_eq!(at(&row()), [first.clone(), second.clone(), json!(false)]);
    account.set(Behaviour::Fail(Reason::Timeout));
    advance(Duration::from_secs(60)).await;
    poller.poll().await;
    assert_eq!(at(&row()), [first, second, json!(true)]);
    let scope = &list(&bench, "/api/v1/scopes", "")["items"][0];
    assert_eq!(
        (&scope["up"], &scope["stale"]),
        (&json!(false), &json!(true))
    );
}

fn table(name: &str, success: Option<f64>, failure: Option<f64>) -> Value {
    let time = |age: f64| rfc3339(START - age);
    json!({
        "name": name,
        "last_success": success.and_then(time),
        "last_failure": failure.and_then(time),
        "synced_until": success.and_then(|age| time(age + 60.0)),
    })
}

/// Returns a snapshot with one integration whose freshness is known and one without, of a scope whose last round failed.
fn with_freshness() -> Snapshot {
    let freshness = Freshness {
        replication_lag: Some(90.5),
        ..tables(&[
            ("items", Some(60.0), None),
            ("orders", Some(120.0), Some(0.0)),
            ("users", Some(3_600.0), None),
        ])
    };
    let active = |number| integration(&arn(number), Status::Active);
    let mut snapshot = snapshot(vec![(active(1), Some(freshness)), (active(2), None)], 2);
    snapshot.scopes[0].freshness_up = Some(false);
    snapshot.scopes[0].failed_freshness = Some(Arc::new(Failed {
        at: START,
        failures: vec![Failure {
            reason: "access_denied",
            message: "grant cloudwatch:ListMetrics".to_owned(),
            request_id: Some("request".to_owned()),
            queries: 1,
        }],
    }));
    snapshot
}

#[test]
fn row_has_freshness_with_worst_tables_first() {
    let answer = list_of(&with_freshness(), "/api/v1/integrations");
    let expected = json!({
        "checked": "2026-11-21T22:26:40.000Z",
        "oldest_success": "2026-11-21T21:26:40.000Z",
        "tables": 3,
        "tables_failing": 1.0,
        "replication_lag_seconds": 90.5,
        "table_details": [
            table("orders", Some(120.0), Some(0.0)),
            table("users", Some(3_600.0), None),
        ],
    });
    assert_eq!(answer["items"][0]["freshness"], expected);
    assert_eq!(answer["items"][0]["problem"], "tables_failing");
    assert_eq!(answer["items"][1]["freshness"], Value::Null);
    // Redshift targets report no tables.
    let to_redshift = Integration {
        target_arn: "arn:aws:redshift:eu-west-1:111122223333:namespace:1".to_owned(),
        ..integration(&arn(1), Status::Active)
    };
    let failing = Freshness {
        failed_tables: Some(2.0),
        ..tables(&[])
    };
    let partial = Freshness {
        checked: None,
        ..tables(&[("orders", None, Some(60.0))])
    };
    for (integration, data, expected) in [
        (to_redshift.clone(), tables(&[]), json!([null, null])),
        (to_redshift, failing, json!([null, 2.0])),
        (
            integration(&arn(1), Status::Active),
            tables(&[]),
            json!([0, 0.0]),
        ),
        (
            integration(&arn(1), Status::Active),
            partial,
            json!([1, null]),
        ),
    ] {
        let snapshot = snapshot(vec![(integration, Some(data))], 100);
        let freshness = &list_of(&snapshot, "/api/v1/integrations")["items"][0]["freshness"];
        let numbers = json!([freshness["tables"], freshness["tables_failing"]]);
        assert_eq!(numbers.to_string(), expected.to_string());
    }
    let scope = &list_of(&with_freshness(), "/api/v1/scopes")["items"][0];
    assert_eq!(scope["freshness_up"], false);
    let failure = &scope["freshness_failure"];
    assert_eq!(failure["at"], "2026-11-21T22:26:40.000Z");
    assert_eq!(failure["failures"][0]["reason"], "access_denied");
}

/// The limits are those of the alerts on freshness.
#[test]
fn problem_follows_limits_of_alerts() {
    const HOUR: f64 = 3_600.0;
    let refreshed = |hours: u64, integration: Integration| Integration {
        refresh_interval: Some(Duration::from_secs(hours * 3_600)),
        ..integration
    };
    let active = || integration(&arn(1), Status::Active);
    let with = |status| Integration { status, ..active() };
    let attention = || with(Status::NeedsAttention);
    let one_time = || Integration {
        continuous_sync: Some(false),
        ..active()
    };
    let unknown_sync = || Integration {
        continuous_sync: None,
        refresh_interval: None,
        ..active()
    };
    let to_redshift = || Integration {
        target_arn: "arn:aws:redshift:eu-west-1:111122223333:namespace:1".to_owned(),
        ..active()
    };
    let aged = |age| tables(&[("orders", Some(age), None), ("new", None, None)]);
    let failing = || tables(&[("orders", Some(60.0), Some(0.0))]);
    let lagging = |lag| Freshness {
        replication_lag: Some(lag),
        ..tables(&[])
    };
    let partial = |freshness| Freshness {
        checked: None,
        ..freshness
    };
    // CloudWatch last answered two days ago.
    let blind = |age| Freshness {
        checked: Some(START - 48.0 * HOUR),
        ..aged(age + 48.0 * HOUR)
    };
    let longest = || refreshed(u64::MAX / 3_600, active());
    let (overdue, failed) = (Some("data_overdue"), Some("tables_failing"));
    let urgent = Some("needs_attention");
    let syncing = || with(Status::Syncing);
    let of_6_days = || refreshed(144, active());
    for (case, integration, freshness, expected) in [
        ("24 h", active(), aged(24.0 * HOUR), None),
        ("above 24 h", active(), aged(24.001 * HOUR), overdue),
        ("no interval", unknown_sync(), aged(25.0 * HOUR), overdue),
        ("two runs", of_6_days(), aged(288.25 * HOUR), None),
        ("above two runs", of_6_days(), aged(288.26 * HOUR), overdue),
        ("longest interval", longest(), aged(336.0 * HOUR), None),
        ("as of the answer", active(), blind(24.0 * HOUR), None),
        ("was overdue", active(), blind(25.0 * HOUR), overdue),
        ("partial", active(), partial(aged(48.0 * HOUR)), None),
        ("one-time copy", one_time(), aged(48.0 * HOUR), None),
        ("SYNCING", syncing(), aged(48.0 * HOUR), None),
        ("fails", active(), failing(), failed),
        ("fails in SYNCING", syncing(), failing(), failed),
        ("fails, partial", active(), partial(failing()), None),
        ("one-time copy fails", one_time(), failing(), None),
        ("no tables", active(), tables(&[]), overdue),
        ("no tables yet", refreshed(6, active()), tables(&[]), None),
        ("no tables in SYNCING", syncing(), tables(&[]), None),
        ("no tables, partial", active(), partial(tables(&[])), None),
        ("no success", active(), tables(&[("a", None, None)]), None),
        ("Redshift has no tables", to_redshift(), tables(&[]), None),
        ("lag", to_redshift(), lagging(2.25 * HOUR), None),
        ("long lag", to_redshift(), lagging(2.26 * HOUR), overdue),
        ("lag in SYNCING", syncing(), lagging(2.26 * HOUR), overdue),
        ("NEEDS_ATTENTION", attention(), failing(), urgent),
    ] {
        let snapshot = snapshot(vec![(integration, Some(freshness))], 100);
        let problem = &list_of(&snapshot, "/api/v1/integrations")["items"][0]["problem"];
        assert_eq!(problem, &json!(expected), "{case}");
    }
    let mut stale = snapshot(vec![(active(), Some(aged(48.0 * HOUR)))], 100);
    stale.integrations[0].stale = true;
    let stale = list_of(&stale, "/api/v1/integrations");
    assert_eq!(stale["items"][0]["problem"], Value::Null);
}

/// Returns all responses of a list by following `next`.
fn pages(bench: &Bench, path: &str, limit: usize) -> Vec<Value> {
    let mut pages = vec![list(bench, path, &format!("limit={limit}"))];
    while let Some(next) = pages.last().unwrap()["next"].as_str() {
        let next = next.replace('/', "%2F");
        let page = list(bench, path, &format!("limit={limit}&after={next}"));
        pages.push(page);
    }
    pages
}

#[tokio::test(start_paused = true)]
async fn after_accepts_longest_arn() {
    let watches = watches("scopes: [{name: lake, regions: [eu-west-1]}]");
    let account = FakeAccount::new();
    let all: Vec<String> = (0..3)
        .map(|number| format!("{}{number}", "a".repeat(MAX_ARN_BYTES - 1)))
        .collect();
    for arn in &all {
        account.put(arn, Status::Failed);
    }
    let bench = Bench::new(&watches);
    bench.poller(&watches[0], &account).poll().await;
    let pages = pages(&bench, "/api/v1/integrations", 1);
    assert_eq!(pages.iter().flat_map(arns).collect::<Vec<_>>(), all);
    let longer = format!("after={}a", all[0]);
    assert!(request(&bench, "/api/v1/integrations", &longer).0);
}

#[tokio::test(start_paused = true)]
async fn long_lists_are_split_into_bounded_responses() {
    let account = FakeAccount::new();
    let message = "m".repeat(2048);
    let long = IntegrationError {
        code: None,
        message: Some(message),
    };
    for number in 0..250 {
        account.insert(Integration {
            errors: vec![long.clone(); 36],
            ..integration(&arn(number), Status::Failed)
        });
    }
    let scopes: Vec<String> = (0..25)
        .map(|n| {
            format!(
                "{{name: a{}, regions: [eu-west-1, us-east-1]}}",
                ["", "-1", ".x", "_"][n % 4].to_owned() + &n.to_string()
            )
        })
        .collect();
    let watches = watches(&format!("scopes: [{}]", scopes.join(", ")));
    let bench = Bench::new(&watches);
    bench.poller(&watches[0], &account).poll().await;
    let all: Vec<String> = (0..250).map(arn).collect();
    for (limit, parts) in [(100, 3), (10_000, 3)] {
        let pages = pages(&bench, "/api/v1/integrations", limit);
        let listed: Vec<&str> = pages.iter().flat_map(arns).collect();
        assert_eq!(listed, all);
        assert_eq!(pages.len(), parts, "at {limit}");
        for page in &pages {
            assert_eq!(page["total"], 250);
            assert!(page.to_string().len() < 9 << 20);
        }
    }
    let pages = pages(&bench, "/api/v1/scopes", 7);
    let mut keys: Vec<String> = pages
        .iter()
        .flat_map(|page| page["items"].as_array().unwrap())
        .map(|item| {
            format!(
                "{}/{}",
                item["scope"].as_str().unwrap(),
                item["region"].as_str().unwrap()
            )
        })
        .collect();
    assert_eq!(keys.len(), 50);
    assert!(keys.is_sorted());
    keys.dedup();
    assert_eq!(keys.len(), 50);
}
