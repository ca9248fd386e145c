//! The simulated account: its integrations, who may see which, and what a listing returns. Knows
//! nothing of HTTP or of faults. Time comes in: `demo` is given the wall clock, the story the time
//! since the start.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::integration::{SimulatedError, SimulatedIntegration};
use super::{demo, script};

/// The account that access keys of no other account belong to.
pub const DEFAULT_ACCOUNT: &str = "111122223333";

/// What the simulated service does where AWS documents nothing.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Records of a page when the request has no `MaxRecords`. At least 1.
    pub page_size: usize,
    /// A larger `MaxRecords` is taken as this. At least 1.
    pub max_page_size: usize,
    /// The error for an `IntegrationArn` that there is not; `None` answers with an empty list.
    pub unknown_integration: Option<String>,
    /// The error for a `TargetArn` that nothing writes into; `None` answers with an empty list.
    pub unknown_target: Option<String>,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            page_size: 100,
            max_page_size: 100,
            unknown_integration: Some("IntegrationNotFoundFault".to_owned()),
            unknown_target: None,
        }
    }
}

/// Who asks, and from where.
pub(super) struct Caller {
    pub account: String,
    pub region: String,
}

/// All that the simulator has: integrations of any number of accounts and regions, and what it does
/// with them.
pub struct Account {
    integrations: BTreeMap<String, SimulatedIntegration>,
    /// ARNs that still follow the story.
    in_story: BTreeSet<&'static str>,
    /// Epoch seconds of the start of the story.
    began: f64,
    elapsed: Arc<dyn Fn() -> Duration + Send + Sync>,
    accounts: BTreeMap<String, String>,
    pub rules: Rules,
}

impl Account {
    /// A world in which nothing moves by itself. The last of two integrations with one ARN stays.
    pub fn of(integrations: Vec<SimulatedIntegration>) -> Self {
        let start = Instant::now();
        Self {
            integrations: integrations
                .into_iter()
                .map(|integration| (integration.arn.clone(), integration))
                .collect(),
            in_story: BTreeSet::new(),
            began: 0.0,
            elapsed: Arc::new(move || start.elapsed()),
            accounts: BTreeMap::new(),
            rules: Rules::default(),
        }
    }

    /// Twelve integrations of the default account in eu-west-1 and us-east-1, in every status;
    /// three of them follow the story, which starts now. `now` is the wall clock, which the times
    /// of creation are counted back from, in Unix seconds.
    pub fn demo(now: f64) -> Self {
        let began = now.floor();
        Self {
            in_story: script::actors().collect(),
            began,
            ..Self::of(demo::integrations(began))
        }
    }

    /// `count` ACTIVE integrations of the default account in eu-west-1, the same at each call.
    pub fn generated(count: usize) -> Self {
        let integration = |index: usize| {
            let prefix = |service| format!("arn:aws:{service}:eu-west-1:{DEFAULT_ACCOUNT}");
            SimulatedIntegration::new(
                &format!(
                    "{}:integration:{index:08x}-0000-4000-8000-{index:012x}",
                    prefix("glue")
                ),
                &format!("{}:table/table-{index}", prefix("dynamodb")),
                &format!("{}:database/database_{}", prefix("glue"), index / 10),
                "ACTIVE",
            )
        };
        Self::of((0..count).map(integration).collect())
    }

    /// The same world, its story told by another clock: `elapsed` returns the time since the start.
    pub fn with_elapsed(self, elapsed: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        Self {
            elapsed: Arc::new(elapsed),
            ..self
        }
    }

    /// Requests signed with this access key id are of this account. All other keys are of
    /// `DEFAULT_ACCOUNT`.
    pub fn with_account(mut self, access_key_id: &str, account: &str) -> Self {
        self.accounts
            .insert(access_key_id.to_owned(), account.to_owned());
        self
    }

    /// The same world with other rules.
    pub fn with_rules(self, rules: Rules) -> Self {
        Self { rules, ..self }
    }

    pub(super) fn account_of(&self, access_key_id: &str) -> &str {
        self.accounts
            .get(access_key_id)
            .map_or(DEFAULT_ACCOUNT, String::as_str)
    }

    /// Brings the integrations that follow the story to where it is now.
    pub(super) fn advance(&mut self) {
        let elapsed = (self.elapsed)();
        for arn in &self.in_story {
            let (Some(integration), Some(script_of)) = (
                self.integrations.get_mut(*arn),
                script::script_of(arn, elapsed),
            ) else {
                continue;
            };
            let errors = || {
                script_of
                    .errors
                    .iter()
                    .map(|(code, message)| SimulatedError::new(code, message))
                    .collect()
            };
            integration.status = script_of.status.to_owned();
            integration.errors = (!script_of.errors.is_empty()).then(errors);
            if let Some(created) = script_of.created {
                integration.create_time = self.began + created.as_secs_f64();
            }
        }
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &SimulatedIntegration> {
        self.integrations.values()
    }

    pub(super) fn len(&self) -> usize {
        self.integrations.len()
    }

    pub(super) fn put(&mut self, integration: SimulatedIntegration) {
        self.in_story.remove(integration.arn.as_str());
        self.integrations
            .insert(integration.arn.clone(), integration);
    }

    pub(super) fn remove(&mut self, arn: &str) -> bool {
        self.in_story.remove(arn);
        self.integrations.remove(arn).is_some()
    }

    pub(super) fn clear(&mut self) {
        self.in_story.clear();
        self.integrations.clear();
    }

    /// Changes one integration, which then no longer follows the story; `false` if there is none.
    pub(super) fn change(
        &mut self,
        arn: &str,
        change: impl FnOnce(&mut SimulatedIntegration),
    ) -> bool {
        self.in_story.remove(arn);
        self.integrations.get_mut(arn).map(change).is_some()
    }

    /// One integration, if the caller sees it as inbound.
    pub(super) fn inbound(&self, caller: &Caller, arn: &str) -> Option<&SimulatedIntegration> {
        self.integrations
            .get(arn)
            .filter(|found| found.account == caller.account && found.region == caller.region)
    }

    /// One integration, if the caller created it.
    pub(super) fn created(&self, caller: &Caller, arn: &str) -> Option<&SimulatedIntegration> {
        self.integrations
            .get(arn)
            .filter(|found| found.creator() == caller.account && found.region == caller.region)
    }

    /// What the caller sees as inbound, by ARN, after the ARN `after`; `target_arn` narrows it.
    pub(super) fn inbound_after<'a>(
        &'a self,
        caller: &'a Caller,
        target_arn: Option<&'a str>,
        after: Option<&'a str>,
    ) -> impl Iterator<Item = &'a SimulatedIntegration> {
        self.after(after)
            .filter(|found| found.account == caller.account && found.region == caller.region)
            .filter(move |found| target_arn.is_none_or(|target| found.target_arn == target))
    }

    /// What the caller created, by ARN, after the ARN `after`.
    pub(super) fn created_after<'a>(
        &'a self,
        caller: &'a Caller,
        after: Option<&'a str>,
    ) -> impl Iterator<Item = &'a SimulatedIntegration> {
        self.after(after)
            .filter(|found| found.creator() == caller.account && found.region == caller.region)
    }

    fn after<'a>(&'a self, arn: Option<&'a str>) -> impl Iterator<Item = &'a SimulatedIntegration> {
        let start = arn.map_or(Bound::Unbounded, Bound::Excluded);
        self.integrations
            .range::<str, _>((start, Bound::Unbounded))
            .map(|(_, integration)| integration)
    }
}
