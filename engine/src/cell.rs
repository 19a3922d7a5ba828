//! Single values of Arrow columns: as JSON for verdicts, as canonical bytes for keys.
//!
//! Owns: both forms. Never: whole columns, rules.
//!
//! Canonical bytes depend on the value alone and not on how Arrow happens to store it (a text is
//! the same as `Utf8`, `Utf8View` or in a dictionary), because episode ids and the place of a key
//! on the exchange are made from them. Each value is a tag and its bytes:
//!
//! | tag | value | bytes |
//! |---|---|---|
//! | `t` | text | length as u64, UTF-8 |
//! | `i` | whole number of any width | i64; `u` and u64 above its range |
//! | `b` | yes or no | one byte, 0 or 1 |
//! | `m` | moment | nanoseconds since the epoch as i128 |
//! | `f` | fraction | bits of the f64 |
//! | `l` | list | count as u64, then each item |
//! | `n` | absent | none |
//! | `s` | anything else | length as u64, its text |

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, TimeUnit,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use schemas::EventTime;
use serde_json::{Map, Value};

/// A value, taken out of its column.
enum Cell<'a> {
    Absent,
    Text(&'a str),
    Whole(i64),
    Large(u64),
    Flag(bool),
    /// Nanoseconds.
    Moment(i128),
    Fraction(f64),
    List(ArrayRef),
    Map(ArrayRef, ArrayRef),
    Other(String),
}

fn cell(array: &dyn Array, row: usize) -> Cell<'_> {
    if row >= array.len() || array.is_null(row) {
        return Cell::Absent;
    }
    match array.data_type() {
        DataType::Utf8 => Cell::Text(array.as_string::<i32>().value(row)),
        DataType::LargeUtf8 => Cell::Text(array.as_string::<i64>().value(row)),
        DataType::Utf8View => Cell::Text(array.as_string_view().value(row)),
        DataType::Boolean => Cell::Flag(array.as_boolean().value(row)),
        DataType::Float32 => Cell::Fraction(array.as_primitive::<Float32Type>().value(row).into()),
        DataType::Float64 => Cell::Fraction(array.as_primitive::<Float64Type>().value(row)),
        DataType::Timestamp(unit, _) => Cell::Moment(nanoseconds(array, row, *unit)),
        DataType::Dictionary(_, _) => {
            let dictionary = array.as_any_dictionary();
            match whole(dictionary.keys(), row) {
                Some(Cell::Whole(place)) => {
                    let place = usize::try_from(place).unwrap_or(usize::MAX);
                    cell(dictionary.values().as_ref(), place)
                }
                _ => Cell::Absent,
            }
        }
        DataType::List(_) => Cell::List(array.as_list::<i32>().value(row)),
        DataType::LargeList(_) => Cell::List(array.as_list::<i64>().value(row)),
        DataType::Map(_, _) => {
            let entries = array.as_map().value(row);
            match entries.columns() {
                [keys, values] => Cell::Map(Arc::clone(keys), Arc::clone(values)),
                _ => Cell::Absent,
            }
        }
        _ => whole(array, row).unwrap_or_else(|| other(array, row)),
    }
}

fn whole(array: &dyn Array, row: usize) -> Option<Cell<'_>> {
    Some(Cell::Whole(match array.data_type() {
        DataType::Int8 => array.as_primitive::<Int8Type>().value(row).into(),
        DataType::Int16 => array.as_primitive::<Int16Type>().value(row).into(),
        DataType::Int32 => array.as_primitive::<Int32Type>().value(row).into(),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(row),
        DataType::UInt8 => array.as_primitive::<UInt8Type>().value(row).into(),
        DataType::UInt16 => array.as_primitive::<UInt16Type>().value(row).into(),
        DataType::UInt32 => array.as_primitive::<UInt32Type>().value(row).into(),
        DataType::UInt64 => {
            let value = array.as_primitive::<UInt64Type>().value(row);
            return Some(i64::try_from(value).map_or(Cell::Large(value), Cell::Whole));
        }
        _ => return None,
    }))
}

fn nanoseconds(array: &dyn Array, row: usize, unit: TimeUnit) -> i128 {
    let (value, factor) = match unit {
        TimeUnit::Second => (array.as_primitive::<TimestampSecondType>().value(row), 1_000_000_000),
        TimeUnit::Millisecond => {
            (array.as_primitive::<TimestampMillisecondType>().value(row), 1_000_000)
        }
        TimeUnit::Microsecond => {
            (array.as_primitive::<TimestampMicrosecondType>().value(row), 1_000)
        }
        TimeUnit::Nanosecond => (array.as_primitive::<TimestampNanosecondType>().value(row), 1),
    };
    i128::from(value) * factor
}

fn other(array: &dyn Array, row: usize) -> Cell<'_> {
    let options = FormatOptions::default();
    match ArrayFormatter::try_new(array, &options) {
        Ok(formatter) => match formatter.value(row).try_to_string() {
            Ok(text) => Cell::Other(text),
            Err(_no_text) => Cell::Absent,
        },
        Err(_no_text) => Cell::Absent,
    }
}

/// A value as JSON: times as RFC 3339 with milliseconds. `None` where it is absent or has no JSON
/// form, such as a fraction that is not a number.
pub(crate) fn json(array: &dyn Array, row: usize) -> Option<Value> {
    Some(match cell(array, row) {
        Cell::Absent => return None,
        Cell::Text(text) => Value::from(text),
        Cell::Whole(whole) => Value::from(whole),
        Cell::Large(large) => Value::from(large),
        Cell::Flag(flag) => Value::from(flag),
        Cell::Fraction(fraction) => Value::Number(serde_json::Number::from_f64(fraction)?),
        Cell::Moment(nanoseconds) => {
            let millis = i64::try_from(nanoseconds.div_euclid(1_000_000)).ok()?;
            Value::from(EventTime(millis).to_string())
        }
        Cell::List(items) => {
            let item = |place| json(items.as_ref(), place).unwrap_or(Value::Null);
            Value::Array((0..items.len()).map(item).collect())
        }
        Cell::Map(keys, values) => {
            let name = |place| match cell(keys.as_ref(), place) {
                Cell::Text(name) => Some(name.to_owned()),
                _ => None,
            };
            let entry = |place| Some((name(place)?, json(values.as_ref(), place)?));
            Value::Object((0..keys.len()).filter_map(entry).collect::<Map<_, _>>())
        }
        Cell::Other(text) => Value::from(text),
    })
}

/// Appends the canonical bytes of a value. Whether it was there at all.
pub(crate) fn canonical(array: &dyn Array, row: usize, out: &mut Vec<u8>) -> bool {
    let mut tagged = |tag: u8, bytes: &[u8]| {
        out.push(tag);
        out.extend_from_slice(bytes);
    };
    match cell(array, row) {
        Cell::Absent => {
            tagged(b'n', &[]);
            return false;
        }
        Cell::Text(text) => {
            tagged(b't', &length(text.len()));
            out.extend_from_slice(text.as_bytes());
        }
        Cell::Whole(whole) => tagged(b'i', &whole.to_le_bytes()),
        Cell::Large(large) => tagged(b'u', &large.to_le_bytes()),
        Cell::Flag(flag) => tagged(b'b', &[u8::from(flag)]),
        Cell::Moment(nanoseconds) => tagged(b'm', &nanoseconds.to_le_bytes()),
        Cell::Fraction(fraction) => tagged(b'f', &fraction.to_bits().to_le_bytes()),
        Cell::List(items) => {
            tagged(b'l', &length(items.len()));
            for place in 0..items.len() {
                canonical(items.as_ref(), place, out);
            }
        }
        Cell::Map(_, _) => {
            let text = json(array, row).unwrap_or_default().to_string();
            tagged(b's', &length(text.len()));
            out.extend_from_slice(text.as_bytes());
        }
        Cell::Other(text) => {
            tagged(b's', &length(text.len()));
            out.extend_from_slice(text.as_bytes());
        }
    }
    true
}

/// Whether values of a type come back from their canonical bytes: those of key columns.
pub(crate) fn has_value(of: &DataType) -> bool {
    matches!(
        of,
        DataType::Utf8
            | DataType::Boolean
            | DataType::Int32
            | DataType::Int64
            | DataType::Timestamp(TimeUnit::Millisecond, _)
    )
}

/// The columns of keys, from their canonical bytes. A part that is not of its type is absent.
pub(crate) fn key_columns(keys: &[&[u8]], types: &[DataType]) -> Result<Vec<ArrayRef>, ArrowError> {
    let mut rest: Vec<&[u8]> = keys.to_vec();
    let column = |of: &DataType| -> Result<ArrayRef, ArrowError> {
        let values = rest.iter_mut().map(take_value);
        match of {
            DataType::Utf8 => {
                let text = |value| match value {
                    Some(Value::String(text)) => Some(text),
                    _ => None,
                };
                Ok(Arc::new(values.map(text).collect::<StringArray>()))
            }
            DataType::Boolean => {
                let flag = |value: Option<Value>| value.and_then(|value| value.as_bool());
                Ok(Arc::new(values.map(flag).collect::<BooleanArray>()))
            }
            _ => {
                let whole = |value: Option<Value>| value.and_then(|value| value.as_i64());
                cast(&values.map(whole).collect::<Int64Array>(), of)
            }
        }
    };
    types.iter().map(column).collect()
}

/// Takes a value off the front of canonical bytes: moments as milliseconds.
fn take_value(bytes: &mut &[u8]) -> Option<Value> {
    let (tag, rest) = bytes.split_first()?;
    let (value, rest) = match tag {
        b't' => {
            let (length, rest) = rest.split_first_chunk::<8>()?;
            let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
            let (text, rest) = rest.split_at_checked(length)?;
            (Value::from(str::from_utf8(text).ok()?), rest)
        }
        b'i' => {
            let (whole, rest) = rest.split_first_chunk::<8>()?;
            (Value::from(i64::from_le_bytes(*whole)), rest)
        }
        b'b' => {
            let (flag, rest) = rest.split_first()?;
            (Value::from(*flag == 1), rest)
        }
        b'm' => {
            let (moment, rest) = rest.split_first_chunk::<16>()?;
            let millis = i128::from_le_bytes(*moment).div_euclid(1_000_000);
            (Value::from(i64::try_from(millis).ok()?), rest)
        }
        _ => return None,
    };
    *bytes = rest;
    Some(value)
}

fn length(bytes: usize) -> [u8; 8] {
    u64::try_from(bytes).unwrap_or(u64::MAX).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        ArrayRef, Float64Array, Int32Array, Int64Array, StringArray, StringViewArray,
        TimestampMillisecondArray, TimestampNanosecondArray, UInt64Array,
    };
    use arrow::compute::cast;
    use arrow::datatypes::DataType;
    use serde_json::{Value, json};

    use super::{canonical, json, key_columns};

    #[test]
    fn a_key_comes_back_from_its_bytes() {
        let time = DataType::Timestamp(arrow::datatypes::TimeUnit::Millisecond, Some("UTC".into()));
        let text: ArrayRef = Arc::new(StringArray::from(vec!["ann", ""]));
        let whole: ArrayRef = Arc::new(Int32Array::from(vec![-7, 9]));
        let flag: ArrayRef = Arc::new(arrow::array::BooleanArray::from(vec![true, false]));
        let moment = TimestampMillisecondArray::from(vec![-3, 5]).with_timezone("UTC");
        let columns: [ArrayRef; 4] = [text, whole, flag, Arc::new(moment)];
        let mut keys = [Vec::new(), Vec::new()];
        for (row, key) in keys.iter_mut().enumerate() {
            columns.iter().for_each(|column| assert!(canonical(column.as_ref(), row, key)));
        }
        let types = [DataType::Utf8, DataType::Int32, DataType::Boolean, time];
        let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
        assert_eq!(key_columns(&keys, &types).unwrap(), columns);
        assert!(key_columns(&[b"t\xff"], &types).unwrap()[0].is_null(0), "torn bytes");
    }

    fn bytes(array: &ArrayRef) -> Vec<u8> {
        let mut out = Vec::new();
        canonical(array.as_ref(), 0, &mut out);
        out
    }

    #[test]
    fn equal_values_have_equal_bytes_however_they_are_stored() {
        let text: ArrayRef = Arc::new(StringArray::from(vec!["ann"]));
        let view: ArrayRef = Arc::new(StringViewArray::from(vec!["ann"]));
        let code = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
        assert_eq!(bytes(&text), b"t\x03\0\0\0\0\0\0\0ann");
        assert_eq!(bytes(&text), bytes(&view));
        assert_eq!(bytes(&text), bytes(&cast(&text, &code).unwrap()));
        let narrow: ArrayRef = Arc::new(Int32Array::from(vec![-7]));
        let wide: ArrayRef = Arc::new(Int64Array::from(vec![-7]));
        assert_eq!(bytes(&narrow), bytes(&wide));
        let coarse: ArrayRef = Arc::new(TimestampMillisecondArray::from(vec![3]));
        let fine: ArrayRef = Arc::new(TimestampNanosecondArray::from(vec![3_000_000]));
        assert_eq!(bytes(&coarse), bytes(&fine));
    }

    #[test]
    fn values_become_the_json_that_a_reader_expects() {
        let check = |array: ArrayRef, expected: Option<Value>| {
            assert_eq!(json(array.as_ref(), 0), expected);
        };
        check(Arc::new(UInt64Array::from(vec![u64::MAX])), Some(json!(u64::MAX)));
        check(Arc::new(Float64Array::from(vec![f64::NAN])), None);
        check(Arc::new(StringArray::from(vec![None::<&str>])), None);
        let time = TimestampMillisecondArray::from(vec![1_763_625_600_123]);
        check(Arc::new(time), Some(json!("2025-11-20T08:00:00.123Z")));
        check(Arc::new(StringArray::from(vec![""])), Some(json!("")));
    }
}
