//! Verdicts, orders, outcomes and dead letters on the wire: JSON or Avro, with the same names.
//!
//! Owns: their Avro schemas, the frames, and a codec of either form that reads both.
//! Never: a registry's protocol; `transport` asks it for ids.
//!
//! These are few and nested, unlike events, so they go by way of their JSON value: evolution is
//! what serde makes of it. A field that the reader does not know is ignored, one that the writer
//! did not know is absent.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::sync::LazyLock;

use arrow_avro::schema::{AvroSchema, Fingerprint, FingerprintAlgorithm};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::avro::{CodecError, Framing};
use crate::dead_letter::DeadLetter;
use crate::order::{Order, Outcome};
use crate::verdict::Verdict;

mod page;
mod read;
mod shape;
mod table;
mod write;

pub use page::records_page;

use shape::Node;
use table::Table;

/// First bytes of Avro single-object encoding (Avro 1.12, "Single-object encoding").
const SINGLE_OBJECT: [u8; 2] = [0xC3, 0x01];
/// First byte of the Confluent wire format.
const CONFLUENT: u8 = 0;

/// Which record a codec is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum WireKind {
    /// [`Verdict`], on `verdicts`.
    Verdict,
    /// [`Order`], on `orders`.
    Order,
    /// [`Outcome`], on `outcomes`.
    Outcome,
    /// [`DeadLetter`], on `dead-letter`.
    DeadLetter,
}

impl WireKind {
    /// Every record.
    pub const ALL: [Self; 4] = [Self::Verdict, Self::Order, Self::Outcome, Self::DeadLetter];

    /// The record's name in Avro.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.table().name
    }

    /// The current Avro schema, as JSON.
    #[must_use]
    pub fn avro_schema(self) -> &'static str {
        static VERDICT: LazyLock<String> = LazyLock::new(|| table::VERDICT.schema_text());
        static ORDER: LazyLock<String> = LazyLock::new(|| table::ORDER.schema_text());
        static OUTCOME: LazyLock<String> = LazyLock::new(|| table::OUTCOME.schema_text());
        static DEAD_LETTER: LazyLock<String> = LazyLock::new(|| table::DEAD_LETTER.schema_text());
        match self {
            Self::Verdict => &VERDICT,
            Self::Order => &ORDER,
            Self::Outcome => &OUTCOME,
            Self::DeadLetter => &DEAD_LETTER,
        }
    }

    fn table(self) -> &'static Table {
        match self {
            Self::Verdict => &table::VERDICT,
            Self::Order => &table::ORDER,
            Self::Outcome => &table::OUTCOME,
            Self::DeadLetter => &table::DEAD_LETTER,
        }
    }
}

/// A record that has both forms.
pub trait WireRecord: Serialize + DeserializeOwned {
    /// Which one it is.
    const KIND: WireKind;
}

impl WireRecord for Verdict {
    const KIND: WireKind = WireKind::Verdict;
}

impl WireRecord for Order {
    const KIND: WireKind = WireKind::Order;
}

impl WireRecord for Outcome {
    const KIND: WireKind = WireKind::Outcome;
}

impl WireRecord for DeadLetter {
    const KIND: WireKind = WireKind::DeadLetter;
}

/// How records are written. Either form is always read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordForm {
    /// One JSON object.
    Json,
    /// Avro in this frame.
    Avro(Framing),
}

/// Writes verdicts in one form, reads them in all.
pub type VerdictCodec = RecordCodec<Verdict>;
/// Writes orders in one form, reads them in all.
pub type OrderCodec = RecordCodec<Order>;
/// Writes outcomes in one form, reads them in all.
pub type OutcomeCodec = RecordCodec<Outcome>;
/// Writes dead letters in one form, reads them in all.
pub type DeadLetterCodec = RecordCodec<DeadLetter>;

/// Writes records of one kind in one form; reads JSON and both frames of Avro, told apart by their
/// first bytes.
pub struct RecordCodec<R> {
    form: RecordForm,
    own: Node,
    fingerprint: u64,
    by_fingerprint: BTreeMap<u64, Node>,
    by_id: BTreeMap<u32, Node>,
    record: PhantomData<fn() -> R>,
}

impl<R: WireRecord> RecordCodec<R> {
    /// A codec that writes this form. It can read JSON and what the current schema wrote; of the
    /// Confluent ids it knows only the one that it writes, see [`Self::learn_id`].
    ///
    /// # Errors
    /// Where Avro refuses our schema, which is a bug of this crate.
    pub fn new(form: RecordForm) -> Result<Self, CodecError> {
        let own = node(R::KIND.avro_schema())?;
        let fingerprint = fingerprint(R::KIND.avro_schema())?;
        let mut by_id = BTreeMap::new();
        if let RecordForm::Avro(Framing::Confluent(id)) = form {
            by_id.insert(id, own.clone());
        }
        let by_fingerprint = [(fingerprint, own.clone())].into();
        Ok(Self { form, own, fingerprint, by_fingerprint, by_id, record: PhantomData })
    }

    /// Lets the codec read records that carry this id of a registry; `schema` is what the registry
    /// gives for it.
    ///
    /// # Errors
    /// Where the schema cannot be followed.
    pub fn learn_id(&mut self, id: u32, schema: &str) -> Result<(), CodecError> {
        self.by_id.insert(id, node(schema)?);
        Ok(())
    }

    /// Whether records that carry this id can be read.
    #[must_use]
    pub fn knows_id(&self, id: u32) -> bool {
        self.by_id.contains_key(&id)
    }

    /// Lets the codec read records in single-object encoding that another version of the schema
    /// wrote.
    ///
    /// # Errors
    /// Where the schema cannot be followed.
    pub fn learn_schema(&mut self, schema: &str) -> Result<(), CodecError> {
        self.by_fingerprint.insert(fingerprint(schema)?, node(schema)?);
        Ok(())
    }

    /// The record in the form of this codec.
    ///
    /// # Errors
    /// Where the record does not fit its own schema, which is a bug of this crate.
    pub fn encode(&self, record: &R) -> Result<Vec<u8>, CodecError> {
        let framing = match self.form {
            RecordForm::Json => {
                return serde_json::to_vec(record).map_err(|error| unfit::<R>(&[], error));
            }
            RecordForm::Avro(framing) => framing,
        };
        let value = serde_json::to_value(record).map_err(|error| unfit::<R>(&[], error))?;
        let mut out = Vec::with_capacity(512);
        match framing {
            Framing::SingleObject => {
                out.extend_from_slice(&SINGLE_OBJECT);
                out.extend_from_slice(&self.fingerprint.to_le_bytes());
            }
            Framing::Confluent(id) => {
                out.push(CONFLUENT);
                out.extend_from_slice(&id.to_be_bytes());
            }
        }
        write::write(&self.own, &value, &mut out)
            .map_err(|error| unfit::<R>(&error.path, error.wanted))?;
        Ok(out)
    }

    /// The record in these bytes, whichever form they have.
    ///
    /// # Errors
    /// [`CodecError::UnknownSchema`] where the bytes name a schema that was not learned,
    /// [`CodecError::Malformed`] where they are no whole record.
    pub fn decode(&self, bytes: &[u8]) -> Result<R, CodecError> {
        let value = match bytes {
            [b'{' | b' ' | b'\t' | b'\r' | b'\n', ..] => {
                return serde_json::from_slice(bytes).map_err(|error| malformed::<R>(&error));
            }
            [CONFLUENT, a, b, c, d, body @ ..] => {
                let id = u32::from_be_bytes([*a, *b, *c, *d]);
                let node = self.by_id.get(&id).ok_or_else(|| unknown(format!("id {id}")))?;
                read::read(node, body)
            }
            [0xC3, 0x01, rest @ ..] => {
                let (head, body) = rest
                    .split_first_chunk()
                    .ok_or_else(|| malformed::<R>(&"it ends in the middle"))?;
                let mark = u64::from_le_bytes(*head);
                let node = self.by_fingerprint.get(&mark);
                read::read(node.ok_or_else(|| unknown(format!("fingerprint {mark:016x}")))?, body)
            }
            [] => Err("it is empty".to_owned()),
            [first, ..] => {
                Err(format!("its first byte is {first:#04x}: neither JSON nor framed Avro"))
            }
        };
        let value = value.map_err(|torn| malformed::<R>(&torn))?;
        serde_json::from_value(value).map_err(|error| malformed::<R>(&error))
    }
}

impl DeadLetterCodec {
    /// Key and value of the letter's record: the key is the origin, so that repeats are told.
    #[must_use]
    pub fn record(&self, letter: &DeadLetter) -> (Option<String>, Vec<u8>) {
        let (key, json) = letter.record();
        // What does not fit its own schema is a bug of ours and yet no reason to lose a letter;
        // readers tell the forms apart.
        let value = match self.form {
            RecordForm::Json => json,
            RecordForm::Avro(_) => self.encode(letter).unwrap_or(json),
        };
        (key, value)
    }
}

impl<R: WireRecord> fmt::Debug for RecordCodec<R> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("RecordCodec")
            .field("record", &R::KIND)
            .field("form", &self.form)
            .finish_non_exhaustive()
    }
}

/// The schema id in a record of the Confluent wire format, events too; `None` in any other form.
#[must_use]
pub fn confluent_schema_id(record: &[u8]) -> Option<u32> {
    match record {
        [CONFLUENT, a, b, c, d, ..] => Some(u32::from_be_bytes([*a, *b, *c, *d])),
        _ => None,
    }
}

fn node(schema: &str) -> Result<Node, CodecError> {
    Node::parse(schema).map_err(|reason| CodecError::Schema { reason })
}

fn fingerprint(schema: &str) -> Result<u64, CodecError> {
    let avro = AvroSchema::new(schema.to_owned());
    match avro.fingerprint(FingerprintAlgorithm::Rabin) {
        Ok(Fingerprint::Rabin(mark)) => Ok(mark),
        Ok(other) => Err(CodecError::Schema { reason: format!("fingerprint {other:?}") }),
        Err(error) => Err(CodecError::Schema { reason: error.to_string() }),
    }
}

fn unknown(name: String) -> CodecError {
    CodecError::UnknownSchema { name }
}

fn malformed<R: WireRecord>(reason: &dyn fmt::Display) -> CodecError {
    CodecError::Malformed { reason: format!("{}: {reason}", R::KIND.name()) }
}

fn unfit<R: WireRecord>(path: &[String], wanted: impl fmt::Display) -> CodecError {
    let mut place = R::KIND.name().to_owned();
    for part in path.iter().rev() {
        place.push('.');
        place.push_str(part);
    }
    CodecError::Unfit { place, wanted: wanted.to_string() }
}

#[cfg(test)]
mod tests;
