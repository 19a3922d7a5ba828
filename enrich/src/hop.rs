//! Access events to enriched events, for one partition of a topic.
//!
//! Owns: decoding, joining and encoding a batch. Never: reading or writing logs; `transport::hop`
//! does.

use std::sync::Arc;

use bytes::Bytes;
use schemas::{
    CodecError, DeadLetter, EventReader, Framing, LazyEncoder, Origin, Reason, RecordKind,
};
use transport::hop::{Produced, Transform};
use transport::{NewRecord, Record};

use crate::joiner::Joiner;

/// The transform of one partition.
#[derive(Debug)]
pub struct EventsToEnriched {
    topic: Arc<str>,
    joiner: Arc<Joiner>,
    reader: EventReader,
    encoder: LazyEncoder,
}

impl EventsToEnriched {
    /// Enriches records of `topic`, and writes them in this framing.
    #[must_use]
    pub fn new(
        topic: &Arc<str>,
        joiner: &Arc<Joiner>,
        reader: EventReader,
        framing: Framing,
    ) -> Self {
        let encoder = LazyEncoder::new(RecordKind::Enriched, framing);
        Self { topic: Arc::clone(topic), joiner: Arc::clone(joiner), reader, encoder }
    }

    /// The enriched records of those that could be read, in order, and what stood in the way of
    /// the others.
    fn enrich(
        &mut self,
        batch: &[Record],
    ) -> Result<(Vec<Bytes>, Vec<Option<CodecError>>), String> {
        let read = self.reader.read(batch.iter().map(|record| &*record.value));
        let mut enriched = Vec::with_capacity(batch.len());
        for events in &read.batches {
            let joined = self.joiner.enrich(events).map_err(|error| error.to_string())?;
            let encoded = self.encoder.encode(&joined);
            enriched.extend(encoded.map_err(|error| error.to_string())?);
        }
        Ok((enriched, read.failures))
    }
}

impl Transform for EventsToEnriched {
    fn apply(&mut self, batch: &[Record]) -> Vec<Produced> {
        let (enriched, failures) = match self.enrich(batch) {
            Ok(done) => done,
            Err(why) => {
                let letter = |record| dead(&self.topic, record, format!("not enriched: {why}"));
                return batch.iter().map(letter).collect();
            }
        };
        let mut enriched = enriched.into_iter();
        let both = batch.iter().zip(failures);
        both.map(|(record, failure)| match failure {
            Some(failure) => dead(&self.topic, record, failure.to_string()),
            None => enriched.next().map_or_else(Produced::default, |value| {
                let timestamp_ms = record.timestamp_ms;
                Produced::one(NewRecord { timestamp_ms, ..NewRecord::new(value) })
            }),
        })
        .collect()
    }
}

/// A record that is no event. Nothing in it is known to be free of secrets, so its bytes stay.
fn dead(topic: &Arc<str>, record: &Record, detail: String) -> Produced {
    let origin = Origin {
        topic: topic.to_string(),
        partition: record.partition.0,
        offset: record.offset.0,
        index: 0,
    };
    let letter = DeadLetter {
        reason: Reason::BadValue,
        detail,
        origin: Some(origin),
        sensor: None,
        client_ip: None,
        event_time: None,
        line: String::new(),
    };
    let (key, value) = letter.record();
    let record = NewRecord { key: key.map(Bytes::from), ..NewRecord::new(value.clone()) };
    let produced = Produced::dead(letter.reason.name(), vec![record]);
    Produced { dropped: Some(Bytes::from(value)), ..produced }
}
