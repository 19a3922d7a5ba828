//! Retained rows of one rule, in panes.
//!
//! Owns: which rows a window holds, in which order, and what is given up when the rule's budget of
//! bytes is used up. Never: queries, keys, episodes.
//!
//! An open pane takes rows as they arrive. Once the watermark has passed a pane no row can come:
//! it is sealed, its rows in order of event time, then event id, then arrival, so that a query
//! whose answer depends on order gives the same answer however the rows came in.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use schemas::EventTime;

use super::circumstances::text_at;
use super::{Rows, count, place};
use crate::window::Windows;
use crate::wire::{Reader, WireError, Writer};

/// A pane whose rows are complete and in their final order.
#[derive(Debug)]
pub(crate) struct Sealed {
    pub(crate) rows: Rows,
    /// By place: the how manieth of the pane's rows it was to arrive.
    pub(crate) arrival: Vec<u32>,
}

#[derive(Debug)]
enum Pane {
    /// Parts in order of arrival, each at least twice as long as the next.
    Open(Vec<Rows>),
    Sealed(Arc<Sealed>),
}

/// Rows given up for want of room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Shed {
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
}

/// The panes of one rule.
#[derive(Debug)]
pub(crate) struct Store {
    windows: Windows,
    bytes_max: usize,
    panes: BTreeMap<i64, (Pane, usize)>,
    bytes: usize,
    /// First window that has not closed.
    next: i64,
    /// Whether the pane that the window before `next` began with held rows.
    left: bool,
    /// Windows that begin before this have lost rows.
    shed_until: i64,
    /// The latest row so far.
    latest: i64,
}

impl Store {
    pub(crate) fn new(windows: Windows, bytes_max: usize) -> Self {
        Self {
            windows,
            bytes_max,
            panes: BTreeMap::new(),
            bytes: 0,
            next: i64::MIN,
            left: true,
            shed_until: i64::MIN,
            latest: i64::MIN,
        }
    }

    pub(crate) fn windows(&self) -> Windows {
        self.windows
    }

    /// Bytes held, by the sum over rows.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The latest row so far.
    pub(crate) fn latest(&self) -> i64 {
        self.latest
    }

    /// Whether a window has lost rows to the budget.
    pub(crate) fn is_degraded(&self, k: i64) -> bool {
        self.windows.start(k) < self.shed_until
    }

    /// The rule begins with this window.
    pub(crate) fn begin(&mut self, k: i64) {
        self.next = self.next.max(k);
    }

    /// Takes rows in order of arrival.
    pub(crate) fn absorb(&mut self, rows: Rows) -> Result<Shed, ArrowError> {
        self.latest = rows.at.iter().copied().max().unwrap_or(i64::MIN).max(self.latest);
        let pane_of = |at: &i64| self.windows.pane_of(*at);
        let panes: BTreeSet<i64> = rows.at.iter().map(pane_of).collect();
        if let (1, Some(only)) = (panes.len(), panes.first()) {
            self.put(*only, rows)?;
            return self.shed();
        }
        for pane in panes {
            let inside: Vec<u32> = (0_u32..)
                .zip(&rows.at)
                .filter(|(_, at)| self.windows.pane_of(**at) == pane)
                .map(|(row, _)| row)
                .collect();
            self.put(pane, rows.select(&inside)?)?;
        }
        self.shed()
    }

    fn put(&mut self, pane: i64, rows: Rows) -> Result<(), ArrowError> {
        let (state, bytes) = self.panes.entry(pane).or_insert_with(|| (Pane::Open(Vec::new()), 0));
        let added = rows.bytes();
        *bytes += added;
        self.bytes += added;
        match state {
            Pane::Open(parts) => push(parts, rows),
            // Map and watermark see to it that nothing comes behind; if it did, it would count.
            Pane::Sealed(sealed) => {
                *state = Pane::Open(vec![sealed.rows.clone(), rows]);
                Ok(())
            }
        }
    }

    /// The next window that has rows and that the watermark has passed.
    pub(crate) fn due(&self, watermark: EventTime) -> Option<i64> {
        self.comes().filter(|k| self.windows.end(*k) <= watermark.millis())
    }

    /// The moment at which it ends.
    pub(crate) fn ends(&self) -> Option<i64> {
        self.comes().map(|k| self.windows.end(k))
    }

    /// The next window that has rows.
    fn comes(&self) -> Option<i64> {
        let (first, _) = self.panes.first_key_value()?;
        Some(self.next.max(first.saturating_sub(self.windows.panes() - 1)))
    }

    /// Whether window `k` holds other rows than the one that closed before it.
    pub(crate) fn is_changed(&self, k: i64) -> bool {
        k != self.next
            || self.left
            || self.panes.contains_key(&k.saturating_add(self.windows.panes() - 1))
    }

    /// The next window is to be asked, whatever it holds.
    pub(crate) fn touch(&mut self) {
        self.left = true;
    }

    /// The panes of window `k`, complete and in order. Only once the watermark has passed it.
    pub(crate) fn window(&mut self, k: i64) -> Result<Vec<Arc<Sealed>>, ArrowError> {
        let mut panes = Vec::new();
        for (_, (state, bytes)) in self.panes.range_mut(k..k.saturating_add(self.windows.panes())) {
            if let Pane::Open(parts) = state {
                let sealed = seal(parts)?;
                let held = sealed.rows.bytes();
                self.bytes = self.bytes - *bytes + held;
                *bytes = held;
                *state = Pane::Sealed(Arc::new(sealed));
            }
            if let Pane::Sealed(sealed) = state {
                panes.push(Arc::clone(sealed));
            }
        }
        Ok(panes)
    }

    /// Window `k` is done, and all before it: panes that no later window holds go.
    pub(crate) fn close(&mut self, k: i64) {
        self.next = k.saturating_add(1);
        self.left = self.panes.contains_key(&k);
        let kept = self.panes.split_off(&self.next);
        let gone = std::mem::replace(&mut self.panes, kept);
        self.bytes -= gone.values().map(|(_, bytes)| bytes).sum::<usize>();
    }

    /// Keeps to the budget: lines go first, since no answer depends on them; then the oldest rows.
    fn shed(&mut self) -> Result<Shed, ArrowError> {
        let mut shed = Shed::default();
        if self.bytes <= self.bytes_max {
            return Ok(shed);
        }
        for (pane, bytes) in self.panes.values_mut() {
            let freed = drop_lines(pane);
            *bytes -= freed;
            self.bytes -= freed;
            if self.bytes <= self.bytes_max {
                return Ok(shed);
            }
        }
        while self.bytes > self.bytes_max {
            let Some((oldest, (pane, bytes))) = self.panes.pop_first() else { break };
            self.bytes -= bytes;
            shed.bytes += u64::try_from(bytes).unwrap_or(u64::MAX);
            let rows = sealed_rows(pane)?;
            shed.rows += u64::try_from(rows.len()).unwrap_or(u64::MAX);
            self.shed_until = self.shed_until.max(self.windows.start(oldest.saturating_add(1)));
            if self.panes.is_empty() {
                self.keep_newer_half(oldest, &rows, &mut shed)?;
            }
        }
        Ok(shed)
    }

    /// Of a pane that alone is over the budget, the newer half of the newer half … that fits.
    fn keep_newer_half(
        &mut self,
        pane: i64,
        rows: &Rows,
        shed: &mut Shed,
    ) -> Result<(), ArrowError> {
        let mut first = rows.len();
        let mut kept = None;
        let mut length = rows.len() / 2;
        while length > 0 && kept.is_none() {
            first = rows.len() - length;
            let newer: Vec<u32> = (count(first)..count(rows.len())).collect();
            kept = Some(rows.select(&newer)?).filter(|rows| rows.bytes() <= self.bytes_max);
            length /= 2;
        }
        if let Some(kept) = kept {
            shed.rows -= u64::try_from(rows.len() - first).unwrap_or_default();
            shed.bytes -= u64::try_from(kept.bytes()).unwrap_or_default().min(shed.bytes);
            self.put(pane, kept)?;
        }
        Ok(())
    }

    pub(crate) fn write(&self, out: &mut Writer) -> Result<(), ArrowError> {
        out.put(&self.next);
        out.put(&self.left);
        out.put(&self.shed_until);
        out.put(&self.latest);
        out.len(self.panes.len());
        for (pane, (state, bytes)) in &self.panes {
            out.put(pane);
            // As they were counted when they came in parts: what is given up depends on it.
            out.put(&u64::try_from(*bytes).unwrap_or(u64::MAX));
            match state {
                Pane::Open(parts) => {
                    out.put(&false);
                    // An open pane is never empty.
                    if let Some(rows) = Rows::join(parts)? {
                        rows.write(out);
                    }
                }
                Pane::Sealed(sealed) => {
                    out.put(&true);
                    sealed.rows.write(out);
                    out.put(&sealed.arrival);
                }
            }
        }
        Ok(())
    }

    /// Reads what [`Store::write`] wrote into a store that is still empty.
    pub(crate) fn read(
        &mut self,
        from: &mut Reader<'_>,
        schema: &SchemaRef,
    ) -> Result<(), WireError> {
        self.next = from.get()?;
        self.left = from.get()?;
        self.shed_until = from.get()?;
        self.latest = from.get()?;
        let panes = from.count("panes")?;
        for _pane in 0..panes {
            let (pane, bytes): (i64, u64) = (from.get()?, from.get()?);
            let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
            let is_sealed: bool = from.get()?;
            let rows = Rows::read(from, schema)?;
            let state = if is_sealed {
                let arrival: Vec<u32> = from.get()?;
                if arrival.len() != rows.len() {
                    return Err(WireError::Malformed { what: "a sealed pane" });
                }
                Pane::Sealed(Arc::new(Sealed { rows, arrival }))
            } else {
                Pane::Open(vec![rows])
            };
            self.bytes = self.bytes.saturating_add(bytes);
            if self.panes.insert(pane, (state, bytes)).is_some() {
                return Err(WireError::Malformed { what: "a pane that is there twice" });
            }
        }
        Ok(())
    }
}

/// Appends a part; joins the last two while they are of like length, so that a pane has few parts
/// and each row is copied a logarithmic number of times.
fn push(parts: &mut Vec<Rows>, rows: Rows) -> Result<(), ArrowError> {
    parts.push(rows);
    while let [.., longer, last] = parts.as_slice()
        && longer.len() < last.len() * 2
    {
        let tail = parts.split_off(parts.len() - 2);
        parts.extend(Rows::join(&tail)?);
    }
    Ok(())
}

fn seal(parts: &[Rows]) -> Result<Sealed, ArrowError> {
    let Some(joined) = Rows::join(parts)? else {
        return Err(ArrowError::ComputeError("an open pane without rows".into()));
    };
    let mut order: Vec<u32> = (0..count(joined.len())).collect();
    order.sort_by(|a, b| in_order(&joined, *a, *b));
    let mut rows = if order.is_sorted() { joined } else { joined.select(&order)? };
    rows.trim_lines()?;
    Ok(Sealed { rows, arrival: order })
}

/// By event time, event id, arrival.
fn in_order(rows: &Rows, a: u32, b: u32) -> Ordering {
    let at = |row: u32| rows.at.get(place(row));
    let id = |row: u32| text_at(&rows.ids, place(row));
    at(a).cmp(&at(b)).then_with(|| id(a).cmp(&id(b))).then(a.cmp(&b))
}

fn sealed_rows(pane: Pane) -> Result<Rows, ArrowError> {
    match pane {
        Pane::Open(parts) => seal(&parts).map(|sealed| sealed.rows),
        Pane::Sealed(sealed) => Ok(sealed.rows.clone()),
    }
}

/// Bytes freed.
fn drop_lines(pane: &mut Pane) -> usize {
    match pane {
        Pane::Open(parts) => {
            let freed = parts.iter().map(Rows::line_bytes).sum();
            parts.iter_mut().for_each(Rows::drop_lines);
            freed
        }
        Pane::Sealed(sealed) => {
            let freed = sealed.rows.line_bytes();
            if freed > 0 {
                let mut rows = sealed.rows.clone();
                rows.drop_lines();
                *sealed = Arc::new(Sealed { rows, arrival: sealed.arrival.clone() });
            }
            freed
        }
    }
}

#[cfg(test)]
mod tests;
