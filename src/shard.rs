//! One of several exporters with one configuration, of which each watches its part: together everything, no two the same. Knows nothing
//! of what is watched but the texts that name it.

mod ordinal;

use crate::hash::{fnv1a, split_mix};
use std::fmt;

pub use ordinal::PodName;

/// The most shards that there may be. Whose a thing is takes a number for each of them.
pub const MAX_SHARDS: u16 = 1_000;

/// Which part of everything this exporter watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Below `total`.
    index: u16,
    /// At least 1.
    total: u16,
}

/// Why the flags do not say which shard this is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardError(String);

impl fmt::Display for ShardError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ShardError {}

impl Shard {
    /// The only one: everything is its.
    pub const SINGLE: Self = Self { index: 0, total: 1 };

    /// What the flags say; without an index the ordinal of the pod's name says it. Without `total` there is one shard, whatever the name.
    ///
    /// # Errors
    /// If they do not say which one it is, or contradict themselves.
    pub fn from_flags(
        index: Option<u16>,
        total: Option<u16>,
        pod: impl FnOnce() -> PodName,
    ) -> Result<Self, ShardError> {
        let Some(total) = total else {
            return match index {
                None => Ok(Self::SINGLE),
                Some(index) => Err(ShardError(format!(
                    "--shard.index={index} is of no use without --shard.total"
                ))),
            };
        };
        if !(1..=MAX_SHARDS).contains(&total) {
            return Err(ShardError(format!(
                "--shard.total={total} is out of bounds; allowed: 1 to {MAX_SHARDS}"
            )));
        }
        let (index, origin) = match index {
            Some(index) => (index, format!("--shard.index={index}")),
            None => {
                let pod = pod();
                let ordinal = pod.ordinal().map_err(|why| {
                    ShardError(format!(
                        "--shard.total={total} without --shard.index: {why}; give --shard.index, or the name of a StatefulSet's pod in POD_NAME"
                    ))
                })?;
                (ordinal, format!("{pod}, which is the shard {ordinal},"))
            }
        };
        if index >= total {
            return Err(ShardError(format!(
                "{origin} is not below --shard.total={total}; shards are counted from 0"
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

    /// Whether what has this name is its. Each name is exactly one shard's: the one whose number is the largest (rendezvous hashing, by
    /// Thaler and Ravishankar). So with one shard more, only what becomes the new one's moves, which is its share of everything.
    pub fn owns(self, name: &[&str]) -> bool {
        let seed = fnv1a(name);
        let number = |index: u16| split_mix(seed, u64::from(index));
        let own = number(self.index);
        // Of two with the same number, the first.
        (0..self.total).all(|other| {
            let theirs = number(other);
            theirs < own || (theirs == own && other >= self.index)
        })
    }
}
