//! Distinct values of the cells of one pane.
//!
//! Owns: sets of hashed values by cell, all in one table. Never: the values themselves.

use super::chunks::Chunks;
use super::index::{Index, PLACE_BYTES};
use crate::rows::{count, place};

/// Distinct values counted exactly in one pane of one key: 2.5 MiB at 40 B each. Beyond that the
/// count is a lower bound, and the verdict says `degraded`.
pub(super) const DISTINCT_MAX: u32 = 64 * 1024;
const NONE: u32 = u32::MAX;

#[derive(Debug, Clone, Copy)]
struct Witness {
    hash: u64,
    cell: u32,
    /// The one before of the same cell.
    before: u32,
}

/// The values of a cell.
#[derive(Debug, Clone, Copy)]
struct Set {
    last: u32,
    count: u32,
}

/// Sets of hashed values.
#[derive(Debug, Clone, Default)]
pub(super) struct Witnesses {
    sets: Chunks<Set>,
    all: Chunks<Witness>,
    index: Index,
    /// Cells that could not take a value more, ascending.
    full: Vec<u32>,
}

impl Witnesses {
    pub(super) fn push(&mut self) {
        self.sets.push(Set { last: NONE, count: 0 });
    }

    pub(super) fn insert(&mut self, cell: u32, hash: u64) {
        let tag = tag(cell, hash);
        let is = |at: u32| {
            self.all.get(place(at)).is_some_and(|known| known.hash == hash && known.cell == cell)
        };
        if self.index.find(tag, is).is_some() {
            return;
        }
        let Some(set) = self.sets.get_mut(place(cell)) else { return };
        if set.count >= DISTINCT_MAX {
            if let Err(at) = self.full.binary_search(&cell) {
                self.full.insert(at, cell);
            }
            return;
        }
        let at = count(self.all.len());
        self.all.push(Witness { hash, cell, before: set.last });
        *set = Set { last: at, count: set.count + 1 };
        self.index.insert(tag, at);
    }

    pub(super) fn count(&self, cell: u32) -> u32 {
        self.sets.get(place(cell)).map_or(0, |set| set.count)
    }

    pub(super) fn is_full(&self, cell: u32) -> bool {
        !self.full.is_empty() && self.full.binary_search(&cell).is_ok()
    }

    /// The values of a cell, the latest first.
    pub(super) fn of(&self, cell: u32) -> impl Iterator<Item = u64> {
        let mut next = self.sets.get(place(cell)).map_or(NONE, |set| set.last);
        std::iter::from_fn(move || {
            let found = self.all.get(place(next))?;
            next = found.before;
            Some(found.hash)
        })
    }

    /// Only these cells, in this order.
    pub(super) fn keep(&mut self, cells: &[u32]) {
        let mut kept = Self::default();
        for (new, old) in (0_u32..).zip(cells) {
            kept.push();
            let mut values: Vec<u64> = self.of(*old).collect();
            values.reverse();
            values.into_iter().for_each(|hash| kept.insert(new, hash));
            if self.is_full(*old) {
                kept.full.push(new);
            }
        }
        *self = kept;
    }

    /// Fills the last cell.
    pub(super) fn set_last(&mut self, values: &[u64], full: bool) {
        let Some(cell) = self.sets.len().checked_sub(1).map(count) else { return };
        values.iter().for_each(|hash| self.insert(cell, *hash));
        if full {
            self.full.push(cell);
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.sets.bytes() + self.all.bytes() + self.all.len() * PLACE_BYTES
    }

    #[cfg(test)]
    pub(super) fn heap_bytes(&self) -> usize {
        self.sets.heap_bytes() + self.all.heap_bytes() + self.index.heap_bytes()
    }
}

/// The hash is keyed; the cell only spreads equal values.
fn tag(cell: u32, hash: u64) -> u32 {
    let mixed = hash ^ u64::from(cell).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    u32::try_from(mixed >> 32).unwrap_or_default()
}
