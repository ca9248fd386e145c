//! Polls update the cache, and one task renders and publishes it. Scrapes read one pointer: polls and scrapes never wait for each other.

use crate::cache::{Applied, IntegrationCache, Key, PollResult, Stored, key};
use crate::clock::Clock;
use crate::config::{ScopeRegion, TagLabel};
use crate::exposition::Exposition;
use crate::freshness::Round;
use crate::glue::{Metadata, MetadataFilter};
use crate::snapshot::{ScopeState, Snapshot};
use crate::toolkit::watchdog::Ticket;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::task::JoinError;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// Publishing takes at most one part in this many of the time. Rendering after each of a hundred polls per second would use a core.
const MAX_DUTY_DIVISOR: u32 = 4;
/// How far publishing may run ahead of that rate, so that the results of occasional polls are published at once.
const MAX_BURST: Duration = Duration::from_millis(500);

pub struct Publisher {
    pub(crate) cache: Mutex<IntegrationCache>,
    changed: Notify,
    updates: AtomicU64,
    status_changed: Notify,
    page: watch::Sender<Arc<Exposition>>,
    published: Mutex<Arc<Snapshot>>,
    /// Not part of the snapshot, because a new time is no reason to render the exposition.
    next_polls: Mutex<BTreeMap<Key, Instant>>,
    clock: Clock,
}

impl Publisher {
    pub fn new(watches: &[ScopeRegion], clock: Clock) -> Self {
        let cache = IntegrationCache::new(watches);
        let (snapshot, _) = cache.snapshot(clock.now().instant);
        let page = Exposition::render(&snapshot, &Exposition::default());
        Self {
            cache: Mutex::new(cache),
            changed: Notify::new(),
            updates: AtomicU64::new(0),
            status_changed: Notify::new(),
            page: watch::Sender::new(Arc::new(page)),
            published: Mutex::new(Arc::new(snapshot)),
            next_polls: Mutex::default(),
            clock,
        }
    }

    pub fn apply(&self, key: &Key, poll: PollResult) -> Applied {
        let applied = self.cache.lock().apply(key, poll);
        self.updates.fetch_add(1, Ordering::Relaxed);
        self.changed.notify_one();
        if applied.statuses_changed {
            self.status_changed.notify_one();
        }
        applied
    }

    pub fn apply_metadata(&self, key: &Key, request: MetadataFilter, answer: Metadata) {
        let now = self.clock.now();
        self.cache.lock().apply_metadata(key, request, answer, now);
        self.updates.fetch_add(1, Ordering::Relaxed);
        self.changed.notify_one();
    }

    pub fn apply_freshness(&self, key: &Key, round: Round) {
        self.cache.lock().apply_freshness(key, round);
        self.updates.fetch_add(1, Ordering::Relaxed);
        self.changed.notify_one();
    }

    pub fn set_tag_labels(&self, tag_labels: &[TagLabel]) {
        self.cache.lock().set_tag_labels(tag_labels);
        self.changed.notify_one();
    }

    pub fn reconfigure(&self, watches: &[ScopeRegion]) {
        self.cache.lock().reconfigure(watches);
        let kept: BTreeSet<Key> = watches.iter().map(key).collect();
        self.next_polls.lock().retain(|key, _| kept.contains(key));
        self.changed.notify_one();
    }

    pub fn stored(&self) -> Stored {
        self.cache.lock().stored()
    }

    pub fn restore(&self, stored: Stored) {
        self.cache.lock().restore(stored, self.clock.now());
        self.publish_now();
    }

    /// If this number has not changed, there is nothing new to store.
    pub fn updates(&self) -> u64 {
        self.updates.load(Ordering::Relaxed)
    }

    pub async fn status_changed(&self) {
        self.status_changed.notified().await;
    }

    pub fn page(&self) -> Arc<Exposition> {
        Arc::clone(&self.page.borrow())
    }

    /// Waits until no scope blocks a scrape, at most until `limit` has passed or `stop` is cancelled.
    pub async fn first_page(&self, limit: Duration, stop: &CancellationToken) -> Arc<Exposition> {
        let mut pages = self.page.subscribe();
        tokio::select! {
            // The sender lives in self, so `wait_for` cannot fail.
            _ = pages.wait_for(|page| !page.blocks_scrape) => {}
            () = tokio::time::sleep(limit) => {}
            () = stop.cancelled() => {}
        }
        self.page()
    }

    /// Publishes after polls and when a series expires. While rendering, `ticket` is not checked in: the watchdog detects a hang.
    pub async fn publish(self: Arc<Self>, mut ticket: Ticket, stop: CancellationToken) {
        let mut allowed_at = Instant::now();
        loop {
            let started = Instant::now();
            // On a blocking thread, so that rendering delays no scrape and no poll.
            let publisher = Arc::clone(&self);
            let rendering = tokio::task::spawn_blocking(move || publisher.publish_now());
            let next_expiry = match rendering.await.map_err(JoinError::try_into_panic) {
                Ok(next_expiry) => next_expiry,
                Err(Ok(panic)) => resume_unwind(panic),
                Err(Err(_cancelled)) => return,
            };
            allowed_at = allowed_at.max(started) + started.elapsed() * MAX_DUTY_DIVISOR;
            let changed = async {
                sleep_until(allowed_at.checked_sub(MAX_BURST).unwrap_or(started)).await;
                self.changed.notified().await;
            };
            let next = async {
                tokio::select! {
                    () = changed => {}
                    () = sleep_until(next_expiry.unwrap_or(started)), if next_expiry.is_some() => {}
                }
            };
            tokio::select! {
                () = ticket.run_checked(next) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Returns when the next series expires, which changes the exposition without a poll.
    pub fn publish_now(&self) -> Option<Instant> {
        let (snapshot, next_expiry) = self.snapshot();
        let page = Exposition::render(&snapshot, &self.page());
        *self.published.lock() = Arc::new(snapshot);
        self.page.send_replace(Arc::new(page));
        next_expiry
    }

    pub fn published(&self) -> Arc<Snapshot> {
        Arc::clone(&self.published.lock())
    }

    /// A time in the past means that the poll is running.
    pub fn set_next_poll(&self, key: &Key, due: Instant) {
        self.next_polls.lock().insert(key.clone(), due);
    }

    /// In Unix seconds. A time in the past is the start of a running poll.
    pub fn next_polls(&self, scopes: &[ScopeState]) -> Vec<Option<f64>> {
        let (times, now) = (self.next_polls.lock(), self.clock.now());
        let next = |scope: &ScopeState| {
            let key = (scope.scope.clone(), scope.region.clone());
            times.get(&key).map(|due| now.unix_of(*due))
        };
        scopes.iter().map(next).collect()
    }

    pub fn snapshot(&self) -> (Snapshot, Option<Instant>) {
        let now = self.clock.now().instant;
        self.cache.lock().snapshot(now)
    }
}
