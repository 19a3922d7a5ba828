use bytes::Bytes;
use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, proptest};

use super::{BlockBuilder, count, decode, misfit};
use crate::record::{NewRecord, Offset, Partition};

fn records() -> impl Strategy<Value = Vec<NewRecord>> {
    let bytes = || proptest::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from);
    let headers = proptest::collection::vec((".{0,6}", bytes()), 0..3);
    let key = proptest::option::of(bytes());
    let record = (proptest::option::of(any::<i64>()), key, bytes(), headers).prop_map(
        |(timestamp_ms, key, value, headers)| NewRecord { timestamp_ms, key, value, headers },
    );
    proptest::collection::vec(record, 0..20)
}

proptest! {
    #[test]
    fn every_record_survives_its_block(records in records()) {
        let mut builder = BlockBuilder::default();
        for record in &records {
            builder.push(record);
        }
        let block = builder.finish();
        let read = decode(Partition(3), Offset(100), &block).unwrap();
        prop_assert_eq!(usize::try_from(count(&block).unwrap()).unwrap(), records.len());
        let expected: Vec<_> = (100..).map(Offset).zip(records)
            .map(|(offset, record)| record.at(Partition(3), offset)).collect();
        prop_assert_eq!(read, expected);
    }

    #[test]
    fn a_changed_byte_is_noticed(records in records(), at in any::<usize>(), bit in 0..8_u8) {
        let mut builder = BlockBuilder::default();
        records.iter().for_each(|record| builder.push(record));
        let mut block = builder.finish();
        let whole = decode(Partition(0), Offset(0), &block).unwrap();
        let at = at % block.len();
        block[at] ^= 1 << bit;
        prop_assert!(decode(Partition(0), Offset(0), &block) != Ok(whole));
    }

    #[test]
    fn no_bytes_make_it_panic(block in proptest::collection::vec(any::<u8>(), 0..80)) {
        prop_assert!(decode(Partition(0), Offset(0), &block).is_err());
    }
}

#[test]
fn a_header_name_that_does_not_fit_is_named() {
    let mut record = NewRecord::new("x");
    assert_eq!(misfit(&record), None);
    record.headers.push(("n".repeat(65_536), Bytes::new()));
    assert!(misfit(&record).is_some());
}
