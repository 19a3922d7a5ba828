//! Markers: how far an exchange partition was used (delivery rule 8).
//!
//! Owns: their bytes. Never: deciding by them.

use std::io;
use std::sync::Arc;

use engine::accept::Sources;
use engine::frame::Entry;
use engine::ruleset::Ruleset;
use transport::{NewRecord, NextOffset, Partition, ReadLimits, Record};

use super::{Exchange, ExchangeError};
use crate::learning::Learning;

/// The first line of a checkpoint file.
const HEAD: &str = "tidegate checkpoint 3";

/// A partition of the exchange as someone has used it.
#[derive(Debug, Clone)]
pub(super) struct Folded {
    pub(super) partition: Partition,
    pub(super) next: NextOffset,
    /// The greatest number of rules that an owner has opened with.
    pub(super) rules: i64,
    pub(super) sources: Sources,
}

/// No owner has opened yet.
pub(super) const NO_RULES: i64 = i64::MIN;

/// The record of a marker: the next offset, the number of the rules, and the sources.
pub(super) fn record(next: NextOffset, rules: i64, sources: &Sources) -> NewRecord {
    let mut value = next.0.to_be_bytes().to_vec();
    value.extend_from_slice(&rules.to_be_bytes());
    value.extend_from_slice(&sources.encode());
    NewRecord::new(value)
}

/// Reads what [`record`] wrote.
pub(super) fn read(record: &Record) -> Option<(NextOffset, i64, Sources)> {
    let (next, rest) = record.value.split_first_chunk::<8>()?;
    let (rules, sources) = rest.split_first_chunk::<8>()?;
    let (next, rules) = (i64::from_be_bytes(*next), i64::from_be_bytes(*rules));
    Some((NextOffset(next), rules, Sources::decode(sources).ok()?))
}

impl Folded {
    /// From the last marker, or from the beginning where there is none that can be used.
    pub(super) async fn of(
        exchange: &Exchange,
        partition: Partition,
    ) -> Result<Self, ExchangeError> {
        let bounds = exchange.frames.bounds(partition).await?;
        let marker = exchange.markers.last(partition).await?.as_ref().and_then(read);
        let marker = marker.filter(|(next, _, sources)| {
            let all = u32::try_from(sources.progress().count()).unwrap_or(u32::MAX);
            *next >= bounds.start && *next <= bounds.end && all == exchange.sources
        });
        let none = || (bounds.start, NO_RULES, Sources::new(0..exchange.sources));
        let (next, rules, sources) = marker.unwrap_or_else(none);
        Ok(Self { partition, next, rules, sources })
    }

    /// Takes in everything before `end`.
    pub(super) async fn up_to(
        &mut self,
        exchange: &Exchange,
        end: NextOffset,
    ) -> Result<(), ExchangeError> {
        if self.next >= end {
            return Ok(());
        }
        let mut reader = exchange.frames.apart().reader(self.partition, self.next).await?;
        while reader.next_offset() < end {
            for record in reader.next(ReadLimits::default()).await?.records {
                if record.offset.0 < end.0 {
                    self.take(exchange, &record)?;
                }
            }
        }
        self.next = end;
        Ok(())
    }

    fn take(&mut self, exchange: &Exchange, record: &Record) -> Result<(), ExchangeError> {
        let result = match entry(exchange, record, &exchange.rules.latest().ruleset)? {
            Entry::Open(open) => self.sources.open(&open).map(|is_highest| {
                if is_highest {
                    self.rules = self.rules.max(open.rules);
                }
            }),
            Entry::Frame(frame) => {
                #[cfg(test)]
                let frame = exchange.forced(frame, &self.sources);
                self.sources.accept(&frame).map(|_acceptance| ())
            }
        };
        result.map_err(|source| ExchangeError::Accept {
            topic: Arc::clone(exchange.frames.topic()),
            partition: record.partition.0,
            offset: record.offset.0,
            source,
        })
    }
}

/// What a record of the exchange says to those who run these rules.
pub(super) fn entry(
    exchange: &Exchange,
    record: &Record,
    ruleset: &Ruleset,
) -> Result<Entry, ExchangeError> {
    let decoded = Entry::decode(&record.value, ruleset);
    decoded.map(|decoded| decoded.entry).map_err(|source| ExchangeError::Entry {
        topic: Arc::clone(exchange.frames.topic()),
        partition: record.partition.0,
        offset: record.offset.0,
        source,
    })
}

/// A reducer's state as of a place in its exchange partition, as bytes of a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Checkpoint {
    /// The incarnation of the exchange topic.
    pub(super) topic: String,
    /// The next offset.
    pub(super) next: NextOffset,
    /// The number of the rules.
    pub(super) rules: i64,
    /// The check of the key under which the state was made.
    pub(super) key: String,
    /// The rules that have forgotten the past.
    pub(super) learning: Learning,
    /// The reducer's state.
    pub(super) state: Vec<u8>,
}

impl Checkpoint {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let Self { topic, next, rules, key, learning, .. } = self;
        let learning = learning.to_line();
        let head = format!("{HEAD}\n{topic}\n{next}\n{rules}\n{key}\n{learning}\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(&self.state);
        bytes
    }

    pub(super) fn of_bytes(bytes: &[u8]) -> io::Result<Self> {
        let mut parts = bytes.splitn(7, |byte| *byte == b'\n');
        let mut line = || parts.next().and_then(|part| std::str::from_utf8(part).ok());
        let is_known = line() == Some(HEAD);
        let mut rest = || {
            let (topic, next, rules) = (line()?, line()?.parse().ok()?, line()?.parse().ok()?);
            let (key, learning) = (line()?.to_owned(), Learning::of_line(line()?)?);
            Some((topic.to_owned(), NextOffset(next), rules, key, learning))
        };
        match (rest().filter(|_| is_known), parts.next()) {
            (Some((topic, next, rules, key, learning)), Some(state)) => {
                Ok(Self { topic, next, rules, key, learning, state: state.to_vec() })
            }
            _ => Err(io::Error::other("it is not a checkpoint of this version")),
        }
    }
}

#[cfg(test)]
mod tests {
    use transport::NextOffset;

    use super::Checkpoint;
    use crate::learning::Learning;

    #[test]
    fn a_checkpoint_reads_back_as_written_and_anything_else_says_so() {
        let learning = Learning::of_line("[[\"a/b\",5,true,null]]").unwrap();
        let (topic, key) = ("id".to_owned(), "0f".to_owned());
        let (next, state) = (NextOffset(7), b"\n\0binary\n".to_vec());
        let checkpoint = Checkpoint { topic, next, rules: -1, key, learning, state };
        let bytes = checkpoint.to_bytes();
        assert_eq!(Checkpoint::of_bytes(&bytes).unwrap(), checkpoint);
        assert!(Checkpoint::of_bytes(b"tidegate checkpoint 2\nid\n7\n-1\n[]\n").is_err());
        assert!(Checkpoint::of_bytes(&bytes[..30]).is_err());
    }
}
