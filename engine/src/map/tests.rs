use std::sync::Arc;

use schemas::{EventTime, Reason};

use super::{Input, MapError, MapSettings, Mapped, Mapper, Start};
use crate::frame::{Entry, Seen};
use crate::hits::Exemplars;
use crate::ruleset::Ruleset;
use crate::trial::{self, COUNT, NONE, SHARE, Text, batch, failure, letter, numbered, ruleset};
use crate::watermark::Guard;

const EVERYTHING: Text =
    ("everything", "key: client_ip\nrearm: 1s", "SELECT client_ip, status FROM events");

fn mapper(rules: &Arc<Ruleset>, guard: Guard, exchange_partitions: u32) -> Mapper {
    let settings = MapSettings { lateness_ms: 10_000, guard, exchange_partitions };
    Mapper::new(Arc::clone(rules), 7, settings, Start::of_log(0))
}

fn give(mapper: &mut Mapper, at: &[i64], append_times: Option<&[i64]>, next: i64) -> Mapped {
    let events: Vec<trial::Seen> = at.iter().map(|at| failure(*at, 1)).collect();
    let batch = batch(&numbered(events));
    mapper.map(Input { batch: &batch, append_times, next, origin: None }).unwrap()
}

/// The moments at which the rows of the only frame count.
fn moments(mapped: &Mapped) -> Vec<i64> {
    let of = |block: &crate::frame::Block| -> Vec<i64> {
        match &block.seen {
            Seen::Rows { rows, .. } => rows.at.clone(),
            Seen::Hits { hits, .. } => hits.rows.iter().map(|row| hits.events.at(*row)).collect(),
        }
    };
    mapped.frames[0].blocks.iter().flat_map(of).collect()
}

#[test]
fn a_stamp_from_the_future_counts_when_the_log_took_it_and_makes_nobody_late() {
    let rules = ruleset(&[EVERYTHING]);
    let mut mapper = mapper(&rules, Guard::LIVE, 1);
    let mapped =
        give(&mut mapper, &[1_000, 900_000, 6_999, 7_001], Some(&[1_000, 1_500, 2_000, 2_000]), 4);
    assert_eq!(moments(&mapped), [1_000, 1_500, 6_999, 2_000]);
    assert_eq!((mapped.future, mapped.late.len()), (2, 0));
    let Seen::Rows { rows, .. } = &mapped.frames[0].blocks[0].seen else { panic!("no state") };
    assert_eq!(rows.stamps, [(1, 900_000), (3, 7_001)], "and keeps its own stamp");
}

#[test]
fn a_live_log_must_say_when_it_took_its_records() {
    let mut mapper = mapper(&ruleset(&[EVERYTHING]), Guard::LIVE, 1);
    let batch = batch(&[failure(0, 1)]);
    let error = mapper.map(Input { batch: &batch, append_times: None, next: 1, origin: None });
    assert!(matches!(error, Err(MapError::AppendTimes { rows: 1, times: 0 })));
}

const HOUR: i64 = 3_600_000;

#[test]
fn in_replay_a_jump_waits_for_a_second_event_that_agrees() {
    let rules = ruleset(&[EVERYTHING]);
    let mut mapper = mapper(&rules, Guard::REPLAY, 1);
    let first = give(&mut mapper, &[0, 2 * HOUR], None, 2);
    assert_eq!(moments(&first), [0]);
    assert!(mapper.is_holding());
    assert_eq!((first.frames[0].from, first.frames[0].to), (0, 1), "the frame ends before it");
    let second = give(&mut mapper, &[2 * HOUR + 5, 2 * HOUR + 6], None, 4);
    assert_eq!(moments(&second), [2 * HOUR, 2 * HOUR + 5, 2 * HOUR + 6]);
    assert_eq!((second.future, second.frames[0].from, second.frames[0].to), (0, 1, 4));
}

#[test]
fn in_replay_a_jump_that_nobody_follows_takes_the_place_of_the_event_before() {
    let rules = ruleset(&[EVERYTHING]);
    for rows in [1, 2, 4] {
        let mut mapper = mapper(&rules, Guard::REPLAY, 1);
        let (mut at, mut future, mut next) = (Vec::new(), 0, 0);
        for part in [5, 9 * HOUR, 3, 6].chunks(rows) {
            next += i64::try_from(part.len()).unwrap();
            let mapped = give(&mut mapper, part, None, next);
            at.extend(moments(&mapped));
            future += mapped.future;
        }
        assert_eq!((at, future), (vec![5, 5, 3, 6], 1), "{rows} rows at a time");
    }
}

#[test]
fn a_held_event_counts_at_its_own_time_when_the_input_ends() {
    let rules = ruleset(&[EVERYTHING]);
    let mut mapper = mapper(&rules, Guard::REPLAY, 1);
    give(&mut mapper, &[0, 2 * HOUR], None, 2);
    let end = mapper.end().unwrap();
    assert_eq!(moments(&end), [2 * HOUR]);
    assert_eq!((end.frames[0].to, end.frames[0].watermark), (2, EventTime::MAX));
    assert!(matches!(mapper.dropped(&[], 3), Err(MapError::Ended { partition: 7 })));
}

#[test]
fn an_event_without_a_time_is_a_dead_letter() {
    let mut builder = schemas::BatchBuilder::default();
    builder.push(&schemas::Event { status: Some(500), ..schemas::Event::default() });
    let batch = builder.finish().unwrap();
    let mut mapper = mapper(&ruleset(&[EVERYTHING]), Guard::Off, 1);
    let input = Input { batch: &batch, append_times: None, next: 1, origin: None };
    let mapped = mapper.map(input).unwrap();
    assert_eq!(moments(&mapped), Vec::<i64>::new());
    assert_eq!((mapped.late.len(), mapped.late[0].letter.reason), (1, Reason::BadValue));
}

#[test]
fn an_event_from_the_end_of_time_is_a_dead_letter_and_moves_nothing() {
    let mut mapper = mapper(&ruleset(&[EVERYTHING]), Guard::Off, 1);
    let mapped = give(&mut mapper, &[i64::MAX, 5, i64::MIN], None, 3);
    assert_eq!(moments(&mapped), [5]);
    assert_eq!(mapped.late.iter().map(|late| late.row).collect::<Vec<_>>(), [Some(0), Some(2)]);
    assert_eq!(mapper.watermark(), EventTime(-9_995));
}

#[test]
fn offsets_that_stand_still_or_go_back_are_refused() {
    let mut mapper = mapper(&ruleset(&[EVERYTHING]), Guard::Off, 1);
    give(&mut mapper, &[0], None, 10);
    assert!(matches!(
        mapper.dropped(&[letter(0, 1)], 10),
        Err(MapError::Backwards { position: 10, next: 10 })
    ));
    assert_eq!(mapper.quiet(EventTime(20_000)).unwrap().frames[0].watermark, EventTime(10_000));
}

#[test]
fn rows_of_a_key_go_to_one_exchange_partition_and_an_indivisible_rule_to_its_own() {
    let rules = ruleset(&[COUNT, NONE, SHARE]);
    let mut mapper = mapper(&rules, Guard::Off, 4);
    let events: Vec<trial::Seen> = (0..200)
        .map(|n| {
            let ip = u8::try_from(n % 40).unwrap();
            trial::Seen { status: 500, ..failure(n * 10, ip) }
        })
        .collect();
    let batch = batch(&numbered(events));
    let input = Input { batch: &batch, append_times: None, next: 200, origin: None };
    let mapped = mapper.map(input).unwrap();
    assert_eq!(mapped.frames.len(), 4);
    let blocks = |rule: &str| -> Vec<_> {
        let of_frame = |frame: &crate::frame::Frame| {
            frame.blocks.iter().find(|block| block.name() == rule).cloned()
        };
        mapped.frames.iter().map(of_frame).collect()
    };
    assert_eq!(blocks("x/share").iter().flatten().count(), 1);
    let unit = rules.index().units[0].name.to_string();
    for rule in [unit.as_str(), "x/none"] {
        let blocks = blocks(rule);
        assert_eq!(blocks.iter().flatten().map(crate::frame::Block::rows).sum::<usize>(), 200);
        let keys: Vec<std::collections::BTreeSet<u128>> = blocks
            .iter()
            .flatten()
            .map(|block| match &block.seen {
                Seen::Rows { rows, .. } => rows.keys.iter().copied().collect(),
                Seen::Hits { hits, .. } => hits.each_run().map(|(key, ..)| key.hash).collect(),
            })
            .collect();
        assert!(keys.len() > 1, "{rule} is spread");
        assert_eq!(keys.iter().map(std::collections::BTreeSet::len).sum::<usize>(), 40);
    }
}

#[test]
fn each_key_brings_five_lines_of_a_pane_at_most() {
    let rules = ruleset(&[COUNT]);
    let mut mapper = mapper(&rules, Guard::Off, 1);
    let mapped = give(&mut mapper, &(0..20).map(|n| n * 1_000).collect::<Vec<_>>(), None, 20);
    let read = Entry::decode(&mapped.frames[0].encode(), &rules).unwrap();
    let Entry::Frame(frame) = read.entry else { panic!("a frame went in") };
    let Seen::Hits { hits, .. } = &frame.blocks[0].seen else { panic!("panes") };
    let Exemplars::Made(made) = &hits.events.exemplars else { panic!("from a log") };
    let shown: Vec<u32> = made.iter().map(|(row, _)| *row).collect();
    assert_eq!(shown, [0, 1, 2, 3, 4, 10, 11, 12, 13, 14]);
    assert!(made.iter().all(|(_, exemplar)| exemplar.line.is_some()));
}
