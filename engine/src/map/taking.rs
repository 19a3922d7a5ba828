//! From rows that pass a unit's filter to hits.
//!
//! Owns: runs of one key, what the folds take. Never: filters, time.
//!
//! What several units want of a row (its key, its circumstances, the value of a fold) is worked
//! out once a step, and only for rows that a unit takes.

mod keys;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt32Array};
use arrow::datatypes::{Float64Type, Int64Type};

use super::judge::{Rowset, Shared};
use crate::cell;
use crate::hits::{Events, Exemplars, Hits, Run, StepKey, Taken, Values};
use crate::key::HashKey;
use crate::plan::{Argument, Fold, Held, Kind, RunError};
use crate::rows::place;
use crate::ruleset::Unit;
use keys::Keys;

/// A fold is read of a whole step, for all units, where at least one row in so many passes the
/// unit's filter, where it is a column as it stands, or where the step is short: to read so many
/// rows takes no longer than to begin.
const WHOLE_STEP: usize = 4;
const SHORT_STEP: usize = 1_024;

/// What units share of the rows of a step.
#[derive(Debug)]
pub(super) struct Common<'a> {
    hash_key: HashKey,
    batch: &'a RecordBatch,
    /// By columns of a key.
    keys: Vec<(Vec<usize>, Keys<'a>)>,
    /// By column: keyed hashes of its values, by row; zero where not worked out yet.
    hashes: Vec<(usize, Vec<u64>)>,
    /// By name of a fold: what it takes, by row.
    folds: Vec<(Arc<str>, Arc<Taken>)>,
    all: Arc<Taken>,
    /// By row: whether a unit takes it.
    taken: Vec<bool>,
    scratch: Vec<u8>,
}

/// Hits whose events and keys are not complete yet.
#[derive(Debug)]
pub(super) struct Draft {
    /// Place in `Common::keys`.
    keys: usize,
    pane_ms: i64,
    runs: Vec<Run>,
    rows: Vec<u32>,
    folds: Vec<Arc<Taken>>,
}

/// Events and keys of a step, for all its drafts.
#[derive(Debug)]
pub(super) struct Complete {
    events: Arc<Events>,
    keys: Vec<Arc<Vec<StepKey>>>,
}

impl<'a> Common<'a> {
    pub(super) fn new(batch: &'a RecordBatch, hash_key: HashKey) -> Self {
        Self {
            hash_key,
            batch,
            keys: Vec::new(),
            hashes: Vec::new(),
            folds: Vec::new(),
            all: Arc::new(Taken::default()),
            taken: vec![false; batch.num_rows()],
            scratch: Vec::new(),
        }
    }

    /// The hits of `places`, which have passed the unit's filter. Rows without a complete key are
    /// nobody's.
    pub(super) fn hits(&mut self, unit: &Unit, places: &[u32]) -> Result<Draft, RunError> {
        let known = self.keys.iter().position(|(columns, _)| *columns == unit.key);
        let at = known.unwrap_or_else(|| {
            self.keys.push((unit.key.clone(), Keys::new(self.batch, &unit.key, self.hash_key)));
            self.keys.len() - 1
        });
        let (runs, rows) =
            self.keys.get_mut(at).map_or_else(Default::default, |(_, keys)| keys.in_runs(places));
        let folds: Result<Vec<Arc<Taken>>, RunError> =
            unit.folds.iter().map(|fold| self.taken(fold, unit.never_fails, &rows)).collect();
        let folds = folds?;
        for row in &rows {
            if let Some(taken) = self.taken.get_mut(place(*row)) {
                *taken = true;
            }
        }
        Ok(Draft { keys: at, pane_ms: unit.pane_ms, runs, rows, folds })
    }

    /// What all drafts share, once there are no more.
    pub(super) fn complete(self, rows: &Rowset<'_>, shared: &mut Shared<'_>) -> Complete {
        let mut earliest = i64::MAX;
        let mut circumstances = vec![0; rows.at.len()];
        let each = rows.at.iter().zip(&mut circumstances).zip(&self.taken);
        for (row, ((at, entry), taken)) in (0_u32..).zip(each) {
            if *taken {
                earliest = earliest.min(*at);
                *entry = shared.census.at(row);
            }
        }
        let (ids, lines) = (shared.ids.cloned(), shared.lines.cloned());
        let events = Events {
            at: rows.at.to_vec(),
            in_order: rows.at.is_sorted(),
            circumstances,
            table: shared.census.table().to_vec(),
            stamps: rows.stamps.to_vec(),
            exemplars: Exemplars::Columns { ids, lines },
            earliest,
        };
        let keys = self.keys.into_iter().map(|(_, keys)| Arc::new(keys.keys)).collect();
        Complete { events: Arc::new(events), keys }
    }

    /// What a fold takes of rows.
    fn taken(
        &mut self,
        fold: &Fold,
        never_fails: bool,
        rows: &[u32],
    ) -> Result<Arc<Taken>, RunError> {
        if fold.takes_all() {
            return Ok(Arc::clone(&self.all));
        }
        if let Some((_, known)) = self.folds.iter().find(|(name, _)| *name == fold.name) {
            return Ok(Arc::clone(known));
        }
        if let (Kind::Distinct, Some(column)) = (fold.kind, fold.column) {
            return Ok(Arc::new(self.hashed(column, rows)));
        }
        let all = self.batch.num_rows();
        let whole = all <= SHORT_STEP
            || fold.column.is_some()
            || rows.len().saturating_mul(WHOLE_STEP) >= all;
        if never_fails && whole {
            let taken = self.converted(fold.kind, fold.read_all(self.batch)?);
            let taken = Arc::new(Taken { by_row: true, ..taken });
            self.folds.push((Arc::clone(&fold.name), Arc::clone(&taken)));
            return Ok(taken);
        }
        let index = UInt32Array::from_iter_values(rows.iter().copied());
        Ok(Arc::new(self.converted(fold.kind, fold.read(self.batch, &index)?)))
    }

    fn converted(&mut self, kind: Kind, read: Argument) -> Taken {
        let Argument { takes, values } = read;
        let takes: Option<Vec<bool>> = takes.map(|takes| takes.iter().collect());
        let Some(values) = values else {
            return Taken { by_row: false, takes, values: Values::Nothing };
        };
        let values = match kind {
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
        Taken { by_row: false, takes, values }
    }

    /// Keyed hashes of a column's values.
    fn hashed(&mut self, column: usize, rows: &[u32]) -> Taken {
        let Some(values) = self.batch.columns().get(column) else { return Taken::default() };
        let at = self.hashes.iter().position(|(of, _)| *of == column).unwrap_or_else(|| {
            self.hashes.push((column, vec![0; self.batch.num_rows()]));
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
        Taken { by_row: false, takes, values: Values::Hashes(hashes) }
    }
}

impl Complete {
    pub(super) fn hits(&self, draft: Draft) -> Hits {
        let Draft { keys, pane_ms, runs, rows, folds } = draft;
        let keys = self.keys.get(keys).map_or_else(Arc::default, Arc::clone);
        Hits { events: Arc::clone(&self.events), keys, pane_ms, runs, rows, folds }
    }
}

impl Draft {
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
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
