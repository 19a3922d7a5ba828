//! Structured logs on standard error.
//!
//! Owns: the form of a log line, which lines are written, and the report of a panic.
//! Never: standard output, which belongs to results.

use std::io::{IsTerminal, stderr};
use std::panic::PanicHookInfo;

use tracing::error;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::error::{Class, Classified};

/// How a log line looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// One JSON object a line.
    Json,
    /// For people, with colours on a terminal.
    Text,
}

/// Why there are no logs.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter cannot be read.
    #[error(
        "log filter `{filter}` cannot be read ({detail}); \
         write a level (`info`) or targets with levels (`info,transport=debug`)"
    )]
    Filter {
        /// As it was given.
        filter: String,
        /// Where it went wrong.
        detail: String,
    },
    /// Logs were initialised before.
    #[error("logs are initialised twice")]
    Twice,
}

impl Classified for TelemetryError {
    fn class(&self) -> Class {
        match self {
            Self::Filter { .. } => Class::Input,
            Self::Twice => Class::Bug,
        }
    }
}

/// Sends the logs that `filter` lets through to standard error, from now on and for the whole
/// process; panics too, as errors with their place. `filter` is a level or a list such as
/// `info,transport=debug`.
///
/// # Errors
/// When the filter cannot be read, and when called twice.
pub fn init(format: Format, filter: &str) -> Result<(), TelemetryError> {
    let terminal = stderr().is_terminal();
    let json = match format {
        Format::Auto => !terminal,
        Format::Json => true,
        Format::Text => false,
    };
    let filter = parse_filter(filter)?;
    let colour = terminal && !json;
    // Only one of the two layers is there; the other is a `None`, which does nothing.
    let lines = json.then(|| json_layer(stderr));
    let text =
        (!json).then(|| tracing_subscriber::fmt::layer().with_ansi(colour).with_writer(stderr));
    tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .with(text)
        .try_init()
        .map_err(|_error| TelemetryError::Twice)?;
    std::panic::set_hook(Box::new(report_panic));
    Ok(())
}

fn parse_filter(filter: &str) -> Result<EnvFilter, TelemetryError> {
    EnvFilter::builder().parse(filter).map_err(|error| TelemetryError::Filter {
        filter: filter.to_owned(),
        detail: error.to_string(),
    })
}

fn json_layer<S, W>(writer: W) -> impl tracing_subscriber::Layer<S>
where
    S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + 'static,
{
    tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(true)
        .with_span_list(false)
        .with_writer(writer)
}

fn report_panic(panic: &PanicHookInfo<'_>) {
    let reason = panic.payload_as_str().unwrap_or("without a message");
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let thread = std::thread::current();
    error!(reason, place, thread = thread.name().unwrap_or("without a name"), "panic");
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use expect_test::expect;
    use tracing_subscriber::layer::SubscriberExt;

    use super::{json_layer, parse_filter};

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_json_line_holds_the_fields_at_the_top() {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::registry()
            .with(parse_filter("info").unwrap())
            .with(json_layer(move || writer.clone()));
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(events = 3, reason = "too_late", "dropped events");
            tracing::debug!("not written");
        });
        let written = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let mut line: serde_json::Value = serde_json::from_str(&written).unwrap();
        assert!(line.as_object_mut().unwrap().remove("timestamp").is_some());
        expect![[r#"{"events":3,"level":"INFO","message":"dropped events","reason":"too_late","target":"runtime::telemetry::tests"}"#]]
            .assert_eq(&line.to_string());
    }

    #[test]
    fn a_wrong_filter_is_told_with_an_example() {
        let error = parse_filter("transport=lout").unwrap_err();
        expect![[r#"log filter `transport=lout` cannot be read (error parsing level filter: expected one of "off", "error", "warn", "info", "debug", "trace", or a number 0-5); write a level (`info`) or targets with levels (`info,transport=debug`)"#]].assert_eq(&error.to_string());
    }
}
