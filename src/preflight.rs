//! What AWS lets the configuration do: `check --online` asks as the daemon would, as little as tells whether it may, and says of each
//! refusal what to grant. Each scope and region is asked on its own; whatever would fail for the same reason again is not asked.

mod check_result;
mod report;

use crate::clock::Clock;
use crate::config::{Credentials, Lookup, Query, RegionName, Watch};
use crate::glue::aws::{IdentityError, Sdk};
use crate::glue::metadata::MetadataRequest;
use crate::glue::{
    Deadline, Glue, GlueError, Listing, Operation, PageRequest, Reason, RequestContext, time_left,
};
use crate::iam;
use check_result::{CheckResult, Grant, Grantee, Outcome, Subject};
use clap::ValueEnum;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OnceCell, Semaphore};
use tokio::task::JoinSet;
use tokio::time::Instant;

pub use report::Report;

/// Scopes and regions that are asked at the same time: enough for hundreds to be told within minutes even if each hangs.
const AT_ONCE: usize = 32;
/// No answer is waited for longer, retries included; a poll may have less.
const LONGEST_REQUEST: Duration = Duration::from_secs(15);

/// How the findings are written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Table,
    Json,
}

/// Asks for every watch whether AWS lets it. The clients are those that would poll, made by `sdk`.
pub async fn check(
    watches: Vec<(Watch, Arc<dyn Glue>)>,
    requests_per_second: u16,
    sdk: Sdk,
) -> Report {
    let requests: usize = watches.iter().map(|(watch, _)| watch.queries.len()).sum();
    // All of them may share one budget.
    let waiting = Duration::from_secs(requests as u64) / u32::from(requests_per_second.max(1));
    let identities = Arc::new(Identities::of(&watches, sdk));
    let turns = Arc::new(Semaphore::new(AT_ONCE));
    let mut under_way = JoinSet::new();
    let count = watches.len();
    for (place, (watch, glue)) in watches.into_iter().enumerate() {
        let (identities, turns) = (Arc::clone(&identities), Arc::clone(&turns));
        under_way.spawn(async move {
            // Never closed.
            let _turn = turns.acquire().await;
            let mut check = Check::new(watch, glue, waiting);
            check.run(&identities).await;
            (place, check.findings)
        });
    }
    let mut findings: Vec<Vec<CheckResult>> = (0..count).map(|_| Vec::new()).collect();
    for (place, found) in under_way.join_all().await {
        findings[place] = found;
    }
    Report::new(findings.into_iter().flatten().collect())
}

/// Whom credentials belong to. Each is asked once, whichever watches use them.
struct Identities {
    sdk: Sdk,
    known: HashMap<(Credentials, RegionName), OnceCell<Result<String, IdentityError>>>,
}

impl Identities {
    fn of(watches: &[(Watch, Arc<dyn Glue>)], sdk: Sdk) -> Self {
        let known = watches
            .iter()
            .flat_map(|(watch, _)| {
                [watch.credentials.source(), watch.credentials.clone()]
                    .map(|credentials| ((credentials, watch.region.clone()), OnceCell::new()))
            })
            .collect();
        Self { sdk, known }
    }

    async fn ask(
        &self,
        credentials: Credentials,
        region: &RegionName,
        limit: Duration,
    ) -> Result<String, IdentityError> {
        let key = (credentials, region.clone());
        let ask = || self.sdk.caller_identity(&key.0, region, limit);
        match self.known.get(&key) {
            Some(known) => known.get_or_init(ask).await.clone(),
            None => ask().await,
        }
    }
}

/// The time of one scope in one region.
struct FixedDeadline {
    deadline: Instant,
    request: Duration,
}

impl Deadline for FixedDeadline {
    fn end(&self) -> Instant {
        self.deadline
    }

    fn per_request(&self) -> Duration {
        time_left(self.deadline).min(self.request)
    }

    /// The deadline has room for it.
    fn waited(&self, _duration: Duration) {}

    fn starved_by_rate_limit(&self) -> bool {
        false
    }
}

/// The questions of one scope in one region.
struct Check {
    watch: Arc<Watch>,
    glue: Arc<dyn Glue>,
    patience: Arc<FixedDeadline>,
    findings: Vec<CheckResult>,
}

impl Check {
    fn new(watch: Watch, glue: Arc<dyn Glue>, waiting: Duration) -> Self {
        let request = watch.timeout.min(LONGEST_REQUEST);
        Self {
            patience: Arc::new(FixedDeadline {
                // Two for the credentials, one for the first question, one for the others.
                deadline: Instant::now() + request * 4 + waiting,
                request,
            }),
            watch: Arc::new(watch),
            glue,
            findings: Vec::new(),
        }
    }

    async fn run(&mut self, identities: &Identities) {
        let caller = self.caller(identities).await;
        for operation in iam::operations(&self.watch.clone()) {
            match operation {
                Operation::DescribeInboundIntegrations => {
                    self.inbound_integrations(caller.as_ref()).await;
                }
                Operation::DescribeIntegrations => self.names(caller.as_ref()).await,
            }
        }
    }

    fn find(&mut self, subject: Subject, outcome: Outcome) {
        self.findings.push(CheckResult {
            scope: self.watch.scope.clone(),
            region: self.watch.region.clone(),
            subject,
            outcome,
        });
    }

    /// Who will ask Glue. None if nobody can.
    async fn caller(&mut self, identities: &Identities) -> Option<Grantee> {
        let (watch, limit) = (Arc::clone(&self.watch), self.patience.request);
        let whose = match &watch.credentials.profile {
            Some(profile) => format!("the profile {profile}"),
            None => "the SDK's default credentials".to_owned(),
        };
        let source = watch.credentials.source();
        let asked = identities.ask(source, &watch.region, limit).await;
        let mut caller = match &asked {
            Ok(arn) => Some(Grantee::of_caller(arn)),
            Err(IdentityError { error, .. }) if error.reason == Reason::Credentials => None,
            // STS alone cannot be asked, of which Glue need not know.
            Err(_) => Some(Grantee::named(format!("the identity of {whose}"))),
        };
        self.find(Subject::Identity(whose), Outcome::of_identity(asked, None));
        if let Some(role) = &watch.credentials.role {
            let outcome = match caller.take() {
                None => Outcome::Skipped,
                Some(source) => {
                    let credentials = watch.credentials.clone();
                    let asked = identities.ask(credentials, &watch.region, limit).await;
                    caller = match &asked {
                        Err(unknown) if unknown.error.reason == Reason::Credentials => None,
                        // Not the session's ARN, which lacks the role's path.
                        Ok(_) | Err(_) => Some(Grantee::named(role.arn.as_str())),
                    };
                    Outcome::of_identity(asked, Some(Grant::of_role(role, source)))
                }
            };
            self.find(Subject::Role(role.arn.clone()), outcome);
        }
        caller
    }

    /// The first question tells whether any is answered; the configured ARNs are asked for one by one after it.
    async fn inbound_integrations(&mut self, caller: Option<&Grantee>) {
        let watch = Arc::clone(&self.watch);
        let operation = Operation::DescribeInboundIntegrations;
        let subject = Subject::Operation(operation);
        let lists = watch.lookup == Lookup::List;
        let first = match watch.queries.first() {
            Some(first) if !lists => first,
            _ => &Query::All,
        };
        let answered = match caller {
            None => Outcome::Skipped,
            Some(caller) => {
                let grant = Grant::of_operation(operation, caller);
                match ask(&*self.glue, &watch, &self.patience, first).await {
                    Outcome::Missing(_) => Outcome::Well(None),
                    outcome => outcome.with_grant(grant),
                }
            }
        };
        let goes_on = matches!(answered, Outcome::Well(_));
        self.find(subject, answered);
        let named: Vec<&Query> = watch
            .queries
            .iter()
            .filter(|query| **query != Query::All)
            .collect();
        let outcomes = if goes_on {
            self.ask_all(&named).await
        } else {
            named.iter().map(|_| Outcome::Skipped).collect()
        };
        for (query, outcome) in named.into_iter().zip(outcomes) {
            self.find(Subject::Query(query.clone()), outcome);
        }
    }

    /// One page tells whether names and tags may be asked for.
    async fn names(&mut self, caller: Option<&Grantee>) {
        let operation = Operation::DescribeIntegrations;
        let answered = match caller {
            None => Outcome::Skipped,
            Some(caller) => {
                let request = MetadataRequest {
                    tags: &BTreeSet::new(),
                    marker: None,
                    page_size: self.watch.page_size,
                    context: RequestContext {
                        scope: self.watch.scope.as_str(),
                        deadline: &*self.patience,
                    },
                };
                match self.glue.metadata_page(request).await {
                    Ok(_) => Outcome::Well(None),
                    Err(error) => {
                        Outcome::failed(error).with_grant(Grant::of_operation(operation, caller))
                    }
                }
            }
        };
        self.find(Subject::Operation(operation), answered);
    }

    /// As many at once as a poll would ask.
    async fn ask_all(&self, queries: &[&Query]) -> Vec<Outcome> {
        let turns = Arc::new(Semaphore::new(self.watch.concurrency));
        let mut under_way = JoinSet::new();
        for (place, query) in queries.iter().enumerate() {
            let (watch, query) = (Arc::clone(&self.watch), (*query).clone());
            let (glue, patience) = (Arc::clone(&self.glue), Arc::clone(&self.patience));
            let turns = Arc::clone(&turns);
            under_way.spawn(async move {
                // Never closed.
                let _turn = turns.acquire().await;
                (place, ask(&*glue, &watch, &patience, &query).await)
            });
        }
        let mut outcomes = under_way.join_all().await;
        outcomes.sort_by_key(|(place, _)| *place);
        outcomes.into_iter().map(|(_, outcome)| outcome).collect()
    }
}

/// One question: of a configured integration whether there is one, else one page.
async fn ask(glue: &dyn Glue, watch: &Watch, deadline: &FixedDeadline, query: &Query) -> Outcome {
    let context = RequestContext {
        scope: watch.scope.as_str(),
        deadline,
    };
    let answered: Result<bool, GlueError> = if let Query::Integration(_) = query {
        let mut listing = Listing::new(query.clone(), &watch.selection, watch.page_size);
        listing.follow(glue, &Clock::system(), context).await;
        let answer = listing.into_answer(Reason::Timeout);
        answer.outcome.map(|_| !answer.integrations.is_empty())
    } else {
        let request = PageRequest {
            query,
            marker: None,
            page_size: watch.page_size,
            context,
        };
        glue.page(request).await.map(|_| true)
    };
    match answered {
        Ok(true) => Outcome::Well(None),
        Ok(false) => Outcome::Missing("AWS answered that there is none".to_owned()),
        Err(error) if error.reason == Reason::NotFound => Outcome::Missing(error.message),
        Err(error) => Outcome::failed(error),
    }
}
