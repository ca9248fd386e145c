//! Shared support of the tests: a parser for the exposition, certificates, and a fake AWS account and its CloudWatch.

pub mod account;
pub mod certificates;
pub mod cloudwatch;
pub mod lines;
pub mod page;
pub mod process;
pub mod property;
pub mod snapshot;
