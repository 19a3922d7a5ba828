use std::collections::{BTreeMap, BTreeSet};

use schemas::VerdictKind;

use super::{Baseline, Learned, Season, fraction};
use crate::oracle::ClosedEpisode;
use crate::plan::Call;
use crate::run::four_ways::{Step, four_ways};
use crate::run::{Fed, RunSettings, Runner};
use crate::trial::{Seen, Text, batch, failure, render, ruleset};
use crate::watermark::Guard;
use crate::window::Windows;

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
/// A Monday at noon.
const MONDAY: i64 = 4 * DAY + 12 * HOUR;

const UNUSUAL: Text = (
    "unusual",
    "window: 10m\nslide: 5m\nrearm: 0s",
    "SELECT client_ip, count(*) AS n FROM events GROUP BY client_ip \
     HAVING count(*) >= greatest(3, baseline_max(count(*), 1.9, 9))",
);
/// Without a floor, and nothing for those that are not known.
const PLAIN: Text = (
    "plain",
    "window: 10m\nslide: 5m",
    "SELECT client_ip, count(*) AS n, round(baseline_max(count(*), 4)) AS usual FROM events \
     GROUP BY client_ip HAVING count(*) >= baseline_max(count(*), 4)",
);
// 1.9, and not 2: of what is usual nothing is a whole number then, so that rounding decides nothing.
/// Does not stay true, so that it fires at the close.
const RATHER: Text = (
    "rather",
    "window: 10m\nslide: 5m\nrearm: 0s",
    "SELECT client_ip, count(*) AS n FROM events GROUP BY client_ip \
     HAVING count(*) >= 3 AND count(*) > baseline_max(count(*), 1.9, 9) AND max(status) < 500",
);

fn settings() -> RunSettings {
    let mut settings = RunSettings::over(1);
    settings.map.guard = Guard::Off;
    settings
}

/// So many events, evenly over some time.
fn burst(from: i64, ip: u8, many: i64, over: i64) -> impl Iterator<Item = Seen> {
    (0..many).map(move |n| failure(from + n * over / many, ip))
}

fn in_order(mut events: Vec<Seen>) -> Vec<Seen> {
    events.sort_by_key(|event| event.at);
    for (id, event) in events.iter_mut().enumerate() {
        event.id = id;
    }
    events
}

fn run(rule: Text, events: Vec<Seen>) -> Fed {
    let mut runner = Runner::new(ruleset(&[rule]), settings()).unwrap();
    let mut fed = Fed::default();
    for part in in_order(events).chunks(5) {
        fed.add(runner.feed(0, &batch(part)).unwrap());
    }
    fed.add(runner.end().unwrap());
    assert_eq!(fed.failures, []);
    fed
}

fn opened(fed: &Fed) -> Vec<String> {
    let opened = fed.verdicts.iter().filter(|verdict| verdict.kind == VerdictKind::Opened);
    opened.map(|verdict| format!("{} early: {}", render(verdict), verdict.early)).collect()
}

#[test]
fn more_than_is_usual_at_this_hour_fires_at_the_event_that_crosses() {
    // Forty in ten minutes on three days: 40 + 4·√40 = 65.3.
    let usual = (0..3).flat_map(|day| burst(MONDAY + day * DAY, 1, 40, 10 * MINUTE));
    let more = burst(MONDAY + 3 * DAY, 1, 100, 10 * MINUTE);
    let fed = run(PLAIN, usual.chain(more).collect());
    // The 66th of one every six seconds.
    let start = MONDAY + 3 * DAY;
    let at = start + 65 * 6_000;
    assert_eq!(
        opened(&fed),
        [format!(
            "opened plain r1 client_ip=\"192.0.2.1\" [{start}, {}) at {at}: n=66 usual=65.0 \
             early: true",
            start + 10 * MINUTE
        )]
    );
}

#[test]
fn who_is_not_known_yet_does_not_fire_unless_the_rule_says_what_stands_for_that() {
    let days = |days: i64| (0..days).flat_map(|day| burst(MONDAY + day * DAY, 1, 5, MINUTE));
    let more = |day: i64| burst(MONDAY + day * DAY, 1, 200, 10 * MINUTE);
    assert_eq!(opened(&run(PLAIN, days(2).chain(more(2)).collect())), [""; 0]);
    assert_eq!(opened(&run(PLAIN, days(3).chain(more(3)).collect())).len(), 1);
    let unknown = opened(&run(UNUSUAL, more(0).collect()));
    assert!(unknown.len() == 1 && unknown[0].contains("n=9 "), "{unknown:?}");
}

#[test]
fn at_an_hour_at_which_it_never_came_what_is_usual_at_its_busiest_holds() {
    let usual = || (0..3).flat_map(|day| burst(MONDAY + day * DAY, 1, 40, 10 * MINUTE));
    let at_night = |many| burst(MONDAY + 3 * DAY + 15 * HOUR, 1, many, 10 * MINUTE);
    let with = |many| opened(&run(PLAIN, usual().chain(at_night(many)).collect())).len();
    assert_eq!((with(65), with(66)), (0, 1));
}

#[test]
fn an_hour_in_which_it_fired_teaches_nothing() {
    let usual = (0..3).flat_map(|day| burst(MONDAY + day * DAY, 1, 10, 10 * MINUTE));
    // 10 + 4·√10 = 22.6: a week of attacks is not usual at the end of it, and neither is the quiet
    // part of their hours.
    let attacks = (3..5).chain(7..12).flat_map(|day| {
        let attack = burst(MONDAY + day * DAY, 1, 100, 10 * MINUTE);
        attack.chain(burst(MONDAY + day * DAY + 40 * MINUTE, 1, 20, 10 * MINUTE))
    });
    let fed = run(PLAIN, usual.chain(attacks).collect());
    assert_eq!(opened(&fed).len(), 7, "{:#?}", opened(&fed));
}

#[test]
fn who_goes_slowly_does_not_get_far() {
    let call = Call { fold: 0, deviations: 6.0, unknown: f64::INFINITY };
    let mut season = Season::new(0, 20, 0);
    (0..20).for_each(|_| season.take(20, 0));
    let usual = season.usual(call.deviations);
    for week in 1..5 {
        for _day in 0..5 {
            // Just below what would fire.
            #[expect(clippy::cast_possible_truncation, reason = "a test")]
            season.take(season.usual(call.deviations) as i64, week);
        }
    }
    // Twice and ten more a week, four times.
    let most = |mut of: f64| {
        (0..4).for_each(|_| of = 2.0 * of + 10.0);
        of
    };
    assert!(f64::from(season.mean) <= most(20.0) && f64::from(season.deviation) <= most(0.0));
    assert!(season.usual(call.deviations) > usual);
}

#[test]
fn of_too_many_keys_those_go_that_taught_the_least_and_it_is_said() {
    let windows = Windows::new(10 * MINUTE, 5 * MINUTE).unwrap();
    let mut baseline = Baseline::new(windows, None, 100 * 1024);
    let window = |at: i64| at / (5 * MINUTE);
    let mut shed = 0;
    for day in 0..5 {
        let known = std::iter::once((7, 40));
        let strangers = (0..500).map(|n| (1_000 + day * 500 + n, 1));
        let came: Vec<(u128, i64)> = known.chain(strangers).collect();
        let at = MONDAY + i64::try_from(day).unwrap() * DAY;
        shed += baseline.see(window(at), came.into_iter(), std::iter::empty()).rows;
        assert!(baseline.bytes() <= 100 * 1024);
    }
    assert!(shed > 1_000, "{shed}");
    let call = Call { fold: 0, deviations: 0.0, unknown: 1.0 };
    let now = window(MONDAY + 5 * DAY);
    assert!((baseline.usual(7, now, call) - 40.0).abs() < 0.01);
    assert!(baseline.is_lossy(1_001, now) && !baseline.is_lossy(7, now));
    let counted = baseline.bytes();
    baseline.count();
    assert_eq!(counted, baseline.bytes());
}

#[test]
fn what_did_not_come_for_eight_weeks_is_forgotten() {
    let windows = Windows::new(10 * MINUTE, 5 * MINUTE).unwrap();
    let mut baseline = Baseline::new(windows, None, 1 << 20);
    let mut see = |day: i64, key: u128| {
        let k = (MONDAY + day * DAY) / (5 * MINUTE);
        baseline.see(k, std::iter::once((key, 1)), std::iter::empty());
        baseline.keys.keys().copied().collect::<Vec<u128>>()
    };
    assert_eq!(see(0, 1), [1]);
    assert_eq!(see(55, 2), [1, 2]);
    assert_eq!(see(58, 3), [2, 3]);
}

#[test]
fn a_key_that_comes_back_after_eight_weeks_is_unknown_whenever_the_others_are_swept() {
    let windows = Windows::new(10 * MINUTE, 5 * MINUTE).unwrap();
    let mut baseline = Baseline::new(windows, None, 1 << 20);
    let call = Call { fold: 0, deviations: 0.0, unknown: -1.0 };
    let window = |at: i64| at / (5 * MINUTE);
    for day in 0..4 {
        let came = std::iter::once((1, 7));
        baseline.see(window(MONDAY + day * DAY), came, std::iter::empty());
    }
    // The last day may be forgotten from the hour after this one on.
    let week_eight = MONDAY + 3 * DAY + 56 * DAY;
    let usual = |baseline: &Baseline, at: i64| baseline.usual(1, window(at), call);
    assert!((usual(&baseline, week_eight + 59 * MINUTE) - 7.0).abs() < 0.01);
    assert!((usual(&baseline, week_eight + HOUR) - call.unknown).abs() < 0.01);
    // It comes, and is as unknown in the rest of that hour.
    let came = std::iter::once((1, 7));
    baseline.see(window(week_eight + HOUR), came, std::iter::empty());
    assert!((usual(&baseline, week_eight + HOUR + 30 * MINUTE) - call.unknown).abs() < 0.01);
    assert_eq!(baseline.keys[&1].seasons, []);
}

/// What a rule is by its definition, from all events at once: which windows fire, and for each key
/// the greatest number in an episode.
struct Defined {
    deviations: f64,
    floor: f64,
    unknown: f64,
    /// Greater than what is usual, or at least as much.
    more: bool,
}

const SIZE: i64 = 10 * MINUTE;
const SLIDE: i64 = 5 * MINUTE;

type Span = (i64, i64, i64);

impl Defined {
    fn episodes(&self, events: &[Seen]) -> BTreeMap<u8, Vec<Span>> {
        let keys: BTreeSet<u8> = events.iter().map(|event| event.ip).collect();
        keys.into_iter().map(|ip| (ip, self.of(events.iter().filter(|e| e.ip == ip)))).collect()
    }

    fn of<'e>(&self, events: impl Iterator<Item = &'e Seen>) -> Vec<Span> {
        let at: Vec<i64> = events.map(|event| event.at).collect();
        let count = |k: i64| {
            let inside = k * SLIDE..k * SLIDE + SIZE;
            i64::try_from(at.iter().filter(|at| inside.contains(at)).count()).unwrap()
        };
        let windows: BTreeSet<i64> =
            at.iter().flat_map(|at| [at / SLIDE - 1, at / SLIDE]).collect();
        let mut firing: Vec<i64> = Vec::new();
        for k in &windows {
            let n = fraction(count(*k));
            let usual = self.usual(&windows, &firing, &count, k * SLIDE / HOUR);
            let over = if self.more { n > usual } else { n >= usual };
            if n >= self.floor && over {
                firing.push(*k);
            }
        }
        let mut spans: Vec<Span> = Vec::new();
        for k in firing {
            let (start, end) = (k * SLIDE, k * SLIDE + SIZE);
            match spans.last_mut() {
                // No re-arm gap: as far apart as a window is long.
                Some(last) if start - (last.1 - SIZE) <= SIZE => {
                    *last = (last.0, end, last.2.max(count(k)));
                }
                _ => spans.push((start, end, count(k))),
            }
        }
        spans
    }

    /// What hours up to two before taught, one after the other.
    fn usual(
        &self,
        windows: &BTreeSet<i64>,
        firing: &[i64],
        count: &dyn Fn(i64) -> i64,
        hour: i64,
    ) -> f64 {
        let per_hour = HOUR / SLIDE;
        let season = |hour: i64| ((hour / 24 + 3) % 7 >= 5, hour % 24);
        let mut seasons: BTreeMap<(bool, i64), Vec<f64>> = BTreeMap::new();
        let hours: BTreeSet<i64> = windows.iter().map(|k| k / per_hour).collect();
        for hour in hours.into_iter().filter(|of| *of <= hour - 2) {
            let overlaps =
                |k: &i64| k * SLIDE < (hour + 1) * HOUR && k * SLIDE + SIZE > hour * HOUR;
            if firing.iter().any(overlaps) {
                continue;
            }
            let end_to_end = (hour * per_hour..(hour + 1) * per_hour).filter(|k| k % 2 == 0);
            let most = end_to_end.map(count).max().unwrap_or(0);
            if most > 0 {
                seasons.entry(season(hour)).or_default().push(fraction(most));
            }
        }
        let usual = |seen: &Vec<f64>| {
            let (mut mean, mut variance) = (0.0, 0.0);
            for (n, x) in (1_u32..).zip(seen) {
                let weight = (1.0 / f64::from(n)).max(0.125);
                let apart = x - mean;
                if n == 1 {
                    mean = *x;
                } else {
                    mean += weight * apart;
                    variance = (1.0 - weight) * (variance + weight * apart * apart);
                }
            }
            mean + self.deviations * (variance + mean).sqrt()
        };
        let known = |seen: &&Vec<f64>| seen.len() >= 3;
        let own = seasons.get(&season(hour)).filter(known).map(usual);
        let any = seasons.values().filter(known).map(usual).max_by(f64::total_cmp);
        own.or(any).unwrap_or(self.unknown)
    }
}

/// Some callers over three weeks, each at its hours, now and then much more.
fn traffic(seed: u64) -> Vec<Seen> {
    let mut state = seed;
    let mut dice = move |sides: i64| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        i64::try_from(state >> 33).unwrap() % sides
    };
    let mut events = Vec::new();
    for day in 0..21 {
        for ip in 1..=3_u8 {
            for hour in [9, 10, 14] {
                if dice(4) == 0 {
                    continue;
                }
                let from = MONDAY - 12 * HOUR + day * DAY + hour * HOUR;
                for _burst in 0..1 + dice(3) {
                    let many = if dice(15) == 0 { 20 + dice(20) } else { 2 + dice(4) };
                    let (at, over) = (from + dice(60) * MINUTE, (1 + dice(12)) * MINUTE);
                    events.extend(burst(at, ip, many, over));
                }
            }
        }
    }
    in_order(events)
}

#[test]
fn episodes_are_those_of_the_definition_whatever_order_events_come_in() {
    let defined = |more| Defined { deviations: 1.9, floor: 3.0, unknown: 9.0, more };
    let mut episodes = 0;
    for seed in 1..=12 {
        let events = traffic(seed);
        for (rule, defined) in [(UNUSUAL, defined(false)), (RATHER, defined(true))] {
            let steps = [Step::Events(batch(&events))];
            let ways = four_ways(&ruleset(&[rule]), &steps, settings(), seed).unwrap();
            let expected: Vec<String> = defined
                .episodes(&events)
                .iter()
                .flat_map(|(ip, spans)| spans.iter().map(move |span| (*ip, *span)))
                .map(|(ip, (start, end, n))| format!("192.0.2.{ip} [{start}, {end}) {n}"))
                .collect();
            for (way, fed) in ways.each() {
                assert_eq!(fed.failures, []);
                let found = ClosedEpisode::all(&fed.verdicts).into_iter().map(|episode| {
                    let (start, end) = (episode.span.0.millis(), episode.span.1.millis());
                    let ip = episode.key["client_ip"].as_str().unwrap().to_owned();
                    format!("{ip} [{start}, {end}) {}", episode.totals["n"])
                });
                let found: Vec<String> = found.collect();
                let only = |of: &[String], other: &[String]| -> Vec<String> {
                    of.iter().filter(|one| !other.contains(one)).cloned().collect()
                };
                let wrong = (only(&found, &expected), only(&expected, &found));
                assert_eq!(wrong, (vec![], vec![]), "{} {way} {seed}", rule.0);
            }
            episodes += expected.len();
        }
    }
    assert!(episodes > 200, "{episodes}");
}

#[test]
fn a_key_is_read_as_it_was_written() {
    use crate::wire::{Reader, Writer};
    let windows = Windows::new(10 * MINUTE, 5 * MINUTE).unwrap();
    let mut baseline = Baseline::new(windows, None, 1 << 20);
    for day in 0..9 {
        let k = (MONDAY + day * DAY) / (5 * MINUTE);
        let came = [(3, 5 + day), (u128::MAX, 1)];
        baseline.see(k, came.into_iter(), std::iter::once(9));
    }
    let mut out = Writer::default();
    baseline.write(&mut out);
    let mut again = Baseline::new(windows, None, 1 << 20);
    let mut from = Reader::new(&out.bytes);
    again.read(&mut from).unwrap();
    from.end("a baseline").unwrap();
    assert_eq!((again.keys, again.bytes), (baseline.keys.clone(), baseline.bytes));
    assert_ne!(baseline.keys.get(&3), Some(&Learned::default()));
}
