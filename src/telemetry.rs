//! The exporter's own metrics. Only this file and `counters` use the `prometheus` crate. `families` has the metrics of integrations.

use crate::config::{RegionName, ScopeName};
use crate::exposition::counters::CounterVec;
use crate::exposition::text_format::{Metric, MetricType, Samples, Writer, count, label};
use crate::glue::{Observer, Operation, Reason};
use crate::shard::Shard;
use crate::toolkit::stderr;
use crate::version;
use prometheus::core::Metric as _;
use prometheus::proto::Bucket;
use prometheus::{Gauge, Histogram, HistogramOpts, IntCounter};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const fn metric(
    name: &'static str,
    kind: MetricType,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric {
        name,
        kind,
        labels,
        tagged: false,
        help,
    }
}

const API_REQUEST_DURATION: Metric = metric(
    "glue_integration_exporter_api_request_duration_seconds",
    MetricType::Histogram,
    &["operation"],
    "Duration of HTTP attempts of an AWS Glue operation in seconds, successful or not.",
);
const API_REQUEST_FAILURES: Metric = metric(
    "glue_integration_exporter_api_request_failures_total",
    MetricType::Counter,
    &["operation", "reason"],
    "Number of failed HTTP attempts of an AWS Glue operation; the answer that a configured integration does not exist is not a failure.",
);
const API_REQUEST_WAIT: Metric = metric(
    "glue_integration_exporter_api_request_wait_seconds",
    MetricType::Histogram,
    &["operation"],
    "Time in seconds that HTTP attempts of an AWS Glue operation waited for the rate limit polling.requests_per_second.",
);
const API_REQUESTS: Metric = metric(
    "glue_integration_exporter_api_requests_total",
    MetricType::Counter,
    &["operation"],
    "Number of HTTP attempts of an AWS Glue operation.",
);
const BUILD_INFO: Metric = metric(
    "glue_integration_exporter_build_info",
    MetricType::Gauge,
    &["version", "revision", "rust_version"],
    "Always 1, labeled with the version of the exporter, its commit and the Rust version that compiled it.",
);
const RELOAD_TIME: Metric = metric(
    "glue_integration_exporter_config_last_reload_success_timestamp_seconds",
    MetricType::Gauge,
    &[],
    "Unix time in seconds at which the configuration was last loaded successfully.",
);
const RELOAD_OK: Metric = metric(
    "glue_integration_exporter_config_last_reload_successful",
    MetricType::Gauge,
    &[],
    "1 if the last attempt to load the configuration and the web configuration succeeded, otherwise 0.",
);
const HTTP_REQUESTS: Metric = metric(
    "glue_integration_exporter_http_requests_total",
    MetricType::Counter,
    &["path", "code"],
    "Number of HTTP requests that the exporter answered, by path and status code; unknown paths count as other.",
);
const LOG_LINES_DROPPED: Metric = metric(
    "glue_integration_exporter_log_lines_dropped_total",
    MetricType::Counter,
    &[],
    "Number of log lines that were lost because stderr was not read or could not be written.",
);
const POLL_FAILURES: Metric = metric(
    "glue_integration_exporter_poll_failures_total",
    MetricType::Counter,
    &["scope", "aws_region", "reason"],
    "Number of polls of the scope in which a query failed, by reason; a poll counts once for each different reason.",
);
const POLLS_SKIPPED: Metric = metric(
    "glue_integration_exporter_polls_skipped_total",
    MetricType::Counter,
    &["scope", "aws_region"],
    "Number of polls of the scope that were due but skipped, because the previous poll was still running or because AWS throttled the scope.",
);
const POLLS: Metric = metric(
    "glue_integration_exporter_polls_total",
    MetricType::Counter,
    &["scope", "aws_region"],
    "Number of polls of the scope that ended, successful or not.",
);
const SHARD_INFO: Metric = metric(
    "glue_integration_exporter_shard_info",
    MetricType::Gauge,
    &["shard_index", "shard_total"],
    "Always 1, labeled with the index of this shard, counted from 0, and the number of shards.",
);
const SHARDS: Metric = metric(
    "glue_integration_exporter_shards",
    MetricType::Gauge,
    &[],
    "Number of shards among which the configuration is divided, as configured for this exporter; 1 if it watches everything.",
);
const UNKNOWN_STATUSES: Metric = metric(
    "glue_integration_exporter_unknown_statuses_total",
    MetricType::Counter,
    &[],
    "Number of times a poll returned an integration with an unknown or missing status.",
);

/// Every metric of this file.
pub const METRICS: &[Metric] = &[
    API_REQUEST_DURATION,
    API_REQUEST_FAILURES,
    API_REQUEST_WAIT,
    API_REQUESTS,
    BUILD_INFO,
    RELOAD_TIME,
    RELOAD_OK,
    HTTP_REQUESTS,
    LOG_LINES_DROPPED,
    POLL_FAILURES,
    POLLS_SKIPPED,
    POLLS,
    SHARD_INFO,
    SHARDS,
    UNKNOWN_STATUSES,
];

/// Bucket bounds in seconds. AWS responds within tens to hundreds of milliseconds; with the default timeout an attempt ends after 15 s.
const DURATION_BUCKETS: &[f64] = &[0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0];

/// The exporter's own metrics.
#[derive(Debug)]
pub struct Telemetry {
    api_requests: CounterVec,
    api_request_failures: CounterVec,
    api_request_duration: HistogramVec,
    api_request_wait: HistogramVec,
    /// The labels of the build information.
    build: String,
    reload_ok: Gauge,
    web_config_rejected: AtomicBool,
    reload_time: Gauge,
    http_requests: CounterVec,
    polls: CounterVec,
    polls_skipped: CounterVec,
    poll_failures: CounterVec,
    shard: Shard,
    unknown_statuses: IntCounter,
}

/// A histogram for each AWS operation.
#[derive(Debug)]
struct HistogramVec {
    metric: Metric,
    histograms: Vec<OperationHistogram>,
}

#[derive(Debug)]
struct OperationHistogram {
    operation: Operation,
    histogram: Histogram,
    labels: String,
    /// `labels` with the label `le` of each bucket.
    buckets: Vec<String>,
}

impl Telemetry {
    /// Creates the metrics of an exporter that watches everything.
    ///
    /// # Errors
    /// As `with_shard`.
    pub fn new() -> prometheus::Result<Self> {
        Self::with_shard(Shard::SINGLE)
    }

    /// Creates the metrics of a shard. Every series of a counter with a closed set of label values exists from the start at 0, because
    /// Prometheus cannot see the increase of a counter that appears at 1.
    ///
    /// # Errors
    /// If the `prometheus` crate rejects the name of a metric.
    pub fn with_shard(shard: Shard) -> prometheus::Result<Self> {
        let telemetry = Self {
            api_requests: CounterVec::new(API_REQUESTS),
            api_request_failures: CounterVec::new(API_REQUEST_FAILURES),
            api_request_duration: HistogramVec::new(API_REQUEST_DURATION)?,
            api_request_wait: HistogramVec::new(API_REQUEST_WAIT)?,
            build: build_labels(),
            reload_ok: Gauge::new(RELOAD_OK.name, RELOAD_OK.help)?,
            web_config_rejected: AtomicBool::new(false),
            reload_time: Gauge::new(RELOAD_TIME.name, RELOAD_TIME.help)?,
            http_requests: CounterVec::new(HTTP_REQUESTS),
            polls: CounterVec::new(POLLS),
            polls_skipped: CounterVec::new(POLLS_SKIPPED),
            poll_failures: CounterVec::new(POLL_FAILURES),
            shard,
            unknown_statuses: IntCounter::new(UNKNOWN_STATUSES.name, UNKNOWN_STATUSES.help)?,
        };
        for operation in Operation::ALL {
            telemetry.api_requests.add(&[operation.as_str()], 0);
            for reason in Reason::ALL {
                telemetry
                    .api_request_failures
                    .add(&[operation.as_str(), reason.as_str()], 0);
            }
        }
        Ok(telemetry)
    }

    /// Creates the counters of a scope.
    pub fn add_scope(&self, scope: &ScopeName, region: &RegionName) {
        let (scope, region) = (scope.as_str(), region.as_str());
        self.polls.add(&[scope, region], 0);
        self.polls_skipped.add(&[scope, region], 0);
        for reason in Reason::ALL {
            self.poll_failures.add(&[scope, region, reason.as_str()], 0);
        }
    }

    /// Removes the counters of a scope.
    pub fn remove_scope(&self, scope: &ScopeName, region: &RegionName) {
        let (scope, region) = (scope.as_str(), region.as_str());
        self.polls.remove(&[scope, region]);
        self.polls_skipped.remove(&[scope, region]);
        for reason in Reason::ALL {
            self.poll_failures.remove(&[scope, region, reason.as_str()]);
        }
    }

    /// Counts a poll that ended, and each reason for which it failed.
    pub fn poll_ended(&self, scope: &ScopeName, region: &RegionName, reasons: &BTreeSet<Reason>) {
        let (scope, region) = (scope.as_str(), region.as_str());
        self.polls.add(&[scope, region], 1);
        for reason in reasons {
            self.poll_failures.add(&[scope, region, reason.as_str()], 1);
        }
    }

    /// Counts polls that were due but skipped.
    pub fn polls_skipped(&self, scope: &ScopeName, region: &RegionName, polls: u64) {
        self.polls_skipped
            .add(&[scope.as_str(), region.as_str()], polls);
    }

    /// Counts an integration with an unknown or missing status.
    pub fn unknown_status(&self) {
        self.unknown_statuses.inc();
    }

    /// Records that the configuration was loaded successfully at `now`, in Unix seconds.
    pub fn config_loaded(&self, now: f64) {
        self.reload_ok.set(1.0);
        self.reload_time.set(now);
    }

    /// Records that a new configuration was rejected.
    pub fn config_rejected(&self) {
        self.reload_ok.set(0.0);
    }

    /// Records whether a new web configuration was accepted. `config_last_reload_successful` covers both files.
    pub fn web_config_reread(&self, accepted: bool) {
        self.web_config_rejected.store(!accepted, Ordering::Relaxed);
    }

    /// Creates the counter of a path and a status code that it can return.
    pub fn add_path(&self, path: &str, code: u16) {
        self.http_requests.add(&[path, &code.to_string()], 0);
    }

    /// Counts an answered request.
    pub fn http_request(&self, path: &str, code: u16) {
        self.http_requests.add(&[path, &code.to_string()], 1);
    }

    /// Writes all metrics sorted by name. The families of `scopes` are written in their place.
    pub fn write(&self, writer: &mut Writer, scopes: &[(Metric, Samples)]) {
        self.api_request_duration.write(writer);
        self.api_request_failures.write(writer);
        self.api_request_wait.write(writer);
        self.api_requests.write(writer);
        writer.sample(&BUILD_INFO, &self.build, 1.0);
        writer.sample(&RELOAD_TIME, "", self.reload_time.get());
        let reload_ok = if self.web_config_rejected.load(Ordering::Relaxed) {
            0.0
        } else {
            self.reload_ok.get()
        };
        writer.sample(&RELOAD_OK, "", reload_ok);
        self.http_requests.write(writer);
        writer.sample(&LOG_LINES_DROPPED, "", count(stderr::dropped()));
        self.poll_failures.write(writer);
        self.polls_skipped.write(writer);
        self.polls.write(writer);
        for (metric, samples) in scopes {
            writer.family(metric, samples);
        }
        let (index, total) = (self.shard.index(), self.shard.total());
        let mut labels = String::new();
        for (name, value) in SHARD_INFO.labels.iter().zip([index, total]) {
            label(&mut labels, name, &value.to_string());
        }
        writer.sample(&SHARD_INFO, &labels, 1.0);
        writer.sample(&SHARDS, "", f64::from(total));
        let unknown = self.unknown_statuses.get();
        writer.sample(&UNKNOWN_STATUSES, "", count(unknown));
    }
}

fn build_labels() -> String {
    let mut labels = String::new();
    let rust = version::rust_version();
    let values = [version::VERSION, version::REVISION, &rust];
    for (name, value) in BUILD_INFO.labels.iter().zip(values) {
        label(&mut labels, name, value);
    }
    labels
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

impl HistogramVec {
    fn new(metric: Metric) -> prometheus::Result<Self> {
        let histograms = Operation::ALL
            .iter()
            .map(|operation| OperationHistogram::new(*operation, &metric))
            .collect::<prometheus::Result<_>>()?;
        Ok(Self { metric, histograms })
    }

    fn observe(&self, operation: Operation, duration: Duration) {
        let mut histograms = self.histograms.iter();
        if let Some(found) = histograms.find(|candidate| candidate.operation == operation) {
            found.histogram.observe(duration.as_secs_f64());
        }
    }

    fn write(&self, writer: &mut Writer) {
        let mut samples = Samples::default();
        let with_suffix = |suffix| format!("{}_{suffix}", self.metric.name);
        let (bucket_name, sum_name, count_name) = (
            with_suffix("bucket"),
            with_suffix("sum"),
            with_suffix("count"),
        );
        for operation in &self.histograms {
            let proto = operation.histogram.metric();
            let proto = proto.get_histogram();
            let total = proto.get_sample_count();
            let counts = proto.get_bucket().iter().map(Bucket::cumulative_count);
            for (labels, number) in operation.buckets.iter().zip(counts.chain([total])) {
                samples.add(&bucket_name, labels, count(number));
            }
            samples.add(&sum_name, &operation.labels, proto.get_sample_sum());
            samples.add(&count_name, &operation.labels, count(total));
        }
        writer.family(&self.metric, &samples);
    }
}

impl OperationHistogram {
    /// Creates the histogram of an operation and the labels of its series. The encoder of the `prometheus` crate is not used: it writes
    /// `le="1"` where OpenMetrics requires `le="1.0"`, so that the identity of a series would depend on the format.
    fn new(operation: Operation, metric: &Metric) -> prometheus::Result<Self> {
        let mut labels = String::new();
        label(&mut labels, "operation", operation.as_str());
        // `Debug` writes a whole number as 1.0.
        let bounds = DURATION_BUCKETS.iter().map(|bound| format!("{bound:?}"));
        let buckets = bounds.chain(["+Inf".to_owned()]).map(|bound| {
            let mut labels = labels.clone();
            label(&mut labels, "le", &bound);
            labels
        });
        let opts = HistogramOpts::new(metric.name, metric.help);
        Ok(Self {
            operation,
            histogram: Histogram::with_opts(opts.buckets(DURATION_BUCKETS.to_vec()))?,
            buckets: buckets.collect(),
            labels,
        })
    }
}
