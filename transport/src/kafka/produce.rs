//! Writing without gaps.
//!
//! Owns: one producer client, which is one session in the sense of delivery rule 5.
//! Never: purging while it is in use, and sending after a failure.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DeliveryResult, ProducerContext, ThreadedProducer};
use tokio::sync::oneshot;

use super::config::Role;
use super::context::{self, Telling};
use super::control::{number, refused};
use super::log::KafkaLog;
use crate::error::LogError;
use crate::memory::check_sizes;
use crate::output::Waiting;
use crate::record::{NewRecord, NextOffset, OffsetRange, Partition, TopicId};

/// How long to wait before trying again to put a record into a full queue. At 100 MB/s the queue
/// gives back half a megabyte in that time.
const FULL_QUEUE_WAIT: Duration = Duration::from_millis(5);

/// One producer.
#[derive(Clone)]
pub(crate) struct Session(Arc<Producing>);

struct Producing {
    log: KafkaLog,
    /// None once it is being closed.
    producer: Option<ThreadedProducer<Deliveries>>,
    failed: Arc<OnceLock<LogError>>,
    /// Held during a send, so that what one call sends is not torn apart by another.
    sending: tokio::sync::Mutex<()>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("log", &self.0.log).finish_non_exhaustive()
    }
}

impl Drop for Producing {
    fn drop(&mut self) {
        // Closing waits for the client's threads. What is still in its queue is dropped from the
        // end of what was sent, and nothing is sent after it: there is no gap.
        let producer = self.producer.take();
        let closing = std::thread::Builder::new().name("kafka-close".to_owned());
        if let Err(error) = closing.spawn(move || drop(producer)) {
            tracing::warn!(%error, "no thread to close a producer");
        }
    }
}

/// What is waited for by one send.
struct Sent {
    open: AtomicUsize,
    range: Mutex<Option<OffsetRange>>,
    done: Mutex<Option<oneshot::Sender<Result<OffsetRange, LogError>>>>,
}

/// Hears of each record's fate.
struct Deliveries {
    topic: Arc<str>,
    id: TopicId,
    failed: Arc<OnceLock<LogError>>,
    telling: Telling,
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        // What was written before is gone with the old topic: going on would leave a gap.
        match context::changed_id(line) {
            Some((topic, is)) if topic == &*self.topic && is != self.id => {
                let (topic, was) = (Arc::clone(&self.topic), self.id);
                self.failed.get_or_init(|| LogError::Recreated { topic, was, is });
            }
            _ => {}
        }
        context::log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.telling.error(&error, reason);
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal) {
            self.fail(format!("the producer gave up: {reason}"));
        }
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Arc<Sent>;

    fn delivery(&self, result: &DeliveryResult<'_>, sent: Arc<Sent>) {
        match result {
            Ok(message) => sent.landed(message.offset()),
            Err((error, _)) => {
                let failure = self.fail(format!("a record was not delivered: {error}"));
                sent.finish(Err(failure));
            }
        }
    }
}

impl Deliveries {
    /// Ends the session; returns what ended it, which is the first failure.
    fn fail(&self, reason: String) -> LogError {
        let (topic, reason) = (Arc::clone(&self.topic), Arc::from(reason));
        self.failed.get_or_init(|| LogError::Ended { topic, reason }).clone()
    }
}

impl Sent {
    fn landed(&self, offset: i64) {
        let range = {
            let mut range = self.range.lock().unwrap_or_else(PoisonError::into_inner);
            let so_far = range.get_or_insert(OffsetRange {
                start: NextOffset(offset),
                end: NextOffset(offset.saturating_add(1)),
            });
            so_far.start = so_far.start.min(NextOffset(offset));
            so_far.end = so_far.end.max(NextOffset(offset.saturating_add(1)));
            *so_far
        };
        if self.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.finish(Ok(range));
        }
    }

    fn finish(&self, result: Result<OffsetRange, LogError>) {
        let done = self.done.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(done) = done {
            // Whoever asked may have gone.
            drop(done.send(result));
        }
    }
}

impl Session {
    pub(super) fn new(log: &KafkaLog) -> Result<Self, LogError> {
        let failed = Arc::new(OnceLock::new());
        let deliveries = Deliveries {
            topic: Arc::clone(log.topic()),
            id: log.topic_id(),
            failed: Arc::clone(&failed),
            telling: Telling::default(),
        };
        let producer = log.settings().client(Role::Producer).create_with_context(deliveries);
        let producer = Some(producer.map_err(|error| refused(log.topic(), &error))?);
        let (log, sending) = (log.clone(), tokio::sync::Mutex::new(()));
        Ok(Self(Arc::new(Producing { log, producer, failed, sending })))
    }

    pub(crate) fn topic(&self) -> &Arc<str> {
        self.0.log.topic()
    }

    /// What ended the session, as far as the client knows.
    pub(crate) fn failure(&self) -> Option<LogError> {
        self.0.failed.get().cloned()
    }

    /// Puts the records into the client's queue; waits while it is full.
    pub(crate) async fn enqueue(
        &self,
        partition: Partition,
        records: Vec<NewRecord>,
    ) -> Result<Waiting, LogError> {
        self.0.log.check(partition)?;
        check_sizes(self.topic(), &records, self.0.log.settings().record_bytes_max)?;
        let _alone = self.0.sending.lock().await;
        let (done, waiting) = oneshot::channel();
        if records.is_empty() {
            let end = self.0.log.bounds(partition).await?.end;
            drop(done.send(Ok(OffsetRange { start: end, end })));
            return Ok(waiting);
        }
        let sent = Arc::new(Sent {
            open: AtomicUsize::new(records.len()),
            range: Mutex::default(),
            done: Mutex::new(Some(done)),
        });
        let mut halfway = Halfway { session: self, armed: true };
        for record in records {
            self.put(partition, record, &sent).await?;
        }
        halfway.armed = false;
        Ok(waiting)
    }

    async fn put(
        &self,
        partition: Partition,
        record: NewRecord,
        sent: &Arc<Sent>,
    ) -> Result<(), LogError> {
        loop {
            if let Some(failure) = self.failure() {
                return Err(failure);
            }
            let Some(producer) = &self.0.producer else { return Err(self.end("it is closed")) };
            match producer.send(self.native(partition, &record, sent)) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                    tokio::time::sleep(FULL_QUEUE_WAIT).await;
                }
                Err((error, _)) => return Err(self.end(&format!("a record was refused: {error}"))),
            }
        }
    }

    fn native<'r>(
        &'r self,
        partition: Partition,
        record: &'r NewRecord,
        sent: &Arc<Sent>,
    ) -> BaseRecord<'r, [u8], [u8], Arc<Sent>> {
        let mut native =
            BaseRecord::with_opaque_to(self.topic(), Arc::clone(sent)).partition(number(partition));
        if !record.takes_away() {
            native = native.payload(record.value.as_ref());
        }
        if let Some(key) = &record.key {
            native = native.key(key.as_ref());
        }
        if let Some(timestamp_ms) = record.timestamp_ms {
            native = native.timestamp(timestamp_ms);
        }
        if !record.headers.is_empty() {
            let mut headers = OwnedHeaders::new_with_capacity(record.headers.len());
            for (key, value) in &record.headers {
                headers = headers.insert(Header { key, value: Some(value.as_ref()) });
            }
            native = native.headers(headers);
        }
        native
    }

    /// Ends the session; returns what ended it, which is the first failure.
    fn end(&self, reason: &str) -> LogError {
        let (topic, reason) = (Arc::clone(self.topic()), Arc::from(reason));
        self.0.failed.get_or_init(|| LogError::Ended { topic, reason }).clone()
    }
}

/// Ends the session when a send is given up after some of its records were sent: the next send
/// would skip the others.
struct Halfway<'a> {
    session: &'a Session,
    armed: bool,
}

impl Drop for Halfway<'_> {
    fn drop(&mut self) {
        if self.armed {
            self.session.end("a send was given up halfway");
        }
    }
}
