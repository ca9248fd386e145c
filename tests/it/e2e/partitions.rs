//! The hosts of Glue, CloudWatch and STS in each partition, with the SDK's switches for FIPS and dual-stack endpoints.

use std::fs;
use std::sync::Arc;

use serde_json::Value;

use crate::e2e::cloud::{Answer, Cloud, Request};
use crate::e2e::doubles::{ASSUMED_KEY, sts_answer};
use crate::e2e::exposition::Scrape;
use crate::e2e::support::{SECRET_KEY, Setup};

const FIPS: &str = "AWS_USE_FIPS_ENDPOINT=true";
const DUAL_STACK: &str = "AWS_USE_DUALSTACK_ENDPOINT=true";

/// Partition, region and switches. Upper case switches are environment variables, lower case ones are profile keys.
const CASES: &[(&str, &str, &[&str])] = &[
    ("aws", "eu-west-1", &[]),
    ("aws", "us-east-1", &[FIPS]),
    ("aws", "us-west-2", &["use_fips_endpoint = true"]),
    ("aws", "eu-west-1", &[DUAL_STACK]),
    ("aws", "eu-west-1", &["use_dualstack_endpoint = true"]),
    ("aws", "us-east-2", &[FIPS, DUAL_STACK]),
    ("aws-cn", "cn-north-1", &[]),
    ("aws-cn", "cn-northwest-1", &[DUAL_STACK]),
    ("aws-us-gov", "us-gov-east-1", &[]),
    ("aws-us-gov", "us-gov-west-1", &[FIPS]),
];

/// Answers with the role's credentials, or with one integration in the region of the signature.
fn respond(partition: &str, request: &Request) -> Answer {
    if !request.is_signed_with(SECRET_KEY) {
        return Answer::glue_error("InvalidSignatureException", "invalid signature");
    }
    if request.host.starts_with("sts") {
        assert_eq!(request.field("RoleArn"), role(partition));
        return sts_answer(&request.form(), Ok("3000-01-01T00:00:00Z")).into();
    }
    Answer::integrations(&[integration(partition, &request.signed().region)])
}

fn role(partition: &str) -> String {
    format!("arn:{partition}:iam::111122223333:role/reader")
}

fn integration(partition: &str, region: &str) -> String {
    format!("arn:{partition}:glue:{region}:111122223333:integration:a")
}

/// A scope that assumes a role, directly or through its profile.
fn setup(
    cloud: &Cloud,
    by_profile: bool,
    (partition, region, switches): (&str, &str, &[&str]),
) -> Setup {
    let (role, arn) = (role(partition), integration(partition, region));
    let keys = format!("aws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = {SECRET_KEY}\n");
    let (of_scope, mut profile) = if by_profile {
        (
            String::new(),
            format!("role_arn = {role}\nsource_profile = keys\n"),
        )
    } else {
        (format!("role_arn: '{role}', "), keys.clone())
    };
    let config =
        format!("scopes: [{{name: all, profile: lake, {of_scope}integration_arns: ['{arn}']}}]\n");
    let mut setup = Setup::bare()
        .file("config.yaml", &config)
        .env("AWS_EC2_METADATA_DISABLED", "true");
    for switch in switches {
        match switch.split_once('=') {
            Some((name, value)) if name.starts_with("AWS_") => setup = setup.env(name, value),
            _ => profile += &format!("{switch}\n"),
        }
    }
    let setup = setup.file(
        "profiles",
        &format!("[profile lake]\n{profile}[profile keys]\n{keys}"),
    );
    let path = setup.path("profiles").display().to_string();
    cloud.around(setup.env("AWS_CONFIG_FILE", &path))
}

/// Polls once. Returns the request to STS and the request to Glue.
fn poll(by_profile: bool, case: (&'static str, &str, &[&str])) -> [Arc<Request>; 2] {
    let (partition, region, _) = case;
    let cloud = Cloud::start(move |request| respond(partition, request));
    let ended = setup(&cloud, by_profile, case).run(&["once"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let page = Scrape::of(&ended.stdout);
    assert_eq!(page.status(&integration(partition, region)), Some("ACTIVE"));
    let [sts, glue] = <[Arc<Request>; 2]>::try_from(cloud.requests()).unwrap();
    for (request, service, key) in [(&sts, "sts", "AKIDEXAMPLE"), (&glue, "glue", ASSUMED_KEY)] {
        let signed = request.signed();
        assert_eq!(
            (&*signed.access_key_id, &*signed.region, &*signed.service),
            (key, region, service)
        );
        assert_eq!(request.header("host"), request.host);
    }
    [sts, glue]
}

/// Returns the host of the requests to CloudWatch.
fn cloudwatch_host(case: (&'static str, &str, &[&str])) -> String {
    let (_, region, _) = case;
    let cloud = Cloud::start(|_| Answer::text(403, ""));
    let setup = setup(&cloud, false, case);
    let config =
        format!("scopes: [{{name: a, profile: lake, regions: [{region}], freshness: true}}]");
    fs::write(setup.path("config.yaml"), config).unwrap();
    let ended = setup.run(&["check", "--online"]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let requests = cloud.requests();
    let requests = requests
        .iter()
        .filter(|request| request.signed().service == "monitoring");
    let [metrics, data] = requests.collect::<Vec<_>>()[..] else {
        panic!("{}", ended.stdout);
    };
    assert_eq!(metrics.host, data.host);
    metrics.host.clone()
}

/// docs/permissions.md includes this table.
#[test]
fn partition_and_switches_select_hosts() {
    let mut table = String::from(
        "| region | switches | Glue endpoint | CloudWatch endpoint | STS endpoint |\n|---|---|---|---|---|\n",
    );
    for case in CASES {
        let [sts, glue] = poll(false, *case);
        let (_, region, switches) = case;
        let switches: Vec<String> = switches
            .iter()
            .map(|switch| format!("`{switch}`"))
            .collect();
        table += &format!(
            "| `{region}` | {} | `{}` | `{}` | `{}` |\n",
            switches.join(", "),
            glue.host,
            cloudwatch_host(*case),
            sts.host
        );
        // The same hosts if the profile assumes the role.
        let by_profile = poll(true, *case).map(|request| request.host.clone());
        assert_eq!(by_profile, [&*sts.host, &*glue.host], "{case:?}");
    }
    if std::env::var_os("UPDATE").is_some() {
        fs::write("tests/partitions/hosts.md", &table).unwrap();
    }
    let expected = fs::read_to_string("tests/partitions/hosts.md").unwrap_or_default();
    assert_eq!(table, expected, "UPDATE=1 writes it anew");
}

#[test]
fn check_and_iam_use_the_partition() {
    let cloud = Cloud::start(|_| Answer::text(500, ""));
    for (partition, region) in [
        ("aws", "eu-west-1"),
        ("aws-cn", "cn-north-1"),
        ("aws-us-gov", "us-gov-west-1"),
    ] {
        let setup = setup(&cloud, false, (partition, region, &[]));
        let check = setup.run(&["check"]);
        assert_eq!(check.code, Some(0), "{}", check.stderr);
        assert!(check.stdout.contains(&role(partition)));
        let iam = setup.run(&["iam"]);
        assert_eq!(iam.code, Some(0), "{}", iam.stderr);
        let json: Value = serde_json::from_str(&iam.stdout).unwrap();
        assert_eq!(json["identities"][0]["partition"], partition);
        let arns = format!("arn:{partition}:");
        assert_eq!(
            iam.stdout.matches("arn:").count(),
            iam.stdout.matches(&arns).count(),
            "{}",
            iam.stdout
        );
        // A role of another partition cannot be assumed.
        let config = fs::read_to_string(setup.path("config.yaml")).unwrap();
        let config = config.replace(&role(partition), &role("aws-iso"));
        fs::write(setup.path("config.yaml"), config).unwrap();
        let refused = setup.run(&["check"]);
        assert_eq!(refused.code, Some(2));
        let told = format!("but {region} is not; allowed: a role in the partition `{partition}`");
        assert!(refused.stderr.contains(&told), "{}", refused.stderr);
    }
    assert!(cloud.requests().is_empty());
}
