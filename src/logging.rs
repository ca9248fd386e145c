//! Log lines on stderr in the format of Prometheus' programs: logfmt or JSON, one line per event. Events of other crates are dropped:
//! those of the SDK would show requests and responses, with tokens and source properties.

use crate::escape;
use crate::toolkit::stderr;
use clap::ValueEnum;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt::{self, Write};
use std::panic::{self, PanicHookInfo};
use std::{io, thread};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, Registry};

/// The minimum level that is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Level {
    Debug,
    Info,
    Warn,
    Error,
}

/// The format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Logfmt,
    Json,
}

/// Starts logging to stderr, panics included. Only the first call has an effect.
pub fn start(level: Level, format: Format) {
    let level = match level {
        Level::Debug => LevelFilter::DEBUG,
        Level::Info => LevelFilter::INFO,
        Level::Warn => LevelFilter::WARN,
        Level::Error => LevelFilter::ERROR,
    };
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(|| LogWriter)
        .event_format(LineFormatter { format })
        .with_filter(Targets::new().with_target(env!("CARGO_CRATE_NAME"), level));
    // An error means that a subscriber is already set.
    let _ = tracing::subscriber::set_global_default(Registry::default().with(lines));
    // The default hook writes to stderr directly, which blocks while nobody reads it.
    panic::set_hook(Box::new(log_panic));
}

fn log_panic(panic: &PanicHookInfo<'_>) {
    let location = panic.location().map(ToString::to_string);
    let backtrace = Backtrace::capture();
    let backtrace =
        (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
    tracing::error!(
        thread = thread::current().name(),
        location,
        backtrace,
        "panicked: {}",
        panic.payload_as_str().unwrap_or("without a message")
    );
}

/// Passes each line on in one write.
struct LogWriter;

impl io::Write for LogWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        stderr::write(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct LineFormatter {
    format: Format,
}

impl<S, N> FormatEvent<S, N> for LineFormatter
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        let mut fields = Fields::default();
        event.record(&mut fields);
        let standard_fields = [
            ("time", Value::Text(time)),
            ("level", Value::Text(event.metadata().level().to_string())),
            ("msg", Value::Text(fields.message)),
        ];
        let all_fields = standard_fields.into_iter().chain(fields.others);
        let mut line = String::new();
        for (index, (name, value)) in all_fields.enumerate() {
            match self.format {
                Format::Logfmt => {
                    if index > 0 {
                        line.push(' ');
                    }
                    line.push_str(name);
                    line.push('=');
                    push_logfmt_value(&mut line, &value);
                }
                Format::Json => {
                    line.push(if index > 0 { ',' } else { '{' });
                    line.push_str(&serde_json::Value::from(name).to_string());
                    line.push(':');
                    match value {
                        Value::Text(text) => {
                            line.push_str(&serde_json::Value::from(text).to_string());
                        }
                        Value::Unquoted(text) => line.push_str(&text),
                    }
                }
            }
        }
        if self.format == Format::Json {
            line.push('}');
        }
        writeln!(writer, "{}", escape::line(&line))
    }
}

enum Value {
    Text(String),
    /// A number or boolean, which JSON writes without quotes.
    Unquoted(String),
}

#[derive(Default)]
struct Fields {
    message: String,
    others: Vec<(&'static str, Value)>,
}

impl Fields {
    fn push_unquoted(&mut self, field: &Field, value: String) {
        self.others.push((field.name(), Value::Unquoted(value)));
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            // Writing to a String does not fail.
            let _ = write!(self.message, "{value:?}");
        } else {
            self.others
                .push((field.name(), Value::Text(format!("{value:?}"))));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.others
            .push((field.name(), Value::Text(value.to_owned())));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.push_unquoted(field, value.to_string());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.push_unquoted(field, value.to_string());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.push_unquoted(field, value.to_string());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.push_unquoted(field, value.to_string());
    }
}

/// Appends a value. It is quoted as in JSON if it is empty or contains a character that is special in logfmt.
fn push_logfmt_value(line: &mut String, value: &Value) {
    let (Value::Text(text) | Value::Unquoted(text)) = value;
    let needs_no_quotes = !text.is_empty()
        && text.chars().all(|character| {
            !escape::is_control(character)
                && !character.is_whitespace()
                && !matches!(character, '"' | '=' | '\\')
        });
    if needs_no_quotes {
        line.push_str(text);
    } else {
        line.push_str(&serde_json::Value::from(text.as_str()).to_string());
    }
}
