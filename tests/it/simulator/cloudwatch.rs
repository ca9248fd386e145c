//! CloudWatch in the simulator: the samples as a function of time, pages, protocols, errors and faults.

use super::{Response, TestSimulator, api_headers, authorization, demo, start};
use aws_sdk_cloudwatch::config::retry::RetryConfig;
use aws_sdk_cloudwatch::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_cloudwatch::error::ProvideErrorMetadata;
use aws_sdk_cloudwatch::primitives::DateTime;
use aws_sdk_cloudwatch::types::{MetricDataQuery, MetricStat};
use glue_integration_exporter::simulator::{
    Account, Fault, FaultKind, MetricStatus, RequestMatcher, SimulatedIntegration,
    SimulatedMetrics, SimulatedTable,
};
use serde_json::{Value, json};
use std::num::NonZeroU32;

/// A whole hour.
const NOW: i64 = 1_795_298_400;
const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;
const ID: &str = "0c5e6f0a-3d0b-4c7a-9a51-5b1f0e6d7a01";

/// An integration with hourly runs.
fn integration(tables: Vec<SimulatedTable>, metrics: SimulatedMetrics) -> SimulatedIntegration {
    let source = "arn:aws:dynamodb:eu-west-1:111122223333:table/orders";
    let target = "arn:aws:glue:eu-west-1:111122223333:database/orders";
    let new = SimulatedIntegration::new(&arn(), source, target, "ACTIVE");
    SimulatedIntegration {
        tables: Some(tables),
        metrics,
        ..new
    }
}

fn arn() -> String {
    format!("arn:aws:glue:eu-west-1:111122223333:integration:{ID}")
}

fn redshift(metrics: SimulatedMetrics) -> SimulatedIntegration {
    SimulatedIntegration {
        target_arn: "arn:aws:redshift:eu-west-1:111122223333:namespace:n".to_owned(),
        ..integration(Vec::new(), metrics)
    }
}

fn healthy() -> SimulatedIntegration {
    let tables = vec![SimulatedTable::new("orders")];
    integration(tables, SimulatedMetrics::default())
}

fn serve(now: i64, integrations: Vec<SimulatedIntegration>) -> TestSimulator {
    start(Account::of(integrations).starting_at(now as f64))
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

/// The metric of the table `orders`, or of the first one, with this name.
fn metric(simulator: &TestSimulator, name: &str) -> Value {
    list(simulator, &json!({"MetricName": name})).swap_remove(0)
}

fn query(metric: &Value, period: i64, statistic: &str) -> Value {
    json!({"Id": "m0", "MetricStat": {"Metric": metric, "Period": period, "Stat": statistic}})
}

fn input(queries: &[Value], start: i64, end: i64) -> Value {
    json!({"MetricDataQueries": queries, "StartTime": start, "EndTime": end})
}

/// Returns the times and values of one result.
fn datapoints(result: &Value) -> Vec<(i64, f64)> {
    let times = result["Timestamps"].as_array().unwrap().iter();
    let values = result["Values"].as_array().unwrap().iter();
    assert_eq!(times.len(), values.len());
    let times = times.map(|time| time.as_i64().unwrap());
    times
        .zip(values.map(|value| value.as_f64().unwrap()))
        .collect()
}

/// Returns the samples of each minute of a metric, the newest first.
fn samples(simulator: &TestSimulator, metric: &Value, start: i64, end: i64) -> Vec<(i64, f64)> {
    let input = input(&[query(metric, 60, "Sum")], start, end);
    let response = call(simulator, "GetMetricData", &input).json();
    assert_eq!(response["MetricDataResults"][0]["StatusCode"], "Complete");
    assert_eq!(response["NextToken"], Value::Null);
    datapoints(&response["MetricDataResults"][0])
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
    let table = SimulatedTable {
        failing_since: Some(NOW - 5 * HOUR),
        failing_until: Some(NOW - 2 * HOUR),
        ..SimulatedTable::new("orders")
    };
    let with_tables = || {
        vec![integration(
            vec![table.clone()],
            SimulatedMetrics::default(),
        )]
    };
    let simulator = serve(NOW, with_tables());
    let [succeeded, failed, synced] =
        ["IngestionSucceeded", "IngestionFailed", "LastSyncTimestamp"]
            .map(|name| metric(&simulator, name));
    let at = |hours: &[i64]| -> Vec<(i64, f64)> {
        hours.iter().map(|hour| (NOW - hour * HOUR, 1.0)).collect()
    };
    let window = (NOW - 6 * HOUR, NOW + HOUR);
    let read = |simulator, metric| samples(simulator, metric, window.0, window.1);
    assert_eq!(read(&simulator, &succeeded), at(&[0, 1, 2, 6]));
    assert_eq!(read(&simulator, &failed), at(&[3, 4, 5]));
    assert_eq!(read(&simulator, &failed), at(&[3, 4, 5]), "asked twice");
    let synced = read(&simulator, &synced);
    assert_eq!(synced[0], (NOW, (NOW - 60) as f64));
    // Fifteen days exist at the start, and nothing older.
    let all = samples(&simulator, &succeeded, NOW - 30 * DAY, NOW + 1);
    assert_eq!(all.last(), Some(&(NOW - 15 * DAY, 1.0)));
    assert_eq!(all.len() as i64, 15 * 24 + 1 - 3);

    let later = serve(NOW + 2 * HOUR, with_tables());
    let moved = samples(&later, &succeeded, window.0, NOW + 3 * HOUR);
    assert_eq!(moved, at(&[-2, -1, 0, 1, 2, 6]));
    assert_eq!(read(&later, &failed), at(&[3, 4, 5]));
}

#[test]
fn silent_metrics_are_no_longer_listed() {
    let names = |table| {
        let simulator = serve(
            NOW,
            vec![integration(vec![table], SimulatedMetrics::default())],
        );
        let listed = list(&simulator, &json!({}));
        let names = listed.iter().map(|metric| metric["MetricName"].as_str());
        names
            .map(|name| name.unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let silent_since = |seconds: i64| SimulatedTable {
        silent_since: Some(NOW - seconds),
        ..SimulatedTable::new("orders")
    };
    let succeeding = [
        "DeleteCount",
        "IngestionSucceeded",
        "InsertCount",
        "LastSyncTimestamp",
        "UpdateCount",
    ];
    assert_eq!(names(SimulatedTable::new("orders")), succeeding);
    assert_eq!(names(silent_since(13 * DAY)), succeeding);
    assert!(names(silent_since(14 * DAY)).is_empty());
    let failing_since = |seconds: i64| SimulatedTable {
        failing_since: Some(NOW - seconds),
        ..SimulatedTable::new("orders")
    };
    assert_eq!(names(failing_since(15 * DAY)), ["IngestionFailed"]);
    assert_eq!(names(failing_since(DAY)).len(), 6);
    assert!(
        names(SimulatedTable {
            running_since: Some(NOW + 1),
            ..SimulatedTable::new("new")
        })
        .is_empty()
    );

    let simulator = serve(
        NOW,
        vec![integration(
            vec![silent_since(4 * HOUR)],
            SimulatedMetrics::default(),
        )],
    );
    assert_eq!(list(&simulator, &json!({})).len(), 5);
    assert!(list(&simulator, &json!({"RecentlyActive": "PT3H"})).is_empty());
}

#[test]
fn list_filters_by_namespace_name_and_dimensions() {
    let tables = ["a", "b"].map(SimulatedTable::new).to_vec();
    let other = SimulatedIntegration {
        arn: arn().replace(ID, "other"),
        ..redshift(SimulatedMetrics::default())
    };
    let simulator = serve(
        NOW,
        vec![integration(tables, SimulatedMetrics::default()), other],
    );
    for (filter, expected) in [
        (json!({}), 12),
        (json!({"Namespace": "AWS/Glue/ZeroETL"}), 10),
        (json!({"Namespace": "AWS/Redshift"}), 2),
        (json!({"Namespace": "AWS/EC2"}), 0),
        (json!({"MetricName": "IntegrationLag"}), 1),
        (
            json!({"Namespace": "AWS/Glue/ZeroETL", "MetricName": "InsertCount"}),
            2,
        ),
        (json!({"Dimensions": [{"Name": "tableName"}]}), 10),
        (
            json!({"Dimensions": [{"Name": "tableName", "Value": "a"}]}),
            5,
        ),
        (
            json!({"Dimensions": [{"Name": "tableName", "Value": "a"}, {"Name": "integrationArn", "Value": arn()}]}),
            5,
        ),
        (
            json!({"Dimensions": [{"Name": "tableName", "Value": "a"}, {"Name": "IntegrationId"}]}),
            0,
        ),
    ] {
        assert_eq!(list(&simulator, &filter).len(), expected, "{filter}");
    }
    assert_eq!(
        metric(&simulator, "IntegrationLag"),
        json!({
            "Namespace": "AWS/Redshift", "MetricName": "IntegrationLag",
            "Dimensions": [{"Name": "IntegrationId", "Value": "other"}],
        })
    );
}

/// One row for each form that AWS does not document.
#[test]
fn undocumented_forms_exist_both_ways() {
    let plain = SimulatedMetrics::default;
    let orders = || {
        vec![SimulatedTable {
            failing_since: Some(NOW - HOUR),
            ..SimulatedTable::new("orders")
        }]
    };
    let read = |integration: SimulatedIntegration, name: &str| {
        let simulator = serve(NOW, vec![integration]);
        let metric = metric(&simulator, name);
        let samples = samples(&simulator, &metric, NOW - 2 * HOUR, NOW + 1);
        (
            metric,
            samples
                .into_iter()
                .map(|(_, value)| value)
                .collect::<Vec<_>>(),
        )
    };
    let dimension = |metric: &Value, index: usize| {
        metric["Dimensions"][index]["Value"]
            .as_str()
            .unwrap()
            .to_owned()
    };

    let (documented, values) = read(integration(orders(), plain()), "IngestionSucceeded");
    assert_eq!(values, [1.0]);
    assert_eq!(dimension(&documented, 0), arn());
    assert_eq!(dimension(&documented, 1), "INCREMENTAL");
    let zeros = SimulatedMetrics {
        zeros: true,
        ..plain()
    };
    let (_, values) = read(integration(orders(), zeros.clone()), "IngestionSucceeded");
    assert_eq!(values, [0.0, 0.0, 1.0]);
    let (_, values) = read(integration(orders(), zeros), "IngestionFailed");
    assert_eq!(values, [1.0, 1.0, 0.0]);

    let slash = SimulatedMetrics {
        slash_in_arn: true,
        ..plain()
    };
    let (metric, values) = read(integration(orders(), slash), "IngestionSucceeded");
    assert_eq!(
        (dimension(&metric, 0), values.len()),
        (arn().replace("integration:", "integration/"), 1)
    );
    let full = SimulatedTable {
        load_type: Some("FULL".to_owned()),
        ..SimulatedTable::new("orders")
    };
    let (metric, _) = read(integration(vec![full], plain()), "IngestionSucceeded");
    assert_eq!(dimension(&metric, 1), "FULL");

    let seconds = (NOW - 2 * HOUR - 60) as f64;
    let (_, values) = read(integration(orders(), plain()), "LastSyncTimestamp");
    assert_eq!(values, [seconds]);
    let milliseconds = SimulatedMetrics {
        milliseconds: true,
        ..plain()
    };
    let (_, values) = read(integration(orders(), milliseconds), "LastSyncTimestamp");
    assert_eq!(values, [1000.0 * seconds]);

    let lagging = SimulatedMetrics {
        namespace: Some("AWS/Glue/ZeroETL".to_owned()),
        replication_lag: 7.5,
        failed_tables: 2.0,
        ..plain()
    };
    let (metric, values) = read(redshift(lagging.clone()), "IntegrationLag");
    assert_eq!(
        (metric["Namespace"].as_str(), values.len(), values[0]),
        (Some("AWS/Glue/ZeroETL"), 121, 7.5)
    );
    let (_, values) = read(redshift(lagging), "IntegrationNumTablesFailedReplication");
    assert_eq!(values[0], 2.0);
}

#[test]
fn samples_and_listings_can_come_late() {
    let late = SimulatedMetrics {
        sample_delay: 600,
        listing_delay: 900,
        ..SimulatedMetrics::default()
    };
    let table = SimulatedTable {
        running_since: Some(NOW),
        ..SimulatedTable::new("orders")
    };
    let at = |seconds: i64| {
        serve(
            NOW + seconds,
            vec![integration(vec![table.clone()], late.clone())],
        )
    };
    assert!(list(&at(899), &json!({})).is_empty());
    let listed = at(900);
    let metric = metric(&listed, "IngestionSucceeded");
    let read = |seconds: i64| samples(&at(seconds), &metric, NOW - HOUR, NOW + DAY).len();
    assert_eq!([599, 600, HOUR + 599, HOUR + 600].map(read), [0, 1, 1, 2]);
    // A role that must not write metrics.
    let silent = SimulatedMetrics {
        silent_since: Some(0),
        ..SimulatedMetrics::default()
    };
    assert!(
        list(
            &serve(NOW, vec![integration(vec![table], silent)]),
            &json!({})
        )
        .is_empty()
    );
}

#[test]
fn list_pages_return_each_metric_once() {
    let tables: Vec<_> = (0..250)
        .map(|table| SimulatedTable::new(&format!("table-{table}")))
        .collect();
    let simulator = serve(NOW, vec![integration(tables, SimulatedMetrics::default())]);
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
    assert_eq!(sizes, [500, 500, 250]);
    metrics.sort_unstable();
    metrics.dedup();
    assert_eq!(metrics.len(), 1250);
}

#[test]
fn data_pages_return_each_datapoint_once() {
    let tables = ["a", "b", "c"].map(SimulatedTable::new).to_vec();
    let simulator = serve(NOW, vec![integration(tables, SimulatedMetrics::default())]);
    let metrics = list(&simulator, &json!({"MetricName": "InsertCount"}));
    let queries: Vec<_> = (0..)
        .zip(&metrics)
        .map(|(index, metric)| {
            let mut query = query(metric, 60, "Sum");
            query["Id"] = json!(format!("m{index}"));
            query
        })
        .collect();
    for scan_by in ["TimestampDescending", "TimestampAscending"] {
        let mut input = input(&queries, NOW - DAY, NOW);
        input["ScanBy"] = json!(scan_by);
        let whole = call(&simulator, "GetMetricData", &input).json();
        let whole: Vec<_> = whole["MetricDataResults"]
            .as_array()
            .unwrap()
            .iter()
            .map(datapoints)
            .collect();
        assert_eq!(whole.iter().map(Vec::len).collect::<Vec<_>>(), [24, 24, 24]);
        let is_sorted =
            whole[0].is_sorted_by(|a, b| (a.0 < b.0) == (scan_by == "TimestampAscending"));
        assert!(is_sorted, "{scan_by}");

        input["MaxDatapoints"] = json!(20);
        let mut paged = vec![Vec::new(); 3];
        let mut statuses = Vec::new();
        loop {
            let page = call(&simulator, "GetMetricData", &input).json();
            let results = page["MetricDataResults"].as_array().unwrap();
            for (all, result) in paged.iter_mut().zip(results) {
                all.extend(datapoints(result));
            }
            statuses.push(
                [0, 1, 2].map(|index| results[index]["StatusCode"].as_str().unwrap().to_owned()),
            );
            input["NextToken"] = page["NextToken"].clone();
            if input["NextToken"].is_null() {
                break;
            }
        }
        assert_eq!(paged, whole);
        let (partial, complete) = ("PartialData", "Complete");
        assert_eq!(
            statuses,
            [
                [partial; 3],
                [complete, partial, partial],
                [complete, complete, partial],
                [complete; 3]
            ]
        );
    }
}

#[test]
fn full_page_has_100800_datapoints() {
    let table = SimulatedTable {
        interval_minutes: NonZeroU32::new(1),
        ..SimulatedTable::new("orders")
    };
    let zeros = SimulatedMetrics {
        zeros: true,
        ..SimulatedMetrics::default()
    };
    let simulator = serve(NOW, vec![integration(vec![table], zeros)]);
    let metric = metric(&simulator, "InsertCount");
    let query = |index| json!({"Id": format!("m{index}"), "MetricStat": {"Metric": metric, "Period": 60, "Stat": "Sum"}});
    let queries: Vec<_> = (0..6).map(query).collect();
    let page = call(
        &simulator,
        "GetMetricData",
        &input(&queries, NOW - 15 * DAY, NOW),
    )
    .json();
    let sizes = page["MetricDataResults"]
        .as_array()
        .unwrap()
        .iter()
        .map(|result| datapoints(result).len());
    assert_eq!(
        sizes.collect::<Vec<_>>(),
        [21_600, 21_600, 21_600, 21_600, 14_400, 0]
    );
    assert!(page["NextToken"].is_string());
}

#[test]
fn statistics_aggregate_periods() {
    let table = SimulatedTable {
        interval_minutes: NonZeroU32::new(15),
        ..SimulatedTable::new("orders")
    };
    let simulator = serve(
        NOW,
        vec![integration(vec![table], SimulatedMetrics::default())],
    );
    let inserted = metric(&simulator, "InsertCount");
    let values = samples(&simulator, &inserted, NOW - HOUR, NOW);
    let values: Vec<f64> = values.into_iter().map(|(_, value)| value).collect();
    let sum: f64 = values.iter().sum();
    for (statistic, expected) in [
        ("Sum", sum),
        ("Average", sum / 4.0),
        ("SampleCount", 4.0),
        ("Maximum", values.iter().copied().fold(f64::MIN, f64::max)),
        ("Minimum", values.iter().copied().fold(f64::MAX, f64::min)),
    ] {
        let input = input(&[query(&inserted, HOUR, statistic)], NOW - HOUR, NOW);
        let response = call(&simulator, "GetMetricData", &input).json();
        let found = datapoints(&response["MetricDataResults"][0]);
        assert_eq!(found, [(NOW - HOUR, expected)], "{statistic}");
    }
}

#[test]
fn unknown_metric_has_no_datapoints() {
    let simulator = serve(NOW, vec![healthy()]);
    let known = metric(&simulator, "IngestionSucceeded");
    let changed = |pointer: &str, value: &str| {
        let mut metric = known.clone();
        *metric.pointer_mut(pointer).unwrap() = json!(value);
        samples(&simulator, &metric, NOW - DAY, NOW).len()
    };
    assert_eq!(changed("/Namespace", "AWS/Glue/ZeroETL"), 24);
    for pointer in [
        "/Namespace",
        "/MetricName",
        "/Dimensions/0/Value",
        "/Dimensions/1/Value",
        "/Dimensions/2/Name",
    ] {
        assert_eq!(changed(pointer, "other"), 0, "{pointer}");
    }
    // The spelling of the ARN must be the listed one, but the order of the dimensions is free.
    assert_eq!(
        changed(
            "/Dimensions/0/Value",
            &arn().replace("integration:", "integration/")
        ),
        0
    );
    let mut reversed = known.clone();
    reversed["Dimensions"].as_array_mut().unwrap().reverse();
    assert_eq!(samples(&simulator, &reversed, NOW - DAY, NOW).len(), 24);

    for (unit, expected) in [("Count", 24), ("Seconds", 0)] {
        let mut query = query(&known, 60, "Sum");
        query["MetricStat"]["Unit"] = json!(unit);
        let response = call(
            &simulator,
            "GetMetricData",
            &input(&[query], NOW - DAY, NOW),
        )
        .json();
        assert_eq!(
            datapoints(&response["MetricDataResults"][0]).len(),
            expected,
            "{unit}"
        );
    }
}

#[test]
fn invalid_input_returns_aws_errors() {
    let simulator = serve(NOW, vec![healthy()]);
    let known = metric(&simulator, "IngestionSucceeded");
    let valid = || input(&[query(&known, 60, "Sum")], NOW - DAY, NOW);
    let with = |pointer: &str, value: Value| {
        let mut input = valid();
        *input.pointer_mut(pointer).unwrap() = value;
        input
    };
    let and = |member: &str, value: Value| {
        let mut input = valid();
        input[member] = value;
        input
    };
    let ids = |ids: Vec<String>| {
        let queries = ids.into_iter().map(|id| {
            let mut query = query(&known, 60, "Sum");
            query["Id"] = json!(id);
            query
        });
        with("/MetricDataQueries", queries.collect())
    };
    let numbered = |count| ids((0..count).map(|index| format!("m{index}")).collect());
    let period = "/MetricDataQueries/0/MetricStat/Period";
    let stat = "/MetricDataQueries/0/MetricStat/Stat";
    assert_eq!(
        call(&simulator, "GetMetricData", &numbered(500)).status,
        200
    );
    for (operation, body, code, message) in [
        (
            "ListMetrics",
            json!({"NextToken": "x"}),
            "InvalidParameterValue",
            "NextToken",
        ),
        (
            "ListMetrics",
            json!({"NextToken": "2:x"}),
            "InvalidParameterValue",
            "NextToken",
        ),
        (
            "ListMetrics",
            json!({"MetricName": "m".repeat(256)}),
            "InvalidParameterValue",
            "255",
        ),
        (
            "ListMetrics",
            json!({"NextToken": format!("2:{}", "1".repeat(2049))}),
            "InvalidParameterValue",
            "NextToken",
        ),
        (
            "ListMetrics",
            json!({"RecentlyActive": "P1D"}),
            "InvalidParameterValue",
            "PT3H",
        ),
        (
            "ListMetrics",
            json!({"Dimensions": [{"Value": "x"}]}),
            "SerializationException",
            "Dimensions[0]: missing field `Name`",
        ),
        (
            "GetMetricData",
            json!({}),
            "SerializationException",
            "MetricDataQueries",
        ),
        ("GetMetricData", numbered(0), "ValidationError", "1 to 500"),
        (
            "GetMetricData",
            numbered(501),
            "ValidationError",
            "1 to 500",
        ),
        (
            "GetMetricData",
            ids(vec!["a".to_owned(), "a".to_owned()]),
            "ValidationError",
            "not unique",
        ),
        (
            "GetMetricData",
            ids(vec!["M".to_owned()]),
            "ValidationError",
            "lowercase",
        ),
        (
            "GetMetricData",
            with("/StartTime", json!(NOW)),
            "ValidationError",
            "StartTime",
        ),
        (
            "GetMetricData",
            with(period, json!(61)),
            "ValidationError",
            "60",
        ),
        (
            "GetMetricData",
            with(period, json!(0)),
            "ValidationError",
            "60",
        ),
        (
            "GetMetricData",
            with(stat, json!("Median")),
            "SerializationException",
            "unknown variant `Median`",
        ),
        (
            "GetMetricData",
            and("MaxDatapoints", json!(0)),
            "ValidationError",
            "MaxDatapoints",
        ),
        (
            "GetMetricData",
            and("MaxDatapoints", json!(100_801)),
            "ValidationError",
            "MaxDatapoints",
        ),
        (
            "GetMetricData",
            and("NextToken", json!("2:1")),
            "InvalidNextToken",
            "NextToken",
        ),
        (
            "PutMetricData",
            json!({}),
            "UnknownOperationException",
            "ListMetrics",
        ),
    ] {
        let response = call(&simulator, operation, &body);
        assert_eq!(response.error(), (400, code.to_owned()), "{body}");
        assert!(
            response.body.contains(message),
            "{message}: {}",
            response.body
        );
        let header = format!("x-amzn-query-error: {};sender", code.to_lowercase());
        assert!(response.head.contains(&header), "{}", response.head);
    }
    // A signature for another service.
    let glue = authorization("AKIDTEST/20261122/eu-west-1/glue/aws4_request");
    let headers = api_headers("GraniteServiceVersion20100801.ListMetrics", &glue);
    let response = simulator.send("POST", "/", &headers, "{}");
    assert_eq!(
        response.error(),
        (400, "IncompleteSignatureException".to_owned())
    );
}

/// The SDK speaks CBOR.
#[tokio::test]
async fn cbor_answers_like_json() {
    let simulator = serve(NOW, vec![healthy()]);
    let client = sdk(&simulator);
    let listed = client
        .list_metrics()
        .metric_name("InsertCount")
        .send()
        .await
        .unwrap();
    let inserted = metric(&simulator, "InsertCount");
    let [found] = listed.metrics() else {
        panic!("{listed:?}");
    };
    let dimensions = found
        .dimensions()
        .iter()
        .map(|one| json!({"Name": one.name(), "Value": one.value()}));
    assert_eq!(
        json!(dimensions.collect::<Vec<_>>()),
        inserted["Dimensions"]
    );

    let request = || {
        let stat = MetricStat::builder()
            .metric(found.clone())
            .period(60)
            .stat("Maximum")
            .build();
        client
            .get_metric_data()
            .metric_data_queries(
                MetricDataQuery::builder()
                    .id("m0")
                    .metric_stat(stat)
                    .build(),
            )
            .start_time(DateTime::from_secs(NOW - DAY))
            .end_time(DateTime::from_secs(NOW))
    };
    let data = request().send().await.unwrap();
    let [result] = data.metric_data_results() else {
        panic!("{data:?}");
    };
    let times = result.timestamps().iter().map(DateTime::secs);
    let points: Vec<_> = times.zip(result.values().iter().copied()).collect();
    assert_eq!(points, samples(&simulator, &inserted, NOW - DAY, NOW));
    assert_eq!(result.status_code().unwrap().as_str(), "Complete");

    let first = request().max_datapoints(20).send().await.unwrap();
    assert_eq!(
        first.metric_data_results()[0]
            .status_code()
            .unwrap()
            .as_str(),
        "PartialData"
    );
    let token = first.next_token().unwrap();
    let second = request()
        .max_datapoints(20)
        .next_token(token)
        .send()
        .await
        .unwrap();
    assert_eq!(
        (
            second.metric_data_results()[0].values().len(),
            second.next_token()
        ),
        (4, None)
    );

    let error = request().next_token("x").send().await.unwrap_err();
    assert_eq!(
        error
            .raw_response()
            .unwrap()
            .headers()
            .get("smithy-protocol"),
        Some("rpc-v2-cbor")
    );
    assert!(error.as_service_error().unwrap().is_invalid_next_token());
    let error = client
        .list_metrics()
        .next_token("x")
        .send()
        .await
        .unwrap_err();
    assert!(
        error
            .as_service_error()
            .unwrap()
            .is_invalid_parameter_value_exception()
    );
    let unknown = client.describe_alarms().send().await.unwrap_err();
    assert_eq!(unknown.code(), Some("UnknownOperationException"));

    // No bytes, bytes that are not CBOR, a text, and a number.
    let authorization = authorization("AKIDTEST/20261122/eu-west-1/monitoring/aws4_request");
    let path = "/service/GraniteServiceVersion20100801/operation/ListMetrics";
    for body in ["", "{", "aa", "\u{1}\u{1}"] {
        let response = simulator.send("POST", path, &[("Authorization", &authorization)], body);
        assert_eq!(response.status, 400);
        assert!(
            response.body.contains("SerializationException"),
            "{}",
            response.body
        );
    }
}

#[tokio::test]
async fn faults_apply_to_both_operations() {
    let tables = ["a", "b"].map(SimulatedTable::new).to_vec();
    let simulator = serve(NOW, vec![integration(tables, SimulatedMetrics::default())]);
    let metrics = list(&simulator, &json!({"MetricName": "IngestionSucceeded"}));
    let queries: Vec<_> = (0..)
        .zip(&metrics)
        .map(|(index, metric)| {
            let mut query = query(metric, 60, "Sum");
            query["Id"] = json!(format!("m{index}"));
            query
        })
        .collect();
    let input = input(&queries, NOW - DAY, NOW);
    let on = |operation: &str| RequestMatcher {
        operation: Some(operation.to_owned()),
        ..RequestMatcher::default()
    };

    for (code, status, points) in [
        ("Forbidden", "Forbidden", 0),
        ("InternalError", "InternalError", 0),
        ("PartialData", "PartialData", 24),
    ] {
        let fault =
            json!({"Kind": "MetricStatus", "StatusCode": code, "Dimension": "a", "Times": 1});
        assert_eq!(
            simulator
                .control("POST", "faults", &fault.to_string())
                .status,
            204
        );
        let response = call(&simulator, "GetMetricData", &input).json();
        let results = response["MetricDataResults"].as_array().unwrap();
        let found = |index: usize| {
            (
                results[index]["StatusCode"].as_str().unwrap(),
                datapoints(&results[index]).len(),
            )
        };
        assert_eq!((found(0), found(1)), ((status, points), ("Complete", 24)));
    }
    let all = FaultKind::MetricStatus(MetricStatus {
        status_code: "Forbidden".to_owned(),
        dimension: None,
    });
    simulator
        .handle
        .push_fault(Fault::new(on("GetMetricData"), all).times(1));
    let response = call(&simulator, "GetMetricData", &input).json();
    let results = response["MetricDataResults"].as_array().unwrap();
    assert!(
        results
            .iter()
            .all(|result| result["StatusCode"] == "Forbidden")
    );

    let client = sdk(&simulator);
    for (code, status) in [
        ("Throttling", 400),
        ("AccessDenied", 400),
        ("InternalServiceError", 500),
    ] {
        let fault = Fault::new(on("ListMetrics"), FaultKind::error(code, "m"));
        simulator.handle.push_fault(fault.clone().times(2));
        assert_eq!(
            call(&simulator, "ListMetrics", &json!({})).error(),
            (status, code.to_owned())
        );
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
    let second = client
        .list_metrics()
        .next_token(first.next_token().unwrap())
        .send()
        .await
        .unwrap();
    assert!(second.metrics().is_empty() && second.next_token() != first.next_token());
    simulator.handle.clear_faults();
    let lag = RequestMatcher {
        metric_name: Some("IntegrationLag".to_owned()),
        ..RequestMatcher::default()
    };
    simulator.push_fault(lag, FaultKind::error("Throttling", "m"));
    assert!(
        client
            .list_metrics()
            .metric_name("IngestionFailed")
            .send()
            .await
            .is_ok()
    );
    assert!(
        client
            .list_metrics()
            .metric_name("IntegrationLag")
            .send()
            .await
            .is_err()
    );
}

#[test]
fn request_log_has_both_operations() {
    let simulator = serve(NOW, vec![healthy()]);
    let known = metric(&simulator, "IngestionSucceeded");
    samples(&simulator, &known, NOW - DAY, NOW);
    assert_eq!(
        simulator.control("GET", "requests", "").json(),
        json!([
            {"Operation": "ListMetrics", "Region": "eu-west-1", "AccessKeyId": "AKIDTEST", "MetricName": "IngestionSucceeded", "Page": 1},
            {"Operation": "GetMetricData", "Region": "eu-west-1", "AccessKeyId": "AKIDTEST", "Metrics": 1,
                "StartTime": (NOW - DAY) as f64, "EndTime": NOW as f64, "Page": 1},
        ])
    );
}

#[test]
fn control_endpoint_changes_tables_and_metrics() {
    let simulator = serve(NOW, vec![healthy()]);
    let path = format!("integrations/{}", arn());
    assert_eq!(list(&simulator, &json!({})).len(), 5);
    let patch = json!({"Tables": [{"TableName": "a", "FailingSince": 0}, {"TableName": "a", "LoadType": "FULL", "IntervalMinutes": 5}]});
    assert_eq!(
        simulator.control("PATCH", &path, &patch.to_string()).status,
        204
    );
    assert_eq!(list(&simulator, &json!({})).len(), 6);
    let silent = json!({"Metrics": {"SilentSince": 0}});
    assert_eq!(
        simulator
            .control("PATCH", &path, &silent.to_string())
            .status,
        204
    );
    assert!(list(&simulator, &json!({})).is_empty());
    for (patch, message) in [
        (
            json!({"Tables": [{}]}),
            "Tables[0]: missing field `TableName`",
        ),
        (
            json!({"Tables": [{"TableName": "a", "IntervalMinutes": 0}]}),
            "Tables[0].IntervalMinutes",
        ),
        (
            json!({"Metrics": {"Unknown": 1}}),
            "unknown field `Unknown`",
        ),
    ] {
        let response = simulator.control("PATCH", &path, &patch.to_string());
        assert_eq!(response.status, 400);
        assert!(response.body.contains(message), "{}", response.body);
    }
    let fault = json!({"Kind": "MetricStatus"}).to_string();
    assert!(
        simulator
            .control("POST", "faults", &fault)
            .body
            .contains("MetricStatus with StatusCode")
    );
}

#[test]
fn demo_data_are_old_while_status_is_active() {
    let simulator = start(demo());
    let now = 1_795_000_000;
    let newest = |name: &str, table: &str| {
        let filter =
            json!({"MetricName": name, "Dimensions": [{"Name": "tableName", "Value": table}]});
        let listed = list(&simulator, &filter);
        listed
            .first()
            .map(|metric| now - samples(&simulator, metric, now - 14 * DAY, now + 1)[0].0)
    };
    for table in ["account", "contact"] {
        assert!(
            newest("IngestionSucceeded", table).unwrap() < HOUR,
            "{table}"
        );
        assert_eq!(newest("IngestionFailed", table), None, "{table}");
    }
    assert!(newest("IngestionFailed", "opportunity").unwrap() < HOUR);
    assert!(newest("IngestionSucceeded", "opportunity").unwrap() > 2 * HOUR);
    for table in ["invoices", "ledger"] {
        let age = newest("IngestionSucceeded", table).unwrap();
        assert!((3 * DAY..4 * DAY).contains(&age), "{table}: {age}");
    }
    let lag = metric(&simulator, "IntegrationLag");
    assert_eq!(samples(&simulator, &lag, now - HOUR, now)[0].1, 95.0);
    let copy = json!({"MetricName": "IngestionSucceeded", "Dimensions": [{"Name": "loadType", "Value": "FULL"}]});
    let copied = samples(&simulator, &list(&simulator, &copy)[0], now - 14 * DAY, now);
    assert_eq!(copied.len(), 1, "the run of a one-time copy");
}
