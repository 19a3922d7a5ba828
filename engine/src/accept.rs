//! Which frames count: rule 7 of the exchange.
//!
//! Owns: for every source partition its owner, what has been applied of it, and its watermark.
//! Never: what is in a frame.
//!
//! The highest owner of a partition wins. A frame of it counts if it begins where the last one
//! ended; one that ends before is a duplicate; one that begins later leaves a gap, which means
//! that acknowledged frames are gone.

use std::collections::BTreeMap;

use schemas::{EventTime, Origin};

use crate::frame::{Frame, Open, Owner};
use crate::wire::{self, Kind, Reader, WireError, Writer, wire_struct};

const SOURCES: Kind = Kind { name: "sources", tag: b's', version: 1 };

/// What to do with a frame that is in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acceptance {
    /// Apply it.
    Apply,
    /// Its end has been applied before: nothing to do.
    Duplicate,
    /// Its owner has been replaced: nothing to do.
    Stale,
}

/// A frame that must stop its source partition, with an alarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AcceptError {
    /// Not a partition that this reducer was told of.
    #[error("source partition {partition} is not one of those this exchange was set up for")]
    UnknownPartition {
        /// Source partition.
        partition: u32,
    },
    /// From an owner that has not opened the partition.
    #[error("source partition {partition}: a frame of an owner (term {term}) that did not open it")]
    NotOpened {
        /// Source partition.
        partition: u32,
        /// Term of that owner.
        term: u64,
    },
    /// Begins after what has been applied: acknowledged frames are gone.
    #[error(
        "source partition {partition}: applied up to {applied}, the next frame begins at {from}"
    )]
    Gap {
        /// Source partition.
        partition: u32,
        /// What has been applied.
        applied: i64,
        /// Where the frame begins.
        from: i64,
    },
    /// Begins before and ends after what has been applied: cut differently than the first time.
    #[error(
        "source partition {partition}: applied up to {applied}, the frame covers {from} to {to}"
    )]
    Overlap {
        /// Source partition.
        partition: u32,
        /// What has been applied.
        applied: i64,
        /// Where the frame begins.
        from: i64,
        /// Where it ends.
        to: i64,
    },
    /// Ends before it begins, or brings rows without having used a record.
    #[error("source partition {partition}: a frame from {from} to {to} with {blocks} blocks")]
    Backwards {
        /// Source partition.
        partition: u32,
        /// Where it begins.
        from: i64,
        /// Where it ends.
        to: i64,
        /// Blocks in it.
        blocks: usize,
    },
}

/// How far one source partition has been applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// Its owner; absent until one opens it.
    pub owner: Option<Owner>,
    /// The next offset to apply; absent until an owner opens it.
    pub applied: Option<i64>,
    /// Origin of the last record applied.
    pub origin: Option<Origin>,
    /// Its watermark.
    pub watermark: EventTime,
}

wire_struct!(Progress { owner, applied, origin, watermark });

/// All source partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sources {
    partitions: BTreeMap<u32, Progress>,
}

wire_struct!(Sources { partitions });

impl Sources {
    /// None of these is open yet, and each holds the watermark until it is.
    pub fn new(partitions: impl IntoIterator<Item = u32>) -> Self {
        let closed =
            Progress { owner: None, applied: None, origin: None, watermark: EventTime::MIN };
        let partitions = partitions.into_iter().map(|p| (p, closed.clone())).collect();
        Self { partitions }
    }

    /// Its bytes, for a marker.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.put(self);
        wire::seal(SOURCES, &out.bytes)
    }

    /// Reads what [`Self::encode`] wrote.
    ///
    /// # Errors
    /// Where the bytes are torn, foreign or of another version.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let body = wire::unseal(SOURCES, bytes)?;
        let mut from = Reader::new(&body);
        let sources = from.get()?;
        from.end("sources")?;
        Ok(sources)
    }

    /// How far each has come, by partition.
    pub fn progress(&self) -> impl Iterator<Item = (u32, &Progress)> {
        self.partitions.iter().map(|(partition, progress)| (*partition, progress))
    }

    /// The minimum over all partitions: nothing leaves it, not for being idle either.
    #[must_use]
    pub fn watermark(&self) -> EventTime {
        let all = self.partitions.values().map(|progress| progress.watermark);
        all.min().unwrap_or(EventTime::MIN)
    }

    /// The greatest watermark of those that have not ended.
    #[must_use]
    pub fn fastest(&self) -> EventTime {
        let all = self.partitions.values().map(|progress| progress.watermark);
        all.filter(|watermark| *watermark != EventTime::MAX).max().unwrap_or(EventTime::MIN)
    }

    /// Takes an owner's first word. False where a higher one has the partition.
    ///
    /// # Errors
    /// Where the partition is unknown.
    pub fn open(&mut self, open: &Open) -> Result<bool, AcceptError> {
        let progress = self.of(open.partition)?;
        if progress.owner.is_some_and(|owner| owner > open.owner) {
            return Ok(false);
        }
        progress.owner = Some(open.owner);
        progress.applied.get_or_insert(open.start);
        Ok(true)
    }

    /// Judges a frame by its head; where it is to be applied, moves on past it.
    ///
    /// # Errors
    /// Where the partition must stop.
    pub fn accept(&mut self, frame: &Frame) -> Result<Acceptance, AcceptError> {
        let acceptance = self.judge(frame)?;
        if acceptance == Acceptance::Apply {
            let progress = self.of(frame.partition)?;
            progress.applied = Some(frame.to);
            progress.watermark = progress.watermark.max(frame.watermark);
            if frame.origin.is_some() {
                progress.origin.clone_from(&frame.origin);
            }
        }
        Ok(acceptance)
    }

    /// Judges a frame by its head, and leaves it at that.
    ///
    /// # Errors
    /// Where the partition must stop.
    pub fn judge(&self, frame: &Frame) -> Result<Acceptance, AcceptError> {
        let (partition, from, to) = (frame.partition, frame.from, frame.to);
        let progress =
            self.partitions.get(&partition).ok_or(AcceptError::UnknownPartition { partition })?;
        let not_opened = AcceptError::NotOpened { partition, term: frame.owner.term };
        let (Some(owner), Some(applied)) = (progress.owner, progress.applied) else {
            return Err(not_opened);
        };
        if frame.owner < owner {
            return Ok(Acceptance::Stale);
        }
        if frame.owner > owner {
            return Err(not_opened);
        }
        if to < from || (to == from && !frame.blocks.is_empty()) {
            let blocks = frame.blocks.len();
            return Err(AcceptError::Backwards { partition, from, to, blocks });
        }
        if from > applied {
            return Err(AcceptError::Gap { partition, applied, from });
        }
        if from < applied {
            return if to <= applied {
                Ok(Acceptance::Duplicate)
            } else {
                Err(AcceptError::Overlap { partition, applied, from, to })
            };
        }
        Ok(Acceptance::Apply)
    }

    fn of(&mut self, partition: u32) -> Result<&mut Progress, AcceptError> {
        self.partitions.get_mut(&partition).ok_or(AcceptError::UnknownPartition { partition })
    }
}

#[cfg(test)]
mod tests {
    use schemas::EventTime;

    use super::{AcceptError, Acceptance, Sources};
    use crate::frame::{Frame, Open, Owner};

    fn owner(term: u64) -> Owner {
        Owner { term, id: 7 }
    }

    fn open(term: u64) -> Open {
        Open { owner: owner(term), partition: 0, exchange_partitions: 1, start: 100, rules: 0 }
    }

    fn frame(term: u64, from: i64, to: i64) -> Frame {
        let watermark = EventTime(to);
        let (owner, origin, straggler) = (owner(term), None, None);
        Frame { owner, partition: 0, from, to, origin, watermark, straggler, blocks: Vec::new() }
    }

    fn opened() -> Sources {
        let mut sources = Sources::new([0, 1]);
        assert_eq!(sources.open(&open(3)), Ok(true));
        assert_eq!(sources.accept(&frame(3, 100, 110)), Ok(Acceptance::Apply));
        sources
    }

    #[test]
    fn a_frame_counts_once_and_only_where_the_last_one_ended() {
        let mut sources = opened();
        assert_eq!(sources.accept(&frame(3, 100, 110)), Ok(Acceptance::Duplicate));
        assert_eq!(sources.accept(&frame(3, 110, 110)), Ok(Acceptance::Apply), "a heartbeat");
        let gap = AcceptError::Gap { partition: 0, applied: 110, from: 111 };
        assert_eq!(sources.accept(&frame(3, 111, 120)), Err(gap));
        let overlap = AcceptError::Overlap { partition: 0, applied: 110, from: 105, to: 120 };
        assert_eq!(sources.accept(&frame(3, 105, 120)), Err(overlap));
        assert_eq!(sources.accept(&frame(3, 110, 120)), Ok(Acceptance::Apply));
    }

    #[test]
    fn sources_read_back_as_written() {
        let sources = opened();
        assert_eq!(Sources::decode(&sources.encode()), Ok(sources));
        assert!(Sources::decode(b"something else").is_err());
    }

    #[test]
    fn the_highest_owner_wins_and_not_the_latest() {
        let mut sources = opened();
        assert_eq!(sources.open(&open(2)), Ok(false));
        assert_eq!(sources.accept(&frame(2, 110, 120)), Ok(Acceptance::Stale));
        assert_eq!(sources.open(&open(4)), Ok(true));
        assert_eq!(sources.accept(&frame(3, 110, 120)), Ok(Acceptance::Stale));
        assert_eq!(sources.accept(&frame(4, 110, 115)), Ok(Acceptance::Apply));
        let unopened = AcceptError::NotOpened { partition: 0, term: 5 };
        assert_eq!(sources.accept(&frame(5, 115, 120)), Err(unopened));
    }

    #[test]
    fn a_partition_that_nobody_opened_holds_the_watermark() {
        let mut sources = opened();
        assert_eq!(sources.watermark(), EventTime::MIN);
        sources.open(&Open { partition: 1, ..open(1) }).unwrap();
        sources.accept(&Frame { partition: 1, ..frame(1, 100, 105) }).unwrap();
        assert_eq!(sources.watermark(), EventTime(105));
        assert_eq!(sources.fastest(), EventTime(110));
        let unknown = AcceptError::UnknownPartition { partition: 2 };
        assert_eq!(sources.accept(&Frame { partition: 2, ..frame(1, 0, 1) }), Err(unknown));
    }
}
