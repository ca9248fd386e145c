//! The initial integrations of the demo account. They cover all ARN forms of the Glue guide, all
//! statuses and the special cases: no configuration, a status in lower case, errors without a code
//! or a message, an integration that another account created, and values that must never leak.

use super::integration::{SimulatedConfig, SimulatedError, SimulatedIntegration};
use super::script::{CUSTOMERS, ORDERS, SALESFORCE};

const DAY: f64 = 86_400.0;

/// The code and the message of an error; `None` if the member is absent.
type ErrorRow = (Option<&'static str>, Option<&'static str>);

struct Row {
    arn: &'static str,
    name: &'static str,
    source: &'static str,
    target: &'static str,
    status: &'static str,
    /// Age at the start, in seconds.
    age: f64,
    /// The refresh interval in minutes, and `ContinuousSync`.
    config: Option<(Option<&'static str>, bool)>,
    properties: &'static [(&'static str, &'static str)],
    errors: &'static [ErrorRow],
}

const SECRET: &str = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:must-not-leak-AbCdEf";

const ROWS: [Row; 12] = [
    Row {
        arn: ORDERS,
        name: "orders",
        source: "arn:aws:dynamodb:eu-west-1:111122223333:table/orders",
        target: "arn:aws:glue:eu-west-1:111122223333:database/orders",
        status: "CREATING",
        age: 0.0,
        config: Some((Some("15"), true)),
        properties: &[],
        errors: &[],
    },
    Row {
        arn: SALESFORCE,
        name: "salesforce-crm",
        source: "arn:aws:glue:eu-west-1:111122223333:connection/salesforce",
        target: "arn:aws:glue:eu-west-1:111122223333:catalog/crm",
        status: "ACTIVE",
        age: 41.0 * DAY,
        config: Some((Some("60"), true)),
        properties: &[
            ("secretArn", SECRET),
            ("instanceUrl", "https://must-not-leak.my.salesforce.com"),
        ],
        errors: &[],
    },
    Row {
        arn: CUSTOMERS,
        name: "customers",
        source: "arn:aws:dynamodb:eu-west-1:111122223333:table/customers",
        target: "arn:aws:redshift-serverless:eu-west-1:111122223333:namespace/7f3c1a52-4b6d-4e8f-9a0b-1c2d3e4f5a6b",
        status: "ACTIVE",
        age: 200.25 * DAY,
        config: Some((Some("15"), true)),
        properties: &[],
        errors: &[],
    },
    Row {
        arn: "arn:aws:glue:eu-west-1:111122223333:integration:3f8e7d6c-5b4a-4938-8271-605f4e3d2c04",
        name: "sap-finance",
        source: "arn:aws:glue:eu-west-1:111122223333:connection/sap/finance",
        target: "arn:aws:glue:eu-west-1:111122223333:catalog/s3tablescatalog/finance-tables",
        status: "ACTIVE",
        // AWS can send epoch seconds with a fraction.
        age: 12.5 * DAY + 0.25,
        config: Some((Some("1440"), true)),
        properties: &[("secretArn", SECRET), ("subnetId", "subnet-must-not-leak")],
        errors: &[],
    },
    Row {
        arn: "arn:aws:glue:eu-west-1:111122223333:integration:4d5c6b7a-8190-4a2b-b3c4-d5e6f7081905",
        name: "shop-aurora",
        source: "arn:aws:rds:eu-west-1:111122223333:cluster:shop",
        target: "arn:aws:redshift:eu-west-1:111122223333:namespace:0d9c8b7a-6f5e-4d3c-8b2a-190817263544",
        status: "MODIFYING",
        age: 90.0 * DAY,
        config: Some((Some("60"), true)),
        properties: &[],
        errors: &[],
    },
    Row {
        arn: "arn:aws:glue:eu-west-1:111122223333:integration:5e6d7c8b-9fa0-4b1c-82d3-e4f506172806",
        name: "servicenow",
        source: "arn:aws:glue:eu-west-1:111122223333:connection/servicenow",
        target: "arn:aws:glue:eu-west-1:111122223333:database/tickets",
        status: "NEEDS_ATTENTION",
        age: 30.0 * DAY,
        config: Some((Some("60"), true)),
        properties: &[("secretArn", SECRET)],
        errors: &[
            (
                Some("InvalidCredentials"),
                Some("The source rejected the user name or password of the connection."),
            ),
            (
                Some("SourceEntityNotFound"),
                Some("The entity incident_task does not exist in the source any more."),
            ),
        ],
    },
    Row {
        arn: "arn:aws:glue:eu-west-1:111122223333:integration:6f7e8d9c-aeb1-4c2d-93e4-f50617283907",
        name: "billing-aurora",
        source: "arn:aws:rds:eu-west-1:111122223333:cluster:billing",
        target: "arn:aws:redshift:eu-west-1:111122223333:namespace:1e0d9c8b-7a6f-4e5d-9c3b-2a1908172635",
        status: "SYNCING",
        age: 64.0 * DAY,
        config: Some((Some("30"), true)),
        properties: &[],
        errors: &[(
            Some("TableResync"),
            Some("The table invoices changed its primary key and is seeded again."),
        )],
    },
    Row {
        arn: "arn:aws:glue:eu-west-1:111122223333:integration:7a8f9e0d-bfc2-4d3e-a4f5-061728394a08",
        name: "sessions-snapshot",
        source: "arn:aws:dynamodb:eu-west-1:111122223333:table/sessions",
        target: "arn:aws:glue:eu-west-1:111122223333:database/orders",
        status: "ACTIVE",
        age: 3.0 * DAY,
        config: Some((None, false)),
        properties: &[],
        errors: &[],
    },
    Row {
        arn: "arn:aws:glue:us-east-1:111122223333:integration:8b90af1e-c0d3-4e4f-b506-1728394a5b09",
        name: "salesforce-us",
        source: "arn:aws:glue:us-east-1:111122223333:connection/salesforce-us",
        target: "arn:aws:glue:us-east-1:111122223333:database/crm_us",
        status: "CREATING",
        age: 900.0,
        config: Some((Some("60"), true)),
        properties: &[("secretArn", SECRET)],
        errors: &[],
    },
    Row {
        arn: "arn:aws:glue:us-east-1:111122223333:integration:9ca1b02f-d1e4-4f50-8617-28394a5b6c10",
        name: "inventory",
        source: "arn:aws:dynamodb:us-east-1:111122223333:table/inventory",
        target: "arn:aws:redshift-serverless:us-east-1:111122223333:namespace/8a4d2b63-5c7e-4f90-ab1c-2d3e4f5a6b7c",
        status: "FAILED",
        age: 150.0 * DAY,
        config: Some((Some("15"), true)),
        properties: &[],
        errors: &[
            (
                Some("KmsKeyDisabled"),
                Some("The KMS key of the integration is disabled. Create the integration anew."),
            ),
            (None, Some("The integration cannot be recovered.")),
            (Some("TargetUnavailable"), None),
        ],
    },
    Row {
        arn: "arn:aws:glue:us-east-1:444455556666:integration:adb2c130-e2f5-4061-9728-394a5b6c7d11",
        name: "partner-orders",
        source: "arn:aws:dynamodb:us-east-1:444455556666:table/partner-orders",
        target: "arn:aws:glue:us-east-1:111122223333:catalog/partners",
        status: "DELETING",
        age: 400.0 * DAY,
        config: Some((Some("720"), true)),
        properties: &[],
        errors: &[],
    },
    Row {
        arn: "arn:aws:glue:us-east-1:111122223333:integration:bec3d241-f306-4172-a839-4a5b6c7d8e12",
        name: "dms-legacy",
        source: "arn:aws:dms:us-east-1:111122223333:endpoint:LEGACYERP",
        target: "arn:aws:redshift:us-east-1:111122223333:namespace:2f1e0d9c-8b7a-4f6e-ad4c-3b2a19081726",
        status: "active",
        age: 700.0 * DAY,
        config: None,
        properties: &[],
        errors: &[],
    },
];

/// Returns the integrations of the demo account. `now` is the Unix time in seconds.
pub(super) fn integrations(now: f64) -> Vec<SimulatedIntegration> {
    ROWS.iter().map(|row| integration(row, now)).collect()
}

fn integration(row: &Row, now: f64) -> SimulatedIntegration {
    let config = row
        .config
        .map(|(refresh_interval, continuous_sync)| SimulatedConfig {
            refresh_interval: refresh_interval.map(str::to_owned),
            source_properties: row
                .properties
                .iter()
                .map(|(key, value)| (key.to_string(), value.to_string()))
                .collect(),
            continuous_sync: Some(continuous_sync),
            target_namespace: row
                .target
                .contains("s3tablescatalog/")
                .then(|| row.name.replace('-', "_")),
        });
    let error = |(code, message): &ErrorRow| SimulatedError {
        code: code.map(str::to_owned),
        message: message.map(str::to_owned),
    };
    SimulatedIntegration {
        create_time: now - row.age,
        config,
        errors: (!row.errors.is_empty()).then(|| row.errors.iter().map(error).collect()),
        name: row.name.to_owned(),
        tags: vec![("team".to_owned(), "data-platform".to_owned())],
        ..SimulatedIntegration::new(row.arn, row.source, row.target, row.status)
    }
}
