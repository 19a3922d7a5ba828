//! What a rule is told of the groups of its unit.
//!
//! Owns: joining the cells of a window, asking HAVING, who fires and on what evidence. Never:
//! changes anything.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch};

use super::column::{Cells, folded};
use super::{Groups, Link, Register, key_of};
use crate::cell;
use crate::episode::Evidence;
use crate::key::HashKey;
use crate::past::baseline::Baseline;
use crate::plan::{Kind, Known, Panes, Passes, RunError};
use crate::rows::firing::{self, Firing};
use crate::rows::place;
use crate::ruleset::Prepared;
use crate::window::Windows;

/// Groups whose answer is asked for at once.
const ASKED_MAX: usize = 4_096;

/// What one rule reads of its unit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) rule: &'a Prepared,
    pub(crate) panes: &'a Panes,
    /// By fold of the rule: its place in the unit.
    pub(crate) places: &'a [usize],
    /// What is usual, for a rule that asks.
    pub(crate) baseline: Option<&'a Baseline>,
    /// What other rules of the unit have asked.
    pub(crate) answered: Option<&'a Answered>,
}

/// How many distinct values keys have in windows, as rules of a unit ask while it does not change:
/// the same rule with several thresholds asks the same several times.
#[derive(Debug, Default)]
pub(crate) struct Answered(RefCell<BTreeMap<Question, i64>>);

/// Fold of the unit, key, first pane, pane after the last, rows given up.
type Question = (usize, u128, i64, i64, u64);

impl Answered {
    fn answer(&self, question: Question, count: impl FnOnce() -> Option<i64>) -> Option<i64> {
        if let Some(known) = self.0.borrow().get(&question) {
            return Some(*known);
        }
        let counted = count()?;
        self.0.borrow_mut().insert(question, counted);
        Some(counted)
    }
}

/// Cells of a key within a window.
#[derive(Debug, Clone, Copy)]
pub(super) struct Within<'a> {
    cells: Cells<'a>,
    key: u128,
    k: i64,
}

impl Groups {
    /// Of cells of a key, those of window `k` of a rule.
    pub(super) fn within<'a>(
        &'a self,
        links: &'a [Link],
        view: View<'_>,
        (group, k): (u32, i64),
    ) -> Within<'a> {
        let (from, to) = (k, view.end(k));
        let before =
            |end: i64| links.partition_point(|link| self.pane_at(*link).is_some_and(|at| at < end));
        let of = links.get(before(from)..before(to)).unwrap_or_default();
        let owed = if view.rule.monotone { self.owed(group, k) } else { 0 };
        let key = self.groups.get(place(group)).map_or(0, |group| key_of(group.hash));
        Within { cells: Cells { panes: &self.panes, of, owed }, key, k }
    }

    /// What a rule sees of a key in window `k` from a moment on beside values, and whether
    /// something is missing.
    pub(crate) fn evidence(
        &self,
        view: View<'_>,
        (key, k, from): (u128, i64, i64),
        register: &Register,
    ) -> (Evidence, bool) {
        let mut evidence = Evidence::default();
        let mut lossy = k.saturating_mul(self.slide_ms) < self.shed_until;
        let Some(group) = self.find(key) else { return (evidence, lossy) };
        lossy |= self.owed(group, k) > 0;
        lossy |= view.baseline.is_some_and(|baseline| baseline.is_lossy(key, k));
        let mut links = Vec::new();
        self.links(group, (k, view.end(k)), &mut links);
        for link in links {
            let Some(pane) = self.panes.get(place(link.pane)) else { continue };
            let Some(cell) = pane.cells.get(place(link.cell)) else { continue };
            lossy |= cell.lossy || view.places.iter().any(|fold| pane.is_full(*fold, link.cell));
            let start = pane.at.saturating_mul(self.slide_ms);
            if start >= from {
                pane.tell(cell, start, register, &mut evidence);
            }
        }
        (evidence, lossy)
    }

    /// Who fires in window `k`, of some keys.
    pub(crate) fn fire(
        &self,
        view: View<'_>,
        keys: &[u128],
        k: i64,
        hash_key: HashKey,
    ) -> Result<Vec<Firing>, RunError> {
        let mut asked: Vec<(u32, Vec<Link>)> = Vec::new();
        let mut links = Vec::new();
        for key in keys {
            let Some(group) = self.find(*key) else { continue };
            self.links(group, (k, view.end(k)), &mut links);
            let cells = self.within(&links, view, (group, k));
            if !links.is_empty() && !matches!(view.passes(self, cells), Passes::After(_)) {
                asked.push((group, links.clone()));
            }
        }
        let mut fired = Vec::new();
        for part in asked.chunks(ASKED_MAX) {
            let cells: Vec<(&[u8], Within<'_>)> = part
                .iter()
                .map(|(group, links)| {
                    (self.key_bytes(*group), self.within(links, view, (*group, k)))
                })
                .collect();
            fired.extend(firing::firings(view.rule, &[view.ask(&cells)?], hash_key));
        }
        Ok(fired)
    }
}

impl Groups {
    /// What a fold of a rule came to in window `k`, for each of its keys of which that is exact.
    pub(crate) fn came_to(&self, view: View<'_>, k: i64, fold: usize) -> Vec<(u128, i64)> {
        let (Some(kind), Some(place)) = (view.panes.kind(fold), view.places.get(fold)) else {
            return Vec::new();
        };
        let mut keys = Vec::new();
        self.keys_in(k..=view.end(k).saturating_sub(1), &mut keys);
        keys.sort_unstable();
        keys.dedup();
        let mut links = Vec::new();
        let mut of = |key: u128| {
            let group = self.find(key).filter(|group| self.owed(*group, k) == 0)?;
            self.links(group, (k, view.end(k)), &mut links);
            let cells = Cells { panes: &self.panes, of: &links, owed: 0 };
            Some((key, cells.whole(*place, kind, None)?))
        };
        keys.into_iter().filter_map(&mut of).collect()
    }
}

impl<'a> View<'a> {
    /// Of a rule over groups, with the places of its folds in its unit.
    pub(crate) fn of(
        rule: &'a Prepared,
        places: &'a [usize],
        baseline: Option<&'a Baseline>,
    ) -> Option<Self> {
        Some(Self { rule, panes: rule.folded()?, places, baseline, answered: None })
    }

    /// While the unit does not change.
    pub(crate) fn sharing(self, answered: Option<&'a Answered>) -> Self {
        Self { answered, ..self }
    }
}

impl View<'_> {
    /// The first pane after window `k`.
    fn end(self, k: i64) -> i64 {
        k.saturating_add(self.rule.windows.map_or(1, Windows::panes))
    }

    pub(super) fn passes(self, groups: &Groups, within: Within<'_>) -> Passes {
        let value = |fold: usize, enough: Option<i64>| {
            let kind = self.panes.kind(fold)?;
            within.cells.whole(*self.places.get(fold)?, kind, enough)
        };
        let usual = |call: usize| self.usual(within, call);
        self.panes
            .bar
            .passes(&Known { usual: &usual, ..self.known(&value, &|fold| self.most(groups, fold)) })
    }

    /// What is usual for a key according to a call.
    fn usual(self, within: Within<'_>, call: usize) -> f64 {
        let call = self.panes.baselines.all.get(call);
        let usual = self.baseline.zip(call);
        usual.map_or(f64::INFINITY, |(known, call)| known.usual(within.key, within.k, *call))
    }

    /// Rows that a window has at least in which the rule fires, of those that are still to come.
    pub(crate) fn rows_to_come(self, groups: &Groups) -> u64 {
        self.panes.bar.rows_min(&self.known(&|_, _| None, &|fold| self.most(groups, fold)))
    }

    fn known<'k>(
        self,
        value: &'k dyn Fn(usize, Option<i64>) -> Option<i64>,
        most: &'k dyn Fn(usize) -> u64,
    ) -> Known<'k>
    where
        Self: 'k,
    {
        Known { folds: &self.panes.folds, value, most, usual: &|_call| 0.0 }
    }

    fn most(self, groups: &Groups, fold: usize) -> u64 {
        self.places.get(fold).map_or(u64::MAX, |fold| groups.most(*fold))
    }

    /// The query's answer for groups, each a key and its cells.
    pub(super) fn ask(self, groups: &[(&[u8], Within<'_>)]) -> Result<RecordBatch, RunError> {
        let keys: Vec<&[u8]> = groups.iter().map(|(key, _)| *key).collect();
        let cells: Vec<Cells<'_>> = groups.iter().map(|(_, within)| within.cells).collect();
        let columns = cell::key_columns(&keys, &self.panes.key_types)?;
        let folds = self.panes.folds.iter().zip(self.places);
        let folds = folds.map(|(fold, place)| match (fold.kind, self.answered) {
            (Kind::Distinct, Some(answered)) => {
                let count = |within: &Within<'_>| {
                    let Within { cells, key, k } = *within;
                    let question = (*place, key, k, self.end(k), cells.owed);
                    answered.answer(question, || cells.whole(*place, fold.kind, None))
                };
                Arc::new(groups.iter().map(|(_, within)| count(within)).collect::<Int64Array>())
            }
            (kind, _) => folded(kind, *place, &cells),
        });
        let calls = (0..self.panes.baselines.all.len()).map(|call| -> ArrayRef {
            let usual = groups.iter().map(|(_, within)| self.usual(*within, call));
            Arc::new(usual.collect::<Float64Array>())
        });
        self.panes.answer(&columns, folds.chain(calls).collect(), groups.len())
    }
}
