//! One pane of a unit: a cell for each key that has rows in it.
//!
//! Owns: cells, what each saw beside the values of folds, what is given up of that. Never: keys,
//! other panes.

use std::sync::Arc;

use schemas::Exemplar;

use super::column::{Column, Span};
use super::{Link, Reading, grow, grown};
use crate::episode::Evidence;
use crate::plan::Fold;
use crate::rows::circumstances::Circumstances;
use crate::rows::{EXEMPLARS_MAX, count, place};

/// No entry.
pub(super) const NONE: u32 = u32::MAX;
/// Beside its texts: two counters, the exemplar itself, and two allocations.
const EXEMPLAR_BYTES: usize = 16 + size_of::<Exemplar>() + 2 * super::ALLOCATION_BYTES;

/// The cells of a pane.
#[derive(Debug)]
pub(super) struct Pane {
    pub(super) at: i64,
    pub(super) cells: Vec<Cell>,
    /// By fold of the unit.
    pub(super) columns: Vec<Column>,
    /// Circumstances of cells that have seen several.
    pub(super) more: Vec<More>,
    pub(super) shown: Vec<Shown>,
    /// Bytes of what is shown.
    shown_bytes: usize,
    pub(super) given_up: GivenUp,
}

/// What one key has in a pane.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cell {
    /// Its first and last row, in milliseconds since the pane's first moment. A pane longer than
    /// 49 days says of later ones that they are from then.
    pub(super) first: u32,
    pub(super) last: u32,
    /// Up to 4 Gi.
    pub(super) rows: u32,
    /// The key's place.
    pub(super) group: u32,
    /// The key's cell in the pane before.
    pub(super) before: Link,
    /// Circumstances of the rows that `more` does not say: all, where it says nothing.
    pub(super) entry: u32,
    /// The last of its entries in `more`.
    pub(super) more: u32,
    /// Its latest event in `shown`; each names the one before.
    pub(super) shown: u32,
    pub(super) shown_count: u8,
    /// Whether a row carried a stamp from the future.
    pub(super) future: bool,
    /// Whether something was left out.
    pub(super) lossy: bool,
}

/// Rows of a cell under other circumstances.
#[derive(Debug, Clone, Copy)]
pub(super) struct More {
    pub(super) entry: u32,
    pub(super) rows: u32,
    pub(super) before: u32,
}

/// An event to show.
#[derive(Debug, Clone)]
pub(super) struct Shown {
    pub(super) at: i64,
    pub(super) exemplar: Arc<Exemplar>,
    pub(super) before: u32,
}

/// What no answer depends on, and is not kept any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum GivenUp {
    Nothing,
    Lines,
    Exemplars,
}

impl Pane {
    pub(super) fn new(at: i64, folds: &[Fold]) -> Self {
        Self {
            at,
            cells: Vec::new(),
            columns: folds.iter().map(Column::new).collect(),
            more: Vec::new(),
            shown: Vec::new(),
            shown_bytes: 0,
            given_up: GivenUp::Nothing,
        }
    }

    /// A new cell of a key.
    pub(super) fn push(&mut self, group: u32, before: Link) -> u32 {
        let at = count(self.cells.len());
        grow(&mut self.cells);
        self.cells.push(Cell {
            first: u32::MAX,
            last: 0,
            rows: 0,
            group,
            before,
            entry: NONE,
            more: NONE,
            shown: NONE,
            shown_count: 0,
            future: false,
            lossy: false,
        });
        self.columns.iter_mut().for_each(Column::push);
        at
    }

    /// Takes hits of a cell's key that lie in this pane, which begins at `start`.
    pub(super) fn take(
        &mut self,
        cell_at: u32,
        start: i64,
        reading: &mut Reading<'_>,
        span: &Span<'_>,
    ) {
        let Some(cell) = self.cells.get_mut(place(cell_at)) else { return };
        let events = reading.events;
        let (first, last) = events.between(span.rows);
        cell.rows = cell.rows.saturating_add(count(span.rows.len()));
        cell.first = cell.first.min(since(start, first));
        cell.last = cell.last.max(since(start, last));
        if !events.stamps.is_empty() {
            cell.future |= span.rows.iter().any(|row| events.is_future(*row));
        }
        for ((fold, column), taken) in
            reading.folds.iter().zip(&mut self.columns).zip(&reading.taken)
        {
            cell.lossy |= match taken {
                Some(taken) => !column.take(fold.kind, cell_at, taken, span),
                None => true,
            };
        }
        self.see(cell_at, reading, span.rows);
        if self.given_up < GivenUp::Exemplars {
            self.show(cell_at, reading, (span.rows, first));
        }
    }

    fn see(&mut self, cell_at: u32, reading: &Reading<'_>, rows: &[u32]) {
        let Some(cell) = self.cells.get_mut(place(cell_at)) else { return };
        let entry_of = |theirs: u32| reading.entries.get(place(theirs)).copied().unwrap_or(NONE);
        if let [only] = reading.entries {
            see_some(cell, &mut self.more, *only, count(rows.len()));
            return;
        }
        let entries = rows.iter().map(|row| {
            reading.events.circumstances.get(place(*row)).map_or(NONE, |theirs| entry_of(*theirs))
        });
        // Neighbours are mostly alike.
        let (mut entry, mut seen) = (NONE, 0);
        for next in entries {
            if next != entry && seen > 0 {
                see_some(cell, &mut self.more, entry, seen);
                seen = 0;
            }
            entry = next;
            seen += 1;
        }
        if seen > 0 {
            see_some(cell, &mut self.more, entry, seen);
        }
    }

    /// Keeps the first few by event time and id.
    fn show(&mut self, cell_at: u32, reading: &mut Reading<'_>, (rows, first): (&[u32], i64)) {
        let Some(cell) = self.cells.get_mut(place(cell_at)) else { return };
        let full = usize::from(cell.shown_count) >= EXEMPLARS_MAX;
        let latest = self.shown.get(place(cell.shown)).map(|shown| shown.at);
        if full && latest.is_some_and(|latest| latest < first) {
            return;
        }
        for row in rows {
            let at = reading.events.at(*row);
            let is_full = usize::from(cell.shown_count) >= EXEMPLARS_MAX;
            let latest = self.shown.get(place(cell.shown)).map_or(i64::MIN, |shown| shown.at);
            if is_full && latest < at {
                continue;
            }
            let Some(id) = reading.events.id(*row) else { continue };
            let mut slot = NONE;
            if is_full && let Some(latest) = self.shown.get(place(cell.shown)) {
                if (latest.at, latest.exemplar.event_id.as_str()) <= (at, id) {
                    continue;
                }
                // The latest makes room.
                self.shown_bytes -= bytes_of(&latest.exemplar);
                (slot, cell.shown) = (cell.shown, latest.before);
                cell.shown_count -= 1;
            }
            let (mut later, mut before) = (NONE, cell.shown);
            while let Some(shown) = self.shown.get(place(before))
                && (shown.at, shown.exemplar.event_id.as_str()) > (at, id)
            {
                (later, before) = (before, shown.before);
            }
            let Some(mut exemplar) = reading.exemplar(*row) else { continue };
            if self.given_up == GivenUp::Lines {
                exemplar = without_line(&exemplar);
            }
            self.shown_bytes += bytes_of(&exemplar);
            cell.shown_count += 1;
            let new = Shown { at, exemplar, before };
            if let Some(free) = self.shown.get_mut(place(slot)) {
                *free = new;
            } else {
                slot = count(self.shown.len());
                grow(&mut self.shown);
                self.shown.push(new);
            }
            match self.shown.get_mut(place(later)) {
                Some(later) => later.before = slot,
                None => cell.shown = slot,
            }
        }
    }

    /// Adds what a cell saw to evidence.
    pub(super) fn tell(
        &self,
        cell: &Cell,
        start: i64,
        table: &[Arc<Circumstances>],
        evidence: &mut Evidence,
    ) {
        let moment = |offset: u32| start.saturating_add(i64::from(offset));
        evidence.see_rows(u64::from(cell.rows), moment(cell.first), moment(cell.last));
        let mut left = u64::from(cell.rows);
        let mut next = cell.more;
        while let Some(more) = self.more.get(place(next)) {
            left = left.saturating_sub(u64::from(more.rows));
            if let Some(seen) = table.get(place(more.entry)) {
                evidence.add_circumstances(u64::from(more.rows), seen);
            }
            next = more.before;
        }
        if let Some(seen) = table.get(place(cell.entry)).filter(|_| left > 0) {
            evidence.add_circumstances(left, seen);
        }
        if cell.future {
            evidence.see_future();
        }
        let mut next = cell.shown;
        while let Some(shown) = self.shown.get(place(next)) {
            evidence.show(shown.at, &shown.exemplar);
            next = shown.before;
        }
    }

    /// Gives up what no answer depends on.
    pub(super) fn give_up(&mut self, what: GivenUp) {
        if self.given_up >= what {
            return;
        }
        self.given_up = what;
        match what {
            GivenUp::Nothing => {}
            GivenUp::Lines => {
                for shown in &mut self.shown {
                    if shown.exemplar.line.is_some() {
                        self.shown_bytes -= bytes_of(&shown.exemplar);
                        shown.exemplar = without_line(&shown.exemplar);
                        self.shown_bytes += bytes_of(&shown.exemplar);
                    }
                }
            }
            GivenUp::Exemplars => {
                self.shown = Vec::new();
                self.shown_bytes = 0;
                for cell in &mut self.cells {
                    (cell.shown, cell.shown_count) = (NONE, 0);
                }
            }
        }
    }

    /// Only these cells, in this order.
    pub(super) fn keep(&mut self, cells: &[u32]) {
        let mut kept = Self::new(self.at, &[]);
        kept.given_up = self.given_up;
        kept.cells.reserve_exact(cells.len());
        for cell in cells.iter().filter_map(|cell| self.cells.get(place(*cell))) {
            let mut new = Cell { more: NONE, shown: NONE, ..*cell };
            let mut chain = Vec::new();
            let mut next = cell.more;
            while let Some(more) = self.more.get(place(next)) {
                chain.push(*more);
                next = more.before;
            }
            for more in chain.into_iter().rev() {
                kept.more.push(More { before: new.more, ..more });
                new.more = count(kept.more.len() - 1);
            }
            for shown in self.shown_of(cell).into_iter().rev() {
                kept.push_shown(&mut new, shown.at, Arc::clone(&shown.exemplar));
            }
            kept.cells.push(new);
        }
        kept.columns = std::mem::take(&mut self.columns);
        kept.columns.iter_mut().for_each(|column| column.keep(cells));
        *self = kept;
    }

    /// What a cell shows, the latest first.
    pub(super) fn shown_of(&self, cell: &Cell) -> Vec<&Shown> {
        let mut all = Vec::new();
        let mut next = cell.shown;
        while let Some(shown) = self.shown.get(place(next)) {
            all.push(shown);
            next = shown.before;
        }
        all
    }

    /// Shows one that is later than what the cell shows.
    pub(super) fn push_shown(&mut self, cell: &mut Cell, at: i64, exemplar: Arc<Exemplar>) {
        self.shown_bytes += bytes_of(&exemplar);
        self.shown.push(Shown { at, exemplar, before: cell.shown });
        cell.shown = count(self.shown.len() - 1);
    }

    pub(super) fn is_full(&self, fold: usize, cell: u32) -> bool {
        self.columns.get(fold).is_some_and(|column| column.is_full(cell))
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>()
            + grown(size_of_val(self.cells.as_slice()))
            + grown(size_of_val(self.more.as_slice()))
            + grown(size_of_val(self.shown.as_slice()))
            + self.shown_bytes
            + self.columns.iter().map(Column::bytes).sum::<usize>()
    }

    #[cfg(test)]
    pub(super) fn heap_bytes(&self) -> usize {
        self.cells.capacity() * size_of::<Cell>()
            + self.more.capacity() * size_of::<More>()
            + self.shown.capacity() * size_of::<Shown>()
            + self.shown_bytes
            + self.columns.iter().map(Column::heap_bytes).sum::<usize>()
    }
}

fn see_some(cell: &mut Cell, all: &mut Vec<More>, entry: u32, rows: u32) {
    if cell.entry == NONE {
        cell.entry = entry;
    }
    if cell.entry == entry {
        return;
    }
    let mut next = cell.more;
    while let Some(more) = all.get_mut(place(next)) {
        if more.entry == entry {
            more.rows = more.rows.saturating_add(rows);
            return;
        }
        next = more.before;
    }
    grow(all);
    all.push(More { entry, rows, before: cell.more });
    cell.more = count(all.len() - 1);
}

fn since(start: i64, at: i64) -> u32 {
    u32::try_from(at.saturating_sub(start).max(0)).unwrap_or(u32::MAX - 1)
}

fn bytes_of(exemplar: &Exemplar) -> usize {
    EXEMPLAR_BYTES + exemplar.event_id.len() + exemplar.line.as_ref().map_or(0, String::len)
}

fn without_line(exemplar: &Exemplar) -> Arc<Exemplar> {
    Arc::new(Exemplar { line: None, ..exemplar.clone() })
}
