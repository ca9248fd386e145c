//! The interface to AWS Glue, independent of the SDK. The implementation with the SDK is in `aws`.

mod api;
pub mod aws;
pub mod cloudwatch;
mod deadline;
mod error;
mod listing;
mod metadata;
mod rate_limit;

pub use api::{Described, Glue, Observer, Operation, Page, PageRequest, RequestContext};
pub use deadline::Deadline;
pub use error::{GlueError, Reason};
pub(crate) use listing::Cursor;
pub use listing::{Answer, Listing};
pub use metadata::{Metadata, MetadataFilter};
pub use rate_limit::RateLimiter;

pub use futures_util::future::BoxFuture;
