//! What a rule is told of the groups of its unit.
//!
//! Owns: joining the cells of a window, asking HAVING, who fires and on what evidence. Never:
//! changes anything.

use arrow::array::RecordBatch;

use super::column::{Cells, folded};
use super::{Groups, Link, Register};
use crate::cell;
use crate::episode::Evidence;
use crate::key::HashKey;
use crate::plan::{Known, Panes, Passes, RunError};
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
}

impl Groups {
    /// Of cells of a key, those of window `k` of a rule.
    pub(super) fn within<'a>(
        &'a self,
        links: &'a [Link],
        view: View<'_>,
        (group, k): (u32, i64),
    ) -> Cells<'a> {
        let (from, to) = (k, view.end(k));
        let before =
            |end: i64| links.partition_point(|link| self.pane_at(*link).is_some_and(|at| at < end));
        let of = links.get(before(from)..before(to)).unwrap_or_default();
        let owed = if view.rule.monotone { self.owed(group, k) } else { 0 };
        Cells { panes: &self.panes, of, owed }
    }

    /// A rule's answer for one key in window `k`, as far as it is filled.
    pub(crate) fn answer(
        &self,
        view: View<'_>,
        group: u32,
        k: i64,
        hash_key: HashKey,
    ) -> Result<Option<Firing>, RunError> {
        let mut links = Vec::new();
        self.links(group, (k, view.end(k)), &mut links);
        let cells = self.within(&links, view, (group, k));
        let answer = view.ask(&[(self.key_bytes(group), cells)])?;
        Ok(firing::firings(view.rule, &[answer], hash_key).pop())
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
            let cells: Vec<(&[u8], Cells<'_>)> = part
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

impl View<'_> {
    /// The first pane after window `k`.
    fn end(self, k: i64) -> i64 {
        k.saturating_add(self.rule.windows.map_or(1, Windows::panes))
    }

    pub(super) fn passes(self, groups: &Groups, cells: Cells<'_>) -> Passes {
        let value = |fold: usize, enough: i64| {
            let kind = self.panes.folds.get(fold)?.kind;
            cells.whole(*self.places.get(fold)?, kind, enough)
        };
        self.panes.bar.passes(&self.known(&value, &|fold| self.most(groups, fold)))
    }

    /// Rows that a window has at least in which the rule fires, whatever they add to sums.
    pub(crate) fn rows_min(self) -> u64 {
        self.panes.bar.rows_min(&self.known(&|_, _| None, &|_fold| u64::MAX))
    }

    /// As many of the rows that are still to come.
    pub(crate) fn rows_to_come(self, groups: &Groups) -> u64 {
        self.panes.bar.rows_min(&self.known(&|_, _| None, &|fold| self.most(groups, fold)))
    }

    fn known<'k>(
        self,
        value: &'k dyn Fn(usize, i64) -> Option<i64>,
        most: &'k dyn Fn(usize) -> u64,
    ) -> Known<'k>
    where
        Self: 'k,
    {
        Known { folds: &self.panes.folds, value, most }
    }

    fn most(self, groups: &Groups, fold: usize) -> u64 {
        self.places.get(fold).map_or(u64::MAX, |fold| groups.most(*fold))
    }

    /// The query's answer for groups, each a key and its cells.
    pub(super) fn ask(self, groups: &[(&[u8], Cells<'_>)]) -> Result<RecordBatch, RunError> {
        let keys: Vec<&[u8]> = groups.iter().map(|(key, _)| *key).collect();
        let cells: Vec<Cells<'_>> = groups.iter().map(|(_, cells)| *cells).collect();
        let columns = cell::key_columns(&keys, &self.panes.key_types)?;
        let folds = self.panes.folds.iter().zip(self.places);
        let folded = folds.map(|(fold, place)| folded(fold.kind, *place, &cells)).collect();
        self.panes.answer(&columns, folded, groups.len())
    }
}
