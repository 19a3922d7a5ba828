//! Raw records to access events, for one partition of a topic.
//!
//! Owns: which records a raw record gives, and the dead letter of one that gives none.
//! Never: reading or writing logs; `transport::hop` does.

use std::sync::Arc;

use bytes::Bytes;
use runtime::clock::Clock;
use schemas::{
    BATCH_ROWS_MAX, BatchBuilder, CodecError, DeadLetter, DeadLetterCodec, EventTime, Framing,
    LazyEncoder, RecordKind,
};
use transport::hop::{Produced, Transform, gap};
use transport::{NewRecord, Record};

use crate::parser::{Fed, Parser, Place};

/// The transform of one partition.
#[derive(Debug)]
pub struct LinesToEvents {
    topic: Arc<str>,
    parser: Parser,
    builder: BatchBuilder,
    encoder: LazyEncoder,
    letters: Arc<DeadLetterCodec>,
    clock: Clock,
}

/// What became of a record, before its events are encoded.
enum Gave {
    Events(usize),
    Dead(Box<DeadLetter>),
    Both(usize, Vec<DeadLetter>),
    Directive,
}

impl LinesToEvents {
    /// Reads records of `topic` with this parser, and writes events in this framing and dead
    /// letters by this codec.
    #[must_use]
    pub fn new(
        topic: &Arc<str>,
        parser: Parser,
        framing: Framing,
        letters: &Arc<DeadLetterCodec>,
        clock: Clock,
    ) -> Self {
        let encoder = LazyEncoder::new(RecordKind::Access, framing);
        let (builder, letters) = (BatchBuilder::default(), Arc::clone(letters));
        Self { topic: Arc::clone(topic), parser, builder, encoder, letters, clock }
    }

    fn encode(&mut self, to: &mut Vec<Bytes>) -> Result<(), String> {
        let batch = self.builder.finish().map_err(|error| error.to_string())?;
        let encoded = self.encoder.encode(&batch);
        to.extend(encoded.map_err(|error: CodecError| error.to_string())?);
        Ok(())
    }
}

impl Transform for LinesToEvents {
    fn apply(&mut self, batch: &[Record]) -> Vec<Produced> {
        let now = self.clock.unix_ms();
        let mut encoded = Vec::with_capacity(batch.len());
        let mut gave = Vec::with_capacity(batch.len());
        let mut failure = None;
        for record in batch {
            let taken = record.timestamp_ms.unwrap_or(now);
            let partition = record.partition.0;
            let place = Place { topic: &self.topic, partition, offset: record.offset.0 };
            let fed = self.parser.feed(&record.value, place, EventTime(taken), &mut self.builder);
            let fed = match fed {
                Fed::Events(events) => Gave::Events(events),
                Fed::DeadLetter(letter) => Gave::Dead(letter),
                Fed::Directive(_) => Gave::Directive,
                Fed::Bundle { events, letters } => Gave::Both(events, letters),
            };
            gave.push((fed, taken));
            if self.builder.len() >= BATCH_ROWS_MAX {
                failure = failure.or(self.encode(&mut encoded).err());
            }
        }
        failure = failure.or(self.encode(&mut encoded).err());
        if let Some(advice) = self.parser.news() {
            tracing::warn!(topic = %self.topic, %advice, "clients are not who they seem");
        }
        let mut encoded = encoded.into_iter();
        let made = gave.into_iter().map(|(gave, taken)| {
            produced(gave, taken, &mut encoded, failure.as_deref(), &self.letters)
        });
        made.collect()
    }
}

fn produced(
    gave: Gave,
    taken: i64,
    encoded: &mut impl Iterator<Item = Bytes>,
    failure: Option<&str>,
    codec: &DeadLetterCodec,
) -> Produced {
    let (events, letters) = match gave {
        Gave::Events(events) => (events, Vec::new()),
        Gave::Dead(letter) => (0, vec![*letter]),
        Gave::Both(events, letters) => (events, letters),
        Gave::Directive => return Produced::nothing("directive"),
    };
    let dead = letters.iter().map(|letter| {
        let (key, value) = codec.record(letter);
        NewRecord { key: key.map(Bytes::from), ..NewRecord::new(value) }
    });
    let dead: Vec<NewRecord> = dead.collect();
    if let Some(failure) = failure.filter(|_| events > 0) {
        // Our own columns did not fit our own schema.
        return Produced::dead(format!("not-encoded: {failure}"), dead);
    }
    match letters.as_slice() {
        [] if events == 0 => Produced::nothing("empty-bundle"),
        [letter] if events == 0 => Produced {
            dropped: Some(drop_of(letter)),
            ..Produced::dead(letter.reason.name(), dead)
        },
        _ => {
            let record = |value| NewRecord { timestamp_ms: Some(taken), ..NewRecord::new(value) };
            let events = encoded.take(events).map(record).collect();
            Produced {
                records: merged(events, &letters, taken),
                dead_letters: dead,
                ..Produced::default()
            }
        }
    }
}

/// Who judges what was dropped reads JSON, whatever the form of the topic.
fn drop_of(letter: &DeadLetter) -> Bytes {
    Bytes::from(letter.record().1)
}

/// A record for each line of a record that held several: its event, or the gap that its dead letter
/// leaves, so that rules see both in their order.
fn merged(events: Vec<NewRecord>, letters: &[DeadLetter], taken: i64) -> Vec<NewRecord> {
    let mut records = Vec::with_capacity(events.len() + letters.len());
    let mut events = events.into_iter();
    for letter in letters {
        let index = letter.origin.as_ref().map_or(0, |origin| origin.index);
        let before = usize::try_from(index).unwrap_or(usize::MAX).saturating_sub(records.len());
        records.extend(events.by_ref().take(before));
        records.push(gap(letter.reason.name(), drop_of(letter), Some(taken)));
    }
    records.extend(events);
    records
}

#[cfg(test)]
mod tests;
