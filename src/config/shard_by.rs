//! How a scope is shared out among shards: which part of a watch is one shard's.

use std::str::FromStr;
use std::sync::Arc;

use super::value::{Checked, ValueError};
use super::{Query, Selection, Watch};
use crate::shard::Shard;

/// What of a scope stays together on one shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ShardBy {
    /// What is asked in one region with the same credentials, also by other scopes. So one shard alone lists it, keeps to its budget of
    /// requests and knows what two of these scopes see.
    #[default]
    Scope,
    /// Each integration by itself. Every shard lists everything and keeps its part.
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
    /// What of this is the shard's, if anything is.
    pub fn for_shard(self, shard: Shard) -> Option<Watch> {
        if shard == Shard::SINGLE {
            return Some(self);
        }
        match self.shard_by {
            ShardBy::Scope => {
                let credentials = &self.credentials;
                let role = credentials.role.as_ref().map(|role| role.arn.as_str());
                // Not the external id: a secret is not to be told by where something runs, and may change.
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
                let its = |query: &Query| match query {
                    Query::Integration(arn) => shard.owns(&[&arn.canonical()]),
                    Query::Target(_) | Query::All => true,
                };
                let queries: Vec<Query> = self.queries.into_iter().filter(its).collect();
                (!queries.is_empty()).then(|| Watch {
                    queries,
                    selection: Arc::new(selection),
                    ..self
                })
            }
        }
    }
}
