//! Arrow columns as bytes.
//!
//! Owns: the form of a batch on a log or in a marker. Never: types that no column of an event, a
//! drop or a query's answer has.
//!
//! Arrow's own IPC is not used here: its reader slices by lengths that it finds in the bytes, and
//! a frame comes from a log that others can write to.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, ListArray, MapArray,
    PrimitiveArray, RecordBatch, RecordBatchOptions, StringArray, StructArray,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::compute::cast;
use arrow::datatypes::{
    ArrowNativeType, DataType, Field, Float64Type, Int32Type, Int64Type, Schema, SchemaRef,
    TimeUnit, TimestampMillisecondType, UInt64Type,
};

use super::{Reader, WireError, Writer};

/// Writes rows, with their schema.
///
/// Columns of a type that has no form here are written as text; [`read_batch`] casts them back to
/// what the rule wants.
pub(crate) fn write_batch(batch: &RecordBatch, out: &mut Writer) {
    out.len(batch.num_columns());
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        out.text(field.name());
        write_column(column, out);
    }
}

/// What stands in the error where a batch has other columns than are wanted.
pub(crate) const OTHER_COLUMNS: &str = "a batch of other columns";

/// Reads `rows` rows of the schema `wanted`. Columns of the same names are needed, in order.
///
/// The caller knows the number of rows from something that takes bytes for each, so that nobody
/// can claim rows for nothing.
pub(crate) fn read_batch(
    from: &mut Reader<'_>,
    wanted: &SchemaRef,
    rows: usize,
) -> Result<RecordBatch, WireError> {
    if from.len("the number of columns")? != wanted.fields().len() {
        return Err(WireError::Malformed { what: OTHER_COLUMNS });
    }
    let mut columns = Vec::with_capacity(wanted.fields().len());
    for field in wanted.fields() {
        if from.get::<String>()? != *field.name() {
            return Err(WireError::Malformed { what: OTHER_COLUMNS });
        }
        columns.push(typed(read_column(from, rows)?, field)?);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::clone(wanted), columns, &options)
        .map_err(|_not_a_batch| WireError::Malformed { what: "a batch" })
}

fn typed(column: ArrayRef, field: &Field) -> Result<ArrayRef, WireError> {
    if column.data_type() == field.data_type() {
        return Ok(column);
    }
    if let DataType::Timestamp(TimeUnit::Millisecond, zone) = field.data_type()
        && let Some(times) = column.as_primitive_opt::<TimestampMillisecondType>()
    {
        return Ok(Arc::new(times.clone().with_timezone_opt(zone.clone())));
    }
    if column.null_count() == column.len() {
        return Ok(arrow::array::new_null_array(field.data_type(), column.len()));
    }
    let cast = cast(&column, field.data_type());
    cast.map_err(|_no_cast| WireError::Malformed { what: "the type of a column" })
}

const BOOL: u8 = 1;
const I32: u8 = 2;
const I64: u8 = 3;
const F64: u8 = 4;
const TIME: u8 = 5;
const TEXT: u8 = 6;
const LIST: u8 = 7;
const MAP: u8 = 8;
const U64: u8 = 9;
/// A column without a value, which most columns of most logs are.
const ABSENT: u8 = 10;

fn write_column(column: &ArrayRef, out: &mut Writer) {
    if column.null_count() == column.len() {
        return out.put(&ABSENT);
    }
    match column.data_type() {
        DataType::Boolean => {
            out.put(&BOOL);
            write_nulls(column, out);
            write_bits(column.as_boolean().values(), out);
        }
        DataType::Int32 => write_numbers::<Int32Type>(I32, column, out),
        DataType::Int64 => write_numbers::<Int64Type>(I64, column, out),
        DataType::UInt64 => write_numbers::<UInt64Type>(U64, column, out),
        DataType::Float64 => write_numbers::<Float64Type>(F64, column, out),
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            write_numbers::<TimestampMillisecondType>(TIME, column, out);
        }
        DataType::List(_) if column.as_list::<i32>().values().data_type() == &DataType::Utf8 => {
            let lists = column.as_list::<i32>();
            out.put(&LIST);
            write_nulls(column, out);
            write_lengths(lists.value_offsets(), out);
            write_column_slice(lists.values(), lists.value_offsets(), out);
        }
        DataType::Map(_, _) => {
            let maps = column.as_map();
            out.put(&MAP);
            write_nulls(column, out);
            write_lengths(maps.value_offsets(), out);
            write_column_slice(maps.keys(), maps.value_offsets(), out);
            write_column_slice(maps.values(), maps.value_offsets(), out);
        }
        _ => write_texts(column, out),
    }
}

/// The part of a child column that its parent's offsets reach.
fn write_column_slice(child: &ArrayRef, offsets: &[i32], out: &mut Writer) {
    let first = offsets.first().map_or(0, |first| first.as_usize());
    let last = offsets.last().map_or(0, |last| last.as_usize());
    let child = child.slice(first, last - first);
    out.len(child.len());
    if !child.is_empty() {
        write_texts(&child, out);
    }
}

fn write_numbers<T: ArrowPrimitiveType>(tag: u8, column: &ArrayRef, out: &mut Writer) {
    out.put(&tag);
    write_nulls(column, out);
    let values = column.as_primitive::<T>().values();
    out.raw(values.inner().as_slice());
}

fn write_texts(column: &ArrayRef, out: &mut Writer) {
    let as_text = match column.data_type() {
        DataType::Utf8 => Ok(Arc::clone(column)),
        _ => cast(column, &DataType::Utf8),
    };
    let as_text =
        as_text.unwrap_or_else(|_no_text_form| Arc::new(StringArray::new_null(column.len())));
    let texts = as_text.as_string::<i32>();
    out.put(&TEXT);
    write_nulls(texts, out);
    let offsets = texts.value_offsets();
    write_lengths(offsets, out);
    let first = offsets.first().map_or(0, |first| first.as_usize());
    let last = offsets.last().map_or(0, |last| last.as_usize());
    let bytes = texts.values().get(first..last).unwrap_or_default();
    out.len(bytes.len());
    out.raw(bytes);
}

fn write_nulls(column: &dyn Array, out: &mut Writer) {
    let nulls = column.nulls().filter(|nulls| nulls.null_count() > 0);
    out.put(&nulls.is_some());
    if let Some(nulls) = nulls {
        write_bits(nulls.inner(), out);
    }
}

fn write_bits(bits: &BooleanBuffer, out: &mut Writer) {
    // What lies behind the last bit is not ours: cleared, so that equal bits are equal bytes.
    let packed = bits.sliced();
    out.raw(packed.as_slice().get(..bits.len().div_ceil(8)).unwrap_or_default());
    if let (Some(last), used @ 1..) = (out.bytes.last_mut(), bits.len() % 8) {
        *last &= (1 << used) - 1;
    }
}

fn write_lengths(offsets: &[i32], out: &mut Writer) {
    for pair in offsets.windows(2) {
        if let [start, end] = pair {
            out.raw(&end.wrapping_sub(*start).to_le_bytes());
        }
    }
}

fn read_column(from: &mut Reader<'_>, rows: usize) -> Result<ArrayRef, WireError> {
    let malformed = WireError::Malformed { what: "a column" };
    Ok(match from.u8()? {
        ABSENT => arrow::array::new_null_array(&DataType::Utf8, rows),
        BOOL => {
            let nulls = read_nulls(from, rows)?;
            let values = read_bits(from, rows)?;
            Arc::new(BooleanArray::new(values, nulls))
        }
        I32 => read_numbers::<Int32Type>(from, rows)?,
        I64 => read_numbers::<Int64Type>(from, rows)?,
        U64 => read_numbers::<UInt64Type>(from, rows)?,
        F64 => read_numbers::<Float64Type>(from, rows)?,
        TIME => read_numbers::<TimestampMillisecondType>(from, rows)?,
        TEXT => {
            let nulls = read_nulls(from, rows)?;
            let offsets = read_offsets(from, rows)?;
            let length = from.len("texts")?;
            let bytes = Buffer::from(from.take(length, "texts")?);
            let texts = StringArray::try_new(offsets, bytes, nulls);
            Arc::new(texts.map_err(|_not_text| malformed)?)
        }
        LIST => {
            let nulls = read_nulls(from, rows)?;
            let offsets = read_offsets(from, rows)?;
            let values = read_child(from, &offsets)?;
            let item = Arc::new(Field::new("item", DataType::Utf8, values.null_count() > 0));
            Arc::new(ListArray::try_new(item, offsets, values, nulls).map_err(|_bad| malformed)?)
        }
        MAP => read_map(from, rows)?,
        _ => return Err(malformed),
    })
}

fn read_map(from: &mut Reader<'_>, rows: usize) -> Result<ArrayRef, WireError> {
    let malformed = || WireError::Malformed { what: "a map" };
    let nulls = read_nulls(from, rows)?;
    let offsets = read_offsets(from, rows)?;
    let (keys, values) = (read_child(from, &offsets)?, read_child(from, &offsets)?);
    let fields = vec![
        Field::new("key", DataType::Utf8, false),
        Field::new("value", DataType::Utf8, values.null_count() > 0),
    ];
    let schema = Schema::new(fields);
    let entries = StructArray::try_new(schema.fields().clone(), vec![keys, values], None)
        .map_err(|_bad| malformed())?;
    let field = Field::new("entries", entries.data_type().clone(), false);
    let map = MapArray::try_new(Arc::new(field), offsets, entries, nulls, false)
        .map_err(|_bad| malformed())?;
    Ok(Arc::new(map))
}

/// The texts of a list or map: as many as its offsets reach.
fn read_child(from: &mut Reader<'_>, offsets: &OffsetBuffer<i32>) -> Result<ArrayRef, WireError> {
    let malformed = WireError::Malformed { what: "the items of a list" };
    let count = from.len("the items of a list")?;
    if offsets.last().map(|last| last.as_usize()) != Some(count) {
        return Err(malformed);
    }
    match (count, from.rest.first()) {
        (0, _) => Ok(arrow::array::new_empty_array(&DataType::Utf8)),
        // Texts take bytes for each item.
        (_, Some(&TEXT)) => read_column(from, count),
        _ => Err(malformed),
    }
}

fn read_numbers<T: ArrowPrimitiveType>(
    from: &mut Reader<'_>,
    rows: usize,
) -> Result<ArrayRef, WireError> {
    let nulls = read_nulls(from, rows)?;
    let width = size_of::<T::Native>();
    let bytes = from.take(rows.saturating_mul(width), "numbers")?;
    // Copied into an aligned buffer, since the bytes may lie anywhere.
    let values = ScalarBuffer::<T::Native>::new(Buffer::from(bytes), 0, rows);
    let array = PrimitiveArray::<T>::try_new(values, nulls);
    Ok(Arc::new(array.map_err(|_bad| WireError::Malformed { what: "numbers" })?))
}

fn read_nulls(from: &mut Reader<'_>, rows: usize) -> Result<Option<NullBuffer>, WireError> {
    if from.get()? { Ok(Some(NullBuffer::new(read_bits(from, rows)?))) } else { Ok(None) }
}

fn read_bits(from: &mut Reader<'_>, rows: usize) -> Result<BooleanBuffer, WireError> {
    let bytes = from.take(rows.div_ceil(8), "bits")?;
    Ok(BooleanBuffer::new(Buffer::from(bytes), 0, rows))
}

fn read_offsets(from: &mut Reader<'_>, rows: usize) -> Result<OffsetBuffer<i32>, WireError> {
    let malformed = WireError::Malformed { what: "the lengths of texts or lists" };
    let bytes = from.take(rows.saturating_mul(4), "lengths")?;
    let (lengths, _whole) = bytes.as_chunks::<4>();
    let mut offsets = Vec::with_capacity(rows + 1);
    let mut end = 0_i32;
    offsets.push(end);
    for length in lengths {
        let length = i32::from_le_bytes(*length);
        end = match end.checked_add(length) {
            Some(next) if length >= 0 => next,
            _ => return Err(malformed),
        };
        offsets.push(end);
    }
    Ok(OffsetBuffer::new(ScalarBuffer::from(offsets)))
}
