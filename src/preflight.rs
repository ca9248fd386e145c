//! `check --online`: sends the daemon's requests to AWS, and reports which permissions to grant. Each scope and region
//! is checked on its own. A check that would fail for the same reason as an earlier one is skipped.

mod grant;
mod report;

use crate::arn::{canonical_arn, is_redshift};
use crate::clock::Clock;
use crate::config::{Credentials, Lookup, Query, ScopeRegion};
use crate::freshness::{self, FreshnessQuery, QueriedIntegration};
use crate::glue::aws::{AwsGlue, IdentityError, Sdk};
use crate::glue::cloudwatch::{CloudWatch, Metric, MetricName};
use crate::glue::{
    Deadline, Glue, GlueError, Listing, Operation, PageRequest, Reason, RequestContext,
};
use crate::iam;
use crate::snapshot::Integration;
use futures_util::stream::{self, StreamExt};
use grant::{Grant, Grantee};
use report::CheckResult;
pub use report::Format;
pub(crate) use report::Report;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Scopes and regions that are checked at the same time, so that hundreds of hanging endpoints take only minutes.
const MAX_CONCURRENT_CHECKS: usize = 32;
/// The longest timeout of one request, retries included. A scope with a shorter poll timeout has less.
const MAX_REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
/// For the pages of the listings. All scopes with the same credentials in one region share 2 requests per second.
const CLOUDWATCH_TIMEOUT: Duration = Duration::from_mins(2);

pub(crate) async fn check(
    watches: Vec<(ScopeRegion, Arc<AwsGlue>)>,
    requests_per_second: u16,
    sdk: Sdk,
) -> Report {
    let requests: usize = watches.iter().map(|(watch, _)| watch.queries.len()).sum();
    // All requests may share one rate limiter.
    let max_rate_limit_wait =
        Duration::from_secs(requests as u64) / u32::from(requests_per_second.max(1));
    let checks = watches.iter().map(async |(watch, glue)| {
        let request_timeout = watch.timeout.min(MAX_REQUEST_TIMEOUT);
        // Two requests for the credentials, one for the first check, one for the rest.
        let mut timeout = request_timeout * 4 + max_rate_limit_wait;
        if watch.freshness.is_some() {
            timeout += CLOUDWATCH_TIMEOUT;
        }
        let mut check = Check {
            watch,
            glue,
            sdk: &sdk,
            deadline: Deadline::of_requests(timeout, request_timeout),
            request_timeout,
            integrations: FreshnessQuery::new(),
            results: Vec::new(),
        };
        check.run().await;
        check.results
    });
    let checks = stream::iter(checks).buffered(MAX_CONCURRENT_CHECKS);
    let results: Vec<_> = checks.collect().await;
    Report::new(results.into_iter().flatten().collect())
}

struct Check<'a> {
    watch: &'a ScopeRegion,
    glue: &'a AwsGlue,
    sdk: &'a Sdk,
    deadline: Deadline,
    request_timeout: Duration,
    /// The watched integrations whose tables report to CloudWatch. Of a listing, those of the first page.
    integrations: FreshnessQuery,
    results: Vec<CheckResult>,
}

impl Check<'_> {
    async fn run(&mut self) {
        let caller = self.credentials().await;
        for operation in iam::operations(self.watch) {
            let mut is_allowed = false;
            match &caller {
                Some(caller) => is_allowed = self.operation(operation, caller).await,
                None => self.skip(operation.as_str(), "*"),
            }
            if operation == Operation::DescribeInboundIntegrations {
                self.lookups(is_allowed).await;
            }
        }
    }

    fn add(
        &mut self,
        check: &'static str,
        of: &str,
        result: Result<Option<String>, GlueError>,
        grant: Option<Grant>,
    ) {
        let mut row = self.row(check, of, "ok");
        match result {
            Ok(identity) => row.identity = identity,
            Err(error) => {
                row.result = match error.reason {
                    Reason::NotFound => "missing",
                    reason => reason.as_str(),
                };
                row.hint = grant.as_ref().map(|grant| grant.hint(&error.message));
                row.grant = grant;
                row.message = Some(error.message);
                row.request_id = error.request_id;
            }
        }
        self.results.push(row);
    }

    fn skip(&mut self, check: &'static str, of: &str) {
        self.results.push(self.row(check, of, "not_asked"));
    }

    fn row(&self, check: &'static str, of: &str, result: &'static str) -> CheckResult {
        CheckResult {
            scope: self.watch.scope.to_string(),
            region: self.watch.region.to_string(),
            check,
            of: of.to_owned(),
            result,
            ..CheckResult::default()
        }
    }

    /// Returns the identity that sends the requests to Glue, or `None` if they have no credentials.
    async fn credentials(&mut self) -> Option<Grantee> {
        let credentials = &self.watch.credentials;
        let owner = match &credentials.profile {
            Some(profile) => format!("the profile {profile}"),
            None => "the SDK's default credentials".to_owned(),
        };
        let identity = self.identity(&credentials.source()).await;
        let caller = match &identity {
            Ok(arn) => Some(Grantee::of_caller(arn)),
            Err(failure) if failure.error.reason == Reason::Credentials => None,
            // Only STS fails, so requests to Glue may still succeed.
            Err(_) => Some(Grantee::named(&format!("the identity of {owner}"))),
        };
        let result = identity.map(Some).map_err(|failure| failure.error);
        self.add("identity", &owner, result, None);
        let Some(role) = &credentials.role else {
            return caller;
        };
        let Some(source) = caller else {
            self.skip("role", role.arn.as_str());
            return None;
        };
        let identity = self.identity(credentials).await;
        let failure = identity.as_ref().err();
        let is_refused = failure.is_some_and(|failure| failure.role_refused);
        let has_credentials = failure.is_none_or(|it| it.error.reason != Reason::Credentials);
        let grant = is_refused.then(|| Grant::of_role(role, source));
        let result = identity.map(Some).map_err(|failure| failure.error);
        self.add("role", role.arn.as_str(), result, grant);
        // The session's ARN lacks the role's path.
        has_credentials.then(|| Grantee::named(role.arn.as_str()))
    }

    async fn identity(&self, credentials: &Credentials) -> Result<String, IdentityError> {
        let (region, timeout) = (&self.watch.region, self.request_timeout);
        self.sdk.caller_identity(credentials, region, timeout).await
    }

    /// Returns true if `caller` has the permission.
    async fn operation(&mut self, operation: Operation, caller: &Grantee) -> bool {
        let mut tables = BTreeMap::new();
        let result = match operation {
            Operation::DescribeInboundIntegrations => {
                let first = match self.watch.queries.first() {
                    Some(first) if self.watch.lookup != Lookup::List => first,
                    _ => &Query::All,
                };
                match self.query(first).await {
                    Ok(integrations) => {
                        if self.watch.queries.contains(first) {
                            self.integrations.extend(integrations);
                        }
                        Ok(())
                    }
                    Err(error) if error.reason == Reason::NotFound => Ok(()),
                    Err(error) => Err(error),
                }
            }
            Operation::DescribeIntegrations => {
                let tags = BTreeSet::new();
                let page = self.glue.metadata_page(&tags, self.first_page()).await;
                page.map(|_| ())
            }
            Operation::ListMetrics => {
                let (integrations, context) = (&self.integrations, self.context());
                let listed = freshness::tables(self.glue, integrations, context).await;
                listed.map(|listed| tables = listed)
            }
            Operation::GetMetricData => self.read_metric().await,
        };
        let error = result.as_ref().err();
        let grant = error.and_then(|error| Grant::of_operation(operation, caller, error));
        let is_allowed = error.is_none();
        self.add(operation.as_str(), "*", result.map(|()| None), grant);
        for (arn, tables) in tables {
            let mut row = self.row("tables", &arn, "ok");
            row.tables = Some(tables.len());
            self.results.push(row);
        }
        is_allowed
    }

    async fn lookups(&mut self, is_allowed: bool) {
        let queries = self.watch.queries.iter();
        let queries = queries.filter_map(|query| match query {
            Query::Integration(arn) => Some(("integration", arn.as_str(), query)),
            Query::Target(arn) => Some(("target", arn.as_str(), query)),
            Query::All => None,
        });
        if !is_allowed {
            queries.for_each(|(check, of, _)| self.skip(check, of));
            return;
        }
        let lookups = queries.map(async |(check, of, query)| (check, of, self.query(query).await));
        let lookups = stream::iter(lookups).buffered(self.watch.concurrency);
        for (check, of, result) in lookups.collect::<Vec<_>>().await {
            let result = result.map(|integrations| self.integrations.extend(integrations));
            self.add(check, of, result.map(|()| None), None);
        }
    }

    /// Requests a metric that has no samples, because only the permission matters.
    async fn read_metric(&self) -> Result<(), GlueError> {
        let metric = Metric {
            namespace: "AWS/Glue/ZeroETL".to_owned(),
            name: MetricName::IngestionSucceeded,
            dimensions: Vec::new(),
        };
        let end = freshness::whole_minute(Clock::system().unix_now());
        let window = end - 3_600..end;
        let page = self.glue.data(&[metric], window, self.first_page()).await?;
        let missing = page.items.iter().find_map(|result| result.missing);
        missing.map_or(Ok(()), |reason| {
            // As an error code, `AccessDenied` for a metric that is `Forbidden`.
            let why = format!("CloudWatch answered {reason:?} for the metric");
            Err(GlueError::new(reason, why))
        })
    }

    /// Looks up a configured integration, or requests one page of a listing. Returns the integrations whose tables report to CloudWatch.
    async fn query(&self, query: &Query) -> Result<FreshnessQuery, GlueError> {
        let request = self.first_page();
        let selection = &self.watch.selection;
        if query.lists() {
            let page = self.glue.page(query, request).await?;
            let watched = page.items.iter().filter(|item| selection.matches(item));
            return Ok(watched.filter_map(reporting).collect());
        }
        let mut listing = Listing::new(query.clone(), selection, request.page_size);
        let clock = Clock::system();
        listing.follow(self.glue, &clock, request.context).await;
        let answer = listing.into_answer(Reason::Timeout);
        answer.outcome?;
        if answer.integrations.is_empty() {
            let missing = "AWS answered that it does not exist";
            return Err(GlueError::new(Reason::NotFound, missing));
        }
        let integrations = answer.integrations.iter().map(|(it, _)| &**it);
        Ok(integrations.filter_map(reporting).collect())
    }

    fn first_page(&self) -> PageRequest<'_> {
        PageRequest {
            marker: None,
            page_size: self.watch.page_size,
            context: self.context(),
        }
    }

    fn context(&self) -> RequestContext<'_> {
        let (scope, deadline) = (self.watch.scope.as_str(), &self.deadline);
        RequestContext { scope, deadline }
    }
}

/// Returns `None` if the target is Redshift, which reports no tables.
fn reporting(integration: &Integration) -> Option<(String, QueriedIntegration)> {
    let arn = canonical_arn(&integration.arn).into_owned();
    let is_redshift = is_redshift(&integration.target_arn);
    (!is_redshift).then(|| (arn, QueriedIntegration::default()))
}
