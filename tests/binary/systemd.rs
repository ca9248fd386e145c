//! What a supervisor hears over the socket of `sd_notify(3)`: ready, reloading, stopping, a line for people, and the beats that keep
//! a watchdog quiet.

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

use crate::support::{Daemon, ONE_SCOPE, SOON, STOP, Setup, Sim, integration, simulator, until};

const EU: &str = "eu-west-1";
const RARE: &str = "{polling: {interval: 24h}, scopes: [{name: all, regions: [eu-west-1]}]}";
/// Within which the watchdog is to be fed. Long enough for a busy machine not to be late.
const WATCHDOG: Duration = Duration::from_secs(6);

/// A supervisor's end of the socket.
struct ServiceManager {
    heard: Arc<Mutex<Vec<Message>>>,
    socket: UnixDatagram,
    reader: Option<JoinHandle<()>>,
}

#[derive(Clone, Debug)]
struct Message {
    at: Instant,
    text: String,
}

impl Message {
    /// The value of a variable, at most once in a message.
    fn value(&self, name: &str) -> Option<&str> {
        let mut values = self.text.lines().filter_map(|line| line.split_once('='));
        let mut values = values.by_ref().filter(|(of, _)| *of == name);
        let found = values.next().map(|(_, value)| value);
        assert!(values.next().is_none(), "{name} twice: {}", self.text);
        found
    }
}

impl ServiceManager {
    fn at(path: &Path) -> Self {
        Self::of(UnixDatagram::bind(path).unwrap())
    }

    fn of(socket: UnixDatagram) -> Self {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (into, from) = (Arc::clone(&heard), socket.try_clone().unwrap());
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
            heard,
            socket,
            reader: Some(reader),
        }
    }

    fn heard(&self) -> Vec<Message> {
        self.heard.lock().unwrap().clone()
    }

    /// The n-th message, from 0, in which a variable has this value.
    fn nth(&self, number: usize, name: &str, value: &str) -> Message {
        until(&format!("{name}={value}"), SOON, || {
            let with_it = |message: &Message| message.value(name) == Some(value);
            self.heard().into_iter().filter(with_it).nth(number)
        })
    }

    fn until_status(&self, what: &str) -> Message {
        until(what, SOON, || {
            let mut heard = self.heard().into_iter();
            heard.find(|message| {
                message
                    .value("STATUS")
                    .is_some_and(|line| line.contains(what))
            })
        })
    }

    fn beats(&self) -> Vec<Instant> {
        let heard = self.heard();
        let beats = heard
            .iter()
            .filter(|message| message.text == "WATCHDOG=1\n");
        beats.map(|message| message.at).collect()
    }

    /// Waits for so many beats more, none of which may be later than half of what the watchdog allows.
    fn keeps_beating(&self, beats: usize) {
        let before = self.beats().len();
        let last = Instant::now();
        until(
            "the beats",
            WATCHDOG * u32::try_from(beats).unwrap(),
            || (self.beats().len() >= before + beats).then_some(()),
        );
        let mut moments = self.beats().split_off(before);
        moments.insert(0, last);
        for pair in moments.windows(2) {
            let gap = pair[1] - pair[0];
            assert!(gap <= WATCHDOG / 2, "{gap:?}");
        }
    }
}

impl Drop for ServiceManager {
    fn drop(&mut self) {
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
        self.reader.take().map(JoinHandle::join);
    }
}

fn hanging(world: Account) -> Sim {
    let sim = simulator(world);
    sim.handle
        .push_fault(Fault::new(RequestMatcher::any(), FaultKind::Hang));
    sim
}

/// With the socket `notify` in its directory.
fn status_reporter(setup: Setup) -> (Setup, ServiceManager) {
    let path = setup.path("notify");
    let supervisor = ServiceManager::at(&path);
    let setup = setup.env("NOTIFY_SOCKET", path.to_str().unwrap());
    (setup, supervisor)
}

fn with_watchdog(setup: Setup) -> (Setup, ServiceManager) {
    let (setup, supervisor) = status_reporter(setup);
    let microseconds = WATCHDOG.as_micros().to_string();
    (setup.env("WATCHDOG_USEC", &microseconds), supervisor)
}

fn polls(daemon: &Daemon) -> f64 {
    // Not before the first poll has ended, a scrape waits for it.
    let page = daemon.scrape();
    page.of_scope("polls_total", "all").unwrap()
}

fn monotonic() -> u128 {
    let now = clock_gettime(ClockId::Monotonic);
    let nanoseconds = i128::from(now.tv_sec) * 1_000_000_000 + i128::from(now.tv_nsec);
    u128::try_from(nanoseconds / 1000).unwrap()
}

#[test]
fn it_is_ready_when_it_serves_and_aws_need_not_answer() {
    let sim = hanging(Account::generated(1));
    let (setup, supervisor) = status_reporter(Setup::new(&sim, ONE_SCOPE));
    let daemon = setup.daemon(&[]);
    let ready = supervisor.nth(0, "READY", "1");
    assert_eq!(
        ready.value("STATUS"),
        Some("0 of 1 pairs of scope and region up, 1 not polled yet; 0 integrations")
    );
    assert_eq!(daemon.get("/-/healthy").status, 200);
    assert_eq!(daemon.get("/-/ready").status, 503);
    assert!(supervisor.beats().is_empty(), "there is no watchdog");
}

#[test]
fn it_is_not_ready_without_a_configuration_or_a_socket_to_serve_on() {
    let sim = simulator(Account::generated(1));
    let (setup, supervisor) = status_reporter(Setup::new(&sim, "scopes: []"));
    assert_eq!(setup.run(&[]).code, Some(2));

    let setup = setup.file("config.yaml", ONE_SCOPE);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let ended = setup.run(&[&format!("--web.listen-address={address}")]);
    assert_eq!(ended.code, Some(1));
    assert_eq!(setup.run(&["once"]).code, Some(0));
    assert!(supervisor.heard().is_empty(), "{:?}", supervisor.heard());
}

#[test]
fn the_status_line_says_what_is_wrong_with_whom() {
    let world = vec![
        integration(EU, "well", "ACTIVE"),
        integration(EU, "well-too", "ACTIVE"),
        integration(EU, "broken", "NEEDS_ATTENTION"),
    ];
    let sim = simulator(Account::of(world));
    sim.handle.push_fault(Fault::new(
        RequestMatcher::region("us-east-1"),
        FaultKind::error("AccessDeniedException", "no"),
    ));
    let config = "\
polling: {interval: 24h}
scopes: [{name: all, regions: [eu-west-1, us-east-1]}]
";
    let (setup, supervisor) = status_reporter(Setup::new(&sim, config));
    let _daemon = setup.daemon(&[]);
    supervisor.until_status(
        "1 of 2 pairs of scope and region up; 3 integrations: 2 ACTIVE, 1 NEEDS_ATTENTION",
    );
}

#[test]
fn a_reload_is_told_from_its_begin_to_its_end_whether_it_is_taken_or_refused() {
    let sim = simulator(Account::generated(1));
    let (setup, supervisor) = status_reporter(Setup::new(&sim, RARE));
    let daemon = setup.daemon(&[]);
    supervisor.nth(0, "READY", "1");
    // Waits for the only poll, so that the lines below know its end.
    daemon.scrape();

    let order = |from: usize| {
        let told = supervisor.heard().split_off(from);
        let of = |name: &str| {
            let place = told
                .iter()
                .position(|message| message.value(name) == Some("1"));
            place.expect("it was told")
        };
        assert!(of("RELOADING") < of("READY"), "{told:?}");
    };
    let before = (monotonic(), supervisor.heard().len());
    daemon.process.signal(Signal::HUP);
    supervisor.nth(1, "READY", "1");
    let began = supervisor.nth(0, "RELOADING", "1");
    let at: u128 = began.value("MONOTONIC_USEC").unwrap().parse().unwrap();
    assert!((before.0..=monotonic()).contains(&at), "{at}");
    order(before.1);

    // What a supervisor would take for messages of their own.
    let bad = "scopes: [{name: \"x\\nREADY=1\\nMAINPID=1\", regions: [eu-west-1]}]\nsurprise: 1\n";
    fs::write(setup.path("config.yaml"), bad).unwrap();
    let before = supervisor.heard().len();
    daemon.process.signal(Signal::HUP);
    let refused = supervisor.nth(2, "READY", "1");
    supervisor.nth(1, "RELOADING", "1");
    order(before);
    let status = refused.value("STATUS").unwrap();
    let told = "The last reload was refused, the old configuration goes on (config.yaml:1:";
    assert!(
        status.starts_with(told) && status.contains(" and 1 more); "),
        "{status}"
    );
    assert_eq!(refused.text.lines().count(), 2, "{}", refused.text);

    fs::write(setup.path("config.yaml"), RARE).unwrap();
    daemon.process.signal(Signal::HUP);
    let taken = supervisor.nth(3, "READY", "1");
    assert!(
        taken.value("STATUS").unwrap().starts_with("1 of 1 pairs"),
        "{}",
        taken.text
    );
}

#[test]
fn a_stop_is_told() {
    let sim = simulator(Account::generated(1));
    let (setup, supervisor) = status_reporter(Setup::new(&sim, ONE_SCOPE));
    let daemon = setup.daemon(&[]);
    supervisor.nth(0, "READY", "1");
    daemon.process.signal(Signal::TERM);
    assert_eq!(daemon.process.ended(STOP).code, Some(0));
    let heard = supervisor.heard();
    let last = heard.last().unwrap();
    assert_eq!(
        (last.value("STOPPING"), last.value("STATUS")),
        (Some("1"), Some("Stopping"))
    );
}

#[test]
fn an_abstract_socket_is_as_good_and_one_that_is_of_no_use_is_done_without() {
    let sim = simulator(Account::generated(1));
    let setup = Setup::new(&sim, ONE_SCOPE);
    let name = format!("glue-integration-exporter-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let supervisor = ServiceManager::of(UnixDatagram::bind_addr(&address).unwrap());
    let setup = setup.env("NOTIFY_SOCKET", &format!("@{name}"));
    let daemon = setup.daemon(&[]);
    supervisor.nth(0, "READY", "1");
    drop(daemon);

    let absent = setup.path("nobody").to_str().unwrap().to_owned();
    for (socket, complaint) in [
        (absent.as_str(), "the supervisor could not be told"),
        ("vsock:2:1234", "NOTIFY_SOCKET cannot be used"),
    ] {
        let setup = Setup::new(&sim, ONE_SCOPE)
            .env("NOTIFY_SOCKET", socket)
            .env("WATCHDOG_USEC", "soon");
        let daemon = setup.daemon(&[]);
        assert_eq!(daemon.scrape().of_scope("scope_up", "all"), Some(1.0));
        until("the log complains", SOON, || {
            daemon.process.stderr().contains(complaint).then_some(())
        });
        daemon.process.signal(Signal::TERM);
        assert_eq!(daemon.process.ended(STOP).code, Some(0));
    }
}

#[test]
fn a_supervisor_that_does_not_read_holds_up_nothing() {
    let sim = simulator(Account::generated(1));
    let setup = Setup::new(&sim, RARE);
    let path = setup.path("notify");
    let unread = UnixDatagram::bind(&path).unwrap();
    // Until there is no room left in its queue.
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
fn beats_need_no_poll_to_end() {
    let sim = hanging(Account::generated(1));
    // One poll, which ends after the beats that are waited for.
    let config =
        "{polling: {interval: 24h, timeout: 5m}, scopes: [{name: all, regions: [eu-west-1]}]}";
    let (setup, supervisor) = with_watchdog(Setup::new(&sim, config));
    let daemon = setup.daemon(&[]);
    supervisor.nth(0, "READY", "1");
    until("the poll asks", SOON, || {
        (!sim.handle.requests().is_empty()).then_some(())
    });
    supervisor.keeps_beating(3);
    assert_eq!(daemon.get("/-/ready").status, 503, "the poll is under way");
}

#[test]
fn beats_need_no_poll_to_begin() {
    let sim = simulator(Account::generated(1));
    let (setup, supervisor) = with_watchdog(Setup::new(&sim, RARE));
    let daemon = setup.daemon(&[]);
    supervisor.nth(0, "READY", "1");
    assert_eq!(polls(&daemon), 1.0);
    supervisor.keeps_beating(3);
    assert_eq!(polls(&daemon), 1.0);

    // A scope that is gone is not waited for.
    fs::write(setup.path("config.yaml"), RARE.replace("all", "other")).unwrap();
    daemon.process.signal(Signal::HUP);
    supervisor.nth(1, "READY", "1");
    supervisor.keeps_beating(2);
}

#[test]
fn a_process_that_does_not_run_does_not_beat() {
    let sim = simulator(Account::generated(1));
    let (setup, supervisor) = status_reporter(Setup::new(&sim, RARE));
    let setup = setup.env("WATCHDOG_USEC", "300000");
    let daemon = setup.daemon(&[]);
    until("a beat", SOON, || {
        (!supervisor.beats().is_empty()).then_some(())
    });
    daemon.process.signal(Signal::STOP);
    // What it sent before it stopped has been heard once nothing more comes for as long as the watchdog waits.
    let silent = Duration::from_millis(600);
    until("silence", SOON, || {
        let last = *supervisor.beats().last()?;
        (last.elapsed() > silent).then_some(())
    });
    let beats = supervisor.beats().len();
    daemon.process.signal(Signal::CONT);
    until("beats again", SOON, || {
        (supervisor.beats().len() > beats + 2).then_some(())
    });
}

#[test]
fn another_process_is_left_to_feed_its_own_watchdog() {
    let sim = simulator(Account::generated(1));
    let (setup, supervisor) = status_reporter(Setup::new(&sim, RARE));
    let setup = setup
        .env("WATCHDOG_USEC", "100000")
        .env("WATCHDOG_PID", "1");
    let daemon = setup.daemon(&[]);
    // Time for many beats, if there were any.
    supervisor.until_status("1 of 1 pairs of scope and region up");
    for reload in 1..=20 {
        daemon.process.signal(Signal::HUP);
        supervisor.nth(reload, "READY", "1");
    }
    daemon.process.signal(Signal::TERM);
    assert_eq!(daemon.process.ended(STOP).code, Some(0));
    assert!(supervisor.beats().is_empty(), "{:?}", supervisor.heard());
}
