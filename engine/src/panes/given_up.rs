//! What a unit holds, and what it gives up when that is too much.
//!
//! Owns: counting bytes, taking out keys and cells. Never: says so to anybody.

use super::chunks::Chunks;
use super::index::{Index, PLACE_BYTES};
use super::pane::{Cell, GivenUp, NONE, Pane};
use super::texts::Texts;
use super::{Group, Groups, Link, Shelf, grown, key_of, tag};
use crate::rows::store::Shed;
use crate::rows::{count, place};

/// Of a full budget so much is left when groups have been given up: three quarters.
const LEFT: (usize, usize) = (3, 4);

/// Bytes of panes, added up as they change: most of them have not since the last time.
#[derive(Debug, Default)]
pub(super) struct Counted {
    /// Of those that are counted.
    bytes: usize,
    /// Places of the others.
    pub(super) changed: Vec<u32>,
}

impl Counted {
    /// A pane is no more.
    pub(super) fn forget(&mut self, at: u32, gone: &mut Pane) {
        match gone.counted.take() {
            Some(bytes) => self.bytes -= bytes,
            None => self.changed.retain(|changed| *changed != at),
        }
    }
}

impl Groups {
    /// A pane is about to hold something else.
    pub(super) fn changes(&mut self, at: u32) {
        if let Some(bytes) = self.panes.get_mut(place(at)).and_then(|pane| pane.counted.take()) {
            self.counted.bytes -= bytes;
            self.counted.changed.push(at);
        }
    }

    /// As [`Groups::bytes`], at the cost of the panes that have changed.
    fn count(&mut self) -> usize {
        for at in self.counted.changed.drain(..) {
            let Some(pane) = self.panes.get_mut(place(at)) else { continue };
            let bytes = pane.bytes();
            pane.counted = Some(bytes);
            self.counted.bytes += bytes;
        }
        self.bytes_beside_panes() + self.counted.bytes
    }

    /// Bytes held. They depend on what is held and not on how it came, so that a reducer that was
    /// restored gives up the same.
    pub(crate) fn bytes(&self) -> usize {
        let panes = self.order.iter().filter_map(|(_, pane)| self.panes.get(place(*pane)));
        self.bytes_beside_panes() + panes.map(Pane::bytes).sum::<usize>()
    }

    fn bytes_beside_panes(&self) -> usize {
        let groups = self.groups.len() - self.free.len();
        let texts = self.texts.len() - self.unnamed;
        Chunks::<Group>::bytes_of(groups)
            + groups * PLACE_BYTES
            + grown(texts)
            + self.sketch.bytes()
    }

    /// Keeps to the budget: lines go first, then all exemplars, since no answer depends on them;
    /// then the groups with the fewest rows, which are the furthest from any threshold; their rows
    /// are counted in a sketch, so that who comes back misses no threshold. Says what went, and
    /// whose.
    pub(crate) fn shed(&mut self, shelf: &mut Shelf) -> (Shed, Vec<u128>) {
        let mut shed = Shed::default();
        let mut bytes = self.count();
        for what in [GivenUp::Lines, GivenUp::Exemplars] {
            if bytes <= self.bytes_max {
                return (shed, Vec::new());
            }
            // Of the oldest panes first.
            for at in 0..self.order.len() {
                let Some((_, pane)) = self.order.get(at).copied() else { continue };
                if self.panes.get(place(pane)).is_none_or(|pane| pane.given_up >= what) {
                    continue;
                }
                self.changes(pane);
                if let Some(pane) = self.panes.get_mut(place(pane)) {
                    pane.give_up(what, shelf);
                }
                bytes = self.count();
                if bytes <= self.bytes_max {
                    return (shed, Vec::new());
                }
            }
        }
        if bytes <= self.bytes_max {
            return (shed, Vec::new());
        }
        let mut order: Vec<(u64, i64, u128, u32)> = Vec::with_capacity(self.groups.len());
        for (at, group) in (0_u32..).zip(self.groups.iter()) {
            if let Some(last) = self.pane_at(group.last) {
                order.push((self.rows_of(at), last, key_of(group.hash), at));
            }
        }
        order.sort_unstable();
        let now = self.latest.div_euclid(self.slide_ms.max(1));
        let left = self.bytes_max / LEFT.1 * LEFT.0;
        let mut gone = Vec::new();
        for (rows, _, key, at) in order {
            if bytes <= left {
                break;
            }
            let freed = self.bytes_of(at);
            bytes = bytes.saturating_sub(freed);
            shed.rows += rows;
            shed.bytes += u64::try_from(freed).unwrap_or(u64::MAX);
            gone.push(key);
            self.sketch.add(key, rows, now);
            self.remove(at);
        }
        self.drop_cells(shelf);
        self.tidy();
        let after = now.saturating_add(1);
        self.shed_until = self.shed_until.max(after.saturating_mul(self.slide_ms));
        (shed, gone)
    }

    /// About so many bytes a key takes.
    fn bytes_of(&self, group: u32) -> usize {
        let cells = self.chain(group).map(|(_, link)| {
            let Some(pane) = self.panes.get(place(link.pane)) else { return 0 };
            pane.bytes() / pane.cells.len().max(1)
        });
        let own = size_of::<Group>() + PLACE_BYTES + grown(self.key_bytes(group).len());
        own + cells.sum::<usize>()
    }

    /// Takes out the cells of keys that are gone.
    fn drop_cells(&mut self, shelf: &mut Shelf) {
        let mut renamed: Vec<Vec<u32>> = Vec::with_capacity(self.panes.len());
        for pane in &mut self.panes {
            let groups = &self.groups;
            let stays = |cell: &Cell| {
                groups.get(place(cell.group)).is_some_and(|group| group.last != Link::NONE)
            };
            let mut new = vec![NONE; pane.cells.len()];
            let mut kept: Vec<u32> = Vec::new();
            for ((old, cell), new) in (0_u32..).zip(pane.cells.iter()).zip(&mut new) {
                if stays(cell) {
                    *new = count(kept.len());
                    kept.push(old);
                }
            }
            if kept.len() < pane.cells.len() {
                pane.keep(&kept, shelf);
            }
            renamed.push(new);
        }
        let new = |link: Link| {
            let cell = renamed.get(place(link.pane)).and_then(|of| of.get(place(link.cell)));
            Link { pane: link.pane, cell: cell.copied().unwrap_or(NONE) }
        };
        for group in self.groups.iter_mut().filter(|group| group.last != Link::NONE) {
            group.last = new(group.last);
        }
        for cell in self.panes.iter_mut().flat_map(|pane| pane.cells.iter_mut()) {
            cell.before = new(cell.before);
        }
        for pane in self.panes.iter_mut().filter(|pane| pane.cells.is_empty()) {
            pane.at = i64::MAX;
        }
        let panes = &self.panes;
        self.order.retain(|(_, pane)| panes.get(place(*pane)).is_some_and(|at| at.at < i64::MAX));
        self.panes.iter_mut().for_each(|pane| pane.counted = None);
        let changed = self.order.iter().map(|(_, pane)| *pane).collect();
        self.counted = Counted { bytes: 0, changed };
    }

    /// Takes out places and texts of keys that are gone.
    pub(super) fn tidy(&mut self) {
        let kept = self.groups.len() - self.free.len();
        let mut renamed = vec![NONE; self.groups.len()];
        let mut groups = Chunks::default();
        let mut texts = Texts::default();
        let mut index = Index::for_places(kept);
        for (old, new) in self.groups.iter().zip(&mut renamed) {
            if old.last == Link::NONE {
                continue;
            }
            *new = count(groups.len());
            let text = texts.push(self.texts.get(old.text));
            groups.push(Group { text, ..*old });
            let [low, _] = old.hash;
            index.insert(tag(low), *new);
        }
        for cell in self.panes.iter_mut().flat_map(|pane| pane.cells.iter_mut()) {
            cell.group = renamed.get(place(cell.group)).copied().unwrap_or(NONE);
        }
        (self.groups, self.texts, self.index) = (groups, texts, index);
        (self.free, self.unnamed) = (Vec::new(), 0);
    }

    /// Whether the bytes that were added up are those of the panes.
    #[cfg(test)]
    pub(crate) fn adds_up(&self) -> bool {
        let all = self.order.iter().map(|(_, pane)| &self.panes[place(*pane)]);
        let counted = |pane: &&Pane| pane.counted.is_some();
        all.clone().filter(counted).map(Pane::bytes).sum::<usize>() == self.counted.bytes
            && all.filter(|pane| !counted(pane)).count() == self.counted.changed.len()
    }

    #[cfg(test)]
    pub(crate) fn heap_bytes(&self) -> usize {
        self.groups.heap_bytes()
            + self.free.capacity() * 4
            + self.texts.heap_bytes()
            + self.index.heap_bytes()
            + self.panes.iter().map(Pane::heap_bytes).sum::<usize>()
    }
}
