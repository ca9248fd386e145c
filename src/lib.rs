//! The exporter. The modules, in the order of the data flow:
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

pub mod web;

pub mod http;

pub mod simulator;

pub mod cli;
pub mod commands;
pub mod escape;
pub mod iam;
pub mod logging;
pub(crate) mod preflight;
pub mod toolkit;
pub(crate) mod version;
