//! Sharding: several exporters with the same configuration, each watching a part of it. Each item belongs to exactly one shard.

use crate::hash::{fnv1a, split_mix};
use std::fmt;

/// Maximum number of shards. Finding the owner of an item computes one hash for each shard.
pub(crate) const MAX_SHARDS: i64 = 1_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Below `total`.
    pub index: u16,
    /// At least 1.
    pub total: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ShardError(String);

impl Shard {
    pub const SINGLE: Self = Self { index: 0, total: 1 };

    /// Without an index, the ordinal of the pod name is the index. Without `total` there is one shard, whatever the pod name.
    pub fn from_flags(
        index: Option<u16>,
        total: Option<u16>,
        pod: impl FnOnce() -> PodName,
    ) -> Result<Self, ShardError> {
        let Some(total) = total else {
            return Ok(Self::SINGLE);
        };
        let (index, origin) = match index {
            Some(index) => (index, format!("--shard.index={index}")),
            None => {
                let pod = pod();
                let ordinal = pod.ordinal().map_err(|why| {
                    ShardError(format!(
                        "--shard.total={total} needs a shard index, but {why}; set --shard.index, or set POD_NAME to the name of a StatefulSet pod"
                    ))
                })?;
                (ordinal, format!("shard index {ordinal} of {pod}"))
            }
        };
        if index >= total {
            return Err(ShardError(format!(
                "{origin} is not below --shard.total={total}; indexes start at 0"
            )));
        }
        Ok(Self { index, total })
    }

    /// The owner is the shard with the largest hash (rendezvous hashing, Thaler and Ravishankar). If a shard is added, items move only to
    /// the new shard.
    pub fn owns(self, name: &[&str]) -> bool {
        let seed = fnv1a(name);
        let score = |index: u16| split_mix(seed, u64::from(index));
        let own = score(self.index);
        // If two scores are equal, the lower index wins.
        (0..self.total).all(|other| {
            let theirs = score(other);
            theirs < own || (theirs == own && other >= self.index)
        })
    }
}

/// The name of the pod, and its origin. Kubernetes appends the ordinal: `NAME-2` is the third pod of a StatefulSet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PodName {
    /// The environment variable `POD_NAME`, which a manifest sets explicitly.
    Environment(String),
    /// The host name. It is the pod name unless the pod uses the network of the node.
    Host(String),
}

impl PodName {
    /// Fails if the name does not certainly end in an ordinal. A wrong shard index would silently leave a part unwatched.
    fn ordinal(&self) -> Result<u16, String> {
        let name = match self {
            Self::Environment(name) => name,
            // With setHostnameAsFQDN the host name contains the domain.
            Self::Host(name) => name.split('.').next().unwrap_or_default(),
        };
        let (set, ordinal) = name.rsplit_once('-').unwrap_or_default();
        let previous = set.rsplit('-').next().unwrap_or_default();
        if matches!(self, Self::Host(_)) && previous.parse::<u64>().is_ok() {
            return Err(format!(
                "{self} ends in two numbers, so it looks like a node name with an IP address"
            ));
        }
        match ordinal.parse::<u16>() {
            // An ordinal has no leading zero and no sign.
            Ok(number) if !set.is_empty() && number.to_string() == ordinal => Ok(number),
            _ => Err(format!("{self} does not end in `-` and an ordinal")),
        }
    }
}

impl fmt::Display for PodName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment(name) => write!(f, "POD_NAME `{}`", name.escape_debug()),
            Self::Host(name) => write!(f, "the host name `{}`", name.escape_debug()),
        }
    }
}
