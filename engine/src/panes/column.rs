//! What one fold has come to in the cells of a pane.
//!
//! Owns: taking hits, joining the panes of a window. Never: which hits, which panes.

use std::cmp::Ordering;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray};

use super::Link;
use super::chunks::Chunks;
use super::pane::Pane;
use super::steps::{self, Steps};
use super::witnesses::{DISTINCT_MAX, Witnesses, different};
use crate::hits::{Taken, Values};
use crate::plan::{Fold, Held, Kind};
use crate::rows::circumstances::text_at;
use crate::rows::{count, place};
use crate::wire::{Reader, WireError, Writer};

/// By cell: what the fold has come to.
#[derive(Debug, Clone)]
pub(super) enum Column {
    /// It counts every row, as the cell does.
    Rows,
    Count(Chunks<u64>),
    Distinct(Witnesses),
    Sum(Chunks<Option<i64>>),
    /// Sum and number.
    Fractions(Chunks<(f64, u64)>),
    Whole(Chunks<Option<i64>>),
    Fraction(Chunks<Option<f64>>),
    Text(Texts),
    Flag(Chunks<Option<bool>>),
    Steps(Ways),
}

/// Texts, and the bytes of all.
#[derive(Debug, Clone, Default)]
pub(super) struct Texts {
    held: Chunks<Option<Box<str>>>,
    bytes: usize,
}

/// How far cells came through steps, and the bytes of all.
#[derive(Debug, Clone, Default)]
pub(super) struct Ways {
    held: Chunks<Steps>,
    bytes: usize,
}

impl Texts {
    /// The least or the greatest of what there is and these.
    fn take<'t>(&mut self, kind: Kind, cell: usize, texts: impl Iterator<Item = Option<&'t str>>) {
        let Some(held) = self.held.get_mut(cell) else { return };
        for new in texts {
            if best(kind, held.as_deref(), new, Ord::cmp) != held.as_deref() {
                self.bytes = self.bytes + bytes_of(new) - bytes_of(held.as_deref());
                *held = new.map(Box::from);
            }
        }
    }
}

impl Ways {
    /// Takes events at some places. False where one may have come too late.
    fn take(
        &mut self,
        kind: Kind,
        cell: usize,
        places: impl Iterator<Item = usize>,
        events: &[i64],
    ) -> bool {
        let Kind::Steps(conditions) = kind else { return false };
        let Some(steps) = self.held.get_mut(cell) else { return true };
        let before = steps.bytes();
        let mut sure = true;
        for event in places.filter_map(|at| events.get(at)) {
            sure &= steps.take(conditions, *event);
        }
        self.bytes = self.bytes + steps.bytes() - before;
        sure
    }
}

/// Hits of one key and pane, as a fold sees them.
#[derive(Debug, Clone)]
pub(super) struct Span<'a> {
    pub(super) hits: Range<u32>,
    /// The rows of these hits.
    pub(super) rows: &'a [u32],
}

impl Span<'_> {
    fn taken_of<'t>(&'t self, taken: &'t Taken) -> impl Iterator<Item = usize> + 't {
        let each = self.hits.clone().zip(self.rows);
        each.map(|(hit, row)| taken.place(place(hit), *row)).filter(|at| taken.takes(*at))
    }
}

impl Column {
    pub(super) fn new(fold: &Fold) -> Self {
        match fold.kind {
            Kind::Count if fold.takes_all() => Self::Rows,
            Kind::Count => Self::Count(Chunks::default()),
            Kind::Distinct => Self::Distinct(Witnesses::default()),
            Kind::Sum => Self::Sum(Chunks::default()),
            Kind::SumFraction | Kind::Average => Self::Fractions(Chunks::default()),
            Kind::Least(held) | Kind::Greatest(held) => match held {
                Held::Whole => Self::Whole(Chunks::default()),
                Held::Fraction => Self::Fraction(Chunks::default()),
                Held::Text => Self::Text(Texts::default()),
                Held::Flag => Self::Flag(Chunks::default()),
            },
            Kind::All | Kind::Any => Self::Flag(Chunks::default()),
            Kind::Steps(_) => Self::Steps(Ways::default()),
        }
    }

    /// Adds a cell that has seen nothing.
    pub(super) fn push(&mut self) {
        match self {
            Self::Rows => {}
            Self::Count(column) => column.push(0),
            Self::Distinct(column) => column.push(),
            Self::Sum(column) | Self::Whole(column) => column.push(None),
            Self::Fractions(column) => column.push((0.0, 0)),
            Self::Fraction(column) => column.push(None),
            Self::Text(column) => column.held.push(None),
            Self::Flag(column) => column.push(None),
            Self::Steps(column) => column.held.push(Steps::default()),
        }
    }

    /// Takes hits into a cell. False where something is left out: values of another kind than the
    /// fold takes, or steps that came too late for what was left out before.
    pub(super) fn take(&mut self, kind: Kind, cell: u32, taken: &Taken, span: &Span<'_>) -> bool {
        let cell_at = place(cell);
        match (self, &taken.values) {
            (Self::Rows, _) => {}
            (Self::Count(column), _) => {
                let more = match taken.takes {
                    None => span.rows.len(),
                    Some(_) => span.taken_of(taken).count(),
                };
                if let Some(count) = column.get_mut(cell_at) {
                    *count += u64::try_from(more).unwrap_or_default();
                }
            }
            (Self::Distinct(column), Values::Hashes(hashes)) => {
                let mut last = None;
                for at in span.taken_of(taken) {
                    let Some(hash) = hashes.get(at).copied() else { continue };
                    if last != Some(hash) {
                        column.insert(cell, hash);
                        last = Some(hash);
                    }
                }
            }
            (Self::Sum(column), Values::Whole(values)) => {
                let Some(sum) = column.get_mut(cell_at) else { return true };
                for at in span.taken_of(taken) {
                    *sum = add(*sum, values.get(at).copied());
                }
            }
            (Self::Fractions(column), Values::Fractions(values)) => {
                let Some((sum, count)) = column.get_mut(cell_at) else { return true };
                for more in span.taken_of(taken).filter_map(|at| values.get(at)) {
                    *sum += more;
                    *count += 1;
                }
            }
            (Self::Whole(column), Values::Whole(values)) => {
                let Some(held) = column.get_mut(cell_at) else { return true };
                for at in span.taken_of(taken) {
                    *held = best(kind, *held, values.get(at).copied(), Ord::cmp);
                }
            }
            (Self::Fraction(column), Values::Fractions(values)) => {
                let Some(held) = column.get_mut(cell_at) else { return true };
                for at in span.taken_of(taken) {
                    *held = best(kind, *held, values.get(at).copied(), f64::total_cmp);
                }
            }
            (Self::Flag(column), Values::Flags(values)) => {
                let Some(held) = column.get_mut(cell_at) else { return true };
                for at in span.taken_of(taken) {
                    *held = best(kind, *held, values.get(at).copied(), Ord::cmp);
                }
            }
            (Self::Text(column), Values::Texts(texts)) => {
                column.take(kind, cell_at, span.taken_of(taken).map(|at| text_at(texts, at)));
            }
            (Self::Steps(column), Values::Whole(values)) => {
                return column.take(kind, cell_at, span.taken_of(taken), values);
            }
            _ => return span.taken_of(taken).next().is_none(),
        }
        true
    }

    /// Something of a cell.
    pub(super) fn reach(&self, at: usize) -> u32 {
        let is = match self {
            Self::Rows | Self::Text(_) | Self::Steps(_) => false,
            Self::Count(column) => column.get(at).is_some_and(|count| *count > 0),
            Self::Distinct(column) => column.count(count(at)) > 0,
            Self::Sum(column) | Self::Whole(column) => column.get(at).is_some_and(Option::is_some),
            Self::Fractions(column) => column.get(at).is_some_and(|(_, count)| *count > 0),
            Self::Fraction(column) => column.get(at).is_some_and(Option::is_some),
            Self::Flag(column) => column.get(at).is_some_and(Option::is_some),
        };
        u32::from(is)
    }

    /// Only these cells, in this order.
    pub(super) fn keep(&mut self, cells: &[u32]) {
        match self {
            Self::Rows => {}
            Self::Count(column) => keep(column, cells),
            Self::Distinct(column) => column.keep(cells),
            Self::Sum(column) | Self::Whole(column) => keep(column, cells),
            Self::Fractions(column) => keep(column, cells),
            Self::Fraction(column) => keep(column, cells),
            Self::Text(column) => {
                keep(&mut column.held, cells);
                column.bytes = column.held.iter().map(|text| bytes_of(text.as_deref())).sum();
            }
            Self::Flag(column) => keep(column, cells),
            Self::Steps(column) => {
                keep(&mut column.held, cells);
                column.bytes = column.held.iter().map(Steps::bytes).sum();
            }
        }
    }

    /// Whether a cell could not take all that came.
    pub(super) fn is_full(&self, cell: u32) -> bool {
        matches!(self, Self::Distinct(column) if column.is_full(cell))
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Rows => 0,
            Self::Count(column) => column.bytes(),
            Self::Distinct(column) => column.bytes(),
            Self::Sum(column) | Self::Whole(column) => column.bytes(),
            Self::Fractions(column) => column.bytes(),
            Self::Fraction(column) => column.bytes(),
            Self::Text(column) => column.held.bytes() + column.bytes,
            Self::Flag(column) => column.bytes(),
            Self::Steps(column) => column.held.bytes() + column.bytes,
        }
    }

    #[cfg(test)]
    pub(super) fn heap_bytes(&self) -> usize {
        match self {
            Self::Rows => 0,
            Self::Count(column) => column.heap_bytes(),
            Self::Distinct(column) => column.heap_bytes(),
            Self::Sum(column) | Self::Whole(column) => column.heap_bytes(),
            Self::Fractions(column) => column.heap_bytes(),
            Self::Fraction(column) => column.heap_bytes(),
            Self::Text(column) => column.held.heap_bytes() + column.bytes,
            Self::Flag(column) => column.heap_bytes(),
            Self::Steps(column) => {
                let steps = column.held.iter().map(Steps::heap_bytes);
                column.held.heap_bytes() + steps.sum::<usize>()
            }
        }
    }
}

/// What a fold has come to in one cell, as it stands in a marker.
#[derive(Debug)]
pub(super) enum Kept {
    Nothing,
    Count(u64),
    /// Ascending, and whether there were more.
    Distinct(Vec<u64>, bool),
    Whole(Option<i64>),
    Fractions(f64, u64),
    Fraction(Option<f64>),
    Text(Option<Box<str>>),
    Flag(Option<bool>),
    Steps(Steps),
}

impl Column {
    /// Tells the kinds of columns apart in a marker.
    pub(super) fn tag(&self) -> u8 {
        match self {
            Self::Rows => 0,
            Self::Count(_) => 1,
            Self::Distinct(_) => 2,
            Self::Sum(_) | Self::Whole(_) => 3,
            Self::Fractions(_) => 4,
            Self::Fraction(_) => 5,
            Self::Text(_) => 6,
            Self::Flag(_) => 7,
            Self::Steps(_) => 8,
        }
    }

    pub(super) fn write(&self, cell: u32, out: &mut Writer) {
        let at = place(cell);
        match self {
            Self::Rows => {}
            Self::Count(column) => out.put(&column.get(at).copied().unwrap_or_default()),
            Self::Distinct(column) => {
                let mut values: Vec<u64> = column.of(cell).collect();
                values.sort_unstable();
                out.put(&values);
                out.put(&column.is_full(cell));
            }
            Self::Sum(column) | Self::Whole(column) => out.put(&column.get(at).copied().flatten()),
            Self::Fractions(column) => {
                let (sum, count) = column.get(at).copied().unwrap_or_default();
                out.put(&sum.to_bits());
                out.put(&count);
            }
            Self::Fraction(column) => {
                out.put(&column.get(at).copied().flatten().map(f64::to_bits));
            }
            Self::Text(column) => {
                let text = column.held.get(at).and_then(Option::as_deref);
                out.put(&text.map(str::to_owned));
            }
            Self::Flag(column) => out.put(&column.get(at).copied().flatten()),
            Self::Steps(column) => match column.held.get(at) {
                Some(steps) => steps.write(out),
                None => Steps::default().write(out),
            },
        }
    }

    /// Sets the last cell to what a marker says, where that is of this kind.
    pub(super) fn set_last(&mut self, kept: Kept) {
        match (self, kept) {
            (Self::Count(column), Kept::Count(kept)) => set_last(column, kept),
            (Self::Distinct(column), Kept::Distinct(values, full)) => {
                column.set_last(&values, full);
            }
            (Self::Sum(column) | Self::Whole(column), Kept::Whole(kept)) => set_last(column, kept),
            (Self::Fractions(column), Kept::Fractions(sum, count)) => {
                set_last(column, (sum, count));
            }
            (Self::Fraction(column), Kept::Fraction(kept)) => set_last(column, kept),
            (Self::Text(column), Kept::Text(kept)) => {
                column.bytes += bytes_of(kept.as_deref());
                set_last(&mut column.held, kept);
            }
            (Self::Flag(column), Kept::Flag(kept)) => set_last(column, kept),
            (Self::Steps(column), Kept::Steps(kept)) => {
                column.bytes += kept.bytes();
                set_last(&mut column.held, kept);
            }
            _ => {}
        }
    }
}

impl Kept {
    /// Reads what [`Column::write`] wrote of a column with this tag.
    pub(super) fn read(tag: u8, from: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(match tag {
            0 => Self::Nothing,
            1 => Self::Count(from.get()?),
            2 => {
                let values: Vec<u64> = from.get()?;
                let few = values.len() <= place(DISTINCT_MAX);
                if !few || !values.is_sorted_by(|a, b| a < b) {
                    return Err(WireError::Malformed { what: "distinct values" });
                }
                Self::Distinct(values, from.get()?)
            }
            3 => Self::Whole(from.get()?),
            4 => Self::Fractions(f64::from_bits(from.get()?), from.get()?),
            5 => Self::Fraction(from.get::<Option<u64>>()?.map(f64::from_bits)),
            6 => Self::Text(from.get::<Option<String>>()?.map(String::into_boxed_str)),
            7 => Self::Flag(from.get()?),
            8 => Self::Steps(Steps::read(from)?),
            _ => return Err(WireError::Malformed { what: "the kind of a fold" }),
        })
    }
}

fn bytes_of(text: Option<&str>) -> usize {
    text.map_or(0, |text| text.len() + super::ALLOCATION_BYTES)
}

fn set_last<T>(column: &mut Chunks<T>, value: T) {
    if let Some(last) = column.last_mut() {
        *last = value;
    }
}

fn keep<T: Clone>(column: &mut Chunks<T>, cells: &[u32]) {
    *column = cells.iter().filter_map(|cell| column.get(place(*cell)).cloned()).collect();
}

fn add(sum: Option<i64>, more: Option<i64>) -> Option<i64> {
    match (sum, more) {
        (Some(sum), Some(more)) => Some(sum.wrapping_add(more)),
        (one, other) => one.or(other),
    }
}

/// The least or the greatest of two. Of flags the least says whether all are true.
fn best<T: Copy>(
    kind: Kind,
    held: Option<T>,
    new: Option<T>,
    order: impl Fn(&T, &T) -> Ordering,
) -> Option<T> {
    let (Some(old), Some(fresh)) = (held, new) else { return held.or(new) };
    let wanted = match kind {
        Kind::Least(_) | Kind::All => Ordering::Less,
        _ => Ordering::Greater,
    };
    Some(if order(&fresh, &old) == wanted { fresh } else { old })
}

/// Cells of one group, ascending by pane.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cells<'a> {
    pub(super) panes: &'a [Pane],
    pub(super) of: &'a [Link],
    /// Rows at most that the group had before it was given up, in these panes.
    pub(super) owed: u64,
}

impl<'a> Cells<'a> {
    fn columns(self, fold: usize) -> impl Iterator<Item = (&'a Column, u32)> {
        self.of.iter().filter_map(move |link| {
            let pane = self.panes.get(place(link.pane))?;
            Some((pane.columns.get(fold)?, link.cell))
        })
    }

    /// What a fold comes to, where that is a whole number. Where it is said what is `enough`, the
    /// number of distinct values may be another that is as little or as much enough: one below may
    /// be too great, and one from there on too small.
    pub(super) fn whole(self, fold: usize, kind: Kind, enough: Option<i64>) -> Option<i64> {
        match kind {
            Kind::Count => Some(signed(self.count(fold))),
            Kind::Steps(conditions) => Some(steps::depth(conditions, self.ways(fold))),
            Kind::Distinct => {
                let (mut all, mut least) = (self.owed, 0);
                for (column, cell) in self.columns(fold) {
                    if let Column::Distinct(sets) = column {
                        let count = u64::from(sets.count(cell));
                        all = all.saturating_add(count);
                        least = least.max(count);
                    }
                }
                let (most, least) = (signed(all), signed(least.saturating_add(self.owed)));
                Some(match enough {
                    _ if self.of.len() <= 1 => most,
                    Some(enough) if most < enough => most,
                    Some(enough) if least >= enough => least,
                    _ => self.distinct(fold, enough),
                })
            }
            _ => {
                let mut found = None;
                for (column, cell) in self.columns(fold) {
                    match column {
                        Column::Sum(sums) => {
                            found = add(found, sums.get(place(cell)).copied().flatten());
                        }
                        Column::Whole(held) => {
                            let held = held.get(place(cell)).copied().flatten();
                            found = best(kind, found, held, Ord::cmp);
                        }
                        _ => {}
                    }
                }
                found
            }
        }
    }

    fn ways(self, fold: usize) -> impl Iterator<Item = &'a Steps> {
        self.columns(fold).filter_map(|(column, cell)| match column {
            Column::Steps(ways) => ways.held.get(place(cell)),
            _ => None,
        })
    }

    fn count(self, fold: usize) -> u64 {
        let mut counted = self.owed;
        for link in self.of {
            let Some(pane) = self.panes.get(place(link.pane)) else { continue };
            counted += match pane.columns.get(fold) {
                Some(Column::Rows) => {
                    pane.cells.get(place(link.cell)).map_or(0, |cell| u64::from(cell.rows))
                }
                Some(Column::Count(counts)) => {
                    counts.get(place(link.cell)).copied().unwrap_or_default()
                }
                _ => 0,
            };
        }
        counted
    }

    fn distinct(self, fold: usize, enough: Option<i64>) -> i64 {
        let sets = self.columns(fold).filter_map(|(column, cell)| match column {
            Column::Distinct(sets) => Some((sets, cell)),
            _ => None,
        });
        let enough = enough.and_then(|enough| u64::try_from(enough).ok());
        let enough = enough.map_or(u64::MAX, |enough| enough.saturating_sub(self.owed));
        signed(different(&sets.collect::<Vec<_>>(), enough).saturating_add(self.owed))
    }

    fn fraction(self, fold: usize, kind: Kind) -> Option<f64> {
        let (mut all, mut rows, mut found) = (0.0, 0_u64, None);
        for (column, cell) in self.columns(fold) {
            match column {
                Column::Fractions(held) => {
                    let (sum, count) = held.get(place(cell)).copied().unwrap_or_default();
                    all += sum;
                    rows += count;
                }
                Column::Fraction(held) => {
                    let held = held.get(place(cell)).copied().flatten();
                    found = best(kind, found, held, f64::total_cmp);
                }
                _ => {}
            }
        }
        match kind {
            Kind::SumFraction if rows > 0 => Some(all),
            #[expect(clippy::cast_precision_loss, reason = "as a query's average does")]
            Kind::Average if rows > 0 => Some(all / rows as f64),
            Kind::SumFraction | Kind::Average => None,
            _ => found,
        }
    }

    fn text(self, fold: usize, kind: Kind) -> Option<&'a str> {
        let texts = self.columns(fold).filter_map(|(column, cell)| match column {
            Column::Text(texts) => texts.held.get(place(cell)).and_then(Option::as_deref),
            _ => None,
        });
        texts.fold(None, |found, text| best(kind, found, Some(text), Ord::cmp))
    }

    fn flag(self, fold: usize, kind: Kind) -> Option<bool> {
        let flags = self.columns(fold).filter_map(|(column, cell)| match column {
            Column::Flag(held) => held.get(place(cell)).copied().flatten(),
            _ => None,
        });
        flags.fold(None, |found, flag| best(kind, found, Some(flag), Ord::cmp))
    }
}

/// What a fold comes to for each of some groups.
pub(super) fn folded(kind: Kind, fold: usize, groups: &[Cells<'_>]) -> ArrayRef {
    let held = match kind {
        Kind::Count | Kind::Distinct | Kind::Sum | Kind::Steps(_) => Held::Whole,
        Kind::SumFraction | Kind::Average => Held::Fraction,
        Kind::All | Kind::Any => Held::Flag,
        Kind::Least(held) | Kind::Greatest(held) => held,
    };
    let groups = groups.iter();
    match held {
        Held::Whole => {
            Arc::new(groups.map(|cells| cells.whole(fold, kind, None)).collect::<Int64Array>())
        }
        Held::Fraction => {
            Arc::new(groups.map(|cells| cells.fraction(fold, kind)).collect::<Float64Array>())
        }
        Held::Text => Arc::new(groups.map(|cells| cells.text(fold, kind)).collect::<StringArray>()),
        Held::Flag => {
            Arc::new(groups.map(|cells| cells.flag(fold, kind)).collect::<BooleanArray>())
        }
    }
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
