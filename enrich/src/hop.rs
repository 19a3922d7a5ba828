//! Access events to enriched events, for one partition of a topic.
//!
//! Owns: decoding, joining and encoding a batch. Never: reading or writing logs; `transport::hop`
//! does.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use bytes::Bytes;
use runtime::clock::Clock;
use schemas::{
    CodecError, DeadLetter, DeadLetterCodec, EventReader, Framing, LazyEncoder, Origin, Reason,
    RecordKind,
};
use transport::hop::{Produced, Transform};
use transport::{NewRecord, Offset, Record};

use crate::joiner::Joiner;

/// The transform of one partition.
#[derive(Debug)]
pub struct EventsToEnriched {
    topic: Arc<str>,
    joiner: Arc<Joiner>,
    reader: EventReader,
    encoder: LazyEncoder,
    letters: Arc<DeadLetterCodec>,
    clock: Clock,
    /// What was read to see whether it must wait, and of which records it is.
    read: Option<(Of, Read)>,
}

/// Tells one batch of records from another: their number, and the first and last offset.
type Of = (usize, Option<Offset>, Option<Offset>);

/// Events of records.
type Read = (Vec<RecordBatch>, Vec<Option<CodecError>>);

impl EventsToEnriched {
    /// Enriches records of `topic`, and writes them in this framing and dead letters by this codec.
    #[must_use]
    pub fn new(
        topic: &Arc<str>,
        joiner: &Arc<Joiner>,
        reader: EventReader,
        framing: Framing,
        letters: &Arc<DeadLetterCodec>,
    ) -> Self {
        let encoder = LazyEncoder::new(RecordKind::Enriched, framing);
        let (topic, letters) = (Arc::clone(topic), Arc::clone(letters));
        let (joiner, clock) = (Arc::clone(joiner), Clock::system());
        Self { topic, joiner, reader, encoder, letters, clock, read: None }
    }

    /// The events of the records, read once.
    fn events(&mut self, records: &[&Record]) -> Read {
        let of = of(records);
        if let Some((known, read)) = self.read.take()
            && known == of
        {
            return read;
        }
        let read = self.reader.read(records.iter().map(|record| &*record.value));
        (read.batches, read.failures)
    }

    /// The enriched records of those that could be read, in order, and what stood in the way of
    /// the others.
    fn enrich(
        &mut self,
        batch: &[Record],
    ) -> Result<(Vec<Bytes>, Vec<Option<CodecError>>), String> {
        let (batches, failures) = self.events(&batch.iter().collect::<Vec<_>>());
        let mut enriched = Vec::with_capacity(batch.len());
        for events in &batches {
            let joined = self.joiner.enrich(events).map_err(|error| error.to_string())?;
            let encoded = self.encoder.encode(&joined);
            enriched.extend(encoded.map_err(|error| error.to_string())?);
        }
        Ok((enriched, failures))
    }

    /// A record that is no event. Nothing in it is known to be free of secrets, so its bytes stay.
    fn dead(&self, record: &Record, reason: Reason, detail: String) -> Produced {
        let origin = Origin {
            topic: self.topic.to_string(),
            partition: record.partition.0,
            offset: record.offset.0,
            index: 0,
        };
        let letter = DeadLetter {
            reason,
            detail,
            origin: Some(origin),
            sensor: None,
            client_ip: None,
            event_time: None,
            line: String::new(),
        };
        let (key, value) = self.letters.record(&letter);
        let record = NewRecord { key: key.map(Bytes::from), ..NewRecord::new(value) };
        let produced = Produced::dead(reason.name(), vec![record]);
        Produced { dropped: Some(Bytes::from(letter.record().1)), ..produced }
    }
}

impl Transform for EventsToEnriched {
    fn apply(&mut self, batch: &[Record]) -> Vec<Produced> {
        let (enriched, failures) = match self.enrich(batch) {
            Ok(done) => done,
            Err(why) => {
                let detail = format!("not enriched: {why}");
                let letter = |record| self.dead(record, Reason::BadValue, detail.clone());
                return batch.iter().map(letter).collect();
            }
        };
        let mut enriched = enriched.into_iter();
        let both = batch.iter().zip(failures);
        both.map(|(record, failure)| match failure {
            Some(failure) => self.dead(record, reason(&failure), failure.to_string()),
            None => enriched.next().map_or_else(Produced::default, |value| {
                let timestamp_ms = record.timestamp_ms;
                Produced::one(NewRecord { timestamp_ms, ..NewRecord::new(value) })
            }),
        })
        .collect()
    }

    fn patience(&mut self, batch: &[Record]) -> Option<Duration> {
        if !self.joiner.may_wait() || batch.is_empty() {
            return None;
        }
        // Voids do not come to be applied.
        let records: Vec<&Record> = batch.iter().filter(|r| !r.value.is_empty()).collect();
        let read = self.events(&records);
        let now_ms = self.clock.unix_ms();
        // What cannot be joined is said when it is.
        let left = read.0.iter().filter_map(|e| self.joiner.patience(e, now_ms).ok()?).max();
        self.read = Some((of(&records), read));
        left
    }
}

fn of(records: &[&Record]) -> Of {
    let offset = |record: Option<&&Record>| record.map(|record| record.offset);
    (records.len(), offset(records.first()), offset(records.last()))
}

fn reason(failure: &CodecError) -> Reason {
    match failure {
        CodecError::UnknownSchema { .. } => Reason::UnknownSchema,
        _ => Reason::BadValue,
    }
}
