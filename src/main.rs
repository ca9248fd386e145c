//! Reads the command line, starts logging, does what was asked for, and says by its exit code how it went.

use clap::Parser;
use glue_integration_exporter::cli::{Cli, Command};
use glue_integration_exporter::{commands, glue, logging};
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let log = match &cli.command {
        Some(
            Command::Check { log, .. }
            | Command::Once { log, .. }
            | Command::Demo { log, .. }
            | Command::Simulate { log, .. }
            | Command::Iam { log, .. },
        ) => Some(log),
        Some(Command::Health { .. }) => None,
        None => Some(&cli.daemon.log),
    };
    if let Some(log) = log {
        logging::start(log.level, log.format);
    }
    let outcome = tokio::runtime::Runtime::new()
        .map_err(commands::Failure::runtime)
        .and_then(|runtime| {
            let outcome = runtime.block_on(commands::run(cli));
            // What is still under way has been given its time.
            runtime.shutdown_background();
            glue::aws::end_credential_processes();
            outcome
        });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
