use std::sync::Arc;

use expect_test::expect_file;
use proptest::prelude::{Strategy, any, proptest};

use super::{
    CodecError, EventDecoder, EventEncoder, EventReader, Framing, RecordKind, WriterSchemas,
};
use crate::batch::{BatchBuilder, event_at};
use crate::field::{Event, Section};
use crate::time::EventTime;

fn batch(events: &[Event<'_>]) -> arrow::array::RecordBatch {
    let mut builder = BatchBuilder::default();
    events.iter().for_each(|event| builder.push(event));
    builder.finish().unwrap()
}

fn sample() -> Event<'static> {
    Event {
        event_id: Some("281c06e1-19c1-8f50-b70a-7092f3101c3a".into()),
        event_time: Some(EventTime(1_763_625_600_123)),
        query_keys: Some(vec!["page".into()]),
        status: Some(200),
        response_bytes: Some(512),
        synthetic: Some(false),
        sample_weight: Some(1.5),
        scopes: Some(Vec::new()),
        attrs: Some(vec![("zone".into(), "a".into())]),
        path: Some("/v1/orders/7".into()),
        ..Event::default()
    }
}

fn round_trip(kind: RecordKind, framing: Framing, events: &[Event<'_>]) -> Vec<Event<'static>> {
    let records = EventEncoder::new(kind, framing).unwrap().encode(&batch(events)).unwrap();
    let mut decoder = match framing {
        Framing::SingleObject => EventDecoder::single_object(kind, &[]).unwrap(),
        Framing::Confluent(id) => {
            EventDecoder::confluent(kind, &[(id, kind.avro_schema())]).unwrap()
        }
    };
    for record in &records {
        decoder.push(record).unwrap();
    }
    let batch = decoder.flush().unwrap().unwrap();
    (0..batch.num_rows()).map(|row| event_at(&batch, row).into_owned()).collect()
}

#[test]
fn the_schema_files_are_what_the_table_of_columns_says() {
    expect_file!["../../avro/access-event.avsc"].assert_eq(RecordKind::Access.avro_schema());
    expect_file!["../../avro/enriched-event.avsc"].assert_eq(RecordKind::Enriched.avro_schema());
}

#[test]
fn every_field_of_the_schema_carries_its_doc_and_its_names_elsewhere() {
    let schema: serde_json::Value =
        serde_json::from_str(RecordKind::Enriched.avro_schema()).unwrap();
    for field in schema["fields"].as_array().unwrap() {
        assert!(!field["doc"].as_str().unwrap().is_empty(), "{field}");
        for standard in ["otel", "ecs", "ocsf"] {
            assert!(field[standard].is_string(), "{field}");
        }
    }
}

#[test]
fn events_cross_the_wire_unchanged_under_both_framings() {
    let events = [Event::default(), sample(), Event::default()];
    for framing in [Framing::SingleObject, Framing::Confluent(42)] {
        assert_eq!(round_trip(RecordKind::Enriched, framing, &events), events, "{framing:?}");
    }
}

#[test]
fn an_access_event_leaves_the_enriched_columns_behind() {
    let event = Event { owner: Some("team-shop".into()), ..sample() };
    let crossed = round_trip(RecordKind::Access, Framing::SingleObject, &[event]);
    assert_eq!(crossed, [sample()]);
}

#[test]
fn the_framing_is_the_published_one() {
    let first = |framing| {
        let mut encoder = EventEncoder::new(RecordKind::Access, framing).unwrap();
        encoder.encode(&batch(&[sample()])).unwrap().remove(0)
    };
    assert_eq!(first(Framing::Confluent(258))[..5], [0, 0, 0, 1, 2]);
    assert_eq!(first(Framing::SingleObject)[..2], [0xC3, 0x01]);
}

#[test]
fn a_record_of_an_unknown_schema_is_told_from_a_torn_one() {
    let mut encoder = EventEncoder::new(RecordKind::Access, Framing::Confluent(7)).unwrap();
    let record = encoder.encode(&batch(&[sample()])).unwrap().remove(0);
    let push = |known: u32, bytes: &[u8]| {
        let schema = RecordKind::Access.avro_schema();
        EventDecoder::confluent(RecordKind::Access, &[(known, schema)])
            .unwrap()
            .push(bytes)
            .unwrap_err()
    };
    assert!(matches!(push(8, &record), CodecError::UnknownSchema { .. }));
    assert!(matches!(push(7, &record[..record.len() - 1]), CodecError::Malformed { .. }));
    let mut two = record.to_vec();
    two.extend_from_slice(&record);
    assert!(matches!(push(7, &two), CodecError::Malformed { .. }));
}

#[test]
fn the_stored_record_is_what_this_version_writes_or_a_later_one_has_its_own_folder() {
    let schema = include_str!("../../avro/history/v0.1/enriched-event.avsc");
    if schema == RecordKind::Enriched.avro_schema() {
        let mut encoder = EventEncoder::new(RecordKind::Enriched, Framing::SingleObject).unwrap();
        let record = encoder.encode(&batch(&[sample()])).unwrap().remove(0);
        let hex: String = record.iter().map(|byte| format!("{byte:02x}")).collect();
        expect_file!["../../avro/history/v0.1/enriched-event.hex"].assert_eq(&format!("{hex}\n"));
    }
}

/// Records as version 0.1 wrote them, with the schemas that wrote them. A later version adds a
/// folder beside this one and never changes what is there.
#[test]
fn bytes_that_earlier_versions_stored_are_still_read() {
    let stored = include_str!("../../avro/history/v0.1/enriched-event.hex").trim();
    let digits: Vec<u8> = stored.bytes().collect();
    let bytes: Vec<u8> = digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect();
    let schema = include_str!("../../avro/history/v0.1/enriched-event.avsc");
    let mut decoder = EventDecoder::single_object(RecordKind::Enriched, &[schema]).unwrap();
    decoder.push(&bytes).unwrap();
    let batch = decoder.flush().unwrap().unwrap();
    assert_eq!(event_at(&batch, 0), sample());
}

#[test]
fn the_current_schema_can_read_every_earlier_one_and_the_other_way_round() {
    use apache_avro::Schema;
    use apache_avro::schema_compatibility::SchemaCompatibility;
    let parse = |text: &str| Schema::parse_str(text).unwrap();
    let current = parse(RecordKind::Enriched.avro_schema());
    let earlier = parse(include_str!("../../avro/history/v0.1/enriched-event.avsc"));
    SchemaCompatibility::mutual_read(&current, &earlier).unwrap();
}

#[test]
fn access_columns_are_a_prefix_of_the_enriched_ones() {
    let access: Vec<_> = RecordKind::Access.fields().collect();
    assert!(access.iter().all(|field| field.spec().section == Section::Access));
    assert!(RecordKind::Enriched.fields().zip(&access).all(|(all, access)| all == *access));
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic_the_decoder(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let framed: Vec<u8> = [0, 0, 0, 0, 7].into_iter().chain(bytes).collect();
        let schema = RecordKind::Access.avro_schema();
        let mut decoder = EventDecoder::confluent(RecordKind::Access, &[(7, schema)]).unwrap();
        if decoder.push(&framed).is_ok() {
            assert_eq!(decoder.flush().unwrap().unwrap().num_rows(), 1);
        }
    }

    #[test]
    fn any_text_survives(path in any::<String>(), status in any::<i32>().prop_map(Some)) {
        let event = Event { path: Some(path.into()), status, ..Event::default() };
        let crossed = round_trip(RecordKind::Access, Framing::SingleObject, std::slice::from_ref(&event));
        assert_eq!(crossed, [event]);
    }
}

#[test]
fn a_torn_record_costs_nobody_else() {
    let mut builder = BatchBuilder::default();
    for status in [200, 201, 202] {
        builder.push(&Event { status: Some(status), ..Event::default() });
    }
    let mut encoder = EventEncoder::new(RecordKind::Access, Framing::SingleObject).unwrap();
    let mut records = encoder.encode(&builder.finish().unwrap()).unwrap();
    records.insert(1, bytes::Bytes::from_static(b"\xc3\x01torn"));
    records.insert(3, bytes::Bytes::new());
    let mut reader = EventReader::single_object(RecordKind::Access);
    for _ in 0..2 {
        let read = reader.read(records.iter().map(|record| &**record));
        let bad: Vec<bool> = read.failures.iter().map(Option::is_some).collect();
        assert_eq!(bad, [false, true, false, true, false]);
        let rows = read.batches.iter().flat_map(|b| (0..b.num_rows()).map(move |row| (b, row)));
        let statuses: Vec<_> = rows.map(|(batch, row)| event_at(batch, row).status).collect();
        assert_eq!(statuses, [Some(200), Some(201), Some(202)]);
    }
}

#[test]
fn records_of_several_writers_are_read_in_their_order_and_an_unknown_one_costs_nobody_else() {
    let status = |status| Event { status: Some(status), ..Event::default() };
    let kind = RecordKind::Access;
    let written = |framing, of: i32| {
        let mut encoder = EventEncoder::new(kind, framing).unwrap();
        encoder.encode(&batch(&[status(of)])).unwrap().remove(0).to_vec()
    };
    // A later version of us: one column more.
    let mut later: serde_json::Value = serde_json::from_str(kind.avro_schema()).unwrap();
    let column = serde_json::json!({"name": "mood", "type": ["null", "string"], "default": null});
    later["fields"].as_array_mut().unwrap().push(column);
    let later: Arc<str> = later.to_string().into();
    let mut by_later = written(Framing::Confluent(8), 202);
    by_later.push(0);
    let records = [
        written(Framing::Confluent(7), 200),
        written(Framing::SingleObject, 201),
        by_later,
        written(Framing::Confluent(9), 203),
        written(Framing::Confluent(7), 204),
    ];
    let asked = WriterSchemas::new(move |id| match id {
        7 => Some(kind.avro_schema().into()),
        8 => Some(Arc::clone(&later)),
        _ => None,
    });
    let mut reader = EventReader::confluent(kind, asked);
    for _ in 0..2 {
        let read = reader.read(records.iter().map(Vec::as_slice));
        let failures: Vec<_> = read.failures.iter().flatten().map(ToString::to_string).collect();
        assert_eq!(failures, ["record was written with a schema that is not known here (id 9)"]);
        let rows = read.batches.iter().flat_map(|b| (0..b.num_rows()).map(move |row| (b, row)));
        let statuses: Vec<_> = rows.map(|(batch, row)| event_at(batch, row).status).collect();
        assert_eq!(statuses, [Some(200), Some(201), Some(202), Some(204)]);
    }
    let mut without = EventReader::single_object(kind);
    let read = without.read(records.iter().map(Vec::as_slice));
    let told = read.failures[0].as_ref().unwrap().to_string();
    assert!(told.contains("no registry is configured"), "{told}");
    assert_eq!(read.failures.iter().filter(|failure| failure.is_none()).count(), 1);
}
