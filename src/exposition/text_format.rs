//! The exposition formats: text 0.0.4 (<https://prometheus.io/docs/instrumenting/exposition_formats/>) and OpenMetrics 1.0.0
//! (<https://prometheus.io/docs/specs/om/open_metrics_spec/>). Samples are identical in both, so that a series keeps its identity.

use memchr::memchr3_iter;
use std::fmt::Write;
use strum::IntoStaticStr;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Text,
    OpenMetrics,
}

impl Format {
    /// Both formats; each is at the index of its discriminant.
    pub const ALL: [Self; 2] = [Self::Text, Self::OpenMetrics];

    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum MetricType {
    Counter,
    Gauge,
    Histogram,
}

impl MetricType {
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    pub name: &'static str,
    pub kind: MetricType,
    pub labels: &'static [&'static str],
    /// The text of the `# HELP` line: one sentence.
    pub help: &'static str,
}

pub(crate) fn metadata(text: &mut String, format: Format, metric: &Metric) {
    let is_open_metrics = format == Format::OpenMetrics;
    let family = match metric.kind {
        MetricType::Counter if is_open_metrics => metric.name.trim_end_matches("_total"),
        _ => metric.name,
    };
    text.extend(["# HELP ", family, " "]);
    escape(text, metric.help, is_open_metrics);
    text.extend(["\n# TYPE ", family, " ", metric.kind.as_str(), "\n"]);
    if is_open_metrics && let Some((_, unit @ ("seconds" | "bytes"))) = family.rsplit_once('_') {
        text.extend(["# UNIT ", family, " ", unit, "\n"]);
    }
}

/// Appends a sample. `labels` is the output of [`labels()`], or empty.
pub(crate) fn sample(text: &mut String, name: &str, labels: &str, value: f64) {
    text.push_str(name);
    if !labels.is_empty() {
        text.extend(["{", labels, "}"]);
    }
    end_sample(text, value);
}

pub(crate) fn end_sample(text: &mut String, value: f64) {
    text.push(' ');
    number(text, value);
    text.push('\n');
}

pub(crate) fn labels<'a>(labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut text = String::new();
    for (name, value) in labels {
        if !text.is_empty() {
            text.push(',');
        }
        label(&mut text, name, value);
    }
    text
}

pub(crate) fn label(text: &mut String, name: &str, value: &str) {
    text.extend([name, "=\""]);
    escape(text, value, true);
    text.push('"');
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
        let _ = write!(text, "{value}");
    }
}

/// Integers are written much faster. `None` unless it is a whole number of thousandths of at most 15 digits, which a float has exactly.
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

#[allow(clippy::cast_precision_loss, reason = "exact up to 2^53")]
pub(crate) fn count(number: u64) -> f64 {
    number as f64
}
