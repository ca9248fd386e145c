//! The exporter. The data flow through its modules:
//!
//! ```text
//! config -> shard -> poll (schedule) -> glue (AWS) -> cache -> snapshot -> exposition -> http
//!                                                     '------ publisher ------'
//! ```
//!
//! A poll sends requests to AWS and passes the result to the publisher. The publisher keeps the last good data in the cache. After each
//! poll it makes an immutable snapshot, renders the exposition and replaces the published one. A scrape reads the published exposition
//! through one pointer and adds the values that depend on the time of the scrape. `page` shows the same snapshot as HTML and `api` as
//! JSON; both use `inventory`.

#![forbid(unsafe_code)]

pub mod arn;
pub mod cache;
pub mod cli;
pub mod clock;
pub mod commands;
pub mod config;
pub mod escape;
pub mod exposition;
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
