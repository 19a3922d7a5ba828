//! Asking a rule's query about a window.
//!
//! Owns: from rows to the keys that fire and their values, and, for rules that stay true once they
//! are, the event at which a key crossed. Never: episodes.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::interleave_record_batch;
use serde_json::{Map, Value};

use super::count;
use super::store::Sealed;
use crate::cell;
use crate::key::{HashKey, write_key};
use crate::plan::RunError;
use crate::ruleset::Prepared;
use crate::totals;
use crate::wire::wire_struct;

/// A key of a rule.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Key {
    /// Canonical bytes.
    pub(crate) bytes: Vec<u8>,
    pub(crate) hash: u128,
    /// Key columns and their values.
    pub(crate) columns: Map<String, Value>,
}

wire_struct!(Key { bytes, hash, columns });

/// A row of the answer: the rule fires for this key.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Firing {
    pub(crate) key: Arc<Key>,
    /// The other columns; absent values are left out.
    pub(crate) values: Map<String, Value>,
}

wire_struct!(Firing { key, values });

/// A row within a window: which of its panes, which row there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RowAt {
    pub(crate) pane: usize,
    pub(crate) row: u32,
}

/// Where a key crossed.
#[derive(Debug)]
pub(crate) struct Crossing {
    /// How many of the key's rows, by event time and arrival, it took.
    pub(crate) rows: usize,
    /// The answer for these.
    pub(crate) values: Map<String, Value>,
}

/// The keys for which the rule fires in window `k`, by key.
pub(crate) fn fire(
    rule: &Prepared,
    panes: &[Arc<Sealed>],
    k: i64,
    hash_key: HashKey,
) -> Result<Vec<Firing>, RunError> {
    let batches: Vec<RecordBatch> = panes.iter().map(|pane| pane.rows.batch.clone()).collect();
    ask(rule, &batches, k, hash_key)
}

fn ask(
    rule: &Prepared,
    batches: &[RecordBatch],
    k: i64,
    hash_key: HashKey,
) -> Result<Vec<Firing>, RunError> {
    let Some((windows, query)) = rule.query() else { return Ok(Vec::new()) };
    let answer = query.run(batches, (windows.start(k), windows.end(k)))?;
    Ok(firings(rule, &answer, hash_key))
}

/// Who fires according to an answer, by key.
pub(crate) fn firings(rule: &Prepared, answer: &[RecordBatch], hash_key: HashKey) -> Vec<Firing> {
    let mut firings: Vec<Firing> = Vec::new();
    for batch in answer {
        firings.extend((0..batch.num_rows()).filter_map(|row| read(rule, batch, row, hash_key)));
    }
    // One row a key: of several, the greatest, whatever order the query gave them in.
    firings.sort_by(|a, b| {
        let values = || totals::compare_maps(&b.values, &a.values);
        a.key.bytes.cmp(&b.key.bytes).then_with(values)
    });
    firings.dedup_by(|later, first| later.key.bytes == first.key.bytes);
    firings
}

/// A row of a rule's answer. `None` where a part of the key is absent, so that nobody fires.
pub(crate) fn read(
    rule: &Prepared,
    answer: &RecordBatch,
    row: usize,
    hash_key: HashKey,
) -> Option<Firing> {
    let columns = |places: &[usize]| -> Vec<_> {
        places.iter().filter_map(|place| answer.columns().get(*place)).collect()
    };
    let key_columns = columns(&rule.keys_out);
    let mut bytes = Vec::new();
    if !write_key(&key_columns, row, &mut bytes) {
        return None;
    }
    let named = |names: &[String], places: &[usize]| -> Map<String, Value> {
        let cells = names.iter().zip(columns(places));
        cells
            .filter_map(|(name, column)| Some((name.clone(), cell::json(column.as_ref(), row)?)))
            .collect()
    };
    let hash = hash_key.hash(&bytes);
    let columns = named(&rule.rule.keys, &rule.keys_out);
    let values = named(&rule.rule.values, &rule.values_out);
    Some(Firing { key: Arc::new(Key { bytes, hash, columns }), values })
}

/// The rows of each wanted key from its moment on, by event time and arrival.
///
/// `wanted` is a list of key hash and first moment; the answer has the same order.
pub(crate) fn rows_of(panes: &[Arc<Sealed>], wanted: &[(u128, i64)]) -> Vec<Vec<RowAt>> {
    let places: HashMap<u128, usize> =
        wanted.iter().enumerate().map(|(place, (key, _))| (*key, place)).collect();
    let earliest = wanted.iter().map(|(_, from)| *from).min().unwrap_or(i64::MAX);
    let mut found = vec![Vec::new(); wanted.len()];
    for (pane, sealed) in panes.iter().enumerate() {
        if sealed.rows.at.last().is_none_or(|latest| *latest < earliest) {
            continue;
        }
        for (row, (key, at)) in sealed.rows.keys.iter().zip(&sealed.rows.at).enumerate() {
            let Some(place) = places.get(key) else { continue };
            let from = wanted.get(*place).map_or(i64::MAX, |(_, from)| *from);
            if let Some(rows) = found.get_mut(*place)
                && *at >= from
            {
                rows.push(RowAt { pane, row: count(row) });
            }
        }
    }
    for rows in &mut found {
        rows.sort_by_key(|row| (row.pane, moment(panes, *row), arrival(panes, *row)));
    }
    found
}

fn moment(panes: &[Arc<Sealed>], row: RowAt) -> Option<i64> {
    panes.get(row.pane)?.rows.at.get(super::place(row.row)).copied()
}

fn arrival(panes: &[Arc<Sealed>], row: RowAt) -> Option<u32> {
    panes.get(row.pane)?.arrival.get(super::place(row.row)).copied()
}

/// The shortest prefix of each key's rows for which the rule fires.
///
/// Only for rules whose HAVING, once true, stays true, for each key alone: then a key fires on a
/// prefix exactly if it is long enough, and a binary search finds where, for all keys at once.
/// That is the event at which a rule that fires early fires, when events come in order.
pub(crate) fn crossings(
    rule: &Prepared,
    panes: &[Arc<Sealed>],
    k: i64,
    keys: &[(&Firing, Vec<RowAt>)],
    hash_key: HashKey,
) -> Result<Vec<Crossing>, RunError> {
    let whole = |(firing, rows): &(&Firing, Vec<RowAt>)| Crossing {
        rows: rows.len(),
        values: firing.values.clone(),
    };
    let mut found: Vec<Crossing> = keys.iter().map(whole).collect();
    // A key of few rows is searched as long as one of many: a search that has ended stands still.
    let mut least = vec![1_usize; keys.len()];
    let batches: Vec<&RecordBatch> = panes.iter().map(|pane| &pane.rows.batch).collect();
    loop {
        let mut wanted = Vec::new();
        let mut asked = HashMap::new();
        let mut short = vec![None; keys.len()];
        let bounds = keys.iter().zip(least.iter().zip(&found)).enumerate();
        for (place, ((firing, rows), (least, crossing))) in bounds {
            if *least < crossing.rows {
                let middle = usize::midpoint(*least, crossing.rows);
                wanted.extend(rows.iter().take(middle).map(|at| (at.pane, super::place(at.row))));
                asked.insert(firing.key.bytes.as_slice(), (place, middle));
                if let Some(slot) = short.get_mut(place) {
                    *slot = Some(middle);
                }
            }
        }
        if asked.is_empty() {
            return Ok(found);
        }
        let prefixes = interleave_record_batch(&batches, &wanted)?;
        for firing in ask(rule, &[prefixes], k, hash_key)? {
            let Some((place, middle)) = asked.get(firing.key.bytes.as_slice()) else { continue };
            if let (Some(crossing), Some(short)) = (found.get_mut(*place), short.get_mut(*place)) {
                *crossing = Crossing { rows: *middle, values: firing.values };
                *short = None;
            }
        }
        for (least, short) in least.iter_mut().zip(short) {
            if let Some(middle) = short {
                *least = middle + 1;
            }
        }
    }
}
