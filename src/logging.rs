//! Log lines on stderr in the format of Prometheus' programs: logfmt or JSON, one line per event. Events of other crates are dropped:
//! those of the SDK would show requests and responses, with tokens and source properties.

use crate::escape;
use crate::toolkit::stderr;
use clap::ValueEnum;
use serde_json::{Map, Value};
use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt;
use std::panic::{self, PanicHookInfo};
use std::thread;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::{Layer, Registry};

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Format {
    Logfmt,
    Json,
}

/// Starts logging to stderr, panics included. Only the first call has an effect.
pub fn start(level: LevelFilter, format: Format) {
    let lines =
        LogLines(format).with_filter(Targets::new().with_target(env!("CARGO_CRATE_NAME"), level));
    let _ = tracing::subscriber::set_global_default(Registry::default().with(lines));
    // The default hook writes to stderr directly, which blocks while nobody reads it.
    panic::set_hook(Box::new(log_panic));
}

fn log_panic(panic: &PanicHookInfo<'_>) {
    let location = panic.location().map(ToString::to_string);
    let backtrace = Backtrace::capture();
    let is_captured = backtrace.status() == BacktraceStatus::Captured;
    let backtrace = is_captured.then(|| backtrace.to_string());
    tracing::error!(
        thread = thread::current().name(),
        location,
        backtrace,
        "panicked: {}",
        panic.payload_as_str().unwrap_or("without a message")
    );
}

struct LogLines(Format);

impl<S: Subscriber> Layer<S> for LogLines {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let mut time = String::new();
        // Writing to a String does not fail.
        let _ = SystemTime.format_time(&mut Writer::new(&mut time));
        let mut fields = Fields(Map::new());
        fields.set("time", time);
        fields.set("level", event.metadata().level().as_str());
        // Comes third, whatever the order of the event's fields.
        fields.set("msg", "");
        event.record(&mut fields);
        let line = match self.0 {
            Format::Logfmt => {
                let fields = fields.0.iter();
                let fields = fields.map(|(name, value)| format!("{name}={}", logfmt(value)));
                fields.collect::<Vec<_>>().join(" ")
            }
            Format::Json => Value::Object(fields.0).to_string(),
        };
        stderr::write(format!("{}\n", escape::line(&line)).as_bytes());
    }
}

struct Fields(Map<String, Value>);

impl Fields {
    fn set(&mut self, name: &str, value: impl Into<Value>) {
        let name = if name == "message" { "msg" } else { name };
        self.0.insert(name.to_owned(), value.into());
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.set(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field.name(), value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field.name(), value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field.name(), value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field.name(), value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field.name(), value);
    }
}

/// Returns the text of a value. It is quoted as in JSON if it is empty or contains a character that is special in logfmt.
fn logfmt(value: &Value) -> String {
    let is_special = |character: char| {
        escape::is_control(character)
            || character.is_whitespace()
            || matches!(character, '"' | '=' | '\\')
    };
    match value {
        Value::String(text) if !text.is_empty() && !text.contains(is_special) => text.clone(),
        other => other.to_string(),
    }
}
