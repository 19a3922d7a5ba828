//! What can go wrong with a log.
//!
//! Owns: the error of every log, whatever its kind, and its class.
//! Never: what to do about it; that follows from the class.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

use runtime::error::{Class, Classified};

use crate::record::{NextOffset, Offset, Partition, TopicId};

/// The source of an error that many waiters may get.
pub(crate) type Shared = Arc<dyn Error + Send + Sync>;

/// A log that cannot do what it was asked to. Cheap to clone: one failure ends many waits.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LogError {
    /// The partition is not there.
    #[error("`{topic}` has no partition {partition}; it has {partitions}, counted from 0")]
    NoPartition {
        /// The topic.
        topic: Arc<str>,
        /// What was asked for.
        partition: Partition,
        /// How many there are.
        partitions: u32,
    },
    /// The topic exists with another number of partitions.
    #[error("`{topic}` has {is} partitions where {wanted} are needed; {next}")]
    PartitionCount {
        /// The topic.
        topic: Arc<str>,
        /// How many there are.
        is: u32,
        /// How many are needed.
        wanted: u32,
        /// What to do about it.
        next: &'static str,
    },
    /// The topic does not exist, and is not created here.
    #[error("topic `{topic}` does not exist; create it, or correct its name in the configuration")]
    NoTopic {
        /// The topic.
        topic: Arc<str>,
    },
    /// One of the records is larger than this log takes. None of them was appended.
    #[error(
        "record {index} of the append to `{topic}` has {bytes} bytes; at most {max} are taken; \
         shorten it or raise the limit"
    )]
    TooLarge {
        /// The topic.
        topic: Arc<str>,
        /// Which of the records, counted from 0.
        index: usize,
        /// Its size in bytes.
        bytes: usize,
        /// The limit in bytes.
        max: usize,
    },
    /// The disk is nearly full: appends are refused until there is room again.
    #[error(
        "`{}` has {free_bytes} bytes free, below the low-water mark of {min_bytes}; \
         appends are refused until there is more", path.display()
    )]
    DiskLow {
        /// The folder of the store.
        path: PathBuf,
        /// What is free.
        free_bytes: u64,
        /// What must stay free.
        min_bytes: u64,
    },
    /// The place is not in the log: trimmed before it was read, or the log was truncated.
    #[error(
        "offset {asked} of `{topic}` partition {partition} is not there; the log holds {start} \
         up to {end}, so records are lost; restore the topic, or start over with empty outputs"
    )]
    OutOfRange {
        /// The topic.
        topic: Arc<str>,
        /// The partition.
        partition: Partition,
        /// What was asked for.
        asked: NextOffset,
        /// The first offset that is there.
        start: NextOffset,
        /// One past the last.
        end: NextOffset,
    },
    /// The topic was deleted and created anew.
    #[error(
        "`{topic}` was recreated: its id was {was} and is {is}; offsets of the old one mean nothing \
         in the new one; start over with empty outputs"
    )]
    Recreated {
        /// The topic.
        topic: Arc<str>,
        /// The incarnation that was used so far.
        was: TopicId,
        /// The one that is there now.
        is: TopicId,
    },
    /// The broker does not answer, or not yet.
    #[error("{doing} of `{topic}`: the broker is away or refuses")]
    Away {
        /// The topic.
        topic: Arc<str>,
        /// What was tried.
        doing: &'static str,
        /// What the client said.
        source: Shared,
    },
    /// A producer session has ended; nothing that it still held was, or will be, written by it.
    #[error("the session that writes to `{topic}` has ended: {reason}; open a new one")]
    Ended {
        /// The topic.
        topic: Arc<str>,
        /// Why.
        reason: Arc<str>,
    },
    /// The configuration of the client is wrong.
    #[error("configuration for `{topic}`: {reason}")]
    Config {
        /// The topic, or the brokers.
        topic: Arc<str>,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// The store failed. It takes no further writes; reopening it recovers what was acknowledged.
    #[error("{doing} in `{}`; restart to recover what was acknowledged", path.display())]
    Storage {
        /// The folder of the store.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// What the store said.
        source: Shared,
    },
    /// The store is in use.
    #[error("`{}` is in use by another process; stop it, or choose another folder", path.display())]
    InUse {
        /// The folder of the store.
        path: PathBuf,
    },
    /// Stored bytes are not what was written.
    #[error("`{topic}` partition {partition}, block at {at}, is damaged: {what}")]
    Damaged {
        /// The topic.
        topic: Arc<str>,
        /// The partition.
        partition: Partition,
        /// The first offset of the block.
        at: Offset,
        /// What is wrong with it.
        what: &'static str,
    },
}

impl Classified for LogError {
    fn class(&self) -> Class {
        match self {
            Self::TooLarge { .. } | Self::Config { .. } | Self::PartitionCount { .. } => {
                Class::Input
            }
            Self::NoTopic { .. }
            | Self::DiskLow { .. }
            | Self::Away { .. }
            | Self::Ended { .. }
            | Self::InUse { .. } => Class::Dependency,
            Self::NoPartition { .. }
            | Self::OutOfRange { .. }
            | Self::Recreated { .. }
            | Self::Storage { .. }
            | Self::Damaged { .. } => Class::Bug,
        }
    }
}
