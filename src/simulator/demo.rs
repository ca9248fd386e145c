//! The demo account, from the file `demo.yaml`.

use super::integration::{SimulatedError, SimulatedIntegration};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// Duration of the script, which then starts again.
pub(super) const SCRIPT_DURATION: Duration = Duration::from_secs(600);

/// The times of creation in it are relative to the start.
pub(super) const DEMO: &str = include_str!("demo.yaml");

/// The steps of each integration, ordered by time, by ARN.
pub(super) type Script = BTreeMap<String, Vec<Step>>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Demo {
    pub integrations: Vec<SimulatedIntegration>,
    pub script: Script,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Step {
    /// Seconds since the start of the script.
    pub at: u64,
    pub status: String,
    pub errors: Option<Vec<SimulatedError>>,
}
