//! A flood of keys that nobody asked for, against rules whose state it would fill.

use std::collections::BTreeSet;
use std::sync::Arc;

use schemas::{Verdict, VerdictKind};

use crate::map::{Input, MapSettings, Mapper, Start};
use crate::reduce::{ReduceSettings, Reducer};
use crate::trial::{Seen, Text, batch, failure, ruleset};
use crate::watermark::Guard;

/// N: events of one key in a window that fire.
const THRESHOLD: u64 = 20;
/// M: events in a window.
const EVENTS: u64 = 60_000;
const WINDOW_MS: u64 = 60_000;
/// What a key with one cell is counted as, about.
const KEY_BYTES: u64 = 190;

/// Nine in ten events are of keys that hardly come twice; the others are of callers that send a
/// little less or more than the threshold within a window, spread over it.
fn flood(seed: u64) -> Vec<Seen> {
    let mut state = seed;
    let mut below = |bound: u64| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        ((mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 33) % bound
    };
    let byte = |number: u64| u8::try_from(number).unwrap();
    let callers = EVENTS / 10 / THRESHOLD;
    let event = |n: u64| {
        let at = n * WINDOW_MS / EVENTS;
        let (ip, account) = match below(10) {
            0 => {
                let caller = below(callers) + at / WINDOW_MS * callers;
                (byte(200 + caller / 250), byte(caller % 250))
            }
            _ => (byte(below(200)), byte(below(256))),
        };
        let status = 400 + i32::try_from(below(1_000)).unwrap();
        let (at, id) = (i64::try_from(at).unwrap(), usize::try_from(n).unwrap());
        Seen { ip, account, status, id, ..failure(at, 1) }
    };
    (0..2 * EVENTS).map(event).collect()
}

#[derive(Debug)]
struct Outcome {
    /// Keys of which episodes opened, and of which with a word that they may be wrong.
    opened: BTreeSet<String>,
    degraded: BTreeSet<String>,
    pressure: bool,
}

fn outcome(having: &str, memory: u64, events: &[Seen]) -> Outcome {
    let head = format!("window: 60s\nslide: 10s\nmemory: {}KiB", memory.div_ceil(1024));
    let sql = format!(
        "SELECT client_ip, account, count(*) AS n FROM events GROUP BY client_ip, account \
         HAVING {having} >= {THRESHOLD}"
    );
    let rule: Text = ("flood", String::leak(head), String::leak(sql));
    let rules = ruleset(&[rule]);
    let budget: usize = rules.rules().map(|rule| rule.rule.memory_bytes_max).sum();
    let settings = MapSettings { guard: Guard::Off, ..MapSettings::default() };
    let mut mapper = Mapper::new(Arc::clone(&rules), 0, settings, Start::of_log(0));
    let mut reducer = Reducer::new(Arc::clone(&rules), ReduceSettings::alone(1));
    reducer.open(&mapper.open()).unwrap();
    let mut said: Vec<Verdict> = Vec::new();
    for part in events.chunks(1_000) {
        let next = mapper.position() + 1_000;
        let batch = batch(part);
        let input = Input { batch: &batch, append_times: None, next, origin: None };
        for frame in mapper.map(input).unwrap().frames {
            said.extend(reducer.reduce(frame).unwrap().verdicts);
        }
        let (counted, held) = reducer.counted_and_held();
        assert!(counted <= budget, "{counted} of {budget} bytes");
        assert!(held <= counted + counted / 4 + 16_384, "{held} bytes, counted as {counted}");
    }
    let opened = |verdict: &&Verdict| verdict.kind == VerdictKind::Opened;
    let pressure = said.iter().any(|verdict| verdict.rule == crate::STATE_PRESSURE);
    said.retain(|verdict| verdict.rule == "x/flood");
    let key = |verdict: &Verdict| serde_json::to_string(&verdict.key).unwrap();
    Outcome {
        opened: said.iter().filter(opened).map(key).collect(),
        degraded: said.iter().filter(opened).filter(|said| said.degraded).map(key).collect(),
        pressure,
    }
}

/// With room for so many keys: those missed, those false, and those that there are.
#[track_caller]
fn check(having: &str, room: u64, seed: u64) -> [usize; 3] {
    let events = flood(seed);
    let exact = outcome(having, 1 << 30, &events);
    assert!(!exact.pressure && exact.opened.len() > 100, "{}", exact.opened.len());
    let tight = outcome(having, room * KEY_BYTES, &events);
    assert!(tight.pressure);
    let missed = exact.opened.difference(&tight.opened).count();
    let wrong: Vec<&String> = tight.opened.difference(&exact.opened).collect();
    assert!(wrong.iter().all(|key| tight.degraded.contains(*key)), "{wrong:?}");
    [missed, wrong.len(), exact.opened.len()]
}

#[test]
fn with_room_for_one_key_in_so_many_events_as_fire_none_is_missed() {
    for seed in 0..3 {
        let [missed, wrong, all] = check("count(*)", EVENTS / THRESHOLD, seed);
        assert_eq!(missed, 0);
        // Callers just below the threshold, of which the sketch says too much.
        assert!(wrong < all, "{wrong} false beside {all}");
    }
}

#[test]
fn with_a_tenth_of_that_room_still_none_is_missed() {
    let [missed, ..] = check("count(*)", EVENTS / THRESHOLD / 10, 7);
    assert_eq!(missed, 0);
}

#[test]
fn thresholds_on_distinct_values_are_not_missed_either() {
    let [missed, ..] = check("count(DISTINCT status)", EVENTS / THRESHOLD, 11);
    assert_eq!(missed, 0);
}
