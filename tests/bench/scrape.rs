//! What a scrape costs: the exporter beside nginx that serves the same bytes from a file, and beside a page that is built again for
//! each scrape with the `prometheus` crate, as other exporters do it. Fails if a limit is not held. README.md says how to run it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark that cannot go on fails by panicking; what it measured is to be read"
)]

mod scrape {
    pub mod many;
    pub mod memory;
    pub mod naive;
    pub mod nginx;
    pub mod one;
    pub mod start;
}
mod support;

use scrape::{many, memory, naive, nginx, one, start};
use std::env;
use std::process::ExitCode;
use support::limits::Limits;

/// Polls of the usual run, and of `-- memory`.
const FEW_POLLS: usize = 60;
const MANY_POLLS: usize = 1_000;

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    if let [naive::COMMAND, page] = args[..] {
        return naive::serve(page);
    }
    if !args.contains(&"--bench") {
        println!("Nothing is measured but by `cargo bench`.");
        return ExitCode::SUCCESS;
    }
    let chosen: Vec<&str> = args.into_iter().filter(|arg| *arg != "--bench").collect();
    let mut limits = Limits::default();
    match chosen[..] {
        [] => {
            let Some(nginx) = nginx::find() else {
                eprintln!("nginx was not found; install Debian's package nginx");
                return ExitCode::FAILURE;
            };
            one::compare(&nginx, &mut limits);
            many::compare(&nginx, &mut limits);
            memory::over(FEW_POLLS, &mut limits);
            start::to_first_scrape(&mut limits);
        }
        ["memory"] => memory::over(MANY_POLLS, &mut limits),
        ["idle"] => start::idle(&mut limits),
        _ => {
            eprintln!("{chosen:?} is not known: cargo bench --bench scrape [-- memory | idle]");
            return ExitCode::from(2);
        }
    }
    limits.tell()
}
