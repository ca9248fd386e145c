//! What tests have in common: a page read back, and an account that behaves.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "each test file uses a part of it, and a test fails by panicking"
)]

pub mod account;
pub mod lines;
pub mod page;
pub mod property;
