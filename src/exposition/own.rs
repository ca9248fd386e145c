//! The exporter about itself. Only this file names the `prometheus` crate: what it counts has labels of our own choosing, a few
//! hundred series at the most, so its vectors serve well here. Never integration data (see `families`).

use super::families::count;
use super::text::{Kind, Metric, Samples, Text, label};
use crate::config::{RegionName, ScopeName};
use crate::glue::{Observer, Operation, Reason};
use prometheus::core::Collector;
use prometheus::proto::{MetricFamily, MetricType};
use prometheus::{
    Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts, Registry,
};
use std::collections::BTreeSet;
use std::time::Duration;

const fn metric(
    name: &'static str,
    kind: Kind,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric {
        name,
        kind,
        labels,
        help,
    }
}

const API_REQUEST_DURATION: Metric = metric(
    "glue_integration_exporter_api_request_duration_seconds",
    Kind::Histogram,
    &["operation"],
    "How long an HTTP attempt of an AWS Glue operation took, whatever came of it.",
);
const API_REQUEST_FAILURES: Metric = metric(
    "glue_integration_exporter_api_request_failures_total",
    Kind::Counter,
    &["operation", "reason"],
    "HTTP attempts of an AWS Glue operation that failed. That a configured integration does not exist is an answer, not a failure.",
);
const API_REQUEST_WAIT: Metric = metric(
    "glue_integration_exporter_api_request_wait_seconds",
    Kind::Histogram,
    &["operation"],
    "How long an HTTP attempt of an AWS Glue operation waited for its turn under polling.requests_per_second.",
);
const API_REQUESTS: Metric = metric(
    "glue_integration_exporter_api_requests_total",
    Kind::Counter,
    &["operation"],
    "HTTP attempts of an AWS Glue operation.",
);
const BUILD_INFO: Metric = metric(
    "glue_integration_exporter_build_info",
    Kind::Gauge,
    &["version", "revision", "rust_version"],
    "The version of the exporter, the commit and the compiler that it was built with; always 1.",
);
const RELOAD_TIME: Metric = metric(
    "glue_integration_exporter_config_last_reload_success_timestamp_seconds",
    Kind::Gauge,
    &[],
    "When the configuration was last loaded with success, in Unix time.",
);
const RELOAD_OK: Metric = metric(
    "glue_integration_exporter_config_last_reload_successful",
    Kind::Gauge,
    &[],
    "Whether the last attempt to load the configuration was successful (1) or not (0).",
);
const HTTP_REQUESTS: Metric = metric(
    "glue_integration_exporter_http_requests_total",
    Kind::Counter,
    &["path", "code"],
    "HTTP requests that the exporter answered, by path (other for the unknown ones) and status code.",
);
const POLL_FAILURES: Metric = metric(
    "glue_integration_exporter_poll_failures_total",
    Kind::Counter,
    &["scope", "aws_region", "reason"],
    "Polls of the scope that did not get everything, once for each different reason among their failures.",
);
const POLLS_SKIPPED: Metric = metric(
    "glue_integration_exporter_polls_skipped_total",
    Kind::Counter,
    &["scope", "aws_region"],
    "Polls of the scope that were due and not made: the one before had not ended, or the scope waits longer because AWS throttles it.",
);
const POLLS: Metric = metric(
    "glue_integration_exporter_polls_total",
    Kind::Counter,
    &["scope", "aws_region"],
    "Polls of the scope that have ended, well or badly.",
);
const UNKNOWN_STATUSES: Metric = metric(
    "glue_integration_exporter_unknown_statuses_total",
    Kind::Counter,
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
    POLL_FAILURES,
    POLLS_SKIPPED,
    POLLS,
    UNKNOWN_STATUSES,
];

/// AWS answers in tens to hundreds of milliseconds; an attempt is given up after 15 s with the default timeout.
const DURATION_BUCKETS: &[f64] = &[0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0];

/// The name under which the families of scopes are found among those of this file, which are in the order of their names.
const SCOPES_COME_BEFORE: &str = "glue_integration_exporter_scope";

/// The exporter's own metrics. They live in a registry of their own, so that tests beside each other do not share one.
pub struct Own {
    registry: Registry,
    api_requests: IntCounterVec,
    api_request_failures: IntCounterVec,
    api_request_duration: HistogramVec,
    api_request_wait: HistogramVec,
    reload_ok: Gauge,
    reload_time: Gauge,
    http_requests: IntCounterVec,
    polls: IntCounterVec,
    polls_skipped: IntCounterVec,
    poll_failures: IntCounterVec,
    unknown_statuses: IntCounter,
}

impl Own {
    /// Every row of a counter with a closed label is there from the start, at 0: a counter that appears at 1 has an increase that
    /// Prometheus never sees.
    ///
    /// # Errors
    /// If two metrics have the same name, which a test would find.
    pub fn new() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let own = Self {
            api_requests: counters(&registry, &API_REQUESTS)?,
            api_request_failures: counters(&registry, &API_REQUEST_FAILURES)?,
            api_request_duration: histograms(&registry, &API_REQUEST_DURATION)?,
            api_request_wait: histograms(&registry, &API_REQUEST_WAIT)?,
            reload_ok: registered(&registry, Gauge::with_opts(opts(&RELOAD_OK))?)?,
            reload_time: registered(&registry, Gauge::with_opts(opts(&RELOAD_TIME))?)?,
            http_requests: counters(&registry, &HTTP_REQUESTS)?,
            polls: counters(&registry, &POLLS)?,
            polls_skipped: counters(&registry, &POLLS_SKIPPED)?,
            poll_failures: counters(&registry, &POLL_FAILURES)?,
            unknown_statuses: registered(
                &registry,
                IntCounter::with_opts(opts(&UNKNOWN_STATUSES))?,
            )?,
            registry,
        };
        let build_info = registered(
            &own.registry,
            GaugeVec::new(opts(&BUILD_INFO), BUILD_INFO.labels)?,
        )?;
        build_info
            .with_label_values(&[
                crate::version::VERSION,
                crate::version::REVISION,
                &crate::version::rust_version(),
            ])
            .set(1.0);
        for operation in Operation::ALL {
            let operation = operation.as_str();
            own.api_requests.with_label_values(&[operation]);
            own.api_request_duration.with_label_values(&[operation]);
            own.api_request_wait.with_label_values(&[operation]);
            for reason in Reason::ALL {
                own.api_request_failures
                    .with_label_values(&[operation, reason.as_str()]);
            }
        }
        Ok(own)
    }

    /// Starts the counters of a scope.
    pub fn add_scope(&self, scope: &ScopeName, region: &RegionName) {
        let (scope, region) = (scope.as_str(), region.as_str());
        self.polls.with_label_values(&[scope, region]);
        self.polls_skipped.with_label_values(&[scope, region]);
        for reason in Reason::ALL {
            self.poll_failures
                .with_label_values(&[scope, region, reason.as_str()]);
        }
    }

    /// Ends the counters of a scope that is not watched any more.
    pub fn remove_scope(&self, scope: &ScopeName, region: &RegionName) {
        let (scope, region) = (scope.as_str(), region.as_str());
        // An error would say that the row is not there.
        let _ = self.polls.remove_label_values(&[scope, region]);
        let _ = self.polls_skipped.remove_label_values(&[scope, region]);
        for reason in Reason::ALL {
            let _ = self
                .poll_failures
                .remove_label_values(&[scope, region, reason.as_str()]);
        }
    }

    /// A poll ended, failing for these reasons.
    pub fn poll_ended(&self, scope: &ScopeName, region: &RegionName, reasons: &BTreeSet<Reason>) {
        let (scope, region) = (scope.as_str(), region.as_str());
        self.polls.with_label_values(&[scope, region]).inc();
        for reason in reasons {
            self.poll_failures
                .with_label_values(&[scope, region, reason.as_str()])
                .inc();
        }
    }

    /// So many polls were due and not made.
    pub fn polls_skipped(&self, scope: &ScopeName, region: &RegionName, polls: u64) {
        self.polls_skipped
            .with_label_values(&[scope.as_str(), region.as_str()])
            .inc_by(polls);
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

    /// Starts the counter of a path with a status code that it can be answered with.
    pub fn add_path(&self, path: &str, code: u16) {
        self.http_requests
            .with_label_values(&[path, &code.to_string()]);
    }

    /// A request was answered.
    pub fn http_request(&self, path: &str, code: u16) {
        self.http_requests
            .with_label_values(&[path, &code.to_string()])
            .inc();
    }

    /// Writes all of it, with the families of scopes, written elsewhere, in their place.
    pub fn write(&self, text: &mut Text, scopes: &[(Metric, Samples)]) {
        let (before, after): (Vec<_>, Vec<_>) = self
            .registry
            .gather()
            .into_iter()
            .partition(|family| family.name() < SCOPES_COME_BEFORE);
        for family in &before {
            write_family(text, family);
        }
        for (metric, samples) in scopes {
            text.family(metric, samples);
        }
        for family in &after {
            write_family(text, family);
        }
    }
}

impl Observer for Own {
    fn waited(&self, operation: Operation, duration: Duration) {
        self.api_request_wait
            .with_label_values(&[operation.as_str()])
            .observe(duration.as_secs_f64());
    }

    fn sent(&self, operation: Operation) {
        self.api_requests
            .with_label_values(&[operation.as_str()])
            .inc();
    }

    fn ended(&self, operation: Operation, duration: Duration, failure: Option<Reason>) {
        let operation = operation.as_str();
        self.api_request_duration
            .with_label_values(&[operation])
            .observe(duration.as_secs_f64());
        if let Some(reason) = failure {
            self.api_request_failures
                .with_label_values(&[operation, reason.as_str()])
                .inc();
        }
    }
}

fn opts(metric: &Metric) -> Opts {
    Opts::new(metric.name, metric.help)
}

fn counters(registry: &Registry, metric: &Metric) -> prometheus::Result<IntCounterVec> {
    registered(registry, IntCounterVec::new(opts(metric), metric.labels)?)
}

fn histograms(registry: &Registry, metric: &Metric) -> prometheus::Result<HistogramVec> {
    let opts = HistogramOpts::new(metric.name, metric.help).buckets(DURATION_BUCKETS.to_vec());
    registered(registry, HistogramVec::new(opts, metric.labels)?)
}

fn registered<C: Collector + Clone + 'static>(
    registry: &Registry,
    collector: C,
) -> prometheus::Result<C> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

/// Not the crate's own encoder: it prints the bounds of a histogram as `le="1"` where OpenMetrics has `le="1.0"`, so a series would
/// change its identity with the format.
fn write_family(text: &mut Text, family: &MetricFamily) {
    let kind = match family.get_field_type() {
        MetricType::COUNTER => Kind::Counter,
        MetricType::HISTOGRAM => Kind::Histogram,
        MetricType::GAUGE | MetricType::SUMMARY | MetricType::UNTYPED => Kind::Gauge,
    };
    let name = family.name();
    let mut samples = Samples::default();
    for metric in family.get_metric() {
        let mut labels = String::new();
        for pair in metric.get_label() {
            label(&mut labels, pair.name(), pair.value());
        }
        match kind {
            Kind::Counter => samples.add(name, &labels, metric.get_counter().get_value()),
            Kind::Gauge => samples.add(name, &labels, metric.get_gauge().get_value()),
            Kind::Histogram => {
                let histogram = metric.get_histogram();
                let buckets = format!("{name}_bucket");
                let observed = histogram.get_sample_count();
                let mut bucket = |bound: &str, observed: u64| {
                    let mut labels = labels.clone();
                    label(&mut labels, "le", bound);
                    samples.add(&buckets, &labels, integer(observed));
                };
                for counted in histogram.get_bucket() {
                    // Debug writes a whole number as 1.0.
                    let bound = format!("{:?}", counted.upper_bound());
                    bucket(&bound, counted.cumulative_count());
                }
                bucket("+Inf", observed);
                let sum = format!("{name}_sum");
                samples.add(&sum, &labels, histogram.get_sample_sum());
                samples.add(&format!("{name}_count"), &labels, integer(observed));
            }
        }
    }
    text.parts(name, kind, family.help(), &samples);
}

fn integer(number: u64) -> f64 {
    count(usize::try_from(number).unwrap_or(usize::MAX))
}
