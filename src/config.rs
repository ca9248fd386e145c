//! The configuration: what to watch and how often. Every value in a [`Config`] is valid, because reading makes all checks.
//!
//! ```text
//! text -> toolkit::yaml -> schema (the keys) -> validate (rules across keys) -> model (Config) -> watches
//! ```

mod describe;
mod model;
pub(crate) mod pattern;
mod schema;
mod selection;
mod validate;
pub(crate) mod value;

pub use self::describe::describe;
pub use self::model::{Config, Credentials, FreshnessConfig, Query, Role, Scope, ScopeRegion};
pub use self::pattern::Pattern;
pub use self::selection::{Patterns, Selection};
pub use self::value::{
    Checked, ConfigDuration, ExternalId, Lookup, RegionName, ScopeName, ShardBy, TagLabel,
    ValueError,
};
pub use crate::arn::{IntegrationArn, RoleArn, TargetArn};
pub use crate::toolkit::yaml::ConfigErrors;
