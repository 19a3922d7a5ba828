//! Keys of rules.
//!
//! Owns: canonical bytes of a key, their keyed hash, the exchange partition they belong to.
//! Never: an unkeyed hash: callers choose what goes into a key.

use std::hash::{BuildHasherDefault, Hasher};

use arrow::array::ArrayRef;
use siphasher::sip128::{Hasher128, SipHasher24};

use crate::cell;

/// What keys are made from and told apart by. No text is hashed to the same under an installation's
/// secret: this is none.
const DERIVED: &[u8] = b"\xfftidegate: key of hashes of rule keys";
const CHECK: &[u8] = b"\xfftidegate: check of a key";

/// The key of the hash. An installation makes its own, the same for all its instances, so that
/// nobody outside can aim at one exchange partition.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct HashKey(pub [u8; 16]);

impl HashKey {
    /// For replays and tests, where no one aims.
    pub const PUBLISHED: Self = Self(*b"tidegate/keyhash");

    /// An installation's own, of its secret.
    #[must_use]
    pub fn derived(secret: [u8; 16]) -> Self {
        Self(Self(secret).hash(DERIVED).to_le_bytes())
    }

    /// Tells one key from another, and shows nothing of it.
    #[must_use]
    pub fn check(self) -> String {
        format!("{:016x}", low(self.hash(CHECK)))
    }

    /// The name of something whose state is found by hashes under this key: what another key has
    /// made is of something else.
    pub(crate) fn own(self, name: &str) -> String {
        if self == Self::PUBLISHED { name.to_owned() } else { format!("{name}@{}", self.check()) }
    }

    /// The identity of a key: 128 bits of SipHash-2-4 over its canonical bytes.
    #[must_use]
    pub fn hash(self, key: &[u8]) -> u128 {
        let mut hasher = SipHasher24::new_with_key(&self.0);
        hasher.write(key);
        hasher.finish128().as_u128()
    }
}

impl std::fmt::Debug for HashKey {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("HashKey(…)")
    }
}

/// The lower half of a keyed hash.
pub(crate) fn low(hash: u128) -> u64 {
    u64::try_from(hash & u128::from(u64::MAX)).unwrap_or_default()
}

/// Takes hashes that are already keyed and mixed.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Mixed(u64);

impl Hasher for Mixed {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for part in bytes.chunks(8) {
            let mut whole = [0; 8];
            whole.iter_mut().zip(part).for_each(|(to, from)| *to = *from);
            self.0 ^= u64::from_le_bytes(whole);
        }
    }
    fn write_u64(&mut self, hash: u64) {
        self.0 ^= hash;
    }
}

/// For maps by keyed hashes, which need no other.
pub(crate) type ByHash = BuildHasherDefault<Mixed>;

/// The exchange partition of a key: the upper half of its hash, modulo their number.
#[must_use]
pub fn exchange_partition(hash: u128, partitions: u32) -> u32 {
    let upper = hash >> 64;
    u32::try_from(upper % u128::from(partitions.max(1))).unwrap_or_default()
}

/// Writes the canonical bytes of the key in `columns` at `row`. False where a part is absent,
/// so that there is no key.
pub(crate) fn write_key(columns: &[&ArrayRef], row: usize, out: &mut Vec<u8>) -> bool {
    out.clear();
    columns.iter().all(|column| cell::canonical(column.as_ref(), row, out))
}

#[cfg(test)]
mod tests {
    use super::{HashKey, exchange_partition};

    #[test]
    fn a_derived_key_is_of_its_secret_alone_and_shows_neither() {
        let (one, other) = (HashKey::derived([1; 16]), HashKey::derived([2; 16]));
        assert!(one == HashKey::derived([1; 16]) && one != other && one != HashKey([1; 16]));
        assert_ne!(one.check(), other.check());
        assert_eq!(format!("{one:?}"), "HashKey(…)");
        assert_eq!(HashKey::PUBLISHED.own("x"), "x");
        assert_eq!(one.own("x"), format!("x@{}", one.check()));
    }

    #[test]
    fn a_key_keeps_its_place_and_another_hash_key_moves_it() {
        let hash = HashKey::PUBLISHED.hash(b"t\x03\0\0\0\0\0\0\0ann");
        assert_eq!(hash, 218_456_789_160_031_094_404_218_981_424_123_563_462, "published");
        assert_ne!(hash, HashKey([7; 16]).hash(b"t\x03\0\0\0\0\0\0\0ann"));
        assert!(exchange_partition(hash, 5) < 5);
        assert_eq!(exchange_partition(hash, 1), 0);
        assert_eq!(exchange_partition(u128::from(u64::MAX), 3), 0, "only the upper half counts");
    }
}
