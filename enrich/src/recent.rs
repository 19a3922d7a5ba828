//! A small memory of what was looked up last, and the cheap hash behind it.
//!
//! Owns: both. Never: hashes that leave the process, or tables that hostile names could fill; a
//! slot here is simply written over, so colliding names cost time and nothing else.

/// Slots: more than the services, environments or methods that take turns in one batch.
const SLOTS: usize = 64;

/// What names gave when they were looked up last.
#[derive(Debug)]
pub(crate) struct Recent<'n, V> {
    slots: [Option<(&'n str, V)>; SLOTS],
}

impl<'n, V: Copy> Recent<'n, V> {
    pub(crate) fn new() -> Self {
        Self { slots: [None; SLOTS] }
    }

    /// What the name gives, looked up only if it is not remembered.
    pub(crate) fn get(&mut self, name: &'n str, look_up: impl FnOnce(&str) -> V) -> V {
        let place = usize::try_from(mixed(name.as_bytes()) >> 58).unwrap_or(0);
        let Some(slot) = self.slots.get_mut(place) else { return look_up(name) };
        match slot {
            Some((known, value)) if *known == name => *value,
            _ => {
                let value = look_up(name);
                *slot = Some((name, value));
                value
            }
        }
    }
}

/// A hash for places in memory: eight bytes at a time, multiplied and folded.
pub(crate) fn mixed(bytes: &[u8]) -> u64 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut hash = ODD ^ u64::try_from(bytes.len()).unwrap_or(0);
    let (chunks, rest) = bytes.as_chunks::<8>();
    for chunk in chunks {
        hash = folded(hash ^ u64::from_le_bytes(*chunk), ODD);
    }
    let mut last = [0; 8];
    for (to, from) in last.iter_mut().zip(rest) {
        *to = *from;
    }
    folded(hash ^ u64::from_le_bytes(last), ODD)
}

/// Both halves of the product, so that every bit of the input reaches every bit.
fn folded(one: u64, other: u64) -> u64 {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] =
        (u128::from(one) * u128::from(other)).to_le_bytes();
    u64::from_le_bytes([a, b, c, d, e, f, g, h]) ^ u64::from_le_bytes([i, j, k, l, m, n, o, p])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{Recent, mixed};

    #[test]
    fn a_name_is_looked_up_once_and_always_right() {
        let names: Vec<String> = (0..500).map(|n| format!("name-{n}")).collect();
        let mut recent = Recent::new();
        let mut looked_up = 0;
        for name in names.iter().chain(&names) {
            for _ in 0..2 {
                let length = recent.get(name, |name| {
                    looked_up += 1;
                    name.len()
                });
                assert_eq!(length, name.len());
            }
        }
        assert!(looked_up <= 2 * names.len(), "{looked_up}");
    }

    #[test]
    fn like_names_are_mixed_apart() {
        let hashes: BTreeSet<u64> = (0..10_000).map(|n| mixed(format!("{n}").as_bytes())).collect();
        assert_eq!(hashes.len(), 10_000);
        let places: BTreeSet<u64> =
            (0..64).map(|n| mixed(format!("s{n}").as_bytes()) >> 58).collect();
        assert!(places.len() > 24, "{}", places.len());
    }
}
