//! The parts that any Prometheus exporter needs, without knowledge of AWS Glue: the web configuration file, access control, listeners,
//! systemd and the watchdog.

pub mod access;
mod basic_auth;
pub(crate) mod files;
pub mod listen;
pub(crate) mod rlimit;
pub mod stderr;
pub mod systemd;
mod unix;
pub mod watchdog;
pub mod web_config;
pub mod yaml;
