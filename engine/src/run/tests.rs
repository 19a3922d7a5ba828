use std::sync::Arc;

use expect_test::{Expect, expect};
use proptest::prelude::{ProptestConfig, Strategy, any, prop_assert_eq, proptest};
use schemas::{EventTime, Reason, Verdict, VerdictKind};

use super::four_ways::{Step, four_ways};
use super::{Fed, RunSettings, Runner};
use crate::oracle::{ClosedEpisode, History, closed};
use crate::plan::Table;
use crate::rule::Lists;
use crate::ruleset::Ruleset;
use crate::trial::{
    self, COUNT, DISTINCT, HANDFUL, NONE, RATIO, SHARE, SUM, Seen, Text, accepted, batch, disorder,
    failure, history, numbered, render, ruleset,
};
use crate::watermark::Guard;

const LATENESS_MS: i64 = 10_000;

fn settings(partitions: u32) -> RunSettings {
    let mut settings = RunSettings::over(partitions);
    settings.map.guard = Guard::Off;
    settings.map.lateness_ms = LATENESS_MS;
    settings
}

/// One partition, in batches of so many rows.
fn run(rules: &Arc<Ruleset>, events: &[Seen], rows: usize) -> Fed {
    let mut runner = Runner::new(Arc::clone(rules), settings(1)).unwrap();
    let mut fed = Fed::default();
    for part in events.chunks(rows) {
        fed.add(runner.feed(0, &batch(part)).unwrap());
    }
    fed.add(runner.end().unwrap());
    assert_eq!(fed.failures, []);
    fed
}

fn rendered(verdicts: &[Verdict]) -> Vec<String> {
    verdicts.iter().map(render).collect()
}

fn sorted(verdicts: &[Verdict]) -> Vec<Verdict> {
    let mut sorted = verdicts.to_vec();
    sorted.sort_by(|a, b| (&a.rule, &a.id, a.revision).cmp(&(&b.rule, &b.id, b.revision)));
    sorted
}

/// The verdicts of one rule over one partition, in order.
#[track_caller]
fn check(rule: Text, events: Vec<Seen>, expected: &Expect) {
    let fed = run(&ruleset(&[rule]), &numbered(events), 4_096);
    expected.assert_eq(&(rendered(&fed.verdicts).join("\n") + "\n"));
}

#[test]
fn a_threshold_opens_at_the_event_that_crossed_it_and_closes_once() {
    let events = (0..5).map(|n| failure(61_000 + n * 4_000, 1)).collect();
    check(
        COUNT,
        events,
        &expect![[r#"
        opened count r1 client_ip="192.0.2.1" [10000, 70000) at 69000: n=3
        closed count r2 client_ip="192.0.2.1" [10000, 120000) at 69000: n=5
    "#]],
    );
}

#[test]
fn silence_longer_than_the_reach_is_another_episode() {
    let burst = |from: i64| (0..3).map(move |n| failure(from + n * 1_000, 1));
    check(
        COUNT,
        burst(0).chain(burst(300_000)).collect(),
        &expect![[r#"
            opened count r1 client_ip="192.0.2.1" [-50000, 10000) at 2000: n=3
            opened count r1 client_ip="192.0.2.1" [250000, 310000) at 302000: n=3
            closed count r2 client_ip="192.0.2.1" [-50000, 60000) at 2000: n=3
            closed count r2 client_ip="192.0.2.1" [250000, 360000) at 302000: n=3
        "#]],
    );
}

#[test]
fn a_ratio_fires_at_the_close_of_its_window() {
    let ok = |at| Seen { status: 200, ..failure(at, 1) };
    check(
        RATIO,
        vec![failure(1_000, 1), failure(2_000, 1), ok(3_000)],
        &expect![[r#"
        opened ratio r1 client_ip="192.0.2.1" [-40000, 20000) at 20000: last_path="/p0" share=0.6666666666666666
        closed ratio r2 client_ip="192.0.2.1" [-40000, 60000) at 20000: last_path="/p0" share=0.6666666666666666
    "#]],
    );
}

#[test]
fn a_rule_without_state_fires_at_each_event_and_links_them() {
    let broken = |at| Seen { status: 500, ..failure(at, 2) };
    check(
        NONE,
        vec![broken(0), broken(15_000), broken(16_000), broken(31_001)],
        &expect![[r#"
        opened none r1 client_ip="192.0.2.2" [0, 0] at 0: path="/p0" status=500
        updated none r2 client_ip="192.0.2.2" [0, 15000] at 15000: path="/p0" status=500
        opened none r1 client_ip="192.0.2.2" [31001, 31001] at 31001: path="/p0" status=500
        closed none r3 client_ip="192.0.2.2" [0, 16000] at 0: path="/p0" status=500
        closed none r2 client_ip="192.0.2.2" [31001, 31001] at 31001: path="/p0" status=500
    "#]],
    );
}

#[test]
fn rows_of_all_keys_are_judged_together_where_the_query_compares_them() {
    let events = vec![failure(0, 1), failure(1_000, 1), failure(2_000, 1), failure(3_000, 2)];
    check(
        SHARE,
        events,
        &expect![[r#"
        opened share r1 client_ip="192.0.2.1" [-30000, 30000) at 30000: n=3
        closed share r2 client_ip="192.0.2.1" [-30000, 60000) at 30000: n=3
    "#]],
    );
}

#[test]
fn a_verdict_names_deploy_routes_and_events() {
    let events = numbered((0..3).map(|n| failure(199_000 + n * 1_000, 1)).collect());
    let fed = run(&ruleset(&[COUNT]), &events, 4_096);
    let verdict = &fed.verdicts[0];
    let json = serde_json::to_string_pretty(verdict).unwrap();
    expect![[r#"
        {
          "id": "f89c5476-e338-8051-87b1-ebcd68a1cb06",
          "revision": 1,
          "kind": "opened",
          "rule": "x/count",
          "rule_version": "eebde4e92b85350c5aeb7ec0f8a686f6",
          "title": "count",
          "severity": "low",
          "mode": "live",
          "key": {
            "client_ip": "192.0.2.1"
          },
          "values": {
            "n": 3
          },
          "window": {
            "start": "1970-01-01T00:02:30.000Z",
            "end": "1970-01-01T00:03:30.000Z",
            "size_ms": 60000
          },
          "first_event": "1970-01-01T00:03:19.000Z",
          "last_event": "1970-01-01T00:03:21.000Z",
          "fired_at": "1970-01-01T00:03:21.000Z",
          "early": true,
          "degraded": false,
          "service": [
            "shop"
          ],
          "route": [
            "GET /v0"
          ],
          "deploys": {
            "d1": 1,
            "d2": 2
          },
          "context_missing": [],
          "events": [
            {
              "event_id": "e000",
              "event_time": "1970-01-01T00:03:19.000Z",
              "line": "line 0"
            },
            {
              "event_id": "e919",
              "event_time": "1970-01-01T00:03:20.000Z",
              "line": "line 919"
            },
            {
              "event_id": "e838",
              "event_time": "1970-01-01T00:03:21.000Z",
              "line": "line 838"
            }
          ]
        }"#]]
    .assert_eq(&json);
}

#[test]
fn late_events_are_dead_letters_and_rows_of_drops() {
    let rules = ruleset(&[trial::DROPS]);
    let mut runner = Runner::new(Arc::clone(&rules), settings(1)).unwrap();
    let events = numbered(vec![
        failure(100_000, 1),
        failure(80_000, 1),
        failure(70_000, 1),
        failure(90_000, 1),
    ]);
    let mut fed = runner.feed(0, &batch(&events)).unwrap();
    assert_eq!(fed.late.iter().map(|late| late.row).collect::<Vec<_>>(), [Some(1), Some(2)]);
    let letter = &fed.late[0].letter;
    assert_eq!((letter.reason, letter.event_time), (Reason::Late, Some(EventTime(80_000))));
    assert_eq!(letter.client_ip.as_deref(), Some("192.0.2.1"));
    fed.add(runner.dropped(0, &[trial::letter(95_000, 3), trial::letter(10, 3)]).unwrap());
    fed.add(runner.end().unwrap());
    expect![[r#"
        opened drops r1 client_ip="192.0.2.1" [60000, 120000) at 120000: n=2 reason="late"
        opened drops r1 client_ip="192.0.2.3" [60000, 120000) at 120000: n=2 reason="malformed"
        closed drops r2 client_ip="192.0.2.1" [60000, 120000) at 120000: n=2 reason="late"
        closed drops r2 client_ip="192.0.2.3" [60000, 120000) at 120000: n=2 reason="malformed"
    "#]]
    .assert_eq(&(rendered(&fed.verdicts).join("\n") + "\n"));
}

#[test]
fn the_partition_that_is_furthest_behind_is_read_next_and_one_that_ended_holds_nobody() {
    let rules = ruleset(&[COUNT]);
    let mut runner = Runner::new(rules, settings(2)).unwrap();
    assert_eq!(runner.lowest(), Some(0));
    let burst = |ip| numbered((0..3).map(|n| failure(n * 1_000, ip)).collect());
    runner.feed(0, &batch(&burst(1))).unwrap();
    assert_eq!(runner.lowest(), Some(1));
    runner.feed(0, &batch(&[failure(500_000, 1)])).unwrap();
    let fed = runner.end_partition(1).unwrap();
    assert_eq!(count(&fed.verdicts, VerdictKind::Closed), 1, "{:?}", rendered(&fed.verdicts));
    assert_eq!(runner.lowest(), Some(0));
    assert!(runner.feed(1, &batch(&burst(1))).is_err(), "nothing comes after the end");
}

#[test]
fn a_straggler_is_raised_and_what_it_brings_from_before_is_late() {
    let rules = ruleset(&[COUNT]);
    let mut runner = Runner::new(rules, settings(2)).unwrap();
    let mut fed = runner.feed(0, &batch(&[failure(500_000, 1)])).unwrap();
    fed.add(runner.keep_up(1, 70_000).unwrap());
    fed.add(runner.keep_up(0, 70_000).unwrap());
    fed.add(runner.feed(1, &batch(&[failure(419_999, 1), failure(420_000, 1)])).unwrap());
    assert_eq!(fed.late.iter().map(|late| late.row).collect::<Vec<_>>(), [Some(0)]);
}

#[test]
fn a_budget_that_is_crossed_says_so_and_marks_what_it_touched() {
    let tight: Text = (COUNT.0, "window: 60s\nslide: 10s\nmemory: 4KiB", COUNT.2);
    let events = numbered((0..400).map(|n| failure(n * 100, 1)).collect());
    let fed = run(&trial::ruleset_of_rows(&[tight]), &events, 20);
    let pressure: Vec<&Verdict> =
        fed.verdicts.iter().filter(|verdict| verdict.rule == crate::STATE_PRESSURE).collect();
    assert_eq!(pressure.first().unwrap().kind, VerdictKind::Opened);
    assert_eq!(pressure.last().unwrap().kind, VerdictKind::Closed);
    assert_eq!(pressure[0].key["rule"], "x/count");
    assert!(fed.verdicts.iter().any(|verdict| verdict.rule == "x/count" && verdict.degraded));
}

#[test]
fn a_row_that_a_filter_cannot_take_is_counted_and_hurts_no_other() {
    let dividing: Text = (
        "dividing",
        "key: client_ip",
        "SELECT client_ip, status FROM events WHERE 1000 / response_bytes > 1",
    );
    let mut events = numbered((0..5).map(|n| failure(n * 100_000, 1)).collect());
    events[2].bytes = 0;
    let mut runner = Runner::new(ruleset(&[dividing]), settings(1)).unwrap();
    let fed = runner.feed(0, &batch(&events)).unwrap();
    // One event opens, and twice the count has doubled: of five, the four others were judged.
    assert_eq!(fed.verdicts.len(), 3);
    assert_eq!((fed.failures.len(), fed.failures[0].count), (1, 1));
    assert!(fed.failures[0].detail.contains("ivide by zero"), "{}", fed.failures[0].detail);
}

/// Deals events to partitions in order of event time and delay; in hands of so many rows.
fn deal(events: &[Seen], how: &[(u32, i64)], rows: usize) -> Vec<(u32, Vec<Seen>)> {
    let mut order: Vec<(i64, usize)> =
        events.iter().zip(how).enumerate().map(|(n, (event, how))| (event.at + how.1, n)).collect();
    order.sort_unstable();
    let mut hands: Vec<(u32, Vec<Seen>)> = Vec::new();
    for (_, n) in order {
        let partition = how[n].0;
        match hands.iter_mut().rev().find(|hand| hand.0 == partition) {
            Some(hand) if hand.1.len() < rows => hand.1.push(events[n].clone()),
            _ => hands.push((partition, vec![events[n].clone()])),
        }
    }
    hands
}

fn run_dealt(rules: &Arc<Ruleset>, hands: &[(u32, Vec<Seen>)], partitions: u32) -> Fed {
    let mut runner = Runner::new(Arc::clone(rules), settings(partitions)).unwrap();
    let mut fed = Fed::default();
    for (partition, hand) in hands {
        fed.add(runner.feed(*partition, &batch(hand)).unwrap());
    }
    fed.add(runner.end().unwrap());
    assert_eq!(fed.failures, []);
    fed
}

fn oracle(rules: &Ruleset, events: &[Seen]) -> Vec<ClosedEpisode> {
    closed(rules, &Lists::default(), &[accepted(events)]).unwrap()
}

fn count(verdicts: &[Verdict], kind: VerdictKind) -> usize {
    verdicts.iter().filter(|verdict| verdict.kind == kind).count()
}

/// Over one partition: which events are not late, by the plainest reading.
fn on_time(events: &[Seen]) -> Vec<Seen> {
    let mut greatest = i64::MIN;
    let is_on_time = |event: &&Seen| {
        let late = event.at < greatest.saturating_sub(LATENESS_MS);
        greatest = greatest.max(event.at);
        !late
    };
    events.iter().filter(is_on_time).cloned().collect()
}

const EVENTS_ONLY: [Text; 8] =
    [COUNT, DISTINCT, SUM, RATIO, NONE, SHARE, trial::FIRST, trial::FIRSTS];

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases(48))]

    #[test]
    fn closed_episodes_are_those_of_the_definition_in_any_order_over_any_partitions(
        (events, how) in history(60).prop_flat_map(|events| {
            let how = disorder(events.len(), 3, LATENESS_MS);
            (proptest::strategy::Just(events), how)
        }),
        rows in proptest::sample::select(vec![1_usize, 3, 17, 1_000]),
    ) {
        let rules = ruleset(&EVENTS_ONLY);
        let fed = run_dealt(&rules, &deal(&events, &how, rows), 3);
        prop_assert_eq!(fed.late.len(), 0);
        let expected = oracle(&rules, &events);
        prop_assert_eq!(ClosedEpisode::all(&fed.verdicts), expected.clone());
        let (opened, merged) =
            (count(&fed.verdicts, VerdictKind::Opened), count(&fed.verdicts, VerdictKind::Merged));
        prop_assert_eq!(opened - merged, expected.len());
    }

    #[test]
    fn late_events_are_the_same_for_any_batching_and_the_rest_is_judged_without_them(
        (events, how) in history(60).prop_flat_map(|events| {
            let how = disorder(events.len(), 1, LATENESS_MS * 4);
            (proptest::strategy::Just(events), how)
        }),
    ) {
        let rules = ruleset(&EVENTS_ONLY);
        let order: Vec<Seen> =
            deal(&events, &how, usize::MAX).into_iter().flat_map(|(_, hand)| hand).collect();
        let expected = on_time(&order);
        let closed = oracle(&rules, &expected);
        for rows in [1, 3, 17, 1_000] {
            let fed = run(&rules, &order, rows);
            prop_assert_eq!(fed.late.len(), order.len() - expected.len(), "{} rows", rows);
            prop_assert_eq!(ClosedEpisode::all(&fed.verdicts), closed.clone(), "{} rows", rows);
        }
    }

    #[test]
    fn in_order_nothing_merges_and_every_word_is_the_same_for_any_batching(events in history(60)) {
        let rules = ruleset(&EVENTS_ONLY);
        let whole = run(&rules, &events, 1_000);
        prop_assert_eq!(count(&whole.verdicts, VerdictKind::Merged), 0);
        for rows in [1, 3, 17] {
            let fed = run(&rules, &events, rows);
            prop_assert_eq!(sorted(&fed.verdicts), sorted(&whole.verdicts), "{} rows", rows);
        }
    }

    #[test]
    fn four_ways_agree(events in history(50), seed in any::<u64>()) {
        let rules = ruleset(&EVENTS_ONLY);
        let steps = [Step::Events(batch(&events))];
        let ways = four_ways(&rules, &steps, settings(1), seed).unwrap();
        let expected = oracle(&rules, &events);
        for (name, fed) in ways.each() {
            prop_assert_eq!(ClosedEpisode::all(&fed.verdicts), expected.clone(), "{}", name);
        }
        let plain = sorted(&ways.whole.verdicts);
        prop_assert_eq!(&sorted(&ways.single.verdicts), &plain);
        prop_assert_eq!(&sorted(&ways.killed.verdicts), &plain);
    }

    #[test]
    fn quiet_and_straggling_partitions_change_no_closed_episode(
        (events, how) in history(50).prop_flat_map(|events| {
            let how = disorder(events.len(), 2, LATENESS_MS);
            (proptest::strategy::Just(events), how)
        }),
    ) {
        // Partition 2 never has an event; it follows by saying so. Of 0 and 1 one may straggle.
        let rules = ruleset(&EVENTS_ONLY);
        let mut runner = Runner::new(Arc::clone(&rules), settings(3)).unwrap();
        let mut fed = Fed::default();
        let mut accepted = Vec::new();
        for (partition, hand) in deal(&events, &how, 3) {
            let step = runner.feed(partition, &batch(&hand)).unwrap();
            let late: Vec<Option<usize>> = step.late.iter().map(|late| late.row).collect();
            let kept = hand.iter().enumerate().filter(|(row, _)| !late.contains(&Some(*row)));
            accepted.extend(kept.map(|(_, event)| event.clone()));
            fed.add(step);
            let now = hand.iter().map(|event| event.at).max().unwrap();
            fed.add(runner.quiet(2, EventTime(now)).unwrap());
            for partition in 0..3 {
                fed.add(runner.keep_up(partition, LATENESS_MS + 60_000).unwrap());
            }
        }
        fed.add(runner.end().unwrap());
        prop_assert_eq!(ClosedEpisode::all(&fed.verdicts), oracle(&rules, &accepted));
    }

    #[test]
    fn drops_are_judged_like_events(
        (events, how) in history(40).prop_flat_map(|events| {
            let how = disorder(events.len(), 1, LATENESS_MS * 6);
            (proptest::strategy::Just(events), how)
        }),
    ) {
        let rules = ruleset(&HANDFUL);
        let order: Vec<Seen> =
            deal(&events, &how, usize::MAX).into_iter().flat_map(|(_, hand)| hand).collect();
        let whole = run(&rules, &order, 1_000);
        let single = run(&rules, &order, 1);
        prop_assert_eq!(ClosedEpisode::all(&whole.verdicts), ClosedEpisode::all(&single.verdicts));
        // Late events count where the watermark stood when they came.
        let mut greatest = i64::MIN;
        let (mut ips, mut at, mut ids) = (Vec::new(), Vec::new(), Vec::new());
        for event in &order {
            let watermark = greatest.saturating_sub(LATENESS_MS);
            if event.at < watermark {
                ips.push(trial::letter(event.at, event.ip));
                at.push(watermark);
                ids.push(format!("e{:03}", event.id));
            }
            greatest = greatest.max(event.at);
        }
        let history = History { table: Table::Drops, batch: trial::drops(&ips, &ids), at };
        let expected =
            closed(&rules, &Lists::default(), &[accepted(&on_time(&order)), history]).unwrap();
        prop_assert_eq!(ClosedEpisode::all(&whole.verdicts), expected);
    }
}
