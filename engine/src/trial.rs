//! What the tests of the running half share: a handful of rules, events for them, disorder.
//!
//! Owns: making inputs. Never: expectations.

use std::sync::Arc;

use arrow::array::RecordBatch;
use proptest::prelude::Strategy;
use schemas::{BatchBuilder, DeadLetter, Event, EventTime, Reason, Verdict};

use crate::plan::{CompiledRule, Table, compile};
use crate::rule::{Lists, Settings, SourceFile, load};
use crate::ruleset::Ruleset;

/// A rule of the handful: its name, the head of its file, its query.
pub(crate) type Text = (&'static str, &'static str, &'static str);

/// More than so many from one address: monotone.
pub(crate) const COUNT: Text = (
    "count",
    "window: 60s\nslide: 10s\nrearm: 20s",
    "SELECT client_ip, count(*) AS n FROM events WHERE status >= 400 GROUP BY client_ip \
     HAVING count(*) >= 3",
);
/// Many accounts from one address: monotone, two conditions.
pub(crate) const DISTINCT: Text = (
    "distinct",
    "window: 40s\nslide: 20s\nrearm: 40s",
    "SELECT client_ip, count(DISTINCT account) AS accounts, count(*) AS n FROM events \
     WHERE status = 401 GROUP BY client_ip HAVING count(DISTINCT account) >= 2 AND count(*) >= 3",
);
/// Many bytes to one address: monotone, since sizes are never negative.
pub(crate) const SUM: Text = (
    "sum",
    "window: 30s\nslide: 30s\nrearm: 0s",
    "SELECT client_ip, service, sum(response_bytes) AS bytes FROM events \
     GROUP BY client_ip, service HAVING sum(response_bytes) > 1000",
);
/// Mostly failures: a ratio rises and falls, so only at the close.
pub(crate) const RATIO: Text = (
    "ratio",
    "window: 60s\nslide: 20s\nrearm: 60s",
    "SELECT client_ip, avg(CASE WHEN status >= 400 THEN 1.0 ELSE 0.0 END) AS share, \
     max(path) AS last_path FROM events GROUP BY client_ip \
     HAVING count(*) >= 2 AND avg(CASE WHEN status >= 400 THEN 1.0 ELSE 0.0 END) > 0.5",
);
/// Each event alone.
pub(crate) const NONE: Text = (
    "none",
    "key: client_ip\nrearm: 15s",
    "SELECT client_ip, status, path FROM events WHERE status = 500",
);
/// Rows of different keys together: who has more than half of all.
pub(crate) const SHARE: Text = (
    "share",
    "window: 60s\nslide: 30s\nkey: client_ip",
    "SELECT client_ip, n FROM (SELECT client_ip, count(*) AS n, sum(count(*)) OVER () AS everyone \
     FROM events GROUP BY client_ip) WHERE n * 2 > everyone AND n >= 2",
);
/// What was dropped.
pub(crate) const DROPS: Text = (
    "drops",
    "window: 60s\nslide: 60s",
    "SELECT client_ip, count(*) AS n, max(reason) AS reason FROM drops GROUP BY client_ip \
     HAVING count(*) >= 2",
);

/// Each event against the past.
pub(crate) const FIRST: Text = (
    "first",
    "key: client_ip\nrearm: 15s",
    "SELECT client_ip, account, status FROM events \
     WHERE status < 500 AND first_seen('2m', client_ip, account)",
);
/// How much is new in a window.
pub(crate) const FIRSTS: Text = (
    "firsts",
    "window: 60s\nslide: 20s",
    "SELECT client_ip, count(*) AS n, max(status) AS worst FROM events \
     WHERE first_seen('1m', account, status) GROUP BY client_ip HAVING count(*) >= 2",
);

pub(crate) const HANDFUL: [Text; 9] =
    [COUNT, DISTINCT, SUM, RATIO, NONE, SHARE, DROPS, FIRST, FIRSTS];

const TESTS: &str = "tests:\n  - {name: a, events: [], episodes: [{}]}\n  \
                     - {name: b, events: [], episodes: []}\n";

/// The rules, ready to run.
#[track_caller]
pub(crate) fn ruleset(rules: &[Text]) -> Arc<Ruleset> {
    Arc::new(Ruleset::new(compiled(rules)).unwrap())
}

/// The rules, ready to run, all state in rows.
#[track_caller]
pub(crate) fn ruleset_of_rows(rules: &[Text]) -> Arc<Ruleset> {
    let rules = compiled(rules).into_iter().map(CompiledRule::into_rows);
    Arc::new(Ruleset::new(rules.collect()).unwrap())
}

#[track_caller]
pub(crate) fn compiled(rules: &[Text]) -> Vec<CompiledRule> {
    let file = |(name, head, sql): &Text| SourceFile {
        path: format!("x/{name}.yml"),
        text: format!("title: {name}\nseverity: low\nmode: live\n{head}\nsql: |\n  {sql}\n{TESTS}"),
    };
    let files: Vec<SourceFile> = rules.iter().map(file).collect();
    let (loaded, problems) = load(&files, &Settings::default());
    assert!(problems.is_empty(), "{problems:?}");
    let (compiled, problems) = compile(&loaded, &Lists::default());
    let rendered: Vec<String> = problems.iter().map(|problem| problem.render(false)).collect();
    assert_eq!(compiled.len(), rules.len(), "{}", rendered.join("\n"));
    compiled
}

/// An event of a test.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Seen {
    pub(crate) at: i64,
    pub(crate) ip: u8,
    pub(crate) account: u8,
    pub(crate) status: i32,
    pub(crate) bytes: i64,
    pub(crate) id: usize,
}

/// An event that fails to log in.
pub(crate) fn failure(at: i64, ip: u8) -> Seen {
    Seen { at, ip, account: 0, status: 401, bytes: 10, id: 0 }
}

/// Numbered, so that ids are unique and do not sort like the events arrive.
pub(crate) fn numbered(mut events: Vec<Seen>) -> Vec<Seen> {
    for (place, event) in events.iter_mut().enumerate() {
        event.id = place * 7_919 % 1_000;
    }
    events
}

pub(crate) fn batch(events: &[Seen]) -> RecordBatch {
    let mut builder = BatchBuilder::default();
    for seen in events {
        builder.push(&Event {
            event_id: Some(format!("e{:03}", seen.id).into()),
            line: Some(format!("line {}", seen.id).into()),
            event_time: Some(EventTime(seen.at)),
            status: Some(seen.status),
            response_bytes: Some(seen.bytes),
            client_ip: Some(format!("192.0.2.{}", seen.ip).into()),
            account: Some(format!("a{}", seen.account).into()),
            path: Some(format!("/p{}", seen.account).into()),
            service: Some(if seen.bytes % 2 == 0 { "shop" } else { "pay" }.into()),
            method: Some("GET".into()),
            route: Some(format!("/v{}", seen.account % 3).into()),
            deploy_id: Some(format!("d{}", seen.at.div_euclid(100_000)).into()),
            deployed_at: Some(EventTime(seen.at.div_euclid(100_000).saturating_mul(100_000))),
            ..Event::default()
        });
    }
    builder.finish().unwrap()
}

/// Up to `most` events over some minutes, in order, with stretches of silence.
pub(crate) fn history(most: usize) -> impl Strategy<Value = Vec<Seen>> {
    let gap = proptest::prop_oneof![
        6 => 0_i64..3_000,
        2 => 0_i64..30_000,
        1 => 0_i64..300_000,
    ];
    let status = proptest::sample::select(vec![200, 401, 401, 403, 500]);
    // Some much greater than the rest, so that sums come near their thresholds at once and by and by.
    let bytes = proptest::prop_oneof![2 => 0_i64..600, 2 => 0_i64..20, 1 => 800_i64..1_000];
    let event = (gap, 0_u8..3, 0_u8..4, status, bytes);
    (-400_000_i64..400_000, proptest::collection::vec(event, 1..most)).prop_map(|(start, rows)| {
        let mut at = start;
        let events = rows.into_iter().map(|(gap, ip, account, status, bytes)| {
            at += gap;
            Seen { at, ip, account, status, bytes, id: 0 }
        });
        numbered(events.collect())
    })
}

/// A source partition for each event and a delay in milliseconds of at most `most`.
pub(crate) fn disorder(
    events: usize,
    partitions: u32,
    most: i64,
) -> impl Strategy<Value = Vec<(u32, i64)>> {
    proptest::collection::vec((0..partitions, 0..=most), events)
}

pub(crate) fn letter(at: i64, ip: u8) -> DeadLetter {
    DeadLetter {
        reason: Reason::Malformed,
        detail: "a test".into(),
        origin: None,
        sensor: Some("nginx".into()),
        client_ip: Some(format!("192.0.2.{ip}")),
        event_time: Some(EventTime(at)),
        line: "broken".into(),
    }
}

/// A verdict in a line: kind, rule, key, window or events, values.
pub(crate) fn render(verdict: &Verdict) -> String {
    let text = |map: &serde_json::Map<String, serde_json::Value>| {
        let entries = map.iter().map(|(name, value)| format!("{name}={value}"));
        entries.collect::<Vec<_>>().join(" ")
    };
    let span = match verdict.window {
        Some(window) => format!("[{}, {})", window.start.millis(), window.end.millis()),
        None => format!("[{}, {}]", verdict.first_event.millis(), verdict.last_event.millis()),
    };
    let rule = verdict.rule.trim_start_matches("x/");
    let (kind, revision, fired) =
        (verdict.kind.name(), verdict.revision, verdict.fired_at.millis());
    format!(
        "{kind} {rule} r{revision} {} {span} at {fired}: {}",
        text(&verdict.key),
        text(&verdict.values)
    )
}

/// The table that a history of accepted events makes.
pub(crate) fn accepted(events: &[Seen]) -> crate::oracle::History {
    crate::oracle::History {
        table: Table::Events,
        batch: batch(events),
        at: events.iter().map(|event| event.at).collect(),
    }
}

/// Rows of table `drops` for late events with these ids.
pub(crate) fn drops(letters: &[DeadLetter], ids: &[String]) -> RecordBatch {
    use arrow::array::{ArrayRef, StringArray, TimestampMillisecondArray};
    let text = |texts: Vec<Option<String>>| -> ArrayRef { Arc::new(StringArray::from(texts)) };
    let times: TimestampMillisecondArray =
        letters.iter().map(|letter| letter.event_time.map(EventTime::millis)).collect();
    let of = |pick: fn(&DeadLetter) -> Option<String>| text(letters.iter().map(pick).collect());
    let columns: Vec<ArrayRef> = vec![
        text(ids.iter().cloned().map(Some).collect()),
        Arc::new(times.with_timezone("UTC")),
        text(vec![Some("late".to_owned()); letters.len()]),
        of(|letter| letter.client_ip.clone()),
        of(|letter| letter.sensor.clone()),
    ];
    RecordBatch::try_new(Table::Drops.schema(), columns).unwrap()
}
