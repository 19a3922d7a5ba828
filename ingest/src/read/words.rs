//! Words of a text line: up to a space, between quotes, between brackets.
//!
//! Owns: where a word begins and ends. Never: what it is for.

use memchr::{memchr, memchr2};

/// A set of bytes, to be asked byte by byte.
#[derive(Debug)]
pub(crate) struct Bytes([bool; 256]);

impl Bytes {
    /// Of these.
    #[expect(clippy::indexing_slicing, reason = "a table of all bytes, made at compile time")]
    pub(crate) const fn of(bytes: &[u8]) -> Self {
        let mut table = [false; 256];
        let mut place = 0;
        while place < bytes.len() {
            table[bytes[place] as usize] = true;
            place += 1;
        }
        Self(table)
    }

    #[inline]
    fn has(&self, byte: u8) -> bool {
        self.0.get(usize::from(byte)).copied().unwrap_or(false)
    }

    /// Whether a text has no others.
    #[inline]
    pub(crate) fn are_all_of(&self, text: &str) -> bool {
        // Eight at a time: one branch for each byte costs more than the look at it.
        let (eights, rest) = text.as_bytes().as_chunks::<8>();
        let all = |bytes: &[u8]| bytes.iter().fold(true, |all, byte| all & self.has(*byte));
        eights.iter().all(|eight| all(eight)) && all(rest)
    }

    /// The same, where `has` says of a byte what the table says: long texts are then looked at sixteen
    /// bytes at a time, as vectors can.
    #[inline]
    pub(crate) fn are_all_of_by(&self, text: &str, has: impl Fn(u8) -> bool) -> bool {
        let bytes = text.as_bytes();
        let Some(last) = bytes.last_chunk::<16>() else { return self.are_all_of(text) };
        let (chunks, rest) = bytes.as_chunks::<16>();
        let all = |chunk: &[u8; 16]| chunk.iter().fold(true, |all, byte| all & has(*byte));
        chunks.iter().all(all) && (rest.is_empty() || all(last))
    }

    /// Where the first of them stands.
    #[inline]
    pub(crate) fn first_of(&self, text: &str) -> Option<usize> {
        text.bytes().position(|byte| self.has(byte))
    }
}

/// What is left of a line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Words<'a> {
    rest: &'a str,
}

impl<'a> Words<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { rest: text }
    }

    /// All that was not taken yet.
    pub(crate) fn rest(self) -> &'a str {
        self.rest
    }

    /// Takes spaces.
    pub(crate) fn space(&mut self) {
        while let Some(rest) = self.rest.strip_prefix(' ') {
            self.rest = rest;
        }
    }

    /// Takes exactly this.
    pub(crate) fn literal(&mut self, text: &str) -> Option<()> {
        self.rest = self.rest.strip_prefix(text)?;
        Some(())
    }

    /// Takes up to the next space and the space, or to the end; never nothing.
    pub(crate) fn word(&mut self) -> Option<&'a str> {
        let end = memchr(b' ', self.rest.as_bytes()).unwrap_or(self.rest.len());
        let word = self.rest.get(..end).filter(|word| !word.is_empty())?;
        self.rest = self.rest.get(end + 1..).unwrap_or("");
        Some(word)
    }

    /// Takes up to `mark` and the mark.
    pub(crate) fn until(&mut self, mark: u8) -> Option<&'a str> {
        let end = memchr(mark, self.rest.as_bytes())?;
        let word = self.rest.get(..end)?;
        self.rest = self.rest.get(end + 1..)?;
        Some(word)
    }

    /// Takes a text between quotes, and a space behind it. A quote after a backslash is inside.
    pub(crate) fn quoted(&mut self) -> Option<&'a str> {
        let inner = self.rest.strip_prefix('"')?;
        let bytes = inner.as_bytes();
        let mut from = 0;
        loop {
            let found = from + memchr2(b'"', b'\\', bytes.get(from..)?)?;
            if bytes.get(found) == Some(&b'"') {
                let word = inner.get(..found)?;
                self.rest = inner.get(found + 1..)?;
                self.rest = self.rest.strip_prefix(' ').unwrap_or(self.rest);
                return Some(word);
            }
            from = found + 2;
        }
    }

    /// Takes a text between quotes or, where there are none, a word.
    pub(crate) fn quoted_or_word(&mut self) -> Option<&'a str> {
        if self.rest.starts_with('"') { self.quoted() } else { self.word() }
    }

    /// Takes a text between square brackets, and a space behind it.
    pub(crate) fn bracketed(&mut self) -> Option<&'a str> {
        self.literal("[")?;
        let inner = self.until(b']')?;
        self.rest = self.rest.strip_prefix(' ').unwrap_or(self.rest);
        Some(inner)
    }
}

/// The text, if it says anything: neither empty nor `-`.
pub(crate) fn present(text: &str) -> Option<&str> {
    (!text.is_empty() && text != "-").then_some(text)
}

#[cfg(test)]
mod tests {
    use super::Words;

    #[test]
    fn words_come_off_the_front() {
        let mut words = Words::new(r#"a [b c] "d \"e\" f" "" - rest"#);
        assert_eq!(words.word(), Some("a"));
        assert_eq!(words.bracketed(), Some("b c"));
        assert_eq!(words.quoted(), Some(r#"d \"e\" f"#));
        assert_eq!(words.quoted_or_word(), Some(""));
        assert_eq!(words.quoted_or_word(), Some("-"));
        assert_eq!(words.quoted(), None);
        assert_eq!(words.rest(), "rest");
        assert_eq!(words.word(), Some("rest"));
        assert_eq!(words.word(), None);
    }

    #[test]
    fn an_open_quote_is_no_text() {
        assert_eq!(Words::new("\"abc").quoted(), None);
        assert_eq!(Words::new("\"abc\\").quoted(), None);
        assert_eq!(Words::new("\"abc\\\"").quoted(), None);
    }
}
