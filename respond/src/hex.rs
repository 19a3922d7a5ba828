//! Bytes as lower-case hexadecimal digits.
//!
//! Owns: the writing. Never: reads any.

/// Two digits for each byte.
pub(crate) fn hex(bytes: impl IntoIterator<Item = u8>) -> String {
    bytes
        .into_iter()
        .flat_map(|byte| [byte >> 4, byte & 0xf])
        .filter_map(|nibble| char::from_digit(u32::from(nibble), 16))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::hex;

    #[test]
    fn every_byte_gives_two_digits() {
        assert_eq!(hex([0, 1, 0xab, 0xff]), "0001abff");
    }
}
