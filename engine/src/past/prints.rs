//! When each combination was seen last.
//!
//! Owns: the fingerprints of one rule, at 12 to 16 bytes each. Never: events, learning.
//!
//! Two sorted columns, and beside them what came since they were sorted, which is at most an eighth
//! of them. The form is a function of the calls, and survives being written and read: what is
//! forgotten for want of room depends on nothing else.

use std::collections::HashMap;

use crate::key::ByHash;
use crate::wire::{Reader, WireError, Writer};

/// What came since sorting may be this many, or an eighth of what is sorted.
const FRESH_MIN: usize = 1_024;
const FRESH_SHARE: usize = 8;
/// Bytes of a sorted fingerprint.
pub(super) const ENTRY_BYTES: usize = 12;
/// Bytes that one that is not sorted in yet is counted as.
const FRESH_BYTES: usize = 32;
/// Where there is no more room, a quarter goes.
const GOES: usize = 4;

/// Fingerprints of combinations with the last minute in which each was seen.
#[derive(Debug, Default)]
pub(super) struct Prints {
    /// Ascending.
    sorted: Vec<u64>,
    minutes: Vec<i32>,
    fresh: HashMap<u64, i32, ByHash>,
}

impl Prints {
    pub(super) fn len(&self) -> usize {
        self.sorted.len() + self.fresh.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.sorted.len() * ENTRY_BYTES + self.fresh.len() * FRESH_BYTES
    }

    /// The last minute in which a combination was seen.
    pub(super) fn get(&self, print: u64) -> Option<i32> {
        match self.sorted.binary_search(&print) {
            Ok(place) => self.minutes.get(place).copied(),
            Err(_place) => self.fresh.get(&print).copied(),
        }
    }

    /// It was seen in a minute; what was seen last before `forget` may go.
    pub(super) fn see(&mut self, print: u64, minute: i32, forget: i32) {
        if let Ok(place) = self.sorted.binary_search(&print) {
            if let Some(last) = self.minutes.get_mut(place) {
                *last = minute.max(*last);
            }
            return;
        }
        let last = self.fresh.entry(print).or_insert(minute);
        *last = minute.max(*last);
        if self.fresh.len() > FRESH_MIN.max(self.sorted.len() / FRESH_SHARE) {
            self.sort_in(forget);
        }
    }

    fn sort_in(&mut self, forget: i32) {
        let mut fresh = self.drain_fresh().into_iter().peekable();
        let old =
            std::mem::take(&mut self.sorted).into_iter().zip(std::mem::take(&mut self.minutes));
        let mut put = |(print, minute): (u64, i32)| {
            if minute >= forget {
                self.sorted.push(print);
                self.minutes.push(minute);
            }
        };
        for entry in old {
            while let Some(before) = fresh.next_if(|(print, _)| *print < entry.0) {
                put(before);
            }
            put(entry);
        }
        fresh.for_each(put);
        self.sorted.shrink_to(self.sorted.len() + self.sorted.len() / FRESH_SHARE);
        self.minutes.shrink_to(self.minutes.len() + self.minutes.len() / FRESH_SHARE);
    }

    fn drain_fresh(&mut self) -> Vec<(u64, i32)> {
        let mut fresh: Vec<(u64, i32)> = self.fresh.drain().collect();
        fresh.sort_unstable();
        fresh
    }

    /// Makes room where there are more than `most`: first what may go anyway, then those that were
    /// seen the longest ago. Gives how many of these went, and the last minute of theirs.
    pub(super) fn make_room(&mut self, most: usize, forget: i32) -> Option<(usize, i32)> {
        if self.len() <= most {
            return None;
        }
        self.sort_in(forget);
        let goes = self.len() / GOES;
        if self.len() <= most || goes == 0 {
            return None;
        }
        let mut order: Vec<(i32, u64)> =
            self.minutes.iter().copied().zip(self.sorted.iter().copied()).collect();
        let (_, first_kept, _) = order.select_nth_unstable(goes);
        let first_kept = *first_kept;
        let old =
            std::mem::take(&mut self.sorted).into_iter().zip(std::mem::take(&mut self.minutes));
        for (print, minute) in old {
            if (minute, print) >= first_kept {
                self.sorted.push(print);
                self.minutes.push(minute);
            }
        }
        Some((goes, first_kept.0))
    }

    pub(super) fn write(&self, out: &mut Writer) {
        out.put(&self.sorted);
        out.put(&self.minutes);
        let mut fresh: Vec<(u64, i32)> =
            self.fresh.iter().map(|(print, minute)| (*print, *minute)).collect();
        fresh.sort_unstable();
        out.put(&fresh);
    }

    pub(super) fn read(from: &mut Reader<'_>) -> Result<Self, WireError> {
        let (sorted, minutes): (Vec<u64>, Vec<i32>) = (from.get()?, from.get()?);
        let fresh: Vec<(u64, i32)> = from.get()?;
        let is_known = |(print, _): &(u64, i32)| sorted.binary_search(print).is_ok();
        let sound = sorted.len() == minutes.len()
            && sorted.is_sorted_by(|a, b| a < b)
            && fresh.is_sorted_by(|a, b| a.0 < b.0);
        if !sound || fresh.iter().any(is_known) {
            return Err(WireError::Malformed { what: "what was seen" });
        }
        Ok(Self { sorted, minutes, fresh: fresh.into_iter().collect() })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

    use super::{FRESH_MIN, Prints};
    use crate::wire::{Reader, Writer};

    fn written(prints: &Prints) -> Vec<u8> {
        let mut out = Writer::default();
        prints.write(&mut out);
        out.bytes
    }

    proptest! {
        #[test]
        fn it_is_a_map_to_the_last_minute_through_restarts(
            seen in proptest::collection::vec((0_u64..4_000, 0_i32..50, 0_u8..250), 1..6_000),
        ) {
            let (mut prints, mut map) = (Prints::default(), BTreeMap::new());
            for (print, minute, dice) in seen {
                let print = print.wrapping_mul(0x9e37_79b9_7f4a_7c15);
                prints.see(print, minute, 0);
                let last = map.entry(print).or_insert(minute);
                *last = minute.max(*last);
                if dice == 0 {
                    let bytes = written(&prints);
                    prints = Prints::read(&mut Reader::new(&bytes)).unwrap();
                    prop_assert_eq!(written(&prints), bytes);
                }
            }
            prop_assert_eq!(prints.len(), map.len());
            for (print, minute) in map {
                prop_assert_eq!(prints.get(print), Some(minute));
            }
            prop_assert!(prints.fresh.len() <= FRESH_MIN);
        }
    }

    #[test]
    fn what_was_seen_the_longest_ago_makes_room() {
        let mut prints = Prints::default();
        for print in 0..100_u64 {
            prints.see(print, i32::try_from(print % 10).unwrap(), 0);
        }
        assert_eq!(prints.make_room(100, 0), None);
        assert_eq!(prints.make_room(99, 0), Some((25, 2)), "minutes 0 and 1, and half of 2");
        assert_eq!((prints.len(), prints.get(31), prints.get(92)), (75, None, Some(2)));
        assert_eq!(prints.make_room(10, 9), None, "what may go anyway is enough");
        assert_eq!((prints.len(), prints.get(98), prints.get(99)), (10, None, Some(9)));
    }

    #[test]
    fn a_hundred_thousand_take_twelve_to_sixteen_bytes_each() {
        let mut prints = Prints::default();
        for n in 0..100_000_u64 {
            prints.see(n.wrapping_mul(0x9e37_79b9_7f4a_7c15), 0, 0);
        }
        let each = prints.bytes() as f64 / 100_000.0;
        assert!((12.0..16.0).contains(&each), "{each} B");
    }

    #[test]
    fn what_does_not_fit_together_is_not_read() {
        for (sorted, minutes, fresh) in [
            (vec![2_u64, 1], vec![0_i32, 0], vec![]),
            (vec![1], vec![], vec![]),
            (vec![1], vec![0], vec![(1_u64, 0_i32)]),
            (vec![], vec![], vec![(2, 0), (1, 0)]),
        ] {
            let mut out = Writer::default();
            out.put(&sorted);
            out.put(&minutes);
            out.put(&fresh);
            assert!(Prints::read(&mut Reader::new(&out.bytes)).is_err());
        }
    }
}
