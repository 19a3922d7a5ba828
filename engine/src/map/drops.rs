//! Table `drops`: what could not be used or came late, as rows for rules.
//!
//! Owns: its batches. Never: deciding what is dropped.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray, TimestampMillisecondArray};
use arrow::error::ArrowError;
use schemas::DeadLetter;

use crate::plan::Table;

/// A dropped record, as rules see it.
#[derive(Debug)]
pub(super) struct DropRow<'a> {
    pub(super) letter: &'a DeadLetter,
    pub(super) event_id: Option<String>,
    /// The moment it counts at.
    pub(super) at: i64,
}

/// The rows of `drops`, and the line of each.
pub(super) fn batch(rows: &[DropRow<'_>]) -> Result<(RecordBatch, StringArray), ArrowError> {
    let letters = || rows.iter().map(|row| row.letter);
    let time = letters().map(|letter| letter.event_time.map(schemas::EventTime::millis));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter(rows.iter().map(|row| row.event_id.as_deref()))),
        Arc::new(TimestampMillisecondArray::from_iter(time).with_timezone("UTC")),
        Arc::new(StringArray::from_iter_values(letters().map(|letter| letter.reason.name()))),
        Arc::new(StringArray::from_iter(letters().map(|letter| letter.client_ip.as_deref()))),
        Arc::new(StringArray::from_iter(letters().map(|letter| letter.sensor.as_deref()))),
    ];
    let line = |letter: &DeadLetter| (!letter.line.is_empty()).then(|| letter.line.clone());
    let lines = StringArray::from_iter(letters().map(line));
    Ok((RecordBatch::try_new(Table::Drops.schema(), columns)?, lines))
}
