//! The text format 0.0.4: <https://prometheus.io/docs/instrumenting/exposition_formats/>.

use std::fmt::Write;

/// The media type of the format.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

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
#[derive(Debug, Default)]
pub struct Text(String);

impl Text {
    /// An empty page with room for `bytes`.
    pub fn with_capacity(bytes: usize) -> Self {
        Self(String::with_capacity(bytes))
    }

    /// Starts a family. The caller writes at least one sample of it before the next.
    pub fn family(&mut self, metric: &Metric) {
        self.header(metric.name, metric.kind, metric.help);
    }

    /// The same, in its parts.
    pub fn header(&mut self, name: &str, kind: Kind, help: &str) {
        self.0.push_str("# HELP ");
        self.0.push_str(name);
        self.0.push(' ');
        for character in help.chars() {
            match character {
                '\\' => self.0.push_str("\\\\"),
                '\n' => self.0.push_str("\\n"),
                other => self.0.push(other),
            }
        }
        self.0.push_str("\n# TYPE ");
        self.0.push_str(name);
        self.0.push(' ');
        self.0.push_str(kind.as_str());
        self.0.push('\n');
    }

    /// One sample. `labels` is what `labels()` wrote, possibly nothing.
    pub fn sample(&mut self, name: &str, labels: &str, value: f64) {
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

    /// The page.
    pub fn into_string(self) -> String {
        self.0
    }

    /// Adds what was written elsewhere.
    pub fn push_str(&mut self, text: &str) {
        self.0.push_str(text);
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
