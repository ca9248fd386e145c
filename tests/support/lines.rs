//! What the log says, for tests that read it.

use std::cell::RefCell;
use std::io;
use std::sync::{Arc, Mutex, Once};

/// What this thread logs, as long as the guard lives.
#[derive(Clone, Default)]
pub struct Lines(Arc<Mutex<Vec<u8>>>);

thread_local! {
    static OF_THREAD: RefCell<Option<Lines>> = const { RefCell::new(None) };
}

/// The end of [`Lines`].
pub struct Guard(());

impl Drop for Guard {
    fn drop(&mut self) {
        OF_THREAD.set(None);
    }
}

impl Lines {
    /// From now on.
    pub fn begin() -> (Self, Guard) {
        static LISTENING: Once = Once::new();
        LISTENING.call_once(listen);
        let lines = Self::default();
        OF_THREAD.set(Some(lines.clone()));
        (lines, Guard(()))
    }

    /// How many have this in them.
    pub fn with(&self, what: &str) -> usize {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines().filter(|line| line.contains(what)).count()
    }
}

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One subscriber for all threads: of a subscriber of one thread, tracing forgets the events that
/// another thread came to first (it asks that thread's subscriber once for each place in the code,
/// and keeps a no for everybody).
fn listen() {
    let of_thread = || OF_THREAD.with_borrow(|lines| lines.clone().unwrap_or_default());
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::INFO)
        .with_writer(of_thread)
        .init();
    // Places that other tests came to before this one.
    tracing::callsite::rebuild_interest_cache();
}
