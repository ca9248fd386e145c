//! The content of responses, and a limit for the memory of large ones. Scrapes that arrive while a page is rendered share the next
//! rendering of the same representation. Pages also share most of their buffers until the next poll. All buffers that are still
//! being sent may take 128 MiB together. Beyond that the page with the oldest activity of its readers is dropped, and their
//! connections are closed.

use super::connections::Slot;
use super::negotiate::Representation;
use hyper::body::Bytes;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use tokio::task::JoinError;

/// Enough for four pages of 10,000 integrations that share no buffers; a usual page has about 100 kB.
const MAX_UNSENT_BYTES: usize = 128 * 1024 * 1024;

/// The content of a response.
#[derive(Debug, Default)]
pub struct Content {
    pub buffers: Vec<Bytes>,
    /// The shared body that the buffers belong to, if it is tracked.
    pub shared: Option<Arc<SharedBody>>,
}

/// A rendered page and the connections that are reading it.
#[derive(Debug)]
pub struct SharedBody {
    buffers: Vec<Bytes>,
    number: u64,
    readers: Mutex<Vec<Arc<Slot>>>,
}

/// Registers a connection as a reader of a page until it is dropped.
#[derive(Debug)]
pub struct ReadGuard {
    body: Arc<SharedBody>,
    slot: Arc<Slot>,
}

/// Renders at most one page of each representation at a time, and tracks the pages that are being sent.
#[derive(Debug)]
pub struct SharedResponses {
    /// The lock is held while a page is rendered. It is fair, so a scrape waits at most for the current rendering and the next one.
    last: [tokio::sync::Mutex<Weak<SharedBody>>; Representation::COUNT],
    /// The number of renderings that have started.
    started: AtomicU64,
    unsent: Mutex<Vec<Weak<SharedBody>>>,
    max_bytes: usize,
}

impl From<String> for Content {
    fn from(text: String) -> Self {
        Self {
            buffers: vec![Bytes::from(text)],
            shared: None,
        }
    }
}

impl From<Arc<SharedBody>> for Content {
    fn from(body: Arc<SharedBody>) -> Self {
        Self {
            buffers: body.buffers.clone(),
            shared: Some(body),
        }
    }
}

impl Content {
    /// Returns the number of bytes.
    pub fn length(&self) -> usize {
        self.buffers.iter().map(Bytes::len).sum()
    }
}

impl Default for SharedResponses {
    fn default() -> Self {
        Self::new(MAX_UNSENT_BYTES)
    }
}

impl SharedResponses {
    /// Allows `max_bytes` of pages that are being sent, or one page that is larger.
    pub fn new(max_bytes: usize) -> Self {
        Self {
            last: Default::default(),
            started: AtomicU64::default(),
            unsent: Mutex::default(),
            max_bytes,
        }
    }

    /// Returns a page whose rendering started after this call. Renders it on a blocking thread, or inline if `inline` is true.
    ///
    /// # Errors
    /// If rendering panicked.
    pub async fn get(
        &self,
        representation: Representation,
        inline: bool,
        render: impl FnOnce() -> Vec<Bytes> + Send + 'static,
    ) -> Result<Arc<SharedBody>, JoinError> {
        let before = self.started.load(Ordering::SeqCst);
        let mut last = self.last[representation.index()].lock().await;
        if let Some(shared) = last.upgrade().filter(|last| last.number > before) {
            return Ok(shared);
        }
        let number = self.started.fetch_add(1, Ordering::SeqCst) + 1;
        let body = Arc::new(SharedBody {
            buffers: if inline {
                render()
            } else {
                tokio::task::spawn_blocking(render).await?
            },
            number,
            readers: Mutex::default(),
        });
        *last = Arc::downgrade(&body);
        self.track(&body);
        Ok(body)
    }

    /// Returns a body that no other response shares. It counts towards the memory of pages that are being sent.
    pub fn tracked(&self, buffers: Vec<Bytes>) -> Arc<SharedBody> {
        let body = Arc::new(SharedBody {
            buffers,
            number: self.started.fetch_add(1, Ordering::SeqCst) + 1,
            readers: Mutex::default(),
        });
        self.track(&body);
        body
    }

    fn track(&self, body: &Arc<SharedBody>) {
        let mut unsent = self.unsent.lock();
        let mut all: Vec<_> = unsent.iter().filter_map(Weak::upgrade).collect();
        all.push(Arc::clone(body));
        while memory(&all) > self.max_bytes && all.len() > 1 {
            // The last page is the new one, which must stay.
            let others = all[..all.len() - 1].iter();
            let last_activity = others.map(|other| other.last_activity());
            let Some((oldest, _)) = last_activity.enumerate().min_by_key(|(_, at)| *at) else {
                break;
            };
            all.swap_remove(oldest).evict_readers();
        }
        *unsent = all.iter().map(Arc::downgrade).collect();
    }
}

/// Returns the number of bytes in these pages. A buffer that several pages share counts once.
fn memory(pages: &[Arc<SharedBody>]) -> usize {
    let buffers = pages.iter().flat_map(|page| &page.buffers);
    let distinct: BTreeMap<_, _> = buffers
        .map(|buffer| (buffer.as_ptr(), buffer.len()))
        .collect();
    distinct.values().sum()
}

impl SharedBody {
    /// Registers a connection as a reader.
    pub fn read_by(self: Arc<Self>, slot: Arc<Slot>) -> ReadGuard {
        self.readers.lock().push(Arc::clone(&slot));
        ReadGuard { body: self, slot }
    }

    /// Returns the last event of any reader. A page without readers is about to be sent and counts as the newest.
    fn last_activity(&self) -> u64 {
        self.readers
            .lock()
            .iter()
            .map(|slot| slot.last_activity())
            .max()
            .unwrap_or(u64::MAX)
    }

    fn evict_readers(&self) {
        for slot in self.readers.lock().iter() {
            slot.evict();
        }
    }
}

impl Drop for ReadGuard {
    fn drop(&mut self) {
        self.body
            .readers
            .lock()
            .retain(|slot| !Arc::ptr_eq(slot, &self.slot));
    }
}
