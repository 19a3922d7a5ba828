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
const SLOTS_MIN: usize = 16;

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

/// How many different values cells have together, or a number from which on they are `enough`.
pub(super) fn different(cells: &[(&Witnesses, u32)], enough: u64) -> u64 {
    let largest = cells.iter().map(|(sets, cell)| sets.count(*cell)).max().unwrap_or(0);
    let mut different = Different::with_room(place(largest));
    let mut sets: Vec<_> = cells.iter().map(|(sets, cell)| sets.of(*cell)).collect();
    // By turns: each value says where the next one of its set is, and the memory of one set is not
    // waited for after that of another.
    while !sets.is_empty() && different.len() < enough {
        sets.retain_mut(|set| set.next().map(|value| different.insert(value)).is_some());
    }
    different.len()
}

/// Hashed values, each once.
#[derive(Debug)]
struct Different {
    /// A power of two, at most half of which are taken; 0 is none.
    slots: Vec<u64>,
    taken: usize,
    /// Whether 0 is among them.
    zero: bool,
}

impl Different {
    fn with_room(values: usize) -> Self {
        let slots = (values * 2).next_power_of_two().max(SLOTS_MIN);
        Self { slots: vec![0; slots], taken: 0, zero: false }
    }

    fn len(&self) -> u64 {
        u64::from(count(self.taken)) + u64::from(self.zero)
    }

    fn insert(&mut self, hash: u64) {
        if hash == 0 {
            self.zero = true;
        } else if self.put(hash) {
            self.taken += 1;
            if self.taken * 2 > self.slots.len() {
                let more = vec![0; self.slots.len() * 2];
                let held = std::mem::replace(&mut self.slots, more);
                for hash in held.into_iter().filter(|hash| *hash != 0) {
                    self.put(hash);
                }
            }
        }
    }

    /// Whether it was not there.
    fn put(&mut self, hash: u64) -> bool {
        let mask = self.slots.len().wrapping_sub(1);
        // Hashes are keyed and well mixed: any of their bits will do.
        let mut at = usize::try_from(hash >> 20).unwrap_or_default() & mask;
        while let Some(slot) = self.slots.get_mut(at) {
            if *slot == hash {
                return false;
            }
            if *slot == 0 {
                *slot = hash;
                return true;
            }
            at = (at + 1) & mask;
        }
        false
    }
}

/// The hash is keyed; the cell only spreads equal values.
fn tag(cell: u32, hash: u64) -> u32 {
    let mixed = hash ^ u64::from(cell).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    u32::try_from(mixed >> 32).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::{prop, prop_assert, prop_assert_eq, proptest};

    use super::{Witnesses, different};

    proptest! {
        #[test]
        fn values_of_several_cells_count_once(
            // Few values among many, so that they repeat and stand in each other's way.
            values in prop::collection::vec((0_u32..4, 0_u64..6, 0_u64..40), 0..600),
            enough in 0_u64..300,
        ) {
            let mut panes = vec![Witnesses::default(); 2];
            let mut known = HashSet::new();
            panes.iter_mut().for_each(|pane| (0..2).for_each(|_cell| pane.push()));
            for (at, high, low) in values {
                let hash = high << 20 | low << 40;
                panes[usize::try_from(at / 2).unwrap()].insert(at % 2, hash);
                known.insert(hash);
            }
            let cells: Vec<_> = panes.iter().flat_map(|pane| [(pane, 0), (pane, 1)]).collect();
            let all = u64::try_from(known.len()).unwrap();
            prop_assert_eq!(different(&cells, u64::MAX), all);
            let found = different(&cells, enough);
            prop_assert!(found <= all && (found == all || found >= enough), "{}", found);
        }
    }
}
