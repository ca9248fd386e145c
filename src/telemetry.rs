//! The exporter about itself. Only this file and `counters` name the `prometheus` crate. Never integration data (see `families`).

use crate::config::{RegionName, ScopeName};
use crate::exposition::counters::Counters;
use crate::exposition::text_format::{Metric, MetricType, Samples, Text, count, label};
use crate::glue::{Observer, Operation, Reason};
use crate::shard::Shard;
use crate::stderr;
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
    "How long an HTTP attempt of an AWS Glue operation took, whatever came of it.",
);
const API_REQUEST_FAILURES: Metric = metric(
    "glue_integration_exporter_api_request_failures_total",
    MetricType::Counter,
    &["operation", "reason"],
    "HTTP attempts of an AWS Glue operation that failed. That a configured integration does not exist is an answer, not a failure.",
);
const API_REQUEST_WAIT: Metric = metric(
    "glue_integration_exporter_api_request_wait_seconds",
    MetricType::Histogram,
    &["operation"],
    "How long an HTTP attempt of an AWS Glue operation waited for its turn under polling.requests_per_second.",
);
const API_REQUESTS: Metric = metric(
    "glue_integration_exporter_api_requests_total",
    MetricType::Counter,
    &["operation"],
    "HTTP attempts of an AWS Glue operation.",
);
const BUILD_INFO: Metric = metric(
    "glue_integration_exporter_build_info",
    MetricType::Gauge,
    &["version", "revision", "rust_version"],
    "The version of the exporter, the commit and the compiler that it was built with; always 1.",
);
const RELOAD_TIME: Metric = metric(
    "glue_integration_exporter_config_last_reload_success_timestamp_seconds",
    MetricType::Gauge,
    &[],
    "When the configuration was last loaded with success, in Unix time.",
);
const RELOAD_OK: Metric = metric(
    "glue_integration_exporter_config_last_reload_successful",
    MetricType::Gauge,
    &[],
    "Whether the last attempt to load the configuration was successful (1) or not (0).",
);
const HTTP_REQUESTS: Metric = metric(
    "glue_integration_exporter_http_requests_total",
    MetricType::Counter,
    &["path", "code"],
    "HTTP requests that the exporter answered, by path (other for the unknown ones) and status code.",
);
const LOG_LINES_DROPPED: Metric = metric(
    "glue_integration_exporter_log_lines_dropped_total",
    MetricType::Counter,
    &[],
    "Log lines that were lost because stderr was not read or could not be written.",
);
const POLL_FAILURES: Metric = metric(
    "glue_integration_exporter_poll_failures_total",
    MetricType::Counter,
    &["scope", "aws_region", "reason"],
    "Polls of the scope that did not get everything, once for each different reason among their failures.",
);
const POLLS_SKIPPED: Metric = metric(
    "glue_integration_exporter_polls_skipped_total",
    MetricType::Counter,
    &["scope", "aws_region"],
    "Polls of the scope that were due and not made: the one before had not ended, or the scope waits longer because AWS throttles it.",
);
const POLLS: Metric = metric(
    "glue_integration_exporter_polls_total",
    MetricType::Counter,
    &["scope", "aws_region"],
    "Polls of the scope that have ended, well or badly.",
);
const SHARD_INFO: Metric = metric(
    "glue_integration_exporter_shard_info",
    MetricType::Gauge,
    &["shard_index", "shard_total"],
    "Which shard this exporter is, counted from 0, and of how many; always 1.",
);
const SHARDS: Metric = metric(
    "glue_integration_exporter_shards",
    MetricType::Gauge,
    &[],
    "Among how many shards the configuration is shared out, as this exporter was told; 1 if it watches everything.",
);
const UNKNOWN_STATUSES: Metric = metric(
    "glue_integration_exporter_unknown_statuses_total",
    MetricType::Counter,
    &[],
    "Sights of an integration with a status that the exporter does not know, or with none; each one in each poll counts.",
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

/// AWS answers in tens to hundreds of milliseconds; an attempt is given up after 15 s with the default timeout.
const DURATION_BUCKETS: &[f64] = &[0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0];

/// The exporter's own metrics.
#[derive(Debug)]
pub struct Telemetry {
    api_requests: Counters,
    api_request_failures: Counters,
    api_request_duration: Histograms,
    api_request_wait: Histograms,
    /// The labels of what was built.
    build: String,
    reload_ok: Gauge,
    web_config_refused: AtomicBool,
    reload_time: Gauge,
    http_requests: Counters,
    polls: Counters,
    polls_skipped: Counters,
    poll_failures: Counters,
    shard: Shard,
    unknown_statuses: IntCounter,
}

/// A histogram for each operation of AWS.
#[derive(Debug)]
struct Histograms {
    metric: Metric,
    rows: Vec<OfOperation>,
}

#[derive(Debug)]
struct OfOperation {
    operation: Operation,
    histogram: Histogram,
    labels: String,
    /// The same with each bound.
    buckets: Vec<String>,
}

impl Telemetry {
    /// Of an exporter that watches everything.
    ///
    /// # Errors
    /// As of `with_shard`.
    pub fn new() -> prometheus::Result<Self> {
        Self::with_shard(Shard::SINGLE)
    }

    /// Every row of a counter with a closed label is there from the start, at 0: a counter that appears at 1 has an increase that
    /// Prometheus never sees.
    ///
    /// # Errors
    /// If the crate refuses the name of a metric, which a test would find.
    pub fn with_shard(shard: Shard) -> prometheus::Result<Self> {
        let telemetry = Self {
            api_requests: Counters::new(API_REQUESTS),
            api_request_failures: Counters::new(API_REQUEST_FAILURES),
            api_request_duration: Histograms::new(API_REQUEST_DURATION)?,
            api_request_wait: Histograms::new(API_REQUEST_WAIT)?,
            build: build(),
            reload_ok: Gauge::new(RELOAD_OK.name, RELOAD_OK.help)?,
            web_config_refused: AtomicBool::new(false),
            reload_time: Gauge::new(RELOAD_TIME.name, RELOAD_TIME.help)?,
            http_requests: Counters::new(HTTP_REQUESTS),
            polls: Counters::new(POLLS),
            polls_skipped: Counters::new(POLLS_SKIPPED),
            poll_failures: Counters::new(POLL_FAILURES),
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

    /// Starts the counters of a scope.
    pub fn add_scope(&self, scope: &ScopeName, region: &RegionName) {
        let (scope, region) = (scope.as_str(), region.as_str());
        self.polls.add(&[scope, region], 0);
        self.polls_skipped.add(&[scope, region], 0);
        for reason in Reason::ALL {
            self.poll_failures.add(&[scope, region, reason.as_str()], 0);
        }
    }

    /// Ends the counters of a scope that is not watched any more.
    pub fn remove_scope(&self, scope: &ScopeName, region: &RegionName) {
        let (scope, region) = (scope.as_str(), region.as_str());
        self.polls.remove(&[scope, region]);
        self.polls_skipped.remove(&[scope, region]);
        for reason in Reason::ALL {
            self.poll_failures.remove(&[scope, region, reason.as_str()]);
        }
    }

    /// A poll ended, failing for these reasons.
    pub fn poll_ended(&self, scope: &ScopeName, region: &RegionName, reasons: &BTreeSet<Reason>) {
        let (scope, region) = (scope.as_str(), region.as_str());
        self.polls.add(&[scope, region], 1);
        for reason in reasons {
            self.poll_failures.add(&[scope, region, reason.as_str()], 1);
        }
    }

    /// So many polls were due and not made.
    pub fn polls_skipped(&self, scope: &ScopeName, region: &RegionName, polls: u64) {
        self.polls_skipped
            .add(&[scope.as_str(), region.as_str()], polls);
    }

    /// AWS sent a status that is not among the known ones.
    pub fn unknown_status(&self) {
        self.unknown_statuses.inc();
    }

    /// The configuration was loaded at `now`, in Unix seconds.
    pub fn config_loaded(&self, now: f64) {
        self.reload_ok.set(1.0);
        self.reload_time.set(now);
    }

    /// A new configuration was refused.
    pub fn config_refused(&self) {
        self.reload_ok.set(0.0);
    }

    /// A new web configuration was loaded, or refused. The gauge of the configuration is about both files.
    pub fn web_config_reread(&self, well: bool) {
        self.web_config_refused.store(!well, Ordering::Relaxed);
    }

    /// Starts the counter of a path with a status code that it can be answered with.
    pub fn add_path(&self, path: &str, code: u16) {
        self.http_requests.add(&[path, &code.to_string()], 0);
    }

    /// A request was answered.
    pub fn http_request(&self, path: &str, code: u16) {
        self.http_requests.add(&[path, &code.to_string()], 1);
    }

    /// Writes all of it in the order of the names, with the families of scopes, written elsewhere, in their place.
    pub fn write(&self, text: &mut Text, scopes: &[(Metric, Samples)]) {
        self.api_request_duration.write(text);
        self.api_request_failures.write(text);
        self.api_request_wait.write(text);
        self.api_requests.write(text);
        text.sample(&BUILD_INFO, &self.build, 1.0);
        text.sample(&RELOAD_TIME, "", self.reload_time.get());
        let reload_ok = if self.web_config_refused.load(Ordering::Relaxed) {
            0.0
        } else {
            self.reload_ok.get()
        };
        text.sample(&RELOAD_OK, "", reload_ok);
        self.http_requests.write(text);
        text.sample(&LOG_LINES_DROPPED, "", count(stderr::dropped()));
        self.poll_failures.write(text);
        self.polls_skipped.write(text);
        self.polls.write(text);
        for (metric, samples) in scopes {
            text.family(metric, samples);
        }
        let (index, total) = (self.shard.index(), self.shard.total());
        let mut which = String::new();
        for (name, value) in SHARD_INFO.labels.iter().zip([index, total]) {
            label(&mut which, name, &value.to_string());
        }
        text.sample(&SHARD_INFO, &which, 1.0);
        text.sample(&SHARDS, "", f64::from(total));
        let unknown = self.unknown_statuses.get();
        text.sample(&UNKNOWN_STATUSES, "", count(unknown));
    }
}

fn build() -> String {
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

impl Histograms {
    fn new(metric: Metric) -> prometheus::Result<Self> {
        let rows = Operation::ALL
            .into_iter()
            .map(|operation| OfOperation::new(operation, &metric))
            .collect::<prometheus::Result<_>>()?;
        Ok(Self { metric, rows })
    }

    fn observe(&self, operation: Operation, duration: Duration) {
        for row in self.rows.iter().filter(|row| row.operation == operation) {
            row.histogram.observe(duration.as_secs_f64());
        }
    }

    fn write(&self, text: &mut Text) {
        let mut samples = Samples::default();
        let part = |suffix| format!("{}_{suffix}", self.metric.name);
        let (bucket, sum, observed) = (part("bucket"), part("sum"), part("count"));
        for row in &self.rows {
            let histogram = row.histogram.metric();
            let histogram = histogram.get_histogram();
            let all = histogram.get_sample_count();
            let below = histogram.get_bucket().iter();
            let below = below.map(Bucket::cumulative_count).chain([all]);
            for (labels, number) in row.buckets.iter().zip(below) {
                samples.add(&bucket, labels, count(number));
            }
            samples.add(&sum, &row.labels, histogram.get_sample_sum());
            samples.add(&observed, &row.labels, count(all));
        }
        text.family(&self.metric, &samples);
    }
}

impl OfOperation {
    /// Not with the crate's own encoder: it prints the bounds as `le="1"` where OpenMetrics has `le="1.0"`, so a series would change
    /// its identity with the format.
    fn new(operation: Operation, metric: &Metric) -> prometheus::Result<Self> {
        let mut labels = String::new();
        label(&mut labels, "operation", operation.as_str());
        // Debug writes a whole number as 1.0.
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
