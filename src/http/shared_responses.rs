//! What answers are made of, and how much memory the big ones may take. A page is put together once for all scrapes of the same
//! representation that came while the one before was being put together, and is shared by them. Most of its pieces are shared by all
//! pages until the next poll. All pieces that are still being sent may take 128 MiB together; beyond, the page whose readers have
//! got nowhere for longest is given up, and they are cut.

use super::connections::Slot;
use super::negotiate::Representation;
use hyper::body::Bytes;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tokio::task::JoinError;

/// Four pages of 10,000 integrations each that have nothing in common; a usual page has some 100 kB.
const MOST_BYTES: usize = 128 * 1024 * 1024;

/// The content of an answer.
#[derive(Debug, Default)]
pub struct Content {
    pub pieces: Vec<Bytes>,
    /// Whom they are shared with.
    pub shared: Option<Arc<SharedBody>>,
}

/// A page, and who is reading it.
#[derive(Debug)]
pub struct SharedBody {
    pieces: Vec<Bytes>,
    number: u64,
    readers: Mutex<Vec<Arc<Slot>>>,
}

/// A connection reads a page until this is dropped.
#[derive(Debug)]
pub struct ReadGuard {
    body: Arc<SharedBody>,
    slot: Arc<Slot>,
}

/// Renders one page of each representation at a time.
#[derive(Debug)]
pub struct SharedResponses {
    /// Whoever holds one may render. The lock is fair: a scrape waits for the rendering under way and for one more at most.
    last: [tokio::sync::Mutex<Weak<SharedBody>>; Representation::COUNT],
    /// How many renderings have begun.
    begun: AtomicU64,
    unsent: Mutex<Vec<Weak<SharedBody>>>,
    most_bytes: usize,
}

impl From<String> for Content {
    fn from(text: String) -> Self {
        Self {
            pieces: vec![Bytes::from(text)],
            shared: None,
        }
    }
}

impl From<Arc<SharedBody>> for Content {
    fn from(body: Arc<SharedBody>) -> Self {
        Self {
            pieces: body.pieces.clone(),
            shared: Some(body),
        }
    }
}

impl Content {
    /// How many bytes it has.
    pub fn length(&self) -> usize {
        self.pieces.iter().map(Bytes::len).sum()
    }
}

impl Default for SharedResponses {
    fn default() -> Self {
        Self::new(MOST_BYTES)
    }
}

impl SharedResponses {
    /// Room for so many bytes of pages that are being sent, or for one page that is bigger.
    pub fn new(most_bytes: usize) -> Self {
        Self {
            last: Default::default(),
            begun: AtomicU64::default(),
            unsent: Mutex::default(),
            most_bytes,
        }
    }

    /// A page whose rendering began after this call. It is rendered where it holds up nobody else: here, if that is `quick`.
    ///
    /// # Errors
    /// If rendering panicked.
    pub async fn get(
        &self,
        representation: Representation,
        quick: bool,
        render: impl FnOnce() -> Vec<Bytes> + Send + 'static,
    ) -> Result<Arc<SharedBody>, JoinError> {
        let before = self.begun.load(Ordering::SeqCst);
        let mut last = self.last[representation.index()].lock().await;
        if let Some(shared) = last.upgrade().filter(|last| last.number > before) {
            return Ok(shared);
        }
        let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        let body = Arc::new(SharedBody {
            pieces: if quick {
                render()
            } else {
                tokio::task::spawn_blocking(render).await?
            },
            number,
            readers: Mutex::default(),
        });
        *last = Arc::downgrade(&body);
        self.admit(&body);
        Ok(body)
    }

    /// An answer that nobody shares, which takes its part of the memory for answers that are being sent.
    pub fn admitted(&self, pieces: Vec<Bytes>) -> Arc<SharedBody> {
        let body = Arc::new(SharedBody {
            pieces,
            number: self.begun.fetch_add(1, Ordering::SeqCst) + 1,
            readers: Mutex::default(),
        });
        self.admit(&body);
        body
    }

    fn admit(&self, body: &Arc<SharedBody>) {
        let mut unsent = lock(&self.unsent);
        let mut all: Vec<_> = unsent.iter().filter_map(Weak::upgrade).collect();
        all.push(Arc::clone(body));
        while memory(&all) > self.most_bytes && all.len() > 1 {
            // The one that has just come is the last.
            let others = all[..all.len() - 1].iter();
            let last_progress = others.map(|other| other.last_progress());
            let Some((slowest, _)) = last_progress.enumerate().min_by_key(|(_, at)| *at) else {
                break;
            };
            all.swap_remove(slowest).cut();
        }
        *unsent = all.iter().map(Arc::downgrade).collect();
    }
}

/// How many bytes these pages take: what several have in common counts once.
fn memory(pages: &[Arc<SharedBody>]) -> usize {
    let pieces = pages.iter().flat_map(|page| &page.pieces);
    let different: BTreeMap<_, _> = pieces.map(|piece| (piece.as_ptr(), piece.len())).collect();
    different.values().sum()
}

impl SharedBody {
    /// Notes that a connection reads it.
    pub fn read_by(self: Arc<Self>, slot: Arc<Slot>) -> ReadGuard {
        lock(&self.readers).push(Arc::clone(&slot));
        ReadGuard { body: self, slot }
    }

    /// The event at which one of its readers last got on; without readers it is about to be sent.
    fn last_progress(&self) -> u64 {
        lock(&self.readers)
            .iter()
            .map(|slot| slot.last_progress())
            .max()
            .unwrap_or(u64::MAX)
    }

    fn cut(&self) {
        for slot in lock(&self.readers).iter() {
            slot.evict();
        }
    }
}

impl Drop for ReadGuard {
    fn drop(&mut self) {
        lock(&self.body.readers).retain(|slot| !Arc::ptr_eq(slot, &self.slot));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
