//! Sources, sinks and logs: Kafka, embedded, in memory.
//!
//! Owns: everything that crosses the edge of a process as a record, and the delivery rules that
//! make its way exact: what is acknowledged is durable, what is read has its origin, what was
//! written says how far its input has been used.
//! Never: the content of records; that is the business of `schemas` and of the stages.
//!
//! | to | take |
//! |---|---|
//! | append to, read, trim one topic | [`Log`], [`Reader`] |
//! | write so that nothing is skipped | [`Output`], [`Receipt`] |
//! | share partitions among processes | [`Group`], [`GroupEvent`] |
//! | read the partitions that a group gives, a task each | [`Share`] |
//! | turn records of one topic into records of another, exactly once | [`hop`] |
//! | read what a hop wrote | [`OriginGate`] |
//! | keep small state that survives a crash | [`embedded::Table`] |
//! | connect to Kafka, create and check topics | [`kafka::Kafka`] |
//! | register schemas and ask for them by id | [`registry::Registry`] |
//!
//! A log is one topic: partitions of records, each with an offset that only grows. The three kinds
//! behave alike; [`memory::MemoryLog`] is for tests.

pub mod embedded;
mod error;
mod group;
pub mod hop;
pub mod kafka;
mod log;
pub mod memory;
mod origin;
mod output;
mod record;
pub mod registry;
mod share;

pub use error::LogError;
pub use group::{Group, GroupEvent, RevokeAck};
pub use log::{Bounds, Fetched, Log, ReadLimits, Reader};
pub use origin::{Admission, DROP_HEADER, GateError, Kind, Origin, OriginGate, Stamp};
pub use output::{Output, Receipt};
pub use record::{NewRecord, NextOffset, Offset, OffsetRange, Partition, Record, TopicId};
pub use share::{Attempt, Given, Share};
