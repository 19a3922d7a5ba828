use std::sync::Arc;

use bytes::Bytes;
use runtime::clock::Clock;
use schemas::{DeadLetterCodec, EventDecoder, Framing, RecordForm, RecordKind, event_at};
use transport::hop::{Produced, Transform};
use transport::{Offset, Partition, Record};

use super::LinesToEvents;
use crate::{Keys, Parser, Settings};

const LINE: &str = r#"203.0.113.9 - - [20/Nov/2026:08:00:00 +0000] "GET /v1/a?b=c HTTP/1.1" 200 5"#;

fn apply(lines: &[&str]) -> Vec<Produced> {
    let parser = Parser::new(Settings::default(), Keys::new([7; 16]));
    let topic = Arc::from("access.raw");
    let letters = Arc::new(DeadLetterCodec::new(RecordForm::Json).unwrap());
    let framing = Framing::SingleObject;
    let mut stage = LinesToEvents::new(&topic, parser, framing, &letters, Clock::system());
    let record = |(offset, line): (i64, &&str)| Record {
        partition: Partition(2),
        offset: Offset(offset),
        timestamp_ms: Some(5),
        key: None,
        value: Bytes::copy_from_slice(line.as_bytes()),
        headers: Vec::new(),
    };
    stage.apply(&(10..).zip(lines).map(record).collect::<Vec<_>>())
}

#[test]
fn each_record_gives_its_own_events_stamped_with_the_time_of_the_raw_log() {
    let produced = apply(&[LINE, "neither this", LINE]);
    let counts: Vec<usize> = produced.iter().map(|produced| produced.records.len()).collect();
    assert_eq!(counts, [1, 0, 1]);
    assert_eq!(produced[0].records[0].timestamp_ms, Some(5));
    let mut decoder = EventDecoder::single_object(RecordKind::Access, &[]).unwrap();
    decoder.push(&produced[2].records[0].value).unwrap();
    let batch = decoder.flush().unwrap().unwrap();
    let event = event_at(&batch, 0);
    assert_eq!(event.path.as_deref(), Some("/v1/a"));
    let id = schemas::event_id_of("access.raw", 2, 12, 0);
    assert_eq!(event.event_id.as_deref(), Some(id.as_str()));
}

#[test]
fn what_cannot_be_used_goes_to_the_dead_letters_and_along_with_the_void() {
    let produced = apply(&[LINE, "neither this"]);
    let dead = &produced[1];
    assert_eq!(dead.void_reason, "unknown_format");
    assert_eq!(dead.dead_letters.len(), 1);
    assert_eq!(dead.dropped.as_ref(), Some(&dead.dead_letters[0].value));
    let key = dead.dead_letters[0].key.as_deref().unwrap();
    assert_eq!(std::str::from_utf8(key).unwrap(), "access.raw/2/11/0");
}

#[test]
fn a_record_of_several_lines_gives_its_events_and_its_dead_letters() {
    let json = serde_json::json!([LINE, "neither this", LINE, "nor that"]).to_string();
    let produced = apply(&[&json, "[\"nothing\"]"]);
    // Each line has its place: those that gave nothing are gaps, which rules over `drops` read.
    let gaps = produced[0].records.iter().map(|record| {
        let dropped = record.headers.iter().find(|(name, _)| name == "tidegate-drop");
        dropped.map(|(_, json)| serde_json::from_slice::<schemas::DeadLetter>(json).unwrap())
    });
    let gaps: Vec<_> = gaps.map(|letter| letter.map(|letter| letter.line)).collect();
    let expected = [None, Some("neither this"), None, Some("nor that")];
    assert_eq!(gaps, expected.map(|line| line.map(str::to_owned)));
    assert_eq!(produced[0].dead_letters.len(), 2);
    let keys: Vec<&[u8]> =
        produced[0].dead_letters.iter().filter_map(|letter| letter.key.as_deref()).collect();
    assert_eq!(keys, [b"access.raw/2/10/1", b"access.raw/2/10/3"]);
    assert_eq!((produced[1].records.len(), produced[1].dead_letters.len()), (0, 1));
    assert_eq!(produced[1].void_reason, "unknown_format");
    let produced = apply(&["[\"one\",\"other\"]"]);
    assert_eq!((produced[0].records.len(), produced[0].dead_letters.len()), (2, 2));
}
