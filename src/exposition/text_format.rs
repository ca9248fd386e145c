//! The two exposition formats: text 0.0.4 (<https://prometheus.io/docs/instrumenting/exposition_formats/>) and OpenMetrics 1.0.0
//! (<https://prometheus.io/docs/specs/om/open_metrics_spec/>). Samples are identical in both, so that a series keeps its identity
//! in either format. Only the metadata lines and the end marker differ.

use memchr::memchr3_iter;
use std::fmt::Write;

/// The format of an exposition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Text,
    OpenMetrics,
}

impl Format {
    /// Both formats; each is at the index of its discriminant.
    pub const ALL: [Self; 2] = [Self::Text, Self::OpenMetrics];

    /// Returns the value of the `Content-Type` header.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// The type of a metric, as in its `# TYPE` line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricType {
    Counter,
    Gauge,
    Histogram,
}

impl MetricType {
    /// Returns the type as the `# TYPE` line spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// The description of a metric: a row of the README's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    pub name: &'static str,
    pub kind: MetricType,
    pub labels: &'static [&'static str],
    /// True if the labels of the configuration's `tag_labels` follow `labels`.
    pub tagged: bool,
    /// The text of the `# HELP` line: one sentence.
    pub help: &'static str,
}

/// Writes an exposition, or a part of one, as text.
#[derive(Debug)]
pub struct Writer {
    format: Format,
    text: String,
}

/// The sample lines of a family, which are the same in both formats.
#[derive(Debug, Default)]
pub struct Samples(String);

impl Writer {
    /// Creates a writer with an initial buffer of `capacity` bytes.
    pub fn new(format: Format, capacity: usize) -> Self {
        Self {
            format,
            text: String::with_capacity(capacity),
        }
    }

    /// Writes a family, or nothing if it has no samples.
    pub fn family(&mut self, metric: &Metric, samples: &Samples) {
        if !samples.0.is_empty() {
            self.metadata(metric).push_str(&samples.0);
        }
    }

    /// Writes a family of one sample.
    pub fn sample(&mut self, metric: &Metric, labels: &str, value: f64) {
        sample(self.metadata(metric), metric.name, labels, value);
    }

    /// Writes the metadata lines of a family. Returns the buffer to which the caller adds the samples.
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

    /// Returns the written text.
    pub fn into_string(self) -> String {
        self.text
    }

    /// Ends the exposition.
    pub fn end(&mut self) {
        if self.format == Format::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
    }
}

impl Samples {
    /// Adds one sample. `labels` is the output of `label()`, or empty.
    pub fn add(&mut self, name: &str, labels: &str, value: f64) {
        sample(&mut self.0, name, labels, value);
    }

    /// Returns the sample lines.
    pub fn into_string(self) -> String {
        self.0
    }
}

/// Appends `name="value"` to a list of labels and escapes the value.
pub fn label(labels: &mut String, name: &str, value: &str) {
    if !labels.is_empty() {
        labels.push(',');
    }
    labels.push_str(name);
    labels.push_str("=\"");
    escape(labels, value, true);
    labels.push('"');
}

/// Appends `value` escaped. The text format does not escape quotes in `# HELP` lines.
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

/// Appends a value in its shortest form, as Go's `strconv` parses it.
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

/// Converts a value to thousandths, because an integer is written much faster. Returns `None` if the value is not a whole number of
/// thousandths, or if it has more than the 15 digits that a float represents exactly.
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

/// Converts a count to a sample value.
#[allow(clippy::cast_precision_loss, reason = "exact up to 2^53")]
pub fn count(number: u64) -> f64 {
    number as f64
}
