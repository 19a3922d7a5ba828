use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

use super::circumstances::{Circumstances, Deploy};
use super::{Rows, Sparse, count};
use crate::wire::{Reader, Writer};

/// A row of a test: moment, key, id.
pub(super) type Row = (i64, u8, &'static str);

pub(super) fn rows(of: &[Row]) -> Rows {
    let ids = StringArray::from_iter_values(of.iter().map(|(_, _, id)| *id));
    let keys: ArrayRef = Arc::new(Int64Array::from_iter_values(of.iter().map(|r| r.1.into())));
    let columns: Vec<(&str, ArrayRef)> = vec![("k", keys), ("event_id", Arc::new(ids.clone()))];
    let table = ["d1", "d2"].map(|id| {
        let deploy = Deploy { id: id.to_owned(), since: Some(5), ..Deploy::default() };
        let missing = vec!["route".to_owned()];
        Arc::new(Circumstances { deploy: Some(deploy), missing, ..Circumstances::default() })
    });
    Rows {
        batch: RecordBatch::try_from_iter_with_nullable(
            columns.into_iter().map(|(name, column)| (name, column, true)),
        )
        .unwrap(),
        at: of.iter().map(|row| row.0).collect(),
        keys: of.iter().map(|row| row.1.into()).collect(),
        ids,
        circumstances: of.iter().map(|row| u32::from(row.1 % 2)).collect(),
        table: table.to_vec(),
        lines: Sparse {
            rows: (0..count(of.len())).collect(),
            texts: StringArray::from_iter_values(of.iter().map(|row| format!("line {}", row.2))),
        },
        stamps: of
            .iter()
            .enumerate()
            .filter(|(_, row)| row.0 % 5 == 0)
            .map(|(at, row)| (count(at), row.0 + 1_000))
            .collect(),
    }
}

/// Everything about each row, so that two forms of the same rows can be compared.
pub(super) fn render(rows: &Rows) -> Vec<String> {
    let deploy = |row: usize| {
        let entry = &rows.table[usize::try_from(rows.circumstances[row]).unwrap()];
        entry.deploy.as_ref().unwrap().id.clone()
    };
    (0..rows.len())
        .map(|row| {
            let (at, key, id) = (rows.at[row], rows.keys[row], rows.ids.value(row));
            let (line, stamp) = (rows.lines.get(count(row)), rows.stamp(count(row)).unwrap());
            format!("{at} {key} {id} {} {line:?} {stamp}", deploy(row))
        })
        .collect()
}

const MANY: [Row; 9] = [
    (10, 1, "a"),
    (12, 2, "b"),
    (15, 1, "c"),
    (11, 3, "d"),
    (25, 4, "e"),
    (13, 1, "f"),
    (13, 1, "g"),
    (14, 1, "h"),
    (16, 1, "i"),
];

#[test]
fn selecting_and_joining_keep_what_is_known_of_each_row() {
    let all = rows(&MANY);
    let parts: Vec<Rows> =
        [&[0, 1][..], &[2], &[3, 4, 5, 6, 7, 8]].map(|part| all.select(part).unwrap()).to_vec();
    let joined = Rows::join(&parts).unwrap().unwrap();
    assert_eq!(render(&joined), render(&all));
    assert_eq!(joined.table.len(), 2, "circumstances are kept once");
    let turned = all.select(&[8, 4, 0]).unwrap();
    let expected: Vec<String> = [8, 4, 0].map(|row: usize| render(&all)[row].clone()).to_vec();
    assert_eq!(render(&turned), expected);
}

#[test]
fn only_the_first_five_of_a_key_keep_their_lines() {
    let mut all = rows(&MANY);
    all.trim_lines().unwrap();
    let with_line: Vec<&str> = MANY
        .iter()
        .enumerate()
        .filter(|(at, _)| all.lines.get(count(*at)).is_some())
        .map(|(_, row)| row.2)
        .collect();
    assert_eq!(with_line, ["a", "b", "c", "d", "e", "f", "g", "h"]);
}

proptest! {
    #[test]
    fn rows_read_back_as_written(picked in proptest::collection::vec(0_usize..9, 0..9)) {
        let mut unique = picked;
        unique.sort_unstable();
        unique.dedup();
        let of: Vec<Row> = unique.iter().map(|at| MANY[*at]).collect();
        let all = rows(&of);
        let mut out = Writer::default();
        all.write(&mut out);
        let read = Rows::read(&mut Reader::new(&out.bytes), &all.batch.schema()).unwrap();
        prop_assert_eq!(render(&read), render(&all));
        prop_assert_eq!(&read.batch, &all.batch);
    }

    #[test]
    fn changed_bytes_give_rows_that_hold_together_or_an_error(
        at in any::<proptest::sample::Index>(), to in any::<u8>(),
    ) {
        let all = rows(&MANY);
        let mut out = Writer::default();
        all.write(&mut out);
        let at = at.index(out.bytes.len());
        out.bytes[at] = to;
        if let Ok(read) = Rows::read(&mut Reader::new(&out.bytes), &all.batch.schema()) {
            let everything: Vec<u32> = (0..count(read.len())).collect();
            prop_assert!(read.select(&everything).is_ok());
        }
    }
}
