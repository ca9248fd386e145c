//! The heartbeat that feeds the watchdog: it passes through every loop that has joined, whatever a loop waits for, and none that
//! sticks gets past it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::future::pending;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use glue_integration_exporter::clock::Clock;
use glue_integration_exporter::commands::reload::Exporter;
use glue_integration_exporter::commands::source::{Clients, Source};
use glue_integration_exporter::commands::status_line::StatusReporter;
use glue_integration_exporter::http::listen::Address;
use glue_integration_exporter::http::shared_responses::Content;
use glue_integration_exporter::http::{self, Handler, Limits};
use glue_integration_exporter::publisher::Publisher;
use glue_integration_exporter::shard::Shard;
use glue_integration_exporter::systemd::ServiceManager;
use glue_integration_exporter::telemetry::Telemetry;
use glue_integration_exporter::watchdog::{Ticket, Watchdog};
use hyper::body::Incoming;
use hyper::{Request, Response};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(20);
/// On the paused clock: as long as one likes.
const AGES: Duration = Duration::from_secs(24 * 60 * 60);
/// On the real clock: what answers at all has answered by then.
const A_WHILE: Duration = Duration::from_millis(300);

async fn turn(mut ticket: Ticket) {
    loop {
        ticket.check_in().await;
    }
}

async fn beats(watchdog: &Watchdog) -> bool {
    timeout(AGES, watchdog.probe(PATIENCE)).await.is_ok()
}

#[tokio::test(start_paused = true)]
async fn it_passes_through_loops_that_turn_and_through_what_they_wait_for() {
    let watchdog = Watchdog::new();
    assert!(beats(&watchdog).await, "nobody is asked yet");
    tokio::spawn(turn(watchdog.register("one")));
    tokio::spawn(turn(watchdog.register("another")));
    let mut waiting = watchdog.register("what waits");
    tokio::spawn(async move { waiting.run_checked(pending::<()>()).await });
    let start = Instant::now();
    for _ in 0..3 {
        assert!(beats(&watchdog).await);
    }
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn one_loop_that_does_not_turn_ends_it_until_it_does() {
    let watchdog = Watchdog::new();
    tokio::spawn(turn(watchdog.register("well")));
    let mut stuck = watchdog.register("stuck");
    assert!(!beats(&watchdog).await);
    assert!(!beats(&watchdog).await);
    stuck.check_in().await;
    tokio::spawn(turn(stuck));
    assert!(beats(&watchdog).await);
}

#[tokio::test(start_paused = true)]
async fn a_loop_may_leave_but_not_vanish() {
    let watchdog = Watchdog::new();
    let ended = watchdog.register("a poller that a reload has ended");
    assert!(!beats(&watchdog).await);
    ended.finish();
    assert!(beats(&watchdog).await);

    let panicked = watchdog.register("a task that has panicked");
    drop(panicked);
    assert!(!beats(&watchdog).await);
}

#[tokio::test(start_paused = true)]
async fn without_a_watchdog_nobody_is_asked() {
    let watchdog = Watchdog::none();
    let mut ticket = watchdog.register("stuck");
    assert!(beats(&watchdog).await);
    assert!(timeout(AGES, ticket.check_in()).await.is_err());
    assert_eq!(ticket.run_checked(async { 7 }).await, 7);
}

/// A runtime of which a thread can be made to stick.
struct Stickable(Runtime);

impl Stickable {
    fn new(threads: usize) -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads)
            .enable_all()
            .build();
        Self(runtime.unwrap())
    }

    /// Blocks a thread until what is returned is dropped.
    fn stick(&self) -> mpsc::Sender<()> {
        let (release, released) = mpsc::channel::<()>();
        let (tell, told) = mpsc::channel();
        self.0.spawn(async move {
            tell.send(()).unwrap();
            // The error says that the other side is gone.
            let _ = released.recv();
        });
        told.recv_timeout(PATIENCE).unwrap();
        release
    }
}

/// One round, asked from outside: what asks does not stick.
fn passes(watchdog: &Watchdog, within: Duration) -> bool {
    let runtime = Builder::new_current_thread().enable_time().build();
    let round = async { timeout(within, watchdog.probe(PATIENCE)).await.is_ok() };
    runtime.unwrap().block_on(round)
}

/// Answers nothing: no connection comes.
struct Nobody;

impl Handler for Nobody {
    async fn handle(
        &self,
        _request: Request<Incoming>,
        _peer: Option<IpAddr>,
    ) -> Response<Content> {
        pending().await
    }
}

#[test]
fn it_passes_through_what_accepts_connections() {
    let runtime = Stickable::new(1);
    let watchdog = Watchdog::new();
    let address: Address = "127.0.0.1:0".parse().unwrap();
    let of_server = watchdog.clone();
    let (tell, told) = mpsc::channel();
    runtime.0.spawn(async move {
        let listeners = vec![address.bind().await.unwrap()];
        tell.send(()).unwrap();
        let stop = CancellationToken::new();
        http::serve(
            listeners,
            Arc::new(Nobody),
            Limits::default(),
            of_server,
            stop,
        )
        .await;
    });
    told.recv_timeout(PATIENCE).unwrap();
    // That it has joined is seen by this alone, and may take a moment.
    let start = Instant::now();
    let sticks = || {
        let release = runtime.stick();
        let stuck = !passes(&watchdog, A_WHILE);
        drop(release);
        assert!(passes(&watchdog, PATIENCE));
        stuck
    };
    while !sticks() {
        assert!(start.elapsed() < PATIENCE, "nothing joins that can stick");
    }
}

/// Runs a schedule of one scope, each poll of which fails since nobody listens there.
fn schedule(runtime: &Runtime, watchdog: &Watchdog, of_polls: Clock, of_board: Clock) {
    let watchdog = watchdog.clone();
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("config.yaml");
    fs::write(&file, "scopes: [{name: all, regions: [eu-west-1]}]").unwrap();
    runtime.spawn(async move {
        let telemetry = Arc::new(Telemetry::new().unwrap());
        let source = Source::file(file, Shard::SINGLE);
        let loaded = source.load().await.unwrap();
        drop(dir);
        let exporter = Exporter {
            publisher: Arc::new(Publisher::new(&loaded.watches, of_board)),
            clients: Clients::of_simulator(
                "http://127.0.0.1:1".to_owned(),
                loaded.requests_per_second,
                Arc::clone(&telemetry) as _,
            ),
            telemetry,
            clock: of_polls,
            source,
            status_reporter: Arc::new(StatusReporter::by(ServiceManager::none())),
            access: None,
            watchdog,
        };
        let (_ask_reload, reloads) = tokio::sync::mpsc::channel(1);
        let stop = CancellationToken::new();
        exporter.run(loaded, reloads, stop).await.unwrap();
    });
}

/// Whose clock it is.
#[derive(Clone, Copy)]
enum Of {
    Polls,
    Publisher,
}

/// Runs a schedule, and has it stick in the n-th reading of a clock, from 1.
fn sticks_in_reading_the_clock(whose: Of, n: u32) {
    let watchdog = Watchdog::new();
    let (release, released) = mpsc::channel::<()>();
    let (tell, told) = mpsc::channel();
    let reading = Mutex::new((0, tell, released));
    let clock = Clock::from_wall(move || {
        let mut reading = reading.lock().unwrap();
        reading.0 += 1;
        if reading.0 == n {
            reading.1.send(()).unwrap();
            // The error says that the other side is gone.
            let _ = reading.2.recv();
        }
        0.0
    });
    // A thread besides the one that sticks.
    let runtime = Stickable::new(2);
    let (of_polls, of_board) = match whose {
        Of::Polls => (clock, Clock::system()),
        Of::Publisher => (Clock::system(), clock),
    };
    schedule(&runtime.0, &watchdog, of_polls, of_board);
    told.recv_timeout(PATIENCE).unwrap();
    let stuck = !passes(&watchdog, A_WHILE);
    drop(release);
    assert!(stuck);
    assert!(passes(&watchdog, PATIENCE));
}

#[test]
fn it_passes_through_the_loop_that_starts_the_polls() {
    // For the phase of the polls.
    sticks_in_reading_the_clock(Of::Polls, 1);
}

#[test]
fn it_passes_through_each_poller() {
    // At the begin of the first poll.
    sticks_in_reading_the_clock(Of::Polls, 2);
}

#[test]
fn it_passes_through_what_publishes_the_page() {
    // For the first page of the loop; the board itself begins with one.
    sticks_in_reading_the_clock(Of::Publisher, 2);
}
