//! One topic, of any kind.
//!
//! Owns: the calls that all kinds of logs answer alike, and the place of a reader.
//! Never: how a kind does it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::embedded::EmbeddedLog;
use crate::error::LogError;
use crate::group::Group;
use crate::kafka::{KafkaLog, KafkaReader};
use crate::memory::MemoryLog;
use crate::output::Output;
use crate::record::{NewRecord, NextOffset, OffsetRange, Partition, Record, TopicId};
use crate::registry::Schemas;

/// One topic. Cheap to clone; clones are one.
#[derive(Debug, Clone)]
pub enum Log {
    /// In memory, for tests.
    Memory(MemoryLog),
    /// In a folder of this machine.
    Embedded(EmbeddedLog),
    /// In a Kafka cluster.
    Kafka(KafkaLog),
}

/// How much one read may give, and how long it may wait for a first record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadLimits {
    /// At most this many records.
    pub records_max: usize,
    /// No further record once this many bytes are there. The first is always given.
    pub bytes_max: usize,
    /// How long to wait for a first record.
    pub wait: Duration,
}

impl Default for ReadLimits {
    /// 4 Ki records or 4 MiB, waiting for a tenth of a second: at 100 k records/s a batch is full
    /// in 40 ms, and on a quiet partition the caller is back ten times a second.
    fn default() -> Self {
        Self { records_max: 4096, bytes_max: 4 << 20, wait: Duration::from_millis(100) }
    }
}

/// What one read gave.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fetched {
    /// The records, in order. Empty when none came in time.
    pub records: Vec<Record>,
    /// When the reader stood at the end after these records: the processing time, in milliseconds
    /// since 1970, before which everything is here. Not given at each visit to the end, but at
    /// least once a second while nothing comes.
    pub end_at_ms: Option<i64>,
}

/// The offsets that a partition holds: half-open, `[start, end)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The first offset that was not trimmed.
    pub start: NextOffset,
    /// One past the last.
    pub end: NextOffset,
}

impl Bounds {
    /// Whether nothing is there.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.start >= self.end
    }
}

impl Log {
    /// The name of the topic.
    #[must_use]
    pub fn topic(&self) -> &Arc<str> {
        match self {
            Self::Memory(log) => log.topic(),
            Self::Embedded(log) => log.topic(),
            Self::Kafka(log) => log.topic(),
        }
    }

    /// The incarnation of the topic, as it was when the log was opened.
    #[must_use]
    pub fn topic_id(&self) -> TopicId {
        match self {
            Self::Memory(log) => log.topic_id(),
            Self::Embedded(log) => log.topic_id(),
            Self::Kafka(log) => log.topic_id(),
        }
    }

    /// How many partitions the topic has.
    #[must_use]
    pub fn partitions(&self) -> u32 {
        match self {
            Self::Memory(log) => log.partitions(),
            Self::Embedded(log) => log.partitions(),
            Self::Kafka(log) => log.partitions(),
        }
    }

    /// The same topic for readers of its own: a Kafka log has one reader a partition at a time, so
    /// that a second one of the same partition, such as for a look back, needs another log.
    #[must_use]
    pub fn apart(&self) -> Self {
        match self {
            Self::Memory(_) | Self::Embedded(_) => self.clone(),
            Self::Kafka(log) => Self::Kafka(log.apart()),
        }
    }

    /// The same topic, whose readers give a record only once the schema that it names was asked
    /// for. Logs that never leave the machine name none.
    #[must_use]
    pub fn with_schemas(&self, schemas: &Schemas) -> Self {
        match self {
            Self::Memory(_) | Self::Embedded(_) => self.clone(),
            Self::Kafka(log) => Self::Kafka(log.with_schemas(schemas)),
        }
    }

    /// Appends the records, all or (with an error) perhaps some of the first; waits until they are
    /// durable. An empty append is done at once.
    ///
    /// # Errors
    /// [`LogError`]. After `Ended` or `Away` it is unknown how many of the first are there: an
    /// append that is repeated may repeat records.
    pub async fn append(
        &self,
        partition: Partition,
        records: Vec<NewRecord>,
    ) -> Result<OffsetRange, LogError> {
        match self {
            Self::Memory(log) => log.append(partition, records),
            Self::Embedded(log) => log.append(partition, records).await,
            Self::Kafka(log) => log.append(partition, records).await,
        }
    }

    /// Opens a session that writes in order and never skips (delivery rule 5).
    ///
    /// # Errors
    /// When the client cannot be made.
    pub fn output(&self) -> Result<Output, LogError> {
        match self {
            Self::Memory(log) => Ok(Output::memory(log.clone())),
            Self::Embedded(log) => Ok(Output::embedded(log.clone())),
            Self::Kafka(log) => Output::kafka(log),
        }
    }

    /// A reader that stands at `from`.
    ///
    /// # Errors
    /// When `from` is outside of what the partition holds.
    pub async fn reader(&self, partition: Partition, from: NextOffset) -> Result<Reader, LogError> {
        let bounds = self.bounds(partition).await?;
        if from < bounds.start || from > bounds.end {
            let Bounds { start, end } = bounds;
            let topic = Arc::clone(self.topic());
            return Err(LogError::OutOfRange { topic, partition, asked: from, start, end });
        }
        let source = match self {
            Self::Memory(log) => Source::Memory(log.clone()),
            Self::Embedded(log) => Source::Embedded(log.clone()),
            Self::Kafka(log) => Source::Kafka(Box::new(log.reader(partition, from).await?)),
        };
        let schemas = match self {
            Self::Memory(_) | Self::Embedded(_) => None,
            Self::Kafka(log) => log.schemas().cloned(),
        };
        Ok(Reader { source, partition, next: from, ahead: VecDeque::new(), schemas })
    }

    /// Joins the group of this name that shares the partitions of the log. Only Kafka's logs have
    /// groups of more than one.
    ///
    /// # Errors
    /// When the client cannot be made.
    pub fn group(&self, name: &str) -> Result<Group, LogError> {
        match self {
            Self::Memory(_) | Self::Embedded(_) => Ok(Group::alone(self, name)),
            Self::Kafka(log) => Group::join(log, name),
        }
    }

    /// The last record of the partition; none when it holds nothing.
    ///
    /// # Errors
    /// [`LogError`].
    pub async fn last(&self, partition: Partition) -> Result<Option<Record>, LogError> {
        match self {
            Self::Memory(log) => log.last(partition),
            Self::Embedded(log) => log.last(partition).await,
            Self::Kafka(log) => log.last(partition).await,
        }
    }

    /// What the partition holds.
    ///
    /// # Errors
    /// [`LogError`].
    pub async fn bounds(&self, partition: Partition) -> Result<Bounds, LogError> {
        match self {
            Self::Memory(log) => log.bounds(partition),
            Self::Embedded(log) => log.bounds(partition),
            Self::Kafka(log) => log.bounds(partition).await,
        }
    }

    /// Where the reader called `name` said it stood; none when it never did.
    ///
    /// # Errors
    /// [`LogError`].
    pub async fn cursor(
        &self,
        name: &str,
        partition: Partition,
    ) -> Result<Option<NextOffset>, LogError> {
        match self {
            Self::Memory(log) => log.cursor(name, partition),
            Self::Embedded(log) => log.cursor(name, partition).await,
            Self::Kafka(log) => log.cursor(name, partition).await,
        }
    }

    /// Remembers where the reader called `name` stands. Durable when it returns.
    ///
    /// # Errors
    /// [`LogError`].
    pub async fn set_cursor(
        &self,
        name: &str,
        partition: Partition,
        next: NextOffset,
    ) -> Result<(), LogError> {
        match self {
            Self::Memory(log) => log.set_cursor(name, partition, next),
            Self::Embedded(log) => log.set_cursor(name, partition, next).await,
            Self::Kafka(log) => log.set_cursor(name, partition, next).await,
        }
    }

    /// From where all is read that was stored since `time_ms`. An embedded log may give an earlier
    /// place: it looks at whole segments.
    ///
    /// # Errors
    /// [`LogError`].
    pub async fn first_since(
        &self,
        partition: Partition,
        time_ms: i64,
    ) -> Result<NextOffset, LogError> {
        match self {
            Self::Memory(log) => log.first_since(partition, time_ms),
            Self::Embedded(log) => log.first_since(partition, time_ms).await,
            Self::Kafka(log) => log.first_since(partition, time_ms).await,
        }
    }

    /// Forgets what is older than `time_ms`, as far as `keep`, from where something may still be
    /// read. Coarse: an embedded log forgets whole segments, Kafka by the retention of the topic,
    /// so that this does nothing there.
    ///
    /// # Errors
    /// [`LogError`].
    pub async fn trim_older(
        &self,
        partition: Partition,
        time_ms: i64,
        keep: NextOffset,
    ) -> Result<(), LogError> {
        if matches!(self, Self::Kafka(_)) {
            return Ok(());
        }
        let start = self.first_since(partition, time_ms).await?;
        self.trim_before(partition, start.min(keep)).await
    }

    /// Forgets what is before `start`. Never more than is there, and never backwards.
    ///
    /// # Errors
    /// [`LogError`].
    pub async fn trim_before(
        &self,
        partition: Partition,
        start: NextOffset,
    ) -> Result<(), LogError> {
        match self {
            Self::Memory(log) => log.trim_before(partition, start),
            Self::Embedded(log) => log.trim_before(partition, start).await,
            Self::Kafka(log) => log.trim_before(partition, start).await,
        }
    }
}

/// Reads one partition from a place on.
#[derive(Debug)]
pub struct Reader {
    source: Source,
    partition: Partition,
    /// The offset after the last record given.
    next: NextOffset,
    /// Read from the log but not given yet; starts at `next`.
    ahead: VecDeque<Record>,
    /// Asked before records are given.
    schemas: Option<Schemas>,
}

#[derive(Debug)]
enum Source {
    Memory(MemoryLog),
    Embedded(EmbeddedLog),
    Kafka(Box<KafkaReader>),
}

impl Reader {
    /// The partition.
    #[must_use]
    pub fn partition(&self) -> Partition {
        self.partition
    }

    /// The offset after the last record given.
    #[must_use]
    pub fn next_offset(&self) -> NextOffset {
        self.next
    }

    /// The next records: at once when there are some, otherwise as soon as one comes, or empty
    /// when none came in time. Dropping the call loses nothing.
    ///
    /// # Errors
    /// [`LogError`]. After an error the reader is of no further use.
    pub async fn next(&mut self, limits: ReadLimits) -> Result<Fetched, LogError> {
        let mut end_at_ms = None;
        if self.ahead.is_empty() {
            let from = self.next;
            let read = match &mut self.source {
                Source::Memory(log) => log.read(self.partition, from, limits.wait).await?,
                Source::Embedded(log) => log.read(self.partition, from, limits).await?,
                Source::Kafka(reader) => reader.read(limits).await?,
            };
            end_at_ms = read.end_at_ms;
            self.ahead.extend(read.records);
        }
        if let Some(schemas) = &self.schemas {
            schemas.fetch(self.ahead.iter().map(|record| &*record.value)).await;
        }
        let records = self.take(limits);
        // What is still ahead is not before the end.
        let end_at_ms = end_at_ms.filter(|_| self.ahead.is_empty());
        Ok(Fetched { records, end_at_ms })
    }

    fn take(&mut self, limits: ReadLimits) -> Vec<Record> {
        let mut bytes = 0;
        let mut taken = Vec::with_capacity(self.ahead.len().min(limits.records_max));
        while taken.len() < limits.records_max.max(1)
            && (taken.is_empty() || bytes < limits.bytes_max)
        {
            let Some(record) = self.ahead.pop_front() else { break };
            bytes += record.value.len();
            self.next = record.next();
            taken.push(record);
        }
        taken
    }
}
