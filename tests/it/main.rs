//! The integration tests, one module for each subject. The modules under `e2e` run the real binary; the others call the library.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::cast_precision_loss,
    reason = "a test fails by panicking, prints its figures, and has only small numbers"
)]

mod api;
mod cloudwatch;
mod config;
mod docs;
mod e2e;
mod exposition;
mod exposition_cache;
mod faults;
mod freshness;
mod http;
mod iam;
mod lookup;
mod malformed_responses;
mod metadata;
mod missing;
mod negotiation;
mod page;
mod polling;
mod prometheus;
mod rate_limit;
mod reload;
mod selection;
mod sharding;
mod simulator;
mod soak;
mod storage;
mod support;
mod tls;
mod watchdog;
mod web_config;
