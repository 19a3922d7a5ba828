use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::schema_compatibility::SchemaCompatibility;
use apache_avro::writer::datum::GenericDatumWriter;
use expect_test::{Expect, expect, expect_file};
use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};
use serde_json::{Map, Value, json};

use super::table::{Absent, Shape, Table};
use super::{
    CodecError, DeadLetterCodec, OrderCodec, OutcomeCodec, RecordCodec, RecordForm, VerdictCodec,
    WireKind, WireRecord, confluent_schema_id,
};
use crate::avro::Framing;
use crate::dead_letter::DeadLetter;
use crate::order::{Order, Outcome};
use crate::verdict::Verdict;

const SINGLE: RecordForm = RecordForm::Avro(Framing::SingleObject);
const FORMS: [RecordForm; 3] =
    [RecordForm::Json, SINGLE, RecordForm::Avro(Framing::Confluent(258))];

fn full_verdict() -> Value {
    json!({
        "id": "0192f0c1-0000-8000-8000-000000000000", "revision": 3, "kind": "merged",
        "rule": "auth/credential-stuffing", "rule_version": "9f31c2",
        "title": "Many accounts fail to log in from one address", "severity": "high",
        "mode": "canary", "key": {"client_ip": "203.0.113.9", "tenant": null},
        "subject": {"ip": "203.0.113.9"},
        "values": {"failures": 20, "share": 0.5, "whole": 2.0, "any": true, "paths": ["/a", "/b"],
                   "none": [], "mixed": [1, "a"], "deep": {"a": [null]},
                   "large": 18_446_744_073_709_551_615_u64},
        "window": {"start": "2026-11-20T08:00:00.000Z", "end": "2026-11-20T08:05:00.000Z",
                   "size_ms": 300_000},
        "first_event": "1969-12-31T23:59:59.001Z", "last_event": "2026-11-20T08:00:57.000Z",
        "fired_at": "2026-11-20T08:00:57.123Z", "early": true, "degraded": false,
        "into": "0192f0c1-0000-8000-8000-000000000001",
        "service": ["shop"], "route": ["POST /login", "GET /ü"],
        "deploy": {"id": "d2", "commit": "bbb222", "change": "481", "owner": "team-shop",
                   "age_s": -340},
        "deploys": {"d1": 3, "d2": 4}, "context_missing": ["identity"],
        "events": [{"event_id": "e", "event_time": "2026-11-20T08:00:57.000Z", "line": "…"},
                   {"event_id": "f", "event_time": "2026-11-20T08:00:58.000Z"}],
        "origin": {"topic": "detect.exchange", "partition": 3, "offset": 8841, "index": 1},
        "respond": ["block 30m", "ticket"], "why": "It hurts.", "now_what": "Look.",
        "canary_percent": 10,
    })
}

fn full_order() -> Value {
    json!({
        "id": "o-1", "verdict_id": "v-1", "revision": 2, "rule": "auth/x", "action": "step_up",
        "subject": {"kind": "ip", "value": "203.0.113.9"}, "target": "edge",
        "decided_at": "2026-11-20T08:00:57.123Z", "expires_at": "2026-11-20T08:30:57.123Z",
        "dry_run": true, "needs_approval": true,
        "notes": [{"guard": "budget", "reason": "100 blocks an hour are spent"}],
    })
}

fn full_outcome() -> Value {
    json!({
        "order_id": "o-1", "target": "edge", "state": "dry_run",
        "at": "2026-11-20T08:00:57.123Z", "attempt": 4_294_967_295_u32, "remote_id": "4711",
        "detail": "503", "more": {"retry_after": 30},
    })
}

fn full_dead_letter() -> Value {
    json!({
        "reason": "unknown_format", "detail": "no format fits", "sensor": "edge",
        "origin": {"topic": "access.raw", "partition": 0, "offset": 12, "index": 0},
        "client_ip": "203.0.113.9", "event_time": "2026-11-20T08:00:57.123Z", "line": "\u{fffd}\"",
    })
}

fn full(kind: WireKind) -> Value {
    match kind {
        WireKind::Verdict => full_verdict(),
        WireKind::Order => full_order(),
        WireKind::Outcome => full_outcome(),
        WireKind::DeadLetter => full_dead_letter(),
    }
}

/// The record without what may be absent.
fn bare(kind: WireKind) -> Value {
    let required = kind.table().columns.iter().filter(|column| column.absent == Absent::Never);
    let full = full(kind);
    required.map(|column| (column.name.to_owned(), full[column.name].clone())).collect()
}

fn record<R: WireRecord>(value: &Value) -> R {
    serde_json::from_value(value.clone()).unwrap()
}

#[track_caller]
fn crosses<R: WireRecord + PartialEq + std::fmt::Debug>(value: &Value) {
    let record: R = record(value);
    for form in FORMS {
        let codec = RecordCodec::<R>::new(form).unwrap();
        let bytes = codec.encode(&record).unwrap();
        assert_eq!(codec.decode(&bytes).unwrap(), record, "{form:?}");
        assert_eq!(codec.encode(&record).unwrap(), bytes, "{form:?}");
    }
}

#[test]
fn the_schema_files_are_what_the_tables_of_fields_say() {
    expect_file!["../../avro/verdict.avsc"].assert_eq(WireKind::Verdict.avro_schema());
    expect_file!["../../avro/order.avsc"].assert_eq(WireKind::Order.avro_schema());
    expect_file!["../../avro/outcome.avsc"].assert_eq(WireKind::Outcome.avro_schema());
    expect_file!["../../avro/dead-letter.avsc"].assert_eq(WireKind::DeadLetter.avro_schema());
}

#[test]
fn a_record_crosses_unchanged_in_every_form_full_and_bare() {
    for value in [full_verdict(), bare(WireKind::Verdict)] {
        crosses::<Verdict>(&value);
    }
    for value in [full_order(), bare(WireKind::Order)] {
        crosses::<Order>(&value);
    }
    for value in [full_outcome(), bare(WireKind::Outcome)] {
        crosses::<Outcome>(&value);
    }
    for value in [full_dead_letter(), bare(WireKind::DeadLetter)] {
        crosses::<DeadLetter>(&value);
    }
}

/// The tables and the types behind them cannot drift apart: a full record has every column and no
/// other, at every level.
#[test]
fn a_full_record_has_the_columns_of_its_table() {
    fn check(table: &Table, value: &Value) {
        let mut columns: Vec<&str> = table.columns.iter().map(|column| column.name).collect();
        columns.sort_unstable();
        let keys: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, columns, "{}", table.name);
        for column in table.columns {
            match column.shape {
                Shape::One(inner) => check(inner, &value[column.name]),
                Shape::Many(inner) => check(inner, &value[column.name][0]),
                _ => {}
            }
        }
    }
    fn through<R: WireRecord>() -> Value {
        serde_json::to_value(record::<R>(&full(R::KIND))).unwrap()
    }
    check(WireKind::Verdict.table(), &through::<Verdict>());
    check(WireKind::Order.table(), &through::<Order>());
    check(WireKind::Outcome.table(), &through::<Outcome>());
    check(WireKind::DeadLetter.table(), &through::<DeadLetter>());
}

#[test]
fn every_form_is_read_whichever_is_written() {
    let verdict: Verdict = record(&full_verdict());
    let reader = VerdictCodec::new(FORMS[2]).unwrap();
    for form in FORMS {
        let bytes = VerdictCodec::new(form).unwrap().encode(&verdict).unwrap();
        assert_eq!(reader.decode(&bytes).unwrap(), verdict, "{form:?}");
    }
}

/// Another implementation of Avro reads what is written here, and the other way round. Behind the
/// frame: it does not reduce a type with a logical type, as the canonical form wants it to, so its
/// fingerprint of times is another.
#[test]
fn apache_avro_reads_and_writes_the_same_bytes() {
    fn check<R: WireRecord + PartialEq + std::fmt::Debug>() {
        let schema = apache_avro::Schema::parse_str(R::KIND.avro_schema()).unwrap();
        let reader = GenericDatumReader::builder(&schema).build().unwrap();
        let writer = GenericDatumWriter::builder(&schema).build().unwrap();
        let codec = RecordCodec::<R>::new(SINGLE).unwrap();
        for value in [full(R::KIND), bare(R::KIND)] {
            let record: R = record(&value);
            let bytes = codec.encode(&record).unwrap();
            let (frame, mut body) = bytes.split_at(10);
            let theirs = reader.read_value(&mut body).unwrap();
            assert!(body.is_empty());
            let written = writer.write_value_to_vec(theirs).unwrap();
            let framed = [frame, written.as_slice()].concat();
            assert_eq!(codec.decode(&framed).unwrap(), record);
        }
    }
    check::<Verdict>();
    check::<Order>();
    check::<Outcome>();
    check::<DeadLetter>();
}

#[test]
fn the_frames_are_the_published_ones() {
    let order: Order = record(&full_order());
    let first = |form| OrderCodec::new(form).unwrap().encode(&order).unwrap();
    assert_eq!(first(FORMS[2])[..5], [0, 0, 0, 1, 2]);
    assert_eq!(first(SINGLE)[..2], [0xC3, 0x01]);
    assert_eq!(confluent_schema_id(&first(FORMS[2])), Some(258));
    assert_eq!(confluent_schema_id(&first(SINGLE)), None);
    assert_eq!(confluent_schema_id(&first(RecordForm::Json)), None);
}

fn said(bytes: &[u8]) -> String {
    VerdictCodec::new(FORMS[2]).unwrap().decode(bytes).unwrap_err().to_string()
}

#[test]
fn what_is_no_record_says_what_it_is() {
    fn check(bytes: &[u8], expected: &Expect) {
        expected.assert_eq(&said(bytes));
    }
    let whole = VerdictCodec::new(FORMS[2]).unwrap().encode(&record(&full_verdict())).unwrap();
    check(b"", &expect!["record is torn or not Avro: Verdict: it is empty"]);
    check(
        b"<xml>",
        &expect![
            "record is torn or not Avro: Verdict: its first byte is 0x3c: neither JSON nor framed Avro"
        ],
    );
    check(
        b"{\"id\": 1}",
        &expect![
            "record is torn or not Avro: Verdict: invalid type: integer `1`, expected a string at line 1 column 8"
        ],
    );
    check(
        &whole[..whole.len() - 1],
        &expect!["record is torn or not Avro: Verdict: it ends in the middle"],
    );
    check(
        &[whole.as_slice(), b"x"].concat(),
        &expect!["record is torn or not Avro: Verdict: 1 bytes follow the record"],
    );
    check(
        &[0, 0, 0, 0, 9, 1],
        &expect!["record was written with a schema that is not known here (id 9)"],
    );
    check(
        &[0xC3, 1, 8, 7, 6, 5, 4, 3, 2, 1, 0],
        &expect![
            "record was written with a schema that is not known here (fingerprint 0102030405060708)"
        ],
    );
}

#[test]
fn a_count_is_not_believed_beyond_the_bytes_that_are_there() {
    let codec = {
        let mut codec = OutcomeCodec::new(RecordForm::Json).unwrap();
        let schema = r#"{"type": "record", "name": "Outcome", "fields":
            [{"name": "more", "type": {"type": "array", "items": "string"}}]}"#;
        codec.learn_id(1, schema).unwrap();
        codec
    };
    let error = codec.decode(&[0, 0, 0, 0, 1, 0xFE, 0xFF, 0xFF, 0xFF, 0x0F, 0]).unwrap_err();
    expect!["record is torn or not Avro: Outcome: a block of 2147483647 items in 1 bytes"]
        .assert_eq(&error.to_string());
}

#[test]
fn a_schema_that_is_none_or_of_another_kind_is_refused_with_the_reason() {
    let mut codec = VerdictCodec::new(RecordForm::Json).unwrap();
    let mut said = |schema| codec.learn_id(1, schema).unwrap_err().to_string();
    expect!["schema cannot be used: expected value at line 1 column 1"].assert_eq(&said("x"));
    expect!["schema cannot be used: type `fixed` is not one that is read here"]
        .assert_eq(&said(r#"{"type": "fixed", "name": "F", "size": 2}"#));
    expect!["schema cannot be used: type `Node` is not one that is read here"].assert_eq(&said(
        r#"{"type": "record", "name": "Node", "fields": [{"name": "next", "type": "Node"}]}"#,
    ));
}

/// A schema of the future: a new column, a new nested one, and one gone that may be absent.
#[test]
fn records_of_a_later_and_of_an_earlier_schema_are_read() {
    let mut schema: Value = serde_json::from_str(WireKind::Verdict.avro_schema()).unwrap();
    let fields = schema["fields"].as_array_mut().unwrap();
    fields.retain(|field| field["name"] != "why" && field["name"] != "deploys");
    fields.insert(2, json!({"name": "later", "type": ["null", "string"], "default": null}));
    let text = schema.to_string();
    let current = apache_avro::Schema::parse_str(WireKind::Verdict.avro_schema()).unwrap();
    let other = apache_avro::Schema::parse_str(&text).unwrap();
    SchemaCompatibility::mutual_read(&current, &other).unwrap();

    let mut value = full_verdict();
    let object = value.as_object_mut().unwrap();
    object.remove("why");
    object.remove("deploys");
    let expected: Verdict = record(&value);
    value["later"] = json!("x");
    let mut body = Vec::new();
    super::write::write(&super::node(&text).unwrap(), &value, &mut body).unwrap();

    let mut reader = VerdictCodec::new(SINGLE).unwrap();
    let framed = [&[0, 0, 0, 0, 7], body.as_slice()].concat();
    assert!(matches!(reader.decode(&framed), Err(CodecError::UnknownSchema { .. })));
    reader.learn_id(7, &text).unwrap();
    assert_eq!(reader.decode(&framed).unwrap(), expected);
    reader.learn_schema(&text).unwrap();
    let mark = super::fingerprint(&text).unwrap().to_le_bytes();
    let framed = [&[0xC3, 1], mark.as_slice(), body.as_slice()].concat();
    assert_eq!(reader.decode(&framed).unwrap(), expected);
}

/// A schema and a record as a version stored them.
struct Stored {
    schema: &'static str,
    hex: &'static str,
}

impl Stored {
    fn bytes(&self) -> Vec<u8> {
        let digits: Vec<u8> = self.hex.trim().bytes().collect();
        let pair = |pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        digits.chunks(2).map(pair).collect()
    }

    #[track_caller]
    fn is_read<R: WireRecord + PartialEq + std::fmt::Debug>(&self) {
        let mut codec = RecordCodec::<R>::new(RecordForm::Json).unwrap();
        codec.learn_schema(self.schema).unwrap();
        assert_eq!(codec.decode(&self.bytes()).unwrap(), record(&full(R::KIND)));
        let parse = |text: &str| apache_avro::Schema::parse_str(text).unwrap();
        let current = parse(R::KIND.avro_schema());
        SchemaCompatibility::mutual_read(&current, &parse(self.schema)).unwrap();
    }
}

macro_rules! stored {
    ($version:literal, $name:literal) => {
        Stored {
            schema: include_str!(concat!("../../avro/history/", $version, "/", $name, ".avsc")),
            hex: include_str!(concat!("../../avro/history/", $version, "/", $name, ".hex")),
        }
    };
}

/// A later version adds a folder and lines here, and never changes what is there.
#[test]
fn bytes_that_earlier_versions_stored_are_still_read() {
    stored!("v0.1", "verdict").is_read::<Verdict>();
    stored!("v0.1", "order").is_read::<Order>();
    stored!("v0.1", "outcome").is_read::<Outcome>();
    stored!("v0.1", "dead-letter").is_read::<DeadLetter>();
}

#[test]
fn the_stored_records_are_what_this_version_writes_or_a_later_one_has_its_own_folder() {
    fn hex<R: WireRecord>() -> String {
        let bytes = RecordCodec::<R>::new(SINGLE).unwrap();
        let bytes = bytes.encode(&record(&full(R::KIND))).unwrap();
        bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n"
    }
    if stored!("v0.1", "verdict").schema == WireKind::Verdict.avro_schema() {
        expect_file!["../../avro/history/v0.1/verdict.hex"].assert_eq(&hex::<Verdict>());
    }
    if stored!("v0.1", "order").schema == WireKind::Order.avro_schema() {
        expect_file!["../../avro/history/v0.1/order.hex"].assert_eq(&hex::<Order>());
    }
    if stored!("v0.1", "outcome").schema == WireKind::Outcome.avro_schema() {
        expect_file!["../../avro/history/v0.1/outcome.hex"].assert_eq(&hex::<Outcome>());
    }
    if stored!("v0.1", "dead-letter").schema == WireKind::DeadLetter.avro_schema() {
        expect_file!["../../avro/history/v0.1/dead-letter.hex"].assert_eq(&hex::<DeadLetter>());
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        // in quarters: JSON text is read to within one unit in the last place
        any::<i32>().prop_map(|whole| Value::from(f64::from(whole) / 4.0)),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(any::<String>(), inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_value_survives_under_any_name(name in any::<String>(), value in any_json()) {
        let more: Map<String, Value> = [(name, value)].into_iter().collect();
        let outcome = Outcome { more, ..record(&full_outcome()) };
        let codec = OutcomeCodec::new(SINGLE).unwrap();
        assert_eq!(codec.decode(&codec.encode(&outcome).unwrap()).unwrap(), outcome);
    }

    #[test]
    fn arbitrary_bytes_never_panic_a_codec(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let codec = DeadLetterCodec::new(FORMS[2]).unwrap();
        let framed = [&[0, 0, 0, 1, 2], bytes.as_slice()].concat();
        for bytes in [framed, bytes] {
            if let Ok(letter) = codec.decode(&bytes) {
                assert!(codec.encode(&letter).is_ok());
            }
        }
    }

    #[test]
    fn a_flipped_byte_never_panics_a_codec(at in 0..1000_usize, byte in any::<u8>()) {
        let codec = VerdictCodec::new(SINGLE).unwrap();
        let mut bytes = codec.encode(&record(&full_verdict())).unwrap();
        let at = at % bytes.len();
        bytes[at] = byte;
        if let Ok(verdict) = codec.decode(&bytes) {
            assert!(codec.encode(&verdict).is_ok());
        }
    }
}
