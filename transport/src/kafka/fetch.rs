//! Reading partitions as a stream.
//!
//! Owns: one client for each log that is read, a queue for each of its partitions, and the ends of
//! partitions.
//! Never: groups; where to begin is told by the caller, and an offset that is gone is an error.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use rdkafka::Offset as At;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::blocking;
use super::config::Role;
use super::context::Context;
use super::control::{Control, failed, is_passing, list, number, refused};
use super::log::KafkaLog;
use crate::error::LogError;
use crate::log::{Bounds, Fetched, ReadLimits};
use crate::record::{NextOffset, Offset, Partition, Record};

/// How often a quiet partition is asked whether it still is.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// Where a transaction's marker, which is no record, is the last of a partition, the reader never
/// stands at the end. If nothing has come for so long and the end has not moved, this is it.
const SETTLED_AFTER: Duration = Duration::from_secs(5);

/// A client that reads partitions of one log.
pub(super) struct Fetch {
    consumer: Arc<BaseConsumer<Context>>,
    stop: Arc<AtomicBool>,
    /// Partitions that have a reader.
    read: Mutex<Vec<Partition>>,
}

impl std::fmt::Debug for Fetch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fetch").field("read", &self.read).finish_non_exhaustive()
    }
}

impl Drop for Fetch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

impl Fetch {
    pub(super) fn new(log: &KafkaLog) -> Result<Self, LogError> {
        let client = log.settings().client(Role::Fetch);
        let consumer = client.create_with_context(Context::default());
        let consumer: Arc<BaseConsumer<Context>> =
            Arc::new(consumer.map_err(|error| refused(log.topic(), &error))?);
        let stop = Arc::new(AtomicBool::new(false));
        let (served, stopped) = (Arc::clone(&consumer), Arc::clone(&stop));
        let thread = std::thread::Builder::new().name("kafka-fetch".to_owned());
        let thread = thread.spawn(move || serve(served, &stopped));
        thread.map_err(|error| LogError::Config {
            topic: Arc::clone(log.topic()),
            reason: format!("no thread can be started: {error}"),
        })?;
        Ok(Self { consumer, stop, read: Mutex::default() })
    }
}

/// Serves the events that belong to no partition. The last to hold the client, because closing it
/// blocks.
#[expect(clippy::needless_pass_by_value, reason = "the client is dropped here")]
fn serve(consumer: Arc<BaseConsumer<Context>>, stop: &AtomicBool) {
    while !stop.load(Ordering::Acquire) || Arc::strong_count(&consumer) > 1 {
        // Records come by the queues of their partitions.
        if let Some(Err(error)) = consumer.poll(Duration::from_millis(100)) {
            tracing::debug!(%error, "kafka fetch client");
        }
    }
}

/// Reads one partition.
pub(crate) struct KafkaReader {
    log: KafkaLog,
    control: Arc<Control>,
    fetch: Arc<Fetch>,
    queue: PartitionQueue<Context>,
    filled: Arc<Notify>,
    partition: Partition,
    next: NextOffset,
    /// The library said that there is nothing more, and nothing came since.
    at_end: bool,
    asked: Option<Asked>,
    /// To be said once the records before it are given.
    failed: Option<KafkaError>,
}

/// An earlier answer about the end of the partition.
#[derive(Debug, Clone, Copy)]
struct Asked {
    at: Instant,
    now_ms: i64,
    end: NextOffset,
}

impl std::fmt::Debug for KafkaReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaReader")
            .field("log", &self.log)
            .field("partition", &self.partition)
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}

impl Drop for KafkaReader {
    fn drop(&mut self) {
        let list = list(self.log.topic(), self.partition, At::Invalid);
        if let Err(error) = self.fetch.consumer.incremental_unassign(&list) {
            tracing::debug!(%error, "could not stop reading a partition");
        }
        let mut read = self.fetch.read.lock().unwrap_or_else(PoisonError::into_inner);
        read.retain(|partition| *partition != self.partition);
    }
}

impl KafkaReader {
    pub(super) fn new(
        log: KafkaLog,
        fetch: Arc<Fetch>,
        partition: Partition,
        from: NextOffset,
    ) -> Result<Self, LogError> {
        let topic = Arc::clone(log.topic());
        let wrong =
            |reason: &str| LogError::Config { topic: Arc::clone(&topic), reason: reason.into() };
        {
            let mut read = fetch.read.lock().unwrap_or_else(PoisonError::into_inner);
            if read.contains(&partition) {
                let reason =
                    format!("partition {partition} has a reader already; open the topic twice");
                return Err(wrong(&reason));
            }
            read.push(partition);
        }
        let mut queue = fetch
            .consumer
            .split_partition_queue(&topic, number(partition))
            .ok_or_else(|| wrong("this cannot be the name of a topic"))?;
        let filled = Arc::new(Notify::new());
        let woken = Arc::clone(&filled);
        queue.set_nonempty_callback(move || woken.notify_one());
        let start = list(&topic, partition, At::Offset(from.0));
        let assigned = fetch.consumer.incremental_assign(&start);
        assigned.map_err(|error| failed(&topic, "begin to read", error))?;
        let control = log.control();
        Ok(Self {
            log,
            control,
            fetch,
            queue,
            filled,
            partition,
            next: from,
            at_end: false,
            asked: None,
            failed: None,
        })
    }

    /// The next records. Nothing is taken from the queue before the last await, so that a dropped
    /// call loses nothing.
    pub(crate) async fn read(&mut self, limits: ReadLimits) -> Result<Fetched, LogError> {
        let deadline = Instant::now() + limits.wait;
        loop {
            let records = match self.take(limits) {
                Ok(records) => records,
                Err(error) => {
                    // Should this call be dropped, the next one says it.
                    self.failed = Some(error.clone());
                    return Err(self.lost(error).await);
                }
            };
            self.check_identity()?;
            if let Some(last) = records.last() {
                self.next = last.next();
                self.asked = None;
                return Ok(Fetched { records, end_at_ms: None });
            }
            let woken = tokio::time::timeout_at(deadline, self.filled.notified()).await;
            if woken.is_err() {
                let end_at_ms = self.end().await?;
                return Ok(Fetched { records: Vec::new(), end_at_ms });
            }
        }
    }

    fn take(&mut self, limits: ReadLimits) -> Result<Vec<Record>, KafkaError> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let mut records = Vec::new();
        let mut bytes = 0;
        while records.len() < limits.records_max.max(1) && bytes < limits.bytes_max.max(1) {
            match self.queue.poll(Duration::ZERO) {
                None => break,
                Some(Ok(message)) => {
                    let record = to_record(&message, self.partition);
                    bytes += record.value.len();
                    self.at_end = false;
                    // A seek may give again what was given.
                    if record.offset.0 >= self.next.0 {
                        records.push(record);
                    }
                }
                Some(Err(KafkaError::PartitionEOF(_))) => self.at_end = true,
                Some(Err(KafkaError::MessageConsumption(code))) if is_passing(code) => {}
                Some(Err(error)) if records.is_empty() => return Err(error),
                // The library says it once. What came before it is still given.
                Some(Err(error)) => {
                    self.failed = Some(error);
                    break;
                }
            }
        }
        Ok(records)
    }

    /// What an error of the library means. An offset that is gone was trimmed, or the topic is
    /// another one.
    async fn lost(&self, error: KafkaError) -> LogError {
        let topic = Arc::clone(self.log.topic());
        let gone = [RDKafkaErrorCode::AutoOffsetReset, RDKafkaErrorCode::OffsetOutOfRange];
        if !error.rdkafka_error_code().is_some_and(|code| gone.contains(&code)) {
            return failed(&topic, "read", error);
        }
        let (control, partition) = (Arc::clone(&self.control), self.partition);
        let asked = Arc::clone(&topic);
        let asking = move || Ok((control.identity(&asked)?.id, control.bounds(&asked, partition)?));
        let was = self.log.topic_id();
        match blocking(&topic, asking).await {
            Ok((is, _)) if is != was => LogError::Recreated { topic, was, is },
            Ok((_, Bounds { start, end })) => {
                LogError::OutOfRange { topic, partition, asked: self.next, start, end }
            }
            Err(error) => error,
        }
    }

    /// Fails once the client has seen another incarnation of the topic.
    fn check_identity(&self) -> Result<(), LogError> {
        let topic = self.log.topic();
        match self.fetch.consumer.context().topic_id(topic) {
            Some(is) if is != self.log.topic_id() => {
                let was = self.log.topic_id();
                Err(LogError::Recreated { topic: Arc::clone(topic), was, is })
            }
            _ => Ok(()),
        }
    }

    /// When the reader stands at the end: since when. First the time is taken, then the end is
    /// asked for, so that nothing from before that time can be missing.
    async fn end(&mut self) -> Result<Option<i64>, LogError> {
        let now = Instant::now();
        if self.asked.is_some_and(|asked| now - asked.at < ASK_EVERY) {
            return Ok(None);
        }
        let now_ms = self.log.settings().clock().unix_ms();
        let (control, partition) = (Arc::clone(&self.control), self.partition);
        let topic = Arc::clone(self.log.topic());
        let asking = blocking(self.log.topic(), move || control.bounds(&topic, partition));
        let Ok(Bounds { end, .. }) = asking.await else {
            // The broker is away: nothing is known about the end.
            self.asked = Some(Asked { at: now, now_ms, end: NextOffset(i64::MAX) });
            return Ok(None);
        };
        if self.next >= end {
            self.asked = Some(Asked { at: now, now_ms, end });
            return Ok(Some(now_ms));
        }
        match self.asked {
            Some(first) if self.at_end && first.end == end => {
                Ok((now - first.at >= SETTLED_AFTER).then_some(first.now_ms))
            }
            _ => {
                self.asked = Some(Asked { at: now, now_ms, end });
                Ok(None)
            }
        }
    }
}

/// Copies a record out of the client's memory.
pub(super) fn to_record(message: &BorrowedMessage<'_>, partition: Partition) -> Record {
    let headers = message.headers().map(|headers| {
        let own = |header: rdkafka::message::Header<'_, &[u8]>| {
            let value = header.value.map(Bytes::copy_from_slice).unwrap_or_default();
            (header.key.to_owned(), value)
        };
        headers.iter().map(own).collect()
    });
    Record {
        partition,
        offset: Offset(message.offset()),
        timestamp_ms: message.timestamp().to_millis(),
        key: message.key().map(Bytes::copy_from_slice),
        value: message.payload().map(Bytes::copy_from_slice).unwrap_or_default(),
        headers: headers.unwrap_or_default(),
    }
}
