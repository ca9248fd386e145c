//! What answers are made of, and how much memory the big ones may take. A scrape's text is rendered once for all scrapes of the same
//! representation that came while the one before was being rendered, and is shared by them. All texts that are still being sent may take
//! 128 MiB together; beyond, the one whose readers have got nowhere for longest is given up, and they are cut.
//! So the most that scrapes hold is that, and one text that is being rendered. (The process may keep more than it holds: glibc
//! has a heap for each thread. Measured with a page of 23 MB and any number of clients that do not read: 75 MB become 180 to 250
//! with 2 threads, up to 360 with 16.)

use super::connections::Place;
use super::negotiate::Representation;
use hyper::body::Bytes;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tokio::task::JoinError;

/// Six pages of 20 MB, which is 8,000 integrations each; a usual page has some 100 kB. Two scrapers hold two at most.
const MOST_BYTES: usize = 128 * 1024 * 1024;

/// The content of an answer.
#[derive(Debug, Default)]
pub struct Content {
    pub bytes: Bytes,
    /// Whom the bytes are shared with.
    pub shared: Option<Arc<Scraped>>,
}

/// A text, and who is reading it.
#[derive(Debug)]
pub struct Scraped {
    text: Vec<u8>,
    number: u64,
    readers: Mutex<Vec<Arc<Place>>>,
}

/// A connection reads a text until this is dropped.
#[derive(Debug)]
pub struct Reading {
    scraped: Arc<Scraped>,
    place: Arc<Place>,
}

/// Renders one text of each representation at a time.
#[derive(Debug)]
pub struct Scrapes {
    /// Whoever holds one may render. The lock is fair: a scrape waits for the rendering under way and for one more at most.
    last: [tokio::sync::Mutex<Weak<Scraped>>; Representation::COUNT],
    /// How many renderings have begun.
    begun: AtomicU64,
    unsent: Mutex<Vec<Weak<Scraped>>>,
    most_bytes: usize,
}

impl From<String> for Content {
    fn from(text: String) -> Self {
        Self {
            bytes: Bytes::from(text),
            shared: None,
        }
    }
}

impl From<Arc<Scraped>> for Content {
    fn from(scraped: Arc<Scraped>) -> Self {
        Self {
            bytes: Bytes::from_owner(Text(Arc::clone(&scraped))),
            shared: Some(scraped),
        }
    }
}

struct Text(Arc<Scraped>);

impl AsRef<[u8]> for Text {
    fn as_ref(&self) -> &[u8] {
        &self.0.text
    }
}

impl Default for Scrapes {
    fn default() -> Self {
        Self::new(MOST_BYTES)
    }
}

impl Scrapes {
    /// Room for so many bytes of texts that are being sent, or for one text that is bigger.
    pub fn new(most_bytes: usize) -> Self {
        Self {
            last: Default::default(),
            begun: AtomicU64::default(),
            unsent: Mutex::default(),
            most_bytes,
        }
    }

    /// A text whose rendering began after this call. It is rendered where it holds up nobody else.
    ///
    /// # Errors
    /// If rendering panicked.
    pub async fn get(
        &self,
        representation: Representation,
        render: impl FnOnce() -> Vec<u8> + Send + 'static,
    ) -> Result<Arc<Scraped>, JoinError> {
        let before = self.begun.load(Ordering::SeqCst);
        let mut last = self.last[representation.index()].lock().await;
        if let Some(shared) = last.upgrade().filter(|last| last.number > before) {
            return Ok(shared);
        }
        let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        let scraped = Arc::new(Scraped {
            text: tokio::task::spawn_blocking(render).await?,
            number,
            readers: Mutex::default(),
        });
        *last = Arc::downgrade(&scraped);
        self.admit(&scraped);
        Ok(scraped)
    }

    fn admit(&self, scraped: &Arc<Scraped>) {
        let mut unsent = lock(&self.unsent);
        let mut others: Vec<_> = unsent.iter().filter_map(Weak::upgrade).collect();
        let room = self.most_bytes.saturating_sub(scraped.text.len());
        while others.iter().map(|other| other.text.len()).sum::<usize>() > room {
            let last_progress = others.iter().map(|other| other.last_progress());
            let Some((slowest, _)) = last_progress.enumerate().min_by_key(|(_, at)| *at) else {
                break;
            };
            others.swap_remove(slowest).cut();
        }
        *unsent = others.iter().chain([scraped]).map(Arc::downgrade).collect();
    }
}

impl Scraped {
    /// Notes that a connection reads it.
    pub fn read_by(self: Arc<Self>, place: Arc<Place>) -> Reading {
        lock(&self.readers).push(Arc::clone(&place));
        Reading {
            scraped: self,
            place,
        }
    }

    /// The event at which one of its readers last got on; without readers it is about to be sent.
    fn last_progress(&self) -> u64 {
        lock(&self.readers)
            .iter()
            .map(|place| place.last_progress())
            .max()
            .unwrap_or(u64::MAX)
    }

    fn cut(&self) {
        for place in lock(&self.readers).iter() {
            place.evict();
        }
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        lock(&self.scraped.readers).retain(|place| !Arc::ptr_eq(place, &self.place));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
