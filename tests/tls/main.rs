//! The server with a web configuration: TLS, client certificates, passwords, the rate limit, and changes of its files. Server and
//! clients are in this process and use generated certificates.
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
