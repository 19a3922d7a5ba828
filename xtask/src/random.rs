//! Numbers that look random and are the same for the same seed.
//!
//! Owns: the generator. Never: secrets.

/// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    /// A sequence of its own for each seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// A number from 0 up to but not including `end`; 0 where `end` is 0. Uneven by less than
    /// `end` / 2^64.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.bits().checked_rem(end).unwrap_or(0)
    }

    /// A number from `low` up to but not including `high`.
    pub(crate) fn between(&mut self, low: i64, high: i64) -> i64 {
        let width = u64::try_from(high.saturating_sub(low)).unwrap_or(0);
        low.saturating_add(i64::try_from(self.below(width)).unwrap_or(0))
    }

    /// True in `percent` of 100 cases.
    pub(crate) fn happens(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One of these. `first` makes sure that there is one.
    pub(crate) fn pick<'a, T: ?Sized>(&mut self, first: &'a T, others: &[&'a T]) -> &'a T {
        let count = u64::try_from(others.len()).unwrap_or(0);
        let at = usize::try_from(self.below(count + 1)).unwrap_or(0);
        at.checked_sub(1).and_then(|at| others.get(at).copied()).unwrap_or(first)
    }
}

#[cfg(test)]
mod tests {
    use super::Random;

    #[test]
    fn the_sequence_is_the_published_one() {
        // The reference implementation's first outputs for seed 1234567.
        let mut random = Random::new(1_234_567);
        assert_eq!(random.bits(), 6_457_827_717_110_365_317);
        assert_eq!(random.bits(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn numbers_keep_to_their_bounds_and_reach_them() {
        let mut random = Random::new(7);
        let seen: Vec<i64> = (0..1000).map(|_| random.between(-2, 3)).collect();
        for expected in -2..3 {
            assert!(seen.contains(&expected), "{expected}");
        }
        assert!(seen.iter().all(|number| (-2..3).contains(number)));
        assert_eq!(random.below(0), 0);
    }
}
