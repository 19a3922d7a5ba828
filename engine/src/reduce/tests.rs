use std::sync::Arc;

use proptest::prelude::{
    Just, ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, proptest,
};
use schemas::{EventTime, Verdict};

use super::{ReduceError, ReduceSettings, Reducer};
use crate::accept::{AcceptError, Acceptance};
use crate::frame::{Entry, Frame, Owner};
use crate::key::HashKey;
use crate::map::{Input, MapSettings, Mapper, Start};
use crate::ruleset::Ruleset;
use crate::trial::{
    COUNT, DISTINCT, HANDFUL, NONE, RATIO, SHARE, Seen, Text, batch, disorder, failure, history,
    numbered, ruleset, ruleset_of_rows,
};
use crate::watermark::Guard;

fn map_settings() -> MapSettings {
    MapSettings { lateness_ms: 10_000, guard: Guard::Off, exchange_partitions: 1 }
}

fn mappers(rules: &Arc<Ruleset>, partitions: u32) -> Vec<Mapper> {
    (0..partitions)
        .map(|p| Mapper::new(Arc::clone(rules), p, map_settings(), Start::of_log(0)))
        .collect()
}

fn reducer(rules: &Arc<Ruleset>, partitions: u32) -> Reducer {
    let mut reducer = Reducer::new(Arc::clone(rules), ReduceSettings::alone(partitions));
    for mapper in mappers(rules, partitions) {
        assert!(reducer.open(&mapper.open()).unwrap());
    }
    reducer
}

/// The frames of a history dealt to two partitions, and their ends.
fn frames(rules: &Arc<Ruleset>, events: &[Seen], how: &[(u32, i64)], rows: usize) -> Vec<Frame> {
    let mut mappers = mappers(rules, 2);
    let mut order: Vec<(i64, usize)> =
        events.iter().zip(how).enumerate().map(|(n, (event, how))| (event.at + how.1, n)).collect();
    order.sort_unstable();
    let mut frames = Vec::new();
    for part in order.chunks(rows) {
        for (partition, mapper) in (0..2).zip(&mut mappers) {
            let mine = part.iter().filter(|(_, n)| how[*n].0 == partition);
            let mine: Vec<Seen> = mine.map(|(_, n)| events[*n].clone()).collect();
            let next = mapper.position() + i64::try_from(mine.len()).unwrap();
            let batch = batch(&mine);
            let input = Input { batch: &batch, append_times: None, next, origin: None };
            frames.extend(mapper.map(input).unwrap().frames);
        }
    }
    frames.extend(mappers.iter_mut().flat_map(|mapper| mapper.end().unwrap().frames));
    frames
}

fn reduce_all(reducer: &mut Reducer, frames: &[Frame]) -> Vec<Vec<Verdict>> {
    frames.iter().map(|frame| reducer.reduce(frame.clone()).unwrap().verdicts).collect()
}

fn burst(rules: &Arc<Ruleset>) -> Vec<Frame> {
    let events = numbered((0..6).map(|n| failure(n * 1_000, 1)).collect());
    frames(rules, &events, &[(0, 0); 6], 3)
}

/// Rules over panes, over rows and without state, each of one address.
fn keyed(key: HashKey) -> Arc<Ruleset> {
    let rules = crate::trial::compiled(&[COUNT, RATIO, NONE]);
    Arc::new(Ruleset::with_hash_key(rules, key).unwrap())
}

#[test]
fn state_and_frames_under_another_key_are_of_other_rules_and_episodes_keep_their_ids() {
    let keys = [HashKey::PUBLISHED, HashKey::derived([1; 16]), HashKey::derived([2; 16])];
    let said = |key: HashKey| {
        let rules = keyed(key);
        let said = reduce_all(&mut reducer(&rules, 2), &burst(&rules)).concat();
        assert!(said.len() > 2, "{said:?}");
        said
    };
    assert!(said(keys[0]) == said(keys[1]) && said(keys[1]) == said(keys[2]));
    for (theirs, ours) in [(keys[0], keys[1]), (keys[1], keys[2]), (keys[1], keys[0])] {
        let (theirs, ours) = (keyed(theirs), keyed(ours));
        let mut reducer = reducer(&theirs, 2);
        let frames = burst(&theirs);
        reduce_all(&mut reducer, &frames[..2]);
        let marker = reducer.snapshot().unwrap();
        let settings = ReduceSettings::alone(2);
        let restored = Reducer::restore(Arc::clone(&ours), settings, &marker).unwrap();
        assert_eq!(restored.fresh.len(), 3, "{:?}", restored.fresh);
        assert_eq!(reducer.switch(&ours).unwrap().fresh, restored.fresh);
        for frame in &frames {
            let decoded = Entry::decode(&frame.encode(), &ours).unwrap();
            assert_eq!(decoded.foreign_blocks, frame.blocks.len());
        }
    }
}

#[test]
fn a_duplicate_frame_changes_nothing_and_a_missing_one_stops_the_partition() {
    let rules = ruleset(&[COUNT]);
    let all = burst(&rules);
    let mut reducer = reducer(&rules, 2);
    assert_eq!(reducer.reduce(all[0].clone()).unwrap().acceptance, Acceptance::Apply);
    assert_eq!(reducer.reduce(all[0].clone()).unwrap().acceptance, Acceptance::Duplicate);
    let later = Frame { from: 4, to: 5, ..all[2].clone() };
    let error = reducer.reduce(later).unwrap_err();
    let gap = AcceptError::Gap { partition: 0, applied: 3, from: 4 };
    assert!(matches!(error, ReduceError::Accept { source, .. } if source == gap));
    assert_eq!(reducer.reduce(all[2].clone()).unwrap().acceptance, Acceptance::Apply);
}

#[test]
fn an_owner_that_was_replaced_is_not_heard() {
    let rules = ruleset(&[COUNT]);
    let all = burst(&rules);
    let mut reducer = reducer(&rules, 2);
    let mut start = Start::of_log(0);
    start.owner = Owner { term: 2, id: 9 };
    let second = Mapper::new(Arc::clone(&rules), 0, map_settings(), start);
    assert!(reducer.open(&second.open()).unwrap());
    assert_eq!(reducer.reduce(all[0].clone()).unwrap().acceptance, Acceptance::Stale);
    let mut other = MapSettings { exchange_partitions: 2, ..map_settings() };
    other.exchange_partitions = 2;
    let stranger = Mapper::new(Arc::clone(&rules), 0, other, Start::of_log(0));
    assert!(matches!(reducer.open(&stranger.open()), Err(ReduceError::Exchange { .. })));
}

#[test]
fn rows_from_before_the_watermark_are_a_disagreement_and_not_a_silent_loss() {
    let rules = ruleset(&[COUNT]);
    let all = burst(&rules);
    let mut reducer = reducer(&rules, 2);
    for partition in 0..2 {
        let ahead = Frame {
            partition,
            from: 0,
            to: 0,
            watermark: EventTime(500_000),
            blocks: Vec::new(),
            ..all[0].clone()
        };
        reducer.reduce(ahead).unwrap();
    }
    let error = reducer.reduce(all[0].clone()).unwrap_err();
    assert!(matches!(error, ReduceError::Behind { .. }), "{error}");
}

#[test]
fn a_marker_of_another_exchange_or_of_torn_bytes_is_refused() {
    let rules = ruleset(&[COUNT]);
    let marker = reducer(&rules, 2).snapshot().unwrap();
    let restore = |settings, bytes: &[u8]| Reducer::restore(Arc::clone(&rules), settings, bytes);
    assert!(restore(ReduceSettings::alone(2), &marker).is_ok());
    assert!(restore(ReduceSettings::alone(3), &marker).is_err());
    let mut two = ReduceSettings::alone(2);
    two.exchange_partitions = 2;
    assert!(restore(two, &marker).is_err());
    assert!(restore(ReduceSettings::alone(2), &marker[..marker.len() - 1]).is_err());
}

#[test]
fn a_new_threshold_keeps_state_and_a_new_filter_begins_anew() {
    const HIGHER: Text = (
        COUNT.0,
        COUNT.1,
        "SELECT client_ip, count(*) AS n FROM events \
        WHERE status >= 400 GROUP BY client_ip HAVING count(*) >= 5",
    );
    const OTHER: Text = (
        COUNT.0,
        COUNT.1,
        "SELECT client_ip, count(*) AS n FROM events \
        WHERE status >= 500 GROUP BY client_ip HAVING count(*) >= 3",
    );
    let before = ruleset(&[COUNT, DISTINCT]);
    let all = burst(&before);
    let mut reducer = reducer(&before, 2);
    reduce_all(&mut reducer, &all[..4]);
    let marker = reducer.snapshot().unwrap();
    let restored = |text| {
        let rules = ruleset(&[text]);
        Reducer::restore(rules, ReduceSettings::alone(2), &marker).unwrap()
    };
    let higher = restored(HIGHER);
    assert_eq!((higher.forgotten, higher.fresh), (vec!["x/distinct".to_owned()], vec![]));
    assert!(higher.reducer.load().all(|load| load.bytes > 0));
    let other = restored(OTHER);
    assert_eq!(other.fresh, ["x/count"]);
    assert!(other.reducer.load().all(|load| load.bytes == 0));
}

#[test]
fn what_is_only_said_of_whole_windows_begins_with_those_after_a_switch() {
    let at = |second: i64, status: i32| Seen { status, ..failure(second * 1_000, 1) };
    // Nine in ten succeed, until a change of rules; then some fail, which is half of what the new
    // rules see of the windows that are open. Later most do.
    let before: Vec<Seen> = (0..100).map(|n| at(n, if n % 10 == 0 { 500 } else { 200 })).collect();
    let after: Vec<Seen> =
        (0..200).map(|n| at(100 + n, if (15..150).contains(&n) { 200 } else { 500 })).collect();
    let (old, both) = (ruleset(&[COUNT]), [COUNT, RATIO, SHARE]);
    for new in [ruleset(&both), ruleset_of_rows(&both)] {
        let mut reducer = reducer(&old, 1);
        let mut mapper = mappers(&old, 1).remove(0);
        let mut said = Vec::new();
        let mut start = Start::of_log(0);
        for (rules, events) in [(&old, before.clone()), (&new, after.clone())] {
            if start.position > 0 {
                let switched = reducer.switch(rules).unwrap();
                assert!(switched.fresh.contains(&"x/ratio".to_owned()));
                mapper = Mapper::new(Arc::clone(rules), 0, map_settings(), start.clone());
                reducer.open(&mapper.open()).unwrap();
            }
            for part in numbered(events).chunks(10) {
                let next = mapper.position() + i64::try_from(part.len()).unwrap();
                let batch = batch(part);
                let input = Input { batch: &batch, append_times: None, next, origin: None };
                for frame in mapper.map(input).unwrap().frames {
                    (start.position, start.watermark) = (frame.to, frame.watermark);
                    said.extend(reducer.reduce(frame).unwrap().verdicts);
                }
            }
            start.owner.term += 1;
        }
        for frame in mapper.end().unwrap().frames {
            said.extend(reducer.reduce(frame).unwrap().verdicts);
        }
        let first = |rule: &str| {
            let opened = said.iter().find(|verdict| verdict.rule == rule);
            opened.map(|verdict| verdict.window.unwrap().start.millis() / 1_000)
        };
        // The watermark stood at 89 s. Of 60 s more than half failed first from 240 s on.
        assert_eq!((first("x/ratio"), first("x/share")), (Some(240), Some(150)));
    }
}

#[test]
fn a_frame_of_rules_that_do_not_run_here_is_counted() {
    let rules = ruleset(&[COUNT, DISTINCT]);
    let all = burst(&rules);
    let fewer = ruleset(&[DISTINCT]);
    let Entry::Frame(frame) = Entry::decode(&all[0].encode(), &fewer).unwrap().entry else {
        panic!("a frame went in");
    };
    assert_eq!(frame.blocks.len(), 1);
    assert_eq!(Entry::decode(&all[0].encode(), &fewer).unwrap().foreign_blocks, 1);
    assert_eq!(reducer(&fewer, 2).reduce(all[0].clone()).unwrap().foreign_blocks, 1);
}

fn two_partitions() -> impl Strategy<Value = (Vec<Seen>, Vec<(u32, i64)>)> {
    history(40).prop_flat_map(|events| {
        let how = disorder(events.len(), 2, 14_000);
        (Just(events), how)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn killed_at_any_frame_and_restored_the_rest_of_the_output_is_the_same(
        (events, how) in two_partitions(), rows in 1_usize..9, at in any::<proptest::sample::Index>(),
    ) {
        let rules = ruleset(&HANDFUL);
        let frames = frames(&rules, &events, &how, rows);
        let expected = reduce_all(&mut reducer(&rules, 2), &frames);
        let at = at.index(frames.len());
        let mut before = reducer(&rules, 2);
        prop_assert_eq!(&reduce_all(&mut before, &frames[..at]), &expected[..at]);
        let marker = before.snapshot().unwrap();
        let restored = Reducer::restore(Arc::clone(&rules), ReduceSettings::alone(2), &marker);
        let mut after = restored.unwrap().reducer;
        prop_assert_eq!(&after.snapshot().unwrap(), &marker, "a marker of a marker is the same");
        // What is read again from before the marker is a duplicate, and says nothing.
        let again = reduce_all(&mut after, &frames[at.saturating_sub(3)..at]);
        prop_assert!(again.iter().all(Vec::is_empty));
        prop_assert_eq!(&reduce_all(&mut after, &frames[at..]), &expected[at..]);
    }

    #[test]
    fn frames_read_back_from_a_log_lead_to_the_same_words(
        (events, how) in two_partitions(), rows in 1_usize..9,
    ) {
        let rules = ruleset(&HANDFUL);
        let frames = frames(&rules, &events, &how, rows);
        let expected = reduce_all(&mut reducer(&rules, 2), &frames);
        let read: Vec<Frame> = frames
            .iter()
            .map(|frame| match Entry::decode(&frame.encode(), &rules).unwrap().entry {
                Entry::Frame(frame) => frame,
                Entry::Open(open) => panic!("{open:?} was not written"),
            })
            .collect();
        prop_assert_eq!(reduce_all(&mut reducer(&rules, 2), &read), expected);
        let again: Vec<Vec<u8>> = read.iter().map(Frame::encode).collect();
        prop_assert_eq!(again, frames.iter().map(Frame::encode).collect::<Vec<_>>());
    }

    #[test]
    fn no_bytes_make_decoding_panic(
        at in any::<proptest::sample::Index>(), to in any::<u8>(),
        cut in any::<proptest::sample::Index>(), noise in proptest::collection::vec(any::<u8>(), 0..99),
    ) {
        let rules = ruleset(&HANDFUL);
        let events = numbered((0..9).map(|n| failure(n * 1_000, 1)).collect());
        let frame = &frames(&rules, &events, &[(0, 0); 9], 9)[0];
        let bytes = frame.encode();
        prop_assert!(Entry::decode(&noise, &rules).is_err());
        prop_assert!(Entry::decode(&bytes[..cut.index(bytes.len())], &rules).is_err(), "torn");
        let mut changed = bytes.clone();
        let at = at.index(bytes.len());
        changed[at] = to;
        prop_assert_eq!(Entry::decode(&changed, &rules).is_ok(), bytes[at] == to, "byte {}", at);
    }

    #[test]
    fn hostile_bytes_behind_a_right_checksum_are_refused_or_hold_together(
        at in any::<proptest::sample::Index>(), to in any::<u8>(),
    ) {
        let rules = ruleset(&HANDFUL);
        let events = numbered((0..9).map(|n| failure(n * 1_000, 1)).collect());
        let frame = &frames(&rules, &events, &[(0, 0); 9], 9)[0];
        let bytes = crate::frame::tests::with_changed_body(&frame.encode(), |body| {
            let at = at.index(body.len());
            body[at] = to;
        });
        if let Ok(decoded) = Entry::decode(&bytes, &rules)
            && let Entry::Frame(frame) = decoded.entry
        {
            // Whatever it says now, reduce takes it or refuses it.
            let outcome = reducer(&rules, 2).reduce(frame);
            prop_assert!(outcome.is_ok() || outcome.is_err());
        }
    }
}
