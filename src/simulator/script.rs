//! The story that the demo world tells: which status and errors some of its integrations have at a
//! moment. A pure function of the time since the start. It repeats every ten minutes, and something
//! changes about every minute.

use std::time::Duration;

/// Length of the story; afterwards it starts again.
pub const CYCLE: Duration = Duration::from_secs(600);

/// Integrations of the demo world that follow the story.
pub(super) const ORDERS: &str =
    "arn:aws:glue:eu-west-1:111122223333:integration:0c5e6f0a-3d0b-4c7a-9a51-5b1f0e6d7a01";
pub(super) const SALESFORCE: &str =
    "arn:aws:glue:eu-west-1:111122223333:integration:1b7d2c94-8e1f-4f0e-b7a3-2c9d4e5f6a02";
pub(super) const CUSTOMERS: &str =
    "arn:aws:glue:eu-west-1:111122223333:integration:2a9f4b18-6c3d-4d2b-8e05-7f8a9b0c1d03";

/// One moment of one integration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Script {
    pub status: &'static str,
    /// (code, message); empty when AWS would list no errors.
    pub errors: &'static [(&'static str, &'static str)],
    /// When the integration was created, counted from the start of the simulation; `None` if long
    /// before.
    pub created: Option<Duration>,
}

struct Step {
    /// Seconds from the start of the cycle.
    from: u64,
    status: &'static str,
    errors: &'static [(&'static str, &'static str)],
}

const fn beat(
    from: u64,
    status: &'static str,
    errors: &'static [(&'static str, &'static str)],
) -> Step {
    Step {
        from,
        status,
        errors,
    }
}

const POINT_IN_TIME: (&str, &str) = (
    "AccessDenied",
    "Glue could not export the table orders: point-in-time recovery is not enabled, or its resource policy denies \
     dynamodb:ExportTableToPointInTime.",
);
const TOKEN: (&str, &str) = (
    "InvalidCredentials",
    "The OAuth refresh token of the connection was rejected by the source.",
);
const OBJECT: (&str, &str) = (
    "SourceEntityNotFound",
    "The object Opportunity is not visible to the connection's user.",
);
const THROTTLED: (&str, &str) = (
    "TargetThrottled",
    "Writing to the target namespace was throttled and is retried.",
);

/// Each list starts at second 0 and is in order of time.
const BEATS: [(&str, &[Step]); 3] = [
    (
        ORDERS,
        &[
            beat(0, "CREATING", &[]),
            beat(60, "ACTIVE", &[]),
            beat(180, "NEEDS_ATTENTION", &[POINT_IN_TIME]),
            beat(300, "SYNCING", &[]),
            beat(420, "ACTIVE", &[]),
        ],
    ),
    (
        SALESFORCE,
        &[
            beat(0, "ACTIVE", &[]),
            beat(120, "ACTIVE", &[TOKEN]),
            beat(240, "FAILED", &[TOKEN]),
            beat(360, "FAILED", &[TOKEN, OBJECT]),
            beat(540, "ACTIVE", &[]),
        ],
    ),
    (
        CUSTOMERS,
        &[
            beat(0, "ACTIVE", &[]),
            beat(30, "ACTIVE", &[THROTTLED]),
            beat(90, "ACTIVE", &[]),
            beat(480, "ACTIVE", &[THROTTLED]),
            beat(570, "ACTIVE", &[]),
        ],
    ),
];

/// What the integration `arn` is like `elapsed` after the start; `None` for one that has no part in
/// the story.
pub fn script_of(arn: &str, elapsed: Duration) -> Option<Script> {
    let (_, beats) = BEATS.iter().find(|(of, _)| *of == arn)?;
    let cycle = elapsed.as_secs() / CYCLE.as_secs();
    let second = elapsed.as_secs() % CYCLE.as_secs();
    let beat = beats.iter().rev().find(|beat| beat.from <= second)?;
    // Who is being created was created just now: the age starts again with each cycle.
    let created = beats.first().filter(|first| first.status == "CREATING");
    let created = created.map(|_| Duration::from_secs(cycle.saturating_mul(CYCLE.as_secs())));
    Some(Script {
        status: beat.status,
        errors: beat.errors,
        created,
    })
}

/// The ARNs of the integrations that follow the story.
pub(super) fn actors() -> impl Iterator<Item = &'static str> {
    BEATS.iter().map(|(arn, _)| *arn)
}
