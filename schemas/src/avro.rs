//! Events on the wire: one Avro record an event.
//!
//! Owns: the Avro schemas (generated from [`Field`]), framing, and the columnar codec between
//! batches and records. Never: a registry's protocol; `transport` asks it for ids.
//!
//! Framing is Avro single-object encoding (Avro 1.12, "Single-object encoding": `C3 01` and the
//! Rabin fingerprint) without a registry, and the Confluent wire format (`00` and a 32-bit schema
//! id, big endian) with one.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, RecordBatch, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow_avro::reader::{Decoder, ReaderBuilder};
use arrow_avro::schema::{
    AvroSchema, Fingerprint, FingerprintAlgorithm, FingerprintStrategy, SCHEMA_METADATA_KEY,
    SchemaStore,
};
use arrow_avro::writer::format::AvroSoeFormat;
use arrow_avro::writer::{Encoder, WriterBuilder};
use serde_json::{Value, json};

use crate::batch::{BATCH_ROWS_MAX, arrow_schema};
use crate::field::{Field, Kind, Section, Spec};
use crate::wire::confluent_schema_id;

/// Which record a topic carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RecordKind {
    /// `AccessEvent`, on `access.events`.
    Access,
    /// `EnrichedEvent`, on `access.enriched`.
    Enriched,
}

/// How a record says which schema wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// Avro single-object encoding; no registry.
    SingleObject,
    /// Confluent wire format with the id that the registry gave to our schema.
    Confluent(u32),
}

/// What stands in the way of reading or writing records.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// The bytes name a schema that was not registered with the reader.
    #[error("record was written with a schema that is not known here ({name})")]
    UnknownSchema {
        /// Fingerprint or id, as text.
        name: String,
    },
    /// The bytes are not a whole record.
    #[error("record is torn or not Avro: {reason}")]
    Malformed {
        /// What the decoder said.
        reason: String,
    },
    /// A schema that is not Avro, or of a kind that is not read here.
    #[error("schema cannot be used: {reason}")]
    Schema {
        /// What is wrong with it.
        reason: String,
    },
    /// A record of our own that its schema has no place for.
    #[error("`{place}` does not fit its schema, which takes {wanted}; this is a bug of Tidegate")]
    Unfit {
        /// Record and field.
        place: String,
        /// What the schema takes there.
        wanted: String,
    },
    /// Arrow or Avro refused a batch or a schema of our own.
    #[error("encode records")]
    Arrow(#[from] ArrowError),
}

impl RecordKind {
    /// The record's name in Avro.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Access => "AccessEvent",
            Self::Enriched => "EnrichedEvent",
        }
    }

    /// The columns of this record, in order.
    pub fn fields(self) -> impl Iterator<Item = Field> {
        let all = self == Self::Enriched;
        Field::ALL.iter().copied().filter(move |f| all || f.spec().section == Section::Access)
    }

    /// The current Avro schema, as JSON.
    #[must_use]
    pub fn avro_schema(self) -> &'static str {
        static ACCESS: LazyLock<String> = LazyLock::new(|| schema_text(RecordKind::Access));
        static ENRICHED: LazyLock<String> = LazyLock::new(|| schema_text(RecordKind::Enriched));
        match self {
            Self::Access => &ACCESS,
            Self::Enriched => &ENRICHED,
        }
    }
}

fn schema_text(kind: RecordKind) -> String {
    let fields: Vec<Value> = kind.fields().map(|field| field_json(field.spec())).collect();
    let doc = match kind {
        RecordKind::Access => "One request or response as an access log tells it.",
        RecordKind::Enriched => "An access event with the context that held at its event time.",
    };
    let schema = json!({
        "type": "record", "name": kind.name(), "namespace": "dev.tidegate", "doc": doc,
        "fields": fields,
    });
    format!("{schema:#}\n")
}

fn field_json(spec: &Spec) -> Value {
    let mut field = json!({
        "name": spec.name, "type": ["null", avro_type(spec.kind)], "default": null,
        "doc": spec.doc, "personal": spec.personal,
    });
    for (key, name) in [("otel", spec.otel), ("ecs", spec.ecs), ("ocsf", spec.ocsf)] {
        if let Some(object) = field.as_object_mut() {
            object.insert(key.to_owned(), Value::from(name));
        }
    }
    field
}

fn avro_type(kind: Kind) -> Value {
    match kind {
        Kind::Text | Kind::Code => json!("string"),
        Kind::Count | Kind::Number => json!("long"),
        Kind::Status => json!("int"),
        Kind::Flag => json!("boolean"),
        Kind::Time => json!({"type": "long", "logicalType": "timestamp-millis"}),
        Kind::List => json!({"type": "array", "items": "string"}),
        Kind::Map => json!({"type": "map", "values": "string"}),
        Kind::Ratio => json!("double"),
    }
}

fn wire_schema(kind: RecordKind) -> Schema {
    let fields: Vec<_> = kind
        .fields()
        .filter_map(|field| arrow_schema().fields().get(field.index()).map(Arc::clone))
        .collect();
    let avro = (SCHEMA_METADATA_KEY.to_owned(), kind.avro_schema().to_owned());
    Schema::new_with_metadata(fields, [avro].into())
}

/// Writes batches as records.
#[derive(Debug)]
pub struct EventEncoder {
    schema: SchemaRef,
    indices: Vec<usize>,
    encoder: Encoder,
}

impl EventEncoder {
    /// An encoder of this record under this framing.
    ///
    /// # Errors
    /// Where Avro refuses our schema, which is a bug of this crate.
    pub fn new(kind: RecordKind, framing: Framing) -> Result<Self, CodecError> {
        let schema = wire_schema(kind);
        let strategy = match framing {
            Framing::SingleObject => FingerprintStrategy::Rabin,
            Framing::Confluent(id) => FingerprintStrategy::Id(id),
        };
        let encoder = WriterBuilder::new(schema.clone())
            .with_fingerprint_strategy(strategy)
            .with_row_capacity(BATCH_ROWS_MAX)
            .build_encoder::<AvroSoeFormat>()
            .map_err(ArrowError::from)?;
        let indices = kind.fields().map(Field::index).collect();
        Ok(Self { schema: Arc::new(schema), indices, encoder })
    }

    /// The rows of a batch of [`arrow_schema`] as framed records, in order.
    ///
    /// # Errors
    /// Where the batch is not of that schema.
    pub fn encode(&mut self, batch: &RecordBatch) -> Result<Vec<bytes::Bytes>, CodecError> {
        let projected = batch.project(&self.indices)?;
        let columns = projected.columns().to_vec();
        let wire = RecordBatch::try_new(Arc::clone(&self.schema), columns)?;
        self.encoder.encode(&wire).map_err(ArrowError::from)?;
        Ok(self.encoder.flush().iter().collect())
    }
}

/// An encoder that is made when it is first needed.
#[derive(Debug)]
pub struct LazyEncoder {
    kind: RecordKind,
    framing: Framing,
    made: Option<EventEncoder>,
}

impl LazyEncoder {
    /// An encoder of this record under this framing.
    #[must_use]
    pub fn new(kind: RecordKind, framing: Framing) -> Self {
        Self { kind, framing, made: None }
    }

    /// As [`EventEncoder::encode`].
    ///
    /// # Errors
    /// As [`EventEncoder::new`] and [`EventEncoder::encode`].
    pub fn encode(&mut self, batch: &RecordBatch) -> Result<Vec<bytes::Bytes>, CodecError> {
        let encoder = match self.made.take() {
            Some(encoder) => encoder,
            None => EventEncoder::new(self.kind, self.framing)?,
        };
        self.made.insert(encoder).encode(batch)
    }
}

/// Reads the records of a topic, of the current schema and of every one that was registered, into batches of
/// [`arrow_schema`]. Columns that a writer did not know are absent.
#[derive(Debug)]
pub struct EventDecoder {
    decoder: Decoder,
}

impl EventDecoder {
    /// A decoder for single-object encoding that knows the current schema of this
    /// record and `earlier` versions of it (as JSON).
    ///
    /// # Errors
    /// Where one of `earlier` is not a schema of events.
    pub fn single_object(kind: RecordKind, earlier: &[&str]) -> Result<Self, CodecError> {
        let mut store = SchemaStore::new_with_type(FingerprintAlgorithm::Rabin);
        for text in std::iter::once(&kind.avro_schema()).chain(earlier) {
            store.register(AvroSchema::new((*text).to_owned()))?;
        }
        Self::with_store(kind, store)
    }

    /// A decoder for the Confluent wire format that knows these writers' schemas by id.
    ///
    /// # Errors
    /// Where one is not a schema of events.
    pub fn confluent(kind: RecordKind, writers: &[(u32, &str)]) -> Result<Self, CodecError> {
        let mut store = SchemaStore::new_with_type(FingerprintAlgorithm::Id);
        for (id, text) in writers {
            store.set(Fingerprint::Id(*id), AvroSchema::new((*text).to_owned()))?;
        }
        Self::with_store(kind, store)
    }

    fn with_store(kind: RecordKind, store: SchemaStore) -> Result<Self, CodecError> {
        let decoder = ReaderBuilder::new()
            .with_writer_schema_store(store)
            .with_reader_schema(AvroSchema::new(kind.avro_schema().to_owned()))
            .with_batch_size(BATCH_ROWS_MAX)
            .build_decoder()?;
        Ok(Self { decoder })
    }

    /// Takes one record. Call [`Self::flush`] at the latest after [`BATCH_ROWS_MAX`] of them.
    ///
    /// # Errors
    /// Where the record is torn, not Avro, or of an unknown schema. The decoder is then in no
    /// state to go on: flush what it holds before, and make a new one.
    pub fn push(&mut self, record: &[u8]) -> Result<(), CodecError> {
        let before = self.decoder.capacity();
        match self.decoder.decode(record) {
            Ok(used) if used == record.len() && self.decoder.capacity() + 1 == before => Ok(()),
            Ok(used) => Err(CodecError::Malformed {
                reason: format!("{used} of {} bytes make no single record", record.len()),
            }),
            Err(error) => Err(explained(&error.to_string())),
        }
    }

    /// Whether a batch is complete.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.decoder.batch_is_full()
    }

    /// The records so far as a batch; `None` where there are none.
    ///
    /// # Errors
    /// Where Arrow refuses the columns, which is a bug of this crate.
    pub fn flush(&mut self) -> Result<Option<RecordBatch>, CodecError> {
        let Some(batch) = self.decoder.flush().map_err(ArrowError::from)? else { return Ok(None) };
        Ok(Some(to_event_schema(&batch)?))
    }
}

/// Records of a topic, read.
#[derive(Debug, Default)]
pub struct EventsRead {
    /// The events of the records that could be read, in their order, in one batch or several.
    pub batches: Vec<RecordBatch>,
    /// By record: what stood in the way of reading it.
    pub failures: Vec<Option<CodecError>>,
}

/// Gives the schemas of writers by the ids of a registry, without waiting; `None` where one is not
/// known.
#[derive(Clone)]
pub struct WriterSchemas(Arc<dyn Fn(u32) -> Option<Arc<str>> + Send + Sync>);

impl WriterSchemas {
    /// Those that `known` gives.
    pub fn new(known: impl Fn(u32) -> Option<Arc<str>> + Send + Sync + 'static) -> Self {
        Self(Arc::new(known))
    }
}

impl fmt::Debug for WriterSchemas {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("WriterSchemas").finish_non_exhaustive()
    }
}

/// Writers that a reader keeps a decoder for. A topic has as many as versions of us write to it.
const DECODERS_MAX: usize = 16;

/// Who wrote a record, as far as its frame tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Writer {
    /// Single-object encoding.
    Fingerprint,
    /// The Confluent wire format with this id.
    Id(u32),
}

/// Reads records of a topic, in either frame, some of which may be torn or foreign.
#[derive(Debug)]
pub struct EventReader {
    kind: RecordKind,
    /// Absent: there is no registry.
    schemas: Option<WriterSchemas>,
    decoders: BTreeMap<Writer, EventDecoder>,
}

impl Clone for EventReader {
    /// One that has read nothing.
    fn clone(&self) -> Self {
        Self { kind: self.kind, schemas: self.schemas.clone(), decoders: BTreeMap::new() }
    }
}

/// What was pushed and is not in a batch yet.
#[derive(Debug, Clone, Copy)]
struct Held {
    writer: Writer,
    records: usize,
}

impl EventReader {
    /// Reads single-object encoding.
    #[must_use]
    pub fn single_object(kind: RecordKind) -> Self {
        Self { kind, schemas: None, decoders: BTreeMap::new() }
    }

    /// Reads the Confluent wire format of writers with these schemas too.
    #[must_use]
    pub fn confluent(kind: RecordKind, schemas: WriterSchemas) -> Self {
        Self { schemas: Some(schemas), ..Self::single_object(kind) }
    }

    /// Reads these records.
    pub fn read<'r>(&mut self, records: impl Iterator<Item = &'r [u8]>) -> EventsRead {
        let mut read = EventsRead::default();
        let mut held = Held { writer: Writer::Fingerprint, records: 0 };
        for record in records {
            let writer = confluent_schema_id(record).map_or(Writer::Fingerprint, Writer::Id);
            if writer != held.writer {
                self.flush(&mut read, &mut held);
                held.writer = writer;
            }
            let failure = self.decoder(writer).and_then(|decoder| decoder.push(record)).err();
            if failure.is_none() {
                held.records += 1;
            }
            let is_bad = failure.is_some();
            read.failures.push(failure);
            if is_bad || held.records == BATCH_ROWS_MAX {
                self.flush(&mut read, &mut held);
            }
            if is_bad {
                self.decoders.remove(&writer);
            }
        }
        self.flush(&mut read, &mut held);
        read
    }

    fn decoder(&mut self, writer: Writer) -> Result<&mut EventDecoder, CodecError> {
        if self.decoders.len() >= DECODERS_MAX && !self.decoders.contains_key(&writer) {
            // All are empty: what another writer's decoder held was flushed.
            self.decoders.clear();
        }
        let decoder = match self.decoders.entry(writer) {
            Entry::Occupied(made) => made.into_mut(),
            Entry::Vacant(place) => {
                place.insert(new_decoder(self.kind, self.schemas.as_ref(), writer)?)
            }
        };
        Ok(decoder)
    }

    /// Gives out what the decoder of the last records holds.
    fn flush(&mut self, read: &mut EventsRead, held: &mut Held) {
        let flushed = self.decoders.get_mut(&held.writer).map_or(Ok(None), EventDecoder::flush);
        match flushed {
            Ok(batch) => read.batches.extend(batch),
            Err(error) => {
                let reason = error.to_string();
                let good = read.failures.iter_mut().rev().filter(|failure| failure.is_none());
                for failure in good.take(held.records) {
                    *failure = Some(CodecError::Malformed { reason: reason.clone() });
                }
                self.decoders.remove(&held.writer);
            }
        }
        held.records = 0;
    }
}

fn new_decoder(
    kind: RecordKind,
    schemas: Option<&WriterSchemas>,
    writer: Writer,
) -> Result<EventDecoder, CodecError> {
    let id = match writer {
        Writer::Fingerprint => return EventDecoder::single_object(kind, &[]),
        Writer::Id(id) => id,
    };
    let unknown = |name| CodecError::UnknownSchema { name };
    let schemas = schemas.ok_or_else(|| unknown(format!("id {id}; no registry is configured")))?;
    let schema = (schemas.0)(id).ok_or_else(|| unknown(format!("id {id}")))?;
    EventDecoder::confluent(kind, &[(id, &schema)])
}

fn explained(text: &str) -> CodecError {
    if text.contains("fingerprint") {
        CodecError::UnknownSchema { name: text.to_owned() }
    } else {
        CodecError::Malformed { reason: text.to_owned() }
    }
}

/// Gives the decoder's columns the types of [`arrow_schema`] (names inside lists and maps differ).
fn to_event_schema(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let schema = arrow_schema();
    let columns: Result<Vec<ArrayRef>, ArrowError> = schema
        .fields()
        .iter()
        .map(|field| match batch.column_by_name(field.name()) {
            Some(column) if column.data_type() == field.data_type() => Ok(Arc::clone(column)),
            Some(column) => cast(column, field.data_type()),
            None => Ok(new_null_array(field.data_type(), batch.num_rows())),
        })
        .collect();
    RecordBatch::try_new(schema, columns?)
}

#[cfg(test)]
mod tests;
