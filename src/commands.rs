//! The commands, composed from the other modules.

pub mod reload;
mod sharding;
pub mod source;
pub mod status_line;

use crate::cli::{
    Cli, Command, ConfigFlags, DEFAULT_TELEMETRY_PATH, DaemonFlags, ShardFlags, WebFlags,
};
use crate::clock::Clock;
use crate::config::{self, ConfigErrors};
use crate::escape;
use crate::exposition::text_format::Format;
use crate::files::FileWorker;
use crate::glue::aws::{Sdk, environment_key_errors, profile_error};
use crate::http::routes::{Routes, start_counters};
use crate::http::{self, Limits, client};
use crate::iam;
use crate::preflight;
use crate::publisher::Publisher;
use crate::rlimit;
use crate::shard::{Shard, ShardError};
use crate::simulator::{Account, Simulator};
use crate::storage;
use crate::telemetry::Telemetry;
use crate::toolkit::access::AccessControl;
use crate::toolkit::listen::{self, Address, Listener};
use crate::toolkit::stderr;
use crate::toolkit::systemd::ServiceManager;
use crate::toolkit::watchdog::Watchdog;
use crate::toolkit::web_config::{ReadFile, WebConfig, WebConfigRead};
use crate::version;
use reload::{Pollers, ReloadRequest};
use source::{Clients, ConfigSource, LoadedConfig};
use status_line::StatusReporter;
use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// Reload requests that may wait while another one is handled.
const MAX_PENDING_RELOADS: usize = 16;

/// Why a command failed. Each kind has its exit code.
#[derive(Debug)]
pub enum Failure {
    /// The configuration is invalid: exit code 2.
    Config(ConfigErrors),
    /// The shard is unknown or invalid: exit code 2.
    Shard(ShardError),
    /// The command failed while running: exit code 1.
    Run { attempted: String, cause: String },
    /// A failure that the output or the log already reports: exit code 1.
    AlreadyReported,
}

impl Failure {
    fn run(attempted: impl Into<String>, cause: impl fmt::Display) -> Self {
        Self::Run {
            attempted: attempted.into(),
            cause: cause.to_string(),
        }
    }

    /// Returns the failure to start the asynchronous runtime.
    pub fn runtime(error: io::Error) -> Self {
        Self::run("starting the runtime", error)
    }

    /// Prints the failure on stderr and returns the exit code.
    pub fn report(self) -> ExitCode {
        let print = |text: String| stderr::write(format!("{}\n", escape::lines(&text)).as_bytes());
        match self {
            Self::Config(errors) => {
                print(errors.to_string());
                ExitCode::from(2)
            }
            Self::Shard(error) => {
                print(format!("glue-integration-exporter: {error}"));
                ExitCode::from(2)
            }
            Self::Run { attempted, cause } => {
                print(format!("glue-integration-exporter: {attempted}: {cause}"));
                ExitCode::FAILURE
            }
            Self::AlreadyReported => ExitCode::FAILURE,
        }
    }
}

impl From<ConfigErrors> for Failure {
    fn from(errors: ConfigErrors) -> Self {
        Self::Config(errors)
    }
}

impl From<ShardError> for Failure {
    fn from(error: ShardError) -> Self {
        Self::Shard(error)
    }
}

/// Runs the command of the command line.
///
/// # Errors
/// If the command failed.
pub async fn run(cli: Cli) -> Result<(), Failure> {
    rlimit::raise_limit();
    match cli.command {
        None => daemon(cli.daemon).await,
        Some(Command::Check {
            config,
            web,
            shard,
            online,
            output_format,
            ..
        }) => {
            let web = match web.file() {
                Some(file) => Some(read_web_config(file).await?),
                None => None,
            };
            if online {
                check_online(config, shard, output_format).await
            } else {
                check(config, shard, web.map(|(config, _)| config)).await
            }
        }
        Some(Command::Once { config, shard, .. }) => once(config, shard).await,
        Some(Command::Demo { web, .. }) => demo(web).await,
        Some(Command::Simulate { listen_address, .. }) => simulate(listen_address).await,
        Some(Command::Iam {
            config,
            output_format,
            show_external_id,
            ..
        }) => print_permissions(config, output_format, show_external_id).await,
        Some(Command::Health { url, ca_file }) => client::check(&url, ca_file.as_deref())
            .await
            .map_err(|unhealthy| {
                Failure::run(format!("requesting {}", client::redacted(&url)), unhealthy)
            }),
    }
}

async fn daemon(flags: DaemonFlags) -> Result<(), Failure> {
    // First, because the kernel ignores unhandled signals to PID 1.
    let signals = Signals::handle()?;
    let shard = sharding::shard(&flags.shard)?;
    let telemetry = new_telemetry(shard)?;
    let source = ConfigSource::file(flags.config.file, shard);
    let load = async {
        let loaded = source.load().await?;
        let network = source.network(&loaded).await?;
        Ok::<_, ConfigErrors>((loaded, network))
    };
    let (loaded, network) = tokio::select! {
        loaded = load => loaded?,
        () = signals.stop.cancelled() => return Ok(()),
    };
    if shard != Shard::SINGLE {
        tracing::info!(
            shard_index = shard.index(),
            shard_total = shard.total(),
            watches = loaded.watches.len(),
            total_targets = loaded.total_targets,
            "watching only the part of this shard"
        );
    }
    loaded.warn_low_open_files_limit();
    loaded.warn_suspicious_patterns();
    let sdk = Sdk::new(network, Arc::clone(&telemetry) as _);
    let clients = Clients::for_aws(&loaded, sdk);
    serve(source, loaded, clients, telemetry, flags.web, signals).await
}

async fn demo(web: WebFlags) -> Result<(), Failure> {
    let signals = Signals::handle()?;
    let telemetry = new_telemetry(Shard::SINGLE)?;
    let loaded = ConfigSource::Demo.load().await?;
    let address = (Ipv4Addr::LOCALHOST, 0).into();
    let simulator = Simulator::bind(address, Account::demo(Clock::system().unix_now()))
        .await
        .map_err(|error| Failure::run("binding the simulated endpoint", error))?;
    let address = simulator.local_addr();
    tracing::info!(endpoint = %address, "simulating AWS Glue");
    let clients = Clients::for_simulator(
        format!("http://{address}"),
        loaded.requests_per_second,
        Arc::clone(&telemetry) as _,
    );
    tokio::spawn(simulator.serve(signals.stop.clone().cancelled_owned()));
    serve(ConfigSource::Demo, loaded, clients, telemetry, web, signals).await
}

/// Polls and serves until a signal stops the process.
async fn serve(
    source: ConfigSource,
    loaded: LoadedConfig,
    clients: Clients,
    telemetry: Arc<Telemetry>,
    web: WebFlags,
    signals: Signals,
) -> Result<(), Failure> {
    let stop = signals.stop;
    let access = match web.config.file() {
        Some(file) => match stop
            .run_until_cancelled(load_access_control(file, &web))
            .await
        {
            Some(access) => Some(access?),
            None => return Ok(()),
        },
        None => None,
    };
    let listeners = bind(&web).await?;
    let clock = Clock::system();
    telemetry.config_loaded(clock.unix_now());
    start_counters(&telemetry, &web.telemetry_path, access.is_some());
    if let Some(access) = &access {
        let (access, telemetry, stop) = (Arc::clone(access), Arc::clone(&telemetry), stop.clone());
        tokio::spawn(async move {
            access
                .watch(|ok| telemetry.web_config_reread(ok), stop)
                .await;
        });
    }
    let publisher = Arc::new(Publisher::new(&loaded.watches, clock.clone()));
    publisher.set_tag_labels(&loaded.tag_labels);
    if let Some(path) = &loaded.storage_path {
        let restoring = storage::restore(path, &publisher);
        if stop.run_until_cancelled(restoring).await.is_none() {
            return Ok(());
        }
    }
    let routes = Routes {
        publisher: Arc::clone(&publisher),
        telemetry: Arc::clone(&telemetry),
        clock: clock.clone(),
        telemetry_path: web.telemetry_path,
        access: access.clone(),
        reload: web.enable_lifecycle.then_some(signals.reload_sender),
        stop: stop.clone(),
        shared_responses: Default::default(),
        renderer: Default::default(),
    };
    tracing::info!(
        version = version::VERSION,
        revision = version::REVISION,
        watches = loaded.watches.len(),
        "starting glue-integration-exporter"
    );
    let status_reporter = Arc::new(StatusReporter::new(ServiceManager::from_env()));
    status_reporter.started(&publisher).await;
    let pollers = Pollers {
        publisher: Arc::clone(&publisher),
        telemetry,
        clock,
        source,
        clients,
        status_reporter: Arc::clone(&status_reporter),
        watchdog: status_reporter.watchdog().clone(),
        access,
    };
    let polling = async {
        let result = pollers.run(loaded, signals.reloads, stop.clone()).await;
        // If polling ended early, serving old data would hide the failure.
        stop.cancel();
        result
    };
    let serving = http::serve(
        listeners,
        routes,
        Limits::default(),
        status_reporter.watchdog().clone(),
        stop.clone(),
    );
    let (polling, (), ()) = tokio::join!(polling, serving, status_reporter.run(&publisher, &stop));
    polling.map_err(|error| Failure::run("polling", error))?;
    tracing::info!("stopped");
    Ok(())
}

async fn once(flags: ConfigFlags, shard: ShardFlags) -> Result<(), Failure> {
    let shard = sharding::shard(&shard)?;
    let telemetry = new_telemetry(shard)?;
    let source = ConfigSource::file(flags.file, shard);
    let loaded = source.load().await?;
    let network = source.network(&loaded).await?;
    let clock = Clock::system();
    telemetry.config_loaded(clock.unix_now());
    // So that `once` prints the same series as the daemon.
    start_counters(&telemetry, DEFAULT_TELEMETRY_PATH, false);
    let publisher = Arc::new(Publisher::new(&loaded.watches, clock.clone()));
    let pollers = Pollers {
        publisher: Arc::clone(&publisher),
        telemetry: Arc::clone(&telemetry),
        clock: clock.clone(),
        source,
        clients: Clients::for_aws(&loaded, Sdk::new(network, Arc::clone(&telemetry) as _)),
        status_reporter: Arc::new(StatusReporter::new(ServiceManager::default())),
        watchdog: Watchdog::default(),
        access: None,
    };
    publisher.set_tag_labels(&loaded.tag_labels);
    let all_up = pollers.once(loaded.watches).await;
    let page = publisher
        .page()
        .text(Format::Text, &telemetry, clock.unix_now());
    // Not escaped, so that it equals the daemon's response.
    write_stdout(&page.concat(), "printing the metrics")?;
    if all_up {
        Ok(())
    } else {
        Err(Failure::AlreadyReported)
    }
}

async fn check(
    flags: ConfigFlags,
    shard: ShardFlags,
    web: Option<WebConfig>,
) -> Result<(), Failure> {
    let shard = sharding::shard(&shard)?;
    let source = ConfigSource::file(flags.file, shard);
    let loaded = source.load().await?;
    source.network(&loaded).await?;
    loaded.warn_low_open_files_limit();
    let mut text = String::new();
    if shard != Shard::SINGLE {
        text = format!(
            "Shard {} of {} (counted from 0) watches at least part of {} of {} pairs of scope and region.\n\n",
            shard.index(),
            shard.total(),
            loaded.watches.len(),
            loaded.total_targets,
        );
    }
    text += &config::describe(
        &loaded.watches,
        loaded.storage_path.as_deref(),
        loaded.requests_per_second,
        &loaded.tag_labels,
    );
    if let Some(path) = &loaded.storage_path
        && let Some(obstacle) = storage::obstacle(path)
    {
        text += &format!(
            "Warning: data cannot be stored at {} (storage.path) on this machine: {obstacle}\n",
            path.display()
        );
    }
    let mut errors = profile_errors(&loaded).await;
    errors.extend(environment_key_errors());
    for error in errors {
        text += &format!("Warning: {error}\n");
    }
    if let Some(path) = &loaded.storage_path
        && let Some(directory) = storage::shared_directory(path)
    {
        text += &format!(
            "Warning: every user of this machine can write to {}, the directory of storage.path, and replace the exporter's file; \
             choose a directory that only the exporter can write to.\n",
            directory.display()
        );
    }
    if let Some(web) = web {
        text += &format!("\n{}", web.describe());
    }
    print(&text, "printing the configuration")
}

async fn check_online(
    flags: ConfigFlags,
    shard: ShardFlags,
    format: preflight::Format,
) -> Result<(), Failure> {
    let shard = sharding::shard(&shard)?;
    let source = ConfigSource::file(flags.file, shard);
    let loaded = source.load().await?;
    let network = source.network(&loaded).await?;
    let telemetry = new_telemetry(shard)?;
    let rate = loaded.requests_per_second;
    let sdk = Sdk::new(network, telemetry);
    let mut clients = Clients::for_aws(&loaded, sdk.clone());
    let mut watches = Vec::with_capacity(loaded.watches.len());
    for watch in loaded.watches {
        let client = clients.client(&watch);
        watches.push((watch, client));
    }
    let report = preflight::check(watches, rate, sdk).await;
    let attempted = "printing the results";
    let text = report
        .write(format)
        .map_err(|error| Failure::run(attempted, error))?;
    print(&text, attempted)?;
    if report.is_ok() {
        Ok(())
    } else {
        Err(Failure::AlreadyReported)
    }
}

async fn print_permissions(
    flags: ConfigFlags,
    format: iam::Format,
    show_external_ids: bool,
) -> Result<(), Failure> {
    // Every shard gets the permissions of all shards.
    let loaded = ConfigSource::file(flags.file, Shard::SINGLE).load().await?;
    let attempted = "printing the permissions";
    let text = iam::write(&loaded.watches, format, show_external_ids)
        .map_err(|error| Failure::run(attempted, error))?;
    print(&text, attempted)
}

async fn simulate(address: SocketAddr) -> Result<(), Failure> {
    let signals = Signals::handle()?;
    let simulator = Simulator::bind(address, Account::demo(Clock::system().unix_now()))
        .await
        .map_err(|error| Failure::run(format!("listening on {address}"), error))?;
    tracing::info!(address = %simulator.local_addr(), "listening");
    simulator.serve(signals.stop.cancelled_owned()).await;
    Ok(())
}

/// Returns errors in the AWS configuration files and in the profiles that the scopes use. They are only warnings, because the files
/// can be fixed at any time and some scopes may not need them.
async fn profile_errors(loaded: &LoadedConfig) -> BTreeSet<String> {
    let profiles: BTreeSet<Option<&str>> = loaded
        .watches
        .iter()
        .map(|watch| watch.credentials.profile.as_deref())
        .collect();
    let mut errors = BTreeSet::new();
    for profile in profiles {
        errors.extend(profile_error(profile).await);
    }
    errors
}

fn new_telemetry(shard: Shard) -> Result<Arc<Telemetry>, Failure> {
    Telemetry::with_shard(shard)
        .map(Arc::new)
        .map_err(|error| Failure::run("creating the metrics", error))
}

/// Prints text for people, or JSON, with control characters escaped.
fn print(text: &str, attempted: &str) -> Result<(), Failure> {
    write_stdout(escape::lines(text).as_bytes(), attempted)
}

fn write_stdout(text: &[u8], attempted: &str) -> Result<(), Failure> {
    io::stdout()
        .write_all(text)
        .map_err(|error| Failure::run(attempted, error))
}

async fn read_web_config(file: &Path) -> Result<(WebConfig, Vec<ReadFile>), Failure> {
    let path = file.to_owned();
    let WebConfigRead { config, files } = FileWorker::default()
        .run(move || WebConfig::load(&path))
        .await
        .unwrap_or_else(|error| WebConfigRead::failed(file, &error));
    Ok((config?, files))
}

async fn load_access_control(file: &Path, flags: &WebFlags) -> Result<Arc<AccessControl>, Failure> {
    let (config, files) = read_web_config(file).await?;
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
    let listeners = if web.systemd_socket {
        listen::from_systemd().map_err(|error| Failure::run("using systemd's sockets", error))?
    } else {
        bind_all(&web.listen_address).await?
    };
    for listener in &listeners {
        tracing::info!(address = %listener.address(), "listening");
    }
    Ok(listeners)
}

async fn bind_all(addresses: &[Address]) -> Result<Vec<Listener>, Failure> {
    let mut listeners = Vec::with_capacity(addresses.len());
    for address in addresses {
        let listener = address
            .bind()
            .await
            .map_err(|error| Failure::run(format!("listening on {address}"), error))?;
        listeners.push(listener);
    }
    Ok(listeners)
}

/// Handles signals: SIGTERM and SIGINT stop the process, SIGHUP reloads the configuration. Handlers also make the signals work for PID 1.
struct Signals {
    stop: CancellationToken,
    reload_sender: mpsc::Sender<ReloadRequest>,
    reloads: mpsc::Receiver<ReloadRequest>,
}

impl Signals {
    fn handle() -> Result<Self, Failure> {
        let handle = |kind, name: &'static str| {
            signal(kind).map_err(|error| Failure::run(format!("handling {name}"), error))
        };
        let mut term = handle(SignalKind::terminate(), "SIGTERM")?;
        let mut int = handle(SignalKind::interrupt(), "SIGINT")?;
        let mut hup = handle(SignalKind::hangup(), "SIGHUP")?;
        let (reload_sender, reloads) = mpsc::channel(MAX_PENDING_RELOADS);
        let (stop, sender) = (CancellationToken::new(), reload_sender.clone());
        let stopping = stop.clone();
        tokio::spawn(async move {
            let signal = loop {
                tokio::select! {
                    _ = term.recv() => break "SIGTERM",
                    _ = int.recv() => break "SIGINT",
                    // The log reports the result. If the queue is full, a pending reload will read the same file.
                    _ = hup.recv() => drop(sender.try_send(oneshot::channel().0)),
                }
            };
            tracing::info!(signal, "stopping");
            stopping.cancel();
        });
        Ok(Self {
            stop,
            reload_sender,
            reloads,
        })
    }
}
