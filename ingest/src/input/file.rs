//! A file input: lines of followed files into the raw log.
//!
//! Owns: the loop. Never: what to do with lines behind the log.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use runtime::CancellationToken;
use runtime::error::{Class, Classified};
use runtime::retry::Backoff;
use tracing::{info, warn};
use transport::{LogError, NewRecord};

use super::config::InputConfig;
use super::raw::RawLog;
use super::tail::{Follow, Tail};

/// Between two looks at the files.
const POLL: Duration = Duration::from_millis(250);
/// Between two marks of an input that stands at its end.
const MARK: Duration = Duration::from_secs(1);
/// Between two writings of the places; after a crash this much of the log is read again.
const REMEMBER: Duration = Duration::from_secs(5);
/// Lines appended at once: they share one sync to disk.
const LINES_MAX: usize = 8192;

/// Why a file input stopped.
#[derive(Debug, thiserror::Error)]
pub enum FileInputError {
    /// The raw log does not take lines, and trying again will not help.
    #[error("append lines of input `{input}` to the raw log")]
    Append {
        /// The input's name.
        input: String,
        /// What the log says.
        source: LogError,
    },
}

impl Classified for FileInputError {
    fn class(&self) -> Class {
        match self {
            Self::Append { source, .. } => source.class(),
        }
    }
}

/// Follows files into the raw log until told to stop.
#[derive(Debug)]
pub struct FileInput {
    name: String,
    sensor: Bytes,
    raw: RawLog,
    tail: Tail,
    places: BTreeMap<String, u64>,
    live: bool,
}

impl FileInput {
    /// Prepares the input where the log says it had been.
    ///
    /// # Errors
    /// When the raw log cannot be read.
    pub async fn open(config: &InputConfig, raw: RawLog) -> Result<Self, FileInputError> {
        let name = config.sensor();
        let append = |source| FileInputError::Append { input: config.sensor(), source };
        let places = raw.places(&name).await.map_err(append)?;
        let follow = Follow {
            pattern: config.path.clone().unwrap_or_default().into(),
            from_end: config.from_end && places.is_empty(),
            places: places.clone(),
        };
        let sensor = Bytes::from(name.clone());
        Ok(Self { name, sensor, raw, tail: Tail::new(follow), places, live: config.live })
    }

    /// Runs until `stop`.
    ///
    /// # Errors
    /// When the raw log fails in a way that waiting does not mend. Full disks are waited for.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), FileInputError> {
        info!(input = %self.name, "following files");
        let mut marked = tokio::time::Instant::now();
        let mut remembered = marked;
        let mut said = false;
        while !stop.is_cancelled() {
            let (records, at_end) = self.poll();
            let busy = !records.is_empty();
            self.append(records, &stop).await?;
            if busy && !at_end {
                continue;
            }
            if at_end && self.tail.is_empty() && !std::mem::replace(&mut said, true) {
                warn!(input = %self.name, path = %self.tail.pattern(), "no file matches yet");
            }
            if self.live && at_end && marked.elapsed() >= MARK {
                marked = tokio::time::Instant::now();
                self.append(vec![self.raw.mark(&self.sensor)], &stop).await?;
            }
            if remembered.elapsed() >= REMEMBER {
                remembered = tokio::time::Instant::now();
                self.remember().await?;
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(POLL) => {}
            }
        }
        self.remember().await
    }

    async fn remember(&self) -> Result<(), FileInputError> {
        let input = self.name.clone();
        let remembered = self.raw.remember(&self.name, &self.places).await;
        remembered.map_err(|source| FileInputError::Append { input, source })
    }

    fn poll(&mut self) -> (Vec<NewRecord>, bool) {
        let (chunks, at_end) = match self.tail.poll() {
            Ok(polled) => polled,
            Err(error) => {
                warn!(input = %self.name, %error, "cannot read the files; trying again");
                return (Vec::new(), false);
            }
        };
        let mut records = Vec::new();
        for chunk in chunks {
            let file = Bytes::from(chunk.file.clone());
            for (line, next) in chunk.lines {
                self.places.insert(chunk.file.clone(), next);
                records.push(self.raw.line(&self.sensor, line, Some((&file, next))));
            }
        }
        (records, at_end)
    }

    /// Appends all; while a dependency (the disk) is away, waits and tries again.
    async fn append(
        &self,
        mut records: Vec<NewRecord>,
        stop: &CancellationToken,
    ) -> Result<(), FileInputError> {
        while !records.is_empty() {
            let rest = records.split_off(records.len().min(LINES_MAX));
            let mut backoff = Backoff::network();
            while let Err(source) = self.raw.append(records.clone()).await {
                if source.class() != Class::Dependency || stop.is_cancelled() {
                    return Err(FileInputError::Append { input: self.name.clone(), source });
                }
                warn!(input = %self.name, error = %source, "lines wait for the raw log");
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = tokio::time::sleep(backoff.next_wait(None)) => {}
                }
            }
            records = rest;
        }
        Ok(())
    }
}
