//! The columns of a batch while it is being joined.
//!
//! Owns: reading and filling them. Never: decides what to fill in.
//!
//! What the log gave stays: filling touches only what is absent, and a column that nothing fills
//! is passed on as it came.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int32Array, RecordBatch, StringArray};
use arrow::array::{PrimitiveArray, TimestampMillisecondArray};
use arrow::compute::{is_not_null, kernels::zip::zip};
use arrow::datatypes::{ArrowPrimitiveType, Int32Type, TimestampMillisecondType};
use arrow::error::ArrowError;
use schemas::{EventTime, Field, arrow_schema};

/// Why a batch could not be joined. Both are bugs: of the caller, or of this crate.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The batch does not have the columns of an event.
    #[error("a batch with {found} columns where an event has {wanted}")]
    Columns {
        /// How many it has.
        found: usize,
        /// How many an event has.
        wanted: usize,
    },
    /// A column has another type than the schema says.
    #[error("column `{field}` has another type than the schema of events says")]
    Type {
        /// The column.
        field: &'static str,
    },
    /// Arrow refused a column.
    #[error("arrow refused a joined column")]
    Arrow(#[from] ArrowError),
}

impl runtime::error::Classified for JoinError {
    fn class(&self) -> runtime::error::Class {
        runtime::error::Class::Bug
    }
}

/// All columns of a batch, in the order of [`Field`].
#[derive(Debug)]
pub(crate) struct Columns {
    arrays: Vec<ArrayRef>,
    rows: usize,
}

impl Columns {
    pub(crate) fn of(batch: &RecordBatch) -> Result<Self, JoinError> {
        let (found, wanted) = (batch.num_columns(), Field::ALL.len());
        if found != wanted {
            return Err(JoinError::Columns { found, wanted });
        }
        Ok(Self { arrays: batch.columns().to_vec(), rows: batch.num_rows() })
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    #[expect(clippy::indexing_slicing, reason = "`of` checked that there is one a field")]
    fn array(&self, field: Field) -> &ArrayRef {
        &self.arrays[field.index()]
    }

    /// The column, if some row has it.
    pub(crate) fn present(&self, field: Field) -> Option<ArrayRef> {
        let array = self.array(field);
        (array.null_count() < self.rows).then(|| Arc::clone(array))
    }

    pub(crate) fn texts(&self, field: Field) -> Result<Texts, JoinError> {
        let array = self.array(field);
        if array.null_count() == self.rows {
            return Ok(Texts(None));
        }
        let texts = array.as_string_opt::<i32>().ok_or(JoinError::Type { field: field.name() })?;
        Ok(Texts(Some(texts.clone())))
    }

    pub(crate) fn times(&self, field: Field) -> Result<Times, JoinError> {
        Ok(Times(self.numbers::<TimestampMillisecondType>(field)?))
    }

    pub(crate) fn statuses(&self, field: Field) -> Result<Statuses, JoinError> {
        Ok(Statuses(self.numbers::<Int32Type>(field)?))
    }

    fn numbers<T: ArrowPrimitiveType>(
        &self,
        field: Field,
    ) -> Result<Option<PrimitiveArray<T>>, JoinError> {
        let array = self.array(field);
        if array.null_count() == self.rows {
            return Ok(None);
        }
        let numbers =
            array.as_primitive_opt::<T>().ok_or(JoinError::Type { field: field.name() })?;
        Ok(Some(numbers.clone()))
    }

    /// Whether some row lacks this column.
    pub(crate) fn lacks(&self, field: Field) -> bool {
        self.array(field).null_count() > 0
    }

    /// Puts `found` where the column is absent.
    pub(crate) fn fill(&mut self, field: Field, found: ArrayRef) -> Result<(), ArrowError> {
        if found.null_count() == self.rows {
            return Ok(());
        }
        let given = self.array(field);
        let filled = match given.null_count() {
            0 => return Ok(()),
            all if all == self.rows => found,
            _ => zip(&is_not_null(given)?, given, &found)?,
        };
        if let Some(place) = self.arrays.get_mut(field.index()) {
            *place = filled;
        }
        Ok(())
    }

    pub(crate) fn into_batch(self) -> Result<RecordBatch, ArrowError> {
        RecordBatch::try_new(arrow_schema(), self.arrays)
    }
}

/// A column of texts.
#[derive(Debug)]
pub(crate) struct Texts(Option<StringArray>);

impl Texts {
    #[inline]
    pub(crate) fn get(&self, row: usize) -> Option<&str> {
        let texts = self.0.as_ref()?;
        texts.is_valid(row).then(|| texts.value(row))
    }

    /// Whether no row has one.
    pub(crate) fn is_absent(&self) -> bool {
        self.0.is_none()
    }
}

/// A column of moments.
#[derive(Debug)]
pub(crate) struct Times(Option<TimestampMillisecondArray>);

impl Times {
    #[inline]
    pub(crate) fn get(&self, row: usize) -> Option<EventTime> {
        let times = self.0.as_ref()?;
        times.is_valid(row).then(|| EventTime(times.value(row)))
    }
}

/// A column of HTTP statuses.
#[derive(Debug)]
pub(crate) struct Statuses(Option<Int32Array>);

impl Statuses {
    #[inline]
    pub(crate) fn get(&self, row: usize) -> Option<i32> {
        let statuses = self.0.as_ref()?;
        statuses.is_valid(row).then(|| statuses.value(row))
    }
}

/// What the joins read.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) rows: usize,
    pub(crate) event_time: Times,
    pub(crate) direction: Texts,
    pub(crate) service: Texts,
    pub(crate) environment: Texts,
    pub(crate) service_version: Texts,
    pub(crate) deploy_id: Texts,
    pub(crate) method: Texts,
    pub(crate) path: Texts,
    pub(crate) route: Texts,
    pub(crate) status: Statuses,
    pub(crate) upstream_status: Statuses,
    pub(crate) auth_kind: Texts,
    pub(crate) principal: Texts,
    pub(crate) oauth_client: Texts,
    pub(crate) token_id: Texts,
    pub(crate) client_ip: Texts,
    pub(crate) ja4: Texts,
    pub(crate) blocked_by: Texts,
}

impl Seen {
    pub(crate) fn of(columns: &Columns) -> Result<Self, JoinError> {
        Ok(Self {
            rows: columns.rows(),
            event_time: columns.times(Field::EventTime)?,
            direction: columns.texts(Field::Direction)?,
            service: columns.texts(Field::Service)?,
            environment: columns.texts(Field::Environment)?,
            service_version: columns.texts(Field::ServiceVersion)?,
            deploy_id: columns.texts(Field::DeployId)?,
            method: columns.texts(Field::Method)?,
            path: columns.texts(Field::Path)?,
            route: columns.texts(Field::Route)?,
            status: columns.statuses(Field::Status)?,
            upstream_status: columns.statuses(Field::UpstreamStatus)?,
            auth_kind: columns.texts(Field::AuthKind)?,
            principal: columns.texts(Field::Principal)?,
            oauth_client: columns.texts(Field::OauthClient)?,
            token_id: columns.texts(Field::TokenId)?,
            client_ip: columns.texts(Field::ClientIp)?,
            ja4: columns.texts(Field::Ja4)?,
            blocked_by: columns.texts(Field::BlockedBy)?,
        })
    }
}

/// A column that is built while the rows are walked, and padded where a row has nothing.
#[derive(Debug, Default)]
pub(crate) struct Building<B> {
    builder: B,
    filled: usize,
}

/// What [`Building`] needs of an Arrow builder.
pub(crate) trait Builder: Default {
    /// The type of a value.
    type Value<'v>;
    /// Appends a value.
    fn value(&mut self, value: Self::Value<'_>);
    /// Appends absent rows.
    fn absent(&mut self, rows: usize);
    /// The column.
    fn close(&mut self) -> ArrayRef;
}

macro_rules! builder {
    ($builder:ty, $value:ty) => {
        impl Builder for $builder {
            type Value<'v> = $value;
            fn value(&mut self, value: $value) {
                self.append_value(value);
            }
            fn absent(&mut self, rows: usize) {
                self.append_nulls(rows);
            }
            fn close(&mut self) -> ArrayRef {
                Arc::new(self.finish())
            }
        }
    };
}

builder!(arrow::array::Int64Builder, i64);
builder!(arrow::array::BooleanBuilder, bool);

impl Builder for arrow::array::StringBuilder {
    type Value<'v> = &'v str;
    fn value(&mut self, value: &str) {
        self.append_value(value);
    }
    fn absent(&mut self, rows: usize) {
        self.append_nulls(rows);
    }
    fn close(&mut self) -> ArrayRef {
        Arc::new(self.finish())
    }
}

impl<B: Builder> Building<B> {
    /// Sets the value of a row. Rows come in rising order; each at most once.
    pub(crate) fn put(&mut self, row: usize, value: B::Value<'_>) {
        if self.filled < row {
            self.builder.absent(row - self.filled);
        }
        self.builder.value(value);
        self.filled = row + 1;
    }

    /// Fills a column with what was put.
    pub(crate) fn fill(mut self, field: Field, columns: &mut Columns) -> Result<(), ArrowError> {
        if self.filled == 0 {
            return Ok(());
        }
        if self.filled < columns.rows() {
            self.builder.absent(columns.rows() - self.filled);
        }
        columns.fill(field, self.builder.close())
    }
}
