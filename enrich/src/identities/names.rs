//! A table of names that are looked up once an event.
//!
//! Owns: finding a name among many thousands with one reach into memory. Never: what it stands
//! for.
//!
//! The key is a hash of 128 bits under a key of this process, so that neither the names nor their
//! lengths are looked at again: two of a million names share one with a chance of one in 10²⁶, and
//! nobody outside can make two that do.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};

use siphasher::sip128::SipHasher13;

/// Values by name.
#[derive(Debug)]
pub(super) struct Names<V> {
    keys: [u64; 2],
    values: HashMap<u128, V, BuildHasherDefault<AsItIs>>,
}

/// The key is a hash already.
#[derive(Debug, Default)]
pub(super) struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u128(&mut self, hash: u128) {
        let [a, b, c, d, e, f, g, h, ..] = hash.to_le_bytes();
        self.0 = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
    }
}

impl<V> Default for Names<V> {
    fn default() -> Self {
        let random = RandomState::new();
        let keys = [random.hash_one(0_u8), random.hash_one(1_u8)];
        Self { keys, values: HashMap::default() }
    }
}

impl<V> Names<V> {
    /// The key of a name in this table.
    pub(super) fn key(&self, name: &str) -> u128 {
        let [first, second] = self.keys;
        SipHasher13::new_with_keys(first, second).hash(name.as_bytes()).as_u128()
    }

    pub(super) fn insert(&mut self, name: &str, value: V) {
        self.values.insert(self.key(name), value);
    }

    pub(super) fn get(&self, key: u128) -> Option<&V> {
        self.values.get(&key)
    }

    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.values.is_empty()
    }
}
