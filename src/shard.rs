//! Sharding: several exporters with the same configuration, each watching a part of it. Each item belongs to exactly one shard.
//!
//! An item is identified by strings only, so this module is independent of the configuration.

mod ordinal;

use crate::hash::{fnv1a, split_mix};

pub use ordinal::PodName;

/// Maximum number of shards. Finding the owner of an item computes one hash for each shard.
pub const MAX_SHARDS: u16 = 1_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Below `total`.
    index: u16,
    /// At least 1.
    total: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ShardError(String);

impl Shard {
    pub const SINGLE: Self = Self { index: 0, total: 1 };

    /// Returns the shard that the flags define. Without an index, the ordinal of the pod name is the index. Without `total` there is one
    /// shard, whatever the pod name.
    ///
    /// # Errors
    /// If the index is missing, or a value is out of range.
    pub fn from_flags(
        index: Option<u16>,
        total: Option<u16>,
        pod: impl FnOnce() -> PodName,
    ) -> Result<Self, ShardError> {
        let Some(total) = total else {
            return match index {
                None => Ok(Self::SINGLE),
                Some(index) => Err(ShardError(format!(
                    "--shard.index={index} has no effect without --shard.total"
                ))),
            };
        };
        if !(1..=MAX_SHARDS).contains(&total) {
            return Err(ShardError(format!(
                "--shard.total={total} is out of range; allowed: 1 to {MAX_SHARDS}"
            )));
        }
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

    pub fn index(self) -> u16 {
        self.index
    }

    pub fn total(self) -> u16 {
        self.total
    }

    /// Returns true if this shard owns the item with this name.
    ///
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
