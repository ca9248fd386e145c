//! Everything that this process writes to stderr. A thread of its own writes it, so that a reader that stops reading (a container's log
//! driver, `less`) blocks this thread and nothing else.
//!
//! Own code: `tracing-appender` prints to stdout if its queue is full at the end, which blocks where both streams are one pipe, and it
//! does not say in the log that lines were lost.

use std::io::{self, ErrorKind, Write};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// Thousands of lines; more is lost.
const MAX_PENDING_BYTES: usize = 1024 * 1024;
/// How long the end of the process waits for a reader.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);
/// Between two attempts if whoever started the process made stderr non-blocking.
const RETRY_INTERVAL: Duration = Duration::from_millis(10);

static QUEUE: Queue = Queue {
    state: Mutex::new(State {
        pending: Vec::new(),
        dropped: 0,
        reported: 0,
        idle: true,
    }),
    changed: Condvar::new(),
};

struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// Whole lines.
    pending: Vec<u8>,
    /// Lines lost since the start.
    dropped: u64,
    /// How many of them the log has told of.
    reported: u64,
    /// The thread has written everything and waits for more.
    idle: bool,
}

/// Starts the thread. What is returned waits at its end, for a bounded time, until everything is written.
pub fn start() -> Flush {
    thread::spawn(|| QUEUE.write_all());
    Flush
}

/// Writes one or more whole lines, each ended by a line break, without waiting. Drops all of them if there is no room.
pub fn write(lines: &[u8]) {
    let mut state = QUEUE.lock();
    if state.pending.len() + lines.len() > MAX_PENDING_BYTES {
        state.dropped += count(lines);
    } else {
        state.pending.extend_from_slice(lines);
        QUEUE.changed.notify_all();
    }
}

/// Returns how many lines were lost since the start.
pub fn dropped() -> u64 {
    QUEUE.lock().dropped
}

/// Waits when it is dropped, also by a panic of the main thread.
#[must_use]
pub struct Flush;

impl Drop for Flush {
    fn drop(&mut self) {
        let is_busy = |state: &mut State| !(state.idle && state.pending.is_empty());
        // A reader that does not read within this time gets no more.
        let _ = QUEUE
            .changed
            .wait_timeout_while(QUEUE.lock(), FLUSH_TIMEOUT, is_busy);
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_all(&self) {
        loop {
            let pending = self.take();
            let (mut failed, mut is_read) = (0, true);
            // One by one: a pipe takes a line of up to 4 KiB whole or not at all, whenever the process ends.
            for line in pending.split_inclusive(|byte| *byte == b'\n') {
                is_read = write_line(line).is_ok();
                failed += u64::from(!is_read);
            }
            let mut state = self.lock();
            state.dropped += failed;
            // Once, when the reader has caught up.
            let lost = state.dropped - state.reported;
            if lost > 0 && is_read && state.pending.is_empty() {
                state.reported = state.dropped;
                drop(state);
                tracing::warn!(
                    lines = lost,
                    "log lines were lost: nobody read stderr, or it could not be written"
                );
            }
        }
    }

    /// Waits for lines and takes all of them.
    fn take(&self) -> Vec<u8> {
        let mut state = self.lock();
        while state.pending.is_empty() {
            state.idle = true;
            self.changed.notify_all();
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.idle = false;
        std::mem::take(&mut state.pending)
    }
}

/// Writes the whole line, however often it takes.
fn write_line(mut line: &[u8]) -> io::Result<()> {
    while !line.is_empty() {
        match io::stderr().write(line) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => line = &line[written..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                thread::park_timeout(RETRY_INTERVAL);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn count(lines: &[u8]) -> u64 {
    lines.iter().map(|byte| u64::from(*byte == b'\n')).sum()
}
