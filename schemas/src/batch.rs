//! Events as Arrow batches.
//!
//! Owns: the Arrow schema, the builder that takes rows, and reading a row back. Never: the wire.
//!
//! A column that no row of a batch fills costs nothing a row: it is padded once, when the batch
//! is finished. One that says the same throughout costs a comparison a row. The memory of a batch
//! that nobody holds any more is used for the next.

mod column;

use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{
    DataType, Field as ArrowField, Float64Type, Int32Type, Int64Type, Schema, SchemaRef, TimeUnit,
    TimestampMillisecondType,
};
use arrow::error::ArrowError;

use column::{Codes, Filling, Flags, Ints, Lists, Longs, Maps, Ratios, Texts, Times};

use crate::field::{Event, Field, Kind, each_field, row_type};
use crate::time::EventTime;

/// Rows in a batch at most: small enough for the cache, large enough to share fixed costs.
pub const BATCH_ROWS_MAX: usize = 4096;

/// The Arrow type of a kind of column.
#[must_use]
pub fn arrow_type(kind: Kind) -> DataType {
    match kind {
        Kind::Text | Kind::Code => DataType::Utf8,
        Kind::Count | Kind::Number => DataType::Int64,
        Kind::Status => DataType::Int32,
        Kind::Flag => DataType::Boolean,
        Kind::Time => DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())),
        Kind::List => DataType::List(Arc::new(item())),
        Kind::Map => DataType::Map(
            Arc::new(ArrowField::new(
                "entries",
                DataType::Struct(
                    vec![
                        ArrowField::new("key", DataType::Utf8, false),
                        ArrowField::new("value", DataType::Utf8, false),
                    ]
                    .into(),
                ),
                false,
            )),
            false,
        ),
        Kind::Ratio => DataType::Float64,
    }
}

fn item() -> ArrowField {
    ArrowField::new("item", DataType::Utf8, false)
}

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    Arc::new(Schema::new(
        Field::ALL
            .iter()
            .map(|field| ArrowField::new(field.name(), arrow_type(field.spec().kind), true))
            .collect::<Vec<_>>(),
    ))
});

/// The schema of every batch of events: all columns of [`Field`], in order, all nullable.
#[must_use]
pub fn arrow_schema() -> SchemaRef {
    Arc::clone(&SCHEMA)
}

macro_rules! column_type {
    (Text) => {
        Texts
    };
    (Code) => {
        Codes
    };
    (Count) => {
        Longs
    };
    (Number) => {
        Longs
    };
    (Status) => {
        Ints
    };
    (Flag) => {
        Flags
    };
    (Time) => {
        Times
    };
    (List) => {
        Lists
    };
    (Map) => {
        Maps
    };
    (Ratio) => {
        Ratios
    };
}

macro_rules! put {
    (Text, $column:expr, $value:expr) => {
        $column.put($value)
    };
    (Code, $column:expr, $value:expr) => {
        $column.put($value)
    };
    (List, $column:expr, $value:expr) => {
        $column.put($value)
    };
    (Map, $column:expr, $value:expr) => {
        $column.put($value)
    };
    (Time, $column:expr, $value:expr) => {
        $column.put($value.millis())
    };
    ($other:ident, $column:expr, $value:expr) => {
        $column.put(*$value)
    };
}

macro_rules! get {
    (Text, $array:expr, $row:expr) => {
        text_at($array, $row)
    };
    (Code, $array:expr, $row:expr) => {
        text_at($array, $row)
    };
    (Count, $array:expr, $row:expr) => {
        long_at($array, $row)
    };
    (Number, $array:expr, $row:expr) => {
        long_at($array, $row)
    };
    (Status, $array:expr, $row:expr) => {
        $array.as_primitive_opt::<Int32Type>().filter(|a| a.is_valid($row)).map(|a| a.value($row))
    };
    (Flag, $array:expr, $row:expr) => {
        $array.as_boolean_opt().filter(|a| a.is_valid($row)).map(|a| a.value($row))
    };
    (Time, $array:expr, $row:expr) => {
        time_at($array, $row)
    };
    (List, $array:expr, $row:expr) => {
        list_at($array, $row)
    };
    (Map, $array:expr, $row:expr) => {
        map_at($array, $row)
    };
    (Ratio, $array:expr, $row:expr) => {
        $array.as_primitive_opt::<Float64Type>().filter(|a| a.is_valid($row)).map(|a| a.value($row))
    };
}

macro_rules! builder {
    ($($variant:ident $name:ident $kind:ident;)*) => {
        #[derive(Debug, Default)]
        struct Columns {
            $($name: Filling<column_type!($kind)>,)*
        }

        impl Columns {
            fn push(&mut self, event: &Event<'_>, row: usize) {
                $(if let Some(value) = &event.$name {
                    put!($kind, self.$name.at(row), value);
                })*
            }

            fn close(&mut self, rows: usize) -> Vec<ArrayRef> {
                vec![$(self.$name.close(Kind::$kind, rows),)*]
            }
        }

        /// Reads a row of a batch of events back. Columns that the batch lacks are absent.
        #[must_use]
        pub fn event_at(batch: &RecordBatch, row: usize) -> Event<'_> {
            if batch.num_columns() == Field::ALL.len() {
                let mut columns = batch.columns().iter();
                Event { $($name: columns.next().and_then(|array| get!($kind, array, row)),)* }
            } else {
                Event {
                    $($name: batch
                        .column_by_name(stringify!($name))
                        .and_then(|array| get!($kind, array, row)),)*
                }
            }
        }
    };
}

each_field!(builder);

macro_rules! sheet {
    ($($variant:ident $name:ident $kind:ident;)*) => {
        /// What the columns of one event are put into: a row of a batch, or an [`Event`]. Each is
        /// put once at most, in any order; one that is not put is absent.
        pub trait Sheet<'a> {
            $(#[doc = concat!("Puts column `", stringify!($name), "`.")]
            fn $name(&mut self, value: row_type!($kind, 'a));)*
        }

        impl<'a> Sheet<'a> for Event<'a> {
            $(fn $name(&mut self, value: row_type!($kind, 'a)) {
                self.$name = value;
            })*
        }

        impl<'a> Sheet<'a> for Row<'_> {
            $(#[inline]
            fn $name(&mut self, value: row_type!($kind, 'a)) {
                if let Some(value) = &value {
                    put!($kind, self.columns.$name.at(self.row), value);
                }
            })*
        }
    };
}

each_field!(sheet);

fn text_at(array: &ArrayRef, row: usize) -> Option<Cow<'_, str>> {
    let texts = array.as_string_opt::<i32>()?;
    texts.is_valid(row).then(|| Cow::Borrowed(texts.value(row)))
}

fn long_at(array: &ArrayRef, row: usize) -> Option<i64> {
    let longs = array.as_primitive_opt::<Int64Type>()?;
    longs.is_valid(row).then(|| longs.value(row))
}

fn time_at(array: &ArrayRef, row: usize) -> Option<EventTime> {
    let times = array.as_primitive_opt::<TimestampMillisecondType>()?;
    times.is_valid(row).then(|| EventTime(times.value(row)))
}

fn list_at(array: &ArrayRef, row: usize) -> Option<Vec<Cow<'_, str>>> {
    let lists = array.as_list_opt::<i32>()?;
    let texts = lists.values().as_string_opt::<i32>()?;
    let (start, end) = ends(lists.value_offsets(), row)?;
    lists.is_valid(row).then(|| (start..end).map(|i| Cow::Borrowed(texts.value(i))).collect())
}

fn map_at(array: &ArrayRef, row: usize) -> Option<Vec<(Cow<'_, str>, Cow<'_, str>)>> {
    let maps = array.as_map_opt()?;
    let (keys, values) =
        (maps.keys().as_string_opt::<i32>()?, maps.values().as_string_opt::<i32>()?);
    let (start, end) = ends(maps.value_offsets(), row)?;
    let entry = |i| (Cow::Borrowed(keys.value(i)), Cow::Borrowed(values.value(i)));
    maps.is_valid(row).then(|| (start..end).map(entry).collect())
}

fn ends(offsets: &[i32], row: usize) -> Option<(usize, usize)> {
    let start = usize::try_from(*offsets.get(row)?).ok()?;
    let end = usize::try_from(*offsets.get(row + 1)?).ok()?;
    Some((start, end))
}

/// Collects rows into a batch.
///
/// ```
/// use schemas::{BatchBuilder, Event, event_at};
/// let mut builder = BatchBuilder::default();
/// builder.push(&Event { status: Some(200), ..Event::default() });
/// let batch = builder.finish().unwrap();
/// assert_eq!(event_at(&batch, 0).status, Some(200));
/// ```
#[derive(Debug, Default)]
pub struct BatchBuilder {
    columns: Columns,
    rows: usize,
}

/// The last row of a batch under construction.
#[derive(Debug)]
pub struct Row<'b> {
    columns: &'b mut Columns,
    row: usize,
}

impl BatchBuilder {
    /// Appends a row.
    pub fn push(&mut self, event: &Event<'_>) {
        self.columns.push(event, self.rows);
        self.rows += 1;
    }

    /// Appends a row without any column yet. Columns that are put into it need no event in between.
    pub fn row(&mut self) -> Row<'_> {
        let row = self.rows;
        self.rows += 1;
        Row { columns: &mut self.columns, row }
    }

    /// Rows so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether no row was appended since the last batch.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Whether a batch of usual size is complete.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.rows >= BATCH_ROWS_MAX
    }

    /// The rows as a batch of [`arrow_schema`]; the builder is empty afterwards.
    ///
    /// # Errors
    /// Where Arrow refuses the columns, which is a bug of this crate.
    pub fn finish(&mut self) -> Result<RecordBatch, ArrowError> {
        let rows = std::mem::take(&mut self.rows);
        RecordBatch::try_new(arrow_schema(), self.columns.close(rows))
    }
}

#[cfg(test)]
mod tests {
    use super::{BatchBuilder, Sheet, arrow_schema, event_at};
    use crate::field::Event;
    use crate::time::EventTime;

    fn full() -> Event<'static> {
        Event {
            event_id: Some("e1".into()),
            event_time: Some(EventTime(7)),
            query_keys: Some(vec!["a".into(), "b".into()]),
            scopes: Some(Vec::new()),
            status: Some(404),
            response_bytes: Some(12),
            synthetic: Some(false),
            sample_weight: Some(0.5),
            attrs: Some(vec![("k".into(), "v".into())]),
            context_missing: Some(vec!["deploy".into()]),
            ..Event::default()
        }
    }

    #[test]
    fn rows_read_back_as_they_were_pushed_however_sparse() {
        let rows = [Event::default(), full(), Event::default(), full(), Event::default()];
        let mut builder = BatchBuilder::default();
        rows.iter().for_each(|row| builder.push(row));
        let batch = builder.finish().unwrap();
        assert_eq!(batch.schema(), arrow_schema());
        for (place, row) in rows.iter().enumerate() {
            assert_eq!(&event_at(&batch, place), row, "row {place}");
        }
        assert!(builder.is_empty());
        builder.push(&full());
        assert_eq!(event_at(&builder.finish().unwrap(), 0), full());
    }

    #[test]
    fn a_row_that_columns_are_put_into_reads_back_as_the_event_that_they_make() {
        fn put<'a>(sheet: &mut impl Sheet<'a>, id: &'a str) {
            sheet.status(Some(404));
            sheet.event_time(Some(EventTime(7)));
            sheet.scopes(Some(Vec::new()));
            sheet.attrs(Some(vec![("k".into(), "v".into())]));
            sheet.method(Some(if id.len() > 2 { "GET" } else { "POST" }.into()));
            sheet.sample_weight(Some(0.5));
            sheet.synthetic(None);
            sheet.event_id(Some(id.into()));
        }
        let mut builder = BatchBuilder::default();
        let mut rows = Vec::new();
        for id in ["a", "", "bcd", "e"] {
            let mut event = Event::default();
            put(&mut event, id);
            put(&mut builder.row(), id);
            builder.push(&event);
            rows.extend([event.clone(), event, Event::default()]);
            builder.row();
        }
        assert_eq!(builder.len(), rows.len());
        let batch = builder.finish().unwrap();
        for (place, row) in rows.iter().enumerate() {
            assert_eq!(&event_at(&batch, place), row, "row {place}");
        }
    }

    #[test]
    fn codes_that_differ_in_any_one_byte_are_two() {
        let mut builder = BatchBuilder::default();
        for len in 1..20 {
            for at in 0..len {
                let one = "a".repeat(len);
                let other = format!("{}b{}", "a".repeat(at), "a".repeat(len - at - 1));
                let codes = [&one, &one, &other, &one];
                for code in codes {
                    builder.push(&Event { method: Some(code.as_str().into()), ..Event::default() });
                }
                let batch = builder.finish().unwrap();
                for (place, code) in codes.iter().enumerate() {
                    assert_eq!(event_at(&batch, place).method.as_deref(), Some(code.as_str()));
                }
            }
        }
    }

    /// Batches of one builder, some kept and some let go, each checked when all are made.
    #[test]
    fn memory_that_comes_back_changes_no_batch_that_somebody_holds() {
        let row = |batch: usize, number: usize| Event {
            event_id: (!number.is_multiple_of(7)).then(|| format!("{batch}/{number}").into()),
            sensor: Some(if batch == 3 && number > 300 { "b" } else { "a" }.into()),
            format: (number > 2 || batch != 4).then(|| "json".into()),
            method: Some(format!("M{}", number % (1 + batch % 3)).into()),
            event_time: Some(EventTime(i64::try_from(number).unwrap())),
            status: number.is_multiple_of(3).then_some(200),
            ..Event::default()
        };
        let mut builder = BatchBuilder::default();
        let mut held = Vec::new();
        for batch in 0..9_usize {
            let rows = [400, 1, 300, 500, 4096, 255, 256, 5000, 0][batch];
            (0..rows).for_each(|number| builder.push(&row(batch, number)));
            let made = builder.finish().unwrap();
            (0..rows).for_each(|number| assert_eq!(event_at(&made, number), row(batch, number)));
            if batch.is_multiple_of(2) {
                held.push((batch, made));
            }
        }
        for (batch, made) in &held {
            for number in 0..made.num_rows() {
                assert_eq!(event_at(made, number), row(*batch, number));
            }
        }
    }

    #[test]
    fn an_empty_list_is_not_an_absent_one() {
        let mut builder = BatchBuilder::default();
        builder.push(&full());
        let batch = builder.finish().unwrap();
        assert_eq!(event_at(&batch, 0).scopes, Some(Vec::new()));
        assert_eq!(event_at(&batch, 0).roles, None);
    }

    #[test]
    fn a_batch_with_fewer_columns_reads_the_rest_as_absent() {
        let mut builder = BatchBuilder::default();
        builder.push(&full());
        let batch = builder.finish().unwrap().project(&[0, 20]).unwrap();
        let event = event_at(&batch, 0);
        assert_eq!((event.event_id.as_deref(), event.status), (Some("e1"), Some(404)));
        assert_eq!(event.response_bytes, None);
    }
}
