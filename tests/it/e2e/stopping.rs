//! Stopping by signals: the exporter always stops within seconds and exits with 0.

use glue_integration_exporter::simulator::{Account, Fault, FaultKind, RequestMatcher};
use rustix::process::Signal;
use std::net::{TcpListener, TcpStream};

use crate::e2e::exposition::Scrape;
use crate::e2e::support::{Client, ONE_SCOPE, Process, STOP, Setup, connect, simulator, until};

fn assert_clean_stop(process: Process, signal: Signal) {
    process.signal(signal);
    let ended = process.ended(STOP);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    assert_eq!(ended.stdout, "");
}

#[test]
fn sigterm_and_sigint_stop_every_command() {
    let sim = simulator(Account::generated(1));
    let setup = Setup::new(&sim, ONE_SCOPE);
    for signal in [Signal::TERM, Signal::INT] {
        let daemon = setup.daemon(&[]);
        assert_eq!(daemon.get("/-/healthy").status, 200);
        assert_clean_stop(daemon.process, signal);
        // A stop right after the log line about listening.
        assert_clean_stop(setup.daemon(&[]).process, signal);
    }
    let demo = setup.start(&["demo", "--web.listen-address=127.0.0.1:0"]);
    demo.addresses(1);
    assert_clean_stop(demo, Signal::TERM);
    let simulate = setup.start(&["simulate", "--listen-address=127.0.0.1:0"]);
    simulate.addresses(1);
    assert_clean_stop(simulate, Signal::TERM);
}

#[test]
fn stop_during_hung_poll_exits() {
    let sim = simulator(Account::generated(1));
    sim.handle
        .push_fault(Fault::new(RequestMatcher::default(), FaultKind::Hang));
    let daemon = Setup::new(&sim, ONE_SCOPE).daemon(&[]);
    until("the poll sends a request", STOP, || {
        (!sim.handle.requests().is_empty()).then_some(())
    });
    assert_clean_stop(daemon.process, Signal::TERM);
}

#[test]
fn stop_answers_scrape_waiting_for_first_poll() {
    let sim = simulator(Account::generated(1));
    sim.handle
        .push_fault(Fault::new(RequestMatcher::default(), FaultKind::Hang));
    let daemon = Setup::new(&sim, ONE_SCOPE).daemon(&[]);
    let mut client = connect(&daemon.addr);
    // Both requests arrive together, so after the first response the scrape has arrived too.
    client
        .send("GET /-/healthy HTTP/1.1\r\nHost: a\r\n\r\nGET /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.answer().status, 200);
    assert_eq!(daemon.get("/-/ready").status, 503);
    daemon.process.signal(Signal::TERM);
    let answer = client.answer();
    assert_eq!(answer.status, 200);
    assert!(Scrape::of(&answer.body).names_with("aws_glue_").is_empty());
    let ended = daemon.process.ended(STOP);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

const GET: &str = "GET /-/healthy HTTP/1.1\r\nHost: a\r\n\r\n";

/// Connects clients and sends their requests while the process is stopped (SIGSTOP), then sends SIGTERM and continues it.
fn connect_during_stop(process: &Process, addr: &str) -> Vec<Client<TcpStream>> {
    process.signal(Signal::STOP);
    let mut clients: Vec<Client<TcpStream>> = (0..20).map(|_| connect(addr)).collect();
    for client in &mut clients {
        client.send(GET);
    }
    process.signal(Signal::TERM);
    process.signal(Signal::CONT);
    clients
}

#[test]
fn stop_answers_clients_not_yet_accepted() {
    let sim = simulator(Account::generated(1));
    let daemon = Setup::new(&sim, ONE_SCOPE).daemon(&[]);
    for mut client in connect_during_stop(&daemon.process, &daemon.addr) {
        assert_eq!(client.answer().status, 200);
    }
    let ended = daemon.process.ended(STOP);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

#[test]
fn stop_leaves_clients_to_next_systemd_process() {
    let sim = simulator(Account::generated(1));
    let setup = Setup::new(&sim, ONE_SCOPE);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    let start = || {
        let process = setup.passed(listener.try_clone().unwrap().into());
        assert_eq!(process.addresses(1)[0], addr);
        process
    };
    let first = start();
    let clients = connect_during_stop(&first, &addr);
    assert_eq!(first.ended(STOP).code, Some(0));
    let _next = start();
    for mut client in clients {
        assert_eq!(client.answer().status, 200);
    }
}

#[test]
fn stop_with_slow_reader_exits() {
    // The response is larger than the socket buffers.
    let sim = simulator(Account::generated(4_000));
    let daemon = Setup::new(&sim, ONE_SCOPE).daemon(&[]);
    let mut slow = connect(&daemon.addr);
    slow.send(
        "GET /metrics HTTP/1.1\r\nHost: a\r\nX-Prometheus-Scrape-Timeout-Seconds: 20\r\n\r\n",
    );
    let head = slow.head();
    let length: usize = head.header("content-length").unwrap().parse().unwrap();
    assert!(length > 10_000_000, "{length}");
    daemon.process.signal(Signal::TERM);
    let ended = daemon.process.ended(STOP);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.took < STOP);
}

#[test]
fn stop_with_idle_connections_exits() {
    let sim = simulator(Account::generated(1));
    let daemon = Setup::new(&sim, ONE_SCOPE).daemon(&[]);
    let mut idle = connect(&daemon.addr);
    assert_eq!(idle.ask("GET", "/-/healthy", "").status, 200);
    let mut half = connect(&daemon.addr);
    half.send("GET /metrics HTTP/1.1\r\nHos");
    let silent = connect(&daemon.addr);
    daemon.process.signal(Signal::INT);
    let ended = daemon.process.ended(STOP);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    drop((idle, half, silent));
}
