//! Finds out which shard this process is.

use crate::cli::ShardFlags;
use crate::shard::{PodName, Shard, ShardError};
use std::env;

/// Returns the shard that the flags name. Without an index, the ordinal at the end of the pod's name is used.
///
/// # Errors
/// If the flags are invalid, or neither the flags nor the pod's name give an index.
pub fn shard(flags: &ShardFlags) -> Result<Shard, ShardError> {
    Shard::from_flags(flags.index, flags.total, pod_name)
}

fn pod_name() -> PodName {
    match env::var_os("POD_NAME") {
        Some(name) if !name.is_empty() => PodName::Environment(name.to_string_lossy().into_owned()),
        Some(_) | None => PodName::Host(
            rustix::system::uname()
                .nodename()
                .to_string_lossy()
                .into_owned(),
        ),
    }
}
