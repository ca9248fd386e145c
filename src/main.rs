//! Reads the command line, starts logging, runs the command, and returns its exit code.

use clap::Parser;
use glue_integration_exporter::cli::Cli;
use glue_integration_exporter::commands::Failure;
use glue_integration_exporter::toolkit::stderr;
use glue_integration_exporter::{commands, escape, glue, logging};
use std::process::ExitCode;

fn main() -> ExitCode {
    unset_empty_aws_variables();
    let _flush = stderr::Flush;
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() => {
            stderr::write(escape::lines(&error.to_string()).as_bytes());
            return ExitCode::from(2);
        }
        Err(help) => help.exit(),
    };
    logging::start(cli.log.level, cli.log.format);
    let outcome = tokio::runtime::Runtime::new()
        .map_err(|error| Failure::run("starting the runtime", error))
        .and_then(|runtime| {
            let outcome = runtime.block_on(commands::run(cli));
            // Tasks that still run have had their time to finish.
            runtime.shutdown_background();
            glue::aws::kill_credential_processes();
            outcome
        });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// Removes empty AWS variables, such as `${AWS_ENDPOINT_URL:-}` in a Compose file leaves behind. Other AWS tools ignore them, but the SDK
/// uses them as values and panics on some.
fn unset_empty_aws_variables() {
    for (name, value) in std::env::vars_os() {
        if value.is_empty() && name.as_encoded_bytes().starts_with(b"AWS_") {
            #[allow(
                unsafe_code,
                reason = "the SDK reads the process's environment and nothing else"
            )]
            // SAFETY: this is the only thread so far.
            unsafe {
                std::env::remove_var(name);
            }
        }
    }
}
