use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringViewArray,
    UInt64Array,
};
use arrow::datatypes::{DataType, Field, Schema};
use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use schemas::{BatchBuilder, Event, EventTime};
use serde_json::{Value, json};

use super::{Kind, Reader, WireError, Writer, read_batch, seal, unseal, write_batch};

const NOTE: Kind = Kind { name: "note", tag: b'n', version: 3 };

fn round_trip(batch: &RecordBatch) -> RecordBatch {
    let mut out = Writer::default();
    write_batch(batch, &mut out);
    let mut from = Reader::new(&out.bytes);
    let read = read_batch(&mut from, &batch.schema(), batch.num_rows()).unwrap();
    from.end("the batch").unwrap();
    read
}

fn events(rows: usize) -> RecordBatch {
    let mut builder = BatchBuilder::default();
    for row in 0..rows {
        let some = row % 3 == 0;
        builder.push(&Event {
            event_id: Some(format!("e{row}").into()),
            event_time: some.then_some(EventTime(row.try_into().unwrap())),
            status: Some(404),
            scopes: some.then(|| (0..row % 5).map(|n| format!("s{n}").into()).collect()),
            attrs: some.then(|| vec![("k".into(), format!("v{row}").into())]),
            synthetic: Some(some),
            sample_weight: Some(0.1),
            response_bytes: some.then_some(-1),
            ..Event::default()
        });
    }
    builder.finish().unwrap()
}

#[test]
fn a_batch_of_events_reads_back_as_it_was_also_when_it_is_a_slice() {
    let batch = events(40);
    assert_eq!(round_trip(&batch), batch);
    for (from, length) in [(0, 0), (1, 1), (3, 17), (7, 33), (39, 1)] {
        let slice = batch.slice(from, length);
        assert_eq!(round_trip(&slice), slice, "{length} rows from {from}");
    }
}

#[test]
fn columns_of_an_answer_read_back_in_the_type_that_is_wanted() {
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("view", Arc::new(StringViewArray::from(vec![Some("a"), None]))),
        ("large", Arc::new(UInt64Array::from(vec![u64::MAX, 0]))),
        ("fraction", Arc::new(Float64Array::from(vec![f64::MIN_POSITIVE, 0.1]))),
        ("flag", Arc::new(BooleanArray::from(vec![Some(false), None]))),
        ("decimal", {
            let cents = arrow::array::Decimal128Array::from(vec![150, -7]);
            Arc::new(cents.with_precision_and_scale(10, 2).unwrap())
        }),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    assert_eq!(round_trip(&batch), batch);
}

#[test]
fn a_batch_of_other_columns_is_refused() {
    let mut out = Writer::default();
    write_batch(&events(2), &mut out);
    let other = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]));
    let error = read_batch(&mut Reader::new(&out.bytes), &other, 2).unwrap_err();
    assert_eq!(error.to_string(), "a batch of other columns cannot be read");
}

#[test]
fn rows_cannot_be_claimed_for_nothing() {
    let mut out = Writer::default();
    let column: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
    write_batch(&RecordBatch::try_from_iter([("n", column)]).unwrap(), &mut out);
    let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]));
    assert!(read_batch(&mut Reader::new(&out.bytes), &schema, 1 << 40).is_err());
}

#[test]
fn an_envelope_says_what_is_wrong_with_it() {
    let sealed = seal(NOTE, b"a body, a body, a body");
    assert_eq!(unseal(NOTE, &sealed).unwrap(), b"a body, a body, a body");
    let newer = seal(Kind { version: 4, ..NOTE }, b"x");
    assert_eq!(
        unseal(NOTE, &newer).unwrap_err().to_string(),
        "a note of version 4; this build reads version 3"
    );
    let mut torn = sealed.clone();
    torn.truncate(sealed.len() - 1);
    assert!(matches!(unseal(NOTE, &torn), Err(WireError::Checksum { .. })));
    assert!(matches!(unseal(NOTE, b"{}"), Err(WireError::Foreign { .. })));
    assert!(matches!(unseal(NOTE, b""), Err(WireError::Foreign { .. })));
}

#[test]
fn a_body_that_claims_to_be_enormous_is_refused_before_memory_is_asked_for() {
    let mut rest = u32::MAX.to_le_bytes().to_vec();
    rest.extend_from_slice(&lz4_flex::block::compress(b"small"));
    let mut sealed = b"TGn\x03".to_vec();
    sealed.extend_from_slice(&crc32fast::hash(&rest).to_le_bytes());
    sealed.extend_from_slice(&rest);
    assert!(matches!(unseal(NOTE, &sealed), Err(WireError::TooLong { .. })));
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(|n| json!(n)),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(".{0,4}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn json_reads_back_to_the_last_bit(value in value()) {
        let mut out = Writer::default();
        out.put(&value);
        prop_assert_eq!(Reader::new(&out.bytes).get::<Value>().unwrap(), value);
    }

    #[test]
    fn no_bytes_make_a_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let schema = events(1).schema();
        let read = read_batch(&mut Reader::new(&bytes), &schema, 3);
        prop_assert!(read.is_err(), "84 columns do not come about by chance");
        prop_assert!(unseal(NOTE, &bytes).is_err());
        // Any value that does read is one that can be written.
        if let Ok(value) = Reader::new(&bytes).get::<Value>() {
            let mut out = Writer::default();
            out.put(&value);
            prop_assert!(!out.bytes.is_empty());
        }
    }

    #[test]
    fn a_changed_byte_never_panics_behind_a_right_checksum(
        at in any::<proptest::sample::Index>(), to in any::<u8>(),
    ) {
        let batch = events(9);
        let mut out = Writer::default();
        write_batch(&batch, &mut out);
        let at = at.index(out.bytes.len());
        out.bytes[at] = to;
        if let Ok(read) = read_batch(&mut Reader::new(&out.bytes), &batch.schema(), 9) {
            prop_assert_eq!(read.num_rows(), 9);
            for column in read.columns() {
                column.to_data().validate_full().unwrap();
            }
        }
    }
}
