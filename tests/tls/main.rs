//! The server behind a web configuration: TLS, client certificates, passwords, rate limit, and files that change. Server and
//! clients are in this process, with certificates of their own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "../support/certificates.rs"]
mod certificates;
mod changes;
mod handshakes;
mod passwords;
mod server;
mod stops;
#[path = "../support/mod.rs"]
mod support;
