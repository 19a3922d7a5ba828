//! A log in a store.
//!
//! Owns: the calls of [`Log`](crate::Log) for the embedded kind.
//! Never: touching the disk on the caller's thread, but for bounds, which are in memory.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokio::sync::oneshot;

use super::block::misfit;
use super::slot::{Pending, Slot};
use super::store::{Inner, Store, start_key};
use super::writer::{Append, Command};
use crate::error::LogError;
use crate::log::{Bounds, Fetched, ReadLimits};
use crate::memory::check_sizes;
use crate::output::Waiting;
use crate::record::{NewRecord, NextOffset, OffsetRange, Partition, Record, TopicId};

/// One append may take as much room as four of the default limit; larger ones take it all the same
/// once the queue is empty enough.
const ROOM_KIB_MAX: u32 = 16 << 10;

/// A log in a store. Cheap to clone; clones are one.
#[derive(Debug, Clone)]
pub struct EmbeddedLog {
    /// None only in the store's own list, which must not keep the store open.
    store: Option<Store>,
    topic: Arc<str>,
    id: TopicId,
    slots: Arc<[Arc<Slot>]>,
}

impl EmbeddedLog {
    pub(super) fn new(
        store: Option<Store>,
        topic: Arc<str>,
        id: TopicId,
        slots: Vec<Arc<Slot>>,
    ) -> Self {
        Self { store, topic, id, slots: slots.into() }
    }

    pub(super) fn clone_in(&self, store: &Store) -> Self {
        Self { store: Some(store.clone()), ..self.clone() }
    }

    pub(crate) fn topic(&self) -> &Arc<str> {
        &self.topic
    }

    pub(crate) fn topic_id(&self) -> TopicId {
        self.id
    }

    pub(crate) fn partitions(&self) -> u32 {
        u32::try_from(self.slots.len()).unwrap_or(u32::MAX)
    }

    pub(crate) async fn append(
        &self,
        partition: Partition,
        records: Vec<NewRecord>,
    ) -> Result<OffsetRange, LogError> {
        let waiting = self.enqueue(partition, records, Arc::default()).await?;
        match waiting.await {
            Ok(result) => result,
            Err(_closed) => Err(self.inner()?.stopped()),
        }
    }

    /// Hands the records to the writer. Appends that are handed over one after the other land in
    /// that order, and none after one of the same session that failed.
    pub(crate) async fn enqueue(
        &self,
        partition: Partition,
        mut records: Vec<NewRecord>,
        session_dead: Arc<AtomicBool>,
    ) -> Result<Waiting, LogError> {
        let slot = self.slot(partition)?;
        let inner = self.inner()?;
        check_sizes(&self.topic, &records, inner.options.record_bytes_max.min(64 << 20))?;
        if let Some(what) = records.iter().find_map(misfit) {
            let reason = format!("a record cannot be stored: {what}");
            return Err(LogError::Config { topic: Arc::clone(&self.topic), reason });
        }
        let now_ms = inner.options.clock.unix_ms();
        for record in &mut records {
            record.timestamp_ms.get_or_insert(now_ms);
        }
        let bytes: usize = records.iter().map(|record| record.bytes() + 32).sum();
        let room = u32::try_from(bytes / 1024 + 1).unwrap_or(u32::MAX).min(ROOM_KIB_MAX);
        let pending = Pending::new(slot);
        let room = Arc::clone(&inner.room).acquire_many_owned(room).await;
        let room = room.map_err(|_closed| inner.stopped())?;
        let (done, waiting) = oneshot::channel();
        let slot = Arc::clone(slot);
        let append = Append { slot, records, bytes, session_dead, done, pending, room };
        inner.command(Command::Append(append)).await?;
        Ok(waiting)
    }

    pub(crate) async fn read(
        &self,
        partition: Partition,
        from: NextOffset,
        limits: ReadLimits,
    ) -> Result<Fetched, LogError> {
        let slot = Arc::clone(self.slot(partition)?);
        let clock = &self.inner()?.options.clock;
        let mut end = slot.end.subscribe();
        // The sender lives as long as the slot; running out of time is no error either.
        drop(tokio::time::timeout(limits.wait, end.wait_for(|end| *end > from)).await);
        // First the time, then whether something is on its way, then the end: what was called
        // before that time is either before the end or seen to be on its way.
        let now_ms = clock.unix_ms();
        let quiet = slot.is_quiet();
        let bounds = slot.bounds();
        if from == bounds.end {
            let end_at_ms = quiet.then_some(now_ms);
            return Ok(Fetched { records: Vec::new(), end_at_ms });
        }
        let records = self.blocking(move || slot.read(from, limits)).await?;
        let reached = records.last().map_or(from, Record::next);
        let end_at_ms = (quiet && reached == bounds.end).then_some(now_ms);
        Ok(Fetched { records, end_at_ms })
    }

    pub(crate) async fn last(&self, partition: Partition) -> Result<Option<Record>, LogError> {
        let slot = Arc::clone(self.slot(partition)?);
        self.blocking(move || slot.last()).await
    }

    pub(crate) fn bounds(&self, partition: Partition) -> Result<Bounds, LogError> {
        Ok(self.slot(partition)?.bounds())
    }

    pub(crate) async fn cursor(
        &self,
        name: &str,
        partition: Partition,
    ) -> Result<Option<NextOffset>, LogError> {
        let key = self.cursor_key(name, partition)?;
        let inner = Arc::clone(&self.store()?.0);
        self.blocking(move || {
            let value = inner.cursors.0.get(key);
            let value = value.map_err(|error| inner.storage("read a cursor", error))?;
            let value = value.and_then(|value| <[u8; 8]>::try_from(value.as_ref()).ok());
            Ok(value.map(|value| NextOffset(i64::from_be_bytes(value))))
        })
        .await
    }

    pub(crate) async fn set_cursor(
        &self,
        name: &str,
        partition: Partition,
        next: NextOffset,
    ) -> Result<(), LogError> {
        let key = self.cursor_key(name, partition)?;
        let inner = self.inner()?;
        let (done, waiting) = oneshot::channel();
        let pairs = vec![(key, Some(next.0.to_be_bytes().to_vec()))];
        let keyspace = inner.cursors.clone();
        inner.command(Command::Put { keyspace, pairs, done }).await?;
        inner.answer(waiting).await
    }

    /// Where a segment begins before which everything is older than `time_ms`.
    pub(crate) async fn first_since(
        &self,
        partition: Partition,
        time_ms: i64,
    ) -> Result<NextOffset, LogError> {
        let slot = Arc::clone(self.slot(partition)?);
        self.blocking(move || slot.first_since(time_ms)).await
    }

    pub(crate) async fn trim_before(
        &self,
        partition: Partition,
        start: NextOffset,
    ) -> Result<(), LogError> {
        let slot = Arc::clone(self.slot(partition)?);
        let inner = self.inner()?;
        let (done, waiting) = oneshot::channel();
        let mark = start_key(&self.topic, partition);
        inner.command(Command::Trim { slot, start, mark, done }).await?;
        inner.answer(waiting).await
    }

    async fn blocking<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> Result<T, LogError> + Send + 'static,
    ) -> Result<T, LogError> {
        match tokio::task::spawn_blocking(read).await {
            Ok(result) => result,
            Err(_panic_or_shutdown) => Err(self.inner()?.stopped()),
        }
    }

    fn cursor_key(&self, name: &str, partition: Partition) -> Result<Vec<u8>, LogError> {
        self.slot(partition)?;
        Ok(format!("{}/{partition}/{name}", self.topic).into_bytes())
    }

    fn slot(&self, partition: Partition) -> Result<&Arc<Slot>, LogError> {
        let index = usize::try_from(partition.0).unwrap_or(usize::MAX);
        self.slots.get(index).ok_or_else(|| LogError::NoPartition {
            topic: Arc::clone(&self.topic),
            partition,
            partitions: self.partitions(),
        })
    }

    fn store(&self) -> Result<&Store, LogError> {
        self.store.as_ref().ok_or_else(|| LogError::Ended {
            topic: Arc::clone(&self.topic),
            reason: Arc::from("its store is closed"),
        })
    }

    fn inner(&self) -> Result<&Inner, LogError> {
        Ok(&self.store()?.0)
    }
}
