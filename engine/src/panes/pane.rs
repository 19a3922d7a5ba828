//! One pane of a unit: a cell for each key that has rows in it.
//!
//! Owns: cells, what each saw beside the values of folds, what is given up of that. Never: keys,
//! other panes.

use super::chunks::Chunks;
use super::column::{Column, Span};
use super::shelf::{Digits, Shelf};
use super::{Link, Reading, Register};
use crate::episode::Evidence;
use crate::plan::Fold;
use crate::rows::{EXEMPLARS_MAX, count, place};

/// No entry.
pub(super) const NONE: u32 = u32::MAX;

/// The cells of a pane.
#[derive(Debug)]
pub(super) struct Pane {
    pub(super) at: i64,
    pub(super) cells: Chunks<Cell>,
    /// By fold of the unit.
    pub(super) columns: Vec<Column>,
    /// Circumstances of cells that have seen several.
    pub(super) more: Chunks<More>,
    pub(super) shown: Chunks<Shown>,
    /// Bytes of what is shown.
    shown_bytes: usize,
    pub(super) given_up: GivenUp,
    /// Bytes held, unless they are to be counted anew.
    pub(super) counted: Option<usize>,
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
#[derive(Debug, Clone, Copy)]
pub(super) struct Shown {
    /// As a cell's first and last.
    pub(super) at: u32,
    /// Its place on the shelf.
    pub(super) event: u32,
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
            cells: Chunks::default(),
            columns: folds.iter().map(Column::new).collect(),
            more: Chunks::default(),
            shown: Chunks::default(),
            shown_bytes: 0,
            given_up: GivenUp::Nothing,
            counted: None,
        }
    }

    /// A new cell of a key.
    pub(super) fn push(&mut self, group: u32, before: Link) -> u32 {
        let at = count(self.cells.len());
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

    /// Takes hits of a cell's key that lie in this pane, which begins at `start`; says when the last
    /// of them came.
    pub(super) fn take(
        &mut self,
        cell_at: u32,
        (start, shelf): (i64, &mut Shelf),
        reading: &mut Reading<'_>,
        span: &Span<'_>,
    ) -> Option<i64> {
        let cell = self.cells.get_mut(place(cell_at))?;
        let (events, rows) = (reading.events, span.rows);
        let (first, last) = events.between(rows);
        // All that it shows is from before: none of these belongs there, and nothing is read.
        let shows_all =
            usize::from(cell.shown_count) >= EXEMPLARS_MAX && since(start, first) > cell.last;
        cell.rows = cell.rows.saturating_add(count(rows.len()));
        cell.first = cell.first.min(since(start, first));
        cell.last = cell.last.max(since(start, last));
        if !events.stamps.is_empty() {
            cell.future |= rows.iter().any(|row| events.is_future(*row));
        }
        for ((fold, column), taken) in
            reading.folds.iter().zip(&mut self.columns).zip(&reading.taken)
        {
            cell.lossy |= match taken {
                Some(taken) => !column.take(fold.kind, cell_at, taken, span),
                None => true,
            };
        }
        see(cell, &mut self.more, reading, rows);
        if !shows_all && self.given_up < GivenUp::Exemplars {
            let with_line = self.given_up < GivenUp::Lines;
            let mut showing = Showing { shown: &mut self.shown, bytes: 0, start, with_line };
            showing.show(cell, shelf, reading, (rows, first));
            self.shown_bytes = self.shown_bytes.wrapping_add_signed(showing.bytes);
        }
        Some(last)
    }

    /// Something of a cell and of each of its folds.
    pub(super) fn reach(&self, cell: usize) -> u32 {
        let rows = self.cells.get(cell).map_or(0, |cell| cell.rows);
        self.columns.iter().fold(rows, |sum, column| sum.wrapping_add(column.reach(cell)))
    }

    /// Adds what a cell saw to evidence.
    pub(super) fn tell(
        &self,
        cell: &Cell,
        start: i64,
        register: &Register,
        evidence: &mut Evidence,
    ) {
        let moment = |offset: u32| start.saturating_add(i64::from(offset));
        evidence.see_rows(u64::from(cell.rows), moment(cell.first), moment(cell.last));
        let mut left = u64::from(cell.rows);
        let mut next = cell.more;
        while let Some(more) = self.more.get(place(next)) {
            left = left.saturating_sub(u64::from(more.rows));
            if let Some(seen) = register.table().get(place(more.entry)) {
                evidence.add_circumstances(u64::from(more.rows), seen);
            }
            next = more.before;
        }
        if let Some(seen) = register.table().get(place(cell.entry)).filter(|_| left > 0) {
            evidence.add_circumstances(left, seen);
        }
        if cell.future {
            evidence.see_future();
        }
        let mut next = cell.shown;
        let with_line = self.given_up < GivenUp::Lines;
        let mut digits = Digits::default();
        while let Some(shown) = self.shown.get(place(next)) {
            let (at, id) = (moment(shown.at), register.shelf.id(shown.event, &mut digits));
            evidence.show(at, id, || register.shelf.exemplar(shown.event, with_line));
            next = shown.before;
        }
    }

    /// Gives up what no answer depends on.
    pub(super) fn give_up(&mut self, what: GivenUp, shelf: &mut Shelf) {
        if self.given_up >= what {
            return;
        }
        match what {
            GivenUp::Nothing => {}
            GivenUp::Lines => {
                for shown in self.shown.iter() {
                    self.shown_bytes -= shelf.line_bytes(shown.event);
                    shelf.release_line(shown.event);
                }
            }
            GivenUp::Exemplars => {
                self.clear_shown(shelf);
                for cell in self.cells.iter_mut() {
                    (cell.shown, cell.shown_count) = (NONE, 0);
                }
            }
        }
        self.given_up = what;
    }

    /// Nothing of it is shown any more.
    pub(super) fn clear_shown(&mut self, shelf: &mut Shelf) {
        let with_line = self.given_up < GivenUp::Lines;
        for shown in std::mem::take(&mut self.shown).iter() {
            shelf.release(shown.event, with_line);
        }
        self.shown_bytes = 0;
    }

    /// Only these cells, in this order.
    pub(super) fn keep(&mut self, cells: &[u32], shelf: &mut Shelf) {
        let mut kept = Self::new(self.at, &[]);
        kept.given_up = self.given_up;
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
                kept.push_shown(&mut new, (shown.at, shown.event), shelf);
            }
            kept.cells.push(new);
        }
        self.clear_shown(shelf);
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
    pub(super) fn push_shown(
        &mut self,
        cell: &mut Cell,
        (at, event): (u32, u32),
        shelf: &mut Shelf,
    ) {
        let with_line = self.given_up < GivenUp::Lines;
        shelf.hold(event, with_line);
        self.shown_bytes += bytes_of(shelf, event, with_line);
        self.shown.push(Shown { at, event, before: cell.shown });
        cell.shown = count(self.shown.len() - 1);
    }

    pub(super) fn is_full(&self, fold: usize, cell: u32) -> bool {
        self.columns.get(fold).is_some_and(|column| column.is_full(cell))
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>()
            + self.cells.bytes()
            + self.more.bytes()
            + self.shown.bytes()
            + self.shown_bytes
            + self.columns.iter().map(Column::bytes).sum::<usize>()
    }

    #[cfg(test)]
    pub(super) fn heap_bytes(&self) -> usize {
        self.cells.heap_bytes()
            + self.more.heap_bytes()
            + self.shown.heap_bytes()
            + self.shown_bytes
            + self.columns.iter().map(Column::heap_bytes).sum::<usize>()
    }
}

impl Shown {
    /// Whether it is later than another. Ids are looked at only where moments do not tell.
    fn is_after(&self, (at, id): (u32, &str), shelf: &Shelf, digits: &mut Digits) -> bool {
        self.at > at || (self.at == at && shelf.id(self.event, digits) > id)
    }
}

/// What the cells of a pane show, while one takes hits.
struct Showing<'a> {
    shown: &'a mut Chunks<Shown>,
    /// Bytes of what is shown by now and was not before.
    bytes: isize,
    start: i64,
    with_line: bool,
}

impl Showing<'_> {
    /// Keeps the first few by event time and id.
    fn show(
        &mut self,
        cell: &mut Cell,
        shelf: &mut Shelf,
        reading: &mut Reading<'_>,
        (rows, first): (&[u32], i64),
    ) {
        let full = usize::from(cell.shown_count) >= EXEMPLARS_MAX;
        let latest = self.shown.get(place(cell.shown)).map(|shown| shown.at);
        if full && latest.is_some_and(|latest| latest < since(self.start, first)) {
            return;
        }
        let mut digits = Digits::default();
        for row in rows {
            let at = since(self.start, reading.events.at(*row));
            let is_full = usize::from(cell.shown_count) >= EXEMPLARS_MAX;
            let latest = self.shown.get(place(cell.shown)).copied();
            if is_full && latest.is_some_and(|latest| latest.at < at) {
                continue;
            }
            let Some(id) = reading.events.id(*row) else { continue };
            let mut slot = NONE;
            if is_full && let Some(latest) = latest {
                if !latest.is_after((at, id), shelf, &mut digits) {
                    continue;
                }
                // The latest makes room.
                self.bytes -= signed(bytes_of(shelf, latest.event, self.with_line));
                shelf.release(latest.event, self.with_line);
                (slot, cell.shown) = (cell.shown, latest.before);
                cell.shown_count -= 1;
            }
            let (mut later, mut before) = (NONE, cell.shown);
            while let Some(shown) = self.shown.get(place(before))
                && shown.is_after((at, id), shelf, &mut digits)
            {
                (later, before) = (before, shown.before);
            }
            let Some(event) = reading.shelved(*row, shelf) else { continue };
            shelf.hold(event, self.with_line);
            self.bytes += signed(bytes_of(shelf, event, self.with_line));
            cell.shown_count += 1;
            let new = Shown { at, event, before };
            if let Some(free) = self.shown.get_mut(place(slot)) {
                *free = new;
            } else {
                slot = count(self.shown.len());
                self.shown.push(new);
            }
            match self.shown.get_mut(place(later)) {
                Some(later) => later.before = slot,
                None => cell.shown = slot,
            }
        }
    }
}

fn see(cell: &mut Cell, more: &mut Chunks<More>, reading: &Reading<'_>, rows: &[u32]) {
    let entry_of = |theirs: u32| reading.entries.get(place(theirs)).copied().unwrap_or(NONE);
    if let [only] = reading.entries {
        see_some(cell, more, *only, count(rows.len()));
        return;
    }
    let entries = rows.iter().map(|row| {
        reading.events.circumstances.get(place(*row)).map_or(NONE, |theirs| entry_of(*theirs))
    });
    // Neighbours are mostly alike.
    let (mut entry, mut seen) = (NONE, 0);
    for next in entries {
        if next != entry && seen > 0 {
            see_some(cell, more, entry, seen);
            seen = 0;
        }
        entry = next;
        seen += 1;
    }
    if seen > 0 {
        see_some(cell, more, entry, seen);
    }
}

fn see_some(cell: &mut Cell, all: &mut Chunks<More>, entry: u32, rows: u32) {
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
    all.push(More { entry, rows, before: cell.more });
    cell.more = count(all.len() - 1);
}

/// Milliseconds since a pane's first moment.
fn since(start: i64, at: i64) -> u32 {
    u32::try_from(at.saturating_sub(start).max(0)).unwrap_or(u32::MAX - 1)
}

fn signed(bytes: usize) -> isize {
    isize::try_from(bytes).unwrap_or(isize::MAX)
}

fn bytes_of(shelf: &Shelf, event: u32, with_line: bool) -> usize {
    shelf.bytes_of(event) + if with_line { shelf.line_bytes(event) } else { 0 }
}
