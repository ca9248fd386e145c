//! Notifications to the service manager over the socket of `sd_notify(3)`: ready, reloading, stopping, the status line and the
//! watchdog keep-alive.

use std::fs;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use glue_integration_exporter::simulator::{Account, Fault, FaultKind, RequestMatcher};
use rustix::process::Signal;
use rustix::time::{ClockId, clock_gettime};
use tokio::time::Instant;

use crate::e2e::support::{
    Daemon, ONE_SCOPE, SOON, STOP, Setup, Sim, integration, simulator, until,
};

const EU: &str = "eu-west-1";
const DAILY: &str = "{polling: {interval: 24h}, scopes: [{name: all, regions: [eu-west-1]}]}";
/// The watchdog timeout, long enough that a busy machine is not late.
const WATCHDOG_TIMEOUT: Duration = Duration::from_secs(6);

/// The service manager's end of the socket, which records the messages.
struct ServiceManager {
    received: Arc<Mutex<Vec<Message>>>,
    socket: UnixDatagram,
    reader: Option<JoinHandle<()>>,
}

#[derive(Clone, Debug)]
struct Message {
    at: Instant,
    text: String,
}

impl Message {
    /// Returns the value of a variable, which occurs at most once in a message.
    fn value(&self, name: &str) -> Option<&str> {
        let mut values = self.text.lines().filter_map(|line| line.split_once('='));
        let mut values = values.by_ref().filter(|(key, _)| *key == name);
        let found = values.next().map(|(_, value)| value);
        assert!(values.next().is_none(), "{name} twice: {}", self.text);
        found
    }
}

impl ServiceManager {
    fn bind(path: &Path) -> Self {
        Self::new(UnixDatagram::bind(path).unwrap())
    }

    fn new(socket: UnixDatagram) -> Self {
        let received = Arc::new(Mutex::new(Vec::new()));
        let (into, from) = (Arc::clone(&received), socket.try_clone().unwrap());
        let reader = std::thread::spawn(move || {
            let mut bytes = [0; 8192];
            // Ends when the socket is shut down.
            while let Ok(length @ 1..) = from.recv(&mut bytes) {
                let text = String::from_utf8(bytes[..length].to_vec()).unwrap();
                let at = Instant::now();
                into.lock().unwrap().push(Message { at, text });
            }
        });
        Self {
            received,
            socket,
            reader: Some(reader),
        }
    }

    fn received(&self) -> Vec<Message> {
        self.received.lock().unwrap().clone()
    }

    /// Waits for the n-th message, from 0, in which a variable has this value.
    fn nth(&self, number: usize, name: &str, value: &str) -> Message {
        until(&format!("{name}={value}"), SOON, || {
            let has_value = |message: &Message| message.value(name) == Some(value);
            self.received().into_iter().filter(has_value).nth(number)
        })
    }

    fn until_status(&self, text: &str) -> Message {
        until(text, SOON, || {
            let mut received = self.received().into_iter();
            received.find(|message| {
                message
                    .value("STATUS")
                    .is_some_and(|line| line.contains(text))
            })
        })
    }

    fn keep_alives(&self) -> Vec<Instant> {
        let received = self.received();
        let keep_alives = received
            .iter()
            .filter(|message| message.text == "WATCHDOG=1\n");
        keep_alives.map(|message| message.at).collect()
    }

    /// Waits for `count` more keep-alives, each within half the watchdog timeout after the one before.
    fn expect_keep_alives(&self, count: usize) {
        let before = self.keep_alives().len();
        let last = Instant::now();
        until(
            "the keep-alives",
            WATCHDOG_TIMEOUT * u32::try_from(count).unwrap(),
            || (self.keep_alives().len() >= before + count).then_some(()),
        );
        let mut times = self.keep_alives().split_off(before);
        times.insert(0, last);
        for pair in times.windows(2) {
            let gap = pair[1] - pair[0];
            assert!(gap <= WATCHDOG_TIMEOUT / 2, "{gap:?}");
        }
    }
}

impl Drop for ServiceManager {
    fn drop(&mut self) {
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
        self.reader.take().map(JoinHandle::join);
    }
}

fn hanging_simulator(account: Account) -> Sim {
    let sim = simulator(account);
    sim.handle
        .push_fault(Fault::new(RequestMatcher::default(), FaultKind::Hang));
    sim
}

/// Adds a service manager that listens on the socket `notify` in the setup's directory.
fn with_service_manager(setup: Setup) -> (Setup, ServiceManager) {
    let path = setup.path("notify");
    let service_manager = ServiceManager::bind(&path);
    let setup = setup.env("NOTIFY_SOCKET", path.to_str().unwrap());
    (setup, service_manager)
}

fn with_watchdog(setup: Setup) -> (Setup, ServiceManager) {
    let (setup, service_manager) = with_service_manager(setup);
    let microseconds = WATCHDOG_TIMEOUT.as_micros().to_string();
    (setup.env("WATCHDOG_USEC", &microseconds), service_manager)
}

fn polls(daemon: &Daemon) -> f64 {
    // The scrape waits for the end of the first poll.
    let page = daemon.scrape();
    page.of_scope("polls_total", "all").unwrap()
}

fn monotonic() -> u128 {
    let now = clock_gettime(ClockId::Monotonic);
    let nanoseconds = i128::from(now.tv_sec) * 1_000_000_000 + i128::from(now.tv_nsec);
    u128::try_from(nanoseconds / 1000).unwrap()
}

#[test]
fn start_without_aws_reports_ready() {
    let sim = hanging_simulator(Account::generated(1));
    let (setup, service_manager) = with_service_manager(Setup::new(&sim, ONE_SCOPE));
    let daemon = setup.daemon(&[]);
    let ready = service_manager.nth(0, "READY", "1");
    assert_eq!(
        ready.value("STATUS"),
        Some("0 of 1 pairs of scope and region up, 1 not polled yet; 0 integrations")
    );
    assert_eq!(daemon.get("/-/healthy").status, 200);
    assert_eq!(daemon.get("/-/ready").status, 503);
    assert!(
        service_manager.keep_alives().is_empty(),
        "there is no watchdog"
    );
}

#[test]
fn start_failed_reports_nothing() {
    let sim = simulator(Account::generated(1));
    let (setup, service_manager) = with_service_manager(Setup::new(&sim, "scopes: []"));
    assert_eq!(setup.run(&[]).code, Some(2));

    let setup = setup.file("config.yaml", ONE_SCOPE);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let ended = setup.run(&[&format!("--web.listen-address={address}")]);
    assert_eq!(ended.code, Some(1));
    assert_eq!(setup.run(&["once"]).code, Some(0));
    assert!(
        service_manager.received().is_empty(),
        "{:?}",
        service_manager.received()
    );
}

#[test]
fn status_line_counts_scopes_and_statuses() {
    let integrations = vec![
        integration(EU, "well", "ACTIVE"),
        integration(EU, "well-too", "ACTIVE"),
        integration(EU, "broken", "NEEDS_ATTENTION"),
    ];
    let sim = simulator(Account::of(integrations));
    sim.handle.push_fault(Fault::new(
        RequestMatcher::region("us-east-1"),
        FaultKind::error("AccessDeniedException", "no"),
    ));
    let config = "\
polling: {interval: 24h}
scopes: [{name: all, regions: [eu-west-1, us-east-1]}]
";
    let (setup, service_manager) = with_service_manager(Setup::new(&sim, config));
    let _daemon = setup.daemon(&[]);
    service_manager.until_status(
        "1 of 2 pairs of scope and region up; 3 integrations: 2 ACTIVE, 1 NEEDS_ATTENTION",
    );
}

#[test]
fn reload_reports_begin_and_end() {
    let sim = simulator(Account::generated(1));
    let (setup, service_manager) = with_service_manager(Setup::new(&sim, DAILY));
    let daemon = setup.daemon(&[]);
    service_manager.nth(0, "READY", "1");
    // Waits for the only poll, so that the status lines below include it.
    daemon.scrape();

    let assert_order = |from: usize| {
        let received = service_manager.received().split_off(from);
        let position_of = |name: &str| {
            let position = received
                .iter()
                .position(|message| message.value(name) == Some("1"));
            position.expect("the message was received")
        };
        assert!(
            position_of("RELOADING") < position_of("READY"),
            "{received:?}"
        );
    };
    let before = (monotonic(), service_manager.received().len());
    daemon.process.signal(Signal::HUP);
    service_manager.nth(1, "READY", "1");
    let began = service_manager.nth(0, "RELOADING", "1");
    let at: u128 = began.value("MONOTONIC_USEC").unwrap().parse().unwrap();
    assert!((before.0..=monotonic()).contains(&at), "{at}");
    assert_order(before.1);

    // The service manager would read further lines as variables of their own.
    let bad = "scopes: [{name: \"x\\nREADY=1\\nMAINPID=1\", regions: [eu-west-1]}]\nsurprise: 1\n";
    fs::write(setup.path("config.yaml"), bad).unwrap();
    let before = service_manager.received().len();
    daemon.process.signal(Signal::HUP);
    let refused = service_manager.nth(2, "READY", "1");
    service_manager.nth(1, "RELOADING", "1");
    assert_order(before);
    let status = refused.value("STATUS").unwrap();
    let expected = "Last reload failed, keeping the previous configuration (config.yaml:1:";
    assert!(
        status.starts_with(expected) && status.contains(" and 1 more); "),
        "{status}"
    );
    assert_eq!(refused.text.lines().count(), 2, "{}", refused.text);

    fs::write(setup.path("config.yaml"), DAILY).unwrap();
    daemon.process.signal(Signal::HUP);
    let applied = service_manager.nth(3, "READY", "1");
    assert!(
        applied.value("STATUS").unwrap().starts_with("1 of 1 pairs"),
        "{}",
        applied.text
    );
}

#[test]
fn stop_reports_stopping() {
    let sim = simulator(Account::generated(1));
    let (setup, service_manager) = with_service_manager(Setup::new(&sim, ONE_SCOPE));
    let daemon = setup.daemon(&[]);
    service_manager.nth(0, "READY", "1");
    daemon.process.signal(Signal::TERM);
    assert_eq!(daemon.process.ended(STOP).code, Some(0));
    let received = service_manager.received();
    let last = received.last().unwrap();
    assert_eq!(
        (last.value("STOPPING"), last.value("STATUS")),
        (Some("1"), Some("Stopping"))
    );
}

#[test]
fn notify_socket_abstract_or_invalid_starts() {
    let sim = simulator(Account::generated(1));
    let setup = Setup::new(&sim, ONE_SCOPE);
    let name = format!("glue-integration-exporter-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let service_manager = ServiceManager::new(UnixDatagram::bind_addr(&address).unwrap());
    let setup = setup.env("NOTIFY_SOCKET", &format!("@{name}"));
    let daemon = setup.daemon(&[]);
    service_manager.nth(0, "READY", "1");
    drop(daemon);

    let absent = setup.path("nobody").to_str().unwrap().to_owned();
    for (socket, warning) in [
        (absent.as_str(), "invalid NOTIFY_SOCKET"),
        ("vsock:2:1234", "invalid NOTIFY_SOCKET"),
    ] {
        let setup = Setup::new(&sim, ONE_SCOPE)
            .env("NOTIFY_SOCKET", socket)
            .env("WATCHDOG_USEC", "soon");
        let daemon = setup.daemon(&[]);
        assert_eq!(daemon.scrape().of_scope("scope_up", "all"), Some(1.0));
        until("the log warns", SOON, || {
            daemon.process.stderr().contains(warning).then_some(())
        });
        daemon.process.signal(Signal::TERM);
        assert_eq!(daemon.process.ended(STOP).code, Some(0));
    }
}

#[test]
fn service_manager_not_reading_blocks_nothing() {
    let sim = simulator(Account::generated(1));
    let setup = Setup::new(&sim, DAILY);
    let path = setup.path("notify");
    let unread = UnixDatagram::bind(&path).unwrap();
    // Fills the queue of the socket.
    let full = UnixDatagram::unbound().unwrap();
    full.set_nonblocking(true).unwrap();
    while full.send_to(b"STATUS=full\n", &path).is_ok() {}
    let setup = setup.env("NOTIFY_SOCKET", path.to_str().unwrap());
    let daemon = setup.daemon(&[]);
    assert_eq!(daemon.scrape().of_scope("scope_up", "all"), Some(1.0));
    daemon.process.signal(Signal::TERM);
    assert_eq!(daemon.process.ended(STOP).code, Some(0));
    drop(unread);
}

#[test]
fn keep_alives_continue_during_hung_poll() {
    let sim = hanging_simulator(Account::generated(1));
    // The only poll outlasts this test.
    let config =
        "{polling: {interval: 24h, timeout: 5m}, scopes: [{name: all, regions: [eu-west-1]}]}";
    let (setup, service_manager) = with_watchdog(Setup::new(&sim, config));
    let daemon = setup.daemon(&[]);
    service_manager.nth(0, "READY", "1");
    until("the poll sends a request", SOON, || {
        (!sim.handle.requests().is_empty()).then_some(())
    });
    service_manager.expect_keep_alives(3);
    assert_eq!(daemon.get("/-/ready").status, 503, "the poll is under way");
}

#[test]
fn keep_alives_continue_between_polls() {
    let sim = simulator(Account::generated(1));
    let (setup, service_manager) = with_watchdog(Setup::new(&sim, DAILY));
    let daemon = setup.daemon(&[]);
    service_manager.nth(0, "READY", "1");
    assert_eq!(polls(&daemon), 1.0);
    service_manager.expect_keep_alives(3);
    assert_eq!(polls(&daemon), 1.0);

    // The watchdog does not wait for a scope that a reload has removed.
    fs::write(setup.path("config.yaml"), DAILY.replace("all", "other")).unwrap();
    daemon.process.signal(Signal::HUP);
    service_manager.nth(1, "READY", "1");
    service_manager.expect_keep_alives(2);
}

#[test]
fn keep_alives_stop_while_process_is_stopped() {
    let sim = simulator(Account::generated(1));
    let (setup, service_manager) = with_service_manager(Setup::new(&sim, DAILY));
    let setup = setup.env("WATCHDOG_USEC", "300000");
    let daemon = setup.daemon(&[]);
    until("a keep-alive", SOON, || {
        (!service_manager.keep_alives().is_empty()).then_some(())
    });
    daemon.process.signal(Signal::STOP);
    // Messages from before the stop may still arrive.
    let silent = Duration::from_millis(600);
    until("silence", SOON, || {
        let last = *service_manager.keep_alives().last()?;
        (last.elapsed() > silent).then_some(())
    });
    let count = service_manager.keep_alives().len();
    daemon.process.signal(Signal::CONT);
    until("keep-alives again", SOON, || {
        (service_manager.keep_alives().len() > count + 2).then_some(())
    });
}

#[test]
fn foreign_watchdog_pid_sends_no_keep_alives() {
    let sim = simulator(Account::generated(1));
    let (setup, service_manager) = with_service_manager(Setup::new(&sim, DAILY));
    let setup = setup
        .env("WATCHDOG_USEC", "100000")
        .env("WATCHDOG_PID", "1");
    let daemon = setup.daemon(&[]);
    // This takes several watchdog timeouts.
    service_manager.until_status("1 of 1 pairs of scope and region up");
    for reload in 1..=20 {
        daemon.process.signal(Signal::HUP);
        service_manager.nth(reload, "READY", "1");
    }
    daemon.process.signal(Signal::TERM);
    assert_eq!(daemon.process.ended(STOP).code, Some(0));
    assert!(
        service_manager.keep_alives().is_empty(),
        "{:?}",
        service_manager.received()
    );
}
