//! The records that cross an edge, and nothing that makes or uses them.
//!
//! Owns: the event's columns ([`Field`], [`Event`]), batches of them, ids, event time, verdicts,
//! orders, outcomes, dead letters, deploys, and their forms in Arrow, Avro and JSON.
//! Never: clocks, I/O, parsing of logs, detection.

mod avro;
mod batch;
mod dead_letter;
mod deploy;
mod field;
mod fields_page;
mod id;
mod json;
mod order;
mod same;
mod time;
mod verdict;
mod wire;

pub use avro::{
    CodecError, EventDecoder, EventEncoder, EventReader, EventsRead, Framing, LazyEncoder,
    RecordKind, WriterSchemas,
};
pub use batch::{BATCH_ROWS_MAX, BatchBuilder, Row, Sheet, arrow_schema, arrow_type, event_at};
pub use dead_letter::{DeadLetter, Reason};
pub use deploy::{Deploy, DeployAction};
pub use field::{Event, Field, Kind, Section, Spec};
pub use fields_page::fields_page;
pub use id::{EpisodeName, EventIds, Origin, event_id, event_id_of, verdict_id};
pub use json::ValueError;
pub use order::{Action, GuardNote, Order, Outcome, OutcomeState, Subject};
pub use same::same;
pub use time::{EventTime, TimeError};
pub use verdict::{Exemplar, Mode, Severity, Verdict, VerdictDeploy, VerdictKind, WindowSpan};
pub use wire::{
    DeadLetterCodec, OrderCodec, OutcomeCodec, RecordCodec, RecordForm, VerdictCodec, WireKind,
    WireRecord, confluent_schema_id, records_page,
};
