//! Shared support of the tests: a parser for the exposition, and a fake AWS account.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "each test file uses a part of the module, and a test fails by panicking"
)]

pub mod account;
pub mod lines;
pub mod page;
pub mod property;
