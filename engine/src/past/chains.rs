//! Which rows of a step can be the first of their combination.
//!
//! Owns: finding them. Never: what was seen in earlier steps.

use std::collections::HashMap;

use arrow::array::{AsArray, RecordBatch, StringArray};
use schemas::Field;

use super::Mark;
use crate::key::{ByHash, HashKey};
use crate::plan::{FirstSeen, RunError, minute};
use crate::rows::circumstances::{column, text_at};
use crate::rows::place;

/// Of rows at some places of a step, each at its moment: those that can be the first of their
/// combination, each with its mark. Rows without a complete combination are nobody's first.
///
/// # Errors
/// Where a part of a combination cannot be worked out.
pub(crate) fn heads(
    past: &FirstSeen,
    (batch, at): (&RecordBatch, &[i64]),
    places: &[u32],
    hash_key: HashKey,
) -> Result<(Vec<u32>, Vec<Mark>), RunError> {
    let prints = past.prints(batch, places, hash_key)?;
    let prints = places.iter().zip(prints).filter_map(|(row, print)| Some((*row, print?)));
    let ids = column(batch, Field::EventId).and_then(|ids| ids.as_string_opt());
    Ok(of_prints(&prints.collect::<Vec<_>>(), at, ids, past.span).into_iter().unzip())
}

/// Of rows with fingerprints, in any order: those with no other of the same combination in the
/// `span` before them, by place and each with its mark, ascending.
pub(super) fn of_prints(
    rows: &[(u32, u64)],
    at: &[i64],
    ids: Option<&StringArray>,
    span: i32,
) -> Vec<(u32, Mark)> {
    let moment = |row: u32| at.get(place(row)).copied().unwrap_or_default();
    let id = |row: u32| ids.and_then(|ids| text_at(ids, place(row)));
    let mut order: Vec<usize> = (0..rows.len()).collect();
    let in_time = |place: &usize| rows.get(*place).map(|(row, _)| (moment(*row), id(*row), *row));
    order.sort_by(|a, b| in_time(a).cmp(&in_time(b)));
    let mut heads: Vec<(u32, Mark)> = Vec::new();
    let mut last: HashMap<u64, usize, ByHash> = HashMap::default();
    for (row, print) in order.into_iter().filter_map(|place| rows.get(place).copied()) {
        let now = minute(moment(row));
        let chain = last.get(&print).and_then(|place| heads.get_mut(*place));
        match chain {
            Some((_, mark)) if now.saturating_sub(mark.until) <= span => mark.until = now,
            _ => {
                last.insert(print, heads.len());
                heads.push((row, Mark { print, until: now }));
            }
        }
    }
    heads.sort_unstable_by_key(|(row, _)| *row);
    heads
}
