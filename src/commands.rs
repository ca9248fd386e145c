//! What the commands do, put together from the other modules.

pub mod exporter;

use crate::board::Board;
use crate::cli::{Cli, Command, ConfigFlags, DaemonFlags, WebFlags};
use crate::clock::Clock;
use crate::config::{self, Config, Mistakes, RegionName, Watch};
use crate::exposition::own::Own;
use crate::glue::Glue;
use crate::glue::aws::{Sdk, default_region};
use crate::http::listen::{self, Address, Listener};
use crate::http::routes::Routes;
use crate::http::{self, client};
use crate::simulator::{Simulator, World};
use crate::version;
use exporter::Exporter;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// What the demo watches of the simulated account.
const DEMO_CONFIG: &str = include_str!("commands/demo.yaml");

/// Why a command did not do what it should. Each kind has its exit code.
#[derive(Debug)]
pub enum Failure {
    /// The configuration is wrong: exit code 2.
    Config(Mistakes),
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
    #[allow(
        clippy::print_stderr,
        reason = "for the person at the terminal; not log lines"
    )]
    pub fn report(self) -> ExitCode {
        match self {
            Self::Config(mistakes) => {
                eprintln!("{mistakes}");
                ExitCode::from(2)
            }
            Self::Run { attempted, why } => {
                eprintln!("glue-integration-exporter: {attempted}: {why}");
                ExitCode::FAILURE
            }
            Self::Told => ExitCode::FAILURE,
        }
    }
}

impl From<Mistakes> for Failure {
    fn from(mistakes: Mistakes) -> Self {
        Self::Config(mistakes)
    }
}

/// Does what the command line asks for.
///
/// # Errors
/// If it could not be done.
pub async fn run(cli: Cli) -> Result<(), Failure> {
    match cli.command {
        None => daemon(cli.daemon).await,
        Some(Command::Check { config, .. }) => check(&config).await,
        Some(Command::Once { config, .. }) => once(&config).await,
        Some(Command::Demo { web, .. }) => demo(web).await,
        Some(Command::Simulate { listen_address, .. }) => simulate(listen_address).await,
        Some(Command::Health { url }) => client::check(&url)
            .await
            .map_err(|unhealthy| Failure::run(format!("asking {url}"), unhealthy)),
    }
}

async fn daemon(flags: DaemonFlags) -> Result<(), Failure> {
    let watches = watches(&flags.config.file).await?;
    let own = Arc::new(Own::new().map_err(|error| Failure::run("making the metrics", error))?);
    let glue = clients(&watches, Sdk::new(Arc::clone(&own) as _)).await;
    serve(watches, glue, own, flags.web, CancellationToken::new()).await
}

async fn demo(web: WebFlags) -> Result<(), Failure> {
    let watches =
        Config::from_yaml(DEMO_CONFIG, Path::new("the demo's configuration"))?.watches(|_| None)?;
    let own = Arc::new(Own::new().map_err(|error| Failure::run("making the metrics", error))?);
    let simulator = Simulator::bind(
        (Ipv4Addr::LOCALHOST, 0).into(),
        World::demo(Clock::system().wall()),
    )
    .await
    .map_err(|error| Failure::run("binding the simulated endpoint", error))?;
    let address = simulator.local_addr();
    tracing::info!(%address, "simulating AWS Glue");
    let glue = watches
        .iter()
        .map(|watch| {
            let client = Sdk::connect_simulated(
                Arc::clone(&own) as _,
                format!("http://{address}"),
                &watch.region,
            );
            Arc::new(client) as Arc<dyn Glue>
        })
        .collect();
    let stop = CancellationToken::new();
    tokio::spawn(simulator.serve(stop.clone().cancelled_owned()));
    serve(watches, glue, own, web, stop).await
}

/// Polls and serves until a signal asks to stop.
async fn serve(
    watches: Vec<Watch>,
    glue: Vec<Arc<dyn Glue>>,
    own: Arc<Own>,
    web: WebFlags,
    stop: CancellationToken,
) -> Result<(), Failure> {
    let listeners = bind(&web).await?;
    let signals = stop_on_signal(stop.clone())?;
    let clock = Clock::system();
    own.config_loaded(clock.wall());
    let board = Arc::new(Board::new(&watches, clock.clone()));
    let routes = Routes {
        board: Arc::clone(&board),
        own: Arc::clone(&own),
        clock: clock.clone(),
        telemetry_path: web.telemetry_path,
        lifecycle: web.enable_lifecycle,
        stop: stop.clone(),
    };
    routes.start_counters();
    tracing::info!(
        version = version::VERSION,
        revision = version::REVISION,
        watches = watches.len(),
        "starting glue-integration-exporter"
    );
    let exporter = Exporter::new(watches, glue, &board, &own, &clock);
    let polling = tokio::spawn(exporter.run(stop.clone()));
    http::serve(listeners, Arc::new(routes), stop).await;
    signals.abort();
    polling
        .await
        .map_err(|error| Failure::run("polling", error))?;
    tracing::info!("stopped");
    Ok(())
}

async fn once(flags: &ConfigFlags) -> Result<(), Failure> {
    let watches = watches(&flags.file).await?;
    let own = Arc::new(Own::new().map_err(|error| Failure::run("making the metrics", error))?);
    let clock = Clock::system();
    own.config_loaded(clock.wall());
    let glue = clients(&watches, Sdk::new(Arc::clone(&own) as _)).await;
    let board = Arc::new(Board::new(&watches, clock.clone()));
    let exporter = Exporter::new(watches, glue, &board, &own, &clock);
    let all_up = exporter.once().await;
    board.publish_now();
    let page = board.page().scrape(&own, clock.wall());
    io::stdout()
        .write_all(page.as_bytes())
        .map_err(|error| Failure::run("printing the metrics", error))?;
    if all_up { Ok(()) } else { Err(Failure::Told) }
}

async fn check(flags: &ConfigFlags) -> Result<(), Failure> {
    let config = Config::load(&flags.file)?;
    let watches = with_regions(&config).await?;
    let text = config::describe(&watches, config.storage_path.as_deref());
    io::stdout()
        .write_all(text.as_bytes())
        .map_err(|error| Failure::run("printing what will be watched", error))
}

async fn simulate(address: SocketAddr) -> Result<(), Failure> {
    let simulator = Simulator::bind(address, World::demo(Clock::system().wall()))
        .await
        .map_err(|error| Failure::run(format!("listening on {address}"), error))?;
    let stop = CancellationToken::new();
    let _signals = stop_on_signal(stop.clone())?;
    tracing::info!(address = %simulator.local_addr(), "listening");
    simulator.serve(stop.cancelled_owned()).await;
    Ok(())
}

async fn watches(file: &Path) -> Result<Vec<Watch>, Failure> {
    with_regions(&Config::load(file)?).await
}

/// Asks the SDK for its default region, for the scopes that name none.
async fn with_regions(config: &Config) -> Result<Vec<Watch>, Failure> {
    let mut regions: BTreeMap<Option<String>, Option<RegionName>> = BTreeMap::new();
    for scope in config.without_region() {
        if let Entry::Vacant(entry) = regions.entry(scope.credentials.profile.clone()) {
            let region = default_region(entry.key().as_deref()).await;
            entry.insert(region.and_then(|region| region.parse().ok()));
        }
    }
    Ok(config.watches(|scope| regions.get(&scope.credentials.profile).cloned().flatten())?)
}

/// A client for each watch; watches with the same credentials and region share one.
async fn clients(watches: &[Watch], sdk: Sdk) -> Vec<Arc<dyn Glue>> {
    let mut clients: Vec<(&Watch, Arc<dyn Glue>)> = Vec::with_capacity(watches.len());
    for watch in watches {
        let same = clients.iter().find(|(other, _)| {
            other.credentials == watch.credentials && other.region == watch.region
        });
        let client = match same {
            Some((_, client)) => Arc::clone(client),
            None => Arc::new(sdk.connect(&watch.credentials, &watch.region).await),
        };
        clients.push((watch, client));
    }
    clients.into_iter().map(|(_, client)| client).collect()
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

/// SIGTERM and SIGINT stop the program; handled by name, so that they also do where it is PID 1.
fn stop_on_signal(stop: CancellationToken) -> Result<tokio::task::JoinHandle<()>, Failure> {
    let handled = |kind, name: &'static str| {
        signal(kind).map_err(|error| Failure::run(format!("handling {name}"), error))
    };
    let mut term = handled(SignalKind::terminate(), "SIGTERM")?;
    let mut int = handled(SignalKind::interrupt(), "SIGINT")?;
    Ok(tokio::spawn(async move {
        let signal = tokio::select! {
            _ = term.recv() => "SIGTERM",
            _ = int.recv() => "SIGINT",
        };
        tracing::info!(signal, "stopping");
        stop.cancel();
    }))
}
