//! Columns under construction.
//!
//! Owns: how each kind of column takes values, is padded, and what of the last batch is used
//! again. Never: which columns there are.
//!
//! Three things keep a row cheap. A column that no row fills is a slice of nulls that were made
//! once. A column of few values that says one thing throughout is a slice of an array that was made
//! when it first did. And a column takes the memory of an earlier batch if nobody holds it any
//! more: fresh pages cost more than what is written to them.

use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, BooleanBuilder, ListBuilder, MapBuilder, MapFieldNames,
    NullBufferBuilder, PrimitiveArray, StringArray, StringBuilder, new_null_array,
};
use arrow::datatypes::{
    Field as ArrowField, Float64Type, Int32Type, Int64Type, TimestampMillisecondType,
};

use super::{BATCH_ROWS_MAX, arrow_type, item};
use crate::field::Kind;
use crate::same::same;

/// Rows from which on a whole batch of one value is worth being made and kept.
const KEPT_ROWS_MIN: usize = 256;

/// The builder of a column and how to pad it.
pub(super) trait Column: Default {
    /// Makes room for a new batch.
    fn open(&mut self) {}
    fn pad(&mut self, rows: usize);
    fn close(&mut self, kind: Kind) -> ArrayRef;
}

/// What stands for the next row of a column that has none in this batch.
const NOT_OPEN: usize = usize::MAX;

/// A column under construction, and the row that comes next.
#[derive(Debug)]
pub(super) struct Filling<C> {
    column: C,
    next: usize,
}

impl<C: Default> Default for Filling<C> {
    fn default() -> Self {
        Self { column: C::default(), next: NOT_OPEN }
    }
}

impl<C: Column> Filling<C> {
    /// The column, with nulls up to a row that is put next.
    #[inline]
    pub(super) fn at(&mut self, row: usize) -> &mut C {
        if self.next != row {
            self.catch_up(row);
        }
        self.next = row + 1;
        &mut self.column
    }

    #[cold]
    fn catch_up(&mut self, row: usize) {
        if self.next == NOT_OPEN {
            self.column.open();
            self.next = 0;
        }
        if self.next < row {
            self.column.pad(row - self.next);
        }
    }

    pub(super) fn close(&mut self, kind: Kind, rows: usize) -> ArrayRef {
        let filled = std::mem::replace(&mut self.next, NOT_OPEN);
        if filled == NOT_OPEN {
            return absent(kind, rows);
        }
        if filled < rows {
            self.column.pad(rows - filled);
        }
        self.column.close(kind)
    }
}

/// Numbers and moments.
#[derive(Debug)]
pub(super) struct Primitives<T: ArrowPrimitiveType> {
    values: Vec<T::Native>,
    nulls: NullBufferBuilder,
    /// The last batch's array, whose memory is taken unless somebody still reads it.
    last: Option<PrimitiveArray<T>>,
}

pub(super) type Longs = Primitives<Int64Type>;
pub(super) type Ints = Primitives<Int32Type>;
pub(super) type Times = Primitives<TimestampMillisecondType>;
pub(super) type Ratios = Primitives<Float64Type>;

impl<T: ArrowPrimitiveType> Default for Primitives<T> {
    fn default() -> Self {
        Self { values: Vec::new(), nulls: NullBufferBuilder::new(0), last: None }
    }
}

impl<T: ArrowPrimitiveType> Column for Primitives<T> {
    fn open(&mut self) {
        let Some(last) = self.last.take() else { return };
        // The next batch is likely to be about as large as the last.
        let rows = last.len();
        let (_, values, nulls) = last.into_parts();
        drop(nulls);
        let values = values.into_inner().into_vec();
        self.values = values.unwrap_or_else(|_held| Vec::with_capacity(rows));
        self.values.clear();
    }

    fn pad(&mut self, rows: usize) {
        self.values.extend(std::iter::repeat_n(T::Native::default(), rows));
        self.nulls.append_n_nulls(rows);
    }

    fn close(&mut self, kind: Kind) -> ArrayRef {
        let values = std::mem::take(&mut self.values).into();
        let array = PrimitiveArray::new(values, self.nulls.finish());
        let array = array.with_data_type(arrow_type(kind));
        self.last = Some(array.clone());
        Arc::new(array)
    }
}

impl<T: ArrowPrimitiveType> Primitives<T> {
    #[inline]
    pub(super) fn put(&mut self, value: T::Native) {
        self.values.push(value);
        self.nulls.append_non_null();
    }
}

/// Texts.
#[derive(Debug, Default)]
pub(super) struct Texts {
    builder: StringBuilder,
    /// The last batch's array, whose memory is taken unless somebody still reads it.
    last: Option<StringArray>,
}

impl Column for Texts {
    fn open(&mut self) {
        let Some(last) = self.last.take() else { return };
        let (rows, bytes) = (last.len(), last.values().len());
        let empty = last.slice(0, 0);
        drop(last);
        self.builder = empty.into_builder().unwrap_or_else(|_held| {
            // The next batch is likely to be about as large as the last.
            StringBuilder::with_capacity(rows, bytes + bytes / 16)
        });
    }

    fn pad(&mut self, rows: usize) {
        self.builder.append_nulls(rows);
    }

    fn close(&mut self, _kind: Kind) -> ArrayRef {
        let array = self.builder.finish();
        self.last = Some(array.clone());
        Arc::new(array)
    }
}

impl Texts {
    #[inline]
    pub(super) fn put(&mut self, value: &str) {
        self.builder.append_value(value);
    }
}

#[derive(Debug, Default)]
pub(super) struct Flags(BooleanBuilder);

impl Column for Flags {
    fn pad(&mut self, rows: usize) {
        self.0.append_nulls(rows);
    }

    fn close(&mut self, _kind: Kind) -> ArrayRef {
        Arc::new(self.0.finish())
    }
}

impl Flags {
    #[inline]
    pub(super) fn put(&mut self, value: bool) {
        self.0.append_value(value);
    }
}

/// Texts of few distinct values. As long as all rows say the same, they are only counted.
#[derive(Debug, Default)]
pub(super) struct Codes {
    texts: Texts,
    /// What all rows so far say.
    only: String,
    /// How many rows say it; 0 once they differ, or one has none.
    same: usize,
    differ: bool,
    /// A whole batch of one value, made when it was needed last.
    kept: Option<(String, ArrayRef)>,
}

impl Column for Codes {
    fn open(&mut self) {
        (self.same, self.differ) = (0, false);
        self.texts.open();
    }

    fn pad(&mut self, rows: usize) {
        self.spill();
        self.texts.pad(rows);
    }

    fn close(&mut self, kind: Kind) -> ArrayRef {
        let rows = self.same;
        if self.differ || !(KEPT_ROWS_MIN..=BATCH_ROWS_MAX).contains(&rows) {
            self.spill();
            return self.texts.close(kind);
        }
        if let Some((of, whole)) = &self.kept
            && *of == self.only
        {
            return whole.slice(0, rows);
        }
        let mut builder =
            StringBuilder::with_capacity(BATCH_ROWS_MAX, BATCH_ROWS_MAX * self.only.len());
        builder.append_value_n(&self.only, BATCH_ROWS_MAX);
        let whole: ArrayRef = Arc::new(builder.finish());
        let slice = whole.slice(0, rows);
        self.kept = Some((self.only.clone(), whole));
        slice
    }
}

impl Codes {
    #[inline]
    pub(super) fn put(&mut self, value: &str) {
        if self.differ {
            self.texts.put(value);
        } else if self.same > 0 && same(self.only.as_bytes(), value.as_bytes()) {
            self.same += 1;
        } else {
            self.put_other(value);
        }
    }

    /// The first value of a batch, or the first that is another.
    fn put_other(&mut self, value: &str) {
        if self.same == 0 {
            self.only.clear();
            self.only.push_str(value);
            self.same = 1;
        } else {
            self.spill();
            self.texts.put(value);
        }
    }

    /// From now on each row is written.
    fn spill(&mut self) {
        if !self.differ {
            self.texts.builder.append_value_n(&self.only, self.same);
            (self.same, self.differ) = (0, true);
        }
    }
}

#[derive(Debug)]
pub(super) struct Lists(ListBuilder<StringBuilder>);

impl Default for Lists {
    fn default() -> Self {
        Self(ListBuilder::new(StringBuilder::new()).with_field(item()))
    }
}

impl Column for Lists {
    fn pad(&mut self, rows: usize) {
        for _ in 0..rows {
            self.0.append(false);
        }
    }

    fn close(&mut self, _kind: Kind) -> ArrayRef {
        Arc::new(self.0.finish())
    }
}

impl Lists {
    #[inline]
    pub(super) fn put(&mut self, items: &[Cow<'_, str>]) {
        for item in items {
            self.0.values().append_value(item);
        }
        self.0.append(true);
    }
}

#[derive(Debug)]
pub(super) struct Maps(MapBuilder<StringBuilder, StringBuilder>);

impl Default for Maps {
    fn default() -> Self {
        let names =
            MapFieldNames { entry: "entries".into(), key: "key".into(), value: "value".into() };
        let values = ArrowField::new("value", arrow_type(Kind::Text), false);
        Self(
            MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new())
                .with_values_field(values),
        )
    }
}

impl Column for Maps {
    #[expect(clippy::expect_used, reason = "keys and values stand in step: put appends both")]
    fn pad(&mut self, rows: usize) {
        for _ in 0..rows {
            self.0.append(false).expect("keys and values stand in step");
        }
    }

    fn close(&mut self, _kind: Kind) -> ArrayRef {
        Arc::new(self.0.finish())
    }
}

impl Maps {
    #[expect(clippy::expect_used, reason = "keys and values stand in step: both appended here")]
    pub(super) fn put(&mut self, entries: &[(Cow<'_, str>, Cow<'_, str>)]) {
        for (key, value) in entries {
            self.0.keys().append_value(key);
            self.0.values().append_value(value);
        }
        self.0.append(true).expect("keys and values stand in step");
    }
}

/// A column of nulls: a slice of one that is made once per kind.
fn absent(kind: Kind, rows: usize) -> ArrayRef {
    static NULLS: LazyLock<Vec<(Kind, ArrayRef)>> = LazyLock::new(|| {
        let kinds = [
            Kind::Text,
            Kind::Code,
            Kind::Count,
            Kind::Number,
            Kind::Status,
            Kind::Flag,
            Kind::Time,
            Kind::List,
            Kind::Map,
            Kind::Ratio,
        ];
        kinds.map(|kind| (kind, new_null_array(&arrow_type(kind), BATCH_ROWS_MAX))).to_vec()
    });
    match NULLS.iter().find(|(of, _)| *of == kind) {
        Some((_, array)) if rows <= BATCH_ROWS_MAX => array.slice(0, rows),
        _ => new_null_array(&arrow_type(kind), rows),
    }
}
