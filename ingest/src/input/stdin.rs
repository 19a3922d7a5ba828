//! Standard input into the raw log.
//!
//! Owns: reading it line by line. Never: more than one reader of it.

use std::time::Duration;

use bytes::Bytes;
use runtime::CancellationToken;
use tokio::io::{AsyncBufReadExt, BufReader};
use transport::LogError;

use super::append::Appender;
use super::raw::RawLog;
use super::tail::LINE_BYTES_MAX;

/// How long lines wait for more before they are made durable together.
const GATHER: Duration = Duration::from_millis(5);
/// Lines made durable together at most.
const LINES_MAX: usize = 8192;

/// Standard input, until its end.
#[derive(Debug)]
pub struct StdinInput {
    sensor: Bytes,
    raw: RawLog,
    marked: bool,
}

impl StdinInput {
    /// An input of this name. `marked` says at its end that it stands there.
    #[must_use]
    pub fn new(sensor: &str, raw: RawLog, marked: bool) -> Self {
        Self { sensor: Bytes::from(sensor.to_owned()), raw, marked }
    }

    /// Runs until the end of standard input or `stop`.
    ///
    /// # Errors
    /// When the raw log does not take lines.
    pub async fn run(self, stop: CancellationToken) -> Result<(), LogError> {
        let mut reader = BufReader::with_capacity(1 << 16, tokio::io::stdin());
        let input = String::from_utf8_lossy(&self.sensor).into_owned();
        let mut appender = Appender::open(self.raw.clone(), &input).await?;
        let mut ended = false;
        // Outlives a call that was cut short: what was read of a line stays in it.
        let mut line = Vec::new();
        while !ended && !stop.is_cancelled() {
            let mut records = Vec::new();
            let mut until = None;
            while records.len() < LINES_MAX {
                let read = tokio::select! {
                    () = stop.cancelled() => break,
                    () = passed(until) => break,
                    read = reader.read_until(b'\n', &mut line) => read,
                };
                ended = !matches!(read, Ok(n) if n > 0);
                if ended && line.is_empty() {
                    break;
                }
                let kept = line.strip_suffix(b"\n").unwrap_or(&line);
                let kept = kept.get(..kept.len().min(LINE_BYTES_MAX)).unwrap_or(kept);
                records.push(self.raw.line(&self.sensor, Bytes::copy_from_slice(kept), None));
                line.clear();
                until.get_or_insert_with(|| tokio::time::Instant::now() + GATHER);
            }
            if ended && self.marked {
                records.push(self.raw.mark(&self.sensor));
            }
            appender.append(records, &stop).await?;
        }
        Ok(())
    }
}

async fn passed(until: Option<tokio::time::Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until).await,
        None => std::future::pending().await,
    }
}
