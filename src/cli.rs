//! The command line. Flags are spelled as in Prometheus' exporters.

use crate::http::routes::ROUTES;
use crate::logging::Format;
use crate::preflight;
use crate::shard::MAX_SHARDS;
use crate::toolkit::listen::Address;
use crate::version;
use clap::builder::{OsStringValueParser, PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, value_parser};
use clap_complete::Shell;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use tracing::level_filters::LevelFilter;

pub(crate) const DEFAULT_TELEMETRY_PATH: &str = "/metrics";

/// Prometheus exporter for AWS Glue zero-ETL inbound integrations.
///
/// Without a command it runs the daemon: it polls DescribeInboundIntegrations as configured and serves the status, errors and age of
/// each integration on /metrics.
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
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) daemon: DaemonFlags,
    #[command(flatten)]
    pub log: LogFlags,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Validate the configuration and print what it will watch. Exits with 0, or with 2 and all errors.
    ///
    /// With --online it also sends a few requests to AWS for each scope: it checks the credentials, whether the role can be assumed,
    /// whether DescribeInboundIntegrations is allowed, and whether each configured ARN exists. Exits with 1 if anything is denied,
    /// missing or unreachable, and prints which permissions to grant.
    Check(CheckFlags),
    /// Poll each scope once and print the metrics on stdout. Exits with 0, or with 1 if any scope failed.
    Once {
        #[command(flatten)]
        config: ConfigFlags,
        #[command(flatten)]
        shard: ShardFlags,
    },
    /// Run the whole exporter on a simulated AWS in the same process. Needs no AWS account and no configuration.
    Demo {
        #[command(flatten)]
        web: WebFlags,
    },
    /// Run the simulated AWS endpoint alone, for fire drills and tests.
    Simulate {
        /// Address that the simulated endpoint listens on.
        #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:10059")]
        listen_address: SocketAddr,
    },
    /// Print the least-privilege IAM policies for the configuration, and the trust policy of each role. Sends no requests. Exits with 0, or
    /// with 2 and all errors.
    Iam {
        #[command(flatten)]
        config: ConfigFlags,
        /// Output format. A CloudFormation template for one account is in deploy/iam/cloudformation.yaml.
        #[arg(long = "format", value_name = "FORMAT", default_value = "json", value_parser = ["json"])]
        _output_format: String,
        /// Print external IDs instead of placeholders.
        #[arg(long)]
        show_external_id: bool,
    },
    /// Check whether a running exporter is healthy. Exits with 0 if it is, otherwise with 1.
    Health {
        /// URL to request: http://host:port/path, https://host:port/path, or a Unix socket: unix:/socket (for /-/healthy) or
        /// unix:/socket:/path. A user:password@ before the host is sent as basic auth.
        #[arg(long, value_name = "URL")]
        #[arg(default_value = "http://127.0.0.1:10058/-/healthy")]
        url: String,
        /// CA certificates that verify an https URL. Default: the system's; on a loopback address, nothing is verified.
        #[arg(long, value_name = "FILE")]
        ca_file: Option<PathBuf>,
    },
    /// Print the completion script of a shell.
    ///
    /// For bash: source <(glue-integration-exporter completions bash)
    Completions {
        #[arg(value_name = "SHELL")]
        #[arg(value_parser = PossibleValuesParser::new(["bash", "fish", "zsh"]).try_map(|shell| shell.parse::<Shell>()))]
        shell: Shell,
    },
}

#[derive(Debug, Args)]
pub(crate) struct CheckFlags {
    #[command(flatten)]
    pub(crate) config: ConfigFlags,
    #[command(flatten)]
    pub(crate) web: WebConfigFlags,
    /// Check with AWS whether each scope has the permissions that it needs.
    #[arg(long)]
    pub(crate) online: bool,
    /// Output format of --online.
    #[arg(long = "format", value_name = "FORMAT", requires = "online")]
    #[arg(default_value = "table")]
    pub(crate) output_format: preflight::Format,
    #[command(flatten)]
    pub(crate) shard: ShardFlags,
}

#[derive(Debug, Args)]
pub(crate) struct DaemonFlags {
    #[command(flatten)]
    pub(crate) config: ConfigFlags,
    #[command(flatten)]
    pub(crate) shard: ShardFlags,
    #[command(flatten)]
    pub(crate) web: WebFlags,
}

#[derive(Debug, Args)]
pub(crate) struct ConfigFlags {
    /// The configuration file.
    #[arg(long = "config.file", value_name = "FILE")]
    #[arg(default_value = "config.yaml")]
    pub(crate) file: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct ShardFlags {
    /// Index of this shard, counted from 0. Default: the ordinal at the end of POD_NAME, or of the host name if POD_NAME is not set.
    #[arg(long = "shard.index", value_name = "N", requires = "total")]
    pub(crate) index: Option<u16>,
    /// Number of exporters that share this configuration, 1 to 1000. Default: this exporter watches everything.
    #[arg(long = "shard.total", value_name = "N", value_parser = value_parser!(u16).range(1..=MAX_SHARDS))]
    pub(crate) total: Option<u16>,
}

#[derive(Debug, Args)]
pub(crate) struct WebFlags {
    /// Address to listen on: :port, host:port, [v6]:port or unix:/path. Can be repeated.
    #[arg(long = "web.listen-address", value_name = "ADDRESS")]
    #[arg(default_value = ":10058")]
    pub(crate) listen_address: Vec<Address>,
    /// Listen on the sockets that systemd passes instead of on addresses.
    #[arg(long = "web.systemd-socket")]
    pub(crate) systemd_socket: bool,
    /// Path under which to serve the metrics.
    #[arg(long = "web.telemetry-path", value_name = "PATH", default_value = DEFAULT_TELEMETRY_PATH, value_parser = telemetry_path)]
    pub(crate) telemetry_path: String,
    #[command(flatten)]
    pub(crate) config: WebConfigFlags,
    /// Exempt /-/healthy and /-/ready from basic auth and the rate limit.
    #[arg(long = "web.probes-without-auth")]
    pub(crate) probes_without_auth: bool,
    /// Reload the configuration on POST /-/reload.
    #[arg(long = "web.enable-lifecycle")]
    pub(crate) enable_lifecycle: bool,
}

#[derive(Debug, Args)]
pub(crate) struct WebConfigFlags {
    /// File that configures TLS, client certificates, basic auth, headers and the rate limit, in the format of Prometheus' exporters.
    #[arg(long = "web.config.file", value_name = "FILE", value_parser = OsStringValueParser::new().map(PathBuf::from))]
    web_config: Option<PathBuf>,
}

impl WebConfigFlags {
    /// An empty value means no file: it is the default in Prometheus' exporters.
    pub(crate) fn file(&self) -> Option<&Path> {
        let file = self.web_config.as_deref();
        file.filter(|file| !file.as_os_str().is_empty())
    }
}

#[derive(Debug, Args)]
pub struct LogFlags {
    /// Log only messages of this level or above.
    #[arg(
        long = "log.level",
        global = true,
        value_name = "LEVEL",
        default_value = "info",
        value_parser = PossibleValuesParser::new(["debug", "info", "warn", "error"])
            .try_map(|level| level.parse::<LevelFilter>())
    )]
    pub level: LevelFilter,
    /// Format of the log lines.
    #[arg(long = "log.format", global = true, value_name = "FORMAT")]
    #[arg(default_value = "logfmt")]
    pub format: Format,
}

fn telemetry_path(path: &str) -> Result<String, String> {
    let is_valid = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte);
    // `/` is allowed: it replaces the HTML page, as in other exporters.
    let is_replaceable = [DEFAULT_TELEMETRY_PATH, "/"].contains(&path);
    let hides_route = path.starts_with("/-/")
        || path.starts_with("/api/")
        || !is_replaceable && ROUTES.iter().any(|route| route.path == path);
    if path.starts_with('/') && path.bytes().all(is_valid) && !hides_route && path.len() <= 256 {
        Ok(path.to_owned())
    } else {
        Err(
            "allowed: a path of letters, digits and /-._~ that begins with /, except /-/…, /api/…, /page.css and /page.js"
                .to_owned(),
        )
    }
}
