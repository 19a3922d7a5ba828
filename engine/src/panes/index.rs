//! Places by hash.
//!
//! Owns: finding, adding and removing them. Never: what stands at a place; walks in its own order.
//!
//! Open addressing with linear probing over eight bytes a slot. Hashes are keyed and well mixed, so
//! nobody outside can choose where they fall.

/// No place.
const EMPTY: u32 = u32::MAX;
const SLOTS_MIN: usize = 8;

/// Bytes a place takes, between 10.7 just before the table grows and 21.3 just after.
pub(super) const PLACE_BYTES: usize = 16;

#[derive(Debug, Clone, Copy)]
struct Slot {
    tag: u32,
    place: u32,
}

/// A table of places.
#[derive(Debug, Clone, Default)]
pub(super) struct Index {
    /// None, or a power of two, at most three quarters of which are taken.
    slots: Vec<Slot>,
    len: usize,
}

impl Index {
    /// For so many places without growing.
    pub(super) fn for_places(places: usize) -> Self {
        let mut index = Self::default();
        if places > 0 {
            index.resize((places * 4 / 3 + 1).next_power_of_two().max(SLOTS_MIN));
        }
        index
    }

    /// The place under `tag` of which `is` says that it is meant.
    pub(super) fn find(&self, tag: u32, is: impl Fn(u32) -> bool) -> Option<u32> {
        let mask = self.slots.len().wrapping_sub(1);
        let mut at = home(tag, mask);
        while let Some(slot) = self.slots.get(at) {
            if slot.place == EMPTY {
                return None;
            }
            if slot.tag == tag && is(slot.place) {
                return Some(slot.place);
            }
            at = (at + 1) & mask;
        }
        None
    }

    /// The place under `tag`, where it is the first that stands where it belongs.
    pub(super) fn first(&self, tag: u32) -> Option<u32> {
        let slot = self.slots.get(home(tag, self.slots.len().wrapping_sub(1)))?;
        (slot.tag == tag).then_some(slot.place)
    }

    /// Adds a place that is not there yet.
    pub(super) fn insert(&mut self, tag: u32, place: u32) {
        if (self.len + 1) * 4 > self.slots.len() * 3 {
            self.resize((self.slots.len() * 2).max(SLOTS_MIN));
        }
        self.len += 1;
        self.put(Slot { tag, place });
    }

    fn put(&mut self, new: Slot) {
        let mask = self.slots.len().wrapping_sub(1);
        let mut at = home(new.tag, mask);
        while let Some(slot) = self.slots.get_mut(at) {
            if slot.place == EMPTY {
                *slot = new;
                return;
            }
            at = (at + 1) & mask;
        }
    }

    fn resize(&mut self, slots: usize) {
        let empty = Slot { tag: 0, place: EMPTY };
        let old = std::mem::replace(&mut self.slots, vec![empty; slots]);
        for slot in old.into_iter().filter(|slot| slot.place != EMPTY) {
            self.put(slot);
        }
    }

    /// Removes a place, and moves those behind it that belong further to the front.
    pub(super) fn remove(&mut self, tag: u32, place: u32) {
        let mask = self.slots.len().wrapping_sub(1);
        let mut hole = home(tag, mask);
        loop {
            match self.slots.get(hole) {
                None => return,
                Some(slot) if slot.place == EMPTY => return,
                Some(slot) if slot.place == place && slot.tag == tag => break,
                Some(_) => hole = (hole + 1) & mask,
            }
        }
        self.len -= 1;
        let mut at = hole;
        loop {
            at = (at + 1) & mask;
            let next = match self.slots.get(at) {
                Some(slot) if slot.place != EMPTY => *slot,
                _ => break,
            };
            let from_home = at.wrapping_sub(home(next.tag, mask)) & mask;
            let from_hole = at.wrapping_sub(hole) & mask;
            if from_home >= from_hole {
                self.set(hole, next);
                hole = at;
            }
        }
        self.set(hole, Slot { tag: 0, place: EMPTY });
    }

    fn set(&mut self, at: usize, new: Slot) {
        if let Some(slot) = self.slots.get_mut(at) {
            *slot = new;
        }
    }

    #[cfg(test)]
    pub(super) fn heap_bytes(&self) -> usize {
        self.slots.capacity() * size_of::<Slot>()
    }
}

fn home(tag: u32, mask: usize) -> usize {
    crate::rows::place(tag) & mask
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::{prop_assert_eq, proptest};

    use super::Index;

    proptest! {
        #[test]
        fn it_holds_what_a_set_holds(steps in proptest::collection::vec((0_u32..40, 0_u32..7), 1..400)) {
            let tag = |place: u32| place.wrapping_mul(0x9e37_79b1) & !3;
            let (mut index, mut set) = (Index::default(), BTreeSet::new());
            for (place, what) in steps {
                let known = index.find(tag(place), |found| found == place);
                prop_assert_eq!(known, set.get(&place).copied());
                if what < 4 && set.insert(place) {
                    index.insert(tag(place), place);
                } else if what >= 4 && set.remove(&place) {
                    index.remove(tag(place), place);
                }
            }
            for place in 0..40 {
                let known = index.find(tag(place), |found| found == place);
                prop_assert_eq!(known.is_some(), set.contains(&place));
            }
        }
    }
}
