//! CA bundles and proxies, which work as in other AWS tools.

use std::fs;

use rustix::process::Signal;

use crate::e2e::cloud::{Answer, Cloud, Request, in_seconds};
use crate::e2e::exposition::Scrape;
use crate::e2e::support::{SECRET_KEY, SOON, Setup, until};

const ROLE: &str = "arn:aws:iam::111122223333:role/reader";
const CONFIG: &str = "polling: {interval: 1h}\nscopes: [{name: all, regions: [eu-west-1]}]\n";

const BROKEN: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";

/// STS issues credentials for a web identity, and Glue lists an integration.
fn answer(request: &Request) -> Answer {
    if request.field("Action").is_empty() {
        return Answer::integrations(&[
            "arn:aws:glue:eu-west-1:111122223333:integration:a".to_owned()
        ]);
    }
    let action = "AssumeRoleWithWebIdentity";
    Answer::text(
        200,
        format!(
            "<{action}Response><{action}Result><Credentials><AccessKeyId>ASIAISSUED</AccessKeyId>\
             <SecretAccessKey>{SECRET_KEY}</SecretAccessKey><SessionToken>t</SessionToken><Expiration>{}</Expiration></Credentials>\
             </{action}Result></{action}Response>",
            in_seconds(3600.0)
        ),
    )
}

/// Sends all requests, also for credentials, through the proxy over TLS.
fn proxied(cloud: &Cloud) -> Setup {
    let setup = Setup::bare()
        .file("config.yaml", CONFIG)
        .file("token", "web-token");
    let token = setup.path("token").display().to_string();
    setup
        // An unusable certificate does not invalidate the others.
        .file(
            "authority.pem",
            &format!("# an authority\n{BROKEN}{}", cloud.authority()),
        )
        .file("broken.pem", BROKEN)
        .file("other.pem", &Cloud::start(answer).authority())
        .env("HTTPS_PROXY", &cloud.url())
        .env("AWS_WEB_IDENTITY_TOKEN_FILE", &token)
        .env("AWS_ROLE_ARN", ROLE)
}

/// Uses keys and an endpoint with plain HTTP.
fn plain(cloud: &Cloud) -> Setup {
    Setup::bare()
        .file("config.yaml", CONFIG)
        .env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
        .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
        .env("AWS_ENDPOINT_URL_GLUE", &cloud.url())
        // This proxy does not exist.
        .env("HTTP_PROXY", "http://127.0.0.1:9")
}

/// Returns the failure reason of the scope, or an empty string if its poll succeeded.
fn failure(setup: &Setup, scope: &str) -> String {
    let ended = setup.run(&["once"]);
    let scrape = Scrape::of(&ended.stdout);
    let failures = scrape.rows(
        "glue_integration_exporter_poll_failures_total",
        &[("scope", scope)],
    );
    let failed = failures.into_iter().find(|(_, count)| *count > 0.0);
    let reason = failed.map(|(labels, _)| labels["reason"].clone());
    let up = scrape.of_scope("scope_up", scope);
    assert_eq!(up, Some(f64::from(reason.is_none())), "{}", ended.stderr);
    reason.unwrap_or_default()
}

/// Checks that `check`, `once` and the daemon fail with the same error. Returns the error.
fn start_error(setup: &Setup) -> String {
    let errors = [
        &["check"][..],
        &["once"],
        &["--web.listen-address=127.0.0.1:0"],
    ]
    .map(|args| {
        let ended = setup.run(args);
        assert_eq!(ended.code, Some(2), "{args:?}: {}", ended.stderr);
        assert_eq!(ended.stdout, "");
        // The daemon logs lines before the error.
        let lines = ended
            .stderr
            .lines()
            .filter(|line| !line.starts_with("time="));
        lines.collect::<Vec<_>>().join("\n")
    });
    assert_eq!(errors[0], errors[1]);
    assert_eq!(errors[0], errors[2]);
    errors[0].clone()
}

#[test]
fn ca_bundle_variable_replaces_system_store() {
    let cloud = Cloud::start(answer);
    let bundle = |setup: Setup, name: &str, file: &str| {
        let path = setup.path(file).display().to_string();
        setup.env(name, &path)
    };
    let setup = bundle(proxied(&cloud), "AWS_CA_BUNDLE", "authority.pem");
    assert_eq!(failure(&setup, "all"), "");
    assert_eq!(cloud.requests_to("sts.").len(), 1);
    assert_eq!(cloud.requests_to("glue.").len(), 1);
    // The bundle replaces the system's CA certificates.
    let system = || bundle(proxied(&cloud), "SSL_CERT_FILE", "authority.pem");
    assert_eq!(failure(&system(), "all"), "");
    let setup = bundle(system(), "AWS_CA_BUNDLE", "other.pem");
    assert_eq!(failure(&setup, "all"), "credentials");
    // An empty variable counts as not set.
    assert_eq!(failure(&system().env("AWS_CA_BUNDLE", ""), "all"), "");
}

#[test]
fn ca_bundle_of_profile_applies_to_its_scope() {
    let cloud = Cloud::start(answer);
    let setup = proxied(&cloud);
    let keys = format!("aws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = {SECRET_KEY}\n");
    let ca = |file: &str| format!("ca_bundle = {}\n", setup.path(file).display());
    let profiles = format!(
        "[profile a]\n{keys}{}[profile b]\n{keys}{}[profile c]\n{keys}",
        ca("authority.pem"),
        ca("other.pem")
    );
    fs::create_dir(setup.path(".aws")).unwrap();
    let scopes = ["a", "b", "c"]
        .map(|name| format!("{{name: {name}, profile: {name}, regions: [eu-west-1]}}"));
    let setup = setup
        .file(".aws/config", &profiles)
        .file("config.yaml", &format!("scopes: [{}]\n", scopes.join(", ")));
    assert_eq!(failure(&setup, "a"), "");
    assert_eq!(failure(&setup, "b"), "network");
    assert_eq!(failure(&setup, "c"), "network");
    // The variable takes precedence.
    let path = setup.path("authority.pem").display().to_string();
    let setup = setup.env("AWS_CA_BUNDLE", &path);
    assert_eq!(failure(&setup, "b"), "");
    assert_eq!(failure(&setup, "c"), "");
}

#[test]
fn ca_bundle_change_is_applied_by_reload() {
    let cloud = Cloud::start(answer);
    let setup = proxied(&cloud);
    let path = setup.path("bundle.pem").display().to_string();
    let setup = setup
        .file("bundle.pem", &Cloud::start(answer).authority())
        .file("config.yaml", &CONFIG.replace("1h", "10s"))
        .env("AWS_CA_BUNDLE", &path);
    let daemon = setup.daemon(&[]);
    let up = |value: f64| {
        until("the scope is polled", SOON, || {
            (daemon.scrape().of_scope("scope_up", "all") == Some(value)).then_some(())
        });
    };
    up(0.0);
    fs::write(setup.path("bundle.pem"), "no certificate").unwrap();
    daemon.process.signal(Signal::HUP);
    until("the reload fails", SOON, || {
        let log = daemon.process.stderr();
        log.contains("AWS_CA_BUNDLE: ").then_some(())
    });
    fs::copy(setup.path("authority.pem"), setup.path("bundle.pem")).unwrap();
    daemon.process.signal(Signal::HUP);
    up(1.0);
}

#[test]
fn ca_bundle_invalid_is_reported() {
    let cloud = Cloud::start(answer);
    for (file, why) in [
        ("missing.pem", "No such file"),
        ("token", "has no CA certificate"),
        ("broken.pem", "has no CA certificate"),
        ("fifo", "allowed: a regular file"),
        (".aws", "allowed: a regular file"),
    ] {
        let setup = proxied(&cloud);
        fs::create_dir(setup.path(".aws")).unwrap();
        let made = setup.command("/bin/sh", &["-c", "PATH=/usr/bin:/bin mkfifo fifo"]);
        assert!({ made }.status().unwrap().success());
        let path = setup.path(file).display().to_string();
        let profile = format!("[profile lake]\nca_bundle = {path}\n");
        let by_profile = setup
            .file(".aws/config", &profile)
            .file("config.yaml", "scopes: [{name: a, profile: lake, regions: [eu-west-1]}, {name: b, regions: [eu-west-1]}]\n");
        let errors = start_error(&by_profile);
        assert!(
            errors.starts_with("ca_bundle of the profile lake: "),
            "{errors}"
        );
        assert!(errors.contains(why) && errors.contains(&path), "{errors}");
        let errors = start_error(&by_profile.env("AWS_CA_BUNDLE", &path));
        assert!(errors.starts_with("AWS_CA_BUNDLE: "), "{errors}");
        assert_eq!(errors.lines().count(), 1, "{errors}");
    }
}

#[test]
fn no_proxy_applies_to_addresses_and_ports() {
    let cloud = Cloud::start(answer);
    let address = cloud.url().replace("http://", "");
    for list in [
        "*",
        &address,
        "127.0.0.1",
        "127.0.0.0/8",
        &format!("a, {address}"),
    ] {
        let setup = plain(&cloud).env("NO_PROXY", list);
        assert_eq!(failure(&setup, "all"), "", "{list}");
    }
    for list in ["", "127.0.0.1:1", "**"] {
        let setup = plain(&cloud).env("NO_PROXY", list);
        assert_eq!(failure(&setup, "all"), "network", "{list}");
    }
}

#[test]
fn proxy_invalid_url_is_reported() {
    let cloud = Cloud::start(answer);
    for (name, value) in [
        ("HTTPS_PROXY", "http://user:p^sswort@127.0.0.1:9"),
        ("https_proxy", "http//127.0.0.1:9"),
        ("ALL_PROXY", "socks5://user:p^sswort@127.0.0.1:9"),
        ("HTTPS_PROXY", "\"http://127.0.0.1:9\""),
        ("HTTPS_PROXY", "http://user:p^sswort@127.0.0.1:9 "),
        ("HTTP_PROXY", "http://user:p@sswort@127.0.0.1:9"),
        ("HTTP_PROXY", "http://user:1#sswort@127.0.0.1:9"),
        ("http_proxy", "http://user:1/sswort@127.0.0.1:9"),
        ("all_proxy", "http://user:sswort@:9"),
        ("ALL_PROXY", "http://127.0.0.1:sswort"),
    ] {
        let errors = start_error(&plain(&cloud).env(name, value));
        assert!(
            errors.starts_with(&format!("{name} is not a valid proxy URL")),
            "{errors}"
        );
        assert!(errors.contains("allowed: http://host:port"), "{errors}");
        assert!(!errors.contains("sswort"), "{errors}");
    }
    for valid in [
        "proxy",
        "proxy:3128",
        "HTTP://proxy:3128/",
        "user:password@proxy:3128",
        "http://[::1]:3128",
    ] {
        let checked = plain(&cloud).env("HTTPS_PROXY", valid).run(&["check"]);
        assert_eq!(checked.code, Some(0), "{}", checked.stderr);
    }
    // `NO_PROXY=*` disables the proxy, so its value does not matter.
    let unused = plain(&cloud)
        .env("HTTPS_PROXY", "http//a")
        .env("NO_PROXY", "*");
    assert_eq!(failure(&unused, "all"), "");
    assert_eq!(unused.run(&["check"]).code, Some(0));
    // `iam` sends no requests, so the value does not matter.
    let iam = plain(&cloud).env("HTTPS_PROXY", "http//a").run(&["iam"]);
    assert_eq!(iam.code, Some(0), "{}", iam.stderr);
}

/// The password in the URL is percent-encoded.
#[test]
fn proxy_password_is_decoded() {
    let cloud = Cloud::start(answer);
    let proxy = cloud.url().replace("http://", "http://user:p%5E%40ss@");
    let setup = plain(&cloud)
        .env("AWS_ENDPOINT_URL_GLUE", "http://glue.example")
        .env("HTTP_PROXY", &proxy);
    assert_eq!(failure(&setup, "all"), "");
    let requests = cloud.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].host, "glue.example");
    assert_eq!(
        requests[0].header("proxy-authorization"),
        "Basic dXNlcjpwXkBzcw=="
    );
}
