//! The daemon, and `demo`, which is the daemon over a simulated AWS.

use super::output::Failure;
use super::reload::{Pollers, Running, load};
use super::sharding;
use super::signals::Signals;
use super::simulate::bind_simulator;
use super::source::{Clients, ConfigSource, LoadedConfig};
use super::status_line::StatusReporter;
use crate::cli::{DaemonFlags, WebFlags};
use crate::clock::Clock;
use crate::glue::aws::Sdk;
use crate::http::routes::{Routes, start_counters};
use crate::http::{self, Limits};
use crate::publisher::Publisher;
use crate::shard::Shard;
use crate::storage;
use crate::telemetry::Telemetry;
use crate::toolkit::access::{self, AccessControl};
use crate::toolkit::files::FileWorker;
use crate::toolkit::listen::{self, Listener};
use crate::toolkit::systemd::ServiceManager;
use crate::toolkit::web_config::WebConfigRead;
use crate::version;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;

pub(super) async fn daemon(flags: DaemonFlags) -> Result<(), Failure> {
    let signals = Signals::handle()?;
    let shard = sharding::shard(&flags.shard)?;
    let telemetry = sharding::telemetry(shard)?;
    let source = ConfigSource::file(flags.config.file, shard);
    let loading = load(&source);
    let Some(loaded) = signals.stop.run_until_cancelled(loading).await else {
        return Ok(());
    };
    let (loaded, network) = loaded?;
    if shard != Shard::SINGLE {
        tracing::info!(
            shard_index = shard.index,
            shard_total = shard.total,
            scope_regions = loaded.watches.len(),
            total_scope_regions = loaded.total_targets,
            "watching only the part of this shard"
        );
    }
    let sdk = Sdk::new(network, Arc::clone(&telemetry) as _);
    let clients = Clients::for_aws(&loaded, sdk);
    serve(source, loaded, clients, telemetry, flags.web, signals).await
}

pub(super) async fn demo(web: WebFlags) -> Result<(), Failure> {
    let signals = Signals::handle()?;
    let telemetry = sharding::telemetry(Shard::SINGLE)?;
    let loaded = ConfigSource::Demo.load().await?;
    let simulator = bind_simulator((Ipv4Addr::LOCALHOST, 0).into()).await?;
    let address = simulator.local_addr;
    tracing::info!(endpoint = %address, "simulating AWS Glue");
    let (url, rate) = (format!("http://{address}"), loaded.requests_per_second);
    let clients = Clients::for_simulator(url, rate, Arc::clone(&telemetry) as _);
    tokio::spawn(simulator.serve(signals.stop.clone().cancelled_owned()));
    serve(ConfigSource::Demo, loaded, clients, telemetry, web, signals).await
}

async fn serve(
    source: ConfigSource,
    loaded: LoadedConfig,
    clients: Clients,
    telemetry: Arc<Telemetry>,
    web: WebFlags,
    signals: Signals,
) -> Result<(), Failure> {
    let stop = signals.stop;
    let mut access = None;
    if let Some(file) = web.config.file() {
        let loading = load_access_control(file, &web);
        let Some(control) = stop.run_until_cancelled(loading).await else {
            return Ok(());
        };
        access = Some(control?);
    }
    let listeners = bind(&web).await?;
    let clock = Clock::system();
    start_counters(&telemetry, &web.telemetry_path, access.is_some());
    if let Some(access) = &access {
        let (access, telemetry, stop) = (Arc::clone(access), Arc::clone(&telemetry), stop.clone());
        tokio::spawn(async move {
            let on_reread = |ok| telemetry.web_config_reread(ok);
            access.watch(on_reread, stop).await;
        });
    }
    let publisher = Arc::new(Publisher::new(&loaded.watches, clock.clone()));
    let service_manager = ServiceManager::from_env();
    let watchdog = service_manager.watchdog.clone();
    let status_reporter = Arc::new(StatusReporter::new(service_manager, Arc::clone(&publisher)));
    let mut pollers = Pollers {
        publisher: Arc::clone(&publisher),
        telemetry: Arc::clone(&telemetry),
        clock: clock.clone(),
        source,
        clients,
        status_reporter: Arc::clone(&status_reporter),
        watchdog: watchdog.clone(),
        access: access.clone(),
        running: Running::default(),
    };
    pollers.apply(&loaded);
    if let Some(path) = &loaded.storage_path {
        let restoring = storage::restore(path, &publisher);
        if stop.run_until_cancelled(restoring).await.is_none() {
            return Ok(());
        }
    }
    let routes = Routes {
        publisher,
        telemetry,
        clock,
        telemetry_path: web.telemetry_path,
        access,
        reload: web.enable_lifecycle.then_some(signals.reload_sender),
        stop: stop.clone(),
        shared_responses: Default::default(),
        renderer: Default::default(),
    };
    tracing::info!(
        version = version::VERSION,
        revision = version::REVISION,
        scope_regions = loaded.watches.len(),
        "starting glue-integration-exporter"
    );
    status_reporter.ready().await;
    let polling = async {
        let result = pollers.run(loaded, signals.reloads, stop.clone()).await;
        // If polling ended early, serving old data would hide the failure.
        stop.cancel();
        result
    };
    let serving = http::serve(listeners, routes, Limits::default(), watchdog, stop.clone());
    let (polling, (), ()) = tokio::join!(polling, serving, status_reporter.run(&stop));
    polling.map_err(|error| Failure::run("polling", error))?;
    tracing::info!("stopped");
    Ok(())
}

async fn load_access_control(file: &Path, flags: &WebFlags) -> Result<Arc<AccessControl>, Failure> {
    let WebConfigRead { config, files } = access::read(file, &FileWorker::default()).await;
    let config = config?;
    tracing::info!(
        file = %file.display(),
        tls = config.tls.is_some(),
        users = config.users.len(),
        rate_limit = config.rate_limit.is_some(),
        "web configuration loaded"
    );
    AccessControl::new(file, config, files, flags.probes_without_auth)
        .map(Arc::new)
        .map_err(|error| Failure::run("generating a random key", error))
}

async fn bind(web: &WebFlags) -> Result<Vec<Listener>, Failure> {
    let mut listeners = Vec::new();
    if web.systemd_socket {
        listeners = listen::from_systemd()
            .map_err(|error| Failure::run("using systemd's sockets", error))?;
    } else {
        for address in &web.listen_address {
            let bound = address.bind().await;
            let failed = |error| Failure::run(format!("listening on {address}"), error);
            listeners.push(bound.map_err(failed)?);
        }
    }
    for listener in &listeners {
        tracing::info!(address = %listener.address(), "listening");
    }
    Ok(listeners)
}
