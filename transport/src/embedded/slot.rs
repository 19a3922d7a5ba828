//! One partition of an embedded log, as reader and writer share it.
//!
//! Owns: its segments, its bounds, and finding blocks in it.
//! Never: writing; only the writer's thread does.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use fjall::{Keyspace, UserValue};
use tokio::sync::watch;

use super::block;
use crate::error::LogError;
use crate::log::{Bounds, ReadLimits};
use crate::record::{NextOffset, Offset, Partition, Record};

/// One partition.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) topic: Arc<str>,
    pub(super) partition: Partition,
    /// The folder of the store, for messages.
    path: PathBuf,
    /// By the offset of the first record that each may hold. Never empty.
    segments: RwLock<BTreeMap<i64, Segment>>,
    start: AtomicI64,
    /// One past the last record that is durable.
    pub(super) end: watch::Sender<NextOffset>,
    pending: AtomicUsize,
}

/// A keyspace that holds blocks, keyed by the offset of their first record, big-endian.
#[derive(Clone)]
pub(super) struct Segment(pub(super) Keyspace);

impl std::fmt::Debug for Segment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Segment").field(&self.0.name()).finish()
    }
}

/// An append that was called and is not answered yet.
#[derive(Debug)]
pub(super) struct Pending(Arc<Slot>);

impl Pending {
    pub(super) fn new(slot: &Arc<Slot>) -> Self {
        slot.pending.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(slot))
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.0.pending.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Slot {
    /// A partition with these segments and this first offset, as they were found on disk.
    pub(super) fn open(
        topic: Arc<str>,
        partition: Partition,
        path: PathBuf,
        segments: BTreeMap<i64, Segment>,
        start: i64,
    ) -> Result<Self, LogError> {
        let slot = Self {
            topic,
            partition,
            path,
            segments: RwLock::new(segments),
            start: AtomicI64::new(start),
            end: watch::Sender::new(NextOffset(start)),
            pending: AtomicUsize::new(0),
        };
        slot.end.send_replace(slot.find_end()?);
        Ok(slot)
    }

    /// Whether no append is on its way.
    pub(super) fn is_quiet(&self) -> bool {
        self.pending.load(Ordering::Acquire) == 0
    }

    pub(super) fn bounds(&self) -> Bounds {
        let start = NextOffset(self.start.load(Ordering::Acquire));
        Bounds { start, end: *self.end.borrow() }
    }

    /// Moves the start forward and returns the segments that hold nothing from there on. They are
    /// no longer found by readers.
    pub(super) fn trim(&self, start: NextOffset) -> Vec<Segment> {
        self.start.fetch_max(start.0, Ordering::AcqRel);
        let mut segments = self.segments.write().unwrap_or_else(PoisonError::into_inner);
        let mut gone = Vec::new();
        while segments.keys().nth(1).is_some_and(|second| *second <= start.0) {
            gone.extend(segments.pop_first().map(|(_, segment)| segment));
        }
        gone
    }

    pub(super) fn add_segment(&self, base: i64, segment: Segment) {
        self.segments.write().unwrap_or_else(PoisonError::into_inner).insert(base, segment);
    }

    /// The segment that is written to.
    pub(super) fn active(&self) -> Option<Segment> {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        segments.last_key_value().map(|(_, segment)| segment.clone())
    }

    /// Whole blocks, from the one that holds `from` on, until the limits are reached; without the
    /// records before `from` and after the durable end.
    pub(super) fn read(
        &self,
        from: NextOffset,
        limits: ReadLimits,
    ) -> Result<Vec<Record>, LogError> {
        let Bounds { start, end } = self.bounds();
        if from < start || from > end {
            let (topic, partition) = (Arc::clone(&self.topic), self.partition);
            return Err(LogError::OutOfRange { topic, partition, asked: from, start, end });
        }
        let mut records: Vec<Record> = Vec::new();
        let mut bytes = 0;
        for (base, segment) in self.segments_from(from) {
            let first = self.block_before(&segment, from)?.unwrap_or(base);
            for guard in segment.0.range(first.to_be_bytes()..) {
                let (key, value) = guard.into_inner().map_err(|error| self.storage(error))?;
                let base = self.base(&key)?;
                if records.len() >= limits.records_max || bytes >= limits.bytes_max || base >= end.0
                {
                    return Ok(records);
                }
                let block = self.decode(base, &value)?;
                let wanted = block.into_iter();
                let wanted =
                    wanted.filter(|record| record.offset.0 >= from.0 && record.offset.0 < end.0);
                records.extend(wanted.inspect(|record| bytes += record.value.len()));
            }
        }
        Ok(records)
    }

    pub(super) fn last(&self) -> Result<Option<Record>, LogError> {
        let bounds = self.bounds();
        if bounds.is_empty() {
            return Ok(None);
        }
        let from = NextOffset(bounds.end.last_before().0);
        let limits = ReadLimits { records_max: 1, bytes_max: 1, ..ReadLimits::default() };
        Ok(self.read(from, limits)?.pop())
    }

    /// The beginning of the last segment whose first record is older than `time_ms`: what is before
    /// it is older still, as far as records are appended in the order of their times.
    pub(super) fn first_since(&self, time_ms: i64) -> Result<NextOffset, LogError> {
        let start = self.bounds().start;
        let mut first = start;
        for (base, segment) in self.segments_from(start).into_iter().skip(1) {
            let Some(guard) = segment.0.first_key_value() else { break };
            let (_, value) = guard.into_inner().map_err(|error| self.storage(error))?;
            let block = self.decode(base, &value)?;
            let age = block.first().and_then(|record| record.timestamp_ms);
            if age.is_none_or(|age| age >= time_ms) {
                break;
            }
            first = NextOffset(base);
        }
        Ok(first)
    }

    /// The segments that may hold `from` or later records, with their first offsets.
    fn segments_from(&self, from: NextOffset) -> Vec<(i64, Segment)> {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        let first = segments.range(..=from.0).next_back().map_or(from.0, |(base, _)| *base);
        segments.range(first..).map(|(base, segment)| (*base, segment.clone())).collect()
    }

    /// The first offset of the block that holds `from`; none when it is before all blocks.
    fn block_before(&self, segment: &Segment, from: NextOffset) -> Result<Option<i64>, LogError> {
        let Some(guard) = segment.0.range(..=from.0.to_be_bytes()).next_back() else {
            return Ok(None);
        };
        let key = guard.key().map_err(|error| self.storage(error))?;
        self.base(&key).map(Some)
    }

    fn find_end(&self) -> Result<NextOffset, LogError> {
        let segments = self.segments_from(NextOffset(i64::MIN));
        for (base, segment) in segments.iter().rev() {
            let Some(guard) = segment.0.last_key_value() else {
                // A segment is named after the end of the log when it was begun.
                if *base > 0 {
                    return Ok(NextOffset(*base));
                }
                continue;
            };
            let (key, value) = guard.into_inner().map_err(|error| self.storage(error))?;
            let base = self.base(&key)?;
            let count = block::count(&value).map_err(|what| self.damaged(base, what))?;
            return Ok(NextOffset(base + i64::from(count)));
        }
        Ok(NextOffset(self.start.load(Ordering::Acquire)))
    }

    fn base(&self, key: &[u8]) -> Result<i64, LogError> {
        let key = <[u8; 8]>::try_from(key);
        key.map(i64::from_be_bytes).map_err(|_length| self.damaged(-1, "its key is not an offset"))
    }

    fn decode(&self, base: i64, value: &UserValue) -> Result<Vec<Record>, LogError> {
        block::decode(self.partition, Offset(base), value).map_err(|what| self.damaged(base, what))
    }

    fn damaged(&self, at: i64, what: &'static str) -> LogError {
        let (topic, partition) = (Arc::clone(&self.topic), self.partition);
        LogError::Damaged { topic, partition, at: Offset(at), what }
    }

    fn storage(&self, source: fjall::Error) -> LogError {
        LogError::Storage { path: self.path.clone(), doing: "read", source: Arc::new(source) }
    }
}
