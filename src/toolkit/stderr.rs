//! Writes to stderr from a dedicated thread. If the reader stops reading (a container's log driver, `less`), only this thread blocks.
//!
//! This is own code because `tracing-appender` does not log that lines were lost. It also prints to stdout if its queue is full at exit,
//! which blocks if both streams are the same pipe.

use parking_lot::{Condvar, Mutex};
use std::io::{self, ErrorKind, Write};
use std::thread;
use std::time::Duration;

/// Room for thousands of lines. Further lines are dropped.
const MAX_PENDING_BYTES: usize = 1024 * 1024;
/// How long the process waits at exit for pending lines to be written.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);
/// The pause between two attempts if stderr is non-blocking, as some parent processes make it.
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
    /// Complete lines that wait to be written.
    pending: Vec<u8>,
    /// Number of lines lost since the start.
    dropped: u64,
    /// Number of lost lines that the log has already reported.
    reported: u64,
    /// True while the thread waits for lines.
    idle: bool,
}

/// Starts the writer thread. Dropping the returned value waits until all lines are written, or for a second.
pub fn start() -> Flush {
    thread::spawn(|| QUEUE.write_all());
    Flush
}

/// Queues one or more complete lines without waiting. Drops them all if the queue is full.
pub fn write(lines: &[u8]) {
    let mut state = QUEUE.state.lock();
    if state.pending.len() + lines.len() > MAX_PENDING_BYTES {
        state.dropped += count_lines(lines);
    } else {
        state.pending.extend_from_slice(lines);
        QUEUE.changed.notify_all();
    }
}

/// Returns how many lines were lost since the start.
pub fn dropped() -> u64 {
    QUEUE.state.lock().dropped
}

/// Waits on drop until all lines are written, also if the main thread panics.
#[must_use]
pub struct Flush;

impl Drop for Flush {
    fn drop(&mut self) {
        let is_busy = |state: &mut State| !(state.idle && state.pending.is_empty());
        // After the timeout, the remaining lines are lost.
        let mut state = QUEUE.state.lock();
        QUEUE
            .changed
            .wait_while_for(&mut state, is_busy, FLUSH_TIMEOUT);
    }
}

impl Queue {
    fn write_all(&self) {
        loop {
            let pending = self.take();
            let (mut failed, mut last_written) = (0, true);
            // Line by line: a write of up to 4 KiB to a pipe is atomic, so no line is cut when the process ends.
            for line in pending.split_inclusive(|byte| *byte == b'\n') {
                last_written = write_line(line).is_ok();
                failed += u64::from(!last_written);
            }
            let mut state = self.state.lock();
            state.dropped += failed;
            // Reported once, when the reader has caught up.
            let lost = state.dropped - state.reported;
            if lost > 0 && last_written && state.pending.is_empty() {
                state.reported = state.dropped;
                drop(state);
                tracing::warn!(
                    lines = lost,
                    "log lines were lost because stderr was not read or writing to it failed"
                );
            }
        }
    }

    /// Waits for lines and takes all of them.
    fn take(&self) -> Vec<u8> {
        let mut state = self.state.lock();
        while state.pending.is_empty() {
            state.idle = true;
            self.changed.notify_all();
            self.changed.wait(&mut state);
        }
        state.idle = false;
        std::mem::take(&mut state.pending)
    }
}

/// Writes the whole line, with as many writes as necessary.
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

fn count_lines(lines: &[u8]) -> u64 {
    lines.iter().map(|byte| u64::from(*byte == b'\n')).sum()
}
