//! Groups as bytes.
//!
//! Owns: writing and reading them. Never: trusts what it reads.

use std::sync::Arc;

use schemas::Exemplar;

use super::column::Kept;
use super::pane::{Cell, GivenUp, More, NONE, Pane};
use super::{Groups, Link, Register, Shelf};
use crate::hits::StepKey;
use crate::rows::{EXEMPLARS_MAX, count, place};
use crate::ruleset::Unit;
use crate::window::is_moment;
use crate::wire::{Reader, WireError, Writer};

impl Groups {
    pub(crate) fn write(&self, unit: &Unit, shelf: &Shelf, out: &mut Writer) {
        out.put(&self.shed_until);
        out.put(&self.latest);
        self.sketch.write(out);
        let like = Pane::new(0, &unit.folds);
        out.len(unit.folds.len());
        for (fold, column) in unit.folds.iter().zip(&like.columns) {
            out.put(&fold.name);
            out.put(&column.tag());
        }
        out.len(self.order.len());
        for (at, pane) in &self.order {
            out.put(at);
            let given_up = self.panes.get(place(*pane)).map(|pane| pane.given_up);
            out.put(&match given_up {
                None | Some(GivenUp::Nothing) => 0_u8,
                Some(GivenUp::Lines) => 1,
                Some(GivenUp::Exemplars) => 2,
            });
        }
        let mut keys: Vec<([u64; 2], u32)> = (0_u32..)
            .zip(self.groups.iter())
            .filter(|(_, group)| group.last != Link::NONE)
            .map(|(at, group)| (group.hash, at))
            .collect();
        keys.sort_unstable();
        out.len(keys.len());
        let mut links = Vec::new();
        for ([low, high], group) in keys {
            out.put(&low);
            out.put(&high);
            let text = self.key_bytes(group);
            out.len(text.len());
            out.raw(text);
            let held = self.groups.get(place(group));
            out.put(&held.map_or(0, |group| group.patience));
            out.put(&held.is_some_and(|group| group.owed));
            self.links(group, (i64::MIN, i64::MAX), &mut links);
            out.len(links.len());
            for link in &links {
                if let Some(pane) = self.panes.get(place(link.pane)) {
                    write_cell(pane, link.cell, shelf, out);
                }
            }
        }
    }

    /// Reads what [`Groups::write`] wrote, into groups that are still empty. Gives the names of the
    /// folds that were kept.
    pub(crate) fn read(
        &mut self,
        from: &mut Reader<'_>,
        unit: &Unit,
        register: &mut Register,
    ) -> Result<Vec<Arc<str>>, WireError> {
        self.shed_until = from.get()?;
        self.latest = from.get()?;
        self.sketch.read(from)?;
        let mut folds: Vec<(Option<usize>, u8)> = Vec::new();
        let mut names: Vec<Arc<str>> = Vec::new();
        for _fold in 0..from.count("folds")? {
            let name: Arc<str> = from.get()?;
            folds.push((unit.folds.iter().position(|fold| fold.name == name), from.get()?));
            names.push(name);
        }
        for _pane in 0..from.count("panes")? {
            let at = self.pane_of(from.get()?)?;
            let given_up = match from.get::<u8>()? {
                0 => GivenUp::Nothing,
                1 => GivenUp::Lines,
                2 => GivenUp::Exemplars,
                _ => return Err(malformed()),
            };
            let pane = self.pane(at, &unit.folds);
            if let Some(pane) = self.panes.get_mut(place(pane)) {
                pane.given_up = given_up;
            }
        }
        for _group in 0..from.count("keys")? {
            self.read_group(from, unit, (&folds, register))?;
        }
        if self.panes.iter().any(|pane| pane.cells.is_empty()) {
            return Err(malformed());
        }
        Ok(names)
    }

    fn read_group(
        &mut self,
        from: &mut Reader<'_>,
        unit: &Unit,
        (folds, register): (&[(Option<usize>, u8)], &mut Register),
    ) -> Result<(), WireError> {
        let (low, high): (u64, u64) = (from.get()?, from.get()?);
        let hash = (u128::from(high) << 64) | u128::from(low);
        let length = from.len("a key")?;
        let key = StepKey { hash, bytes: Arc::from(from.take(length, "a key")?) };
        if self.find(hash).is_some() {
            return Err(malformed());
        }
        let patience: u32 = from.get()?;
        let owed: bool = from.get()?;
        let group = self.enter(&key, 0);
        if let Some(group) = self.groups.get_mut(place(group)) {
            (group.patience, group.owed) = (patience, owed);
        }
        let cells = from.count("the panes of a key")?;
        let mut last = None;
        for _cell in 0..cells {
            let at = self.pane_of(from.get()?)?;
            if last.is_some_and(|last| last >= at) {
                return Err(malformed());
            }
            last = Some(at);
            if self.order.binary_search_by_key(&at, |(at, _)| *at).is_err() {
                return Err(malformed());
            }
            let link = self.cell(group, at, &unit.folds).ok_or_else(malformed)?;
            let pane = self.panes.get_mut(place(link.pane)).ok_or_else(malformed)?;
            read_cell(pane, from, (folds, register))?;
        }
        if last.is_none() { Err(malformed()) } else { Ok(()) }
    }

    /// A pane that there can be.
    fn pane_of(&self, at: i64) -> Result<i64, WireError> {
        let start = at.saturating_mul(self.slide_ms);
        let is_one = is_moment(start) || is_moment(start.saturating_add(self.slide_ms));
        if is_one { Ok(at) } else { Err(malformed()) }
    }
}

fn malformed() -> WireError {
    WireError::Malformed { what: "the keys of a unit" }
}

fn write_cell(pane: &Pane, at: u32, shelf: &Shelf, out: &mut Writer) {
    let Some(cell) = pane.cells.get(place(at)) else { return };
    out.put(&pane.at);
    for number in [cell.first, cell.last, cell.rows, cell.entry] {
        out.put(&number);
    }
    out.put(&cell.future);
    out.put(&cell.lossy);
    let mut more = Vec::new();
    let mut next = cell.more;
    while let Some(one) = pane.more.get(place(next)) {
        more.push((one.entry, one.rows));
        next = one.before;
    }
    more.reverse();
    out.put(&more);
    let with_line = pane.given_up < GivenUp::Lines;
    let shown = pane.shown_of(cell).into_iter().rev();
    let shown = shown.filter_map(|one| Some((one.at, shelf.exemplar(one.event, with_line)?)));
    out.put(&shown.collect::<Vec<(u32, Exemplar)>>());
    pane.columns.iter().for_each(|column| column.write(at, out));
}

/// Reads the last cell of a pane, which has just been made.
fn read_cell(
    pane: &mut Pane,
    from: &mut Reader<'_>,
    (folds, register): (&[(Option<usize>, u8)], &mut Register),
) -> Result<(), WireError> {
    let Some(mut cell) = pane.cells.last().copied() else { return Err(malformed()) };
    cell = Cell {
        first: from.get()?,
        last: from.get()?,
        rows: from.get()?,
        entry: from.get()?,
        future: from.get()?,
        lossy: from.get()?,
        ..cell
    };
    let more: Vec<(u32, u32)> = from.get()?;
    let is_known = |entry: u32| entry == NONE || place(entry) < register.table().len();
    if !is_known(cell.entry) || !more.iter().all(|(entry, _)| is_known(*entry)) {
        return Err(malformed());
    }
    for (entry, rows) in more {
        pane.more.push(More { entry, rows, before: cell.more });
        cell.more = count(pane.more.len() - 1);
    }
    let shown: Vec<(u32, Exemplar)> = from.get()?;
    if shown.len() > EXEMPLARS_MAX {
        return Err(malformed());
    }
    cell.shown_count = u8::try_from(shown.len()).unwrap_or_default();
    for (at, one) in shown {
        let shelf = &mut register.shelf;
        let event = shelf.put(one.event_time.millis(), &one.event_id, one.line.as_deref());
        pane.push_shown(&mut cell, (at, event), shelf);
        shelf.release(event, true);
    }
    if let Some(last) = pane.cells.last_mut() {
        *last = cell;
    }
    for (fold, tag) in folds {
        let kept = Kept::read(*tag, from)?;
        if let Some(column) = fold.and_then(|fold| pane.columns.get_mut(fold)) {
            column.set_last(kept);
        }
    }
    Ok(())
}
