//! From rows that pass a unit's filter to hits.
//!
//! Owns: runs of one key, which events to show, what the folds take. Never: filters, time.
//!
//! What several units want of a row (its key, a keyed hash, its form as an exemplar) is worked out
//! once a step.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt32Array};
use arrow::datatypes::{Float64Type, Int64Type};
use schemas::{EventTime, Exemplar};

use super::judge::{Rowset, Shared};
use super::keyed::ByText;
use crate::cell;
use crate::hits::{Hits, Run, Taken, Values};
use crate::key::{HashKey, write_key};
use crate::plan::{Argument, Fold, Held, Kind, RunError};
use crate::rows::circumstances::text_at;
use crate::rows::{EXEMPLARS_MAX, count, place};
use crate::ruleset::Unit;

/// Not worked out yet.
const UNKNOWN: u32 = u32::MAX;

/// What units share of the rows of a step.
#[derive(Debug)]
pub(super) struct Common {
    hash_key: HashKey,
    rows: usize,
    /// By columns of a key.
    keys: Vec<(Vec<usize>, Keys)>,
    /// By column: keyed hashes of its values, by row; zero where not worked out yet.
    hashes: Vec<(usize, Vec<u64>)>,
    /// By row.
    exemplars: Vec<Option<Arc<Exemplar>>>,
    scratch: Vec<u8>,
}

/// The keys of a step.
#[derive(Debug)]
struct Keys {
    /// By row.
    of: Vec<u32>,
    known: HashMap<Arc<[u8]>, u32, ByText>,
    keys: Vec<(u128, Arc<[u8]>)>,
}

/// Rows in runs of one key.
struct InRuns {
    runs: Vec<Run>,
    /// Places among the rows given.
    order: Vec<u32>,
}

impl Common {
    pub(super) fn new(rows: usize, hash_key: HashKey) -> Self {
        let (keys, hashes, exemplars) = (Vec::new(), Vec::new(), Vec::new());
        Self { hash_key, rows, keys, hashes, exemplars, scratch: Vec::new() }
    }

    /// The hits of `places`, which have passed the unit's filter.
    pub(super) fn hits(
        &mut self,
        unit: &Unit,
        rows: &Rowset<'_>,
        places: &[u32],
        shared: &mut Shared<'_>,
    ) -> Result<Hits, RunError> {
        let InRuns { runs, order: arrival } = self.in_runs(&unit.key, rows.batch, places);
        let sorted: Vec<u32> =
            arrival.iter().filter_map(|at| places.get(place(*at)).copied()).collect();
        let at: Vec<i64> =
            sorted.iter().filter_map(|row| rows.at.get(place(*row)).copied()).collect();
        let folds: Result<Vec<Taken>, RunError> =
            unit.folds.iter().map(|fold| self.taken(fold, rows.batch, &sorted)).collect();
        let (circumstances, table) = shared.census.of(&sorted);
        let future = |(hit, row): (u32, &u32)| {
            rows.stamps.binary_search_by_key(row, |(of, _)| *of).is_ok().then_some(hit)
        };
        let future = match rows.stamps {
            [] => Vec::new(),
            _ => (0_u32..).zip(&sorted).filter_map(future).collect(),
        };
        let mut hits = Hits {
            runs,
            arrival,
            at,
            circumstances,
            table,
            shown: Vec::new(),
            future,
            folds: folds?,
        };
        hits.shown = self.shown(&hits, (unit.pane_ms, &sorted), rows, shared);
        Ok(hits)
    }

    /// Rows without a complete key are nobody's.
    fn in_runs(&mut self, key: &[usize], batch: &RecordBatch, places: &[u32]) -> InRuns {
        let at = self.keys.iter().position(|(columns, _)| columns == key).unwrap_or_else(|| {
            self.keys.push((key.to_vec(), Keys::new(self.rows)));
            self.keys.len() - 1
        });
        let columns: Vec<&ArrayRef> =
            key.iter().filter_map(|column| batch.columns().get(*column)).collect();
        let mut in_runs = InRuns { runs: Vec::new(), order: Vec::new() };
        let Some((_, keys)) = self.keys.get_mut(at) else { return in_runs };
        let of: Vec<u32> = places
            .iter()
            .map(|row| keys.of(&columns, *row, (self.hash_key, &mut self.scratch)))
            .collect();
        // By key: its run.
        let mut runs_of = vec![UNKNOWN; keys.keys.len()];
        let mut run_of: Vec<u32> = Vec::with_capacity(of.len());
        for key in &of {
            let known = keys.keys.get(place(*key)).zip(runs_of.get_mut(place(*key)));
            let Some(((hash, bytes), run)) = known else {
                run_of.push(UNKNOWN);
                continue;
            };
            if *run == UNKNOWN {
                *run = count(in_runs.runs.len());
                in_runs.runs.push(Run { hash: *hash, key: Arc::clone(bytes), end: 0 });
            }
            if let Some(run) = in_runs.runs.get_mut(place(*run)) {
                run.end += 1;
            }
            run_of.push(*run);
        }
        let mut next: Vec<u32> = Vec::with_capacity(in_runs.runs.len());
        let mut before = 0;
        for run in &mut in_runs.runs {
            next.push(before);
            before += run.end;
            run.end = before;
        }
        in_runs.order = vec![0; place(before)];
        for (at, run) in (0_u32..).zip(run_of) {
            let Some(next) = next.get_mut(place(run)) else { continue };
            if let Some(slot) = in_runs.order.get_mut(place(*next)) {
                *slot = at;
            }
            *next += 1;
        }
        in_runs
    }

    /// Every hit that was among the first few of its key and pane when it came: by event time and
    /// id, so that whatever they join, the first few of all are there.
    fn shown(
        &mut self,
        hits: &Hits,
        (pane_ms, sorted): (i64, &[u32]),
        rows: &Rowset<'_>,
        shared: &Shared<'_>,
    ) -> Vec<(u32, Arc<Exemplar>)> {
        let Some(ids) = shared.ids else { return Vec::new() };
        let id = |hit: u32| sorted.get(place(hit)).and_then(|row| text_at(ids, place(*row)));
        let order = |hit: u32| (hits.at.get(place(hit)).copied(), id(hit));
        let mut shown = Vec::new();
        let mut from = 0;
        for run in &hits.runs {
            let mut panes: Vec<(i64, Vec<u32>)> = Vec::new();
            for hit in from..run.end {
                let Some(at) = hits.at.get(place(hit)).copied() else { break };
                let pane = at.div_euclid(pane_ms);
                let first = match panes.iter_mut().rfind(|(of, _)| *of == pane) {
                    Some((_, first)) => first,
                    None => {
                        panes.push((pane, Vec::new()));
                        let Some((_, first)) = panes.last_mut() else { break };
                        first
                    }
                };
                if first.len() >= EXEMPLARS_MAX {
                    let last = first.last().and_then(|last| hits.at.get(place(*last)));
                    if last.is_some_and(|last| *last < at) {
                        continue;
                    }
                }
                let later = first.partition_point(|held| order(*held) <= order(hit));
                if later < EXEMPLARS_MAX
                    && let Some(exemplar) = self.exemplar(hit, sorted, rows, shared)
                {
                    first.insert(later, hit);
                    first.truncate(EXEMPLARS_MAX);
                    shown.push((hit, exemplar));
                }
            }
            from = run.end;
        }
        shown
    }

    fn exemplar(
        &mut self,
        hit: u32,
        sorted: &[u32],
        rows: &Rowset<'_>,
        shared: &Shared<'_>,
    ) -> Option<Arc<Exemplar>> {
        let row = *sorted.get(place(hit))?;
        if self.exemplars.is_empty() {
            self.exemplars = vec![None; self.rows];
        }
        let slot = self.exemplars.get_mut(place(row))?;
        if slot.is_none() {
            let stamp = match rows.stamps.binary_search_by_key(&row, |(of, _)| *of) {
                Ok(found) => rows.stamps.get(found).map(|(_, stamp)| *stamp),
                Err(_own) => rows.at.get(place(row)).copied(),
            };
            *slot = Some(Arc::new(Exemplar {
                event_id: text_at(shared.ids?, place(row))?.to_owned(),
                event_time: EventTime(stamp?),
                line: shared.lines.and_then(|lines| text_at(lines, place(row))).map(str::to_owned),
            }));
        }
        slot.clone()
    }

    /// What a fold takes of rows.
    fn taken(&mut self, fold: &Fold, batch: &RecordBatch, rows: &[u32]) -> Result<Taken, RunError> {
        if let (Kind::Distinct, Some(column)) = (fold.kind, fold.column) {
            return Ok(self.hashed(column, batch, rows));
        }
        if fold.takes_all() {
            return Ok(Taken::default());
        }
        let Argument { takes, values } =
            fold.read(batch, &UInt32Array::from_iter_values(rows.iter().copied()))?;
        let takes: Option<Vec<bool>> = takes.map(|takes| takes.iter().collect());
        let Some(values) = values else { return Ok(Taken { takes, values: Values::Nothing }) };
        let values = match fold.kind {
            Kind::Distinct => {
                let mut hash = |hit: usize| {
                    self.scratch.clear();
                    cell::canonical(values.as_ref(), hit, &mut self.scratch);
                    crate::key::low(self.hash_key.hash(&self.scratch))
                };
                Values::Hashes((0..values.len()).map(&mut hash).collect())
            }
            Kind::Count => Values::Nothing,
            Kind::Sum | Kind::Steps(_) => whole(&values),
            Kind::SumFraction | Kind::Average => fractions(&values),
            Kind::All | Kind::Any => flags(&values),
            Kind::Least(held) | Kind::Greatest(held) => match held {
                Held::Whole => whole(&values),
                Held::Fraction => fractions(&values),
                Held::Flag => flags(&values),
                Held::Text => texts(&values),
            },
        };
        Ok(Taken { takes, values })
    }

    /// Keyed hashes of a column's values.
    fn hashed(&mut self, column: usize, batch: &RecordBatch, rows: &[u32]) -> Taken {
        let Some(values) = batch.columns().get(column) else { return Taken::default() };
        let at = self.hashes.iter().position(|(of, _)| *of == column).unwrap_or_else(|| {
            self.hashes.push((column, vec![0; self.rows]));
            self.hashes.len() - 1
        });
        let Some((_, known)) = self.hashes.get_mut(at) else { return Taken::default() };
        let mut hash = |row: &u32| {
            let Some(slot) = known.get_mut(place(*row)) else { return 0 };
            if *slot == 0 {
                self.scratch.clear();
                cell::canonical(values.as_ref(), place(*row), &mut self.scratch);
                *slot = crate::key::low(self.hash_key.hash(&self.scratch));
            }
            *slot
        };
        let hashes = rows.iter().map(&mut hash).collect();
        let takes = (values.null_count() > 0)
            .then(|| rows.iter().map(|row| values.is_valid(place(*row))).collect());
        Taken { takes, values: Values::Hashes(hashes) }
    }
}

fn whole(values: &ArrayRef) -> Values {
    let values = values.as_primitive_opt::<Int64Type>();
    Values::Whole(values.map_or_else(Vec::new, |values| values.values().to_vec()))
}

fn fractions(values: &ArrayRef) -> Values {
    let values = values.as_primitive_opt::<Float64Type>();
    Values::Fractions(values.map_or_else(Vec::new, |values| values.values().to_vec()))
}

fn flags(values: &ArrayRef) -> Values {
    let values = values.as_boolean_opt();
    Values::Flags(values.map_or_else(Vec::new, |values| values.values().iter().collect()))
}

fn texts(values: &ArrayRef) -> Values {
    values.as_string_opt::<i32>().cloned().map_or(Values::Nothing, Values::Texts)
}

impl Keys {
    fn new(rows: usize) -> Self {
        Self { of: vec![UNKNOWN; rows], known: HashMap::default(), keys: Vec::new() }
    }

    /// The number of a row's key; none where a part of it is absent.
    fn of(
        &mut self,
        columns: &[&ArrayRef],
        row: u32,
        (hash_key, scratch): (HashKey, &mut Vec<u8>),
    ) -> u32 {
        let known = self.of.get(place(row)).copied().unwrap_or(UNKNOWN);
        if known != UNKNOWN || !write_key(columns, place(row), scratch) {
            return known;
        }
        let found = match self.known.get(scratch.as_slice()) {
            Some(found) => *found,
            None => {
                let next = count(self.keys.len());
                let bytes: Arc<[u8]> = Arc::from(scratch.as_slice());
                self.keys.push((hash_key.hash(scratch), Arc::clone(&bytes)));
                self.known.insert(bytes, next);
                next
            }
        };
        if let Some(slot) = self.of.get_mut(place(row)) {
            *slot = found;
        }
        found
    }
}
