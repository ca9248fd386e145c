//! What the commands do, put together from the other modules.

pub mod reload;
mod sharding;
pub mod source;
pub mod status_line;

use crate::cli::{Cli, Command, ConfigFlags, DaemonFlags, ShardFlags, TELEMETRY_PATH, WebFlags};
use crate::clock::Clock;
use crate::config::web::{Loaded as LoadedWeb, ReadFile, WebConfig};
use crate::config::{self, ConfigErrors};
use crate::escape;
use crate::exposition::text_format::Format;
use crate::files::FileWorker;
use crate::glue::aws::{Sdk, mistake_of_profile};
use crate::http::access::AccessControl;
use crate::http::listen::{self, Address, Listener};
use crate::http::routes::{Routes, start_counters, start_refusal_counters};
use crate::http::shared_responses::SharedResponses;
use crate::http::{self, Limits, client};
use crate::iam;
use crate::preflight;
use crate::publisher::Publisher;
use crate::rlimit;
use crate::shard::{Shard, ShardError};
use crate::simulator::{Account, Simulator};
use crate::site::Site;
use crate::stderr;
use crate::storage;
use crate::systemd::ServiceManager;
use crate::telemetry::Telemetry;
use crate::version;
use crate::watchdog::Watchdog;
use reload::{Exporter, ReloadRequest};
use source::{Clients, Loaded, Source};
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

/// Reloads that may wait while one is under way; they come one after the other.
const RELOADS_WAITING: usize = 16;

/// Why a command did not do what it should. Each kind has its exit code.
#[derive(Debug)]
pub enum Failure {
    /// The configuration is wrong: exit code 2.
    Config(ConfigErrors),
    /// The flags do not say which shard this is: exit code 2.
    Shard(ShardError),
    /// It failed while it ran: exit code 1.
    Run { attempted: String, why: String },
    /// Something failed that has been told already: exit code 1.
    Told,
}

impl Failure {
    fn run(attempted: impl Into<String>, why: impl fmt::Display) -> Self {
        Self::Run {
            attempted: attempted.into(),
            why: why.to_string(),
        }
    }

    /// The asynchronous runtime could not be started.
    pub fn runtime(error: io::Error) -> Self {
        Self::run("starting the runtime", error)
    }

    /// Says on stderr what went wrong, and returns the exit code.
    pub fn report(self) -> ExitCode {
        let print = |text: String| stderr::write(format!("{}\n", escape::lines(&text)).as_bytes());
        match self {
            Self::Config(errors) => {
                print(errors.to_string());
                ExitCode::from(2)
            }
            Self::Shard(why) => {
                print(format!("glue-integration-exporter: {why}"));
                ExitCode::from(2)
            }
            Self::Run { attempted, why } => {
                print(format!("glue-integration-exporter: {attempted}: {why}"));
                ExitCode::FAILURE
            }
            Self::Told => ExitCode::FAILURE,
        }
    }
}

impl From<ConfigErrors> for Failure {
    fn from(errors: ConfigErrors) -> Self {
        Self::Config(errors)
    }
}

impl From<ShardError> for Failure {
    fn from(why: ShardError) -> Self {
        Self::Shard(why)
    }
}

/// Does what the command line asks for.
///
/// # Errors
/// If it could not be done.
pub async fn run(cli: Cli) -> Result<(), Failure> {
    rlimit::raise_limit();
    match cli.command {
        None => daemon(cli.daemon).await,
        Some(Command::Check {
            config,
            web,
            shard,
            online,
            written,
            ..
        }) => {
            let web = match web.file() {
                Some(file) => Some(read_web_config(file).await?),
                None => None,
            };
            if online {
                check_online(config, shard, written).await
            } else {
                check(config, shard, web.map(|(config, _)| config)).await
            }
        }
        Some(Command::Once { config, shard, .. }) => once(config, shard).await,
        Some(Command::Demo { web, .. }) => demo(web).await,
        Some(Command::Simulate { listen_address, .. }) => simulate(listen_address).await,
        Some(Command::Iam {
            config,
            written,
            show_external_id,
            ..
        }) => permissions(config, written, show_external_id).await,
        Some(Command::Health { url, ca_file }) => client::check(&url, ca_file.as_deref())
            .await
            .map_err(|unhealthy| {
                Failure::run(format!("asking {}", client::redacted(&url)), unhealthy)
            }),
    }
}

async fn daemon(flags: DaemonFlags) -> Result<(), Failure> {
    // First of all: until signals are handled, a PID 1 does not hear them.
    let signals = Signals::handle()?;
    let shard = sharding::shard(&flags.shard)?;
    let telemetry = own_metrics(shard)?;
    let source = Source::file(flags.config.file, shard);
    let load = async {
        let loaded = source.load().await?;
        let network = source.network(&loaded).await?;
        Ok::<_, ConfigErrors>((loaded, network))
    };
    let (loaded, network) = tokio::select! {
        both = load => both?,
        () = signals.stop.cancelled() => return Ok(()),
    };
    if shard != Shard::SINGLE {
        tracing::info!(
            shard_index = shard.index(),
            shard_total = shard.total(),
            watches = loaded.watches.len(),
            total_targets = loaded.total_targets,
            "watching the part of one shard"
        );
    }
    loaded.warn_of_open_files();
    loaded.warn_of_patterns();
    let sdk = Sdk::new(network, Arc::clone(&telemetry) as _);
    let clients = Clients::of_aws(&loaded, sdk);
    serve(source, loaded, clients, telemetry, flags.web, signals).await
}

async fn demo(web: WebFlags) -> Result<(), Failure> {
    let signals = Signals::handle()?;
    let telemetry = own_metrics(Shard::SINGLE)?;
    let loaded = Source::Demo.load().await?;
    let address = (Ipv4Addr::LOCALHOST, 0).into();
    let simulator = Simulator::bind(address, Account::demo(Clock::system().unix_now()))
        .await
        .map_err(|error| Failure::run("binding the simulated endpoint", error))?;
    let address = simulator.local_addr();
    tracing::info!(endpoint = %address, "simulating AWS Glue");
    let clients = Clients::of_simulator(
        format!("http://{address}"),
        loaded.requests_per_second,
        Arc::clone(&telemetry) as _,
    );
    tokio::spawn(simulator.serve(signals.stop.clone().cancelled_owned()));
    serve(Source::Demo, loaded, clients, telemetry, web, signals).await
}

/// Polls and serves until a signal asks to stop.
async fn serve(
    source: Source,
    loaded: Loaded,
    clients: Clients,
    telemetry: Arc<Telemetry>,
    web: WebFlags,
    signals: Signals,
) -> Result<(), Failure> {
    let stop = signals.stop;
    let access = match web.config.file() {
        Some(file) => match stop.run_until_cancelled(open_door(file, &web)).await {
            Some(access) => Some(access?),
            None => return Ok(()),
        },
        None => None,
    };
    let listeners = bind(&web).await?;
    let clock = Clock::system();
    telemetry.config_loaded(clock.unix_now());
    start_counters(&telemetry, &web.telemetry_path);
    if let Some(access) = &access {
        start_refusal_counters(&telemetry, &web.telemetry_path);
        let (access, telemetry, stop) = (Arc::clone(access), Arc::clone(&telemetry), stop.clone());
        tokio::spawn(async move {
            access
                .watch(|well| telemetry.web_config_reread(well), stop)
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
        scrapes: SharedResponses::default(),
        telemetry_path: web.telemetry_path,
        site: Site::default(),
        access: access.clone(),
        reload: web.enable_lifecycle.then_some(signals.ask_reload),
        stop: stop.clone(),
    };
    tracing::info!(
        version = version::VERSION,
        revision = version::REVISION,
        watches = loaded.watches.len(),
        "starting glue-integration-exporter"
    );
    let status_reporter = Arc::new(StatusReporter::by(ServiceManager::from_env()));
    status_reporter.started(&publisher).await;
    let exporter = Exporter {
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
        let polling = exporter.run(loaded, signals.reloads, stop.clone()).await;
        // When polling ends before it was asked to, serving what it left would hide it.
        stop.cancel();
        polling
    };
    let serving = http::serve(
        listeners,
        Arc::new(routes),
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
    let telemetry = own_metrics(shard)?;
    let source = Source::file(flags.file, shard);
    let loaded = source.load().await?;
    let network = source.network(&loaded).await?;
    let clock = Clock::system();
    telemetry.config_loaded(clock.unix_now());
    // The same series as the daemon's.
    start_counters(&telemetry, TELEMETRY_PATH);
    let publisher = Arc::new(Publisher::new(&loaded.watches, clock.clone()));
    let exporter = Exporter {
        publisher: Arc::clone(&publisher),
        telemetry: Arc::clone(&telemetry),
        clock: clock.clone(),
        source,
        clients: Clients::of_aws(&loaded, Sdk::new(network, Arc::clone(&telemetry) as _)),
        status_reporter: Arc::new(StatusReporter::by(ServiceManager::none())),
        watchdog: Watchdog::none(),
        access: None,
    };
    publisher.set_tag_labels(&loaded.tag_labels);
    let all_up = exporter.once(loaded.watches).await;
    let page = publisher
        .page()
        .text(Format::Text, &telemetry, clock.unix_now());
    // For machines, and the same as the daemon's.
    write_stdout(&page.concat(), "printing the metrics")?;
    if all_up { Ok(()) } else { Err(Failure::Told) }
}

async fn check(
    flags: ConfigFlags,
    shard: ShardFlags,
    web: Option<WebConfig>,
) -> Result<(), Failure> {
    let shard = sharding::shard(&shard)?;
    let source = Source::file(flags.file, shard);
    let loaded = source.load().await?;
    source.network(&loaded).await?;
    loaded.warn_of_open_files();
    let mut text = String::new();
    if shard != Shard::SINGLE {
        text = format!(
            "Shard {} of {}, counted from 0, has a part in {} of {} pairs of scope and region.\n\n",
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
            "Warning: nothing can be kept in {}, the storage.path, here: {obstacle}\n",
            path.display()
        );
    }
    for mistake in profile_mistakes(&loaded).await {
        text += &format!("Warning: {mistake}\n");
    }
    if let Some(path) = &loaded.storage_path
        && let Some(directory) = storage::shared_directory(path)
    {
        text += &format!(
            "Warning: every user of this machine can write into {}, the directory of the storage.path, and so put a file in the place of the exporter's; \
             choose a directory that only the exporter can write into.\n",
            directory.display()
        );
    }
    if let Some(web) = web {
        text += &format!("\n{}", web.describe());
    }
    print(&text, "printing what will be watched")
}

async fn check_online(
    flags: ConfigFlags,
    shard: ShardFlags,
    format: preflight::Format,
) -> Result<(), Failure> {
    let shard = sharding::shard(&shard)?;
    let source = Source::file(flags.file, shard);
    let loaded = source.load().await?;
    let network = source.network(&loaded).await?;
    let telemetry = own_metrics(shard)?;
    let rate = loaded.requests_per_second;
    let sdk = Sdk::new(network, telemetry);
    let mut clients = Clients::of_aws(&loaded, sdk.clone());
    let mut watches = Vec::with_capacity(loaded.watches.len());
    for watch in loaded.watches {
        let client = clients.client(&watch);
        watches.push((watch, client));
    }
    let report = preflight::check(watches, rate, sdk).await;
    let attempted = "printing what AWS allows";
    let text = report
        .write(format)
        .map_err(|error| Failure::run(attempted, error))?;
    print(&text, attempted)?;
    if report.is_well() {
        Ok(())
    } else {
        Err(Failure::Told)
    }
}

async fn permissions(
    flags: ConfigFlags,
    format: iam::Format,
    show_external_ids: bool,
) -> Result<(), Failure> {
    // Whichever shard it is, it is allowed what all of them need.
    let loaded = Source::file(flags.file, Shard::SINGLE).load().await?;
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

/// What is wrong with the AWS configuration files and the profiles that the scopes use. Worth a warning only: the files may be put right
/// at any time, and some scopes may not need them.
async fn profile_mistakes(loaded: &Loaded) -> BTreeSet<String> {
    let profiles: BTreeSet<Option<&str>> = loaded
        .watches
        .iter()
        .map(|watch| watch.credentials.profile.as_deref())
        .collect();
    let mut errors = BTreeSet::new();
    for profile in profiles {
        errors.extend(mistake_of_profile(profile).await);
    }
    errors
}

fn own_metrics(shard: Shard) -> Result<Arc<Telemetry>, Failure> {
    Telemetry::with_shard(shard)
        .map(Arc::new)
        .map_err(|error| Failure::run("making the metrics", error))
}

/// Prints text for people, or JSON.
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
    let LoadedWeb { config, files } = FileWorker::default()
        .run(move || WebConfig::load(&path))
        .await
        .unwrap_or_else(|error| LoadedWeb::failed(file, &error));
    Ok((config?, files))
}

async fn open_door(file: &Path, flags: &WebFlags) -> Result<Arc<AccessControl>, Failure> {
    let (config, files) = read_web_config(file).await?;
    tracing::info!(
        file = %file.display(),
        tls = config.tls.is_some(),
        users = config.users.len(),
        rate_limit = config.rate_limit.is_some(),
        "the web configuration was loaded"
    );
    AccessControl::new(file, config, files, flags.probes_without_auth)
        .map(Arc::new)
        .map_err(|error| Failure::run("making a random key", error))
}

async fn bind(web: &WebFlags) -> Result<Vec<Listener>, Failure> {
    let listeners = if web.systemd_socket {
        listen::from_systemd().map_err(|error| Failure::run("taking systemd's sockets", error))?
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

/// What signals ask for: SIGTERM and SIGINT to stop, SIGHUP to load the configuration again. Handled by name, so that they also work
/// where the program is PID 1.
struct Signals {
    stop: CancellationToken,
    ask_reload: mpsc::Sender<ReloadRequest>,
    reloads: mpsc::Receiver<ReloadRequest>,
}

impl Signals {
    fn handle() -> Result<Self, Failure> {
        let handled = |kind, name: &'static str| {
            signal(kind).map_err(|error| Failure::run(format!("handling {name}"), error))
        };
        let mut term = handled(SignalKind::terminate(), "SIGTERM")?;
        let mut int = handled(SignalKind::interrupt(), "SIGINT")?;
        let mut hup = handled(SignalKind::hangup(), "SIGHUP")?;
        let (ask_reload, reloads) = mpsc::channel(RELOADS_WAITING);
        let (stop, ask) = (CancellationToken::new(), ask_reload.clone());
        let stopping = stop.clone();
        tokio::spawn(async move {
            let signal = loop {
                tokio::select! {
                    _ = term.recv() => break "SIGTERM",
                    _ = int.recv() => break "SIGINT",
                    // What came of it is logged. With a full queue, those that wait will read the same file.
                    _ = hup.recv() => drop(ask.try_send(oneshot::channel().0)),
                }
            };
            tracing::info!(signal, "stopping");
            stopping.cancel();
        });
        Ok(Self {
            stop,
            ask_reload,
            reloads,
        })
    }
}
