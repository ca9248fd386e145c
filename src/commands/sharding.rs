//! Finds out which shard this process is, and creates its metrics.

use super::output::Failure;
use crate::cli::ShardFlags;
use crate::shard::{PodName, Shard, ShardError};
use crate::telemetry::Telemetry;
use std::env;
use std::sync::Arc;

pub(super) fn shard(flags: &ShardFlags) -> Result<Shard, ShardError> {
    Shard::from_flags(flags.index, flags.total, || match env::var_os("POD_NAME") {
        Some(name) if !name.is_empty() => PodName::Environment(name.to_string_lossy().into_owned()),
        Some(_) | None => {
            let host = rustix::system::uname();
            PodName::Host(host.nodename().to_string_lossy().into_owned())
        }
    })
}

pub(super) fn telemetry(shard: Shard) -> Result<Arc<Telemetry>, Failure> {
    let telemetry = Telemetry::with_shard(shard).map(Arc::new);
    telemetry.map_err(|error| Failure::run("creating the metrics", error))
}
