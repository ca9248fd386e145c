//! Writes to stderr from a dedicated thread. If the reader stops reading (a container's log driver, `less`), only this thread blocks.
//! This is own code because `tracing-appender` does not log lost lines, and can block at exit: with a full queue it prints to stdout.

use std::io::{self, ErrorKind, Write};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

/// Room for thousands of lines. Further lines are dropped.
const MAX_PENDING_BYTES: usize = 1024 * 1024;
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);
/// The pause between two attempts if stderr is non-blocking, as some parent processes make it.
const RETRY_INTERVAL: Duration = Duration::from_millis(10);

static WRITER: LazyLock<Sender<Message>> = LazyLock::new(|| {
    let (sender, messages) = channel();
    thread::spawn(move || write_all(&messages));
    sender
});
static PENDING_BYTES: AtomicUsize = AtomicUsize::new(0);
static DROPPED: AtomicU64 = AtomicU64::new(0);

enum Message {
    Lines(Vec<u8>),
    /// Reports that all earlier lines are written.
    Flush(Sender<()>),
}

/// Queues one or more complete lines without waiting. Drops them all if the queue is full.
pub fn write(lines: &[u8]) {
    let pending = PENDING_BYTES.fetch_add(lines.len(), Ordering::Relaxed);
    let has_room = pending + lines.len() <= MAX_PENDING_BYTES;
    if !has_room || WRITER.send(Message::Lines(lines.to_vec())).is_err() {
        PENDING_BYTES.fetch_sub(lines.len(), Ordering::Relaxed);
        let count: u64 = lines.iter().map(|byte| u64::from(*byte == b'\n')).sum();
        DROPPED.fetch_add(count, Ordering::Relaxed);
    }
}

pub fn dropped() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

/// Waits on drop until all lines are written, or for a second, also if the main thread panics.
#[must_use]
pub struct Flush;

impl Drop for Flush {
    fn drop(&mut self) {
        let (sender, flushed) = channel();
        let _ = WRITER.send(Message::Flush(sender));
        // After the timeout, the remaining lines are lost.
        let _ = flushed.recv_timeout(FLUSH_TIMEOUT);
    }
}

fn write_all(messages: &Receiver<Message>) {
    let (mut reported, mut last_written) = (0, true);
    loop {
        let next = messages.try_recv().or_else(|_| {
            // Lost lines are reported once, when the reader has caught up.
            let lost = dropped() - reported;
            if lost > 0 && last_written {
                reported += lost;
                tracing::warn!(
                    lines = lost,
                    "log lines were lost because stderr was not read or writing to it failed"
                );
            }
            messages.recv()
        });
        let lines = match next {
            Ok(Message::Lines(lines)) => lines,
            Ok(Message::Flush(done)) => {
                let _ = done.send(());
                continue;
            }
            // The sender is static, so it is never dropped.
            Err(_) => return,
        };
        // Line by line: a write of up to 4 KiB to a pipe is atomic, so no line is cut when the process ends.
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            last_written = write_line(line).is_ok();
            DROPPED.fetch_add(u64::from(!last_written), Ordering::Relaxed);
        }
        PENDING_BYTES.fetch_sub(lines.len(), Ordering::Relaxed);
    }
}

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
