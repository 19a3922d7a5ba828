//! Whether one of many words may stand in a short text.
//!
//! Owns: a table of the words' first four bytes, asked once a byte. Never: finds out which word it
//! is.
//!
//! Vector searches take a dozen comparisons to begin with and then read 16 or 32 bytes at a time.
//! Paths and names are shorter than that. Here each byte has a number that says of which words it
//! cannot be the first byte, the second, the third and the fourth: four rows of 16 bits, one bit for
//! some words each. What was seen is shifted by a row and joined with the next byte's, so that a bit
//! of the last row stays empty only where four bytes in a row may begin a word of its (Baeza-Yates
//! and Gonnet, "A New Approach to Text Searching": there, too, empty bits are hits, since a shift
//! gives those for nothing).

/// Bits in a row: groups of words.
const GROUPS: u8 = 16;
/// Groups of words of four bytes and more.
const LONG: u8 = 12;
/// Groups of shorter words, whose fourth byte may be any: among the long ones they would open that
/// of all.
const SHORT: u8 = 3;
/// The group of single bytes.
const SINGLE: u64 = 1 << (LONG + SHORT);
const LAST_ROW: u64 = 0xffff << (3 * GROUPS);

/// The first bytes of some words, and some bytes that are told by themselves.
#[derive(Debug)]
pub(crate) struct Grams {
    rows: [u64; 256],
}

/// What was seen so far of a text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Glance {
    /// The rows after the last byte.
    last: u64,
    /// The bits that were full in all rows so far.
    all: u64,
}

impl Default for Glance {
    fn default() -> Self {
        Self { last: u64::MAX, all: u64::MAX }
    }
}

impl Glance {
    /// Whether a word may have begun four bytes before the end or earlier.
    #[inline]
    pub(crate) fn may_hold_word(self) -> bool {
        self.all & LAST_ROW != LAST_ROW
    }

    /// Whether one of the single bytes was there.
    #[inline]
    pub(crate) fn has_byte(self) -> bool {
        self.all & SINGLE == 0
    }
}

#[expect(clippy::indexing_slicing, reason = "made at compile time, where it would not compile")]
impl Grams {
    /// Of no word.
    pub(crate) const fn none() -> Self {
        Self { rows: [u64::MAX; 256] }
    }

    /// With these words, of three bytes at least. Where `folds` says so they are found with capitals
    /// and small letters alike; some other bytes become the same then too, which makes a word
    /// likelier to be found, never less.
    pub(crate) const fn with(mut self, words: &[&str], folds: bool) -> Self {
        let mut word = 0;
        while word < words.len() {
            let bytes = words[word].as_bytes();
            // At most one byte is open, or the rows would fill up.
            assert!(bytes.len() >= 3);
            let first = if folds { fold(bytes[0]) } else { bytes[0] };
            let group = if bytes.len() > 3 { first % LONG } else { LONG + first % SHORT };
            let mut row = 0_u8;
            while row < 4 {
                let at = row as usize;
                let mut byte = 0_u8;
                loop {
                    let is_it = at >= bytes.len()
                        || bytes[at] == byte
                        || folds && fold(bytes[at]) == fold(byte);
                    if is_it {
                        self.rows[byte as usize] &= !(1 << (row * GROUPS + group));
                    }
                    if byte == u8::MAX {
                        break;
                    }
                    byte += 1;
                }
                row += 1;
            }
            word += 1;
        }
        self
    }

    /// And with these single bytes.
    pub(crate) const fn with_bytes(mut self, bytes: &[u8]) -> Self {
        let mut at = 0;
        while at < bytes.len() {
            self.rows[bytes[at] as usize] &= !SINGLE;
            at += 1;
        }
        self
    }

    /// What is seen with one more byte.
    #[inline]
    pub(crate) fn next(&self, seen: Glance, byte: u8) -> Glance {
        let last = seen.last << GROUPS | self.rows[usize::from(byte)];
        Glance { last, all: seen.all & last }
    }

    /// What is seen of a text that stands between two bytes.
    #[inline]
    pub(crate) fn look(&self, before: u8, text: &[u8], after: u8) -> Glance {
        let begun = self.next(Glance::default(), before);
        let seen = text.iter().fold(begun, |seen, byte| self.next(seen, *byte));
        // A word of three bytes may stand at the end.
        self.next(self.next(seen, after), 0)
    }
}

/// A byte without what tells capitals from small letters.
const fn fold(byte: u8) -> u8 {
    byte | 0x20
}

#[cfg(test)]
mod tests {
    use super::{Glance, Grams};

    static MIXED: Grams =
        Grams::none().with(&["key\"", "SG.", "eyJ", "secret"], false).with_bytes(b"?=");
    static FOLDED: Grams = Grams::none().with(&["Server[", "__proto__", "://"], true);

    fn folded(text: &str) -> bool {
        let seen = text.bytes().fold(Glance::default(), |seen, byte| FOLDED.next(seen, byte));
        FOLDED.next(seen, 0).may_hold_word()
    }

    #[test]
    fn folded_words_are_found_in_any_case() {
        for text in ["SERVER[x]", "a=server[", "__PROTO__", "http://x", "://"] {
            assert!(folded(text), "{text}");
        }
        for text in ["", "/v1/users/42", "server", "_proto_"] {
            assert_eq!(folded(text), text == "server", "{text}");
        }
    }

    #[test]
    fn words_are_found_wherever_they_begin_and_little_else() {
        for text in ["key", "a SG.x", "xeyJ", "eyJ", "a-secret-b", "secr"] {
            assert!(MIXED.look(b'"', text.as_bytes(), b'"').may_hold_word(), "{text}");
        }
        for text in ["", "k", "/v1/users/42", "SG", "sec", "message", "KEY"] {
            assert!(!MIXED.look(b'"', text.as_bytes(), b'"').may_hold_word(), "{text}");
        }
    }

    #[test]
    fn single_bytes_are_told_and_begin_no_word() {
        for text in ["?", "a=b", "/v1/search?q"] {
            let seen = MIXED.look(b'"', text.as_bytes(), b'"');
            assert!(seen.has_byte() && !seen.may_hold_word(), "{text}");
        }
        assert!(!MIXED.look(b'"', b"/v1/users", b'"').has_byte());
    }
}
