//! The real binary as its users meet it: started as a process, asked over sockets, stopped by signals. AWS is the simulator, in
//! this process.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "../support/certificates.rs"]
mod certificates;
mod cloud;
mod command_line;
#[cfg(target_os = "linux")]
mod credentials;
mod data;
mod descriptors;
mod double;
mod environment;
mod exposition;
mod fleet;
mod http;
mod identities;
mod listening;
mod logs;
mod lookup;
mod names;
mod network;
mod online;
mod partitions;
mod reload;
mod sharding;
mod site;
mod stopping;
mod support;
#[cfg(target_os = "linux")]
mod systemd;
mod waiting;
mod web;
