//! The one thread that writes to a store.
//!
//! Owns: the order of writes, group commit, blocks, segments.
//! Never: reading for others.
//!
//! Everything that waits is put into one batch and synced together, so that a slow disk makes
//! groups larger rather than the queue longer.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::block::BlockBuilder;
use super::disk::LowWater;
use super::slot::{Pending, Segment, Slot};
use crate::error::LogError;
use crate::record::{NewRecord, NextOffset, OffsetRange};

/// Commands that may wait. Their bytes are bounded apart, by the permits of appends.
pub(super) const COMMANDS_MAX: usize = 1024;
/// No further command joins a group with this many bytes: what a disk syncs in a tenth of a second.
const GROUP_BYTES_MAX: usize = 16 << 20;
/// A segment is closed once it has this many packed bytes. Trimming is as coarse as this.
pub(super) const SEGMENT_BYTES_MAX: u64 = 128 << 20;

/// What an append gets when it is durable.
pub(super) type AppendDone = oneshot::Sender<Result<OffsetRange, LogError>>;
/// What any other command gets when it is durable.
pub(super) type Done = oneshot::Sender<Result<(), LogError>>;

/// What the writer can do.
#[derive(Debug)]
pub(super) enum Command {
    /// Append records to a partition.
    Append(Append),
    /// Write these pairs; a pair without a value is removed.
    Put { keyspace: Keyspaces, pairs: Vec<(Vec<u8>, Option<Vec<u8>>)>, done: Done },
    /// Forget what is before `start`; `mark` is where the start is remembered.
    Trim { slot: Arc<Slot>, start: NextOffset, mark: Vec<u8>, done: Done },
}

/// An append, and whom it belongs to.
#[derive(Debug)]
pub(super) struct Append {
    pub(super) slot: Arc<Slot>,
    pub(super) records: Vec<NewRecord>,
    pub(super) bytes: usize,
    /// Set once an append of the session failed; later ones are refused, so that none is skipped.
    pub(super) session_dead: Arc<AtomicBool>,
    pub(super) done: AppendDone,
    /// Dropped once the append is answered.
    pub(super) pending: Pending,
    /// Room in the queue, given back once the records are written.
    pub(super) room: OwnedSemaphorePermit,
}

/// A keyspace of the store other than segments.
#[derive(Clone)]
pub(super) struct Keyspaces(pub(super) Keyspace);

impl std::fmt::Debug for Keyspaces {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Keyspaces").field(&self.0.name()).finish()
    }
}

/// The state of the writing thread.
pub(super) struct Writer {
    pub(super) db: Database,
    pub(super) path: PathBuf,
    pub(super) meta: Keyspace,
    pub(super) low_water: LowWater,
    pub(super) segment_bytes_max: u64,
    /// Packed bytes in the active segment of each partition, by the segment's name.
    pub(super) written: BTreeMap<String, u64>,
}

/// What is written together.
struct Group {
    batch: OwnedWriteBatch,
    /// By the address of the slot.
    blocks: BTreeMap<usize, Blocks>,
    appended: Vec<Appended>,
    done: Vec<Done>,
    trims: Vec<(Arc<Slot>, NextOffset)>,
}

/// An append whose records are in the batch.
struct Appended {
    range: OffsetRange,
    session_dead: Arc<AtomicBool>,
    done: AppendDone,
    _pending: Pending,
    _room: OwnedSemaphorePermit,
}

struct Blocks {
    slot: Arc<Slot>,
    segment: Segment,
    builder: BlockBuilder,
    /// The offset of the first record in the builder.
    base: i64,
    next: i64,
    /// Bytes of the blocks that were taken.
    packed: u64,
}

impl Writer {
    /// Works until nobody can send commands any more.
    pub(super) fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        while let Some(first) = commands.blocking_recv() {
            let mut group = self.begin();
            let mut bytes = self.add(&mut group, first);
            while bytes < GROUP_BYTES_MAX {
                let Ok(more) = commands.try_recv() else { break };
                bytes += self.add(&mut group, more);
            }
            self.commit(group);
        }
    }

    fn begin(&self) -> Group {
        Group {
            batch: self.db.batch().durability(Some(PersistMode::SyncData)),
            blocks: BTreeMap::new(),
            appended: Vec::new(),
            done: Vec::new(),
            trims: Vec::new(),
        }
    }

    /// Puts a command into the group; returns its size in bytes.
    fn add(&mut self, group: &mut Group, command: Command) -> usize {
        match command {
            Command::Append(append) => return self.add_append(group, append),
            Command::Put { keyspace, pairs, done } => {
                for (key, value) in pairs {
                    match value {
                        Some(value) => group.batch.insert(&keyspace.0, key, value),
                        None => group.batch.remove(&keyspace.0, key),
                    }
                }
                group.done.push(done);
            }
            Command::Trim { slot, start, mark, done } => {
                let start = start.min(slot.bounds().end);
                if start > slot.bounds().start {
                    group.batch.insert(&self.meta, mark, start.0.to_be_bytes());
                    group.trims.push((slot, start));
                }
                group.done.push(done);
            }
        }
        0
    }

    fn add_append(&mut self, group: &mut Group, append: Append) -> usize {
        let Append { slot, records, bytes, session_dead, done, pending, room } = append;
        let admitted = if session_dead.load(Ordering::Acquire) {
            let reason = Arc::from("an earlier append of the session failed");
            Err(LogError::Ended { topic: Arc::clone(&slot.topic), reason })
        } else {
            self.low_water.check().and_then(|()| self.blocks(&mut group.blocks, &slot))
        };
        let blocks = match admitted {
            Ok(blocks) => blocks,
            Err(error) => {
                refuse(&session_dead, done, error);
                return 0;
            }
        };
        let start = NextOffset(blocks.next);
        for record in &records {
            blocks.builder.push(record);
            blocks.next += 1;
            if blocks.builder.is_full() {
                let (key, block) = blocks.take();
                group.batch.insert(&blocks.segment.0, key, block);
            }
        }
        let range = OffsetRange { start, end: NextOffset(blocks.next) };
        group.appended.push(Appended { range, session_dead, done, _pending: pending, _room: room });
        bytes
    }

    /// What the group appends to this partition so far.
    fn blocks<'g>(
        &mut self,
        blocks: &'g mut BTreeMap<usize, Blocks>,
        slot: &Arc<Slot>,
    ) -> Result<&'g mut Blocks, LogError> {
        match blocks.entry(Arc::as_ptr(slot).addr()) {
            Entry::Occupied(found) => Ok(found.into_mut()),
            Entry::Vacant(vacant) => {
                let segment = self.segment(slot)?;
                let base = slot.bounds().end.0;
                let (slot, builder) = (Arc::clone(slot), BlockBuilder::default());
                Ok(vacant.insert(Blocks { slot, segment, builder, base, next: base, packed: 0 }))
            }
        }
    }

    /// The segment to write to; begins a new one when the last is full.
    fn segment(&mut self, slot: &Slot) -> Result<Segment, LogError> {
        if let Some(active) = slot.active() {
            let name = active.0.name().to_string();
            let known = self.written.entry(name).or_insert_with(|| active.0.disk_space());
            if *known < self.segment_bytes_max {
                return Ok(active);
            }
        }
        let base = slot.bounds().end.0;
        let name = segment_name(&slot.topic, slot.partition.0, base);
        let keyspace = self.db.keyspace(&name, segment_options);
        let segment = Segment(keyspace.map_err(|error| self.failed("begin a segment", error))?);
        slot.add_segment(base, segment.clone());
        Ok(segment)
    }

    fn commit(&mut self, mut group: Group) {
        for blocks in group.blocks.values_mut() {
            if blocks.builder.records() > 0 {
                let (key, block) = blocks.take();
                group.batch.insert(&blocks.segment.0, key, block);
            }
            *self.written.entry(blocks.segment.0.name().to_string()).or_default() += blocks.packed;
        }
        match group.batch.commit() {
            Ok(()) => {
                for blocks in group.blocks.into_values() {
                    blocks.slot.end.send_replace(NextOffset(blocks.next));
                }
                self.trim(group.trims);
                for appended in group.appended {
                    // Whoever asked may have gone.
                    drop(appended.done.send(Ok(appended.range)));
                }
                for done in group.done {
                    drop(done.send(Ok(())));
                }
            }
            Err(error) => {
                let failure = self.failed("write", error);
                tracing::error!(error = %failure, "store failed");
                for appended in group.appended {
                    refuse(&appended.session_dead, appended.done, failure.clone());
                }
                for done in group.done {
                    drop(done.send(Err(failure.clone())));
                }
            }
        }
    }

    fn trim(&mut self, trims: Vec<(Arc<Slot>, NextOffset)>) {
        for (slot, start) in trims {
            for Segment(keyspace) in slot.trim(start) {
                self.written.remove(&keyspace.name().to_string());
                // The start is durable: what stays is deleted when the store is opened again.
                if let Err(error) = self.db.delete_keyspace(keyspace) {
                    tracing::warn!(%error, topic = %slot.topic, "could not delete a trimmed segment");
                }
            }
        }
    }

    fn failed(
        &self,
        doing: &'static str,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> LogError {
        LogError::Storage { path: self.path.clone(), doing, source: Arc::new(source) }
    }
}

impl Blocks {
    /// The finished block and its key; the next one begins after it.
    fn take(&mut self) -> ([u8; 8], Vec<u8>) {
        let key = self.base.to_be_bytes();
        self.base = self.next;
        let block = self.builder.finish();
        self.packed += u64::try_from(block.len()).unwrap_or(0);
        (key, block)
    }
}

fn refuse(session_dead: &AtomicBool, done: AppendDone, error: LogError) {
    session_dead.store(true, Ordering::Release);
    // Whoever asked may have gone.
    drop(done.send(Err(error)));
}

/// The name of the keyspace of a segment. Names sort as offsets do.
pub(super) fn segment_name(topic: &str, partition: u32, base: i64) -> String {
    format!("log#{topic}#{partition}#{base:020}")
}

/// Blocks are packed and large, are written once, in order, and are found by range.
pub(super) fn segment_options() -> KeyspaceCreateOptions {
    KeyspaceCreateOptions::default()
        .data_block_compression_policy(fjall::config::CompressionPolicy::all(
            fjall::CompressionType::None,
        ))
        .max_memtable_size(32 << 20)
}
