//! A fake AWS account that implements the `Glue` trait, for tests with a paused clock. It answers, hangs or fails as configured.

use glue_integration_exporter::clock::Clock;
use glue_integration_exporter::config::{Config, Query, ScopeRegion};
use glue_integration_exporter::exposition::text_format::Format;
use glue_integration_exporter::glue::{
    BoxFuture, Described, Glue, GlueError, Page, PageRequest, Reason,
};
use glue_integration_exporter::http::routes::Routes;
use glue_integration_exporter::poll::Poller;
use glue_integration_exporter::publisher::Publisher;
use glue_integration_exporter::snapshot::{Description, Integration, Status};
use glue_integration_exporter::telemetry::Telemetry;
use glue_integration_exporter::toolkit::watchdog::Watchdog;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The start of the wall clock in tests, a Sunday in November 2026.
pub const START: f64 = 1_795_300_000.0;

/// How the account handles a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Behaviour {
    Answer,
    /// Answers after this delay.
    Slow(Duration),
    Hang,
    Fail(Reason),
}

/// One account and region.
pub struct FakeAccount {
    state: Mutex<State>,
}

struct State {
    integrations: BTreeMap<String, Integration>,
    described: BTreeMap<String, Description>,
    /// By the subject of the request: an ARN, `all` or `names`.
    behaviours: BTreeMap<String, Behaviour>,
    behaviour: Behaviour,
    /// Time and subject of each request.
    requests: Vec<(Instant, String)>,
    in_flight: usize,
    max_in_flight: usize,
}

impl FakeAccount {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                integrations: BTreeMap::new(),
                described: BTreeMap::new(),
                behaviours: BTreeMap::new(),
                behaviour: Behaviour::Answer,
                requests: Vec::new(),
                in_flight: 0,
                max_in_flight: 0,
            }),
        })
    }

    pub fn put(&self, arn: &str, status: Status) {
        self.insert(integration(arn, status));
    }

    pub fn insert(&self, integration: Integration) {
        self.state
            .lock()
            .unwrap()
            .integrations
            .insert(integration.arn.clone(), integration);
    }

    /// Sets the name and tags of an integration that this account has created.
    pub fn describe(&self, arn: &str, name: &str, tags: &[(&str, &str)]) {
        let tags = tags.iter();
        let described = Description {
            name: name.to_owned(),
            tags: tags
                .map(|(tag, value)| (tag.to_string(), value.to_string()))
                .collect(),
        };
        self.state
            .lock()
            .unwrap()
            .described
            .insert(arn.to_owned(), described);
    }

    pub fn remove(&self, arn: &str) {
        self.state.lock().unwrap().integrations.remove(arn);
    }

    /// Sets how every request is handled from now on.
    pub fn set(&self, behaviour: Behaviour) {
        self.state.lock().unwrap().behaviour = behaviour;
    }

    /// Sets how requests for this ARN are handled from now on.
    pub fn set_for(&self, arn: &str, behaviour: Behaviour) {
        self.state
            .lock()
            .unwrap()
            .behaviours
            .insert(arn.to_owned(), behaviour);
    }

    /// Removes and returns the requests so far.
    pub fn take_requests(&self) -> Vec<(Instant, String)> {
        std::mem::take(&mut self.state.lock().unwrap().requests)
    }

    pub fn max_in_flight(&self) -> usize {
        self.state.lock().unwrap().max_in_flight
    }

    async fn answer(&self, query: &Query) -> Result<Page<Integration>, GlueError> {
        let name = match query {
            Query::Integration(arn) => arn.to_string(),
            Query::Target(arn) => arn.to_string(),
            Query::All => "all".to_owned(),
        };
        self.behave(&name).await?;
        let state = self.state.lock().unwrap();
        let matches = |integration: &&Integration| match query {
            Query::Integration(arn) => {
                integration.arn == arn.as_str().replace(":integration/", ":integration:")
            }
            Query::Target(arn) => integration.target_arn == arn.as_str(),
            Query::All => true,
        };
        let listed = state.integrations.values().filter(matches);
        Ok(Page::last(listed.cloned().collect()))
    }

    async fn behave(&self, name: &str) -> Result<(), GlueError> {
        let behaviour = {
            let mut state = self.state.lock().unwrap();
            state.requests.push((Instant::now(), name.to_owned()));
            state
                .behaviours
                .get(name)
                .unwrap_or(&state.behaviour)
                .clone()
        };
        match behaviour {
            Behaviour::Answer => {}
            Behaviour::Slow(duration) => tokio::time::sleep(duration).await,
            Behaviour::Hang => std::future::pending().await,
            Behaviour::Fail(reason) => {
                return Err(GlueError::new(reason, "the account was configured to fail"));
            }
        }
        Ok(())
    }

    async fn describe_all(&self, tags: &BTreeSet<String>) -> Result<Page<Described>, GlueError> {
        self.behave("names").await?;
        let state = self.state.lock().unwrap();
        let with_tags = |(arn, described): (&String, &Description)| {
            let mut described = described.clone();
            described.tags.retain(|tag, _| tags.contains(tag));
            (arn.clone(), described)
        };
        let described = state.described.iter().map(with_tags);
        Ok(Page::last(described.collect()))
    }
}

impl Glue for FakeAccount {
    fn page<'a>(
        &'a self,
        query: &'a Query,
        request: PageRequest<'a>,
    ) -> BoxFuture<'a, Result<Page<Integration>, GlueError>> {
        Box::pin(async move {
            let _in_flight = InFlight::new(self);
            tokio::time::timeout(
                request.context.deadline.request_timeout(),
                self.answer(query),
            )
            .await
            .unwrap_or_else(|_| Err(GlueError::new(Reason::Timeout, "the account hangs")))
        })
    }

    fn metadata_page<'a>(
        &'a self,
        tags: &'a BTreeSet<String>,
        request: PageRequest<'a>,
    ) -> BoxFuture<'a, Result<Page<Described>, GlueError>> {
        Box::pin(async move {
            tokio::time::timeout(
                request.context.deadline.request_timeout(),
                self.describe_all(tags),
            )
            .await
            .unwrap_or_else(|_| Err(GlueError::new(Reason::Timeout, "the account hangs")))
        })
    }
}

struct InFlight<'a>(&'a FakeAccount);

impl<'a> InFlight<'a> {
    fn new(account: &'a FakeAccount) -> Self {
        let mut state = account.state.lock().unwrap();
        state.in_flight += 1;
        state.max_in_flight = state.max_in_flight.max(state.in_flight);
        drop(state);
        Self(account)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.state.lock().unwrap().in_flight -= 1;
    }
}

/// Returns the ARN of the n-th integration.
pub fn arn(number: usize) -> String {
    format!("arn:aws:glue:eu-west-1:111122223333:integration:00000000-0000-4000-8000-{number:012}")
}

/// Returns an ordinary integration.
pub fn integration(arn: &str, status: Status) -> Integration {
    Integration {
        arn: arn.to_owned(),
        source_arn: "arn:aws:dynamodb:eu-west-1:111122223333:table/orders".to_owned(),
        target_arn: "arn:aws:glue:eu-west-1:111122223333:database/lake".to_owned(),
        status,
        // As in the conversion of AWS answers, only an unknown status keeps its text.
        status_text: (status == Status::Unknown).then(|| "PAUSED".to_owned()),
        created: Some(START - 86_400.0),
        refresh_interval: Some(Duration::from_secs(3600)),
        continuous_sync: Some(true),
        target_namespace: None,
        errors: Vec::new(),
    }
}

/// Returns the watches of a configuration.
pub fn watches(yaml: &str) -> Vec<ScopeRegion> {
    let config =
        Config::from_yaml(yaml, Path::new("test.yaml")).unwrap_or_else(|errors| panic!("{errors}"));
    config
        .watches(|_| Err(None))
        .unwrap_or_else(|errors| panic!("{errors}"))
}

/// The exporter between AWS and the exposition, without network.
pub struct Bench {
    pub publisher: Arc<Publisher>,
    pub telemetry: Arc<Telemetry>,
    pub clock: Clock,
    pub stop: CancellationToken,
}

impl Bench {
    /// Returns an exporter with a wall clock that follows the clock of tokio, which tests pause.
    pub fn new(watches: &[ScopeRegion]) -> Self {
        let start = Instant::now();
        Self::with_clock(
            watches,
            Clock::from_wall(move || START + start.elapsed().as_secs_f64()),
        )
    }

    pub fn with_clock(watches: &[ScopeRegion], clock: Clock) -> Self {
        Self {
            publisher: Arc::new(Publisher::new(watches, clock.clone())),
            telemetry: Arc::new(Telemetry::new().unwrap()),
            clock,
            stop: CancellationToken::new(),
        }
    }

    pub fn poller(&self, watch: &ScopeRegion, account: &Arc<FakeAccount>) -> Poller {
        Poller::new(
            watch.clone(),
            Arc::clone(account) as _,
            Arc::clone(&self.publisher),
            Arc::clone(&self.telemetry),
            self.clock.clone(),
        )
    }

    /// Returns the routes of an exporter without a web configuration.
    pub fn routes(&self) -> Routes {
        Routes {
            publisher: Arc::clone(&self.publisher),
            telemetry: Arc::clone(&self.telemetry),
            clock: self.clock.clone(),
            telemetry_path: "/metrics".to_owned(),
            access: None,
            reload: None,
            stop: self.stop.clone(),
            shared_responses: Default::default(),
            renderer: Default::default(),
        }
    }

    /// Starts publishing in the background.
    pub fn publish(&self) {
        let (publisher, stop) = (Arc::clone(&self.publisher), self.stop.clone());
        tokio::spawn(publisher.publish(Watchdog::default().register("publisher"), stop));
    }

    /// Starts polling on schedule in the background.
    pub fn run(&self, watch: &ScopeRegion, account: &Arc<FakeAccount>) {
        tokio::spawn(self.poller(watch, account).run(self.stop.clone()));
    }

    /// Returns the exposition that a scrape gets now.
    pub fn page(&self) -> super::page::Page {
        self.publisher.publish_now();
        let pieces =
            self.publisher
                .page()
                .text(Format::Text, &self.telemetry, self.clock.unix_now());
        super::page::Page::read(&String::from_utf8(pieces.concat()).unwrap())
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
