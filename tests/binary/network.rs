//! The way to AWS: CA bundles and proxies, as AWS's other tools take them.

use std::fs;

use rustix::process::Signal;

use crate::cloud::{Answer, Asked, Cloud, in_seconds};
use crate::exposition::Scrape;
use crate::support::{SECRET_KEY, SOON, Setup, until};

const ROLE: &str = "arn:aws:iam::111122223333:role/reader";
const CONFIG: &str = "polling: {interval: 1h}\nscopes: [{name: all, regions: [eu-west-1]}]\n";

/// STS issues credentials for a web identity, and Glue lists an integration.
fn answer(asked: &Asked) -> Answer {
    if asked.field("Action").is_empty() {
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

/// Everything is asked through the proxy over TLS, the credentials too.
fn proxied(cloud: &Cloud) -> Setup {
    let setup = Setup::bare()
        .file("config.yaml", CONFIG)
        .file("token", "web-token");
    let token = setup.path("token").display().to_string();
    setup
        .file("authority.pem", &cloud.authority())
        .file("other.pem", &Cloud::start(answer).authority())
        .env("HTTPS_PROXY", &cloud.url())
        .env("AWS_WEB_IDENTITY_TOKEN_FILE", &token)
        .env("AWS_ROLE_ARN", ROLE)
}

/// Keys, and an endpoint that is asked with plain HTTP.
fn plain(cloud: &Cloud) -> Setup {
    Setup::bare()
        .file("config.yaml", CONFIG)
        .env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
        .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
        .env("AWS_ENDPOINT_URL_GLUE", &cloud.url())
        // There is none.
        .env("HTTP_PROXY", "http://127.0.0.1:9")
}

/// Why the polls of this scope failed; empty if they got everything.
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

/// Neither `check` nor the daemon nor `once` starts. Returns what they say.
fn refusal(setup: &Setup) -> String {
    let said = [
        &["check"][..],
        &["once"],
        &["--web.listen-address=127.0.0.1:0"],
    ]
    .map(|args| {
        let ended = setup.run(args);
        assert_eq!(ended.code, Some(2), "{args:?}: {}", ended.stderr);
        assert_eq!(ended.stdout, "");
        // The log lines of a daemon are before it.
        let lines = ended
            .stderr
            .lines()
            .filter(|line| !line.starts_with("time="));
        lines.collect::<Vec<_>>().join("\n")
    });
    assert_eq!(said[0], said[1]);
    assert_eq!(said[0], said[2]);
    said[0].clone()
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
    assert_eq!(cloud.asked_of("sts.").len(), 1);
    assert_eq!(cloud.asked_of("glue.").len(), 1);
    // What the system trusts is not trusted beside it.
    let system = || bundle(proxied(&cloud), "SSL_CERT_FILE", "authority.pem");
    assert_eq!(failure(&system(), "all"), "");
    let setup = bundle(system(), "AWS_CA_BUNDLE", "other.pem");
    assert_eq!(failure(&setup, "all"), "credentials");
    // Empty is not set.
    assert_eq!(failure(&system().env("AWS_CA_BUNDLE", ""), "all"), "");
}

#[test]
fn ca_bundle_of_profile_holds_for_its_scope() {
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
    // The variable wins.
    let path = setup.path("authority.pem").display().to_string();
    let setup = setup.env("AWS_CA_BUNDLE", &path);
    assert_eq!(failure(&setup, "b"), "");
    assert_eq!(failure(&setup, "c"), "");
}

#[test]
fn ca_bundle_change_is_taken_by_reload() {
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
    until("the reload is refused", SOON, || {
        let log = daemon.process.stderr();
        log.contains("AWS_CA_BUNDLE: ").then_some(())
    });
    fs::copy(setup.path("authority.pem"), setup.path("bundle.pem")).unwrap();
    daemon.process.signal(Signal::HUP);
    up(1.0);
}

#[test]
fn ca_bundle_that_cannot_be_used_is_named() {
    let cloud = Cloud::start(answer);
    for (file, why) in [
        ("missing.pem", "No such file"),
        ("token", "has no CA certificate"),
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
        let said = refusal(&by_profile);
        assert!(
            said.starts_with("ca_bundle of the profile lake: "),
            "{said}"
        );
        assert!(said.contains(why) && said.contains(&path), "{said}");
        let said = refusal(&by_profile.env("AWS_CA_BUNDLE", &path));
        assert!(said.starts_with("AWS_CA_BUNDLE: "), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

#[test]
fn no_proxy_holds_for_addresses_and_ports() {
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
fn proxy_that_cannot_be_read_is_named() {
    let cloud = Cloud::start(answer);
    for (name, value) in [
        ("HTTPS_PROXY", "http://user:p^sswort@127.0.0.1:9"),
        ("https_proxy", "http//127.0.0.1:9"),
        ("ALL_PROXY", "socks5://user:p^sswort@127.0.0.1:9"),
        ("HTTPS_PROXY", "\"http://127.0.0.1:9\""),
        ("HTTPS_PROXY", "http://user:p^sswort@127.0.0.1:9 "),
    ] {
        let said = refusal(&plain(&cloud).env(name, value));
        assert!(
            said.starts_with(&format!("{name} is not the URL of a proxy")),
            "{said}"
        );
        assert!(said.contains("allowed: http://host:port"), "{said}");
        assert!(!said.contains("sswort"), "{said}");
    }
    // No request could take it.
    let unused = plain(&cloud)
        .env("HTTPS_PROXY", "http//a")
        .env("NO_PROXY", "*");
    assert_eq!(failure(&unused, "all"), "");
    assert_eq!(unused.run(&["check"]).code, Some(0));
    // Nor is it of use to a command that asks AWS nothing.
    let iam = plain(&cloud).env("HTTPS_PROXY", "http//a").run(&["iam"]);
    assert_eq!(iam.code, Some(0), "{}", iam.stderr);
}

/// The password is what the URL's encoding stands for.
#[test]
fn proxy_password_is_decoded() {
    let cloud = Cloud::start(answer);
    let proxy = cloud.url().replace("http://", "http://user:p%5E%40ss@");
    let setup = plain(&cloud)
        .env("AWS_ENDPOINT_URL_GLUE", "http://glue.example")
        .env("HTTP_PROXY", &proxy);
    assert_eq!(failure(&setup, "all"), "");
    let asked = cloud.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].host, "glue.example");
    assert_eq!(
        asked[0].header("proxy-authorization"),
        "Basic dXNlcjpwXkBzcw=="
    );
}
