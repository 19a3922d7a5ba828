use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, proptest};

use super::{Admission, GateError, Kind, ORIGIN_HEADER, Origin, OriginGate, Stamp};
use crate::record::{NewRecord, Offset, Partition, Record, TopicId};

fn written(at: i64, stamp: Stamp, kind: &Kind) -> Record {
    let mut record = NewRecord::new("x");
    stamp.write(kind, &mut record);
    record.at(Partition(0), Offset(at))
}

fn stamp(offset: i64, index: u32, last: bool) -> Stamp {
    let origin = Origin { offset: Offset(offset), index };
    Stamp { topic: TopicId([7; 16]), origin, last, upstream: None }
}

fn stamps() -> impl Strategy<Value = Stamp> {
    let origin = || {
        (any::<i64>(), any::<u32>())
            .prop_map(|(offset, index)| Origin { offset: Offset(offset), index })
    };
    let upstream = proptest::option::of(origin());
    (any::<[u8; 16]>(), origin(), any::<bool>(), upstream).prop_map(
        |(topic, origin, last, upstream)| Stamp { topic: TopicId(topic), origin, last, upstream },
    )
}

proptest! {
    #[test]
    fn every_stamp_and_kind_survives_its_headers(
        stamp in stamps(),
        void in proptest::option::of(".{0,20}"),
        time in proptest::option::of(any::<i64>()),
    ) {
        let kind = match (time, void) {
            (Some(time), _) => Kind::Mark(time),
            (None, Some(reason)) => Kind::Void(reason),
            (None, None) => Kind::Payload,
        };
        let record = written(3, stamp, &kind);
        prop_assert_eq!(Stamp::read(&record), Ok((stamp, kind)));
    }

    #[test]
    fn no_bytes_in_the_header_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
        let mut record = NewRecord::new("x");
        record.headers.push((ORIGIN_HEADER.to_owned(), bytes.into()));
        let read = Stamp::read(&record.at(Partition(0), Offset(0)));
        let is_foreign = matches!(read, Err(GateError::Foreign { .. }));
        prop_assert!(!is_foreign);
    }
}

#[test]
fn an_origin_passes_the_gate_once() {
    let mut gate = OriginGate::new();
    let mut seen = Vec::new();
    for (offset, index) in [(0, 0), (1, 0), (1, 1), (1, 0), (1, 1), (2, 0), (0, 0), (2, 1)] {
        let record = written(0, stamp(offset, index, false), &Kind::Payload);
        if gate.admit(&record) != Ok(Admission::Repeat) {
            seen.push((offset, index));
        }
    }
    assert_eq!(seen, [(0, 0), (1, 0), (1, 1), (2, 0), (2, 1)]);
}

#[test]
fn a_time_mark_always_passes_and_does_not_move_the_gate() {
    let mut gate = OriginGate::new();
    gate.admit(&written(0, stamp(4, 0, true), &Kind::Payload)).unwrap();
    let mark = written(1, stamp(4, u32::MAX, true), &Kind::Mark(77));
    assert_eq!(gate.admit(&mark), Ok(Admission::Mark(77)));
    assert_eq!(gate.admit(&mark), Ok(Admission::Mark(77)));
    assert_eq!(gate.last(), Some(Origin { offset: Offset(4), index: 0 }));
}

#[test]
fn a_record_without_origin_is_refused_and_changes_nothing() {
    let mut gate = OriginGate::new();
    let record = NewRecord::new("x").at(Partition(2), Offset(9));
    let refused = gate.admit(&record).unwrap_err();
    assert_eq!(refused, GateError::Foreign { partition: Partition(2), offset: Offset(9) });
    assert_eq!(gate, OriginGate::new());
}

#[test]
fn another_incarnation_of_the_input_is_refused() {
    let mut gate = OriginGate::new();
    gate.admit(&written(0, stamp(0, 0, true), &Kind::Payload)).unwrap();
    let other = Stamp { topic: TopicId([8; 16]), ..stamp(1, 0, true) };
    let refused = gate.admit(&written(1, other, &Kind::Payload)).unwrap_err();
    assert!(matches!(refused, GateError::Recreated { .. }), "{refused}");
}
