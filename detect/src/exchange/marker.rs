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

/// The first line of a checkpoint file.
const HEAD: &str = "tidegate checkpoint 2";

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

fn read(record: &Record) -> Option<(NextOffset, i64, Sources)> {
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
pub(super) struct Checkpoint {
    /// The incarnation of the exchange topic.
    pub(super) topic: String,
    /// The next offset.
    pub(super) next: NextOffset,
    /// The number of the rules.
    pub(super) rules: i64,
    /// The reducer's state.
    pub(super) state: Vec<u8>,
}

impl Checkpoint {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let Self { topic, next, rules, .. } = self;
        let mut bytes = format!("{HEAD}\n{topic}\n{next}\n{rules}\n").into_bytes();
        bytes.extend_from_slice(&self.state);
        bytes
    }

    pub(super) fn of_bytes(bytes: &[u8]) -> io::Result<Self> {
        let mut parts = bytes.splitn(5, |byte| *byte == b'\n');
        let mut line = || parts.next().and_then(|part| std::str::from_utf8(part).ok());
        let (head, topic, next) = (line(), line(), line().and_then(|next| next.parse().ok()));
        let rules = line().and_then(|rules| rules.parse().ok());
        match (head, topic, next.zip(rules), parts.next()) {
            (Some(HEAD), Some(topic), Some((next, rules)), Some(state)) => {
                let (topic, state) = (topic.to_owned(), state.to_vec());
                Ok(Self { topic, next: NextOffset(next), rules, state })
            }
            _ => Err(io::Error::other("it is not a checkpoint of this version")),
        }
    }
}
