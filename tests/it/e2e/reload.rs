//! Reloads: a new configuration is applied as a whole or not at all.

use std::fs;
use std::io::{PipeWriter, Write};
use std::path::Path;
use std::thread;

use glue_integration_exporter::simulator::{Account, Fault, FaultKind, RequestMatcher};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::Signal;

use crate::e2e::exposition::Scrape;
use crate::e2e::support::{
    Daemon, Process, SOON, STOP, Setup, arn, integration, request, simulator, until,
};

const EU: &str = "eu-west-1";
const US: &str = "us-east-1";
const LIFECYCLE: &str = "--web.enable-lifecycle";

/// Returns a configuration with a long interval, so that only a start or a reload polls.
fn config(scopes: &[&str]) -> String {
    let scopes: String = scopes
        .iter()
        .map(|scope| format!("  - {scope}\n"))
        .collect();
    format!("polling: {{interval: 24h}}\nscopes:\n{scopes}")
}

fn simulated_account() -> Account {
    Account::of(vec![
        integration(EU, "here", "ACTIVE"),
        integration(US, "there", "FAILED"),
    ])
}

fn reload(daemon: &Daemon) -> (u16, String) {
    let answer = request(&daemon.addr, "POST", "/-/reload", "Content-Length: 0\r\n");
    (answer.status, answer.body)
}

fn successful(scrape: &Scrape) -> Option<f64> {
    scrape.value(
        "glue_integration_exporter_config_last_reload_successful",
        &[],
    )
}

fn since(scrape: &Scrape) -> Option<f64> {
    scrape.value(
        "glue_integration_exporter_config_last_reload_success_timestamp_seconds",
        &[],
    )
}

fn polled(daemon: &Daemon, scope: &str, times: f64) -> Scrape {
    until("the polls have ended", SOON, || {
        let scrape = daemon.scrape();
        // The poll is counted shortly before its result is published.
        let shown = scrape.of_scope("scope_up", scope).is_some();
        (shown && scrape.of_scope("polls_total", scope) >= Some(times)).then_some(scrape)
    })
}

#[test]
fn reload_keeps_unchanged_and_drops_removed_scope() {
    let sim = simulator(simulated_account());
    let stays = "{name: stays, regions: [eu-west-1]}";
    let goes = "{name: goes, regions: [us-east-1]}";
    let setup = Setup::new(&sim, &config(&[stays, goes]));
    let daemon = setup.daemon(&[LIFECYCLE]);
    let before = polled(&daemon, "goes", 1.0);
    assert_eq!(before.status(&arn(US, "there")), Some("FAILED"));
    assert_eq!(successful(&before), Some(1.0));

    let comes = format!(
        "{{name: comes, integration_arns: ['{}']}}",
        arn(EU, "missing")
    );
    let setup = setup.file("config.yaml", &config(&[stays, &comes]));
    assert_eq!(reload(&daemon).0, 200);
    let after = polled(&daemon, "comes", 1.0);
    assert_eq!(after.of_scope("polls_total", "stays"), Some(1.0));
    assert_eq!(after.status(&arn(EU, "here")), Some("ACTIVE"));
    assert_eq!(after.of_arn("present", &arn(EU, "missing")), Some(0.0));
    assert_eq!(after.status(&arn(US, "there")), None);
    let of_removed: Vec<_> = after
        .series()
        .into_iter()
        .filter(|(_, labels)| labels.get("scope").is_some_and(|scope| scope == "goes"))
        .collect();
    assert!(of_removed.is_empty(), "{of_removed:?}");
    assert!(since(&after) > since(&before));
    drop(setup);
}

#[test]
fn reload_with_exclude_drops_only_excluded() {
    let sim = simulator(Account::of(vec![
        integration(EU, "kept", "ACTIVE"),
        integration(EU, "left-out", "FAILED"),
    ]));
    let all = config(&["{name: all, regions: [eu-west-1]}"]);
    let setup = Setup::new(&sim, &all);
    let daemon = setup.daemon(&[LIFECYCLE]);
    let before = polled(&daemon, "all", 1.0);
    assert_eq!(before.status(&arn(EU, "left-out")), Some("FAILED"));

    let some = "{name: all, regions: [eu-west-1], exclude: {source_arn: ['*:table/left-*']}}";
    let setup = setup.file("config.yaml", &config(&[some]));
    let check = setup.run(&["check"]).stdout;
    let told = "  ignores listed integrations if source_arn matches *:table/left-*\n";
    assert!(check.contains(told), "{check}");
    // The reload needs no answer from AWS.
    sim.handle.push_fault(Fault::new(
        RequestMatcher::default(),
        FaultKind::error("AccessDeniedException", "no"),
    ));
    assert_eq!(reload(&daemon).0, 200);
    let after = until("the excluded integration is dropped", SOON, || {
        let scrape = daemon.scrape();
        (scrape.status(&arn(EU, "left-out")).is_none()).then_some(scrape)
    });
    assert_eq!(after.of_scope("scope_integrations", "all"), Some(1.0));
    for name in [
        "status_since_timestamp_seconds",
        "created_timestamp_seconds",
    ] {
        let kept = |of: &Scrape| of.of_arn(name, &arn(EU, "kept"));
        assert!(kept(&after).is_some() && kept(&after) == kept(&before));
    }
    assert!(daemon.process.stderr().contains("configuration reloaded"));
    assert!(!daemon.process.stderr().contains("left-out"));
}

#[test]
fn reload_invalid_config_keeps_old() {
    let sim = simulator(simulated_account());
    let good = config(&["{name: all, regions: [eu-west-1]}"]);
    let setup = Setup::new(&sim, &good);
    let daemon = setup.daemon(&[LIFECYCLE]);
    let before = polled(&daemon, "all", 1.0);
    fs::write(
        setup.path("config.yaml"),
        good.replace("interval", "intervall"),
    )
    .unwrap();
    let (status, why) = reload(&daemon);
    assert_eq!(status, 500);
    assert!(
        why.contains("config.yaml:1:11") && why.contains("`intervall`"),
        "{why}"
    );
    let after = daemon.scrape();
    assert_eq!(
        (successful(&after), since(&after)),
        (Some(0.0), since(&before))
    );
    assert_eq!(after.of_scope("polls_total", "all"), Some(1.0));
    assert_eq!(after.status(&arn(EU, "here")), Some("ACTIVE"));

    // SIGHUP does the same, with or without the flag. The log and the metrics have the result.
    daemon.process.signal(Signal::HUP);
    until("the log has the reason", SOON, || {
        (daemon.process.stderr().matches("`intervall`").count() == 2).then_some(())
    });
    fs::write(setup.path("config.yaml"), &good).unwrap();
    daemon.process.signal(Signal::HUP);
    let recovered = until("the configuration is loaded", SOON, || {
        let scrape = daemon.scrape();
        (successful(&scrape) == Some(1.0)).then_some(scrape)
    });
    assert!(since(&recovered) > since(&before));
    assert_eq!(recovered.of_scope("polls_total", "all"), Some(1.0));
}

/// Replaces a file by a pipe without a writer.
fn replace_by_pipe(path: &Path) {
    drop(fs::remove_file(path));
    let mode = Mode::RUSR | Mode::WUSR;
    mknodat(CWD, path, FileType::Fifo, mode, 0).unwrap();
}

#[test]
fn reload_pipe_as_file_reports_error() {
    let sim = simulator(simulated_account());
    let good = config(&["{name: all, regions: [eu-west-1]}"]);
    let setup = Setup::new(&sim, &good).file("web.yml", "http_server_config: {http2: false}");
    let daemon = setup.daemon(&[LIFECYCLE, "--web.config.file=web.yml"]);
    polled(&daemon, "all", 1.0);
    let role = "role_arn: 'arn:aws:iam::111122223333:role/r', external_id_file: id";
    let with_role = config(&[&format!("{{name: all, regions: [eu-west-1], {role}}}")]);
    let with_key = "tls_server_config: {cert_file: id, key_file: id}";
    replace_by_pipe(&setup.path("id"));
    for (file, text) in [
        ("config.yaml", None),
        ("config.yaml", Some(with_role.as_str())),
        ("web.yml", None),
        ("web.yml", Some(with_key)),
    ] {
        let path = setup.path(file);
        match text {
            None => replace_by_pipe(&path),
            Some(text) => {
                fs::remove_file(&path).unwrap();
                fs::write(&path, text).unwrap();
            }
        }
        let (status, why) = reload(&daemon);
        assert_eq!(status, 500, "{file} {text:?}");
        assert!(
            why.contains("it is a pipe; allowed: a regular file"),
            "{why}"
        );
        assert_eq!(daemon.scrape().status(&arn(EU, "here")), Some("ACTIVE"));
        if file == "config.yaml" && text.is_some() {
            fs::write(path, &good).unwrap();
            assert_eq!(reload(&daemon).0, 200);
        }
    }
}

/// Starts the exporter with a standard input that never returns data, like a file on a disk that hangs. `writer` keeps it open.
fn with_hanging_input(setup: &Setup, args: &[&str]) -> (Process, PipeWriter) {
    let (reader, writer) = std::io::pipe().unwrap();
    let mut command = setup.command(env!("CARGO_BIN_EXE_glue-integration-exporter"), args);
    command.stdin(reader);
    (Process::of(command), writer)
}

#[test]
fn hung_file_at_reload_blocks_nothing_else() {
    let sim = simulator(simulated_account());
    let good = config(&["{name: all, regions: [eu-west-1]}"]);
    let setup = Setup::new(&sim, &good);
    let (process, mut writer) =
        with_hanging_input(&setup, &["--web.listen-address=127.0.0.1:0", LIFECYCLE]);
    let addr = process.addresses(1).remove(0);
    let daemon = Daemon { process, addr };
    polled(&daemon, "all", 1.0);
    let hangs = "{name: all, regions: [eu-west-1], role_arn: 'arn:aws:iam::111122223333:role/r', external_id_file: /dev/stdin}";
    let path = setup.path("config.yaml");
    fs::write(&path, config(&[hangs])).unwrap();
    let ((status, why), scraped) = thread::scope(|threads| {
        let reload = threads.spawn(|| reload(&daemon));
        let mut scraped = 0;
        while !reload.is_finished() {
            assert_eq!(daemon.scrape().status(&arn(EU, "here")), Some("ACTIVE"));
            scraped += 1;
        }
        (reload.join().unwrap(), scraped)
    });
    assert_eq!(status, 500, "{why}");
    assert!(
        why.contains("config.yaml: cannot be read: it took longer than 10 s"),
        "{why}"
    );
    assert!(scraped > 1);
    // The next reload waits for the same thread until the disk answers.
    fs::write(&path, &good).unwrap();
    let outcome = thread::scope(|threads| {
        let reload = threads.spawn(|| reload(&daemon));
        writer.write_all(b"an-id").unwrap();
        drop(writer);
        reload.join().unwrap()
    });
    assert_eq!(outcome.0, 200, "{}", outcome.1);
}

#[test]
fn hung_file_does_not_delay_stop() {
    let sim = simulator(simulated_account());
    let good = config(&["{name: all, regions: [eu-west-1]}"]);
    let stored = format!("storage: {{path: /dev/stdin}}\n{good}");
    let setup = Setup::new(&sim, &good).file("stored.yaml", &stored);
    // During the start, for each file that is read then.
    for flag in [
        "--config.file=/dev/stdin",
        "--web.config.file=/dev/stdin",
        "--config.file=stored.yaml",
    ] {
        let (process, writer) =
            with_hanging_input(&setup, &["--web.listen-address=127.0.0.1:0", flag]);
        // The exporter handles signals before it reads files.
        until("signals are handled", SOON, || {
            let status = fs::read_to_string(format!("/proc/{}/status", process.pid())).ok()?;
            let caught = status
                .lines()
                .find_map(|line| line.strip_prefix("SigCgt:\t"))?;
            let term = 1 << (Signal::TERM.as_raw() - 1);
            (u64::from_str_radix(caught, 16).unwrap() & term != 0).then_some(())
        });
        process.signal(Signal::TERM);
        let ended = process.ended(STOP);
        assert_eq!(ended.code, Some(0), "{flag}: {}", ended.stderr);
        drop(writer);
    }
    // During a reload.
    let (process, _writer) = with_hanging_input(&setup, &["--web.listen-address=127.0.0.1:0"]);
    process.addresses(1);
    until("the exporter polls", SOON, || {
        process.stderr().contains("starting").then_some(())
    });
    let hangs = "{name: all, regions: [eu-west-1], role_arn: 'arn:aws:iam::111122223333:role/r', external_id_file: /dev/stdin}";
    fs::write(setup.path("config.yaml"), config(&[hangs])).unwrap();
    process.signal(Signal::HUP);
    process.signal(Signal::TERM);
    assert_eq!(process.ended(STOP).code, Some(0));
}

#[test]
fn pipe_as_storage_path_reports_error() {
    let sim = simulator(simulated_account());
    let config = config(&["{name: all, regions: [eu-west-1]}"]);
    let setup = Setup::new(&sim, &format!("storage: {{path: state}}\n{config}"));
    replace_by_pipe(&setup.path("state"));
    let daemon = setup.daemon(&[]);
    polled(&daemon, "all", 1.0);
    until("the log has the reason", SOON, || {
        let log = daemon.process.stderr();
        let read = log.contains("starting without stored data") && log.contains("it is a pipe");
        let written = log.contains("failed to write the state file")
            && log.contains("the file at this path is not a state file");
        (read && written).then_some(())
    });
    daemon.process.signal(Signal::TERM);
    assert_eq!(daemon.process.ended(STOP).code, Some(0));
}

#[test]
fn concurrent_reloads_during_poll_lose_nothing() {
    let sim = simulator(simulated_account());
    let of = |timeout: &str| {
        config(&[&format!(
            "{{name: all, regions: [eu-west-1], timeout: {timeout}}}"
        )])
    };
    let setup = Setup::new(&sim, &of("60s"));
    let daemon = setup.daemon(&[LIFECYCLE]);
    let before = polled(&daemon, "all", 1.0);
    sim.handle
        .push_fault(Fault::new(RequestMatcher::default(), FaultKind::Hang));
    // The poller of a changed scope polls at once and hangs. The next reload ends that poll.
    for timeout in ["61s", "62s", "63s"] {
        fs::write(setup.path("config.yaml"), of(timeout)).unwrap();
        let statuses: Vec<u16> = thread::scope(|threads| {
            let both = [(); 2].map(|()| threads.spawn(|| reload(&daemon).0));
            both.map(|reload| reload.join().unwrap()).to_vec()
        });
        assert_eq!(statuses, [200, 200]);
        let scrape = daemon.scrape();
        assert_eq!(scrape.status(&arn(EU, "here")), Some("ACTIVE"));
        assert_eq!(scrape.of_scope("scope_up", "all"), Some(1.0));
        assert_eq!(
            scrape.of_arn("status_since_timestamp_seconds", &arn(EU, "here")),
            before.of_arn("status_since_timestamp_seconds", &arn(EU, "here"))
        );
    }
    sim.handle.clear_faults();
    fs::write(setup.path("config.yaml"), of("64s")).unwrap();
    assert_eq!(reload(&daemon).0, 200);
    // There may be a third poll: the poll of the reload before may have started after the fault was cleared.
    let after = polled(&daemon, "all", 2.0);
    assert_eq!(after.of_scope("scope_up", "all"), Some(1.0));
    assert_eq!(after.of_scope("scope_stale", "all"), Some(0.0));
}
