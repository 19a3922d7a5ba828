use expect_test::{Expect, expect};
use proptest::prelude::{ProptestConfig, Strategy, any, prop, proptest};
use schemas::{BatchBuilder, Event, EventTime, Reason, event_at};
use serde_json::{Value, json};

use super::{Fed, LINE_BYTES_MAX, Parsed, Parser, Place};
use crate::format::{Format, Mapping};
use crate::keys::Keys;
use crate::settings::{Choice, Settings};

mod clouds;
mod formats;
mod hostile;
mod secrets;

const PLACE: Place<'static> = Place { topic: "t", partition: 0, offset: 0 };
const SEEN: EventTime = EventTime(1_800_000_000_000);

fn parser(settings: Settings) -> Parser {
    Parser::new(settings, Keys::new([9; 16]))
}

fn read(settings: Settings, line: &[u8]) -> Parsed {
    parser(settings).line(line, PLACE, SEEN)
}

/// The one event of a line.
#[track_caller]
fn event(line: &str) -> Event<'static> {
    match read(Settings::default(), line.as_bytes()) {
        Parsed::Events(mut events) => events.pop().unwrap(),
        other => panic!("{line}\n{other:?}"),
    }
}

/// An event without what every event has.
fn shown(event: &Event<'_>) -> String {
    let Value::Object(mut columns) = serde_json::to_value(event).unwrap() else { panic!() };
    for name in ["event_id", "observed_time", "sensor", "line", "direction"] {
        columns.remove(name);
    }
    let plain =
        [("attack_class", json!([])), ("query_keys", json!([])), ("url_param_kind", json!("none"))];
    for (name, value) in plain {
        if columns.get(name) == Some(&value) {
            columns.remove(name);
        }
    }
    let lines: Vec<String> =
        columns.iter().map(|(name, value)| format!("{name} {value}")).collect();
    lines.join("\n")
}

#[test]
fn an_event_says_where_it_came_from() {
    let settings = Settings {
        sensor: "edge".into(),
        service: Some("shop".into()),
        environment: Some("production".into()),
        ..Settings::default()
    };
    let line = br#"203.0.113.9 - - [20/Nov/2026:08:00:00 +0000] "GET / HTTP/1.1" 200 5"#;
    let Parsed::Events(events) = read(settings, line) else { panic!() };
    let event = &events[0];
    assert_eq!(event.sensor.as_deref(), Some("edge"));
    assert_eq!(event.service.as_deref(), Some("shop"));
    assert_eq!(event.environment.as_deref(), Some("production"));
    assert_eq!(event.observed_time, Some(SEEN));
    assert_eq!(event.event_id.as_deref(), Some(&*schemas::event_id_of("t", 0, 0, 0)));
}

#[test]
fn the_line_is_kept_unless_switched_off() {
    let line = br#"203.0.113.9 - - [20/Nov/2026:08:00:00 +0000] "GET /?a=b HTTP/1.1" 200 5"#;
    let kept = |keep_line| {
        let Parsed::Events(mut events) = read(Settings { keep_line, ..Settings::default() }, line)
        else {
            panic!()
        };
        events.pop().unwrap().line
    };
    let expected = r#"203.0.113.9 - - [20/Nov/2026:08:00:00 +0000] "GET /?a=* HTTP/1.1" 200 5"#;
    assert_eq!(kept(true).as_deref(), Some(expected));
    assert_eq!(kept(false), None);
}

#[test]
fn a_batch_holds_what_lines_give() {
    let mut parser = parser(Settings::default());
    let mut batch = BatchBuilder::default();
    let line = br#"{"time":"2026-11-20T08:00:00.5Z","remote_addr":"203.0.113.9","method":"GET","uri":"/a","status":200}"#;
    for offset in 0..3 {
        let place = Place { offset, ..PLACE };
        assert_eq!(parser.feed(line, place, SEEN, &mut batch), Fed::Events(1));
    }
    let Parsed::Events(events) = parser.line(line, Place { offset: 2, ..PLACE }, SEEN) else {
        panic!()
    };
    let batch = batch.finish().unwrap();
    assert_eq!(batch.num_rows(), 3);
    assert_eq!(event_at(&batch, 2), events[0]);
}

#[test]
fn a_named_format_takes_no_other_but_its_family() {
    let named = |format: Format| Settings { format: Choice::Named(format), ..Settings::default() };
    let combined =
        br#"203.0.113.9 - - [20/Nov/2026:08:00:00 +0000] "GET / HTTP/1.1" 200 5 "-" "x""#;
    let broken = br#"203.0.113.9 - - [20/Nov/2026:08:00:00 +0000] "-" 408 -"#;
    assert!(matches!(read(named(Format::Combined), combined), Parsed::Events(_)));
    assert!(matches!(read(named(Format::Combined), broken), Parsed::Events(_)));
    let Parsed::DeadLetter(letter) = read(named(Format::Haproxy), combined) else { panic!() };
    let said = "not haproxy, which the input is said to be: no `address:port` in front; ";
    assert!(letter.detail.starts_with(said), "{}", letter.detail);
    let wrapped =
        br#"{"message":"203.0.113.9 - - [20/Nov/2026:08:00:00 +0000] \"GET / HTTP/1.1\" 200 5"}"#;
    assert!(matches!(read(named(Format::Combined), wrapped), Parsed::Events(_)));
}

#[test]
fn an_input_settles_and_detects_anew_when_its_lines_change() {
    let common = br#"203.0.113.9 - - [20/Nov/2026:08:00:00 +0000] "GET / HTTP/1.1" 200 5"#;
    let json = br#"{"time":"2026-11-20T08:00:00Z","remote_addr":"203.0.113.9","method":"GET","uri":"/a","status":200}"#;
    let mut parser = parser(Settings::default());
    let mut feed = |line: &[u8], times: usize| {
        for _ in 0..times {
            assert!(matches!(parser.line(line, PLACE, SEEN), Parsed::Events(_)));
        }
        parser.format()
    };
    assert_eq!(feed(common, 63), None);
    assert_eq!(feed(common, 1), Some(Format::Common));
    assert_eq!(feed(json, 31), Some(Format::Common));
    assert_eq!(feed(common, 1), Some(Format::Common));
    assert_eq!(feed(json, 31), Some(Format::Common));
    assert_eq!(feed(json, 1), Some(Format::Json));
}

#[test]
fn a_mixed_stream_is_read_line_by_line() {
    let combined =
        r#"203.0.113.9 - - [20/Nov/2026:08:00:00 +0000] "GET /a HTTP/1.1" 200 5 "-" "x""#;
    let json = r#"{"time":"2026-11-20T08:00:00Z","remote_addr":"203.0.113.9","method":"GET","uri":"/b","status":200}"#;
    let wrapped = serde_json::json!({ "message": combined }).to_string();
    let mut parser = parser(Settings::default());
    for turn in 0..200 {
        let line = [combined, json, &wrapped][turn % 3];
        let Parsed::Events(events) = parser.line(line.as_bytes(), PLACE, SEEN) else {
            panic!("{turn}: {line}")
        };
        assert_eq!(events[0].client_ip.as_deref(), Some("203.0.113.9"), "{turn}: {line}");
    }
}

#[test]
fn the_most_specific_format_wins_over_the_first_lines() {
    let ingress = r#"203.0.113.9 - - [20/Nov/2026:08:00:00 +0000] "GET / HTTP/1.1" 200 5 "-" "x" 89 0.001 [a-b-80] [] 10.0.0.5:80 5 0.000 200 abc"#;
    let combined = r#"203.0.113.9 - - [20/Nov/2026:08:00:00 +0000] "GET / HTTP/1.1" 200 5 "-" "x""#;
    let guess = |lines: &[&str]| {
        let lines: Vec<&[u8]> = lines.iter().map(|line| line.as_bytes()).collect();
        super::detect(&lines).map(|guess| (guess.format, guess.envelopes, guess.share))
    };
    assert_eq!(guess(&[ingress, ingress, combined]), Some((Format::IngressNginx, 0, 2.0 / 3.0)));
    assert_eq!(guess(&[combined, combined, ingress, "junk"]), Some((Format::Combined, 0, 0.75)));
    assert_eq!(guess(&["", "#Fields: a b"]), None);
    let wrapped = serde_json::json!({ "message": combined }).to_string();
    assert_eq!(guess(&[&wrapped]), Some((Format::Combined, 1, 1.0)));
}

#[test]
fn an_input_behind_an_unnamed_proxy_is_told_so() {
    let line = br#"10.0.0.7 - - [20/Nov/2026:08:00:00 +0000] "GET / HTTP/1.1" 200 5"#;
    let advised = |settings: Settings| {
        let mut parser = parser(settings);
        for _ in 0..1000 {
            parser.line(line, PLACE, SEEN);
        }
        parser.news().unwrap().to_string()
    };
    let said = advised(Settings::default());
    assert!(said.contains("looks like a proxy of yours"), "{said}");
    let trusted_proxies = vec!["10.0.0.0/8".parse().unwrap()];
    let said = advised(Settings { trusted_proxies, ..Settings::default() });
    assert!(said.contains("log X-Forwarded-For"), "{said}");
}

#[test]
fn a_mapping_names_columns_of_an_input() {
    let mapping = Mapping::new([("wer", "principal"), ("req.pfad", "path")]).unwrap();
    let line = br#"{"time":"2026-11-20T08:00:00Z","wer":"ann","method":"GET","req":{"pfad":"/a?b=c"},"status":200}"#;
    let Parsed::Events(events) = read(Settings { mapping, ..Settings::default() }, line) else {
        panic!()
    };
    assert_eq!(events[0].principal.as_deref(), Some("ann"));
    assert_eq!(events[0].path.as_deref(), Some("/a"));
}

/// Lines of other projects' tests, log by log.
const CORPUS: &str = include_str!("../../corpus/detect.txt");

#[test]
fn no_log_of_the_corpus_is_taken_for_another_one() {
    let mut wrong = Vec::new();
    let mut logs = 0;
    for log in CORPUS.split("## ").skip(1) {
        let (heading, lines) = log.split_once('\n').unwrap();
        let (_, expected) = heading.rsplit_once(": ").unwrap();
        let lines: Vec<&[u8]> = lines.lines().map(str::as_bytes).collect();
        let found = super::detect(&lines).map_or("-", |guess| guess.format.name());
        if !expected.split(' ').any(|name| name == found) {
            wrong.push(format!("{heading}, taken for {found}"));
        }
        logs += 1;
    }
    assert_eq!(wrong, Vec::<String>::new());
    assert!(logs > 50, "{logs}");
}
