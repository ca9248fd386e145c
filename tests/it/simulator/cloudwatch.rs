//! CloudWatch in the simulator: the samples as a function of time, pages, protocols, errors and faults.

use super::{Response, TestSimulator, api_headers, authorization, demo, start};
use aws_sdk_cloudwatch::config::retry::RetryConfig;
use aws_sdk_cloudwatch::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_cloudwatch::error::ProvideErrorMetadata;
use aws_sdk_cloudwatch::primitives::DateTime;
use aws_sdk_cloudwatch::types::{MetricDataQuery, MetricStat};
use glue_integration_exporter::simulator::{
    Account, Fault, FaultKind, RequestMatcher, SimulatedIntegration,
};
use serde_json::{Value, json};

/// A whole hour.
const NOW: i64 = 1_795_298_400;
const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;
const ID: &str = "0c5e6f0a-3d0b-4c7a-9a51-5b1f0e6d7a01";

fn arn() -> String {
    format!("arn:aws:glue:eu-west-1:111122223333:integration:{ID}")
}

/// An integration with hourly runs. `tables` are those of the control endpoint.
fn integration(tables: Value) -> SimulatedIntegration {
    let source = "arn:aws:dynamodb:eu-west-1:111122223333:table/orders";
    let target = "arn:aws:glue:eu-west-1:111122223333:database/orders";
    let new = SimulatedIntegration::new(&arn(), source, target, "ACTIVE");
    SimulatedIntegration {
        tables: serde_json::from_value(tables).unwrap(),
        ..new
    }
}

fn with_tables(names: &[&str]) -> SimulatedIntegration {
    let tables = names.iter().map(|name| json!({"TableName": name}));
    integration(tables.collect())
}

fn redshift(replication_lag: f64) -> SimulatedIntegration {
    SimulatedIntegration {
        target_arn: "arn:aws:redshift:eu-west-1:111122223333:namespace:n".to_owned(),
        replication_lag,
        ..integration(json!([]))
    }
}

fn serve(now: i64, integrations: Vec<SimulatedIntegration>) -> TestSimulator {
    let mut account = Account::of(integrations);
    account.unix_start = now as f64;
    start(account)
}

fn call(simulator: &TestSimulator, operation: &str, body: &Value) -> Response {
    let authorization = authorization("AKIDTEST/20261122/eu-west-1/monitoring/aws4_request");
    let target = format!("GraniteServiceVersion20100801.{operation}");
    let headers = api_headers(&target, &authorization);
    simulator.send("POST", "/", &headers, &body.to_string())
}

fn list(simulator: &TestSimulator, input: &Value) -> Vec<Value> {
    let response = call(simulator, "ListMetrics", input).json();
    response["Metrics"].as_array().unwrap().clone()
}

/// The first metric with this name.
fn metric(simulator: &TestSimulator, name: &str) -> Value {
    list(simulator, &json!({"MetricName": name})).swap_remove(0)
}

/// Queries of the metrics, with the ids `m0`, `m1` and so on.
fn input(metrics: &[Value], start: i64, end: i64) -> Value {
    let query = |(index, metric)| json!({"Id": format!("m{index}"), "MetricStat": {"Metric": metric, "Period": 60, "Stat": "Sum"}});
    let queries = metrics.iter().enumerate().map(query);
    json!({"MetricDataQueries": queries.collect::<Vec<_>>(), "StartTime": start, "EndTime": end})
}

/// Returns the status code, and the times and values of each metric.
fn results(response: &Value) -> Vec<(String, Vec<(i64, f64)>)> {
    let results = response["MetricDataResults"].as_array().unwrap().iter();
    let result = |result: &Value| {
        let times = result["Timestamps"].as_array().unwrap().iter();
        let values = result["Values"].as_array().unwrap().iter();
        assert_eq!(times.len(), values.len());
        let points = times.zip(values);
        let points = points.map(|(time, value)| (time.as_i64().unwrap(), value.as_f64().unwrap()));
        let status_code = result["StatusCode"].as_str().unwrap();
        (status_code.to_owned(), points.collect())
    };
    results.map(result).collect()
}

/// Returns the samples of a metric, the newest first.
fn samples(simulator: &TestSimulator, metric: &Value, start: i64, end: i64) -> Vec<(i64, f64)> {
    let input = input(std::slice::from_ref(metric), start, end);
    let response = call(simulator, "GetMetricData", &input).json();
    assert_eq!(response["NextToken"], Value::Null);
    let (status_code, samples) = results(&response).swap_remove(0);
    assert_eq!(status_code, "Complete");
    samples
}

fn sdk(simulator: &TestSimulator) -> aws_sdk_cloudwatch::Client {
    let config = aws_sdk_cloudwatch::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-west-1"))
        .credentials_provider(Credentials::new("AKIDTEST", "none", None, None, "test"))
        .retry_config(RetryConfig::disabled())
        .endpoint_url(format!("http://{}", simulator.addr))
        .build();
    aws_sdk_cloudwatch::Client::from_conf(config)
}

#[test]
fn samples_are_a_function_of_time() {
    let tables = json!([{"TableName": "orders", "FailingSince": NOW - 2 * HOUR}]);
    let orders = integration(tables);
    let simulator = serve(NOW, vec![orders.clone()]);
    let [succeeded, failed, synced] =
        ["IngestionSucceeded", "IngestionFailed", "LastSyncTimestamp"]
            .map(|name| metric(&simulator, name));
    let at = |hours: &[i64]| -> Vec<(i64, f64)> {
        hours.iter().map(|hour| (NOW - hour * HOUR, 1.0)).collect()
    };
    let read = |simulator, metric| samples(simulator, metric, NOW - 4 * HOUR, NOW + HOUR);
    assert_eq!(read(&simulator, &succeeded), at(&[3, 4]));
    assert_eq!(read(&simulator, &failed), at(&[0, 1, 2]));
    assert_eq!(read(&simulator, &failed), at(&[0, 1, 2]), "asked twice");
    let synced_until = |hours: i64| (NOW - hours * HOUR) as f64;
    let expected = [3, 4].map(|hours| (NOW - hours * HOUR, synced_until(hours)));
    assert_eq!(read(&simulator, &synced), expected);
    // Fifteen days exist at the start, and nothing older.
    let all = samples(&simulator, &succeeded, NOW - 30 * DAY, NOW + 1);
    assert_eq!(all.last(), Some(&(NOW - 15 * DAY, 1.0)));
    assert_eq!(all.len() as i64, 15 * 24 - 2);

    let later = serve(NOW + 2 * HOUR, vec![orders]);
    let moved = samples(&later, &failed, NOW - 4 * HOUR, NOW + 3 * HOUR);
    assert_eq!(moved, at(&[-2, -1, 0, 1, 2]));
    assert_eq!(read(&later, &succeeded), at(&[3, 4]));
}

#[test]
fn silent_metrics_are_no_longer_listed() {
    let names = |table: Value| {
        let simulator = serve(NOW, vec![integration(json!([table]))]);
        let listed = list(&simulator, &json!({})).into_iter();
        let names = listed.map(|metric| metric["MetricName"].as_str().unwrap().to_owned());
        names.collect::<Vec<_>>()
    };
    let silent_since = |time: i64| names(json!({"TableName": "orders", "SilentSince": time}));
    let failing_since = |time: i64| names(json!({"TableName": "orders", "FailingSince": time}));
    let succeeding = ["IngestionSucceeded", "LastSyncTimestamp"];
    assert_eq!(names(json!({"TableName": "orders"})), succeeding);
    assert_eq!(silent_since(NOW - 13 * DAY), succeeding);
    assert!(silent_since(NOW - 14 * DAY).is_empty());
    assert_eq!(failing_since(NOW - 15 * DAY), ["IngestionFailed"]);
    assert_eq!(failing_since(NOW - DAY).len(), 3);
    let new = SimulatedIntegration {
        create_time: (NOW + 1) as f64,
        ..with_tables(&["orders"])
    };
    assert!(list(&serve(NOW, vec![new]), &json!({})).is_empty());
}

#[test]
fn list_filters_by_namespace_and_name() {
    let other = SimulatedIntegration {
        arn: arn().replace(ID, "other"),
        ..redshift(0.0)
    };
    let simulator = serve(NOW, vec![with_tables(&["a", "b"]), other]);
    for (filter, expected) in [
        (json!({}), 6),
        (json!({"Namespace": "AWS/Glue/ZeroETL"}), 4),
        (json!({"Namespace": "AWS/Redshift"}), 2),
        (json!({"Namespace": "AWS/EC2"}), 0),
        (json!({"MetricName": "IntegrationLag"}), 1),
        (json!({"MetricName": "IngestionSucceeded"}), 2),
    ] {
        assert_eq!(list(&simulator, &filter).len(), expected, "{filter}");
    }
}

#[test]
fn redshift_target_reports_lag_each_minute() {
    let simulator = serve(NOW, vec![redshift(7.5)]);
    let lag = metric(&simulator, "IntegrationLag");
    let expected = json!({
        "Namespace": "AWS/Redshift", "MetricName": "IntegrationLag",
        "Dimensions": [{"Name": "IntegrationId", "Value": ID}],
    });
    assert_eq!(lag, expected);
    let lag = samples(&simulator, &lag, NOW - 120, NOW + 1);
    assert_eq!(lag, [0, 60, 120].map(|age| (NOW - age, 7.5)));
    let failed = metric(&simulator, "IntegrationNumTablesFailedReplication");
    assert_eq!(samples(&simulator, &failed, NOW, NOW + 1), [(NOW, 0.0)]);
}

#[test]
fn list_pages_return_each_metric_once() {
    let tables = (0..300).map(|number| json!({"TableName": format!("table-{number}")}));
    let simulator = serve(NOW, vec![integration(tables.collect())]);
    let (mut sizes, mut metrics, mut token) = (Vec::new(), Vec::new(), Value::Null);
    loop {
        let page = call(&simulator, "ListMetrics", &json!({"NextToken": token})).json();
        let items = page["Metrics"].as_array().unwrap();
        sizes.push(items.len());
        metrics.extend(items.iter().map(Value::to_string));
        token = page["NextToken"].clone();
        if token.is_null() {
            break;
        }
    }
    assert_eq!(sizes, [500, 100]);
    metrics.sort_unstable();
    metrics.dedup();
    assert_eq!(metrics.len(), 600);
}

#[test]
fn data_pages_return_each_datapoint_once() {
    let tables = json!([{"TableName": "orders", "IntervalMinutes": 1}]);
    let simulator = serve(NOW, vec![integration(tables)]);
    let metrics = vec![metric(&simulator, "LastSyncTimestamp"); 6];
    let mut input = input(&metrics, NOW - 15 * DAY, NOW);
    let (mut sizes, mut statuses) = (Vec::new(), Vec::new());
    let mut points = vec![Vec::new(); 6];
    loop {
        let page = call(&simulator, "GetMetricData", &input).json();
        for (all, (status_code, page)) in points.iter_mut().zip(results(&page)) {
            sizes.push(page.len());
            statuses.push(status_code);
            all.extend(page);
        }
        input["NextToken"] = page["NextToken"].clone();
        if input["NextToken"].is_null() {
            break;
        }
    }
    // A page has 100,800 datapoints.
    let first = [21_600, 21_600, 21_600, 21_600, 14_400, 0];
    assert_eq!(sizes, [first, [0, 0, 0, 0, 7_200, 21_600]].concat());
    let (complete, partial) = ("Complete", "PartialData");
    assert_eq!(
        statuses[..6],
        [complete, complete, complete, complete, partial, partial]
    );
    assert_eq!(statuses[6..], [complete; 6]);
    let expected = (1..=15 * DAY / 60).map(|minutes| NOW - 60 * minutes);
    let expected: Vec<_> = expected.map(|time| (time, time as f64)).collect();
    assert!(points.iter().all(|points| *points == expected));
}

#[test]
fn unknown_metric_has_no_datapoints() {
    let simulator = serve(NOW, vec![with_tables(&["orders"])]);
    let known = metric(&simulator, "IngestionSucceeded");
    let changed = |pointer: &str, value: &str| {
        let mut metric = known.clone();
        *metric.pointer_mut(pointer).unwrap() = json!(value);
        samples(&simulator, &metric, NOW - DAY, NOW).len()
    };
    assert_eq!(changed("/Namespace", "AWS/Glue/ZeroETL"), 24);
    // The spelling of the ARN must be the listed one.
    let slash = arn().replace("integration:", "integration/");
    for (pointer, value) in [
        ("/Namespace", "other"),
        ("/MetricName", "other"),
        ("/Dimensions/0/Value", &slash),
        ("/Dimensions/1/Value", "other"),
        ("/Dimensions/2/Name", "other"),
    ] {
        assert_eq!(changed(pointer, value), 0, "{pointer}");
    }
}

#[test]
fn invalid_input_returns_aws_errors() {
    let simulator = serve(NOW, vec![with_tables(&["orders"])]);
    let known = metric(&simulator, "IngestionSucceeded");
    let queries = |count| input(&vec![known.clone(); count], NOW - DAY, NOW);
    let response = call(&simulator, "GetMetricData", &queries(500));
    assert_eq!(response.status, 200);
    let mut start = queries(1);
    start["StartTime"] = json!("x");
    let unreadable = "SerializationException";
    for (operation, body, code, message) in [
        (
            "ListMetrics",
            json!({"NextToken": "x"}),
            "ValidationException",
            "NextToken",
        ),
        (
            "ListMetrics",
            json!({"MetricName": 5}),
            unreadable,
            "MetricName",
        ),
        ("GetMetricData", json!({}), unreadable, "MetricDataQueries"),
        ("GetMetricData", start, unreadable, "StartTime"),
        ("GetMetricData", queries(0), "ValidationError", "1 to 500"),
        ("GetMetricData", queries(501), "ValidationError", "1 to 500"),
        (
            "PutMetricData",
            json!({}),
            "UnknownOperationException",
            "ListMetrics",
        ),
    ] {
        let response = call(&simulator, operation, &body);
        assert_eq!(response.error(), (400, code.to_owned()), "{message}");
        let body = response.body;
        assert!(body.contains(message), "{message}: {body}");
    }
}

/// The SDK speaks CBOR.
#[tokio::test]
async fn cbor_answers_like_json() {
    let simulator = serve(NOW, vec![with_tables(&["orders"])]);
    let client = sdk(&simulator);
    let synced = metric(&simulator, "LastSyncTimestamp");
    let listed = client.list_metrics().metric_name("LastSyncTimestamp");
    let listed = listed.send().await.unwrap();
    let [found] = listed.metrics() else {
        panic!("{listed:?}");
    };
    let dimensions = found.dimensions().iter();
    let dimensions = dimensions.map(|one| json!({"Name": one.name(), "Value": one.value()}));
    assert_eq!(json!(dimensions.collect::<Vec<_>>()), synced["Dimensions"]);

    let request = || {
        let stat = MetricStat::builder()
            .metric(found.clone())
            .period(60)
            .stat("Maximum")
            .build();
        let query = MetricDataQuery::builder().id("m0").metric_stat(stat);
        client
            .get_metric_data()
            .metric_data_queries(query.build())
            .start_time(DateTime::from_secs(NOW - DAY))
            .end_time(DateTime::from_secs(NOW))
    };
    let data = request().send().await.unwrap();
    let [result] = data.metric_data_results() else {
        panic!("{data:?}");
    };
    let times = result.timestamps().iter().map(DateTime::secs);
    let points: Vec<_> = times.zip(result.values().iter().copied()).collect();
    assert_eq!(points, samples(&simulator, &synced, NOW - DAY, NOW));
    assert_eq!(result.status_code().unwrap().as_str(), "Complete");

    let error = client.list_metrics().next_token("x").send().await;
    let error = error.unwrap_err();
    assert_eq!(error.code(), Some("ValidationException"));
    let unknown = client.describe_alarms().send().await.unwrap_err();
    assert_eq!(unknown.code(), Some("UnknownOperationException"));

    // No bytes, bytes that are not CBOR, a text, and a number.
    let authorization = authorization("AKIDTEST/20261122/eu-west-1/monitoring/aws4_request");
    let path = "/service/GraniteServiceVersion20100801/operation/ListMetrics";
    for body in ["", "{", "aa", "\u{1}\u{1}"] {
        let response = simulator.send("POST", path, &[("Authorization", &authorization)], body);
        assert_eq!(response.status, 400);
        let body = response.body;
        assert!(body.contains("SerializationException"), "{body}");
    }
}

#[tokio::test]
async fn faults_apply_to_one_operation() {
    let simulator = serve(NOW, vec![with_tables(&["a", "b"])]);
    let metric = metric(&simulator, "IngestionSucceeded");
    let input = input(&[metric], NOW - DAY, NOW);
    let on = |operation: &str| RequestMatcher {
        operation: Some(operation.to_owned()),
        ..RequestMatcher::default()
    };

    let client = sdk(&simulator);
    for (code, status) in [
        ("Throttling", 400),
        ("AccessDenied", 400),
        ("InternalServiceError", 500),
    ] {
        let fault = Fault::new(on("ListMetrics"), FaultKind::error(code, "m"));
        simulator.handle.push_fault(fault.times(2));
        let response = call(&simulator, "ListMetrics", &json!({}));
        assert_eq!(response.error(), (status, code.to_owned()));
        let error = client.list_metrics().send().await.unwrap_err();
        assert_eq!((error.code(), error.message()), (Some(code), Some("m")));
        assert_eq!(error.raw_response().unwrap().status().as_u16(), status);
    }
    simulator.push_fault(on("ListMetrics"), FaultKind::ResetMidBody);
    assert!(client.list_metrics().send().await.is_err());
    assert_eq!(call(&simulator, "GetMetricData", &input).status, 200);
    simulator.handle.clear_faults();

    simulator.push_fault(on("ListMetrics"), FaultKind::EndlessMarkers);
    let first = client.list_metrics().send().await.unwrap();
    let token = first.next_token().unwrap();
    let second = client.list_metrics().next_token(token);
    let second = second.send().await.unwrap();
    assert!(second.metrics().is_empty() && second.next_token() != first.next_token());
}

#[test]
fn control_endpoint_changes_tables() {
    let simulator = serve(NOW, vec![with_tables(&["orders"])]);
    let path = format!("integrations/{}", arn());
    let patch = |patch: &Value| simulator.control("PATCH", &path, &patch.to_string());
    let tables = json!([
        {"TableName": "a", "FailingSince": 0},
        {"TableName": "b", "IntervalMinutes": 5, "SilentSince": NOW - DAY},
    ]);
    assert_eq!(patch(&json!({"Tables": tables})).status, 204);
    assert_eq!(list(&simulator, &json!({})).len(), 3);
    let zero = json!({"TableName": "a", "IntervalMinutes": 0});
    for (invalid, message) in [
        (json!({"Tables": [{}]}), "Tables[0]: missing field"),
        (json!({"Tables": [zero]}), "Tables[0].IntervalMinutes"),
        (json!({"Tables": [{"A": 1}]}), "unknown field `A`"),
    ] {
        let response = patch(&invalid);
        assert_eq!(response.status, 400);
        assert!(response.body.contains(message), "{}", response.body);
    }
}

#[test]
fn demo_data_are_old_while_status_is_active() {
    let simulator = start(demo());
    let now = 1_795_000_000;
    // The ages of the samples of a table, the newest first.
    let ages = |name: &str, table: &str| {
        let table = json!({"Name": "tableName", "Value": table});
        let mut listed = list(&simulator, &json!({"MetricName": name})).into_iter();
        let found = listed.find(|metric| metric["Dimensions"][2] == table);
        let samples = found.map(|found| samples(&simulator, &found, now - 14 * DAY, now + 1));
        let samples = samples.into_iter().flatten();
        samples.map(|(time, _)| now - time).collect::<Vec<_>>()
    };
    for table in ["account", "contact"] {
        assert!(ages("IngestionSucceeded", table)[0] < HOUR, "{table}");
        assert!(ages("IngestionFailed", table).is_empty(), "{table}");
    }
    assert!(ages("IngestionFailed", "opportunity")[0] < HOUR);
    assert!(ages("IngestionSucceeded", "opportunity")[0] > 2 * HOUR);
    for table in ["invoices", "ledger"] {
        let age = ages("IngestionSucceeded", table)[0];
        assert!((3 * DAY..4 * DAY).contains(&age), "{table}: {age}");
    }
    let copied = ages("IngestionSucceeded", "sessions");
    assert_eq!(copied.len(), 1, "the run of a one-time copy");
    let lag = metric(&simulator, "IntegrationLag");
    assert_eq!(samples(&simulator, &lag, now - HOUR, now)[0].1, 95.0);
}
