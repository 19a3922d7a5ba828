//! Folds by key and pane: what the rules of a unit keep instead of rows.
//!
//! Owns: the groups of one unit, what is given up when its budget of bytes is used up. Never:
//! episodes, verdicts, SQL.
//!
//! A hit goes to the cell of its key and pane and is gone; a window is the cells of its panes
//! joined. Rules of a unit read the same groups, each with windows and HAVING of its own
//! ([`Watch`]). A group whose rows cannot yet be enough for any of them is not asked
//! (`Group::patience`), so that most runs of hits cost a look-up and an addition.
//!
//! State lies in columns: a key is forty bytes and its text, a cell forty bytes and its folds, and
//! a pane that is over goes as a whole.

mod answers;
mod chunks;
mod column;
mod given_up;
mod index;
mod pane;
mod reach;
mod register;
mod shelf;
mod sketch;
mod snapshot;
mod steps;
mod texts;
mod watch;
mod witnesses;

use std::ops::{Range, RangeInclusive};

use schemas::EventTime;

use crate::hits::{Events, StepKey, Taken};
use crate::key::low;
use crate::plan::{Fold, Kind};
use crate::rows::{count, place};
use crate::ruleset::Unit;
use chunks::Chunks;
use column::Span;
use given_up::Counted;
use index::Index;
use pane::{NONE, Pane};
use sketch::Sketch;
use texts::{Text, Texts};

pub(crate) use answers::{Answered, View};
pub(crate) use reach::Ahead;
pub(crate) use register::Register;
pub(crate) use shelf::Shelf;
pub(crate) use watch::{Crossing, Watch};

/// What an allocation costs beside its bytes, on average over sizes.
const ALLOCATION_BYTES: usize = 16;
/// Places of groups that are gone are taken out once there are as many as groups, and so many.
const FREE_MAX: usize = 1_024;

/// A cell: the place of its pane and its place there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Link {
    pane: u32,
    cell: u32,
}

impl Link {
    const NONE: Self = Self { pane: NONE, cell: NONE };
}

/// A key with cells.
#[derive(Debug, Clone, Copy)]
struct Group {
    hash: [u64; 2],
    /// Where its canonical bytes stand in `Groups::texts`.
    text: Text,
    /// No window that has not fired can fire before so many more rows have come, in any rule.
    patience: u32,
    last: Link,
    /// Whether rows of it were given up before it came, as far as can be told.
    owed: bool,
}

/// The groups of one unit.
#[derive(Debug)]
pub(crate) struct Groups {
    slide_ms: i64,
    /// Panes in the longest window.
    panes_max: i64,
    bytes_max: usize,
    index: Index,
    groups: Chunks<Group>,
    /// Places of groups that are gone.
    free: Vec<u32>,
    texts: Texts,
    /// Bytes of `texts` that no group names any more.
    unnamed: usize,
    /// In no order; those of which `at` is `i64::MAX` are gone.
    panes: Vec<Pane>,
    /// Ascending: where each pane stands.
    order: Vec<(i64, u32)>,
    counted: Counted,
    /// By fold: what a row that is still to come adds at most to it.
    most: Vec<Most>,
    /// Of keys that were given up.
    sketch: Sketch,
    /// Windows that begin before this have lost rows.
    shed_until: i64,
    latest: i64,
}

/// Hits with what the unit's folds take of them.
#[derive(Debug)]
pub(crate) struct Reading<'a> {
    pub(crate) events: &'a Events,
    pub(crate) rows: &'a [u32],
    pub(crate) folds: &'a [Fold],
    /// By fold of the unit; absent where whoever made the hits did not know it.
    pub(crate) taken: Vec<Option<&'a Taken>>,
    /// By place in the events' table of circumstances: the place in the register.
    pub(crate) entries: &'a [u32],
    /// By row: its place on the shelf, once it has one.
    pub(crate) shelved: &'a mut Vec<u32>,
}

/// Where hits went.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Touched {
    pub(crate) key: u128,
    pub(crate) group: u32,
    pub(crate) pane: i64,
    /// The first hit that was not taken.
    pub(crate) end: u32,
    /// Whether the key has no rows in a later pane.
    pub(crate) nested: bool,
    /// Whether a window may fire that had not fired before.
    pub(crate) ripe: bool,
}

/// What a row that is still to come adds at most to a sum: one that adds more ends all patience.
/// Rows that have come may have added more.
#[derive(Debug, Clone, Copy, Default)]
struct Most {
    now: u64,
    /// Since a pane last went.
    seen: u64,
}

impl Reading<'_> {
    /// The place of a row on the shelf, which it gets if it has none.
    fn shelved(&mut self, row: u32, shelf: &mut Shelf) -> Option<u32> {
        if self.shelved.is_empty() {
            self.shelved.resize(self.events.at.len(), NONE);
        }
        let slot = self.shelved.get_mut(place(row))?;
        if *slot == NONE {
            let (stamp, id, line) = self.events.shown(row)?;
            *slot = shelf.put(stamp, id, line);
        }
        Some(*slot)
    }
}

impl Groups {
    pub(crate) fn new(unit: &Unit) -> Self {
        Self {
            slide_ms: unit.pane_ms,
            panes_max: unit.panes_max,
            bytes_max: unit.memory_bytes_max,
            most: vec![Most::default(); unit.folds.len()],
            sketch: Sketch::new(unit.panes_max, unit.memory_bytes_max),
            index: Index::default(),
            groups: Chunks::default(),
            free: Vec::new(),
            texts: Texts::default(),
            unnamed: 0,
            panes: Vec::new(),
            order: Vec::new(),
            counted: Counted::default(),
            shed_until: i64::MIN,
            latest: i64::MIN,
        }
    }

    /// The latest row so far.
    pub(crate) fn latest(&self) -> i64 {
        self.latest
    }

    /// The last pane that has rows.
    pub(crate) fn last(&self) -> Option<i64> {
        self.order.last().map(|(at, _)| *at)
    }

    /// The first pane from `from` on that has rows.
    pub(crate) fn first_from(&self, from: i64) -> Option<i64> {
        let place = self.order.partition_point(|(at, _)| *at < from);
        self.order.get(place).map(|(at, _)| *at)
    }

    /// The place of a key.
    pub(crate) fn find(&self, key: u128) -> Option<u32> {
        let [low, high] = halves(key);
        self.index.find(tag(low), |at| {
            self.groups.get(place(at)).is_some_and(|group| group.hash == [low, high])
        })
    }

    /// The place of a key that had none. Nobody asks about it before `patience` rows have come.
    pub(crate) fn enter(&mut self, key: &StepKey, patience: u64) -> u32 {
        let text = self.texts.push(&key.bytes);
        let hash = halves(key.hash);
        let owed =
            if self.sketch.is_empty() { 0 } else { self.sketch.estimate(key.hash, i64::MIN) };
        let patience = u32::try_from(patience.saturating_sub(owed)).unwrap_or(u32::MAX);
        let group = Group { hash, text, patience, last: Link::NONE, owed: owed > 0 };
        let at = match self.free.pop() {
            Some(free) => {
                if let Some(slot) = self.groups.get_mut(place(free)) {
                    *slot = group;
                }
                free
            }
            None => {
                self.groups.push(group);
                count(self.groups.len() - 1)
            }
        };
        let [low, _] = hash;
        self.index.insert(tag(low), at);
        at
    }

    /// Sees what rows are about to add to sums. Where that is more than any has added, every group
    /// is to be asked again.
    pub(crate) fn expect(&mut self, reading: &Reading<'_>) {
        let mut more = false;
        for ((most, taken), fold) in self.most.iter_mut().zip(&reading.taken).zip(reading.folds) {
            let taken = taken.filter(|_taken| fold.kind == Kind::Sum);
            let greatest = taken.and_then(|taken| taken.greatest(reading.rows)).unwrap_or(0);
            most.seen = most.seen.max(greatest);
            if greatest > most.now {
                most.now = greatest.next_power_of_two();
                more = true;
            }
        }
        if more {
            self.ask_again();
        }
    }

    /// What a row that is still to come adds at most to a fold, where that is a sum.
    fn most(&self, fold: usize) -> u64 {
        self.most.get(fold).map_or(u64::MAX, |most| most.now)
    }

    /// The canonical bytes of a key.
    pub(crate) fn key_bytes(&self, group: u32) -> &[u8] {
        self.groups.get(place(group)).map_or(&[], |group| self.texts.get(group.text))
    }

    /// Takes hits of one key from the front of `span`: all of one pane as long as none of them can
    /// make a window fire, so that it need not be asked in between. `least` is how many rows a
    /// window has at least that fires at an event, if any does.
    pub(crate) fn take(
        &mut self,
        group: u32,
        reading: &mut Reading<'_>,
        (span, least): (Range<u32>, Option<u64>),
        shelf: &mut Shelf,
    ) -> Option<Touched> {
        let rows = reading.rows;
        let at = |hit: u32| rows.get(place(hit)).map(|row| reading.events.at(*row));
        let pane = at(span.start)?.div_euclid(self.slide_ms.max(1));
        let start = pane.saturating_mul(self.slide_ms);
        let inside = start..start.saturating_add(self.slide_ms);
        let whole =
            reading.events.in_order && at(span.end - 1).is_some_and(|at| inside.contains(&at));
        let mut end = if whole { span.end } else { span.start + 1 };
        while end < span.end && at(end).is_some_and(|at| inside.contains(&at)) {
            end += 1;
        }
        let known = *self.groups.get(place(group))?;
        let last = self.pane_at(known.last);
        let nested = last.is_none_or(|last| last <= pane);
        let (mut ripe, mut patience) = (false, known.patience);
        if let Some(least) = least {
            let all = u64::from(end - span.start);
            if nested {
                end = end.min(span.start.saturating_add(patience.max(1)));
            } else if self.owed(group, i64::MIN) + self.rows_of(group) + all >= least {
                (end, ripe) = (span.start + 1, true);
            }
            patience = patience.saturating_sub(end - span.start);
            ripe |= nested && patience == 0;
        }
        let link = match last {
            Some(last) if last == pane => known.last,
            _ => self.cell(group, pane, reading.folds)?,
        };
        if patience != known.patience {
            self.groups.get_mut(place(group))?.patience = patience;
        }
        let hits = span.start..end;
        let rows = rows.get(place(span.start)..place(end))?;
        self.changes(link.pane);
        let held = self.panes.get_mut(place(link.pane))?;
        let latest = held.take(link.cell, (start, shelf), reading, &Span { hits, rows })?;
        self.latest = self.latest.max(latest);
        Some(Touched { key: key_of(known.hash), group, pane, end, nested, ripe })
    }

    /// No rule can fire for a key before so many more rows have come.
    pub(crate) fn wait(&mut self, group: u32, rows: u64) {
        if let Some(group) = self.groups.get_mut(place(group)) {
            group.patience = u32::try_from(rows).unwrap_or(u32::MAX);
        }
    }

    /// What is known of windows is of another HAVING.
    pub(crate) fn ask_again(&mut self) {
        self.groups.iter_mut().for_each(|group| group.patience = 0);
    }

    fn rows_of(&self, group: u32) -> u64 {
        let rows = |link: Link| self.cell_at(link).map_or(0, |cell| u64::from(cell.rows));
        self.chain(group).map(|(_, link)| rows(link)).sum()
    }

    /// Rows at most of a key in window `k` that were given up.
    fn owed(&self, group: u32, k: i64) -> u64 {
        match self.groups.get(place(group)) {
            Some(group) if group.owed => self.sketch.estimate(key_of(group.hash), k),
            _ => 0,
        }
    }

    fn pane_at(&self, link: Link) -> Option<i64> {
        self.panes.get(place(link.pane)).map(|pane| pane.at)
    }

    fn cell_at(&self, link: Link) -> Option<&pane::Cell> {
        self.panes.get(place(link.pane))?.cells.get(place(link.cell))
    }

    /// The cell before another of the same key. A link to a pane that is gone may point anywhere.
    fn before(&self, link: Link) -> Option<(i64, Link)> {
        let cell = self.cell_at(link)?;
        let (before, group) = (cell.before, cell.group);
        let at = self.pane_at(before).filter(|at| Some(*at) < self.pane_at(link))?;
        (self.cell_at(before)?.group == group).then_some((at, before))
    }

    /// The cells of a key and their panes, the latest first.
    fn chain(&self, group: u32) -> impl Iterator<Item = (i64, Link)> {
        let last = self.groups.get(place(group)).map(|group| group.last);
        let first = last.and_then(|link| Some((self.pane_at(link)?, link)));
        std::iter::successors(first, |(_, link)| self.before(*link))
    }

    /// The cell of a key in a pane, which is made if it has none.
    fn cell(&mut self, group: u32, at: i64, folds: &[Fold]) -> Option<Link> {
        let last = self.groups.get(place(group))?.last;
        let mut later = None;
        let mut found = self.pane_at(last).map(|at| (at, last));
        while let Some((held, link)) = found
            && held > at
        {
            (later, found) = (Some(link), self.before(link));
        }
        if let Some((held, link)) = found
            && held == at
        {
            return Some(link);
        }
        let pane = self.pane(at, folds);
        self.changes(pane);
        let before = found.map_or(Link::NONE, |(_, link)| link);
        let cell = self.panes.get_mut(place(pane))?.push(group, before);
        let link = Link { pane, cell };
        match later {
            None => self.groups.get_mut(place(group))?.last = link,
            Some(later) => {
                let cells = &mut self.panes.get_mut(place(later.pane))?.cells;
                cells.get_mut(place(later.cell))?.before = link;
            }
        }
        Some(link)
    }

    /// The place of a pane, which is made if it has none.
    fn pane(&mut self, at: i64, folds: &[Fold]) -> u32 {
        if let Some((last, pane)) = self.order.last()
            && *last == at
        {
            return *pane;
        }
        let order = match self.order.binary_search_by_key(&at, |(at, _)| *at) {
            Ok(found) => return self.order.get(found).map_or(NONE, |(_, pane)| *pane),
            Err(order) => order,
        };
        let new = Pane::new(at, folds);
        let pane = match self.panes.iter_mut().position(|pane| pane.at == i64::MAX) {
            Some(free) => {
                if let Some(slot) = self.panes.get_mut(free) {
                    *slot = new;
                }
                count(free)
            }
            None => {
                self.panes.push(new);
                count(self.panes.len() - 1)
            }
        };
        self.order.insert(order, (at, pane));
        self.counted.changed.push(pane);
        pane
    }

    /// The cells of a key in panes from `from` to before `to`, ascending.
    pub(crate) fn links(&self, group: u32, (from, to): (i64, i64), out: &mut Vec<Link>) {
        out.clear();
        let inside = self.chain(group).skip_while(|(at, _)| *at >= to);
        out.extend(inside.take_while(|(at, _)| *at >= from).map(|(_, link)| link));
        out.reverse();
    }

    /// Whether a key has rows in a pane.
    fn has(&self, group: u32, at: i64) -> bool {
        self.chain(group).any(|(held, _)| held == at)
    }

    fn keys_in(&self, panes: RangeInclusive<i64>, out: &mut Vec<u128>) {
        let from = self.order.partition_point(|(at, _)| at < panes.start());
        for (at, pane) in self.order.iter().skip(from) {
            if !panes.contains(at) {
                break;
            }
            let Some(pane) = self.panes.get(place(*pane)) else { continue };
            let groups = pane.cells.iter().filter_map(|cell| self.groups.get(place(cell.group)));
            out.extend(groups.map(|group| key_of(group.hash)));
        }
    }

    /// Panes that no window from `next` on holds go, but for the one before: who had rows in it
    /// has others now. Whether nothing is left.
    pub(crate) fn close(&mut self, next: i64, watermark: EventTime, shelf: &mut Shelf) -> bool {
        let over = match self.first_from(next) {
            Some(_) => next.saturating_sub(1),
            None => i64::MAX,
        };
        let complete = watermark.millis().div_euclid(self.slide_ms.max(1));
        self.sketch.forget(complete.saturating_sub(self.panes_max - 1));
        let gone = self.order.partition_point(|(at, _)| *at < over);
        for (_, pane) in self.order.drain(..gone).collect::<Vec<_>>() {
            self.drop_pane(pane, shelf);
        }
        if gone > 0 {
            for most in &mut self.most {
                (most.now, most.seen) = (most.seen.next_power_of_two(), 0);
            }
        }
        if gone > 0 && self.order.is_empty() {
            self.panes = Vec::new();
            self.tidy();
        } else if self.free.len() > FREE_MAX && self.free.len() * 2 > self.groups.len() {
            self.tidy();
        }
        self.order.is_empty()
    }

    /// Whether it has given up keys of which it still remembers something.
    pub(crate) fn remembers(&self) -> bool {
        !self.sketch.is_empty()
    }

    fn drop_pane(&mut self, pane: u32, shelf: &mut Shelf) {
        let Some(slot) = self.panes.get_mut(place(pane)) else { return };
        let mut gone = std::mem::replace(slot, Pane::new(i64::MAX, &[]));
        self.counted.forget(pane, &mut gone);
        gone.clear_shown(shelf);
        for (cell, held) in (0_u32..).zip(gone.cells.iter()) {
            let Some(group) = self.groups.get(place(held.group)) else { continue };
            if group.last == (Link { pane, cell }) {
                self.remove(held.group);
            }
        }
    }

    /// A key that has no cells any more.
    fn remove(&mut self, at: u32) {
        let Some(group) = self.groups.get_mut(place(at)) else { return };
        let [low, _] = group.hash;
        self.unnamed += place(group.text.1);
        (group.hash, group.text, group.last) = ([0, 0], (0, 0), Link::NONE);
        self.index.remove(tag(low), at);
        self.free.push(at);
    }

    /// Circumstances have other numbers now.
    fn rename_entries(&mut self, rename: &mut dyn FnMut(&mut u32)) {
        for pane in self.order.iter().map(|(_, pane)| place(*pane)) {
            let Some(pane) = self.panes.get_mut(pane) else { continue };
            for cell in pane.cells.iter_mut().filter(|cell| cell.entry != NONE) {
                rename(&mut cell.entry);
            }
            pane.more.iter_mut().for_each(|more| rename(&mut more.entry));
        }
    }
}

fn halves(key: u128) -> [u64; 2] {
    [low(key), low(key >> 64)]
}

fn key_of([low, high]: [u64; 2]) -> u128 {
    (u128::from(high) << 64) | u128::from(low)
}

fn tag(low: u64) -> u32 {
    u32::try_from(low >> 32).unwrap_or_default()
}

/// Bytes of texts with what stands empty, on average.
fn grown(bytes: usize) -> usize {
    bytes + bytes / 8
}

#[cfg(test)]
mod flood;
#[cfg(test)]
mod tests;
