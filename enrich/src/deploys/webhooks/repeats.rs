//! Deliveries that were taken.
//!
//! Owns: telling a repeat from something new, within a bound. Never: anything that must hold for
//! ever; an old repeat is harmless, see `webhooks`.

use std::collections::{HashSet, VecDeque};

use sha2::{Digest, Sha256};

/// Deliveries remembered of a sender. With two hashes each and the tables they are 1 MiB.
const DELIVERIES_MAX: usize = 4096;

/// A delivery by its id and by what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Delivery {
    id: Option<[u8; 32]>,
    body: [u8; 32],
}

impl Delivery {
    pub(super) fn of(id: Option<&str>, body: &[u8]) -> Self {
        let hash = |parts: [&[u8]; 2]| {
            let mut hash = Sha256::new();
            parts.iter().for_each(|part| hash.update(part));
            hash.finalize().into()
        };
        Self { id: id.map(|id| hash([b"id ", id.as_bytes()])), body: hash([b"body ", body]) }
    }

    fn hashes(&self) -> impl Iterator<Item = [u8; 32]> {
        self.id.into_iter().chain([self.body])
    }
}

/// The last deliveries.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    known: HashSet<[u8; 32]>,
    order: VecDeque<Delivery>,
}

impl Repeats {
    pub(super) fn knows(&self, delivery: &Delivery) -> bool {
        delivery.hashes().any(|hash| self.known.contains(&hash))
    }

    pub(super) fn note(&mut self, delivery: Delivery) {
        if self.order.len() >= DELIVERIES_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            for hash in oldest.hashes() {
                self.known.remove(&hash);
            }
        }
        self.known.extend(delivery.hashes());
        self.order.push_back(delivery);
    }
}

#[cfg(test)]
mod tests {
    use super::{DELIVERIES_MAX, Delivery, Repeats};

    #[test]
    fn a_delivery_is_known_by_its_id_or_its_body_until_many_others_came() {
        let mut repeats = Repeats::default();
        repeats.note(Delivery::of(Some("1"), b"one"));
        assert!(repeats.knows(&Delivery::of(Some("1"), b"other")));
        assert!(repeats.knows(&Delivery::of(Some("9"), b"one")));
        assert!(!repeats.knows(&Delivery::of(Some("one"), b"1")));
        for n in 0..DELIVERIES_MAX {
            repeats.note(Delivery::of(None, format!("body {n}").as_bytes()));
        }
        assert!(!repeats.knows(&Delivery::of(Some("1"), b"one")));
        assert_eq!(repeats.known.len(), DELIVERIES_MAX);
    }
}
