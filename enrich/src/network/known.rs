//! A memory of addresses.
//!
//! Owns: finding an address again with one reach into memory. Never: what its number stands for.
//!
//! Two addresses share a bucket; a third pushes out the one that came first. So a busy API with more
//! callers than there is room for loses a few, and never all at once.

use std::net::IpAddr;

use crate::recent::mixed;

/// Buckets: of 16 bytes each, 2 MiB for a quarter of a million callers.
const BUCKETS_V4: usize = 1 << 17;
/// Buckets of 64 bytes each: 2 MiB too, once there is any such caller.
const BUCKETS_V6: usize = 1 << 15;

/// No number: nothing has as many places.
const NONE: u32 = u32::MAX;

/// Numbers by address.
#[derive(Debug, Default)]
pub(super) struct Known {
    v4: Vec<[(u32, u32); 2]>,
    v6: Vec<[(u128, u32); 2]>,
}

impl Known {
    /// The number of an address.
    #[inline]
    pub(super) fn get(&self, address: IpAddr) -> Option<u32> {
        match address {
            IpAddr::V4(v4) => find(&self.v4, place(&v4.octets(), BUCKETS_V4), v4.to_bits()),
            IpAddr::V6(v6) => find(&self.v6, place(&v6.octets(), BUCKETS_V6), v6.to_bits()),
        }
    }

    /// Keeps the number of an address that has none.
    pub(super) fn put(&mut self, address: IpAddr, number: u32) {
        match address {
            IpAddr::V4(v4) => {
                self.v4.resize(BUCKETS_V4, [(0, NONE); 2]);
                push(&mut self.v4, place(&v4.octets(), BUCKETS_V4), (v4.to_bits(), number));
            }
            IpAddr::V6(v6) => {
                self.v6.resize(BUCKETS_V6, [(0, NONE); 2]);
                push(&mut self.v6, place(&v6.octets(), BUCKETS_V6), (v6.to_bits(), number));
            }
        }
    }
}

fn place(octets: &[u8], buckets: usize) -> usize {
    usize::try_from(mixed(octets)).unwrap_or(0) % buckets
}

#[inline]
fn find<K: Copy + Eq>(buckets: &[[(K, u32); 2]], at: usize, key: K) -> Option<u32> {
    let bucket = buckets.get(at)?;
    bucket.iter().find(|(of, number)| *of == key && *number != NONE).map(|(_, number)| *number)
}

fn push<K: Copy>(buckets: &mut [[(K, u32); 2]], at: usize, entry: (K, u32)) {
    if let Some([first, second]) = buckets.get_mut(at) {
        *second = *first;
        *first = entry;
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use super::{BUCKETS_V4, Known};

    fn addresses(count: u32) -> impl Iterator<Item = (IpAddr, u32)> {
        let spread = |number: u32| number.wrapping_mul(2_654_435_769);
        (0..count).map(move |number| match number % 4 {
            0 => (IpAddr::V6(Ipv6Addr::from_bits(u128::from(spread(number)) << 64)), number),
            _ => (IpAddr::V4(Ipv4Addr::from_bits(spread(number))), number),
        })
    }

    #[test]
    fn an_address_is_found_with_its_number_or_not_at_all() {
        let mut known = Known::default();
        assert_eq!(known.get(IpAddr::V4(Ipv4Addr::UNSPECIFIED)), None);
        let far_too_many = u32::try_from(BUCKETS_V4).unwrap() * 4;
        for (address, number) in addresses(far_too_many) {
            assert_eq!(known.get(address), None);
            known.put(address, number);
            assert_eq!(known.get(address), Some(number));
        }
        let all = || addresses(far_too_many).map(|(address, number)| (known.get(address), number));
        assert!(all().all(|(found, number)| found.is_none_or(|found| found == number)));
        let found = all().filter(|(found, _)| found.is_some()).count();
        assert!(found > BUCKETS_V4, "{found}: most of what there is room for");
    }

    #[test]
    fn nine_of_ten_of_a_hundred_thousand_callers_are_remembered() {
        let mut known = Known::default();
        let callers = || addresses(400_000).filter(|(address, _)| address.is_ipv4()).take(100_000);
        callers().for_each(|(address, number)| known.put(address, number));
        let found = callers().filter(|(address, _)| known.get(*address).is_some()).count();
        assert!(found > 90_000, "{found}");
    }
}
