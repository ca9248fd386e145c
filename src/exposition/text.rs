//! The two formats of a page: text 0.0.4 (<https://prometheus.io/docs/instrumenting/exposition_formats/>) and OpenMetrics 1.0.0
//! (<https://prometheus.io/docs/specs/om/open_metrics_spec/>). Samples are written alike in both, so that a series keeps its identity
//! whichever was negotiated; only what stands above and below them differs.

use std::fmt::Write;

/// The format of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    Text,
    OpenMetrics,
}

impl Format {
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
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
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
    pub kind: Kind,
    /// The labels of each sample, in the order of their values.
    pub labels: &'static [&'static str],
    /// A full sentence.
    pub help: &'static str,
}

/// A page that is being written.
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
        self.parts(metric.name, metric.kind, metric.help, samples);
    }

    /// The same, of a metric that is known by its parts.
    pub fn parts(&mut self, name: &str, kind: Kind, help: &str, samples: &Samples) {
        if samples.0.is_empty() {
            return;
        }
        let family = match (self.format, kind) {
            (Format::OpenMetrics, Kind::Counter) => name.strip_suffix("_total").unwrap_or(name),
            (Format::OpenMetrics | Format::Text, _) => name,
        };
        self.line(&["# HELP ", family, " "]);
        for character in help.chars() {
            match (character, self.format) {
                ('\\', _) => self.text.push_str("\\\\"),
                ('\n', _) => self.text.push_str("\\n"),
                ('"', Format::OpenMetrics) => self.text.push_str("\\\""),
                (other, _) => self.text.push(other),
            }
        }
        self.line(&["\n# TYPE ", family, " ", kind.as_str(), "\n"]);
        if self.format == Format::OpenMetrics
            && let Some(unit) = ["seconds", "bytes"].into_iter().find(|unit| {
                family
                    .strip_suffix(unit)
                    .is_some_and(|name| name.ends_with('_'))
            })
        {
            self.line(&["# UNIT ", family, " ", unit, "\n"]);
        }
        self.text.push_str(&samples.0);
    }

    fn line(&mut self, parts: &[&str]) {
        self.text.extend(parts.iter().copied());
    }

    /// The whole page.
    pub fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }
}

impl Samples {
    /// One sample. `labels` is what `label()` wrote, possibly nothing.
    pub fn add(&mut self, name: &str, labels: &str, value: f64) {
        self.0.push_str(name);
        if !labels.is_empty() {
            self.0.push('{');
            self.0.push_str(labels);
            self.0.push('}');
        }
        self.0.push(' ');
        number(&mut self.0, value);
        self.0.push('\n');
    }

    /// How long they are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// There is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Adds `name="value"` to a list of labels, the value escaped.
pub fn label(labels: &mut String, name: &str, value: &str) {
    if !labels.is_empty() {
        labels.push(',');
    }
    labels.push_str(name);
    labels.push_str("=\"");
    for character in value.chars() {
        match character {
            '\\' => labels.push_str("\\\\"),
            '"' => labels.push_str("\\\""),
            '\n' => labels.push_str("\\n"),
            other => labels.push(other),
        }
    }
    labels.push('"');
}

/// A value as Go's strconv reads it.
fn number(text: &mut String, value: f64) {
    if value == f64::INFINITY {
        text.push_str("+Inf");
    } else if value == f64::NEG_INFINITY {
        text.push_str("-Inf");
    } else {
        // Writing to a String does not fail.
        let _ = write!(text, "{value}");
    }
}
