//! A log in memory, for tests and for wiring stages without a disk.
//!
//! Owns: the shortest implementation of what [`Log`](crate::Log) promises.
//! Never: durability; "acknowledged" means "in memory". It grows until it is trimmed.

mod network;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use runtime::clock::Clock;
use tokio::sync::watch;

pub use network::Motion;
use network::Network;
pub(crate) use network::SessionMark;

use crate::error::LogError;
use crate::log::{Bounds, Fetched};
use crate::output::Waiting;
use crate::record::{NewRecord, NextOffset, Offset, OffsetRange, Partition, Record, TopicId};

/// The largest record taken.
const RECORD_BYTES_MAX: usize = 4 << 20;
/// Records that one read copies out: the default limit of a reader.
const READ_RECORDS_MAX: usize = 4096;

/// A log in memory. Cheap to clone; clones are one.
#[derive(Debug, Clone)]
pub struct MemoryLog(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    topic: Arc<str>,
    id: TopicId,
    clock: Clock,
    /// Whether others get a turn before each send.
    takes_turns: bool,
    /// What lies between sessions and the log.
    network: Option<Network>,
    partitions: Vec<Slot>,
    cursors: Mutex<BTreeMap<(String, Partition), NextOffset>>,
}

/// What lies between sessions and a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Between {
    Nothing,
    Turns,
    Network,
}

#[derive(Debug)]
struct Slot {
    records: Mutex<Records>,
    end: watch::Sender<NextOffset>,
}

#[derive(Debug, Default)]
struct Records {
    start: i64,
    kept: VecDeque<Record>,
}

impl Records {
    fn bounds(&self) -> Bounds {
        let kept = i64::try_from(self.kept.len()).unwrap_or(i64::MAX);
        Bounds { start: NextOffset(self.start), end: NextOffset(self.start + kept) }
    }
}

impl MemoryLog {
    /// An empty log.
    #[must_use]
    pub fn new(topic: &str, partitions: u32, clock: Clock) -> Self {
        Self::made(topic, partitions, clock, Between::Nothing)
    }

    /// An empty log whose sessions give others a turn before each send, as those of a broker do, so
    /// that a process can be stopped between two sends.
    #[must_use]
    pub fn taking_turns(topic: &str, partitions: u32, clock: Clock) -> Self {
        Self::made(topic, partitions, clock, Between::Turns)
    }

    /// An empty log behind a network: what sessions send lands, and is acknowledged, only when
    /// [`MemoryLog::happens`] says so.
    #[must_use]
    pub fn behind_a_network(topic: &str, partitions: u32, clock: Clock) -> Self {
        Self::made(topic, partitions, clock, Between::Network)
    }

    fn made(topic: &str, partitions: u32, clock: Clock, between: Between) -> Self {
        let slot = || Slot { records: Mutex::default(), end: watch::Sender::new(NextOffset::ZERO) };
        Self(Arc::new(Inner {
            topic: Arc::from(topic),
            id: TopicId::random(),
            clock,
            takes_turns: between == Between::Turns,
            network: (between == Between::Network).then(Network::default),
            partitions: (0..partitions).map(|_| slot()).collect(),
            cursors: Mutex::default(),
        }))
    }

    /// In how many queues something may happen: one for each session and partition that it sent
    /// to.
    #[must_use]
    pub fn queues(&self) -> usize {
        self.0.network.as_ref().map_or(0, Network::queues)
    }

    /// Lets something happen to what waits in a queue. False where there is nothing that it could
    /// happen to.
    pub fn happens(&self, queue: usize, motion: Motion) -> bool {
        let append = |partition, records| self.append(partition, records);
        let network = self.0.network.as_ref();
        network.is_some_and(|network| network.happens(queue, motion, append))
    }

    /// Puts other bytes in the place of a record's value, as a disk that fails does. The bytes that
    /// stood there; `None` where there is no such record.
    pub fn replace_value(
        &self,
        partition: Partition,
        offset: Offset,
        value: Bytes,
    ) -> Option<Bytes> {
        let mut held = lock(&self.slot(partition).ok()?.records);
        let place = usize::try_from(offset.0.checked_sub(held.start)?).ok()?;
        let record = held.kept.get_mut(place)?;
        Some(std::mem::replace(&mut record.value, value))
    }

    pub(crate) fn takes_turns(&self) -> bool {
        self.0.takes_turns
    }

    /// What a session sends, where a network lies before the log; otherwise it is given back.
    pub(crate) fn send(
        &self,
        session: &SessionMark,
        partition: Partition,
        records: Vec<NewRecord>,
    ) -> Result<Waiting, Vec<NewRecord>> {
        match &self.0.network {
            Some(network) => Ok(network.send(session, partition, records)),
            None => Err(records),
        }
    }

    pub(crate) fn topic(&self) -> &Arc<str> {
        &self.0.topic
    }

    pub(crate) fn topic_id(&self) -> TopicId {
        self.0.id
    }

    pub(crate) fn partitions(&self) -> u32 {
        u32::try_from(self.0.partitions.len()).unwrap_or(u32::MAX)
    }

    pub(crate) fn append(
        &self,
        partition: Partition,
        records: Vec<NewRecord>,
    ) -> Result<OffsetRange, LogError> {
        let slot = self.slot(partition)?;
        check_sizes(&self.0.topic, &records, RECORD_BYTES_MAX)?;
        let now_ms = self.0.clock.unix_ms();
        let mut held = lock(&slot.records);
        let start = held.bounds().end;
        let mut end = start;
        for mut record in records {
            record.timestamp_ms.get_or_insert(now_ms);
            held.kept.push_back(record.at(partition, Offset(end.0)));
            end = NextOffset(end.0 + 1);
        }
        drop(held);
        slot.end.send_replace(end);
        Ok(OffsetRange { start, end })
    }

    pub(crate) async fn read(
        &self,
        partition: Partition,
        from: NextOffset,
        wait: Duration,
    ) -> Result<Fetched, LogError> {
        let slot = self.slot(partition)?;
        let mut end = slot.end.subscribe();
        // The sender lives as long as `self`; running out of time is no error either.
        drop(tokio::time::timeout(wait, end.wait_for(|end| *end > from)).await);
        let now_ms = self.0.clock.unix_ms();
        let held = lock(&slot.records);
        let Bounds { start, end } = held.bounds();
        if from < start || from > end {
            let topic = Arc::clone(&self.0.topic);
            return Err(LogError::OutOfRange { topic, partition, asked: from, start, end });
        }
        let skip = usize::try_from(from.0 - start.0).unwrap_or(usize::MAX);
        let records: Vec<Record> =
            held.kept.iter().skip(skip).take(READ_RECORDS_MAX).cloned().collect();
        let reached = records.last().map_or(from, Record::next);
        Ok(Fetched { records, end_at_ms: (reached == end).then_some(now_ms) })
    }

    pub(crate) fn last(&self, partition: Partition) -> Result<Option<Record>, LogError> {
        Ok(lock(&self.slot(partition)?.records).kept.back().cloned())
    }

    pub(crate) fn bounds(&self, partition: Partition) -> Result<Bounds, LogError> {
        Ok(lock(&self.slot(partition)?.records).bounds())
    }

    pub(crate) fn cursor(
        &self,
        name: &str,
        partition: Partition,
    ) -> Result<Option<NextOffset>, LogError> {
        self.slot(partition)?;
        Ok(lock(&self.0.cursors).get(&(name.to_owned(), partition)).copied())
    }

    pub(crate) fn set_cursor(
        &self,
        name: &str,
        partition: Partition,
        next: NextOffset,
    ) -> Result<(), LogError> {
        self.slot(partition)?;
        lock(&self.0.cursors).insert((name.to_owned(), partition), next);
        Ok(())
    }

    /// Where the first record stands that is not older than `time_ms`.
    pub(crate) fn first_since(
        &self,
        partition: Partition,
        time_ms: i64,
    ) -> Result<NextOffset, LogError> {
        let held = lock(&self.slot(partition)?.records);
        let young = |record: &&Record| record.timestamp_ms.is_none_or(|at| at >= time_ms);
        let first = held.kept.iter().find(young);
        Ok(first.map_or(held.bounds().end, |record| NextOffset(record.offset.0)))
    }

    pub(crate) fn trim_before(
        &self,
        partition: Partition,
        start: NextOffset,
    ) -> Result<(), LogError> {
        let mut held = lock(&self.slot(partition)?.records);
        while held.start < start.0 && held.kept.pop_front().is_some() {
            held.start += 1;
        }
        Ok(())
    }

    fn slot(&self, partition: Partition) -> Result<&Slot, LogError> {
        let index = usize::try_from(partition.0).unwrap_or(usize::MAX);
        self.0.partitions.get(index).ok_or_else(|| LogError::NoPartition {
            topic: Arc::clone(&self.0.topic),
            partition,
            partitions: self.partitions(),
        })
    }
}

/// Refuses the whole append when one record is too large.
pub(crate) fn check_sizes(
    topic: &Arc<str>,
    records: &[NewRecord],
    max: usize,
) -> Result<(), LogError> {
    let large = records.iter().map(NewRecord::bytes).enumerate().find(|(_, bytes)| *bytes > max);
    match large {
        None => Ok(()),
        Some((index, bytes)) => {
            Err(LogError::TooLarge { topic: Arc::clone(topic), index, bytes, max })
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
