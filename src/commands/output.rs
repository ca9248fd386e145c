//! The output of a command, and the exit code of its failure.

use crate::config::ConfigErrors;
use crate::escape;
use crate::shard::ShardError;
use crate::toolkit::stderr;
use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

/// Why a command failed. Each kind has its exit code.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    #[error("glue-integration-exporter: {0}")]
    Shard(#[from] ShardError),
    #[error("glue-integration-exporter: {attempted}: {cause}")]
    Run { attempted: String, cause: String },
    #[error("")]
    AlreadyReported,
}

impl Failure {
    pub fn run(attempted: impl Into<String>, cause: impl Display) -> Self {
        Self::Run {
            attempted: attempted.into(),
            cause: cause.to_string(),
        }
    }

    pub fn report(&self) -> ExitCode {
        if !matches!(self, Self::AlreadyReported) {
            stderr::write(format!("{}\n", escape::lines(&self.to_string())).as_bytes());
        }
        match self {
            Self::Config(_) | Self::Shard(_) => ExitCode::from(2),
            Self::Run { .. } | Self::AlreadyReported => ExitCode::FAILURE,
        }
    }
}

/// Prints text for people, or JSON, with control characters escaped.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    print_unescaped(escape::lines(text).as_bytes())
}

pub(super) fn print_unescaped(text: &[u8]) -> Result<(), Failure> {
    let written = io::stdout().write_all(text);
    written.map_err(|error| Failure::run("writing to stdout", error))
}
