//! Measures scrapes of the exporter. It compares them with nginx, which serves the same bytes from a file, and with a naive exporter, which
//! renders the exposition for each scrape with the `prometheus` crate. It fails if a limit is exceeded. The limits hold on any machine: they
//! compare with the naive exporter of the same run, or with the size of the exposition. docs/benchmarks.md describes how to run it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark fails by panicking, and prints its results"
)]

mod scrape {
    pub mod before;
    pub mod limits;
    pub mod many;
    pub mod memory;
    pub mod naive;
    pub mod nginx;
    pub mod one;
    pub mod start;
}
mod support;

use scrape::limits::Limits;
use scrape::{before, many, memory, naive, nginx, one, start};
use std::env;
use std::path::Path;
use std::process::ExitCode;

/// Number of polls in the default run.
const FEW_POLLS: usize = 60;
/// Number of polls with `-- memory`.
const MANY_POLLS: usize = 1_000;

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    if let [naive::COMMAND, path] = args[..] {
        return naive::serve(path);
    }
    if !args.contains(&"--bench") {
        println!("This benchmark only runs with `cargo bench`.");
        return ExitCode::SUCCESS;
    }
    let chosen: Vec<&str> = args.into_iter().filter(|arg| *arg != "--bench").collect();
    let mut limits = Limits::default();
    match chosen[..] {
        [] => {
            let Some(nginx) = nginx::find() else {
                eprintln!("nginx was not found. Install the Debian package nginx.");
                return ExitCode::FAILURE;
            };
            one::compare(&nginx, &mut limits);
            many::compare(&nginx, &mut limits);
            memory::over(FEW_POLLS, &mut limits);
            start::to_first_scrape();
        }
        ["memory"] => memory::over(MANY_POLLS, &mut limits),
        ["idle"] => start::idle(),
        ["before", binary] => before::compare(Path::new(binary)),
        _ => {
            eprintln!(
                "Unknown arguments {chosen:?}. Usage: cargo bench --bench scrape [-- memory | idle | before BINARY]"
            );
            return ExitCode::from(2);
        }
    }
    limits.report()
}
