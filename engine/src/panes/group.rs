//! One key of a rule over panes.
//!
//! Owns: its panes, what each saw, which of its windows have fired already. Never: other keys.

use std::ops::Range;
use std::sync::Arc;

use schemas::Exemplar;

use super::Reading;
use super::slot::Slot;
use crate::plan::Fold;
use crate::rows::{EXEMPLARS_MAX, place};
use crate::wire::{Reader, WireError, Writer, wire_struct};

/// What a group is counted as beside its key and its panes.
const GROUP_BYTES: usize = 176;

/// A key with the panes that hold rows of it.
#[derive(Debug)]
pub(super) struct Group {
    /// Canonical bytes.
    pub(super) key: Arc<[u8]>,
    /// Ascending.
    pub(super) panes: Vec<Pane>,
    /// No window that has not fired can fire before so many more rows have come.
    pub(super) patience: u64,
    /// Windows that have fired at an event.
    pub(super) fired: Spans,
    /// The last of its panes that went.
    pub(super) left: i64,
}

/// What one pane of one key holds.
#[derive(Debug)]
pub(super) struct Pane {
    pub(super) at: i64,
    pub(super) rows: u64,
    pub(super) slots: Box<[Slot]>,
    pub(super) seen: Seen,
    /// Whether something was left out.
    pub(super) lossy: bool,
}

/// What a verdict says of the rows of a pane beside values.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Seen {
    pub(crate) first: i64,
    pub(crate) last: i64,
    /// Places in the rule's table of circumstances, and how many rows had them.
    pub(crate) circumstances: Vec<(u32, u64)>,
    /// The first few by event time and id.
    pub(crate) shown: Vec<Shown>,
    /// Whether a row carried a stamp from the future.
    pub(crate) future: bool,
}

wire_struct!(Seen { first, last, circumstances, shown, future });

/// An event to show.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Shown {
    pub(crate) at: i64,
    pub(crate) exemplar: Arc<Exemplar>,
}

wire_struct!(Shown { at, exemplar });

impl Shown {
    fn bytes(&self) -> usize {
        let line = self.exemplar.line.as_ref().map_or(0, String::len);
        size_of::<Self>() + self.exemplar.event_id.len() + line
    }
}

impl Seen {
    fn new() -> Self {
        Self { first: i64::MAX, last: i64::MIN, ..Self::default() }
    }

    /// Adds hits. Gives the bytes more than before.
    fn add(&mut self, reading: &Reading<'_>, span: &Range<u32>) -> isize {
        let hits = reading.hits;
        let range = place(span.start)..place(span.end);
        for at in hits.at.get(range.clone()).unwrap_or_default() {
            self.first = self.first.min(*at);
            self.last = self.last.max(*at);
        }
        let mut more = 0;
        for theirs in hits.circumstances.get(range).unwrap_or_default() {
            let Some(entry) = reading.entries.get(place(*theirs)) else { continue };
            match self.circumstances.iter_mut().find(|(known, _)| known == entry) {
                Some((_, rows)) => *rows += 1,
                None => {
                    self.circumstances.push((*entry, 1));
                    more += signed(size_of::<(u32, u64)>());
                }
            }
        }
        let future = hits.future.partition_point(|hit| *hit < span.start);
        self.future |= hits.future.get(future).is_some_and(|hit| *hit < span.end);
        let shown = hits.shown.partition_point(|(hit, _)| *hit < span.start);
        for (hit, exemplar) in hits.shown.get(shown..).unwrap_or_default() {
            if *hit >= span.end {
                break;
            }
            if let Some(at) = hits.at.get(place(*hit)) {
                more += self.show(*at, exemplar);
            }
        }
        more
    }

    fn show(&mut self, at: i64, exemplar: &Arc<Exemplar>) -> isize {
        let id = exemplar.event_id.as_str();
        let before = |shown: &Shown| (shown.at, shown.exemplar.event_id.as_str()) <= (at, id);
        if self.shown.len() >= EXEMPLARS_MAX && self.shown.last().is_some_and(before) {
            return 0;
        }
        let shown = Shown { at, exemplar: Arc::clone(exemplar) };
        let mut more = signed(shown.bytes());
        let place = self.shown.partition_point(before);
        self.shown.insert(place, shown);
        if self.shown.len() > EXEMPLARS_MAX
            && let Some(last) = self.shown.pop()
        {
            more -= signed(last.bytes());
        }
        more
    }

    fn bytes(&self) -> usize {
        self.circumstances.len() * size_of::<(u32, u64)>()
            + self.shown.iter().map(Shown::bytes).sum::<usize>()
    }

    /// Gives up the lines, or all that is shown. Bytes freed.
    pub(super) fn give_up(&mut self, what: GiveUp) -> usize {
        let before = self.bytes();
        match what {
            GiveUp::Lines => {
                for shown in self.shown.iter_mut().filter(|shown| shown.exemplar.line.is_some()) {
                    let exemplar = Exemplar { line: None, ..shown.exemplar.as_ref().clone() };
                    shown.exemplar = Arc::new(exemplar);
                }
            }
            GiveUp::Exemplars => self.shown = Vec::new(),
        }
        before - self.bytes()
    }
}

/// What no answer depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum GiveUp {
    Lines,
    Exemplars,
}

pub(super) fn signed(bytes: usize) -> isize {
    isize::try_from(bytes).unwrap_or(isize::MAX)
}

impl Pane {
    pub(super) fn new(at: i64, folds: &[Fold]) -> Self {
        let slots = folds.iter().map(|fold| Slot::new(fold.kind)).collect();
        Self { at, rows: 0, slots, seen: Seen::new(), lossy: false }
    }

    /// Bytes that a pane without a row is counted as.
    pub(super) fn empty_bytes(folds: &[Fold]) -> usize {
        size_of::<Self>() + size_of::<u128>() + folds.len() * size_of::<Slot>()
    }

    pub(super) fn bytes(&self, folds: &[Fold]) -> usize {
        Self::empty_bytes(folds)
            + self.slots.iter().map(Slot::bytes).sum::<usize>()
            + self.seen.bytes()
    }

    /// Takes hits. Bytes more than before.
    pub(super) fn take(
        &mut self,
        kinds: &[Fold],
        reading: &Reading<'_>,
        span: &Range<u32>,
    ) -> isize {
        self.rows += u64::from(span.end.saturating_sub(span.start));
        let mut more = self.seen.add(reading, span);
        for ((fold, slot), taken) in kinds.iter().zip(&mut self.slots).zip(&reading.folds) {
            let took = slot.take(fold.kind, taken, place(span.start)..place(span.end));
            more += took.bytes;
            self.lossy |= took.lossy;
        }
        more
    }

    fn write(&self, out: &mut Writer) {
        out.put(&self.at);
        out.put(&self.rows);
        out.put(&self.lossy);
        out.put(&self.seen);
        self.slots.iter().for_each(|slot| slot.write(out));
    }

    fn read(from: &mut Reader<'_>, folds: &[Fold], table: usize) -> Result<Self, WireError> {
        let (at, rows, lossy) = (from.get()?, from.get()?, from.get()?);
        let seen: Seen = from.get()?;
        let known = |(entry, _): &(u32, u64)| place(*entry) < table;
        if seen.shown.len() > EXEMPLARS_MAX || !seen.circumstances.iter().all(known) {
            return Err(WireError::Malformed { what: "what a pane saw" });
        }
        let slots: Result<Box<[Slot]>, WireError> =
            folds.iter().map(|fold| Slot::read(fold.kind, from)).collect();
        Ok(Self { at, rows, slots: slots?, seen, lossy })
    }
}

impl Group {
    pub(super) fn new(key: &Arc<[u8]>, patience: u64) -> Self {
        let (panes, fired) = (Vec::new(), Spans::default());
        Self { key: Arc::clone(key), panes, patience, fired, left: i64::MIN }
    }

    /// What was known of its windows is of another HAVING.
    pub(super) fn ask_again(&mut self) {
        (self.patience, self.fired) = (0, Spans::default());
    }

    /// Bytes beside its panes.
    pub(super) fn own_bytes(&self) -> usize {
        GROUP_BYTES + self.key.len()
    }

    pub(super) fn bytes(&self, folds: &[Fold]) -> usize {
        self.own_bytes() + self.panes.iter().map(|pane| pane.bytes(folds)).sum::<usize>()
    }

    /// The pane at `at`, and whether it is new.
    pub(super) fn pane(&mut self, at: i64, folds: &[Fold]) -> Option<(&mut Pane, bool)> {
        // Mostly the last.
        let place = match self.panes.last() {
            Some(last) if last.at == at => Ok(self.panes.len() - 1),
            Some(last) if last.at < at => Err(self.panes.len()),
            _ => self.panes.binary_search_by_key(&at, |pane| pane.at),
        };
        let (place, is_new) = match place {
            Ok(place) => (place, false),
            Err(place) => {
                self.panes.insert(place, Pane::new(at, folds));
                (place, true)
            }
        };
        self.panes.get_mut(place).map(|pane| (pane, is_new))
    }

    /// The panes from `from` to before `to`.
    pub(super) fn between(&self, from: i64, to: i64) -> &[Pane] {
        let first = self.panes.partition_point(|pane| pane.at < from);
        let last = self.panes.partition_point(|pane| pane.at < to);
        self.panes.get(first..last).unwrap_or_default()
    }

    pub(super) fn rows(&self) -> u64 {
        self.panes.iter().map(|pane| pane.rows).sum()
    }

    pub(super) fn write(&self, out: &mut Writer) {
        out.put(&self.key);
        out.put(&self.left);
        out.put(&self.patience);
        out.put(&self.fired.0);
        out.len(self.panes.len());
        self.panes.iter().for_each(|pane| pane.write(out));
    }

    pub(super) fn read(
        from: &mut Reader<'_>,
        folds: &[Fold],
        table: usize,
    ) -> Result<Self, WireError> {
        let key: Arc<[u8]> = from.get()?;
        let left = from.get()?;
        let (patience, fired) = (from.get()?, Spans(from.get()?));
        let count = from.count("the panes of a key")?;
        let mut panes = Vec::new();
        for _pane in 0..count {
            panes.push(Pane::read(from, folds, table)?);
        }
        if panes.is_empty() || !panes.is_sorted_by(|a, b| a.at < b.at) {
            return Err(WireError::Malformed { what: "the panes of a key" });
        }
        Ok(Self { key, panes, patience, fired, left })
    }
}

/// A set of whole numbers, as ascending runs from first to last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Spans(Vec<(i64, i64)>);

impl Spans {
    pub(super) fn contains(&self, at: i64) -> bool {
        self.0.iter().rev().any(|(first, last)| (*first..=*last).contains(&at))
    }

    pub(super) fn insert(&mut self, at: i64) {
        if self.contains(at) {
            return;
        }
        let place = self.0.partition_point(|(_, last)| *last < at);
        self.0.insert(place, (at, at));
        let mut joined: Vec<(i64, i64)> = Vec::with_capacity(self.0.len());
        for (first, last) in self.0.drain(..) {
            match joined.last_mut() {
                Some((_, end)) if first <= end.saturating_add(1) => *end = last,
                _ => joined.push((first, last)),
            }
        }
        self.0 = joined;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Forgets all before `from`.
    pub(super) fn forget(&mut self, from: i64) {
        self.0.retain(|(_, last)| *last >= from);
    }
}
