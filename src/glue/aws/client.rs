//! The loop of attempts of an API call. Each attempt needs credentials and a permit of the rate limiter.

use super::credentials::Provider;
use super::response::ResponseCheck;
use super::{classify, endpoint, message, profiles};
use crate::config::{Credentials, RegionName};
use crate::glue::{GlueError, Observer, Operation, RateLimiter, Reason, RequestContext};
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials as Keys;
use aws_sdk_glue::config::SharedHttpClient;
use aws_sdk_glue::config::http::HttpResponse;
use aws_sdk_glue::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_glue::operation::RequestId;
use aws_smithy_types::retry::RetryConfig;
use std::error::Error;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OnceCell;
use tokio::time::{Instant, timeout_at};

/// One request and two retries, as in the SDK's standard mode.
pub(super) const MAX_ATTEMPTS: u32 = 3;
/// Doubles for the second retry. The wait is a random part of it, so that clients do not retry together.
const MAX_FIRST_BACKOFF: Duration = Duration::from_secs(1);

const MAY_SUCCEED_LATER: [Reason; 4] = [
    Reason::Throttled,
    Reason::ServerError,
    Reason::Network,
    Reason::Timeout,
];

pub struct AwsGlue {
    pub(super) backend: Backend,
    pub(super) glue: OnceCell<aws_sdk_glue::Client>,
    pub(super) cloudwatch: OnceCell<aws_sdk_cloudwatch::Client>,
    pub(super) http: SharedHttpClient,
    pub(super) region: RegionName,
    pub(super) credentials: Credentials,
    pub(crate) rate_limiter: RateLimiter,
    /// Requests to CloudWatch never delay the polls.
    pub(super) cloudwatch_rate_limiter: RateLimiter,
    pub(super) observer: Arc<dyn Observer>,
}

pub(super) enum Backend {
    Aws(Arc<Provider>),
    Simulated { endpoint: String },
}

pub struct Call<'a> {
    pub operation: Operation,
    /// Start of the error message: "asking AWS Glue in … for …", "asking CloudWatch in … for …".
    pub attempted: String,
    /// An error that says that the integration does not exist is an empty answer.
    pub is_for_integration: bool,
    pub context: RequestContext<'a>,
}

impl AwsGlue {
    /// `send` gets the credentials of one attempt. `convert` returns why a response is invalid.
    pub(super) async fn call<T, E, F, R: Default>(
        &self,
        call: Call<'_>,
        send: impl Fn(Keys) -> F,
        convert: impl FnOnce(T) -> Result<R, String>,
    ) -> Result<R, GlueError>
    where
        E: Error + ProvideErrorMetadata + 'static,
        SdkError<E, HttpResponse>: RequestId,
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    {
        let deadline = call.context.deadline;
        // The time of the call starts with its first request, after the waits for credentials and the rate limiter.
        let mut end: Option<Instant> = None;
        let mut attempt = 1;
        loop {
            let credentials = self.credentials(&call, end).await?;
            self.permit(&call, end).await?;
            let timeout = deadline.request_timeout();
            if timeout.is_zero() {
                return Err(GlueError::not_sent(deadline.reason()));
            }
            let started = Instant::now();
            let end = *end.get_or_insert(started + timeout);
            self.observer.sent(call.operation);
            let outcome = timeout_at(end, send(credentials.clone())).await;
            let ended = |failure| {
                self.observer
                    .ended(call.operation, started.elapsed(), failure);
            };
            let error = match outcome {
                Ok(Ok(output)) => {
                    let converted = convert(output).map_err(|why| {
                        let message = format!("{} failed: {why}", call.attempted);
                        GlueError::new(Reason::InvalidResponse, message)
                    });
                    ended(converted.as_ref().err().map(|error| error.reason));
                    return converted;
                }
                Ok(Err(error))
                    if call.is_for_integration
                        && error.as_service_error().is_some_and(classify::is_not_found) =>
                {
                    ended(None);
                    return Ok(R::default());
                }
                Ok(Err(error)) => {
                    let reason = classify::classify(&error);
                    if let (Reason::Credentials, Backend::Aws(provider)) = (reason, &self.backend) {
                        provider.reject(&credentials);
                    }
                    message::call_failed(&call.attempted, reason, &error, &self.credentials)
                }
                Err(_elapsed) => {
                    ended(Some(Reason::Timeout));
                    return Err(if deadline.reason() == Reason::Throttled {
                        starved_by_rate_limit(&call)
                    } else {
                        let (attempted, took) = (&call.attempted, started.elapsed().as_secs_f64());
                        let why =
                            format!("{attempted} timed out: AWS did not answer within {took:.1} s");
                        GlueError::new(Reason::Timeout, why)
                    });
                }
            };
            ended(Some(error.reason));
            let backoff = MAX_FIRST_BACKOFF.mul_f64(fastrand::f64()) * attempt;
            if !MAY_SUCCEED_LATER.contains(&error.reason)
                || attempt == MAX_ATTEMPTS
                || Instant::now() + backoff >= end
                || !deadline.take_retry()
            {
                return Err(error);
            }
            attempt += 1;
            tokio::time::sleep(backoff).await;
        }
    }

    pub(super) async fn glue(&self) -> aws_sdk_glue::Client {
        let client = self.glue.get_or_init(|| async {
            let config = aws_sdk_glue::config::Builder::from(&self.sdk_config().await)
                .http_client(self.http.clone())
                .retry_config(RetryConfig::disabled())
                .interceptor(ResponseCheck)
                .build();
            aws_sdk_glue::Client::from_conf(config)
        });
        client.await.clone()
    }

    /// Fails if the endpoint is not valid, because the SDK panics on some of them.
    pub(super) async fn cloudwatch<E>(
        &self,
    ) -> Result<aws_sdk_cloudwatch::Client, SdkError<E, HttpResponse>> {
        let client = self.cloudwatch.get_or_try_init(|| async {
            if let Backend::Aws(_) = &self.backend {
                let profile = self.credentials.profile.as_deref();
                let error = profiles::endpoint_error(profile, &[endpoint::CLOUDWATCH]).await;
                error.map_or(Ok(()), Err)?;
            }
            let config = aws_sdk_cloudwatch::config::Builder::from(&self.sdk_config().await)
                .http_client(self.http.clone())
                .retry_config(RetryConfig::disabled())
                .build();
            Ok::<_, String>(aws_sdk_cloudwatch::Client::from_conf(config))
        });
        client
            .await
            .cloned()
            .map_err(SdkError::construction_failure)
    }

    async fn sdk_config(&self) -> SdkConfig {
        match &self.backend {
            Backend::Aws(provider) => provider.sdk_config().await,
            Backend::Simulated { endpoint } => SdkConfig::builder()
                .behavior_version(BehaviorVersion::v2026_01_12())
                .region(Region::new(self.region.as_str().to_owned()))
                .endpoint_url(endpoint)
                .build(),
        }
    }

    /// The first attempt may wait half of the poll's time, because the other requests need the credentials too.
    async fn credentials(&self, call: &Call<'_>, end: Option<Instant>) -> Result<Keys, GlueError> {
        let provider = match &self.backend {
            Backend::Aws(provider) => provider,
            Backend::Simulated { .. } => {
                let secret = "simulated";
                return Ok(Keys::new("SIMULATED", secret, None, None, secret));
            }
        };
        let deadline = call.context.deadline;
        let end = end.unwrap_or_else(|| {
            Instant::now() + deadline.request_timeout().max(deadline.time_left() / 2)
        });
        let attempted = &call.attempted;
        let why = match timeout_at(end, provider.get()).await {
            Ok(Ok(credentials)) => return Ok(credentials),
            Ok(Err(error)) => message::load_failed(&error, &self.credentials),
            Err(_elapsed) => message::with_hint(message::TIMED_OUT, &self.credentials),
        };
        let message = format!("{attempted} failed: {why}");
        Err(GlueError::new(Reason::Credentials, message))
    }

    async fn permit(&self, call: &Call<'_>, end: Option<Instant>) -> Result<(), GlueError> {
        let deadline = call.context.deadline;
        let since = Instant::now();
        let permit = async {
            match call.operation {
                Operation::DescribeInboundIntegrations => {
                    self.rate_limiter.acquire(call.context.scope).await;
                }
                Operation::DescribeIntegrations => self.rate_limiter.acquire_idle().await,
                Operation::ListMetrics | Operation::GetMetricData => {
                    let rate_limiter = &self.cloudwatch_rate_limiter;
                    rate_limiter.acquire(call.context.scope).await;
                }
            }
        };
        let in_time = timeout_at(end.unwrap_or(deadline.end), permit).await;
        deadline.waited(since.elapsed());
        if in_time.is_err() {
            return Err(GlueError {
                request_sent: end.is_some(),
                ..starved_by_rate_limit(call)
            });
        }
        self.observer.waited(call.operation, since.elapsed());
        Ok(())
    }
}

fn starved_by_rate_limit(call: &Call<'_>) -> GlueError {
    let setting = match call.operation {
        Operation::ListMetrics | Operation::GetMetricData => "freshness.interval of the scope",
        _ => "polling.requests_per_second or polling.interval",
    };
    let why = "failed: it waited for other requests until the timeout. Raise";
    let message = format!("{} {why} {setting}", call.attempted);
    GlueError::new(Reason::Throttled, message)
}
