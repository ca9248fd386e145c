//! The exporter's own metrics. Only this file uses the `prometheus` crate. `exposition::families` has the metrics of integrations.

use crate::cache::Key;
use crate::config::ScopeRegion;
use crate::exposition::counters::CounterVec;
use crate::exposition::family::{Family, Samples, counter, family, gauge};
use crate::exposition::text_format::{MetricType, count, labels};
use crate::glue::{Observer, Operation, Reason};
use crate::shard::Shard;
use crate::toolkit::stderr;
use crate::version;
use prometheus::core::Metric as _;
use prometheus::proto::Bucket;
use prometheus::{Gauge, Histogram, HistogramOpts};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

const BUILD: &[&str] = &["version", "revision", "rust_version"];
const OPERATION: &[&str] = &["operation"];
const OPERATION_REASON: &[&str] = &["operation", "reason"];
const PATH_CODE: &[&str] = &["path", "code"];
const SCOPE: &[&str] = &["scope", "aws_region"];
const SCOPE_REASON: &[&str] = &["scope", "aws_region", "reason"];

pub(crate) const METRICS: &[Family<Telemetry>] = &[
    family(
        MetricType::Histogram,
        "glue_integration_exporter_api_request_duration_seconds",
        OPERATION,
        "Duration of HTTP attempts of an AWS operation in seconds, successful or not.",
        |own, samples| own.api_request_duration.write(samples),
    ),
    counter(
        "glue_integration_exporter_api_request_failures_total",
        OPERATION_REASON,
        "Number of failed HTTP attempts of an AWS operation; the answer that a configured integration does not exist is not a failure.",
        |own, samples| own.api_request_failures.write(samples),
    ),
    family(
        MetricType::Histogram,
        "glue_integration_exporter_api_request_wait_seconds",
        OPERATION,
        "Time in seconds that HTTP attempts of an AWS operation waited for the rate limit of the exporter.",
        |own, samples| own.api_request_wait.write(samples),
    ),
    counter(
        "glue_integration_exporter_api_requests_total",
        OPERATION,
        "Number of HTTP attempts of an AWS operation.",
        |own, samples| own.api_requests.write(samples),
    ),
    family(
        MetricType::Gauge,
        "glue_integration_exporter_build_info",
        BUILD,
        "Always 1, labeled with the version of the exporter, its commit and the Rust version that compiled it.",
        |own, samples| samples.rendered("", &own.build, 1.0),
    ),
    counter(
        "glue_integration_exporter_cloudwatch_metrics_requested_total",
        SCOPE,
        "Number of metrics that the exporter requested from CloudWatch for the scope, which AWS bills; absent for scopes without freshness.",
        |own, samples| own.metrics_requested.write(samples),
    ),
    gauge(
        "glue_integration_exporter_config_last_reload_success_timestamp_seconds",
        "Unix time in seconds at which the configuration was last loaded successfully.",
        |own, samples| samples.value(own.reload_time.get()),
    ),
    gauge(
        "glue_integration_exporter_config_last_reload_successful",
        "1 if the last attempt to load the configuration and the web configuration succeeded, otherwise 0.",
        |own, samples| {
            let both = [&own.config_ok, &own.web_config_ok];
            let ok = both.iter().all(|ok| ok.load(Ordering::Relaxed));
            samples.value(f64::from(ok));
        },
    ),
    counter(
        "glue_integration_exporter_http_requests_total",
        PATH_CODE,
        "Number of HTTP requests that the exporter answered, by path and status code; unknown paths count as other.",
        |own, samples| own.http_requests.write(samples),
    ),
    counter(
        "glue_integration_exporter_log_lines_dropped_total",
        &[],
        "Number of log lines that were lost because stderr was not read or could not be written.",
        |_, samples| samples.value(count(stderr::dropped())),
    ),
    counter(
        "glue_integration_exporter_poll_failures_total",
        SCOPE_REASON,
        "Number of polls of the scope in which a query failed, by reason; a poll counts once for each different reason.",
        |own, samples| own.poll_failures.write(samples),
    ),
    counter(
        "glue_integration_exporter_polls_skipped_total",
        SCOPE,
        "Number of polls of the scope that were due but skipped, because the previous poll was still running or because AWS throttled the scope.",
        |own, samples| own.polls_skipped.write(samples),
    ),
    counter(
        "glue_integration_exporter_polls_total",
        SCOPE,
        "Number of polls of the scope that ended, successful or not.",
        |own, samples| own.polls.write(samples),
    ),
    family(
        MetricType::Gauge,
        "glue_integration_exporter_shard_info",
        &["shard_index", "shard_total"],
        "Always 1, labeled with the index of this shard, counted from 0, and the number of shards.",
        |own, samples| {
            let [index, total] = [own.shard.index, own.shard.total].map(|it| it.to_string());
            samples.labelled(&[&index, &total], 1.0);
        },
    ),
    gauge(
        "glue_integration_exporter_shards",
        "Number of shards among which the configuration is divided, as configured for this exporter; 1 if it watches everything.",
        |own, samples| samples.value(f64::from(own.shard.total)),
    ),
    counter(
        "glue_integration_exporter_unknown_statuses_total",
        &[],
        "Number of times a poll returned an integration with an unknown or missing status.",
        |own, samples| samples.value(count(own.unknown_statuses.load(Ordering::Relaxed))),
    ),
];

/// Bucket bounds in seconds. AWS responds within tens to hundreds of milliseconds; with the default timeout an attempt ends after 15 s.
const DURATION_BUCKETS: &[f64] = &[0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0];

#[derive(Debug)]
pub struct Telemetry {
    api_requests: CounterVec,
    api_request_failures: CounterVec,
    api_request_duration: HistogramVec,
    api_request_wait: HistogramVec,
    build: String,
    config_ok: AtomicBool,
    web_config_ok: AtomicBool,
    reload_time: Gauge,
    http_requests: CounterVec,
    metrics_requested: CounterVec,
    polls: CounterVec,
    polls_skipped: CounterVec,
    poll_failures: CounterVec,
    shard: Shard,
    unknown_statuses: AtomicU64,
}

impl Telemetry {
    pub fn new() -> prometheus::Result<Self> {
        Self::with_shard(Shard::SINGLE)
    }

    /// Known series exist from the start at 0, because Prometheus cannot see the increase of a counter that appears at 1.
    pub fn with_shard(shard: Shard) -> prometheus::Result<Self> {
        let rust = version::rust_version();
        let build = [version::VERSION, version::REVISION, &rust];
        let api_requests = CounterVec::new(OPERATION);
        let api_request_failures = CounterVec::new(OPERATION_REASON);
        for operation in Operation::ALL.iter().map(|operation| operation.as_str()) {
            api_requests.add(&[operation], 0);
            for reason in Reason::ALL {
                api_request_failures.add(&[operation, reason.as_str()], 0);
            }
        }
        Ok(Self {
            api_requests,
            api_request_failures,
            api_request_duration: HistogramVec::new()?,
            api_request_wait: HistogramVec::new()?,
            build: labels(BUILD.iter().copied().zip(build)),
            config_ok: AtomicBool::new(false),
            web_config_ok: AtomicBool::new(true),
            reload_time: Gauge::new("reload_time", "Reload time.")?,
            http_requests: CounterVec::new(PATH_CODE),
            metrics_requested: CounterVec::new(SCOPE),
            polls: CounterVec::new(SCOPE),
            polls_skipped: CounterVec::new(SCOPE),
            poll_failures: CounterVec::new(SCOPE_REASON),
            shard,
            unknown_statuses: AtomicU64::new(0),
        })
    }

    pub fn add_scope(&self, watch: &ScopeRegion) {
        let scope = [watch.scope.as_str(), watch.region.as_str()];
        if watch.freshness.is_some() {
            self.metrics_requested.add(&scope, 0);
        } else {
            // A reload may have switched it off.
            self.metrics_requested.remove(&scope);
        }
        self.polls.add(&scope, 0);
        self.polls_skipped.add(&scope, 0);
        for reason in Reason::ALL {
            let [scope, region] = scope;
            self.poll_failures.add(&[scope, region, reason.as_str()], 0);
        }
    }

    pub fn remove_scope(&self, (scope, region): &Key) {
        self.metrics_requested.remove(&[scope, region]);
        self.polls.remove(&[scope, region]);
        self.polls_skipped.remove(&[scope, region]);
        self.poll_failures.remove(&[scope, region]);
    }

    pub fn metrics_requested(&self, (scope, region): &Key, metrics: u64) {
        self.metrics_requested.add(&[scope, region], metrics);
    }

    pub fn poll_ended(&self, (scope, region): &Key, reasons: &BTreeSet<Reason>) {
        self.polls.add(&[scope, region], 1);
        for reason in reasons {
            self.poll_failures.add(&[scope, region, reason.as_str()], 1);
        }
    }

    pub fn polls_skipped(&self, (scope, region): &Key, polls: u64) {
        self.polls_skipped.add(&[scope, region], polls);
    }

    pub fn unknown_status(&self) {
        self.unknown_statuses.fetch_add(1, Ordering::Relaxed);
    }

    pub fn config_loaded(&self, now: f64) {
        self.config_ok.store(true, Ordering::Relaxed);
        self.reload_time.set(now);
    }

    pub fn config_rejected(&self) {
        self.config_ok.store(false, Ordering::Relaxed);
    }

    pub fn web_config_reread(&self, accepted: bool) {
        self.web_config_ok.store(accepted, Ordering::Relaxed);
    }

    pub fn add_path(&self, path: &str, code: u16) {
        self.http_requests.add(&[path, &code.to_string()], 0);
    }

    pub fn http_request(&self, path: &str, code: u16) {
        self.http_requests.add(&[path, &code.to_string()], 1);
    }
}

impl Observer for Telemetry {
    fn waited(&self, operation: Operation, duration: Duration) {
        self.api_request_wait.observe(operation, duration);
    }

    fn sent(&self, operation: Operation) {
        self.api_requests.add(&[operation.as_str()], 1);
    }

    fn ended(&self, operation: Operation, duration: Duration, failure: Option<Reason>) {
        self.api_request_duration.observe(operation, duration);
        if let Some(reason) = failure {
            self.api_request_failures
                .add(&[operation.as_str(), reason.as_str()], 1);
        }
    }
}

#[derive(Debug)]
struct HistogramVec(Vec<OperationHistogram>);

#[derive(Debug)]
struct OperationHistogram {
    histogram: Histogram,
    labels: String,
    /// `labels` with the label `le` of each bucket.
    buckets: Vec<String>,
}

impl HistogramVec {
    fn new() -> prometheus::Result<Self> {
        let histograms = Operation::ALL.iter().copied().map(OperationHistogram::new);
        Ok(Self(histograms.collect::<prometheus::Result<_>>()?))
    }

    fn observe(&self, operation: Operation, duration: Duration) {
        let of_operation = &self.0[operation as usize];
        of_operation.histogram.observe(duration.as_secs_f64());
    }

    fn write(&self, samples: &mut Samples<'_>) {
        for operation in &self.0 {
            let proto = operation.histogram.metric();
            let proto = proto.get_histogram();
            let total = proto.get_sample_count();
            let counts = proto.get_bucket().iter().map(Bucket::cumulative_count);
            for (labels, number) in operation.buckets.iter().zip(counts.chain([total])) {
                samples.rendered("_bucket", labels, count(number));
            }
            samples.rendered("_sum", &operation.labels, proto.get_sample_sum());
            samples.rendered("_count", &operation.labels, count(total));
        }
    }
}

impl OperationHistogram {
    fn new(operation: Operation) -> prometheus::Result<Self> {
        let of_operation = (OPERATION[0], operation.as_str());
        // OpenMetrics requires `le="1.0"`, but the `prometheus` crate writes `le="1"`. `Debug` writes 1.0.
        let bounds = DURATION_BUCKETS.iter().map(|bound| format!("{bound:?}"));
        let bounds = bounds.chain(["+Inf".to_owned()]);
        let buckets = bounds.map(|bound| labels([of_operation, ("le", &bound)]));
        let opts = HistogramOpts::new("duration_seconds", "Duration.");
        Ok(Self {
            histogram: Histogram::with_opts(opts.buckets(DURATION_BUCKETS.to_vec()))?,
            buckets: buckets.collect(),
            labels: labels([of_operation]),
        })
    }
}
