//! One key of a rule over panes.
//!
//! Owns: its panes, what each saw, which of its windows have fired already. Never: other keys.

use schemas::{EventTime, Exemplar};

use super::slot::Slot;
use crate::plan::Fold;
use crate::rows::circumstances::text_at;
use crate::rows::{EXEMPLARS_MAX, Rows, place};
use crate::wire::{Reader, WireError, Writer, wire_struct};

/// What a group is counted as beside its key and its panes.
const GROUP_BYTES: usize = 176;

/// A key with the panes that hold rows of it.
#[derive(Debug)]
pub(super) struct Group {
    /// Canonical bytes.
    pub(super) key: Box<[u8]>,
    /// Ascending.
    pub(super) panes: Vec<Pane>,
    /// No window that has not fired can fire before so many more rows have come.
    pub(super) patience: u64,
    /// Windows that have fired at an event.
    pub(super) fired: Spans,
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
    pub(crate) exemplar: Exemplar,
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

    /// Adds a row whose circumstances stand at `entry`. Gives the bytes more than before.
    fn add(&mut self, rows: &Rows, row: u32, entry: Option<u32>) -> isize {
        let Some(at) = rows.at.get(place(row)).copied() else { return 0 };
        let mut more = 0;
        self.first = self.first.min(at);
        self.last = self.last.max(at);
        self.future |= rows.is_future(row);
        if let Some(entry) = entry {
            match self.circumstances.iter_mut().find(|(known, _)| *known == entry) {
                Some((_, rows)) => *rows += 1,
                None => {
                    self.circumstances.push((entry, 1));
                    more += signed(size_of::<(u32, u64)>());
                }
            }
        }
        match text_at(&rows.ids, place(row)) {
            Some(id) => more + self.show(rows, row, (at, id)),
            None => more,
        }
    }

    fn show(&mut self, rows: &Rows, row: u32, (at, id): (i64, &str)) -> isize {
        let before = |shown: &Shown| (shown.at, shown.exemplar.event_id.as_str()) <= (at, id);
        if self.shown.len() >= EXEMPLARS_MAX && self.shown.last().is_some_and(before) {
            return 0;
        }
        let exemplar = Exemplar {
            event_id: id.to_owned(),
            event_time: EventTime(rows.stamp(row).unwrap_or(at)),
            line: rows.lines.get(row).map(str::to_owned),
        };
        let shown = Shown { at, exemplar };
        let mut more = signed(shown.bytes());
        let at = self.shown.partition_point(before);
        self.shown.insert(at, shown);
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
            GiveUp::Lines => self.shown.iter_mut().for_each(|shown| shown.exemplar.line = None),
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

    /// Counts a row in. Bytes more than before.
    pub(super) fn see(&mut self, rows: &Rows, row: u32, entry: Option<u32>) -> isize {
        self.rows += 1;
        self.seen.add(rows, row, entry)
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
    pub(super) fn new(key: &[u8], patience: u64) -> Self {
        let (panes, fired) = (Vec::new(), Spans::default());
        Self { key: Box::from(key), panes, patience, fired }
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
        out.put(&self.key.to_vec());
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
        let key: Vec<u8> = from.get()?;
        let (patience, fired) = (from.get()?, Spans(from.get()?));
        let count = from.count("the panes of a key")?;
        let mut panes = Vec::new();
        for _pane in 0..count {
            panes.push(Pane::read(from, folds, table)?);
        }
        if panes.is_empty() || !panes.is_sorted_by(|a, b| a.at < b.at) {
            return Err(WireError::Malformed { what: "the panes of a key" });
        }
        Ok(Self { key: key.into_boxed_slice(), panes, patience, fired })
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

    /// Forgets all before `from`.
    pub(super) fn forget(&mut self, from: i64) {
        self.0.retain(|(_, last)| *last >= from);
    }
}
