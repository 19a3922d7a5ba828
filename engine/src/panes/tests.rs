use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_assert_eq, proptest};
use schemas::{BatchBuilder, Event, EventTime, Field, Verdict, VerdictKind};
use serde_json::{Value, json};

use super::watch::Spans;
use crate::plan::{CompiledRule, State, compile};
use crate::rule::{Lists, Settings, SourceFile, load};
use crate::ruleset::Ruleset;
use crate::run::four_ways::{Step, four_ways};
use crate::run::{RunSettings, Runner};
use crate::trial::{
    self, COUNT, DISTINCT, RATIO, SUM, Seen, Text, batch, disorder, failure, history, numbered,
    ruleset, ruleset_of_rows,
};
use crate::watermark::Guard;

const LATENESS_MS: i64 = 10_000;

/// Every fold, and a HAVING that stays true.
const FOLDS: Text = (
    "folds",
    "window: 60s\nslide: 10s\nrearm: 10s",
    "SELECT client_ip, count(*) AS n, count(account) AS named, \
     count(DISTINCT path) FILTER (WHERE status >= 400) AS paths, sum(response_bytes) AS bytes, \
     min(response_bytes) AS least, max(path) AS last_path, min(service) AS service, \
     avg(response_bytes) AS mean, bool_or(status = 500) AS broke, \
     bool_and(status >= 400) AS failing, max(event_time) AS latest, max(status) AS worst, \
     sum(CASE WHEN status = 401 THEN 1 ELSE 0 END) AS refused, \
     count(*) FILTER (WHERE status = 500) * 100 / count(*) AS share FROM events \
     GROUP BY client_ip HAVING count(*) >= 2 AND (max(response_bytes) > 300 OR bool_or(status = 500))",
);
/// A HAVING that more events can make false.
const FEW: Text = (
    "few",
    "window: 40s\nslide: 10s\nrearm: 0s",
    "SELECT client_ip, account, count(*) AS n, avg(status) AS mean FROM events \
     GROUP BY client_ip, account HAVING count(*) < 3 AND count(DISTINCT status) >= 2",
);
/// Thresholds on either side of OR, and none.
const EITHER: Text = (
    "either",
    "window: 30s\nslide: 10s\nrearm: 20s",
    "SELECT service, client_ip, count(DISTINCT account) AS accounts, min(status) AS best FROM events \
     GROUP BY service, client_ip HAVING 2 < count(DISTINCT account) OR min(status) <= 200 \
     OR sum(response_bytes) >= 900",
);
const ALL: Text = (
    "all",
    "window: 20s\nslide: 20s",
    "SELECT who, count(*) AS n, max(kind) AS kind FROM (SELECT client_ip AS who, \
     CASE WHEN status > 400 THEN path ELSE 'fine' END AS kind, bytes FROM (SELECT client_ip, status, \
     path, response_bytes + 1 AS bytes FROM events) WHERE bytes > 20) WHERE kind <> '/p3' GROUP BY who",
);
/// Three in the unit of [`COUNT`]: a longer window, a shorter one over another fold, and one that
/// only fires at the close.
const LONGER: Text = (
    "longer",
    "window: 120s\nslide: 10s\nrearm: 0s",
    "SELECT client_ip, count(*) AS n, max(account) AS last FROM events WHERE status >= 400 \
     GROUP BY client_ip HAVING count(*) >= 5",
);
const SHORTER: Text = (
    "shorter",
    "window: 20s\nslide: 10s\nrearm: 30s",
    "SELECT client_ip, count(DISTINCT account) AS accounts FROM events WHERE status >= 400 \
     GROUP BY client_ip HAVING count(DISTINCT account) >= 2",
);
const CLOSING: Text = (
    "closing",
    "window: 40s\nslide: 10s\nrearm: 10s",
    "SELECT client_ip, count(*) AS n, min(status) AS least FROM events WHERE status >= 400 \
     GROUP BY client_ip HAVING count(*) < 4",
);
const PANES: [Text; 11] =
    [COUNT, DISTINCT, SUM, RATIO, FOLDS, FEW, EITHER, ALL, LONGER, SHORTER, CLOSING];

fn settings(partitions: u32) -> RunSettings {
    let mut settings = RunSettings::over(partitions);
    settings.map.guard = Guard::Off;
    settings.map.lateness_ms = LATENESS_MS;
    settings
}

/// Everything said, in an order of its own, without what only panes can say.
fn words(verdicts: &[Verdict]) -> Vec<String> {
    let word = |verdict: &Verdict| {
        serde_json::to_string(&Verdict { early: false, ..verdict.clone() }).unwrap()
    };
    let mut words: Vec<String> = verdicts.iter().map(word).collect();
    words.sort();
    words
}

/// Of closed episodes, all that does not depend on the order of arrival.
fn closings(verdicts: &[Verdict]) -> Vec<String> {
    let of = |verdict: &Verdict| Verdict {
        id: String::new(),
        revision: 0,
        fired_at: EventTime(0),
        subject: serde_json::Map::new(),
        ..verdict.clone()
    };
    let closed = verdicts.iter().filter(|verdict| verdict.kind == VerdictKind::Closed);
    words(&closed.map(of).collect::<Vec<_>>())
}

/// What only one of both says: a few of them, cut short.
fn differ(found: &[String], wanted: &[String]) -> Option<String> {
    let cut = |word: &String| word.chars().take(900).collect::<String>();
    let only = |these: &[String], those: &[String]| -> Vec<String> {
        these.iter().filter(|word| !those.contains(word)).take(3).map(cut).collect()
    };
    let (more, less) = (only(found, wanted), only(wanted, found));
    (found != wanted)
        .then(|| format!("only found\n{}\nonly wanted\n{}\n", more.join("\n"), less.join("\n")))
}

/// Hands of events to source partitions; `kill` begins anew from markers after each.
fn run(
    rules: &Arc<Ruleset>,
    hands: &[(u32, RecordBatch)],
    how: (RunSettings, bool),
) -> Vec<Verdict> {
    let mut runner = Runner::new(Arc::clone(rules), how.0).unwrap();
    let mut said = Vec::new();
    for (partition, hand) in hands {
        let fed = runner.feed(*partition, hand).unwrap();
        assert_eq!((fed.failures, fed.late.len()), (vec![], 0));
        said.extend(fed.verdicts);
        if how.1 && runner.is_settled() {
            runner.restart().unwrap();
        }
    }
    said.extend(runner.end().unwrap().verdicts);
    assert!(runner.load().all(|load| load.bytes == 0), "what is over is forgotten");
    said
}

fn deal(events: &[Seen], how: &[(u32, i64)], rows: usize) -> Vec<(u32, RecordBatch)> {
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
    hands.into_iter().map(|(partition, hand)| (partition, batch(&hand))).collect()
}

#[test]
fn these_rules_are_kept_in_panes() {
    let rules = ruleset(&PANES);
    let state = |rule: &CompiledRule| (rule.id().to_owned(), rule.state, rule.panes.clone());
    for (id, state, panes) in rules.rules().map(state) {
        assert_eq!(state, State::Panes, "{id}: {panes:?}");
    }
    assert!(ruleset_of_rows(&PANES).rules().all(|rule| rule.state == State::Rows));
}

#[test]
fn rules_of_one_unit_keep_one_state() {
    let all = ruleset(&[COUNT, LONGER, SHORTER, CLOSING]);
    let [unit] = all.index().units.as_slice() else { panic!("one unit") };
    assert_eq!((unit.rules.len(), unit.panes_max, unit.folds.len()), (4, 12, 4));
    assert_eq!(unit.memory_bytes_max, 4 * (64 << 20));
    let events = numbered((0..40).map(|n| failure(n * 900, 1)).collect());
    let held = |rules: &Arc<Ruleset>| {
        let mut runner = Runner::new(Arc::clone(rules), settings(1)).unwrap();
        runner.feed(0, &batch(&events)).unwrap();
        runner.load().map(|load| load.bytes).collect::<Vec<_>>()
    };
    let (alone, shared) = (held(&ruleset(&[COUNT])), held(&all));
    assert!(shared.iter().all(|bytes| *bytes == shared[0]), "equal parts: {shared:?}");
    assert!(shared.iter().sum::<usize>() < 2 * alone[0], "{shared:?} {alone:?}");
}

#[test]
fn a_set_of_windows_forgets_and_joins() {
    let mut spans = Spans::default();
    [5, 7, 6, -3, 9].into_iter().for_each(|at| spans.insert(at));
    let inside = |spans: &Spans| (-5..12).filter(|at| spans.contains(*at)).collect::<Vec<_>>();
    assert_eq!(inside(&spans), [-3, 5, 6, 7, 9]);
    spans.forget(6);
    assert_eq!(inside(&spans), [5, 6, 7, 9]);
}

#[test]
fn a_monotone_rule_speaks_at_the_event_before_any_window_closes() {
    let mut runner = Runner::new(ruleset(&[COUNT]), settings(2)).unwrap();
    let events = numbered((0..3).map(|n| failure(61_000 + n * 1_000, 1)).collect());
    let fed = runner.feed(0, &batch(&events)).unwrap();
    let said: Vec<String> = fed.verdicts.iter().map(trial::render).collect();
    assert_eq!(
        said,
        ["opened count r1 client_ip=192.0.2.1 [10000, 70000) at 63000: n=3"
            .replace("192.0.2.1", "\"192.0.2.1\"")]
    );
    assert!(fed.verdicts[0].early);
    assert_eq!(fed.verdicts[0].events.len(), 3);
}

#[test]
fn a_flood_of_other_keys_does_not_push_out_a_key_near_the_threshold() {
    let tight: Text = (
        "tight",
        "window: 60s\nslide: 10s\nmemory: 64KiB",
        "SELECT client_ip, account, count(*) AS n FROM events GROUP BY client_ip, account \
         HAVING count(*) >= 100",
    );
    let other = |n: i64| {
        let part = |of: i64| u8::try_from(of).unwrap();
        Seen { ip: part(2 + n % 250), account: part(n / 250), ..failure(n * 10, 1) }
    };
    let events: Vec<Seen> =
        (0..5_000).map(|n| if n % 10 == 0 { failure(n * 10, 1) } else { other(n) }).collect();
    let hands = deal(&numbered(events), &[(0, 0); 5_000], 100);
    let said = run(&ruleset(&[tight]), &hands, (settings(1), false));
    let opened = |rule: &str| {
        said.iter().filter(|v| v.kind == VerdictKind::Opened && v.rule == rule).count()
    };
    assert_eq!(opened("x/tight"), 1);
    assert_eq!(opened(crate::STATE_PRESSURE), 1);
    assert!(said.iter().any(|verdict| verdict.rule == "x/tight" && verdict.degraded));
}

#[test]
fn a_key_that_came_back_out_of_order_is_owed_what_was_given_up_of_later_panes_too() {
    let tight: Text = (
        "tight",
        "window: 10s\nslide: 10s\nrearm: 0s\nmemory: 64KiB",
        "SELECT client_ip, account, count(*) AS n FROM events GROUP BY client_ip, account \
         HAVING count(*) >= 4",
    );
    let known = |at: i64| failure(at, 1);
    let other = |n: i64| {
        let part = |of: i64| u8::try_from(of).unwrap();
        Seen { ip: part(2 + n % 250), account: part(n / 250), ..failure(110_000 + n, 1) }
    };
    // Three rows of the key, then three of very many others in the pane after.
    let mut events = vec![known(100_000), known(101_000), known(101_500)];
    events.extend((0..2_500).flat_map(|n| [other(n), other(n), other(n)]));
    // One of the pane before, which seems to be the fourth, and the real one.
    events.extend([known(99_000), known(105_000)]);
    let mut settings = settings(1);
    settings.map.lateness_ms = 60_000;
    let hands: Vec<(u32, RecordBatch)> =
        events.chunks(500).map(|part| (0, batch(&numbered(part.to_vec())))).collect();
    let said = run(&ruleset(&[tight]), &hands, (settings, false));
    assert!(said.iter().any(|verdict| verdict.rule == crate::STATE_PRESSURE), "it was given up");
    let closed = |verdict: &&Verdict| {
        verdict.kind == VerdictKind::Closed
            && verdict.key.get("client_ip") == Some(&json!("192.0.2.1"))
    };
    let window = said.iter().find(closed).unwrap().window.unwrap();
    assert_eq!((window.start, window.end), (EventTime(90_000), EventTime(110_000)));
}

#[test]
fn what_rows_added_to_a_sum_counts_however_small_those_are_that_come_now() {
    let sum: Text = (
        "sum",
        "window: 60s\nslide: 10s",
        "SELECT client_ip, sum(response_bytes) AS n FROM events GROUP BY client_ip \
         HAVING sum(response_bytes) >= 1000",
    );
    let bytes = |second: i64, ip: u8, bytes: i64| Seen { bytes, ..failure(second * 1_000, ip) };
    // Much at once, then little of others for so long that panes go, then two rows out of order:
    // only the second one is enough, and only of a window that the first is not in.
    let mut events = vec![bytes(0, 2, 1), bytes(12, 2, 1), bytes(35, 1, 950)];
    events.extend((4..10).map(|n| bytes(n * 10, 2, 1)));
    events.extend([bytes(94, 1, 40), bytes(88, 1, 60)]);
    let hands: Vec<(u32, RecordBatch)> =
        numbered(events).chunks(1).map(|event| (0, batch(event))).collect();
    for kill in [false, true] {
        let by_panes = run(&ruleset(&[sum]), &hands, (settings(1), kill));
        let by_rows = run(&ruleset_of_rows(&[sum]), &hands, (settings(1), false));
        assert_eq!(differ(&closings(&by_panes), &closings(&by_rows)), None, "killed: {kill}");
        assert_eq!(closings(&by_rows).len(), 1);
    }
}

#[test]
fn a_value_that_a_fold_cannot_take_costs_its_row_only() {
    let dividing: Text = (
        "dividing",
        "window: 60s\nslide: 60s",
        "SELECT client_ip, max(1000 / response_bytes) AS n, count(*) AS all_of_them FROM events \
         GROUP BY client_ip HAVING count(*) >= 4",
    );
    let mut events = numbered((0..5).map(|n| failure(n * 1_000, 1)).collect());
    events[2].bytes = 0;
    let rules = ruleset(&[dividing]);
    assert!(rules.rules().all(|rule| rule.state == State::Panes));
    let mut runner = Runner::new(rules, settings(1)).unwrap();
    let fed = runner.feed(0, &batch(&events)).unwrap();
    assert_eq!((fed.verdicts.len(), fed.failures.len(), fed.failures[0].count), (1, 1, 1));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn panes_close_the_episodes_of_rows_in_any_order_over_any_partitions_and_kills(
        (events, how) in history(70).prop_flat_map(|events| {
            let how = disorder(events.len(), 3, LATENESS_MS);
            (Just(events), how)
        }),
        rows in proptest::sample::select(vec![1_usize, 3, 17, 1_000]),
        kill in any::<bool>(),
        exchange in 1_u32..4,
    ) {
        let hands = deal(&events, &how, rows);
        let mut split = settings(3);
        split.map.exchange_partitions = exchange;
        let by_panes = run(&ruleset(&PANES), &hands, (split, kill));
        let by_rows = run(&ruleset_of_rows(&PANES), &hands, (settings(3), false));
        prop_assert_eq!(differ(&closings(&by_panes), &closings(&by_rows)), None);
        let count = |kind| by_panes.iter().filter(|verdict| verdict.kind == kind).count();
        prop_assert_eq!(
            count(VerdictKind::Opened) - count(VerdictKind::Merged),
            count(VerdictKind::Closed)
        );
    }

    #[test]
    fn in_order_panes_say_word_for_word_what_rows_say_but_earlier(
        events in history(70), rows in proptest::sample::select(vec![1_usize, 7, 1_000]),
    ) {
        let hands = deal(&events, &vec![(0, 0); events.len()], rows);
        let by_panes = run(&ruleset(&PANES), &hands, (settings(1), false));
        let by_rows = run(&ruleset_of_rows(&PANES), &hands, (settings(1), false));
        prop_assert_eq!(differ(&words(&by_panes), &words(&by_rows)), None);
    }
}

fn pack() -> (Vec<CompiledRule>, Vec<CompiledRule>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../rules");
    let mut files = Vec::new();
    let mut lists = Vec::new();
    let mut folders = vec![folder.clone()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.strip_prefix(&folder).unwrap().to_str().unwrap().to_owned();
            let file =
                SourceFile { path: name.clone(), text: std::fs::read_to_string(&path).unwrap() };
            if name.starts_with("lists/") { lists.push(file) } else { files.push(file) }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let (rules, problems) = load(&files, &Settings::default());
    assert!(problems.is_empty(), "{problems:?}");
    let (lists, problems) = Lists::load(&lists);
    assert!(problems.is_empty(), "{problems:?}");
    let folded = || {
        let (compiled, _warnings) = compile(&rules, &lists);
        compiled.into_iter().filter(|rule| rule.state == State::Panes && !rule.learns())
    };
    (folded().collect(), folded().map(CompiledRule::into_rows).collect())
}

/// Traffic that sets off most of the pack: a few callers, each busy with one thing at a time.
#[expect(clippy::too_many_lines, reason = "most of them are the columns of an event")]
fn attacks(seed: u64, many: i64) -> RecordBatch {
    let mut state = seed;
    let mut below = |bound: u64| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % bound
    };
    let paths = [
        "/wp-login.php",
        "/.env",
        "/.git/config",
        "/backup.zip",
        "/shell.php",
        "/c99.php",
        "/wp-content/plugins/a/readme.txt",
        "/wp-json/wp/v2/users",
        "/phpmyadmin/",
        "/manager/html",
        "/admin/",
        "/v1/orders/1",
        "/login",
        "/../../etc/passwd",
        "/owa/",
        "/actuator/env",
    ];
    let mut builder = BatchBuilder::default();
    let mut at = 1_767_571_200_000;
    for n in 0..many {
        at += i64::try_from(below(400)).unwrap();
        let caller = (n / 60) % 4;
        let path = match below(3) {
            0 => format!(
                "{}{}",
                paths[usize::try_from(below(16)).unwrap()],
                ["", "?x"][usize::try_from(below(2)).unwrap()]
            ),
            1 => format!("/x{}", below(90)),
            _ => paths[usize::try_from(n / 120 % 16).unwrap()].to_owned(),
        };
        let status = [401, 404, 200, 403, 404, 500][usize::try_from(below(6)).unwrap()];
        let method = ["GET", "POST"][usize::try_from(below(2)).unwrap()];
        let agent = ["sqlmap/1.7", "nuclei", "Mozilla/5.0"][usize::try_from(below(3)).unwrap()];
        let class = ["path_traversal", "sqli", "xss"][usize::try_from(below(3)).unwrap()];
        let login = n / 90 % 2 == 0;
        let mut event = Event {
            event_id: Some(format!("e{n:05}").into()),
            line: Some(format!("line {n}").into()),
            event_time: Some(EventTime(at)),
            ..Event::default()
        };
        let row = json!({
            "client_ip": format!("192.0.2.{caller}"), "client_asn": below(5), "path": path,
            "method": method, "status": status,
            "route": format!("/v1/r{}", n / 200), "route_login": login, "service": "shop",
            "account": format!("a{}", if n / 300 % 2 == 0 { below(40) } else { 1 }),
            "user_agent": agent,
            "attack_class": [class],
            "auth_kind": "none", "route_auth_required": true, "deploy_id": format!("d{}", n / 500),
        });
        for (name, value) in row.as_object().unwrap() {
            let value = if *name == "client_asn" {
                Value::from(value.as_i64().unwrap())
            } else {
                value.clone()
            };
            event.set(Field::named(name).unwrap(), &value).unwrap();
        }
        if n % 3 == 0 {
            event.set(Field::named("principal").unwrap(), &json!(format!("p{caller}"))).unwrap();
            event.set(Field::named("object_id").unwrap(), &json!(below(60).to_string())).unwrap();
        }
        builder.push(&event);
    }
    builder.finish().unwrap()
}

#[test]
fn every_rule_of_the_pack_that_can_be_kept_in_panes_says_what_it_says_over_rows() {
    let (by_panes, by_rows) = pack();
    let ids: Vec<String> = by_panes.iter().map(|rule| rule.id().to_owned()).collect();
    let (by_panes, by_rows) =
        (Arc::new(Ruleset::new(by_panes).unwrap()), Arc::new(Ruleset::new(by_rows).unwrap()));
    let mut spoke = std::collections::BTreeSet::new();
    for seed in 0..1 {
        let steps = [Step::Events(attacks(seed, 500))];
        let folded = four_ways(&by_panes, &steps, settings(1), seed).unwrap();
        let plain = four_ways(&by_rows, &steps, settings(1), seed).unwrap().whole;
        assert_eq!(differ(&words(&folded.whole.verdicts), &words(&plain.verdicts)), None);
        for (name, fed) in folded.each() {
            assert_eq!(fed.failures, [], "{name}");
            assert_eq!(
                differ(&closings(&fed.verdicts), &closings(&plain.verdicts)),
                None,
                "{name}"
            );
        }
        spoke.extend(plain.verdicts.iter().map(|verdict| verdict.rule.clone()));
    }
    let silent: Vec<&String> = ids.iter().filter(|id| !spoke.contains(*id)).collect();
    assert!(spoke.len() >= 4, "silent here: {silent:?}");
}
