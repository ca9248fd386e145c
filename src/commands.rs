//! The commands, composed from the other modules.

mod check;
mod completions;
mod daemon;
mod once;
mod output;
pub mod reload;
mod sharding;
mod signals;
mod simulate;
pub mod source;
pub mod status_line;

pub use output::Failure;

use crate::cli::{Cli, Command, ConfigFlags};
use crate::http::client;
use crate::iam;
use crate::shard::Shard;
use crate::toolkit::rlimit;
use source::ConfigSource;

pub async fn run(cli: Cli) -> Result<(), Failure> {
    rlimit::raise_limit();
    match cli.command {
        None => daemon::daemon(cli.daemon).await,
        Some(Command::Check(flags)) => check::check(flags).await,
        Some(Command::Once { config, shard }) => once::once(config, shard).await,
        Some(Command::Demo { web }) => daemon::demo(web).await,
        Some(Command::Simulate { listen_address }) => simulate::simulate(listen_address).await,
        Some(Command::Iam {
            config,
            show_external_id,
            ..
        }) => print_policies(config, show_external_id).await,
        Some(Command::Health { url, ca_file }) => client::check(&url, ca_file.as_deref())
            .await
            .map_err(|unhealthy| {
                Failure::run(format!("requesting {}", client::redacted(&url)), unhealthy)
            }),
        Some(Command::Completions { shell }) => completions::print(shell),
    }
}

async fn print_policies(flags: ConfigFlags, show_external_ids: bool) -> Result<(), Failure> {
    // Every shard gets the permissions of all shards.
    let loaded = ConfigSource::file(flags.file, Shard::SINGLE).load().await?;
    output::print(&iam::write(&loaded.watches, show_external_ids))
}
