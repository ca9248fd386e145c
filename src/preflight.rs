//! `check --online`: sends the daemon's requests to AWS, as few as possible, and reports which permissions to grant. Each scope and region
//! is checked on its own. A check that would fail for the same reason as an earlier one is skipped.

mod check_result;
mod report;

use crate::clock::Clock;
use crate::config::{Credentials, Lookup, Query, RegionName, Watch};
use crate::glue::aws::{IdentityError, Sdk};
use crate::glue::{
    Deadline, Glue, GlueError, Listing, MetadataRequest, Operation, PageRequest, Reason,
    RequestContext,
};
use crate::iam;
use check_result::{CheckResult, CheckTarget, Grant, Grantee, Status};
use clap::ValueEnum;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OnceCell, Semaphore};
use tokio::task::JoinSet;

pub use report::Report;

/// Scopes and regions that are checked at the same time, so that hundreds of hanging endpoints take only minutes.
const MAX_CONCURRENT_CHECKS: usize = 32;
/// The longest timeout of one request, retries included. A scope with a shorter poll timeout has less.
const MAX_REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

/// Output format of the results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Table,
    Json,
}

/// Checks every watch, with the client that would poll it. `sdk` has created these clients.
pub async fn check(
    watches: Vec<(Watch, Arc<dyn Glue>)>,
    requests_per_second: u16,
    sdk: Sdk,
) -> Report {
    let requests: usize = watches.iter().map(|(watch, _)| watch.queries.len()).sum();
    // All requests may share one rate limiter.
    let max_rate_limit_wait =
        Duration::from_secs(requests as u64) / u32::from(requests_per_second.max(1));
    let identities = Arc::new(IdentityCache::new(&watches, sdk));
    let permits = Arc::new(Semaphore::new(MAX_CONCURRENT_CHECKS));
    let mut tasks = JoinSet::new();
    let count = watches.len();
    for (index, (watch, glue)) in watches.into_iter().enumerate() {
        let (identities, permits) = (Arc::clone(&identities), Arc::clone(&permits));
        tasks.spawn(async move {
            // The semaphore is never closed.
            let _permit = permits.acquire().await;
            let mut check = Check::new(watch, glue, max_rate_limit_wait);
            check.run(&identities).await;
            (index, check.results)
        });
    }
    let mut results: Vec<Vec<CheckResult>> = (0..count).map(|_| Vec::new()).collect();
    for (index, of_watch) in tasks.join_all().await {
        results[index] = of_watch;
    }
    Report::new(results.into_iter().flatten().collect())
}

/// The identities that credentials belong to. Each is looked up once for all watches that use it.
struct IdentityCache {
    sdk: Sdk,
    identities: HashMap<(Credentials, RegionName), OnceCell<Result<String, IdentityError>>>,
}

impl IdentityCache {
    fn new(watches: &[(Watch, Arc<dyn Glue>)], sdk: Sdk) -> Self {
        let identities = watches
            .iter()
            .flat_map(|(watch, _)| {
                [watch.credentials.source(), watch.credentials.clone()]
                    .map(|credentials| ((credentials, watch.region.clone()), OnceCell::new()))
            })
            .collect();
        Self { sdk, identities }
    }

    async fn lookup(
        &self,
        credentials: Credentials,
        region: &RegionName,
        timeout: Duration,
    ) -> Result<String, IdentityError> {
        let key = (credentials, region.clone());
        let request = || self.sdk.caller_identity(&key.0, region, timeout);
        match self.identities.get(&key) {
            Some(identity) => identity.get_or_init(request).await.clone(),
            None => request().await,
        }
    }
}

/// The checks of one scope in one region.
struct Check {
    watch: Arc<Watch>,
    glue: Arc<dyn Glue>,
    deadline: Arc<Deadline>,
    request_timeout: Duration,
    results: Vec<CheckResult>,
}

impl Check {
    fn new(watch: Watch, glue: Arc<dyn Glue>, max_rate_limit_wait: Duration) -> Self {
        let request_timeout = watch.timeout.min(MAX_REQUEST_TIMEOUT);
        Self {
            // Two requests for the credentials, one for the first check, one for the rest.
            deadline: Arc::new(Deadline::of_requests(
                request_timeout * 4 + max_rate_limit_wait,
                request_timeout,
            )),
            request_timeout,
            watch: Arc::new(watch),
            glue,
            results: Vec::new(),
        }
    }

    async fn run(&mut self, identities: &IdentityCache) {
        let caller = self.caller(identities).await;
        for operation in iam::operations(&self.watch.clone()) {
            match operation {
                Operation::DescribeInboundIntegrations => {
                    self.inbound_integrations(caller.as_ref()).await;
                }
                Operation::DescribeIntegrations => self.metadata(caller.as_ref()).await,
            }
        }
    }

    fn add(&mut self, target: CheckTarget, status: Status) {
        self.results.push(CheckResult {
            scope: self.watch.scope.clone(),
            region: self.watch.region.clone(),
            target,
            status,
        });
    }

    /// Checks the credentials and the role. Returns the identity that sends the requests to Glue, or None if they have no credentials.
    async fn caller(&mut self, identities: &IdentityCache) -> Option<Grantee> {
        let (watch, timeout) = (Arc::clone(&self.watch), self.request_timeout);
        let owner = match &watch.credentials.profile {
            Some(profile) => format!("the profile {profile}"),
            None => "the SDK's default credentials".to_owned(),
        };
        let source = watch.credentials.source();
        let identity = identities.lookup(source, &watch.region, timeout).await;
        let mut caller = match &identity {
            Ok(arn) => Some(Grantee::of_caller(arn)),
            Err(IdentityError { error, .. }) if error.reason == Reason::Credentials => None,
            // Only STS fails, so requests to Glue may still succeed.
            Err(_) => Some(Grantee::named(format!("the identity of {owner}"))),
        };
        self.add(
            CheckTarget::Identity(owner),
            Status::of_identity(identity, None),
        );
        if let Some(role) = &watch.credentials.role {
            let status = match caller.take() {
                None => Status::Skipped,
                Some(source) => {
                    let credentials = watch.credentials.clone();
                    let identity = identities.lookup(credentials, &watch.region, timeout).await;
                    caller = match &identity {
                        Err(failure) if failure.error.reason == Reason::Credentials => None,
                        // The session's ARN lacks the role's path.
                        Ok(_) | Err(_) => Some(Grantee::named(role.arn.as_str())),
                    };
                    Status::of_identity(identity, Some(Grant::of_role(role, source)))
                }
            };
            self.add(CheckTarget::Role(role.arn.clone()), status);
        }
        caller
    }

    /// Sends one request first, to check the permission. If it succeeds, looks up each configured ARN.
    async fn inbound_integrations(&mut self, caller: Option<&Grantee>) {
        let watch = Arc::clone(&self.watch);
        let operation = Operation::DescribeInboundIntegrations;
        let target = CheckTarget::Operation(operation);
        let is_listing = watch.lookup == Lookup::List;
        let first = match watch.queries.first() {
            Some(first) if !is_listing => first,
            _ => &Query::All,
        };
        let status = match caller {
            None => Status::Skipped,
            Some(caller) => {
                let grant = Grant::of_operation(operation, caller);
                match check_query(&*self.glue, &watch, &self.deadline, first).await {
                    Status::Missing(_) => Status::Passed(None),
                    status => status.with_grant(grant),
                }
            }
        };
        let allowed = matches!(status, Status::Passed(_));
        self.add(target, status);
        let configured: Vec<&Query> = watch
            .queries
            .iter()
            .filter(|query| **query != Query::All)
            .collect();
        let statuses = if allowed {
            self.check_queries(&configured).await
        } else {
            configured.iter().map(|_| Status::Skipped).collect()
        };
        for (query, status) in configured.into_iter().zip(statuses) {
            self.add(CheckTarget::Query(query.clone()), status);
        }
    }

    /// Requests one page of names and tags, to check the permission.
    async fn metadata(&mut self, caller: Option<&Grantee>) {
        let operation = Operation::DescribeIntegrations;
        let status = match caller {
            None => Status::Skipped,
            Some(caller) => {
                let request = MetadataRequest {
                    tags: &BTreeSet::new(),
                    marker: None,
                    page_size: self.watch.page_size,
                    context: RequestContext {
                        scope: self.watch.scope.as_str(),
                        deadline: &self.deadline,
                    },
                };
                match self.glue.metadata_page(request).await {
                    Ok(_) => Status::Passed(None),
                    Err(error) => {
                        Status::failed(error).with_grant(Grant::of_operation(operation, caller))
                    }
                }
            }
        };
        self.add(CheckTarget::Operation(operation), status);
    }

    /// Checks all queries, with the concurrency of a poll.
    async fn check_queries(&self, queries: &[&Query]) -> Vec<Status> {
        let permits = Arc::new(Semaphore::new(self.watch.concurrency));
        let mut tasks = JoinSet::new();
        for (index, query) in queries.iter().enumerate() {
            let (watch, query) = (Arc::clone(&self.watch), (*query).clone());
            let (glue, deadline) = (Arc::clone(&self.glue), Arc::clone(&self.deadline));
            let permits = Arc::clone(&permits);
            tasks.spawn(async move {
                // The semaphore is never closed.
                let _permit = permits.acquire().await;
                (index, check_query(&*glue, &watch, &deadline, &query).await)
            });
        }
        let mut statuses = tasks.join_all().await;
        statuses.sort_by_key(|(index, _)| *index);
        statuses.into_iter().map(|(_, status)| status).collect()
    }
}

/// Sends one query: looks up a configured integration, or requests one page of a listing.
async fn check_query(glue: &dyn Glue, watch: &Watch, deadline: &Deadline, query: &Query) -> Status {
    let context = RequestContext {
        scope: watch.scope.as_str(),
        deadline,
    };
    let exists: Result<bool, GlueError> = if let Query::Integration(_) = query {
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
    match exists {
        Ok(true) => Status::Passed(None),
        Ok(false) => Status::Missing("AWS answered that it does not exist".to_owned()),
        Err(error) if error.reason == Reason::NotFound => Status::Missing(error.message),
        Err(error) => Status::failed(error),
    }
}
