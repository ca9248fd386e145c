//! The exporter, in the order in which data flow through it:
//!
//! ```text
//! config -> shard -> poll (schedule) -> glue (AWS) -> last_good -> snapshot -> exposition -> http
//!                                                     '--------- board ---------'
//! ```
//!
//! A poll asks AWS and hands what it got to the board. The board keeps the last good data, and after each poll publishes an immutable
//! snapshot as a written page. A scrape reads that page through one pointer and adds what depends on its own moment. `page` shows the same
//! snapshot to people, `api` to scripts; `listing` is what both have in common.

#![forbid(unsafe_code)]

pub mod config;
pub mod hash;
pub mod shard;

pub mod clock;
pub mod poll;

pub mod glue;

pub mod cache;
pub mod publisher;
pub mod snapshot;
pub mod storage;

pub mod exposition;
pub mod telemetry;

pub mod api;
pub mod inventory;
pub mod page;
pub mod site;

pub mod http;

pub mod simulator;

pub mod cli;
pub mod commands;
pub mod escape;
pub mod files;
pub mod iam;
pub mod logging;
pub mod preflight;
pub mod rlimit;
pub mod stderr;
pub mod systemd;
pub mod version;
pub mod watchdog;
