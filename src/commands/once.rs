//! `once`: polls every scope once and prints the exposition.

use super::output::{Failure, print_unescaped};
use super::reload::{Pollers, Running};
use super::sharding;
use super::source::{Clients, ConfigSource};
use super::status_line::StatusReporter;
use crate::cli::{ConfigFlags, DEFAULT_TELEMETRY_PATH, ShardFlags};
use crate::clock::Clock;
use crate::exposition::text_format::Format;
use crate::glue::aws::Sdk;
use crate::http::routes::start_counters;
use crate::publisher::Publisher;
use crate::toolkit::systemd::ServiceManager;
use crate::toolkit::watchdog::Watchdog;
use std::sync::Arc;

pub(super) async fn once(flags: ConfigFlags, shard: ShardFlags) -> Result<(), Failure> {
    let shard = sharding::shard(&shard)?;
    let telemetry = sharding::telemetry(shard)?;
    let source = ConfigSource::file(flags.file, shard);
    let loaded = source.load().await?;
    let network = source.network(&loaded).await?;
    let clock = Clock::system();
    // So that `once` prints the same series as the daemon.
    start_counters(&telemetry, DEFAULT_TELEMETRY_PATH, false);
    let publisher = Arc::new(Publisher::new(&loaded.watches, clock.clone()));
    let mut pollers = Pollers {
        publisher: Arc::clone(&publisher),
        telemetry: Arc::clone(&telemetry),
        clock: clock.clone(),
        source,
        clients: Clients::for_aws(&loaded, Sdk::new(network, Arc::clone(&telemetry) as _)),
        status_reporter: Arc::new(StatusReporter::new(
            ServiceManager::default(),
            Arc::clone(&publisher),
        )),
        watchdog: Watchdog::default(),
        access: None,
        running: Running::default(),
    };
    pollers.apply(&loaded);
    let all_up = pollers.once(loaded.watches).await;
    let page = publisher
        .page()
        .text(Format::Text, &telemetry, clock.unix_now());
    // Not escaped, so that it equals the daemon's response.
    print_unescaped(&page.concat(), "printing the metrics")?;
    if all_up {
        Ok(())
    } else {
        Err(Failure::AlreadyReported)
    }
}
