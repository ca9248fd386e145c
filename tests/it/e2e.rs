//! End-to-end tests of the binary: it runs as a child process, serves over sockets and stops on signals. The simulator, in this process,
//! replaces AWS.

mod cloud;
mod command_line;
#[cfg(target_os = "linux")]
mod credentials;
mod data;
mod descriptors;
mod doubles;
mod environment;
mod exposition;
mod fleet;
mod http;
mod identities;
mod listening;
mod logs;
mod lookup;
mod manual;
mod metadata;
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
mod troubleshooting;
mod waiting;
mod web;
