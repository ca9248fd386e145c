//! Log lines: format, level, and no secrets.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Stdio;

use glue_integration_exporter::simulator::{
    Account, Fault, FaultKind, RequestMatcher, SimulatedConfig,
};
use rustix::process::Signal;
use serde_json::Value;

use crate::e2e::exposition::Scrape;
use crate::e2e::support::{
    Answer, Client, ONE_SCOPE, SECRET_KEY, SOON, STOP, Setup, Sim, Stream, arn, full_pipe,
    integration, request, simulator, until,
};

/// Parses a logfmt line. Returns None if it is not valid.
fn parse_logfmt(line: &str) -> Option<Vec<(String, String)>> {
    let mut pairs = Vec::new();
    let mut rest = line;
    while !rest.is_empty() {
        let (key, after) = rest.split_once('=')?;
        if key.is_empty() || key.contains([' ', '"']) {
            return None;
        }
        let value;
        if after.starts_with('"') {
            // Quoted as in JSON.
            let mut values = serde_json::Deserializer::from_str(after).into_iter::<String>();
            value = values.next()?.ok()?;
            rest = &after[values.byte_offset()..];
        } else {
            let end = after.find(' ').unwrap_or(after.len());
            value = after[..end].to_owned();
            if value.contains(['"', '=']) {
                return None;
            }
            rest = &after[end..];
        }
        pairs.push((key.to_owned(), value));
        if !rest.is_empty() {
            rest = rest.strip_prefix(' ').filter(|rest| !rest.is_empty())?;
        }
    }
    Some(pairs)
}

/// Returns a setup that contains every kind of secret: one scope works, two cannot assume their role.
fn setup_with_secrets() -> (Setup, Sim) {
    let mut leaky = integration("eu-west-1", "a", "ACTIVE");
    leaky.config = Some(SimulatedConfig {
        source_properties: [("SecretArn".to_owned(), "must-not-leak".to_owned())].into(),
        ..SimulatedConfig::default()
    });
    let sim = simulator(Account::of(vec![leaky]));
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr();
    let role = "regions: [eu-west-1], role_arn: 'arn:aws:iam::111122223333:role/r'";
    let config = format!(
        "\
polling: {{interval: 10s}}
scopes:
  - {{name: plain, regions: [eu-west-1]}}
  - {{name: text, {role}, external_id: external-id-in-text}}
  - {{name: file, {role}, external_id_file: id}}
"
    );
    let setup = Setup::new(&sim, &config)
        .file("id", "external-id-in-file\n")
        .env("AWS_SESSION_TOKEN", "session-token-value")
        .env(
            "AWS_ENDPOINT_URL_STS",
            &format!("http://{}", closed.unwrap()),
        );
    (setup, sim)
}

fn assert_no_secret(text: &str) {
    for secret in [
        "external-id-in",
        SECRET_KEY,
        "session-token-value",
        "must-not-leak",
    ] {
        assert!(!text.contains(secret), "{secret} in:\n{text}");
    }
}

#[test]
fn secrets_never_appear_in_any_output() {
    let (setup, _sim) = setup_with_secrets();
    for format in ["logfmt", "json"] {
        let process = setup.start(&[
            "--web.listen-address=127.0.0.1:0",
            "--log.level=debug",
            &format!("--log.format={format}"),
        ]);
        until("the log reports the failed polls", SOON, || {
            (process.stderr().matches("poll failed").count() >= 2).then_some(())
        });
        process.signal(Signal::TERM);
        let ended = process.ended(STOP);
        assert_eq!(ended.stdout, "");
        assert!(ended.stderr.contains("credentials"), "{}", ended.stderr);
        assert_no_secret(&ended.stderr);
    }
    let daemon = setup.daemon(&["--log.level=debug"]);
    // Failing to connect to STS can take longer than a scrape waits.
    let scrape = until("all have been polled", SOON, || {
        let scrape = daemon.scrape();
        let polled = |scope| scrape.of_scope("scope_up", scope).is_some();
        (polled("text") && polled("file")).then_some(scrape)
    });
    assert_eq!(scrape.of_scope("scope_up", "plain"), Some(1.0));
    for scope in ["text", "file"] {
        assert_eq!(scrape.of_scope("scope_up", scope), Some(0.0));
        let reason = scrape.value(
            "glue_integration_exporter_poll_failures_total",
            &[("scope", scope), ("reason", "credentials")],
        );
        // The second poll may already have ended, depending on its schedule.
        assert!(reason.is_some_and(|polls| polls >= 1.0), "{reason:?}");
    }
    for path in ["/metrics", "/", "/-/ready"] {
        assert_no_secret(&request(&daemon.addr, "GET", path, "").body);
    }
    for command in ["check", "once"] {
        let ended = setup.run(&[command, "--log.level=debug"]);
        assert_eq!(ended.code, Some(i32::from(command == "once")));
        assert_no_secret(&ended.stdout);
        assert_no_secret(&ended.stderr);
    }
}

/// AWS's message about a wrong signature. It repeats the request with its token.
const WRONG_SIGNATURE: &str = "The request signature we calculated does not match the signature you provided.\n\n\
    The Canonical String for this request should have been\n\
    'POST\n/\n\nhost:glue.eu-west-1.amazonaws.com\nx-amz-security-token:session-token-value\n'";

#[test]
fn token_in_signature_error_is_not_logged() {
    let (setup, sim) = setup_with_secrets();
    sim.handle.push_fault(Fault::new(
        RequestMatcher::default(),
        FaultKind::error("InvalidSignatureException", WRONG_SIGNATURE),
    ));
    // Glue and STS return the error, STS as XML.
    let sts = TcpListener::bind("127.0.0.1:0").unwrap();
    let setup = setup.env(
        "AWS_ENDPOINT_URL_STS",
        &format!("http://{}", sts.local_addr().unwrap()),
    );
    std::thread::spawn(move || {
        for mut socket in sts.incoming().flatten() {
            let body = format!(
                "<ErrorResponse><Error><Code>SignatureDoesNotMatch</Code><Message>{WRONG_SIGNATURE}</Message></Error></ErrorResponse>"
            );
            let head = "HTTP/1.1 403 Forbidden\r\nContent-Type: text/xml\r\nConnection: close";
            let _ = socket.read(&mut [0; 8192]);
            let _ = write!(
                socket,
                "{head}\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            // Closing with unread data could lose the response.
            let _ = socket.shutdown(Shutdown::Write);
            let _ = std::io::copy(&mut socket, &mut std::io::sink());
        }
    });
    let ended = setup.run(&["once", "--log.level=debug"]);
    assert_eq!(ended.code, Some(1));
    let count = ended.stderr.matches("The request signature").count();
    assert_eq!(count, 3, "{}", ended.stderr);
    assert_no_secret(&ended.stderr);
}

#[test]
fn every_line_has_the_chosen_format() {
    let (setup, _sim) = setup_with_secrets();
    for format in ["logfmt", "json"] {
        let process = setup.start(&[
            "--web.listen-address=127.0.0.1:0",
            "--log.level=debug",
            &format!("--log.format={format}"),
        ]);
        until("the log reports the failed polls", SOON, || {
            (process.stderr().matches("poll failed").count() >= 2).then_some(())
        });
        process.signal(Signal::TERM);
        let log = process.ended(STOP).stderr;
        let mut listening = None;
        for line in log.lines() {
            let fields: Vec<(String, String)> = if format == "json" {
                let Ok(Value::Object(object)) = serde_json::from_str(line) else {
                    panic!("not one JSON object: {line}");
                };
                let text = |value: Value| value.as_str().map_or(value.to_string(), str::to_owned);
                object.into_iter().map(|(k, v)| (k, text(v))).collect()
            } else {
                parse_logfmt(line).unwrap_or_else(|| panic!("not logfmt: {line}"))
            };
            let get = |name: &str| {
                let mut found = fields.iter().filter(|(key, _)| key == name);
                let value = found.next().map(|(_, value)| value.as_str());
                assert!(found.next().is_none(), "{name} twice: {line}");
                value
            };
            let level = get("level").unwrap_or_default().to_ascii_lowercase();
            assert!(
                ["debug", "info", "warn", "error"].contains(&level.as_str()),
                "{line}"
            );
            assert!(get("time").is_some() && get("msg").is_some(), "{line}");
            if get("msg") == Some("listening") {
                listening = get("address").map(str::to_owned);
            }
        }
        let listening = listening.expect("a line with the address");
        assert!(listening.starts_with("127.0.0.1:"), "{listening}");
    }
}

#[test]
fn log_level_hides_lower_levels() {
    let sim = simulator(Account::generated(1));
    let setup = Setup::new(&sim, ONE_SCOPE);
    let path = setup.path("socket");
    for (level, lines) in [("error", false), ("warn", false), ("info", true)] {
        let process = setup.start(&[
            &format!("--web.listen-address=unix:{}", path.display()),
            &format!("--log.level={level}"),
        ]);
        until("the daemon listens", SOON, || {
            UnixStream::connect(&path).ok()
        });
        process.signal(Signal::TERM);
        let ended = process.ended(STOP);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert_eq!(!ended.stderr.is_empty(), lines, "{}", ended.stderr);
        assert!(!ended.stderr.to_ascii_lowercase().contains("level=debug"));
    }
}

#[test]
fn wrong_clock_is_logged_once() {
    let sim = simulator(Account::generated(1));
    // Three requests in each poll.
    let config = |timeout: &str| {
        let arns = ["a", "b", "c"]
            .map(|name| arn("eu-west-1", name))
            .join(", ");
        format!(
            "polling: {{interval: 24h, timeout: {timeout}}}\nscopes: [{{name: all, integration_arns: [{arns}]}}]"
        )
    };
    let dated = |date: &str| {
        sim.handle.clear_faults();
        sim.handle.push_fault(Fault::new(
            RequestMatcher::default(),
            FaultKind::Raw(
                hyper::Response::builder()
                    .header("date", date)
                    .body("{}".into())
                    .unwrap(),
            ),
        ));
    };
    dated("Tue, 15 Nov 1994 08:12:31 GMT");
    let setup = Setup::new(&sim, &config("60s"));
    let daemon = setup.daemon(&["--web.enable-lifecycle"]);
    let polled = |times: f64| {
        until("the poll has ended", SOON, || {
            (daemon.scrape().of_scope("polls_total", "all") >= Some(times)).then_some(())
        });
    };
    let reload = |timeout| {
        std::fs::write(setup.path("config.yaml"), config(timeout)).unwrap();
        let answer = request(&daemon.addr, "POST", "/-/reload", "Content-Length: 0\r\n");
        assert_eq!(answer.status, 200, "{}", answer.body);
    };
    let count = |text: &str| daemon.process.stderr().matches(text).count();
    let (wrong, right) = ("is wrong by more than an hour", "is right again");
    polled(1.0);
    assert_eq!((count(wrong), count(right)), (1, 0));
    // A header that is not a date is ignored.
    dated("soon");
    reload("61s");
    polled(2.0);
    assert_eq!((count(wrong), count(right)), (1, 0));
    sim.handle.clear_faults();
    reload("62s");
    polled(3.0);
    assert_eq!((count(wrong), count(right)), (1, 1));
    assert!(
        daemon
            .process
            .stderr()
            .contains("aws=1994-11-15T08:12:31.000Z")
    );
}

fn request_over_unix(socket: &Path, method: &str, path: &str) -> Answer {
    let stream = until("the daemon listens", SOON, || {
        UnixStream::connect(socket).ok()
    });
    stream.set_read_timeout(Some(SOON)).unwrap();
    Client::over(stream).ask(method, path, "")
}

fn counter(socket: &Path, name: &str) -> Option<f64> {
    let scrape = Scrape::of(&request_over_unix(socket, "GET", "/metrics").body);
    scrape.value(&format!("glue_integration_exporter_{name}"), &[])
}

#[test]
fn full_stderr_blocks_nothing() {
    let sim = simulator(Account::generated(1));
    let denied = FaultKind::error("AccessDeniedException", "no");
    sim.handle
        .push_fault(Fault::new(RequestMatcher::default(), denied));
    let setup = Setup::new(&sim, ONE_SCOPE);
    let (_reader, writer) = full_pipe();
    let start = |args: &[&str]| {
        let stderr = Stdio::from(writer.try_clone().unwrap());
        setup.start_with_stderr(args, stderr)
    };
    let socket = setup.path("socket");
    let listen = format!("--web.listen-address=unix:{}", socket.display());

    let daemon = start(&[&listen, "--log.level=debug"]);
    until("the scope is polled again", SOON * 2, || {
        (counter(&socket, "polls_total")? >= 2.0).then_some(())
    });
    for path in ["/-/healthy", "/-/ready"] {
        assert_eq!(request_over_unix(&socket, "GET", path).status, 200);
    }
    assert_eq!(counter(&socket, "log_lines_dropped_total"), Some(0.0));
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.ended(STOP).code, Some(0));

    let demo = start(&["demo", &listen]);
    assert_eq!(request_over_unix(&socket, "GET", "/metrics").status, 200);
    demo.signal(Signal::TERM);
    assert_eq!(demo.ended(STOP).code, Some(0));

    for (args, code) in [
        (["once", "--log.level=debug"], 1),
        (["check", "--online"], 1),
        (["check", "--config.file=missing"], 2),
        (["check", "--no-such-flag"], 2),
        (["health", "--url=unix:missing"], 1),
    ] {
        let ended = start(&args).ended(SOON);
        assert_eq!(ended.code, Some(code), "{args:?}");
    }
}

#[test]
fn stderr_read_again_reports_lost_lines() {
    let sim = simulator(Account::generated(1));
    let setup = Setup::new(&sim, ONE_SCOPE);
    let (reader, writer) = full_pipe();
    let socket = setup.path("socket");
    // Each error repeats this name, so a few reloads fill the queue of pending lines.
    let file = format!("{}config.yaml", "./".repeat(1_900));
    let daemon = setup.start_with_stderr(
        &[
            &format!("--web.listen-address=unix:{}", socket.display()),
            &format!("--config.file={file}"),
            "--web.enable-lifecycle",
        ],
        writer.into(),
    );
    assert_eq!(request_over_unix(&socket, "GET", "/-/healthy").status, 200);
    let errors = format!("scopes: [{}]", "{}, ".repeat(100));
    let _setup = setup.file("config.yaml", &errors);
    let lost = until("lines are lost", SOON, || {
        assert_eq!(request_over_unix(&socket, "POST", "/-/reload").status, 500);
        counter(&socket, "log_lines_dropped_total").filter(|lost| *lost > 0.0)
    });

    let log = Stream::new(reader);
    let reported = format!("lines={lost}");
    until("the log reports how many", SOON, || {
        log.text().contains(&reported).then_some(())
    });
    assert_eq!(counter(&socket, "log_lines_dropped_total"), Some(lost));
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.ended(STOP).code, Some(0));
    let log = log.ended();
    let lines: Vec<&str> = log.lines().filter(|line| !line.is_empty()).collect();
    for line in &lines {
        assert!(parse_logfmt(line).is_some(), "not logfmt: {line:.200}");
    }
    let last = lines.last().unwrap();
    assert!(
        log.ends_with('\n') && last.contains("msg=stopped"),
        "{last}"
    );
    assert_eq!(log.matches("lines were lost").count(), 1);
}

/// Characters that a terminal interprets: escape sequences, line breaks, and characters that reverse the text.
const CONTROLS: &str =
    "\u{1b}[2J \u{7f}\u{9b}31m \r\n\u{85}\u{2028}\u{2029} \u{202e}\u{2066}DELIAF";

fn assert_no_controls(text: &str) {
    let found = text.chars().find(|c| {
        let is_bidi = matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        *c != '\n' && (c.is_control() || is_bidi || matches!(c, '\u{2028}' | '\u{2029}'))
    });
    assert!(found.is_none(), "{found:?} in {text:?}");
}

#[test]
fn log_control_characters_are_escaped() {
    let sim = simulator(Account::of(vec![integration("eu-west-1", "a", CONTROLS)]));
    let setup = Setup::new(&sim, ONE_SCOPE);
    for format in ["logfmt", "json"] {
        let ended = setup.run(&["once", &format!("--log.format={format}")]);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert_no_controls(&ended.stderr);
        let line = ended.stderr.lines().find(|line| line.contains("DELIAF"));
        let line = line.unwrap();
        let status = if format == "json" {
            let line: Value = serde_json::from_str(line).unwrap();
            line["status"].as_str().unwrap().to_owned()
        } else {
            let pairs = parse_logfmt(line).unwrap();
            pairs
                .into_iter()
                .find(|(key, _)| key == "status")
                .unwrap()
                .1
        };
        assert_eq!(status, CONTROLS);
    }
}

#[test]
fn output_control_characters_are_escaped() {
    let sim = simulator(Account::of(vec![]));
    let denied = FaultKind::error("AccessDeniedException", CONTROLS);
    sim.handle
        .push_fault(Fault::new(RequestMatcher::default(), denied));
    let setup = Setup::new(&sim, ONE_SCOPE);
    let flag = |name: &str| format!("--{name}={CONTROLS}");
    for (args, code) in [
        (vec!["check".to_owned(), "--online".to_owned()], 1),
        (vec!["check".to_owned(), flag("config.file")], 2),
        (vec!["check".to_owned(), flag("log.level")], 2),
        (vec!["health".to_owned(), flag("url")], 1),
    ] {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let ended = setup.run(&args);
        assert_eq!(ended.code, Some(code), "{args:?}");
        let output = ended.stdout + &ended.stderr;
        assert_no_controls(&output);
        assert!(output.contains("DELIAF"), "{output}");
    }
    // A line break in AWS's text must not look like a row of the table.
    let table = setup.run(&["check", "--online"]).stdout;
    assert!(table.contains("\\u000d\\n\\u0085"), "{table}");
    let json = setup.run(&["check", "--online", "--format=json"]).stdout;
    assert_no_controls(&json);
    let json: Value = serde_json::from_str(&json).unwrap();
    let messages: Vec<&str> = json["checks"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|row| row["message"].as_str())
        .collect();
    assert!(
        messages.iter().any(|message| message.contains(CONTROLS)),
        "{json:#}"
    );
}
