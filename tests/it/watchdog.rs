//! The watchdog: a probe succeeds while every registered task answers, and fails as soon as one task is stuck.

use std::fs;
use std::future::pending;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use crate::support::account::Bench;
use glue_integration_exporter::clock::Clock;
use glue_integration_exporter::commands::reload::{Pollers, Running};
use glue_integration_exporter::commands::source::{Clients, ConfigSource};
use glue_integration_exporter::commands::status_line::StatusReporter;
use glue_integration_exporter::http::{self, Limits};
use glue_integration_exporter::publisher::Publisher;
use glue_integration_exporter::shard::Shard;
use glue_integration_exporter::telemetry::Telemetry;
use glue_integration_exporter::toolkit::listen::Address;
use glue_integration_exporter::toolkit::systemd::ServiceManager;
use glue_integration_exporter::toolkit::watchdog::{Ticket, Watchdog};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

const TIMEOUT: Duration = Duration::from_secs(20);
/// On the paused clock, where waiting costs nothing.
const PAUSED_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);
/// On the real clock, long enough for every task that can answer.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(300);

async fn answer_probes(mut ticket: Ticket) {
    loop {
        ticket.check_in().await;
    }
}

async fn probe_succeeds(watchdog: &Watchdog) -> bool {
    timeout(PAUSED_TIMEOUT, watchdog.probe(TIMEOUT))
        .await
        .is_ok()
}

#[tokio::test(start_paused = true)]
async fn probe_responsive_tasks_succeeds() {
    let watchdog = Watchdog::default();
    assert!(probe_succeeds(&watchdog).await, "no task is registered yet");
    tokio::spawn(answer_probes(watchdog.register("one")));
    tokio::spawn(answer_probes(watchdog.register("another")));
    let mut waiting = watchdog.register("waiting");
    tokio::spawn(async move { waiting.run_checked(pending::<()>()).await });
    let start = Instant::now();
    for _ in 0..3 {
        assert!(probe_succeeds(&watchdog).await);
    }
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn probe_stuck_task_fails_until_it_answers() {
    let watchdog = Watchdog::default();
    tokio::spawn(answer_probes(watchdog.register("healthy")));
    let mut stuck = watchdog.register("stuck");
    assert!(!probe_succeeds(&watchdog).await);
    assert!(!probe_succeeds(&watchdog).await);
    stuck.check_in().await;
    tokio::spawn(answer_probes(stuck));
    assert!(probe_succeeds(&watchdog).await);
}

#[tokio::test(start_paused = true)]
async fn probe_dropped_ticket_fails_finished_does_not() {
    let watchdog = Watchdog::default();
    let ended = watchdog.register("finished");
    assert!(!probe_succeeds(&watchdog).await);
    ended.finish();
    assert!(probe_succeeds(&watchdog).await);

    let panicked = watchdog.register("panicked");
    drop(panicked);
    assert!(!probe_succeeds(&watchdog).await);
}

/// A runtime with a thread that a test can block.
struct BlockableRuntime(Runtime);

impl BlockableRuntime {
    fn new(threads: usize) -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads)
            .enable_all()
            .build();
        Self(runtime.unwrap())
    }

    /// Blocks a thread until the returned sender is dropped.
    fn block(&self) -> mpsc::Sender<()> {
        let (release, released) = mpsc::channel::<()>();
        let (started_tx, started_rx) = mpsc::channel();
        self.0.spawn(async move {
            started_tx.send(()).unwrap();
            // An error means that the sender was dropped.
            let _ = released.recv();
        });
        started_rx.recv_timeout(TIMEOUT).unwrap();
        release
    }
}

/// Probes from another runtime, which is not blocked.
fn probe_from_outside(watchdog: &Watchdog, within: Duration) -> bool {
    let runtime = Builder::new_current_thread().enable_time().build();
    let probe = async { timeout(within, watchdog.probe(TIMEOUT)).await.is_ok() };
    runtime.unwrap().block_on(probe)
}

#[test]
fn probe_blocked_acceptor_fails() {
    let runtime = BlockableRuntime::new(1);
    let watchdog = Watchdog::default();
    let address: Address = "127.0.0.1:0".parse().unwrap();
    let server_watchdog = watchdog.clone();
    let (started_tx, started_rx) = mpsc::channel();
    runtime.0.spawn(async move {
        let listeners = vec![address.bind().await.unwrap()];
        started_tx.send(()).unwrap();
        let bench = Bench::new(&[]);
        let (routes, limits) = (bench.routes(), Limits::default());
        let stop = bench.stop.clone();
        http::serve(listeners, routes, limits, server_watchdog, stop).await;
    });
    started_rx.recv_timeout(TIMEOUT).unwrap();
    // The acceptor registers a moment later, which only a failed probe shows.
    let start = Instant::now();
    let fails_while_blocked = || {
        let release = runtime.block();
        let stuck = !probe_from_outside(&watchdog, ANSWER_TIMEOUT);
        drop(release);
        assert!(probe_from_outside(&watchdog, TIMEOUT));
        stuck
    };
    while !fails_while_blocked() {
        assert!(start.elapsed() < TIMEOUT, "the acceptor did not register");
    }
}

/// Runs the pollers of one scope. Every poll fails because its endpoint refuses connections.
fn run_pollers(runtime: &Runtime, watchdog: &Watchdog, poll_clock: Clock, publisher_clock: Clock) {
    let watchdog = watchdog.clone();
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("config.yaml");
    fs::write(&file, "scopes: [{name: all, regions: [eu-west-1]}]").unwrap();
    runtime.spawn(async move {
        let telemetry = Arc::new(Telemetry::new().unwrap());
        let source = ConfigSource::file(file, Shard::SINGLE);
        let loaded = source.load().await.unwrap();
        drop(dir);
        let publisher = Arc::new(Publisher::new(&loaded.watches, publisher_clock));
        let pollers = Pollers {
            publisher: Arc::clone(&publisher),
            clients: Clients::for_simulator(
                "http://127.0.0.1:1".to_owned(),
                loaded.requests_per_second,
                Arc::clone(&telemetry) as _,
            ),
            telemetry,
            clock: poll_clock,
            source,
            status_reporter: Arc::new(StatusReporter::new(ServiceManager::default(), publisher)),
            access: None,
            watchdog,
            running: Running::default(),
        };
        let (_reload_sender, reloads) = tokio::sync::mpsc::channel(1);
        let stop = CancellationToken::new();
        pollers.run(loaded, reloads, stop).await.unwrap();
    });
}

/// The part of the exporter that reads the clock.
#[derive(Clone, Copy)]
enum ClockUser {
    Polls,
    Publisher,
}

/// Runs the pollers, blocks the `n`-th reading of the clock (from 1), and expects that a probe fails meanwhile.
fn probe_fails_in_clock_reading(user: ClockUser, n: u32) {
    let watchdog = Watchdog::default();
    let (release, released) = mpsc::channel::<()>();
    let (started_tx, started_rx) = mpsc::channel();
    let reading = Mutex::new((0, started_tx, released));
    let clock = Clock::from_wall(move || {
        let mut reading = reading.lock().unwrap();
        reading.0 += 1;
        if reading.0 == n {
            reading.1.send(()).unwrap();
            // An error means that the sender was dropped.
            let _ = reading.2.recv();
        }
        0.0
    });
    // One thread besides the blocked one.
    let runtime = BlockableRuntime::new(2);
    let (poll_clock, publisher_clock) = match user {
        ClockUser::Polls => (clock, Clock::system()),
        ClockUser::Publisher => (Clock::system(), clock),
    };
    run_pollers(&runtime.0, &watchdog, poll_clock, publisher_clock);
    started_rx.recv_timeout(TIMEOUT).unwrap();
    let stuck = !probe_from_outside(&watchdog, ANSWER_TIMEOUT);
    drop(release);
    assert!(stuck);
    assert!(probe_from_outside(&watchdog, TIMEOUT));
}

#[test]
fn probe_blocked_scheduler_fails() {
    // The scheduler reads it to compute the schedule.
    probe_fails_in_clock_reading(ClockUser::Polls, 1);
}

#[test]
fn probe_blocked_poller_fails() {
    // The poller reads it at the start of the first poll.
    probe_fails_in_clock_reading(ClockUser::Polls, 2);
}

#[test]
fn probe_blocked_publisher_fails() {
    // The first reading happens when the publisher is created.
    probe_fails_in_clock_reading(ClockUser::Publisher, 2);
}
