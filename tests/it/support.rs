//! Shared support of the tests: a parser for the exposition, certificates, and a fake AWS account.

pub mod account;
pub mod certificates;
pub mod lines;
pub mod page;
pub mod process;
pub mod property;
pub mod snapshot;
