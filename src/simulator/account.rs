//! The simulated account: its integrations, who sees them, and the listings. No HTTP, no faults.

use super::integration::{SimulatedError, SimulatedIntegration, arn_field};
use super::request::{CREATED, RecordedRequest};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::ops::RangeBounds;
use std::time::Duration;
use tokio::time::Instant;

/// The account of every access key that is not in `Account::accounts`.
pub const DEFAULT_ACCOUNT: &str = "111122223333";
/// AWS does not document the limit of a page.
const MAX_PAGE_SIZE: usize = 100;
/// Duration of the script, which then starts again.
const SCRIPT_DURATION: Duration = Duration::from_secs(600);
const DEMO: &str = include_str!("demo.yaml");

/// The steps of each integration, ordered by time, by ARN.
pub(super) type Script = BTreeMap<String, Vec<Step>>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Demo {
    integrations: Vec<SimulatedIntegration>,
    script: Script,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Step {
    /// Seconds since the start of the script.
    at: u64,
    status: String,
    errors: Option<Vec<SimulatedError>>,
}

pub struct Account {
    pub(super) integrations: BTreeMap<String, SimulatedIntegration>,
    /// The steps of the integrations that still follow the script.
    pub(super) script: Script,
    /// Unix time of the start, in seconds. The samples of CloudWatch depend on it, and by default there are none.
    pub unix_start: f64,
    start: Instant,
    /// Account id by access key id. Other keys belong to the default account.
    pub accounts: BTreeMap<String, String>,
    /// Maximum number of records on a page, at least 1. A request can ask for fewer.
    pub max_page_size: usize,
}

impl Account {
    pub fn of(integrations: Vec<SimulatedIntegration>) -> Self {
        let integrations = integrations
            .into_iter()
            .map(|integration| (integration.arn.clone(), integration.with_defaults()));
        Self {
            integrations: integrations.collect(),
            script: Script::default(),
            unix_start: 0.0,
            start: Instant::now(),
            accounts: BTreeMap::new(),
            max_page_size: MAX_PAGE_SIZE,
        }
    }

    /// Creates the demo account: twelve integrations in eu-west-1 and us-east-1, with every status.
    /// Three of them follow the script, which starts now. `now` is the Unix time in seconds.
    pub fn demo(now: f64) -> Result<Self, serde_yaml::Error> {
        let unix_start = now.floor();
        let mut demo: Demo = serde_yaml::from_str(DEMO)?;
        for integration in &mut demo.integrations {
            integration.shift(unix_start);
        }
        Ok(Self {
            script: demo.script,
            unix_start,
            ..Self::of(demo.integrations)
        })
    }

    /// Creates `count` ACTIVE integrations of the default account in eu-west-1, always the same.
    pub fn generated(count: usize) -> Self {
        let integration = |index: usize| {
            let prefix = |service| format!("arn:aws:{service}:eu-west-1:{DEFAULT_ACCOUNT}");
            let id = format!("{index:08x}-0000-4000-8000-{index:012x}");
            let arn = format!("{}:integration:{id}", prefix("glue"));
            let source = format!("{}:table/table-{index}", prefix("dynamodb"));
            let target = format!("{}:database/database_{}", prefix("glue"), index / 10);
            SimulatedIntegration::new(&arn, &source, &target, "ACTIVE")
        };
        Self::of((0..count).map(integration).collect())
    }

    pub(super) fn advance(&mut self) {
        let elapsed = self.start.elapsed().as_secs();
        let second = elapsed % SCRIPT_DURATION.as_secs();
        for (arn, steps) in &self.script {
            let present = steps.iter().rev().find(|step| step.at <= second);
            let (Some(integration), Some(step)) = (self.integrations.get_mut(arn), present) else {
                continue;
            };
            integration.status.clone_from(&step.status);
            integration.errors.clone_from(&step.errors);
            // An integration that starts as CREATING is created again in each cycle.
            if steps[0].status == "CREATING" {
                let cycle_start = Duration::from_secs(elapsed - second);
                integration.create_time = self.unix_start + cycle_start.as_secs_f64();
            }
        }
    }

    /// Returns the present Unix time in seconds.
    pub(super) fn unix_now(&self) -> i64 {
        #[allow(clippy::cast_possible_truncation, reason = "`as` saturates")]
        let unix_start = self.unix_start as i64;
        unix_start.saturating_add_unsigned(self.start.elapsed().as_secs())
    }

    /// Returns the id of the account that the access key belongs to.
    pub(super) fn account_id(&self, access_key_id: &str) -> &str {
        let account = self.accounts.get(access_key_id);
        account.map_or(DEFAULT_ACCOUNT, String::as_str)
    }

    /// Returns the integrations whose ARN is in the range and that the request may see, ordered by ARN.
    pub(super) fn visible(
        &self,
        request: &RecordedRequest,
        arns: impl RangeBounds<str>,
    ) -> impl Iterator<Item = &SimulatedIntegration> {
        let account = self.account_id(&request.access_key_id);
        let is_visible = move |found: &&SimulatedIntegration| {
            let [region, target_account] = found.region_and_account();
            let owner = match request.operation {
                CREATED => arn_field(&found.arn, 4),
                _ => target_account,
            };
            owner == Some(account) && region == Some(&request.region)
        };
        let found = self.integrations.range::<str, _>(arns);
        found.map(|(_, found)| found).filter(is_visible)
    }
}
