//! The simulated account: its integrations, the callers that can see them, and the listings. It is
//! independent of HTTP and of faults. The caller passes in the time.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::integration::{SimulatedError, SimulatedIntegration};
use super::{demo, script};

/// The account of every access key that `Account::with_account` did not assign.
pub const DEFAULT_ACCOUNT: &str = "111122223333";

/// The behaviour of the simulated service where AWS documents none.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Number of records on a page if the request has no `MaxRecords`. At least 1.
    pub page_size: usize,
    /// Upper limit of `MaxRecords`; larger values are reduced to it. At least 1.
    pub max_page_size: usize,
    /// Error code for an `IntegrationArn` that does not exist; `None` returns an empty list.
    pub unknown_integration: Option<String>,
    /// Error code for a `TargetArn` without integrations; `None` returns an empty list.
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

/// The account and region that a request was signed for.
pub(super) struct Caller {
    pub account: String,
    pub region: String,
}

/// The integrations of any number of AWS accounts and regions, with the script and the rules.
pub struct Account {
    integrations: BTreeMap<String, SimulatedIntegration>,
    /// ARNs of the integrations that still follow the script.
    scripted: BTreeSet<&'static str>,
    /// Unix time of the start of the script, in seconds.
    script_start: f64,
    elapsed: Arc<dyn Fn() -> Duration + Send + Sync>,
    /// Account id by access key id.
    accounts: BTreeMap<String, String>,
    pub rules: Rules,
}

impl Account {
    /// Creates an account without a script. Of two integrations with the same ARN, the last one is
    /// kept.
    pub fn of(integrations: Vec<SimulatedIntegration>) -> Self {
        let start = Instant::now();
        Self {
            integrations: integrations
                .into_iter()
                .map(|integration| (integration.arn.clone(), integration))
                .collect(),
            scripted: BTreeSet::new(),
            script_start: 0.0,
            elapsed: Arc::new(move || start.elapsed()),
            accounts: BTreeMap::new(),
            rules: Rules::default(),
        }
    }

    /// Creates the demo account: twelve integrations in eu-west-1 and us-east-1, with every status.
    /// Three of them follow the script, which starts now. `now` is the Unix time in seconds.
    pub fn demo(now: f64) -> Self {
        let script_start = now.floor();
        Self {
            scripted: script::actors().collect(),
            script_start,
            ..Self::of(demo::integrations(script_start))
        }
    }

    /// Creates `count` ACTIVE integrations of the default account in eu-west-1. Every call returns
    /// the same ones.
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

    /// Replaces the clock of the script. `elapsed` returns the time since the start.
    pub fn with_elapsed(self, elapsed: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        Self {
            elapsed: Arc::new(elapsed),
            ..self
        }
    }

    /// Assigns an access key id to an account. All other keys belong to `DEFAULT_ACCOUNT`.
    pub fn with_account(mut self, access_key_id: &str, account: &str) -> Self {
        self.accounts
            .insert(access_key_id.to_owned(), account.to_owned());
        self
    }

    /// Replaces the rules.
    pub fn with_rules(self, rules: Rules) -> Self {
        Self { rules, ..self }
    }

    pub(super) fn account_of(&self, access_key_id: &str) -> &str {
        self.accounts
            .get(access_key_id)
            .map_or(DEFAULT_ACCOUNT, String::as_str)
    }

    /// Updates the integrations that follow the script to their present state.
    pub(super) fn advance(&mut self) {
        let elapsed = (self.elapsed)();
        for arn in &self.scripted {
            let (Some(integration), Some(state)) = (
                self.integrations.get_mut(*arn),
                script::scripted_state(arn, elapsed),
            ) else {
                continue;
            };
            let errors = || {
                state
                    .errors
                    .iter()
                    .map(|(code, message)| SimulatedError::new(code, message))
                    .collect()
            };
            integration.status = state.status.to_owned();
            integration.errors = (!state.errors.is_empty()).then(errors);
            if let Some(created) = state.created {
                integration.create_time = self.script_start + created.as_secs_f64();
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
        self.scripted.remove(integration.arn.as_str());
        self.integrations
            .insert(integration.arn.clone(), integration);
    }

    pub(super) fn remove(&mut self, arn: &str) -> bool {
        self.scripted.remove(arn);
        self.integrations.remove(arn).is_some()
    }

    pub(super) fn clear(&mut self) {
        self.scripted.clear();
        self.integrations.clear();
    }

    /// Changes one integration, which then no longer follows the script. Returns `false` if there is
    /// no integration with this ARN.
    pub(super) fn change(
        &mut self,
        arn: &str,
        change: impl FnOnce(&mut SimulatedIntegration),
    ) -> bool {
        self.scripted.remove(arn);
        self.integrations.get_mut(arn).map(change).is_some()
    }

    /// Returns the integration if it is inbound to the caller's account and region.
    pub(super) fn inbound(&self, caller: &Caller, arn: &str) -> Option<&SimulatedIntegration> {
        self.integrations
            .get(arn)
            .filter(|found| found.account == caller.account && found.region == caller.region)
    }

    /// Returns the integration if the caller's account created it in this region.
    pub(super) fn created(&self, caller: &Caller, arn: &str) -> Option<&SimulatedIntegration> {
        self.integrations
            .get(arn)
            .filter(|found| found.creator() == caller.account && found.region == caller.region)
    }

    /// Returns the caller's inbound integrations with an ARN greater than `after`, ordered by ARN.
    /// `target_arn` restricts them to one target.
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

    /// Returns the integrations that the caller's account created, with an ARN greater than `after`,
    /// ordered by ARN.
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
