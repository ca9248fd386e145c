//! `shard_by`: how shards divide a scope.

use std::str::FromStr;
use std::sync::Arc;

use super::value::{Checked, ValueError};
use super::{Query, Selection, Watch};
use crate::shard::Shard;

/// How shards divide a scope.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ShardBy {
    /// One shard makes all requests with the same credentials in the same region, also those of other scopes. So only this shard
    /// uses the rate limit, and it sees the results of all these scopes.
    #[default]
    Scope,
    /// Every shard lists all integrations and keeps its part of them.
    Integration,
}

impl Checked for ShardBy {
    const EXPECTED: &'static str = "scope or integration";
}

impl FromStr for ShardBy {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        match text {
            "scope" => Ok(Self::Scope),
            "integration" => Ok(Self::Integration),
            "" => Err(ValueError::of::<Self>("is empty")),
            _ => Err(ValueError::of::<Self>("is not a sharding mode")),
        }
    }
}

impl Watch {
    /// Returns the part of the watch that the shard owns, or `None` if it owns nothing.
    pub fn for_shard(self, shard: Shard) -> Option<Watch> {
        if shard == Shard::SINGLE {
            return Some(self);
        }
        match self.shard_by {
            ShardBy::Scope => {
                let credentials = &self.credentials;
                let role = credentials.role.as_ref().map(|role| role.arn.as_str());
                // The external ID is left out, because it is a secret and may change.
                let name = [
                    self.region.as_str(),
                    credentials.profile.as_deref().unwrap_or_default(),
                    role.unwrap_or_default(),
                ];
                shard.owns(&name).then_some(self)
            }
            ShardBy::Integration => {
                let selection = Selection {
                    shard: Some(shard),
                    ..Selection::clone(&self.selection)
                };
                let is_owned = |query: &Query| match query {
                    Query::Integration(arn) => shard.owns(&[&arn.canonical()]),
                    Query::Target(_) | Query::All => true,
                };
                let queries: Vec<Query> = self.queries.into_iter().filter(is_owned).collect();
                (!queries.is_empty()).then(|| Watch {
                    queries,
                    selection: Arc::new(selection),
                    ..self
                })
            }
        }
    }
}
