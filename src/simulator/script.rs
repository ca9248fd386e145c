//! The script of the demo account: the status and errors of some integrations, as a pure function of
//! the time since the start. It repeats every ten minutes, and something changes about every minute.

use std::time::Duration;

/// Duration of the script, which then starts again.
pub const SCRIPT_DURATION: Duration = Duration::from_secs(600);

// The integrations of the demo account that follow the script.
pub(super) const ORDERS: &str =
    "arn:aws:glue:eu-west-1:111122223333:integration:0c5e6f0a-3d0b-4c7a-9a51-5b1f0e6d7a01";
pub(super) const SALESFORCE: &str =
    "arn:aws:glue:eu-west-1:111122223333:integration:1b7d2c94-8e1f-4f0e-b7a3-2c9d4e5f6a02";
pub(super) const CUSTOMERS: &str =
    "arn:aws:glue:eu-west-1:111122223333:integration:2a9f4b18-6c3d-4d2b-8e05-7f8a9b0c1d03";

/// The state of one integration at one moment of the script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScriptedState {
    pub status: &'static str,
    /// (code, message) of each error.
    pub errors: &'static [(&'static str, &'static str)],
    /// Time of creation since the start of the simulation; `None` if the integration is older.
    pub created: Option<Duration>,
}

struct Step {
    /// Seconds since the start of the script.
    starts_at: u64,
    status: &'static str,
    errors: &'static [(&'static str, &'static str)],
}

const fn step(
    starts_at: u64,
    status: &'static str,
    errors: &'static [(&'static str, &'static str)],
) -> Step {
    Step {
        starts_at,
        status,
        errors,
    }
}

const EXPORT_DENIED: (&str, &str) = (
    "AccessDenied",
    "Glue could not export the table orders: point-in-time recovery is not enabled, or its resource policy denies \
     dynamodb:ExportTableToPointInTime.",
);
const INVALID_TOKEN: (&str, &str) = (
    "InvalidCredentials",
    "The OAuth refresh token of the connection was rejected by the source.",
);
const OBJECT_NOT_FOUND: (&str, &str) = (
    "SourceEntityNotFound",
    "The object Opportunity is not visible to the connection's user.",
);
const THROTTLED: (&str, &str) = (
    "TargetThrottled",
    "Writing to the target namespace was throttled and is retried.",
);

/// The steps of each integration, ordered by time. The first one starts at second 0.
const STEPS: [(&str, &[Step]); 3] = [
    (
        ORDERS,
        &[
            step(0, "CREATING", &[]),
            step(60, "ACTIVE", &[]),
            step(180, "NEEDS_ATTENTION", &[EXPORT_DENIED]),
            step(300, "SYNCING", &[]),
            step(420, "ACTIVE", &[]),
        ],
    ),
    (
        SALESFORCE,
        &[
            step(0, "ACTIVE", &[]),
            step(120, "ACTIVE", &[INVALID_TOKEN]),
            step(240, "FAILED", &[INVALID_TOKEN]),
            step(360, "FAILED", &[INVALID_TOKEN, OBJECT_NOT_FOUND]),
            step(540, "ACTIVE", &[]),
        ],
    ),
    (
        CUSTOMERS,
        &[
            step(0, "ACTIVE", &[]),
            step(30, "ACTIVE", &[THROTTLED]),
            step(90, "ACTIVE", &[]),
            step(480, "ACTIVE", &[THROTTLED]),
            step(570, "ACTIVE", &[]),
        ],
    ),
];

/// Returns the state of an integration at `elapsed` after the start, or `None` if the integration
/// does not follow the script.
pub fn scripted_state(arn: &str, elapsed: Duration) -> Option<ScriptedState> {
    let (_, steps) = STEPS.iter().find(|(actor, _)| *actor == arn)?;
    let cycle = elapsed.as_secs() / SCRIPT_DURATION.as_secs();
    let second = elapsed.as_secs() % SCRIPT_DURATION.as_secs();
    let step = steps.iter().rev().find(|step| step.starts_at <= second)?;
    // An integration that starts as CREATING is created again in each cycle, so its age restarts.
    let created = steps.first().filter(|first| first.status == "CREATING");
    let created =
        created.map(|_| Duration::from_secs(cycle.saturating_mul(SCRIPT_DURATION.as_secs())));
    Some(ScriptedState {
        status: step.status,
        errors: step.errors,
        created,
    })
}

/// Returns the ARNs of the integrations that follow the script.
pub(super) fn actors() -> impl Iterator<Item = &'static str> {
    STEPS.iter().map(|(arn, _)| *arn)
}
