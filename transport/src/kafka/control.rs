//! Questions to the cluster that are not a stream.
//!
//! Owns: metadata, bounds, the last record of a partition, commits by name. All calls block.
//! Never: being called from an async task; [`super::blocking`] is in between.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::{Offset as At, TopicPartitionList};
use tokio::time::Instant;

use super::config::{Role, Settings};
use super::context::Context;
use super::fetch::to_record;
use crate::error::LogError;
use crate::log::Bounds;
use crate::record::{NextOffset, Partition, Record, TopicId};

/// How long one question may take before the broker counts as away.
const ASK_MAX: Duration = Duration::from_secs(5);

/// The client that asks.
pub(super) struct Control {
    consumer: BaseConsumer<Context>,
    settings: Settings,
    /// Held while the queue of the client is polled, so that each finds what it asked for there.
    peeking: Mutex<()>,
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Control").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// What the cluster says about a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    /// Zero where the brokers give none.
    pub(super) id: TopicId,
    pub(super) partitions: u32,
    /// Of the partition with the fewest.
    pub(super) replicas: usize,
}

impl Control {
    pub(super) fn new(settings: &Settings) -> Result<Self, LogError> {
        let consumer = settings.client(Role::Control).create_with_context(Context::default());
        let brokers: Arc<str> = Arc::from(settings.brokers());
        let consumer = consumer.map_err(|error| refused(&brokers, &error))?;
        Ok(Self { consumer, settings: settings.clone(), peeking: Mutex::new(()) })
    }

    /// What the topic is now.
    pub(super) fn identity(&self, topic: &Arc<str>) -> Result<Identity, LogError> {
        let _alone = self.peeking.lock().unwrap_or_else(PoisonError::into_inner);
        let away = |error| away(topic, "ask for the partitions", error);
        let metadata = self.consumer.fetch_metadata(Some(topic), ASK_MAX).map_err(away)?;
        let found = metadata.topics().iter().find(|found| found.name() == &**topic);
        let none = || LogError::NoTopic { topic: Arc::clone(topic) };
        let found = found.ok_or_else(none)?;
        if let Some(error) = found.error() {
            let code = RDKafkaErrorCode::from(error);
            return Err(topic_error(topic, "ask for the partitions", code));
        }
        let partitions = u32::try_from(found.partitions().len()).unwrap_or(u32::MAX);
        let replicas = found.partitions().iter().map(|partition| partition.replicas().len());
        let replicas = replicas.min().unwrap_or(0);
        if partitions == 0 {
            return Err(none());
        }
        Ok(Identity { id: self.topic_id(topic), partitions, replicas })
    }

    /// The id is in the log, which waits in the queue of the client when the answer is there.
    fn topic_id(&self, topic: &str) -> TopicId {
        let context = self.consumer.context();
        for _ in 0..40 {
            loop {
                let before = context.lines();
                // There is nothing but events: no partition is assigned.
                drop(self.consumer.poll(Duration::from_millis(5)));
                if context.lines() == before {
                    break;
                }
            }
            if let Some(id) = context.topic_id(topic) {
                return id;
            }
        }
        TopicId([0; 16])
    }

    pub(super) fn bounds(
        &self,
        topic: &Arc<str>,
        partition: Partition,
    ) -> Result<Bounds, LogError> {
        let asked = self.consumer.fetch_watermarks(topic, number(partition), ASK_MAX);
        let (start, end) = asked.map_err(|error| failed(topic, "ask for the bounds", error))?;
        Ok(Bounds { start: NextOffset(start), end: NextOffset(end) })
    }

    /// The first record stored at or after a time; the end where there is none.
    pub(super) fn first_since(
        &self,
        topic: &Arc<str>,
        partition: Partition,
        time_ms: i64,
    ) -> Result<NextOffset, LogError> {
        let end = self.bounds(topic, partition)?.end;
        // In a request for times the offset is the time.
        let asked = list(topic, partition, At::Offset(time_ms.max(0)));
        let found = self.consumer.offsets_for_times(asked, ASK_MAX);
        let found = found.map_err(|error| failed(topic, "ask for the place of a time", error))?;
        let place = found.find_partition(topic, number(partition)).map(|place| place.offset());
        Ok(match place {
            Some(At::Offset(offset)) => NextOffset(offset),
            _ => end,
        })
    }

    /// The last record. Offsets without a record, which compaction and transactions leave, are
    /// stepped over backwards.
    pub(super) fn last(
        &self,
        topic: &Arc<str>,
        partition: Partition,
    ) -> Result<Option<Record>, LogError> {
        let _alone = self.peeking.lock().unwrap_or_else(PoisonError::into_inner);
        let Bounds { start, end } = self.bounds(topic, partition)?;
        let mut back = 1;
        if end <= start {
            return Ok(None);
        }
        loop {
            let from = NextOffset((end.0 - back).max(start.0));
            let found = self.last_from(topic, partition, Bounds { start: from, end })?;
            if found.is_some() || from == start {
                return Ok(found);
            }
            back = back.saturating_mul(16);
        }
    }

    /// The last record within the bounds, or after them.
    fn last_from(
        &self,
        topic: &Arc<str>,
        partition: Partition,
        bounds: Bounds,
    ) -> Result<Option<Record>, LogError> {
        let list = list(topic, partition, At::Offset(bounds.start.0));
        let asked = |error| failed(topic, "read the last record", error);
        self.consumer.incremental_assign(&list).map_err(asked)?;
        let deadline = Instant::now() + ASK_MAX;
        let mut last: Option<Record> = None;
        let result = loop {
            if last.as_ref().is_some_and(|last| last.next() >= bounds.end) {
                break Ok(last);
            }
            match self.consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => last = of_partition(&message, topic, partition).or(last),
                Some(Err(KafkaError::PartitionEOF(at))) if at == number(partition) => {
                    break Ok(last);
                }
                Some(Err(KafkaError::MessageConsumption(code))) if is_passing(code) => {}
                Some(Err(error)) => break Err(failed(topic, "read the last record", error)),
                None => {}
            }
            if Instant::now() >= deadline {
                let late = KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut);
                break Err(away(topic, "read the last record", late));
            }
        };
        self.consumer.incremental_unassign(&list).map_err(asked)?;
        result
    }

    pub(super) fn cursor(
        &self,
        topic: &Arc<str>,
        partition: Partition,
        group: &str,
    ) -> Result<Option<NextOffset>, LogError> {
        let client = self.named(topic, group)?;
        committed(&client, topic, partition)
    }

    pub(super) fn set_cursor(
        &self,
        topic: &Arc<str>,
        partition: Partition,
        group: &str,
        next: NextOffset,
    ) -> Result<(), LogError> {
        let client = self.named(topic, group)?;
        let list = list(topic, partition, At::Offset(next.0));
        let done = client.commit(&list, CommitMode::Sync);
        done.map_err(|error| failed(topic, "commit", error))
    }

    /// A client that may commit for a group without being a member.
    fn named(&self, topic: &Arc<str>, group: &str) -> Result<BaseConsumer<Context>, LogError> {
        let client = self.settings.client(Role::Cursor(group));
        let client = client.create_with_context(Context::default());
        client.map_err(|error| refused(topic, &error))
    }
}

/// What the group has committed.
pub(super) fn committed<C: rdkafka::consumer::ConsumerContext>(
    client: &BaseConsumer<C>,
    topic: &Arc<str>,
    partition: Partition,
) -> Result<Option<NextOffset>, LogError> {
    let asked = list(topic, partition, At::Invalid);
    let answer = client.committed_offsets(asked, ASK_MAX);
    let answer = answer.map_err(|error| failed(topic, "ask for the committed offset", error))?;
    let found = answer.find_partition(topic, number(partition)).map(|found| found.offset());
    Ok(match found {
        Some(At::Offset(next)) => Some(NextOffset(next)),
        _ => None,
    })
}

fn of_partition(
    message: &BorrowedMessage<'_>,
    topic: &Arc<str>,
    partition: Partition,
) -> Option<Record> {
    use rdkafka::Message;
    let ours = message.topic() == &**topic && message.partition() == number(partition);
    ours.then(|| to_record(message, partition))
}

/// A list of one partition.
pub(super) fn list(topic: &str, partition: Partition, at: At) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(1);
    // It fails only for offsets that cannot be; all of ours can.
    drop(list.add_partition_offset(topic, number(partition), at));
    list
}

/// The number of a partition as Kafka counts.
pub(super) fn number(partition: Partition) -> i32 {
    i32::try_from(partition.0).unwrap_or(i32::MAX)
}

/// Errors that the library gets over by itself.
pub(super) fn is_passing(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::BrokerTransportFailure
            | RDKafkaErrorCode::AllBrokersDown
            | RDKafkaErrorCode::Resolve
            | RDKafkaErrorCode::OperationTimedOut
            | RDKafkaErrorCode::NotLeaderForPartition
            | RDKafkaErrorCode::LeaderNotAvailable
            | RDKafkaErrorCode::FencedLeaderEpoch
            | RDKafkaErrorCode::UnknownLeaderEpoch
    )
}

/// What a failed call means.
pub(super) fn failed(topic: &Arc<str>, doing: &'static str, error: KafkaError) -> LogError {
    match error.rdkafka_error_code() {
        Some(code) => match topic_error(topic, doing, code) {
            LogError::Away { .. } => away(topic, doing, error),
            other => other,
        },
        None => away(topic, doing, error),
    }
}

fn topic_error(topic: &Arc<str>, doing: &'static str, code: RDKafkaErrorCode) -> LogError {
    match code {
        RDKafkaErrorCode::UnknownTopicOrPartition
        | RDKafkaErrorCode::UnknownTopic
        | RDKafkaErrorCode::UnknownPartition => LogError::NoTopic { topic: Arc::clone(topic) },
        RDKafkaErrorCode::InvalidTopic => LogError::Config {
            topic: Arc::clone(topic),
            reason: "this cannot be the name of a topic".to_owned(),
        },
        other => away(topic, doing, KafkaError::Global(other)),
    }
}

pub(super) fn away(topic: &Arc<str>, doing: &'static str, error: KafkaError) -> LogError {
    LogError::Away { topic: Arc::clone(topic), doing, source: Arc::new(error) }
}

/// A client that cannot be made: its settings are wrong.
pub(super) fn refused(topic: &Arc<str>, error: &KafkaError) -> LogError {
    LogError::Config { topic: Arc::clone(topic), reason: error.to_string() }
}
