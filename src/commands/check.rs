//! `check`: validates the configuration, and with `--online` also asks AWS.

use super::output::{Failure, print};
use super::reload::load;
use super::sharding;
use super::source::{Clients, ConfigSource, LoadedConfig};
use crate::cli::CheckFlags;
use crate::config;
use crate::glue::aws::{SERVICES, Sdk, endpoint_error, environment_key_errors, profile_error};
use crate::preflight;
use crate::shard::Shard;
use crate::storage;
use crate::toolkit::access;
use crate::toolkit::files::FileWorker;
use std::collections::BTreeSet;

pub(super) async fn check(flags: CheckFlags) -> Result<(), Failure> {
    let web = match flags.web.file() {
        Some(file) => Some(access::read(file, &FileWorker::default()).await.config?),
        None => None,
    };
    let shard = sharding::shard(&flags.shard)?;
    let source = ConfigSource::file(flags.config.file, shard);
    let (loaded, network) = load(&source).await?;
    if flags.online {
        let telemetry = sharding::telemetry(shard)?;
        return check_online(loaded, Sdk::new(network, telemetry), flags.output_format).await;
    }
    let mut text = String::new();
    if shard != Shard::SINGLE {
        let Shard { index, total } = shard;
        let (watched, all) = (loaded.watches.len(), loaded.total_targets);
        text = format!(
            "Shard {index} of {total} (counted from 0) watches at least part of {watched} of {all} pairs of scope and region.\n\n"
        );
    }
    let (path, rate) = (loaded.storage_path.as_deref(), loaded.requests_per_second);
    text += &config::describe(&loaded.watches, path, rate, &loaded.tag_labels);
    for warning in warnings(&loaded).await {
        text += &format!("Warning: {warning}\n");
    }
    if let Some(web) = web {
        text += &format!("\n{}", web.describe());
    }
    print(&text)
}

/// Returns what is probably wrong on this machine. These are no errors: the check may run on another machine than the exporter, the AWS
/// configuration files can be fixed at any time, and some scopes may not need them.
async fn warnings(loaded: &LoadedConfig) -> Vec<String> {
    let mut warnings = Vec::new();
    let path = loaded.storage_path.as_deref();
    if let Some(path) = path
        && let Some(obstacle) = storage::obstacle(path)
    {
        let path = path.display();
        warnings.push(format!(
            "data cannot be stored at {path} (storage.path) on this machine: {obstacle}"
        ));
    }
    let watches = loaded.watches.iter();
    let profiles = watches.map(|watch| watch.credentials.profile.as_deref());
    let mut aws = BTreeSet::new();
    for profile in profiles.collect::<BTreeSet<_>>() {
        aws.extend(profile_error(profile).await);
        aws.extend(endpoint_error(profile, &SERVICES).await);
    }
    aws.extend(environment_key_errors());
    warnings.extend(aws);
    if let Some(directory) = path.and_then(storage::shared_directory) {
        warnings.push(format!(
            "every user of this machine can write to {}, the directory of storage.path, and replace the exporter's file; \
             choose a directory that only the exporter can write to.",
            directory.display()
        ));
    }
    warnings
}

async fn check_online(
    loaded: LoadedConfig,
    sdk: Sdk,
    format: preflight::Format,
) -> Result<(), Failure> {
    let rate = loaded.requests_per_second;
    let mut clients = Clients::for_aws(&loaded, sdk.clone());
    let watches = loaded.watches.into_iter().map(|watch| {
        let client = clients.client(&watch);
        (watch, client)
    });
    let report = preflight::check(watches.collect(), rate, sdk).await;
    print(&report.write(format))?;
    report.ok.then_some(()).ok_or(Failure::AlreadyReported)
}
