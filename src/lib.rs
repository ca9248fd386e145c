//! The exporter. `ARCHITECTURE.md` explains the data flow through its modules:
//!
//! ```text
//! config -> shard -> poll (schedule) -> glue (AWS) -> cache -> snapshot -> exposition -> http
//!                                                     '------ publisher ------'
//! ```

#![forbid(unsafe_code)]

pub mod arn;
pub mod cache;
pub mod cli;
pub mod clock;
pub mod commands;
pub mod config;
pub mod escape;
pub mod exposition;
pub mod freshness;
pub mod glue;
pub mod hash;
pub mod http;
pub mod iam;
pub mod logging;
pub mod poll;
pub(crate) mod preflight;
pub mod publisher;
pub mod shard;
pub mod simulator;
pub mod snapshot;
pub mod storage;
pub mod telemetry;
pub mod toolkit;
pub(crate) mod version;
pub mod web;
