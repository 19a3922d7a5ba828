//! A hash for look-ups within a batch.
//!
//! Owns: hashing texts fast under a key that nobody outside knows. Never: anything that is
//! written, sent or ordered: another process hashes differently.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::LazyLock;

/// Drawn once a process.
static KEY: LazyLock<(u64, u64)> =
    LazyLock::new(|| (RandomState::new().hash_one(1_u8), RandomState::new().hash_one(2_u8)));

/// Makes [`Keyed`] hashers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ByText(u64, u64);

impl Default for ByText {
    fn default() -> Self {
        let (first, second) = *KEY;
        Self(first, second)
    }
}

impl BuildHasher for ByText {
    type Hasher = Keyed;
    fn build_hasher(&self) -> Keyed {
        Keyed { state: self.0, key: self.1 | 1 }
    }
}

/// Multiplies and folds, eight bytes at a time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Keyed {
    state: u64,
    key: u64,
}

impl Keyed {
    fn mix(&mut self, word: u64) {
        let product = u128::from(self.state ^ word) * u128::from(self.key);
        let [low, high] = halves(product);
        self.state = low ^ high;
    }
}

fn halves(product: u128) -> [u64; 2] {
    let low = u64::try_from(product & u128::from(u64::MAX)).unwrap_or_default();
    [low, u64::try_from(product >> 64).unwrap_or_default()]
}

impl Hasher for Keyed {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.mix(u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        // The length tells "a" from "a\0".
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.mix(u64::from_le_bytes(last) ^ length.rotate_left(56));
    }
    fn write_u8(&mut self, byte: u8) {
        self.mix(byte.into());
    }
    fn write_u32(&mut self, word: u32) {
        self.mix(word.into());
    }
    fn write_u64(&mut self, word: u64) {
        self.mix(word);
    }
    fn write_usize(&mut self, word: usize) {
        self.mix(u64::try_from(word).unwrap_or(u64::MAX));
    }
    fn finish(&self) -> u64 {
        let [low, high] = halves(u128::from(self.state) * u128::from(self.key.rotate_left(32) | 1));
        low ^ high
    }
}
