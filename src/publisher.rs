//! Where polls meet scrapes. Polls hand in what they brought; one task makes an immutable snapshot of it, renders the page and
//! swaps it in; scrapes read one pointer. Neither side ever waits for the other.

mod due_polls;

use crate::cache::{Applied, IntegrationCache, Key, PollResult, Stored};
use crate::clock::Clock;
use crate::config::{TagLabel, Watch};
use crate::exposition::Page;
use crate::glue::metadata::{Names, Wanted};
use crate::snapshot::{ScopeState, Snapshot};
use crate::watchdog::Ticket;
use due_polls::Schedule;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How many times as long as publishing takes there is nothing published. With a hundred polls a second, a page after each would take a
/// whole core to be read by one scrape in fifteen seconds.
const PAUSES: u32 = 3;
/// So much of these pauses may be owed: polls that end now and then are published at once.
const OWED: Duration = Duration::from_millis(500);

/// Everything known, and the page that shows it.
pub struct Publisher {
    cache: Mutex<IntegrationCache>,
    changed: Notify,
    updates: AtomicU64,
    status_changed: Notify,
    page: watch::Sender<Arc<Page>>,
    /// What the page shows.
    published: Mutex<Arc<Snapshot>>,
    schedule: Schedule,
    clock: Clock,
}

impl Publisher {
    /// A board on which nothing of `watches` is known yet.
    pub fn new(watches: &[Watch], clock: Clock) -> Self {
        let cache = IntegrationCache::new(watches);
        let (snapshot, _) = cache.snapshot(clock.now().instant);
        Self {
            cache: Mutex::new(cache),
            changed: Notify::new(),
            updates: AtomicU64::new(0),
            status_changed: Notify::new(),
            page: watch::Sender::new(Arc::new(Page::render(&snapshot, &Page::default()))),
            published: Mutex::new(Arc::new(snapshot)),
            schedule: Schedule::default(),
            clock,
        }
    }

    /// Takes what a poll brought; it is on the page as soon as the next one is rendered.
    pub fn apply(&self, key: &Key, poll: PollResult) -> Applied {
        let applied = self.lock().apply(key, poll);
        self.updates.fetch_add(1, Ordering::Relaxed);
        self.changed.notify_one();
        if applied.statuses_changed {
            self.status_changed.notify_one();
        }
        applied
    }

    /// Takes the names and tags that AWS was asked for.
    pub fn apply_metadata(&self, key: &Key, asked: Wanted, answer: Names) {
        let now = self.clock.now();
        self.lock().apply_metadata(key, asked, answer, now);
        self.updates.fetch_add(1, Ordering::Relaxed);
        self.changed.notify_one();
    }

    /// Whether AWS should be asked for the names and tags of a scope before it is time to.
    pub fn metadata_due(&self, key: &Key) -> bool {
        self.lock().metadata_due(key)
    }

    /// The names and tags that a scope lacks or may have to renew; none where they are not asked for.
    pub fn metadata_wanted(&self, key: &Key) -> Option<Wanted> {
        self.lock().metadata_wanted(key)
    }

    /// These tags are labels from now on.
    pub fn set_tag_labels(&self, tag_labels: &[TagLabel]) {
        self.lock().set_tag_labels(tag_labels);
        self.changed.notify_one();
    }

    /// Watches something else from now on: keeps what is known of the queries that go on, drops the rest.
    pub fn reconfigure(&self, watches: &[Watch]) {
        self.lock().reconfigure(watches);
        self.schedule.keep(watches);
        self.changed.notify_one();
    }

    /// What is to be kept over a restart.
    pub fn stored(&self) -> Stored {
        self.lock().stored(self.clock.now())
    }

    /// Takes over what a process before this one kept. It is served at once.
    pub fn restore(&self, stored: Stored) {
        self.lock().restore(stored, self.clock.now());
        self.publish_now();
    }

    /// How many polls have been taken over, and answers about names: if there were none, there is nothing new to be kept.
    pub fn updates(&self) -> u64 {
        self.updates.load(Ordering::Relaxed)
    }

    /// Waits until a status has been seen to change, or an integration to come or go.
    pub async fn status_changed(&self) {
        self.status_changed.notified().await;
    }

    /// The page as it is now.
    pub fn page(&self) -> Arc<Page> {
        Arc::clone(&self.page.borrow())
    }

    /// Tells when there is another page.
    pub fn subscribe(&self) -> watch::Receiver<Arc<Page>> {
        self.page.subscribe()
    }

    /// The page once every scope that was there at the start has been polled, and been asked for its names, well or badly; after `limit`, or when `stop` asks
    /// for it, the page as it is then.
    pub async fn first_page(&self, limit: Duration, stop: &CancellationToken) -> Arc<Page> {
        let mut pages = self.subscribe();
        tokio::select! {
            // The sender lives in self, so waiting ends by one of these three.
            _ = pages.wait_for(|page| page.is_complete()) => {}
            () = tokio::time::sleep(limit) => {}
            () = stop.cancelled() => {}
        }
        self.page()
    }

    /// Publishes a page after each poll, those that end at nearly the same time together, and whenever data have become too old to be shown. Runs until `stop`.
    /// `ticket` is not answered while a page is made: one that never ends would leave old values on the page for good.
    ///
    /// # Panics
    /// If rendering does.
    pub async fn publish(self: Arc<Self>, mut ticket: Ticket, stop: CancellationToken) {
        let mut paid = Instant::now();
        loop {
            let started = Instant::now();
            // No scrape and no poll waits behind it.
            let publisher = Arc::clone(&self);
            let next_end = match tokio::task::spawn_blocking(move || publisher.publish_now()).await
            {
                Ok(next_end) => next_end,
                Err(error) => match error.try_into_panic() {
                    Ok(panic) => resume_unwind(panic),
                    Err(_) => return,
                },
            };
            let end = async {
                match next_end {
                    Some(end) => tokio::time::sleep_until(end).await,
                    None => std::future::pending().await,
                }
            };
            paid = paid.max(started) + started.elapsed() * (1 + PAUSES);
            let changed = async {
                tokio::time::sleep_until(paid.checked_sub(OWED).unwrap_or(started)).await;
                self.changed.notified().await;
            };
            let next = async {
                tokio::select! {
                    () = changed => {}
                    () = end => {}
                }
            };
            tokio::select! {
                () = ticket.run_checked(next) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Publishes what is known now. Returns when the page will change without a poll, because a series ends.
    pub fn publish_now(&self) -> Option<Instant> {
        let (snapshot, next_end) = self.snapshot();
        let page = Page::render(&snapshot, &self.page());
        *unpoisoned(&self.published) = Arc::new(snapshot);
        self.page.send_replace(Arc::new(page));
        next_end
    }

    /// What was last published.
    pub fn published(&self) -> Arc<Snapshot> {
        Arc::clone(&unpoisoned(&self.published))
    }

    /// The next poll of a scope is due then; what is due and has not ended is under way.
    pub fn set_next_poll(&self, key: &Key, due: Instant) {
        self.schedule.set(key, due);
    }

    /// When each of `scopes` is polled next, in Unix seconds; none where that is not known. A moment that has come is that of the poll
    /// that is under way.
    pub fn next_polls(&self, scopes: &[ScopeState]) -> Vec<Option<f64>> {
        self.schedule.of(scopes, self.clock.now())
    }

    /// What is to be shown now, and when that will next change without a poll.
    pub fn snapshot(&self) -> (Snapshot, Option<Instant>) {
        let now = self.clock.now().instant;
        self.lock().snapshot(now)
    }

    fn lock(&self) -> MutexGuard<'_, IntegrationCache> {
        unpoisoned(&self.cache)
    }
}

/// Going on with what is there beats a scrape that fails for good: no value is written in two steps.
fn unpoisoned<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
