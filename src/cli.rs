//! The command line: flags, spelled as Prometheus' exporters spell theirs. No logic.

use crate::http::listen::Address;
use crate::iam;
use crate::logging::{Format, Level};
use crate::preflight;
use crate::site;
use crate::version;
use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, Parser, Subcommand};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Where the metrics are unless `--web.telemetry-path` says otherwise.
pub const TELEMETRY_PATH: &str = "/metrics";

/// Prometheus exporter for AWS Glue zero-ETL inbound integrations.
///
/// Without a command it runs the daemon: it polls DescribeInboundIntegrations for what the configuration names and serves status,
/// errors and age of each integration on /metrics.
#[derive(Debug, Parser)]
#[command(
    name = "glue-integration-exporter",
    version = version::VERSION,
    long_version = version::long(),
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub daemon: DaemonFlags,
}

/// What to do instead of running the daemon.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Validate the configuration and say what it will watch. Exits with 0, or with 2 and every mistake.
    ///
    /// With --online it asks AWS, as little as tells whether it lets each scope do so: who the credentials are, whether the role can be
    /// assumed, whether DescribeInboundIntegrations answers, whether each configured ARN exists. Exits with 1 if anything is refused,
    /// missing or out of reach, and says what to grant.
    Check {
        #[command(flatten)]
        config: ConfigFlags,
        #[command(flatten)]
        web: WebConfigFlags,
        /// Ask AWS whether it lets each scope do what the configuration says.
        #[arg(long = "online")]
        online: bool,
        /// How the findings of --online are written.
        #[arg(
            long = "format",
            value_name = "FORMAT",
            default_value = "table",
            requires = "online"
        )]
        written: preflight::Format,
        #[command(flatten)]
        shard: ShardFlags,
        #[command(flatten)]
        log: LogFlags,
    },
    /// Poll each scope once and print the metrics on stdout. Exits with 0, or with 1 if any scope failed.
    Once {
        #[command(flatten)]
        config: ConfigFlags,
        #[command(flatten)]
        shard: ShardFlags,
        #[command(flatten)]
        log: LogFlags,
    },
    /// Run the whole exporter over a simulated AWS Glue in the same process: no AWS account, no configuration.
    Demo {
        #[command(flatten)]
        web: WebFlags,
        #[command(flatten)]
        log: LogFlags,
    },
    /// Run the simulated AWS Glue endpoint alone, for fire drills and tests.
    Simulate {
        /// Where the simulated endpoint listens.
        #[arg(
            long = "listen-address",
            value_name = "ADDRESS",
            default_value = "127.0.0.1:10059",
            value_parser = socket_address
        )]
        listen_address: SocketAddr,
        #[command(flatten)]
        log: LogFlags,
    },
    /// Print the least policies for the configuration, and the trust policy of each role. Asks nobody. Exits with 0, or
    /// with 2 and every mistake.
    Iam {
        #[command(flatten)]
        config: ConfigFlags,
        /// How the policies are written: json, or as a template for CloudFormation.
        #[arg(long = "format", value_name = "FORMAT", default_value = "json")]
        written: iam::Format,
        /// Print external ids instead of placeholders for them.
        #[arg(long = "show-external-id")]
        show_external_id: bool,
        #[command(flatten)]
        log: LogFlags,
    },
    /// Ask a running exporter whether it is healthy. Exits with 0 if it is, else with 1.
    Health {
        /// What to ask: http://host:port/path, https://host:port/path, or a Unix socket: unix:/socket (for /-/healthy) or unix:/socket:/path.
        /// With user:password@ before the host it sends them as basic auth.
        #[arg(
            long = "url",
            value_name = "URL",
            default_value = "http://127.0.0.1:10058/-/healthy"
        )]
        url: String,
        /// Authorities that may have issued the certificate of an https URL. Default: the system's; on a loopback address any.
        #[arg(long = "ca-file", value_name = "FILE")]
        ca_file: Option<PathBuf>,
    },
}

/// The flags of the daemon.
#[derive(Debug, Args)]
pub struct DaemonFlags {
    #[command(flatten)]
    pub config: ConfigFlags,
    #[command(flatten)]
    pub shard: ShardFlags,
    #[command(flatten)]
    pub web: WebFlags,
    #[command(flatten)]
    pub log: LogFlags,
}

/// Which configuration.
#[derive(Debug, Args)]
pub struct ConfigFlags {
    /// The configuration file.
    #[arg(
        long = "config.file",
        value_name = "FILE",
        default_value = "config.yaml"
    )]
    pub file: PathBuf,
}

/// Which part of it.
#[derive(Debug, Args)]
pub struct ShardFlags {
    /// Which of the shards this is, counted from 0. Default: the ordinal at the end of POD_NAME, or else of the host's name.
    #[arg(long = "shard.index", value_name = "N")]
    pub index: Option<u16>,
    /// Among how many exporters with this configuration it is shared out; 1 to 1000. Default: this one watches everything.
    #[arg(long = "shard.total", value_name = "N")]
    pub total: Option<u16>,
}

/// What is served where.
#[derive(Debug, Args)]
pub struct WebFlags {
    /// Address to listen on: :port, host:port, [v6]:port or unix:/path. May be given several times.
    #[arg(
        long = "web.listen-address",
        value_name = "ADDRESS",
        default_value = ":10058"
    )]
    pub listen_address: Vec<Address>,
    /// Listen on the sockets that systemd passes instead of on addresses.
    #[arg(long = "web.systemd-socket")]
    pub systemd_socket: bool,
    /// Path under which the metrics are served.
    #[arg(long = "web.telemetry-path", value_name = "PATH", default_value = TELEMETRY_PATH, value_parser = telemetry_path)]
    pub telemetry_path: String,
    #[command(flatten)]
    pub config: WebConfigFlags,
    /// Answer /-/healthy and /-/ready without basic auth and beside the rate limit.
    #[arg(long = "web.probes-without-auth")]
    pub probes_without_auth: bool,
    /// Reload the configuration on POST /-/reload.
    #[arg(long = "web.enable-lifecycle")]
    pub enable_lifecycle: bool,
}

/// Who is served.
#[derive(Debug, Args)]
pub struct WebConfigFlags {
    /// File with TLS, client certificates, basic auth, headers and rate limit, in the format of Prometheus' exporters.
    #[arg(long = "web.config.file", value_name = "FILE", value_parser = OsStringValueParser::new().map(PathBuf::from))]
    web_config: Option<PathBuf>,
}

impl WebConfigFlags {
    /// The file, if there is one. An empty value means none, as in Prometheus' exporters, where it is the default.
    pub fn file(&self) -> Option<&Path> {
        let file = self.web_config.as_deref();
        file.filter(|file| !file.as_os_str().is_empty())
    }
}

/// What is logged.
#[derive(Debug, Args)]
pub struct LogFlags {
    /// Log only messages of this severity or above.
    #[arg(long = "log.level", value_name = "LEVEL", default_value = "info")]
    pub level: Level,
    /// How log lines are written.
    #[arg(long = "log.format", value_name = "FORMAT", default_value = "logfmt")]
    pub format: Format,
}

fn telemetry_path(path: &str) -> Result<String, String> {
    let plain = path
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte));
    // What it would hide. At `/` it takes the place of the page for people, as in other exporters.
    let is_taken = path.starts_with("/-/")
        || path.starts_with("/api/")
        || path != "/" && site::find(path).is_some();
    if path.starts_with('/') && plain && !is_taken && path.len() <= 256 {
        Ok(path.to_owned())
    } else {
        Err(
            "allowed: a path that begins with / but not with /-/ or /api/, of letters, digits and /-._~, and none of the page's own (/page.css, /page.js)"
                .to_owned(),
        )
    }
}

fn socket_address(address: &str) -> Result<SocketAddr, String> {
    let allowed = "allowed: an IP address and a port, as 127.0.0.1:10059 or [::1]:0";
    address.parse().map_err(|_| allowed.to_owned())
}
