//! Arbitrary values in the environment and the AWS configuration files cause no panic, and invalid values are reported.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::process::Output;
use std::sync::Mutex;

use glue_integration_exporter::simulator::Account;
use rustix::process::Signal;

use crate::e2e::exposition::Scrape;
use crate::e2e::support::{SECRET_KEY, SOON, Setup, Sim, integration, simulator, until};

/// All variables that the SDK or other AWS tools read.
const VARIABLES: [&str; 42] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_ACCOUNT_ID",
    "AWS_ACCOUNT_ID_ENDPOINT_MODE",
    "AWS_AUTH_SCHEME_PREFERENCE",
    "AWS_CA_BUNDLE",
    "AWS_CONFIG_FILE",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_DEFAULT_REGION",
    "AWS_DISABLE_CLOCK_SKEW_CORRECTION",
    "AWS_DISABLE_REQUEST_COMPRESSION",
    "AWS_EC2_METADATA_SERVICE_ENDPOINT",
    "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_CLOUDWATCH",
    "AWS_ENDPOINT_URL_GLUE",
    "AWS_ENDPOINT_URL_SSO",
    "AWS_ENDPOINT_URL_STS",
    "AWS_EXECUTION_ENV",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
    "AWS_LAMBDA_FUNCTION_NAME",
    "AWS_LOGIN_CACHE_DIRECTORY",
    "AWS_MAX_ATTEMPTS",
    "AWS_NEW_RETRIES_2026",
    "AWS_PROFILE",
    "AWS_REGION",
    "AWS_REQUEST_CHECKSUM_CALCULATION",
    "AWS_REQUEST_MIN_COMPRESSION_SIZE_BYTES",
    "AWS_RESPONSE_CHECKSUM_VALIDATION",
    "AWS_RETRY_MODE",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_SDK_UA_APP_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_SIGV4A_SIGNING_REGION_SET",
    "AWS_USE_DUALSTACK_ENDPOINT",
    "AWS_USE_FIPS_ENDPOINT",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
];
/// All profile keys that the SDK reads.
const KEYS: [&str; 36] = [
    "account_id_endpoint_mode",
    "auth_scheme_preference",
    "aws_access_key_id",
    "aws_account_id",
    "aws_secret_access_key",
    "aws_session_token",
    "ca_bundle",
    "credential_process",
    "credential_source",
    "disable_clock_skew_correction",
    "disable_request_compression",
    "duration_seconds",
    "endpoint_url",
    "external_id",
    "ignore_configured_endpoint_urls",
    "login_session",
    "max_attempts",
    "region",
    "request_checksum_calculation",
    "request_min_compression_size_bytes",
    "response_checksum_validation",
    "retry_mode",
    "role_arn",
    "role_session_name",
    "sdk_ua_app_id",
    "services",
    "sigv4a_signing_region_set",
    "source_profile",
    "sso_account_id",
    "sso_region",
    "sso_role_name",
    "sso_session",
    "sso_start_url",
    "use_dualstack_endpoint",
    "use_fips_endpoint",
    "web_identity_token_file",
];
const CONFIG: &str =
    "polling: {interval: 10s, timeout: 3s}\nscopes: [{name: swept, regions: [eu-west-1]PROFILE}]";
const UP: &str = "glue_integration_exporter_scope_up{scope=\"swept\",aws_region=\"eu-west-1\"} 1\n";

fn values() -> [(&'static str, Vec<u8>); 7] {
    [
        ("empty", Vec::new()),
        ("wrong", b"wr ong://".to_vec()),
        ("zero", b"0".to_vec()),
        ("huge", vec![b'9'; 100_000]),
        ("not ASCII", "é中\u{85}".into()),
        ("a line break", b"value\n".to_vec()),
        ("not UTF-8", vec![0xff, 0xfe]),
    ]
}

fn sim() -> Sim {
    simulator(Account::of(vec![integration("eu-west-1", "a", "ACTIVE")]))
}

fn setup(sim: &Sim, profile: &str) -> Setup {
    Setup::new(sim, &CONFIG.replace("PROFILE", profile))
        .file("none", "")
        .env("AWS_CONFIG_FILE", "none")
        .env("AWS_SHARED_CREDENTIALS_FILE", "none")
}

fn once(setup: &Setup, variables: &[(&str, OsString)]) -> Output {
    let binary = env!("CARGO_BIN_EXE_glue-integration-exporter");
    setup
        .command(binary, &["once"])
        .envs(variables.iter().cloned())
        .output()
        .unwrap()
}

/// Checks that the command exits with a documented code and prints a message if it fails.
fn assert_no_panic(name: &str, output: &Output) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    let code = output.status.code();
    assert!(!stderr.contains("panicked"), "{name}: {stderr}");
    assert!(matches!(code, Some(0..=2)), "{name}: {code:?} {stderr}");
    assert!(code == Some(0) || !stderr.is_empty(), "{name}: no message");
}

/// Runs the cases on four threads.
fn in_parallel<T: Send>(cases: Vec<T>, run: impl Fn(T) + Sync) {
    let cases = Mutex::new(cases);
    let next = || cases.lock().unwrap().pop();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some(case) = next() {
                    run(case);
                }
            });
        }
    });
}

#[test]
fn environment_with_any_value_never_panics() {
    let sim = sim();
    let setup = setup(&sim, "");
    let cases: Vec<_> = VARIABLES
        .iter()
        .flat_map(|name| values().map(|(kind, value)| (*name, kind, value)))
        .collect();
    in_parallel(cases, |(name, kind, value)| {
        let output = once(&setup, &[(name, OsString::from_vec(value))]);
        assert_no_panic(&format!("{name} is {kind}"), &output);
        // The exporter ignores these variables, and an empty variable counts as not set.
        let ignored = ["AWS_RETRY_MODE", "AWS_MAX_ATTEMPTS"].contains(&name);
        let needed = [
            "AWS_ACCESS_KEY_ID",
            "AWS_SECRET_ACCESS_KEY",
            "AWS_ENDPOINT_URL_GLUE",
        ];
        if kind != "not UTF-8" && ignored || kind == "empty" && !needed.contains(&name) {
            let page = String::from_utf8_lossy(&output.stdout);
            assert!(page.contains(UP), "{name} is {kind}: {output:?}");
        }
    });
}

#[test]
fn profile_with_any_value_never_panics() {
    let sim = sim();
    let cases: Vec<_> = KEYS
        .iter()
        .flat_map(|key| values().map(|(kind, value)| (*key, kind, value)))
        .collect();
    in_parallel(cases, |(key, kind, value)| {
        let setup = setup(&sim, ", profile: swept");
        let mut profile = b"[profile base]\naws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = secret\n[profile swept]\n".to_vec();
        let others: &[(&str, &str)] = if key == "role_arn" || key == "source_profile" {
            &[
                ("role_arn", "arn:aws:iam::111122223333:role/r"),
                ("source_profile", "base"),
            ]
        } else {
            &[
                ("aws_access_key_id", "AKIDEXAMPLE"),
                ("aws_secret_access_key", SECRET_KEY),
            ]
        };
        for (other, value) in others.iter().filter(|(other, _)| *other != key) {
            profile.extend(format!("{other} = {value}\n").into_bytes());
        }
        profile.extend(format!("{key} = ").into_bytes());
        profile.extend(value);
        std::fs::write(setup.path("profiles"), profile).unwrap();
        // No server listens on the endpoint of STS.
        let output = once(
            &setup,
            &[
                ("AWS_CONFIG_FILE", "profiles".into()),
                ("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:9".into()),
            ],
        );
        assert_no_panic(&format!("{key} is {kind}"), &output);
        if kind != "not UTF-8" && ["retry_mode", "max_attempts"].contains(&key) {
            let page = String::from_utf8_lossy(&output.stdout);
            assert!(page.contains(UP), "{key} is {kind}: {output:?}");
        }
    });
}

/// A Kubernetes Secret that was created with `echo` ends with a line break.
#[test]
fn key_with_line_break_is_a_credentials_failure() {
    let sim = sim();
    let setup = setup(&sim, "");
    for (name, value, part) in [
        ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE\n", "access key ID"),
        (
            "AWS_SECRET_ACCESS_KEY",
            "AKIDEXAMPLE\n",
            "secret access key",
        ),
        // The SDK trims a session token.
        ("AWS_SESSION_TOKEN", "AKID\nEXAMPLE", "session token"),
    ] {
        let binary = env!("CARGO_BIN_EXE_glue-integration-exporter");
        let checked = setup.command(binary, &["check"]).env(name, value).output();
        let checked = String::from_utf8(checked.unwrap().stdout).unwrap();
        let warning = format!("Warning: {name} has a character that cannot be part of it");
        assert!(checked.contains(&warning), "{checked}");
        let output = once(&setup, &[(name, value.into())]);
        let (page, log) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        let failed = Scrape::of(&page).value(
            "glue_integration_exporter_poll_failures_total",
            &[("scope", "swept"), ("reason", "credentials")],
        );
        assert_eq!(failed, Some(1.0), "{name}: {log}");
        assert!(log.contains(part) && log.contains("line break"), "{log}");
        assert!(!log.contains("AKIDEXAMPLE"), "{log}");
    }
}

/// A reload that adds a scope with a broken profile does not affect other scopes.
#[test]
fn reload_with_broken_profile_keeps_running() {
    let sim = sim();
    let setup = setup(&sim, "").file(
        "profiles",
        &format!("[profile broken]\nmax_attempts =\nretry_mode = legacy\naws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = {SECRET_KEY}\n"),
    );
    let setup = setup.env("AWS_CONFIG_FILE", "profiles");
    let daemon = setup.daemon(&[]);
    let scope = |name: &str| {
        daemon.scrape().value(
            "glue_integration_exporter_scope_up",
            &[("scope", name), ("aws_region", "eu-west-1")],
        )
    };
    until("the first poll", SOON, || {
        (scope("swept") == Some(1.0)).then_some(())
    });
    let both = CONFIG.replace("PROFILE", "").replace(
        "]}]",
        "]}, {name: broken, regions: [eu-west-1], profile: broken}]",
    );
    std::fs::write(setup.path("config.yaml"), both).unwrap();
    daemon.process.signal(Signal::HUP);
    until("the new scope's poll", SOON, || {
        (scope("broken") == Some(1.0)).then_some(())
    });
    assert_eq!(scope("swept"), Some(1.0));
}

/// The SDK would block a shared thread until the pipe is written.
#[test]
fn aws_config_file_pipe_is_reported() {
    let sim = sim();
    let setup = setup(&sim, "");
    let made = setup.command("/bin/sh", &["-c", "PATH=/usr/bin:/bin mkfifo fifo"]);
    assert!({ made }.status().unwrap().success());
    for variable in ["AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"] {
        let output = once(&setup, &[(variable, "fifo".into())]);
        let log = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{log}");
        assert!(
            log.contains("fifo is a pipe") && log.contains("reason=credentials"),
            "{log}"
        );
    }
}

/// The SDK panics on an empty endpoint. AWS_ENDPOINT_URL_GLUE is empty here, which counts as not set.
#[test]
fn empty_endpoint_of_profile_is_reported() {
    let sim = sim();
    let keys = "aws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = secret\n";
    for (service, profile) in [
        ("Glue", format!("[default]\n{keys}endpoint_url =\n")),
        (
            "STS",
            format!("[default]\n{keys}services = s\n[services s]\nsts =\n  endpoint_url =\n"),
        ),
    ] {
        let setup = setup(&sim, "").file("profiles", &profile);
        let output = once(
            &setup,
            &[
                ("AWS_CONFIG_FILE", "profiles".into()),
                ("AWS_ENDPOINT_URL_GLUE", OsString::new()),
            ],
        );
        assert_no_panic(service, &output);
        let log = String::from_utf8_lossy(&output.stderr);
        let words = format!(
            "endpoint_url for {service} of the profile `default`, its `services` section or AWS_ENDPOINT_URL: the endpoint `` is not an http or https URL"
        );
        assert!(
            log.contains(&words) && log.contains("reason=credentials"),
            "{log}"
        );
    }
}
