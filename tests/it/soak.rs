//! Soak test with a hundred thousand polls. Several scopes poll two accounts with changing integrations, failures, throttling, hanging
//! requests, reloads and restarts. After each poll the snapshot is compared with a model that is computed from the answers from AWS alone.
//! At the end no task, socket or memory may have leaked.
//!
//! Set `SOAK_SEED` and `SOAK_POLLS` for another run.

mod environment;
mod model;

use crate::support::account::{Bench, arn, watches};
use crate::support::page::Page;
use crate::support::process::own_process;
use environment::{Conditions, FakeAccount, Rng, View};
use glue_integration_exporter::cache::{Key, key};
use glue_integration_exporter::config::ScopeRegion;
use glue_integration_exporter::exposition;
use glue_integration_exporter::exposition::text_format::Format;
use glue_integration_exporter::glue::RateLimiter;
use glue_integration_exporter::glue::aws::Sdk;
use glue_integration_exporter::glue::{Glue, Observer, Operation, Reason};
use glue_integration_exporter::poll::Poller;
use glue_integration_exporter::simulator::{Account, Fault, FaultKind, RequestMatcher, Simulator};
use glue_integration_exporter::snapshot::{Missing, PolledScope, Snapshot};
use glue_integration_exporter::storage;
use glue_integration_exporter::telemetry::Telemetry;
use model::{Model, Polled};
use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

/// Maximum growth of memory between the first tenth and the end. A leak of 100 bytes per poll would exceed it.
const MAX_MEMORY_GROWTH_KIB: u64 = 6 << 10;

/// The first number of the integrations of the other account.
const OTHER_ACCOUNT_FIRST: usize = 500_000;

/// Number of events that a failure prints.
const MAX_EVENTS: usize = 20;

/// Checks that the diagnostics are consistent with the exported data.
fn check_diagnostics(shown: &Snapshot) {
    assert_eq!(shown.provenance.len(), shown.integrations.len());
    let mut seen = vec![0; shown.scopes.len()];
    for provenance in &shown.provenance {
        assert!(
            !provenance.seen_by.is_empty(),
            "exported, but no scope observes it"
        );
        for scope in &shown.seen_by[provenance.seen_by.clone()] {
            seen[*scope as usize] += 1;
        }
    }
    for (scope, seen) in shown.scopes.iter().zip(seen) {
        let Some(polled) = &scope.polled else {
            continue;
        };
        assert_eq!(polled.integrations, seen, "{scope:?}");
        // After a restart the failures of the previous process are unknown.
        assert!(polled.up || polled.stale || scope.failed_poll.is_some());
    }
    let old = shown.integrations.iter().any(|shown| shown.stale);
    let stale = |polled: &PolledScope| polled.stale;
    let mut polled = shown
        .scopes
        .iter()
        .filter_map(|scope| scope.polled.as_ref());
    assert!(
        !old || polled.any(stale),
        "an integration is stale, but no scope is"
    );
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// Returns the resident memory of the process in KiB.
fn memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn open_files() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Returns the number of tasks that are left after stopped tasks had time to end.
async fn tasks() -> usize {
    for _ in 0..1000 {
        if Handle::current().metrics().num_alive_tasks() == 0 {
            break;
        }
        tokio::task::yield_now().await;
    }
    Handle::current().metrics().num_alive_tasks()
}

/// Returns a random configuration with most of the scopes.
fn configuration(rng: &mut Rng) -> Vec<ScopeRegion> {
    let target = |n| format!("arn:aws:glue:eu-west-1:111122223333:database/d{n}");
    let mut scopes = Vec::new();
    let mut scope = |rng: &mut Rng, name: &str, watched: String| {
        let minutes = [5, 10, 30, 60, 240][rng.below(5)];
        if !rng.one_in(5) {
            scopes.push(format!(
                "{{name: {name}, stale_after: {minutes}m, interval: 60s, concurrency: {}, {watched}}}",
                1 + rng.below(4)
            ));
        }
    };
    let arns = |rng: &mut Rng| {
        let arns: Vec<String> = (0..4).filter(|_| rng.one_in(2)).map(arn).collect();
        format!(
            "lookup: {}, integration_arns: [{}]",
            ["each", "list"][rng.below(2)],
            [arns, vec![arn(4)]].concat().join(", ")
        )
    };
    let named = arns(rng);
    let strange = format!(
        "{}, {}]",
        arns(rng).trim_end_matches(']'),
        arn(OTHER_ACCOUNT_FIRST + 1)
    );
    scope(rng, "all", "regions: [eu-west-1]".to_owned());
    scope(
        rng,
        "named",
        format!("{named}, target_arns: [{}]", target(0)),
    );
    let targets = format!("target_arns: [{}, {}]", target(0), target(1));
    let one_target = format!("target_arns: [{}]", target(1));
    let asked = [
        targets,
        one_target,
        arns(rng),
        "regions: [eu-west-1]".to_owned(),
    ];
    let watched = &asked[rng.below(4)];
    // Both profiles are of the same account, but the exporter cannot know that.
    let profile = rng.below(2);
    scope(rng, "target", format!("profile: p{profile}, {watched}"));
    // Both scopes have credentials of the other account.
    scope(rng, "other", "regions: [eu-west-1]".to_owned());
    scope(rng, "wrong", strange);
    if scopes.is_empty() {
        return configuration(rng);
    }
    watches(&format!("scopes: [{}]", scopes.join(", ")))
}

/// A poll that ended.
struct Done {
    poller: Poller,
    polled: Polled,
}

/// The exporter under test. Runs the pollers as `commands::reload` does, but one poll at a time and in random order.
struct Soak {
    rng: Rng,
    views: BTreeMap<String, Arc<View>>,
    accounts: [Arc<FakeAccount>; 2],
    bench: Bench,
    model: Model,
    watches: Vec<ScopeRegion>,
    idle: BTreeMap<Key, Poller>,
    running: JoinSet<Key>,
    stops: BTreeMap<Key, CancellationToken>,
    done: Arc<Mutex<Vec<Done>>>,
    /// The last snapshot, and when its next series expires.
    shown: Option<(Snapshot, Option<Instant>)>,
    polls: u64,
    counts: BTreeMap<&'static str, u64>,
    /// The latest events, for the report of a failure.
    events: VecDeque<Event>,
}

enum Event {
    Polled(Polled),
    Watches(&'static str, Vec<ScopeRegion>),
}

impl Soak {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let accounts = [FakeAccount::new(0), FakeAccount::new(OTHER_ACCOUNT_FIRST)];
        let watches = configuration(&mut rng);
        let bench = Bench::new(&watches);
        let views = ["all", "named", "target", "other", "wrong"]
            .map(|name| {
                let account = &accounts[usize::from(["other", "wrong"].contains(&name))];
                (
                    name.to_owned(),
                    View::new(account, rng.fork(), bench.clock.clone()),
                )
            })
            .into();
        let mut soak = Self {
            rng,
            views,
            accounts,
            model: Model::new(&watches),
            bench,
            watches,
            idle: BTreeMap::new(),
            running: JoinSet::new(),
            stops: BTreeMap::new(),
            done: Arc::default(),
            shown: None,
            polls: 0,
            counts: BTreeMap::new(),
            events: VecDeque::new(),
        };
        soak.start_pollers();
        soak
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    fn note(&mut self, entry: Event) {
        if self.events.len() == MAX_EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(entry);
    }

    fn start_pollers(&mut self) {
        for watch in &self.watches {
            let key = key(watch);
            if !self.idle.contains_key(&key) && !self.stops.contains_key(&key) {
                let poller = Poller::new(
                    watch.clone(),
                    Arc::clone(&self.views[watch.scope.as_str()]) as _,
                    Arc::clone(&self.bench.publisher),
                    Arc::clone(&self.bench.telemetry),
                    self.bench.clock.clone(),
                );
                self.idle.insert(key, poller);
            }
        }
    }

    async fn step(&mut self) {
        for account in &self.accounts {
            account.change(&mut self.rng);
        }
        if self.rng.one_in(15) {
            let names: Vec<&String> = self.views.keys().collect();
            let name = names[self.rng.below(names.len())].clone();
            let conditions = Conditions::draw(&mut self.rng);
            self.views[&name].set(conditions);
        }
        match self.rng.below(400) {
            0..2 => self.reload().await,
            2 => self.restart().await,
            3..10 => {
                // Long enough for data to expire.
                let minutes = 5 + self.rng.below(120) as u64;
                sleep(Duration::from_secs(60 * minutes)).await;
                self.count("long waits");
            }
            10..380 if !self.idle.is_empty() => {
                self.start_poll();
                if self.rng.one_in(2) {
                    self.wait_a_little().await;
                }
            }
            _ => self.wait_a_little().await,
        }
        if self.rng.one_in(2) {
            self.finish().await;
        }
        self.take_done();
        self.compare();
    }

    async fn wait_a_little(&mut self) {
        sleep(Duration::from_millis(self.rng.below(40_000) as u64)).await;
    }

    fn start_poll(&mut self) {
        let keys: Vec<&Key> = self.idle.keys().collect();
        let key = keys[self.rng.below(keys.len())].clone();
        let mut poller = self.idle.remove(&key).unwrap();
        let stop = CancellationToken::new();
        self.stops.insert(key.clone(), stop.clone());
        let (clock, done) = (self.bench.clock.clone(), Arc::clone(&self.done));
        let view = Arc::clone(&self.views[key.0.as_str()]);
        view.discard();
        self.running.spawn(async move {
            let started = clock.now();
            let poll = async {
                let up = poller.poll().await;
                (up, clock.now())
            };
            tokio::select! {
                (up, ended) = poll => {
                    // No other task runs between the end of the poll and this line, so the publisher got the polls in the same order.
                    let polled = Polled { key: key.clone(), started, ended, up, replies: view.take() };
                    done.lock().unwrap().push(Done { poller, polled });
                }
                () = stop.cancelled() => {}
            }
            key
        });
    }

    /// Waits for the running polls.
    async fn finish(&mut self) {
        while let Some(ended) = self.running.join_next().await {
            ended.unwrap();
            self.take_done();
            self.compare();
        }
        assert_eq!(tasks().await, 0, "a task leaked after {} polls", self.polls);
        assert!(self.stops.is_empty());
    }

    fn take_done(&mut self) {
        let done = std::mem::take(&mut *self.done.lock().unwrap());
        for Done { poller, polled } in done {
            self.polls += 1;
            self.count(if polled.up {
                "complete polls"
            } else {
                "failed polls"
            });
            self.stops.remove(&polled.key);
            self.idle.insert(polled.key.clone(), poller);
            self.note(Event::Polled(polled.clone()));
            self.model.poll(polled);
            self.shown = None;
        }
    }

    /// Reloads as `commands::reload` does: stops the pollers with a changed watch, waits for them, then reconfigures the publisher.
    async fn reload(&mut self) {
        let watches = configuration(&mut self.rng);
        let before = std::mem::replace(&mut self.watches, watches);
        let changed: Vec<Key> = before
            .iter()
            .filter(|watch| !self.watches.contains(watch))
            .map(key)
            .collect();
        for key in &changed {
            self.idle.remove(key);
            if let Some(stop) = self.stops.get(key) {
                stop.cancel();
            }
        }
        while self.stops.keys().any(|key| changed.contains(key)) {
            let key = self.running.join_next().await.unwrap().unwrap();
            self.take_done();
            if changed.contains(&key) {
                self.stops.remove(&key);
                self.idle.remove(&key);
            }
        }
        for changed in &changed {
            if !self.watches.iter().any(|watch| key(watch) == *changed) {
                self.bench.telemetry.remove_scope(changed);
            }
        }
        self.bench.publisher.reconfigure(&self.watches);
        self.model.reconfigure(&self.watches);
        self.note(Event::Watches("reload", self.watches.clone()));
        self.shown = None;
        self.start_pollers();
        self.count("reloads");
    }

    /// Restarts: a new process restores the stored data. Running polls are lost.
    async fn restart(&mut self) {
        self.running.shutdown().await;
        self.take_done();
        let bytes = storage::encode(&self.bench.publisher.stored()).unwrap();
        self.stops.clear();
        self.idle.clear();
        self.bench = Bench::with_clock(&self.watches, self.bench.clock.clone());
        self.bench
            .publisher
            .restore(storage::decode(&bytes).unwrap());
        self.model.restart(&self.watches, Instant::now());
        self.note(Event::Watches("restart", self.watches.clone()));
        self.shown = None;
        self.start_pollers();
        self.count("restarts");
    }

    fn compare(&mut self) {
        // Always compare after a poll. Between polls the snapshot rarely changes.
        if self.shown.is_some() && !self.rng.one_in(4) {
            return;
        }
        let now = Instant::now();
        let (mut shown, next_expiry) = self.bench.publisher.snapshot();
        check_diagnostics(&shown);
        // The model does not compute the diagnostics, and they change with each poll.
        shown.provenance.clear();
        shown.seen_by.clear();
        for scope in &mut shown.scopes {
            scope.failed_poll = None;
        }
        for missing in &mut shown.missing {
            *missing = Missing {
                arn: std::mem::take(&mut missing.arn),
                stale: missing.stale,
                ..Missing::default()
            };
        }
        if let Some((before, Some(end))) = &self.shown
            && now < *end
        {
            assert_eq!(*before, shown, "the snapshot changed before {end:?}");
        }
        let expected = self.model.shown(now);
        if shown != expected {
            self.report_difference(&shown, &expected);
        }
        for shown in &shown.integrations {
            assert!(
                self.accounts
                    .iter()
                    .any(|account| account.had(&shown.integration)),
                "no account ever had {shown:?}"
            );
        }
        if self.rng.one_in(500) {
            self.compare_page(&shown);
        }
        self.shown = Some((shown, next_expiry));
    }

    fn report_difference(&self, shown: &Snapshot, expected: &Snapshot) -> ! {
        for entry in &self.events {
            match entry {
                Event::Polled(polled) => eprintln!("{polled}"),
                Event::Watches(what, watches) => {
                    let scopes = watches
                        .iter()
                        .map(|watch| (watch.scope.as_str(), watch.stale_after));
                    eprintln!("  {what}: {:?}", scopes.collect::<Vec<_>>());
                }
            }
        }
        let lines = |snapshot: &Snapshot| {
            format!("{snapshot:#?}")
                .lines()
                .map(str::to_owned)
                .collect()
        };
        let (shown, expected): (Vec<String>, Vec<String>) = (lines(shown), lines(expected));
        let pairs: Vec<_> = shown.iter().zip(&expected).collect();
        // Print the context before the first difference.
        let first = pairs
            .iter()
            .position(|(actual, expected)| actual != expected);
        for (actual, _) in
            &pairs[first.unwrap_or_default().saturating_sub(40)..first.unwrap_or_default()]
        {
            eprintln!("        {actual}");
        }
        for (actual, expected) in pairs
            .iter()
            .filter(|(actual, expected)| actual != expected)
            .take(12)
        {
            eprintln!("actual:   {actual}\nexpected: {expected}");
        }
        panic!("after {} polls, at {:?}", self.polls, Instant::now());
    }

    /// Compares the rendered exposition. Called rarely, because rendering and parsing take longer than everything else.
    fn compare_page(&mut self, expected: &Snapshot) {
        let page: Page = self.bench.page();
        for shown in &expected.integrations {
            let status = page.status(&shown.integration.arn);
            assert_eq!(status.as_deref(), Some(shown.integration.status.as_str()));
        }
        let (existing, missing) = (expected.integrations.len(), expected.missing.len());
        let present = page.find("aws_glue_integration_present", &[]);
        assert_eq!(
            present.iter().filter(|row| row.value == 1.0).count(),
            existing
        );
        assert_eq!(present.len(), existing + missing);
        assert_eq!(
            page.find("aws_glue_integration_stale", &[]).len(),
            existing + missing
        );
        let rows = page.find("aws_glue_integration_status", &[]).len();
        assert_eq!(rows, 8 * existing);
        for scope in &expected.scopes {
            let labels = [("scope", scope.scope.as_str())];
            let gauge =
                |name| page.value(&format!("glue_integration_exporter_scope_{name}"), &labels);
            let flag = |flag: bool| f64::from(u8::from(flag));
            let polled = scope.polled.as_ref();
            assert_eq!(gauge("up"), polled.map(|polled| flag(polled.up)));
            assert_eq!(gauge("stale"), polled.map(|polled| flag(polled.stale)));
        }
        self.count("pages");
    }
}

#[test]
fn random_polls_match_model_and_leak_nothing() {
    if !own_process("soak::random_polls_match_model_and_leak_nothing") {
        return;
    }
    let (seed, polls) = (setting("SOAK_SEED", 1), setting("SOAK_POLLS", 100_000));
    eprintln!("SOAK_SEED={seed} SOAK_POLLS={polls}");
    // The first scrape opens files in /proc that stay open.
    exposition::Exposition::default().text(Format::Text, &Telemetry::new().unwrap(), 0.0);
    let (files, threads) = (open_files(), 2);
    let soaks: Vec<_> = (0..threads)
        .map(|thread| std::thread::spawn(move || soak(seed + 1000 * thread, polls / threads)))
        .collect();
    for soak in soaks {
        soak.join().unwrap();
    }
    assert_eq!(open_files(), files);
}

fn soak(seed: u64, polls: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut soak = Soak::new(seed);
        let begun = Instant::now();
        while soak.polls < polls / 10 {
            soak.step().await;
        }
        let warm = memory();
        while soak.polls < polls {
            soak.step().await;
        }
        soak.finish().await;
        let end = memory();
        eprintln!(
            "{} polls, {} days of {} integrations; {:?}; memory {warm} KiB, then {end} KiB",
            soak.polls,
            begun.elapsed().as_secs() / 86_400,
            soak.accounts
                .iter()
                .map(|account| account.created())
                .sum::<usize>(),
            soak.counts,
        );
        assert!(
            end < warm + MAX_MEMORY_GROWTH_KIB,
            "memory grew from {warm} to {end} KiB"
        );
        let stored = storage::encode(&soak.bench.publisher.stored()).unwrap();
        let head = stored.iter().position(|byte| *byte == b'\n').unwrap();
        let stored: serde_json::Value = serde_json::from_slice(&stored[head + 1..]).unwrap();
        assert_eq!(
            stored["statuses"].as_array().unwrap().len(),
            soak.model.statuses(),
            "stored statuses"
        );
        for what in [
            "complete polls",
            "failed polls",
            "reloads",
            "restarts",
            "long waits",
            "pages",
        ] {
            assert!(soak.counts[what] > polls / 2000, "{:?}", soak.counts);
        }
        drop(soak);
        assert_eq!(tasks().await, 0);
    });
}

/// An observer that ignores all requests.
struct IgnoringObserver;

impl Observer for IgnoringObserver {
    fn waited(&self, _: Operation, _: Duration) {}
    fn sent(&self, _: Operation) {}
    fn ended(&self, _: Operation, _: Duration, _: Option<Reason>) {}
}

/// Waits until `left` is at most `most`. Fails after ten seconds.
async fn wait_until_at_most(what: &str, most: usize, left: impl Fn() -> usize) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while left() > most {
        assert!(
            Instant::now() < deadline,
            "{} {what} are left, not {most}",
            left()
        );
        sleep(Duration::from_millis(20)).await;
    }
}

#[test]
fn replaced_clients_leak_no_socket_and_no_task() {
    if !own_process("soak::replaced_clients_leak_no_socket_and_no_task") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let tasks = || Handle::current().metrics().num_alive_tasks();
        let simulator = Simulator::bind(([127, 0, 0, 1], 0).into(), Account::generated(20))
            .await
            .unwrap();
        let (address, faults, stop) = (simulator.local_addr, simulator.handle.clone(), CancellationToken::new());
        let serving = tokio::spawn(simulator.serve(stop.clone().cancelled_owned()));
        let files = open_files();
        let watches = watches(
            "scopes: [{name: a, regions: [eu-west-1], timeout: 1s, page_size: 5}, {name: b, regions: [eu-west-1], timeout: 1s}]",
        );
        let mut polls = 0;
        for round in 0..12 {
            let fault = match round % 6 {
                0 => FaultKind::ResetMidBody,
                1 => FaultKind::Hang,
                2 => FaultKind::raw(200, "<html>"),
                3 => FaultKind::error("AccessDeniedException", "no"),
                4 => FaultKind::Drip { bytes: 100, pause: Duration::from_millis(20) },
                _ => FaultKind::Delay(Duration::from_millis(5)),
            };
            // As many faults as all scopes send requests at once, so that the faults end together.
            faults.push_fault(Fault::new(RequestMatcher::default(), fault).times(8));
            let bench = Bench::new(&watches);
            let clients: Vec<Arc<dyn Glue>> = (0..4)
                .map(|_| {
                    let (url, region) = (format!("http://{address}"), &watches[0].region);
                    let client = Sdk::connect_simulated(Arc::new(IgnoringObserver), url, region, RateLimiter::new(u16::MAX));
                    Arc::new(client) as _
                })
                .collect();
            let mut running = JoinSet::new();
            for (watch, client) in watches.iter().flat_map(|watch| clients.iter().map(move |client| (watch, client))) {
                let mut poller = Poller::new(
                    watch.clone(),
                    Arc::clone(client),
                    Arc::clone(&bench.publisher),
                    Arc::clone(&bench.telemetry),
                    bench.clock.clone(),
                );
                running.spawn(async move {
                    for _ in 0..10 {
                        poller.poll().await;
                    }
                });
                polls += 10;
            }
            if round % 3 == 2 {
                // A reload stops running polls.
                sleep(Duration::from_millis(30)).await;
                running.shutdown().await;
            }
            while let Some(ended) = running.join_next().await {
                ended.unwrap();
            }
            faults.clear_faults();
        }
        wait_until_at_most("open files", files, open_files).await;
        wait_until_at_most("tasks", 1, tasks).await;
        stop.cancel();
        serving.await.unwrap();
        wait_until_at_most("tasks", 0, tasks).await;
        eprintln!("{polls} polls over sockets, {files} files are open as before");
    });
}
