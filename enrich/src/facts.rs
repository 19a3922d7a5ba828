//! Tables of facts, and rows picked from them.
//!
//! Owns: the table side of every join. Never: how a row is found.
//!
//! A table holds the columns that it can fill as Arrow arrays, so that a join is one number an
//! event and one gather a column.

mod column;

use arrow::array::{RecordBatch, UInt32Array};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::error::ArrowError;
use schemas::{BatchBuilder, Event, Field};

use crate::columns::Columns;
use column::Column;

/// What is known of some things, one row each.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    columns: Vec<Column>,
}

impl Facts {
    /// A table of the columns that some row has.
    pub(crate) fn new<'e>(rows: impl IntoIterator<Item = Event<'e>>) -> Self {
        let mut builder = BatchBuilder::default();
        for row in rows {
            builder.push(&row);
        }
        let batch = finish(&mut builder);
        let columns = Field::ALL.iter().zip(batch.columns());
        Self { columns: columns.filter_map(|(field, all)| Column::new(*field, all)).collect() }
    }

    /// Fills the columns of this table from the picked rows.
    pub(crate) fn fill(&self, picks: Picks, columns: &mut Columns) -> Result<(), ArrowError> {
        if picks.absent == picks.rows.len() {
            return Ok(());
        }
        let picks = picks.ready();
        for column in &self.columns {
            if !columns.lacks(column.field()) {
                continue;
            }
            if let Some(found) = column.picked(&picks)? {
                columns.fill(column.field(), found)?;
            }
        }
        Ok(())
    }
}

#[expect(clippy::expect_used, reason = "a builder closes the columns of its own schema")]
fn finish(builder: &mut BatchBuilder) -> RecordBatch {
    builder.finish().expect("a builder closes the columns of its own schema")
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

    #[inline]
    pub(crate) fn push(&mut self, row: Option<u32>) {
        if row.is_none() {
            self.absent += 1;
        }
        self.rows.push(row.unwrap_or(NONE));
    }

    fn ready(mut self) -> Picked {
        let complete = self.absent == 0;
        let mut nulls = None;
        if !complete {
            let present: BooleanBuffer = self.rows.iter().map(|row| *row != NONE).collect();
            nulls = Some(NullBuffer::new(present));
            // Absent rows are not read, but their number must lie in the table.
            for row in self.rows.iter_mut().filter(|row| **row == NONE) {
                *row = 0;
            }
        }
        Picked { indices: UInt32Array::new(self.rows.into(), nulls), complete }
    }
}

/// Picks that are complete, as Arrow takes them.
#[derive(Debug)]
struct Picked {
    indices: UInt32Array,
    /// Every event has a row.
    complete: bool,
}
