//! Helpers of the benchmarks: servers and clients.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "each benchmark uses only some of the helpers, fails by panicking, and prints its results"
)]

pub mod account;
pub mod client;
pub mod exporter;
pub mod process;

use std::time::Duration;
use tokio::time::Instant;

/// Returns the median.
pub fn median(durations: &[Duration]) -> Duration {
    let mut sorted = durations.to_vec();
    sorted.sort_unstable();
    sorted[sorted.len() / 2]
}

pub fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// Returns the size in units of 1,000,000 bytes.
pub fn megabytes(bytes: usize) -> f64 {
    f64::from(u32::try_from(bytes).expect("less than 4 GB")) / 1e6
}

/// Waits for at least this time.
pub fn wait(time: Duration) {
    let start = Instant::now();
    // A parked thread may wake up early.
    while let Some(rest) = time.checked_sub(start.elapsed()) {
        std::thread::park_timeout(rest);
    }
}
