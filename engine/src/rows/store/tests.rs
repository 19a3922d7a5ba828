use schemas::EventTime;

use super::{Shed, Store};
use crate::rows::Rows;
use crate::rows::tests::{Row, render, rows};
use crate::window::Windows;
use crate::wire::{Reader, Writer};

fn store(budget: usize) -> Store {
    Store::new(Windows::new(30, 10).unwrap(), budget)
}

/// The windows that close up to a watermark, as `k: ids in order`.
fn close(store: &mut Store, watermark: i64) -> Vec<String> {
    let mut closed = Vec::new();
    while let Some(k) = store.due(EventTime(watermark)) {
        let changed = if store.is_changed(k) { "" } else { " (same)" };
        let panes = store.window(k).unwrap();
        let ids: Vec<&str> =
            panes.iter().flat_map(|pane| pane.rows.ids.iter().map(|id| id.unwrap())).collect();
        closed.push(format!("{k}: {}{changed}", ids.join(" ")));
        store.close(k);
    }
    closed
}

fn filled(of: &[&[Row]]) -> Store {
    let mut store = store(usize::MAX);
    for part in of {
        assert_eq!(store.absorb(rows(part)).unwrap(), Shed::default());
    }
    store
}

#[test]
fn every_window_that_holds_a_row_closes_once_in_order() {
    let mut store = filled(&[&[(41, 1, "b"), (5, 1, "a")]]);
    assert_eq!(close(&mut store, 10), ["-2: a"], "only what the watermark has passed");
    assert_eq!(
        close(&mut store, i64::MAX),
        ["-1: a (same)", "0: a (same)", "2: b", "3: b (same)", "4: b (same)"]
    );
    assert_eq!(store.bytes(), 0);
    assert_eq!(close(&mut store, i64::MAX), Vec::<String>::new());
}

#[test]
fn a_window_is_another_when_a_pane_enters_or_leaves() {
    let mut store = filled(&[&[(5, 1, "a"), (15, 1, "b")]]);
    assert_eq!(close(&mut store, i64::MAX), ["-2: a", "-1: a b", "0: a b (same)", "1: b"]);
}

#[test]
fn rows_stand_by_time_then_id_however_they_came() {
    let (one, two): (&[Row], &[Row]) = (&[(7, 1, "z"), (3, 2, "y")], &[(7, 1, "a"), (1, 1, "x")]);
    let expected = "-2: x y a z";
    assert_eq!(close(&mut filled(&[one, two]), 10), [expected]);
    assert_eq!(close(&mut filled(&[two, one]), 10), [expected]);
    let mut store = filled(&[one, two]);
    let panes = store.window(-2).unwrap();
    assert_eq!(panes[0].arrival, [3, 1, 2, 0], "and it is known in which order they came");
}

#[test]
fn lines_are_given_up_before_rows_and_the_oldest_rows_first() {
    let of: Vec<Row> = (0..40).map(|at| (at, 1, "abcdefghij")).collect();
    let everything = rows(&of);
    let lines = everything.line_bytes();
    let mut roomy = store(everything.bytes() + 4_096 - lines);
    assert_eq!(roomy.absorb(everything.clone()).unwrap(), Shed::default());
    assert!(!roomy.is_degraded(-2), "without lines it fits");
    let mut tight = store((everything.bytes() - lines) / 2);
    let shed = tight.absorb(everything).unwrap();
    assert!(shed.rows >= 10 && shed.rows < 40 && shed.bytes > 0, "{shed:?}");
    assert!(tight.is_degraded(-2) && tight.is_degraded(0) && !tight.is_degraded(3));
    assert!(tight.bytes() <= tight.bytes_max);
}

#[test]
fn one_pane_that_alone_is_too_much_keeps_its_newest_rows() {
    let of: Vec<Row> = (0..64).map(|at| (at % 10, 1, "abcdefghij")).collect();
    let mut everything = rows(&of);
    everything.drop_lines();
    let mut tight = store(everything.bytes() / 3);
    let shed = tight.absorb(everything).unwrap();
    assert_eq!(shed.rows, 48);
    let left: usize = tight.window(0).unwrap().iter().map(|pane| pane.rows.len()).sum();
    assert_eq!(left, 16);
    assert!(tight.window(0).unwrap()[0].rows.at.iter().all(|at| *at >= 7));
    assert!(tight.is_degraded(0));
}

#[test]
fn a_store_reads_back_as_written_open_and_sealed_panes_alike() {
    let mut before = filled(&[&[(5, 1, "a"), (7, 1, "b")], &[(17, 2, "c")], &[(16, 2, "d")]]);
    assert_eq!(close(&mut before, 10), ["-2: a b"]);
    let mut out = Writer::default();
    before.write(&mut out).unwrap();
    let mut after = store(usize::MAX);
    let schema = rows(&[]).batch.schema();
    after.read(&mut Reader::new(&out.bytes), &schema).unwrap();
    // Read back, a pane is in one piece, but counts as it did: what is given up depends on it.
    assert!(after.bytes() > 0);
    assert_eq!(after.bytes(), before.bytes());
    let held = |store: &mut Store| -> Vec<String> {
        let panes = store.window(-1).unwrap();
        panes.iter().flat_map(|pane| render(&pane.rows)).collect()
    };
    assert_eq!(held(&mut after), held(&mut before));
    assert_eq!(close(&mut after, i64::MAX), close(&mut before, i64::MAX));
}

#[test]
fn many_small_parts_are_joined_so_that_a_pane_has_few() {
    let mut parts = Vec::new();
    for _row in 0..1_000 {
        super::push(&mut parts, rows(&[(1, 1, "a")])).unwrap();
    }
    assert_eq!(parts.iter().map(Rows::len).sum::<usize>(), 1_000);
    assert!(parts.len() <= 11, "{} parts", parts.len());
}
