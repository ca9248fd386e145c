//! `iam`: prints the least policies for the configuration.

use super::output::{Failure, print};
use super::source::ConfigSource;
use crate::cli::ConfigFlags;
use crate::iam;
use crate::shard::Shard;

pub(super) async fn print_policies(
    flags: ConfigFlags,
    show_external_ids: bool,
) -> Result<(), Failure> {
    // Every shard gets the permissions of all shards.
    let loaded = ConfigSource::file(flags.file, Shard::SINGLE).load().await?;
    let text = iam::write(&loaded.watches, show_external_ids);
    print(&text, "printing the permissions")
}
