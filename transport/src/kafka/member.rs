//! Membership of a consumer group.
//!
//! Owns: one client that joins the group, on one thread; assignment and revocation as events.
//! Never: reading records. The partitions of the client are paused: readers begin where the output
//! stands, not where the group believes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, Offset as At, TopicPartitionList};
use tokio::sync::mpsc;

use super::blocking;
use super::config::Role;
use super::context::{self, Telling};
use super::control::{committed, failed, is_passing, list, refused};
use super::log::KafkaLog;
use crate::error::LogError;
use crate::group::{Event, GroupEvent, RevokeAck};
use crate::record::{NextOffset, Partition};

/// How long a revocation may take. Far below the five minutes after which the group throws out a
/// member that does not poll, and above the time in which a queue of 64 MiB is written.
const REVOKE_MAX: Duration = Duration::from_secs(30);

/// A member of a group.
pub(crate) struct Member {
    log: KafkaLog,
    consumer: Arc<BaseConsumer<Membership>>,
    stop: Arc<AtomicBool>,
}

impl std::fmt::Debug for Member {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Member").field("log", &self.log).finish_non_exhaustive()
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

/// Hears of assignments, on the thread that polls.
struct Membership {
    topic: Arc<str>,
    events: mpsc::Sender<Event>,
    stop: Arc<AtomicBool>,
    telling: Telling,
}

impl ClientContext for Membership {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        context::log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.telling.error(&error, reason);
    }
}

impl ConsumerContext for Membership {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        what: RDKafkaRespErr,
        list: &mut TopicPartitionList,
    ) {
        let done = if what == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            self.assigned(consumer, list)
        } else {
            self.revoked(consumer, list)
        };
        if let Err(error) = done {
            self.send(Err(failed(&self.topic, "take part in a rebalance", error)));
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, _offsets: &TopicPartitionList) {
        if let Err(error) = result {
            tracing::debug!(%error, topic = %self.topic, "a commit was refused");
        }
    }
}

impl Membership {
    fn assigned(
        &self,
        consumer: &BaseConsumer<Self>,
        list: &mut TopicPartitionList,
    ) -> KafkaResult<()> {
        let partitions = self.partitions(list);
        // Any offset will do, since nothing is read; one that is given spares the question for the
        // committed one, whose absence would be an error.
        list.set_all_offsets(At::Offset(0))?;
        match consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => consumer.incremental_assign(list)?,
            RebalanceProtocol::Eager | RebalanceProtocol::None => consumer.assign(list)?,
        }
        consumer.pause(list)?;
        self.send(Ok(GroupEvent::Assigned(partitions)));
        Ok(())
    }

    fn revoked(&self, consumer: &BaseConsumer<Self>, list: &TopicPartitionList) -> KafkaResult<()> {
        let partitions = self.partitions(list);
        if consumer.assignment_lost() {
            self.send(Ok(GroupEvent::Lost(partitions)));
        } else {
            let (ack, acknowledged) = sync_channel(0);
            self.send(Ok(GroupEvent::Revoked { partitions, ack: RevokeAck::new(ack) }));
            self.wait(&acknowledged);
        }
        match consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => consumer.incremental_unassign(list),
            RebalanceProtocol::Eager | RebalanceProtocol::None => consumer.unassign(),
        }
    }

    /// Waits until the partitions are given up, or nobody is there to give them up.
    fn wait(&self, acknowledged: &Receiver<std::convert::Infallible>) {
        let mut waited = Duration::ZERO;
        let step = Duration::from_millis(50);
        while !self.stop.load(Ordering::Acquire) {
            if waited >= REVOKE_MAX {
                tracing::warn!(topic = %self.topic, "partitions were not given up in time");
                return;
            }
            match acknowledged.recv_timeout(step) {
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => waited += step,
                Ok(never) => match never {},
            }
        }
    }

    fn partitions(&self, list: &TopicPartitionList) -> Vec<Partition> {
        let ours = list.elements_for_topic(&self.topic);
        ours.iter().filter_map(|one| u32::try_from(one.partition()).ok().map(Partition)).collect()
    }

    fn send(&self, event: Event) {
        if self.events.blocking_send(event).is_err() {
            self.stop.store(true, Ordering::Release);
        }
    }
}

impl Member {
    /// Joins the group that reads the log.
    pub(crate) fn join(
        log: &KafkaLog,
        group: &str,
        events: mpsc::Sender<Event>,
    ) -> Result<Self, LogError> {
        let stop = Arc::new(AtomicBool::new(false));
        let topic = Arc::clone(log.topic());
        let membership = Membership {
            topic: Arc::clone(&topic),
            events: events.clone(),
            stop: Arc::clone(&stop),
            telling: Telling::default(),
        };
        let client = log.settings().client(Role::Member(group));
        let consumer: Result<BaseConsumer<Membership>, _> = client.create_with_context(membership);
        let consumer = Arc::new(consumer.map_err(|error| refused(&topic, &error))?);
        let subscribed = consumer.subscribe(&[&topic]);
        subscribed.map_err(|error| failed(&topic, "join the group", error))?;
        let (served, stopped) = (Arc::clone(&consumer), Arc::clone(&stop));
        let thread = std::thread::Builder::new().name("kafka-member".to_owned());
        let thread = thread.spawn(move || serve(served, &topic, &events, &stopped));
        thread.map_err(|error| LogError::Config {
            topic: Arc::clone(log.topic()),
            reason: format!("no thread can be started: {error}"),
        })?;
        Ok(Self { log: log.clone(), consumer, stop })
    }

    pub(crate) async fn committed(
        &self,
        partition: Partition,
    ) -> Result<Option<NextOffset>, LogError> {
        self.log.check(partition)?;
        let (consumer, topic) = (Arc::clone(&self.consumer), Arc::clone(self.log.topic()));
        blocking(self.log.topic(), move || committed(&consumer, &topic, partition)).await
    }

    /// Asks for the commit and does not wait: it is for displays.
    pub(crate) fn commit(&self, partition: Partition, next: NextOffset) -> Result<(), LogError> {
        self.log.check(partition)?;
        let list = list(self.log.topic(), partition, At::Offset(next.0));
        let asked = self.consumer.commit(&list, CommitMode::Async);
        asked.map_err(|error| failed(self.log.topic(), "commit", error))
    }
}

/// Polls until the member leaves. The last to hold the client, because leaving blocks.
#[expect(clippy::needless_pass_by_value, reason = "the client is dropped here")]
fn serve(
    consumer: Arc<BaseConsumer<Membership>>,
    topic: &Arc<str>,
    events: &mpsc::Sender<Event>,
    stop: &AtomicBool,
) {
    while !stop.load(Ordering::Acquire) {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Err(KafkaError::MessageConsumption(code))) if is_passing(code) => {}
            Some(Err(error @ KafkaError::MessageConsumptionFatal(_))) => {
                let failure = failed(topic, "take part in the group", error);
                stop.store(events.blocking_send(Err(failure)).is_err(), Ordering::Release);
            }
            Some(Err(error)) => tracing::debug!(%error, %topic, "kafka member client"),
            // Partitions are paused; what was fetched before they were is not used.
            Some(Ok(_)) | None => {}
        }
    }
    while Arc::strong_count(&consumer) > 1 {
        drop(consumer.poll(Duration::from_millis(20)));
    }
}
