//! Commands, flags and exit codes.

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

use glue_integration_exporter::simulator::{Account, Fault, FaultKind, RequestMatcher};

use crate::e2e::exposition::Scrape;
use crate::e2e::support::{ONE_SCOPE, Setup, arn, integration, request, simulator};

#[test]
fn version_and_help_exit_with_0() {
    let setup = Setup::bare();
    let version = setup.run(&["--version"]);
    assert_eq!(version.code, Some(0));
    assert!(
        version.stdout.contains(env!("CARGO_PKG_VERSION")),
        "{}",
        version.stdout
    );
    for args in [
        &["--help"][..],
        &["check", "--help"],
        &["once", "--help"],
        &["demo", "--help"],
        &["simulate", "--help"],
        &["iam", "--help"],
        &["health", "--help"],
        &["completions", "--help"],
    ] {
        let help = setup.run(args);
        assert_eq!(help.code, Some(0), "{args:?}");
        assert!(help.stdout.contains("Usage:"), "{args:?}");
        assert_eq!(help.stderr, "", "{args:?}");
    }
}

#[test]
fn help_has_every_flag_with_its_default() {
    let setup = Setup::bare();
    let help = setup.run(&["--help"]).stdout;
    // Returns the help text of one flag, from its name to the next flag.
    let help_of = |help: &str, flag: &str| {
        let start = help
            .find(&format!("--{flag}"))
            .unwrap_or_else(|| panic!("no --{flag} in:\n{help}"));
        let text = &help[start + 2..];
        text[..text.find("--").unwrap_or(text.len())].to_owned()
    };
    for (flag, default) in [
        ("config.file", "[default: config.yaml]"),
        ("shard.index", ""),
        ("shard.total", ""),
        ("web.listen-address", "[default: :10058]"),
        ("web.systemd-socket", ""),
        ("web.telemetry-path", "[default: /metrics]"),
        ("web.config.file", ""),
        ("web.probes-without-auth", ""),
        ("web.enable-lifecycle", ""),
        ("log.level", "[default: info]"),
        ("log.format", "[default: logfmt]"),
        ("version", ""),
        ("help", ""),
    ] {
        let text = help_of(&help, flag);
        assert!(text.contains(default), "{flag}: {text}");
        assert_eq!(text.contains("[default"), !default.is_empty(), "{text}");
    }
    for values in ["debug, info, warn, error", "logfmt, json"] {
        assert!(help.contains(values), "{help}");
    }
    for command in [
        "check",
        "once",
        "demo",
        "simulate",
        "iam",
        "health",
        "completions",
    ] {
        assert!(help.contains(&format!("\n  {command} ")), "{help}");
    }
    let simulate = setup.run(&["simulate", "--help"]).stdout;
    assert!(help_of(&simulate, "listen-address").contains("[default: 127.0.0.1:10059]"));
    let health = setup.run(&["health", "--help"]).stdout;
    assert!(help_of(&health, "url").contains("[default: http://127.0.0.1:10058/-/healthy]"));
}

#[test]
fn wrong_usage_exits_with_2() {
    let sim = simulator(Account::generated(1));
    let setup = Setup::new(&sim, ONE_SCOPE);
    for (args, message) in [
        (&["--no-such-flag"][..], "--no-such-flag"),
        (&["no-such-command"], "no-such-command"),
        (&["--log.level=loud"], "loud"),
        (&["--log.format=xml"], "xml"),
        (&["--web.telemetry-path=metrics"], "metrics"),
        (&["--web.telemetry-path=/-/healthy"], "/-/"),
        (&["--web.telemetry-path=/api/v1/integrations"], "/api/"),
        (&["--web.telemetry-path=/page.js"], "/page.js"),
        (&["--web.listen-address=nowhere"], "nowhere"),
        (&["--web.listen-address=127.0.0.1:65536"], "127.0.0.1:65536"),
        (&["--web.listen-address=unix:"], "unix:"),
        (&["--web.listen-address=unix:relative"], "unix:relative"),
        (&["--web.listen-address=unix:@abstract"], "unix:@abstract"),
        (
            &["--web.listen-address=::1:0"],
            "put an IPv6 address in brackets",
        ),
        (&["--web.listen-address=[::1"], "[::1"),
        (&["--web.listen-address=[::1]"], "[::1]"),
        (&["--web.listen-address=[:]:0"], "no valid IPv6 address"),
        (&["--web.listen-address=[a b]:0"], "no valid host name"),
        (&["--web.listen-address=http://127.0.0.1:0"], "is a URL"),
        (&["--web.listen-address=https://localhost"], "is a URL"),
        (
            &["--web.listen-address=vsock://:10058"],
            "is a vsock address, which is not supported",
        ),
        (
            &["simulate", "--listen-address=x"],
            "invalid socket address",
        ),
        (&["iam", "--format=xml"], "xml"),
        (&["check", "--online", "--format=xml"], "xml"),
        (&["--shard.index=0"], "--shard.total"),
        (
            &["--shard.total=0", "--shard.index=0"],
            "0 is not in 1..=1000",
        ),
        (&["--shard.total=1001"], "1001 is not in 1..=1000"),
        (&["--shard.total=65536"], "65536"),
        (&["--shard.total=3", "--shard.index=3"], "--shard.index=3"),
        (&["check", "--shard.total=3", "--shard.index=-1"], "-1"),
        (&["once", "--shard.index=0"], "--shard.total"),
        (&["health", "--no-such-flag"], "--no-such-flag"),
    ] {
        let ended = setup.run(args);
        assert_eq!(ended.code, Some(2), "{args:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(message), "{args:?}: {}", ended.stderr);
        assert_eq!(ended.stdout, "", "{args:?}");
    }
}

#[test]
fn missing_or_invalid_configuration_exits_with_2() {
    let setup = Setup::bare().file(
        "bad.yaml",
        "\
polling: {interval: 1s}
scopes:
  - name: 'not allowed'
    regions: [eu-west-1]
  - name: b
    regoins: [eu-west-1]
",
    );
    for command in [&[][..], &["check"], &["once"], &["iam"]] {
        let missing = setup.run(command);
        assert_eq!(missing.code, Some(2), "{command:?}");
        assert!(missing.stderr.contains("config.yaml"), "{}", missing.stderr);
        let bad = setup.run(&[command, &["--config.file=bad.yaml"]].concat());
        assert_eq!(bad.code, Some(2), "{command:?}");
        assert_eq!(bad.stdout, "", "{command:?}");
        // All errors are reported, with file, line and field.
        for (line, field) in [(1, "interval"), (3, "name"), (6, "regoins")] {
            assert!(
                bad.stderr
                    .lines()
                    .any(|error| error.contains(&format!("bad.yaml:{line}:"))
                        && error.contains(field)),
                "{command:?} line {line} {field}: {}",
                bad.stderr
            );
        }
    }
}

#[test]
fn endpoint_without_scheme_exits_with_2() {
    for (name, url) in [
        ("AWS_ENDPOINT_URL", "localhost:4566"),
        ("AWS_ENDPOINT_URL_GLUE", "localhost"),
        ("AWS_ENDPOINT_URL_STS", "http://localhost:4566\n"),
        ("AWS_ENDPOINT_URL_GLUE", "http://me:secret@local host"),
        ("AWS_ENDPOINT_URL_GLUE", "http://me:secret@localhost:99999"),
        ("AWS_ENDPOINT_URL_SSO", "ftp://localhost"),
        ("AWS_ENDPOINT_URL_CLOUDWATCH", "localhost:4566"),
        ("AWS_ENDPOINT_URL", "http://"),
    ] {
        let setup = Setup::bare()
            .file("config.yaml", ONE_SCOPE)
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env(name, url);
        for command in [
            &["check"][..],
            &["check", "--online"],
            &["once"],
            &["--web.listen-address=127.0.0.1:0"],
        ] {
            let ended = setup.run(command);
            assert_eq!(ended.code, Some(2), "{command:?} {}", ended.stderr);
            for part in [
                &format!("{name}: the endpoint `"),
                "allowed: http://HOST[:PORT]",
            ] {
                assert!(ended.stderr.contains(part), "{command:?} {}", ended.stderr);
            }
            assert!(!ended.stderr.contains("secret"), "{}", ended.stderr);
        }
    }
    // An empty or ignored variable counts as not set.
    let setup = Setup::bare()
        .file("config.yaml", ONE_SCOPE)
        .env("AWS_ENDPOINT_URL", "");
    assert_eq!(setup.run(&["check"]).code, Some(0));
    let setup = setup
        .env("AWS_ENDPOINT_URL_GLUE", "localhost:4566")
        .env("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true");
    assert_eq!(setup.run(&["check"]).code, Some(0));
}

#[test]
fn check_unusable_profile_warns() {
    let warning = |profile: &str, file: &str, text: &str| {
        let config = format!("scopes: [{{name: a, regions: [eu-west-1], profile: {profile}}}]");
        let setup = Setup::bare().file("config.yaml", &config);
        fs::create_dir(setup.path(".aws")).unwrap();
        fs::write(setup.path(file), text).unwrap();
        let ended = setup.run(&["check"]);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let warnings = ended.stdout.lines().filter(|l| l.starts_with("Warning"));
        warnings.collect::<Vec<_>>().join("\n")
    };
    let (config, credentials) = (".aws/config", ".aws/credentials");
    let valid = "[profile lake]\nendpoint_url = http://localhost:4566\n";
    assert_eq!(warning("lake", config, valid), "");
    for (profile, file, text, parts) in [
        (
            "sea",
            config,
            valid,
            ["`sea` does not exist", "existing profiles: lake"],
        ),
        (
            "a sea",
            config,
            "[profile \"a sea\"]\n",
            ["`a sea`", "letters, digits"],
        ),
        (
            "lake",
            credentials,
            "[lake]\nno equals sign\n",
            ["credentials on line 2", "'='"],
        ),
        (
            "lake",
            config,
            "[profile lake]\nendpoint_url = localhost:4566\n",
            [
                "endpoint_url for Glue of the profile `lake`",
                "allowed: http://HOST",
            ],
        ),
    ] {
        let shown = warning(profile, file, text);
        for part in parts {
            assert!(shown.contains(part), "{part}: {shown}");
        }
    }
}

#[test]
fn default_region_missing_reports_the_cause() {
    let cause = |scope: &str, variable: (&str, &str), file: &str| {
        let setup = Setup::bare()
            .file("config.yaml", &format!("scopes: [{{name: lake{scope}}}]"))
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env(variable.0, variable.1);
        fs::create_dir(setup.path(".aws")).unwrap();
        fs::write(setup.path(".aws/config"), file).unwrap();
        let ended = setup.run(&["check"]);
        assert_eq!(ended.code, Some(2), "{}", ended.stderr);
        let line = ended.stderr.trim_end().to_owned();
        assert!(!line.contains('\n'), "{line}");
        let start = "config.yaml: scopes[0]: scope `lake` has no region: ";
        let rest = line.strip_prefix(start);
        rest.unwrap_or_else(|| panic!("{line}")).to_owned()
    };
    let none = ("AWS_REGION", "");
    let sea = "[profile sea]\nregion = eu-west-1\n";
    assert!(cause(", profile: lake", none, sea).starts_with("the profile `lake` does not exist"));
    assert!(
        cause("", ("AWS_PROFILE", "lake"), sea).starts_with("the profile `lake` does not exist")
    );
    assert!(cause("", none, "[default\n").contains("config on line 1"));
    let invalid = cause("", ("AWS_REGION", "Frankfurt"), sea);
    assert!(invalid.contains("`Frankfurt` is not a region name; allowed: "));
}

#[test]
fn scope_without_any_region_names_the_file() {
    let setup = Setup::bare()
        .file("config.yaml", "scopes: [{name: lake}]")
        .env("AWS_EC2_METADATA_DISABLED", "true");
    let ended = setup.run(&["check"]);
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(
        ended
            .stderr
            .starts_with("config.yaml: scopes[0]: scope `lake` has no region"),
        "{}",
        ended.stderr
    );
    // An empty variable counts as not set.
    for (region, default_region) in [("eu-west-1", ""), ("", "eu-west-1")] {
        let setup = Setup::bare()
            .file("config.yaml", "scopes: [{name: lake}]")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("AWS_REGION", region)
            .env("AWS_DEFAULT_REGION", default_region);
        let found = setup.run(&["check"]);
        assert_eq!(found.code, Some(0), "{}", found.stderr);
        assert!(found.stdout.contains("eu-west-1"), "{}", found.stdout);
    }
}

#[test]
fn check_unusable_storage_path_warns() {
    let setup = Setup::bare()
        .file("config.yaml", "")
        .file("foreign", "a diary");
    let place = |path: &str| setup.path(path).to_str().unwrap().to_owned();
    for (path, obstacle) in [
        (place("state"), None),
        (place(""), Some("the file at this path is not a state file")),
        (
            place("foreign"),
            Some("the file at this path is not a state file"),
        ),
        (place("nowhere/state"), Some("there is no directory")),
    ] {
        let config = format!(
            "{{storage: {{path: {path}}}, scopes: [{{name: lake, regions: [eu-west-1]}}]}}"
        );
        fs::write(setup.path("config.yaml"), config).unwrap();
        let ended = setup.run(&["check"]);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let warning = ended
            .stdout
            .lines()
            .find(|line| line.contains("data cannot be stored at"));
        assert_eq!(
            warning.is_some(),
            obstacle.is_some(),
            "{path}: {}",
            ended.stdout
        );
        assert!(
            obstacle.is_none_or(|obstacle| warning.unwrap().contains(obstacle)),
            "{path}: {}",
            ended.stdout
        );
    }
}

#[test]
fn check_shared_storage_directory_warns() {
    let setup = Setup::bare().file(
        "config.yaml",
        "{storage: {path: state}, scopes: [{name: lake, regions: [eu-west-1]}]}",
    );
    // Even with the sticky bit, as on /tmp, another user can be the first to create the file.
    for (mode, warns) in [
        (0o700, false),
        (0o775, false),
        (0o777, true),
        (0o1777, true),
    ] {
        let mode = Permissions::from_mode(mode);
        fs::set_permissions(setup.dir.path(), mode).unwrap();
        let ended = setup.run(&["check"]);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let warning =
            "Warning: every user of this machine can write to ., the directory of storage.path";
        assert_eq!(ended.stdout.contains(warning), warns, "{}", ended.stdout);
    }
}

#[test]
fn check_prints_what_it_will_watch() {
    let sim = simulator(Account::generated(1));
    let setup = Setup::new(&sim, ONE_SCOPE).file("other.yaml", ONE_SCOPE);
    for args in [&["check"][..], &["check", "--config.file=other.yaml"]] {
        let ended = setup.run(args);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert!(ended.stdout.contains("all"), "{}", ended.stdout);
        assert!(ended.stdout.contains("eu-west-1"), "{}", ended.stdout);
    }
    assert!(sim.handle.requests().is_empty(), "check sends no requests");
}

#[test]
fn iam_prints_permissions_without_requests() {
    let sim = simulator(Account::generated(1));
    let setup = Setup::new(
        &sim,
        "scopes: [{name: lake, regions: [eu-west-1], role_arn: 'arn:aws:iam::111122223333:role/r', external_id: hidden-id}]",
    );
    for (flags, expected) in [
        (&[][..], "\"trust_policy\""),
        (
            &["--format=json"],
            "REPLACE-WITH-THE-EXTERNAL-ID-OF-SCOPE-lake",
        ),
        (&["--show-external-id"], "\"hidden-id\""),
    ] {
        let ended = setup.run(&[&["iam"], flags].concat());
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert!(
            ended.stdout.contains(expected),
            "{flags:?}: {}",
            ended.stdout
        );
        let shown = flags.contains(&"--show-external-id");
        assert_eq!(ended.stdout.contains("hidden-id"), shown, "{flags:?}");
        assert_eq!(ended.stderr, "", "{flags:?}");
    }
    assert!(sim.handle.requests().is_empty());
}

#[test]
fn once_prints_the_series_of_the_daemon() {
    let sim = simulator(Account::of(vec![
        integration("eu-west-1", "a", "ACTIVE"),
        integration("eu-west-1", "b", "FAILED"),
    ]));
    let setup = Setup::new(&sim, ONE_SCOPE);
    let once = setup.run(&["once"]);
    assert_eq!(once.code, Some(0), "{}", once.stderr);
    let once = Scrape::of(&once.stdout);
    let daemon = setup.daemon(&[]).scrape();
    let difference = once
        .series()
        .symmetric_difference(&daemon.series())
        .cloned()
        .collect::<Vec<_>>();
    assert!(
        difference.is_empty(),
        "only in one of them: {difference:#?}"
    );
    assert_eq!(once.status(&arn("eu-west-1", "b")), Some("FAILED"));
    assert_eq!(once.of_scope("scope_up", "all"), Some(1.0));
    assert_eq!(once.of_scope("polls_total", "all"), Some(1.0));
}

#[test]
fn once_failed_scope_prints_the_rest_and_exits_1() {
    let sim = simulator(Account::of(vec![integration("eu-west-1", "a", "ACTIVE")]));
    sim.handle.push_fault(Fault::new(
        RequestMatcher::region("us-east-1"),
        FaultKind::error("AccessDeniedException", "no"),
    ));
    let setup = Setup::new(
        &sim,
        "scopes: [{name: good, regions: [eu-west-1]}, {name: bad, regions: [us-east-1]}]",
    );
    let once = setup.run(&["once"]);
    assert_eq!(once.code, Some(1), "{}", once.stderr);
    let scrape = Scrape::of(&once.stdout);
    assert_eq!(scrape.status(&arn("eu-west-1", "a")), Some("ACTIVE"));
    assert_eq!(scrape.of_scope("scope_up", "good"), Some(1.0));
    assert_eq!(scrape.of_scope("scope_up", "bad"), Some(0.0));
    assert_eq!(scrape.of_scope("scope_stale", "bad"), Some(0.0));
    let denied = scrape.value(
        "glue_integration_exporter_poll_failures_total",
        &[("scope", "bad"), ("reason", "access_denied")],
    );
    assert_eq!(denied, Some(1.0));
}

#[test]
fn health_reflects_the_response() {
    let sim = simulator(Account::generated(1));
    let setup = Setup::new(&sim, ONE_SCOPE);
    let daemon = setup.daemon(&[]);
    let health = |url: String| {
        let ended = setup.run(&["health", &format!("--url={url}")]);
        assert_eq!(ended.stderr.is_empty(), ended.code == Some(0), "{url}");
        ended.code
    };
    assert_eq!(health(format!("http://{}/-/healthy", daemon.addr)), Some(0));
    assert_eq!(health(format!("http://{}/missing", daemon.addr)), Some(1));
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr();
    assert_eq!(
        health(format!("http://{}/-/healthy", closed.unwrap())),
        Some(1)
    );
    for bad in ["", "nonsense", "http://", "http://[::1", "ftp://127.0.0.1/"] {
        assert_ne!(health(bad.to_owned()), Some(0), "{bad}");
    }
}

#[test]
fn health_sends_password_and_never_prints_it() {
    let setup = Setup::bare();
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = server.local_addr().unwrap();
    let request = std::thread::spawn(move || {
        let (mut client, _) = server.accept().unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            client.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        client
            .write_all(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
            .unwrap();
        String::from_utf8(head).unwrap()
    });
    let run_without_leak = |url: &str| {
        let ended = setup.run(&["health", &format!("--url={url}")]);
        assert_eq!(ended.code, Some(1), "{url}");
        let all = ended.stdout + &ended.stderr;
        assert!(!all.is_empty() && !all.contains("SEC"), "{url}: {all}");
        all
    };
    let output = run_without_leak(&format!("http://bob:SEC%3aRET%40@{addr}/-/healthy"));
    assert!(output.contains("401"), "{output}");
    let head = request.join().unwrap().to_ascii_lowercase();
    assert!(head.contains(&format!("host: {addr}\r\n")), "{head}");
    // `bob:SEC:RET@`
    let basic = "authorization: basic ym9iolnfqzpsrvra\r\n";
    assert!(head.contains(basic), "{head}");
    // The server has exited.
    let output = run_without_leak(&format!("http://bob:SECRET@{addr}/-/healthy"));
    assert!(
        output.contains(&format!("connecting to {addr}")),
        "{output}"
    );
    for bad in [
        "http://bob:SEC^RET@127.0.0.1:1/",
        "http://bob:SEC RET@127.0.0.1:1/",
        "http://bob:SEC/RET@127.0.0.1:1/",
        "http://bob:SEC#RET@127.0.0.1:1/",
        "http://bob:SEC?RET@127.0.0.1:1/",
        "http://bob:SEC@RET@127.0.0.1:1/",
        "http://bob:SECRET@",
        "http://bob:SECRET@[::1/",
        "ftp://bob:SECRET@127.0.0.1:1/",
        "bob:SECRET@127.0.0.1:1",
        "//bob:SECRET@127.0.0.1:1",
        "http:/bob:SECRET@127.0.0.1:1/",
        "https://bob:SECRET@127.0.0.1:1/",
    ] {
        run_without_leak(bad);
    }
}

#[test]
fn demo_runs_without_aws() {
    let daemon = Setup::bare();
    let process = daemon.start(&["demo", "--web.listen-address=127.0.0.1:0"]);
    let addr = process.addresses(1).remove(0);
    let scrape = Scrape::of(&request(&addr, "GET", "/metrics", "").body);
    assert!(!scrape.rows("aws_glue_integration_status", &[]).is_empty());
    assert!(!scrape.rows("aws_glue_integration_present", &[]).is_empty());
    let named = [
        ("integration_name", "orders"),
        ("tag_team", "data-platform"),
    ];
    let info = scrape.rows("aws_glue_integration_info", &named);
    assert_eq!(info.len(), 1, "the info series has the name");
    assert!(
        scrape
            .rows("glue_integration_exporter_scope_up", &[])
            .iter()
            .all(|(_, up)| *up > 0.0)
    );
}

#[test]
fn simulate_serves_other_processes() {
    let setup = Setup::bare();
    let process = setup.start(&["simulate", "--listen-address=127.0.0.1:0"]);
    let addr = process.addresses(1).remove(0);
    let setup = setup
        .env("AWS_ENDPOINT_URL", &format!("http://{addr}"))
        .env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
        .env("AWS_SECRET_ACCESS_KEY", "x")
        .file("config.yaml", ONE_SCOPE);
    let once = setup.run(&["once"]);
    assert_eq!(once.code, Some(0), "{}", once.stderr);
    assert!(
        !Scrape::of(&once.stdout)
            .rows("aws_glue_integration_status", &[])
            .is_empty()
    );
}
