//! Numbers as logs write them.
//!
//! Owns: counts, statuses, spans of time with their units; what is written with their letters alone.
//! Never: which field they are for.

use super::words::Bytes;

/// What numbers, moments, addresses and ids are written with: no quote, no backslash.
static PLAIN: Bytes = Bytes::of(b"0123456789abcdef.:+-, TZ");

/// Whether a text is a number, a moment, an address or an id.
pub(crate) fn is_plain(text: &str) -> bool {
    PLAIN.are_all_of_by(text, is_plain_byte)
}

fn is_plain_byte(byte: u8) -> bool {
    (byte.wrapping_sub(b'0') < 11)
        | (byte.wrapping_sub(b'a') < 6)
        | (byte.wrapping_sub(b'+') < 4)
        | (byte == b' ')
        | (byte == b'T')
        | (byte == b'Z')
}

/// A count; absent where it is `-`, empty, negative or no number.
pub(crate) fn count(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    if bytes.is_empty() || bytes.len() > 18 {
        return None;
    }
    bytes.iter().try_fold(0_i64, |sum, byte| {
        byte.is_ascii_digit().then(|| sum * 10 + i64::from(*byte - b'0'))
    })
}

/// An HTTP status: three digits. Gateways write `0` or `000` where none was sent.
pub(crate) fn status(text: &str) -> Option<i32> {
    let status = i32::try_from(count(text)?).ok()?;
    (100..=999).contains(&status).then_some(status)
}

/// The last of statuses such as `502, 200`, or `200 : 201`, of tries in a row.
pub(crate) fn last_status(text: &str) -> Option<i32> {
    let last = text.rsplit([',', ' ', ':']).find(|part| !part.is_empty())?;
    status(last)
}

/// A unit of time, by its length in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Seconds,
    Millis,
    Micros,
    Nanos,
}

impl Unit {
    fn digits(self) -> usize {
        match self {
            Self::Seconds => 9,
            Self::Millis => 6,
            Self::Micros => 3,
            Self::Nanos => 0,
        }
    }
}

/// A span in whole microseconds, such as `0.123` seconds, `3e-05` seconds or `12` milliseconds.
/// Absent where it is negative or no number.
pub(crate) fn micros(text: &str, unit: Unit) -> Option<i64> {
    if let (Unit::Seconds, Some(micros)) = (unit, micros_of_seconds(text)) {
        return Some(micros);
    }
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if text.contains(['e', 'E']) || whole.len() > 12 {
        return micros_of_float(text, unit);
    }
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let whole = if whole.is_empty() { 0 } else { count(whole)? };
    let scale = unit.digits();
    let mut nanos = whole.checked_mul(10_i64.checked_pow(u32::try_from(scale).ok()?)?)?;
    let mut step = 10_i64.pow(u32::try_from(scale).unwrap_or(0));
    for digit in fraction.bytes() {
        if !digit.is_ascii_digit() {
            return None;
        }
        step /= 10;
        nanos += i64::from(digit - b'0') * step;
    }
    Some(nanos / 1000)
}

/// Seconds as nginx writes them, `0.123`: few digits, a dot, six digits at most.
pub(crate) fn micros_of_seconds(text: &str) -> Option<i64> {
    const STEPS: [i64; 7] = [1_000_000, 100_000, 10_000, 1_000, 100, 10, 1];
    let (mut number, mut dot) = (0_i64, None);
    for (at, byte) in text.bytes().enumerate().take(16) {
        match byte {
            b'0'..=b'9' => number = number * 10 + i64::from(byte - b'0'),
            b'.' if dot.is_none() => dot = Some(at),
            _ => return None,
        }
    }
    let dot = dot.filter(|dot| (1..9).contains(dot))?;
    Some(number * STEPS.get(text.len() - dot - 1)?)
}

#[expect(clippy::cast_possible_truncation, reason = "bounded by the comparison before")]
fn micros_of_float(text: &str, unit: Unit) -> Option<i64> {
    let value: f64 = text.parse().ok()?;
    let factor = match unit {
        Unit::Seconds => 1e6,
        Unit::Millis => 1e3,
        Unit::Micros => 1.0,
        Unit::Nanos => 1e-3,
    };
    let micros = value * factor;
    (0.0..9e15).contains(&micros).then_some(micros as i64)
}

/// A span with its unit behind it: `247ms`, `1.5s`, `12µs`.
pub(crate) fn span_with_unit(text: &str) -> Option<i64> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = match text.get(digits.len()..)?.trim() {
        "s" | "sec" | "seconds" => Unit::Seconds,
        "ms" => Unit::Millis,
        "us" | "µs" | "μs" => Unit::Micros,
        "ns" => Unit::Nanos,
        _ => return None,
    };
    micros(digits, unit)
}

#[cfg(test)]
mod tests {
    use super::{
        PLAIN, Unit, count, is_plain, is_plain_byte, last_status, micros, span_with_unit, status,
    };

    #[test]
    fn plain_texts_are_the_same_whatever_their_length() {
        for letter in (0..128_u8).map(char::from) {
            let is_one = is_plain(&letter.to_string());
            assert_eq!(PLAIN.are_all_of(&letter.to_string()), is_one);
            assert_eq!(u8::try_from(letter).map(is_plain_byte), Ok(is_one), "{letter:?}");
            for at in 0..40 {
                let text = format!("{}{letter}{}", "7".repeat(at), "f".repeat(39 - at));
                assert_eq!(is_plain(&text), is_one, "{text}");
            }
        }
        assert!(!is_plain("2026-11-20T08:00:00.000\u{e9}"));
    }

    #[test]
    fn counts_are_digits_only() {
        assert_eq!(count("0"), Some(0));
        assert_eq!(count("7648063"), Some(7_648_063));
        assert_eq!((count("-"), count(""), count("-1"), count("1.5")), (None, None, None, None));
        assert_eq!(count("9999999999999999999"), None);
    }

    #[test]
    fn statuses_have_three_digits() {
        assert_eq!((status("200"), status("0"), status("1000")), (Some(200), None, None));
        assert_eq!(last_status("502, 200"), Some(200));
        assert_eq!(last_status("502 : -"), None);
    }

    #[test]
    fn spans_come_in_any_unit() {
        assert_eq!(micros("0.123", Unit::Seconds), Some(123_000));
        assert_eq!(micros("12.", Unit::Seconds), Some(12_000_000));
        assert_eq!(micros("1.2.3", Unit::Seconds), None);
        assert_eq!(micros("1.-2", Unit::Seconds), None);
        assert_eq!(micros("123456789.0000019", Unit::Seconds), Some(123_456_789_000_001));
        assert_eq!(micros("0.0000029", Unit::Seconds), Some(2));
        assert_eq!(micros("2.701e-06", Unit::Seconds), Some(2));
        assert_eq!(micros("12", Unit::Millis), Some(12_000));
        assert_eq!(micros("357313", Unit::Nanos), Some(357));
        assert_eq!(micros("-1", Unit::Millis), None);
        assert_eq!(micros("x", Unit::Millis), None);
        assert_eq!(micros(".5", Unit::Seconds), Some(500_000));
    }

    #[test]
    fn a_unit_may_follow() {
        assert_eq!(span_with_unit("247ms"), Some(247_000));
        assert_eq!(span_with_unit("1.5s"), Some(1_500_000));
        assert_eq!(span_with_unit("12µs"), Some(12));
        assert_eq!(span_with_unit("12"), None);
    }
}
