//! A file input: lines of followed files into the raw log.
//!
//! Owns: the loop. Never: what to do with lines behind the log.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use runtime::CancellationToken;
use runtime::error::{Class, Classified};
use runtime::ready::Condition;
use tracing::info;
use transport::{LogError, NewRecord};

use super::append::Appender;
use super::config::InputConfig;
use super::raw::RawLog;
use super::tail::{Begins, Chunk, Follow, Mark, Tail};
use crate::Settings;

/// Between two looks at the files.
const POLL: Duration = Duration::from_millis(250);
/// Between two marks of an input that stands at its end.
const MARK: Duration = Duration::from_secs(1);
/// Files that cannot be read and are named at most.
const TOLD_MAX: usize = 3;
/// Between two writings of the places; after a crash this much of the log is read again.
const REMEMBER: Duration = Duration::from_secs(5);

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
    appender: Appender,
    tail: Tail,
    /// Where each file had been read to when all that was read of it was durable.
    places: BTreeMap<String, Mark>,
    /// Where it is told what cannot be read.
    condition: Condition,
    live: bool,
}

impl FileInput {
    /// Prepares the input where the log says it had been. With `settings`, by which its lines are
    /// read, files that are there at the start are read in the order of their first events, and else
    /// in that in which they were last written. What it cannot read then or later is a
    /// remark of the condition, and holds nothing up.
    ///
    /// # Errors
    /// When the raw log cannot be read.
    pub async fn open(
        config: &InputConfig,
        raw: RawLog,
        condition: Condition,
        settings: Option<Settings>,
    ) -> Result<Self, FileInputError> {
        let name = config.sensor();
        let append = |source| FileInputError::Append { input: config.sensor(), source };
        let places = raw.places(&name).await.map_err(append)?;
        let follow = Follow {
            pattern: config.path.clone().unwrap_or_default().into(),
            from_end: config.from_end && places.is_empty(),
            places: places.clone(),
            begins: settings.map(Begins::new),
        };
        let sensor = Bytes::from(name.clone());
        let tail = Tail::new(follow);
        let appender = Appender::open(raw, &name).await.map_err(append)?;
        Ok(Self { name, sensor, appender, tail, places, condition, live: config.live })
    }

    /// Runs until `stop`.
    ///
    /// # Errors
    /// When the raw log fails in a way that waiting does not mend. Full disks are waited for.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), FileInputError> {
        info!(input = %self.name, "following files");
        let mut marked = tokio::time::Instant::now();
        let mut remembered = marked;
        while !stop.is_cancelled() {
            let polled = self.tail.poll();
            let at_end = polled.at_end;
            self.tell_troubles();
            if !polled.adopted.is_empty() {
                self.places.extend(polled.adopted);
                self.remember().await?;
            }
            let records = self.records(polled.chunks);
            let busy = !records.is_empty();
            self.append(records, &stop).await?;
            self.places = self.tail.places();
            if busy && !at_end {
                continue;
            }
            if self.live && at_end && marked.elapsed() >= MARK {
                marked = tokio::time::Instant::now();
                self.append(vec![self.appender.raw().mark(&self.sensor)], &stop).await?;
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
        let remembered = self.appender.raw().remember(&self.name, &self.places).await;
        remembered.map_err(|source| FileInputError::Append { input, source })
    }

    fn records(&self, chunks: Vec<Chunk>) -> Vec<NewRecord> {
        let mut records = Vec::new();
        for chunk in chunks {
            let file = Bytes::from(chunk.file);
            for (line, next) in chunk.lines {
                records.push(self.appender.raw().line(&self.sensor, line, Some((&file, next))));
            }
        }
        records
    }

    /// Says what keeps files from being read, until nothing does.
    fn tell_troubles(&self) {
        let troubles = self.tail.troubles();
        let named = troubles.iter().take(TOLD_MAX);
        let named: Vec<String> =
            named.map(|(path, error)| format!("{}: {error}", path.display())).collect();
        let pattern = self.tail.pattern();
        match troubles.len() {
            0 if !self.tail.is_empty() => self.condition.ready(),
            0 if pattern.is_dir() => self.condition.remark(&format!(
                "{0} is a folder, and nothing is read; name its files, such as {0}/access.log*",
                pattern.display()
            )),
            0 => {
                self.condition.remark(&format!("no file matches {} yet", pattern.display()));
            }
            all => {
                let more = all.saturating_sub(TOLD_MAX);
                let more = if more > 0 { format!(" and {more} more") } else { String::new() };
                self.condition.remark(&format!(
                    "cannot read {}{more}; others go on, and it is tried again: let our user read \
                     it",
                    named.join(", ")
                ));
            }
        }
    }

    async fn append(
        &mut self,
        records: Vec<NewRecord>,
        stop: &CancellationToken,
    ) -> Result<(), FileInputError> {
        let appended = self.appender.append(records, stop).await;
        appended.map_err(|source| FileInputError::Append { input: self.name.clone(), source })
    }
}
