//! `once`: polls every scope once and prints the exposition.

use super::output::{Failure, print_unescaped};
use super::reload::load;
use super::sharding;
use super::source::{Clients, ConfigSource};
use crate::cli::{ConfigFlags, DEFAULT_TELEMETRY_PATH, ShardFlags};
use crate::clock::Clock;
use crate::exposition::text_format::Format;
use crate::glue::aws::Sdk;
use crate::http::routes::start_counters;
use crate::poll::Poller;
use crate::publisher::Publisher;
use std::sync::Arc;
use tokio::task::JoinSet;

pub(super) async fn once(flags: ConfigFlags, shard: ShardFlags) -> Result<(), Failure> {
    let shard = sharding::shard(&shard)?;
    let telemetry = sharding::telemetry(shard)?;
    let source = ConfigSource::file(flags.file, shard);
    let (loaded, network) = load(&source).await?;
    let clock = Clock::system();
    // So that `once` prints the same series as the daemon.
    start_counters(&telemetry, DEFAULT_TELEMETRY_PATH, false);
    let publisher = Arc::new(Publisher::new(&loaded.watches, clock.clone()));
    publisher.set_tag_labels(&loaded.tag_labels);
    telemetry.config_loaded(clock.unix_now());
    let mut clients = Clients::for_aws(&loaded, Sdk::new(network, Arc::clone(&telemetry) as _));
    let mut polls = JoinSet::new();
    for watch in loaded.watches {
        let client = clients.client(&watch);
        let (publisher, telemetry) = (Arc::clone(&publisher), Arc::clone(&telemetry));
        let mut poller = Poller::new(watch, client, publisher, telemetry, clock.clone());
        polls.spawn(async move {
            let up = poller.poll().await;
            poller.describe().await;
            up
        });
    }
    let all_up = polls.join_all().await.into_iter().all(|up| up);
    publisher.publish_now();
    let now = clock.unix_now();
    let page = publisher.page().text(Format::Text, &telemetry, now);
    // Not escaped, so that it equals the daemon's response.
    print_unescaped(&page.concat())?;
    all_up.then_some(()).ok_or(Failure::AlreadyReported)
}
