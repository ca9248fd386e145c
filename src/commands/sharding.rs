//! Which shard this process is, by its flags and the name that Kubernetes gave it.

use crate::cli::ShardFlags;
use crate::shard::{PodName, Shard, ShardError};
use std::env;

/// # Errors
/// If the flags do not say it, nor the name.
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
