//! The cache of the last good data of each scope and region (stale-if-error, RFC 5861). Pure: time comes in as a parameter.
//!
//! A failed poll removes nothing and changes no value; only an answer from AWS does. If several scopes observed the same integration,
//! the latest observation is right for all of them, even after its own scope stopped serving it.

pub(crate) mod by_arn;
pub(crate) mod failures;
pub(crate) mod freshness;
pub(crate) mod integrations;
pub(crate) mod metadata;
pub(crate) mod query;
pub(crate) mod scope;
mod snapshot;

pub use integrations::{Applied, IntegrationCache, Key, Stored, key};
pub use scope::PollResult;
