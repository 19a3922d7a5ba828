//! How many rows keys had that were given up.
//!
//! Owns: counts that are never too small, in a fixed number of bytes. Never: which keys.
//!
//! A count-min sketch (Cormode and Muthukrishnan 2005) for each half of the longest window in which
//! keys were given up. A count may be too great, since keys share places; so a key that comes back
//! fires no later than it would have, and perhaps without cause.

use crate::key::low;
use crate::wire::{Reader, WireError, Writer};

/// Each key has so many places, and its count is the least of them.
const DEPTH: usize = 2;
/// Of a unit's budget each generation may have one part in so many; three count at a time.
const SHARE: usize = 8;
/// A count that has come so far is taken for as great as can be.
const FULL: u16 = u16::MAX;

/// The generations of a unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sketch {
    /// Panes in a generation.
    half: i64,
    /// Places in each row of a generation: a power of two.
    width: usize,
    /// Ascending.
    generations: Vec<Generation>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Generation {
    /// No window from this pane on holds what is counted here.
    end: i64,
    /// Row after row.
    counts: Vec<u16>,
}

impl Sketch {
    /// For windows of at most so many panes, and a budget.
    pub(super) fn new(panes_max: i64, bytes_max: usize) -> Self {
        let places = bytes_max / SHARE / DEPTH / size_of::<u16>();
        // The power of two at or below.
        let width = (places / 2 + 1).next_power_of_two();
        Self { half: (panes_max / 2).max(1), width, generations: Vec::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.generations.is_empty()
    }

    /// Adds rows of a key that is given up when its unit has come to pane `at`.
    pub(super) fn add(&mut self, key: u128, rows: u64, at: i64) {
        let end = at.div_euclid(self.half).saturating_add(1).saturating_mul(self.half);
        let place = match self.generations.binary_search_by_key(&end, |one| one.end) {
            Ok(found) => found,
            Err(place) => {
                let counts = vec![0; self.width * DEPTH];
                self.generations.insert(place, Generation { end, counts });
                place
            }
        };
        let Some(generation) = self.generations.get_mut(place) else { return };
        let rows = u16::try_from(rows).unwrap_or(FULL);
        for place in places(key, generation.counts.len()) {
            if let Some(count) = generation.counts.get_mut(place) {
                *count = count.saturating_add(rows);
            }
        }
    }

    /// Rows at most that a key had, of those given up that window `k` may hold.
    pub(super) fn estimate(&self, key: u128, k: i64) -> u64 {
        let held = self.generations.iter().filter(|one| one.end > k);
        let of = |one: &Generation| {
            let counts = places(key, one.counts.len()).filter_map(|at| one.counts.get(at).copied());
            match counts.min() {
                None => 0,
                Some(FULL) => u64::from(u32::MAX),
                Some(rows) => u64::from(rows),
            }
        };
        held.map(of).sum()
    }

    /// What no window from `k` on holds goes.
    pub(super) fn forget(&mut self, k: i64) {
        self.generations.retain(|one| one.end > k);
    }

    pub(super) fn bytes(&self) -> usize {
        self.generations.iter().map(|one| one.counts.len() * size_of::<u16>()).sum()
    }

    pub(super) fn write(&self, out: &mut Writer) {
        out.len(self.generations.len());
        for one in &self.generations {
            out.put(&one.end);
            out.len(one.counts.len());
            one.counts.iter().for_each(|count| out.raw(&count.to_le_bytes()));
        }
    }

    pub(super) fn read(&mut self, from: &mut Reader<'_>) -> Result<(), WireError> {
        let malformed = || WireError::Malformed { what: "counts of keys given up" };
        for _one in 0..from.count("generations")? {
            let end = from.get()?;
            let length = from.len("a generation")?;
            let bytes = from.take(length.saturating_mul(2), "a generation")?;
            let (counts, _) = bytes.as_chunks::<2>();
            let counts: Vec<u16> = counts.iter().map(|pair| u16::from_le_bytes(*pair)).collect();
            let ascends = self.generations.last().is_none_or(|last| last.end < end);
            if !ascends || !(counts.len() / DEPTH).is_power_of_two() {
                return Err(malformed());
            }
            self.generations.push(Generation { end, counts });
        }
        Ok(())
    }
}

/// The places of a key among so many counts, one in each row. The hash is keyed.
fn places(key: u128, counts: usize) -> impl Iterator<Item = usize> {
    let width = counts / DEPTH;
    let halves = [low(key), low(key >> 64)];
    halves.into_iter().enumerate().map(move |(row, half)| {
        row * width + (usize::try_from(half >> 16).unwrap_or_default() & (width - 1))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::{prop_assert, proptest};

    use super::Sketch;
    use crate::key::HashKey;
    use crate::wire::{Reader, Writer};

    #[test]
    fn what_is_counted_ends_where_it_did_when_windows_have_another_length() {
        let key = HashKey::PUBLISHED.hash(b"k");
        for (before, after) in [(30, 6), (6, 30)] {
            let mut sketch = Sketch::new(before, 4_096);
            sketch.add(key, 19, 1_000);
            let mut out = Writer::default();
            sketch.write(&mut out);
            let mut sketch = Sketch::new(after, 4_096);
            sketch.read(&mut Reader::new(&out.bytes)).unwrap();
            sketch.forget(1_000);
            assert_eq!(sketch.estimate(key, 1_000), 19, "{before} to {after}");
            sketch.forget(1_000 + before);
            assert!(sketch.is_empty(), "{before} to {after}");
        }
    }

    proptest! {
        #[test]
        fn no_count_is_too_small_as_long_as_a_window_may_hold_it(
            given_up in proptest::collection::vec((0_u8..200, 1_u64..300, 0_i64..30), 0..300),
        ) {
            let key = |name: u8| HashKey::PUBLISHED.hash(&[name]);
            let mut sketch = Sketch::new(6, 4_096);
            let mut exact: BTreeMap<(u8, i64), u64> = BTreeMap::new();
            for (name, rows, at) in given_up {
                sketch.add(key(name), rows, at);
                *exact.entry((name, at)).or_default() += rows;
            }
            for k in 0..30 {
                sketch.forget(k);
                for name in 0..200 {
                    let held: u64 = exact.range((name, k)..=(name, i64::MAX)).map(|(_, n)| n).sum();
                    prop_assert!(sketch.estimate(key(name), k) >= held, "{} in {}", name, k);
                }
            }
            prop_assert!(sketch.bytes() <= 4_096 / 8 * 11);
        }
    }
}
