//! Where a record comes from, and the gate that lets each origin through once.
//!
//! Owns: the headers that hops write, and delivery rule 3: a reader keeps the last origin it
//! accepted and drops what is not above it.
//! Never: reading or writing logs.
//!
//! Header `tidegate-origin`, big-endian: version 1 (1 byte), topic id of the input (16), offset
//! (8), index (4), flags (1: bit 0 *last*, bit 1 *has upstream*), and with bit 1 the origin that
//! the input itself carried: offset (8), index (4). Header `tidegate-void` holds the reason of a
//! record without content, `tidegate-drop` the dead letter that went with it, `tidegate-time` the
//! time (8) of a time mark.

use bytes::Bytes;
use runtime::error::{Class, Classified};

use crate::record::{NewRecord, Offset, Partition, Record, TopicId};

/// The header with the origin.
pub(crate) const ORIGIN_HEADER: &str = "tidegate-origin";
/// The header with the reason of a void record.
pub(crate) const VOID_HEADER: &str = "tidegate-void";
/// The header with the dead letter of a void record, for rules over what was dropped.
pub const DROP_HEADER: &str = "tidegate-drop";
/// The header with the time of a time mark.
pub(crate) const TIME_HEADER: &str = "tidegate-time";

const VERSION: u8 = 1;
const FLAG_LAST: u8 = 1;
const FLAG_UPSTREAM: u8 = 2;

/// What a record was made from: the offset of the input record, and which of the records that this
/// input gave it is. Ordered as they are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// The offset of the input record.
    pub offset: Offset,
    /// Which of the records that it gave, counted from 0.
    pub index: u32,
}

/// All that a hop says about a record's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// The incarnation of the input topic.
    pub topic: TopicId,
    /// What the record was made from.
    pub origin: Origin,
    /// Whether the input gives no further record.
    pub last: bool,
    /// The origin that the input itself carried, where it came out of a hop: the gate of the hop
    /// that wrote this, so that its successor need not read the input again to know it.
    pub upstream: Option<Origin>,
}

/// What a record written by a hop is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// It has content.
    Payload,
    /// Its input gave nothing, for this reason.
    Void(String),
    /// All that happened before this time, in milliseconds since 1970, is before this record.
    Mark(i64),
}

impl Stamp {
    /// Reads stamp and kind from the headers of a record.
    ///
    /// # Errors
    /// When the record was not written by a hop, or by one of another version.
    pub fn read(record: &Record) -> Result<(Self, Kind), GateError> {
        let damaged =
            |what| GateError::Damaged { partition: record.partition, offset: record.offset, what };
        let origin = record
            .header(ORIGIN_HEADER)
            .ok_or(GateError::Foreign { partition: record.partition, offset: record.offset })?;
        let stamp = Self::decode(origin).ok_or(damaged("header `tidegate-origin`"))?;
        let kind = match (record.header(TIME_HEADER), record.header(VOID_HEADER)) {
            (Some(time), _) => {
                let time = <[u8; 8]>::try_from(time.as_ref());
                let time = time.map_err(|_length| damaged("header `tidegate-time`"))?;
                Kind::Mark(i64::from_be_bytes(time))
            }
            (None, Some(reason)) => Kind::Void(String::from_utf8_lossy(reason).into_owned()),
            (None, None) => Kind::Payload,
        };
        Ok((stamp, kind))
    }

    /// Writes stamp and kind into the headers of a record.
    pub(crate) fn write(&self, kind: &Kind, record: &mut NewRecord) {
        record.headers.push((ORIGIN_HEADER.to_owned(), self.encode()));
        match kind {
            Kind::Payload => {}
            Kind::Void(reason) => {
                let reason = Bytes::copy_from_slice(reason.as_bytes());
                record.headers.push((VOID_HEADER.to_owned(), reason));
            }
            Kind::Mark(time_ms) => {
                let time = Bytes::copy_from_slice(&time_ms.to_be_bytes());
                record.headers.push((TIME_HEADER.to_owned(), time));
            }
        }
    }

    fn encode(&self) -> Bytes {
        let mut bytes = Vec::with_capacity(42);
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.topic.0);
        put_origin(&mut bytes, self.origin);
        let last = if self.last { FLAG_LAST } else { 0 };
        let upstream = if self.upstream.is_some() { FLAG_UPSTREAM } else { 0 };
        bytes.push(last | upstream);
        if let Some(upstream) = self.upstream {
            put_origin(&mut bytes, upstream);
        }
        Bytes::from(bytes)
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (&version, rest) = bytes.split_first()?;
        let (topic, rest) = rest.split_first_chunk::<16>()?;
        let (origin, rest) = take_origin(rest)?;
        let (&flags, rest) = rest.split_first()?;
        let (upstream, rest) = if flags & FLAG_UPSTREAM == 0 {
            (None, rest)
        } else {
            let (upstream, rest) = take_origin(rest)?;
            (Some(upstream), rest)
        };
        let known = version == VERSION && flags & !(FLAG_LAST | FLAG_UPSTREAM) == 0;
        let stamp = Self { topic: TopicId(*topic), origin, last: flags & FLAG_LAST != 0, upstream };
        (known && rest.is_empty()).then_some(stamp)
    }
}

fn put_origin(bytes: &mut Vec<u8>, origin: Origin) {
    bytes.extend_from_slice(&origin.offset.0.to_be_bytes());
    bytes.extend_from_slice(&origin.index.to_be_bytes());
}

fn take_origin(bytes: &[u8]) -> Option<(Origin, &[u8])> {
    let (offset, rest) = bytes.split_first_chunk::<8>()?;
    let (index, rest) = rest.split_first_chunk::<4>()?;
    let offset = Offset(i64::from_be_bytes(*offset));
    Some((Origin { offset, index: u32::from_be_bytes(*index) }, rest))
}

/// Why a record of an internal topic cannot be accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GateError {
    /// It has no origin: something else writes to the topic.
    #[error(
        "the record at offset {offset} of partition {partition} has no origin: something other \
         than Tidegate writes to this topic; stop it, or choose another topic"
    )]
    Foreign {
        /// The partition.
        partition: Partition,
        /// Where it stands.
        offset: Offset,
    },
    /// It has an origin that cannot be read.
    #[error(
        "{what} of the record at offset {offset} of partition {partition} cannot be read; \
         was it written by a newer Tidegate?"
    )]
    Damaged {
        /// The partition.
        partition: Partition,
        /// Where it stands.
        offset: Offset,
        /// What cannot be read.
        what: &'static str,
    },
    /// It comes from another incarnation of the input topic than those before it.
    #[error(
        "the record at offset {offset} of partition {partition} was made from topic id {is}, those \
         before it from {was}: the input topic was recreated; start over with empty outputs"
    )]
    Recreated {
        /// The partition.
        partition: Partition,
        /// Where it stands.
        offset: Offset,
        /// The incarnation so far.
        was: TopicId,
        /// The incarnation of this record.
        is: TopicId,
    },
}

impl Classified for GateError {
    fn class(&self) -> Class {
        match self {
            Self::Foreign { .. } => Class::Input,
            Self::Damaged { .. } | Self::Recreated { .. } => Class::Bug,
        }
    }
}

/// What the gate says about a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// Use it: it is seen for the first time.
    Payload(Origin),
    /// Nothing to use, for this reason, but its origin counts as seen.
    Void(Origin, String),
    /// All that happened before this time is here.
    Mark(i64),
    /// Not above what was accepted: it was written twice. Drop it.
    Repeat,
}

/// Lets each origin of one partition through once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OriginGate {
    topic: Option<TopicId>,
    last: Option<Origin>,
}

impl OriginGate {
    /// A gate that has seen nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A gate that goes on where another one stood. The topic is learned from the first record.
    #[must_use]
    pub fn after(last: Option<Origin>) -> Self {
        Self { topic: None, last }
    }

    /// The last origin that was let through.
    #[must_use]
    pub fn last(&self) -> Option<Origin> {
        self.last
    }

    /// Looks at the next record of the partition. After an error the gate is as before.
    ///
    /// # Errors
    /// When the record was not written by a hop over the same incarnation of the input.
    pub fn admit(&mut self, record: &Record) -> Result<Admission, GateError> {
        let (stamp, kind) = Stamp::read(record)?;
        let was = *self.topic.get_or_insert(stamp.topic);
        if was != stamp.topic {
            let (partition, offset) = (record.partition, record.offset);
            return Err(GateError::Recreated { partition, offset, was, is: stamp.topic });
        }
        if let Kind::Mark(time_ms) = kind {
            return Ok(Admission::Mark(time_ms));
        }
        if self.last.is_some_and(|last| stamp.origin <= last) {
            return Ok(Admission::Repeat);
        }
        self.last = Some(stamp.origin);
        Ok(match kind {
            Kind::Void(reason) => Admission::Void(stamp.origin, reason),
            Kind::Payload | Kind::Mark(_) => Admission::Payload(stamp.origin),
        })
    }
}

#[cfg(test)]
mod tests;
