//! Messages of a stream.
//!
//! Owns: RFC 6587's two ways to part them, told apart message by message: `<length> <message>`, and
//! an end of line behind each. Never: headers.
//!
//! A message that is too long is given in one piece up to the limit and skipped to its end.

use bytes::Bytes;

use crate::parser::LINE_BYTES_MAX;

/// Digits of a message's length: no more than the limit has.
const DIGITS_MAX: usize = 7;
/// What is kept of a message: one byte above what is read, so that its dead letter says why.
const KEPT_BYTES_MAX: usize = LINE_BYTES_MAX + 1;

/// Cuts bytes into messages.
#[derive(Debug, Default)]
pub(super) struct Frames {
    held: Vec<u8>,
    /// Bytes of a message with a length that are still to come.
    counted: Option<usize>,
    /// Whether a message begins here, so that digits may be its length.
    inside: bool,
}

impl Frames {
    /// Takes what came, and gives every message that ends in it.
    pub(super) fn feed(&mut self, bytes: &[u8], give: &mut dyn FnMut(Bytes)) {
        let mut rest = bytes;
        while let Some((first, after)) = rest.split_first() {
            if let Some(left) = self.counted {
                let (taken, behind) = rest.split_at_checked(left).unwrap_or((rest, &[]));
                self.hold(taken);
                rest = behind;
                self.counted = Some(left - taken.len());
                if taken.len() == left {
                    self.counted = None;
                    self.give(give);
                }
            } else if !self.inside {
                rest = self.begin(*first, rest, after, give);
            } else {
                let end = memchr::memchr2(b'\n', 0, rest);
                let (line, behind) =
                    rest.split_at_checked(end.unwrap_or(rest.len())).unwrap_or((rest, &[]));
                self.hold(line);
                rest = behind.get(1..).unwrap_or(&[]);
                if end.is_some() {
                    self.give(give);
                }
            }
        }
    }

    /// At the beginning of a message: digits may be its length. Gives back what is left.
    fn begin<'b>(
        &mut self,
        first: u8,
        rest: &'b [u8],
        after: &'b [u8],
        give: &mut dyn FnMut(Bytes),
    ) -> &'b [u8] {
        match first {
            b'0'..=b'9'
                if self.held.len() < DIGITS_MAX && (first != b'0' || !self.held.is_empty()) =>
            {
                self.held.push(first);
                after
            }
            b' ' if !self.held.is_empty() => {
                let digits = std::str::from_utf8(&self.held).ok();
                let count = digits.and_then(|digits| digits.parse::<usize>().ok());
                match count {
                    Some(count) if count > 0 => {
                        self.held.clear();
                        self.counted = Some(count);
                        self.inside = true;
                        after
                    }
                    _ => {
                        self.inside = true;
                        rest
                    }
                }
            }
            b'\n' | 0 => {
                self.give(give);
                after
            }
            _ => {
                self.inside = true;
                rest
            }
        }
    }

    /// The stream has ended.
    pub(super) fn end(&mut self, give: &mut dyn FnMut(Bytes)) {
        self.give(give);
    }

    fn hold(&mut self, bytes: &[u8]) {
        let room = KEPT_BYTES_MAX.saturating_sub(self.held.len());
        self.held.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
    }

    fn give(&mut self, give: &mut dyn FnMut(Bytes)) {
        self.inside = false;
        self.counted = None;
        let line = super::trimmed(self.held.strip_suffix(b"\n").unwrap_or(&self.held));
        if !line.is_empty() {
            give(Bytes::copy_from_slice(line));
        }
        self.held.clear();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{ProptestConfig, any, prop, proptest};

    use super::Frames;

    fn frames(pieces: &[&[u8]]) -> Vec<String> {
        let (mut frames, mut found) = (Frames::default(), Vec::new());
        let mut give = |line: bytes::Bytes| found.push(String::from_utf8_lossy(&line).into_owned());
        for piece in pieces {
            frames.feed(piece, &mut give);
        }
        frames.end(&mut give);
        found
    }

    #[track_caller]
    fn check(stream: &str, expected: &[&str]) {
        assert_eq!(frames(&[stream.as_bytes()]), expected, "{stream}");
        // However the stream is cut, the messages are the same.
        for at in 0..stream.len() {
            let (one, other) = stream.as_bytes().split_at(at);
            assert_eq!(frames(&[one, other]), expected, "{stream} cut at {at}");
        }
    }

    #[test]
    fn messages_end_with_their_line_or_their_length() {
        check("<13>a b\n<13>c\r\n", &["<13>a b", "<13>c"]);
        check("7 <13>a b5 <13>c", &["<13>a b", "<13>c"]);
        check("7 <13>a\nb<13>c\n4 <1>d", &["<13>a\nb", "<13>c", "<1>d"]);
        check("<13>a\0<13>b", &["<13>a", "<13>b"]);
    }

    #[test]
    fn digits_that_are_no_length_are_a_line() {
        check("203.0.113.9 - -\n5\n", &["203.0.113.9 - -", "5"]);
        check("0 x\n12345678 x\n", &["0 x", "12345678 x"]);
    }

    #[test]
    fn a_message_that_is_too_long_is_cut_and_the_next_one_is_whole() {
        let long = "x".repeat(3 * super::KEPT_BYTES_MAX);
        let found = frames(&[long.as_bytes(), b"\nnext\n"]);
        assert_eq!((found[0].len(), found[1].as_str()), (super::KEPT_BYTES_MAX, "next"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]
        #[test]
        fn lines_come_out_as_they_went_in(
            lines in prop::collection::vec("<[a-z]{0,9}[ -~]{0,40}", 0..20),
            counted in any::<bool>(),
            piece in 1..64_usize,
        ) {
            let framed: String = lines
                .iter()
                .map(|line| if counted { format!("{} {line}", line.len()) } else { format!("{line}\n") })
                .collect();
            let pieces: Vec<&[u8]> = framed.as_bytes().chunks(piece).collect();
            assert_eq!(frames(&pieces), lines);
        }
    }
}
