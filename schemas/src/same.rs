//! Short texts, compared.
//!
//! Owns: whether two are the same. Never: what they mean.

/// Whether two short texts are the same, for those who compare very many. Eight bytes at a time, the
/// last of them twice where they do not come out even: keys and codes are too short for a call of
/// `memcmp` to be worth it.
#[must_use]
#[inline]
pub fn same(one: &[u8], other: &[u8]) -> bool {
    fn ends<const N: usize>(one: &[u8], other: &[u8]) -> bool {
        one.first_chunk::<N>() == other.first_chunk::<N>()
            && one.last_chunk::<N>() == other.last_chunk::<N>()
    }
    one.len() == other.len()
        && match one.len() {
            0..2 => one.first() == other.first(),
            2..4 => ends::<2>(one, other),
            4..8 => ends::<4>(one, other),
            _ => {
                let ((ones, _), (others, _)) = (one.as_chunks::<8>(), other.as_chunks::<8>());
                one.last_chunk::<8>() == other.last_chunk::<8>() && ones.iter().eq(others)
            }
        }
}

#[cfg(test)]
mod tests {
    use super::same;

    #[test]
    fn texts_of_any_length_are_told_apart_by_any_byte() {
        let text = b"0123456789abcdefghijklmnopqrstuvwxyz";
        for len in 0..=text.len() {
            let one = text.get(..len).unwrap();
            let mut other = one.to_vec();
            assert!(same(one, &other) && !same(one, &text[..(len + 1) % 37]), "{len}");
            for at in 0..len {
                other[at] ^= 1;
                assert!(!same(one, &other), "byte {at} of {len}");
                other[at] ^= 1;
            }
        }
    }
}
