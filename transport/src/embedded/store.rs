//! The folder that holds all logs and tables of a process.
//!
//! Owns: opening, recovery, the list of logs, the writing thread's life.
//! Never: the writing itself.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use fjall::{Database, Keyspace, KeyspaceCreateOptions};
use runtime::clock::Clock;
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::disk::{FreeSpace, LowWater};
use super::journal;
use super::log::EmbeddedLog;
use super::slot::{Segment, Slot};
use super::table::Table;
use super::writer::{
    COMMANDS_MAX, Command, Keyspaces, SEGMENT_BYTES_MAX, Writer, segment_name, segment_options,
};
use crate::error::LogError;
use crate::record::{Partition, TopicId};

/// Bytes of appends that may wait for the disk, in KiB: 64 MiB, four groups.
const WAITING_KIB_MAX: usize = 64 << 10;
/// Kept of the journal before memtables are flushed.
const JOURNAL_BYTES_MAX: u64 = 128 << 20;
/// Blocks kept in memory for readers that are a little behind.
const CACHE_BYTES: u64 = 16 << 20;
/// The longest name of a topic or table; the rest of a keyspace's 255 bytes is for its suffix.
const NAME_BYTES_MAX: usize = 200;

/// How a store behaves.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// Appends are refused while less than this is free on the disk, in bytes.
    pub free_bytes_min: u64,
    /// The largest record taken, in bytes. At most 64 MiB.
    pub record_bytes_max: usize,
    /// A segment of a partition is closed at this size, in bytes. Trimming is as coarse as this.
    pub segment_bytes_max: u64,
    /// Gives the time of the ends of partitions.
    pub clock: Clock,
    /// Gives the free space.
    pub free_space: FreeSpace,
}

impl StoreOptions {
    /// 1 GiB must stay free; records up to 4 MiB; segments of 128 MiB.
    ///
    /// The gibibyte holds what the store may still write after an append was refused: journals
    /// (128 MiB kept, 64 MiB preallocated), memtables, and one compaction.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self {
            free_bytes_min: 1 << 30,
            record_bytes_max: 4 << 20,
            segment_bytes_max: SEGMENT_BYTES_MAX,
            clock,
            free_space: FreeSpace::of_disk(),
        }
    }
}

/// An open folder. Cheap to clone; clones are one. Closed when the last clone, log and table of it
/// is dropped; that waits for the writing thread.
#[derive(Debug, Clone)]
pub struct Store(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) path: PathBuf,
    pub(super) options: StoreOptions,
    db: Database,
    meta: Keyspace,
    pub(super) cursors: Keyspaces,
    /// None once the store is being closed.
    commands: Option<mpsc::Sender<Command>>,
    pub(super) room: Arc<Semaphore>,
    logs: Mutex<BTreeMap<String, EmbeddedLog>>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.commands = None;
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if writer.is_some_and(|writer| writer.join().is_err()) {
            tracing::error!(path = %self.path.display(), "the writer of the store panicked");
        }
    }
}

impl Store {
    /// Opens the folder, or makes it; recovers what was acknowledged.
    ///
    /// # Errors
    /// When another process has it open, or it cannot be read.
    pub fn open(path: &Path, options: StoreOptions) -> Result<Self, LogError> {
        let storage = |doing| {
            move |source: fjall::Error| match source {
                fjall::Error::Locked => LogError::InUse { path: path.to_owned() },
                other => {
                    LogError::Storage { path: path.to_owned(), doing, source: Arc::new(other) }
                }
            }
        };
        let io = |source| LogError::Storage {
            path: path.to_owned(),
            doing: "make the folder",
            source: Arc::new(source),
        };
        std::fs::create_dir_all(path).map_err(io)?;
        let db = match open_database(path) {
            Err(fjall::Error::JournalRecovery(refused)) => {
                let cut = journal::mend(path).map_err(io)?;
                tracing::error!(
                    path = %path.display(), error = %refused, cut_bytes = cut,
                    "the journal of the store cannot be read; a torn last write is cut off"
                );
                open_database(path)
            }
            other => other,
        };
        let db = db.map_err(storage("open the store"))?;
        let small = || KeyspaceCreateOptions::default().max_memtable_size(4 << 20);
        let meta = db.keyspace("meta", small).map_err(storage("open the list of logs"))?;
        let cursors = db.keyspace("cursors", small).map_err(storage("open the cursors"))?;
        let (commands, receive) = mpsc::channel(COMMANDS_MAX);
        let low_water = LowWater::new(path, options.free_bytes_min, options.free_space.clone());
        let writer = Writer {
            db: db.clone(),
            path: path.to_owned(),
            meta: meta.clone(),
            low_water,
            segment_bytes_max: options.segment_bytes_max,
            written: BTreeMap::new(),
        };
        let thread = std::thread::Builder::new().name("store-writer".to_owned());
        let thread = thread.spawn(move || writer.run(receive)).map_err(io)?;
        Ok(Self(Arc::new(Inner {
            path: path.to_owned(),
            options,
            db,
            meta,
            cursors: Keyspaces(cursors),
            commands: Some(commands),
            room: Arc::new(Semaphore::new(WAITING_KIB_MAX)),
            logs: Mutex::default(),
            writer: Mutex::new(Some(thread)),
        })))
    }

    /// Opens a log of this store, or makes it with so many partitions.
    ///
    /// # Errors
    /// When it exists with another number of partitions, the name cannot be one, or the store
    /// fails.
    pub fn log(&self, topic: &str, partitions: u32) -> Result<EmbeddedLog, LogError> {
        let mut logs = self.0.logs.lock().unwrap_or_else(PoisonError::into_inner);
        let name: Arc<str> = Arc::from(topic);
        check_name(&name, partitions)?;
        let (id, stored) = self.identity(topic, partitions)?;
        if stored != partitions {
            let next = "set the configuration back, or begin with an empty folder";
            return Err(LogError::PartitionCount {
                topic: name,
                is: stored,
                wanted: partitions,
                next,
            });
        }
        if let Some(open) = logs.get(topic) {
            return Ok(open.clone_in(self));
        }
        let slots = (0..partitions).map(|partition| self.slot(&name, Partition(partition)));
        let slots = slots.collect::<Result<Vec<_>, _>>()?;
        let log = EmbeddedLog::new(None, name, id, slots);
        logs.insert(topic.to_owned(), log.clone());
        Ok(log.clone_in(self))
    }

    /// Opens a table of this store, or makes it.
    ///
    /// # Errors
    /// When the name cannot be one, or the store fails.
    pub fn table(&self, name: &str) -> Result<Table, LogError> {
        check_name(&Arc::from(name), 1)?;
        let options = || KeyspaceCreateOptions::default().max_memtable_size(8 << 20);
        let keyspace = self.0.db.keyspace(&format!("table#{name}"), options);
        let keyspace = keyspace.map_err(|error| self.0.storage("open a table", error))?;
        Ok(Table::new(self.clone(), Keyspaces(keyspace)))
    }

    fn identity(&self, topic: &str, partitions: u32) -> Result<(TopicId, u32), LogError> {
        let key = format!("log/{topic}");
        let stored = self.0.meta.get(&key);
        let stored = stored.map_err(|error| self.0.storage("read the list of logs", error))?;
        if let Some(stored) = stored {
            let parts = stored.split_first_chunk::<16>();
            let parts = parts.and_then(|(id, rest)| Some((*id, <[u8; 4]>::try_from(rest).ok()?)));
            let (id, count) = parts.ok_or_else(|| LogError::Damaged {
                topic: Arc::from(topic),
                partition: Partition(0),
                at: crate::record::Offset(-1),
                what: "its entry in the list of logs has the wrong length",
            })?;
            return Ok((TopicId(id), u32::from_be_bytes(count)));
        }
        let id = TopicId::random();
        let value = [id.0.as_slice(), partitions.to_be_bytes().as_slice()].concat();
        let mut batch = self.0.db.batch().durability(Some(fjall::PersistMode::SyncData));
        batch.insert(&self.0.meta, key, value);
        batch.commit().map_err(|error| self.0.storage("make a log", error))?;
        Ok((id, partitions))
    }

    /// Finds what is on disk of a partition, and deletes segments that were trimmed.
    fn slot(&self, topic: &Arc<str>, partition: Partition) -> Result<Arc<Slot>, LogError> {
        let inner = &self.0;
        let start = inner.meta.get(start_key(topic, partition));
        let start = start.map_err(|error| inner.storage("read the start of a log", error))?;
        let start = start.and_then(|start| <[u8; 8]>::try_from(start.as_ref()).ok());
        let start = start.map_or(0, i64::from_be_bytes);
        let prefix = format!("log#{topic}#{partition}#");
        let mut segments = BTreeMap::new();
        for name in inner.db.list_keyspace_names() {
            let Some(base) = name.strip_prefix(prefix.as_str()) else { continue };
            let Ok(base) = base.parse() else { continue };
            let keyspace = inner.db.keyspace(&name, segment_options);
            let keyspace = keyspace.map_err(|error| inner.storage("open a segment", error))?;
            segments.insert(base, Segment(keyspace));
        }
        if segments.is_empty() {
            let keyspace = inner.db.keyspace(&segment_name(topic, partition.0, 0), segment_options);
            let keyspace = keyspace.map_err(|error| inner.storage("begin a segment", error))?;
            segments.insert(0, Segment(keyspace));
        }
        let (topic, path) = (Arc::clone(topic), inner.path.clone());
        let slot = Slot::open(topic, partition, path, segments, start)?;
        for Segment(trimmed) in slot.trim(crate::record::NextOffset(start)) {
            let deleted = inner.db.delete_keyspace(trimmed);
            deleted.map_err(|error| inner.storage("delete a trimmed segment", error))?;
        }
        Ok(Arc::new(slot))
    }
}

impl Inner {
    /// Hands a command to the writing thread; waits for room in its queue.
    pub(super) async fn command(&self, command: Command) -> Result<(), LogError> {
        let Some(commands) = &self.commands else { return Err(self.stopped()) };
        commands.send(command).await.map_err(|_closed| self.stopped())
    }

    /// Waits for the answer to a command.
    pub(super) async fn answer(
        &self,
        waiting: oneshot::Receiver<Result<(), LogError>>,
    ) -> Result<(), LogError> {
        waiting.await.unwrap_or_else(|_closed| Err(self.stopped()))
    }

    pub(super) fn storage(&self, doing: &'static str, source: fjall::Error) -> LogError {
        LogError::Storage { path: self.path.clone(), doing, source: Arc::new(source) }
    }

    pub(super) fn stopped(&self) -> LogError {
        let source = io::Error::other("its writing thread has ended");
        LogError::Storage { path: self.path.clone(), doing: "write", source: Arc::new(source) }
    }
}

fn open_database(path: &Path) -> fjall::Result<Database> {
    Database::builder(path)
        .cache_size(CACHE_BYTES)
        .max_journaling_size(JOURNAL_BYTES_MAX)
        .journal_compression(fjall::CompressionType::None)
        .worker_threads(1)
        .open()
}

/// Where the start of a partition is remembered.
pub(super) fn start_key(topic: &str, partition: Partition) -> Vec<u8> {
    format!("start/{topic}/{partition}").into_bytes()
}

fn check_name(topic: &Arc<str>, partitions: u32) -> Result<(), LogError> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let reason = if topic.is_empty() || topic.len() > NAME_BYTES_MAX || !topic.bytes().all(legal) {
        "a name has 1 to 200 characters of a-z, A-Z, 0-9, `.`, `_`, `-`"
    } else if partitions == 0 {
        "a log has at least one partition"
    } else {
        return Ok(());
    };
    Err(LogError::Config { topic: Arc::clone(topic), reason: reason.to_owned() })
}
