//! A session that writes to one topic and never skips.
//!
//! Owns: delivery rule 5: what is sent lands in the order of sending, nothing expires, a full
//! queue waits, and any failure ends the session and everything that it still held.
//! Never: retrying under another session; that is the business of who owns the partitions.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

use crate::embedded::EmbeddedLog;
use crate::error::LogError;
use crate::kafka::{KafkaLog, Session};
use crate::memory::{MemoryLog, SessionMark};
use crate::record::{NewRecord, OffsetRange, Partition};

/// A session that writes to one topic. Cheap to clone; clones are one session.
///
/// What one clone sends to a partition keeps its order; between clones the order is that in which
/// the calls return.
#[derive(Debug, Clone)]
pub struct Output {
    kind: Kind,
    /// Set by the first failure; from then on nothing more is sent.
    failed: Arc<Mutex<Option<LogError>>>,
}

#[derive(Debug, Clone)]
enum Kind {
    Memory(MemoryLog, SessionMark),
    Embedded {
        log: EmbeddedLog,
        /// Tells the writer to refuse what this session sent after an append that failed.
        dead: Arc<AtomicBool>,
    },
    Kafka(Session),
}

/// What is told once, when records are durable or their session has failed.
pub(crate) type Waiting = oneshot::Receiver<Result<OffsetRange, LogError>>;

/// The promise that records become durable.
#[derive(Debug)]
#[must_use = "a failure of the session shows here"]
pub struct Receipt {
    waiting: Waiting,
    topic: Arc<str>,
    failed: Arc<Mutex<Option<LogError>>>,
}

impl Output {
    pub(crate) fn memory(log: MemoryLog) -> Self {
        Self { kind: Kind::Memory(log, SessionMark::default()), failed: Arc::default() }
    }

    pub(crate) fn embedded(log: EmbeddedLog) -> Self {
        Self { kind: Kind::Embedded { log, dead: Arc::default() }, failed: Arc::default() }
    }

    pub(crate) fn kafka(log: &KafkaLog) -> Result<Self, LogError> {
        Ok(Self { kind: Kind::Kafka(log.session()?), failed: Arc::default() })
    }

    /// The topic written to.
    #[must_use]
    pub fn topic(&self) -> &Arc<str> {
        match &self.kind {
            Kind::Memory(log, _) => log.topic(),
            Kind::Embedded { log, .. } => log.topic(),
            Kind::Kafka(session) => session.topic(),
        }
    }

    /// Sends the records in order; waits for room in the queue, not for the acknowledgement.
    ///
    /// # Errors
    /// The failure that ended the session, now or before. Records that are too large fail alone
    /// and leave the session as it is; none of the call's records was sent then.
    pub async fn send(
        &self,
        partition: Partition,
        records: Vec<NewRecord>,
    ) -> Result<Receipt, LogError> {
        if let Some(failure) = self.failure() {
            return Err(failure);
        }
        let sent = match &self.kind {
            Kind::Memory(log, session) => {
                if log.takes_turns() {
                    tokio::task::yield_now().await;
                }
                match log.send(session, partition, records) {
                    Ok(waiting) => Ok(waiting),
                    Err(records) => {
                        let (done, waiting) = oneshot::channel();
                        // The receiver is in this scope.
                        drop(done.send(Ok(log.append(partition, records)?)));
                        Ok(waiting)
                    }
                }
            }
            Kind::Embedded { log, dead } => log.enqueue(partition, records, Arc::clone(dead)).await,
            Kind::Kafka(session) => session.enqueue(partition, records).await,
        };
        match sent {
            Ok(waiting) => {
                let (topic, failed) = (Arc::clone(self.topic()), Arc::clone(&self.failed));
                Ok(Receipt { waiting, topic, failed })
            }
            Err(error) => Err(fail(&self.failed, error)),
        }
    }

    /// Sends the records and waits until they are durable.
    ///
    /// # Errors
    /// As [`Output::send`].
    pub async fn append(
        &self,
        partition: Partition,
        records: Vec<NewRecord>,
    ) -> Result<OffsetRange, LogError> {
        self.send(partition, records).await?.durable().await
    }

    /// What ended the session; none as long as it lives.
    #[must_use]
    pub fn failure(&self) -> Option<LogError> {
        let known = self.failed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        known.or_else(|| match &self.kind {
            Kind::Kafka(session) => session.failure(),
            Kind::Memory(..) | Kind::Embedded { .. } => None,
        })
    }
}

impl Receipt {
    /// Waits until the records are durable.
    ///
    /// # Errors
    /// The failure that ended the session.
    pub async fn durable(self) -> Result<OffsetRange, LogError> {
        let result = match self.waiting.await {
            Ok(result) => result,
            Err(_closed) => Err(abandoned(&self.topic)),
        };
        result.map_err(|error| fail(&self.failed, error))
    }

    /// Whether the records are durable by now; does not wait.
    ///
    /// # Errors
    /// The failure that ended the session.
    pub fn is_durable(&mut self) -> Result<bool, LogError> {
        let result = match self.waiting.try_recv() {
            Ok(result) => result.map(|_range| true),
            Err(oneshot::error::TryRecvError::Empty) => return Ok(false),
            Err(oneshot::error::TryRecvError::Closed) => Err(abandoned(&self.topic)),
        };
        result.map_err(|error| fail(&self.failed, error))
    }
}

fn abandoned(topic: &Arc<str>) -> LogError {
    LogError::Ended { topic: Arc::clone(topic), reason: Arc::from("its writer has stopped") }
}

/// Keeps the first failure, which is the cause of all later ones, and returns it.
fn fail(failed: &Mutex<Option<LogError>>, error: LogError) -> LogError {
    if matches!(error, LogError::TooLarge { .. } | LogError::NoPartition { .. }) {
        return error;
    }
    failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error).clone()
}
