//! What the soak is exposed to: two accounts that change by chance, and the weather between them and each scope.

use glue_integration_exporter::clock::{Clock, Timestamp};
use glue_integration_exporter::config::Query;
use glue_integration_exporter::glue::metadata::{MetadataPage, MetadataRequest, NamesFuture};
use glue_integration_exporter::glue::{Glue, GlueError, Page, PageFuture, PageRequest, Reason};
use glue_integration_exporter::snapshot::{Integration, Status};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::{Instant, advance, sleep};

use super::support::account::{arn, integration};

/// Listings are of so many pages that failures hit their middle.
const PAGE: usize = 3;

/// Chance with a seed (SplitMix64).
#[derive(Debug)]
pub struct Dice(u64);

impl Dice {
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

/// An account of AWS. Each change of an integration is a new revision of it, so that no two of its values are alike.
pub struct FakeAccount(Mutex<State>);

struct State {
    integrations: BTreeMap<String, Integration>,
    created: usize,
    /// The number of its first integration: none is in two accounts.
    first: usize,
    /// Every value that any integration ever had, by its revision: the number in its ARN, and its status.
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

    /// How many integrations there have been.
    pub fn created(&self) -> usize {
        self.0.lock().unwrap().created
    }

    /// Whether this was, at any time, an integration of the account.
    pub fn had(&self, integration: &Integration) -> bool {
        let revision = integration.refresh_interval.unwrap_or_default().as_secs();
        let place = usize::try_from(revision).unwrap();
        let value = (number(&integration.arn), integration.status);
        self.0.lock().unwrap().history.get(place) == Some(&value)
    }

    /// One comes, goes or changes; or nothing happens.
    pub fn change(&self, dice: &mut Dice) {
        let mut state = self.0.lock().unwrap();
        match dice.below(12) {
            0 => state.remove_any(dice),
            1..4 => {
                // Some come back under the ARN that they had, since scopes name them.
                let arn = if dice.one_in(2) {
                    arn(state.first + dice.below(5))
                } else {
                    arn(state.first + 1000 + state.created)
                };
                if state.integrations.len() >= 8 {
                    state.remove_any(dice);
                }
                if !state.integrations.contains_key(&arn) {
                    state.created += 1;
                    state.put(&arn, dice);
                }
            }
            4..7 => state.change_any(dice),
            _ => {}
        }
    }
}

impl State {
    fn any(&self, dice: &mut Dice) -> Option<String> {
        let place = dice.below(self.integrations.len().max(1));
        self.integrations.keys().nth(place).cloned()
    }

    fn remove_any(&mut self, dice: &mut Dice) {
        if let Some(arn) = self.any(dice) {
            self.integrations.remove(&arn);
        }
    }

    fn change_any(&mut self, dice: &mut Dice) {
        if let Some(arn) = self.any(dice) {
            self.put(&arn, dice);
        }
    }

    fn put(&mut self, arn: &str, dice: &mut Dice) {
        let status = Status::ALL[dice.below(Status::ALL.len())];
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

/// The number in the ARN of an integration.
fn number(arn: &str) -> usize {
    let (_, number) = arn.rsplit_once('-').unwrap();
    number.parse().unwrap()
}

/// What becomes of requests.
#[derive(Clone, Copy, Debug)]
pub enum Weather {
    Fair,
    /// Some fail, some hang, some are not whole.
    Patchy,
    Throttled,
    /// Nothing gets through.
    Outage,
}

impl Weather {
    pub fn draw(dice: &mut Dice) -> Self {
        [
            Self::Fair,
            Self::Fair,
            Self::Patchy,
            Self::Throttled,
            Self::Outage,
        ][dice.below(5)]
    }
}

enum Fate {
    Answer,
    WithoutArn,
    Fail(Reason),
    Hang,
}

/// A page that a scope got.
#[derive(Clone, Debug)]
pub struct Reply {
    pub query: Query,
    pub at: Timestamp,
    pub integrations: Vec<Arc<Integration>>,
    pub last: bool,
    /// An item had no ARN, so the listing lacks something.
    pub lacks: bool,
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
            if self.lacks { " lacks" } else { "" },
        ];
        f.write_str(&end.concat())
    }
}

/// An account as one scope sees it. Keeps what it answered.
pub struct View {
    account: Arc<FakeAccount>,
    dice: Mutex<Dice>,
    weather: Mutex<Weather>,
    clock: Clock,
    replies: Mutex<Vec<Reply>>,
}

impl View {
    pub fn new(account: &Arc<FakeAccount>, dice: Dice, clock: Clock) -> Arc<Self> {
        Arc::new(Self {
            account: Arc::clone(account),
            dice: Mutex::new(dice),
            weather: Mutex::new(Weather::Fair),
            clock,
            replies: Mutex::default(),
        })
    }

    pub fn set(&self, weather: Weather) {
        *self.weather.lock().unwrap() = weather;
    }

    pub fn take(&self) -> Vec<Reply> {
        std::mem::take(&mut *self.replies.lock().unwrap())
    }

    /// Of a poll that was stopped.
    pub fn drop_deleted(&self) {
        self.take();
    }

    fn fate(&self) -> (Fate, Duration) {
        let mut dice = self.dice.lock().unwrap();
        let reasons = [
            Reason::Network,
            Reason::ServerError,
            Reason::AccessDenied,
            Reason::InvalidResponse,
        ];
        let reason = reasons[dice.below(reasons.len())];
        let fate = match (*self.weather.lock().unwrap(), dice.below(10)) {
            (Weather::Patchy, 0..2) | (Weather::Outage, 0..7) => Fate::Fail(reason),
            (Weather::Patchy, 2) | (Weather::Outage, _) => Fate::Hang,
            (Weather::Patchy, 3) => Fate::WithoutArn,
            (Weather::Throttled, 0..8) => Fate::Fail(Reason::Throttled),
            (Weather::Fair | Weather::Patchy | Weather::Throttled, _) => Fate::Answer,
        };
        let slow = dice
            .one_in(4)
            .then(|| Duration::from_millis(dice.below(4000) as u64));
        (fate, slow.unwrap_or_default())
    }

    async fn answer(&self, request: PageRequest<'_>) -> Result<Page, GlueError> {
        let (fate, slow) = self.fate();
        sleep(slow).await;
        // No two answers at the same moment: which of them is right could not be told.
        next_moment().await;
        let lacks = match fate {
            Fate::Fail(reason) => return Err(GlueError::new(reason, "bad weather")),
            Fate::Hang => std::future::pending().await,
            Fate::WithoutArn => true,
            Fate::Answer => false,
        };
        let mut state = self.account.0.lock().unwrap();
        let mut dice = self.dice.lock().unwrap();
        let of_query = |integration: &&Integration| match request.query {
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
            .take(PAGE)
            .cloned()
            .collect();
        let last = integrations.len() < PAGE;
        let marker = (!last).then(|| integrations[PAGE - 1].arn.clone());
        // What changed while its listing was under way comes a second time.
        let first = state
            .integrations
            .values()
            .find(of_query)
            .map(|first| first.arn.clone());
        if request.marker.is_some()
            && dice.one_in(10)
            && let Some(first) = first
        {
            state.put(&first, &mut dice);
            integrations.push(state.integrations[&first].clone());
        }
        self.replies.lock().unwrap().push(Reply {
            query: request.query.clone(),
            at: self.clock.now(),
            integrations: integrations.iter().cloned().map(Arc::new).collect(),
            last,
            lacks,
        });
        Ok(Page {
            integrations,
            without_arn: usize::from(lacks),
            marker,
        })
    }
}

impl Glue for View {
    fn page<'a>(&'a self, request: PageRequest<'a>) -> PageFuture<'a> {
        Box::pin(async move {
            tokio::time::timeout(request.context.deadline.per_request(), self.answer(request))
                .await
                .unwrap_or_else(|_| Err(GlueError::new(Reason::Timeout, "it hangs")))
        })
    }

    fn names<'a>(&'a self, _request: MetadataRequest<'a>) -> NamesFuture<'a> {
        Box::pin(std::future::ready(Ok(MetadataPage::default())))
    }
}

thread_local! {
    /// The moment of the last answer; each soak has a thread, and a clock, of its own.
    static LAST: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Returns at a moment that no other answer has.
async fn next_moment() {
    while LAST.get().is_some_and(|last| last >= Instant::now()) {
        advance(Duration::from_micros(10)).await;
    }
    LAST.set(Some(Instant::now()));
}
