//! Log lines on stderr, as Prometheus' programs write them: logfmt or JSON, one line per event. Only this program's own events:
//! the SDK's would show requests and answers, and with them tokens and properties of sources.

use crate::{escape, stderr};
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

/// The least level that is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Level {
    Debug,
    Info,
    Warn,
    Error,
}

/// How a line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Logfmt,
    Json,
}

/// Logs to stderr from now on, panics too. Called once, at the start; a second call changes nothing.
pub fn start(level: Level, format: Format) {
    let level = match level {
        Level::Debug => LevelFilter::DEBUG,
        Level::Info => LevelFilter::INFO,
        Level::Warn => LevelFilter::WARN,
        Level::Error => LevelFilter::ERROR,
    };
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(|| LogWriter)
        .event_format(Lines { format })
        .with_filter(Targets::new().with_target(env!("CARGO_CRATE_NAME"), level));
    // The error says that a subscriber is there already.
    let _ = tracing::subscriber::set_global_default(Registry::default().with(lines));
    // The hook of the standard library would wait for whoever reads stderr.
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

/// Takes each line in one write.
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

struct Lines {
    format: Format,
}

impl<S, N> FormatEvent<S, N> for Lines
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
        let first = [
            ("time", Value::Text(time)),
            ("level", Value::Text(event.metadata().level().to_string())),
            ("msg", Value::Text(fields.message)),
        ];
        let all = first.into_iter().chain(fields.others);
        let mut line = String::new();
        for (place, (name, value)) in all.enumerate() {
            match self.format {
                Format::Logfmt => {
                    if place > 0 {
                        line.push(' ');
                    }
                    line.push_str(name);
                    line.push('=');
                    logfmt_value(&mut line, &value);
                }
                Format::Json => {
                    line.push(if place > 0 { ',' } else { '{' });
                    line.push_str(&serde_json::Value::from(name).to_string());
                    line.push(':');
                    match value {
                        Value::Text(text) => {
                            line.push_str(&serde_json::Value::from(text).to_string());
                        }
                        Value::Plain(plain) => line.push_str(&plain),
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
    /// A number or a truth value, which JSON shows without quotes.
    Plain(String),
}

#[derive(Default)]
struct Fields {
    message: String,
    others: Vec<(&'static str, Value)>,
}

impl Fields {
    fn plain(&mut self, field: &Field, value: String) {
        self.others.push((field.name(), Value::Plain(value)));
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
        self.plain(field, value.to_string());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.plain(field, value.to_string());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.plain(field, value.to_string());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.plain(field, value.to_string());
    }
}

/// A value that could be taken for more than one is quoted, with the escapes of JSON.
fn logfmt_value(line: &mut String, value: &Value) {
    let (Value::Text(text) | Value::Plain(text)) = value;
    let plain = !text.is_empty()
        && text.chars().all(|character| {
            !escape::is_control(character)
                && !character.is_whitespace()
                && !matches!(character, '"' | '=' | '\\')
        });
    if plain {
        line.push_str(text);
    } else {
        line.push_str(&serde_json::Value::from(text.as_str()).to_string());
    }
}
