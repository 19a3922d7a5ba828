use std::sync::Arc;

use proptest::prelude::{prop_assert, prop_assert_eq, proptest};
use schemas::{EventTime, VerdictKind};
use serde_json::{Map, json};

use super::{Change, Episodes, Evidence, Point};
use crate::key::HashKey;
use crate::rows::firing::Key;
use crate::window::{Link, Windows};
use crate::wire::{Reader, Writer};

fn link() -> Link {
    Link::Windows { windows: Windows::new(40, 10).unwrap(), rearm_ms: 15 }
}

fn key(name: &str) -> Arc<Key> {
    let bytes = name.as_bytes().to_vec();
    let hash = HashKey::PUBLISHED.hash(&bytes);
    Arc::new(Key { bytes, hash, columns: Map::from_iter([("k".to_owned(), json!(name))]) })
}

fn point(at: i64) -> Point {
    Point {
        at,
        values: Map::from_iter([("n".to_owned(), json!(at))]),
        evidence: Evidence::between(at, at),
        fired_at: at,
        early: false,
        degraded: false,
        counted_until: at,
        opening: None,
        announced: false,
    }
}

fn render(change: &Change) -> String {
    let (episode, kind) = (&change.episode, change.kind.name());
    let into = change.into.map(|anchor| format!(" into {anchor}")).unwrap_or_default();
    format!(
        "{kind} {} r{} [{}, {}]{into}",
        episode.anchor, episode.revision, episode.lo, episode.hi
    )
}

fn fire(episodes: &mut Episodes, at: i64) -> Vec<String> {
    episodes.fire(&key("a"), point(at)).iter().map(render).collect()
}

fn close(episodes: &mut Episodes, watermark: i64) -> Vec<String> {
    episodes.close(EventTime(watermark)).iter().map(|(_, change)| render(change)).collect()
}

#[test]
fn a_point_within_reach_extends_and_one_beyond_opens_anew() {
    let mut episodes = Episodes::new(link(), 10);
    assert_eq!(link().reach(), 5);
    assert_eq!(fire(&mut episodes, 0), ["opened 0 r1 [0, 0]"]);
    assert_eq!(fire(&mut episodes, 5), ["updated 0 r2 [0, 5]"], "the count doubled");
    assert_eq!(fire(&mut episodes, 11), ["opened 11 r1 [11, 11]"]);
    assert_eq!(close(&mut episodes, 144), Vec::<String>::new());
    assert_eq!(close(&mut episodes, 145), ["closed 0 r3 [0, 5]"], "5·10 + 2·40 + 15");
    assert_eq!(close(&mut episodes, i64::MAX), ["closed 11 r2 [11, 11]"]);
    assert_eq!(episodes.len(), 0);
}

#[test]
fn a_point_between_two_episodes_merges_them_into_the_smaller_anchor() {
    let mut episodes = Episodes::new(link(), 10);
    fire(&mut episodes, 10);
    fire(&mut episodes, 4);
    assert_eq!(fire(&mut episodes, 7), ["merged 10 r2 [10, 10] into 4", "updated 4 r2 [4, 10]"]);
    assert_eq!(close(&mut episodes, i64::MAX), ["closed 4 r3 [4, 10]"]);
}

#[test]
fn too_many_open_episodes_close_the_oldest_and_say_that_it_is_not_all() {
    let mut episodes = Episodes::new(link(), 2);
    for (at, name) in [(3, "c"), (1, "a"), (2, "b")] {
        episodes.fire(&key(name), point(at));
    }
    let shed = episodes.shed();
    assert_eq!(shed.iter().map(render).collect::<Vec<_>>(), ["closed 1 r2 [1, 1]"]);
    assert!(shed[0].episode.degraded);
    assert_eq!(episodes.len(), 2);
}

/// Spans of points, cut where neighbours are further apart than the reach.
fn components(points: &[i64], reach: i64) -> Vec<(i64, i64)> {
    let mut sorted = points.to_vec();
    sorted.sort_unstable();
    let mut spans: Vec<(i64, i64)> = Vec::new();
    for at in sorted {
        match spans.last_mut() {
            Some(span) if at - span.1 <= reach => span.1 = at,
            _ => spans.push((at, at)),
        }
    }
    spans
}

proptest! {
    #[test]
    fn whatever_the_order_the_closed_spans_are_the_connected_parts(
        points in proptest::collection::vec(-60_i64..60, 1..40), events in proptest::bool::ANY,
    ) {
        let link = if events { Link::Events { rearm_ms: 4 } } else { link() };
        let mut episodes = Episodes::new(link, 1_000);
        let mut count = [0_usize; 2];
        for at in &points {
            for change in episodes.fire(&key("a"), point(*at)) {
                count[0] += usize::from(change.kind == VerdictKind::Opened);
                count[1] += usize::from(change.kind == VerdictKind::Merged);
            }
        }
        let closed = episodes.close(EventTime::MAX);
        let mut spans: Vec<(i64, i64)> =
            closed.iter().map(|(_, change)| (change.episode.lo, change.episode.hi)).collect();
        spans.sort_unstable();
        prop_assert_eq!(&spans, &components(&points, link.reach()));
        prop_assert_eq!(count[0] - count[1], spans.len(), "opened less merged");
        for (_, change) in &closed {
            let inside = points.iter().filter(|at| change.episode.lo <= **at && **at <= change.episode.hi);
            prop_assert_eq!(change.values.get("n"), Some(&json!(inside.clone().max())));
            prop_assert_eq!(change.episode.evidence.count(), u64::try_from(inside.count()).unwrap());
        }
    }

    #[test]
    fn in_order_nothing_merges_and_closing_on_the_way_changes_nothing(
        mut points in proptest::collection::vec(-200_i64..200, 1..40),
        stops in proptest::collection::vec(proptest::bool::ANY, 40),
    ) {
        points.sort_unstable();
        let mut said = [Vec::new(), Vec::new()];
        for (way, said) in said.iter_mut().enumerate() {
            let mut episodes = Episodes::new(link(), 1_000);
            for (at, stop) in points.iter().zip(&stops) {
                // Windows close in ascending order: with window `at` the watermark is its end.
                let windows = Windows::new(40, 10).unwrap();
                if way == 1 && *stop {
                    let before = episodes.close(EventTime(windows.end(*at)));
                    said.extend(before.iter().map(|(_, change)| render(change)));
                }
                said.extend(fire(&mut episodes, *at));
            }
            said.extend(close(&mut episodes, i64::MAX));
            said.sort();
            prop_assert!(said.iter().all(|line| !line.starts_with("merged")));
        }
        prop_assert_eq!(&said[0], &said[1]);
    }

    #[test]
    fn open_episodes_read_back_as_written(
        points in proptest::collection::vec((-60_i64..60, 0_u8..4), 0..30),
    ) {
        let mut before = Episodes::new(link(), 1_000);
        for (at, name) in points {
            before.fire(&key(&name.to_string()), point(at));
        }
        let mut out = Writer::default();
        before.write(&mut out);
        let mut after = Episodes::new(link(), 1_000);
        after.read(&mut Reader::new(&out.bytes)).unwrap();
        prop_assert_eq!(after.len(), before.len());
        prop_assert_eq!(close(&mut after, i64::MAX), close(&mut before, i64::MAX));
    }
}
