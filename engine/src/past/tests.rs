use expect_test::{Expect, expect};
use schemas::{EventTime, Verdict, VerdictKind};

use crate::run::{Fed, RunSettings, Runner};
use crate::trial::{FIRST, Seen, Text, batch, failure, numbered, render, ruleset};
use crate::watermark::Guard;

const MINUTE: i64 = 60_000;

/// Any combination of address and account, remembered for an hour and learned for a quarter.
const HOUR: Text = (
    "hour",
    "key: [client_ip, account]\nrearm: 1s",
    "SELECT client_ip, account FROM events \
     WHERE status < 500 AND first_seen('1h', client_ip, account)",
);

fn settings() -> RunSettings {
    let mut settings = RunSettings::over(1);
    settings.map.guard = Guard::Off;
    settings
}

fn run(rule: Text, events: Vec<Seen>, settings: RunSettings) -> Fed {
    let mut runner = Runner::new(ruleset(&[rule]), settings).unwrap();
    let mut fed = Fed::default();
    for part in numbered(events).chunks(5) {
        fed.add(runner.feed(0, &batch(part)).unwrap());
        runner.restart().unwrap();
    }
    fed.add(runner.end().unwrap());
    assert_eq!(fed.failures, []);
    fed
}

fn opened(fed: &Fed) -> Vec<&Verdict> {
    fed.verdicts.iter().filter(|verdict| verdict.kind == VerdictKind::Opened).collect()
}

#[track_caller]
fn check(rule: Text, events: Vec<Seen>, expected: &Expect) {
    let fed = run(rule, events, settings());
    let lines: Vec<String> = opened(&fed).into_iter().map(render).collect();
    expected.assert_eq(&(lines.join("\n") + "\n"));
}

fn seen(minute: i64, account: u8) -> Seen {
    Seen { account, ..failure(minute * MINUTE, 1) }
}

/// One account once a minute, so that learning goes on.
fn background(minutes: std::ops::Range<i64>) -> impl Iterator<Item = Seen> {
    minutes.map(|minute| Seen { ip: 9, ..seen(minute, 9) })
}

fn with_background(
    minutes: std::ops::Range<i64>,
    events: impl IntoIterator<Item = Seen>,
) -> Vec<Seen> {
    let mut all: Vec<Seen> = background(minutes).chain(events).collect();
    all.sort_by_key(|event| event.at);
    all
}

#[test]
fn a_combination_is_new_once_and_again_after_the_span() {
    // 61 minutes after it was seen last, account 1 is new again; 60 minutes after, account 2 is not.
    let events = [seen(20, 1), seen(21, 1), seen(22, 2), seen(82, 2), seen(82, 1)];
    check(
        HOUR,
        with_background(0..140, events),
        &expect![[r#"
            opened hour r1 account="a1" client_ip="192.0.2.1" [1200000, 1200000] at 1200000: 
            opened hour r1 account="a2" client_ip="192.0.2.1" [1320000, 1320000] at 1320000: 
            opened hour r1 account="a1" client_ip="192.0.2.1" [4920000, 4920000] at 4920000: 
        "#]],
    );
}

#[test]
fn for_a_quarter_of_the_span_it_only_learns() {
    let events = [seen(3, 1), seen(14, 2), seen(15, 3), seen(16, 1), seen(17, 2)];
    check(
        HOUR,
        with_background(0..30, events),
        &expect![[r#"
            opened hour r1 account="a3" client_ip="192.0.2.1" [900000, 900000] at 900000: 
        "#]],
    );
}

#[test]
fn a_silence_longer_than_the_span_begins_anew() {
    let after = with_background(100..130, [seen(101, 1), seen(120, 2)]);
    let events = with_background(0..30, [seen(20, 1)]).into_iter().chain(after);
    check(
        HOUR,
        events.collect(),
        &expect![[r#"
            opened hour r1 account="a1" client_ip="192.0.2.1" [1200000, 1200000] at 1200000: 
            opened hour r1 account="a2" client_ip="192.0.2.1" [7200000, 7200000] at 7200000: 
        "#]],
    );
}

#[test]
fn of_two_that_come_out_of_order_the_earlier_is_the_first() {
    let later = failure(20 * MINUTE + 8_000, 1);
    let mut events = with_background(0..20, []);
    events.extend([later, failure(20 * MINUTE, 1), failure(21 * MINUTE, 9)]);
    check(
        HOUR,
        events,
        &expect![[r#"
            opened hour r1 account="a0" client_ip="192.0.2.1" [1200000, 1200000] at 1200000: 
            opened hour r1 account="a0" client_ip="192.0.2.9" [1260000, 1260000] at 1260000: 
        "#]],
    );
}

#[test]
fn what_the_other_conditions_leave_out_and_what_is_late_teaches_nothing() {
    let refused = Seen { status: 500, ..seen(20, 1) };
    let late = seen(10, 2);
    let mut events = with_background(0..22, [refused]);
    events.extend([late, seen(23, 1), seen(24, 2)]);
    check(
        HOUR,
        events,
        &expect![[r#"
            opened hour r1 account="a1" client_ip="192.0.2.1" [1380000, 1380000] at 1380000: 
            opened hour r1 account="a2" client_ip="192.0.2.1" [1440000, 1440000] at 1440000: 
        "#]],
    );
}

#[test]
fn in_a_test_learning_ends_where_it_is_told() {
    let mut told = settings();
    told.learned_at = Some(EventTime(10 * MINUTE));
    let events = vec![seen(0, 1), seen(9, 2), seen(10, 3), seen(10, 1), seen(11, 2)];
    let fed = run(FIRST, events, told);
    let accounts: Vec<String> =
        opened(&fed).iter().map(|verdict| verdict.values["account"].to_string()).collect();
    // Two minutes after account 2 was seen it is known, ten minutes after account 1 was it is new.
    assert_eq!(accounts, ["\"a1\""], "one episode: both at one moment");
    assert_eq!(opened(&fed)[0].first_event, EventTime(10 * MINUTE));
}

#[test]
fn more_than_the_budget_holds_is_said_and_nothing_new_is_missed() {
    let tight: Text = (HOUR.0, "key: [client_ip, account]\nrearm: 1s\nmemory: 8KiB", HOUR.2);
    // 8 KiB hold 384 combinations; 255 addresses with 4 accounts each come, over and over.
    let at = |n: i64| n * 4_000;
    let of = |n: i64| u8::try_from(n.rem_euclid(250)).unwrap();
    let events: Vec<Seen> = (0..1_000)
        .map(|n| Seen { account: u8::try_from(n / 250).unwrap(), ..failure(at(n), of(n)) })
        .collect();
    let fed = run(tight, events, settings());
    let keys: std::collections::BTreeSet<String> = fed
        .verdicts
        .iter()
        .filter(|verdict| verdict.rule == "x/hour")
        .map(|verdict| format!("{:?}", verdict.key))
        .collect();
    let after_learning = (0..1_000).filter(|n| at(*n) >= 15 * MINUTE).count();
    assert_eq!(keys.len(), after_learning);
    assert!(fed.verdicts.iter().any(|verdict| verdict.degraded), "one that says so");
    let pressure = |verdict: &&Verdict| verdict.rule == crate::STATE_PRESSURE;
    assert_eq!(fed.verdicts.iter().find(pressure).unwrap().key["rule"], "x/hour");
}

#[test]
fn a_row_without_an_answer_teaches_nothing_whatever_comes_beside_it() {
    let dividing: Text = (
        "dividing",
        "key: [client_ip, account]\nrearm: 1s",
        "SELECT client_ip, account, 1000 / response_bytes AS r FROM events \
         WHERE status < 500 AND first_seen('1m', client_ip, account)",
    );
    let at = |second: i64, bytes: i64| Seen { bytes, ..failure(second * 1_000, 1) };
    // Within whole minutes each is seen after the one before; but the second has no answer.
    let mut events: Vec<Seen> = (0..12).map(|n| failure(n * 30_000, 9)).collect();
    events.extend([at(185, 10), at(245, 0), at(305, 10)]);
    events.sort_by_key(|event| event.at);
    for rows in [1, 100] {
        let mut runner = Runner::new(ruleset(&[dividing]), settings()).unwrap();
        let mut fed = Fed::default();
        for part in events.chunks(rows) {
            fed.add(runner.feed(0, &batch(part)).unwrap());
        }
        fed.add(runner.end().unwrap());
        let of_interest = |verdict: &&&Verdict| verdict.key["client_ip"] == "192.0.2.1";
        let firsts = opened(&fed);
        let firsts = firsts.iter().filter(of_interest).map(|verdict| verdict.first_event.millis());
        assert_eq!(firsts.collect::<Vec<_>>(), [185_000, 305_000], "{rows} at once");
        assert_eq!(fed.failures.len(), 1);
    }
}

#[test]
fn every_window_that_begins_before_a_loss_says_so() {
    let tight: Text = (
        "tight",
        "window: 5m\nslide: 10s\nmemory: 16KiB",
        "SELECT client_ip, count(*) AS n FROM events WHERE first_seen('4m', client_ip, account) \
         GROUP BY client_ip HAVING count(*) >= 1",
    );
    // Twenty at once, more than may wait, in the last second of a minute: every window that holds
    // them ends in a later one.
    let flood = (0..20).map(|n| Seen { account: n, ..failure(11 * MINUTE - 1_000, 1) });
    let fed = run(tight, with_background(0..20, flood), settings());
    let closed: Vec<&Verdict> = fed
        .verdicts
        .iter()
        .filter(|verdict| verdict.rule == "x/tight" && verdict.kind == VerdictKind::Closed)
        .filter(|verdict| verdict.key["client_ip"] == "192.0.2.1")
        .collect();
    let pressure = |verdict: &&Verdict| verdict.rule == crate::STATE_PRESSURE;
    assert!(fed.verdicts.iter().any(|verdict| pressure(&verdict)));
    assert!(closed.len() == 1 && closed[0].degraded, "{closed:?}");
    let first = opened(&fed).into_iter().find(|verdict| verdict.key == closed[0].key).unwrap();
    assert!(first.degraded);
}

#[test]
fn all_of_a_rule_is_in_one_exchange_partition() {
    let mut many = settings();
    many.map.exchange_partitions = 5;
    let events = || with_background(0..90, (0..60).map(|n| seen(20 + n, u8::try_from(n).unwrap())));
    let (one, five) = (run(HOUR, events(), settings()), run(HOUR, events(), many));
    assert_eq!(opened(&one).len(), 60);
    let ids = |fed: &Fed| opened(fed).iter().map(|verdict| verdict.id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&one), ids(&five));
    let runner = |exchange_partitions| {
        let mut settings = settings();
        settings.map.exchange_partitions = exchange_partitions;
        let mut runner = Runner::new(ruleset(&[HOUR]), settings).unwrap();
        runner.feed(0, &batch(&numbered(events()))).unwrap();
        runner.load().filter(|load| load.bytes > 0).count()
    };
    assert_eq!((runner(1), runner(5)), (1, 1));
}
