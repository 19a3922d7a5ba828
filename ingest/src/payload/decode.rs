//! What a server would make of the bytes that were sent.
//!
//! Owns: percent decoding, twice; the plain form that needles are written for. Never: classes.

use std::borrow::Cow;

use crate::read::json::hex;

/// Percent escapes read, twice, `%uHHHH` and overlong dots and slashes too; `plus_is_space` as in
/// queries. What is not UTF-8 afterwards is replaced.
pub(crate) fn decoded(text: &str, plus_is_space: bool) -> Cow<'_, str> {
    let Some(once) = decode_once(text, plus_is_space) else { return Cow::Borrowed(text) };
    match decode_once(&once, false) {
        Some(twice) => Cow::Owned(twice),
        None => Cow::Owned(once),
    }
}

/// One round; nothing where nothing was escaped.
pub(super) fn decode_once(text: &str, plus_is_space: bool) -> Option<String> {
    let escaped = |byte: &u8| *byte == b'%' || plus_is_space && *byte == b'+';
    let bytes = text.as_bytes();
    let first = bytes.iter().position(escaped)?;
    let mut out = Vec::with_capacity(bytes.len());
    let (before, mut rest) = bytes.split_at(first);
    out.extend_from_slice(before);
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'+' if plus_is_space => out.push(b' '),
            b'%' => rest = escape(after, &mut out),
            _ => out.push(*byte),
        }
    }
    Some(match String::from_utf8(out) {
        Ok(text) => text,
        Err(broken) => String::from_utf8_lossy(broken.as_bytes()).into_owned(),
    })
}

/// Takes what follows a percent sign.
fn escape<'r>(after: &'r [u8], out: &mut Vec<u8>) -> &'r [u8] {
    const OVERLONG: [(&[u8], u8); 4] =
        [(b"c0%ae", b'.'), (b"c0%af", b'/'), (b"c0%2f", b'/'), (b"c1%9c", b'\\')];
    for (code, byte) in OVERLONG {
        if after.get(..code.len()).is_some_and(|start| start.eq_ignore_ascii_case(code)) {
            out.push(byte);
            return after.get(code.len()..).unwrap_or(&[]);
        }
    }
    if let Some(b'u' | b'U') = after.first()
        && let Some(letter) = after.get(1..5).and_then(hex).and_then(char::from_u32)
    {
        let mut buffer = [0; 4];
        out.extend_from_slice(letter.encode_utf8(&mut buffer).as_bytes());
        return after.get(5..).unwrap_or(&[]);
    }
    let byte = after.get(..2).and_then(hex).and_then(|code| u8::try_from(code).ok());
    match byte {
        Some(byte) => {
            out.push(byte);
            after.get(2..).unwrap_or(&[])
        }
        None => {
            out.push(b'%');
            after
        }
    }
}

/// Lower case; comments of SQL, white space and NUL as one space; full-width letters as plain ones.
pub(super) fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        let letter = match letter {
            '/' if letters.peek() == Some(&'*') => {
                letters.next();
                let mut last = ' ';
                for inner in letters.by_ref() {
                    if last == '*' && inner == '/' {
                        break;
                    }
                    last = inner;
                }
                ' '
            }
            '\0' | '\t' | '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{a0}' => ' ',
            // Full-width forms stand 0xfee0 above the plain ones.
            '\u{ff01}'..='\u{ff5e}' => {
                char::from_u32(u32::from(letter) - 0xfee0).unwrap_or(letter).to_ascii_lowercase()
            }
            _ => letter.to_ascii_lowercase(),
        };
        if letter != ' ' || !out.ends_with(' ') {
            out.push(letter);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{decoded, plain};

    #[test]
    fn escapes_are_read_twice() {
        assert_eq!(decoded("a%2527b+c", true), "a'b c");
        assert_eq!(decoded("a%2527b+c", false), "a'b+c");
        assert_eq!(decoded("%c0%ae%C0%AE/%u0041%zz%", false), "../A%zz%");
        assert_eq!(decoded("plain", true), "plain");
        assert_eq!(decoded("%ff", true), "\u{fffd}");
    }

    #[test]
    fn disguises_of_space_and_case_fall_away() {
        assert_eq!(plain("UNION/**/All\t\n SELECT"), "union all select");
        assert_eq!(plain("＜ＳＣＲＩＰＴ"), "<script");
        assert_eq!(plain("a/*open"), "a ");
    }
}
