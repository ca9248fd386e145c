//! Captures log lines for tests.

use std::cell::RefCell;
use std::io;
use std::sync::{Arc, Mutex, Once};

/// The log lines of this thread, captured until the guard is dropped.
#[derive(Clone, Default)]
pub struct Lines(Arc<Mutex<Vec<u8>>>);

thread_local! {
    static CAPTURED: RefCell<Option<Lines>> = const { RefCell::new(None) };
}

/// Ends the capture of [`Lines`] when dropped.
pub struct Guard(());

impl Drop for Guard {
    fn drop(&mut self) {
        CAPTURED.set(None);
    }
}

impl Lines {
    /// Starts to capture.
    pub fn begin() -> (Self, Guard) {
        let lines = Self::default();
        lines.add_thread();
        (lines, Guard(()))
    }

    /// Captures the lines of this thread too, until it ends.
    pub fn add_thread(&self) {
        static INSTALLED: Once = Once::new();
        INSTALLED.call_once(install);
        CAPTURED.set(Some(self.clone()));
    }

    /// Returns the number of lines that contain `needle`.
    pub fn with(&self, needle: &str) -> usize {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines().filter(|line| line.contains(needle)).count()
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

/// Installs one subscriber for all threads. With a subscriber for each thread, events would be lost: tracing caches for each call site
/// whether the first thread was interested.
fn install() {
    let writer = || CAPTURED.with_borrow(|lines| lines.clone().unwrap_or_default());
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::INFO)
        .with_writer(writer)
        .init();
    // Other tests may have reached call sites before.
    tracing::callsite::rebuild_interest_cache();
}
