//! Which segments of a path are values rather than names.
//!
//! Owns: the decision from the text of one segment alone. Never: what traffic says.

use super::segments::is_version;

/// The longest segment that may be a name.
const NAME_BYTES_MAX: usize = 64;

/// Numbers, UUIDs, hashes, dates, addresses of mail, tokens: a segment that tells one thing of many
/// from another. An ending such as `.pdf` does not count.
pub(super) fn is_value(segment: &str) -> bool {
    if segment.len() > NAME_BYTES_MAX {
        return true;
    }
    if !segment.is_empty() && segment.bytes().all(|byte| byte.is_ascii_digit()) {
        return true;
    }
    let stem = match segment.rsplit_once('.') {
        Some((stem, ending)) if !stem.is_empty() && is_ending(ending) => stem,
        _ => segment,
    };
    let mut tally = Tally::default();
    for byte in stem.bytes() {
        tally.count(byte);
    }
    tally.is_value(stem)
}

fn is_ending(text: &str) -> bool {
    (1..=5).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
        && text.bytes().any(|byte| byte.is_ascii_alphabetic())
}

#[derive(Debug, Default)]
struct Tally {
    digits: usize,
    hex_letters: usize,
    upper: usize,
    lower: usize,
    dashes: usize,
    /// Bytes that names of routes do not have: `@`, `%`, blanks, beyond ASCII, and their like.
    strange: usize,
}

impl Tally {
    fn count(&mut self, byte: u8) {
        match byte {
            b'0'..=b'9' => self.digits += 1,
            b'a'..=b'f' => {
                self.hex_letters += 1;
                self.lower += 1;
            }
            b'A'..=b'F' => {
                self.hex_letters += 1;
                self.upper += 1;
            }
            b'g'..=b'z' => self.lower += 1,
            b'G'..=b'Z' => self.upper += 1,
            b'-' => self.dashes += 1,
            b'.' | b'_' | b'~' => {}
            _ => self.strange += 1,
        }
    }

    fn is_value(&self, stem: &str) -> bool {
        let len = stem.len();
        if self.digits == len && len > 0 {
            return true;
        }
        if self.strange > 0 {
            return true;
        }
        if self.digits == 0 {
            // A hash without a digit is rare, but long hexadecimal without one is no word.
            return self.hex_letters == len && len >= 16;
        }
        if is_version(stem) {
            return false;
        }
        let hexadecimal = self.digits + self.hex_letters + self.dashes == len;
        if hexadecimal && len >= 8 {
            return true;
        }
        // `ord_8f3k29d`, `2026-11-20`: a third of it digits.
        if len >= 4 && self.digits * 3 >= len {
            return true;
        }
        let unbroken = self.digits + self.upper + self.lower == len;
        // ULIDs, CUIDs, and tokens in base 62 or 64, which mix all three.
        let loud = self.digits >= 2 && self.upper >= 2 && (unbroken || self.lower >= 2);
        (len >= 16 && loud) || (len >= 20 && self.digits >= 3 && unbroken)
    }
}

#[cfg(test)]
mod tests {
    use super::is_value;

    #[test]
    fn values_are_told_from_names() {
        for value in [
            "17",
            "0",
            "550e8400-e29b-41d4-a716-446655440000",
            "3f2a9c8d",
            "deadbeefdeadbeef",
            "2026-11-20",
            "ann@example.com",
            "ord_8f3k29d1",
            "01ARZ3NDEKTSV4RRFFQ69G5FAV",
            "a%20b",
            "17.json",
            "5f4dcc3b5aa765d61d8327deb882cf99.pdf",
            "+4912345",
            "dXNlcjpwYXNzd29yZDE2",
            "cjld2cjxh0000qzrmn831i7rn",
            "***",
        ] {
            assert!(is_value(value), "{value}");
        }
        for name in [
            "orders",
            "v1",
            "v2.7",
            "me",
            "oauth2",
            "login.php",
            "s3",
            "facade",
            "defaced",
            "app.js",
            "forget-password",
            "api",
            "wp-admin",
            "check-otp",
            "",
        ] {
            assert!(!is_value(name), "{name}");
        }
    }
}
