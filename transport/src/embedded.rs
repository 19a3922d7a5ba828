//! Logs and small tables in a folder of this machine.
//!
//! Owns: the store: its folder, its one writing thread, group commit with fsync, segments, the
//! low-water mark of free disk.
//! Never: more than one process on one folder; the content of records.
//!
//! Records are stored in compressed blocks, keyed by the offset of their first record; a partition
//! is a row of segments, each a keyspace of its own, so that trimming frees whole files at once.
//! All appends that wait while the disk is busy are written and synced together.

mod block;
mod disk;
mod journal;
mod log;
mod slot;
mod store;
mod table;
mod writer;

pub use disk::FreeSpace;
pub use log::EmbeddedLog;
pub use store::{Store, StoreOptions};
pub use table::{Change, Table};
