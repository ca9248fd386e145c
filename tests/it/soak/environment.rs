//! The environment of the soak test: accounts that change randomly, and network conditions between an account and each scope.

use glue_integration_exporter::clock::{Clock, Timestamp};
use glue_integration_exporter::config::Query;
use glue_integration_exporter::glue::{
    BoxFuture, Described, Glue, GlueError, Page, PageRequest, Reason,
};
use glue_integration_exporter::snapshot::{Integration, Status};
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::{Instant, advance, sleep};

use crate::support::account::{arn, integration};

/// A small page size, so that failures occur in the middle of listings.
const PAGE_SIZE: usize = 3;

/// A random number generator with a seed (SplitMix64).
#[derive(Debug)]
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn fork(&mut self) -> Self {
        Self(self.next())
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    #[allow(clippy::cast_possible_truncation, reason = "below `bound`")]
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }
}

/// A fake AWS account. Each change of an integration is a new revision, so that no two values of an integration are equal.
pub struct FakeAccount(Mutex<State>);

struct State {
    integrations: BTreeMap<String, Integration>,
    created: usize,
    /// The number of the first integration. Accounts share no numbers.
    first: usize,
    /// All values of all integrations, by revision: the number in the ARN, and the status.
    history: Vec<(usize, Status)>,
}

impl FakeAccount {
    pub fn new(first: usize) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State {
            first,
            integrations: BTreeMap::new(),
            created: 0,
            history: Vec::new(),
        })))
    }

    /// Returns the number of integrations created so far.
    pub fn created(&self) -> usize {
        self.0.lock().unwrap().created
    }

    /// Returns true if the account had this value of an integration at any time.
    pub fn had(&self, integration: &Integration) -> bool {
        let revision = integration.refresh_interval.unwrap_or_default().as_secs();
        let place = usize::try_from(revision).unwrap();
        let value = (number(&integration.arn), integration.status);
        self.0.lock().unwrap().history.get(place) == Some(&value)
    }

    /// Creates, deletes or changes an integration, or does nothing.
    pub fn change(&self, rng: &mut Rng) {
        let mut state = self.0.lock().unwrap();
        match rng.below(12) {
            0 => state.remove_any(rng),
            1..4 => {
                // Some have the ARN of a deleted one, because scopes are configured with these ARNs.
                let arn = if rng.one_in(2) {
                    arn(state.first + rng.below(5))
                } else {
                    arn(state.first + 1000 + state.created)
                };
                if state.integrations.len() >= 8 {
                    state.remove_any(rng);
                }
                if !state.integrations.contains_key(&arn) {
                    state.created += 1;
                    state.put(&arn, rng);
                }
            }
            4..7 => state.change_any(rng),
            _ => {}
        }
    }
}

impl State {
    fn any(&self, rng: &mut Rng) -> Option<String> {
        let place = rng.below(self.integrations.len().max(1));
        self.integrations.keys().nth(place).cloned()
    }

    fn remove_any(&mut self, rng: &mut Rng) {
        if let Some(arn) = self.any(rng) {
            self.integrations.remove(&arn);
        }
    }

    fn change_any(&mut self, rng: &mut Rng) {
        if let Some(arn) = self.any(rng) {
            self.put(&arn, rng);
        }
    }

    fn put(&mut self, arn: &str, rng: &mut Rng) {
        let status = Status::ALL[rng.below(Status::ALL.len())];
        let mut put = integration(arn, status);
        let number = number(arn);
        put.target_arn = format!(
            "arn:aws:glue:eu-west-1:111122223333:database/d{}",
            number % 3
        );
        put.refresh_interval = Some(Duration::from_secs(self.history.len() as u64));
        self.history.push((number, status));
        self.integrations.insert(arn.to_owned(), put);
    }
}

/// Returns the number in the ARN of an integration.
fn number(arn: &str) -> usize {
    let (_, number) = arn.rsplit_once('-').unwrap();
    number.parse().unwrap()
}

/// Conditions that decide how requests end.
#[derive(Clone, Copy, Debug)]
pub enum Conditions {
    Healthy,
    /// Some requests fail, some hang, some answers are incomplete.
    Flaky,
    Throttled,
    /// All requests fail or hang.
    Outage,
}

impl Conditions {
    pub fn draw(rng: &mut Rng) -> Self {
        [
            Self::Healthy,
            Self::Healthy,
            Self::Flaky,
            Self::Throttled,
            Self::Outage,
        ][rng.below(5)]
    }
}

enum Outcome {
    Answer,
    WithoutArn,
    Fail(Reason),
    Hang,
}

/// A page that a scope received.
#[derive(Clone, Debug)]
pub struct Reply {
    pub query: Query,
    pub at: Timestamp,
    pub integrations: Vec<Arc<Integration>>,
    pub last: bool,
    /// True if an item had no ARN, so that the listing is incomplete.
    pub incomplete: bool,
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let query = match &self.query {
            Query::Integration(arn) => arn.as_str(),
            Query::Target(arn) => arn.as_str(),
            Query::All => "all",
        };
        write!(
            f,
            "\n    at {:?}: ..{}:",
            self.at.instant,
            &query[query.len().saturating_sub(4)..]
        )?;
        for integration in &self.integrations {
            let (arn, status) = (&integration.arn, integration.status);
            write!(f, " {}={}", &arn[arn.len() - 4..], status.as_str())?;
        }
        let end = [
            if self.last { " last" } else { "" },
            if self.incomplete { " incomplete" } else { "" },
        ];
        f.write_str(&end.concat())
    }
}

/// The connection of a scope to an account. Records the replies.
pub struct View {
    account: Arc<FakeAccount>,
    rng: Mutex<Rng>,
    conditions: Mutex<Conditions>,
    clock: Clock,
    replies: Mutex<Vec<Reply>>,
}

impl View {
    pub fn new(account: &Arc<FakeAccount>, rng: Rng, clock: Clock) -> Arc<Self> {
        Arc::new(Self {
            account: Arc::clone(account),
            rng: Mutex::new(rng),
            conditions: Mutex::new(Conditions::Healthy),
            clock,
            replies: Mutex::default(),
        })
    }

    pub fn set(&self, conditions: Conditions) {
        *self.conditions.lock().unwrap() = conditions;
    }

    pub fn take(&self) -> Vec<Reply> {
        std::mem::take(&mut *self.replies.lock().unwrap())
    }

    /// Drops the replies to a stopped poll.
    pub fn discard(&self) {
        self.take();
    }

    fn outcome(&self) -> (Outcome, Duration) {
        let mut rng = self.rng.lock().unwrap();
        let reasons = [
            Reason::Network,
            Reason::ServerError,
            Reason::AccessDenied,
            Reason::InvalidResponse,
        ];
        let reason = reasons[rng.below(reasons.len())];
        let outcome = match (*self.conditions.lock().unwrap(), rng.below(10)) {
            (Conditions::Flaky, 0..2) | (Conditions::Outage, 0..7) => Outcome::Fail(reason),
            (Conditions::Flaky, 2) | (Conditions::Outage, _) => Outcome::Hang,
            (Conditions::Flaky, 3) => Outcome::WithoutArn,
            (Conditions::Throttled, 0..8) => Outcome::Fail(Reason::Throttled),
            (Conditions::Healthy | Conditions::Flaky | Conditions::Throttled, _) => Outcome::Answer,
        };
        let delay = rng
            .one_in(4)
            .then(|| Duration::from_millis(rng.below(4000) as u64));
        (outcome, delay.unwrap_or_default())
    }

    async fn answer(
        &self,
        query: &Query,
        request: PageRequest<'_>,
    ) -> Result<Page<Integration>, GlueError> {
        let (outcome, delay) = self.outcome();
        sleep(delay).await;
        // No two answers have the same time, because the order decides which is right.
        next_unique_instant().await;
        let incomplete = match outcome {
            Outcome::Fail(reason) => return Err(GlueError::new(reason, "simulated failure")),
            Outcome::Hang => std::future::pending().await,
            Outcome::WithoutArn => true,
            Outcome::Answer => false,
        };
        let mut state = self.account.0.lock().unwrap();
        let mut rng = self.rng.lock().unwrap();
        let of_query = |integration: &&Integration| match query {
            Query::Integration(arn) => integration.arn == arn.as_str(),
            Query::Target(arn) => integration.target_arn == arn.as_str(),
            Query::All => true,
        };
        let after = request.marker.unwrap_or_default();
        let mut integrations: Vec<Integration> = state
            .integrations
            .values()
            .filter(of_query)
            .filter(|integration| integration.arn.as_str() > after)
            .take(PAGE_SIZE)
            .cloned()
            .collect();
        let last = integrations.len() < PAGE_SIZE;
        let marker = (!last).then(|| integrations[PAGE_SIZE - 1].arn.clone());
        // An integration that changes during a listing appears a second time.
        let first = state
            .integrations
            .values()
            .find(of_query)
            .map(|first| first.arn.clone());
        if request.marker.is_some()
            && rng.one_in(10)
            && let Some(first) = first
        {
            state.put(&first, &mut rng);
            integrations.push(state.integrations[&first].clone());
        }
        self.replies.lock().unwrap().push(Reply {
            query: query.clone(),
            at: self.clock.now(),
            integrations: integrations.iter().cloned().map(Arc::new).collect(),
            last,
            incomplete,
        });
        Ok(Page {
            items: integrations,
            without_arn: usize::from(incomplete),
            marker,
        })
    }
}

impl Glue for View {
    fn page<'a>(
        &'a self,
        query: &'a Query,
        request: PageRequest<'a>,
    ) -> BoxFuture<'a, Result<Page<Integration>, GlueError>> {
        Box::pin(async move {
            tokio::time::timeout(
                request.context.deadline.request_timeout(),
                self.answer(query, request),
            )
            .await
            .unwrap_or_else(|_| Err(GlueError::new(Reason::Timeout, "the request hangs")))
        })
    }

    fn metadata_page<'a>(
        &'a self,
        _tags: &'a BTreeSet<String>,
        _request: PageRequest<'a>,
    ) -> BoxFuture<'a, Result<Page<Described>, GlueError>> {
        Box::pin(std::future::ready(Ok(Page::last(Vec::new()))))
    }
}

thread_local! {
    /// The time of the last answer. Each soak has its own thread and clock.
    static LAST: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Waits until a time that no other answer has.
async fn next_unique_instant() {
    while LAST.get().is_some_and(|last| last >= Instant::now()) {
        advance(Duration::from_micros(10)).await;
    }
    LAST.set(Some(Instant::now()));
}
