//! The two formats of a page: text 0.0.4 (<https://prometheus.io/docs/instrumenting/exposition_formats/>) and OpenMetrics 1.0.0
//! (<https://prometheus.io/docs/specs/om/open_metrics_spec/>). Samples are written alike in both, so that a series keeps its identity
//! whichever was negotiated; only what stands above and below them differs.

use memchr::memchr3_iter;
use std::fmt::Write;

/// The format of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Text,
    OpenMetrics,
}

impl Format {
    /// Both, each at its own index.
    pub const ALL: [Self; 2] = [Self::Text, Self::OpenMetrics];

    /// The media type.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// What a metric is: its `# TYPE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricType {
    Counter,
    Gauge,
    Histogram,
}

impl MetricType {
    /// The word of the `# TYPE` line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// What can be said of a metric before it has a value: a row of the README's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    pub name: &'static str,
    pub kind: MetricType,
    /// The labels of each sample, in the order of their values.
    pub labels: &'static [&'static str],
    /// Behind them come the labels of the configuration's `tag_labels`.
    pub tagged: bool,
    /// A full sentence.
    pub help: &'static str,
}

/// A page, or a part of one, that is being written.
#[derive(Debug)]
pub struct Text {
    format: Format,
    text: String,
}

/// The samples of a family: the part of a page that is the same in both formats.
#[derive(Debug, Default)]
pub struct Samples(String);

impl Text {
    /// An empty page with room for `bytes`.
    pub fn new(format: Format, bytes: usize) -> Self {
        Self {
            format,
            text: String::with_capacity(bytes),
        }
    }

    /// A family; nothing if it has no sample.
    pub fn family(&mut self, metric: &Metric, samples: &Samples) {
        if !samples.0.is_empty() {
            self.metadata(metric).push_str(&samples.0);
        }
    }

    /// A family of one sample.
    pub fn sample(&mut self, metric: &Metric, labels: &str, value: f64) {
        sample(self.metadata(metric), metric.name, labels, value);
    }

    /// Writes what stands above the samples of a family; returns where they are to be added.
    pub fn metadata(&mut self, metric: &Metric) -> &mut String {
        let family = match (self.format, metric.kind) {
            (Format::OpenMetrics, MetricType::Counter) => {
                metric.name.strip_suffix("_total").unwrap_or(metric.name)
            }
            (Format::OpenMetrics | Format::Text, _) => metric.name,
        };
        self.line(&["# HELP ", family, " "]);
        escape(
            &mut self.text,
            metric.help,
            self.format == Format::OpenMetrics,
        );
        self.line(&["\n# TYPE ", family, " ", metric.kind.as_str(), "\n"]);
        if self.format == Format::OpenMetrics
            && let Some(unit) = ["seconds", "bytes"].into_iter().find(|unit| {
                family
                    .strip_suffix(unit)
                    .is_some_and(|name| name.ends_with('_'))
            })
        {
            self.line(&["# UNIT ", family, " ", unit, "\n"]);
        }
        &mut self.text
    }

    fn line(&mut self, parts: &[&str]) {
        self.text.extend(parts.iter().copied());
    }

    /// What was written.
    pub fn into_string(self) -> String {
        self.text
    }

    /// Ends the page.
    pub fn end(&mut self) {
        if self.format == Format::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
    }
}

impl Samples {
    /// One sample. `labels` is what `label()` wrote, possibly nothing.
    pub fn add(&mut self, name: &str, labels: &str, value: f64) {
        sample(&mut self.0, name, labels, value);
    }

    /// They, as they stand on the page.
    pub fn into_string(self) -> String {
        self.0
    }
}

/// Adds `name="value"` to a list of labels, the value escaped.
pub fn label(labels: &mut String, name: &str, value: &str) {
    if !labels.is_empty() {
        labels.push(',');
    }
    labels.push_str(name);
    labels.push_str("=\"");
    escape(labels, value, true);
    labels.push('"');
}

/// Quotes stand for themselves in the help of the text format.
fn escape(text: &mut String, value: &str, quotes: bool) {
    let mut start = 0;
    for at in memchr3_iter(b'\\', b'\n', b'"', value.as_bytes()) {
        let instead = match value.as_bytes()[at] {
            b'\\' => "\\\\",
            b'\n' => "\\n",
            _ if quotes => "\\\"",
            _ => "\"",
        };
        text.extend([&value[start..at], instead]);
        start = at + 1;
    }
    text.push_str(&value[start..]);
}

fn sample(text: &mut String, name: &str, labels: &str, value: f64) {
    text.push_str(name);
    if !labels.is_empty() {
        text.extend(["{", labels, "}"]);
    }
    text.push(' ');
    number(text, value);
    text.push('\n');
}

/// A value as Go's strconv reads it: as short as can be, as `Display` writes it.
pub fn number(text: &mut String, value: f64) {
    if value == f64::INFINITY {
        text.push_str("+Inf");
    } else if value == f64::NEG_INFINITY {
        text.push_str("-Inf");
    } else if let Some(thousandths) = thousandths(value) {
        let mut digits = itoa::Buffer::new();
        text.push_str(digits.format(thousandths / 1000));
        if thousandths % 1000 > 0 {
            text.push('.');
            let decimals = &digits.format(1000 + thousandths % 1000)[1..];
            text.push_str(decimals.trim_end_matches('0'));
        }
    } else {
        // Writing to a String does not fail.
        let _ = write!(text, "{value}");
    }
}

/// A value as so many thousandths: counts, times and ages are, and an integer is written much faster. None where that is not
/// the same number, or has more than the 15 digits that no other number has.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "only from 0 to 10^15, where both types have every integer"
)]
fn thousandths(value: f64) -> Option<u64> {
    let thousandths = (value * 1000.0).round();
    let exact = value.is_sign_positive() && thousandths < 1e15 && thousandths / 1000.0 == value;
    exact.then_some(thousandths as u64)
}

/// A count as a sample's value.
#[allow(clippy::cast_precision_loss, reason = "exact up to 2^53")]
pub fn count(number: u64) -> f64 {
    number as f64
}
