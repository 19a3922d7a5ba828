//! Tables of facts, and rows picked from them.
//!
//! Owns: the table side of every join. Never: how a row is found.
//!
//! A table holds the columns that it can fill as Arrow arrays, so that a join is one number an
//! event and one gather a column.

use arrow::array::{Array, ArrayRef, RecordBatch, UInt32Array};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::compute::take;
use arrow::error::ArrowError;
use schemas::{BATCH_ROWS_MAX, BatchBuilder, Event, Field};

use crate::columns::Columns;

/// What is known of some things, one row each.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    columns: Vec<FactColumn>,
}

#[derive(Debug)]
struct FactColumn {
    field: Field,
    values: ArrayRef,
    /// A whole batch of the value, where all rows have the same: then filling is a slice.
    same: Option<ArrayRef>,
}

impl Facts {
    /// A table of the columns that some row has.
    pub(crate) fn new<'e>(rows: impl IntoIterator<Item = Event<'e>>) -> Self {
        let mut builder = BatchBuilder::default();
        for row in rows {
            builder.push(&row);
        }
        let batch = finish(&mut builder);
        let columns = Field::ALL
            .iter()
            .zip(batch.columns())
            .filter(|(_, values)| values.null_count() < values.len())
            .map(|(field, values)| FactColumn {
                field: *field,
                same: constant(values),
                values: ArrayRef::clone(values),
            })
            .collect();
        Self { columns }
    }

    /// Fills the columns of this table from the picked rows.
    pub(crate) fn fill(&self, picks: Picks, columns: &mut Columns) -> Result<(), ArrowError> {
        if picks.absent == picks.rows.len() || self.columns.is_empty() {
            return Ok(());
        }
        let complete = picks.absent == 0 && picks.rows.len() <= BATCH_ROWS_MAX;
        let rows = picks.rows.len();
        let indices = picks.indices();
        for FactColumn { field, values, same } in &self.columns {
            if !columns.lacks(*field) {
                continue;
            }
            let found = match same {
                Some(same) if complete => same.slice(0, rows),
                _ => take(values, &indices, None)?,
            };
            columns.fill(*field, found)?;
        }
        Ok(())
    }
}

#[expect(clippy::expect_used, reason = "a builder closes the columns of its own schema")]
fn finish(builder: &mut BatchBuilder) -> RecordBatch {
    builder.finish().expect("a builder closes the columns of its own schema")
}

/// A batch full of the value, if all rows have the same one.
fn constant(values: &ArrayRef) -> Option<ArrayRef> {
    let first = values.slice(0, 1);
    if values.null_count() > 0 || (1..values.len()).any(|row| &values.slice(row, 1) != &first) {
        return None;
    }
    let zeros = UInt32Array::from(vec![0; BATCH_ROWS_MAX]);
    take(values, &zeros, None).ok()
}

/// Which row of a table each event has.
#[derive(Debug)]
pub(crate) struct Picks {
    rows: Vec<u32>,
    absent: usize,
}

/// No row: no table is as long.
const NONE: u32 = u32::MAX;

impl Picks {
    pub(crate) fn with_capacity(rows: usize) -> Self {
        Self { rows: Vec::with_capacity(rows), absent: 0 }
    }

    pub(crate) fn push(&mut self, row: Option<u32>) {
        if row.is_none() {
            self.absent += 1;
        }
        self.rows.push(row.unwrap_or(NONE));
    }

    fn indices(self) -> UInt32Array {
        if self.absent == 0 {
            return UInt32Array::from(self.rows);
        }
        let present: BooleanBuffer = self.rows.iter().map(|row| *row != NONE).collect();
        // Absent rows are not read, but their number must lie in the table.
        let rows = self.rows.into_iter().map(|row| if row == NONE { 0 } else { row });
        UInt32Array::new(rows.collect(), Some(NullBuffer::new(present)))
    }
}

/// What could not be joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lack {
    Deploy,
    Identity,
    Route,
    Network,
}

impl Lack {
    pub(crate) const ALL: [Self; 4] = [Self::Deploy, Self::Identity, Self::Route, Self::Network];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Deploy => "deploy",
            Self::Identity => "identity",
            Self::Route => "route",
            Self::Network => "network",
        }
    }

    fn bit(self) -> u32 {
        match self {
            Self::Deploy => 1,
            Self::Identity => 2,
            Self::Route => 4,
            Self::Network => 8,
        }
    }
}

/// What could not be joined, event by event.
#[derive(Debug)]
pub(crate) struct Missing {
    bits: Vec<u32>,
    counts: [u64; 4],
    rows: usize,
}

impl Missing {
    pub(crate) fn new(rows: usize) -> Self {
        Self { bits: Vec::new(), counts: [0; 4], rows }
    }

    pub(crate) fn note(&mut self, row: usize, lack: Lack) {
        if self.bits.is_empty() {
            self.bits = vec![0; self.rows];
        }
        if let Some(bits) = self.bits.get_mut(row) {
            *bits |= lack.bit();
        }
        for (count, of) in self.counts.iter_mut().zip(Lack::ALL) {
            *count += u64::from(of == lack);
        }
    }

    /// How many events lack each of [`Lack::ALL`].
    pub(crate) fn counts(&self) -> [u64; 4] {
        self.counts
    }

    /// Fills `context_missing`. `names` is [`Missing::names`].
    pub(crate) fn fill(self, names: &Facts, columns: &mut Columns) -> Result<(), ArrowError> {
        let mut picks = Picks::with_capacity(self.bits.len());
        for bits in self.bits {
            picks.push((bits > 0).then_some(bits));
        }
        names.fill(picks, columns)
    }

    /// The lists of names for every combination of bits.
    pub(crate) fn names() -> Facts {
        Facts::new((0..16).map(|bits| {
            Event {
                context_missing: Some(
                    Lack::ALL
                        .iter()
                        .filter(|lack| bits & lack.bit() != 0)
                        .map(|lack| lack.name().into())
                        .collect(),
                ),
                ..Event::default()
            }
        }))
    }
}
