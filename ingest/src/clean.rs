//! Makes text of hostile bytes.
//!
//! Owns: the step from bytes to text. Never: drops a line.
//!
//! A line is read as it is where it is proper UTF-8. Otherwise invalid bytes become U+FFFD, and NUL
//! and carriage returns fall away.

use std::borrow::Cow;

use memchr::memchr2;

/// The text of a line.
pub(crate) fn text(bytes: &[u8]) -> Cow<'_, str> {
    let bytes = trimmed(bytes);
    if (!has_control(bytes) || memchr2(0, b'\r', bytes).is_none())
        && let Ok(text) = simdutf8::basic::from_utf8(bytes)
    {
        return Cow::Borrowed(text);
    }
    let kept: Vec<u8> = bytes.iter().copied().filter(|b| !matches!(b, 0 | b'\r')).collect();
    Cow::Owned(String::from_utf8_lossy(&kept).into_owned())
}

/// Whether any byte is a control byte, as in few lines. The least of each place of 32 bytes, which
/// vectors find without a call.
fn has_control(bytes: &[u8]) -> bool {
    let least = |mut least: [u8; 32], chunk: &[u8; 32]| {
        for (least, byte) in least.iter_mut().zip(chunk) {
            *least = (*least).min(*byte);
        }
        least
    };
    let Some(last) = bytes.last_chunk::<32>() else { return bytes.iter().any(|b| *b < 0x20) };
    let (chunks, _) = bytes.as_chunks::<32>();
    chunks.iter().fold(*last, least).iter().any(|byte| *byte < 0x20)
}

/// Without the line's end, white space around it and a byte order mark.
fn trimmed(bytes: &[u8]) -> &[u8] {
    let bytes = bytes.trim_ascii();
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}

/// Whether bytes are no text at all: of the first 512 more than a quarter are control bytes or
/// belong to no letter.
pub(crate) fn is_binary(bytes: &[u8]) -> bool {
    let start = bytes.get(..512).unwrap_or(bytes);
    let control = start.iter().filter(|b| **b < 0x20 && !matches!(b, b'\t' | b'\r' | b'\n'));
    let lossy = String::from_utf8_lossy(start);
    let broken = lossy.chars().filter(|letter| *letter == char::REPLACEMENT_CHARACTER);
    !start.is_empty() && (control.count() + broken.count()) * 4 > start.len()
}

#[cfg(test)]
mod tests {
    use super::{is_binary, text};

    #[test]
    fn proper_text_stays_and_hostile_bytes_are_replaced() {
        assert_eq!(text(b"  a b\r\n"), "a b");
        assert_eq!(text("\u{feff}{\"a\":1}\n".as_bytes()), "{\"a\":1}");
        assert_eq!(text(b"a\x00b\xff\rc"), "ab\u{fffd}c");
        assert_eq!(text(b"\n"), "");
    }

    #[test]
    fn binary_is_told_from_text_with_a_few_odd_bytes() {
        assert!(is_binary(&[0, 1, 2, 3, 255, 254, 65]));
        assert!(!is_binary(b"GET /\xff\xfe plain text around it"));
        assert!(!is_binary(b""));
    }
}
