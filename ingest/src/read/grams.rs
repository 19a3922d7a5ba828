//! Whether one of many words may stand in a short text.
//!
//! Owns: a set of the words' first bytes, asked once a byte. Never: finds out which word it is.
//!
//! Vector searches take a dozen comparisons to begin with and then read 16 or 32 bytes at a time.
//! Paths and names are shorter than that.

/// Bits of the set. Of 64 words one place in a thousand is taken for a beginning that is none.
const BITS: usize = 1 << 16;
/// Bits in a word of the set.
const WORD: usize = 64;

/// The first bytes of some words, three or four of each.
#[derive(Debug)]
pub(crate) struct Grams<const LEN: usize> {
    bits: [u64; BITS / WORD],
}

impl<const LEN: usize> Grams<LEN> {
    /// Of no word.
    pub(crate) const fn none() -> Self {
        Self { bits: [0; BITS / WORD] }
    }

    /// With these words, whose bytes are folded by [`fold`] where `folds` says so; then those that
    /// are looked at must be too. A word that is shorter counts with every byte behind it.
    #[expect(clippy::indexing_slicing, reason = "made at compile time, where it would not compile")]
    pub(crate) const fn with(mut self, words: &[&str], folds: bool) -> Self {
        let mut word = 0;
        while word < words.len() {
            let bytes = words[word].as_bytes();
            // At most one byte is open, or the set would fill up.
            assert!(bytes.len() + 1 >= LEN);
            let (mut window, mut at) = (0, 0);
            while at < LEN && at < bytes.len() {
                let byte = if folds { fold(bytes[at]) } else { bytes[at] };
                window = window << 8 | byte as u32;
                at += 1;
            }
            let open = at < LEN;
            let mut last = 0;
            while last == 0 || open && last < 256 {
                let place = place(if open { window << 8 | last } else { window });
                self.bits[place / WORD] |= 1 << (place % WORD);
                last += 1;
            }
            word += 1;
        }
        self
    }

    /// Whether a word may begin in `text`, which stands between two bytes.
    #[inline]
    pub(crate) fn any(&self, before: u8, text: &[u8], after: u8) -> bool {
        let mut found = false;
        let mut window = u32::from(before);
        for byte in text.iter().chain([&after]) {
            window = self.next(window, *byte);
            found |= self.holds(window);
        }
        found
    }

    /// The last bytes seen, with one more.
    #[inline]
    pub(crate) fn next(&self, window: u32, byte: u8) -> u32 {
        let mask = if LEN >= 4 { u32::MAX } else { (1 << (8 * LEN)) - 1 };
        (window << 8 | u32::from(byte)) & mask
    }

    /// Whether a word may begin with these bytes.
    #[inline]
    pub(crate) fn holds(&self, window: u32) -> bool {
        let place = place(window);
        self.bits.get(place / WORD).is_some_and(|bits| bits >> (place % WORD) & 1 == 1)
    }
}

/// A byte without what tells capitals from small letters. Other bytes become the same too, which
/// makes a word likelier to be found, never less.
pub(crate) const fn fold(byte: u8) -> u8 {
    byte | 0x20
}

#[inline]
const fn place(window: u32) -> usize {
    (window.wrapping_mul(0x9e37_79b1) >> 16) as usize
}

#[cfg(test)]
mod tests {
    use super::{Grams, fold};

    const THREE: Grams<3> = Grams::none().with(&["key\""], false).with(&["SG.", "eyJ"], false);
    const FOUR: Grams<4> = Grams::none().with(&["select+", "://"], false);

    #[test]
    fn folded_words_are_found_in_any_case() {
        const FOLDED: Grams<4> = Grams::none().with(&["Server[", "__proto__"], true);
        for text in ["SERVER[x]", "a=server[", "__PROTO__"] {
            let folded: Vec<u8> = text.bytes().map(fold).collect();
            assert!(FOLDED.any(0, &folded, 0), "{text}");
        }
        let folded: Vec<u8> = "/v1/users/42".bytes().map(fold).collect();
        assert!(!FOLDED.any(0, &folded, 0));
    }

    #[test]
    fn words_are_found_wherever_they_begin_and_little_else() {
        for text in ["key", "a SG.x", "xeyJ", "eyJ"] {
            assert!(THREE.any(b'"', text.as_bytes(), b'"'), "{text}");
        }
        for text in ["a=select+1", "http://x", "://"] {
            assert!(FOUR.any(b' ', text.as_bytes(), b' '), "{text}");
        }
        for text in ["", "k", "/v1/users/42", "SG", "sel", "server"] {
            assert!(!THREE.any(b'"', text.as_bytes(), b'"'), "{text}");
            assert!(!FOUR.any(b' ', text.as_bytes(), b' '), "{text}");
        }
    }
}
